"""Closed forms against brute force: scalar searches for the normalizer, quadratic projections, and degenerate rows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

import pessimism as ps
from pessimism.baseline import Moments
from pessimism.objectives.policy_gradient import constant_coefficient, policy_gradient_target
from pessimism.objectives.preference import identity_preference_target
from pessimism.objectives.ratio import log_smoothed_target, tapered_target, truncated, truncated_target
from pessimism.objectives.trust_region import trust_region_target
from pessimism.objectives.weighted import exponential_target
from pessimism.solution import Solution, gibbs, mixed_link, regimes

seeds = st.integers(0, 10_000)


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where an increasing or decreasing function is zero, to rounding."""
    found = optimize.brentq(function, low, high, xtol=1e-300, rtol=1e-14)  # type: ignore[arg-type]
    return float(found)  # type: ignore[arg-type]


def moments(bandit: ps.Bandit, advantage: np.ndarray) -> Moments:
    mean = (bandit.behavior * advantage).sum(axis=-1)
    best = np.where(bandit.behavior > 0, advantage, -np.inf).max(axis=-1, keepdims=True)
    return Moments(advantage, advantage - mean[..., None], mean, np.zeros_like(mean), advantage - best)


def instance(seed: int, arms: int = 5, ties: bool = False) -> tuple[ps.Bandit, Moments]:
    """Some rewards tied, an arm that is never played, advantages of either sign."""
    rng = np.random.default_rng(seed)
    behavior = np.append(rng.dirichlet(np.ones(arms)), 0.0)
    advantage = np.append(rng.normal(size=arms), 9.0)
    if ties:
        advantage[:arms] = rng.integers(-2, 3, size=arms) / 2
    bandit = ps.Bandit(behavior, advantage)
    return bandit, moments(bandit, advantage)


def policy_of(bandit: ps.Bandit, found: Solution) -> np.ndarray:
    return bandit.anchor * np.exp(np.where(bandit.anchor > 0, found.log_ratio, 0.0))


@given(seed=seeds, shift=st.floats(0.05, 4), ties=st.booleans())
def test_constant_coefficients_are_projections(seed: int, shift: float, ties: bool) -> None:
    """[mu A - tau]+/E A is the point of the simplex nearest to mu A / E A (AsymRE, Theorem 4.2)."""
    bandit, base = instance(seed, ties=ties)
    advantage = base.advantage - base.mean + shift
    found = policy_gradient_target(bandit, moments(bandit, advantage))
    assert found.solved
    assert found.unique
    assert not found.face
    assert found.regime == "positive"
    assert found.normalizer == pytest.approx(shift)
    policy = policy_of(bandit, found)
    pull = bandit.behavior * advantage / shift
    level = root(lambda tau: np.maximum(pull - tau, 0).sum() - 1, pull.min() - 1, pull.max())
    np.testing.assert_allclose(policy, np.maximum(pull - level, 0), atol=1e-9)
    assert (policy[:-1] == 0).tolist() == (found.log_ratio[:-1] == -np.inf).tolist()


def test_constant_coefficients_by_slsqp() -> None:
    bandit, base = instance(3)
    advantage = base.advantage - base.mean + 0.4
    policy = policy_of(bandit, policy_gradient_target(bandit, moments(bandit, advantage)))
    pull = bandit.behavior * advantage / 0.4
    nearest = optimize.minimize(
        lambda p: ((p - pull) ** 2).sum(),
        bandit.behavior,
        bounds=[(0, 1)] * bandit.arms,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-15},
    )
    np.testing.assert_allclose(policy, nearest.x, atol=1e-6)


def test_constant_coefficients_at_and_below_zero_mean() -> None:
    bandit = ps.Bandit([0.25, 0.25, 0.5], [0.0, 0.0, 0.0])
    collapse = constant_coefficient(bandit, np.array([2.0, 0.0, -1.0]), np.array(0.0), with_regime=True)
    np.testing.assert_array_equal(policy_of(bandit, collapse), [1, 0, 0])
    assert (bool(collapse.unique), bool(collapse.face), str(collapse.regime)) == (True, False, "boundary")
    tie = constant_coefficient(bandit, np.array([1.0, 1.0, -1.0]), np.array(0.0), with_regime=False)
    np.testing.assert_array_equal(policy_of(bandit, tie), [0.5, 0.5, 0])
    assert (bool(tie.unique), bool(tie.face), tie.regime) == (True, False, None)
    flow = ps.gradient_flow(ps.Bandit([0.25, 0.25, 0.5], [1.0, 1.0, -1.0]), ps.algorithm("reinforce"))
    np.testing.assert_allclose(flow.policy, [0.5, 0.5, 0], atol=1e-6)
    below = constant_coefficient(bandit, np.array([1.0, 0.0, -1.0]), np.array(-0.25), with_regime=True)
    assert not below.solved
    assert np.isnan(below.log_ratio).all()
    assert np.isnan(below.normalizer)
    still = constant_coefficient(bandit, np.zeros(3), np.array(0.0), with_regime=True)
    np.testing.assert_array_equal(policy_of(bandit, still), [0.25, 0.25, 0.5])
    assert (bool(still.unique), bool(still.face)) == (False, True)


@given(seed=seeds, cap=st.floats(0.05, 6), ties=st.booleans())
def test_truncated_ratios(seed: int, cap: float, ties: bool) -> None:
    """lambda is where the demand for mass sum_{A > lambda} mu cap A/lambda falls through one."""
    bandit, base = instance(seed, ties=ties)
    found = truncated_target(bandit, base, cap=cap)
    advantage = base.advantage[:-1]
    behavior = bandit.behavior[:-1]
    if not (advantage > 0).any():
        assert bool(found.solved) == bool((advantage == 0).all())
        return

    def demand(level: float) -> float:
        return float((behavior * cap * advantage / level)[advantage > level].sum())

    low, high = 1e-9, float(advantage.max()) * (1 + 1e-9)
    for _ in range(200):  # demand falls, with jumps
        middle = math.sqrt(low * high)
        low, high = (middle, high) if demand(middle) > 1 else (low, middle)
    level = high
    assert found.normalizer == pytest.approx(level, rel=1e-9)
    policy = policy_of(bandit, found)
    assert policy.sum() == pytest.approx(1)
    ratio = np.exp(found.log_ratio[:-1])
    above, marginal = advantage > level * (1 + 1e-9), np.abs(advantage - level) <= 1e-9 * level
    np.testing.assert_allclose(ratio[above], cap * advantage[above] / level, rtol=1e-8)
    np.testing.assert_array_equal(ratio[~above & ~marginal], 0)
    assert (ratio[marginal] <= cap * (1 + 1e-9)).all()
    left = 1 - behavior @ np.where(above, ratio, 0.0)
    for arm in sorted(np.flatnonzero(marginal), key=lambda arm: -behavior[arm]):  # greedy fill in the order of mu
        assert behavior[arm] * ratio[arm] == pytest.approx(min(cap * behavior[arm], left), abs=1e-9)
        left = max(left - behavior[arm] * ratio[arm], 0.0)
    several = marginal.sum() > 1 and ratio[marginal].max() > 1e-9
    assert not found.face
    assert found.tied is not None
    assert found.tied.tolist() == [*(marginal & several).tolist(), False]
    assert bool(found.unique) == (not several or not above.any())
    value = truncated(np.log(np.maximum(ratio, 1e-300)), advantage, low=0.0, high=cap)
    assert (behavior * value).sum() == pytest.approx(level, rel=1e-7)


@given(seed=seeds, t=st.floats(1e-3, 1e3))
def test_logarithmic_smoothing(seed: int, t: float) -> None:
    """rho = [1/lambda - 1/r]+ / t, lambda by normalization."""
    bandit, base = instance(seed)
    reward = np.abs(base.advantage)
    reward[1] = 0.0
    found = log_smoothed_target(bandit, moments(bandit, reward), t=t)
    behavior, pays = bandit.behavior[:-1], np.maximum(reward[:-1], 1e-300)

    def mass(price: float) -> float:
        return float((behavior * np.maximum(price - 1 / pays, 0)).sum() / t) - 1

    lowest = 1 / reward[:-1].max()
    price = root(mass, lowest, lowest + t / behavior[reward[:-1].argmax()] + 1)
    assert found.normalizer == pytest.approx(1 / price, rel=1e-9)
    expected = np.maximum(price - 1 / pays, 0) / t
    np.testing.assert_allclose(np.exp(found.log_ratio[:-1]), expected, rtol=1e-6, atol=1e-9)
    assert found.log_ratio[1] == -np.inf
    assert found.unique


@given(seed=seeds)
def test_tapered_weights_and_the_rows_it_leaves(seed: int) -> None:
    bandit, base = instance(seed)
    found = tapered_target(bandit, base)
    gain = bandit.behavior * np.maximum(np.where(bandit.behavior > 0, base.advantage, 0), 0)
    if gain.sum() > 0:
        np.testing.assert_allclose(policy_of(bandit, found), gain / gain.sum(), rtol=1e-12)
        assert found.normalizer == pytest.approx(gain.sum())
        assert found.unique
        assert found.solved
        assert not found.face
    else:
        assert not found.solved
        assert np.isnan(found.log_ratio).all()


@given(seed=seeds, beta=st.sampled_from([1e-3, 0.3, 10.0]), cap=st.sampled_from([0.5, 2.0, math.inf]))
def test_exponential_weights(seed: int, beta: float, cap: float) -> None:
    bandit, base = instance(seed)
    found = exponential_target(bandit, base, beta=beta, cap=cap)
    with np.errstate(over="ignore"):
        log_weight = np.minimum(base.advantage / beta, math.log(cap))
    top = log_weight[:-1].max()
    weight = bandit.behavior[:-1] * np.exp(log_weight[:-1] - top)
    np.testing.assert_allclose(policy_of(bandit, found)[:-1], weight / weight.sum(), rtol=1e-10, atol=1e-300)
    if top < 700:
        assert found.normalizer == pytest.approx(weight.sum() * math.exp(top), rel=1e-9)


@given(seed=seeds, beta=st.sampled_from([0.05, 0.7, 20.0]), alpha=st.sampled_from([0.01, 0.5, 30.0]))
def test_mixed_links(seed: int, beta: float, alpha: float) -> None:
    """beta log rho + alpha rho = A - v on every arm that is played."""
    bandit, base = instance(seed)
    for carries_ratio in (False, True):
        found = mixed_link(bandit, base, beta=beta, alpha=alpha, carries_ratio=carries_ratio)
        x = found.log_ratio[:-1]
        shift = base.advantage[:-1] - beta * x - alpha * np.exp(x)
        np.testing.assert_allclose(shift, shift[0], rtol=1e-9, atol=1e-9 * (alpha + beta + 1))
        assert policy_of(bandit, found).sum() == pytest.approx(1, rel=1e-12)
        assert found.normalizer == pytest.approx(shift[0] + alpha if carries_ratio else 0.0, rel=1e-9, abs=1e-9)


@given(seed=seeds, beta=st.sampled_from([1e-3, 0.3, 10.0]))
def test_gibbs_and_its_normalizers(seed: int, beta: float) -> None:
    bandit, base = instance(seed)
    found = gibbs(bandit, base, beta=beta)
    a = base.advantage[:-1] / beta
    weight = bandit.behavior[:-1] * np.exp(a - a.max())
    np.testing.assert_allclose(policy_of(bandit, found)[:-1], weight / weight.sum(), rtol=1e-9, atol=1e-300)
    soft = beta * (math.log(weight.sum()) + a.max())
    assert found.normalizer == pytest.approx(soft, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("reward", [1e6, -1e6])
def test_an_arm_that_is_never_played_does_not_count_however_good(reward: float) -> None:
    played = ps.Bandit([0.5, 0.5], [0.0, 1.0])
    wide = ps.Bandit([0.5, 0.5, 0.0], [0.0, 1.0, reward])
    for name in ("awr", "opmd", "dro", "shifted_mean", "chi_po", "dpo", "ipo"):
        for which in (ps.induced_target, ps.nominal_target):
            one, other = (which(bandit, ps.algorithm(name)) for bandit in (played, wide))
            np.testing.assert_allclose(other.policy, [*one.policy, 0.0], rtol=1e-12, err_msg=name)
            assert other.normalizer == pytest.approx(one.normalizer, rel=1e-12, abs=1e-15)
            assert other.regime == one.regime


def test_win_rates_are_those_against_the_behavior_policy() -> None:
    bandit, base = instance(5)
    found = identity_preference_target(bandit, base, tau=0.3)
    gaps = base.advantage[:, None] - base.advantage[None, :]
    wins = (bandit.behavior / (1 + np.exp(-gaps))).sum(axis=-1)
    weight = bandit.behavior * np.exp(wins / 0.3)
    np.testing.assert_allclose(policy_of(bandit, found), weight / weight.sum(), rtol=1e-12)


def test_pessimistic_greedy_prefers_what_is_known() -> None:
    bandit = ps.Bandit([0.64, 0.35, 0.01], [0.5, 0.54, 1.0])
    certain = ps.induced_target(bandit, ps.algorithm("pevi", bonus=0.0))
    np.testing.assert_array_equal(certain.policy, [0, 0, 1])
    cautious = ps.induced_target(bandit, ps.algorithm("pevi", bonus=1.0, samples=100.0))
    np.testing.assert_array_equal(cautious.policy, [1, 0, 0])  # .5 - .125, .54 - .169, 1 - 1
    middle = ps.induced_target(bandit, ps.algorithm("pevi", bonus=1.0, samples=1000.0))
    np.testing.assert_array_equal(middle.policy, [0, 0, 1])
    assert cautious.normalizer == pytest.approx(0.5 - bandit.behavior @ bandit.reward - 0.125)


def test_regimes_follow_the_sign_beyond_rounding() -> None:
    scale = np.array([1.0, 1.0, 1.0, 1.0])
    value = np.array([1e-12, -1e-12, 1e-16, 0.0])
    assert regimes(value, scale, 4).tolist() == ["positive", "negative", "boundary", "boundary"]
    assert regimes(value, 1e6 * scale, 4).tolist() == ["boundary"] * 4
    tolerance = 16 * 2.0**-52
    assert regimes(np.array(2.9 * tolerance), np.array(1.0), 4) == "boundary"
    assert regimes(np.array(3.1 * tolerance), np.array(1.0), 4) == "positive"
    assert regimes(np.array(-3.1 * tolerance), np.array(1.0), 4) == "negative"


def test_temperatures_too_small_for_the_rewards_are_refused() -> None:
    bandit = ps.Bandit([[0.5, 0.5], [0.5, 0.5]], [[0.0, 0.0], [0.0, 1e300]])
    with pytest.raises(ValueError, match=r"advantage\[1, 0\] / beta overflows; beta = 1e-10 is too small"):
        ps.induced_target(bandit, ps.algorithm("dro", beta=1e-10))


# --- the same on batches, through the catalogue --------------------------------------------------------------------


def batch() -> ps.Bandit:
    """(2, 3) bandits, one arm of each never played."""
    rng = np.random.default_rng(11)
    behavior = np.concatenate([rng.dirichlet(np.full(4, 2.0), size=(2, 3)), np.zeros((2, 3, 1))], axis=-1)
    return ps.Bandit(behavior, np.abs(rng.normal(size=(2, 3, 5))) * 0.7)


BATCHED = {
    "red_weight": {"temperature": 0.7},
    "red_drop": {},
    "roirl": {},
    "tpo": {"eta": 0.8},
    "ipo": {"tau": 0.3},
    "trpo": {"delta": 0.2},
    "awr": {"beta": 0.5, "cap": 2.0},
    "ls": {"t": 0.8},
    "topr": {},
    "luffy": {"gamma": 0.3},
    "verl.tis": {"cap": 1.3},
    "cql": {"alpha": 0.6, "beta": 0.4},
    "pevi": {},
    "asymre": {"shift": -0.5},
    "is_regression": {"beta": 0.5},
}


@pytest.mark.parametrize("name", BATCHED)
def test_closed_forms_on_batches_satisfy_their_condition(name: str) -> None:
    """mu c - lambda pi is the same for all arms that keep mass, lambda = E c, and no other arm is pulled harder."""
    made, bandit = ps.algorithm(name, **BATCHED[name]), batch()
    target = ps.induced_target(bandit, made)
    assert set(np.ravel(target.method)) == {"closed form"}
    advantage = made.baseline.exact(bandit.reward, bandit.behavior).advantage
    value = made.coefficient(target.log_ratio, advantage, **made.weights(bandit.behavior))
    weighted = np.where(bandit.behavior > 0, bandit.behavior * value, 0.0)
    normalizer = weighted.sum(axis=-1)
    np.testing.assert_allclose(target.normalizer, normalizer, rtol=1e-9, atol=1e-10)
    velocity = weighted - target.policy * normalizer[..., None]
    common = (target.policy * velocity).sum(axis=-1, keepdims=True)
    gap = np.where(bandit.behavior > 0, velocity - common, 0.0)
    assert (np.abs(np.where(target.support, gap, 0.0)) < 1e-9).all()
    assert (gap < 1e-9).all()
    assert np.asarray(target.unique).all()
    for index in np.ndindex(2, 3):
        single = ps.induced_target(ps.Bandit(bandit.behavior[index], bandit.reward[index]), made)
        np.testing.assert_allclose(single.policy, target.policy[index], rtol=1e-9, atol=1e-14)
        np.testing.assert_array_equal(single.support, target.support[index])


@pytest.mark.parametrize("name", ["tpo", "ipo", "trpo", "red_drop", "red_weight"])
def test_coupled_closed_forms_against_the_flow(name: str) -> None:
    made = ps.algorithm(name, **BATCHED[name])
    bandit = ps.Bandit(batch().behavior[0, :2], batch().reward[0, :2])
    flow = ps.gradient_flow(bandit, made)
    np.testing.assert_allclose(ps.induced_target(bandit, made).policy, flow.policy, atol=1e-6)


def test_trust_region_normalizer_is_the_level() -> None:
    """c = rho A + nu = tau rho: the normalizer is the level tau, above every advantage."""
    bandit, base = instance(2)
    found = trust_region_target(bandit, base, delta=0.1)
    ratio = np.exp(found.log_ratio[:-1])
    assert bandit.behavior[:-1] @ ratio == pytest.approx(1)
    assert -bandit.behavior[:-1] @ found.log_ratio[:-1] == pytest.approx(0.1, rel=1e-9)
    product = ratio * (found.normalizer - base.advantage[:-1])
    np.testing.assert_allclose(product, product[0], rtol=1e-9)
    assert found.normalizer > base.advantage[:-1].max()


def test_overflowing_weights_name_the_arm() -> None:
    bandit = ps.Bandit([[0.5, 0.5, 0.0]] * 2, [[0.0, 0.0, 9e3], [0.0, 1.0, 0.0]])
    with pytest.raises(
        ValueError, match=r"the weight of arm \[1, 1\] overflows; the temperature is too small for these"
    ):
        ps.induced_target(bandit, ps.algorithm("red_weight", temperature=6e-4))


def test_references_on_batches() -> None:
    """Rows where uncovered arms get nothing, where two or one share the rest, and where all arms are covered."""
    behavior = np.array([[0.6, 0.4, 0.0, 0.0]] * 2 + [[0.5, 0.3, 0.2, 0.0], [0.4, 0.3, 0.2, 0.1]])
    reference = np.array([[0.3, 0.3, 0.3, 0.1]] * 4)
    reward = np.array([[0.0, 1.0, 5.0, 9.0]] * 4)
    baseline = np.array([-1.0, 2.0, 6.5, 0.0])
    made = ps.algorithm("dro", beta=0.5, baseline=lambda r, mu: baseline[: len(r)])
    target = ps.induced_target(ps.Bandit(behavior, reward, reference), made)
    assert target.kind.tolist() == ["sparse", "face", "interior", "interior"]
    assert target.unique.tolist() == [True, False, True, True]
    assert target.regime.tolist() == ["positive", "boundary", "boundary", "positive"]
    assert target.support.tolist()[0] == [True, True, False, False]
    np.testing.assert_allclose(target.policy.sum(axis=-1), 1.0, rtol=1e-12)
    played = behavior > 0
    advantage = reward - baseline[:, None]
    pull = target.normalizer[:, None] * target.policy / np.where(played, behavior, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        balance = 0.5 * np.log(target.policy / reference) + pull - advantage
    np.testing.assert_allclose(np.where(played, balance, 0.0), 0.0, atol=1e-9)
    kept = target.policy[1, :2].sum()
    np.testing.assert_allclose(target.policy[1, 2:], (1 - kept) * np.array([0.75, 0.25]), rtol=1e-12)
    assert target.policy[2, 3] == pytest.approx(1 - target.policy[2, :3].sum())
    for row in range(4):
        alone = ps.algorithm("dro", beta=0.5, baseline=float(baseline[row]))
        single = ps.induced_target(ps.Bandit(behavior[row], reward[row], reference[row]), alone)
        np.testing.assert_allclose(single.policy, target.policy[row], rtol=1e-9, atol=1e-15)
        assert (single.kind, single.unique) == (target.kind[row], target.unique[row])


def test_greedy_targets_of_a_batch() -> None:
    """Each row its own best arm among those that are played, and the value of its advantage."""
    bandit = batch()
    target = ps.nominal_target(bandit, ps.algorithm("reinforce"))
    best = np.where(bandit.behavior > 0, bandit.reward, -np.inf).argmax(axis=-1)
    np.testing.assert_array_equal(target.policy.argmax(axis=-1), best)
    np.testing.assert_array_equal(target.policy.max(axis=-1), 1.0)
    mean = (bandit.behavior * bandit.reward).sum(axis=-1)
    played_best = np.take_along_axis(bandit.reward, best[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(target.normalizer, played_best - mean, rtol=1e-12)


@pytest.mark.parametrize("name", ["topr", "ls", "verl.tis"])
def test_rows_without_signal_beside_rows_with_it(name: str) -> None:
    bandit = ps.Bandit([[0.25, 0.25, 0.5, 0.0]] * 3, [[0.0, 0.0, 0.0, 5.0], [0.0, 1.0, 2.0, 5.0], [1.0, 0.5, 0.2, 0.0]])
    target = ps.induced_target(bandit, ps.algorithm(name))
    assert target.kind.tolist()[0] == "face"
    np.testing.assert_allclose(target.policy[0], [0.25, 0.25, 0.5, 0.0])
    for row in (1, 2):
        single = ps.induced_target(ps.Bandit(bandit.behavior[row], bandit.reward[row]), ps.algorithm(name))
        np.testing.assert_allclose(target.policy[row], single.policy, rtol=1e-12)
        assert (single.kind, single.unique) == (target.kind[row], target.unique[row])


def elsewhere(name: str, **fixed: float) -> ps.Algorithm:
    """An entry with six tenths of each of its parameters, where that is allowed: defaults are often 1, or equal."""
    given = {}
    for key, parameter in ps.catalogue()[name].parameters.items():
        if isinstance(parameter.default, float) and math.isfinite(parameter.default):
            with contextlib.suppress(ValueError):
                given[key] = parameter.check(name, key, 0.6 * parameter.default)
    return ps.algorithm(name, **given | fixed)


PROJECTIONS = {"awr": {"cap": math.inf}, "roirl": {}, "roirl.exponential": {}}
"""What is derived as a projection onto a tilted policy claims that policy, and ends there where no cap binds."""
COLLAPSING = {"reinforce", "rloo", "asymre", "red_weight", "red_drop", "grpo.no_ratio"}
"""Their mean advantage is not positive: they end at infinity, on an arm whose coefficient no normalizer balances."""
FOUR = ps.Bandit([0.4, 0.25, 0.2, 0.15], [0.3, 0.2, 1.1, 0.6])


@pytest.mark.parametrize(
    "name", [name for name in ps.catalogue() if ps.algorithm(name).induced is not None and name not in COLLAPSING]
)
def test_induced_closed_forms_solve_their_equation_away_from_the_defaults(name: str) -> None:
    r"""$c(\log\rho, A) = \lambda\rho$ on every arm that keeps mass, from the coefficient itself."""
    made = elsewhere(name)
    target = ps.induced_target(FOUR, made)
    advantage = made.baseline.exact(FOUR.reward, FOUR.behavior, None, made.beta).advantage
    kept = target.support
    value = made.coefficient(np.where(kept, target.log_ratio, -50.0), advantage, **made.weights(FOUR.behavior))
    off = np.abs(value - target.normalizer * np.exp(target.log_ratio))[kept]
    assert (off <= 1e-9 * (np.abs(value).max() + np.abs(advantage).max())).all()


@pytest.mark.parametrize("name", ps.catalogue())
def test_nominal_targets_make_the_on_policy_coefficient_constant(name: str) -> None:
    made = elsewhere(name)
    target = ps.nominal_target(FOUR, made)
    if name in PROJECTIONS:
        reached = ps.induced_target(FOUR, elsewhere(name, **PROJECTIONS[name]))
        np.testing.assert_allclose(target.policy, reached.policy, rtol=1e-12)
        return
    advantage = made.baseline.exact(FOUR.reward, FOUR.behavior, None, made.beta).advantage
    rule, weights = made.on_policy, {}
    if rule is None:
        rule, weights = made.coefficient, made.weights(FOUR.behavior)
    value = np.broadcast_to(rule(np.where(target.support, target.log_ratio, -50.0), advantage, **weights), (4,))
    assert np.isfinite(value).all()
    assert np.ptp(value[target.support]) <= 1e-7 * (1 + np.abs(value).max())
