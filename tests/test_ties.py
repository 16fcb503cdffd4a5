"""Tied rewards: every entry's targets against flows from mu, extrapolated by the rate at which tied arms lose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import pessimism as ps
from pessimism.claims.ties import ties_greedy_fill, ties_rate, ties_winner_takes_all
from pessimism.objectives.ratio import truncated
from pessimism.solve.flow import Flow, softmax_flow
from pessimism.solve.ties import Division, greedy_fill, losing_rate
from test_catalogue import NAMED_TARGETS, algorithm

NAMES = tuple(ps.catalogue())
# Two winners; three; three levels, the middle one tied; equal winners. What is not played is worth more than all else.
BANDITS = ps.Bandit(
    [[0.5, 0.3, 0.2, 0.0, 0.0], [0.4, 0.2, 0.1, 0.1, 0.2], [0.1, 0.4, 0.2, 0.2, 0.1], [0.3, 0.3, 0.2, 0.2, 0.0]],
    [[1.0, 1.0, 0.0, 3.0, 0.0], [1.0, 1.0, 0.0, 1.0, 0.0], [2.0, 1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0, 3.0]],
)
LATE, EARLIER = 1e5, 1e3


def corner(advantage: np.ndarray, *, cap: float) -> np.ndarray:
    """Where min(rho, cap) bends: a flow that slides within rounding of a corner must know of it."""
    return np.full((*advantage.shape, 1), math.log(cap))


def with_corner(made: ps.Algorithm) -> ps.Algorithm:
    """The same algorithm, its flow told where a truncated ratio bends."""
    if isinstance(made.coefficient, partial) and made.coefficient.func is truncated:
        return replace(made, kinks=partial(corner, cap=made.coefficient.keywords["high"]))
    return made


def extrapolated(late: np.ndarray, earlier: np.ndarray, factor: float, rate: np.ndarray) -> np.ndarray:
    """The limit of p + q t^-rate from policies at two times a factor apart; the later one where the rate is 0."""
    weight = np.where(rate > 0, factor**-rate, 0.0)[:, None]
    return (late - weight * earlier) / (1 - weight)


def two_times(follow: Callable[..., Flow], late: float, earlier: float) -> tuple[np.ndarray, np.ndarray]:
    """Policies of one flow at a late and at an earlier time."""
    first = follow(t_max=earlier)
    rest = follow(t_max=late, start=first.policy, elapsed=earlier, scale=first.scale)
    return rest.policy, first.policy


@pytest.mark.parametrize("name", NAMES)
def test_induced_targets_are_limits_of_the_flow_on_tied_rewards(name: str) -> None:
    made = algorithm(name)
    target = ps.induced_target(BANDITS, made)
    late, earlier = two_times(partial(ps.gradient_flow, BANDITS, with_corner(made), tol=1e-14), LATE, EARLIER)
    limit = extrapolated(late, earlier, LATE / EARLIER, np.asarray(target.rate))
    distance = np.abs(limit - target.policy).sum(axis=-1) / 2
    assert (distance < 3e-3).all(), (distance, target.policy, limit)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NAMED_TARGETS | {"dpo", "chi_po"}])
def test_nominal_targets_are_limits_of_the_flow_on_its_own_data(name: str) -> None:
    """Preferences keep their opponents from mu and are left out: test_catalogue checks where they rest."""
    made = algorithm(name)
    target = ps.nominal_target(BANDITS, made)
    advantage = made.baseline.exact(BANDITS.reward, BANDITS.behavior).advantage
    follow = partial(
        softmax_flow,
        made.on_policy or made.coefficient,
        BANDITS.behavior,
        advantage,
        on_policy=True,
        coupled=made.coupled and made.on_policy is None,
        takes_behavior=made.takes_behavior and made.on_policy is None,
        tol=1e-14,
    )
    limit = extrapolated(*two_times(follow, 1e9, 1e7), 1e2, np.asarray(target.rate))
    distance = np.abs(limit - target.policy).sum(axis=-1) / 2
    assert (distance < 1e-3).all(), (distance, target.policy, limit)


@pytest.mark.parametrize(
    ("mu", "reward", "cap"),
    [
        ([0.5, 0.3, 0.2], [1.0, 1.0, 0.0], 1.28),
        ([0.5, 0.2, 0.1, 0.2], [1.0, 1.0, 1.0, 0.0], 1.6),
        ([0.1, 0.4, 0.2, 0.3], [2.0, 1.0, 1.0, 0.0], 1.28),
    ],
)
def test_greedy_fill_against_an_integrator_of_its_own(mu: list[float], reward: list[float], cap: float) -> None:
    """scipy's LSODA on the logits in log time, sharing no code with the package."""
    behavior, gain = np.array(mu), np.array(reward) - np.dot(mu, reward)

    def velocity(log_time: float, logits: np.ndarray) -> np.ndarray:
        policy = np.exp(logits - logits.max())
        policy /= policy.sum()
        pull = behavior * np.minimum(policy / behavior, cap) * gain
        return np.exp(log_time) * (pull - policy * pull.sum())

    path = solve_ivp(velocity, (-10, math.log(1e6)), np.log(behavior), method="LSODA", rtol=1e-8, atol=1e-10)
    policy = np.exp(path.y[:, -1] - path.y[:, -1].max())
    target = ps.induced_target(ps.Bandit(mu, reward), ps.algorithm("verl.tis", cap=cap))
    np.testing.assert_allclose(policy / policy.sum(), target.policy, atol=0.02)
    assert target.face.sum() >= 2


@given(seed=st.integers(0, 10**6), cap=st.sampled_from([1.0, 1.3, 2.0, math.inf]))
def test_greedy_fill_serves_in_order_and_shares_among_equals(seed: int, cap: float) -> None:
    rng = np.random.default_rng(seed)
    start = rng.integers(1, 5, size=6) / 10
    tied = rng.uniform(size=6) < 0.7
    room = np.where(tied, cap * start, 0.0) if math.isfinite(cap) else np.where(tied, 10.0, 0.0)
    mass = float(min(1.0, room.sum()) * rng.uniform(0.2, 1.0))
    found = greedy_fill(tied, start, np.array(mass), cap)
    assert found.policy.sum() == pytest.approx(mass if tied.any() else 0.0)
    assert (found.policy <= room + 1e-12).all()
    for one in np.flatnonzero(tied):
        for other in np.flatnonzero(tied):
            if start[one] == start[other]:
                assert found.policy[one] == pytest.approx(found.policy[other])
            elif start[one] > start[other] and found.policy[other] > 1e-12:
                assert found.policy[one] == pytest.approx(room[one])


def divided_by_hand(tied: list[bool], start: list[float], mass: float, cap: float) -> tuple[list[float], int, bool]:
    """Level by level in fractions: what every arm gets, how many share what is left last, whether one gets nothing."""
    policy, left, last = [Fraction(0)] * len(start), Fraction(mass), 0
    for level in sorted({value for value, ties in zip(start, tied, strict=True) if ties}, reverse=True):
        arms = [arm for arm, value in enumerate(start) if tied[arm] and value == level]
        if left > 0:
            each, last = left / len(arms), len(arms)
            each = each if math.isinf(cap) else min(each, Fraction(cap) * Fraction(level))
            policy = [each if arm in arms else have for arm, have in enumerate(policy)]
            left -= each * len(arms)
    return (
        [float(have) for have in policy],
        last,
        any(ties and not have for ties, have in zip(tied, policy, strict=True)),
    )


@pytest.mark.parametrize("cap", [1.0, 1.5, 3.0, math.inf])
def test_divisions_of_a_batch_are_those_made_by_hand(cap: float) -> None:
    """Starts are sixteenths, which floats hold exactly, so that equal ones are equal; some rows have no tie at all."""
    rng = np.random.default_rng(3)
    start = rng.integers(1, 5, size=(40, 3, 7)) / 16
    tied = rng.uniform(size=start.shape) < 0.6
    tied[0], tied[1, :, 2:] = False, False
    start[~tied & (rng.uniform(size=start.shape) < 0.3)] = 0.0
    most = np.where(tied, start, 0.0).sum(axis=-1) * min(cap, 4.0)
    mass = most * rng.choice([0.0, 0.25, 0.5, 1.0], size=most.shape)
    found = greedy_fill(tied, start, mass, cap)
    for row in np.ndindex(mass.shape):
        policy, last, lost = divided_by_hand(tied[row].tolist(), start[row].tolist(), float(mass[row]), cap)
        np.testing.assert_allclose(found.policy[row], policy, rtol=1e-13, atol=0)
        assert (found.last[row], found.lost[row]) == (last, lost), row


@pytest.mark.parametrize("name", [name for name in NAMES if ps.algorithm(name).induced is not None])
def test_an_arm_that_is_never_played_is_no_loser_and_no_winner(name: str) -> None:
    """Rates, faces and kinds of tied rewards count the arms that are played, whatever the others would be worth."""
    made = algorithm(name)
    plain = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [1.0, 1.0, 0.0]), made)
    for reward in (0.0, 1.0, 2.0):
        wide = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2, 0.0], [1.0, 1.0, 0.0, reward]), made)
        assert (wide.kind, wide.method, wide.rate, wide.regime) == (plain.kind, plain.method, plain.rate, plain.regime)
        assert wide.face.tolist() == [*plain.face.tolist(), False]
        np.testing.assert_allclose(wide.policy, [*plain.policy, 0.0], rtol=1e-12)


def test_an_arm_without_a_cap_may_take_all() -> None:
    assert greedy_fill(np.array([True, True]), np.array([0.3, 0.2]), np.array(0.9)).policy.tolist() == [0.9, 0.0]


@pytest.mark.parametrize(
    ("losers", "last", "lost", "rate"), [(1, 1, True, 1 / 2), (3, 1, True, 3 / 4), (2, 3, True, 2 / 5)]
)
def test_the_rate_is_the_share_of_the_losers(losers: int, last: int, lost: bool, rate: float) -> None:
    """t^{-n/(n + e)} for n losers and e that share; none where no tied arm loses, or nothing is there to share."""
    rows = Division(np.zeros((4, 2)), np.array([last, last, 0, last]), np.array([lost, False, lost, lost]))
    assert losing_rate(rows, np.array([losers, losers, losers, 0])).tolist() == [rate, 0.0, 0.0, 0.0]


def test_the_claims_see_a_wrong_division(monkeypatch: pytest.MonkeyPatch) -> None:
    """Winners that share in proportion to mu, as was reported once, fail both claims about where flows go."""
    from pessimism.claims import ties

    def proportional(bandit: ps.Bandit, made: ps.Algorithm) -> ps.Target:
        target = ps.induced_target(bandit, made)
        some = target.face.any(axis=-1, keepdims=True)
        share = np.where(target.face, bandit.behavior, np.where(some, 0.0, target.policy))
        return replace(target, policy=share / share.sum(axis=-1, keepdims=True))

    case = next(iter(ties.TIED_WINNERS[0].cases(0, 20)))
    assert (ties_rate.violations(case) <= ties_rate.tolerance).all()
    for claim in (ties_winner_takes_all, ties_greedy_fill):
        assert (claim.violations(case) <= claim.tolerance).all()
    monkeypatch.setattr(ties, "induced", proportional)
    for claim in (ties_winner_takes_all, ties_greedy_fill):
        assert (claim.violations(case) > claim.tolerance).any()


@pytest.mark.parametrize(
    ("mu", "reward"),
    [
        ([0.1423, 0.6935, 0.1115, 0.0527], [1.0, 1.0, 1.0, 0.0]),
        ([0.000312166, 0.130198, 0.646453, 0.22303683399999997], [0.0, 0.5, 0.5, 0.5]),  # advantages of 1e-4: slow
    ],
)
def test_tied_winners_that_fill_a_clipped_simplex_end_as_the_greedy_fill_says(
    mu: list[float], reward: list[float]
) -> None:
    """The flow alone does not end: their power law needs 1e16 units of time to a residual of 1e-8."""
    behavior, gain = np.array(mu), np.array(reward)
    winners = gain == gain.max()
    expected = greedy_fill(winners, behavior, np.array(1.0), 1.2).policy
    target = ps.induced_target(ps.Bandit(behavior, gain), ps.algorithm("ppo"))
    assert target.kind == "path-dependent"
    np.testing.assert_allclose(target.policy, expected, atol=5e-5)
    assert target.policy.sum() == pytest.approx(1.0, abs=1e-12)


def test_tied_arms_stay_where_their_leader_is_held_by_the_clip() -> None:
    """Two winners meet the clip with room to spare, so that neither loses although they tie."""
    behavior = np.array([0.3, 0.2, 0.5])
    target = ps.induced_target(ps.Bandit(behavior, np.array([1.0, 1.0, 0.0])), ps.algorithm("ppo"))
    ratio = target.policy[:2] / behavior[:2]
    assert (ratio > 1.2 - 1e-4).all()
    assert (ratio < 1.22).all()


def test_a_flow_goes_on_where_another_one_stopped() -> None:
    behavior, gain = np.array([0.5, 0.3, 0.2]), np.array([-0.2, -0.2, 0.8])

    def field(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
        return np.exp(log_ratio) * advantage

    whole = softmax_flow(field, behavior, gain, t_max=1e4, tol=1e-30)
    half = softmax_flow(field, behavior, gain, t_max=1e2, tol=1e-30)
    rest = softmax_flow(field, behavior, gain, start=half.policy, elapsed=1e2, t_max=1e4, tol=1e-30)
    np.testing.assert_allclose(rest.policy, whole.policy, atol=1e-6)
    assert rest.time == whole.time == 1e4
    with pytest.raises(ValueError, match="elapsed is 10000; it must be at least 0 and less than t_max"):
        softmax_flow(field, behavior, gain, elapsed=1e4, t_max=1e4)
