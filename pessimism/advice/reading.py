"""What advice reads from a log: distinct groups, distances by lag, and how much of the policy its samples are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..audit.checks import Skipped
from ..audit.groups import Groups
from ..audit.ratios import RatioTotals, ratio_sentences
from ..audit.run import log_groups, logs_of
from ..shell.objects import algorithm_of
from .pool import Pool, PoolBuilder

LOOKED_AT = 4096
"""Groups with log-probabilities that are kept to weigh leakage."""


@dataclass
class Reading:
    """A log, read once.

    Attributes:
        pool: its distinct groups.
        ratios: distances, as in ``pessimism.audit.ratios``, or None.
        samples: rewards and log-probabilities of the first groups of one size with signal, or None.
        length: mean tokens of a completion, or None.
        skipped: what was left out.
        share: of the log's groups, drawn at random, that was read.
    """

    pool: Pool
    ratios: dict[str, Any] | None
    samples: tuple[np.ndarray, np.ndarray] | None
    length: float | None
    skipped: Skipped = field(default_factory=Skipped)
    share: float = 1.0

    @property
    def warnings(self) -> list[str]:
        """What the log itself warns of."""
        found = [text for text in ratio_sentences(self.ratios) if text.startswith("Shift")]
        if self.share < 1:
            found.append(f"Of the log {self.share:.2%} of the groups were looked at, drawn at random.")
        return [*found, *([f"{self.skipped.described()}."] if self.skipped.groups else [])]

    def lag_sentences(self, bound: float) -> list[str]:
        """At which age the effective sample size falls below a bound."""
        if self.ratios is None:
            return ["The log has no current log-probabilities, so it does not say how old data are used."]
        rows = self.ratios["by_lag"]
        everything = self.ratios["all"]["sequence"]
        found = [
            f"Between sampling and now the policy moved {everything['k3']:.3g} nats (k3), ESS {everything['ess']:.1%}."
        ]
        if len(rows) < 2:
            return [*found, "It has not both a version and a step of each sample, so nothing is said by age."]
        old = [row for row in rows if row["sequence"]["ess"] < bound]
        if not old:
            return [*found, f"At no age up to {rows[-1]['to']:.0f} is the effective sample size below {bound:.0%}."]
        first = old[0]
        tokens = ""
        if "token" in first:
            held = first["token"]["ess"] >= bound
            tokens = (
                f" Of tokens it is {first['token']['ess']:.0%}: a correction per token {'can' if held else 'cannot'} "
                "carry that, one per completion cannot."
            )
        return [
            *found,
            f"At age {first['from']:.0f} the effective sample size of completions is {first['sequence']['ess']:.1%}, "
            f"below {bound:.0%}: from there on the objective's own pull to the behavior policy must carry the lag."
            + tokens,
        ]

    def leakage_sentences(self, algorithm: str) -> list[str]:
        """How often the samples would not fill the simplex at log-ratios A/beta."""
        if self.samples is None:
            return ["The log has no behavior log-probabilities, so leakage to unsampled completions is not weighed."]
        made = algorithm_of(algorithm)
        if made.beta is None or made.level != "sequence":
            return []
        reward, log_prob = self.samples
        held = np.logaddexp.reduce(log_prob, axis=-1)
        claimed = np.logaddexp.reduce(log_prob + made.advantage(reward) / made.beta, axis=-1)
        open_ = float((claimed < 0).mean())
        if open_ <= 0.01:
            return []
        return [
            f"Leakage: in {open_:.1%} of {len(held):,} groups the samples are so small a share of what can be said "
            f"(log-probability {np.median(held):.3g} nats together, median) that at the log-ratios A/beta they do not "
            "fill the simplex. There training drives log-ratios to A/beta, not as far as said above."
        ]


def read_log(log: Any, columns: Mapping[str, str], progress: Any = None, share: float = 1.0) -> Reading:
    """Everything that advice needs, in one pass where a group's rows are together.

    Args:
        log: as for :func:`pessimism.audit`.
        columns: role -> column, where the log has other names.
        progress: called with (percent, 100, what is being done).
        share: of the groups, drawn at random, that is read.

    Raises:
        ValueError: files that cannot be read, or without any signal.
    """
    reader = Reader()
    skipped = log_groups(logs_of(log), columns, reader.restart, progress, share)
    return reader.reading(skipped, share)


class Reader:
    """Keeps what advice needs of the groups that go by.

    Args:
        distances: whether those by lag are added up here, or known otherwise.
    """

    def __init__(self, distances: bool = True) -> None:
        self.distances = distances
        self.restart()

    def restart(self) -> Reader:
        """A pass begins."""
        self.pools, self.ratios = PoolBuilder(), RatioTotals()
        self._kept: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._tokens = self._lengths = 0.0
        return self

    def reading(self, skipped: Skipped, share: float = 1.0, ratios: dict[str, Any] | None = None) -> Reading:
        """What went by.

        Raises:
            ValueError: without any signal.
        """
        known = self.ratios.to_dict() if self.distances else ratios
        return Reading(self.pools.pool(), known, self.samples(), self.length(), skipped, share)

    def __call__(self, groups: Groups, measured: object = None) -> None:
        if self.distances:
            self.ratios.add(groups)
        reward, behavior, length = groups.column("reward"), groups.get("log_prob"), groups.get("length")
        if length is not None:
            self._tokens += float(length.sum())
            self._lengths += len(length)
        for size in np.unique(groups.size).tolist():
            rows = groups.start[:-1][groups.size == size][:, None] + np.arange(size)
            self.pools.add(reward[rows])
            if behavior is not None:
                self._keep(size, reward[rows], behavior[rows])

    def _keep(self, size: int, reward: np.ndarray, behavior: np.ndarray) -> None:
        kept = self._kept.setdefault(size, [])
        room = LOOKED_AT - sum(len(part) for part, _ in kept)
        signal = np.flatnonzero(np.ptp(reward, axis=-1) > 0)[:room]
        if len(signal):
            kept.append((reward[signal], behavior[signal]))

    def samples(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Of the commonest size."""
        found = [parts for parts in self._kept.values() if parts]
        if not found:
            return None
        parts = max(found, key=lambda parts: sum(len(part) for part, _ in parts))
        return np.concatenate([one for one, _ in parts]), np.concatenate([two for _, two in parts])

    def length(self) -> float | None:
        return self._tokens / self._lengths if self._lengths else None
