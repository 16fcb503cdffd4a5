"""Monitors: the numbers of a step against plain loops, and alerts where they belong."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.monitor import Bounds, Monitor


def drawn(seed: int = 0, shape: tuple[int, int] = (16, 12)):
    random = np.random.default_rng(seed)
    mask = (np.arange(shape[1]) < random.integers(1, shape[1] + 1, (shape[0], 1))).astype(int)
    behavior = -0.7 - random.random(shape)
    return random, behavior, mask


def test_numbers_of_groups_are_those_of_a_comparison():
    rewards = np.array([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]])
    monitor = Monitor("oapl:beta1=1,beta2=0.5")
    monitor.see_groups(np.vstack([rewards, [[np.nan, 0.0, 1.0, 1.0]]]))
    numbers = monitor.step().numbers
    comparison = ps.compare_group(rewards[[0, 2]], "oapl:beta1=1,beta2=0.5")
    assert numbers["without_signal"] == pytest.approx(1 / 3)
    assert numbers["positive"] == 1.0
    assert numbers["target_kl"] == pytest.approx(np.mean(comparison.induced_metrics.kl))
    assert numbers["nominal_kl"] == pytest.approx(np.mean(comparison.nominal_metrics.kl))
    assert numbers["kl_gap"] == pytest.approx(np.mean(comparison.gaps["kl"]))
    assert monitor.step().numbers == numbers  # rewards last until others come


def test_numbers_of_tokens_are_those_of_a_plain_loop():
    random, behavior, mask = drawn()
    current = behavior + 0.2 * random.normal(size=behavior.shape)
    monitor = Monitor("shifted_mean")
    monitor.see_tokens(behavior[:9], current[:9], mask[:9], lag=2)
    monitor.see_tokens(behavior[9:], current[9:], mask[9:], lag=4)
    numbers = monitor.step().numbers
    sums = [sum(current[i, t] - behavior[i, t] for t in range(12) if mask[i, t]) for i in range(16)]
    ratio = np.exp(sums)
    token = np.exp((current - behavior)[mask > 0])
    assert numbers["ess_sequence"] == pytest.approx(ratio.sum() ** 2 / (16 * (ratio**2).sum()))
    assert numbers["ess_token"] == pytest.approx(token.sum() ** 2 / (token.size * (token**2).sum()))
    assert numbers["k1"] == pytest.approx(-np.mean(sums))
    assert numbers["k3"] == pytest.approx(np.mean(ratio - 1 - np.array(sums)))
    assert numbers["outside"] == pytest.approx(((token < 0.8) | (token > 1.2)).mean())
    assert numbers["lag"] == 3.0
    assert "shift" not in numbers


def test_what_is_masked_or_unknown_changes_nothing():
    random, behavior, mask = drawn()
    current = behavior + 0.1 * random.normal(size=behavior.shape)
    one, two = Monitor("shifted_mean"), Monitor("shifted_mean")
    one.see_tokens(behavior, current, mask, lag=1)
    rows = np.vstack([np.where(mask > 0, behavior, np.nan), np.full((1, 12), np.nan)])
    two.see_tokens(rows, np.vstack([current, current[:1]]), np.vstack([mask, mask[:1]]), lag=1)
    assert two.step().numbers == pytest.approx(one.step().numbers)


def test_a_shift_at_lag_zero_is_named_with_its_likeliest_cause():
    """Sampled at a temperature of .6 and scored at 1: every token's log-probability is a multiple."""
    _, behavior, mask = drawn(shape=(64, 40))
    monitor = Monitor("shifted_mean")
    high = np.arange(64) % 2 == 0
    monitor.see_tokens(0.6 * behavior, behavior, mask, lag=0, high=high)
    [alert] = [text for text in monitor.step().alerts if text.startswith("shift")]
    assert "candidates: temperature" in alert
    monitor.see_tokens(behavior, behavior, mask, lag=0, high=high)
    told = monitor.step()
    assert told.numbers["shift"] == 0.0
    assert not any(text.startswith("shift") for text in told.alerts)


def test_learning_is_no_shift():
    """Rewarded samples up, the others down, at lag 0."""
    _, behavior, mask = drawn(shape=(64, 40))
    high = np.arange(64) % 2 == 0
    monitor = Monitor("shifted_mean")
    monitor.see_tokens(behavior, behavior + np.where(high, 0.05, -0.06)[:, None], mask, lag=0, high=high)
    assert not any(text.startswith("shift") for text in monitor.step().alerts)


def test_alerts_are_raised_once_until_they_are_due_again():
    monitor = Monitor("oapl:beta1=0.1,beta2=0.5", Bounds(repeat=3))
    monitor.see_groups([[0, 0, 0, 1]])
    raised = [len(monitor.step().alerts) for _ in range(7)]
    assert raised == [1, 0, 0, 1, 0, 0, 1]
    assert Monitor("oapl:beta1=1,beta2=0.5").step().alerts == ()


def test_entropy_that_falls_faster_than_the_target_explains_is_told():
    monitor = Monitor("shifted_mean:beta=1")
    monitor.see_groups([[0, 0, 0, 1]])
    assert [len(monitor.step(entropy).alerts) for entropy in (30.0, 29.99, 20.0)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.see_groups([0.0, 1.0]), r"reward has shape \(2,\)"),
        (lambda m: m.see_groups([[0.0], [1.0]]), r"reward has shape \(2, 1\)"),
        (lambda m: m.see_tokens([[-1.0]], [[-1.0]], [[1, 1]]), r"shape \(1, 1\) and the mask \(1, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(Monitor("shifted_mean"))
