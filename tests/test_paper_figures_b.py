"""Figures made from sweeps, and the convergence plot: what they make of the runs, on small grids."""

import dataclasses
from functools import cache

import numpy as np
import polars as pl
import pytest
from matplotlib.text import Text
from scipy.stats import ttest_1samp

import pessimism as ps
from bandits.recursion import ideal_recursion
from bandits.settings import Settings
from bandits.simulate import simulate
from bandits.sweeps import on_cores
from bandits.sweeps import run as run_sweep
from bandits.sweeps.grids import BETA, REGRESSIONS, SPARSE
from paper_figures import (
    convergence,
    counterfactual,
    lag_and_collapse,
    numbers,
    style,
    swept,
    tpo_misalignment,
    verifier_noise,
)

SWEPT = {module.FIGURE.name: module for module in (lag_and_collapse, counterfactual, verifier_noise)}
LAG = {"lag": 6, "syncs": 5, "groups": 6, "minibatches": 6, "record_every": 1, "learning_rate": 4.0}
SHORT = {
    "lag_and_collapse": [LAG, {**LAG, "lag": 10, "syncs": 3}],
    "counterfactual": [LAG],
    "verifier_noise": None,
}
RUNS = 2
FEW = convergence.Settings(
    sizes=(32, 256, 2048), fitted_from=256, windows=(1, 2), bandits=6, arms=4, concentration=10.0, runs=4, lag=400
)
SOME = tpo_misalignment.Settings(runs=20, steps=110)
DRAWN = SWEPT | {module.FIGURE.name: module for module in (convergence, tpo_misalignment)}


@pytest.fixture(scope="module")
def swept_tables(tmp_path_factory) -> dict[str, pl.DataFrame]:
    """The sweeps of the three figures, short and with few seeds."""
    tables = {}
    for name, variations in SHORT.items():
        (sweep,) = SWEPT[name].FIGURE.sweeps
        common = dataclasses.replace(sweep.settings, syncs=4, lag=10, groups=2, minibatches=2, record_every=4)
        kept = variations or sweep.variations[::6]
        short = dataclasses.replace(sweep, settings=common, variations=kept, seeds=RUNS)
        tables[name] = run_sweep(short, tmp_path_factory.mktemp("sweeps"), on_cores(1))
    return tables


@pytest.fixture(scope="module")
def computed(swept_tables) -> dict[str, pl.DataFrame]:
    found = {name: SWEPT[name].compute(SWEPT[name].Settings(), table) for name, table in swept_tables.items()}
    return found | {"convergence": few(), "tpo_misalignment": tpo_misalignment.compute(SOME)}


@cache
def few() -> pl.DataFrame:
    return convergence.compute(FEW)


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_fits_its_columns_and_is_legible(name, computed):
    with style.context():
        figure = DRAWN[name].draw(computed[name])
        figure.canvas.draw()
        assert figure.get_size_inches()[0] == style.DOUBLE
        texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
        assert len(texts) > 10
        assert min(float(text.get_fontsize()) for text in texts) >= 7


# --- sweeps as arrays -------------------------------------------------------------------------------------------------


def test_intervals_are_those_of_the_t_test():
    values = np.random.default_rng(0).normal(size=(3, 7))
    mean, half = swept.interval(values)
    for row, middle, width in zip(values, mean, half, strict=True):
        known = ttest_1samp(row, 0).confidence_interval(swept.CONFIDENCE)
        assert (middle - width, middle + width) == pytest.approx((known.low, known.high), abs=1e-12)


def test_arrays_hold_the_rows_of_the_table(swept_tables):
    table = swept_tables["counterfactual"]
    _, cell = list(swept.cells(table))[3]
    values = swept.runs(cell, "value")
    assert values.shape == (5, RUNS, 16)
    row = cell.filter((pl.col("sync") == 4) & (pl.col("seed") == 1) & (pl.col("world") == 9))
    assert values[3, 1, 9] == row["value"].item()


def test_worlds_average_the_seeds_that_have_a_value():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    assert np.array_equal(swept.per_world(values), [2.0, 5.0, np.nan], equal_nan=True)


@pytest.mark.parametrize("spec", REGRESSIONS[:4], ids=str)
def test_ideal_recursions_of_two_rewards_lose_no_entropy_at_their_value(spec):
    bandit = SPARSE.build()
    run = ideal_recursion(bandit, spec.build(), 6)
    value, left = run.value[:, 0, :, 0], run.entropy[:, 0, :, 0]
    seen = value < 1 - 1e-9
    assert np.abs(swept.population_entropy(bandit)(value) - left)[seen].max() < 1e-3


def test_entropy_at_a_value_is_exact_for_runs_that_lose_nothing_and_missing_for_those_that_never_reach_it():
    bandit = SPARSE.build()
    population, begin = swept.population_entropy(bandit), swept.start(bandit)
    worlds = len(begin[0])
    value = np.array([0.6, 0.97, 0.9])[:, None, None] * np.ones((1, 2, worlds))
    value[:, 1] = 0.5
    found = swept.entropy_at(0.95, value, population(value), begin, population)
    assert np.allclose(found[0], population(np.full(worlds, 0.95)), atol=1e-3)
    assert np.isnan(found[1]).all()


def test_entropy_at_a_value_that_is_recorded_is_the_record():
    bandit = SPARSE.build()
    population, begin = swept.population_entropy(bandit), swept.start(bandit)
    value = np.array([0.5, 0.95, 0.99])[:, None, None] * np.ones((1, 1, len(begin[0])))
    left = np.array([2.0, 1.25, 0.5])[:, None, None] * np.ones_like(value[:1])
    assert np.allclose(swept.entropy_at(0.95, value, left, begin, population), 1.25, atol=1e-9)


# --- figures ----------------------------------------------------------------------------------------------------------


def test_lagged_runs_start_at_the_behavior_policy_and_end_where_the_sweep_does(computed, swept_tables):
    table, rows = computed["lag_and_collapse"], swept_tables["lag_and_collapse"]
    objectives = table.filter(pl.col("algorithm") != lag_and_collapse.POPULATION)
    assert objectives["algorithm"].n_unique() == 10
    bandit = SPARSE.build()
    beginnings = objectives.filter(pl.col("step") == 0)
    assert np.allclose(beginnings["value"].to_numpy(), (bandit.behavior * bandit.reward).sum(axis=-1).mean())
    last = rows.filter((pl.col("lag") == 10) & (pl.col("sync") == 3))
    for name in ("value", "entropy", "kl"):
        ends = objectives.filter((pl.col("lag") == 10) & (pl.col("step") == 30))
        for algorithm, mean in ends.select("algorithm", name).iter_rows():
            expected = last.filter(pl.col("algorithm") == algorithm)[name].to_numpy().mean()
            assert mean == pytest.approx(expected, rel=1e-12)


def test_the_population_keeps_less_entropy_the_higher_its_value(computed):
    table = computed["lag_and_collapse"].filter(pl.col("algorithm") == lag_and_collapse.POPULATION)
    assert (np.diff(table.sort("value")["entropy"].to_numpy()) < 0).all()


def test_changes_are_twin_minus_objective_with_the_right_twin(computed, swept_tables):
    table, rows = computed["counterfactual"], swept_tables["counterfactual"]
    assert table.height == len(REGRESSIONS) * 2 * 4
    known = table.filter(pl.col("change").is_not_null())
    assert np.allclose(known["change"], known["of_twin"] - known["of_objective"], atol=1e-12)
    last = rows.filter(pl.col("sync") == 5)
    for twin, baseline in ((counterfactual.WEIGHTED, "oapl"), (counterfactual.CENTERED, None)):
        same = pl.col("baseline_of").eq_missing(pl.lit(baseline, pl.String))
        expected = last.filter((pl.col("algorithm") == twin) & same)["entropy"].to_numpy().mean()
        row = table.filter(
            (pl.col("objective") == "oapl") & (pl.col("twin") == twin) & (pl.col("measure") == "entropy")
        )
        assert row["of_twin"].item() == pytest.approx(expected, rel=1e-12)


def test_too_few_runs_at_the_value_are_not_compared(swept_tables):
    table = counterfactual.compute(counterfactual.Settings(level=1 - 1e-12), swept_tables["counterfactual"])
    at = table.filter(pl.col("measure") == "entropy_at")
    few_there = at.filter((pl.col("reached_objective") < 0.5) | (pl.col("reached_twin") < 0.5))
    assert few_there.height > 0
    assert few_there["change"].is_null().all()


def test_the_pairwise_twin_is_the_centered_one_and_the_same_for_every_baseline_of_one_number():
    bandit, settings = SPARSE.build(), Settings(syncs=2, lag=5, group_size=8, groups=5, minibatches=5, targets=False)
    pairwise = ps.algorithm("pairwise_regression", beta=BETA)
    known = simulate(bandit, pairwise, settings).policy
    one_number = [spec.build().baseline for spec in REGRESSIONS if spec.name != "pmd_mean"]
    others = [ps.algorithm("centered_regression", beta=BETA)]
    others += [dataclasses.replace(pairwise, baseline=baseline) for baseline in one_number]
    for other in others:
        assert np.allclose(simulate(bandit, other, settings).policy, known, rtol=1e-9, atol=1e-12)


def test_the_leave_one_out_mean_only_stretches_the_advantages_of_a_group():
    reward = np.random.default_rng(0).normal(size=8)
    left_out = ps.algorithm("pmd_mean", tau=BETA).baseline.group(reward)
    assert np.allclose(left_out, 8 / 7 * (reward - reward.mean()))


def test_someone_is_best_at_all_rates_and_nobody_far_behind_is(computed, swept_tables):
    table = computed["verifier_noise"]
    assert table["objective"].n_unique() == 6
    for _, rates in table.group_by(*verifier_noise.RATES):
        assert rates.filter(pl.col("behind") == 0)["with_best"].all()
        assert rates.height == 6
        clear = rates.filter(pl.col("behind") > pl.col("behind_half"))
        assert not clear["with_best"].any()
    regimes = table.select(verifier_noise.REGIMES).drop_nulls()
    assert np.allclose(regimes.sum_horizontal(), 1)
    negative = table.filter(pl.col("objective") == "oapl.missing_log_g")
    assert (negative["negative"] == 1).all()
    assert table.filter(pl.col("objective") == "is_regression")["positive"].is_null().all()
    assert len(list(swept.cells(swept_tables["verifier_noise"]))) == table.height


def test_runs_approach_the_ideal_recursion_at_the_rate_of_sampling_error():
    slopes = few().filter((pl.col("panel") == "slope") & (pl.col("objective") != "pairwise_regression"))
    assert slopes.height == 8
    assert (np.abs(slopes["slope"].to_numpy() + 0.5) < 0.2).all()
    distances = few().filter((pl.col("panel") == "distance") & (pl.col("objective") == "shifted_mean"))
    for _, window in distances.group_by("window"):
        sampled = window.filter(pl.col("size") != convergence.EXACT).sort("size")["distance"].to_numpy()
        assert (np.diff(sampled) < 0).all()
        assert window.filter(pl.col("size") == convergence.EXACT)["distance"].item() < sampled[-1] / 10


def test_pairwise_regression_has_no_sampling_error_once_every_arm_is_seen():
    distances = few().filter((pl.col("panel") == "distance") & (pl.col("size") == 2048) & (pl.col("window") == 1))
    found = dict(distances.select("objective", "distance").rows())
    assert found["pairwise_regression"] < found["shifted_mean"] / 20


def test_late_misalignment_of_tpo_is_what_is_added_to_its_lengths(computed):
    table = computed["tpo_misalignment"]
    assert (table["low"] <= table["median"]).all()
    assert (table["median"] <= table["high"]).all()
    true = tpo_misalignment.compute(dataclasses.replace(SOME, added=0.0))
    late = [rows.filter((pl.col("method") == "tpo") & (pl.col("step") == 109))["mean"].item() for rows in (table, true)]
    assert late[1] < late[0] / 1000


def test_the_same_settings_give_the_same_data(computed, swept_tables):
    again = counterfactual.compute(counterfactual.Settings(), swept_tables["counterfactual"])
    assert again.equals(computed["counterfactual"], null_equal=True)


def test_numbers_of_these_figures_are_read_from_their_tables():
    asked = [number for number in numbers.NUMBERS if number.name.startswith("convergence")]
    quoted = {number.name: number.value for number in numbers.evaluate({"convergence": few()}, asked)}
    slopes = few().filter((pl.col("panel") == "slope") & (pl.col("objective") == "shifted_mean"))
    assert quoted["convergence.slope"] == slopes["slope"][0]
    assert quoted["convergence.slope.half"] == slopes["half"][0]
