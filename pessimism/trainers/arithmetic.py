"""Arithmetic of shell scripts: whole numbers, variables, + - * / % and comparisons. Nothing is executed."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

MAX_LENGTH = 500


def whole_number(text: str, variable: Callable[[str], str | None]) -> int | None:
    """The value of what stands between ``$((`` and ``))``; None where it is anything else than such arithmetic.

    Args:
        text: the expression.
        variable: name -> value, None where it is not known.

    >>> whole_number("(n + 1) * 4", {"n": "2"}.get), whole_number("m * 4", {"n": "2"}.get)
    (12, None)
    """

    def known(match: re.Match[str]) -> str:
        value = variable(match[1] or match[2] or match[3]) or ""
        return f"({value})" if re.fullmatch(r"-?\d{1,15}", value) else "?"

    filled = re.sub(r"\$\{(\w+|#)\}|\$(\w+|#)|\b([A-Za-z_]\w*)", known, text)
    if len(filled) > MAX_LENGTH or not re.fullmatch(r"[\d\s+\-*/%()<>=!]*", filled):
        return None
    try:
        return _value(ast.parse(filled.strip().replace("/", "//"), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, ValueError, RecursionError, MemoryError):
        return None


def _value(node: Any) -> int:
    """A whole number from the syntax tree of an arithmetic expression."""
    two: dict[type, Callable[[int, int], int]] = {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.FloorDiv: lambda left, right: int(left / right) if abs(left) < 2**53 else left // right,
        ast.Mod: operator.mod,
    }
    compare: dict[type, Callable[[int, int], bool]] = {
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
    }
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return -_value(node.operand) if isinstance(node.op, ast.USub) else _value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in two:
        return two[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in compare:
        return int(compare[type(node.ops[0])](_value(node.left), _value(node.comparators[0])))
    raise ValueError
