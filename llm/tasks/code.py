"""Programming problems, judged by running the answer's code on tests: only ever in a sandbox, or not at all.

The code is what stands in the answer's last fenced block, after its thinking. Expected outputs stay outside the
sandbox.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache, partial
from typing import Annotated, Any, Literal

from pydantic import Field

from ..config import Count, Part, Share
from ..samples import Prompt
from .chat import Tokenizer, asked, written
from .code_rows import read_problem
from .final_answers import after_thinking
from .mathematics import Source, parted, rows
from .sandbox.choose import isolation
from .sandbox.isolation import Isolation, Kind
from .sandbox.limits import Limits
from .sandbox.run import call_function, run_program
from .task import Task

FENCED = re.compile(r"```(?:python|py|python3)?[ \t]*\n(.*?)```", re.DOTALL)
REMEMBERED = 4096  # verdicts; the same code for the same problem has the same one


class Options(Part):
    """What may be set."""

    train: Source
    held_out: Source | Annotated[Share, Field(gt=0)] = Field(
        default=0.05, description="another source, or the share of the training rows to hold out"
    )
    instruction: str = Field(
        default="Write a Python program. Put it, whole, into one block that begins with ```python.",
        description="follows each problem",
    )
    template: Mapping[str, Any] = Field(default_factory=dict, description="arguments of the tokenizer's chat template")
    reward: Literal["all", "share"] = Field(default="all", description="1 only if all tests pass, or the share that do")
    tests: Count = Field(default=32, description="most tests of a problem; of more, those with the longest inputs")
    sandbox: Kind = Field(default="auto", description="what keeps the code in, see llm.tasks.sandbox.isolation")
    image: str = Field(default="", description="of the container, for docker and gvisor")
    limits: Limits = Field(default=Limits(), description="of one test of a program, or of all calls of a function")


def make(options: Options, tokenizer: Tokenizer | None) -> Task:
    """The task.

    Raises:
        ValueError: data that are not there, a row of another form, or no way to isolate code on this machine.
    """
    read = partial(_prompts, options=options, tokenizer=tokenizer)
    train, held_out = parted(options.train, options.held_out, read)
    where = isolation(options.sandbox, options.image)
    failures: Counter[str] = Counter()

    @lru_cache(REMEMBERED)
    def share(code: str, problem: str) -> float:
        return passed(where, code, json.loads(problem), options.limits, options.reward == "all", failures)

    def reward(prompt: Prompt, text: str) -> float:
        code = extract(prompt.text, text)
        if code is None:
            return 0.0
        found = share(code, json.dumps({name: prompt.problem[name] for name in ("function", "tests", "wrapped")}))
        return found if options.reward == "share" else float(found == 1)

    return Task("code", train, held_out, reward, failures=lambda: dict(failures))


def _prompts(source: Source, options: Options, tokenizer: Tokenizer | None) -> dict[str, Prompt]:
    """By what is asked; the first of several rows that ask the same."""
    found: dict[str, Prompt] = {}
    for number, row in enumerate(rows(source)):
        try:
            problem = read_problem(row)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{source.data}: row {number}: {error}") from None
        if problem.question not in found:
            tests = sorted(problem.tests, key=lambda test: len(str(test[0])))[-options.tests :]
            identity = hashlib.sha256(problem.question.encode()).hexdigest()[:16]
            text = written(asked(problem.question, options.instruction), options.template, tokenizer)
            part = {"part": str(row["difficulty"])} if row.get("difficulty") else {}
            judged = {"function": problem.function, "tests": [list(test) for test in tests]}
            judged["wrapped"] = problem.wrapped
            found[problem.question] = Prompt(identity, text, judged | part)
        if len(found) == source.size:
            break
    return found


def extract(prompt: str, text: str) -> str | None:
    """The code of an answer: its last fenced block after the thinking; None if there is none.

    >>> extract("?", "<think>```python\\nx\\n```</think>So:\\n```python\\nprint(1)\\n```")
    'print(1)\\n'
    """
    said = after_thinking(prompt, text)
    blocks = FENCED.findall(said) if said is not None else []
    return blocks[-1] if blocks else None


def passed(
    where: Isolation,
    code: str,
    problem: Mapping[str, Any],
    limits: Limits,
    stop_early: bool,
    failures: Counter[str],
) -> float:
    """The share of a problem's tests that some code passes.

    Args:
        where: the code is kept.
        code: the text.
        problem: "function", "tests" and "wrapped", see :class:`llm.tasks.code_rows.Problem`.
        limits: of one test of a program, or of all calls of a function.
        stop_early: whether the first test of a program that fails ends the run: the share is then below 1, no more.
        failures: counts runs that were ended at a limit of time or output.
    """
    tests: Sequence[Any] = problem["tests"]
    if problem["function"] is not None:
        calls = [arguments for arguments, _ in tests]
        values = call_function(where, code, problem["function"], calls, limits)
        expected = [one for _, one in tests]
        right = sum(map(same_value, values, expected))  # fewer values than tests where a call failed
        if problem["wrapped"]:
            right = sum(same_value(a, b) or same_value([a], b) for a, b in zip(values, expected, strict=False))
        return right / len(tests)
    right = 0
    for given, expected in tests:
        ran = run_program(where, code, given, limits)
        if ran.end in ("time", "output"):
            failures[ran.end] += 1
        passes = ran.end == "ended" and same_output(ran.output.decode(errors="replace"), expected)
        right += passes
        if stop_early and not passes:
            break
    return right / len(tests)


def same_output(found: str, expected: str) -> bool:
    """Whether two outputs agree line by line, but for spaces at the ends and the way that numbers are written.

    >>> same_output("1 2.50 \\n", "1 2.5"), same_output("a b", "a  b"), same_output("1\\n2", "1 2")
    (True, True, False)
    """
    ours, theirs = ([line.split() for line in text.strip().splitlines()] for text in (found, expected))
    return len(ours) == len(theirs) and all(
        len(a) == len(b) and all(map(_same_word, a, b)) for a, b in zip(ours, theirs, strict=True)
    )


def _same_word(found: str, expected: str) -> bool:
    if found == expected:
        return True
    try:
        return Decimal(found) == Decimal(expected)
    except InvalidOperation:
        return False


def same_value(found: Any, expected: Any) -> bool:
    """Whether two JSON values are equal, numbers that are not whole within 1e-9 of each other's size.

    >>> same_value([0.1 + 0.2, "a"], [0.3, "a"]), same_value(True, 1), same_value([1], 1)
    (True, False, False)
    """
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, (int, float)) and isinstance(expected, (int, float)):
        return found == expected or abs(found - expected) <= 1e-9 * max(abs(found), abs(expected))
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(same_value, found, expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same_value(found[name], expected[name]) for name in found)
    return type(found) is type(expected) and found == expected
