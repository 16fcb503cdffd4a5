"""What targets are made of: regimes from advantages alone, tables, what rules and solvers are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism import Baseline, targets
from pessimism.baseline import Statistics
from pessimism.numeric_targets import Numeric
from pessimism.solution import Solution
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


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
@pytest.mark.parametrize("closed", [True, False])
def test_rows_of_either_route_are_put_together(shape: tuple[int, ...], closed: bool) -> None:
    """A closed form for the first row and the third; what it does not cover comes from the solver, row by row."""
    bandit = ps.Bandit(np.full((*shape, 2), 0.5), np.zeros((*shape, 2)))
    moments = ps.baselines.mean().exact(bandit.reward, bandit.behavior)
    solved = np.array([True, False, True]).reshape(shape)
    ratio = np.log(np.array([[0.5, 1.5], [np.nan, np.nan], [1.0, 1.0]]))
    tied = np.array([[True, True], [True, True], [False, False]])
    given = Solution(
        ratio.reshape(*shape, 2),
        np.array([0.1, np.nan, 0.3]).reshape(shape),
        np.array([True, True, False]).reshape(shape),
        np.array([False, False, True]).reshape(shape),
        solved,
        np.array(["positive", "negative", "boundary"]).reshape(shape),
        tied.reshape(*shape, 2),
        np.array([0.5, 0.7, 0.0]).reshape(shape),
    )
    seen: list[tuple[Any, Any]] = []

    def numeric(rows: ps.Bandit, rows_moments: Any) -> Numeric:
        seen.append((rows.behavior.shape, rows_moments.advantage.shape))
        count = len(rows.behavior)
        return Numeric(
            np.log(np.array([[0.2, 1.8]] * count)),
            np.array([-0.4, 0.0, 0.2][:count]),
            np.full(count, "flow"),
            np.full(count, "path-dependent"),
            np.ones(count),
        )

    form = (lambda bandit, moments: given) if closed else None
    found = targets._target(bandit, moments, form, numeric, with_regime=True)
    assert found.policy.shape == (*shape, 2)
    flat = {name: np.asarray(getattr(found, name)).reshape(3, -1) for name in ("policy", "face")}
    one = {
        name: np.ravel(getattr(found, name)).tolist()
        for name in ("normalizer", "method", "kind", "unique", "rate", "regime")
    }
    if closed:
        assert seen == [((1, 2), (1, 2))]
        np.testing.assert_allclose(flat["policy"], [[0.25, 0.75], [0.1, 0.9], [0.5, 0.5]])
        assert one == {
            "normalizer": [0.1, -0.4, 0.3],
            "method": ["closed form", "flow", "closed form"],
            "kind": ["interior", "path-dependent", "face"],
            "unique": [True, False, False],
            "rate": [0.5, 0.0, 0.0],
            "regime": ["positive", "negative", "boundary"],
        }
        assert flat["face"].tolist() == [[True, True], [False, False], [True, True]]
    else:
        assert seen == [((3, 2), (3, 2))]
        assert one == {
            "normalizer": [-0.4, 0.0, 0.2],
            "method": ["flow"] * 3,
            "kind": ["path-dependent"] * 3,
            "unique": [False] * 3,
            "rate": [0.0] * 3,
            "regime": ["negative", "boundary", "positive"],
        }
        assert not flat["face"].any()
        assert targets._target(bandit, moments, None, numeric, with_regime=False).regime is None
    bare = replace(given, regime=None, tied=None, rate=None)
    again = targets._target(bandit, moments, lambda bandit, moments: bare, numeric, with_regime=True)
    assert np.ravel(again.regime).tolist() == ["boundary", "negative", "boundary"]
    assert np.ravel(again.rate).tolist() == [0.0] * 3
    assert again.face.reshape(3, 2).tolist() == [[False, False], [False, False], [True, True]]
    whole = replace(given, solved=np.ones(shape, bool), log_ratio=np.zeros((*shape, 2)))
    seen.clear()
    every = targets._target(bandit, moments, lambda bandit, moments: whole, numeric, with_regime=True)
    assert not seen
    assert set(np.ravel(every.method)) == {"closed form"}


def test_support_and_kind_of_a_flow_by_what_is_left() -> None:
    """A flow's arms below 10^-6 have lost all their mass; a closed form's only where their log-ratio is -inf."""
    bandit = ps.Bandit(np.full((3, 2), 0.5), np.zeros((3, 2)))
    moments = ps.baselines.mean().exact(bandit.reward, bandit.behavior)
    policy = np.array([[1 - 1e-7, 1e-7], [1 - 1e-5, 1e-5], [0.5, 0.5]])

    def numeric(rows: ps.Bandit, rows_moments: Any) -> Numeric:
        return Numeric(
            np.log(policy / 0.5), np.array([1e-10, 1e-8, 0.0]), np.full(3, "flow"), np.full(3, ""), np.ones(3)
        )

    found = targets._target(bandit, moments, None, numeric, with_regime=True)
    assert found.kind.tolist() == ["vertex", "interior", "interior"]
    assert found.support.tolist() == [[True, False], [True, True], [True, True]]
    assert found.regime.tolist() == ["boundary", "positive", "boundary"]
