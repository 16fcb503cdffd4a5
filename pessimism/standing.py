"""Standings: where the induced target lies between the behavior policy and the nominal target, row by row and summed.

Verdicts rest on these numbers alone, whether they are about one bandit, a batch, or the groups of a log.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields

import numpy as np

from .compare import Comparison

ALL_MASS = 1 - 1e-6
"""A target with at least this on the most rewarding arms has put all mass there."""

SUMMED = ("kl", "nominal_kl", "stated_kl", "value", "nominal_value", "entropy", "nominal_entropy")
COUNTED = ("alike", "saturated", "silent", "closer", "further", "implicit")


@dataclass(frozen=True)
class Standing:
    r"""Numbers of n rows, (n,) each.

    Attributes:
        kl, nominal_kl, stated_kl: $\mathrm{KL}(\pi\|\mu)$ of the three targets, nats.
        value, nominal_value: $E_\pi r$.
        entropy, nominal_entropy: $H(\pi)$, nats.
        largest, nominal_largest: the largest log-ratio.
        same: the induced target is the nominal one, as far as they are known.
        at_stated: the induced target is the stated one.
        saturated: the objective has a temperature, and both targets put all mass on the most rewarding arms.
        silent: all rewards agree.
        kind: of the induced target, and ``regime`` its sign or "" where that means nothing.
        winner: the arm of the largest mass, and ``best``, whether none is more rewarding.
    """

    kl: np.ndarray
    nominal_kl: np.ndarray
    stated_kl: np.ndarray
    value: np.ndarray
    nominal_value: np.ndarray
    entropy: np.ndarray
    nominal_entropy: np.ndarray
    largest: np.ndarray
    nominal_largest: np.ndarray
    same: np.ndarray
    at_stated: np.ndarray
    saturated: np.ndarray
    silent: np.ndarray
    kind: np.ndarray
    regime: np.ndarray
    winner: np.ndarray
    best: np.ndarray

    @property
    def alike(self) -> np.ndarray:
        """The nominal target itself, where the temperature decides something."""
        return self.same & ~self.saturated

    @property
    def closer(self) -> np.ndarray:
        """More conservative than nominal."""
        return (self.kl < self.nominal_kl) & ~self.same & ~self.saturated

    @property
    def further(self) -> np.ndarray:
        """Beyond the nominal target."""
        return (self.kl > self.nominal_kl) & ~self.same & ~self.saturated

    @property
    def implicit(self) -> np.ndarray:
        """More conservative than stated."""
        return (self.kl < self.stated_kl) & ~self.at_stated & ~self.saturated

    def take(self, rows: np.ndarray) -> Standing:
        """These rows."""
        return Standing(*(getattr(self, each.name)[rows] for each in fields(self)))

    def joined(self, other: Standing) -> Standing:
        """These rows and those."""
        pairs = ((getattr(self, each.name), getattr(other, each.name)) for each in fields(self))
        return Standing(*map(np.concatenate, pairs))

    @classmethod
    def of(cls, comparison: Comparison) -> Standing:
        """The standings of a comparison, its batch flattened."""
        bandit, arms = comparison.bandit, comparison.bandit.arms
        rows = int(np.prod(bandit.batch_shape, dtype=int))
        behavior, reward = bandit.behavior.reshape(rows, arms), bandit.reward.reshape(rows, arms)
        played = behavior > 0
        log_behavior = np.where(played, bandit.log_behavior.reshape(rows, arms), 0.0)
        top = np.where(played, reward, -np.inf).max(axis=-1)
        silent = (np.where(played, reward, top[:, None]) == top[:, None]).all(axis=-1)
        policies, largest = {}, {}
        for name in ("induced", "nominal"):
            target = getattr(comparison, name)
            policies[name] = policy = target.policy.reshape(rows, arms)
            log_ratio = np.where(played, target.log_policy.reshape(rows, arms) - log_behavior, -np.inf)
            outside = np.where(((policy > 0) & ~played).any(axis=-1), np.inf, 0.0)
            largest[name] = log_ratio.max(axis=-1) + outside
        on_best = [(policies[name] * (reward >= top[:, None])).sum(axis=-1) for name in ("induced", "nominal")]
        saturated = (np.minimum(*on_best) >= ALL_MASS) & ~silent & (comparison.algorithm.beta is not None)
        winner = policies["induced"].argmax(axis=-1)

        def flat(values: object) -> np.ndarray:
            return np.broadcast_to(values, bandit.batch_shape).reshape(rows)  # type: ignore[arg-type]

        induced, nominal = comparison.induced_metrics, comparison.nominal_metrics
        return cls(
            kl=flat(induced.kl),
            nominal_kl=flat(nominal.kl),
            stated_kl=flat(comparison.stated_metrics.kl),
            value=flat(induced.value),
            nominal_value=flat(nominal.value),
            entropy=flat(induced.entropy),
            nominal_entropy=flat(nominal.entropy),
            largest=largest["induced"],
            nominal_largest=largest["nominal"],
            same=flat(comparison.at_nominal),
            at_stated=flat(comparison.at_stated),
            saturated=saturated,
            silent=silent,
            kind=flat(comparison.induced.kind),
            regime=flat("" if comparison.regime is None else comparison.regime),
            winner=winner,
            best=reward[np.arange(rows), winner] >= top,
        )


@dataclass
class Account:
    """Standings added up.

    Attributes:
        rows: how many.
        counts: name of ``COUNTED`` -> rows.
        sums: name of ``SUMMED`` -> sum over rows.
        kinds, regimes: name -> rows.
        lone: the row itself, where there is one only.
    """

    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMMED, 0.0))
    kinds: Counter[str] = field(default_factory=Counter)
    regimes: Counter[str] = field(default_factory=Counter)
    lone: Standing | None = None

    def add(self, standing: Standing) -> Account:
        """More rows."""
        self.lone = standing if self.rows == 0 and len(standing.kl) == 1 else None
        self.rows += len(standing.kl)
        for name in COUNTED:
            self.counts[name] += int(np.count_nonzero(getattr(standing, name)))
        for name in SUMMED:
            self.sums[name] += float(np.sum(getattr(standing, name)))
        for counter, values in ((self.kinds, standing.kind), (self.regimes, standing.regime)):
            names, counts = np.unique(values, return_counts=True)
            counter.update({str(name): int(count) for name, count in zip(names, counts, strict=True) if name})
        return self

    def mean(self, name: str) -> float:
        """The mean over rows of one of ``SUMMED``."""
        return self.sums[name] / self.rows

    def share(self, name: str) -> float:
        """The share of rows of one of ``COUNTED``."""
        return self.counts[name] / self.rows

    def to_dict(self) -> dict[str, float]:
        """Shares and means, as plain values."""
        found = {f"{name} share": self.share(name) for name in COUNTED}
        return found | {f"mean {name}": self.mean(name) for name in SUMMED}
