"""Groups about which no right number can be said: found, counted and left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import polars as pl

from .groups import Groups, shown_id
from .rows import NO_NUMBER, key_names
from .token_sums import ROUNDING

EXAMPLES = 5

NOT_FINITE = "reward missing or not finite"
NO_KEY = "no group id"
BEHAVIOR = "behavior log-probability missing, not finite or above 0"
CURRENT = "current log-probability missing, not finite or above 0"
LENGTHS = "as many behavior as current log-probabilities are needed, one pair per token"
NO_VERSION = "version or step missing"
NEGATIVE_LENGTH = "length missing or negative"
MIXED = "samples of several policy versions"
STEPS = "samples of several trainer steps (if its id comes back later, say --column group=step+NAME)"
ALONE = "a single sample"
DUPLICATED = "the same rows more than once"


@dataclass
class Skipped:
    """What was left out, by reason: groups, rows and the first places."""

    groups: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, rows: int, example: Callable[[], str]) -> None:
        """One more group."""
        self.groups[reason] = self.groups.get(reason, 0) + 1
        self.rows[reason] = self.rows.get(reason, 0) + rows
        if len(self.examples.setdefault(reason, [])) < EXAMPLES:
            self.examples[reason].append(example())

    @property
    def first(self) -> str:
        """The first place."""
        return next(iter(self.examples.values()))[0]

    def described(self) -> str:
        """All of it in one line."""
        parts = [f"{count:,}, e.g. {self.examples[reason][0]}" for reason, count in self.groups.items()]
        return f"left out: {'; '.join(parts)}" if parts else "nothing left out"


def checked(
    groups: Groups, repeated: np.ndarray | None, skipped: Skipped, where: Callable[[int, int], str], strict: bool
) -> Groups:
    """The groups about which a right number can be said; the others are counted.

    Args:
        groups: complete groups.
        repeated: (n,) groups logged more than once; None while it is not known whether more rows of a group follow.
        skipped: where they are counted.
        where: (file, place) -> where that is, in words.
        strict: stop at the first instead, unless more rows may follow that mend it.

    Raises:
        ValueError: a faulty group, where ``strict``.
    """
    faults = _row_faults(groups) + _group_faults(groups, repeated)
    bad: dict[int, tuple[str, int, str]] = {}
    for reason, rows, fault in faults:
        owner = np.searchsorted(groups.start, rows, side="right") - 1
        for group, row in zip(*(part.tolist() for part in _firsts(owner, rows)), strict=True):
            bad.setdefault(group, (reason, row, fault))
    if not bad:
        return groups
    size = groups.size
    for group in sorted(bad):
        example = partial(_example, groups, group, *bad[group], where)
        if strict and (repeated is not None or bad[group][0] != ALONE):
            raise ValueError(example())
        skipped.add(bad[group][0], int(size[group]), example)
    chosen = np.ones(len(groups), dtype=bool)
    chosen[list(bad)] = False
    return groups.keep(chosen)


def _example(groups: Groups, group: int, reason: str, row: int, name: str, where: Callable[[int, int], str]) -> str:
    """Where the fault of a group is, and the value that is at fault."""
    file, place = groups.table.item(row, "file"), groups.table.item(row, "place")
    value = groups.table.item(row, name) if name in groups.table.columns else None
    shown = "" if value in (None, NO_NUMBER) else f" ({name} is {value:g})"
    return f"{where(file, place)}, group {shown_id(groups.names(np.array([group]))[0])}: {reason}{shown}"


def _firsts(owner: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found, index = np.unique(owner, return_index=True)
    return found, rows[index]


def _row_faults(groups: Groups) -> list[tuple[str, np.ndarray, str]]:
    faults = []
    keys = pl.col(key_names(groups.table.columns))
    missing = groups.table.select(pl.any_horizontal(keys.fill_null("") == "")).to_series()
    faults.append((NO_KEY, np.flatnonzero(missing.to_numpy()), ""))
    reward = groups.column("reward")
    faults.append((NOT_FINITE, np.flatnonzero(~np.isfinite(reward)), "reward"))
    for name, reason in (("log_prob", BEHAVIOR), ("current_log_prob", CURRENT)):
        if (values := groups.get(name)) is not None:
            faults.append((reason, np.flatnonzero(~(np.isfinite(values) & (values <= ROUNDING))), name))
    if (values := groups.get("token_square")) is not None:
        faults.append((LENGTHS, np.flatnonzero(np.isnan(values)), "length"))
    for name in ("version", "step"):
        if (values := groups.get(name)) is not None:
            faults.append((NO_VERSION, np.flatnonzero(values == NO_NUMBER), name))
    if (values := groups.get("length")) is not None:
        faults.append((NEGATIVE_LENGTH, np.flatnonzero(~(np.isfinite(values) & (values >= 0))), "length"))
    return faults


def _group_faults(groups: Groups, repeated: np.ndarray | None) -> list[tuple[str, np.ndarray, str]]:
    start, size = groups.start[:-1], groups.size
    faults = []
    if repeated is not None:
        faults.append((DUPLICATED, start[repeated], ""))
    version = groups.get("version")
    if version is not None:
        faults.append((MIXED, np.flatnonzero(version != np.repeat(version[start], size)), "version"))
    step = groups.get("step")
    if version is None and step is not None:
        faults.append((STEPS, np.flatnonzero(step != np.repeat(step[start], size)), "step"))
    faults.append((ALONE, start[size == 1], ""))
    return faults
