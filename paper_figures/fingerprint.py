"""What a figure's data depend on, as hashes: its script, every module of ours that it reaches, settings, versions."""

from __future__ import annotations

import json
from pathlib import Path

import pessimism
from pessimism import studies
from pessimism.studies import of_files, sha256, sources

from .spec import FigureSpec

OURS = ("pessimism", "bandits", "paper_figures")
LOOKS = ("paper_figures/spec.py", "paper_figures/style.py")
"""Modules that decide how data look, or say where they are: what they import is not followed either."""


def versions() -> dict[str, str]:
    """Versions of what computes and draws."""
    return studies.versions(("numpy", "scipy", "polars", "matplotlib")) | {"pessimism": pessimism.__version__}


def reached(script: Path) -> list[Path]:
    """Every module of ours that a script reaches through imports, at whatever depth, without itself; sorted.

    >>> from paper_figures.spec import ROOT
    >>> found = reached(ROOT / "bandits" / "recursion.py")
    >>> [str(path.relative_to(ROOT)) for path in found if path.parent.name == "bandits"]
    ['bandits/__init__.py', 'bandits/trajectory.py']
    """
    return [path for path in sources(script, OURS, LOOKS) if path != script]


def sources_hash(script: Path) -> str:
    """One digest of all that :func:`reached` lists, names and contents."""
    return of_files(reached(script))


def sweep_hashes(spec: FigureSpec) -> dict[str, str]:
    """Name -> digest of all cells, of every sweep that a figure reads."""
    cells = {sweep.name: "\n".join(cell.key("") for cell in sweep.cells()) for sweep in spec.sweeps}
    return {name: sha256(keys.encode()) for name, keys in cells.items()}


def fingerprint(spec: FigureSpec) -> str:
    """A digest of everything that decides a figure's data: equal fingerprints, equal data."""
    used = {name: number for name, number in versions().items() if name != "matplotlib"}
    parts = [spec.parameters, sweep_hashes(spec), used, sha256(spec.script.read_bytes()), sources_hash(spec.script)]
    return sha256(json.dumps(parts, sort_keys=True).encode())
