"""Studies: every cell once, whatever interrupts them; a run that cannot go on is a result, not an end."""

import dataclasses
import json

import numpy as np
import pytest

from llm.studies import STUDIES
from llm.sweep import Schedule, Study, Variant, cells, gather, run

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
    assert table.height == 8  # two evaluations each
    assert sorted(set(zip(table["sync_every"], table["seed"], strict=True))) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert (table["ended"] == "").all()
    entropy = table.filter(table["last"])["evaluation/entropy"].to_numpy()
    assert len(np.unique(entropy)) == 4  # seeds and schedules change the run
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").glob("*.json")}
    told = []
    again = run(study, tmp_path, progress=lambda done, total, last: told.append((done, total, last)))
    assert told == [(4, 4, "")]
    assert again.equals(table)
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").glob("*.json")}
    assert not list((tmp_path / "cells").glob("*/buffer"))


def test_a_run_that_cannot_go_on_is_a_result(study, tmp_path):
    wild = dataclasses.replace(study, schedules=(Schedule(2, 1, 2),), seeds=1)
    table = run(wild, tmp_path, overrides=["optimizer.learning_rate=1e30", "evaluation.every=0"])
    assert table["step"].to_list() == [1]
    assert "gradient is nan" in table["ended"][0]


def test_a_damaged_result_is_told(study, tmp_path):
    [cell, *_] = wanted = cells(study)
    (tmp_path / "cells").mkdir()
    path = tmp_path / "cells" / f"{cell.key}.json"
    for text in ("{", json.dumps({"records": []})):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"{cell.key}.json: damaged"):
            gather(wanted, tmp_path)


def test_a_bad_change_is_told(study):
    with pytest.raises(ValueError, match=r"study test: optimizer\.learning_rates: no such key"):
        cells(study, overrides=["optimizer.learning_rates=1"])


@pytest.mark.parametrize("name", STUDIES)
def test_studies_that_ship_are_well_formed(name):
    found = cells(STUDIES[name])
    assert len({cell.key for cell in found}) == len(found)
    assert {cell.config.seed for cell in found} == {0, 1, 2}
