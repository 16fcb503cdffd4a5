"""What a figure's data depend on, as hashes: its script, every module of ours that it reaches, settings, versions."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pessimism

from .spec import ROOT, FigureSpec

OURS = ("pessimism", "bandits", "paper_figures")
LOOKS = ("paper_figures/spec.py", "paper_figures/style.py")
"""Modules that decide how data look, or say where they are: what they import is not followed either."""


def sha256(content: bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(content).hexdigest()


def versions() -> dict[str, str]:
    """Versions of what computes and draws."""
    found = {name: version(name) for name in ("numpy", "scipy", "polars", "matplotlib")}
    return {"python": platform.python_version(), "pessimism": pessimism.__version__} | found


def sources(script: Path) -> list[Path]:
    """Every module of ours that a script reaches through imports, at whatever depth, without itself; sorted.

    >>> from pathlib import Path
    >>> reached = sources(ROOT / "bandits" / "recursion.py")
    >>> [str(path.relative_to(ROOT)) for path in reached if path.parent.name == "bandits"]
    ['bandits/__init__.py', 'bandits/trajectory.py']
    """
    reached: set[Path] = set()
    waiting = [script]
    while waiting:
        found = [path for path in _imported_files(waiting.pop()) if path.relative_to(ROOT).as_posix() not in LOOKS]
        new = [path for path in found if path not in reached]
        reached.update(new)
        waiting += new
    return sorted(reached - {script})


def sources_hash(script: Path) -> str:
    """One digest of all :func:`sources`, names and contents."""
    lines = [f"{path.relative_to(ROOT).as_posix()} {sha256(path.read_bytes())}" for path in sources(script)]
    return sha256("\n".join(lines).encode())


def sweep_hashes(spec: FigureSpec) -> dict[str, str]:
    """Name -> digest of all cells, of every sweep that a figure reads."""
    cells = {sweep.name: "\n".join(cell.key("") for cell in sweep.cells()) for sweep in spec.sweeps}
    return {name: sha256(keys.encode()) for name, keys in cells.items()}


def fingerprint(spec: FigureSpec) -> str:
    """A digest of everything that decides a figure's data: equal fingerprints, equal data."""
    used = {name: number for name, number in versions().items() if name != "matplotlib"}
    parts = [spec.parameters, sweep_hashes(spec), used, sha256(spec.script.read_bytes()), sources_hash(spec.script)]
    return sha256(json.dumps(parts, sort_keys=True).encode())


@cache
def _imported_files(path: Path) -> tuple[Path, ...]:
    names = _imported_modules(ast.parse(path.read_text("utf-8")), path)
    return tuple(sorted({file for name in names for file in _module_files(name)}))


def _imported_modules(tree: ast.AST, path: Path) -> Iterator[str]:
    """Dotted names of whatever may be a module, deferred imports included."""
    inside = path.is_relative_to(ROOT)
    package = list(path.parent.relative_to(ROOT).parts) if inside else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _module_files(name: str) -> Iterator[Path]:
    """Files of a module of ours and of the packages that it lies in; none for other modules."""
    parts = name.split(".")
    if parts[0] not in OURS:
        return
    for length in range(1, len(parts) + 1):
        place = ROOT.joinpath(*parts[:length])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                yield file
