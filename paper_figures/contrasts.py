"""What the experiment of docs/experiment.md is judged by: contrasts, equivalence, trend, and shares of variance.

Outcomes are arrays (blocks, doses, weights, lags). A block is what is drawn anew: instances, or a seed; all cells of a
block share what can be shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import page_trend_test, rankdata, t

WEIGHTS = ("1", "min(ρ, 2)", "ρ")
LONG = (100, 400)
"""Lags of the contrasts."""

PRIMARY = (0.0, 1.0, 2.0)
"""Doses over which the effect of the weight is averaged."""


@dataclass(frozen=True)
class Crossing:
    """Outcomes of a complete crossing.

    Attributes:
        values: (blocks, doses, weights, lags).
        doses: ascending; 0, 1 and 2 are among them.
        lags: ascending.
    """

    values: np.ndarray
    doses: tuple[float, ...]
    lags: tuple[int, ...]

    def at(self, dose: float, weight: str, lags: Sequence[int]) -> np.ndarray:
        """Mean over these lags, (blocks,)."""
        places = [self.lags.index(lag) for lag in lags]
        return self.values[:, self.doses.index(dose), WEIGHTS.index(weight), places].mean(axis=-1)


@dataclass(frozen=True)
class Effect:
    """A mean over blocks.

    Attributes:
        mean: of it.
        half: half the width of its 95% interval (Student's); NaN for a single block.
        p: two-sided, for the mean being 0; NaN for a single block. Not adjusted.
        low, high: ends of the 90% interval, which is within the bounds of equivalence if two one-sided tests at 5%
            say so.
        blocks: how many.
    """

    mean: float
    half: float
    p: float
    low: float
    high: float
    blocks: int

    def equivalent(self, bound: float) -> bool:
        """Whether it is shown to be within ± bound."""
        return bool(-bound < self.low and self.high < bound)


def effect(values: np.ndarray) -> Effect:
    """Of one number per block (blocks,).

    >>> found = effect(np.array([0.01, 0.02, 0.03]))
    >>> round(found.mean, 3), round(found.half, 3), found.equivalent(0.04), found.equivalent(0.03)
    (0.02, 0.025, True, False)
    """
    blocks, mean = len(values), float(values.mean())
    if blocks < 2:
        return Effect(mean, np.nan, np.nan, np.nan, np.nan, blocks)
    error = float(values.std(ddof=1)) / blocks**0.5
    half, one_sided = t.ppf(0.975, blocks - 1) * error, t.ppf(0.95, blocks - 1) * error
    p = float(2 * t.sf(abs(mean) / error, blocks - 1)) if error > 0 else float(mean == 0)
    return Effect(mean, float(half), p, mean - float(one_sided), mean + float(one_sided), blocks)


def contrasts(found: Crossing, lags: Sequence[int] = LONG) -> dict[str, np.ndarray]:
    """The three of the plan, one number per block: what the dose does, what the weight does, their interaction."""
    at = {(dose, weight): found.at(dose, weight, lags) for dose in PRIMARY for weight in WEIGHTS}
    dose = {weight: at[1.0, weight] - at[0.0, weight] for weight in WEIGHTS}
    weight = [at[amount, "ρ"] - at[amount, "1"] for amount in PRIMARY]
    return {
        "dose": np.mean(list(dose.values()), axis=0),
        "weight": np.mean(weight, axis=0),
        "interaction": dose["1"] - dose["ρ"],
    }


def pairs(found: Crossing, lags: Sequence[int] = LONG) -> dict[str, np.ndarray]:
    """The comparisons that would refute the thesis, one number per block: what a cell has more than Lambert, h = 1."""
    plain = found.at(1.0, "1", lags)
    cells = {
        "nominal, h = 1": (0.0, "1"),
        "Lambert, h = min(ρ, 2)": (1.0, "min(ρ, 2)"),
        "Lambert, h = ρ": (1.0, "ρ"),
        "nominal, h = ρ": (0.0, "ρ"),
    }
    return {name: found.at(*cell, lags) - plain for name, cell in cells.items()}


def trend(found: Crossing, weight: str, lag: int) -> tuple[int, float]:
    """Page's test of the outcome over the doses in order: where the trend points (1: it rises), and two-sided p."""
    values = found.values[:, :, WEIGHTS.index(weight), found.lags.index(lag)]
    if len(values) < 2:
        return 0, np.nan
    up, down = (page_trend_test(ordered, method="asymptotic").pvalue for ordered in (values, values[:, ::-1]))
    return (1 if up < down else -1), float(min(1.0, 2 * min(up, down)))


def rank_correlation(outcome: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Spearman's correlation over the doses, (blocks, doses) each, for every block; 0 where one of them is constant.

    >>> rank_correlation(np.array([[1.0, 2.0, 3.0]]), np.array([[0.1, 0.5, 0.9]])).tolist()
    [1.0]
    """
    return np.array(
        [
            0.0 if np.ptp(one) == 0 or np.ptp(other) == 0 else np.corrcoef(rankdata(one), rankdata(other))[0, 1]
            for one, other in zip(outcome, measured, strict=True)
        ]
    )


def shares(means: np.ndarray, names: Sequence[str]) -> Mapping[str, float]:
    """Share of the sum of squares that each factor and each pair of factors has in a complete crossing of cell means.

    Args:
        means: one axis for every factor.
        names: of the factors.

    >>> shares(np.array([[0.0, 0.0], [1.0, 1.0]]), ["a", "b"])
    {'a': 1.0, 'b': 0.0, 'a x b': 0.0}
    """
    centered = means - means.mean()
    total = float((centered**2).sum())
    axes = range(means.ndim)

    def effects(kept: tuple[int, ...]) -> np.ndarray:
        return centered.mean(axis=tuple(axis for axis in axes if axis not in kept), keepdims=True)

    main = {axis: effects((axis,)) for axis in axes}
    found = {names[axis]: main[axis] for axis in axes}
    for one, other in combinations(axes, 2):
        found[f"{names[one]} x {names[other]}"] = effects((one, other)) - main[one] - main[other]
    return {name: float((np.broadcast_to(part, means.shape) ** 2).sum()) / total for name, part in found.items()}
