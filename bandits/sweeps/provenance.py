"""Where a sweep's numbers come from: sources and versions."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pessimism as ps
from pessimism.studies import NO_NUMBERS, commit, digest, named_sources, of_files, sources, versions

from .grid import Cell

SCHEMA = 1
"""Raised whenever the columns of results, or how they are averaged, change."""

COMPUTES = Path(__file__).with_name("cell.py")


def provenance(cell: Cell) -> str:
    """A hash of what determines a cell's numbers besides its parameters.

    That is the layout of the results, the versions of numpy and scipy, the sources of `pessimism` and `bandits` that
    computing a cell reaches, and those of the modules that the cell names as ``module:name`` (without their imports).
    """
    return _of_objects((cell.bandit.name, *cell.algorithm.names))


def described() -> dict[str, str | None]:
    """Versions and commit, for the manifest."""
    return {**versions(("numpy", "scipy", "polars")), "pessimism": ps.__version__, "commit": commit()}


@cache
def _of_objects(names: tuple[str, ...]) -> str:
    paths = [*sources(COMPUTES, ("pessimism", "bandits"), NO_NUMBERS), *named_sources(names)]
    packages = versions(("numpy", "scipy"))
    return digest([SCHEMA, packages["numpy"], packages["scipy"], of_files(paths)])
