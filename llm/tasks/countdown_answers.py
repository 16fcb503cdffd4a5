"""Correct answers to countdown problems: all of them for few digits, drawn ones for many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

OPERATIONS = "+-*"
VALUES = 100  # results are 0..99
NOTHING = VALUES  # stands for a result outside
ORDERS = 8  # of the digits, that an answer to a long problem is drawn from

Problem = tuple[str, int]
"""Sorted digits, target."""


def _next_values() -> np.ndarray:
    """(operation, digit, value) -> value; an operation on NOTHING gives NOTHING."""
    digit, value = np.arange(10)[:, None], np.arange(VALUES + 1)
    results = np.stack([value + digit, value - digit, value * digit])
    return np.where((value == NOTHING) | (results < 0) | (results >= VALUES), NOTHING, results).astype(np.int16)


NEXT = _next_values()


def answer_text(digits: Sequence[int], operations: Sequence[int]) -> str:
    """The answer that takes digits in this order with these operations.

    >>> answer_text([2, 3, 4], [0, 2])
    '2+3=05*4=20'
    """
    value, text = int(digits[0]), str(digits[0])
    for digit, operation in zip(digits[1:], operations, strict=True):
        value = int(NEXT[operation, digit, value])
        text += f"{OPERATIONS[operation]}{digit}={value:02d}"
    return text


@dataclass(frozen=True)
class AllAnswers:
    """Every correct answer to every solvable problem with n digits, N of them, sorted by problem.

    Attributes:
        digits: (N, n) in the order of use.
        operations: (N, n - 1), positions in OPERATIONS.
        problems: problem -> (first, count), the rows that solve it.
    """

    digits: np.ndarray
    operations: np.ndarray
    problems: Mapping[Problem, tuple[int, int]]

    def draw(self, problems: Sequence[Problem], generator: np.random.Generator) -> list[str]:
        """One of the correct answers to each, all equally likely."""
        spans = [self.problems[problem] for problem in problems]
        rows = [
            first + int(share * count)
            for (first, count), share in zip(spans, generator.random(len(spans)), strict=True)
        ]
        return [answer_text(self.digits[row].tolist(), self.operations[row].tolist()) for row in rows]


@cache
def all_answers(count: int) -> AllAnswers:
    """By enumeration of 9^n 3^(n - 1) expressions.

    >>> answers = all_answers(2)
    >>> first, count = answers.problems["23", 6]
    >>> [answer_text(answers.digits[row], answers.operations[row]) for row in range(first, first + count)]
    ['2*3=06', '3*2=06']
    """
    digits = np.indices((9,) * count, dtype=np.int16).reshape(count, -1).T + 1
    operations = np.indices((3,) * (count - 1), dtype=np.int8).reshape(count - 1, -1).T
    digits, operations = np.repeat(digits, len(operations), axis=0), np.tile(operations, (len(digits), 1))
    value = digits[:, 0]
    for step in range(count - 1):
        value = NEXT[operations[:, step], digits[:, step + 1], value]
    reached = np.flatnonzero(value != NOTHING)
    names = np.column_stack([np.sort(digits[reached], axis=1), value[reached]])
    order = np.lexsort(names.T[::-1])
    unique, first, counts = np.unique(names[order], axis=0, return_index=True, return_counts=True)
    problems = {
        ("".join(map(str, name[:-1])), name[-1]): span
        for name, *span in zip(unique.tolist(), first.tolist(), counts.tolist(), strict=True)
    }
    kept = reached[order]
    return AllAnswers(digits[kept], operations[kept], {problem: (a, b) for problem, (a, b) in problems.items()})


def random_problems(count: int, generator: np.random.Generator, size: int) -> list[Problem]:
    """Solvable problems with so many digits: the target is where a random walk over the digits ends."""
    digits = generator.integers(1, 10, (size, count))
    value = digits[:, 0]
    for step in range(1, count):
        # Digits are at most 9: adding is possible below 91, subtracting above 8, so there is always a way on.
        ways = NEXT[:, digits[:, step], value].T
        weights = np.where(ways == NOTHING, 0.0, generator.random(ways.shape))
        value = np.take_along_axis(ways, weights.argmax(1)[:, None], 1)[:, 0]
    names = np.sort(digits, axis=1).tolist()
    return [("".join(map(str, name)), target) for name, target in zip(names, value.tolist(), strict=True)]


def draw_long(problems: Sequence[Problem], generator: np.random.Generator) -> list[str]:
    """A correct answer to each of B problems with the same number n of digits, too many for enumeration.

    Of a few random orders of the digits, the answers that use one of them are counted by dynamic programming, and one
    is drawn, all equally likely. More orders are tried for a problem that has none.
    """
    texts: list[str | None] = [None] * len(problems)
    while open_rows := [row for row, text in enumerate(texts) if text is None]:
        digits = np.array([[int(digit) for digit in problems[row][0]] for row in open_rows])
        targets = np.array([problems[row][1] for row in open_rows])
        orders = generator.permuted(np.repeat(digits[:, None], ORDERS, axis=1), axis=-1)  # (B, M, n)
        for row, text in zip(open_rows, _drawn(orders, targets, generator), strict=True):
            texts[row] = text
    return [text for text in texts if text is not None]


def _drawn(orders: np.ndarray, targets: np.ndarray, generator: np.random.Generator) -> list[str | None]:
    """An answer to each of B problems that uses one of M orders (B, M, n); None where no such answer exists."""
    count, _, length = orders.shape
    ways = np.zeros((length, *orders.shape[:2], VALUES + 1))  # [step, problem, order, value]: ways on to the target
    ways[-1, np.arange(count), :, targets] = 1
    for step in range(length - 2, -1, -1):
        reached = NEXT[:, orders[:, :, step + 1]]  # (3, B, M, values)
        ways[step] = sum(np.take_along_axis(ways[step + 1], to.astype(np.int64), axis=-1) for to in reached)
    rows = np.arange(count)
    starts = np.take_along_axis(ways[0], orders[:, :, :1], axis=-1)[..., 0]  # (B, M)
    order = _pick(starts, generator)
    digits, ways = orders[rows, order], ways[:, rows, order]
    value, operations = digits[:, 0], np.empty((count, length - 1), np.int64)
    for step in range(length - 1):
        reached = NEXT[:, digits[:, step + 1], value]  # (3, B)
        operations[:, step] = chosen = _pick(ways[step + 1][rows, reached].T, generator)
        value = reached[chosen, rows]
    return [answer_text(digits[row].tolist(), operations[row].tolist()) if starts[row].any() else None for row in rows]


def _pick(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(B, N) weights -> (B,) positions, drawn in proportion to the weights of their row."""
    cumulated = weights.cumsum(1)
    return (generator.random((len(weights), 1)) * cumulated[:, -1:] >= cumulated[:, :-1]).sum(1)
