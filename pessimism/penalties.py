r"""KL terms: what an objective adds to stay near another policy, in its loss or in its reward.

Of a sample of $\mu$ with $\ell = \log(\pi/\pi_0)$, $\pi_0$ the policy that the term is to:

    estimator    in the loss              its pull, minus the derivative by log pi
    "k1"         $\ell$                   $-1$
    "k2"         $\ell^2/2$               $-\ell$
    "k3"         $e^{-\ell} - 1 + \ell$   $e^{-\ell} - 1$
    "unbiased"   $\rho\,$k3               $-\rho\,\ell$, with $\rho = \pi/\mu$

Only the last is the gradient of $\mathrm{KL}(\pi\|\pi_0)$ on data of another policy (DeepSeek-V3.2, arXiv 2512.02556;
derived here for the others: k1 moves the baseline and nothing else, k2 makes a regression of a policy gradient).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from array_api_compat import array_namespace

from .parts import told_call
from .solve.simplex import Array

__all__ = ["Penalty", "k1", "k2", "k3", "unbiased"]

Estimator = Literal["k1", "k2", "k3", "unbiased"]
To = Literal["behavior", "reference"]
Place = Literal["loss", "reward"]


@dataclass(frozen=True)
class Penalty:
    """A KL term; made by :func:`k1`, :func:`k2`, :func:`k3` and :func:`unbiased`.

    Attributes:
        estimator: which one.
        coefficient: its weight, in units of the objective's loss (in the reward: in units of reward).
        to: "behavior": the policy that sampled; "reference": the bandit's reference, a frozen model.
        place: "loss", or "reward": then it is subtracted from the reward when the sample is drawn, from the sampler's
            own log-probabilities, and is a constant of the data.
    """

    estimator: Estimator
    coefficient: float
    to: To = "behavior"
    place: Place = "loss"

    def __post_init__(self) -> None:
        value = self.coefficient
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not (0 < value < math.inf):
            raise ValueError(f"{self.estimator}: coefficient is {value!r}; it must be a finite number > 0")
        if self.to not in ("behavior", "reference"):
            raise ValueError(f"{self.estimator}: to is {self.to!r}; it must be behavior or reference")
        if self.place not in ("loss", "reward"):
            raise ValueError(f"{self.estimator}: place is {self.place!r}; it must be loss or reward")
        if self.place == "reward" and self.to == "behavior":
            raise ValueError(f"{self.estimator}: in the reward the sampler is compared with itself; use to=reference")
        if self.place == "reward" and self.estimator == "unbiased":
            raise ValueError("unbiased: the weight of the KL term is 1 in the reward; use k3 there")

    def pull(self, log_ratio: Array, distance: Array, on_policy: bool = False) -> Array:
        r"""What it adds to the coefficient, before it is divided by the objective's scale.

        Args:
            log_ratio: $\log(\pi/\mu)$, nats.
            distance: $\log(\pi/\pi_0)$, nats, of the same shape.
            on_policy: whether the data come from $\pi$ itself: the weight is then 1.

        >>> import numpy as np
        >>> unbiased(2.0).pull(np.log([0.5, 2.0]), np.log([0.5, 2.0])).round(4)
        array([ 0.6931, -2.7726])
        """
        xp = array_namespace(log_ratio)
        if self.estimator == "k1":
            return -self.coefficient * xp.ones_like(distance)
        if self.estimator == "k3":
            return self.coefficient * xp.expm1(-distance)
        weight = xp.exp(log_ratio) if self.estimator == "unbiased" and not on_policy else xp.ones_like(log_ratio)
        # A policy that has lost an arm has no weight there, and no pull: 0 times minus infinity.
        return -self.coefficient * xp.where(weight > 0, weight * distance, xp.zeros_like(weight))

    def cost(self, distance: Array) -> Array:
        """What it takes off the reward, of the sampler's log-ratio to the reference; in units of reward."""
        xp = array_namespace(distance)
        values = {"k1": distance, "k2": distance**2 / 2, "k3": xp.expm1(-distance) + distance}
        return self.coefficient * values[self.estimator]

    def __str__(self) -> str:
        """As text that :func:`pessimism.algorithm` reads.

        >>> str(k3(0.001, to="reference"))
        'k3(coefficient=0.001, to=reference)'
        """
        shown = {"to": self.to, "place": self.place}
        rest = {name: value for name, value in shown.items() if value not in ("behavior", "loss")}
        return told_call(self.estimator, {"coefficient": self.coefficient} | rest)


def k1(coefficient: float, to: To = "behavior", place: Place = "loss") -> Penalty:
    """The log-ratio itself; see :class:`Penalty`."""
    return Penalty("k1", coefficient, to, place)


def k2(coefficient: float, to: To = "behavior", place: Place = "loss") -> Penalty:
    """Half the squared log-ratio; see :class:`Penalty`."""
    return Penalty("k2", coefficient, to, place)


def k3(coefficient: float, to: To = "behavior", place: Place = "loss") -> Penalty:
    """GRPO's estimator, never negative; see :class:`Penalty`."""
    return Penalty("k3", coefficient, to, place)


def unbiased(coefficient: float, to: To = "behavior", place: Place = "loss") -> Penalty:
    """DeepSeek-V3.2's: k3 times the importance weight, differentiated whole; see :class:`Penalty`."""
    return Penalty("unbiased", coefficient, to, place)


MAKERS: dict[str, Any] = {"k1": k1, "k2": k2, "k3": k3, "unbiased": unbiased}
