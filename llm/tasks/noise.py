"""A judge that errs, always in the same way on the same answer, as a program that checks answers does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from ..samples import Prompt

Reward = Callable[[Prompt, Any], float]


def erring(reward: Reward, false_positive: float, false_negative: float) -> Reward:
    """The same judge, but some answers get the other verdict: 1 where the reward is below 1, 0 where it is not.

    Whether an answer is misjudged depends on the prompt and the answer only.

    >>> always = erring(lambda prompt, text: 0.0, false_positive=0.999999, false_negative=0.0)
    >>> always(Prompt("p", "1+1=", {}), "3")
    1.0
    """
    if false_positive == false_negative == 0:
        return reward

    def judge(prompt: Prompt, text: str) -> float:
        verdict = reward(prompt, text)
        digest = hashlib.sha256(f"{prompt.id}\n{text}".encode()).digest()
        chance = int.from_bytes(digest[:8], "big") / 2**64
        if verdict >= 1:
            return 0.0 if chance < false_negative else verdict
        return 1.0 if chance < false_positive else verdict

    return judge
