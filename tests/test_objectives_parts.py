"""Parts of objectives: where coefficients jump, masks at their edges, parameters, targets of arms without data."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.objectives import arrays
from pessimism.objectives import entry as entries
from pessimism.objectives.clip import clip_range, two_side_kinks
from pessimism.objectives.masked import (
    MASKS,
    binary_divergence,
    inside_binary_divergence,
    inside_either_way,
    inside_total_variation,
    masked_weight,
)
from pessimism.objectives.policy_gradient import balanced, policy_gradient

JUMPING = [name for name in ps.catalogue() if ps.algorithm(name).kinks is not None]
PLACES = np.linspace(-2.0, 1.5, 70_001)  # 5e-5 apart


def values(made: ps.Algorithm, advantage: float) -> np.ndarray:
    """The coefficient on the grid, of an arm of probability 0.3."""
    extra: dict[str, Any] = {"behavior": np.full_like(PLACES, 0.3)} if made.takes_behavior else {}
    return np.asarray(made.coefficient(PLACES, np.full_like(PLACES, advantage), **extra))


@pytest.mark.parametrize("name", JUMPING)
def test_kinks_are_where_the_coefficient_jumps(name: str) -> None:
    """On a grid of log-ratios: every jump is listed, and the coefficient of gains or of losses bends where one is."""
    made = ps.algorithm(name)
    assert made.kinks is not None
    bound: dict[str, Any] = {"behavior": np.array([0.3])} if made.takes_behavior else {}
    slopes = {advantage: np.diff(values(made, advantage)) / np.diff(PLACES) for advantage in (-0.7, 0.7)}
    for advantage, slope in slopes.items():
        listed = np.ravel(np.asarray(made.kinks(np.array([advantage]), **bound), dtype=float))
        listed = listed[np.isfinite(listed) & (listed > -1.9) & (listed < 1.4)]
        for place in PLACES[1:][np.abs(slope) > 0.02 / 5e-5]:
            assert np.abs(listed - place).min(initial=1.0) < 1e-4, (place, listed)
        for place in listed:
            at = int(np.searchsorted(PLACES, place))
            around = [each[at - 3 : at + 3] for each in slopes.values()]
            assert any(np.ptp(each) > 1e-3 * (1 + np.abs(each).min()) for each in around), place


def test_kinks_of_probabilities_exist_only_where_probabilities_do() -> None:
    """At mu = 0 and 1 nothing can move; a floor below 0 is never reached; shapes are (..., K, n)."""
    behavior = np.array([[0.0, 1.0, 0.05, 0.3], [0.5, 0.2, 0.2, 0.1]])
    advantage = np.array([[0.5, -0.5, -0.5, 0.5], [0.4, 0.0, -2.0, 2.0]])
    for mask, kinks in MASKS.items():
        found = kinks(advantage, low=0.1, high=0.2, behavior=behavior)
        assert found.shape[:-1] == (2, 4)
        for arm in np.ndindex(2, 4):
            for kink in found[arm]:
                if behavior[arm] == 0 or not np.isfinite(kink):
                    continue
                given = (np.asarray(advantage[arm]), np.asarray(behavior[arm]), 0.1, 0.2)
                inner, outer = (bool(mask(np.asarray(kink + step), *given)) for step in (-1e-9, 1e-9))
                assert inner != outer, (mask, arm, kink)
        alone = kinks(advantage[1], low=0.1, high=0.2, behavior=behavior[1])
        np.testing.assert_array_equal(alone, found[1])
    total = MASKS[inside_total_variation](advantage, low=0.1, high=0.2, behavior=behavior)[..., 0]
    assert np.isnan(total[0, 2])  # 0.05 - 0.1 < 0
    np.testing.assert_allclose(total[1], np.log1p([0.2 / 0.5, -0.1 / 0.2, -0.1 / 0.2, 0.2 / 0.1]))
    binary = MASKS[inside_binary_divergence](advantage, low=0.1, high=0.2, behavior=behavior)[..., 0]
    assert np.isnan(binary[0, :2]).all()
    assert np.isfinite(binary[1]).all()
    assert ((binary[1] > 0) == (advantage[1] > 0)).all()
    bounds = np.where(advantage[1] > 0, 0.2, 0.1)
    np.testing.assert_allclose(binary_divergence(binary[1], behavior[1]), bounds, rtol=1e-12)
    tiny = MASKS[inside_binary_divergence](np.array([-1.0]), low=3.0, high=0.2, behavior=np.array([1e-3]))[0, 0]
    assert binary_divergence(np.array([tiny]), np.array([1e-3]))[0] == pytest.approx(3.0, rel=1e-12)
    both = MASKS[inside_either_way](advantage, low=0.1, high=0.2, behavior=behavior)
    np.testing.assert_allclose(both[1, 0], np.log1p([0.2 / 0.5, -0.1 / 0.5]))
    assert two_side_kinks(np.zeros((2, 3)), bounds=(0.8, 1.2)).shape == (2, 3, 2)


def test_masks_hold_what_lies_on_their_edge() -> None:
    zero, half = np.zeros(3), np.full(3, 0.5)
    # without any advantage an arm counts with the losses: there is no bound above, and one below
    up, down = (np.array([move]) for move in (0.6, -0.6))
    for mask in (inside_total_variation, inside_binary_divergence):
        assert mask(up, np.zeros(1), half[:1], 0.01, 0.01)[0]
        assert not mask(down, np.zeros(1), half[:1], 0.01, 0.01)[0]
    sign = np.array([-1.0, 0.0, 1.0])
    assert inside_total_variation(zero, sign, half, 0.0, 0.0).all()
    assert inside_either_way(zero, sign, half, 0.0, 0.0).all()
    assert inside_binary_divergence(zero, sign, half, 0.0, 0.0).all()
    for move in (0.3, -0.3):
        reached = float(binary_divergence(np.array([move]), np.array([0.5]))[0])
        for value, inside in ((reached, True), (0.999 * reached, False)):
            given = (np.array([move]), np.array([np.sign(move)]), np.array([0.5]), value, value)
            assert bool(inside_binary_divergence(*given)[0]) == inside
            back = (np.array([move]), np.array([-np.sign(move)]), np.array([0.5]), value, value)
            assert inside_binary_divergence(*back)[0]  # the way back is free
    gained = float(0.5 * np.expm1(0.25))
    for bound, inside in ((gained, True), (0.999 * gained, False)):
        given = (np.array([0.25]), np.array([1.0]), np.array([0.5]))
        assert bool(inside_total_variation(*given, 1.0, bound)[0]) == inside
        assert bool(inside_either_way(*given, 1.0, bound)[0]) == inside
        lost = (np.array([np.log1p(-bound / 0.5)]), np.array([-1.0]), np.array([0.5]))
        floor = float(-0.5 * np.expm1(lost[0][0]))
        assert inside_total_variation(*lost, floor, 1.0)[0]
        assert inside_either_way(*lost, floor, 1.0)[0]
        assert not inside_either_way(*lost, 0.99 * floor, 1.0)[0]


@pytest.mark.parametrize("behavior", [0.25, 0.5, 1.0])
def test_the_binary_divergence_by_its_definition(behavior: float) -> None:
    """KL of "this arm or another"; 0 log 0 = 0, and infinite where an arm would need more than all mass."""
    for policy in (0.1, 0.25, 0.5, 0.9):
        found = float(binary_divergence(np.array([np.log(policy / behavior)]), np.array([behavior]))[0])
        rest = 0.0 if behavior == 1 else (1 - behavior) * math.log((1 - behavior) / (1 - policy))
        assert found == pytest.approx(behavior * math.log(behavior / policy) + rest, abs=1e-14)
    for policy in (1.0, 1.5):
        found = float(binary_divergence(np.array([np.log(policy / behavior)]), np.array([behavior]))[0])
        assert found == (0.0 if policy == behavior else math.inf)


def test_a_masked_weight_is_capped_and_pulled_back() -> None:
    x, gain, behavior = np.array([-0.5, 0.1, 2.0]), np.array([1.0, -1.0, 1.0]), np.full(3, 0.1)
    fields: dict[str, Any] = {"inside": inside_either_way, "low": 1.0, "high": 1.0, "behavior": behavior}
    np.testing.assert_allclose(masked_weight(x, gain, **fields), np.exp(x) * gain)
    np.testing.assert_allclose(masked_weight(x, gain, cap=1.5, **fields), np.minimum(np.exp(x), 1.5) * gain)
    np.testing.assert_allclose(masked_weight(x, gain, tau=1.0, **fields), np.exp(x) * gain - 2 * x)
    with pytest.raises(ValueError, match="behavior is None"):
        masked_weight(x, gain, inside=inside_either_way, low=1.0, high=1.0)


# --- what an objective states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ps.catalogue())
def test_every_objective_says_what_it_claims_to_drive_toward(name: str) -> None:
    """A nominal target in closed form, on data with ties and an arm that is never played."""
    target = ps.nominal_target(ps.Bandit([0.5, 0.2, 0.3, 0.0], [0.0, 1.0, 1.0, 3.0]), ps.algorithm(name))
    assert target.method == "closed form"
    assert target.policy.sum() == pytest.approx(1.0, abs=1e-9)
    assert target.policy[3] == 0.0


@pytest.mark.parametrize("name", [name for name in JUMPING if name != "gmpo"])
def test_objectives_that_clip_state_their_clip(name: str) -> None:
    """In their formula: the coefficient itself, rho times it, or rho A wherever it is not 0."""
    made = ps.algorithm(name)
    assert made.stated is not None
    for advantage in (-0.7, 0.7):
        extra: dict[str, Any] = {"behavior": np.full_like(PLACES, 0.3)} if made.takes_behavior else {}
        stated = np.asarray(made.stated(PLACES, np.full_like(PLACES, advantage), **extra))
        value = values(made, advantage)
        ratio = np.exp(PLACES)
        ways = (value, ratio * value, np.where(value != 0, ratio * advantage, 0.0))
        assert any(np.allclose(stated, way) for way in ways)
        assert stated[np.argmin(np.abs(PLACES))] == pytest.approx(advantage, abs=1e-4)


@pytest.mark.parametrize("name", ["prime_rl.default", "prime_rl.ipo", "kimi_k25"])
def test_a_squared_log_ratio_makes_the_nominal_target_a_gibbs_policy(name: str) -> None:
    """Of temperature 2 tau, and without it the best arm."""
    bandit = ps.Bandit([0.5, 0.2, 0.3], [0.0, 1.0, 0.4])
    gibbs = bandit.behavior * np.exp(bandit.reward / 0.6)
    target = ps.nominal_target(bandit, ps.algorithm(name, tau=0.3))
    np.testing.assert_allclose(target.policy, gibbs / gibbs.sum(), rtol=1e-9)
    made = ps.algorithm(name, tau=0.3)
    assert made.on_policy is not None
    np.testing.assert_allclose(made.on_policy(np.array([0.5]), np.array([1.0])), [1.0 - 0.6 * 0.5], rtol=1e-12)
    if name != "kimi_k25":
        plain = ps.algorithm(name, tau=0.0)
        assert ps.nominal_target(bandit, plain).policy.tolist() == [0.0, 1.0, 0.0]
        assert plain.on_policy is policy_gradient


# --- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "low", "high", "closed"),
    [
        (entries.positive, 0.0, math.inf, False),
        (entries.nonnegative, 0.0, math.inf, True),
        (entries.fraction, 0.0, 1.0, False),
        (entries.real, -math.inf, math.inf, False),
    ],
)
def test_makers_of_parameters_fill_in_the_bounds_and_pass_on_the_rest(
    make: Any, low: float, high: float, closed: bool
) -> None:
    made = make(0.25, "what it is", unit=1, example=0.5, anchors=True)
    assert made == entries.Parameter(0.25, "what it is", low, high, closed, False, 1, 0.5, True)
    assert made.check("entry", "name", 0.25) == 0.25


def test_parameters_at_the_ends_of_what_is_allowed() -> None:
    closed = entries.Parameter(0.5, "", 0.0, 1.0, closed=True)
    assert [closed.check("e", "n", value) for value in (0, 1, 0.5)] == [0.0, 1.0, 0.5]
    opened = entries.Parameter(0.5, "", 0.0, 1.0)
    for parameter, value in ((opened, 0), (opened, 1), (closed, 1.0001), (closed, -1e-9), (closed, math.inf)):
        with pytest.raises(ValueError, match="it must be"):
            parameter.check("e", "n", value)
    assert entries.positive(1.0, "", infinite=True).check("e", "n", math.inf) == math.inf
    every = entries.real(0.0, "")
    assert [every.check("e", "n", value) for value in (1e-100, 1e100, -1e100, 0)] == [1e-100, 1e100, -1e100, 0.0]
    for value in (0.99e-100, 1.01e100, -1.01e100):
        with pytest.raises(ValueError, match="leave floating point in products"):
            every.check("e", "n", value)


# --- targets --------------------------------------------------------------------------------------------------------


def test_a_constant_coefficient_is_broadcast_against_the_log_ratio() -> None:
    advantage = np.array([0.5, -0.5])
    for log_ratio, shape in ((np.zeros((3, 2)), (3, 2)), (np.zeros(2), (2,)), (np.zeros((1, 2)), (1, 2))):
        found = policy_gradient(log_ratio, advantage)
        assert found.shape == shape
        np.testing.assert_array_equal(found, np.broadcast_to(advantage, shape))
    wide = np.array([[0.5, -0.5], [1.0, 2.0]])
    np.testing.assert_array_equal(policy_gradient(np.zeros(2), wide), wide)


def test_where_no_arm_is_cut_off_an_arm_without_data_has_its_own_log_ratio() -> None:
    """log(g / E g), defined for every arm; -inf as soon as one is cut off, or where its own weight is not positive."""
    shallow, deep = ps.Bandit([0.5, 0.5, 0.0], [0.0, 1.0, 2.0]), ps.Bandit([0.5, 0.5, 0.0], [0.0, 1.0, -9.0])
    made = ps.algorithm("asymre", shift=-3.0)
    np.testing.assert_allclose(ps.induced_target(shallow, made).log_ratio, np.log(np.array([2.5, 3.5, 4.5]) / 3.0))
    np.testing.assert_allclose(ps.induced_target(deep, made).log_ratio[:2], np.log(np.array([2.5, 3.5]) / 3.0))
    assert ps.induced_target(deep, made).log_ratio[2] == -math.inf
    cut = ps.induced_target(shallow, ps.algorithm("asymre", shift=-0.1))
    assert cut.log_ratio[2] == -math.inf
    batch = ps.induced_target(
        ps.Bandit(np.stack([shallow.behavior] * 2), np.stack([shallow.reward, deep.reward])), made
    )
    np.testing.assert_allclose(batch.log_ratio[0], np.log(np.array([2.5, 3.5, 4.5]) / 3.0))
    assert batch.log_ratio[1, 2] == -math.inf


def test_the_projection_against_a_search_for_its_level() -> None:
    """[mu g - tau]+ with the tau that makes it sum to E g, found by bisection; ties, zeros and negative weights."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        behavior, reward = rng.dirichlet(np.ones(5)), rng.integers(0, 3, 5) / 2
        shift = -float(rng.uniform(0.01, 1.0))
        target = ps.induced_target(ps.Bandit(behavior, reward), ps.algorithm("asymre", shift=shift))
        pull = behavior * (reward - behavior @ reward - shift)
        low, high = 0.0, float(pull.max())
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if np.maximum(pull - middle, 0).sum() > pull.sum() else (low, middle)
        np.testing.assert_allclose(target.policy, np.maximum(pull - low, 0) / pull.sum(), atol=1e-12)
        assert target.normalizer == pytest.approx(pull.sum(), rel=1e-12)
        assert (target.regime, target.unique) == ("positive", True)


def test_surplus_negatives_are_weighed_down_and_never_up() -> None:
    advantage = np.array([1.0, 0.0, -1.0, -2.0])
    for behavior, keep in (([0.5, 0.1, 0.2, 0.2], 1.0), ([0.1, 0.1, 0.4, 0.4], 0.25), ([0.0, 0.0, 0.5, 0.5], 0.0)):
        found = balanced(np.zeros(4), advantage, behavior=np.array(behavior))
        np.testing.assert_allclose(found, [1.0, 0.0, -keep, -2 * keep], rtol=1e-12, atol=1e-15)


# --- entries --------------------------------------------------------------------------------------------------------


def test_a_clip_range_is_two_parameters() -> None:
    low = entries.Parameter(0.2, "clip range below 1", 0.0, 1.0)
    high = entries.Parameter(0.2, "clip range above 1", 0.0)
    assert clip_range() == {"low": low, "high": high}
    found = clip_range(0.1, 0.3, example=(0.6, 0.7))
    assert found == {"low": replace(low, default=0.1, example=0.6), "high": replace(high, default=0.3, example=0.7)}


def test_entries_show_every_field_that_says_something() -> None:
    entry = replace(ps.catalogue()["ppo"], notes="n", aliases=("a", "b"))
    assert entry._contents() == {
        "name": "ppo",
        "title": entry.title,
        "aliases": "a, b",
        "coefficient": entry.coefficient,
        "target": entry.target,
        "parameters": {name: parameter.default for name, parameter in entry.parameters.items()},
        "level": entry.level,
        "source": entry.source,
        "notes": "n",
    }
    bare = replace(entry, notes="", aliases=(), parameters={})._contents()
    assert (bare["notes"], bare["aliases"], bare["parameters"]) == (None, None, None)


def test_entries_are_copied_by_name_and_those_of_ones_own_field_by_field() -> None:
    """The catalogue's hold functions that are not copied; one's own may hold what it does."""
    entry = ps.catalogue()["ppo"]
    assert copy.deepcopy(entry) is entry
    own = replace(entry, name="mine", make=policy_gradient, parameters={})
    again = copy.deepcopy(own)
    assert again == own
    assert again is not own
    same_name = replace(entry, title="another", make=policy_gradient, parameters={})
    assert copy.deepcopy(same_name) == same_name


def test_averages_over_a_group_or_a_policy() -> None:
    values = np.array([[1.0, 2.0, 4.0], [0.0, 1.0, 1.0]])
    np.testing.assert_allclose(arrays.average(values, None), [[7 / 3], [2 / 3]])
    weights = np.array([2.0, 1.0, 1.0])
    np.testing.assert_allclose(arrays.finite_average(values, weights), [[2.0], [0.5]])
    masked = np.array([1.0, 1.0, 0.0])
    np.testing.assert_allclose(arrays.average(np.array([[1.0, 3.0, np.inf]]), masked), [[2.0]])
    np.testing.assert_array_equal(arrays.at_most(np, values, math.inf), values)
    np.testing.assert_array_equal(arrays.at_most(np, values, 1.5), np.minimum(values, 1.5))


def test_an_arm_that_is_never_played_wins_nothing() -> None:
    """Collapse on the largest mu A among the arms that are played, though all of those products are negative."""
    target = ps.induced_target(ps.Bandit([0.5, 0.5, 0.0], [0.0, 0.0, 3.0]), ps.algorithm("reinforce"))
    np.testing.assert_array_equal(target.policy, [0.5, 0.5, 0.0])
    np.testing.assert_array_equal(target.log_ratio, [0.0, 0.0, -math.inf])
    below = ps.induced_target(ps.Bandit([0.7, 0.3, 0.0], [0.2, 0.1, 3.0]), ps.algorithm("reinforce"))
    np.testing.assert_array_equal(below.policy, [1.0, 0.0, 0.0])
    assert below.unique


def test_a_loss_without_a_bound_below_keeps_its_kink() -> None:
    kinks = ps.algorithm("ppo", low=0.3, high=0.25).kinks
    assert kinks is not None
    found = np.asarray(kinks(np.array([0.4, -0.4, 2.0, -2.0])))
    for arm, kink in enumerate(np.log([1.25, 0.7, 1.25, 0.7])):
        assert np.nanmin(np.abs(found[arm] - kink)) < 1e-12
        assert np.isfinite(found[arm]).sum() == 1
