"""The layout of llm: which group of modules may import which."""

import ast
from pathlib import Path

import pytest

LLM = Path(__file__).resolve().parent.parent / "llm"
ORDER = (
    "config",
    "samples",
    "tasks",
    "sample",
    "update",
    "run",
    "fit",
    "export",
    "show",
    "check",
    "study",
    "start",
    "cli",
    "__main__",
)
"""Every group or module of the top imports from those before it only, and from itself."""

EXCEPTIONS = {("config", "sample")}
"""The configuration asks an engine's base which options it refuses; that module imports no configuration."""


def group_of(path):
    return path.relative_to(LLM).parts[0].removesuffix(".py")


def imported_groups(path):
    """Groups that a module imports from, deferred imports included."""
    package = path.relative_to(LLM.parent).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            names = [part for part in base if part][1:2] or [alias.name for alias in node.names]
            yield from names


def modules():
    return [path for path in sorted(LLM.rglob("*.py")) if path != LLM / "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(LLM)))
def test_groups_import_in_one_direction(path):
    mine = group_of(path)
    for other in imported_groups(path):
        assert ORDER.index(other) <= ORDER.index(mine) or (mine, other) in EXCEPTIONS, other


def test_every_module_is_in_a_group_and_of_readable_length():
    assert {group_of(path) for path in modules()} == set(ORDER)
    assert {path.name: len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert max(len(path.read_text("utf-8").splitlines()) for path in modules()) <= 400
