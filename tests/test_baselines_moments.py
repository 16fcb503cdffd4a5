"""Moments of advantages: what a rule is given, in which blocks, and what is said of the result."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch

from pessimism import Baseline, baseline_rules, baselines
from pessimism.baseline import UNITS, Statistics
from test_baselines import CASES, average, equal, instances, normalized, others, precise, relative, soft_value

WIDE = float(np.finfo(np.longdouble).eps)


def shift_of_half(statistics: Statistics) -> tuple[float, float]:
    return 0.5, 1.0


@pytest.mark.parametrize("name", CASES)
def test_sampled_groups_against_mpmath(name: str) -> None:
    """Advantage, its deviation from its mean, its distance from the best sample, its mean: ties, equal rewards."""
    rng = np.random.default_rng(1)
    for group in (rng.normal(size=2), rng.normal(size=7), np.array([0.0, 1.0, 1.0, 0.0]), np.full(3, 0.7)):
        rule = CASES[name].baseline
        expected = CASES[name].group(precise(group))
        mean = average(expected, equal(expected))
        moments = rule.sampled(group, 0.5)
        # "cold" divides rewards by 1e-6 and multiplies again; quantiles are in double precision
        lost = 1e-9 if "hot" in name else 1e-15
        assert relative(moments.advantage, expected, lost * 1e15) < 1e-15
        assert relative(moments.deviation, [e - mean for e in expected], lost * 1e15) < 1e-15
        assert relative(moments.below, [e - max(expected) for e in expected], lost * 1e15) < 1e-15
        assert abs(mp.mpf(float(moments.mean)) - mean) < 4e-16 * (lost * 1e15 + abs(mean))
        assert moments.mean.shape == moments.rounding.shape == ()


@pytest.mark.parametrize("name", CASES)
def test_distances_from_the_best_arm_against_mpmath(name: str) -> None:
    """``below``, and the mean with its error, where some arms are never played and the temperature is given."""
    for behavior, reward in instances():
        masked = np.where(np.arange(reward.size) == 1, 0.0, behavior)
        expected = CASES[name].exact(precise(reward), weights := normalized(masked))
        best = max(value for value, weight in zip(expected, weights, strict=True) if weight > 0)
        moments = CASES[name].baseline.exact(reward, masked, None, 0.5)
        size = float(np.abs(reward).max() + max(abs(value) for value in expected))
        played = masked > 0
        assert (
            relative(moments.below[played], [e - best for e, p in zip(expected, played, strict=True) if p], size)
            < 1e-14
        )
        assert moments.below[played].max() == 0.0
        assert moments.rounding >= 0.0


def test_one_reward_for_many_policies_and_one_policy_for_many_rewards() -> None:
    rng = np.random.default_rng(7)
    reward, behavior, reference = rng.normal(size=4), rng.dirichlet(np.ones(4), 3), rng.dirichlet(np.ones(4))
    for rule in (baselines.mean(), baselines.log_mean_exp(0.5, "reference"), baselines.quantile(0.5)):
        many = rule.exact(reward, behavior, reference)
        assert many.advantage.shape == (3, 4)
        for row in range(3):
            np.testing.assert_array_equal(many.advantage[row], rule.exact(reward, behavior[row], reference).advantage)
        shared = rule.exact(np.stack([reward, -reward]), behavior[0], reference)
        np.testing.assert_array_equal(shared.advantage[1], rule.exact(-reward, behavior[0], reference).advantage)


def test_a_soft_value_is_named_only_where_it_is_that_of_the_anchor() -> None:
    """At its own temperature the boundary then holds exactly: a claim about the anchor, and about no other policy."""
    reward, behavior, reference = np.array([0.0, 1.0]), np.array([0.5, 0.5]), np.array([0.3, 0.7])
    own, others = baselines.log_mean_exp(0.5), baselines.log_mean_exp(0.5, "reference")
    assert own.exact(reward, behavior).soft_temperature == 0.5
    assert own.exact(reward, behavior, reference).soft_temperature is None
    assert others.exact(reward, behavior, reference).soft_temperature == 0.5
    assert others.exact(reward, behavior).soft_temperature == 0.5
    assert baselines.mean().exact(reward, behavior).soft_temperature is None
    assert own.sampled(reward).soft_temperature == 0.5
    assert baselines.leave_one_out_log_mean_exp(0.5).sampled(reward).soft_temperature is None
    assert baselines.leave_one_out_log_mean_exp(0.5).exact(reward, behavior).soft_temperature == 0.5


@pytest.mark.parametrize(("temperature", "narrow"), [(None, False), (0.5, True), (5e-4, True), (4.9975e-4, False)])
def test_exponentials_are_taken_in_double_precision_only_where_the_temperature_allows(
    temperature: float | None, narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding an exponential moves V by eps beta: nothing, if V is divided by at least beta / 1000 afterwards."""
    seen: list[bool] = []
    excess, exponential = baseline_rules._excess, baseline_rules._exponential

    def record(function: Any) -> Any:
        return lambda z, narrow: (seen.append(narrow), function(z, narrow))[1]

    monkeypatch.setattr(baseline_rules, "_excess", record(excess))
    monkeypatch.setattr(baseline_rules, "_exponential", record(exponential))
    reward, behavior = np.array([[0.0, 1.0], [0.0, 1e6]]), np.array([0.5, 0.5])
    for rule in (baselines.log_mean_exp(0.5), baselines.log_sum_exp(0.5, 8), baselines.leave_one_out_log_mean_exp(0.5)):
        rule.exact(reward, behavior, None, temperature)
        rule.sampled(reward, temperature)
    assert seen == [narrow] * len(seen)
    assert len(seen) >= 6


@pytest.mark.parametrize(
    ("rule", "shape", "grouped", "blocks"),
    [
        (baselines.mean(), (3, 2**12), False, [2, 1]),
        (baselines.mean(), (3, 2**12), True, [2, 1]),
        (baselines.mean(), (2, 2, 2**14), False, [1, 1, 1, 1]),
        (baselines.leave_one_out_log_mean_exp(0.5), (5, 64), True, [2, 2, 1]),
        (baselines.leave_one_out_log_mean_exp(0.5), (5, 64), False, [5]),
    ],
)
def test_extended_precision_takes_one_block_of_rows_at_a_time(
    rule: Baseline, shape: tuple[int, ...], grouped: bool, blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """2^13 numbers, or pairs of samples where a rule leaves each sample out in turn; at least one row."""
    sizes: list[int] = []
    one_block = Baseline._exact_rows

    def record(self: Baseline, reward: np.ndarray, *rest: Any) -> Any:
        sizes.append(len(reward))
        return one_block(self, reward, *rest)

    reward = np.random.default_rng(0).normal(size=shape)
    whole = rule.sampled(reward) if grouped else rule.exact(reward, np.full(shape, 1 / shape[-1]))
    monkeypatch.setattr(Baseline, "_exact_rows", record)
    again = rule.sampled(reward) if grouped else rule.exact(reward, np.full(shape, 1 / shape[-1]))
    assert sizes == blocks
    np.testing.assert_array_equal(again.advantage, whole.advantage)


def test_a_transform_sees_the_policy_that_is_averaged_over_or_that_there_is_none() -> None:
    seen: list[Any] = []

    def keep(reward: Any, weights: Any) -> Any:
        seen.append(weights)
        return reward * 2.0

    reward, behavior, reference = np.array([0.0, 1.0]), np.array([0.5, 0.5]), np.array([0.3, 0.7])
    for measure, expected in (("behavior", behavior), ("reference", reference)):
        rule = Baseline("doubled", "", shift_of_half, measure, keep)
        found = rule.exact(reward, behavior, reference)
        np.testing.assert_array_equal(seen.pop(), expected)
        average_reward = 2.0 * expected[1]
        np.testing.assert_allclose(found.advantage, 2.0 * reward - average_reward - 0.5, rtol=1e-15)
        np.testing.assert_allclose(rule.weighted(reward, behavior, None, reference), found.advantage, rtol=1e-15)
        np.testing.assert_array_equal(seen.pop(), expected)
        np.testing.assert_allclose(rule.sampled(reward).advantage, [-1.5, 0.5], rtol=1e-15)
        assert seen.pop() is None
        np.testing.assert_allclose(rule.group(reward), [-1.5, 0.5], rtol=1e-15)
        assert seen.pop() is None


def test_what_the_mean_may_be_off_by() -> None:
    """Nothing where the rule fixes the mean; else so many roundings of what it is a difference of."""
    reward, behavior, reference = np.array([0.0, 100.0, 7.0]), np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7])
    for rule in (baselines.mean(), baselines.shifted_mean(-0.5), baselines.standardized(), baselines.log_mean_exp(0.5)):
        assert rule.exact(reward, behavior).rounding == 0.0, rule.name
    constant = baselines.constant(3.0).exact(reward, behavior)
    assert float(constant.rounding) == pytest.approx(UNITS * WIDE * (behavior @ np.abs(reward - 3.0)), rel=1e-12, abs=0)
    rule = baselines.log_mean_exp(50.0, "reference")
    advantage = reward - 50.0 * np.log(reference @ np.exp(reward / 50.0))
    expected = UNITS * WIDE * (behavior @ np.abs(advantage))
    assert float(rule.exact(reward, behavior, reference).rounding) == pytest.approx(expected, rel=1e-12, abs=0)
    quantile = baselines.quantile(0.4).exact(reward, behavior)
    at_least = UNITS * np.finfo(np.float64).eps * 1.0  # of the largest quantile
    assert at_least <= float(quantile.rounding) <= 1.1 * at_least


def test_double_precision_is_owned_up_to() -> None:
    """A rule of the user's that computes in doubles: its baseline may be off by their epsilon times its own size."""
    eps = UNITS * np.finfo(np.float64).eps

    def far(statistics: Statistics) -> tuple[float, float]:
        return 1000.0, 2.0

    found = Baseline("far", "", far, in_double=True).exact(np.array([1.0, 3.0]), np.array([0.5, 0.5]))
    np.testing.assert_allclose(found.advantage, [-2002.0, -1998.0])
    assert float(found.rounding) == pytest.approx(eps * 2.0 * 1002.0, rel=1e-12, abs=0)  # V = 1002, scaled by 2
    near = Baseline("near", "", shift_of_half, in_double=True).exact(np.array([-80.0, 3.0]), np.array([0.5, 0.5]))
    assert float(near.rounding) == pytest.approx(eps * 80.0, rel=1e-12, abs=0)
    unplayed = Baseline("near", "", shift_of_half, in_double=True).exact(np.array([-80.0, 3.0]), np.array([0.0, 1.0]))
    assert float(unplayed.rounding) == pytest.approx(eps * 3.5, rel=1e-12, abs=0)


def test_group_sums_keep_the_type_they_are_given() -> None:
    """Half precision is computed in doubles and rounded once; integers become the default floating type."""
    reward = np.array([1000.0, 0.0, 0.5, 0.0], dtype=np.float16)
    found = baselines.mean().group(reward)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(
        found, (reward.astype(np.float64) - reward.astype(np.float64).mean()).astype(np.float16)
    )
    for whole in (np.array([0, 1, 1]), np.array([False, True, True])):
        assert baselines.mean().group(whole).dtype == np.float64
    single = np.array([0.1, 0.2], dtype=np.float32)
    assert baselines.constant(0.5).group(single).dtype == np.float32


def test_weighted_averages_are_those_of_the_exact_rule() -> None:
    """For a policy, for a reference, and for a group whose samples repeat arms; in a batch."""
    rng = np.random.default_rng(11)
    reward, behavior = rng.normal(size=(2, 4)), rng.dirichlet(np.ones(4), 2)
    reference = rng.dirichlet(np.ones(4))
    for name, case in CASES.items():
        rule = case.baseline
        exact = rule.exact(reward, behavior).advantage
        np.testing.assert_allclose(rule.weighted(reward, behavior), exact, rtol=1e-6, atol=1e-9, err_msg=name)
        moved = rule.exact(reward, behavior, np.stack([reference] * 2)).advantage
        found = rule.weighted(reward, behavior, None, np.stack([reference] * 2))
        np.testing.assert_allclose(found, moved, rtol=1e-6, atol=1e-9, err_msg=name)
    for name in ("mean", "shifted", "leave one out", "log mean exp", "log sum exp", "standardized"):
        rule = CASES[name].baseline
        arms, counts = np.array([0.0, 0.3, 1.0]), np.array([3, 1, 4])
        group = rule.group(np.repeat(arms, counts))
        found = rule.weighted(arms, counts / 8, 8)
        np.testing.assert_allclose(np.repeat(found, counts), group, rtol=1e-12, err_msg=name)
    equal_rewards = baselines.mean().weighted(np.full(3, 0.7), np.array([0.2, 0.5, 0.3]))
    np.testing.assert_array_equal(equal_rewards, 0.0)
    wide = baselines.quantile(0.5).weighted(np.array([0.0, 1.0]), np.array([[0.5, 0.5], [0.1, 0.9]]))
    np.testing.assert_allclose(wide, [[0.0, 0.5], [-0.4, 0.5]])


# --- what a rule may look at ----------------------------------------------------------------------------------------


def recorded(measure: str = "behavior", **fields: Any) -> tuple[Baseline, list[Statistics]]:
    """A rule that keeps what it is shown."""
    seen: list[Statistics] = []

    def rule(statistics: Statistics) -> tuple[float, float]:
        seen.append(statistics)
        return 0.0, 1.0

    return Baseline("recorded", "", rule, measure, **fields), seen


@pytest.mark.parametrize("measure", ["behavior", "reference"])
def test_a_rule_is_told_the_policy_or_the_size_of_the_group_and_the_temperature(measure: str) -> None:
    rule, seen = recorded(measure)
    reward, behavior, reference = np.array([0.0, 1.0]), np.array([0.5, 0.5]), np.array([0.3, 0.7])
    rule.exact(reward, behavior, reference, 0.25)
    told = seen.pop()
    assert told.weights is not None
    np.testing.assert_array_equal(told.weights[0], reference if measure == "reference" else behavior)
    assert (told.group_size, told.temperature) == (None, 0.25)
    assert float(told.mean[0, 0]) == pytest.approx(0.7 if measure == "reference" else 0.5, rel=1e-15)
    rule.sampled(reward, 0.25)
    told = seen.pop()
    assert (told.group_size, told.temperature, told.weights) == (2, 0.25, None)
    rule.weighted(reward, behavior, 6)
    assert seen.pop().group_size == 6


def test_averages_and_maxima_are_over_the_arms_that_are_played() -> None:
    rule, seen = recorded()
    rule.exact(np.array([[0.0, 1.0, 9.0]]), np.array([[0.25, 0.75, 0.0]]))
    told = seen[0]
    assert told.expectation(np.array([[4.0, 8.0, np.inf]])).tolist() == [[7.0]]
    assert told.maximum(np.array([[4.0, 8.0, np.inf]])).tolist() == [[8.0]]
    assert told.maximum(told.reward).tolist() == [[1.0]]


def test_constants_say_how_far_they_lie_from_the_mean() -> None:
    rule, seen = recorded()
    rule.exact(np.array([0.0, 1.0]), np.array([0.75, 0.25]))
    for made, value in ((baselines.constant(-2.0), -2.0), (baselines.constant(3.0), 3.0), (baselines.none(), 0.0)):
        offset, scale = made.rule(seen[0])
        assert (float(np.ravel(offset)[0]), scale) == (value - 0.25, 1.0)
        assert made.value == value
    assert baselines.quantile(0.3).value == 0.3
    for value in (10**400, -(10**400)):
        with pytest.raises(ValueError, match="it must be a finite number"):
            baselines.constant(value)


def test_rules_describe_themselves() -> None:
    assert baselines.shifted_mean(0.0).formula == "V = E r + 0"
    assert baselines.standardized().formula == "A = (r - E r)/(std + 0.0001)"
    assert baselines.mean()._contents() == {"name": "mean", "formula": "V = E r", "measure": None}
    assert baselines.log_mean_exp(0.5, "reference")._contents() == {
        "name": "log mean exp",
        "formula": "V = 0.5 log E exp(r/0.5)",
        "measure": "reference",
    }
    others = baselines.leave_one_out_standardized()
    assert others.name == "leave-one-out standardized"
    assert others.formula == "A_i = (r_i - mean of r_j)/(std of r_j + 1e-06), j != i"
    assert others.of_others
    assert baselines.leave_one_out_standardized(0.0).formula.endswith("(std of r_j + 0), j != i")
    for epsilon in (-1e-9, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"epsilon is .*; it must be a finite number >= 0"):
            baselines.leave_one_out_standardized(epsilon)


@pytest.mark.parametrize("seed", range(40))
def test_the_mean_is_right_to_the_last_digit_of_extended_precision(seed: int) -> None:
    """And so are deviations that are tiny against the rewards."""
    rng = np.random.default_rng(seed)
    behavior = rng.dirichlet(np.ones(9))
    reward = 1e6 + rng.normal(size=9) * 10.0 ** rng.uniform(-6, 0)
    rule, seen = recorded()
    moments = rule.exact(reward, behavior)
    mean = average(precise(reward), normalized(behavior))
    whole, part = float(seen[0].mean[0, 0]), float(seen[0].mean[0, 0] - np.longdouble(float(seen[0].mean[0, 0])))
    assert abs(mp.mpf(whole) + mp.mpf(part) - mean) <= 0.75 * WIDE * mean
    assert relative(moments.deviation, [r - mean for r in precise(reward)], 1e-10) < 1e-15


@pytest.mark.parametrize("value", [0.7, -0.3, 1 / 3, -1e6 / 7, 1e-9 / 3])
def test_equal_rewards_have_no_deviation_whatever_their_number(value: float) -> None:
    """Means of equal numbers round off them; the signal that this would invent is not there."""
    rng = np.random.default_rng(0)
    for size in range(2, 70):
        reward = np.full(size, value)
        for moments in (
            baselines.mean().sampled(reward),
            baselines.mean().exact(reward, rng.dirichlet(np.ones(size))),
            baselines.shifted_mean(0.5).sampled(reward),
        ):
            assert not moments.deviation.any()
            assert not moments.below.any()
        assert not baselines.mean().group(reward).any()
        assert not baselines.mean().weighted(reward, rng.dirichlet(np.ones(size))).any()


@pytest.mark.parametrize("seed", range(20))
def test_a_constant_close_to_the_mean_leaves_an_accurate_difference(seed: int) -> None:
    """E r - V where both agree to fifteen digits: only a sum in extended precision has any digits of it."""
    rng = np.random.default_rng(seed)
    behavior, reward = rng.dirichlet(np.ones(6)), rng.normal(size=6)
    value = float(behavior @ reward / behavior.sum())
    mean = average(precise(reward), normalized(behavior)) - mp.mpf(value)
    for rule in (baselines.constant(value), Baseline("far", "", lambda s: (value - s.mean, 1.0))):
        assert abs(mp.mpf(float(rule.exact(reward, behavior).mean)) - mean) < 2.0**-60


def test_quantiles_of_many_arms_are_sums_right_to_the_last_digit() -> None:
    rng = np.random.default_rng(3)
    weights, reward = rng.dirichlet(np.ones(2**15)), rng.integers(0, 5, 2**15).astype(float)
    found = baselines.quantile(0.5).exact(reward, weights).advantage + 0.5
    total = math.fsum(weights)
    for level in range(5):
        expected = math.fsum(weights[reward <= level]) / total
        assert np.abs(found[reward == level] - expected).max() <= 2.3e-16


@pytest.mark.parametrize("exponent", [300.0, 640.0, 703.0, 708.0, 712.0, 1200.0, 5000.0, 11000.0, 11360.0, 12000.0])
def test_soft_values_far_below_the_rewards_temperature(exponent: float) -> None:
    """On both sides of the largest exponential of double and of extended precision, in either: V to rounding."""
    behavior, reward = np.array([0.3, 0.2, 0.5]), np.array([0.0, 1.0, 0.999])
    beta = 1.0 / exponent
    weights, r = normalized(behavior), precise(reward)
    expected = soft_value(r, weights, mp.mpf(beta))
    for temperature in (None, beta):
        found = baselines.log_mean_exp(beta).exact(reward, behavior, None, temperature)
        wanted = average(r, weights) - expected
        # one rounding of the result, and one of an exponential: eps beta
        assert abs(mp.mpf(float(found.mean)) - wanted) <= 1.2e-16 * abs(wanted) + 4 * 2.3e-16 * beta


def test_cold_soft_values_of_the_other_samples_in_a_batch() -> None:
    """Exponents of 10^6: the largest of the others, row by row and sample by sample, keeps them finite."""
    rewards = np.array([[0.0, 1.0, 1.0, 5.0], [9.0, 0.5, 0.25, 0.0], [3.0, 3.0, 3.0, 3.0]])
    rule = baselines.leave_one_out_log_mean_exp(1e-6)
    for found in (rule.group(rewards), rule.sampled(rewards).advantage, rule.group(torch.tensor(rewards)).numpy()):
        for row, reward in zip(found, rewards, strict=True):
            for i, value in enumerate(row):
                rest = others(precise(reward), i)
                expected = mp.mpf(reward[i]) - soft_value(rest, equal(rest), mp.mpf(1e-6))
                assert float(value) == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_types_of_group_advantages(name: str) -> None:
    """The type that is given, in numpy and torch; integers become the default type, halves are rounded once."""
    reward = [0.0, 1.0, 0.0, 2.0]
    for kind in (np.float16, np.float32, np.float64):
        found = CASES[name].baseline.group(np.array(reward, dtype=kind))
        assert found.dtype == kind
        assert np.isfinite(found).all()
    wide = CASES[name].baseline.group(np.array(reward))
    assert CASES[name].baseline.group(np.array([0, 1, 0, 2])).dtype == np.float64
    for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        found = CASES[name].baseline.group(torch.tensor(reward, dtype=kind))
        assert found.dtype == kind
        if kind in (torch.float16, torch.bfloat16) and "cold" not in name and "hot" not in name:
            np.testing.assert_array_equal(found.double().numpy(), torch.tensor(wide).to(kind).double().numpy())
    whole = CASES[name].baseline.group(torch.tensor([0, 1, 0, 2]))
    assert whole.dtype == torch.get_default_dtype()


def test_a_rule_computes_in_single_precision_where_it_is_given_single_precision() -> None:
    rule, seen = recorded()
    for kind in (np.float32, np.float64):
        rule.group(np.array([0.0, 1.0], dtype=kind))
        assert seen.pop().reward.dtype == kind
    rule.group(np.array([0.0, 1.0], dtype=np.float16))
    assert seen.pop().reward.dtype == np.float64


def test_weighted_averages_with_arms_that_are_never_played_and_shapes_that_are_broadcast() -> None:
    reward, weights = np.array([0.0, 1.0, 1e4]), np.array([0.5, 0.5, 0.0])
    found = baselines.log_mean_exp(0.1).weighted(reward, weights)
    soft = 0.1 * np.log(0.5 * (1 + np.exp(10.0)))
    np.testing.assert_allclose(found[:2], reward[:2] - soft, rtol=1e-13)
    np.testing.assert_allclose(baselines.shifted_mean(1.0).weighted(reward[:2], weights[:2]), [-1.5, -0.5], rtol=1e-15)
    many = np.array([[0.0, 1.0], [2.0, 1.0], [3.0, 3.0]])
    found = baselines.quantile(0.5).weighted(many, np.array([0.25, 0.75]))
    np.testing.assert_allclose(found, [[-0.25, 0.5], [0.5, 0.25], [0.5, 0.5]], rtol=1e-15)
