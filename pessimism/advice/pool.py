"""Pools: the distinct groups of a log, or those that pass rates give, with how often each of them occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from ..audit.statistics import distinct_rows

MOST_DISTINCT = 1 << 13
"""Distinct groups that are kept; of a log with more, groups are drawn at random."""

RAREST = 1e-12
"""Expected share of a group below which it is left out."""


@dataclass(frozen=True)
class Pool:
    """Distinct groups with signal, by size.

    Attributes:
        rewards: size -> (n, G) rewards of each, ascending.
        counts: size -> (n,) how often each occurs; expected shares where pass rates were given.
        silent: share of the groups whose rewards all agree.
        groups: how many there were in all, 0 where pass rates were given.
        drawn: share of the groups that the pool holds, below 1 where there were too many distinct ones.
    """

    rewards: dict[int, np.ndarray]
    counts: dict[int, np.ndarray]
    silent: float
    groups: int = 0
    drawn: float = 1.0

    @property
    def distinct(self) -> int:
        """Distinct groups."""
        return sum(map(len, self.counts.values()))

    def thinned(self, most: int) -> Pool:
        """The pool itself, or that many of its distinct groups, drawn at random by how often they occur."""
        if self.distinct <= most:
            return self
        weights = self.weights
        drawn = np.random.default_rng(0).choice(len(weights), most, p=weights)
        chosen, counts = np.unique(drawn, return_counts=True)
        rewards, found, before = {}, {}, 0
        for size, rows in self.rewards.items():
            mine = (chosen >= before) & (chosen < before + len(rows))
            if mine.any():
                rewards[size], found[size] = rows[chosen[mine] - before], counts[mine].astype(np.float64)
            before += len(rows)
        return replace(self, rewards=rewards, counts=found, drawn=self.drawn * most / len(weights))

    @property
    def weights(self) -> np.ndarray:
        """Share of each distinct group among those with signal, sizes one after another."""
        counts = np.concatenate(list(self.counts.values()))
        return counts / counts.sum()

    @property
    def spread(self) -> float:
        """Largest difference of rewards within a group."""
        return max(float(np.ptp(rows, axis=-1).max()) for rows in self.rewards.values())


class PoolBuilder:
    """Counts groups as they go by."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, bytes], int] = {}
        self._random = np.random.default_rng(0)
        self._drawn = 1.0
        self.groups = self.silent = 0

    def add(self, rewards: np.ndarray) -> None:
        """Groups of one size, (n, G)."""
        ranked = np.sort(rewards + 0.0, axis=-1)
        signal = ranked[:, -1] > ranked[:, 0]
        self.groups += len(ranked)
        self.silent += int((~signal).sum())
        kept = ranked[signal]
        if self._drawn < 1:
            kept = kept[self._random.random(len(kept)) < self._drawn]
        if not len(kept):
            return
        first, inverse = distinct_rows(kept)
        size = rewards.shape[-1]
        for row, count in zip(kept[first], np.bincount(inverse).tolist(), strict=True):
            key = (size, row.tobytes())
            self._counts[key] = self._counts.get(key, 0) + count
        while len(self._counts) > MOST_DISTINCT:
            self._halve()

    def _halve(self) -> None:
        """Keep every group that was counted with probability 1/2."""
        self._drawn /= 2
        kept = {key: int(self._random.binomial(count, 0.5)) for key, count in self._counts.items()}
        self._counts = {key: count for key, count in kept.items() if count}

    def pool(self) -> Pool:
        """What was counted.

        Raises:
            ValueError: no group has rewards that differ.
        """
        if not self._counts:
            raise ValueError("no signal: within every group all rewards agree, so that no setting moves anything")
        rewards: dict[int, list[np.ndarray]] = {}
        counts: dict[int, list[int]] = {}
        for (size, row), count in self._counts.items():
            rewards.setdefault(size, []).append(np.frombuffer(row))
            counts.setdefault(size, []).append(count)
        return Pool(
            {size: np.stack(rows) for size, rows in rewards.items()},
            {size: np.array(found, dtype=np.float64) for size, found in counts.items()},
            self.silent / self.groups,
            self.groups,
            self._drawn,
        )


def pool_of_rates(group_size: int, pass_rates: Sequence[float]) -> Pool:
    """The groups of prompts with these pass rates, as often as they are expected: 0/1 rewards, binomial counts.

    Raises:
        ValueError: a group of one, no rate, or rates outside 0 to 1, or such that no group can have signal.

    >>> pool = pool_of_rates(4, [0.5])
    >>> pool.rewards[4].sum(axis=-1), pool.counts[4].round(4), round(pool.silent, 4)
    (array([1., 2., 3.]), array([0.25 , 0.375, 0.25 ]), 0.125)
    """
    if isinstance(group_size, bool) or not isinstance(group_size, int) or group_size < 2:
        raise ValueError(f"group_size is {group_size!r}; it must be a whole number >= 2")
    rates = np.asarray(pass_rates, dtype=np.float64).reshape(-1)
    if not rates.size or not ((rates >= 0) & (rates <= 1)).all():
        raise ValueError(f"pass_rates are {list(pass_rates)!r}; give one or more, each from 0 to 1")
    passing = np.arange(1, group_size)
    ways = gammaln(group_size + 1) - gammaln(passing + 1) - gammaln(group_size - passing + 1)
    log_chance = xlogy(passing[:, None], rates) + xlog1py(group_size - passing[:, None], -rates)
    shares = np.exp(ways[:, None] + log_chance).mean(axis=-1)  # binomial
    likely = shares > RAREST
    if not likely.any():
        raise ValueError("pass_rates: where all completions pass, or none does, no group has signal")
    rows = (np.arange(group_size) >= group_size - passing[likely, None]).astype(np.float64)
    return Pool({group_size: rows}, {group_size: shares[likely]}, float(1 - shares.sum()))
