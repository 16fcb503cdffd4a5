"""Shrinking: from an instance that violates a claim to a smaller and rounder one that still does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..bandit import Bandit
from .case import Case
from .claim import Claim

TRIALS = 200
"""Instances that are tried on the way, times the claim's effort."""


def violation_of(claim: Claim, case: Case) -> float:
    """How much the one instance of a case violates a claim; -inf where the check raises, or the case is no bandit."""
    try:
        return float(claim.violations(case)[0])
    except (ValueError, ArithmeticError, IndexError):
        return -np.inf


def violates(claim: Claim, violation: float) -> bool:
    """Whether it is beyond the tolerance, or NaN."""
    return bool(np.isnan(violation) or violation > claim.tolerance)


def shrink(claim: Claim, case: Case) -> tuple[Case, float]:
    """The smallest case found on a greedy way from this one, of one instance, and its violation.

    Smaller is: fewer arms, then fewer digits to write. Every step must still violate the claim; what violates it only
    among the other instances of its batch stays as it is.

    >>> import numpy as np
    >>> from pessimism.claims import claim
    >>> from pessimism.claims.families import SMALL
    >>> @claim("mine.never", "my own", SMALL, 1e-9)
    ... def never(case):
    ...     '''No arm is played three times as often as another.'''
    ...     return np.log(case.bandit.behavior.max(axis=-1) / case.bandit.behavior.min(axis=-1) / 3)
    >>> found, violation = shrink(never, Case("here", Bandit([[0.671, 0.217, 0.112]], [[0.31, 0.2, 0.7]]), 0.173))
    >>> print(found, round(violation, 3))
    behavior = [0.9, 0.1], reward = [0., 0.], beta = 1.0 1.099
    """
    violation = violation_of(claim, case)
    if not violates(claim, violation):
        return case, violation
    left = max(20, round(TRIALS * claim.effort))
    improved = True
    while improved:
        improved = False
        for smaller in _candidates(case):
            if left == 0:
                return case, violation
            if _size(smaller) >= _size(case):
                continue
            left -= 1
            found = violation_of(claim, smaller)
            if violates(claim, found):
                case, violation, improved = smaller, found, True
                break
    return case, violation


def _size(case: Case) -> tuple[int, int]:
    """Arms, and the characters that its numbers take."""
    bandit = case.bandit
    arrays = [bandit.behavior, bandit.reward] + ([] if bandit.reference is None else [bandit.reference])
    numbers = [number for array in arrays for number in array[0].tolist()]
    numbers += [float(case.beta), float(case.ratio), float(case.offset), int(case.seed)]
    return bandit.arms, sum(len(repr(number)) for number in numbers)


def _candidates(case: Case) -> Iterator[Case]:
    """Smaller and rounder cases, those that take the most away first."""
    bandit = case.bandit
    for kept in _subsets(bandit.arms):
        yield from _of_arms(case, kept)
    unit = float(np.abs(bandit.reward).max())
    if unit not in (0.0, 1.0):
        yield replace(case, bandit=_bandit(bandit, reward=bandit.reward / unit), beta=case.beta / unit)
    for behavior in _rounder_policies(bandit.behavior[0]):
        yield replace(case, bandit=_bandit(bandit, behavior=behavior[None]))
    if bandit.reference is not None:
        for reference in _rounder_policies(bandit.reference[0]):
            yield replace(case, bandit=Bandit(bandit.behavior, bandit.reward, reference[None]))
    yield replace(case, bandit=_bandit(bandit, reward=np.zeros_like(bandit.reward)))
    for digits in range(4):
        yield replace(case, bandit=_bandit(bandit, reward=np.round(bandit.reward, digits) + 0.0))
    for arm in range(bandit.arms):
        for value in (0.0, 1.0):
            reward = bandit.reward.copy()
            reward[0, arm] = value
            yield replace(case, bandit=_bandit(bandit, reward=reward))
    for beta in (1.0, *_rounder(case.beta)):
        yield replace(case, beta=beta)
    for ratio in (2.0, 0.5, *_rounder(case.ratio)):
        yield replace(case, ratio=ratio)
    for offset in (-1.0, 1.0, *_rounder(case.offset)):
        yield replace(case, offset=offset)
    yield replace(case, seed=0)


def _subsets(arms: int) -> Iterator[np.ndarray]:
    """Arms to keep: one half or the other of many, and all but one of few."""
    places = np.arange(arms)
    if arms > 3:
        yield places[: arms // 2]
        yield places[arms // 2 :]
    if 1 < arms <= 16:
        yield from (np.delete(places, arm) for arm in range(arms))


def _of_arms(case: Case, kept: np.ndarray) -> Iterator[Case]:
    bandit = case.bandit
    policies = [None if policy is None else policy[:, kept] for policy in (bandit.behavior, bandit.reference)]
    if any(policy is not None and not policy.sum() > 0 for policy in policies):
        return
    behavior, reference = (None if policy is None else policy / policy.sum() for policy in policies)
    assert behavior is not None
    yield replace(case, bandit=Bandit(behavior, bandit.reward[:, kept], reference))


def _bandit(bandit: Bandit, behavior: np.ndarray | None = None, reward: np.ndarray | None = None) -> Bandit:
    return Bandit(
        bandit.behavior if behavior is None else behavior, bandit.reward if reward is None else reward, bandit.reference
    )


def _rounder_policies(policy: np.ndarray) -> Iterator[np.ndarray]:
    """The uniform policy on the same arms, and this one in parts of 10, 100 and 1000 that sum to one."""
    played = policy > 0
    yield played / played.sum()
    for parts in (10, 100, 1000):
        counts = np.where(played, np.maximum(np.round(policy * parts), 1), 0)
        counts[policy.argmax()] += parts - counts.sum()
        if counts.min() >= 0:
            yield counts / parts


def _rounder(value: float) -> Iterator[float]:
    """The same to none, one and two digits after the first."""
    for digits in range(3):
        yield float(f"{value:.{digits}e}")
