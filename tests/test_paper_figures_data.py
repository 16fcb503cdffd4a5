"""Every figure's data on small settings obey what the theory says, and every figure can be drawn from them."""

import dataclasses
from functools import cache

import numpy as np
import polars as pl
import pytest
from matplotlib.text import Text

import pessimism as ps
from bandits.recursion import ideal_recursion
from llm.study.studies import STUDIES
from llm.study.sweep import cells as study_runs
from paper_figures import (
    asymre_transition,
    bad_prefix,
    catalogue_map,
    confidence_shift,
    language_model_lag,
    language_model_settings,
    oapl_plane,
    rare_arms,
    recursion_rate,
    regimes,
    residual_cells,
    residual_noise,
    run,
    sequence_levels,
    style,
    target_ratios,
    three_policies,
    tied_winners,
    trust_region,
)
from paper_figures.figures import FIGURES
from paper_figures.store import widened
from paper_figures.worlds import at_offset, random_bandits, rows, soft_value

CLIPPED = tuple(name for name, entry in ps.catalogue().items() if entry.family == "ratio")  # slow

SMALL = {
    "target_ratios": target_ratios.Settings(points=41),
    "regimes": regimes.Settings(points=9, bandits=4, bandit_points=5),
    "rare_arms": rare_arms.Settings(points=6, bandits=6, offsets=(-0.5, 0.5, 3.0)),
    "oapl_plane": oapl_plane.Settings(points=5, plane_sizes=(2, 8), plane_groups=30, sizes=(2, 8), groups=400),
    "asymre_transition": asymre_transition.Settings(below=(1.5, 0.3, 0.02), above=(0.0, 0.1), windows=(1, 5), draws=3),
    "sequence_levels": sequence_levels.Settings(lengths=(1, 2), trees=2, drawn_length=2),
    "language_model_lag": language_model_lag.Settings(),
    "language_model_settings": language_model_settings.Settings(),
    "catalogue_map": catalogue_map.Settings(arms=4, spread=2.0, frontier=(1e-2, 1e2, 9), left_out=CLIPPED),
    "confidence_shift": confidence_shift.Settings(bandits=8, draws=2, samples=(80, 1280), points=9),
    "three_policies": three_policies.Settings(bandits=2, runs=1, steps=32, every=16, samplers=(4, 16)),
    "trust_region": trust_region.Settings(bandits=30),
    "recursion_rate": recursion_rate.Settings(bandits=20, syncs=6),
    "residual_cells": residual_cells.Settings(syncs=2, seeds=2, worlds=(residual_cells.World(0.2, 20, 1.0, 0.5),)),
    "residual_noise": residual_noise.Settings(arms=6, rewarded=2),
    "bad_prefix": bad_prefix.Settings(points=3),
    "tied_winners": tied_winners.Settings(points=20),
}


@cache
def small(name: str) -> pl.DataFrame:
    return FIGURES[name].compute(SMALL[name])


def rows_of(table: pl.DataFrame, **values) -> pl.DataFrame:
    return table.filter(*[pl.col(name) == value for name, value in values.items()])


@pytest.mark.parametrize("name", SMALL)
def test_every_figure_is_made_fits_its_columns_and_is_legible(name, tmp_path):
    drawn = []

    def draw(table: pl.DataFrame):
        drawn.append(FIGURES[name].draw(table))
        return drawn[-1]

    spec = dataclasses.replace(FIGURES[name], settings=SMALL[name], compute=lambda _: small(name), draw=draw)
    (made,) = run.make([spec], tmp_path)
    assert made.table.equals(widened(small(name)), null_equal=True)
    for kind in ("pdf", "png"):
        assert (tmp_path / f"{name}.{kind}").stat().st_size > 5000
    assert drawn[0].get_size_inches()[0] in (style.SINGLE, style.DOUBLE)
    texts = [text for text in drawn[0].findobj(Text) if isinstance(text, Text) and text.get_text()]
    assert len(texts) > 10
    assert min(float(text.get_fontsize()) for text in texts) >= 7


@pytest.mark.parametrize("name", ["regimes", "oapl_plane"])
def test_the_same_settings_give_the_same_data(name):
    assert FIGURES[name].compute(SMALL[name]).equals(small(name), null_equal=True)


@pytest.mark.parametrize("study", ["lag", "identity", *language_model_settings.STUDIES])
def test_stored_runs_are_those_of_their_study(study):
    stored = pl.read_parquet(language_model_settings.path(study)).filter("last")
    declared = {
        (run.variant.label, run.config.lag.sync_every, run.config.lag.epochs, run.config.seed)
        for run in study_runs(STUDIES[study])
    }
    found = list(stored.select("variant", "sync_every", "epochs", "seed").iter_rows())
    assert len(found) == len(set(found))
    assert declared.issuperset(found)
    whole = [seed for seed in range(3) if len({run for run in declared - set(found) if run[-1] == seed}) == 0]
    assert stored["seed"].is_in(whole).all()  # no comparison lacks an objective


def test_stored_runs_are_averaged_over_seeds():
    stored = pl.read_parquet(language_model_lag.DATA).filter("last")
    shown = rows_of(small("language_model_lag"), objective="oapl", lag=100, measure="pass@1")
    values = stored.filter((pl.col("variant") == "oapl") & (pl.col("sync_every") == 100))["evaluation/pass@1"]
    assert shown["seeds"].item() == len(values) == 3
    assert shown["mean"].item() == pytest.approx(values.mean())
    mean = rows_of(small("language_model_settings"), panel="rate", setting="3e-4", objective="oapl", measure="reward")
    assert mean["mean"].item() == pytest.approx(values.mean())  # pass@1 is the reward where there is one problem


@pytest.mark.parametrize("panel", language_model_settings.PANELS)
def test_every_panel_compares_the_same_objectives_in_all_its_settings(panel):
    table = rows_of(small("language_model_settings"), panel=panel)
    compared = table.group_by("setting", "measure").agg(pl.col("objective").sort())
    assert compared["objective"].n_unique() == 1


def test_ratios_solve_their_equation_and_average_to_one():
    fixed = rows_of(small("target_ratios"), panel="strength")
    log_ratio, strength = np.log(fixed["ratio"].to_numpy()), fixed["strength"].to_numpy()
    assert np.allclose(log_ratio + strength * np.expm1(log_ratio), fixed["advantage"].to_numpy(), atol=1e-9)
    whole = rows_of(small("target_ratios"), panel="target")
    for _, curve in whole.group_by("curve"):
        assert curve["ratio"].to_numpy().mean() == pytest.approx(1, abs=1e-12)


def test_ratio_curves_bend_as_the_theory_says():
    whole = rows_of(small("target_ratios"), panel="target")
    curves = {curve: rows_of(whole, curve=curve)["ratio"].to_numpy() for curve in whole["curve"].unique()}
    step = 10 / 40
    assert np.diff(curves["shifted_mean"]).max() / step <= 1 + 1e-9
    assert np.allclose(np.diff(np.log(curves["nominal (opmd)"])) / step, 1)
    kept = curves["asymre, δV = −5β"]
    assert np.allclose(np.diff(kept), np.diff(kept)[0])
    assert curves["nominal (opmd)"].max() > curves["oapl, β₁ = 2β₂"].max() > curves["pmd_mean"].max()


def test_the_normalizer_changes_sign_at_the_soft_value_and_minima_multiply_beyond():
    table = small("regimes")
    example, random = rows_of(table, panel="example"), rows_of(table, panel="random")
    offset, strength = example["offset"].to_numpy(), example["strength"].to_numpy()
    away = np.abs(offset) > 1e-9
    assert (np.sign(strength[away]) == -np.sign(offset[away])).all()
    assert np.allclose(strength[~away], 0, atol=1e-12)
    assert (example.filter(pl.col("offset") <= 0)["minima"] == 1).all()
    assert example["minima"].to_numpy().max() == 5
    below = random.filter(pl.col("offset") <= 0)
    assert (below["minima_low"] == 1).all()
    assert (below["minima_high"] == 1).all()
    assert random["minima_mean"].to_numpy()[-1] > 2


def test_the_lowest_minimum_goes_to_the_rarest_arm_of_the_example():
    example = rows_of(small("rare_arms"), panel="example")
    high = example.filter(pl.col("offset") == example["offset"].max()).sort("probability")
    assert high["behavior"][-1] == example["behavior"].min()
    assert high["probability"][-1] > 0.9
    start = rows_of(example, offset=0.0)
    gibbs = start["behavior"].to_numpy() * np.exp(start["reward"].to_numpy() / 0.7)
    assert np.allclose(start["probability"].to_numpy(), gibbs / gibbs.sum(), atol=1e-12)


def test_update_and_minimum_agree_in_the_positive_regime():
    below = rows_of(small("rare_arms"), panel="random", offset=-0.5)
    minimum, flow = (rows_of(below, place=place).sort("bandit") for place in ("minimum", "flow"))
    assert np.allclose(minimum["probability"].to_numpy(), flow["probability"].to_numpy(), atol=1e-9)
    assert minimum["winner"].equals(flow["winner"])


def test_the_sign_of_the_normalizer_is_that_of_the_temperatures_in_every_group():
    plane = rows_of(small("oapl_plane"), panel="plane")
    beta1, beta2 = plane["beta1"].to_numpy(), plane["beta2"].to_numpy()
    assert np.array_equal(plane["positive"].to_numpy(), (beta1 > beta2).astype(float))
    assert np.array_equal(plane["negative"].to_numpy(), (beta1 < beta2).astype(float))
    known = plane.filter(pl.col("strength").is_not_null() & (pl.col("beta1") != pl.col("beta2")))
    assert (np.sign(known["strength"].to_numpy()) == np.sign((known["beta1"] - known["beta2"]).to_numpy())).all()
    assert (plane.filter(pl.col("beta1") >= pl.col("beta2"))["solved"] == 1).all()


def test_groups_fall_on_both_sides_of_the_soft_value_and_without_log_g_on_one():
    shares = rows_of(small("oapl_plane"), panel="size")
    correct = shares.filter((pl.col("variant") == "oapl") & (pl.col("beta1") == pl.col("beta2")))
    assert ((correct["below"] > 0.05) & (correct["below"] < 0.95)).all()
    many = rows_of(shares, variant="oapl.missing_log_g", size=8)
    assert (many["below"] == 0).all()
    ratio = shares["beta1"] / shares["beta2"]
    colder, hotter = (shares.filter((pl.col("variant") == "oapl") & (ratio.round(9) == value)) for value in (0.5, 2.0))
    assert (hotter["below"].to_numpy() >= colder["below"].to_numpy()).all()


def test_asymre_keeps_arms_below_the_mean_and_one_from_it_on():
    table = small("asymre_transition")
    above = table.filter(pl.col("shift") >= 0)
    assert (above["support"] == 1).all()
    assert (above["entropy"] < 1e-9).all()
    once = rows_of(table, window=1)
    assert (rows_of(once, shift=-1.5)["support"] == 100).all()
    assert (once.filter(pl.col("shift") < 0)["support"] > 1).all()
    assert (table["value"] <= table["best"] + 1e-12).all()
    later = table.filter((pl.col("window") == 5) & (pl.col("shift") < 0)).sort("shift", "draw")
    earlier = once.filter(pl.col("shift") < 0).sort("shift", "draw")
    assert (later["value"].to_numpy() > earlier["value"].to_numpy()).all()


def test_only_the_sequence_level_reaches_the_target_beyond_one_token():
    distances = rows_of(small("sequence_levels"), panel="distance")
    assert distances["converged"].all()
    assert (rows_of(distances, level="sequence")["distance"] < 1e-6).all()
    assert (rows_of(distances, length=1)["distance"] < 1e-6).all()
    assert (distances.filter((pl.col("length") > 1) & (pl.col("level") != "sequence"))["distance"] > 1e-3).all()


def test_the_map_holds_the_catalogue_under_its_frontier():
    table = small("catalogue_map")
    objectives, frontier = rows_of(table, panel="objective"), rows_of(table, panel="frontier").sort("kl")
    assert catalogue_map.Settings().left_out == ()
    assert set(objectives["name"]) == set(ps.catalogue()) - set(CLIPPED)
    assert (frontier["value"].diff().drop_nulls() >= -1e-12).all()
    regressions = objectives.filter(pl.col("regime") == "positive", pl.col("family") == "regression")
    assert regressions.height >= 5
    assert (regressions["kl"] <= regressions["nominal_kl"] + 1e-12).all()
    assert (regressions["value"] <= regressions["nominal_value"] + 1e-12).all()
    labels = [name for names in catalogue_map.clusters(table)["name"] for name in names]
    assert sorted(labels) == sorted(objectives["name"])


def test_offsets_place_the_baseline():
    batch = random_bandits(3, 4, seed=5)
    exact = np.log((batch.behavior * np.exp(batch.reward / 0.5)).sum(axis=-1)) * 0.5
    assert np.allclose(soft_value(batch, 0.5), exact)
    advantage = at_offset(batch, 0.5, 2.0).advantage(batch.reward, batch.behavior)
    assert np.allclose(batch.reward - advantage, (exact + 1.0)[:, None])
    assert [each.arms for each in rows(batch)] == [4, 4, 4]


def test_the_best_strength_is_a_maximum_and_below_what_a_bound_certifies():
    table = small("confidence_shift")
    for samples in (80, 1280):
        best, bound = (
            rows_of(table, panel=panel, samples=samples).row(0, named=True) for panel in ("best", "certified")
        )
        curve = rows_of(table, panel="curve", samples=samples)
        assert best["value"] == curve["value"].max() >= bound["value"]
        assert best["strength"] < bound["strength"]
        assert abs(np.log(curve.sort("value")["strength"][-1] / best["strength"])) < np.log(1e6 / 3) / 8


def test_realized_nats_are_those_of_a_shifted_mean_and_within_what_was_allowed():
    table = small("trust_region")
    assert table["realized"].to_numpy().max() <= 1
    assert table["shift"].to_numpy().max() <= 1
    row = rows_of(table, nats=0.1, temperature=0.3, bandit=4).row(0, named=True)
    generator = np.random.default_rng(0)
    behavior = generator.dirichlet(np.ones(8), size=30)[4]
    reward = (generator.uniform(size=(30, 8)) < 0.4).astype(float)[4]
    reward[:2] = 0.0, 1.0
    sd = np.sqrt(behavior @ (reward - behavior @ reward) ** 2)
    for shift, wanted in ((sd / np.sqrt(np.expm1(0.1)), row["realized"]), (None, 1.0)):
        below = row["shift"] * sd / np.sqrt(np.expm1(0.1)) if shift is None else shift
        chosen = ps.algorithm("shifted_mean", beta=0.3 * sd, delta=below / (0.3 * sd))
        target = ps.induced_target(ps.Bandit(behavior, reward), chosen)
        assert target.policy @ target.log_ratio == pytest.approx(0.1 * wanted, rel=1e-9)


def test_gaps_are_those_of_the_ideal_recursion_and_below_their_bounds():
    table = small("recursion_rate")
    assert (table["gap"] <= table["bound"]).all()
    assert (table["bound"] <= table["simple"]).all()
    generator = np.random.default_rng(0)
    behavior = generator.dirichlet(np.ones(8), size=20)
    reward = generator.uniform(size=(20, 8))
    reward[:, 0] = 1.0
    run = ideal_recursion(ps.Bandit(behavior, reward), ps.algorithm("shifted_mean", beta=0.3, delta=4.0), 6)
    last = rows_of(table, delta=4.0, sync=6)["gap"].to_numpy()
    np.testing.assert_allclose(last, 1 - run.value[-1, 0], atol=1e-12)


def test_tied_winners_end_where_the_targets_say():
    last = small("tied_winners").filter(pl.col("time") > 0.99e5)
    whole, capped = (rows_of(last, weight=name) for name in ("whole", "capped"))
    assert whole["probability"].to_numpy() == pytest.approx([1, 0, 0], abs=0.02)
    assert capped["probability"].to_numpy() == pytest.approx([0.8, 0.2, 0], abs=1e-3)
    assert whole["entropy"][0] < 0.1 < 0.45 < capped["entropy"][0]


def test_a_bad_prefix_runs_to_its_best_token_unless_the_prefix_is_positive():
    last = small("bad_prefix").filter(pl.col("time") > 0.99e4)
    assert last["bandit"].unique().to_list() == ["positive"]
    negative, positive = (rows_of(last, regime=name)["probability"].to_numpy() for name in ("negative", "positive"))
    assert negative == pytest.approx([1, 0, 0], abs=1e-3)
    tilted = np.array([0.3, 0.5, 0.2])
    assert abs(positive - tilted).max() < 0.05
    assert positive[1] / positive[2] == pytest.approx(2.5)  # tokens worth the same keep their odds
