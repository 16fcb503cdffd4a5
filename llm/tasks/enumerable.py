"""A task so small that every completion can be listed, and so is a bandit that can be solved exactly."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from ..config import Part
from ..samples import Prompt
from .task import Task


class Options(Part):
    """What may be set."""

    symbols: Annotated[str, Field(min_length=1, max_length=8)] = Field(default="abc", description="all different")
    length: Annotated[int, Field(ge=1, le=3)] = Field(default=2, description="most symbols in a completion")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="of the rewards, where none are given")
    rewards: Mapping[str, float] | None = Field(
        default=None, description="of every completion, the same for all prompts"
    )

    @model_validator(mode="after")
    def _complete(self) -> Options:
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"symbols is {self.symbols!r}; each may stand there once")
        expected = set(completions(self.symbols, self.length))
        if self.rewards is not None and set(self.rewards) != expected:
            wrong = sorted(set(self.rewards) ^ expected)[0]
            raise ValueError(f"rewards: {wrong!r} is {'missing' if wrong in expected else 'no completion'}")
        return self


def completions(symbols: str, length: int) -> list[str]:
    """Every text of at most so many symbols.

    >>> completions("ab", 2)
    ['', 'a', 'b', 'aa', 'ab', 'ba', 'bb']
    """
    return ["".join(text) for n in range(length + 1) for text in product(symbols, repeat=n)]


def make(options: Options) -> Task:
    """One prompt per symbol; a table of rewards, standard normal where none are given. All prompts are for training
    and, as nothing else exists, for evaluation too."""
    texts = completions(options.symbols, options.length)
    if options.rewards is None:
        drawn = np.random.default_rng(options.seed).normal(size=(len(options.symbols), len(texts)))
        table = {
            symbol: dict(zip(texts, row.tolist(), strict=True))
            for symbol, row in zip(options.symbols, drawn, strict=True)
        }
    else:
        table = {symbol: dict(options.rewards) for symbol in options.symbols}
    prompts = tuple(Prompt(symbol, symbol, {}) for symbol in options.symbols)
    return Task(
        "enumerable", prompts, prompts, lambda prompt, text: table[prompt.text][text], options.symbols, options.length
    )
