"""Studies: every cell once, whatever interrupts them; a run that cannot go on is a result, not an end."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from llm.run import runs
from llm.study import sweep
from llm.study.studies import STUDIES
from llm.study.sweep import Schedule, Study, Variant, cells, run
from pessimism.studies import provenance
from pessimism.studies.lock import held
from pessimism.studies.store import Store

REGRESSION = Variant("regression", "shifted_mean", {"beta": 0.2})


@pytest.fixture(scope="module")
def study(countdown_model):
    base = {
        "name": "",
        "steps": 1,
        "checkpoint_every": 1,
        "model": {"path": str(countdown_model)},
        "task": {"name": "countdown24"},
        "rollout": {
            "engine": "transformers", "place": "colocated", "prompts": 2, "group_size": 2, "max_tokens": 17
        },
        "optimizer": {"learning_rate": 1e-3},
        "evaluation": {"every": 1, "prompts": 2, "samples": 2},
    }  # fmt: skip
    return Study("test", "nothing", base, (REGRESSION,), (Schedule(1, 1, 2), Schedule(2, 1, 2)), seeds=2)


def test_every_cell_is_a_run_and_none_is_computed_twice(study, tmp_path):
    table = run(study, tmp_path)
    assert table["last"].sum() == 4
    assert table.height == 12  # three evaluations each, the first before training
    assert sorted(set(zip(table["sync_every"], table["seed"], strict=True))) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert (table["ended"] == "").all()
    entropy = table.filter(table["last"])["evaluation/entropy"].to_numpy()
    assert len(np.unique(entropy)) == 4  # seeds and schedules change the run
    store = Store(tmp_path, "test")
    files = {path: path.stat().st_mtime_ns for path in store.cells.iterdir()}
    told = []
    again = run(study, tmp_path, progress=lambda done, total, last: told.append((done, total, last)))
    assert told == [(4, 4, "")]
    assert again.equals(table)
    assert files == {path: path.stat().st_mtime_ns for path in store.cells.iterdir()}
    assert not list((store.folder / "runs").glob("*/buffer"))
    fewer = run(study, tmp_path, seeds=1)  # those that are there, and nothing else
    assert fewer.equals(table.filter(seed=0))
    assert files == {path: path.stat().st_mtime_ns for path in store.cells.iterdir()}


def test_other_sources_versions_or_models_make_new_cells(study, countdown_model, tmp_path, monkeypatch):
    model = tmp_path / "model"
    shutil.copytree(countdown_model, model)
    here = [f"model.path='{model}'"]

    def keys():
        sweep._code.cache_clear()
        sweep._model.cache_clear()
        return list(sweep.make_study_plan(study, tmp_path, overrides=here).jobs)

    before = keys()
    assert keys() == before
    found = []
    changed = tmp_path / "loss.py"
    loss = sweep.sources(Path(sweep.__file__), ("pessimism", "llm"), provenance.NO_NUMBERS)
    (path,) = [path for path in loss if path.name == "loss.py"]
    changed.write_bytes(path.read_bytes() + b"# changed\n")
    others = [changed if other == path else other for other in loss]
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "sources", lambda *arguments: others)
        found.append(keys())
    with monkeypatch.context() as patch:
        patch.setattr(runs, "versions", lambda: {"torch": "0.1"})
        found.append(keys())
    settings = model / "generation_config.json"
    text = settings.read_text()
    settings.write_text(text + " ")
    found.append(keys())
    settings.write_text(text)
    assert keys() == before
    assert len({key for some in (before, *found) for key in some}) == 4 * len(before)


def test_an_objective_of_ones_own_is_part_of_the_key(study, tmp_path):
    path = tmp_path / "own_study_loss.py"
    path.write_text("import pessimism as ps\nmine = ps.Algorithm(lambda log_ratio, advantage: advantage - log_ratio)\n")
    own = dataclasses.replace(study, variants=(Variant("mine", f"{path}:mine"),))
    before = sweep.make_study_plan(own, tmp_path).jobs.keys()
    assert sweep.make_study_plan(own, tmp_path).jobs.keys() == before
    path.write_text(path.read_text() + "# changed\n")
    assert not before & sweep.make_study_plan(own, tmp_path).jobs.keys()


def test_a_default_that_is_written_out_makes_no_new_cell_and_another_value_does(study):
    plain = {cell.key("") for cell in sweep.cells(study)}
    assert {cell.key("") for cell in sweep.cells(study, overrides=["optimizer.weight_decay=0.0"])} == plain
    assert not {cell.key("") for cell in sweep.cells(study, overrides=["optimizer.weight_decay=0.1"])} & plain


def test_a_runs_sources_are_those_that_it_reaches():
    reached = sweep.sources(Path(sweep.__file__), ("pessimism", "llm"), provenance.NO_NUMBERS)
    names = {path.relative_to(provenance.ROOT).as_posix() for path in reached}
    stems = {path.stem for path in reached if "llm" in path.relative_to(provenance.ROOT).parts}
    assert {"loss", "train", "rollout", "policy", "math_scorer", "reasoning_scorer", "countdown", "vllm"} <= stems
    assert "pessimism/objectives/regression.py" in names
    assert not stems & {"report", "charts", "cli", "selftest"}
    assert not any(name.startswith("pessimism/claims/") for name in names)


def test_two_processes_do_not_compute_one_study(study, tmp_path):
    with held(tmp_path / "test"), pytest.raises(ValueError, match="is in use by process"):
        run(study, tmp_path)


def test_a_cell_that_cannot_start_is_told_and_the_others_are_kept(study, tmp_path, monkeypatch):
    trained = sweep._trained

    def failing(job):
        if job.cell.config.seed == 1:
            raise OSError("the disk is gone")
        return trained(job)

    monkeypatch.setattr(sweep, "_trained", failing)
    with pytest.raises(RuntimeError, match=r"2 of 4 runs failed; the first is .* seed 1: OSError: the disk is gone"):
        run(study, tmp_path)
    monkeypatch.undo()
    told = []
    run(study, tmp_path, progress=lambda done, total, last: told.append(done))
    assert told == [2, 3, 4]


def test_a_run_that_cannot_go_on_is_a_result(study, tmp_path):
    wild = dataclasses.replace(study, schedules=(Schedule(2, 1, 2),), seeds=1)
    table = run(wild, tmp_path, overrides=["optimizer.learning_rate=1e30", "evaluation.every=0"])
    assert table["step"].to_list() == [1]
    assert "gradient is nan" in table["ended"][0]


def test_a_damaged_result_is_noticed_and_computed_again(study, tmp_path):
    one = dataclasses.replace(study, schedules=(Schedule(2, 1, 2),), seeds=1)
    table = run(one, tmp_path)
    (path,) = Store(tmp_path, "test").cells.iterdir()
    content = path.read_bytes()
    for damaged in (content[:-1], b"", content.replace(b"regression", b"regressiom")):
        path.write_bytes(damaged)
        plan = sweep.make_study_plan(one, tmp_path)
        assert len(plan.missing) == 1
        assert "damaged or half-written" in plan.damaged[path]
    assert run(one, tmp_path).equals(table)
    assert path.read_bytes() == content


def test_a_bad_change_is_told(study):
    with pytest.raises(ValueError, match=r"study test: optimizer\.learning_rates: no such key"):
        cells(study, overrides=["optimizer.learning_rates=1"])


@pytest.mark.parametrize("name", STUDIES)
def test_studies_that_ship_are_well_formed(name):
    found = cells(STUDIES[name])
    assert len({cell.key("") for cell in found}) == len(found)
    assert {cell.config.seed for cell in found} == {0, 1, 2}
