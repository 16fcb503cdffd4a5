"""Statements about dynamics that are false in general, with their smallest counterexamples in simple rationals."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np

import pessimism as ps
from pessimism.claims import exact
from pessimism.claims.claim import Case, Claim
from pessimism.claims.refuted import VISIBLE, small_rationals
from pessimism.claims.support import HERE, regression, soft_value

from . import collapse, completions, groups, lagged, recursion
from .support import Array


@exact.precisely
def _confirm_soft_value(case: Case) -> bool:
    """The expected update in the first arm's logit over all groups of two, at mu e^(r/beta)/Z."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    arms = range(len(behavior))
    target = exact.gibbs(behavior, reward, beta)
    x = [mp.log(p / m) for p, m in zip(target, behavior, strict=True)]
    moving = mp.mpf(0)
    for group in product(arms, repeat=2):
        value = beta * mp.log(mp.fsum(mp.exp(reward[i] / beta) for i in group) / 2)
        for i in group:
            pull = (reward[i] - value - beta * x[i]) / 2
            moving += behavior[group[0]] * behavior[group[1]] * pull * ((i == 0) - target[0])
    return abs(moving) > exact.margin()


@exact.precisely
def _confirm_grpo(case: Case) -> bool:
    """No best arm has the largest mu (r - E r); dividing by a deviation changes no order."""
    behavior, reward, _ = exact.numbers(case)
    center = exact.mean(behavior, reward)
    pull = [p * (r - center) for p, r in zip(behavior, reward, strict=True)]
    best = max(p for p, r in zip(pull, reward, strict=True) if r == max(reward))
    return max(pull) - best > exact.margin()


@exact.precisely
def _confirm_asymre(case: Case) -> bool:
    """The level tau at which [mu A - tau]+ sums to E A lies above every best arm's mu A."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    shift = beta * (max(reward) - min(reward)) / 10
    center = exact.mean(behavior, reward)
    pull = [p * (r - center + shift) for p, r in zip(behavior, reward, strict=True)]
    best = max(p for p, r in zip(pull, reward, strict=True) if r == max(reward))
    return mp.fsum(max(p - best, mp.mpf(0)) for p in pull) - shift > exact.margin()


@exact.precisely
def _confirm_entropy(case: Case) -> bool:
    """Two syncs of the shifted mean, then the tilt of mu of the same value."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    policy = behavior
    for _ in range(2):
        policy = exact.lambert(policy, reward, beta, exact.mean(policy, reward) - beta)
    value = exact.mean(policy, reward)

    def tilt(s: Any) -> list[Any]:
        return exact.gibbs(behavior, [s * r for r in reward], 1)

    same = mp.findroot(lambda s: exact.mean(tilt(s), reward) - value, (mp.mpf(0), mp.mpf(20)), solver="anderson")
    return exact.entropy(tilt(same)) - exact.entropy(policy) > exact.margin()


@exact.precisely
def _confirm_length(case: Case) -> bool:
    """The target of lengths 1, 2, 2 with V = E r - beta, and whether two arms of equal reward part."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    baseline = exact.mean(behavior, reward) - beta
    lengths = (1, 2, 2)

    def ratios(log_normalizer: Any) -> list[Any]:
        kappas = [mp.exp(log_normalizer) * n**2 / beta for n in lengths]
        exponents = [n * (r - baseline) / beta for n, r in zip(lengths, reward, strict=True)]
        return [mp.lambertw(k * mp.exp(a)).real / k for k, a in zip(kappas, exponents, strict=True)]

    low, high = mp.mpf(-60), mp.mpf(60)
    for _ in range(200):
        middle = (low + high) / 2
        over = mp.fdot(behavior, ratios(middle)) > 1
        low, high = (middle, high) if over else (low, middle)
    found = ratios(low)
    return any(reward[0] == reward[i] and abs(found[0] - found[i]) > exact.margin() for i in (1, 2))


def _flow_end(case: Case) -> Array:
    """Where the flow from mu ends at V = V* + 4 beta, by an adaptive integrator instead of steps: (K,)."""
    chosen = regression(case.beta, soft_value(case.beta, 4.0 * case.beta))
    return ps.gradient_flow(case.bandit, chosen).policy[0]


def _confirm_negative_arm(case: Case) -> bool:
    """The flow's largest arm is not one of highest reward."""
    reward = case.bandit.reward[0]
    return bool(reward[_flow_end(case).argmax()] < reward.max())


def _confirm_negative_global(case: Case) -> bool:
    """Some policy next to a vertex has a lower loss than the flow's end, which is then not the lowest minimum."""
    chosen = regression(case.beta, soft_value(case.beta, 4.0 * case.beta))
    end, behavior = _flow_end(case), case.bandit.behavior[0]
    advantage = chosen.advantage(case.bandit.reward, case.bandit.behavior)[0]

    def loss(policy: Array) -> float:
        return float(behavior @ (case.beta * np.log(policy / behavior) - advantage) ** 2)

    rivals = [
        (1 - share) * vertex + share / len(end) for vertex in np.eye(len(end)) for share in np.geomspace(1e-4, 0.5)
    ]
    return min(map(loss, rivals)) < loss(end)


_refuted = partial(Claim, source=HERE, families=(), tolerance=VISIBLE, refuted=True, falsify=False)

CLAIMS = (
    _refuted(
        "updates.soft_value_target",
        "With soft values estimated from groups the regression stands still, on average, at its population target.",
        check=groups.soft_value_target,
        search=small_rationals,
        confirm=_confirm_soft_value,
    ),
    _refuted(
        "lag.negative_best_arm",
        "Beyond V* + d_c exact steps from mu end with most mass on an arm of highest reward.",
        check=lagged.negative_best_arm,
        confirm=_confirm_negative_arm,
        search=partial(small_rationals, arms=(2, 3), betas=(1.0,)),
        tolerance=0.1,  # of probability, at ends known to 1e-7
    ),
    _refuted(
        "lag.negative_global",
        "Beyond V* + d_c exact steps from mu end at the local minimum of lowest loss.",
        check=lagged.negative_global,
        confirm=_confirm_negative_global,
        search=partial(small_rationals, arms=(2, 3), betas=(1.0,)),
        tolerance=0.1,
    ),
    _refuted(
        "lag.grpo_best_arm",
        "GRPO without ratio, trained to the end between syncs, ends on an arm of highest reward.",
        check=collapse.grpo_best_arm,
        search=small_rationals,
        confirm=_confirm_grpo,
        source="counterexample of the kind of REC, arXiv 2509.24203",
    ),
    _refuted(
        "asymre.best_arm",
        "AsymRE's recursion with V < E r never loses all arms of highest reward.",
        check=collapse.asymre_best_arm,
        search=partial(small_rationals, betas=(1.0, 0.5, 0.25, 0.125)),
        confirm=_confirm_asymre,
    ),
    _refuted(
        "recursion.entropy",
        "At equal value the shifted mean's recursion keeps at least the entropy of the boundary's path mu e^(s r)/Z.",
        check=recursion.entropy_order,
        search=partial(small_rationals, arms=(3,)),
        confirm=_confirm_entropy,
    ),
    _refuted(
        "completions.length_blind",
        "With log-ratios divided by the length, completions of equal reward keep their odds whatever their lengths.",
        check=completions.length_blind,
        search=partial(small_rationals, arms=(3,)),
        confirm=_confirm_length,
    ),
)
