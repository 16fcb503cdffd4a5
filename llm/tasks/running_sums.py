"""Running sums: write given digits in any order, each with the last digit of the sum so far.

A prompt such as ``0358:`` shows sorted digits. The answer uses each of them once, in whatever order, and writes the
sum of those used so far, modulo ten, behind each: ``55388606``. So there are many right answers, every step of one
can be checked, and nothing has to be searched for: with n digits an answer has 2 n tokens and needs n right steps.
A model that gets one step in six wrong solves a quarter of the problems with eight digits, and could solve them all.

``problems``: that many in one prompt, answered one after the other and separated by ``:``. The reward is one for the
whole completion: 1 if all of them are right, else 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, islice
from typing import Annotated

import numpy as np
from pydantic import Field

from ..config import Part
from ..samples import Prompt
from .task import Task, is_held_out

DIGITS = "0123456789"
SYMBOLS = DIGITS + ":"


class Options(Part):
    """What may be set."""

    digits: Annotated[int, Field(ge=2, le=10)] = Field(default=8, description="of each problem")
    problems: Annotated[int, Field(ge=1, le=32)] = 1
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.1, description="share of the problems")
    size: Annotated[int, Field(ge=1)] = Field(default=20000, description="training prompts, with several problems each")


def judge(digits: str, answer: str) -> dict[str, float]:
    """In what way an answer is right: each 0 or 1, and ``steps_right`` a share; ``solved`` only if all are 1.

    >>> judge("0358", "55388606")
    {'well_formed': 1.0, 'digits_right': 1.0, 'steps_right': 1.0, 'solved': 1.0}
    >>> judge("0358", "55398606")["steps_right"]
    0.5
    >>> judge("0358", "5538")["well_formed"]
    0.0
    """
    if len(answer) != 2 * len(digits) or not set(answer) <= set(DIGITS):
        return dict.fromkeys(("well_formed", "digits_right", "steps_right", "solved"), 0.0)
    used, told = [int(digit) for digit in answer[::2]], [int(digit) for digit in answer[1::2]]
    before = [0, *told[:-1]]
    right = [(old + digit) % 10 == new for old, digit, new in zip(before, used, told, strict=True)]
    same = sorted(answer[::2]) == sorted(digits)
    return {
        "well_formed": 1.0,
        "digits_right": float(same),
        "steps_right": sum(right) / len(right),
        "solved": float(same and all(right)),
    }


def solution(digits: Sequence[int]) -> str:
    """The answer that uses the digits in this order.

    >>> solution([5, 3, 8, 0])
    '55388606'
    """
    sums = np.cumsum(digits) % 10
    return "".join(f"{digit}{total}" for digit, total in zip(digits, sums, strict=True))


def _prompt(parts: Sequence[str]) -> Prompt:
    text = "".join(f"{digits}:" for digits in parts)
    return Prompt(text, text, {"parts": list(parts)})


def _chains(pool: Sequence[str], length: int, seed: int) -> Iterator[Prompt]:
    generator = np.random.default_rng([seed, length])
    while True:
        chosen = generator.integers(len(pool), size=length)
        yield _prompt([pool[int(index)] for index in chosen])


def _measures(prompt: Prompt, text: str) -> dict[str, float]:
    parts: list[str] = prompt.problem["parts"]
    answers = text.split(":")
    if len(answers) != len(parts):
        answers = [""] * len(parts)
    judged = [judge(digits, answer) for digits, answer in zip(parts, answers, strict=True)]
    return {name: sum(one[name] for one in judged) / len(parts) for name in judged[0]}


def _reward(prompt: Prompt, text: str) -> float:
    return float(_measures(prompt, text)["solved"] == 1)


def _draw(prompts: Sequence[Prompt], generator: np.random.Generator) -> list[str]:
    """A right answer for each prompt, every order of its digits alike."""
    return [
        ":".join(
            solution(generator.permutation([int(digit) for digit in digits]).tolist())
            for digits in prompt.problem["parts"]
        )
        for prompt in prompts
    ]


def make(options: Options) -> Task:
    """The task."""
    pools: dict[bool, list[str]] = {False: [], True: []}
    for combination in combinations_with_replacement(DIGITS, options.digits):
        digits = "".join(combination)
        pools[is_held_out(digits, options.held_out)].append(digits)
    if options.problems == 1:
        train, held_out = ([_prompt([digits]) for digits in pools[part]] for part in (False, True))
    else:
        train = list(islice(_chains(pools[False], options.problems, 0), options.size))
        held_out = list(islice(_chains(pools[True], options.problems, 1), max(1, options.size // 10)))
    length = (2 * options.digits + 1) * options.problems
    return Task("running_sums", tuple(train), tuple(held_out), _reward, SYMBOLS, length, _draw, _measures)
