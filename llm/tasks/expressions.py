"""Code rewards small enough for two cores: expressions in x that pass tests, run in the sandbox like any code.

A prompt such as ``2=7;5=13:`` shows what an expression gives at two values of x; the answer is a Python expression in
x, such as ``2*x+3``. It is worth 1 if it gives the right values at these two and at three more, which are not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..config import Part
from ..samples import Prompt
from .sandbox.choose import isolation
from .sandbox.isolation import Kind
from .sandbox.limits import Limits
from .sandbox.run import call_function
from .task import Task, is_held_out

SYMBOLS = "0123456789+-*x=;:"
SHOWN, HIDDEN = (2, 5), (0, 3, 9)
FACTORS = range(1, 10)
LONGEST = 5  # characters of a*x+b
REMEMBERED = 1 << 16


class Options(Part):
    """What may be set."""

    held_out: float = 0.15
    sandbox: Kind = "auto"


def make(options: Options) -> Task:
    """The task: a times x, plus or minus b, for a and b from 1 to 9, where no value that is shown is negative."""
    lines = [(a, sign * b) for a in FACTORS for sign in (1, -1) for b in FACTORS if SHOWN[0] * a + sign * b >= 0]
    prompts = [_prompt(a, b) for a, b in lines]
    answers = {prompt.id: f"{a}*x{b:+d}" for prompt, (a, b) in zip(prompts, lines, strict=True)}
    where = isolation(options.sandbox)
    limits = Limits(cpu=2, seconds=60.0, memory=256 << 20)

    @lru_cache(REMEMBERED)
    def values(expression: str) -> tuple[object, ...]:
        code = f"def f(x):\n    return {expression}\n"
        return tuple(call_function(where, code, "f", [[x] for x in (*SHOWN, *HIDDEN)], limits))

    def reward(prompt: Prompt, text: str) -> float:
        expected = tuple(prompt.problem["expected"])
        return float("x" in text and values(str(text)) == expected)

    def draw(wanted: Sequence[Prompt], generator: np.random.Generator) -> list[str]:
        return [answers[prompt.id] for prompt in wanted]

    parts = {part: tuple(p for p in prompts if is_held_out(p.text, options.held_out) == part) for part in (False, True)}
    return Task("expressions", parts[False], parts[True], reward, SYMBOLS, LONGEST + 1, draw)


def _prompt(a: int, b: int) -> Prompt:
    text = ";".join(f"{x}={a * x + b}" for x in SHOWN) + ":"
    return Prompt(text, text, {"expected": [a * x + b for x in (*SHOWN, *HIDDEN)]})
