"""Tables as CSV files whose bytes are theirs alone, and the manifest that says where every file came from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import polars as pl
from polars import selectors
from pydantic import BaseModel, ConfigDict, ValidationError

from pessimism.shell import write_whole

MANIFEST = "manifest.json"
TYPES: dict[str, pl.DataType] = {
    "Float64": pl.Float64(),
    "Int64": pl.Int64(),
    "String": pl.String(),
    "Boolean": pl.Boolean(),
}
"""Column types that a CSV file keeps exactly."""


class Record(BaseModel):
    """Where one figure's files came from. Digests are SHA-256, versions those that made the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shows: str
    caption: str
    origin: str
    script: str
    script_sha256: str
    sources_sha256: str
    settings: dict
    seed: int | None
    sweeps: dict[str, str]
    versions: dict[str, str]
    fingerprint: str
    rows: int
    columns: dict[str, str]
    files: dict[str, str]


class Manifest(BaseModel):
    """Every figure of a folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    figures: dict[str, Record] = {}

    def with_record(self, name: str, record: Record) -> Manifest:
        """The manifest with one record more, or another one in its place; names sorted."""
        figures = dict(sorted((self.figures | {name: record}).items()))
        return Manifest(figures=figures)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder; an empty one where there is none.

    Raises ValueError for a file that is not a manifest; the message names it.
    """
    path = folder / MANIFEST
    if not path.exists():
        return Manifest()
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{path}: not a manifest of figures: {place}: {first['msg']}; --recompute mends it") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it whole, or not at all."""
    write_whole(folder / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())


def widened(table: pl.DataFrame) -> pl.DataFrame:
    """The same numbers, integers and floats of whatever width in 64 bits.

    >>> widened(pl.DataFrame({"n": pl.Series([1], dtype=pl.Int8)})).schema
    Schema([('n', Int64)])
    """
    return table.cast({selectors.integer(): pl.Int64, selectors.float(): pl.Float64})


def to_csv(table: pl.DataFrame) -> bytes:
    """The table as CSV: floats with as many digits as it takes to read them back, nothing for null.

    Raises ValueError for a column of a type that CSV does not keep, or a text that could be taken for null.

    >>> to_csv(pl.DataFrame({"name": ["a"], "value": [0.1 + 0.2]}))
    b'name,value\\na,0.30000000000000004\\n'
    """
    for name, kind in table.schema.items():
        if str(kind) not in TYPES:
            raise ValueError(f"column {name!r} is {kind}; it must be one of {', '.join(TYPES)}")
        if kind == pl.String and (table[name] == "").any():
            raise ValueError(f"column {name!r} has an empty text, which a CSV file does not tell from null")
    content = io.BytesIO()
    table.write_csv(content)
    return content.getvalue()


def from_csv(content: bytes, columns: dict[str, str]) -> pl.DataFrame:
    """What :func:`to_csv` wrote, with columns of the types named.

    >>> from_csv(b"name,value\\na,0.30000000000000004\\n", {"name": "String", "value": "Float64"}).rows()
    [('a', 0.30000000000000004)]
    """
    return pl.read_csv(io.BytesIO(content), schema={name: TYPES[kind] for name, kind in columns.items()})


def column_types(table: pl.DataFrame) -> dict[str, str]:
    """Column names with their types' names."""
    return {name: str(kind) for name, kind in table.schema.items()}
