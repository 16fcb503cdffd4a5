"""Layout of a log: which of its columns means what, and how the files of a trainer are recognized."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Columns:
    """Where each role is found; "a.b" is field b of column a.

    Attributes:
        group: columns that together name a group.
        reward: (weight, column) pairs, summed.
        log_prob, current_log_prob, version, step, length: one column each, or None.
        missing_is_zero: whether a reward term that is missing counts as 0.
        trim: a pattern cut from the last column of the group.
        in_runs: whether groups are runs of rows of one common length, so that a prompt drawn twice makes two.
        mask: columns of 0 and 1 per token; a token counts where all of them are 1.
        optional: roles that not every version of a layout writes.
        lists: columns that hold a list with a value for every sample; empty where a row is a sample.
        content: columns by which a file that repeats another is told; empty where trainers do not repeat themselves.
    """

    group: tuple[str, ...] = ()
    reward: tuple[tuple[float, str], ...] = ()
    log_prob: str | None = None
    current_log_prob: str | None = None
    version: str | None = None
    step: str | None = None
    length: str | None = None
    missing_is_zero: bool = False
    trim: str | None = None
    in_runs: bool = False
    content: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def single(self) -> dict[str, str]:
        """Role and column of those roles that have one column."""
        names = ("log_prob", "current_log_prob", "version", "step", "length")
        return {name: column for name in names if (column := getattr(self, name)) is not None}

    @property
    def used(self) -> tuple[str, ...]:
        """Every column that is read."""
        rewards = (column for _, column in self.reward)
        return tuple(dict.fromkeys([*self.group, *rewards, *self.single.values(), *self.mask]))


TableReader = Callable[[Path, int, int], "Iterator[tuple[pl.DataFrame, float]]"]


@dataclass(frozen=True)
class Layout:
    """What a trainer's files look like.

    Attributes:
        name: the trainer and the versions whose code was read.
        needs: columns by which it is recognized.
        columns: where the roles are.
        forbids: columns that it does not have.
        other_numbers: columns that are no rewards, where every other numeric one is; else empty.
        refusal: why such files cannot be audited.
        tables: its own reader, (path, number of the file, bytes) -> canonical rows and the share read with them; None
            where rows are on the surface.
        suffixes: of files that are such logs whatever is in them.
        unit: what its own reader counts: "line" or "row".
    """

    name: str
    needs: frozenset[str]
    columns: Columns = Columns()
    forbids: frozenset[str] = frozenset()
    other_numbers: frozenset[str] = frozenset()
    refusal: str = ""
    tables: TableReader | None = None
    suffixes: tuple[str, ...] = ()
    unit: str = "line"
