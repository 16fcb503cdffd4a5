"""Refuted claims: a decorator for them, and a search for the smallest counterexample in simple rationals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from ..bandit import Bandit
from .case import Case
from .claim import Check, Claim, claim
from .families import SMALL
from .support import HERE

Search = Callable[[], Iterator[Case]]

# A violation counts from here on: far above rounding, and every counterexample is then confirmed in 50 digits.
VISIBLE = 1e-6


def small_rationals(
    arms: tuple[int, ...] = (2, 3), betas: tuple[float, ...] = (1.0, 0.5, 2.0), levels: int = 3, largest: int = 10
) -> Iterator[Case]:
    """Instances by size: arms, then the denominator of mu, then beta; rewards 0, 1, ... in every order."""
    for count in arms:
        rewards = [np.array(r, float) for r in product(range(levels), repeat=count) if min(r) == 0 and max(r) > 0]
        rewards.sort(key=lambda r: (r.max(), r.sum()))
        for denominator in range(count, largest + 1):
            parts = [p for p in product(range(1, denominator), repeat=count) if sum(p) == denominator]
            parts = [p for p in parts if np.gcd.reduce([*p, denominator]) == 1]
            if not parts:
                continue
            behavior = np.array([np.array(p) / denominator for p in parts for _ in rewards])
            reward = np.array([r for _ in parts for r in rewards])
            for beta in betas:
                yield Case("small rationals", Bandit(behavior, reward), beta, 2.0, 0.5)


def refuted(identifier: str, *, search: Search, source: str = HERE, **options: Any) -> Callable[[Check], Claim]:
    """Decorator like :func:`claim` for a statement that is false in general: a counterexample is what is expected.

    Args:
        identifier: as of a Claim.
        search: cases in the order of increasing size.
        source: where the statement or its counterexample comes from.
        **options: other attributes of the Claim, above all ``confirm``; instances are SMALL unless given.
    """
    given = {"families": SMALL, "tolerance": VISIBLE, "refuted": True, "falsify": False} | options
    return claim(identifier, source, search=search, **given)
