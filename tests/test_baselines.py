"""Baselines against their formulas in 50-digit arithmetic, for a known policy and for sampled groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import pessimism as ps
from pessimism import Baseline, baselines

mp.mp.dps = 50
Number = Any  # mpmath's numbers have no type that checkers know
Advantages = Callable[[list, list], list]


@dataclass(frozen=True)
class Case:
    """A rule with its formula: rewards and weights (mpmath, weights sum to 1) -> advantages."""

    make: Callable[[], Baseline]  # called in each test, so that mutation testing sees the constructors too
    exact: Advantages
    group: Callable[[list], list]
    shift_invariant: bool = True

    @property
    def baseline(self) -> Baseline:
        return self.make()


def average(values: list, weights: list) -> Number:
    return mp.fdot(values, weights)


def equal(values: list) -> list:
    return [mp.mpf(1) / len(values)] * len(values)


def minus(rewards: list, value: Number) -> list:
    return [r - value for r in rewards]


def soft_value(rewards: list, weights: list, beta: float) -> Number:
    top = max(rewards)
    return top + beta * mp.log(average([mp.exp((r - top) / beta) for r in rewards], weights))


def standardized(rewards: list, weights: list, epsilon: float, shift: float, unbiased: bool) -> list:
    mean = average(rewards, weights)
    variance = average([(r - mean) ** 2 for r in rewards], weights)
    if unbiased:
        variance *= mp.mpf(len(rewards)) / (len(rewards) - 1)
    return [(r - mean - shift) / (mp.sqrt(variance) + epsilon) for r in rewards]


def quantiles(rewards: list, weights: list) -> list:
    return [mp.fsum(w for other, w in zip(rewards, weights, strict=True) if other <= r) for r in rewards]


def others(rewards: list, i: int) -> list:
    return rewards[:i] + rewards[i + 1 :]


def same(rule: Advantages) -> Callable[[list], list]:
    """A group is its empirical distribution."""
    return lambda rewards: rule(rewards, equal(rewards))


def case(
    make: Callable[[], Baseline], exact: Advantages, group: Callable[[list], list] | None = None, **fields: bool
) -> Case:
    return Case(make, exact, group or same(exact), **fields)


def whitened(rewards: list, batch: list[float], lengths: list[int], epsilon: float) -> list:
    """Whitened by the mean and unbiased variance of a batch's tokens, each of which has its completion's reward."""
    tokens = [mp.mpf(r) for r, length in zip(batch, lengths, strict=True) for _ in range(length)]
    mean = average(tokens, equal(tokens))
    variance = sum((r - mean) ** 2 for r in tokens) / (len(tokens) - 1)
    return [(r - mean) / mp.sqrt(variance + mp.mpf(epsilon)) for r in rewards]


def over_the_others(reward, rest):
    """NeMo-RL's: the spread of the others divides, unless they are all equal."""
    if max(rest) == min(rest):
        return reward - rest[0]
    mean = average(rest, equal(rest))
    spread = mp.sqrt(sum((r - mean) ** 2 for r in rest) / (len(rest) - 1))
    return (reward - mean) / (spread + mp.mpf(1e-4))


CASES = {
    "none": case(lambda: baselines.none(), lambda r, w: r, shift_invariant=False),
    "constant": case(lambda: baselines.constant(0.37), lambda r, w: minus(r, mp.mpf(0.37)), shift_invariant=False),
    "mean": case(lambda: baselines.mean(), lambda r, w: minus(r, average(r, w))),
    "shifted": case(lambda: baselines.shifted_mean(-0.3), lambda r, w: minus(r, average(r, w) + mp.mpf(-0.3))),
    "leave one out": case(
        lambda: baselines.leave_one_out(),
        lambda r, w: minus(r, average(r, w)),
        lambda r: [r[i] - average(others(r, i), equal(others(r, i))) for i in range(len(r))],
    ),
    "log mean exp": case(lambda: baselines.log_mean_exp(0.25), lambda r, w: minus(r, soft_value(r, w, 0.25))),
    "log mean exp, hot": case(lambda: baselines.log_mean_exp(1e6), lambda r, w: minus(r, soft_value(r, w, 1e6))),
    "log mean exp, cold": case(lambda: baselines.log_mean_exp(1e-6), lambda r, w: minus(r, soft_value(r, w, 1e-6))),
    "leave-one-out log mean exp": case(
        lambda: baselines.leave_one_out_log_mean_exp(0.25),
        lambda r, w: minus(r, soft_value(r, w, 0.25)),
        lambda r: [r[i] - soft_value(others(r, i), equal(others(r, i)), 0.25) for i in range(len(r))],
    ),
    "log sum exp": case(
        lambda: baselines.log_sum_exp(0.25, 8),
        lambda r, w: minus(r, soft_value(r, w, 0.25) + mp.mpf(0.25) * mp.log(8)),
        lambda r: minus(r, soft_value(r, equal(r), 0.25) + mp.mpf(0.25) * mp.log(len(r))),
    ),
    "standardized": case(
        lambda: baselines.standardized(1e-4),
        lambda r, w: standardized(r, w, 1e-4, 0.0, False),
        lambda r: standardized(r, equal(r), 1e-4, 0.0, True),
    ),
    "leave-one-out standardized": case(
        lambda: baselines.leave_one_out_standardized(1e-4),
        lambda r, w: standardized(r, w, 1e-4, 0.0, False),
        lambda r: [over_the_others(r[i], others(r, i)) for i in range(len(r))],
    ),
    "standardized, shifted": case(
        lambda: baselines.standardized(0.5, shift=0.2),
        lambda r, w: standardized(r, w, 0.5, 0.2, False),
        lambda r: standardized(r, equal(r), 0.5, 0.2, True),
    ),
    "of a batch": case(
        lambda: baselines.batch_standardized([0.0, 1.0, 1.0, 0.25], lengths=[2, 5, 3, 1], epsilon=0.01),
        lambda r, w: whitened(r, [0.0, 1.0, 1.0, 0.25], [2, 5, 3, 1], 0.01),
        shift_invariant=False,
    ),
    "quantile": case(lambda: baselines.quantile(0.6), lambda r, w: minus(quantiles(r, w), mp.mpf(0.6))),
}


def precise(values: np.ndarray) -> list:
    return [mp.mpf(float(v)) for v in values]


def normalized(behavior: np.ndarray) -> list:
    weights = precise(behavior)
    return [w / mp.fsum(weights) for w in weights]


def relative(found: np.ndarray, expected: list, scale: float = 0.0) -> float:
    """Largest error relative to the value (or to ``scale``, where that is larger)."""
    return max(
        float(abs(mp.mpf(float(f)) - e) / max(abs(e), mp.mpf(scale), mp.mpf("1e-300")))
        for f, e in zip(found, expected, strict=True)
    )


def instances() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    drawn = [(rng.dirichlet(np.ones(k)), rng.normal(size=k)) for k in (2, 3, 7, 20)]
    ties = (rng.dirichlet(np.ones(6)), np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0]))
    far = (rng.dirichlet(np.ones(4)), 1e6 + rng.normal(size=4))
    rare = (np.array([1 - 1e-9, 1e-9 - 1e-300, 1e-300]), np.array([0.0, 0.5, 1.0]))
    return [*drawn, ties, far, rare]


@pytest.mark.parametrize("name", CASES)
def test_exact_advantages_against_mpmath(name: str) -> None:
    """Each part elementwise accurate: the advantage, its deviation from its mean, and its mean."""
    rule = CASES[name]
    for behavior, reward in instances():
        moments = rule.baseline.exact(reward, behavior)
        expected = rule.exact(precise(reward), weights := normalized(behavior))
        mean = average(expected, weights)
        # Extended precision carries 64 bits: what a difference of numbers near `size` loses of them.
        # Quantiles are sums of probabilities in float64.
        lost = (2.0**-52 if name == "quantile" else 2.0**-60) * float(
            np.abs(reward).max() + max(abs(e) for e in expected)
        )
        assert relative(moments.advantage, expected, 1e16 * lost) < 1e-15
        assert relative(moments.deviation, [e - mean for e in expected], 1e16 * lost) < 1e-15
        assert abs(mp.mpf(float(moments.mean)) - mean) <= 4e-16 * abs(mean) + lost


@pytest.mark.parametrize("beta", [1e-6, 1e-2, 1.0, 1e2, 1e6, 1e9])
def test_soft_value_keeps_the_tiny_difference_from_the_mean(beta: float) -> None:
    """V_beta - E r ~ Var/(2 beta): fifteen digits below the rewards, and still relatively accurate."""
    for behavior, reward in instances()[:5]:
        weights, r = normalized(behavior), precise(reward)
        value = soft_value(r, weights, mp.mpf(beta))
        moments = baselines.log_mean_exp(beta).exact(reward, behavior)
        assert relative(np.array([moments.mean]), [average(r, weights) - value]) < 1e-13


def test_mean_baseline_has_mean_zero_exactly() -> None:
    for behavior, reward in instances():
        assert baselines.mean().exact(reward, behavior).mean == 0
        assert baselines.shifted_mean(-0.3).exact(reward, behavior).mean == 0.3


@pytest.mark.parametrize("name", CASES)
def test_groups_against_mpmath_in_numpy_and_torch(name: str) -> None:
    rule = CASES[name]
    rng = np.random.default_rng(1)
    for group in (rng.normal(size=2), rng.normal(size=8), np.array([0.0, 1.0, 1.0, 0.0]), rng.normal(size=3) * 30):
        expected = rule.group(precise(group))
        by_numpy = rule.baseline.group(group)
        by_torch = rule.baseline.group(torch.tensor(group))
        assert isinstance(by_torch, torch.Tensor)
        assert by_torch.dtype == torch.float64
        scale = float(np.abs(group).max())
        assert relative(by_numpy, expected, scale) < 1e-13
        assert relative(by_torch.numpy(), expected, scale) < 1e-13
        single = rule.baseline.group(torch.tensor(group, dtype=torch.float32))
        assert single.dtype == torch.float32
        if "hot" not in name and "cold" not in name:
            assert relative(single.numpy(), expected, scale) < 2e-5


@pytest.mark.parametrize("name", [n for n in CASES if "leave" not in n and "standardized" not in n and "sum" not in n])
def test_a_group_is_a_policy_with_equal_weights(name: str) -> None:
    """Not so for rules that know the group's size: leave-one-out, the unbiased deviation, a sum for a mean."""
    rule = CASES[name].baseline
    group = np.random.default_rng(2).normal(size=(3, 5))
    moments = rule.exact(group, np.full((3, 5), 0.2))
    np.testing.assert_allclose(rule.group(group), moments.advantage, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_batches_are_stacked_rows_in_any_shape(name: str) -> None:
    rule = CASES[name].baseline
    rng = np.random.default_rng(3)
    reward, behavior = rng.normal(size=(2, 3, 5)), rng.dirichlet(np.ones(5), size=(2, 3))
    moments = rule.exact(reward, behavior)
    assert moments.advantage.shape == moments.deviation.shape == (2, 3, 5)
    assert moments.mean.shape == (2, 3)
    groups = rule.group(reward)
    for index in np.ndindex(2, 3):
        row = rule.exact(reward[index], behavior[index])
        np.testing.assert_allclose(row.advantage, moments.advantage[index], rtol=1e-15)
        np.testing.assert_allclose(row.deviation, moments.deviation[index], rtol=1e-15)
        np.testing.assert_allclose(row.mean, moments.mean[index], rtol=1e-15)
        np.testing.assert_allclose(rule.group(reward[index]), groups[index], rtol=1e-13, atol=1e-15)
    shared = rule.exact(reward, behavior[0, 0])
    np.testing.assert_allclose(shared.advantage[1, 2], rule.exact(reward[1, 2], behavior[0, 0]).advantage)


def test_many_rows_are_worked_through_in_blocks() -> None:
    """More rows than one block of extended precision holds, the last block incomplete."""
    rng = np.random.default_rng(4)
    arms = 2**15
    reward = rng.normal(size=(5, arms))
    behavior = rng.dirichlet(np.ones(arms), size=5)
    moments = baselines.log_mean_exp(0.5).exact(reward, behavior)
    last = baselines.log_mean_exp(0.5).exact(reward[4], behavior[4])
    np.testing.assert_allclose(moments.advantage[4], last.advantage, rtol=1e-15)
    expected = reward[4] - 0.5 * np.log(behavior[4] @ np.exp(reward[4] / 0.5))
    np.testing.assert_allclose(last.advantage, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n].shift_invariant])
@given(shift=st.sampled_from([-1e3, -1.0, 0.125, 64.0]), seed=st.integers(0, 1000))
def test_relative_baselines_do_not_see_a_shift_of_all_rewards(name: str, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reward, behavior = rng.integers(-4, 5, size=6) / 4, rng.dirichlet(np.ones(6))
    base, moved = (CASES[name].baseline.exact(r, behavior) for r in (reward, reward + shift))
    np.testing.assert_allclose(moved.advantage, base.advantage, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        CASES[name].baseline.group(reward + shift), CASES[name].baseline.group(reward), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", CASES)
def test_an_arm_that_is_never_played_does_not_matter(name: str) -> None:
    rng = np.random.default_rng(5)
    reward, behavior = rng.normal(size=4), rng.dirichlet(np.ones(4))
    base = CASES[name].baseline.exact(reward, behavior)
    for extra in (-1e3, 0.0, 1e3):
        wider = CASES[name].baseline.exact(np.append(reward, extra), np.append(behavior, 0.0))
        np.testing.assert_allclose(wider.advantage[:4], base.advantage, rtol=1e-13)
        np.testing.assert_allclose(wider.mean, base.mean, rtol=1e-13, atol=1e-300)
        assert np.isfinite(wider.advantage).all()


def test_soft_value_decreases_with_temperature_between_maximum_and_mean() -> None:
    behavior, reward = instances()[2]
    values = [
        float(reward[0] - baselines.log_mean_exp(beta).exact(reward, behavior).advantage[0])
        for beta in np.geomspace(1e-4, 1e4, 30)
    ]
    assert all(np.diff(values) < 0)
    assert values[0] == pytest.approx(reward.max(), abs=1e-2)
    assert values[-1] == pytest.approx(behavior @ reward, abs=1e-3)


def test_a_reference_is_averaged_over_only_by_rules_that_ask_for_it() -> None:
    rng = np.random.default_rng(6)
    reward, behavior, reference = rng.normal(size=5), rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
    soft = 0.5 * np.log(reference @ np.exp(reward / 0.5))
    moments = baselines.log_mean_exp(0.5, "reference").exact(reward, behavior, reference)
    np.testing.assert_allclose(moments.advantage, reward - soft, rtol=1e-13)
    np.testing.assert_allclose(moments.mean, behavior @ reward - soft, rtol=1e-13)
    np.testing.assert_allclose(moments.deviation, reward - behavior @ reward, rtol=1e-13)
    unmoved = baselines.log_mean_exp(0.5).exact(reward, behavior, reference)
    np.testing.assert_allclose(unmoved.mean, behavior @ reward - 0.5 * np.log(behavior @ np.exp(reward / 0.5)))
    without = baselines.log_mean_exp(0.5, "reference").exact(reward, behavior)
    np.testing.assert_array_equal(without.advantage, unmoved.advantage)
    batch = baselines.log_mean_exp(0.5, "reference").exact(np.stack([reward] * 2), behavior, reference)
    np.testing.assert_array_equal(batch.advantage[1], moments.advantage)


def test_group_estimates_of_the_soft_value_are_pessimistic_on_average() -> None:
    """E V^ <= V*, by enumerating every group of three drawn from three arms (theory 2.10)."""
    behavior, reward = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.4, 1.0])
    index = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    chance = behavior[index].prod(axis=-1)
    groups = reward[index]
    estimates = (groups - baselines.log_mean_exp(0.2).group(groups))[:, 0]
    truth = 0.2 * np.log(behavior @ np.exp(reward / 0.2))
    assert chance.sum() == pytest.approx(1)
    assert chance @ estimates < truth - 0.01


# --- invalid input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_an_empty_group_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"reward has shape \(2, 0\); a group must hold at least one sample"):
        CASES[name].baseline.group(np.zeros((2, 0)))


@pytest.mark.parametrize("name", [n for n in CASES if "leave" in n or "standardized" in n])
def test_a_group_of_one_is_an_error_where_the_rule_needs_two(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"^a (leave-one-out|standardized) baseline needs groups of at least 2 samples; got 1$"
    ):
        CASES[name].baseline.group(np.array([1.0]))
    # A known policy over one arm is no group of one sample.
    assert CASES[name].baseline.exact(np.array([1.0]), np.array([1.0])).deviation == 0


@pytest.mark.parametrize("name", [n for n in CASES if "leave" not in n and "standardized" not in n])
def test_a_group_of_one_is_fine_elsewhere(name: str) -> None:
    assert np.isfinite(CASES[name].baseline.group(np.array([1.0]))).all()


def test_standardized_rewards_without_spread() -> None:
    """GRPO's epsilon is there for this; without it the division is refused, not returned as NaN."""
    assert (baselines.standardized(1e-4).group(np.ones(4)) == 0).all()
    assert (baselines.standardized(1e-4).exact(np.ones(2), np.array([0.5, 0.5])).advantage == 0).all()


def test_maximum_likelihood_s_baseline_divides_by_the_mean() -> None:
    rng = np.random.default_rng(3)
    rule = baselines.mean_normalized(1e-6)
    for reward in (rng.random(7), np.array([0.0, 1.0, 1.0, 0.0, 0.0, 0.0]), np.ones(3), np.zeros(4)):
        r, w = precise(reward), normalized(rng.dirichlet(np.ones(len(reward))))
        weights = np.array([float(x) for x in w])
        wanted = [(x - average(r, w)) / (average(r, w) + mp.mpf(1e-6)) for x in r]
        assert relative(rule.exact(reward, weights).advantage, wanted, scale=1e-9) < 1e-13
        wanted = [(x - average(r, equal(r))) / (average(r, equal(r)) + mp.mpf(1e-6)) for x in r]
        for found in (rule.group(reward), rule.group(torch.tensor(reward)).numpy()):
            assert relative(found, wanted, scale=1e-9) < 1e-12
    # An objective that is never below 0: passes of a rare kind weigh 1/p - 1, where GRPO's weigh sqrt(1/p - 1).
    rare = ps.Bandit([0.99, 0.01], [0.0, 1.0])
    assert ps.algorithm("grpo", baseline=rule).advantage(rare.reward, rare.behavior)[1] == pytest.approx(99, rel=1e-3)
    assert ps.algorithm("grpo").advantage(rare.reward, rare.behavior)[1] == pytest.approx(99**0.5, rel=1e-2)
    for reward in (np.array([-0.1, 1.0]), torch.tensor([[0.0, 1.0], [-0.1, 1.0]])):
        with pytest.raises(ValueError, match=r"the lowest reward is -0.1; A = \(r - E r\)/E r needs rewards >= 0"):
            rule.group(reward)
    assert rule.exact(np.array([0.0, 1.0, -5.0]), np.array([0.5, 0.5, 0.0])).advantage[1] == pytest.approx(1, rel=1e-5)


def test_a_length_weighted_baseline_lies_below_the_mean_where_long_completions_earn_less() -> None:
    rng = np.random.default_rng(4)
    reward, lengths, weights = rng.random(6), rng.integers(1, 90, size=6), rng.dirichlet(np.ones(6))
    rule = baselines.length_weighted(lengths)
    value = (weights * lengths * reward).sum() / (weights * lengths).sum()
    moments = rule.exact(reward, weights)
    np.testing.assert_allclose(moments.advantage, reward - value, atol=1e-14)
    mean = weights @ reward
    covariance = weights @ ((lengths - weights @ lengths) * (reward - mean))
    assert moments.mean == pytest.approx(-covariance / (weights @ lengths), abs=1e-14)
    assert value - mean == pytest.approx(covariance / (weights @ lengths))
    groups = rule.group(np.stack([reward, 1 - reward]))
    np.testing.assert_allclose(groups[0], reward - (lengths * reward).sum() / lengths.sum(), atol=1e-14)
    np.testing.assert_allclose(groups[1], -groups[0], atol=1e-14)
    np.testing.assert_allclose(rule.group(torch.tensor(reward)).numpy(), groups[0], atol=1e-14)
    equal_lengths = baselines.length_weighted([7] * 6).exact(reward, weights)
    np.testing.assert_allclose(equal_lengths.advantage, reward - mean, atol=1e-15)
    assert (baselines.length_weighted([1, 2, 3]).group(np.full(3, 0.1)) == 0).all()
    # Where failures are longer a regression with this baseline is in the positive regime.
    bandit = ps.Bandit([0.5, 0.5], [0.0, 1.0])
    made = ps.algorithm("dro", beta=1.0, baseline=baselines.length_weighted([9, 1]))
    assert ps.induced_target(bandit, made).regime == "positive"
    for lengths in ([], [0, 1], [[1, 2]], [1, float("nan")]):
        with pytest.raises(ValueError, match=r"^lengths is .*; it must be a list of finite numbers > 0"):
            baselines.length_weighted(lengths)
    with pytest.raises(ValueError, match=r"lengths has 2 values; the rewards have 3 on their last axis"):
        baselines.length_weighted([1, 2]).group(np.zeros(3))


def test_a_batch_s_baseline_lies_above_hard_prompts_and_below_easy_ones() -> None:
    batch = np.array([[0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    rule = baselines.batch_standardized(batch)
    hard, easy = (rule.sampled(row).mean for row in batch)
    assert hard < 0 < easy
    targets = [ps.group_target(row, ps.algorithm("dro", beta=1.0, baseline=rule)).regime for row in batch]
    assert targets == ["negative", "positive"]
    assert (baselines.batch_standardized(np.ones(4), epsilon=0.0).group(np.ones(4)) == 0).all()
    bad = (([1.0], None, r"reward holds 1 completions"), ([0.0, np.nan], None, r"two or more finite numbers"))
    for reward, lengths, message in (*bad, ([0.0, 1.0], [1], r"lengths does not match"), ([0, 1], [0, 1], r">= 1")):
        with pytest.raises(ValueError, match=message):
            baselines.batch_standardized(reward, lengths)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_must_be_positive(value: float) -> None:
    for make in (baselines.log_mean_exp, baselines.leave_one_out_log_mean_exp, lambda b: baselines.log_sum_exp(b, 8)):
        with pytest.raises(ValueError, match=r"beta is .*; it must be a finite number > 0"):
            make(value)
    with pytest.raises(ValueError, match=r"group_size is .*; it must be a finite number > 0"):
        baselines.log_sum_exp(1.0, value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_shifts_and_constants_must_be_finite(value: float) -> None:
    makers = {
        "value": (baselines.constant, baselines.quantile),
        "shift": (baselines.shifted_mean, lambda shift: baselines.standardized(0.1, shift)),
    }
    for argument, functions in makers.items():
        for make in functions:
            with pytest.raises(ValueError, match=rf"{argument} is .*; it must be a finite number"):
                make(value)


def test_other_arguments_of_constructors() -> None:
    for epsilon in (-1e-9, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"epsilon is .*; it must be a finite number >= 0"):
            baselines.standardized(epsilon)
    assert baselines.standardized(0.0).group(np.array([0.0, 2.0]))[1] == pytest.approx(2**-0.5)
    with pytest.raises(ValueError, match="measure is 'policy'; it must be 'behavior' or 'reference'"):
        baselines.log_mean_exp(1.0, "policy")
    assert baselines.log_mean_exp(1.0).measure == "behavior"


def test_names_and_formulas_say_what_the_rule_does() -> None:
    shown = {name: (rule.baseline.name, rule.baseline.formula) for name, rule in CASES.items()}
    assert shown["none"] == ("none", "V = 0")
    assert shown["constant"] == ("constant", "V = 0.37")
    assert shown["mean"] == ("mean", "V = E r")
    assert shown["shifted"] == ("shifted mean", "V = E r - 0.3")
    assert baselines.shifted_mean(0.3).formula == "V = E r + 0.3"
    assert shown["leave one out"] == ("leave one out", "V_i = mean of r_j, j != i")
    assert shown["log mean exp"] == ("log mean exp", "V = 0.25 log E exp(r/0.25)")
    assert shown["leave-one-out log mean exp"] == (
        "leave-one-out log mean exp",
        "V_i = 0.25 log mean exp(r_j/0.25), j != i",
    )
    assert shown["log sum exp"] == ("log sum exp", "V = 0.25 log sum exp(r/0.25)")
    assert shown["standardized"] == ("standardized", "A = (r - E r)/(std + 0.0001)")
    assert shown["quantile"] == ("quantile", "A = F(r) - 0.6")


# --- through Algorithm ------------------------------------------------------------------------------------------------


def test_algorithm_advantage_dispatches_on_the_policy_and_keeps_the_array_type() -> None:
    algorithm = ps.algorithm("shifted_mean", beta=0.5)
    reward, behavior = np.array([0.0, 0.0, 1.0]), np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(algorithm.advantage(reward, behavior), reward - 0.2 + 0.5)
    np.testing.assert_allclose(algorithm.advantage(reward), reward - 1 / 3 + 0.5)
    for kind in (torch.float32, torch.float64):
        for found, mean in (
            (algorithm.advantage(torch.tensor(reward, dtype=kind), torch.tensor(behavior)), 0.2),
            (algorithm.advantage(torch.tensor(reward, dtype=kind)), 1 / 3),
        ):
            assert isinstance(found, torch.Tensor)
            assert found.dtype == kind
            np.testing.assert_allclose(found.numpy(), reward - mean + 0.5, rtol=1e-6)
    anchored = ps.algorithm("a_star_po", beta1=0.5)
    reference = np.array([0.2, 0.2, 0.6])
    expected = reward - 0.5 * np.log(reference @ np.exp(reward / 0.5))
    np.testing.assert_allclose(anchored.advantage(reward, behavior, reference), expected)


def test_a_baseline_may_be_a_number_or_a_function() -> None:
    reward, behavior = np.array([[0.0, 0.0, 1.0], [1.0, 2.0, 3.0]]), np.array([0.5, 0.3, 0.2])

    def largest(reward, behavior):
        return reward.max(axis=-1) if behavior is None else (behavior * reward).sum(axis=-1) + 1

    def per_arm(reward, behavior):
        return 0.5 * reward

    made = ps.Algorithm(lambda log_ratio, advantage: advantage, baseline=largest)  # type: ignore[arg-type]
    assert made.baseline.name == "largest"
    np.testing.assert_allclose(made.advantage(reward), reward - reward.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(made.advantage(reward, behavior), reward - (reward @ behavior)[:, None] - 1)
    np.testing.assert_allclose(made.advantage(reward[0], behavior), reward[0] - 0.2 - 1)
    number = ps.Algorithm(lambda log_ratio, advantage: advantage, baseline=0.25)  # type: ignore[arg-type]
    np.testing.assert_allclose(number.advantage(reward), reward - 0.25)
    halved = ps.Algorithm(lambda log_ratio, advantage: advantage, baseline=per_arm)  # type: ignore[arg-type]
    np.testing.assert_allclose(halved.advantage(reward, behavior), reward / 2, atol=1e-15)
    moments = halved.baseline.exact(reward, np.broadcast_to(behavior, (2, 3)))
    np.testing.assert_allclose(moments.mean, (reward @ behavior) / 2, rtol=1e-14)
    with pytest.raises(ValueError, match="baseline is 'mean'; it must be a Baseline, a number or a function"):
        ps.Algorithm(lambda log_ratio, advantage: advantage, baseline="mean")  # type: ignore[arg-type]


def test_rows_of_moments_are_those_that_the_mask_keeps() -> None:
    parts = [np.arange(24.0).reshape(2, 3, 4) + 100 * part for part in range(3)]
    flat = [np.arange(6.0).reshape(2, 3) - 100 * part for part in (1, 2)]
    made = baselines.Moments(parts[0], parts[1], flat[0], flat[1], parts[2], 0.7)
    kept = made.rows(np.array([True, False, False, True, False, True]))
    for have, whole in [(kept.advantage, parts[0]), (kept.deviation, parts[1]), (kept.below, parts[2])]:
        np.testing.assert_array_equal(have, [whole[0, 0], whole[1, 0], whole[1, 2]])
    for have, whole in [(kept.mean, flat[0]), (kept.rounding, flat[1])]:
        np.testing.assert_array_equal(have, [whole[0, 0], whole[1, 0], whole[1, 2]])
    assert kept.soft_temperature == 0.7


@pytest.mark.parametrize("name", ps.catalogue())
def test_advantages_of_a_batch_are_those_of_its_groups(name: str) -> None:
    """Two leading axes, ties and equal rewards: of sampled groups, in both ways, and of a policy with its moments."""
    rng = np.random.default_rng(6)
    rewards = rng.integers(0, 4, size=(2, 3, 5)) / 4
    rewards[1, 2] = 0.75
    behavior = np.where(rng.uniform(size=rewards.shape) < 0.2, 0.0, rng.dirichlet(np.ones(5), (2, 3)))
    behavior /= behavior.sum(axis=-1, keepdims=True)
    made = ps.algorithm(name)
    rule, beta = made.baseline, made.beta
    group, sampled, exact = rule.group(rewards), rule.sampled(rewards, beta), rule.exact(rewards, behavior, None, beta)
    for row in np.ndindex(2, 3):
        np.testing.assert_allclose(group[row], rule.group(rewards[row]), rtol=1e-12, atol=1e-15)
        for whole, alone in [
            (sampled, rule.sampled(rewards[row], beta)),
            (exact, rule.exact(rewards[row], behavior[row], None, beta)),
        ]:
            for field in ("advantage", "deviation", "below", "mean", "rounding"):
                np.testing.assert_array_equal(getattr(whole, field)[row], getattr(alone, field), err_msg=field)
            assert whole.soft_temperature == alone.soft_temperature
