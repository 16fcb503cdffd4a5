"""Rows to whole groups: runs of equal keys, put together across pieces and files, or from wherever they are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from .rows import KEY, pc

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

    table: pa.Table
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def size(self) -> np.ndarray:
        """(n,) samples in each group."""
        return np.diff(self.start)

    def column(self, name: str) -> np.ndarray:
        """(N,) values of a numeric column."""
        return self.table.column(name).to_numpy()

    def get(self, name: str) -> np.ndarray | None:
        """The same, or None where the log has no such column."""
        return self.column(name) if name in self.table.column_names else None

    def names(self, groups: np.ndarray) -> list[str]:
        """The ids of these groups."""
        rows = self.table.take(pa.array(self.start[:-1][groups]))
        parts = [rows.column(name).to_pylist() for name in key_names(rows)]
        return [BETWEEN.join("(none)" if part is None else part for part in row) for row in zip(*parts, strict=True)]

    def keep(self, chosen: np.ndarray) -> Groups:
        """The groups where ``chosen`` (n,) is true."""
        if chosen.all():
            return self
        size = self.size
        table = self.table.filter(pa.array(np.repeat(chosen, size)))
        return Groups(table, np.concatenate([[0], np.cumsum(size[chosen])]))


def whole_groups(pieces: Iterable[pa.Table]) -> Iterator[Groups]:
    """Groups as runs of rows with equal keys; one that a piece cuts is put together again.

    Raises:
        Scattered: a key comes back after other keys.
    """
    seen = np.empty(0, dtype=np.uint64)
    rest: pa.Table | None = None
    for piece in pieces:
        table = piece if rest is None else _stacked(rest, piece)
        start = run_starts(table)
        rest = _bounded(table.slice(int(start[-1])).combine_chunks()) if len(start) else None
        if len(start) > 1:
            seen = _not_seen(seen, table, start[:-1])
            yield Groups(table.slice(0, int(start[-1])), start)
    if rest is not None and rest.num_rows:
        _not_seen(seen, rest, np.zeros(1, dtype=np.int64))
        yield Groups(rest, np.array([0, rest.num_rows]))


def _bounded(rows: pa.Table) -> pa.Table:
    """The rows of one group.

    Raises:
        ValueError: there are too many.
    """
    if rows.num_rows > LARGEST:
        name = shown_id(Groups(rows, np.array([0, rows.num_rows])).names(np.zeros(1, np.int64))[0])
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


def _stacked(first: pa.Table, second: pa.Table) -> pa.Table:
    return pa.concat_tables([first, _ordered(second, first.column_names)]).combine_chunks()


def _ordered(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The table with its columns in this order.

    Raises:
        ValueError: it has others.
    """
    different = sorted(set(names) ^ set(table.column_names))
    if different:
        raise ValueError(f"some files have {', '.join(different)} and others do not; audit them apart")
    return table.select(names)


def run_starts(table: pa.Table) -> np.ndarray:
    """Where runs of equal keys begin; a missing key equals nothing but a missing key."""
    if table.num_rows == 0:
        return np.empty(0, dtype=np.int64)
    new = np.zeros(table.num_rows, dtype=bool)
    new[0] = True
    for name in key_names(table):
        keys = pc.fill_null(table.column(name).combine_chunks(), "\0")
        new[1:] |= pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    return np.flatnonzero(new)


def numbered_runs(
    pieces: Callable[[int], Iterator[tuple[pa.Table, float]]], file: int
) -> Iterator[tuple[pa.Table, float]]:
    """The pieces of a file with the number of the group as one more key, where all groups are runs of one length.

    That length is the greatest common divisor of the lengths of all runs of equal keys: a prompt drawn twice in a row
    makes a run of twice the length. Where it is 1 the rows have been shuffled, and the keys alone must do.
    """
    size, length = 0, 0
    for table, _, continues in _continued(pieces(file)):
        lengths = np.diff(run_starts(table), append=table.num_rows)
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
        within = np.arange(table.num_rows) - np.repeat(start, np.diff(start, append=table.num_rows))
        if continues:
            within[: start[1] if len(start) > 1 else None] += place
        numbers = number + np.cumsum(within % size == 0)
        place, number = int(within[-1]) + 1, int(numbers[-1])
        key = f"{KEY}{len(key_names(table))}"
        yield table.append_column(key, pa.array(numbers).cast(pa.large_string())), share


def _continued(pieces: Iterable[tuple[pa.Table, float]]) -> Iterator[tuple[pa.Table, float, bool]]:
    """Every piece with rows, its share, and whether its first row belongs to the run that ended the last."""
    last: pa.Table | None = None
    for table, share in pieces:
        if table.num_rows:
            yield table, share, last is not None and len(run_starts(_stacked(last, table.slice(0, 1)))) == 1
            last = table.slice(table.num_rows - 1)


def rows_of(name: str, table: pa.Table) -> pa.Table:
    """The rows of the group of that id."""
    keys = [table.column(key) for key in key_names(table)]
    return table.filter(pc.equal(pc.binary_join_element_wise(*keys, pa.scalar(BETWEEN, keys[0].type)), name))


def key_names(table: pa.Table) -> list[str]:
    """The columns that make a group's id."""
    return [name for name in table.column_names if name.startswith(KEY)]


def _marks(table: pa.Table) -> np.ndarray:
    """A 64-bit hash of each row's keys."""
    mark = np.zeros(table.num_rows, dtype=np.uint64)
    for name in key_names(table):
        keys = pl.Series(pl.from_arrow(table.column(name)))
        mark = mark * np.uint64(0x9E3779B97F4A7C15) + keys.hash(seed=1).to_numpy()
    return mark


def _not_seen(seen: np.ndarray, table: pa.Table, starts: np.ndarray) -> np.ndarray:
    """The hashes seen before and these, sorted. Two keys of one hash cost time, not correctness."""
    marks = _marks(table.take(pa.array(starts)))
    known = np.sort(np.concatenate([seen, np.sort(marks)]), kind="stable")
    if (known[1:] == known[:-1]).any():
        raise Scattered
    return known


# --- groups whose rows are not together -------------------------------------------------------------------------------


def gathered_groups(pieces: Iterable[pa.Table]) -> Iterator[tuple[Groups, np.ndarray]]:
    """The same for rows in any order, by way of temporary files that hold the rows of some of the groups each.

    Yields:
        groups, and (n,) whether the group is one and the same run of rows more than once.
    """
    with tempfile.TemporaryDirectory(prefix="pessimism-audit-") as folder:
        for path in _partitioned(pieces, Path(folder)):
            with pa.memory_map(str(path)) as file:
                table = pa.ipc.open_stream(file).read_all().combine_chunks()
            codes = np.zeros(table.num_rows, dtype=np.int64)
            for name in key_names(table):
                part = table.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
                codes = codes * (len(part.dictionary) + 1) + part.indices.to_numpy()
                _, codes = np.unique(codes, return_inverse=True)
            table = table.take(pa.array(np.argsort(codes, kind="stable"))).combine_chunks()
            groups = Groups(table, np.concatenate([run_starts(table), [table.num_rows]]))
            for group in np.flatnonzero(groups.size > LARGEST)[:1]:
                _bounded(table.slice(int(groups.start[group]), int(groups.size[group])))
            yield groups, _repeated(groups)


def _partitioned(pieces: Iterable[pa.Table], folder: Path) -> list[Path]:
    writers: dict[int, pa.RecordBatchStreamWriter] = {}
    names: Sequence[str] | None = None
    with ExitStack() as stack:
        for piece in pieces:
            names = names or piece.column_names
            part = (_marks(piece) >> np.uint64(40)) % np.uint64(PARTITIONS)
            order = np.argsort(part, kind="stable")
            table = _ordered(piece, names).take(pa.array(order))
            edges = np.searchsorted(part[order], np.arange(PARTITIONS + 1))
            for index in range(PARTITIONS):
                if edges[index] == edges[index + 1]:
                    continue
                if index not in writers:
                    writers[index] = stack.enter_context(pa.ipc.new_stream(folder / f"{index}.arrows", table.schema))
                writers[index].write_table(table.slice(edges[index], edges[index + 1] - edges[index]))
    return [folder / f"{index}.arrows" for index in sorted(writers)]


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
    telling = bool({"log_prob", "length"} & set(groups.table.column_names))
    logged = (groups.get(name) for name in ("reward", "log_prob", "length", "version", "step"))
    same = np.logical_and.reduce([column == column[before] for column in logged if column is not None])
    fits = (head == (within % np.maximum(period, 1) == 0)) & (same | (within < period))
    found = (runs > 1) & (length > 1) & (length * runs == size) & np.logical_and.reduceat(fits, start)
    return found if telling or found[runs > 1].all() else np.zeros(len(groups), dtype=bool)
