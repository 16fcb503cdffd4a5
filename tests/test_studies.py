"""Folders that one process holds, and files that tell when they are damaged."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pessimism.studies.lock import held
from pessimism.studies.sealed import seal, unseal

ROOT = Path(__file__).resolve().parent.parent
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def holder(folder):
    """A process that holds a folder until it is killed."""
    script = f"""
        import time
        from pathlib import Path
        from pessimism.studies.lock import held
        with held(Path({str(folder)!r})):
            print("held", flush=True)
            time.sleep(600)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_held_folder_is_refused_with_its_holders_name_until_that_is_killed(tmp_path):
    with holder(tmp_path) as process:
        try:
            with pytest.raises(
                ValueError, match=rf"is in use by process {process.pid} on {os.uname().nodename}, since"
            ):
                held(tmp_path).__enter__()
        finally:
            process.send_signal(signal.SIGKILL)
    (tmp_path / ".pessimism-abc").write_text("half of a file")
    (tmp_path / "buffer" / ".pessimism-def").parent.mkdir()
    (tmp_path / "buffer" / ".pessimism-def").write_text("half of another")
    (tmp_path / "checkpoints" / ".unfinished-000007").mkdir(parents=True)
    (tmp_path / "whole").write_text("stays")
    with held(tmp_path):
        names = {path.name for path in tmp_path.rglob("*") if not path.name.startswith(".lock")}
        assert names == {"buffer", "checkpoints", "whole"}
        assert json.loads((tmp_path / ".lock.json").read_text())["process"] == os.getpid()


def test_a_folder_can_be_held_again_after_it_was_let_go(tmp_path):
    for _ in range(3):
        with held(tmp_path / "new" / "folder"):
            pass
    with pytest.raises(RuntimeError, match="of the caller"), held(tmp_path):
        raise RuntimeError("of the caller")
    with held(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="Not a directory"):
        held(tmp_path / "file" / "folder").__enter__()


@given(st.dictionaries(st.text(), PLAIN, max_size=4))
def test_sealed_content_comes_back(content):
    assert unseal(seal(content)) == content


@given(st.dictionaries(st.text(), PLAIN, max_size=4), st.integers(0), st.integers(0, 7))
def test_no_changed_bit_changes_what_is_read(content, place, bit):
    data = bytearray(seal(content))
    data[place % len(data)] ^= 1 << bit
    try:
        found = unseal(bytes(data))
    except ValueError:
        return
    assert json.dumps(found) == json.dumps(content)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b'{"content": {}}', b'{"sha256": "", "content": 3}', b"[" * 100_000, b"\xff"]
)
def test_what_was_never_sealed_is_refused(data):
    with pytest.raises(ValueError, match="not what was written"):
        unseal(data)


def test_sweeps_and_figures_hold_their_folders(tmp_path):
    from bandits.settings import Settings
    from bandits.sweeps import Sweep, algorithm, bandit, on_cores
    from bandits.sweeps import run as run_sweep
    from paper_figures.run import make

    sweep = Sweep("one", "One.", [bandit("three_arm")], [algorithm("reinforce")], Settings(syncs=2))
    with held(tmp_path / "one"), pytest.raises(ValueError, match=r"one: is in use by process"):
        run_sweep(sweep, tmp_path, on_cores(1))
    with held(tmp_path), pytest.raises(ValueError, match="is in use by process"):
        next(make([], tmp_path))
    assert list(make([], tmp_path)) == []
    assert {path.name for path in tmp_path.iterdir()} == {"one"}  # locks are gone
