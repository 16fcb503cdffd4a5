"""Tasks by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from .chat import Tokenizer
from .task import Task

__all__ = ["NAMES", "Task", "Tokenizer", "load"]

NAMES = ("code", "countdown24", "enumerable", "expressions", "math", "reasoning_gym", "running_sums")


def load(name: str, options: Mapping[str, Any], tokenizer: Tokenizer | None = None, judges: int = 1) -> Task:
    """The task of that name.

    >>> task = load("countdown24", {"held_out": 0.2})
    >>> task.reward(task.train[0], "1+1=02-1=01-1=00")
    1.0

    Args:
        name: one of ``NAMES``.
        options: as ``Options`` of the task's module says.
        tokenizer: whose chat template, if it has one, prompts of "code", "math" and "reasoning_gym" are written with.
        judges: scorer processes of "math" and "reasoning_gym", started when they are needed.

    Raises:
        ValueError: no such task, an option that it does not take, or data that are not there or not as they should be.
    """
    from . import code, countdown, enumerable, expressions, mathematics, reasoning, running_sums

    try:
        match name:
            case "code":
                return code.make(code.Options.model_validate(options), tokenizer)
            case "countdown24":
                return countdown.make(countdown.Options.model_validate(options))
            case "enumerable":
                return enumerable.make(enumerable.Options.model_validate(options))
            case "expressions":
                return expressions.make(expressions.Options.model_validate(options))
            case "math":
                return mathematics.make(mathematics.Options.model_validate(options), tokenizer, judges)
            case "reasoning_gym":
                return reasoning.make(reasoning.Options.model_validate(options), tokenizer, judges)
            case "running_sums":
                return running_sums.make(running_sums.Options.model_validate(options))
    except ValidationError as error:
        problems = [
            f"task.options.{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        ]
        raise ValueError("; ".join(problems)) from None
    raise ValueError(f"task.name is {name!r}; it must be one of {', '.join(NAMES)}")
