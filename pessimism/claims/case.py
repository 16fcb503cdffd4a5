"""A batch of instances on which claims are tried."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..bandit import Bandit

NOT_APPLICABLE = -np.inf
"""The violation of an instance that a claim's hypotheses exclude; such instances are not counted."""


@dataclass(frozen=True)
class Case:
    """A batch of instances that share their temperatures.

    Attributes:
        family: where it comes from.
        bandit: n instances, (n, K).
        beta: regression temperature, in units of reward.
        ratio: beta1 / beta, the baseline's temperature against the regression's, for decoupled ones.
        offset: (V - V*) / beta, for claims that place the baseline against the soft value V* = beta log E exp(r/beta).
        seed: for what a check draws itself.
        alone: whether this is one instance that is looked at again: a check that shares the instances of a batch among
            algorithms then tries every one of them.
    """

    family: str
    bandit: Bandit
    beta: float
    ratio: float = 2.0
    offset: float = -1.0
    seed: int = 0
    alone: bool = False

    @property
    def size(self) -> int:
        """Number of instances."""
        return self.bandit.behavior.shape[0]

    def row(self, index: int) -> Case:
        """The one instance ``index`` as a case of its own."""
        return replace(self._part(slice(index, index + 1)), alone=True)

    def thinned(self, share: float) -> Case:
        """Evenly spaced instances, about ``share`` of them (at least one)."""
        return self._part(slice(None, None, max(1, round(1 / share))))

    def _part(self, rows: slice) -> Case:
        bandit = self.bandit
        reference = None if bandit.reference is None else bandit.reference[rows]
        return replace(self, bandit=Bandit(bandit.behavior[rows], bandit.reward[rows], reference))

    def with_reward(self, reward: np.ndarray) -> Case:
        """The same case with other rewards (n, K)."""
        return replace(self, bandit=Bandit(self.bandit.behavior, reward, self.bandit.reference))

    def to_dict(self) -> dict[str, Any]:
        """The first instance as plain Python values."""
        found: dict[str, Any] = {"family": self.family, "arms": self.bandit.arms, "beta": self.beta}
        found |= {"ratio": self.ratio, "offset": self.offset, "seed": self.seed}
        found["behavior"] = self.bandit.behavior[0].tolist()
        found["reward"] = self.bandit.reward[0].tolist()
        if self.bandit.reference is not None:
            found["reference"] = self.bandit.reference[0].tolist()
        return found

    def __str__(self) -> str:
        def arms(row: np.ndarray) -> str:
            return np.array2string(row, floatmode="unique", threshold=16, separator=", ", max_line_width=10_000)

        bandit = self.bandit
        named = {"behavior": bandit.behavior, "reward": bandit.reward, "reference": bandit.reference}
        told = [f"{name} = {arms(array[0])}" for name, array in named.items() if array is not None]
        return ", ".join([*told, f"beta = {float(self.beta)!r}"])
