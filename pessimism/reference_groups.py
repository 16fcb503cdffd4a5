"""Targets on groups that everyone knows: completions of one prompt, of which some pass (reward 1) and the rest fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .algorithm import Algorithm
from .compare import Comparison, compare_group
from .standing import Account, Standing
from .targets import group_target
from .verdict import verdict_of

SIZES = (4, 16)
"""Group sizes besides the configured one."""

RATES = (1 / 8, 1 / 2, 7 / 8)
"""Shares of completions that pass; at least one passes and one fails."""


@dataclass(frozen=True)
class GroupOutline:
    """What is known of a reference group before any target is looked for; fields as in :class:`ReferenceGroup`.

    Attributes:
        regime: None also where the gradient carries a ratio, which gives the normalizer's sign no meaning.
    """

    group_size: int
    passing: int
    regime: str | None
    advantages: tuple[float, float]


@dataclass(frozen=True)
class ReferenceGroup:
    """Where an algorithm drives one group of samples.

    Attributes:
        group_size, passing: how many completions there are, and how many of them pass.
        induced, nominal: probability that each target gives to the passing completions together.
        ratio_pass, ratio_fail: the largest ratio of the induced target to the behavior policy, among the completions
            that pass and among those that fail. In the negative regime those of one reward can fare differently.
        regime: of the induced target; None where its sign means nothing.
        kind: of the induced target, as in :class:`pessimism.Target`.
        advantages: of a failing and a passing completion.
    """

    group_size: int
    passing: int
    induced: float
    nominal: float
    ratio_pass: float
    ratio_fail: float
    regime: str | None
    kind: str
    advantages: tuple[float, float]


@dataclass(frozen=True)
class ReferenceTargets:
    """The groups with their targets, and the sentence that `pessimism compare` and `audit` would say of them."""

    groups: tuple[ReferenceGroup, ...]
    verdict: str


def reference_targets(algorithm: Algorithm, group_size: int | None = None) -> ReferenceTargets:
    """The targets on groups of several sizes and pass rates, the configured size among them, each solved once.

    Args:
        algorithm: any.
        group_size: the configured one; None or 1 for the usual sizes only.

    >>> import pessimism as ps
    >>> found = reference_targets(ps.algorithm("oapl.single_beta", beta=1))
    >>> print(found.verdict)  # doctest: +ELLIPSIS
    more conservative than nominal on 0.0% of 6 groups; the same on 100.0%; regimes: positive 0.0%, boundary 100.0%, ...
    """
    groups: list[ReferenceGroup] = []
    account = Account()
    for size in _sizes(group_size):
        comparison = compare_group(_rewards(size), algorithm)
        account.add(Standing.of(comparison))
        groups += _of_size(comparison, size)
    return ReferenceTargets(tuple(groups), verdict_of(algorithm, account))


def reference_groups(algorithm: Algorithm, group_size: int | None = None) -> tuple[ReferenceGroup, ...]:
    """The groups of :func:`reference_targets`.

    >>> import pessimism as ps
    >>> first, *_ = reference_groups(ps.algorithm("shifted_mean", beta=0.5), 8)
    >>> first.group_size, first.passing, round(first.induced, 4), round(first.nominal, 4), first.regime
    (4, 1, 0.4447, 0.7112, 'positive')
    """
    return reference_targets(algorithm, group_size).groups


def group_outlines(algorithm: Algorithm, group_size: int | None = None) -> tuple[GroupOutline, ...]:
    """The groups of :func:`reference_groups` without the flows that lead to most targets: thousands of times cheaper.

    >>> import pessimism as ps
    >>> first, *_ = group_outlines(ps.algorithm("grpo"))
    >>> first.group_size, first.passing, first.regime, round(first.advantages[0], 2)
    (4, 1, None, -0.5)
    """
    return tuple(group for size in _sizes(group_size) for group in _outlines_of_size(algorithm, size))


def spread(groups: Sequence[GroupOutline]) -> float:
    """How much more advantage a passing completion gets than a failing one, at least."""
    return min(group.advantages[1] - group.advantages[0] for group in groups)


def binary_rewards(size: int, passing: Sequence[int]) -> np.ndarray:
    """(n, size) rewards of groups of one size, a number of completions passing in each, those last.

    >>> binary_rewards(3, [1, 2]).tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    """
    return (np.arange(size) >= size - np.asarray(passing)[:, None]).astype(float)


def _sizes(group_size: int | None) -> list[int]:
    return sorted({*SIZES, group_size if group_size is not None and group_size > 1 else SIZES[0]})


def _rewards(size: int) -> np.ndarray:
    """(n, size) rewards of the reference groups of one size."""
    return binary_rewards(size, sorted({min(size - 1, max(1, round(size * rate))) for rate in RATES}))


def _outlines_of_size(algorithm: Algorithm, size: int) -> list[GroupOutline]:
    reward = _rewards(size)
    advantage = algorithm.advantage(reward)
    found = None if algorithm.carries_ratio or algorithm.coupled else group_target(reward, algorithm).regime
    regimes = [None] * len(reward) if found is None else np.asarray(found, dtype=object)
    return [
        GroupOutline(size, int(count), regimes[row], (float(advantage[row, 0]), float(advantage[row, -1])))
        for row, count in enumerate(reward.sum(axis=-1))
    ]


def _of_size(comparison: Comparison, size: int) -> list[ReferenceGroup]:
    """The groups of one size, which were solved together."""
    reward, induced, nominal = comparison.bandit.reward, comparison.induced, comparison.nominal
    passing = reward.sum(axis=-1).astype(int)
    advantage = comparison.algorithm.advantage(reward)
    regimes = [None] * len(passing) if induced.regime is None else np.asarray(induced.regime, dtype=object)
    return [
        ReferenceGroup(
            size,
            int(count),
            min(1.0, float(induced.policy[row] @ reward[row])),  # a sum of probabilities, rounded
            min(1.0, float(nominal.policy[row] @ reward[row])),
            float(induced.policy[row, size - count :].max() * size),
            float(induced.policy[row, : size - count].max() * size),
            regimes[row],
            str(induced.kind[row]),
            (float(advantage[row, 0]), float(advantage[row, -1])),
        )
        for row, count in enumerate(passing)
    ]
