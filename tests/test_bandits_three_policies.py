"""Training with three policies: against the simulator of two, against a plain step, seeds, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from bandits.settings import Settings
from bandits.simulate import simulate
from bandits.three_policies import MODES, Ages, Mode, train
from pessimism import corrections

BANDIT = ps.Bandit([[0.5, 0.3, 0.2, 0.0], [0.25, 0.25, 0.4, 0.1]], [[0.0, 0.4, 1.0, 2.0], [1.0, 1.0, 0.0, 0.0]])


def test_around_the_sampler_it_is_the_simulator_of_two_policies() -> None:
    run = train(BANDIT, "around the sampler", Ages(steps=40, sampler=10, learning_rate=0.7, record_every=10))
    settings = Settings(syncs=4, lag=10, learning_rate=0.7, targets=False)
    expected = simulate(BANDIT, "ppo", settings)
    np.testing.assert_allclose(run.policy, expected.policy[0], atol=1e-12)
    np.testing.assert_allclose(run.value, expected.value[:, 0], atol=1e-12)
    np.testing.assert_array_equal(run.step, [10, 20, 30, 40])


def test_a_proximal_policy_as_old_as_the_sampler_changes_nothing() -> None:
    ages = Ages(steps=30, sampler=6, proximal=6)
    ends = [train(BANDIT, name, ages).policy for name in MODES]
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], atol=1e-12)


def test_every_mode_takes_the_step_that_its_formula_says() -> None:
    """The sixth step of a run, whose sampler was renewed at 4 and its proximal policy at 3."""
    bandit, cap = ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.4, 1.0]), 1.05
    weighted = ps.algorithm("ppo", correction=corrections.truncate(cap, pair="proximal"))
    for mode in (Mode("ppo", "kept"), Mode(weighted, "kept")):

        def after(steps: int, mode: Mode = mode) -> np.ndarray:
            return train(bandit, mode, Ages(steps, sampler=4, proximal=3, learning_rate=0.9)).policy[0]

        sampler, proximal, policy = after(4), after(3), after(5)
        ratio, weight = policy / proximal, proximal / sampler
        gain = bandit.reward - sampler @ bandit.reward
        inside = np.where(gain > 0, ratio <= 1.2, ratio >= 0.8)
        value = sampler * (weight.clip(max=cap) if mode.algorithm is weighted else 1.0) * ratio * gain * inside
        logits = np.log(policy) + 0.9 * (value - policy * value.sum())
        np.testing.assert_allclose(after(6), np.exp(logits) / np.exp(logits).sum(), rtol=1e-12)


def test_an_interpolated_policy_lies_as_far_as_the_kept_one_by_age() -> None:
    """Ages 3 and 1 of four: log prox = (log mu + 3 log pi) / 4 at a sampler renewed at 0, a copy at 3, and step 4."""
    bandit = ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.4, 1.0])
    mode = Mode(ps.algorithm("ppo", correction=corrections.truncate(5.0, pair="proximal")), "interpolated")
    four, five = (
        train(bandit, mode, Ages(steps, sampler=8, proximal=3, learning_rate=0.3)).policy[0] for steps in (4, 5)
    )
    mu = bandit.behavior
    proximal = mu**0.25 * four**0.75
    gain = bandit.reward - mu @ bandit.reward
    inside = np.where(gain > 0, four / proximal <= 1.2, four / proximal >= 0.8)
    value = mu * np.minimum(proximal / mu, 5) * (four / proximal) * gain * inside
    logits = np.log(four) + 0.3 * (value - four * value.sum())
    np.testing.assert_allclose(five, np.exp(logits) / np.exp(logits).sum(), rtol=1e-12)


def test_groups_are_unbiased_and_runs_depend_on_their_own_seed() -> None:
    ages = Ages(steps=1, learning_rate=1e-3, group_size=64)
    mode = Mode(ps.algorithm("ppo", baseline=0.3), "none")
    many = train(BANDIT, mode, ages, range(400)).policy.reshape(400, 2, 4).mean(axis=0)
    exact = train(BANDIT, mode, Ages(steps=1, learning_rate=1e-3)).policy
    np.testing.assert_allclose(many - BANDIT.behavior, exact - BANDIT.behavior, atol=4e-6)
    ages = Ages(steps=20, sampler=5, proximal=2, group_size=4)
    both, alone = train(BANDIT, "decoupled", ages, (3, 7)), train(BANDIT, "decoupled", ages, (7,))
    np.testing.assert_array_equal(both.policy[2:], alone.policy)
    assert (both.policy[:, 3] == np.array([0.0, both.policy[1, 3], 0.0, both.policy[3, 3]])).all()


def test_what_is_wrong_is_told() -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"sampler": 0}, r"sampler is 0; it must be a whole number >= 1"),
        ({"group_size": 2.5}, r"group_size is 2.5; it must be a whole number >= 1"),
        ({"learning_rate": 0.0}, r"learning_rate is 0.0; it must be a finite number > 0"),
    )
    for fields, message in wrong:
        with pytest.raises(ValueError, match=message):
            Ages(**fields)
    for mode, message in (
        ("decoupled ppo", r"mode is 'decoupled ppo'; it must be one of around the sampler, recomputed"),
        (Mode("rebel", "none"), r"rebel\(eta=1\) looks at other samples or at probabilities"),
        (Mode("ppo:correction=truncate(cap=2, pair=proximal)", "none"), r"needs a proximal policy, which this mode"),
    ):
        with pytest.raises(ValueError, match=message):
            train(BANDIT, mode, Ages())
    with pytest.raises(ValueError, match=r"has a third policy of its own"):
        train(ps.Bandit([0.5, 0.5], [0, 1], proximal=[0.4, 0.6]), "recomputed", Ages())
