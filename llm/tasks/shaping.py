"""Rewards for training: the task's own, with what a run says about errors, cut-off answers and long ones."""

from __future__ import annotations

from collections.abc import Callable

from .. import config
from ..samples import Answer, Prompt
from .noise import erring

Reward = Callable[[Prompt, Answer], float]


def shaped(reward: Reward, task: config.Task, max_tokens: int) -> Reward:
    """The reward that training sees.

    Args:
        reward: of the task.
        task: says what is to be done with answers that were cut off or are long, and how often the judge is to err.
        max_tokens: of a completion.

    Raises:
        ValueError: ``soft_limit`` leaves no tokens without a penalty.
    """
    if task.soft_limit >= max_tokens:
        raise ValueError(f"task.soft_limit is {task.soft_limit}; it must be below rollout.max_tokens, {max_tokens}")
    judge = erring(reward, task.false_positive, task.false_negative)

    def train(prompt: Prompt, answer: Answer) -> float:
        worth = 0.0 if task.cut_off == "wrong" and not answer.finished else judge(prompt, answer)
        return worth - length_penalty(len(answer.tokens), max_tokens, task.soft_limit, task.soft_penalty)

    return train


def length_penalty(length: int, max_tokens: int, soft_limit: int, most: float = 1.0) -> float:
    r"""Soft overlong punishment: 0 up to $L-C$ tokens, then in proportion, ``most`` at $L$ (DAPO, arXiv 2503.14476,
    equation 13, with the sign turned).

    >>> [length_penalty(length, max_tokens=100, soft_limit=20) for length in (80, 90, 100)]
    [0.0, 0.5, 1.0]

    Args:
        length: tokens of a completion, at most L.
        max_tokens: L.
        soft_limit: C, 0 for no penalty.
        most: what is taken off at L.
    """
    return most * max(0, length - (max_tokens - soft_limit)) / soft_limit if soft_limit else 0.0
