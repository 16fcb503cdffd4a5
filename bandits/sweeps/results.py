"""Results of sweeps on disk, kept by :mod:`pessimism.studies`, and the order of their columns."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import polars as pl

from pessimism.studies import Manifest, Store, read_cell

from ..settings import Settings
from .grid import MEASURES

__all__ = ["Manifest", "Store", "load", "order", "read_cell"]


def load(directory: str | Path, name: str) -> pl.DataFrame:
    """The finished results of a sweep, which :func:`bandits.sweeps.run` or ``python -m bandits sweep`` left there.

    Only reads: whether they are those of today's grid and code is for `run` to say.

    Args:
        directory: the folder given to the sweep.
        name: the sweep's name.

    Raises:
        ValueError: no results, unfinished ones, or a damaged file.
    """
    return Store(Path(directory), name).load(f"python -m bandits sweep {name} --out {directory}")


def order(column: str) -> int:
    """Where a column stands: the order of `bandits.sweeps.cell`; those of one group keep theirs (sorting is stable)."""
    group = column.partition(".")[0]
    settings = [item.name for item in fields(Settings)]
    names = ["cell", "bandit", "algorithm", "baseline_of", *settings, "world", "seed", "sync", "diverged", *MEASURES]
    return names.index(group)
