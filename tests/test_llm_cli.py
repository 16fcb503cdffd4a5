"""The command: what it does, what it prints, and one clear line where it cannot."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import polars
import pytest

from llm import cli
from llm.check.selftest import selftest
from llm.config import load, to_toml
from llm.run import runs
from llm.run.watch import METRICS, Watcher, read
from llm.show import screen
from llm.study.studies import STUDIES
from pessimism.studies.lock import held

CONFIG = """
name = "tiny"
steps = 4
checkpoint_every = 2
model = {{ path = "{model}" }}
task = {{ name = "countdown24" }}
objective = {{ algorithm = "shifted_mean", parameters = {{ beta = 0.1 }} }}
lag = {{ sync_every = 2 }}
optimizer = {{ learning_rate = 1e-3 }}
evaluation = {{ every = 2, prompts = 4, samples = 2 }}

[rollout]
engine = "transformers"
place = "colocated"
prompts = 2
group_size = 2
max_tokens = 17
"""


@pytest.fixture
def config(countdown_model, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG.format(model=countdown_model), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def finished(countdown_model, tmp_path_factory):
    """The folder of a run of four steps."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "tiny.toml"
    path.write_text(CONFIG.format(model=countdown_model), "utf-8")
    assert cli.main(["train", str(path), "--out", str(folder / "run")]) == 0
    return folder / "run"


def complaint(capsys):
    """The one line on the error stream."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_dry_run_says_what_would_happen_and_writes_nothing(config, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "run"
    assert (
        cli.main(["train", config, "steps=7", "lag.sync_every=3", "lag.epochs=2", "--dry-run", "--out", str(out)]) == 0
    )
    told = capsys.readouterr().out
    for line in ("7 in 3 windows of 3", "largest lag", "2 steps", "4 (2 x 2)", "at most about", "17,639"):
        assert line in told
    # batches: two in each whole window, one in the last; four samples each, eight bytes for each of 17 tokens
    assert "20, at most 340 tokens" in told
    assert "2.72 kB" in told
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_leaves_numbers_configuration_versions_and_a_report(finished):
    assert [record["step"] for record in read(finished / METRICS)] == [0, 1, 2, 3, 4]
    assert runs.read_config(finished).steps == 4
    (started,) = runs.starts(finished)
    assert started["step"] == 0
    assert started["numpy"] == np.__version__
    assert "tiny" in (finished / "report.html").read_text("utf-8")
    pairs = json.loads((finished / "log_ratios.json").read_text())
    assert pairs["step"] == 4
    assert len(pairs["predicted"]) == len(pairs["realized"]) > 0


def test_a_run_is_not_written_over_and_goes_on_only_as_it_began(countdown_model, config, tmp_path, capsys):
    run = tmp_path / "run"
    assert cli.main(["train", config, "--out", str(run), "steps=2", "evaluation.every=0"]) == 0
    before = (run / METRICS).read_bytes()
    capsys.readouterr()
    assert cli.main(["train", config, "--out", str(run)]) == 2
    assert "a run is there already; add --resume" in complaint(capsys)
    assert cli.main(["train", str(run), "--resume", "optimizer.learning_rate=1.0"]) == 2
    assert "is of a run with another optimizer.learning_rate" in complaint(capsys)
    assert runs.read_config(run).optimizer.learning_rate == 1e-3
    assert (run / METRICS).read_bytes() == before
    assert cli.main(["train", str(run), "--resume", "steps=3"]) == 0
    assert (run / METRICS).read_bytes().startswith(before)
    assert runs.read_config(run).steps == 3
    assert [start["step"] for start in runs.starts(run)] == [0, 2, 2]
    assert cli.main(["train", config, "--out", str(tmp_path / "none"), "--resume"]) == 2


def test_a_folder_belongs_to_one_training_at_a_time(config, tmp_path, capsys):
    run = tmp_path / "run"
    with held(run):
        assert cli.main(["train", config, "--out", str(run)]) == 2
        assert f"{run}: is in use by process {os.getpid()} on " in complaint(capsys)
        assert not (run / METRICS).exists()


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damaged_metrics_are_told_before_anything_else_is_written(config, tmp_path, capsys, damage):
    run = tmp_path / "run"
    assert cli.main(["train", config, "--out", str(run), "steps=2", "evaluation.every=0"]) == 0
    path, content = run / METRICS, (run / METRICS).read_bytes()
    path.write_bytes(content.replace(b'"step": 1', b'"step": 7') if damage == "changed" else content[:-10])
    if damage == "gone":
        path.unlink()
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and not file.name.startswith(".")}
    capsys.readouterr()
    assert cli.main(["train", str(run), "--resume", "steps=3"]) == 2
    assert "is not what the run had written by its last checkpoint" in complaint(capsys)
    after = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and not file.name.startswith(".")}
    assert after == before
    path.write_bytes(content)  # as the message advises
    assert cli.main(["train", str(run), "--resume", "steps=3"]) == 0


def test_a_run_goes_on_only_with_the_model_it_began_with(countdown_model, config, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(countdown_model, model)
    run, where = tmp_path / "run", f"model.path={json.dumps(str(model))}"
    assert cli.main(["train", config, where, "--out", str(run), "steps=2", "evaluation.every=0"]) == 0
    settings = model / "generation_config.json"
    before = settings.read_text()
    settings.write_text(json.dumps(json.loads(before) | {"eos_token_id": [0, 1]}))
    capsys.readouterr()
    assert cli.main(["train", str(run), "--resume", "steps=3"]) == 2
    assert "model.path: what is there now is not what the run began with" in complaint(capsys)
    settings.write_text(before)
    assert cli.main(["train", str(run), "--resume", "steps=3"]) == 0


def test_a_damaged_checkpoint_can_be_deleted_as_the_message_advises(config, tmp_path, capsys):
    run = tmp_path / "run"
    out = ["--out", str(run), "evaluation.every=0", "lag.sync_every=4", "lag.epochs=2"]
    assert cli.main(["train", config, *out]) == 0
    whole = (run / METRICS).read_bytes()
    for name in ("step-000004/manifest.json", "step-000004/optimizer.safetensors"):
        path, content = run / "checkpoints" / name, (run / "checkpoints" / name).read_bytes()
        path.write_bytes(content[:-1])
        capsys.readouterr()
        assert cli.main(["train", str(run), "--resume"]) == 2
        assert "step-000004: the checkpoint is damaged" in complaint(capsys)
        path.write_bytes(content)
    shutil.rmtree(run / "checkpoints" / "step-000004")  # goes on from step 2, inside a window
    buffer = run / "buffer" / "batch-000000.parquet"
    buffer.write_bytes(buffer.read_bytes()[:-1])
    assert cli.main(["train", str(run), "--resume"]) == 2
    assert "delete it to draw it again" in complaint(capsys)
    buffer.unlink()
    assert cli.main(["train", str(run), "--resume"]) == 0
    assert (run / METRICS).read_bytes() == whole


def test_a_configuration_for_a_gpu_is_refused_without_one_before_anything_is_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    for command in ("train", "warmup", "selftest", "eval"):
        assert cli.main([command, "small_gpu"]) == 2
        assert "small_gpu is for a GPU, and there is none here" in complaint(capsys)
    assert list(tmp_path.iterdir()) == []
    assert cli.main(["train", "small_gpu", "--dry-run"]) == 0
    assert "a GPU, which is not here" in capsys.readouterr().out


OWN = """
import pessimism as ps

def robust(beta=0.5):
    baseline = ps.algorithm("opmd", tau=beta).baseline
    return ps.Algorithm(lambda log_ratio, advantage: advantage - beta * log_ratio, baseline)

finished = robust()
"""


def test_an_objective_of_ones_own_trains_and_goes_on(config, tmp_path, capsys, monkeypatch):
    """The same numbers as the entry of the catalogue that it is equal to, named in either way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_losses.py").write_text(OWN)
    named = {
        "entry": 'objective={algorithm="opmd", parameters={tau=0.5}}',
        "module": 'objective={algorithm="own_losses:robust", parameters={beta=0.5}}',
        "file": f'objective={{algorithm="{tmp_path / "own_losses.py"}:finished"}}',
    }
    for name, objective in named.items():
        assert cli.main(["train", config, "--out", name, "steps=2", "evaluation.every=0", objective]) == 0
    entropies = [[record["policy/entropy"] for record in read(Path(name) / METRICS)] for name in named]
    assert entropies[0] == entropies[1] == entropies[2]
    page = (Path("module") / "report.html").read_text("utf-8")
    assert "own_losses:robust(beta=0.5)" in page
    assert "an objective that is not of the catalogue" in page
    assert cli.main(["train", "module", "--resume", "steps=3"]) == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own_losses:nothing", "module 'own_losses' has no 'nothing'"),
        ("nowhere.py:robust", "there is no file nowhere.py"),
        ("own_losses.py:robust.more", "has no 'robust.more'"),
        ("no_such_module:robust", "no module 'no_such_module'"),
    ],
)
def test_an_objective_that_is_not_there_is_told_in_one_line(config, tmp_path, capsys, monkeypatch, name, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_losses.py").write_text(OWN)
    assert cli.main(["train", config, f"objective.algorithm={name}", "--dry-run"]) == 2
    assert told in complaint(capsys)


def test_a_signal_ends_the_step_and_says_how_to_go_on(config, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"

    def update(self, step, numbers, timing):
        if step == 1:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(screen.Lines, "update", update)
    assert cli.main(["train", config, "--out", str(run)]) == 130
    assert complaint(capsys) == f"stopped after step 1; to go on: python -m llm train {run} --resume"
    assert (run / "checkpoints" / "step-000001").is_dir()
    monkeypatch.undo()
    assert cli.main(["train", str(run), "--resume"]) == 0
    assert [record["step"] for record in read(run / METRICS)] == [0, 1, 2, 3, 4]


def test_a_run_that_fails_has_status_one_and_one_line(config, tmp_path, capsys):
    out = ["--out", str(tmp_path / "run"), "evaluation.every=0"]
    assert cli.main(["train", config, *out, "optimizer.learning_rate=1e30"]) == 1
    assert "the gradient is nan" in complaint(capsys)
    out[1] = str(tmp_path / "other")
    assert cli.main(["train", config, *out, "rollout.probe_tolerance=1e-30"]) == 1
    assert "engine and trainer disagree" in complaint(capsys)


def test_a_full_disk_ends_the_run_and_leaves_its_checkpoint(config, tmp_path, capsys, monkeypatch):
    run, record = tmp_path / "run", Watcher.record

    def fill(self, step, numbers, timing):
        if step == 3:
            self._files[METRICS].close()
            self._files[METRICS] = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
        record(self, step, numbers, timing)

    monkeypatch.setattr(Watcher, "record", fill)
    assert cli.main(["train", config, "--out", str(run)]) == 1
    assert complaint(capsys) == f"error: {run / METRICS}: No space left on device"
    monkeypatch.undo()
    assert cli.main(["train", str(run), "--resume"]) == 0
    assert [line["step"] for line in read(run / METRICS)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "nowhere.toml"], "nowhere.toml"),
        (["train", "CONFIG", "lag.sync=3"], "lag.sync: no such key; known keys: sync_every, epochs"),
        (["train", "tiny_cup", "--dry-run"], "tiny_cup: no file or configuration of that name; did you mean tiny_cpu?"),
        (["train", "CONFIG", "stepz=3"], "stepz: no such key; did you mean steps?"),
        (["train", "CONFIG", "steps"], "'steps' is no override"),
        (["train", "CONFIG", "objective.algorithm=nothing"], "objective: "),
        (["train", "CONFIG", "rollout.group_size=1", "objective={algorithm='rloo'}", "--dry-run"], "group_size is 1"),
        (["train", "CONFIG", "model.path='/nowhere'"], "model.path: there is no such folder"),
        (["train", "CONFIG", "warmup={stepz=1}", "--dry-run"], "warmup: stepz: no such key"),
        (["train", "CONFIG", "watch.wandb=project", "--out", "OUT"], "watch.wandb: the package 'wandb'"),
        (["train", "CONFIG", "optimizer.tokens_per_pass=23", "--out", "OUT"], "a sample may have 24 tokens"),
        (["warmup", "CONFIG"], "has no table [warmup]"),
        (["eval", "CONFIG", "--step", "3"], "give the folder of a run"),
        (["report", "OUT"], "is no folder of a run"),
        (["sweep", "nothing"], "unknown study 'nothing'"),
        (["nothing"], "No such command"),
    ],
)
def test_bad_input_is_one_line_with_status_two(config, tmp_path, capsys, arguments, told, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    monkeypatch.chdir(tmp_path)  # where runs/ would be made
    places = {"CONFIG": config, "OUT": str(tmp_path / "out")}
    assert cli.main([places.get(argument, argument) for argument in arguments]) == 2
    line = complaint(capsys)
    assert line.startswith("error: ")
    assert told in line


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_start_that_failed_can_be_mended(config, tmp_path, resume):
    out = ["--out", str(tmp_path / "run"), "steps=1", "evaluation.every=0"]
    assert cli.main(["train", config, *out, "model.path='/nowhere'"]) == 2
    assert cli.main(["train", config, *out, *resume]) == 0


def test_a_configuration_is_shown_in_full_as_a_file(config, tmp_path, capsys):
    assert cli.main(["config", config, "lag.sync_every=3"]) == 0
    shown = capsys.readouterr().out
    copy = tmp_path / "copy.toml"
    copy.write_text(shown, "utf-8")
    assert load(copy) == load(config, ["lag.sync_every=3"])
    assert shown == to_toml(load(copy))
    assert cli.main(["config", "tiny_cpu"]) == 0
    assert 'name = "tiny_cpu"' in capsys.readouterr().out


def test_eval_takes_a_model_or_a_checkpoint(finished, config, capsys):
    assert cli.main(["eval", config, "evaluation.samples=4"]) == 0
    told = capsys.readouterr().out
    assert "pass@4" in told
    assert "weights of step 0: 4 held-out problems, 4 completions each" in told
    assert cli.main(["eval", str(finished)]) == 0
    found = json.loads((finished / "evaluation.json").read_text())
    last = read(finished / METRICS)[-1]
    assert found["step"] == 4
    # the same weights, prompts and seeds as the run's own evaluation after its last step
    assert {name: found[name] for name in ("reward", "pass@2", "length", "entropy")} == pytest.approx(
        {name: last[f"evaluation/{name}"] for name in ("reward", "pass@2", "length", "entropy")}
    )
    capsys.readouterr()
    assert cli.main(["eval", str(finished), "--step", "3"]) == 2
    assert "has no checkpoint of step 3; there are [2, 4]" in complaint(capsys)


def test_warm_up_makes_the_model_once(config, tmp_path, capsys):
    made = tmp_path / "models" / "warm"
    described = "warmup={steps=2, every=1, batch=4, prompts=2, samples=1, model={width=32, layers=1, heads=1}}"
    where = f"model.path={json.dumps(str(made))}"
    assert cli.main(["warmup", config, described, where]) == 0
    assert "warm-up step 2/2" in capsys.readouterr().out
    assert cli.main(["warmup", config, described, where]) == 2
    assert "exists already" in complaint(capsys)
    out = ["--out", str(tmp_path / "run"), "steps=1", "evaluation.every=0"]
    assert cli.main(["train", config, described, where, *out]) == 0


def test_the_selftest_holds_and_tells_when_it_does_not(config, capsys):
    assert cli.main(["selftest", config]) == 0
    assert "7 checks: 7 hold, 0 fail" in capsys.readouterr().out
    assert cli.main(["selftest", config, "rollout.probe_tolerance=1e-12"]) == 1
    assert "FAILS" in capsys.readouterr().out


def test_the_selftest_sees_an_engine_that_keeps_its_weights(config, monkeypatch):
    from llm.sample.engines.local import LocalEngine

    def sync(self, weights, version):
        self._version = version  # says so, and does nothing

    monkeypatch.setattr(LocalEngine, "sync", sync)
    failed = [check.name for check in selftest(load(config)) if not check.holds]
    assert failed == [
        "the same gap when all weights moved by 5%",
        "and from the weights before, which the probe must tell",
    ]


def test_the_selftest_sees_weights_that_move(config, monkeypatch):
    import torch

    step = torch.optim.AdamW.step

    def moving(self, *arguments):
        for group in self.param_groups:
            group["lr"] = 1e-3
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", moving)
    failed = {check.name for check in selftest(load(config)) if not check.holds}
    assert "weights after three updates" in failed


def test_studies_and_configurations_are_listed(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # of a terminal too narrow for whole names
    assert cli.main(["sweep"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in STUDIES)
    assert cli.main(["configs"]) == 0
    listed = capsys.readouterr().out
    assert all(path.stem in listed for path in Path(cli.CONFIGS).glob("*.toml"))


def test_a_study_makes_the_model_that_its_runs_start_from(tmp_path, monkeypatch, capsys):
    one = dataclasses.replace(STUDIES["length51"], variants=STUDIES["lag"].variants[:1], seeds=1)
    small = {"steps": 2, "batch": 4, "prompts": 2, "samples": 1, "model": {"width": 32, "layers": 1, "heads": 1}}
    monkeypatch.setitem(STUDIES, "length51", dataclasses.replace(one, warmup=small))
    monkeypatch.chdir(tmp_path)
    changes = ["steps=1", "rollout.prompts=2", "evaluation={every=1, prompts=2, samples=2}", "task.options.size=50"]
    assert cli.main(["sweep", "length51", *changes]) == 0
    assert "making runs/warm/countdown24x3" in capsys.readouterr().out
    (row,) = polars.read_parquet("results/llm/length51.parquet").filter("last").iter_rows(named=True)
    assert (row["variant"], row["step"], row["ended"]) == ("grpo.no_ratio", 1, "")


def test_help_names_every_command(capsys):
    assert cli.main([]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("train", "eval", "warmup", "sweep", "selftest", "report", "config"))
