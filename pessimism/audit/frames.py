"""Logs that are no files of their own: data frames, lists of records, Arrow files and Hugging Face datasets on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from .fields import Header, resolve
from .layout import Columns
from .rows import canonical

PIECE_ROWS = 1 << 17
FRAME = Path("data frame")
"""What messages call a log that is no file."""

Piece = tuple[pl.DataFrame, float]


def frame_of(data: object) -> pl.DataFrame | None:
    """The polars frame of what was given, None for a path.

    Args:
        data: a frame of polars, pandas or pyarrow, a Hugging Face dataset, a list of records, or a mapping of columns.

    Raises:
        ValueError: something else.

    >>> frame_of([{"group": "a", "reward": 1.0}]).columns
    ['group', 'reward']
    """
    if isinstance(data, str | Path):
        return None
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, pl.DataFrame):
        return data
    kind = type(data).__module__.partition(".")[0]
    try:
        if kind == "pandas":
            return pl.from_pandas(data)  # type: ignore[arg-type]
        if kind == "pyarrow":
            return _as_frame(pl.from_arrow(data))  # type: ignore[arg-type]
        if kind == "datasets":
            return data.to_polars()  # type: ignore[attr-defined]
        if isinstance(data, Mapping) or (isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data)):
            return pl.DataFrame(data, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise ValueError(f"{FRAME}: cannot be made a table ({str(error).splitlines()[0][:200]})") from None
    raise ValueError(
        f"log is of type {type(data).__name__}; give a path, a frame of polars, pandas or pyarrow, a Hugging Face "
        "dataset, or a list of records"
    )


def _as_frame(found: pl.DataFrame | pl.Series) -> pl.DataFrame:
    return found if isinstance(found, pl.DataFrame) else found.to_frame()


def header_of(schema: pl.Schema) -> Header:
    """What columns a table has."""
    lists = [name for name, dtype in schema.items() if isinstance(dtype, pl.List | pl.Array)]
    inner = {name: getattr(dtype, "inner", dtype) for name, dtype in schema.items()}
    return Header(schema.names(), [name for name, dtype in inner.items() if dtype.is_numeric()], lists)


def frame_pieces(frame: pl.DataFrame, columns: Columns, number: int, path: Path = FRAME) -> Iterator[Piece]:
    """A frame's rows, some at a time."""
    heads = list(dict.fromkeys(name if name in frame.columns else name.split(".")[0] for name in columns.used))
    chosen = frame.select(heads)
    for first in range(0, chosen.height, PIECE_ROWS):
        part = chosen.slice(first, PIECE_ROWS)
        place = pl.int_range(first + 1, first + 1 + part.height, eager=True)
        try:
            yield canonical(part, columns, number, place), (first + part.height) / chosen.height
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def resolved(frame: pl.DataFrame, given: Mapping[str, str], path: Path = FRAME) -> tuple[Columns, str]:
    """Which column of a frame is which, and its layout.

    Raises:
        ValueError: an empty frame, or columns that are not there.
    """
    if frame.height == 0:
        raise ValueError(f"{path}: is empty")
    try:
        return resolve(header_of(frame.schema), given)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


# --- Arrow ----------------------------------------------------------------------------------------------------------


def arrow_pieces(path: Path, columns: Columns, heads: Sequence[str], size: int, number: int) -> Iterator[Piece]:
    """The rows of an Arrow file, batch by batch."""
    import pyarrow as pa

    done = 0
    try:
        for batch in _batches(path):
            frame = _as_frame(pl.from_arrow(pa.Table.from_batches([batch]).select(list(heads))))
            for first in range(0, frame.height, PIECE_ROWS):
                part = frame.slice(first, PIECE_ROWS)
                place = pl.int_range(done + 1, done + 1 + part.height, eager=True)
                done += part.height
                yield canonical(part, columns, number, place), 0.5
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: damaged after row {done} ({str(error).splitlines()[0][:200]})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def arrow_schema(path: Path) -> pl.Schema:
    """The columns of an Arrow file, in its own format or as a stream, as `datasets` writes it.

    Raises:
        ValueError: no Arrow file.
    """
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            return pl.Schema(_as_frame(pl.from_arrow(_reader(source).schema.empty_table())).schema)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not Arrow, damaged or cut off ({str(error).splitlines()[0][:200]})") from None


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        reader = _reader(source)
        if hasattr(reader, "num_record_batches"):
            yield from map(reader.get_batch, range(reader.num_record_batches))
        else:
            yield from reader


def _reader(source: Any) -> Any:
    import pyarrow as pa

    magic = source.read(6)
    source.seek(0)
    return pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)
