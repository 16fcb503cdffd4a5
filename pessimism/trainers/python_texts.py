"""Python programs that start a trainer by a command in their texts: the flags in these."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .command_line import CommandLine, read_command
from .shell_words import Word

FLAG = re.compile(r"(?:^|\s)--[a-z][\w-]+")
LEAST = 5
"""So many flags in texts are a command; fewer may be anything's."""

NOT_STARTED = ("add_argument", "option", "Option")
"""Calls that declare a flag, and start nothing."""


def flags_in_texts(source: str) -> list[CommandLine]:
    """The flags in a program's texts as one command; none where there are too few.

    A flag that is in several texts with different values is not known, as one of them may never be used.

    >>> text = "run('--beta 0.1 --lr 1e-6 --n 8 --epochs 2 ' f'--seed {seed}')"
    >>> flags_in_texts(text)[0].values
    {'beta': 0.1, 'lr': '1e-6', 'n': 8, 'epochs': 2, 'seed': '${seed}'}
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    values: dict[str, object] = {}
    lines: dict[str, int] = {}
    for text, line in _texts(tree):
        words = [Word(word.strip("'\""), line) for word in text.split()]
        found = read_command([Word("run", line), *words])
        for name, value in found.values.items():
            values[name] = value if values.get(name, value) == value else f"${{{name}}}"
            lines.setdefault(name, line)
    return [CommandLine("", values, lines)] if len(values) >= LEAST else []


def _texts(node: ast.AST) -> Iterator[tuple[str, int]]:
    """The texts that hold a flag, in order; what is computed in them is ``${...}``."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in NOT_STARTED:
        return
    text = _text(node)
    if text is not None:
        if FLAG.search(text):
            yield text, getattr(node, "lineno", 0)
        return
    for child in ast.iter_child_nodes(node):
        yield from _texts(child)


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return None
    return "".join(
        str(part.value)
        if isinstance(part, ast.Constant)
        else "${" + re.sub(r"[\s${}'\"]", "", ast.unparse(part))[:40] + "}"
        for part in node.values
    )
