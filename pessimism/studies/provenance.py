"""What numbers depend on besides their settings: sources that are reached through imports, and versions."""

from __future__ import annotations

import ast
import json
import platform
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pessimism

from ..shell.objects import is_object_name, source_of
from .sealed import sha256

ROOT = Path(pessimism.__file__).resolve().parents[1]
"""Folder of the packages."""

NO_NUMBERS = ("pessimism/claims/", "pessimism/studies/", "pessimism/views/")
"""What judges, keeps or shows the numbers of a study, and computes none of them."""

MODULE = re.compile(r"\w+(\.\w+)+")


def digest(value: object) -> str:
    """16 hexadecimal digits that stand for a value made of dicts, lists, numbers and text; order of keys is no matter.

    >>> digest({"a": 1, "b": 2.5}) == digest({"b": 2.5, "a": 1}), digest([1]) == digest([2])
    (True, False)
    """
    return sha256(json.dumps(value, sort_keys=True, default=repr).encode())[:16]


def sources(script: Path, packages: Collection[str], skip: Collection[str] = ()) -> list[Path]:
    """Every module of some packages that a script reaches through imports, at whatever depth; sorted, the script too.

    Deferred imports count, and so do texts that name a module ("llm.tasks.math_scorer"): it may be run by its name.

    Args:
        script: a Python file.
        packages: top-level names beside `pessimism`'s folder.
        skip: beginnings of paths from there: modules that are left out with what they import.

    >>> reached = sources(ROOT / "pessimism" / "targets.py", ["pessimism"], skip=NO_NUMBERS)
    >>> [path.name for path in reached if path.parent.name == "solve"][:3]
    ['__init__.py', 'divergences.py', 'fixed_point.py']
    """
    reached, waiting = {script}, [script]
    while waiting:
        found = _imported_files(waiting.pop(), tuple(packages))
        new = [path for path in found if path not in reached and not _name(path).startswith(tuple(skip))]
        reached.update(new)
        waiting += new
    return sorted(reached)


def of_files(paths: Iterable[Path]) -> str:
    """One digest of names and contents."""
    return sha256("\n".join(f"{_name(path)} {sha256(path.read_bytes())}" for path in paths).encode())


def named_sources(names: Iterable[str]) -> list[Path]:
    """Files that are named as ``module:name`` or ``file.py:name``; what they import is not followed."""
    files = (source_of(name) for name in names if is_object_name(name))
    return sorted({file.resolve() for file in files if file is not None})


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """The checkout's commit, with "+" if files differ from it; None where there is no git."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


@cache
def _imported_files(path: Path, packages: tuple[str, ...]) -> tuple[Path, ...]:
    names = _imported_modules(ast.parse(path.read_text("utf-8")), path)
    return tuple(sorted({file for name in names for file in _module_files(name, packages)}))


def _imported_modules(tree: ast.AST, path: Path) -> Iterator[str]:
    """Dotted names of whatever may be a module, deferred imports included."""
    package = list(path.parent.relative_to(ROOT).parts) if path.is_relative_to(ROOT) else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and MODULE.fullmatch(node.value):
            yield node.value


def _module_files(name: str, packages: Collection[str]) -> Iterator[Path]:
    """Files of a module of ours and of the packages that it lies in; none for other modules."""
    parts = name.split(".")
    if parts[0] not in packages:
        return
    for length in range(1, len(parts) + 1):
        place = ROOT.joinpath(*parts[:length])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                yield file
