"""Claims about baselines estimated from sampled groups, and about groups as bandits of their own."""

from __future__ import annotations

from itertools import product

import numpy as np

from .. import targets
from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from . import exact
from .case import NOT_APPLICABLE, Case
from .claim import claim, claims_in
from .counterexamples import refuted, small_rationals
from .families import MODERATE, SMALL
from .support import (
    HERE,
    ROUNDED,
    SOLVED,
    Array,
    advantages,
    combined,
    induced,
    over_arms,
    regression,
    relative,
    soft_value,
)
from .symbolic import is_positive, is_zero, positive_symbols


def _group_bandit(case: Case) -> Bandit:
    """The rewards of each row as a group of samples: the empirical measure is uniform."""
    return Bandit(np.full(case.bandit.behavior.shape, 1 / case.bandit.arms), case.bandit.reward)


@claim("groups.boundary", HERE, MODERATE, ROUNDED)
def group_boundary(case: Case) -> Array:
    """On a group's empirical measure a log-mean-exp baseline with the regression's beta is exactly the boundary.

    Check: With V-hat at the same beta, the group's own mean of exp(A/beta) is one: the boundary.
    """
    if case.bandit.arms < 2:
        return np.full(case.size, NOT_APPLICABLE)
    a = algorithm("oapl.single_beta", beta=case.beta).advantage(case.bandit.reward) / case.beta
    top = np.abs(a).max(axis=-1)
    small = top < 0.5
    near = np.expm1(np.where(small[:, None], a, 0.0)).mean(axis=-1)
    level = np.log(np.exp(a - a.max(axis=-1, keepdims=True)).mean(axis=-1)) + a.max(axis=-1)
    # A group's rewards are rounded against their common mean, so that is the scale of what is left.
    scale = np.maximum(top, np.abs(case.bandit.reward).max(axis=-1) / case.beta)
    return relative(np.where(small, near, level), scale)


@claim("groups.exact", HERE, MODERATE, ROUNDED)
def group_exact(case: Case) -> Array:
    """A group's advantages are the exact rule's on the uniform measure over the group.

    Check: A group's advantages are those of the exact rule on its uniform measure (rules without sample
    corrections).
    """
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
        found.append(relative(sampled - exact, scale).max(axis=-1))
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


RELATIVE = ("reinforce", "rloo", "grpo.no_ratio", "kimi_k15", "pmd_mean", "pmd_partition", "opmd", "oapl")


@claim("groups.no_signal", HERE, MODERATE, 0.0, effort=0.3)
def no_signal(case: Case) -> Array:
    """Where all rewards agree, an objective whose baseline is relative to them moves nothing, and is at the boundary.

    Check: the normalizer is 0, the regime the boundary and the target the behavior policy, with no error at all, of
    every such bandit and group.
    """
    if case.bandit.arms < 2:
        return np.full(case.size, NOT_APPLICABLE)
    reward = np.broadcast_to(case.bandit.reward[:, :1], case.bandit.reward.shape)
    found = []
    for chosen in map(algorithm, RELATIVE):
        for target in (induced(Bandit(case.bandit.behavior, reward), chosen), targets.group_target(reward, chosen)):
            moved = over_arms(np.abs(target.log_ratio), target.policy > 0)
            named = np.asarray(target.regime) != "boundary"
            found += [np.abs(target.normalizer), np.where(moved > 1e-15, moved, 0.0), named.astype(float)]
    return combined(*found)


@claim("groups.plain_gradient", HERE, MODERATE, ROUNDED, effort=0.3)
def plain_gradient(case: Case) -> Array:
    """Plain policy gradients with a mean baseline are at the boundary on every group; its best samples share the mass.

    Check: on rewards moved by a large offset too; the samples of the largest reward share all probability.
    """
    if case.bandit.arms < 2:
        return np.full(case.size, NOT_APPLICABLE)
    found = []
    for offset in (0.0, 1e3 * case.offset):
        reward = case.bandit.reward + offset
        best = reward == reward.max(axis=-1, keepdims=True)
        expected = best / best.sum(axis=-1, keepdims=True)
        for chosen in map(algorithm, ("reinforce", "rloo", "grpo.no_ratio")):
            target = targets.group_target(reward, chosen)
            found += [np.abs(target.policy - expected).max(axis=-1), (target.regime != "boundary").astype(float)]
    return combined(*found)


@claim("groups.jensen", HERE, SMALL, ROUNDED, effort=0.5)
def jensen(case: Case) -> Array:
    """E V-hat <= V* for soft values estimated from G samples, and E V-hat grows with G.

    Check: E V-hat <= V* for groups of 1, 2 and 3 samples, all groups enumerated; the shortfall shrinks with the
    group.
    """
    bandit = case.bandit
    chosen = regression(case.beta, soft_value(case.beta))
    value = bandit.reward[:, 0] - advantages(bandit, chosen)[:, 0]
    scale = np.abs(bandit.reward).max(axis=-1) + np.abs(value)
    found, previous = [], None
    for samples in (1, 2, 3):
        weights, values = _estimates(case, case.beta, samples)
        expected = (weights * values).sum(axis=-1)
        found.append(relative(np.maximum(expected - value, 0.0), scale))
        if previous is not None:
            found.append(relative(np.maximum(previous - expected, 0.0), scale))
        previous = expected
    return combined(*found)


@exact.precisely
def _confirm_group(case: Case) -> bool:
    behavior, reward, beta = exact.numbers(case)
    return max(reward) - exact.soft_value(behavior, reward, beta) > exact.margin()


@refuted("groups.never_negative", search=small_rationals, confirm=_confirm_group)
def always_pessimistic(case: Case) -> Array:
    """No group's soft-value estimate with the regression's own beta exceeds V*.

    Check: No single group's estimate exceeds V*, which is false: a group of the best arm only.
    """
    chosen = regression(case.beta, soft_value(case.beta))
    value = case.bandit.reward[:, 0] - advantages(case.bandit, chosen)[:, 0]
    values = _estimates(case, case.beta, 2)[1]
    scale = np.ptp(case.bandit.reward, axis=-1)
    return np.maximum(relative(values.max(axis=-1) - value, scale + (scale == 0)), 0.0) * (values.max(axis=-1) > value)


def _leave_one_out_proof() -> bool:
    """w/(S - w) is convex in w < S, so (G - 1) E[w/(S - w)] >= (G - 1)(S/G)/(S - S/G) = 1 by Jensen."""
    import sympy as sp

    w, rest = positive_symbols("w d")
    extra = positive_symbols("h,")[0]  # G = h + 1 >= 2, as a real
    total = sp.Symbol("S", positive=True)
    ratio = w / (total - w)
    convex = sp.diff(ratio, w, 2).subs(total, w + rest)
    group = extra + 1
    at_mean = extra * ratio.subs(w, total / group)
    return is_positive(convex) and is_zero(at_mean - 1)


@claim(
    "groups.leave_one_out",
    HERE,
    MODERATE,
    ROUNDED,
    proof=_leave_one_out_proof,
    proves="convexity and Jensen's inequality at the mean",
)
def leave_one_out(case: Case) -> Array:
    """Leave-one-out soft values with the regression's own beta put no group in the negative regime.

    Check: On a group's own measure, leave-one-out soft values at the same beta give E exp(A/beta) >= 1: never
    negative.
    """
    if case.bandit.arms < 2:
        return np.full(case.size, NOT_APPLICABLE)
    a = algorithm("pmd_partition", tau=case.beta).advantage(case.bandit.reward) / case.beta
    top = a.max(axis=-1, keepdims=True)
    level = top[:, 0] + np.log(np.exp(a - top).mean(axis=-1))
    scale = np.abs(a).max(axis=-1) + np.abs(case.bandit.reward).max(axis=-1) / case.beta
    return relative(np.maximum(-level, 0.0), scale)


@claim("groups.leave_one_out_mean", HERE, MODERATE, SOLVED)
def leave_one_out_mean(case: Case) -> Array:
    """Leave-one-out means give a group advantages of mean zero: lambda = beta KL >= 0.

    Check: With a leave-one-out mean the group's advantages average zero, so lambda = beta KL >= 0 on the group.
    """
    if case.bandit.arms < 2:
        return np.full(case.size, NOT_APPLICABLE)
    bandit = _group_bandit(case)
    a = algorithm("pmd_mean", tau=case.beta).advantage(bandit.reward)
    scale = np.abs(bandit.reward).max(axis=-1)
    centered = relative(a.mean(axis=-1), scale)
    # A leave-one-out group acts like a mean baseline whose advantages are G/(G - 1) times larger.
    factor = bandit.arms / (bandit.arms - 1)
    target = induced(bandit, algorithm("kimi_k15", tau=case.beta / factor))
    negative = np.maximum(-np.asarray(target.normalizer), 0.0) / case.beta
    plain = factor * advantages(bandit, algorithm("kimi_k15", tau=case.beta))
    return combined(centered, negative, relative(a - plain, np.abs(a) + scale[:, None]).max(axis=-1))


@refuted("groups.follow_betas", search=small_rationals, confirm=_confirm_group)
def group_follows_betas(case: Case) -> Array:
    """beta1 > beta2 puts every prompt in the positive regime, with baselines estimated from groups too.

    Check: beta1 > beta2 is positive on every prompt with group estimates too, which is false: a lucky group.
    """
    bandit, one = case.bandit, 2.0 * case.beta
    value = (
        case.bandit.reward[:, 0]
        - regression(case.beta, soft_value(case.beta)).advantage(bandit.reward, bandit.behavior)[:, 0]
    )
    worst = np.zeros(case.size)
    oapl = algorithm("oapl", beta1=one, beta2=case.beta)
    for group in product(range(bandit.arms), repeat=2):
        rewards = bandit.reward[:, list(group)]
        worst = np.maximum(worst, rewards[:, 0] - oapl.advantage(rewards)[:, 0] - value)
    return worst / case.beta


CLAIMS = claims_in(vars())
