"""Claims about baselines estimated from sampled groups, and about groups as bandits of their own."""

from __future__ import annotations

from itertools import product

import numpy as np

from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from .claim import NOT_APPLICABLE, Case, Claim
from .families import MODERATE, SMALL
from .support import HERE, ROUNDED, SOLVED, Array, advantages, combined, induced, regression, share, soft_value


def _group_bandit(case: Case) -> Bandit:
    """The rewards of each row as a group of samples: the empirical measure is uniform."""
    return Bandit(np.full(case.bandit.behavior.shape, 1 / case.bandit.arms), case.bandit.reward)


def group_boundary(case: Case) -> Array:
    """With V-hat at the same beta, the group's own mean of exp(A/beta) is one: the boundary."""
    if case.bandit.arms < 2:
        return np.full(case.size, NOT_APPLICABLE)
    a = algorithm("oapl.single_beta", beta=case.beta).advantage(case.bandit.reward) / case.beta
    top = np.abs(a).max(axis=-1)
    small = top < 0.5
    near = np.expm1(np.where(small[:, None], a, 0.0)).mean(axis=-1)
    level = np.log(np.exp(a - a.max(axis=-1, keepdims=True)).mean(axis=-1)) + a.max(axis=-1)
    # A group's rewards are rounded against their common mean, so that is the scale of what is left.
    scale = np.maximum(top, np.abs(case.bandit.reward).max(axis=-1) / case.beta)
    return share(np.where(small, near, level), scale)


def group_exact(case: Case) -> Array:
    """A group's advantages are those of the exact rule on its uniform measure (rules without sample corrections)."""
    if case.bandit.arms < 2:
        return np.full(case.size, NOT_APPLICABLE)
    bandit, found = _group_bandit(case), []
    for chosen in (
        algorithm("oapl", beta1=case.ratio * case.beta, beta2=case.beta),
        algorithm("shifted_mean", beta=case.beta),
        algorithm("reinforce"),
    ):
        sampled, exact = chosen.advantage(bandit.reward), advantages(bandit, chosen)
        scale = np.abs(bandit.reward).max(axis=-1, keepdims=True) + np.abs(exact)
        found.append(share(sampled - exact, scale).max(axis=-1))
    return combined(*found)


def _estimates(case: Case, beta: float, samples: int) -> tuple[Array, Array]:
    """Every group of ``samples`` draws from mu: its probability (n, M) and its soft value (n, M), by enumeration."""
    arms = case.bandit.arms
    chosen = algorithm("oapl.single_beta", beta=beta)
    weights, values = [], []
    for group in product(range(arms), repeat=samples):
        index = list(group)
        rewards = case.bandit.reward[:, index]
        values.append(rewards[:, 0] - chosen.advantage(rewards)[:, 0])
        weights.append(case.bandit.behavior[:, index].prod(axis=-1))
    return np.stack(weights, axis=-1), np.stack(values, axis=-1)


def jensen(case: Case) -> Array:
    """E V-hat <= V* for groups of 1, 2 and 3 samples, all groups enumerated; the shortfall shrinks with the group."""
    bandit = case.bandit
    chosen = regression(case.beta, soft_value(case.beta))
    value = bandit.reward[:, 0] - advantages(bandit, chosen)[:, 0]
    scale = np.abs(bandit.reward).max(axis=-1) + np.abs(value)
    found, previous = [], None
    for samples in (1, 2, 3):
        weights, values = _estimates(case, case.beta, samples)
        expected = (weights * values).sum(axis=-1)
        found.append(share(np.maximum(expected - value, 0.0), scale))
        if previous is not None:
            found.append(share(np.maximum(previous - expected, 0.0), scale))
        previous = expected
    return combined(*found)


def always_pessimistic(case: Case) -> Array:
    """No single group's estimate exceeds V*, which is false: a group of the best arm only."""
    chosen = regression(case.beta, soft_value(case.beta))
    value = case.bandit.reward[:, 0] - advantages(case.bandit, chosen)[:, 0]
    values = _estimates(case, case.beta, 2)[1]
    scale = np.ptp(case.bandit.reward, axis=-1)
    return np.maximum(share(values.max(axis=-1) - value, scale + (scale == 0)), 0.0) * (values.max(axis=-1) > value)


def leave_one_out(case: Case) -> Array:
    """On a group's own measure, leave-one-out soft values at the same beta give E exp(A/beta) >= 1: never negative."""
    if case.bandit.arms < 2:
        return np.full(case.size, NOT_APPLICABLE)
    a = algorithm("pmd_partition", tau=case.beta).advantage(case.bandit.reward) / case.beta
    top = a.max(axis=-1, keepdims=True)
    level = top[:, 0] + np.log(np.exp(a - top).mean(axis=-1))
    scale = np.abs(a).max(axis=-1) + np.abs(case.bandit.reward).max(axis=-1) / case.beta
    return share(np.maximum(-level, 0.0), scale)


def leave_one_out_mean(case: Case) -> Array:
    """With a leave-one-out mean the group's advantages average zero, so lambda = beta KL >= 0 on the group."""
    if case.bandit.arms < 2:
        return np.full(case.size, NOT_APPLICABLE)
    bandit = _group_bandit(case)
    a = algorithm("pmd_mean", tau=case.beta).advantage(bandit.reward)
    scale = np.abs(bandit.reward).max(axis=-1)
    centered = share(a.mean(axis=-1), scale)
    # A leave-one-out group acts like a mean baseline whose advantages are G/(G - 1) times larger.
    factor = bandit.arms / (bandit.arms - 1)
    target = induced(bandit, algorithm("kimi_k15", tau=case.beta / factor))
    negative = np.maximum(-np.asarray(target.normalizer), 0.0) / case.beta
    plain = factor * advantages(bandit, algorithm("kimi_k15", tau=case.beta))
    return combined(centered, negative, share(a - plain, np.abs(a) + scale[:, None]).max(axis=-1))


CLAIMS = (
    Claim(
        "groups.boundary",
        "On a group's empirical measure a log-mean-exp baseline with the regression's beta is exactly the boundary.",
        HERE,
        MODERATE,
        group_boundary,
        ROUNDED,
    ),
    Claim(
        "groups.exact",
        "A group's advantages are the exact rule's on the uniform measure over the group.",
        HERE,
        MODERATE,
        group_exact,
        ROUNDED,
    ),
    Claim(
        "groups.jensen",
        "E V-hat <= V* for soft values estimated from G samples, and E V-hat grows with G.",
        HERE,
        SMALL,
        jensen,
        ROUNDED,
        effort=0.5,
    ),
    Claim(
        "groups.leave_one_out",
        "Leave-one-out soft values with the regression's own beta put no group in the negative regime.",
        HERE,
        MODERATE,
        leave_one_out,
        ROUNDED,
    ),
    Claim(
        "groups.leave_one_out_mean",
        "Leave-one-out means give a group advantages of mean zero: lambda = beta KL >= 0.",
        HERE,
        MODERATE,
        leave_one_out_mean,
        SOLVED,
    ),
)
