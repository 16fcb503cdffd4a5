"""Python scripts and notebooks as configurations: the keyword arguments of calls of a Config class.

The source is parsed, never run. A value that is no literal, nor a name that the module sets once to one, is left as
``${...}``, which readers tell as not resolved.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from .command_line import CommandLine

NAMES = ("Config", "Arguments", "Args")
MAX_CALLS = 100
PYTHON_MAGICS = ("capture", "time", "timeit", "prun")
"""Magics of a cell whose other lines are Python."""


def notebook_source(text: str) -> str:
    """The code of a Jupyter notebook, without the lines that only IPython reads.

    Raises:
        ValueError: it is no notebook.
    """
    try:
        cells = json.loads(text)["cells"]
        parts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError):
        raise ValueError("not a Jupyter notebook") from None
    return "\n".join("\n".join(_python_lines(part.split("\n"))) for part in parts)


def _python_lines(lines: list[str]) -> Iterator[str]:
    """A cell without what only IPython reads: magics, commands of a shell over one line or several, other languages."""
    magic = re.match(r"\s*%%(\w+)", "\n".join(lines))
    other = magic is not None and magic[1] not in PYTHON_MAGICS
    continued = False
    for line in lines:
        command = re.match(r"(\s*)(?:\w+\s*=\s*)?(?:!|%%?[A-Za-z])", line)
        if other or continued:
            yield ""
        else:
            yield line if command is None else f"{command[1]}pass"
        continued = (continued or command is not None) and line.rstrip().endswith("\\")


def config_calls(source: str) -> list[CommandLine]:
    """Every call of a class whose name ends in Config or Arguments that has keyword arguments, with them.

    Raises:
        ValueError: it is no Python, or has too many such calls.

    >>> config_calls("GRPOConfig(beta=0.1, top_p=p)")[0].values
    {'beta': 0.1, 'top_p': '${p}'}
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"not Python: {error.msg} (line {error.lineno})") from None
    known = _constants(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [_call(node, known) for node in calls if node.keywords and _class(node)]
    found += [made for node in calls if (made := _applied(node, known))]
    if len(found) > MAX_CALLS:
        raise ValueError(f"it makes more than {MAX_CALLS} configurations")
    return found


def _applied(node: ast.Call, known: dict[str, Any]) -> CommandLine | None:
    """What ``chz.Blueprint(Config).apply({...})`` sets; None for any other call."""
    made = node.func.value if isinstance(node.func, ast.Attribute) and node.func.attr == "apply" else None
    if not isinstance(made, ast.Call) or ast.unparse(made.func).rpartition(".")[2] != "Blueprint" or not made.args:
        return None
    given = node.args[0] if node.args else None
    name = ast.unparse(made.args[0]).rpartition(".")[2]
    if not isinstance(given, ast.Dict) or not name.endswith(NAMES):
        return None
    pairs = [(key, value) for key, value in zip(given.keys, given.values, strict=True) if isinstance(key, ast.Constant)]
    keywords = [ast.keyword(str(key.value), value) for key, value in pairs]
    return _call(ast.Call(ast.Name(name), [], keywords), known)


def _class(node: ast.Call) -> str:
    name = ast.unparse(node.func).rpartition(".")[2]
    return name if name.endswith(NAMES) and name.isidentifier() else ""


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Names that are set once in the whole module, to a literal."""
    targets = [name.id for name in ast.walk(tree) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)]
    return {name: value for name, value in _assigned(tree) if targets.count(name) == 1}


def _assigned(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            literal = _literal(node.value, {})
            if literal is not None:
                yield node.targets[0].id, literal


def _literal(node: ast.expr, known: dict[str, Any]) -> Any:
    """The value of a literal or of a known name; None for anything else, and for None."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _call(node: ast.Call, known: dict[str, Any]) -> CommandLine:
    values: dict[str, Any] = {}
    unknown = ["**" + ast.unparse(keyword.value)[:40] for keyword in node.keywords if keyword.arg is None]
    for keyword in node.keywords:
        if keyword.arg is not None:
            value = _literal(keyword.value, known)
            none = isinstance(keyword.value, ast.Constant) and keyword.value.value is None
            shown = "${" + "".join(c for c in ast.unparse(keyword.value)[:60] if c not in "${}") + "}"
            values[keyword.arg] = value if value is not None or none else shown
    lines = {keyword.arg: keyword.value.lineno for keyword in node.keywords if keyword.arg is not None}
    return CommandLine(_class(node), values, lines, tuple(unknown))
