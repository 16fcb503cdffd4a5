"""What is recorded of a run, sync by sync."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import pessimism as ps
from pessimism.display import brief_html, long_frame, plain_values, value_text
from pessimism.shell import near, need
from pessimism.solve import chi_squared, entropy, expectation, kl, reverse_kl

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

__all__ = ["RECORDED", "SUPPORT", "Record", "Recorder", "Trajectory", "describe", "first_seeds", "join"]

SUPPORT = 1e-6
"""Arms with less probability than this are not counted as support."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    r"""Recorded syncs of lagged learning. Arrays are (records, seeds, ...), with ... the bandit's batch shape.

    A record holds the policy $\pi$ at the end of a window, seen from the policy $\mu$ that the window started from.
    A run that diverges is NaN from the sync on in which its policy left the range of floating point; others go on.

    Attributes:
        sync: (records,), number of the window, from 1.
        value: $E_\pi r$, true rewards.
        entropy: $H(\pi)$, nats.
        kl, reverse_kl: $\mathrm{KL}(\pi\|\mu)$ and $\mathrm{KL}(\mu\|\pi)$, nats.
        chi2: $E_\mu(\rho - 1)^2$.
        ess: $1/E_\mu\rho^2$, effective sample size as a share of the samples.
        max_ratio: $\max\rho$.
        support: number of arms with $\pi > 10^{-6}$.
        normalizer: $\lambda = E[c]$ at $\pi$, averaged over the groups of the window.
        positive, boundary, negative: share of those groups in each regime; NaN for objectives without regimes.
        induced_distance, nominal_distance: total variation between $\pi$ and $\mu$'s target; None if not asked for.
        policy: (seeds, ..., K), at the end.
        diverged: (seeds, ...), the first sync in which a run left the range of floating point; 0: never.
    """

    sync: np.ndarray
    value: np.ndarray
    entropy: np.ndarray
    kl: np.ndarray
    reverse_kl: np.ndarray
    chi2: np.ndarray
    ess: np.ndarray
    max_ratio: np.ndarray
    support: np.ndarray
    normalizer: np.ndarray
    positive: np.ndarray
    boundary: np.ndarray
    negative: np.ndarray
    induced_distance: np.ndarray | None
    nominal_distance: np.ndarray | None
    policy: np.ndarray
    diverged: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Every array as nested lists; NaN stays NaN."""
        return plain_values({each.name: getattr(self, each.name) for each in fields(self)})

    def to_polars(self) -> pl.DataFrame:
        """A line for every record of every seed (and bandit of the batch, counted by ``row``).

        The policies at the end, which are not recorded sync by sync, are left out.

        Raises:
            ValueError: polars is not installed.
        """
        records, seeds, *_ = self.value.shape
        rows = self.value[0, 0].size
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        by_record = {n: a.reshape(records, seeds, rows) for n, a in columns.items() if n in RECORDED and a is not None}
        frame = long_frame({"record": records, "seed": seeds, "row": rows}, {"sync": self.sync} | by_record)
        return frame.drop("record") if self.value.ndim > 2 else frame.drop("record", "row")

    def plot(self, name: str = "value") -> Figure:
        """One recorded quantity against the syncs: its mean over everything, and a band from the lowest to the highest
        run, as a matplotlib figure.

        Args:
            name: "value", "kl", "entropy" or another recorded attribute.

        Raises:
            ValueError: matplotlib is not installed, or nothing of that name was recorded.
        """
        need("plots", "matplotlib")
        from matplotlib.figure import Figure

        recorded = [each for each in RECORDED if getattr(self, each) is not None]
        if name not in recorded:
            raise ValueError(f"no {name!r} was recorded; {near(name, recorded)}")
        runs = getattr(self, name).reshape(len(self.sync), -1)
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        axes.fill_between(self.sync, runs.min(axis=1), runs.max(axis=1), alpha=0.25, linewidth=0)
        axes.plot(self.sync, runs.mean(axis=1), label=f"mean of {runs.shape[1]} runs; band: lowest to highest")
        axes.set_xlabel("sync")
        axes.set_ylabel(name.replace("_", " "))
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
        axes.spines[["top", "right"]].set_visible(False)
        return figure

    def _contents(self) -> dict[str, Any]:
        last = {n: float(getattr(self, n)[-1].mean()) for n in ("value", "kl", "entropy")}
        diverged = int((self.diverged > 0).sum())
        return {"runs": self._shape(), "at the end": last} | ({"diverged": diverged} if diverged else {})

    def _shape(self) -> str:
        runs, *contexts, arms = self.policy.shape
        return f"{len(self.sync)} records, {runs} seeds, batch shape {tuple(contexts)}, {arms} arms"

    def __repr__(self) -> str:
        return f"Trajectory({self._shape()}; at the end: {value_text(self._contents()['at the end'])})"

    _repr_html_ = brief_html


RECORDED = tuple(each.name for each in fields(Trajectory) if each.name not in ("sync", "policy", "diverged"))
"""What is recorded of every window."""


Record = dict[str, np.ndarray]
"""Some of a trajectory's arrays, for one record."""


def describe(bandit: ps.Bandit, policy: np.ndarray, log_policy: np.ndarray) -> Record:
    """How a policy (R, K) looks from the behavior policy of a bandit with batch shape (R,)."""
    played = bandit.behavior > 0
    log_ratio = np.where(played, log_policy - np.where(played, bandit.log_behavior, 0.0), -np.inf)
    with np.errstate(over="ignore"):
        chi2 = chi_squared(log_ratio, bandit.behavior)
        max_ratio = np.exp(log_ratio.max(axis=-1))
    return {
        "value": expectation(policy, bandit.reward),
        "entropy": entropy(policy),
        "kl": kl(log_ratio, bandit.behavior),
        "reverse_kl": reverse_kl(log_ratio, bandit.behavior),
        "chi2": chi2,
        "ess": 1 / (1 + chi2),
        "max_ratio": max_ratio,
        "support": (policy > SUPPORT).sum(axis=-1).astype(float),
    }


class Recorder:
    """Records of a known number, each written into its place as it comes."""

    def __init__(self, records: int) -> None:
        self.sync = np.zeros(records, dtype=int)
        self.arrays: Record = {}
        self._kept = 0

    def add(self, sync: int, record: Record) -> None:
        """Keep a record, whose arrays are of one shape."""
        if not self.arrays:
            self.arrays = {name: np.empty((len(self.sync), *array.shape)) for name, array in record.items()}
        self.sync[self._kept] = sync
        for name, array in record.items():
            self.arrays[name][self._kept] = array
        self._kept += 1

    def trajectory(self, shape: tuple[int, ...], policy: np.ndarray, diverged: np.ndarray) -> Trajectory:
        """All records, their arrays in the given shape (seeds, ...); NaN for runs from where they diverged."""
        arrays = dict.fromkeys(RECORDED) | {n: array.reshape(-1, *shape) for n, array in self.arrays.items()}
        policy, diverged = policy.reshape(*shape, -1), diverged.reshape(shape)
        policy[diverged > 0] = np.nan
        after = (diverged > 0) & (self.sync.reshape(-1, *(1 for _ in shape)) >= diverged)
        for array in arrays.values():
            if array is not None:
                array[after] = np.nan
        return Trajectory(sync=self.sync, policy=policy, diverged=diverged, **arrays)  # type: ignore[arg-type]


def first_seeds(run: Trajectory, seeds: int) -> Trajectory:
    """The first few seeds of a trajectory."""
    arrays = {field.name: getattr(run, field.name) for field in fields(Trajectory)}
    cut = {name: arrays.pop(name)[:seeds] for name in ("policy", "diverged")} | {"sync": arrays.pop("sync")}
    cut |= {name: array if array is None else array[:, :seeds] for name, array in arrays.items()}
    return replace(run, **cut)


def join(parts: Sequence[Trajectory], axis: int = 0) -> Trajectory:
    """Trajectories of different seeds as one; of different bandits of a batch, if ``axis`` is theirs (from 1 on)."""
    if len(parts) == 1:
        return parts[0]
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Trajectory)}
    del columns["sync"]
    joined = {name: np.concatenate(columns.pop(name), axis=axis) for name in ("policy", "diverged")}
    joined |= {n: np.concatenate(arrays, axis=axis + 1) for n, arrays in columns.items() if arrays[0] is not None}
    return replace(parts[0], **joined)
