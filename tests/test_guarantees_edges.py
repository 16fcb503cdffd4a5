"""Guarantees at their edges: formulas in 50 digits, batches, arms that are never played, types, errors."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest

import pessimism as ps
from pessimism.guarantees import Prescription, confidence_width, lcb, prescribe, step_bounds
from pessimism.solve.divergences import kl

mp.mp.dps = 50
BEHAVIOR = np.array([0.4, 0.1, 0.2, 0.3])
REWARD = np.array([0.3, -1.2, 0.8, 0.1])
TWO: Any = [1.0, 2.0]


@pytest.mark.parametrize(
    ("noise", "samples", "arms", "alpha"), [(1.0, 100, 20, 0.05), (0.5, 1, 1, 0.5), (2.0, 7, 3, 1e-6)]
)
def test_the_width_against_its_formula(noise: float, samples: int, arms: int, alpha: float) -> None:
    surprise = mp.log(1 / mp.mpf(alpha))
    expected = mp.mpf(noise) * mp.sqrt((arms + 2 * mp.sqrt(arms * surprise) + 2 * surprise) / samples)
    assert float(confidence_width(noise, samples, arms, alpha)) == pytest.approx(float(expected), rel=1e-14)


def test_widths_of_many_numbers_and_of_whole_ones_beyond_the_integers_of_a_processor() -> None:
    many = confidence_width([1.0, 0.0], [[10], [20]], 3)
    assert many.shape == (2, 2)
    assert many[1, 0] == confidence_width(1.0, 20, 3)
    assert (many[:, 1] == 0).all()
    assert float(confidence_width(1, 10**30, 1)) == pytest.approx(float(confidence_width(1.0, 1e30, 1)), rel=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confidence_width(1.0, 10, 0), "arms is 0; it must be finite and at least 1"),
        (lambda: confidence_width(1.0, [[10, 0]], 1), r"samples\[0, 1\] is 0; it must be finite and at least 1"),
        (lambda: confidence_width(1.0, 0, 1), "samples is 0; it must be finite and at least 1"),
        (lambda: confidence_width(-0.5, 10, 1), "noise is -0.5; it must be finite and at least 0"),
        (lambda: step_bounds(-1.0, 1.0), "sd is -1; it must be finite and at least 0"),
        (lambda: step_bounds(1.0, 0.0), "shift is 0; it must be finite and above 0"),
        (lambda: step_bounds(1.0, [1.0, np.inf]), r"shift\[1\] is inf; it must be finite and above 0"),
        (lambda: prescribe([0, 1], nats=np.inf, beta=1.0), "nats is inf; it must be one finite number above 0"),
        (lambda: prescribe([0, 1], nats=1.0, beta=TWO), "beta is .*; it must be one finite number above 0"),
        (
            lambda: prescribe([0, 1], nats=1.0, beta=1.0, group_size=0),
            "group_size is 0; it must be a whole number >= 1",
        ),
        (lambda: prescribe([0, 1], nats=1.0, beta=1.0, group_size=True), "group_size is True"),
        (
            lambda: prescribe([0, 1], nats=1.0, beta=1.0, group_size=2, failure=0.0),
            "failure is 0.0; it must be between",
        ),
        (lambda: prescribe(sd=-1.0, nats=1.0, beta=1.0), "sd is -1; it must be finite and at least 0"),
        (lambda: lcb(ps.Bandit([0.5, 0.5], [0, 1]), np.inf, 1.0, samples=5), "beta is inf"),
        (
            lambda: lcb(ps.Bandit([[0.5, 0.5]] * 2, [[0, 1]] * 2), 1.0, 1.0, counts=[[1, 2], [0, 0]]),
            "counts: a row without samples; each needs at least one",
        ),
    ],
)
def test_errors_name_the_argument_the_place_and_what_is_allowed(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_step_bounds_at_their_ends() -> None:
    for sd, shift in ((0.0, 0.25), (0.4, 0.5), (3.0, 1.0)):
        chi, divergence, gain = step_bounds(sd, shift)
        ratio = mp.mpf(sd) / mp.mpf(shift)
        assert float(chi) == pytest.approx(float(ratio**2), rel=1e-15)
        assert float(divergence) == pytest.approx(float(mp.log(1 + ratio**2)), rel=1e-15)
        assert float(gain) == pytest.approx(float(ratio * sd), rel=1e-15)
    np.testing.assert_allclose(step_bounds([1, 2], 4)[0], [1 / 16, 1 / 4])


# --- lower confidence bound -----------------------------------------------------------------------------------------


def test_policies_and_log_ratios_of_counted_samples_are_one_another() -> None:
    counts = np.array([[7, 0, 2, 11], [1, 5, 0, 4]])
    found = lcb(ps.Bandit(BEHAVIOR, np.stack([REWARD, -REWARD])), 0.5, noise=0.3, counts=counts)
    seen = counts > 0
    np.testing.assert_allclose(found.policy.sum(axis=-1), 1.0, rtol=1e-13)
    np.testing.assert_array_equal(np.exp(found.log_policy), found.policy)
    np.testing.assert_array_equal(found.log_ratio[~seen], -np.inf)
    np.testing.assert_allclose(found.log_ratio[seen], np.log((found.policy / BEHAVIOR)[seen]), rtol=1e-12)
    shares = counts / counts.sum(axis=-1, keepdims=True)
    spread = np.sqrt((found.policy[:, :] ** 2 / np.where(seen, shares, 1.0)).sum(axis=-1))
    np.testing.assert_allclose(found.spread, spread, rtol=1e-12)
    np.testing.assert_allclose(found.width, confidence_width(0.3, counts.sum(axis=-1), seen.sum(axis=-1)), rtol=1e-14)
    for row, reward in enumerate((REWARD, -REWARD)):
        alone = lcb(ps.Bandit(BEHAVIOR, reward), 0.5, noise=0.3, counts=counts[row])
        np.testing.assert_allclose(found.policy[row], alone.policy, rtol=1e-12)
        np.testing.assert_allclose(found.baseline[row], alone.baseline, rtol=1e-12)
        # the stationarity that defines it: beta log(pi/mu) + lambda pi/w = r - V on every arm that was sampled
        left = 0.5 * alone.log_ratio + alone.normalizer * alone.policy / np.where(seen[row], shares[row], 1.0)
        np.testing.assert_allclose(left[seen[row]], (reward - alone.baseline)[seen[row]], rtol=1e-10, atol=1e-12)


def test_an_arm_that_is_never_played_needs_no_sample() -> None:
    narrow = lcb(ps.Bandit([0.6, 0.4], [0.0, 1.0]), 0.5, noise=0.3, counts=[3, 4])
    for extra in (-50.0, 50.0):
        wide = lcb(ps.Bandit([0.6, 0.4, 0.0], [0.0, 1.0, extra]), 0.5, noise=0.3, counts=[3, 4, 0])
        np.testing.assert_allclose(wide.policy, [*narrow.policy, 0.0], rtol=1e-13)
        assert wide.bound == pytest.approx(narrow.bound, rel=1e-13)
        by_expectation = lcb(ps.Bandit([0.6, 0.4, 0.0], [0.0, 1.0, extra]), 0.5, noise=0.3, samples=20)
        plain = lcb(ps.Bandit([0.6, 0.4], [0.0, 1.0]), 0.5, noise=0.3, samples=20)
        np.testing.assert_allclose(by_expectation.policy, [*plain.policy, 0.0], rtol=1e-13)
        assert by_expectation.baseline == pytest.approx(plain.baseline, rel=1e-13)


# --- trust region ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.3, 30.0])
def test_an_arm_that_is_never_played_changes_no_prescription(beta: float) -> None:
    narrow = prescribe([0.0, 1.0], behavior=[0.75, 0.25], nats=0.05, beta=beta, group_size=9)
    for extra in (-50.0, 50.0):
        wide = prescribe([0.0, 1.0, extra], behavior=[0.75, 0.25, 0.0], nats=0.05, beta=beta, group_size=9)
        for name, value in vars(narrow).items():
            assert getattr(wide, name) == pytest.approx(value, rel=1e-12, abs=0), name


def test_fields_of_a_prescription_are_plain_numbers_in_units_of_reward_and_of_beta() -> None:
    found = prescribe(REWARD, behavior=BEHAVIOR, nats=0.05, beta=0.5, group_size=4)
    assert {type(value) for value in vars(found).values()} == {float, bool}
    assert (found.delta, found.exact_delta) == (found.shift / 0.5, pytest.approx(found.exact_shift / 0.5, rel=1e-15))
    assert {type(value) for value in vars(prescribe(sd=1, nats=1.0, beta=1.0)).values()} == {float, type(None)}


def test_prescriptions_of_two_leading_axes_are_those_of_their_rows() -> None:
    rng = np.random.default_rng(1)
    reward, behavior = rng.normal(size=(2, 3, 4)), rng.dirichlet(np.ones(4), size=(2, 3))
    reward[0, 1] = 0.5
    found = prescribe(reward, behavior=behavior, nats=0.05, beta=0.5, group_size=4)
    for row in np.ndindex(2, 3):
        alone = prescribe(reward[row], behavior=behavior[row], nats=0.05, beta=0.5, group_size=4)
        for name, value in vars(alone).items():
            whole = getattr(found, name)
            assert whole.shape == (2, 3)
            assert whole[row] == pytest.approx(value, rel=1e-10, abs=1e-14), name


def test_rewards_far_from_zero_lose_no_digits() -> None:
    """Differences of floats that are close are exact: from the best arm first, the spread of 10^-3 keeps its digits."""
    reward = 1e9 + np.array([0.0, 0.3, 1.0, 0.7]) / 1000
    exact = [mp.mpf(float(r)) for r in reward]
    mean = mp.fsum(exact) / 4
    sd = mp.sqrt(mp.fsum([(r - mean) ** 2 for r in exact]) / 4)
    found = prescribe(reward, nats=0.1, beta=1e-3)
    assert found.shift == pytest.approx(float(sd / mp.sqrt(mp.expm1(mp.mpf(0.1)))), rel=1e-13, abs=0)
    near = prescribe(reward - 1e9, nats=0.1, beta=1e-3)
    assert found.exact_shift == pytest.approx(near.exact_shift, rel=1e-12)


@pytest.mark.parametrize("rare", [1e-3, 1e-13, 1e-30])
def test_the_exact_shift_of_a_rare_best_arm(rare: float) -> None:
    """Ratios of 10^13 and more: the normalizer is as small, and KL at the shift is still what was asked for."""
    beta = 1 / (2 * np.log(1 / rare))
    bandit = ps.Bandit([1 - rare, rare], [0.0, 1.0])
    nats = 0.5 * np.log(1 / rare)
    found = prescribe([0.0, 1.0], behavior=bandit.behavior, nats=nats, beta=beta)
    assert found.binding
    target = ps.induced_target(bandit, ps.algorithm("shifted_mean", beta=beta, delta=found.exact_delta))
    assert float(kl(target.log_ratio, bandit.behavior)) == pytest.approx(nats, rel=1e-6)


def test_a_nominal_target_at_exactly_k_nats_is_not_beyond_them() -> None:
    bandit = ps.Bandit(BEHAVIOR, REWARD)
    most = float(kl(ps.nominal_target(bandit, ps.algorithm("opmd", tau=0.5)).log_ratio, BEHAVIOR))
    found = [prescribe(REWARD, behavior=BEHAVIOR, nats=most * (1 + e), beta=0.5) for e in (-1e-9, 1e-9)]
    assert [one.binding for one in found] == [True, False]
    assert found[0].exact_shift == pytest.approx(found[1].exact_shift, rel=1e-6)


def test_group_shifts_are_the_lesser_of_two_bounds() -> None:
    """Chernoff's grows with beta, Hoeffding's with the range of the rewards."""
    reward = [0.0, 0.5, 2.0]
    for beta in (0.01, 100.0):
        for size in (1, 8):
            chernoff, hoeffding = beta * np.log(20) / size, 2.0 * np.sqrt(np.log(20) / (2 * size))
            found: Prescription = prescribe(reward, nats=1.0, beta=beta, group_size=size)
            assert found.group_shift == pytest.approx(min(chernoff, hoeffding), rel=1e-13)
            assert (found.group_shift < chernoff * 0.99) == (beta == 100.0)


@pytest.mark.parametrize("reward", [3.0, [], np.ones((2, 0))])
def test_a_prescription_needs_rewards_along_an_axis(reward):
    with pytest.raises(ValueError, match=r"reward has shape .* it must be \(\.\.\., K\) with K >= 1"):
        ps.prescribe(reward, nats=0.1, beta=0.2)
