"""Groups of any sizes under one algorithm, and the totals over all groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any

import numpy as np

from ..algorithm import Algorithm
from ..standing import Account, Standing
from .groups import Groups
from .ratios import RatioTotals
from .statistics import KINDS, METHODS, REGIMES, Solved, Solver, by_sample
from .totals import Bins, Fit, Sample, Top, log_sums

STATISTICS = (
    "baseline",
    "normalizer",
    "kl",
    "nominal_kl",
    "kl_gap",
    "kl_share",
    "entropy_change",
    "nominal_entropy_change",
    "value_change",
    "nominal_value_change",
    "drive",
    "largest_log_ratio",
    "nominal_largest_log_ratio",
)
DRIFT = ("groups", *REGIMES, "no signal", "reward", "kl", "value_change", "realized_kl")
BY_PASSES = ("kl", "nominal_kl", "value_change", "drive", "normalizer")
PAIRS = 1 << 12
"""Samples that a picture of realized against predicted log-ratios shows."""

TABLES = {"regime": REGIMES, "kind": KINDS, "method": METHODS}


@dataclass(frozen=True)
class Measured:
    """A batch of n groups (N samples) under one algorithm.

    Attributes:
        solved: per group (n,); its ``log_ratio`` is (N,), sample by sample as in the batch.
        mean: (n,) mean reward.
        signal: (n,) whether rewards differ.
        kl_share: (n,) KL over log G, its largest value.
        largest_log_ratio: (n,).
        size: (n,) samples.
        held, claimed: (n,) the samples' summed probability under the behavior policy, and what it would be at
            $\\ell = A/\beta$; NaN without log-probabilities, or where the objective is no regression on completions.
    """

    solved: Solved
    mean: np.ndarray
    signal: np.ndarray
    kl_share: np.ndarray
    largest_log_ratio: np.ndarray
    size: np.ndarray
    log_held: np.ndarray
    log_claimed: np.ndarray

    def statistic(self, name: str) -> np.ndarray:
        """One of ``STATISTICS`` (n,)."""
        return getattr(self, name) if hasattr(self, name) else getattr(self.solved, name)

    @property
    def nominal_kl(self) -> np.ndarray:
        """(n,) of the nominal target, nats."""
        return self.solved.standing.nominal_kl

    @property
    def kl_gap(self) -> np.ndarray:
        """(n,) nominal minus induced, nats: how much more conservative the objective is than it claims."""
        induced, nominal = self.solved.standing.kl, self.solved.standing.nominal_kl
        with np.errstate(invalid="ignore"):
            return np.where(induced == nominal, 0.0, nominal - induced)

    @property
    def nominal_entropy_change(self) -> np.ndarray:
        """(n,) of the nominal target, nats."""
        return self.solved.standing.nominal_entropy - np.log(self.size)

    @property
    def nominal_value_change(self) -> np.ndarray:
        """(n,) of the nominal target, in units of reward."""
        return self.solved.standing.nominal_value - self.mean

    @property
    def nominal_largest_log_ratio(self) -> np.ndarray:
        """(n,) of the nominal target."""
        return self.solved.standing.nominal_largest


def measure(groups: Groups, solver: Solver, where: Callable[[int, int], str]) -> Measured:
    """What the solver's algorithm makes of every group.

    Raises:
        ValueError: rewards that it does not take, with the place of the group.
    """
    reward = groups.column("reward")
    size, start = groups.size, groups.start[:-1]
    count = len(groups)
    parts: dict[str, np.ndarray] = {}
    extra = {name: np.empty(count) for name in ("mean", "kl_share", "largest_log_ratio")}
    signal = np.empty(count, dtype=bool)
    log_ratio = np.empty(len(reward))
    standings: list[tuple[np.ndarray, Standing]] = []
    for samples in np.unique(size):
        chosen = np.flatnonzero(size == samples)
        rows = start[chosen][:, None] + np.arange(samples)
        rewards = reward[rows]
        try:
            found = solver(rewards)
        except solver.refusals as error:
            row = start[chosen[_first_refused(rewards, solver)]]
            file, place = (int(groups.column(name)[row]) for name in ("file", "place"))
            message = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"{where(file, place)}: {solver.algorithm.name}: {message}") from error
        standings.append((chosen, found.standing))
        for field in fields(Solved)[:-2]:
            values = getattr(found, field.name)
            parts.setdefault(field.name, np.empty(count, dtype=values.dtype))[chosen] = values
        log_ratio[rows] = found.log_ratio
        samplewise = by_sample(rewards)
        extra["mean"][chosen] = samplewise.mean(axis=0)
        extra["kl_share"][chosen] = found.kl / np.log(samples)
        extra["largest_log_ratio"][chosen] = by_sample(found.log_ratio).max(axis=0)
        signal[chosen] = samplewise.max(axis=0) > samplewise.min(axis=0)
    order = np.argsort(np.concatenate([chosen for chosen, _ in standings]), kind="stable")
    standing = reduce(Standing.joined, [part for _, part in standings]).take(order)
    solved = Solved(**parts, standing=standing, log_ratio=log_ratio)
    return Measured(solved, signal=signal, size=size, **extra, **sampled_mass(groups, solver.algorithm, solved))


def sampled_mass(groups: Groups, algorithm: Algorithm, solved: Solved) -> dict[str, np.ndarray]:
    r"""What groups hold of a world with more completions than their samples; see :class:`Measured`.

    Advantages are read off the target, which solves $\beta x + \lambda e^x = A$. Equal samples count each for itself,
    so that both sums are upper bounds.
    """
    behavior = groups.get("log_prob")
    if behavior is None or algorithm.beta is None or algorithm.level != "sequence":
        return dict.fromkeys(("log_held", "log_claimed"), np.full(len(groups), np.nan))
    x, kappa = solved.log_ratio, np.repeat(solved.normalizer / algorithm.beta, groups.size)
    sums = {"log_held": behavior, "log_claimed": behavior + x + kappa * np.exp(x)}
    return {name: log_sums(values, groups.start[:-1], groups.size) for name, values in sums.items()}


def _first_refused(rewards: np.ndarray, solver: Solver) -> int:
    for index in range(len(rewards)):
        try:
            solver(rewards[index : index + 1])
        except solver.refusals:
            return index
    return 0


class AlgorithmTotals:
    """Totals of one algorithm."""

    def __init__(self) -> None:
        self.codes = {name: np.zeros(len(table), dtype=np.int64) for name, table in TABLES.items()}
        self.with_signal = np.zeros(len(REGIMES), dtype=np.int64)
        self.sums: dict[str, float] = dict.fromkeys((*STATISTICS, "lost"), 0.0)
        self.sample = Sample(STATISTICS)
        self.by_version, self.by_lag = Bins(DRIFT), Bins(DRIFT)
        self.pooled, self.within = Fit(), Fit()
        self.pairs = Sample(("predicted", "realized"), PAIRS)
        self.top = Top()
        self.open = self.weighed = 0
        self.factors = Sample(("nats",))
        self.account = Account()

    def add(self, groups: Groups, measured: Measured) -> None:
        """One more batch."""
        self.account.add(measured.solved.standing)
        for name, counts in self.codes.items():
            counts += np.bincount(getattr(measured.solved, name), minlength=len(counts))
        self.with_signal += np.bincount(measured.solved.regime[measured.signal], minlength=len(REGIMES))
        values = {name: measured.statistic(name) for name in STATISTICS}
        for name, column in values.items():
            self.sums[name] += float(column[np.isfinite(column)].sum())
        self.sample.add({name: column[measured.signal] for name, column in values.items()})
        self._add_drift(groups, measured)
        self._add_realized(groups, measured)
        self._add_leakage(measured)
        self.top.add(measured.solved.drive, lambda chosen: _described(groups, measured, chosen))

    def _add_drift(self, groups: Groups, measured: Measured) -> None:
        first = groups.start[:-1]
        version, step = (
            None if (column := groups.get(name)) is None else column[first] for name in ("version", "step")
        )
        regime = measured.solved.regime
        values = {name: (regime == code).astype(float) for code, name in enumerate(REGIMES)} | {
            "groups": np.ones(len(groups)),
            "no signal": (~measured.signal).astype(float),
            "reward": measured.mean,
            "kl": measured.solved.kl,
            "value_change": measured.solved.value_change,
            "realized_kl": realized_kl(groups),
        }
        when = step if version is None else version
        if when is not None:
            self.by_version.add(when, values)
        if version is not None and step is not None:
            self.by_lag.add(step - version, values)

    def _add_realized(self, groups: Groups, measured: Measured) -> None:
        behavior, current = groups.get("log_prob"), groups.get("current_log_prob")
        if behavior is None or current is None:
            return
        predicted, realized = measured.solved.log_ratio, current - behavior
        kept = np.isfinite(predicted)
        self.sums["lost"] += float((~kept).sum())
        self.pooled.add(predicted[kept], realized[kept])
        self.pairs.add({"predicted": predicted[kept], "realized": realized[kept]})
        owner = np.repeat(np.arange(len(groups)), groups.size)[kept]
        count = np.bincount(owner, minlength=len(groups))

        def centered(values: np.ndarray) -> np.ndarray:
            mean = (np.bincount(owner, values, len(groups)) / np.maximum(count, 1))[owner]
            return np.where(np.abs(values - mean) > 1e-12 * np.abs(mean), values - mean, 0.0)  # else rounding

        self.within.add(centered(predicted[kept]), centered(realized[kept]))

    def _add_leakage(self, measured: Measured) -> None:
        known = measured.signal & ~np.isnan(measured.log_claimed)
        open_ = known & (measured.log_claimed < 0)
        self.weighed += int(known.sum())
        self.open += int(open_.sum())
        self.factors.add({"nats": measured.log_claimed[open_] - measured.log_held[open_]})


class Passes:
    """Groups of 0/1 rewards by size and completions that pass, which decide a target; nothing once there are others."""

    def __init__(self) -> None:
        self.binary = True
        self._groups: dict[tuple[int, int], int] = {}
        self._made: dict[tuple[int, int], list[dict[str, Any]]] = {}

    def add(self, groups: Groups, measured: Sequence[Measured]) -> None:
        """More groups."""
        reward = groups.column("reward")
        if not self.binary or not ((reward == 0) | (reward == 1)).all():
            self.binary = False
            return
        passed = np.add.reduceat(reward, groups.start[:-1]).astype(np.int64)
        width = int(groups.size.max()) + 1
        keys, first, counts = np.unique(groups.size * width + passed, return_index=True, return_counts=True)
        for key, index, count in zip(keys.tolist(), first.tolist(), counts.tolist(), strict=True):
            where = divmod(key, width)
            self._groups[where] = self._groups.get(where, 0) + count
            if where not in self._made:
                self._made[where] = [_of(part, index) for part in measured]

    def rows(self, algorithm: int) -> list[dict[str, Any]]:
        """Of one algorithm, by size and passes; none where rewards have other values."""
        if not self.binary:
            return []
        return [
            {
                "size": size,
                "passes": passes,
                "groups": self._groups[size, passes],
                **self._made[size, passes][algorithm],
            }
            for size, passes in sorted(self._groups)
        ]


def _of(measured: Measured, index: int) -> dict[str, Any]:
    found: dict[str, Any] = {name: float(measured.statistic(name)[index]) for name in BY_PASSES}
    return found | {"regime": REGIMES[measured.solved.regime[index]]}


class Totals:
    """Totals of the log itself, and of every algorithm on it."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.algorithms = [AlgorithmTotals() for _ in names]
        self.groups = self.rows = self.silent = 0
        self.sizes: Counter[int] = Counter()
        self.sample = Sample(("reward", "length", "realized_kl"))
        self.ranges: dict[str, tuple[float, float]] = {}
        self.ratios = RatioTotals()
        self.passes = Passes()

    def add(self, groups: Groups, measured: Sequence[Measured]) -> None:
        """One more batch, under every algorithm."""
        size = groups.size
        self.ratios.add(groups)
        self.passes.add(groups, measured)
        self.groups += len(groups)
        self.rows += int(size.sum())
        self.silent += int((~measured[0].signal).sum())
        values, counts = np.unique(size, return_counts=True)
        self.sizes.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        length = _means(groups, groups.get("length"))
        self.sample.add({"reward": measured[0].mean, "length": length, "realized_kl": realized_kl(groups)})
        for name in ("reward", "version", "step"):
            if (column := groups.get(name)) is not None:
                low, high = self.ranges.get(name, (np.inf, -np.inf))
                self.ranges[name] = (min(low, float(column.min())), max(high, float(column.max())))
        for totals, part in zip(self.algorithms, measured, strict=True):
            totals.add(groups, part)


def realized_kl(groups: Groups) -> np.ndarray:
    r"""$E_\mu[-\ell]$ estimating $\mathrm{KL}(\mu\|\pi)$ to the policy now; NaN if not logged."""
    behavior, current = groups.get("log_prob"), groups.get("current_log_prob")
    return _means(groups, None if behavior is None or current is None else behavior - current)


def _means(groups: Groups, column: np.ndarray | None) -> np.ndarray:
    if column is None:
        return np.full(len(groups), np.nan)
    return np.add.reduceat(column, groups.start[:-1]) / groups.size


def _described(groups: Groups, measured: Measured, chosen: np.ndarray) -> list[dict[str, Any]]:
    file, place = (groups.column(name)[groups.start[:-1]] for name in ("file", "place"))
    return [
        {
            "group": name,
            "file": int(file[index]),
            "place": int(place[index]),
            "size": int(groups.size[index]),
            "reward": float(measured.mean[index]),
            "regime": REGIMES[measured.solved.regime[index]],
            "kl": float(measured.solved.kl[index]),
        }
        for name, index in zip(groups.names(chosen), chosen.tolist(), strict=True)
    ]
