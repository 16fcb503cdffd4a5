"""Whole runs: however a run is stopped and wherever it samples, a deterministic one writes the same numbers."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import polars
import pytest

from llm.config import Config
from llm.run import checkpoint
from llm.run.stopping import Stop, Stopped
from llm.run.train import opened, train
from llm.run.watch import METRICS, Watcher, read
from llm.sample.engines.transformers import Transformers
from llm.update.learner import RunError

ROOT = Path(__file__).resolve().parent.parent
STEPS = 8


class Silent:
    def update(self, step, numbers, timing):
        pass

    def say(self, line):
        pass


def config(countdown_model, **changes):
    described = {
        "name": "test",
        "steps": STEPS,
        "checkpoint_every": 3,
        "deterministic": True,
        "model": {"path": str(countdown_model)},
        "task": {"name": "countdown24"},
        "objective": {"algorithm": "shifted_mean", "parameters": {"beta": 0.1}},
        "rollout": {
            "engine": "transformers", "place": "colocated", "prompts": 3, "group_size": 4, "max_tokens": 17
        },
        "lag": {"sync_every": 4, "epochs": 2},
        "optimizer": {"learning_rate": 3e-3},
        "evaluation": {"every": 5, "prompts": 3, "samples": 2},
    }  # fmt: skip
    return Config.model_validate({**described, **changes})


def run(described, folder):
    with opened(folder), Watcher(folder, Silent()) as watcher:
        return train(described, folder, watcher)


@pytest.fixture(scope="module")
def reference(countdown_model, tmp_path_factory):
    """What an uninterrupted run writes."""
    folder = tmp_path_factory.mktemp("reference")
    assert run(config(countdown_model), folder) == STEPS
    return (folder / METRICS).read_bytes()


def started(described, folder):
    """The run in a process of its own, with a line of output for every step."""
    script = """
        import sys
        from pathlib import Path
        from llm.config import Config
        from llm.run.train import opened, train
        from llm.run.watch import Watcher

        class Screen:
            def update(self, step, numbers, timing):
                print(step, flush=True)

        folder = Path(sys.argv[2])
        with opened(folder), Watcher(folder, Screen()) as watcher:
            print("done", train(Config.model_validate_json(sys.argv[1]), folder, watcher), flush=True)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), described.model_dump_json(), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("number", "after", "place"), [(signal.SIGKILL, 5, "process"), (signal.SIGTERM, 2, "colocated")]
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(countdown_model, reference, tmp_path, number, after, place):
    described = config(countdown_model)
    described = described.model_copy(update={"rollout": described.rollout.model_copy(update={"place": place})})
    with started(described, tmp_path) as process:
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(number)
        rest = process.stdout.read().split()
        errors = process.stderr.read() if process.stderr else ""
    if number == signal.SIGTERM:
        assert process.returncode == 0, errors
        done = int(rest[-1])
        assert after - 1 <= done < STEPS  # the first line is of step 0
        assert (tmp_path / "checkpoints" / f"step-{done:06d}").is_dir()
    with opened(tmp_path), Watcher(tmp_path, Silent()) as watcher:
        assert train(config(countdown_model), tmp_path, watcher) == STEPS
    assert (tmp_path / METRICS).read_bytes() == reference


def test_a_signal_is_heard_wherever_the_run_samples(countdown_model, reference, tmp_path, monkeypatch):
    """Every session ends inside its n-th call for samples, each a little later than the one before."""
    sample, calls = Transformers.sample, []
    places = set()

    def stopping(self, requests):
        calls.append(len(requests))
        if len(calls) == allowed:
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the signal was not heard")
        return sample(self, requests)

    monkeypatch.setattr(Transformers, "sample", stopping)
    before = signal.getsignal(signal.SIGTERM)
    for session in range(1, 40):
        calls.clear()
        allowed = 1 + session // 2
        done = run(config(countdown_model), tmp_path)
        assert signal.getsignal(signal.SIGTERM) is before
        if len(calls) < allowed:
            break
        found = checkpoint.load_state(tmp_path / "checkpoints")
        assert found is not None
        assert found[0] == done
        places.add((done, found[1]["owed"] is not None))
    assert done == STEPS
    assert (tmp_path / METRICS).read_bytes() == reference
    assert (0, True) in places  # in the evaluation before training
    assert any(step > 0 and owed for step, owed in places)  # in a later one
    assert any(step > 0 and not owed for step, owed in places)  # in a batch or after a sync


def test_a_signal_that_comes_before_the_run_waits_is_heard_when_it_does():
    stop = Stop()
    stop.note()
    with pytest.raises(Stopped), stop.heard_at_once():
        raise AssertionError("it waits")
    with pytest.raises(Stopped), stop.heard_at_once():
        pass


def test_what_a_run_keeps_says_how_old_its_data_were(countdown_model, reference, tmp_path):
    run(config(countdown_model), tmp_path)
    assert (tmp_path / METRICS).read_bytes() == reference
    before, *records = read(tmp_path / METRICS)
    assert before["step"] == 0  # the policy that it starts from is evaluated, and nothing else can be said of it
    assert all(name == "step" or name.startswith("evaluation/") for name in before)
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    assert [record["lag/steps"] for record in records] == [0, 1, 2, 3] * 2
    assert [record["lag/version"] for record in records] == [0] * 4 + [4] * 4
    assert records[0]["ratio/max_token"] == pytest.approx(1, abs=1e-4)  # on-policy
    assert records[3]["ratio/max_token"] > 1.01
    assert all("evaluation/pass@1" in record for record in (records[4], records[-1]))
    table = polars.read_parquet(tmp_path / "buffer" / "*.parquet")
    assert table["version"].unique().sort().to_list() == [0, 4]
    assert table.height == 4 * 3 * 4  # two batches a window, each of three groups of four


def test_the_seed_changes_the_run(countdown_model, reference, tmp_path):
    run(config(countdown_model, seed=1), tmp_path)
    ours, theirs = ([json.loads(line)["policy/entropy"] for line in text.splitlines()[1:]]
                    for text in ((tmp_path / METRICS).read_text(), reference.decode()))  # fmt: skip
    assert not np.isclose(ours, theirs, rtol=1e-6).any()


def test_divergence_stops_the_run_and_leaves_its_last_checkpoint(countdown_model, tmp_path):
    described = config(countdown_model)
    run(described.model_copy(update={"steps": 3}), tmp_path)
    wild = described.optimizer.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(ValueError, match=r"another optimizer\.learning_rate;"):
        run(described.model_copy(update={"optimizer": wild}), tmp_path)
    with pytest.raises(RunError, match=r"step 2: the gradient is nan .*; the weights were left as they were"):
        run(config(countdown_model, optimizer=wild.model_dump(), checkpoint_every=1), tmp_path / "wild")
    assert [path.name for path in (tmp_path / "wild" / "checkpoints").iterdir()] == ["step-000001"]
    assert run(described.model_copy(update={"steps": 4}), tmp_path) == 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda found: found.tensors.pop("optimizer"), "lacks the part 'optimizer'"),
        (lambda found: found.tensors.pop("behavior"), "lacks the part 'behavior'"),
        (lambda found: found.tensors["model"].popitem(), "are not those of"),
        (lambda found: found.state.pop("origin"), "is not what the run began with"),
        (lambda found: found.state.pop("config"), "is of a run with another"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_in_one_line(countdown_model, tmp_path, change, told):
    described = config(countdown_model, evaluation={"every": 0}).model_copy(update={"steps": 3})
    run(described, tmp_path)
    found = checkpoint.load(tmp_path / "checkpoints")
    assert found is not None
    change(found)
    checkpoint.save(tmp_path / "checkpoints", found)
    with pytest.raises(ValueError, match=told) as caught:
        run(described.model_copy(update={"steps": 4}), tmp_path)
    assert "\n" not in str(caught.value)
