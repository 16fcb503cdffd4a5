"""Results on disk: a Parquet file for every finished cell, one for the whole sweep, and a manifest.

    DIR/NAME/cells/KEY-HASH.parquet   written as soon as the cell is finished; HASH is that of its bytes
    DIR/NAME/manifest.json            the grid, versions, seconds, the hash of the next
    DIR/NAME.parquet                  all cells in the grid's order; there only when none is missing

Files are written whole or not at all, and a file whose bytes have another hash is never read. (Parquet's own checksums
of pages left one in fifty single flipped bits unnoticed.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from pessimism.shell.files import write_whole
from pessimism.views.tables import encode

from ..settings import Settings
from .cell import as_parquet
from .grid import MEASURES


class Manifest(BaseModel):
    """What a folder of results holds.

    Attributes:
        sweep, shows: the sweep's name and what it shows.
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
    """The files of one sweep."""

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

    def create(self) -> None:
        """Make the folders.

        Raises:
            ValueError: they cannot be made.
        """
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{self.folder}: {error.strerror or error}") from None

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
        path = self.cells / f"{key}-{_hash(content)}.parquet"
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

    def write_whole(self, tables: Iterable[pl.DataFrame]) -> str:
        """Put the cells' tables together, in this order; returns the file's hash."""
        joined = pl.concat(tables, how="diagonal_relaxed")
        content = as_parquet(joined.select(sorted(joined.columns, key=_place)))
        write_whole(self.whole, content)
        return _hash(content)


def read_cell(path: Path) -> pl.DataFrame:
    """The rows of a finished cell; raises ValueError if the file is damaged."""
    key, _, expected = path.stem.partition("-")
    table = _read(path, expected)
    if table["cell"][0] != key:
        raise ValueError(f"{path}: it holds cell {table['cell'][0]}")
    return table


def load(directory: str | Path, name: str) -> pl.DataFrame:
    """The finished results of a sweep, which :func:`bandits.sweeps.run` or ``python -m bandits sweep`` left there.

    Only reads: whether they are those of today's grid and code is for `run` to say.

    Args:
        directory: the folder given to the sweep.
        name: the sweep's name.

    Raises:
        ValueError: no results, unfinished ones, or a damaged file.
    """
    store = Store(Path(directory), name)
    again = f"python -m bandits sweep {name} --out {directory}"
    manifest = store.read_manifest()
    if manifest is None:
        raise ValueError(f"{store.folder}: no results of sweep {name}; compute them: {again}")
    if manifest.hash is None or not store.whole.exists():
        raise ValueError(f"{store.folder}: sweep {name} is not finished; finish it: {again}")
    try:
        return _read(store.whole, manifest.hash)
    except ValueError as error:
        raise ValueError(f"{error}; mend it from its cells: {again}") from None


def _place(column: str) -> int:
    """Where a column stands: the order of `bandits.sweeps.cell`; those of one group keep theirs (sorting is stable)."""
    group = column.partition(".")[0]
    settings = [item.name for item in fields(Settings)]
    order = ["cell", "bandit", "algorithm", "baseline_of", *settings, "world", "seed", "sync", "diverged", *MEASURES]
    return order.index(group)


def _read(path: Path, expected: str) -> pl.DataFrame:
    content = path.read_bytes()
    if _hash(content) != expected:
        raise ValueError(f"{path}: damaged or half-written: its hash is {_hash(content)}, not {expected}")
    return pl.read_parquet(content)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
