"""Countdown in a few tokens: reach a target from given digits, writing every intermediate result.

A prompt such as ``1234>56:`` shows sorted digits from 1 to 9 and a target from 0 to 99. The answer combines the digits
from left to right, each used once, with ``+``, ``-`` and ``*``, every result in 0..99 and written with two digits:
``2+3=05*4=20...``. With four digits that is 8 tokens asked and 16 answered, 24 in all.

Longer answers, made of the same steps:

* ``digits``: a longer chain of steps (5 digits - 4 characters), judged by its end;
* ``problems``: that many independent problems in one prompt, answered one after the other, separated by ``:``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..config import Part
from ..samples import Prompt
from .countdown_answers import NEXT, OPERATIONS, Problem, all_answers, draw_long, random_problems
from .task import Task, is_held_out

SYMBOLS = "0123456789+-*=>:"
ENUMERATED = 4  # digits up to which all problems and answers are listed


class Options(Part):
    """What may be set."""

    digits: Annotated[int, Field(ge=2, le=32)] = Field(
        default=4, description="of each problem; for more than 4, answers are drawn uniformly over a few random orders"
    )
    problems: Annotated[int, Field(ge=1, le=32)] = 1
    reward: Literal["share", "all"] = Field(
        default="share", description="share of the problems of a prompt that are right, or 1 only if all are"
    )
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.1, description="share of (digits, target) pairs")
    size: Annotated[int, Field(ge=1)] = Field(
        default=20000, description="training prompts, where there are more than 4 digits or several problems"
    )


def _text(parts: Sequence[Problem]) -> str:
    return "".join(f"{digits}>{target:02d}:" for digits, target in parts)


def _prompt(parts: Sequence[Problem]) -> Prompt:
    text = _text(parts)
    return Prompt(text, text, {"parts": [list(part) for part in parts]})


def _chains(pool: Sequence[Problem], length: int, seed: int) -> Iterator[Prompt]:
    generator = np.random.default_rng([seed, length])
    while True:
        yield _prompt([pool[i] for i in generator.integers(len(pool), size=length)])


def judge(digits: str, target: int, answer: str) -> dict[str, float]:
    """In what way an answer is right: each 0 or 1, and ``steps_right`` a share; ``solved`` only if all are 1.

    >>> judge("2234", 48, "2+2=04*3=12*4=48")
    {'well_formed': 1.0, 'digits_right': 1.0, 'steps_right': 1.0, 'target_right': 1.0, 'solved': 1.0}
    >>> judge("2234", 48, "2+2=05*3=12*4=48")["steps_right"]
    0.3333333333333333
    """
    names = ("well_formed", "digits_right", "steps_right", "target_right", "solved")
    if len(answer) != 5 * len(digits) - 4 or not re.fullmatch(r"[0-9]([-+*][0-9]=[0-9]{2})+", answer):
        return dict.fromkeys(names, 0.0)
    steps = re.findall(r"([-+*])([0-9])=([0-9]{2})", answer)
    value, right = int(answer[0]), 0
    for operation, digit, result in steps:
        expected = NEXT[OPERATIONS.index(operation), int(digit), value]
        value = int(result)
        right += value == expected
    used = sorted(answer[0] + "".join(digit for _, digit, _ in steps))
    shares = (1.0, float(used == sorted(digits)), float(right / len(steps)), float(value == target))
    return dict(zip(names, (*shares, float(min(shares) == 1)), strict=True))


def _measures(prompt: Prompt, text: str) -> dict[str, float]:
    parts = prompt.problem["parts"]
    answers = text.split(":")
    missing = len(parts) - len(answers)
    answers = answers + [""] * missing if missing >= 0 else [""] * len(parts)  # with one too many, none is right
    judged = [judge(digits, target, answer) for (digits, target), answer in zip(parts, answers, strict=True)]
    return {name: sum(one[name] for one in judged) / len(parts) for name in judged[0]}


def make(options: Options) -> Task:
    """The task."""
    listed = options.digits <= ENUMERATED
    found = (
        [*all_answers(options.digits).problems]
        if listed
        else random_problems(options.digits, np.random.default_rng(options.digits), 2 * options.size)
    )
    pools: dict[bool, list[Problem]] = {False: [], True: []}
    for problem in dict.fromkeys(found):
        pools[is_held_out(_text([problem]), options.held_out)].append(problem)
    if options.problems == 1:
        train, held_out = ([_prompt([problem]) for problem in pools[part]] for part in (False, True))
        train = train if listed else train[: options.size]
    else:
        train = list(islice(_chains(pools[False], options.problems, 0), options.size))
        held_out = list(islice(_chains(pools[True], options.problems, 1), max(1, options.size // 10)))

    def reward(prompt: Prompt, text: str) -> float:
        solved = _measures(prompt, text)["solved"]
        return solved if options.reward == "share" else float(solved == 1)

    def draw(prompts: Sequence[Prompt], generator: np.random.Generator) -> list[str]:
        problems = [(digits, target) for prompt in prompts for digits, target in prompt.problem["parts"]]
        answers = all_answers(options.digits).draw if listed else draw_long
        drawn = iter(answers(problems, generator))
        return [":".join(islice(drawn, options.problems)) for _ in prompts]

    length = (5 * options.digits - 4) * options.problems + options.problems - 1
    return Task("countdown24", tuple(train), tuple(held_out), reward, SYMBOLS, length + 1, draw, _measures)
