"""Small files that ask for much are refused soon and in little memory; names that steer a terminal do not."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit_logs import json_lines, parquet
from pessimism.audit.files import open_sources
from pessimism.cli.main import main
from pessimism.shell.files import read_bandit

SECONDS = 4  # two on a core of one's own; what shares the processor's caches slows it
MEBIBYTES = 1024
READ = """
import re, sys, time
from pessimism.audit.run import audit
import pessimism as ps
started = time.process_time()
try:
    audit([sys.argv[1]], [ps.algorithm("oapl", beta1=1, beta2=0.5)])
except ValueError as error:
    seconds = time.process_time() - started
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
    print(seconds, int(peak[1]) / 1024, error, sep="|")
"""


def long_lists(path: Path) -> None:
    lists = pa.ListArray.from_arrays([0, 100_000_000, 100_000_001], pa.array(np.zeros(100_000_001)))
    pq.write_table(pa.table({"group": ["a", "a"], "reward": [0.0, 1.0], "log_prob": lists}), path, compression="zstd")


def long_text(path: Path) -> None:
    keys = pa.array(["x" * (600 << 20), "b"], pa.large_string())
    pq.write_table(pa.table({"group": keys, "reward": [0.0, 1.0]}), path, compression="zstd", use_dictionary=False)


def wide_table(path: Path) -> None:
    path.write_text("group,reward," + ",".join(f"c{index}" for index in range(1_000_000)) + "\n")


def wide_object(path: Path) -> None:
    path.write_text('{"group":"a","reward":0,' + ",".join(f'"c{index}":1' for index in range(1_000_000)) + "}\n")


def long_array(path: Path) -> None:
    path.write_text('{"group":"a","reward":0,"log_prob":[' + "0," * 30_000_000 + "0]}\n")


def without_end(path: Path) -> None:
    path.symlink_to("/dev/zero")


def to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's own account")
@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("lists.parquet", long_lists, "asks for 8e+08 bytes of memory"),
        ("text.parquet", long_text, "bytes of memory where it has"),
        ("wide.csv", wide_table, "has 1,000,002 columns; at most 16,384 are read"),
        ("wide.jsonl", wide_object, "has 1,000,002 columns; at most 16,384 are read"),
        ("long.jsonl", long_array, "line 1: more than 4,194,304 values"),
        ("zero.jsonl", without_end, "is no regular file"),
        ("zero.csv", without_end, "is no regular file"),
        ("zero.parquet", without_end, "is no regular file"),
        ("itself.jsonl", to_itself, "is no regular file"),
    ],
)
def test_a_file_that_asks_for_too_much_is_refused_soon_and_in_little_memory(
    tmp_path: Path, name: str, make: Callable[[Path], None], message: str
) -> None:
    """Processor time of the reading itself, so that other work on the machine does not count."""
    path = tmp_path / name
    make(path)
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, timeout=120, check=True)
    seconds, mebibytes, told = done.stdout.strip().split("|", 2)
    assert message in told
    assert told.startswith(str(path))
    assert float(seconds) < SECONDS
    assert float(mebibytes) < MEBIBYTES


def test_many_equal_rows_are_an_ordinary_log(tmp_path: Path) -> None:
    """A million rows in few bytes: columns that do not vary compress well."""
    keys = pa.array([f"g{index}" for index in range(1 << 17)]).take(pa.array(np.repeat(np.arange(1 << 17), 8)))
    rows = pa.table({"group": keys, "reward": np.zeros(1 << 20), "version": np.zeros(1 << 20, np.int64)})
    assert len(open_sources([parquet(tmp_path / "log.parquet", rows)], {})) == 1


def archive(shape: tuple[int, ...], data: bytes) -> bytes:
    """An NPZ file of one array that says it has this shape."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<f8", "fortran_order": False, "shape": shape})
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as file:
        file.writestr("reward.npy", array.getvalue() + data)
    return found.getvalue()


@pytest.mark.parametrize("shape", [(10**23,), (10**12, 10**11), (10**10,), (1000,)])
def test_arrays_that_are_larger_than_their_file_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "bandit.npz"
    path.write_bytes(archive(shape, bytes(80)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        ValueError, match=r"bandit.npz: reward has shape .* asks for .* bytes of memory; the archive holds 208"
    ):
        read_bandit(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_bandit_is_not_read_from_a_device(tmp_path: Path) -> None:
    (tmp_path / "bandit.json").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="is no regular file"):
        read_bandit(tmp_path / "bandit.json")


STEERING = "\x1b]0;title\x07\x9b31m\u202eabc\u2066"
PLAIN = r"\x1b]0;title\x07\x9b31m\u202eabc\u2066"


def harmless(text: str) -> bool:
    return not any(character in text for character in "\x1b\x07\x9b\u202e\u2066")


@pytest.mark.parametrize("place", ["file", "column", "value", "group", "layout"])
def test_names_and_values_do_not_steer_the_terminal(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"group": "a", "reward": float(k)} for k in range(4)]
    name = "log.jsonl"
    if place == "file":
        name = f"{STEERING.replace('/', '')}.jsonl"
    elif place == "column":
        rows = [{STEERING: "a", "reward": 1.0}] * 2
    elif place == "value":
        rows[1]["reward"] = STEERING  # type: ignore[assignment]
    elif place == "group":
        rows = [{**row, "group": STEERING} for row in rows]
    else:
        rows = [{"step": 1, "prompt": "a", "completion": "b", "advantage": 0.0, STEERING: 1.0, "other": 2.0}]
    path = json_lines(tmp_path / name, rows)
    page = tmp_path / "page.html"
    main(["audit", os.fspath(path), "--algorithm", "oapl:beta1=1,beta2=0.5", "--html", os.fspath(page)])
    shown = capsys.readouterr()
    assert harmless(shown.out + shown.err)
    assert "abc" in shown.out + shown.err
    assert not page.exists() or harmless(page.read_text("utf-8"))
