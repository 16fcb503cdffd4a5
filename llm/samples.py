"""What passes between tasks, engines, buffer and trainer: prompts, requests, completions, groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Prompt:
    """A problem to answer.

    Attributes:
        id: unique within its task, the same in every run; held-out and training prompts never share one.
        text: what the model reads.
        problem: what the reward function needs to judge an answer; plain JSON values.
    """

    id: str
    text: str
    problem: Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """One prompt to sample from.

    Attributes:
        tokens: the prompt, at least one token.
        samples: completions wanted, >= 1.
        seed: of this request, >= 0; the same seed and weights give the same completions.
        max_tokens: longest completion, where it is to be shorter than the engine's.
    """

    tokens: tuple[int, ...]
    samples: int
    seed: int
    max_tokens: int | None = None


@dataclass(frozen=True)
class Completion:
    """A sampled answer.

    Attributes:
        tokens: (T,) int32, the end-of-sequence token included where it was sampled, T >= 1.
        log_probs: (T,) float32, log-probability of each token under the sampling distribution, nats.
        finished: whether it ended with the end-of-sequence token (False: cut off at the length limit).
    """

    tokens: np.ndarray
    log_probs: np.ndarray
    finished: bool


class Answer(str):
    """The text of a completion, without special tokens, for a scorer that may want to know more than the text.

    Attributes:
        tokens: of the completion; empty where only a text is judged.
        finished: whether it ended by itself, see :class:`Completion`.

    A plain string is judged like a finished answer.
    """

    tokens: tuple[int, ...]
    finished: bool

    def __new__(cls, text: str, tokens: tuple[int, ...] = (), finished: bool = True) -> Answer:
        made = super().__new__(cls, text)
        made.tokens, made.finished = tokens, finished
        return made


@dataclass(frozen=True)
class Group:
    """All completions of one prompt in one batch, judged.

    Attributes:
        prompt: the problem.
        tokens: the prompt's tokens.
        completions: G of them.
        rewards: (G,) float64.
        version: optimizer steps that the sampling weights had seen.
        batch: number of the batch it was drawn for, counted from 0 over the whole run.
    """

    prompt: Prompt
    tokens: tuple[int, ...]
    completions: tuple[Completion, ...]
    rewards: np.ndarray
    version: int
    batch: int
