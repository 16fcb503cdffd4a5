"""Rows to whole groups: runs of equal keys, put together across pieces and files, or from wherever they are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from .rows import KEY, key_names

LARGEST = 1 << 20
"""Samples that a group may have; more are the sign of a column that names no groups."""

BETWEEN = " / "
"""Joins the parts of a group's id where several columns make it."""

PARTITIONS = 64


class Scattered(Exception):
    """A group whose run had ended came back: its rows are not together."""


@dataclass(frozen=True)
class Groups:
    """Complete groups, their rows one after another.

    Attributes:
        table: canonical rows (N of them).
        start: (n + 1,) where each group begins.
    """

    table: pl.DataFrame
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def size(self) -> np.ndarray:
        """(n,) samples in each group."""
        return np.diff(self.start)

    def column(self, name: str) -> np.ndarray:
        """(N,) values of a numeric column."""
        return self.table.get_column(name).to_numpy()

    def get(self, name: str) -> np.ndarray | None:
        """The same, or None where the log has no such column."""
        return self.column(name) if name in self.table.columns else None

    def names(self, groups: np.ndarray) -> list[str]:
        """The ids of these groups."""
        rows = self.table.select(key_names(self.table.columns))[self.start[:-1][groups]]
        return rows.select(_identity().fill_null("(none)")).to_series().to_list()

    def keep(self, chosen: np.ndarray) -> Groups:
        """The groups where ``chosen`` (n,) is true."""
        if chosen.all():
            return self
        size = self.size
        table = self.table.filter(pl.Series(np.repeat(chosen, size)))
        return Groups(table, np.concatenate([[0], np.cumsum(size[chosen])]))


def _identity() -> pl.Expr:
    """A group's id, null where a part of it is."""
    return pl.concat_str(pl.col(f"^{KEY}.*$"), separator=BETWEEN)


def whole_groups(pieces: Iterable[pl.DataFrame]) -> Iterator[Groups]:
    """Groups as runs of rows with equal keys; one that a piece cuts is put together again.

    Raises:
        Scattered: a key comes back after other keys.
    """
    seen = np.empty(0, dtype=np.uint64)
    rest: pl.DataFrame | None = None
    for piece in pieces:
        table = piece if rest is None else _stacked(rest, piece)
        start = run_starts(table)
        rest = _bounded(table.slice(int(start[-1]))) if len(start) else None
        if len(start) > 1:
            seen = _not_seen(seen, table, start[:-1])
            yield Groups(table.slice(0, int(start[-1])), start)
    if rest is not None and rest.height:
        _not_seen(seen, rest, np.zeros(1, dtype=np.int64))
        yield Groups(rest, np.array([0, rest.height]))


def _bounded(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of one group.

    Raises:
        ValueError: there are too many.
    """
    if rows.height > LARGEST:
        name = shown_id(Groups(rows, np.array([0, rows.height])).names(np.zeros(1, np.int64))[0])
        raise ValueError(
            f"group {name} has more than {LARGEST:,} samples; say what names a group with --column group=NAME"
        )
    return rows


def shown_id(name: str, width: int = 60) -> str:
    """A group's id as it may be printed: cut, and without characters that steer a terminal.

    >>> shown_id("Solve x\\x1b[31m = 2")
    "'Solve x\\\\x1b[31m = 2'"
    """
    return repr(name if len(name) <= width else name[: width - 3] + "...")


def _stacked(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([first, _ordered(second, first.columns)], rechunk=True)


def _ordered(table: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The table with its columns in this order.

    Raises:
        ValueError: it has others.
    """
    different = sorted(set(names) ^ set(table.columns))
    if different:
        raise ValueError(f"some files have {', '.join(different)} and others do not; audit them apart")
    return table.select(names)


def run_starts(table: pl.DataFrame) -> np.ndarray:
    """Where runs of equal keys begin; a missing key equals nothing but a missing key."""
    if table.height == 0:
        return np.empty(0, dtype=np.int64)
    keys = pl.col(key_names(table.columns))
    new = table.select(pl.any_horizontal(keys.ne_missing(keys.shift()))).to_series().to_numpy(writable=True)
    new[0] = True
    return np.flatnonzero(new)


def numbered_runs(
    pieces: Callable[[int], Iterator[tuple[pl.DataFrame, float]]], file: int
) -> Iterator[tuple[pl.DataFrame, float]]:
    """The pieces of a file with the number of the group as one more key, where all groups are runs of one length.

    That length is the greatest common divisor of the lengths of all runs of equal keys: a prompt drawn twice in a row
    makes a run of twice the length. Where it is 1 the rows have been shuffled, and the keys alone must do.
    """
    size, length = 0, 0
    for table, _, continues in _continued(pieces(file)):
        lengths = np.diff(run_starts(table), append=table.height)
        if continues:
            lengths[0] += length
        else:
            size = gcd(size, length)
        size = gcd(size, *lengths[:-1].tolist())
        length = int(lengths[-1])
    size, place, number = gcd(size, length), 0, -1
    if size == 1:
        yield from pieces(file)
        return
    for table, share, continues in _continued(pieces(file)):
        start = run_starts(table)
        within = np.arange(table.height) - np.repeat(start, np.diff(start, append=table.height))
        if continues:
            within[: start[1] if len(start) > 1 else None] += place
        numbers = number + np.cumsum(within % size == 0)
        place, number = int(within[-1]) + 1, int(numbers[-1])
        key = f"{KEY}{len(key_names(table.columns))}"
        yield table.with_columns(pl.Series(key, numbers).cast(pl.String)), share


def _continued(pieces: Iterable[tuple[pl.DataFrame, float]]) -> Iterator[tuple[pl.DataFrame, float, bool]]:
    """Every piece with rows, its share, and whether its first row belongs to the run that ended the last."""
    last: pl.DataFrame | None = None
    for table, share in pieces:
        if table.height:
            yield table, share, last is not None and len(run_starts(_stacked(last, table.slice(0, 1)))) == 1
            last = table.slice(table.height - 1)


def rows_of(name: str, table: pl.DataFrame) -> pl.DataFrame:
    """The rows of the group of that id."""
    return table.filter(_identity() == name)


def _marks(keys: list[str]) -> pl.Expr:
    """A 64-bit hash of each row's keys."""
    return pl.struct(keys).hash(seed=1)


def _not_seen(seen: np.ndarray, table: pl.DataFrame, starts: np.ndarray) -> np.ndarray:
    """The hashes seen before and these, sorted. Two keys of one hash cost time, not correctness."""
    keys = key_names(table.columns)
    marks = table.select(keys)[starts].select(_marks(keys)).to_series().to_numpy()
    known = np.sort(np.concatenate([seen, np.sort(marks)]), kind="stable")
    if (known[1:] == known[:-1]).any():
        raise Scattered
    return known


# --- groups whose rows are not together -------------------------------------------------------------------------------


def gathered_groups(pieces: Iterable[pl.DataFrame]) -> Iterator[tuple[Groups, np.ndarray]]:
    """The same for rows in any order, by way of temporary files that hold the rows of some of the groups each.

    Yields:
        groups, and (n,) whether the group is one and the same run of rows more than once.
    """
    with tempfile.TemporaryDirectory(prefix="pessimism-audit-") as folder:
        for path in _partitioned(pieces, Path(folder)):
            table = pl.read_ipc(path)
            table = table.sort(key_names(table.columns), maintain_order=True).rechunk()
            groups = Groups(table, np.concatenate([run_starts(table), [table.height]]))
            for group in np.flatnonzero(groups.size > LARGEST)[:1]:
                _bounded(table.slice(int(groups.start[group]), int(groups.size[group])))
            yield groups, _repeated(groups)


def _partitioned(pieces: Iterable[pl.DataFrame], folder: Path) -> list[Path]:
    """The rows in files, all of a group in one."""
    rest = iter(pieces)
    first = next(rest, None)
    if first is None:
        return []
    failures: list[Exception] = []

    def rows(*_: object) -> Iterator[pl.DataFrame]:
        try:
            yield first
            yield from (_ordered(piece, first.columns) for piece in rest)
        except Exception as error:  # polars would tell it in its own words
            failures.append(error)
            raise

    part = (_marks(key_names(first.columns)) // (1 << 40) % PARTITIONS).alias("part")
    target = pl.PartitionBy(folder, key=part, include_key=False)
    try:
        register_io_source(rows, schema=first.schema).sink_ipc(
            target, compression="uncompressed", mkdir=True, engine="streaming"
        )
    except pl.exceptions.PolarsError:
        raise (failures or [RuntimeError("rows could not be put into temporary files")])[0] from None
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _repeated(groups: Groups) -> np.ndarray:
    """Groups that are the same run of at least two rows, found several times.

    Equal log-probabilities or lengths, row for row, tell that. Where neither is logged, equal rewards do, but only if
    no group that was found in several places is without such a repetition, as when a file is given twice.
    """
    place, file = groups.column("place"), groups.column("file")
    start, size = groups.start[:-1], groups.size
    if not len(groups):
        return np.zeros(0, dtype=bool)
    head = np.zeros(len(place), dtype=bool)  # where a run of neighboring rows begins
    head[1:] = (np.diff(place) != 1) | (np.diff(file) != 0)
    head[start] = True
    within = np.arange(len(place)) - np.repeat(start, size)
    runs = np.add.reduceat(head, start)
    length = size // np.maximum(runs, 1)
    period = np.repeat(length, size)
    before = np.maximum(np.arange(len(place)) - period, 0)
    telling = bool({"log_prob", "length"} & set(groups.table.columns))
    logged = (groups.get(name) for name in ("reward", "log_prob", "length", "version", "step"))
    same = np.logical_and.reduce([column == column[before] for column in logged if column is not None])
    fits = (head == (within % np.maximum(period, 1) == 0)) & (same | (within < period))
    found = (runs > 1) & (length > 1) & (length * runs == size) & np.logical_and.reduceat(fits, start)
    return found if telling or found[runs > 1].all() else np.zeros(len(groups), dtype=bool)
