"""Noisy rewards: what the learner is told about an arm, as opposed to what the arm is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

import pessimism as ps


@dataclass(frozen=True)
class VerifierNoise:
    r"""A verifier of binary rewards that errs, independently on every sample.

    The observed reward is Bernoulli with mean $f_+ + (1 - f_+ - f_-)\,r$.

    Args:
        false_positive: $f_+$, probability that a wrong answer (reward 0) passes.
        false_negative: $f_-$, probability that a right answer (reward 1) fails.

    Raises:
        ValueError: a rate outside [0, 1].

    >>> VerifierNoise(false_positive=0.1).expected(np.array([0.0, 1.0]))
    array([0.1, 1. ])
    """

    false_positive: float = 0.0
    false_negative: float = 0.0

    def __post_init__(self) -> None:
        for name in ("false_positive", "false_negative"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it must be a probability between 0 and 1")

    def expected(self, reward: np.ndarray) -> np.ndarray:
        """Expected observed reward, same shape; raises ValueError unless every reward is 0 or 1."""
        odd = (reward != 0) & (reward != 1)
        if odd.any():
            index = ", ".join(str(int(i)) for i in np.unravel_index(int(odd.argmax()), reward.shape))
            raise ValueError(
                f"reward[{index}] is {reward.flat[odd.argmax()]:g}; verifier noise needs rewards of 0 or 1"
            )
        return self.false_positive + (1 - self.false_positive - self.false_negative) * reward


@dataclass(frozen=True)
class GaussianNoise:
    """Independent normal noise of the given standard deviation (units of reward) on every sampled reward.

    Raises:
        ValueError: a deviation that is negative or not finite.
    """

    deviation: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.deviation) and self.deviation >= 0):
            raise ValueError(f"deviation is {self.deviation}; it must be a finite number >= 0")

    def expected(self, reward: np.ndarray) -> np.ndarray:
        """Expected observed reward: the reward itself."""
        return reward


Noise = VerifierNoise | GaussianNoise


def observed(bandit: ps.Bandit, noise: Noise | None) -> ps.Bandit:
    """The bandit as the learner sees it on average: the same behavior policy, expected observed rewards.

    >>> observed(ps.Bandit([0.5, 0.5], [0, 1]), VerifierNoise(0.1, 0.2)).reward
    array([0.1, 0.8])
    """
    if noise is None:
        return bandit
    return ps.Bandit(bandit.behavior, noise.expected(bandit.reward), bandit.reference)
