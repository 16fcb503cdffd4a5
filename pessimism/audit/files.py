"""Logs as streams of rows: Parquet, CSV and JSON lines, read in pieces of bounded size."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from . import lines
from .fields import layout_by_suffix, layout_of, resolve
from .groups import numbered_runs
from .layout import Columns, Layout
from .rows import INTEGERS, canonical, pc

PIECE_BYTES = 24 << 20
PIECE_ROWS = 1 << 18
LEAST_ROWS = 1 << 11
SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".db", ".sqlite")

Piece = tuple[pa.Table, float]
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


def open_sources(paths: Sequence[str | Path], given: Mapping[str, str]) -> list[Source]:
    """The files, folders expanded to the logs in them, in natural order.

    Raises:
        ValueError: no such file, a suffix that is not read, the same file twice, an empty or damaged file, or columns
            that are not there.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        found += _in_folder(path) if path.is_dir() else [path]
    seen: set[Path] = set()
    for path in found:
        if path.resolve() in seen:
            raise ValueError(f"{path}: is given twice")
        seen.add(path.resolve())
    sources: list[Source] = []
    first: dict[str, str] = {}
    for source in (_open(path, given) for path in found):
        same = first.setdefault(source.content, str(source.path)) if source.content else str(source.path)
        sources.append(source if same == str(source.path) else replace(source, repeats=same, pieces=_nothing))
    return sources


def _nothing(number: int) -> Iterator[Piece]:
    return iter(())


def _in_folder(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not files:
        raise ValueError(f"{folder}: no {', '.join(SUFFIXES)} file in it")
    return sorted(
        files, key=lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
    )


def _open(path: Path, given: Mapping[str, str]) -> Source:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: the suffix is {suffix!r}; it must be one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path}: is empty")
    layout = layout_by_suffix(suffix)
    try:
        if layout is not None:
            return _own(path, layout, given, size)
        return {".parquet": _parquet, ".csv": _csv}.get(suffix, _json_lines)(path, given, size)
    except ValueError as error:
        told = " ".join(str(error).split("\n"))
        raise ValueError(told if told.startswith(str(path)) else f"{path}: {told}") from None


# --- Parquet --------------------------------------------------------------------------------------------------------


def _parquet(path: Path, given: Mapping[str, str], size: int) -> Source:
    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not Parquet, damaged or cut off ({_first_line(error)})") from None
    numeric = [field.name for field in schema if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)]
    columns, layout = resolve(schema.names, numeric, given)
    heads = list(dict.fromkeys(name if name in schema.names else name.split(".")[0] for name in columns.used))
    texts = [name for name in columns.group if name in schema.names and _is_text(schema.field(name).type)]

    def pieces(number: int) -> Iterator[Piece]:
        done = 0
        try:
            with pq.ParquetFile(path, pre_buffer=False, read_dictionary=texts) as file:
                for batch in file.iter_batches(_rows_at_once(metadata), columns=heads):
                    for part in _slices(batch, texts):
                        place = np.arange(done + 1, done + 1 + part.num_rows)
                        done += part.num_rows
                        yield canonical(pa.Table.from_batches([part]), columns, number, place), done / metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path}: damaged after row {done} ({_first_line(error)})") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    content = _digest(path, columns.content) if columns.content else ""
    every = partial(numbered_runs, pieces) if columns.in_runs else pieces
    return Source(path, layout, columns, "row", every, size, content)


def _digest(path: Path, names: tuple[str, ...]) -> str:
    """Of what a file holds in these columns."""
    digest = hashlib.sha256()
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=list(names)):
                digest.update(batch.serialize())
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"damaged ({_first_line(error)})") from None
    return digest.hexdigest()


def _rows_at_once(metadata: pq.FileMetaData) -> int:
    """As many rows as keep a piece within bounds, as far as the sizes of all columns together tell."""
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return int(min(PIECE_ROWS, max(LEAST_ROWS, PIECE_BYTES // max(size / max(metadata.num_rows, 1), 1))))


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _slices(batch: pa.RecordBatch, texts: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The batch in parts whose ids, written out, stay within bounds: few long prompts compress well."""
    size = 0
    for name in texts:
        keys = batch.column(name)
        if pa.types.is_dictionary(keys.type):
            size += pc.sum(pc.binary_length(keys.dictionary).take(keys.indices)).as_py() or 0
    rows = max(1, batch.num_rows // (1 + size // PIECE_BYTES))
    return (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


# --- CSV ------------------------------------------------------------------------------------------------------------


def _csv(path: Path, given: Mapping[str, str], size: int) -> Source:
    names, second = _head(path)
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the column {name!r} appears twice")
    numeric = [name for name, cell in zip(names, second, strict=False) if _is_number(cell)]
    columns, layout = resolve(names, numeric, given)
    types = (
        dict.fromkeys(columns.group, pa.large_string())
        | {name: pa.float64() for _, name in columns.reward}
        | {name: pa.int64() if role in INTEGERS else pa.float64() for role, name in columns.single.items()}
    )

    def pieces(number: int) -> Iterator[Piece]:
        done = 0
        try:
            with pa_csv.open_csv(
                path,
                read_options=pa_csv.ReadOptions(block_size=PIECE_BYTES // 2),
                parse_options=pa_csv.ParseOptions(newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(include_columns=list(columns.used), column_types=types),
            ) as reader:
                for batch in reader:
                    place = np.arange(done + 1, done + 1 + batch.num_rows)
                    done += batch.num_rows
                    part = canonical(pa.Table.from_batches([batch]), columns, number, place)
                    yield part, min(done * part.nbytes / part.num_rows / size, 1.0)  # about as many bytes in text
        except pa.ArrowException as error:
            raise ValueError(f"{path}, {_bad_cell(path, types, error)}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    return Source(path, layout, columns, "row", pieces, size)


def _head(path: Path) -> tuple[list[str], list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            return next(rows), next(rows, [])
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


def _bad_cell(path: Path, types: Mapping[str, pa.DataType], error: Exception) -> str:
    """Where a CSV file stops being readable, in words: the reader that is fast does not say in which row."""
    row = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            records = csv.reader(file)
            names = next(records)
            for row, cells in enumerate(filter(None, records), start=1):
                if len(cells) != len(names):
                    return f"row {row}: {len(cells)} cells where the header has {len(names)}"
                for name, cell in zip(names, cells, strict=True):
                    if name in types and pa.types.is_floating(types[name]) and cell and not _is_number(cell):
                        return f"row {row}: {name} is {cell[:60]!r}; it must be a number"
                    if name in types and pa.types.is_integer(types[name]) and cell and not re.fullmatch(r"-?\d+", cell):
                        return f"row {row}: {name} is {cell[:60]!r}; it must be a whole number"
    except UnicodeDecodeError as broken:
        return f"after row {row}: not UTF-8 text (byte {broken.object[broken.start]:#04x})"
    except csv.Error as broken:
        return f"row {row + 1}: {broken}"
    return f"after row {row}: {_first_line(error)}"


# --- JSON lines -----------------------------------------------------------------------------------------------------


def _json_lines(path: Path, given: Mapping[str, str], size: int) -> Source:
    record = lines.typical_record(path)
    names = list(record)
    numeric = [name for name, value in record.items() if isinstance(value, (int, float))]
    found = layout_of(names)
    if found.tables is not None and not given:
        return _own(path, found, given, size)
    columns, layout = resolve(names, numeric, given)
    schema = lines.schema(record, columns)

    def pieces(number: int) -> Iterator[Piece]:
        for raw, place, done in lines.tables(path, schema):
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
