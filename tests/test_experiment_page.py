"""docs/experiment.md says what the stored runs say, and those are what today's code computes."""

import doctest
import json
import re
from functools import cache

import numpy as np
import polars as pl
import pytest

from bandits.experiment.compute import Job, rows
from bandits.experiment.design import DOSES, groups
from llm.study.experiment import block
from paper_figures import experiment as stored
from paper_figures.contrasts import WEIGHTS, contrasts, effect, pairs, rank_correlation, trend
from pessimism.studies.provenance import digest
from scripts import experiment as page
from scripts import experiment_model

TEXT = page.PAGE.read_text("utf-8")
RATES = [(optimizer, kind) for optimizer in ("sgd", "adam") for kind in page.KINDS]


@cache
def tables():
    return page.tables() | experiment_model.tables()


def test_tables_are_current():
    for name, content in tables().items():
        assert f"<!-- begin {name} -->\n{content}\n<!-- end {name} -->" in TEXT, "run python -m scripts.findings"


def test_every_table_stands_on_the_page_and_links_resolve():
    assert set(re.findall(r"<!-- begin (\w+) -->", TEXT)) == set(tables())
    anchors = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall("^#+(.*)$", TEXT, re.M)
    }
    assert set(re.findall(r"\(#([^)]+)\)", TEXT)) <= anchors
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in target]
    assert len(targets) > 4
    assert [target for target in targets if not (page.PAGE.parent / target).exists()] == []


def test_examples_run():
    found = doctest.testmod(page)
    assert found.attempted == 2
    assert found.failed == 0


@pytest.mark.parametrize(
    "place", [("binary", "normalized", 400, 0.16), ("sequences", "adam", 1, 0.05), ("noise 1", "sgd", 1, 2.0)]
)
def test_stored_rows_are_what_the_code_computes(place):
    group = next(
        group for group in groups(0) if (group.world, group.optimizer, group.lag, group.rate) == place
    )  # of the family, which comes first
    key = Job(group, digest(json.loads(stored.BANDITS.with_suffix(".json").read_text("utf-8")))).key
    there = pl.read_parquet(stored.BANDITS).filter(cell=key)
    made = rows(group)
    assert len(there) == len(made) > 0
    for name in made.columns:
        if made[name].dtype.is_float():
            np.testing.assert_allclose(there[name].to_numpy(), made[name].to_numpy(), rtol=1e-4, atol=1e-5)
        else:
            assert there[name].to_list() == made[name].to_list()


# --- what the prose says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("optimizer", "kind"), RATES)
def test_the_nominal_target_keeps_as_much_value(optimizer, kind):
    found = effect(pairs(stored.over_worlds(page.KINDS[kind](), optimizer, "value"))["nominal, h = 1"])
    assert found.low > -page.BOUND
    if kind == "tuned":
        assert found.equivalent(page.BOUND)


@pytest.mark.parametrize(("optimizer", "kind"), RATES)
def test_the_full_weight_costs_value_at_equal_rates_and_less_at_tuned_ones(optimizer, kind):
    found = pairs(stored.over_worlds(page.KINDS[kind](), optimizer, "value"))
    full, capped = (page.verdict(effect(found[f"Lambert, h = {weight}"])) for weight in ("ρ", "min(ρ, 2)"))
    if kind == "equal":
        assert full == "worse by more than .02"
    else:
        assert full == {"adam": "equivalent", "sgd": "open"}[optimizer]
        assert capped == "equivalent"


@pytest.mark.parametrize(("optimizer", "kind"), RATES)
def test_value_falls_with_the_dose_and_collapse_does_not(optimizer, kind):
    table = page.KINDS[kind]()
    value = stored.over_worlds(table, optimizer, "value")
    for weight in WEIGHTS:
        for lag in page.LONG:
            way, p = trend(value, weight, lag)
            assert way == -1
            assert p < page.LEVEL
    collapsed = effect(contrasts(stored.over_worlds(table, optimizer, "collapsed"))["dose"])
    assert collapsed.mean + collapsed.half > 0
    if kind == "equal":
        assert collapsed.mean - collapsed.half > 0
    entropy = effect(contrasts(stored.over_worlds(table, optimizer, "entropy"))["dose"])
    assert entropy.mean - entropy.half > 0.25


def test_noise_alone_makes_runs_collapse():
    table = stored.equal_rate().filter(objective="residual", weight="1", dose=1.0, world="binary", optimizer="sgd")
    for lag in stored.STALE:
        share = dict(table.filter(lag=lag).group_by("offset").agg(pl.col("collapsed").mean()).iter_rows())
        assert min(share[-2.0], share[2.0]) > share[0.0] + 0.2


def test_explicit_pessimism_does_not_make_weighted_objectives_stable():
    for weight in WEIGHTS[1:]:
        by = {
            (optimizer, measure): [
                stored.over_worlds(stored.equal_rate(), optimizer, measure).at(dose, weight, page.FRESH).mean()
                for dose in DOSES
            ]
            for optimizer, measure in (("sgd", "collapsed"), ("adam", "value"))
        }
        assert np.diff(by["sgd", "collapsed"]).min() > 0
        assert np.ptp(by["adam", "value"]) < 0.01


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_measured_conservatism_orders_value_downwards_and_entropy_upwards(optimizer):
    names = ("value", "entropy", "conservatism")
    value, entropy, measured = (stored.over_worlds(stored.tuned(), optimizer, name).values for name in names)
    for weight in range(len(WEIGHTS)):
        for lag in (stored.STALE.index(lag) for lag in page.LONG):
            for outcome, sign in ((value, -1), (entropy, 1)):
                found = effect(rank_correlation(outcome[:, :, weight, lag], measured[:, :, weight, lag]))
                assert sign * found.mean > found.half


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tables_of_the_model_take_any_number_of_whole_blocks(count, monkeypatch, tmp_path):
    rows = []
    for cell in [*block(0, 0), *block(1, 0)][: 21 * count or 2]:
        dose = cell.variant.parameters.get("dose", 0.0)
        outcome = dict.fromkeys(experiment_model.OUTCOMES, 0.5 + 0.1 * dose)
        place = {
            "study": cell.study,
            "variant": cell.variant.label,
            "seed": 0,
            "sync_every": cell.config.lag.sync_every,
        }
        rows.append({**place, "last": True, **outcome})
    pl.DataFrame(rows).write_parquet(tmp_path / "runs.parquet")
    monkeypatch.setattr(stored, "LANGUAGE_MODEL", tmp_path / "runs.parquet")
    stored.language_model.cache_clear()
    made = experiment_model.tables()
    stored.language_model.cache_clear()
    assert f"{count} of 24" in made["model_runs"]
    assert ("+.100" in made["model_contrasts"]) == (count > 0)
    assert (" ± " in made["model_contrasts"]) == (count > 1)
    assert "missing_log_g" in made["model_noise"]
