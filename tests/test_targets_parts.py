"""What targets are made of: regimes from advantages alone, tables, what rules and solvers are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism import Baseline
from pessimism.baseline import Statistics
from pessimism.targets import regression_regime

EPS = 2.0**-52
BANDIT = ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.0, 1.0])


@pytest.mark.parametrize("beta", [0.5, 2.0])
@pytest.mark.parametrize(("arms", "units"), [(1, 16), (4, 48)])
def test_boundary_is_what_rounding_cannot_tell_from_it(beta: float, arms: int, units: int) -> None:
    """Sixteen epsilon of the largest reward for one arm, three times that for four, in units of beta."""
    for factor, regime in ((units - 0.5, 0.0), (units + 0.5, 1.0), (-units + 0.5, 0.0), (-units - 0.5, -1.0)):
        advantage = np.full(arms, factor * EPS * 4.0)
        assert regression_regime(advantage, np.ones(arms), beta, 4.0) == regime
    assert regression_regime(np.full(arms, units * EPS * 4.0), np.ones(arms), beta, 4) == 0.0
    assert regression_regime(np.full(arms, units * EPS * 4.0), np.ones(arms), beta) == 1.0


def test_regimes_in_the_type_of_the_advantages() -> None:
    for kind, regime in ((np.float32, 0.0), (np.float64, 1.0)):
        assert regression_regime(np.array([1e-6], dtype=kind), [1.0], 1.0, 1.0) == regime
    assert regression_regime([1, -1], [1, 3], 1.0) == np.sign(np.log(0.25 * np.exp(1) + 0.75 * np.exp(-1)))
    # log E e^(A/beta) with weights that do not sum to one, and the sign that beta decides
    assert regression_regime([1.0, -0.6], [2.0, 2.0], 1.0) == 1.0
    assert regression_regime([1.0, -1.2], [2.0, 2.0], 10.0) == -1.0
    assert regression_regime([1.0, -1.2], [2.0, 2.0], 0.1) == 1.0


def test_regimes_of_rows_do_not_see_each_other_nor_arms_that_are_never_played() -> None:
    small = [4 * EPS, -4 * EPS]
    batch = regression_regime([small, [1e6, 1e6], [0.0, 1e9]], [[0.5, 0.5], [3.0, 1.0], [1.0, 0.0]], 1.0)
    assert batch.tolist() == [regression_regime(small, [0.5, 0.5], 1.0), 1.0, 0.0]
    assert regression_regime([1e-9, 1e9], [1.0, 0.0], 1.0) == 1.0
    sizes = regression_regime([[1e-12, 1e-12]] * 2, [1.0, 1.0], 1.0, [0.0, 1e6])
    assert sizes.tolist() == [1.0, 0.0]


def test_targets_as_tables() -> None:
    single = ps.induced_target(BANDIT, "dro:beta=.5")
    table = single.to_polars()
    assert "row" not in table.columns
    assert table["arm"].to_list() == [0, 1, 2]
    np.testing.assert_array_equal(table["policy"].to_numpy(), single.policy)
    shape = (2, 2, 3)
    batch = ps.induced_target(ps.Bandit(np.broadcast_to(BANDIT.behavior, shape), np.arange(12.0).reshape(shape)), "dro")
    table = batch.to_polars()
    assert table["row"].to_list() == [row for row in range(4) for _ in range(3)]
    assert table["arm"].to_list() == [0, 1, 2] * 4
    np.testing.assert_array_equal(table["policy"].to_numpy(), batch.policy.ravel())
    one = ps.induced_target(ps.Bandit([BANDIT.behavior], [BANDIT.reward]), "dro").to_polars()
    assert one["row"].to_list() == [0, 0, 0]
    with pytest.raises((TypeError, IndexError), match="target"):
        single[0]


@pytest.mark.parametrize("function", [ps.induced_target, ps.nominal_target, ps.gradient_flow])
def test_baselines_are_told_the_temperature_and_the_reference(function: Any) -> None:
    seen: list[Statistics] = []

    def rule(statistics: Statistics) -> tuple[float, float]:
        seen.append(statistics)
        return 0.0, 1.0

    made = replace(ps.algorithm("dro", beta=0.25), baseline=Baseline("recorded", "", rule, "reference"))
    function(ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.5, 1.0], [0.3, 0.3, 0.4]), made)
    assert {told.temperature for told in seen} == {0.25}
    assert seen[-1].weights is not None
    np.testing.assert_array_equal(seen[-1].weights[0], [0.3, 0.3, 0.4])
    seen.clear()
    ps.group_target([0.0, 0.5, 1.0], made)
    assert {(told.temperature, told.group_size) for told in seen} == {(0.25, 3)}


@pytest.mark.parametrize("function", [ps.induced_target, ps.nominal_target, ps.gradient_flow])
def test_importance_ratios_and_references_are_kept_apart(function: Any) -> None:
    anchored = ps.Bandit([0.5, 0.5], [0.0, 1.0], [0.4, 0.6])
    with pytest.raises(ValueError, match="leave the reference out"):
        function(anchored, ps.algorithm("cispo"))
    assert function(ps.Bandit([0.5, 0.5], [0.0, 1.0]), ps.algorithm("cispo")) is not None
    assert function(anchored, ps.algorithm("dro")) is not None


def test_only_coefficients_without_the_ratio_have_a_regime() -> None:
    """Of those without a closed form: neither what carries the ratio, nor what looks at the other arms."""

    def smooth(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
        return advantage - 0.4 * log_ratio - 0.1 * log_ratio**3

    def coupled(log_ratio: np.ndarray, advantage: np.ndarray, behavior: np.ndarray | None = None) -> np.ndarray:
        return smooth(log_ratio, advantage)

    assert ps.induced_target(BANDIT, ps.Algorithm(smooth, baseline=-1.0)).regime == "positive"
    assert ps.induced_target(BANDIT, ps.Algorithm(smooth, on_policy=smooth)).regime is None
    assert ps.induced_target(BANDIT, ps.Algorithm(coupled, coupled=True)).regime is None
    assert ps.nominal_target(BANDIT, ps.Algorithm(smooth, baseline=-1.0)).regime is None
