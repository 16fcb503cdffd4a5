"""Logs as streams of rows: Parquet, CSV and JSON lines, read in pieces of bounded size."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from . import lines
from .fields import Header, layout_by_suffix, layout_of, resolve
from .frames import FRAME, arrow_pieces, arrow_schema, frame_of, frame_pieces, header_of, resolved
from .groups import numbered_runs
from .layout import Columns, Layout
from .rows import INTEGERS, canonical

PIECE_ROWS = 1 << 17
LONGEST_HEAD = 16 << 20
FEW_BYTES = 1 << 29
DENSEST = 200
"""A file that takes more than 512 MiB in memory, and this many times what it takes on disk, is no log."""

COMPRESSED = (".gz", ".zst")
SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".arrow", ".db", ".sqlite")
TENSORS = (".pt", ".pth")
"""What torch saves: read where it is named, as folders hold weights too."""

DATASET_FILES = ("dataset_info.json", "state.json", "dataset_dict.json")
"""What `datasets` writes beside its data."""

Piece = tuple[pl.DataFrame, float]
"""Canonical rows, and the share of the file that has been read with them."""


@dataclass(frozen=True)
class Source:
    """One file, and how it is read.

    Attributes:
        path: the file.
        layout: whose layout it has, "" if nobody's.
        columns: where the roles are (those that the reader makes itself where the layout is nested).
        unit: what its rows are called in messages: "line" or "row".
        pieces: file number -> its rows, piece by piece.
        size: in bytes.
        content: a digest by which a file that repeats another is told, "" if that does not happen.
        repeats: the file that holds the same batch, and is the one that is read.
    """

    path: Path
    layout: str
    columns: Columns
    unit: str
    pieces: Callable[[int], Iterator[Piece]]
    size: int
    content: str = ""
    repeats: str = ""


def open_sources(logs: Sequence[object], given: Mapping[str, str]) -> list[Source]:
    """The files, folders expanded to the logs in them and in their folders, in natural order; and data frames.

    Raises:
        ValueError: no such file, a suffix that is not read, the same file twice, an empty or damaged file, or columns
            that are not there.
    """
    found: list[Path] = []
    frames: list[Source] = []
    for log in logs:
        frame = frame_of(log)
        if frame is None:
            path = Path(str(log))
            found += _in_folder(path) if path.is_dir() else [path]
        else:
            columns, layout = resolved(frame, given)
            size = max(frame.estimated_size(), 1)
            frames.append(Source(FRAME, layout, columns, "row", partial(frame_pieces, frame, columns), int(size)))
    seen: set[str] = set()
    for path in found:
        real = os.path.realpath(path)  # unlike Path.resolve, it takes links that lead to themselves
        if real in seen:
            raise ValueError(f"{path}: is given twice")
        seen.add(real)
    sources: list[Source] = []
    first: dict[str, str] = {}
    for source in (_open(path, given) for path in found):
        same = first.setdefault(source.content, str(source.path)) if source.content else str(source.path)
        sources.append(source if same == str(source.path) else replace(source, repeats=same, pieces=_nothing))
    return frames + sources


def _nothing(number: int) -> Iterator[Piece]:
    return iter(())


def _in_folder(folder: Path) -> list[Path]:
    files = [
        path
        for path in folder.rglob("*")
        if _suffix(path) in SUFFIXES
        and path.name not in DATASET_FILES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    if not files:
        held = sorted({path.suffix for path in folder.rglob("*") if path.is_file() and path.suffix})[:8]
        there = f" (but {', '.join(held)})" if held else ""
        raise ValueError(f"{folder}: no {', '.join(SUFFIXES)} file in it{there}")
    return sorted(files, key=lambda path: _natural(path.relative_to(folder).as_posix()))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which numbers in names are ordered as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _suffix(path: Path) -> str:
    """The suffix that says the format: of compressed JSON lines the one before .gz or .zst."""
    plain = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    suffix = plain.suffix.lower()
    return suffix if plain is path or suffix in (".jsonl", ".ndjson") else path.suffix.lower()


def _open(path: Path, given: Mapping[str, str]) -> Source:
    suffix = _suffix(path)
    if suffix in (".pkl", ".pickle"):
        raise ValueError(
            f"{path}: a pickle, which runs code when it is read. Load it where you trust it, and give pessimism.audit "
            "the list of records"
        )
    if suffix not in (*SUFFIXES, *TENSORS):
        raise ValueError(f"{path}: the suffix is {suffix!r}; it must be one of {', '.join((*SUFFIXES, *TENSORS))}")
    if not path.is_file():
        fault = "is no regular file (but a device, a pipe or a broken link)"
        raise ValueError(f"{path}: {fault if os.path.lexists(path) else 'there is no such file'}")
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path}: is empty")
    layout = layout_by_suffix(suffix)
    try:
        if layout is not None:
            return _own(path, layout, given, size)
        readers = {".parquet": _parquet, ".csv": _csv, ".arrow": _arrow, ".pt": _torch, ".pth": _torch}
        return readers.get(suffix, _json_lines)(path, given, size)
    except ValueError as error:
        message = " ".join(str(error).split("\n"))
        raise ValueError(message if message.startswith(str(path)) else f"{path}: {message}") from None


# --- Parquet --------------------------------------------------------------------------------------------------------


def _parquet(path: Path, given: Mapping[str, str], size: int) -> Source:
    _check_density(path, size)
    scan = pl.scan_parquet(path, glob=False)
    try:
        schema, rows = scan.collect_schema(), scan.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"not Parquet, damaged or cut off ({_first_line(error)})") from None
    columns, layout = resolve(header_of(schema), given)
    heads = list(dict.fromkeys(name if name in schema else name.split(".")[0] for name in columns.used))
    damaged = partial("{}: damaged after row {} ({})".format, path)
    pieces = partial(_scanned, path, scan.select(heads), columns, partial(_share_of_rows, rows), damaged)
    content = _digest(scan.select(columns.content)) if columns.content else ""
    every = partial(numbered_runs, pieces) if columns.in_runs else pieces
    return Source(path, layout, columns, "row", every, size, content)


def _check_density(path: Path, size: int) -> None:
    """Refuse a file that asks for far more memory than a log of its size can hold, from its footer alone."""
    import pyarrow as pa  # polars does not show the footer
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not Parquet, damaged or cut off ({_first_line(error)})") from None
    lines.check_width(metadata.num_columns)
    columns = [
        metadata.row_group(group).column(index)
        for group in range(metadata.num_row_groups)
        for index in range(metadata.num_columns)
    ]
    asked = sum(max(8 * column.num_values, column.total_uncompressed_size) for column in columns)
    if asked > max(FEW_BYTES, DENSEST * size):
        raise ValueError(f"asks for {asked:.3g} bytes of memory where it has {size:,} on disk; this is no log")


def _scanned(
    path: Path,
    scan: pl.LazyFrame,
    columns: Columns,
    share: Callable[[int, pl.DataFrame], float],
    damaged: Callable[[int, str], str],
    number: int,
) -> Iterator[Piece]:
    """The rows of a scan, in the order of the file.

    Args:
        path: the file.
        scan: its columns that are read.
        columns: which is which.
        share: (rows read so far, the last of them) -> the share of the file that has been read.
        damaged: (rows read so far, what polars says) -> the message where it can read no further.
        number: of the file.
    """
    done = 0
    try:
        for raw in scan.collect_batches(chunk_size=PIECE_ROWS, engine="streaming"):
            place = pl.int_range(done + 1, done + 1 + raw.height, eager=True)
            done += raw.height
            yield canonical(raw, columns, number, place), share(done, raw)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(damaged(done, _first_line(error))) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _share_of_rows(rows: int, done: int, _: pl.DataFrame) -> float:
    return done / max(rows, 1)


def _digest(scan: pl.LazyFrame) -> str:
    """Of what a file holds in these columns."""
    digest = hashlib.sha256()
    try:
        for rows in scan.collect_batches(chunk_size=PIECE_ROWS, engine="streaming"):
            digest.update(rows.hash_rows().to_numpy().tobytes())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"damaged ({_first_line(error)})") from None
    return digest.hexdigest()


def _arrow(path: Path, given: Mapping[str, str], size: int) -> Source:
    schema = arrow_schema(path)
    lines.check_width(len(schema))
    columns, layout = resolve(header_of(schema), given)
    heads = list(dict.fromkeys(name if name in schema else name.split(".")[0] for name in columns.used))
    return Source(path, layout, columns, "row", partial(arrow_pieces, path, columns, heads, size), size)


def _torch(path: Path, given: Mapping[str, str], size: int) -> Source:
    from .tensors import saved_frame  # torch

    frame = saved_frame(path)
    lines.check_width(frame.width)
    columns, layout = resolved(frame, given, path)
    return Source(path, layout, columns, "row", partial(frame_pieces, frame, columns, path=path), size)


# --- CSV ------------------------------------------------------------------------------------------------------------


def _csv(path: Path, given: Mapping[str, str], size: int) -> Source:
    names, second = _head(path)
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"the column {name!r} appears twice")
    numeric = [name for name, cell in zip(names, second, strict=False) if _is_number(cell)]
    columns, layout = resolve(Header(names, numeric), given)
    whole = [name for role, name in columns.single.items() if role in INTEGERS]
    types: dict[str, pl.DataType] = {
        name: pl.String() if name in columns.group else pl.Int64() if name in whole else pl.Float64()
        for name in columns.used
    }
    scan = pl.scan_csv(path, glob=False, schema_overrides=types, infer_schema=False)
    heads = list(dict.fromkeys([*columns.used, names[-1]]))

    def pieces(number: int) -> Iterator[Piece]:
        place, suspect = 0, True
        done = 0
        try:
            for raw in scan.select(heads).collect_batches(chunk_size=PIECE_ROWS, engine="streaming"):
                if suspect and raw.get_column(names[-1]).null_count():  # polars fills rows that are too short
                    suspect = False
                    if fault := _bad_cell(path, types):
                        raise ValueError(fault)
                filled = raw.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
                rows = pl.int_range(place + 1, place + 1 + filled.height, eager=True)
                place += filled.height
                done += raw.estimated_size()
                yield canonical(filled, columns, number, rows), min(done / size, 1.0)
        except pl.exceptions.PolarsError as error:
            fault = _bad_cell(path, types) or f"after row {place}: {_first_line(error)}"
            raise ValueError(f"{path}, {fault}") from None
        except ValueError as error:
            raise ValueError(f"{path}, {error}") from None

    return Source(path, layout, columns, "row", pieces, size)


def _head(path: Path) -> tuple[list[str], list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if len(file.readline(LONGEST_HEAD)) == LONGEST_HEAD:
                raise ValueError(f"its first line is longer than {LONGEST_HEAD >> 20} MiB; is this a log of rollouts?")
            file.seek(0)
            rows = csv.reader(file)
            names = next(rows)
            lines.check_width(len(names))
            return names, next(rows, [])
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.object[error.start]:#04x})") from None
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"no CSV header ({error})") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _bad_cell(path: Path, types: Mapping[str, pl.DataType]) -> str:
    """Where a CSV file stops being readable, in words, "" if nowhere: polars does not say in which row."""
    row = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            records = csv.reader(file)
            names = next(records)
            for row, cells in enumerate(filter(None, records), start=1):
                if len(cells) != len(names):
                    return f"row {row}: {len(cells)} cells where the header has {len(names)}"
                for name, cell in zip(names, cells, strict=True):
                    if types.get(name) == pl.Float64 and cell and not _is_number(cell):
                        return f"row {row}: {name} is {cell[:60]!r}; it must be a number"
                    if types.get(name) == pl.Int64 and cell and not re.fullmatch(r"[+-]?\d+", cell):
                        return f"row {row}: {name} is {cell[:60]!r}; it must be a whole number"
    except UnicodeDecodeError as broken:
        return f"after row {row}: not UTF-8 text (byte {broken.object[broken.start]:#04x})"
    except csv.Error as broken:
        return f"row {row + 1}: {broken}"
    return ""


# --- JSON lines -----------------------------------------------------------------------------------------------------


def _json_lines(path: Path, given: Mapping[str, str], size: int) -> Source:
    record = lines.typical_record(path)
    names = list(record)
    lists = [name for name, value in record.items() if isinstance(value, list)]
    firsts = {name: next(iter(value), None) if isinstance(value, list) else value for name, value in record.items()}
    numeric = [name for name, value in firsts.items() if isinstance(value, int | float)]
    found = layout_of(names)
    if found.tables is not None and not given:
        return _own(path, found, given, size)
    columns, layout = resolve(Header(names, numeric, lists), given)
    empty = [role for role in columns.optional if record.get(getattr(columns, role)) == []]
    columns = replace(columns, **dict.fromkeys(empty, None))

    def pieces(number: int) -> Iterator[Piece]:
        for raw, place, done in lines.tables(path, record, columns):
            try:
                yield canonical(raw, columns, number, place), done / size
            except ValueError as error:
                raise ValueError(f"{path}, lines {place[0]} to {place[-1]}: {error}") from None

    return Source(path, layout, columns, "line", pieces, size)


def _own(path: Path, layout: Layout, given: Mapping[str, str], size: int) -> Source:
    """A file that its layout's own reader reads."""
    tables = layout.tables
    if given or tables is None:
        raise ValueError(f"{layout.name}: its columns are known; --column is for other files")
    return Source(path, layout.name, Columns(), layout.unit, lambda number: tables(path, number, size), size)


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:200]
