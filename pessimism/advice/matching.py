"""Matching: the value of a parameter at which an objective moves the policy as far as asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..algorithm import Algorithm
from ..compare import compare_group
from ..compare import measure as measure_policy
from ..objectives.catalogue import catalogue
from ..objectives.entry import Parameter
from ..shell.objects import algorithm_of, split_settings
from ..standing import Standing
from ..targets import group_bandit, group_target
from .pool import Pool

OPEN = "?"
"""Stands for the parameter that is asked for, as in ``shifted_mean:beta=?``."""

MEASURES = {
    "kl": "mean KL(pi|mu) of the groups with signal, nats",
    "ess": "effective sample size of the groups with signal together",
    "max_ratio": "largest ratio of any sample",
}
GRID = 11
"""Values over five decades at which the movement is looked at before the search."""

GENTLE = 10.0
"""Size, in spreads of the reward, at which the sign of a parameter that may have both is chosen."""

FEW = 64
"""Distinct groups for objectives without a closed form, whose targets take milliseconds each."""

DECADES = (-3.0, 2.0)
STEPS = 40
ACCURATE = 1e-4
"""Relative accuracy of the movement that is found."""


@dataclass(frozen=True)
class Asked:
    """The movement that is asked for: one of ``MEASURES`` and its value."""

    measure: str
    value: float

    def __post_init__(self) -> None:
        low, high = {"kl": (0.0, np.inf), "ess": (0.0, 1.0), "max_ratio": (1.0, np.inf)}[self.measure]
        if not low < self.value < high:
            raise ValueError(f"{self.measure} is {self.value!r}; it must be above {low:g} and below {high:g}")

    def excess(self, movement: float) -> float:
        """Above 0 where a movement is larger than asked, whatever the measure."""
        if self.measure == "ess":
            return float(np.log(self.value) - np.log(max(movement, 1e-300)))
        return float(np.log(max(movement, 1e-300)) - np.log(self.value))


@dataclass(frozen=True)
class Family:
    """An objective with one parameter left open.

    Attributes:
        text: as it was given.
        names: the open parameter, or several that get the same value.
        low, high: what the parameter may be, both excluded.
    """

    text: str
    names: tuple[str, ...]
    low: float
    high: float

    @classmethod
    def read(cls, text: str) -> Family:
        """The family that a text writes.

        Raises:
            ValueError: no parameter is open, or text that names no objective.

        >>> Family.read("oapl:beta1=1,beta2=?").names
        ('beta2',)
        """
        name, settings = split_settings(text)
        names = tuple(setting.partition("=")[0].strip() for setting in settings if setting.partition("=")[2] == OPEN)
        if not names:
            raise ValueError(
                f"{text!r}: no parameter is open; write {OPEN} for its value, as in shifted_mean:beta={OPEN}"
            )
        entry = catalogue().get(name)
        known: list[Parameter] = [] if entry is None else [entry.parameters[n] for n in names if n in entry.parameters]
        low = max([part.low for part in known], default=0.0)
        high = min([part.high for part in known], default=np.inf)
        family = cls(text, names, low, high)
        family.at(0.5 if high <= 1 else 1.0)  # says what else is wrong with it
        return family

    def at(self, value: float) -> Algorithm:
        """The objective with this value."""
        return algorithm_of(self.text.replace(f"={OPEN}", f"={float(value)!r}"), f"{self.text!r}: ")

    def values(self, spread: float, sign: float = 1.0) -> np.ndarray:
        """Values of one sign to look at, ascending in size, for rewards of that spread."""
        values = sign * np.logspace(*DECADES, GRID) * spread
        return values[(values > self.low) & (values < self.high)]


@dataclass(frozen=True)
class Measured:
    """An objective on a pool: its standings, distinct group by distinct group, and how far it moves in all.

    Attributes:
        standing: of each distinct group with signal.
        chi2: of each.
        weights: the share of each.
    """

    standing: Standing
    chi2: np.ndarray
    weights: np.ndarray

    def movement(self, measure: str) -> float:
        """One of ``MEASURES``."""
        return _movement(measure, self.weights, self.standing.kl, self.chi2, self.standing.largest)

    def mean(self, values: np.ndarray) -> float:
        """Mean over the groups with signal."""
        return float(self.weights @ values)


def measured(pool: Pool, algorithm: Algorithm) -> Measured:
    """The objective on every distinct group of a pool, each solved once."""
    standings, chi2 = [], []
    for rows in pool.rewards.values():
        comparison = compare_group(rows, algorithm)
        standings.append(Standing.of(comparison))
        chi2.append(np.atleast_1d(comparison.induced_metrics.chi2))
    standing = standings[0]
    for other in standings[1:]:
        standing = standing.joined(other)
    return Measured(standing, np.concatenate(chi2), pool.weights)


def movement(pool: Pool, algorithm: Algorithm, measure: str) -> float:
    """How far the objective moves the groups of a pool: one of ``MEASURES``, from the induced targets alone."""
    kl, chi2, largest = [], [], []
    for rows in pool.rewards.values():
        target = group_target(rows, algorithm)
        metrics = measure_policy(group_bandit(rows), target.policy, target.log_policy)
        kl.append(metrics.kl)
        chi2.append(metrics.chi2)
        largest.append(target.log_policy.max(axis=-1) + np.log(rows.shape[-1]))
    return _movement(measure, pool.weights, *map(np.concatenate, (kl, chi2, largest)))


def _movement(measure: str, weights: np.ndarray, kl: np.ndarray, chi2: np.ndarray, largest: np.ndarray) -> float:
    if measure == "kl":
        return float(weights @ kl)
    if measure == "ess":
        return float(1 / (1 + weights @ chi2))
    with np.errstate(over="ignore"):
        return float(np.exp(largest.max()))


@dataclass(frozen=True)
class Match:
    """Where a family moves as far as asked.

    Attributes:
        value: of the open parameter; None where none does.
        gentler, stronger: values at which it moves half and twice as far, None beyond the values that were looked at.
        reach: least and largest movement over the values that were looked at.
        found: the objective there.
        pool: the groups that it was looked at on.
    """

    value: float | None
    gentler: float | None
    stronger: float | None
    reach: tuple[float, float]
    found: Measured | None
    pool: Pool


def match(pool: Pool, family: Family, asked: Asked) -> Match:
    """The value, nearest the end at which nothing moves, at which the family moves as far as asked.

    The movement is looked at on a grid, and a sign change of its excess is then halved in the logarithm of the value;
    no monotonicity is needed. Where a coefficient jumps the movement may jump over what is asked: none is found then.
    """
    if family.at(1.0 if family.high > 1 else 0.5).induced is None:
        pool = pool.thinned(FEW)

    def moved(value: float) -> float:
        return movement(pool, family.at(value), asked.measure)

    side = family.values(pool.spread, gentle_sign(pool, family))
    movements = np.array([moved(value) for value in side])
    excess = np.array([asked.excess(movement) for movement in movements])
    reach = (float(movements[excess.argmin()]), float(movements[excess.argmax()]))
    order = np.arange(len(side)) if excess[0] < excess[-1] else np.arange(len(side))[::-1]  # from where nothing moves
    value = _root(pool, family, asked, side[order], excess[order])
    if value is None:
        return Match(None, None, None, reach, None, pool)
    found = measured(pool, family.at(value))
    if abs(asked.excess(found.movement(asked.measure))) > 0.02:  # it jumps over
        return Match(None, None, None, reach, None, pool)
    gentler, stronger = (_crossing(side[order], _scaled(asked, movements[order], factor)) for factor in (0.5, 2.0))
    return Match(value, gentler, stronger, reach, found, pool)


def gentle_sign(pool: Pool, family: Family) -> float:
    r"""The sign at which a parameter that may have both holds back: $E_\mu[c]$ is the larger where training begins."""
    if family.low >= 0:
        return 1.0
    pulls = []
    for sign in (1.0, -1.0):
        algorithm = family.at(sign * GENTLE * pool.spread)
        pull = 0.0
        for size, rows in pool.rewards.items():
            weights = algorithm.weights(np.full(rows.shape, 1 / size))
            start = algorithm.coefficient(np.zeros_like(rows), algorithm.advantage(rows), **weights)
            pull += float(pool.counts[size] @ np.broadcast_to(start, rows.shape).mean(axis=-1))
        pulls.append(pull)
    return 1.0 if pulls[0] >= pulls[1] else -1.0


def _scaled(asked: Asked, movements: np.ndarray, factor: float) -> np.ndarray:
    """Excess over ``factor`` times the movement that is asked for; of ESS, of 1/ESS - 1, and of a ratio, of its log."""
    if asked.measure == "kl":
        goal = Asked("kl", asked.value * factor)
    elif asked.measure == "ess":
        goal = Asked("ess", 1 / (1 + factor * (1 / asked.value - 1)))
    else:
        goal = Asked("max_ratio", asked.value**factor)
    return np.array([goal.excess(movement) for movement in movements])


def _crossing(values: np.ndarray, excess: np.ndarray) -> float | None:
    """Where the excess first changes sign, interpolated in the logarithm of the value."""
    up = np.flatnonzero((excess[:-1] < 0) & (excess[1:] >= 0))
    if not len(up):
        return None
    low, high = up[0], up[0] + 1
    share = -excess[low] / (excess[high] - excess[low])
    return float(values[low] * (values[high] / values[low]) ** share)


def _root(pool: Pool, family: Family, asked: Asked, values: np.ndarray, excess: np.ndarray) -> float | None:
    up = np.flatnonzero((excess[:-1] < 0) & (excess[1:] >= 0))
    if not len(up):
        return None
    low, high = float(values[up[0]]), float(values[up[0] + 1])
    below, above = float(excess[up[0]]), float(excess[up[0] + 1])
    for step in range(STEPS):
        # Regula falsi in the logarithm of the value, halved every third step, where it could creep.
        share = 0.5 if step % 3 == 2 or not np.isfinite(above - below) else -below / (above - below)
        middle = low * (high / low) ** min(max(share, 0.01), 0.99)
        missed = asked.excess(movement(pool, family.at(middle), asked.measure))
        if abs(missed) < ACCURATE:
            return middle
        if missed < 0:
            low, below = middle, missed
        else:
            high, above = middle, missed
    return low
