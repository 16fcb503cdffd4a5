"""Buffer, checkpoints and schedule of language-model runs: what is written comes back, whatever is killed when."""

import json
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import polars
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.config import Lag
from llm.run import checkpoint, schedule
from llm.run.buffer import Buffer
from llm.run.checkpoint import Checkpoint
from llm.run.source import Source
from llm.samples import Completion, Group, Prompt
from pessimism.studies.sealed import seal

ROOT = Path(__file__).resolve().parent.parent


def group(batch=0, version=0, prompt="1+1=", rewards=(0.0, 1.0), seed=0):
    generator = np.random.default_rng(seed)
    completions = tuple(
        Completion(
            generator.integers(0, 100, length).astype(np.int32),
            generator.normal(size=length).astype(np.float32),
            bool(length % 2),
        )
        for length in range(1, len(rewards) + 1)
    )
    problem = Prompt(f"task/{prompt}", prompt, {"answer": [1, None, "<é>"]})
    return Group(problem, (1, 2, 3), completions, np.array(rewards), version, batch)


def same(first, second):
    assert first.prompt == second.prompt
    assert (first.tokens, first.version, first.batch) == (second.tokens, second.version, second.batch)
    np.testing.assert_array_equal(first.rewards, second.rewards)
    for one, other in zip(first.completions, second.completions, strict=True):
        assert one.finished == other.finished
        for name in ("tokens", "log_probs"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype
    return True


# --- buffer -----------------------------------------------------------------------------------------------------------


def test_a_batch_comes_back_as_it_was_appended(tmp_path):
    groups = [group(batch=7, version=4, seed=0), group(batch=7, version=4, prompt="twice", rewards=(0.5,), seed=1)]
    groups.append(groups[0])  # the same prompt may come up twice in a batch
    Buffer(tmp_path).append(groups)
    again = Buffer(tmp_path)
    assert again.has(7)
    assert not again.has(6)
    assert all(same(one, other) for one, other in zip(groups, again.load(7), strict=True))


def test_any_reader_of_parquet_sees_a_row_per_completion(tmp_path):
    buffer = Buffer(tmp_path)
    buffer.append([group(rewards=(0.0, 1.0, 1.0))])
    table = polars.read_parquet(buffer.path(0))
    assert table["length"].to_list() == [1, 2, 3]
    assert table["reward"].to_list() == [0, 1, 1]
    sums = [float(np.sum(row, dtype=np.float64)) for row in table["log_probs"].to_list()]
    np.testing.assert_allclose(table["log_prob"].to_numpy(), sums, rtol=1e-6)


def test_a_batch_is_written_once(tmp_path):
    buffer = Buffer(tmp_path)
    buffer.append([group()])
    with pytest.raises(ValueError, match="written once"):
        buffer.append([group(seed=1)])
    assert same(buffer.load(0)[0], group())


@pytest.mark.parametrize("groups", [[], [group(batch=0), group(batch=1)]])
def test_a_batch_is_of_one_number(tmp_path, groups):
    with pytest.raises(ValueError, match="exactly one"):
        Buffer(tmp_path).append(groups)


def test_damage_is_told_with_the_file(tmp_path):
    buffer = Buffer(tmp_path)
    buffer.append([group()])
    content = buffer.path(0).read_bytes()
    for broken in (content[: len(content) // 2], b"", b"reward,log_prob\n"):
        buffer.path(0).write_bytes(broken)
        with pytest.raises(ValueError, match=r"batch-000000\.parquet: damaged"):
            buffer.load(0)
    polars.DataFrame({"reward": [1.0]}).write_parquet(buffer.path(0))
    with pytest.raises(ValueError, match="columns are not those"):
        buffer.load(0)
    with pytest.raises(ValueError, match="no such batch"):
        buffer.load(5)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A buffer with one batch, and the bytes of its file."""
    buffer = Buffer(tmp_path_factory.mktemp("kept"))
    buffer.append([group(), group(prompt="2+2=", seed=1, rewards=(0.0, 1.0, 0.5))])
    return buffer, buffer.path(0).read_bytes()


@given(place=st.integers(0), bit=st.integers(0, 7))
@settings(max_examples=300)
def test_no_changed_bit_changes_what_is_trained_on(kept, place, bit):
    buffer, content = kept
    whole = bytearray(content)
    whole[place % len(whole)] ^= 1 << bit
    buffer.path(0).write_bytes(whole)
    try:
        found = buffer.load(0)
    except ValueError as error:
        told = str(error)
    else:
        told = "delete it to draw it again"
        wanted = [group(), group(prompt="2+2=", seed=1, rewards=(0.0, 1.0, 0.5))]
        assert all(same(one, other) for one, other in zip(found, wanted, strict=True))
    assert "delete it to draw it again" in told
    assert "\n" not in told


def test_a_batch_under_another_number_is_told(tmp_path):
    buffer = Buffer(tmp_path)
    buffer.append([group(batch=3)])
    buffer.path(3).rename(buffer.path(4))
    with pytest.raises(ValueError, match="it holds batch 3"):
        buffer.load(4)


def test_files_of_other_names_are_no_batches(tmp_path):
    buffer = Buffer(tmp_path)
    buffer.append([group(batch=1_000_000)])
    for name in ("batch-final.parquet", "batch-000002.parquet.bak", "batch-7.parquet"):
        (tmp_path / name).write_bytes(b"")
    assert buffer.batches() == [1_000_000]
    assert len(buffer.set_aside(0)) == 1


def test_batches_set_aside_are_kept(tmp_path):
    buffer = Buffer(tmp_path)
    for batch in range(4):
        buffer.append([group(batch=batch)])
    assert len(buffer.set_aside(2)) == 2
    assert [buffer.has(batch) for batch in range(4)] == [True, True, False, False]
    buffer.append([group(batch=2, seed=9)])
    [again] = buffer.set_aside(2)
    assert again.name == "batch-000002.superseded-1"
    assert len(list(tmp_path.iterdir())) == 5


# --- checkpoints ------------------------------------------------------------------------------------------------------


def some(step, value=1.0):
    tensors = {
        "model": {"weight": torch.full((3, 2), value), "steps": torch.tensor(step)},
        "random": {"cpu": torch.get_rng_state()},
    }
    return Checkpoint(step, tensors, {"window": step // 4, "text": "é"})


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    written = some(12, torch.pi)
    checkpoint.save(tmp_path, written)
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert (found.step, found.state) == (12, written.state)
    for part, tensors in written.tensors.items():
        assert checkpoint.fingerprint(tensors) == checkpoint.fingerprint(found.tensors[part])


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.load(tmp_path / "nowhere") is None


def test_the_latest_ones_are_kept(tmp_path):
    for step in (5, 10, 100, 1_000_000, 1_000_005):
        checkpoint.save(tmp_path, some(step))
    assert checkpoint.steps(tmp_path) == [1_000_000, 1_000_005]


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_still_loads(tmp_path, name, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, some(step))
    path = tmp_path / "step-000002" / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content[: len(content) // 2] if damage == "truncate" else content)
    with pytest.raises(ValueError, match=r"step-000002: the checkpoint is damaged .*; delete it to go on from step 1"):
        checkpoint.load(tmp_path)
    found = checkpoint.load(tmp_path, step=1)
    assert found is not None
    assert found.step == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["content"].update(step=2),
        lambda found: found["content"].update(step="1"),
        lambda found: found["content"].pop("files"),
        lambda found: found["content"]["files"].pop("random.safetensors"),
        lambda found: found["content"]["state"].update(window=1),
        lambda found: found.update(sha256="0" * 64),
        lambda found: found.pop("content"),
    ],
)
def test_a_manifest_covers_itself(tmp_path, change):
    checkpoint.save(tmp_path, some(1))
    path = tmp_path / "step-000001" / "manifest.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    for read in (checkpoint.load, checkpoint.load_state):
        with pytest.raises(ValueError, match=r"the checkpoint is damaged \(manifest\.json: its content is not"):
            read(tmp_path)


@pytest.mark.parametrize(
    "content", [{"step": "1", "files": {}, "state": {}}, {"step": 1, "state": {}}, {"step": 1, "files": {}, "state": 3}]
)
def test_a_sealed_manifest_of_something_else_is_told(tmp_path, content):
    checkpoint.save(tmp_path, some(1))
    (tmp_path / "step-000001" / "manifest.json").write_bytes(seal(content))
    with pytest.raises(ValueError, match=r"manifest\.json is not of the checkpoint step-000001"):
        checkpoint.load(tmp_path)


def test_folders_of_other_names_are_no_checkpoints(tmp_path):
    checkpoint.save(tmp_path, some(3))
    for name in ("step-final", "step-000003.bak", "step-7", "step-"):
        (tmp_path / name).mkdir()
    assert checkpoint.steps(tmp_path) == [3]
    assert checkpoint.load_state(tmp_path) == (3, some(3).state)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    script = f"""
        import resource, sys
        import torch
        from pathlib import Path
        from llm.run.checkpoint import Checkpoint, load, save
        folder = Path({str(tmp_path)!r})
        save(folder, Checkpoint(1, {{"model": {{"weight": torch.ones(10)}}}}, {{}}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save(folder, Checkpoint(2, {{"model": {{"weight": torch.ones(1_000_000)}}}}, {{}}))
        except ValueError as error:
            print(error)
        print(load(folder).step, sorted(path.name for path in folder.iterdir()))
    """
    assert resource.RLIM_INFINITY in resource.getrlimit(resource.RLIMIT_FSIZE)
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    told, left = done.stdout.splitlines()
    assert "step-000002: the checkpoint could not be written" in told
    assert left == "1 ['step-000001']"


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    script = f"""
        import torch
        from pathlib import Path
        from llm.run.checkpoint import Checkpoint, save
        for step in range(1, 1_000_000):
            weights = {{"weight": torch.full((200_000,), step)}}
            save(Path({str(tmp_path)!r}), Checkpoint(step, {{"model": weights}}, {{}}))
            print(step, flush=True)
    """
    for _ in range(3):
        running = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert running.stdout is not None
        with running:
            for _ in range(4):
                written = int(running.stdout.readline())
            running.send_signal(signal.SIGKILL)
            rest = running.stdout.read().split()
        found = checkpoint.load(tmp_path)
        assert found is not None
        assert found.step >= max([written, *map(int, rest)])
        assert (found.tensors["model"]["weight"] == found.step).all()


@given(st.binary(min_size=1, max_size=20), st.integers(0, 19), st.integers(1, 255))
def test_the_fingerprint_sees_every_bit(content, place, change):
    other = bytearray(content)
    other[place % len(content)] ^= change
    first, second = (torch.tensor(list(values), dtype=torch.uint8) for values in (content, other))
    assert checkpoint.fingerprint({"w": first}) != checkpoint.fingerprint({"w": second})
    assert checkpoint.fingerprint({"w": first}) != checkpoint.fingerprint({"v": first})
    assert checkpoint.fingerprint({"w": first, "v": second}) == checkpoint.fingerprint({"v": second, "w": first})


# --- schedule ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 500))
def test_every_step_uses_a_batch_of_its_own_window(sync_every, epochs, step):
    lag = Lag(sync_every=sync_every, epochs=min(epochs, sync_every))
    here = schedule.place(step, lag)
    assert here.version <= step < here.version + sync_every
    assert here.batch // lag.batches == here.window
    assert here.syncs == (step % sync_every == 0)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 60), st.integers(1, 60))
def test_what_lies_ahead_is_what_later_steps_of_the_window_need_first(sync_every, epochs, step, steps):
    lag = Lag(sync_every=sync_every, epochs=min(epochs, sync_every))
    here = schedule.place(step, lag)
    rest = [schedule.place(later, lag) for later in range(step, steps)]
    before = {schedule.place(earlier, lag).batch for earlier in range(here.version, step)}
    needed = [other.batch for other in rest if other.window == here.window]
    assert schedule.ahead(step, lag, steps) == [b for b in dict.fromkeys(needed) if b not in before]


# --- source ---------------------------------------------------------------------------------------------------------


class Drawn:
    """A source of groups that depend on batch and version only, and a list of what was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, batch, version):
        self.asked.append((batch, version))
        return lambda: [group(batch=batch, version=version, seed=1000 * version + batch)]


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 20), st.integers(0, 20))
@settings(max_examples=15)
def test_a_run_that_goes_on_sees_the_very_same_batches(tmp_path_factory, sync_every, epochs, steps, stop):
    lag = Lag(sync_every=sync_every, epochs=min(epochs, sync_every))
    folders = [tmp_path_factory.mktemp(name) for name in ("whole", "stopped")]
    whole = Source(Drawn(), Buffer(folders[0]), lag, steps)
    seen = [whole.take(step) for step in range(steps)]
    first = Source(Drawn(), Buffer(folders[1]), lag, steps)
    for step in range(min(stop, steps)):
        first.take(step)
    second = Source(Drawn(), Buffer(folders[1]), lag, steps)  # what was drawn is in the buffer, the rest is drawn
    start = schedule.place(stop, lag).version
    for step in range(start, steps):
        assert all(same(one, other) for one, other in zip(second.take(step), seen[step], strict=True))


def test_a_batch_that_was_deleted_is_drawn_again_in_any_pass_over_its_window(tmp_path):
    lag, buffer, draw = Lag(sync_every=4, epochs=2), Buffer(tmp_path), Drawn()
    source = Source(draw, buffer, lag, 8)
    seen = [source.take(step) for step in range(3)]
    buffer.path(1).write_bytes(b"damaged")
    with pytest.raises(ValueError, match="delete it to draw it again"):
        source.take(3)
    buffer.path(1).unlink()
    for later in (source, Source(draw, buffer, lag, 8)):
        assert same(later.take(3)[0], seen[1][0])
    assert draw.asked == [(0, 0), (1, 0), (1, 0)]


def test_a_batch_of_other_weights_is_told(tmp_path):
    buffer = Buffer(tmp_path)
    buffer.append([group(batch=1, version=0)])
    with pytest.raises(ValueError, match="drawn by the weights of step 0, not of 1"):
        Source(Drawn(), buffer, Lag(), 4).take(1)


def test_a_schedule_beyond_the_allowed_staleness_is_refused():
    with pytest.raises(ValueError, match="up to 49 steps old"):
        Lag(sync_every=50, max_staleness=48)
    assert Lag(sync_every=50, max_staleness=49).batches == 50
