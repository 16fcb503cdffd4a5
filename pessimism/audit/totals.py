"""What is kept of the groups that went by: counts, sums, a sample for quantiles, bins, the groups that weigh most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SAMPLE_GROUPS = 1 << 17
BINS = 512
CLOSE = 1 << 17
"""Range of whole numbers up to which they are looked up in a table."""

TOP = 10


@dataclass
class Sample:
    """A uniform sample of groups, all of them while they fit: what quantiles are taken from.

    Every group draws a random number and the smallest ``capacity`` stay, so that the order of the log plays no part.
    """

    names: tuple[str, ...]
    capacity: int = SAMPLE_GROUPS
    seen: int = 0
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _kept: list[np.ndarray] = field(default_factory=list)
    _held: int = 0
    _below: float = 1.0

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """Values (n,) of more groups, by name."""
        drawn = self._random.random(len(values[self.names[0]]))
        self.seen += len(drawn)
        near = np.flatnonzero(drawn < self._below)
        self._kept.append(np.stack([drawn[near], *(values[name][near] for name in self.names)], axis=-1))
        self._held += len(near)
        if self._held > 2 * self.capacity:
            self._kept = [self._thinned()]
            self._held, self._below = self.capacity, float(self._kept[0][:, 0].max())

    def _thinned(self) -> np.ndarray:
        rows = np.concatenate(self._kept)
        if len(rows) > self.capacity:
            rows = rows[np.argpartition(rows[:, 0], self.capacity)[: self.capacity]]
        return rows

    def values(self) -> dict[str, np.ndarray]:
        """The sample, by name."""
        rows = self._thinned() if self._kept else np.empty((0, len(self.names) + 1))
        return {name: rows[:, index + 1] for index, name in enumerate(self.names)}


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Quantiles of (n,), NaN left out; infinite values are ordinary.

    >>> quantiles(np.array([0.0, 1.0, 2.0]))["50%"]
    1.0
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return {f"{level:.0%}": float("nan") for level in QUANTILES}
    found = np.quantile(known, QUANTILES, method="inverted_cdf")  # an observed value: none is made of two infinities
    return {f"{level:.0%}": float(value) for level, value in zip(QUANTILES, found, strict=True)}


def numbered(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct whole numbers among keys (n,), ascending, and the place of each key among them.

    >>> numbered(np.array([7, 5, 7]))
    (array([5, 7]), array([1, 0, 1]))
    """
    if not len(keys):
        return keys, np.zeros(0, dtype=np.int64)
    low, high = int(keys.min()), int(keys.max())
    if high - low >= CLOSE:
        return np.unique(keys, return_inverse=True)
    seen = np.zeros(high - low + 1, dtype=bool)
    seen[keys - low] = True
    return np.flatnonzero(seen) + low, (np.cumsum(seen) - 1)[keys - low]


def summed(
    cells: np.ndarray, count: int, values: Mapping[str, np.ndarray], logs: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Sums (count,) of values (n,) over the samples of each cell; of ``logs`` the logarithm of the sum of exponentials.

    >>> found = summed(np.array([0, 1, 0]), 2, {"x": np.array([1.0, 2.0, 3.0]), "l": np.log([1.0, 2.0, 3.0])}, ("l",))
    >>> found["x"], np.exp(found["l"]).round(12)
    (array([4., 2.]), array([4., 2.]))
    """
    found = {name: np.bincount(cells, part, count) for name, part in values.items() if name not in logs}
    for name in logs:
        if name in values:
            top = np.full(count, -np.inf)
            np.maximum.at(top, cells, values[name])
            top = np.where(np.isfinite(top), top, 0.0)
            with np.errstate(divide="ignore"):
                found[name] = top + np.log(np.bincount(cells, np.exp(values[name] - top[cells]), count))
    return found


def log_sums(values: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(n,) logarithms of sums of exponentials of values (N,) over groups that begin at ``start`` and have ``size``."""
    top = np.maximum.reduceat(values, start)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return top + np.log(np.add.reduceat(np.exp(values - np.repeat(top, size)), start))


@dataclass
class Bins:
    """Sums by a whole number (a version, a lag) in bins, which widen so that there are never more than 512.

    Of ``logs`` the logarithms of sums of exponentials are kept.
    """

    names: tuple[str, ...]
    logs: tuple[str, ...] = ()
    width: int = 1
    _sums: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, keys: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Values (n,) of more groups, by name, added up by their keys (n,); a sum is NaN where it has no values."""
        bins, inverse = numbered(keys // self.width)
        if not len(bins):
            return
        added = summed(inverse, len(bins), values, self.logs)
        missing = np.full(len(bins), np.nan)
        columns = [added.get(name, missing) for name in (*self.names, *self.logs)]
        for key, row in zip(bins.tolist(), np.stack(columns, axis=-1), strict=True):
            self._sums[key] = self._merged(self._sums[key], row) if key in self._sums else row
        while len(self._sums) > BINS:
            self._widen()

    def _merged(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        plain = len(self.names)
        return np.concatenate([one[:plain] + two[:plain], np.logaddexp(one[plain:], two[plain:])])

    def _widen(self) -> None:
        self.width *= 2
        wider: dict[int, np.ndarray] = {}
        for key, row in self._sums.items():
            wider[key // 2] = self._merged(wider[key // 2], row) if key // 2 in wider else row
        self._sums = wider

    def rows(self) -> list[dict[str, float]]:
        """Sums of every bin, ascending; ``from`` and ``to`` are its first and last number."""
        return [
            {"from": key * self.width, "to": (key + 1) * self.width - 1}
            | {name: float(value) for name, value in zip((*self.names, *self.logs), self._sums[key], strict=True)}
            for key in sorted(self._sums)
        ]


@dataclass
class Fit:
    """The regression y = slope x + intercept over all samples, from sums that are merged without cancellation."""

    count: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """More samples (n,)."""
        if not len(x):
            return
        with np.errstate(over="ignore", invalid="ignore"):  # absurd numbers end as NaN
            self._merge(x, y)

    def _merge(self, x: np.ndarray, y: np.ndarray) -> None:
        mean_x, mean_y, total = float(x.mean()), float(y.mean()), self.count + len(x)
        dx, dy = x - mean_x, y - mean_y
        shift_x, shift_y, weight = mean_x - self.x, mean_y - self.y, self.count * len(x) / total
        self.xx += float((dx * dx).sum()) + shift_x * shift_x * weight
        self.yy += float((dy * dy).sum()) + shift_y * shift_y * weight
        self.xy += float((dx * dy).sum()) + shift_x * shift_y * weight
        self.x += shift_x * len(x) / total
        self.y += shift_y * len(x) / total
        self.count = total

    def to_dict(self) -> dict[str, float]:
        """Slope, intercept and R^2; NaN where x or y does not vary."""
        slope = self.xy / self.xx if self.xx > 0 else float("nan")
        r2 = (self.xy / self.xx) * (self.xy / self.yy) if self.xx > 0 and self.yy > 0 else float("nan")
        return {"samples": self.count, "slope": slope, "intercept": self.y - slope * self.x, "r2": r2}


@dataclass
class Top:
    """The groups of largest value."""

    count: int = TOP
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, values: np.ndarray, describe: Callable[[np.ndarray], list[dict[str, Any]]]) -> None:
        """Values (n,) of more groups; ``describe`` says what to keep of those that belong to the top."""
        least = self.rows[-1]["value"] if len(self.rows) == self.count else 0.0
        some = np.flatnonzero(values > least)
        if len(some) > self.count:
            some = some[np.argsort(-values[some], kind="stable")[: self.count]]
        if len(some):
            found = [row | {"value": float(values[index])} for index, row in zip(some, describe(some), strict=True)]
            self.rows = sorted(self.rows + found, key=lambda row: -row["value"])[: self.count]
