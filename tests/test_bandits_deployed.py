"""Deployed objectives ordered by conservatism: what is measured, what is matched, and what the stored runs hold."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

import pessimism as ps
from bandits.experiment.deployed import MOVEMENT, TRIED, Case, anchor, cases, rows, sampled, settle
from paper_figures import experiment_deployed as stored


def test_every_entry_is_tried_as_published_and_those_with_an_anchor_at_matched_movement():
    listed = list(cases(0))
    assert len(listed) == len(set(listed))
    for world in TRIED:
        mine = [case for case in listed if case.world == world]
        assert [case.entry for case in mine if case.kind == "published"] == list(ps.catalogue())
        assert [case.entry for case in mine if case.kind == "matched"] == [n for n in ps.catalogue() if anchor(n)]


@pytest.mark.parametrize("world", TRIED)
def test_matched_objectives_move_as_far_as_asked(world):
    """By the targets of every group, one by one."""
    found = settle("shifted_mean", "matched", world)
    assert found.setting == found.algorithm.parameters["beta"]
    divergences = []
    for row in sampled(world):
        policy = ps.group_target(row, found.algorithm).policy
        divergences.append(np.sum(policy * np.log(policy * 8, where=policy > 0, out=np.zeros(8))))
    assert np.mean(divergences) == pytest.approx(MOVEMENT, rel=1e-3)
    assert found.movement == pytest.approx(np.mean(divergences), abs=1e-9)


def test_nominal_regression_has_no_implicit_gap_and_the_shifted_mean_has_one():
    assert settle("centered_regression", "published", "binary").implicit_gap == pytest.approx(0.0, abs=1e-9)
    assert settle("shifted_mean", "published", "binary").implicit_gap > 0.1


def test_a_case_that_cannot_be_matched_says_so_in_one_row():
    table = rows(Case("ls", "matched", "binary", 0))
    assert len(table) == 1
    assert "never as far as asked" in table["reason"][0]


def test_rank_correlations_are_those_of_ranks_with_ties_and_constants():
    generator = np.random.default_rng(0)
    pairs = generator.integers(0, 4, size=(5, 2, 12)).astype(float)
    pairs[0, 1] = 1.0
    each = [0.0, *(np.corrcoef(rankdata(one), rankdata(other))[0, 1] for one, other in pairs[1:])]
    assert stored.spearman(pairs) == pytest.approx(np.mean(each))


def test_stored_runs_are_whole_and_outcomes_are_means_of_them():
    table, found = stored.runs(), stored.outcomes()
    assert table.select(pl.len().over("batch", "entry", "kind", "world")).unique().to_series().to_list() == [48]
    one = found.row(0, named=True)
    mine = table.filter(**{name: one[name] for name in stored.CASE})
    assert one["value"] == pytest.approx(mine["value"].to_numpy().mean())
    assert one["stability"] == pytest.approx(1 - mine["collapsed"].to_numpy().mean())
    assert (found["tuned"] >= 0).all()
    assert (found["stability"] <= 1).all()


def test_centered_objectives_have_no_offset_and_a_baseline_of_zero_has_all():
    assert stored.offset("shifted_mean", "graded") < stored.offset("oapl.missing_log_g", "graded")
    assert stored.offset("centered_regression", "noise 1") == pytest.approx(0.0, abs=1e-12)
    groups = sampled("binary")
    algorithm = ps.algorithm("oapl.missing_log_g")
    each = [algorithm.coefficient(np.zeros(8), algorithm.advantage(row)) for row in groups]
    by_hand = np.mean([abs(c.mean()) / np.sqrt((c**2).mean()) for c in each])
    assert stored.offset("oapl.missing_log_g", "binary") == pytest.approx(by_hand)
