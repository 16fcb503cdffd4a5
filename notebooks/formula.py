"""Formulas that readers type, read without running any code: only what is listed here is understood."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

LONGEST = 200
"""Characters of a formula."""
DEEPEST = 30
"""Operations inside each other."""

Value = Any  # a number or an array
Formula = Callable[[Mapping[str, Value]], Value]

FUNCTIONS: Mapping[str, tuple[int, Callable[..., Value]]] = MappingProxyType(
    {
        "exp": (1, np.exp),
        "log": (1, np.log),
        "sqrt": (1, np.sqrt),
        "tanh": (1, np.tanh),
        "abs": (1, np.abs),
        "sign": (1, np.sign),
        "sigmoid": (1, lambda x: 0.5 * (1 + np.tanh(x / 2))),
        "min": (2, np.minimum),
        "max": (2, np.maximum),
        "clip": (3, np.clip),
        "where": (3, np.where),
    }
)
"""Name -> how many arguments it takes, and what it does."""

OPERATIONS: Mapping[type, Callable[..., Value]] = MappingProxyType(
    {
        ast.Add: np.add,
        ast.Sub: np.subtract,
        ast.Mult: np.multiply,
        ast.Div: np.true_divide,
        ast.Pow: np.float_power,
        ast.USub: np.negative,
        ast.UAdd: np.positive,
        ast.Lt: np.less,
        ast.LtE: np.less_equal,
        ast.Gt: np.greater,
        ast.GtE: np.greater_equal,
    }
)


def formula(text: str, names: tuple[str, ...]) -> Formula:
    """What a formula computes from the values of its names. Numbers are floats; ``^`` and ``**`` raise to a power.

    Args:
        text: such as "A - beta*l"; the functions are those of FUNCTIONS.
        names: what it may name.

    Raises:
        ValueError: the text is no formula, or names something else; the message says what and where.

    >>> bounded = formula("0.2 * tanh((A - beta*l) / 0.2)", ("l", "A", "beta"))
    >>> float(bounded({"l": 0.0, "A": 10.0, "beta": 1.0}))
    0.2
    >>> formula("__import__('os').getcwd()", ("l", "A"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: at character 1: only functions are called; they are exp, log, sqrt, ...
    """
    if not text.strip():
        raise ValueError("the formula is empty")
    if len(text) > LONGEST:
        raise ValueError(f"the formula has {len(text)} characters; it may have {LONGEST}")
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = getattr(error, "offset", None)
        raise ValueError(f"not a formula{f' (see character {place})' if place else ''}") from None
    return _built(tree.body, names, DEEPEST)


def _built(node: ast.expr, names: tuple[str, ...], left: int) -> Formula:
    where = f"at character {node.col_offset + 1}: "
    if left == 0:
        raise ValueError(f"{where}more than {DEEPEST} operations are inside each other")
    if isinstance(node, ast.Constant):
        return _number(node.value, where)
    if isinstance(node, ast.Name):
        if node.id not in names:
            raise ValueError(f"{where}{node.id!r} has no meaning here; known are {', '.join(names)}")
        return lambda values: values[node.id]
    if isinstance(node, ast.Call):
        function, parts = _function(node, where), node.args
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        function, parts = OPERATIONS[type(node.op)], [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and type(node.op) in OPERATIONS:
        function, parts = OPERATIONS[type(node.op)], [node.operand]
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATIONS:
        function, parts = OPERATIONS[type(node.ops[0])], [node.left, *node.comparators]
    else:
        raise ValueError(f"{where}only + - * / ^ < > <= >=, numbers, functions and {', '.join(names)} are understood")
    built = [_built(part, names, left - 1) for part in parts]
    return lambda values: function(*(part(values) for part in built))


def _number(value: object, where: str) -> Formula:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{where}{value!r} is no number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{where}the number is too large") from None
    return lambda values: number


def _function(node: ast.Call, where: str) -> Callable[..., Value]:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        raise ValueError(f"{where}only functions are called; they are {', '.join(FUNCTIONS)}")
    wanted, function = FUNCTIONS[node.func.id]
    if node.keywords or len(node.args) != wanted or any(isinstance(part, ast.Starred) for part in node.args):
        raise ValueError(f"{where}{node.func.id} takes {wanted} argument{'s' * (wanted > 1)}")
    return function


def coefficient(text: str, beta: float) -> Callable[..., np.ndarray]:
    """The gradient coefficient that a formula in l (log-ratio), rho (ratio), A (advantage) and beta writes.

    Raises:
        ValueError: as :func:`formula`, or its value is not finite on three nats around the behavior policy.

    >>> coefficient("A - beta*l", 0.5)(np.array([1.0]), np.array([2.0]))
    array([1.5])
    >>> coefficient("log(l)", 0.5)
    Traceback (most recent call last):
    ...
    ValueError: the formula is not finite at l = -3, A = -1
    """
    made = formula(text, ("l", "rho", "A", "beta"))

    def evaluated(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            values = made({"l": log_ratio, "rho": np.exp(log_ratio), "A": advantage, "beta": beta})
        return np.broadcast_to(np.asarray(values, dtype=float), np.shape(log_ratio))

    x, a = (grid.ravel() for grid in np.meshgrid(np.linspace(-3, 3, 7), np.linspace(-1, 1, 5), indexing="ij"))
    finite = np.isfinite(evaluated(x, a))
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(f"the formula is not finite at l = {x[first]:g}, A = {a[first]:g}")
    return evaluated
