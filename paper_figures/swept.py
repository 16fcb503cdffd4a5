"""Results of sweeps as arrays, and what figures make of them: worlds are the independent draws, seeds repeat them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
from scipy.special import logit
from scipy.stats import t

import pessimism as ps
from pessimism.solve import entropy, expectation

CONFIDENCE = 0.95
"""Of every interval."""


def cells(table: pl.DataFrame) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    """The cells of a sweep in its order: what is the same in all rows of one (and more), and its rows."""
    for cell in table.partition_by("cell", maintain_order=True):
        yield cell.row(0, named=True), cell


def runs(cell: pl.DataFrame, column: str) -> np.ndarray:
    """A column of one cell as an array (records, seeds, worlds)."""
    shape = [cell[name].n_unique() for name in ("sync", "seed", "world")]
    return cell[column].to_numpy().reshape(shape)


def per_world(values: np.ndarray) -> np.ndarray:
    """Means over the seeds (..., seeds, worlds) that have a value, NaN for a world in which none has one."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=-2) / known.sum(axis=-2)


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over worlds (..., worlds) and half the width of its Student-t interval.

    >>> mean, half = interval(np.array([1.0, 2.0, 3.0]))
    >>> float(mean), round(float(half), 3)
    (2.0, 2.484)
    """
    worlds = values.shape[-1]
    error = values.std(axis=-1, ddof=1) / np.sqrt(worlds)
    return values.mean(axis=-1), t.ppf((1 + CONFIDENCE) / 2, worlds - 1) * error


def start(bandit: ps.Bandit) -> tuple[np.ndarray, np.ndarray]:
    """Value and entropy of the behavior policy that runs start from, one for each world."""
    found = expectation(bandit.behavior, bandit.reward), entropy(bandit.behavior)
    value, left = (array.reshape(-1) for array in found)
    return value, left


Population = Callable[[np.ndarray], np.ndarray]
"""value (..., worlds) -> entropy (..., worlds)."""


def population_entropy(bandit: ps.Bandit) -> Population:
    r"""Entropy of the tilted behavior policy that has a given value, world by world.

    With two levels of reward every ideal recursion of a log-ratio regression moves along these policies,
    $\pi\propto\mu\,e^{r/\tau}$, whatever its baseline: they have the most entropy relative to $\mu$ at their value.

    Args:
        bandit: batch shape (worlds, 1); two rewards, 0 and 1, in every world.
    """
    temperatures = np.geomspace(1e3, 1 / 40, 400)[:, None, None]
    shape = (len(temperatures), *bandit.reward[:, 0].shape)
    tempered = ps.Bandit(np.broadcast_to(bandit.behavior[:, 0], shape), bandit.reward[:, 0] / temperatures)
    policies = ps.nominal_target(tempered, ps.algorithm("opmd", tau=1.0)).policy
    values, entropies = logit(expectation(policies, bandit.reward[:, 0])), entropy(policies)

    def at(value: np.ndarray) -> np.ndarray:
        wanted = logit(np.clip(value, 1e-15, 1 - 1e-15))
        columns = [
            np.interp(wanted[..., world], values[:, world], entropies[:, world]) for world in range(values.shape[1])
        ]
        return np.stack(columns, axis=-1)

    return at


def entropy_at(
    level: float, value: np.ndarray, left: np.ndarray, begin: tuple[np.ndarray, np.ndarray], population: Population
) -> np.ndarray:
    """Entropy of runs where their value first reaches a level, (seeds, worlds); NaN for runs that never do.

    Between two records what is lost against the population's entropy is interpolated, linearly in the logit of the
    value: a run that loses nothing gets exactly the population's entropy, however far its records are apart.

    Args:
        level: above the value at the start.
        value, left: (records, seeds, worlds), value and entropy.
        begin: value and entropy at the start, (worlds,) each.
        population: see :func:`population_entropy`.
    """
    shape = (1, *value.shape[1:])
    value = np.concatenate([np.broadcast_to(begin[0], shape), value])
    lost = population(value) - np.concatenate([np.broadcast_to(begin[1], shape), left])
    reached = value >= level
    after = np.maximum(reached.argmax(axis=0), 1)[None]
    (low, high), (before, then) = (
        [np.take_along_axis(array, index, axis=0)[0] for index in (after - 1, after)]
        for array in (logit(np.clip(value, 1e-15, 1 - 1e-15)), lost)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (logit(level) - low) / (high - low)
        at = population(np.full(value.shape[1:], level)) - (before + share * (then - before))
    return np.where(reached.any(axis=0), at, np.nan)
