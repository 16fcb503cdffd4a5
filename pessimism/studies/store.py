"""Results of a study on disk: a Parquet file for every finished cell, one for the whole study, and a manifest.

    DIR/NAME/cells/KEY-HASH.parquet   written as soon as the cell is finished; HASH is that of its bytes
    DIR/NAME/manifest.json            the cells, versions, seconds, the hash of the next
    DIR/NAME.parquet                  all cells in the study's order; there only when none is missing

Files are written whole or not at all, and a file whose bytes have another hash is never read. (Parquet's own checksums
of pages left one in fifty single flipped bits unnoticed.)
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from ..shell.files import write_whole
from ..views.tables import encode
from .sealed import sha256

Order = Callable[[str], int]
"""Column -> where it stands in the file of the whole study; columns of one place keep theirs."""


class Manifest(BaseModel):
    """What a folder of results holds.

    Attributes:
        sweep, shows: the study's name and what it shows.
        grid: a hash of all cells and of what determines their numbers.
        provenance: a hash of the code and library versions alone.
        versions: of what computed it, and the commit.
        cells: key -> the cell in words.
        seconds: key -> time that the cell took where it was computed, for finished cells.
        failures: key -> what went wrong.
        hash: of the file with all rows, once it is there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sweep: str
    shows: str
    grid: str
    provenance: str
    versions: dict[str, str | None]
    cells: dict[str, str]
    seconds: dict[str, float]
    failures: dict[str, str]
    hash: str | None = None


@dataclass(frozen=True)
class Store:
    """The files of one study."""

    directory: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.directory / self.name

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def whole(self) -> Path:
        return self.directory / f"{self.name}.parquet"

    @property
    def cells(self) -> Path:
        return self.folder / "cells"

    def discard(self) -> None:
        """Remove the results, whatever grid they are of."""
        for path in (self.whole, self.manifest, *self.cells.glob("*.parquet")):
            path.unlink(missing_ok=True)

    def read_manifest(self) -> Manifest | None:
        """The manifest, or None if there is none.

        Raises:
            ValueError: it is damaged.
        """
        try:
            return Manifest.model_validate_json(self.manifest.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"{self.manifest}: no manifest of a sweep: {place and place + ': '}{first['msg']}"
            ) from None

    def write_manifest(self, manifest: Manifest) -> None:
        write_whole(self.manifest, (encode(json.loads(manifest.model_dump_json())) + "\n").encode())

    def write_cell(self, key: str, content: bytes) -> Path:
        path = self.cells / f"{key}-{short(content)}.parquet"
        write_whole(path, content)
        return path

    def read_cells(self, keys: Collection[str]) -> tuple[dict[str, Path], dict[Path, str]]:
        """The files of those of these cells that are there and sound, and what is wrong with damaged ones."""
        sound: dict[str, Path] = {}
        damaged: dict[Path, str] = {}
        for path in sorted(self.cells.glob("*-*.parquet")):
            key = path.name.partition("-")[0]
            if key in keys:
                try:
                    read_cell(path)
                    sound[key] = path
                except ValueError as error:
                    damaged[path] = str(error)
        return sound, damaged

    def write_whole(self, tables: Iterable[pl.DataFrame], order: Order) -> str:
        """Put the cells' tables together, in this order; returns the file's hash."""
        joined = pl.concat(tables, how="diagonal_relaxed")
        content = as_parquet(joined.select(sorted(joined.columns, key=order)))
        write_whole(self.whole, content)
        return short(content)

    def load(self, again: str) -> pl.DataFrame:
        """The finished results. Only reads: whether they are those of today's cells and code is not asked.

        Args:
            again: the command that computes them, for messages.

        Raises:
            ValueError: no results, unfinished ones, or a damaged file.
        """
        manifest = self.read_manifest()
        if manifest is None:
            raise ValueError(f"{self.folder}: no results of sweep {self.name}; compute them: {again}")
        if manifest.hash is None or not self.whole.exists():
            raise ValueError(f"{self.folder}: sweep {self.name} is not finished; finish it: {again}")
        try:
            return _read(self.whole, manifest.hash)
        except ValueError as error:
            raise ValueError(f"{error}; mend it from its cells: {again}") from None


def as_parquet(table: pl.DataFrame) -> bytes:
    """The bytes of a Parquet file; the same for the same table."""
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def short(content: bytes) -> str:
    """16 hexadecimal digits of a digest."""
    return sha256(content)[:16]


def read_cell(path: Path) -> pl.DataFrame:
    """The rows of a finished cell; raises ValueError if the file is damaged."""
    key, _, expected = path.stem.partition("-")
    table = _read(path, expected)
    if table["cell"][0] != key:
        raise ValueError(f"{path}: it holds cell {table['cell'][0]}")
    return table


def _read(path: Path, expected: str) -> pl.DataFrame:
    content = path.read_bytes()
    if short(content) != expected:
        raise ValueError(f"{path}: damaged or half-written: its hash is {short(content)}, not {expected}")
    return pl.read_parquet(content)
