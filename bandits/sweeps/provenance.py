"""Where numbers come from: the versions and sources that determine them, and what else a reader may want to know."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import scipy

import pessimism as ps
from pessimism.shell.objects import is_object_name

from .grid import Cell, digest

SCHEMA = 1
"""Raised whenever the columns of results, or how they are averaged, change."""

SOURCES = {
    Path(ps.__file__).parent: ("*.py", "objectives/*.py", "solve/*.py"),
    Path(__file__).parent.parent: ("*.py", "sweeps/cell.py", "sweeps/grid.py"),
}
"""Folder -> its files that compute a cell's numbers; rather too many: one missed would pass old numbers for new."""


def provenance(cell: Cell) -> str:
    """A hash of what determines a cell's numbers besides its parameters.

    That is the layout of the results, the versions of numpy and scipy, the sources of `pessimism` and `bandits`, and
    those of the modules that the cell names as ``module:name`` (not of what these import).
    """
    names = (cell.bandit.name, *cell.algorithm.names)
    return _of_modules(tuple(sorted({name.partition(":")[0] for name in names if is_object_name(name)})))


def described() -> dict[str, str | None]:
    """Versions and commit, for the manifest."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in ("numpy", "scipy", "polars")},
        "pessimism": ps.__version__,
        "commit": _commit(),
    }


@cache
def _of_modules(modules: tuple[str, ...]) -> str:
    paths = [
        path for folder, patterns in SOURCES.items() for pattern in patterns for path in sorted(folder.glob(pattern))
    ]
    theirs = [Path(spec.origin) for name in modules if (spec := find_spec(name)) is not None and spec.origin]
    sources = {
        str(index): hashlib.sha256(path.read_bytes()).hexdigest() for index, path in enumerate([*paths, *theirs])
    }
    return digest([SCHEMA, np.__version__, scipy.__version__, sources])


@cache
def _commit() -> str | None:
    """The checkout's commit, with "+" if files differ from it; None where there is no git."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()
