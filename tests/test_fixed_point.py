"""The batched fixed point against closed forms, root finders, the flow, and a dense eigenvalue test of stability."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import logsumexp, wrightomega

from pessimism.solve.fixed_point import solve_fixed_point
from pessimism.solve.flow import softmax_flow

SEEDS = st.integers(0, 2**32 - 1)


def random_problem(seed, rows, arms, concentration=0.7):
    rng = np.random.default_rng(seed)
    behavior = rng.dirichlet(np.full(arms, concentration), rows) + 1e-12
    behavior /= behavior.sum(-1, keepdims=True)
    reward = rng.normal(size=(rows, arms))
    return behavior, reward - (behavior * reward).sum(-1, keepdims=True)


def regression(beta):
    return lambda log_ratio, advantage: advantage - beta * log_ratio


def lambert(behavior, gain):
    """log-ratio and kappa of x + kappa e^x = gain, E e^x = 1, one row, by bisection on log kappa."""

    def log_ratio(log_kappa):
        omega = wrightomega(gain + log_kappa)
        return np.where(omega > 1e-3, np.log(omega) - log_kappa, gain - omega)

    log_kappa: Any = brentq(lambda value: logsumexp(np.log(behavior) + log_ratio(value)), -60.0, 60.0, xtol=1e-14)
    return log_ratio(log_kappa), np.exp(log_kappa)


def newton_miss(coefficient, slope, behavior, advantage, point, anchor=None):
    """How far a Newton step in each log-ratio is from 0, with the exact derivative."""
    anchor = behavior if anchor is None else anchor
    pull = point.normalizer[..., None] * anchor * np.exp(point.log_ratio) / behavior
    gap = coefficient(point.log_ratio, advantage) - pull
    return np.abs(gap / (pull - slope(point.log_ratio, advantage))) / np.maximum(1.0, np.abs(point.log_ratio))


@settings(max_examples=30)
@given(SEEDS, st.integers(2, 9), st.floats(-3, 3), st.floats(0, 3))
def test_regression_is_lambert_at_every_temperature(seed, arms, log_beta, shift):
    beta = 10.0**log_beta
    behavior, advantage = random_problem(seed, 3, arms)
    point = solve_fixed_point(regression(beta), behavior, advantage + shift * beta)
    assert point.converged.all()
    assert point.stable is not None
    assert point.stable.all()
    assert point.passes <= 20
    for row in range(3):
        log_ratio, kappa = lambert(behavior[row], advantage[row] / beta + shift)
        np.testing.assert_allclose(point.log_ratio[row], log_ratio, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(point.normalizer[row] / beta, kappa, rtol=1e-7, atol=1e-10 * (1 + 1 / beta))


@settings(max_examples=30)
@given(SEEDS, st.integers(2, 9), st.floats(0.1, 100.0))
def test_importance_weights_and_exponential_weights_give_gibbs(seed, arms, beta):
    behavior, advantage = random_problem(seed, 3, arms)
    log_partition: Any = logsumexp(advantage / beta, b=behavior, axis=-1, keepdims=True)
    weighted = solve_fixed_point(lambda x, a: np.exp(x) * (a - beta * x), behavior, advantage)
    exponential = solve_fixed_point(lambda x, a: np.exp(a / beta), behavior, advantage)
    for point in (weighted, exponential):
        assert point.converged.all()
        np.testing.assert_allclose(point.log_ratio, advantage / beta - log_partition, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(weighted.normalizer, beta * log_partition[:, 0], rtol=1e-6, atol=1e-9 * (1 + beta))


FAMILIES = {
    "sinh": (lambda b: lambda x, a: a - b * np.sinh(x), lambda b: lambda x, a: -b * np.cosh(x), 1e-3, 1e3),
    "cube": (lambda b: lambda x, a: a - b * (x + x**3), lambda b: lambda x, a: -b * (1 + 3 * x**2), 1e-3, 1e3),
    "tanh": (
        lambda b: lambda x, a: 0.2 * a - np.tanh(x / b),
        lambda b: lambda x, a: -1 / b / np.cosh(x / b) ** 2,
        0.5,
        2,
    ),
    "expm1": (lambda b: lambda x, a: a - b * np.expm1(x) + b, lambda b: lambda x, a: -b * np.exp(x), 10, 1e3),
}


@settings(max_examples=15)
@pytest.mark.parametrize("family", FAMILIES)
@given(seed=SEEDS, arms=st.integers(2, 8), place=st.floats(0, 1))
def test_smooth_coefficients_are_solved_however_rare_the_arm(family, seed, arms, place):
    make, make_slope, least, most = FAMILIES[family]
    beta = least * (most / least) ** place
    behavior, advantage = random_problem(seed, 4, arms)
    point = solve_fixed_point(make(beta), behavior, advantage)
    assert point.converged.all()
    assert point.passes <= 50
    np.testing.assert_allclose((behavior * np.exp(point.log_ratio)).sum(-1), 1.0, rtol=1e-12)
    assert newton_miss(make(beta), make_slope(beta), behavior, advantage, point).max() < 1e-9


def test_one_arm():
    point = solve_fixed_point(regression(0.5), [[1.0], [1.0]], [[0.7], [-3.0]])
    assert point.converged.all()
    np.testing.assert_array_equal(point.log_ratio, 0.0)
    np.testing.assert_array_equal(point.normalizer, [0.7, -3.0])


def test_arms_of_probability_1e_300():
    behavior = np.array([0.5, 0.5, 1e-300])
    advantage = np.array([0.3, -0.4, 650.0])
    point = solve_fixed_point(regression(1.0), behavior, advantage)
    log_ratio, kappa = lambert(behavior, advantage)
    assert point.converged
    np.testing.assert_allclose(point.log_ratio, log_ratio, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(point.normalizer, kappa, rtol=1e-9)


def test_it_agrees_with_the_flow():
    behavior, advantage = random_problem(1, 20, 4, concentration=3.0)

    def pulled(log_ratio, gain):
        return gain - 0.4 * np.sinh(log_ratio) + 0.1 * np.tanh(3 * log_ratio)

    point = solve_fixed_point(pulled, behavior, advantage)
    flow = softmax_flow(pulled, behavior, advantage)
    assert point.converged.all()
    np.testing.assert_allclose(behavior * np.exp(point.log_ratio), flow.policy, atol=1e-6)


@settings(max_examples=20)
@given(SEEDS, st.integers(2, 8), st.floats(-3, 3))
def test_centered_regression_has_the_gibbs_policy_and_normalizer_zero(seed, arms, log_beta):
    beta = 10.0**log_beta
    behavior, advantage = random_problem(seed, 3, arms)

    def centered(log_ratio, gain, behavior):
        error = gain - beta * log_ratio
        return error - (behavior * error).sum(-1, keepdims=True)

    point = solve_fixed_point(centered, behavior, advantage, coupled=True)
    assert point.converged.all()
    assert point.stable is None
    log_partition: Any = logsumexp(advantage / beta, b=behavior, axis=-1, keepdims=True)
    np.testing.assert_allclose(point.log_ratio, advantage / beta - log_partition, rtol=1e-9, atol=1e-9)
    assert np.abs(point.normalizer).max() < 1e-12


@settings(max_examples=20)
@given(SEEDS, st.integers(2, 8), st.floats(0.0, 2.0))
def test_anchor_apart_from_the_data(seed, arms, shift):
    behavior, advantage = random_problem(seed, 3, arms, concentration=5.0)
    reference, _ = random_problem(seed + 1, 3, arms, concentration=5.0)
    boundary: Any = logsumexp(advantage / 0.5, b=reference, axis=-1, keepdims=True)
    gain = advantage - 0.5 * boundary + shift
    point = solve_fixed_point(regression(0.5), behavior, gain, reference=reference)
    assert point.converged.all()
    slope = lambda x, a: np.full_like(x, -0.5)  # noqa: E731
    assert newton_miss(regression(0.5), slope, behavior, gain, point, reference).max() < 1e-10
    np.testing.assert_allclose((reference * np.exp(point.log_ratio)).sum(-1), 1.0, rtol=1e-12)
    assert (point.normalizer >= -1e-9).all()


def test_arms_that_only_the_reference_plays_are_left_empty():
    behavior, reference = np.array([0.6, 0.4, 0.0]), np.array([0.3, 0.3, 0.4])
    point = solve_fixed_point(regression(0.5), behavior, [2.0, 1.5, 9.0], reference=reference)
    flow = softmax_flow(regression(0.5), behavior, [2.0, 1.5, 9.0], reference=reference)
    assert point.converged
    assert point.stable
    assert point.log_ratio[2] == -np.inf
    np.testing.assert_allclose(reference * np.exp(point.log_ratio), flow.policy, atol=1e-7)


def test_arms_of_probability_zero_change_nothing():
    plain = solve_fixed_point(regression(0.5), [0.5, 0.3, 0.2], [-0.2, -0.2, 0.8])
    padded = solve_fixed_point(regression(0.5), [0.5, 0.0, 0.3, 0.2], [-0.2, 1e3, -0.2, 0.8])
    np.testing.assert_allclose(padded.log_ratio, np.insert(plain.log_ratio, 1, 0.0), atol=1e-13)
    assert padded.stable


def test_shapes_and_rows_do_not_see_each_other():
    behavior, advantage = random_problem(2, 6, 4)
    batch = solve_fixed_point(regression(0.1), behavior.reshape(2, 3, 4), advantage.reshape(2, 3, 4))
    assert batch.log_ratio.shape == (2, 3, 4)
    assert batch.normalizer.shape == batch.converged.shape == batch.residual.shape == (2, 3)
    alone = solve_fixed_point(regression(0.1), behavior[4], advantage[4])
    np.testing.assert_allclose(batch.log_ratio[1, 1], alone.log_ratio, rtol=1e-10)
    assert alone.normalizer.shape == ()


def test_a_target_without_full_support_is_not_called_converged():
    behavior, advantage = random_problem(3, 5, 4)
    for coefficient in (lambda x, a: a, lambda x, a: np.exp(x) * a, lambda x, a: a - 0.2 * np.expm1(x)):
        point = solve_fixed_point(coefficient, behavior, advantage)
        assert not point.converged.any()
        assert np.isfinite(point.log_ratio).all()
        assert point.passes <= 50


def test_underflow_on_both_sides_is_not_called_converged():
    point = solve_fixed_point(lambda x, a: np.exp(x) * (a - 1e-3 * x), [0.5, 0.5], [-1.0, 1.0])
    assert not point.converged


def test_an_objective_without_gradient_stays_where_it_is():
    point = solve_fixed_point(lambda x, a: np.zeros_like(x), [0.5, 0.3, 0.2], [1.0, 2.0, 3.0])
    assert point.converged
    np.testing.assert_array_equal(point.log_ratio, 0.0)


def dense_stability(behavior, log_ratio, normalizer, slope):
    """Largest real part of the eigenvalues of the softmax flow's Jacobian, the shift of all logits left out."""
    policy = behavior * np.exp(log_ratio)
    ones = np.ones_like(policy)
    armwise = np.diag(behavior * slope - normalizer * policy) - np.outer(policy, behavior * slope)
    logits = armwise @ (np.eye(len(policy)) - np.outer(ones, policy))
    basis = np.linalg.svd(np.eye(len(policy)) - np.outer(ones, ones) / len(policy))[0][:, :-1]
    return np.linalg.eigvals(basis.T @ logits @ basis).real.max()


@settings(max_examples=12)
@given(SEEDS, st.integers(2, 5), st.floats(0.1, 3.0))
def test_stability_in_the_negative_regime(seed, arms, above):
    """V above V*: started anywhere, a stationary point it finds is stable exactly if the dense eigenvalues say so."""
    behavior, advantage = random_problem(seed, 4, arms, concentration=2.0)
    gain = advantage - logsumexp(advantage, b=behavior, axis=-1, keepdims=True) - above
    start = np.random.default_rng(seed).normal(size=gain.shape)
    point = solve_fixed_point(regression(1.0), behavior, gain, start=start)
    assert point.stable is not None
    for row in np.flatnonzero(point.converged):
        largest = dense_stability(behavior[row], point.log_ratio[row], point.normalizer[row], -1.0)
        if abs(largest) > 1e-9:
            assert point.stable[row] == (largest < 0)
    assert not (point.stable & ~point.converged).any()


def test_an_unstable_point_is_told_apart():
    """c = 2x - x^3 with nothing to gain: the behavior policy is stationary, and any push grows."""

    def double_well(log_ratio, advantage):
        return advantage + 2.0 * log_ratio - log_ratio**3

    point = solve_fixed_point(double_well, [0.5, 0.5], [0.0, 0.0])
    assert point.converged
    np.testing.assert_array_equal(point.log_ratio, 0.0)
    assert point.stable is not None
    assert not point.stable
    assert dense_stability(np.array([0.5, 0.5]), np.zeros(2), 0.0, 2.0) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"behavior": [0.7, 0.7]}, "behavior sums to 1.4"),
        ({"advantage": [0.0, np.inf]}, r"advantage\[1\]"),
        ({"reference": [1.0, 0.0]}, r"reference\[1\] is 0"),
        ({"coefficient": lambda x, a: np.where(a > 0, np.nan, a)}, r"coefficient\[1\] is nan"),
        ({"coefficient": lambda x, a: a[..., :1]}, "shape"),
    ],
)
def test_bad_input_is_refused_by_name(options, message):
    arguments = {"coefficient": regression(1.0), "behavior": [0.5, 0.5], "advantage": [-1.0, 1.0]} | options
    with pytest.raises(ValueError, match=message):
        solve_fixed_point(
            arguments.pop("coefficient"), arguments.pop("behavior"), arguments.pop("advantage"), **arguments
        )
