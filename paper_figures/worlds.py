"""Bandits that several figures share, and baselines placed where a figure wants them."""

from __future__ import annotations

import numpy as np

import pessimism as ps


def random_bandits(count: int, arms: int, seed: int) -> ps.Bandit:
    """A batch (count, arms): behavior uniform on the simplex, rewards standard normal.

    >>> random_bandits(3, 5, seed=0).behavior.shape
    (3, 5)
    """
    generator = np.random.default_rng(seed)
    return ps.Bandit(generator.dirichlet(np.ones(arms), size=count), generator.normal(size=(count, arms)))


def soft_value(bandit: ps.Bandit, beta: float) -> np.ndarray:
    """V* (...), the baseline at which log-ratio regression of temperature beta has exactly its nominal target.

    >>> float(soft_value(ps.Bandit([0.5, 0.5], [1.0, 1.0]), 0.7))
    1.0
    """
    boundary = ps.algorithm("opmd", tau=beta)
    return (bandit.reward - boundary.advantage(bandit.reward, bandit.behavior))[..., 0]


def at_offset(bandit: ps.Bandit, beta: float, offset: float) -> ps.Algorithm:
    """Log-ratio regression on this bandit with the baseline V* + offset beta; offset in temperatures.

    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> [ps.induced_target(bandit, at_offset(bandit, 0.5, offset)).regime for offset in (-0.1, 0.1)]
    ['positive', 'negative']
    """
    value = soft_value(bandit, beta) + offset * beta
    return ps.algorithm("shifted_mean", beta=beta, baseline=lambda reward, behavior: value)


def rows(bandit: ps.Bandit) -> list[ps.Bandit]:
    """A batch (n, K) as n bandits."""
    return [ps.Bandit(behavior, reward) for behavior, reward in zip(bandit.behavior, bandit.reward, strict=True)]
