"""Every local minimum of the regression loss, against multi-start minimization and second-order conditions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax

from pessimism.solve.lambert import critical_offset
from pessimism.solve.lambert_minima import Minimum, regression_minima


def nominal_log_ratio(behavior: np.ndarray, score: np.ndarray) -> np.ndarray:
    top = score.max()
    return score - top - np.log(behavior @ np.exp(score - top) / behavior.sum())


def loss(behavior: np.ndarray, log_ratio: np.ndarray, advantage: np.ndarray) -> float:
    """L / beta, straight from its definition."""
    return 0.5 * float(behavior @ (log_ratio - advantage) ** 2) / behavior.sum()


def minima_by_many_starts(behavior: np.ndarray, advantage: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Policies of the distinct minima that BFGS on softmax logits finds from random and near-vertex starts."""

    def objective(logits: np.ndarray) -> tuple[float, np.ndarray]:
        log_policy = log_softmax(logits)
        residual = log_policy - np.log(behavior) - advantage
        pull = behavior * residual
        return float(pull @ residual) / 2.0, pull - pull.sum() * np.exp(log_policy)

    arms = behavior.size
    starts = [np.log(behavior)]
    starts += [np.log(behavior) + 10.0 * np.eye(arms)[i] for i in range(arms)]
    starts += [rng.normal(size=arms) * 4.0 for _ in range(12)]
    found: list[np.ndarray] = []
    for start in starts:
        result = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-10, "maxiter": 2000})
        policy = np.exp(log_softmax(result.x))
        if np.abs(result.jac).max() < 1e-7 and not any(np.abs(policy - other).max() < 1e-4 for other in found):
            found.append(policy)
    return found


def test_theory_example_has_five_minima() -> None:
    beta, arms = 0.7, 5
    behavior = np.array([0.118, 0.273, 0.0989, 0.0211, 0.489])
    reward = np.array([0.914, -0.02, -1.249, -0.314, 0.054])
    nominal = nominal_log_ratio(behavior, reward / beta)
    minima = regression_minima(behavior, nominal, 3.0 / beta)
    assert sorted(minimum.arm for minimum in minima if minimum.arm is not None) == list(range(arms))
    policy = behavior * np.exp(minima[0].log_ratio)
    assert minima[0].arm == 3
    assert policy[3] == pytest.approx(0.986, abs=1e-3)


@pytest.mark.parametrize("seed", range(12))
def test_finds_what_many_starts_find(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arms = int(rng.integers(2, 6))
    behavior = rng.dirichlet(np.ones(arms)) * 0.9 + 0.1 / arms
    nominal = nominal_log_ratio(behavior, rng.normal(size=arms))
    for delta in (-1.0, 0.2, 0.8, 1.5, 3.0):
        minima = regression_minima(behavior, nominal, delta)
        policies = [behavior * np.exp(minimum.log_ratio) for minimum in minima]
        for found in minima_by_many_starts(behavior, nominal - delta, rng):
            assert min(np.abs(found - policy).max() for policy in policies) < 1e-4, (delta, found, policies)


def check_minimum(behavior: np.ndarray, nominal: np.ndarray, delta: float, minimum: Minimum, seed: int) -> None:
    live, advantage = behavior > 0.0, nominal - delta
    weight, x = behavior[live] / behavior[live].sum(), minimum.log_ratio[live]
    ratio = np.exp(x)
    assert weight @ ratio == pytest.approx(1.0, abs=1e-10)
    size = 1.0 + np.abs(x) + np.abs(minimum.kappa) * ratio
    assert np.all(np.abs(x + minimum.kappa * ratio - advantage[live]) <= 1e-10 * size)
    value = loss(weight, x, advantage[live])
    assert value == pytest.approx(minimum.loss_over_beta, rel=1e-9, abs=1e-12)
    above_one = np.flatnonzero(-minimum.kappa * np.exp(minimum.log_ratio) * live > 1.0 + 1e-9)
    assert above_one.tolist() == ([] if minimum.arm is None else [minimum.arm])
    # the loss rises along every curve on the simplex: compare with its second-order growth
    curvature = weight * (1.0 + minimum.kappa * ratio)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        direction = rng.normal(size=x.size)
        direction -= (weight * ratio) @ direction  # tangent: E_pi[d log pi] = 0
        assert curvature @ direction**2 > 0.0
        step = 1e-4 * direction / np.abs(direction).max()
        moved = x + step - np.log(weight @ np.exp(x + step))
        assert loss(weight, moved, advantage[live]) > value - 1e-13 * (1.0 + value)


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.floats(-1.5, 0.7), st.floats(-2.0, 6.0))
@settings(max_examples=100, deadline=None)
def test_every_point_is_a_strict_local_minimum(seed: int, arms: int, log_scale: float, delta: float) -> None:
    rng = np.random.default_rng(seed)
    behavior = rng.dirichlet(np.full(arms, 0.7))
    nominal = nominal_log_ratio(behavior, rng.normal(size=arms) * 10.0**log_scale)
    room = float(critical_offset(behavior, nominal))
    if abs(delta - room) < 1e-6:
        return  # at the fold itself the curvature vanishes
    minima = regression_minima(behavior, nominal, delta)
    values = [minimum.loss_over_beta for minimum in minima]
    assert values == sorted(values)
    assert any(minimum.arm is None for minimum in minima) == (delta <= room)
    if delta <= 0.0:
        assert len(minima) == 1
    assert minima
    for number, minimum in enumerate(minima):
        check_minimum(behavior, nominal, delta, minimum, number)


def test_the_smooth_solution_continues_on_the_largest_arm() -> None:
    """Across the fold the best reward's minimum moves continuously from W_0 to W_-1."""
    behavior = np.array([0.2, 0.5, 0.3])
    nominal = nominal_log_ratio(behavior, np.array([1.0, 0.0, -0.5]))
    room = float(critical_offset(behavior, nominal))
    before = next(m for m in regression_minima(behavior, nominal, room - 1e-9) if m.arm is None)
    after = next(m for m in regression_minima(behavior, nominal, room + 1e-9) if m.arm == 0)
    np.testing.assert_allclose(before.log_ratio, after.log_ratio, atol=1e-7)


def test_rare_arms_and_arms_without_mass() -> None:
    behavior = np.array([0.6, 0.4, 1e-200, 0.0])
    nominal = nominal_log_ratio(behavior, np.array([1.0, 0.0, 0.5, 3.0]))
    minima = regression_minima(behavior, nominal, 3.0)
    assert {minimum.arm for minimum in minima} == {0, 1, 2}
    rare = next(minimum for minimum in minima if minimum.arm == 2)
    assert rare.log_ratio[2] == pytest.approx(200 * np.log(10.0), rel=0.01)
    for minimum in minima:
        assert np.isfinite(minimum.log_ratio).all()
        check_minimum(behavior, nominal, 3.0, minimum, 0)


def test_equal_rewards_and_one_arm() -> None:
    behavior = np.array([0.25, 0.75])
    inside = regression_minima(behavior, np.zeros(2), 0.5)
    assert [minimum.arm for minimum in inside] == [None]
    np.testing.assert_allclose(inside[0].log_ratio, 0.0, atol=1e-14)
    assert {minimum.arm for minimum in regression_minima(behavior, np.zeros(2), 2.0)} == {0, 1}
    (only,) = regression_minima(np.array([1.0]), np.zeros(1), 5.0)
    assert (only.log_ratio[0], only.kappa, only.loss_over_beta) == (0.0, -5.0, 12.5)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="must be one instance"):
        regression_minima(np.ones((2, 2)) / 2, np.zeros((2, 2)), 0.0)
    with pytest.raises(ValueError, match="nominal_log_ratio: E_mu"):
        regression_minima(np.array([0.5, 0.5]), np.array([1.0, 1.0]), 0.0)
