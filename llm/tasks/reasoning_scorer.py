"""Problems and scorers of reasoning-gym; run by :class:`llm.tasks.judge.Judge`.

Some scorers hand the answer to Python's ``eval`` or to sympy's, which evaluates code. Here no answer is ever run:

* where the scorer wants a Python literal, it gets ``ast.literal_eval`` instead;
* where it wants arithmetic, it gets :func:`arithmetic`;
* where it wants a formula with functions, the data set is refused (:mod:`llm.tasks.reasoning`);
* and should any scorer try to run a string for whatever reason, it is stopped there, and the answer has no result.
"""

from __future__ import annotations

import ast
import importlib
import json
import operator
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

import reasoning_gym
from reasoning_gym.dataset import ProceduralDataset

from .worker import limited, serve

LITERALS = (
    "reasoning_gym.algorithmic.binary_matrix",
    "reasoning_gym.algorithmic.spiral_matrix",
    "reasoning_gym.algorithmic.string_insertion",
    "reasoning_gym.games.n_queens",
)
ARITHMETIC = ("reasoning_gym.games.countdown", "reasoning_gym.games.puzzle24")
RUNS_ITS_OWN_TEXT = ("bitwise_arithmetic", "number_sorting")  # the problem's, never the answer's

OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def arithmetic(text: str) -> Fraction:
    """The value of integers combined with + - * / and parentheses.

    >>> arithmetic("(3 + 5) / -2")
    Fraction(-4, 1)

    Raises:
        ValueError: anything else stands there, or more than 1,000 characters.
    """
    if len(text) > 1000:
        raise ValueError("an expression of more than 1000 characters")
    return _value(ast.parse(text.strip(), mode="eval").body)


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            return OPERATIONS[type(op)](_value(left), _value(right))
    raise ValueError(f"{ast.unparse(node)} is not arithmetic")


def final_answer(text: str) -> str:
    """What stands in the last ``<answer>...</answer>``, or else the whole text, its thinking left out.

    >>> final_answer("<think>1?</think>It is <answer> 2 </answer>.")
    '2'
    """
    text = text.rpartition("</think>")[2]
    before, closed, _ = text.rpartition("</answer>")
    _, opened, inside = before.rpartition("<answer>")
    return (inside if closed and opened else text).strip()


def problems(data: Mapping[str, Any]) -> list[str]:
    """The questions of a data set.

    Args:
        data: "name", "size", "seed" and "config", as ``reasoning_gym.create_dataset`` takes them.
    """
    return [entry["question"] for entry in _dataset(json.dumps(data))]


def score(data: Mapping[str, Any], index: int, text: str, limit: float) -> float:
    """The score of an answer to one question, by the data set's own rule, within so many processor seconds."""
    key = json.dumps(data)
    entry = _entry(key, index)
    answer = final_answer(text)
    with limited(limit), nullcontext() if data["name"] in RUNS_ITS_OWN_TEXT else nothing_run():
        return float(_dataset(key).score_answer(answer, entry))


@cache
def _dataset(key: str) -> ProceduralDataset:
    data = json.loads(key)
    return reasoning_gym.create_dataset(data["name"], size=data["size"], seed=data["seed"], **data["config"])


@lru_cache(maxsize=4096)
def _entry(key: str, index: int) -> dict[str, Any]:
    return _dataset(key)[index]


_guarding = False


@contextmanager
def nothing_run() -> Iterator[None]:
    """A ``RuntimeError`` where a string is about to be run as code."""
    global _guarding
    _guarding = True
    try:
        yield
    finally:
        _guarding = False


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    # Code of a module has the name of its file, or "<frozen ...>"; code of a string is "<string>" or the like.
    if _guarding and event == "exec" and re.match(r"<(?!frozen)", arguments[0].co_filename):
        raise RuntimeError("the scorer tried to run a string as code")


def _make_safe() -> None:
    for name in LITERALS:
        vars(importlib.import_module(name))["eval"] = ast.literal_eval  # found before the built-in one
    for name in ARITHMETIC:
        vars(importlib.import_module(name))["parse_expr"] = arithmetic
    sys.addaudithook(_refuse)


if __name__ == "__main__":
    _make_safe()
    serve({"problems": problems, "score": score})
