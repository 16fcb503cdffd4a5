"""What a task is: prompts, and a judge of answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..samples import Prompt


def _nothing_measured(prompt: Prompt, text: str) -> Mapping[str, float]:
    return {}


@dataclass(frozen=True)
class Task:
    """Problems and how answers to them are judged.

    Attributes:
        name: for tables.
        train: problems to learn from; the same in every run with the same options.
        held_out: problems that training never shows; no text is in both.
        reward: (prompt, completion text without special tokens) -> reward. In training and evaluation the text is an
            :class:`~llm.samples.Answer`, which also has the tokens and says whether it finished. Runs nothing outside
            a sandbox, never raises on a text: what cannot be judged in time is worth 0 and counted in ``failures``.
            Called from several threads where ``task.judges`` is above 1.
        symbols: every character of prompts and answers, where the task is written in an alphabet of its own.
        max_tokens: completion tokens that a correct answer needs at most, end of sequence included, if ``symbols`` are
            the tokens.
        draw: (prompts, generator) -> a correct answer for each, drawn without preference among the correct
            ones; None where the task cannot tell.
        measures: (prompt, text) -> shares in [0, 1] that say in what way an answer is right or wrong.
        failures: () -> how many answers could not be judged so far, by reason.
    """

    name: str
    train: Sequence[Prompt]
    held_out: Sequence[Prompt]
    reward: Callable[[Prompt, str], float]
    symbols: str | None = None
    max_tokens: int | None = None
    draw: Callable[[Sequence[Prompt], np.random.Generator], list[str]] | None = None
    measures: Callable[[Prompt, str], Mapping[str, float]] = _nothing_measured
    failures: Callable[[], Mapping[str, int]] = field(default=dict)


def is_held_out(text: str, share: float) -> bool:
    """Whether a problem is in the held-out part: a fixed pseudo-random choice by its text, so that no problem is ever
    in both parts, whatever the size of the data.

    >>> sum(is_held_out(str(i), 0.1) for i in range(1000))
    106
    """
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
