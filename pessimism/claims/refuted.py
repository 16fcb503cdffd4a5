"""Statements that are false in general, with searches for their smallest counterexamples in simple rationals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np

from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..solve import lambert_minima as stationary
from ..solve.divergences import DIVERGENCES
from . import exact
from .claim import NOT_APPLICABLE, Case, Claim
from .conservatism import entropy_order
from .counterfactual import first_step_awr
from .families import SMALL, Family
from .groups import always_pessimistic
from .negative import beyond_soft_value, missing_log_population
from .others import reinforce_best_arm
from .sequences import normalized_equals_sequence, token_equals_sequence
from .support import HERE, Array, combined, excess, induced, nominal, pessimistic, regression, soft_value

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


@exact.precisely
def _confirm_entropy(case: Case) -> bool:
    behavior, reward, beta = exact.numbers(case)
    target = exact.lambert(behavior, reward, beta, exact.mean(behavior, reward))
    return exact.entropy(exact.gibbs(behavior, reward, beta)) - exact.entropy(target) > exact.margin()


@exact.precisely
def _confirm_reinforce(case: Case) -> bool:
    behavior, reward, _ = exact.numbers(case)
    center = exact.mean(behavior, reward)
    pull = [p * (r - center) for p, r in zip(behavior, reward, strict=True)]
    best = max(range(len(pull)), key=lambda i: pull[i])
    return max(pull[i] for i in range(len(pull)) if reward[i] == max(reward)) < pull[best] - exact.margin()


@exact.precisely
def _confirm_group(case: Case) -> bool:
    behavior, reward, beta = exact.numbers(case)
    return max(reward) - exact.soft_value(behavior, reward, beta) > exact.margin()


@exact.precisely
def _confirm_missing(case: Case) -> bool:
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    one = mp.mpf(case.ratio) * beta
    baseline = exact.soft_value(behavior, reward, one) + one * mp.log(2)
    return exact.soft_value(behavior, reward, beta) - baseline > exact.margin()


@exact.precisely
def _confirm_first_step(case: Case) -> bool:
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)

    def step(c: list) -> list:
        center = exact.mean(behavior, c)
        return [p * (v - center) for p, v in zip(behavior, c, strict=True)]

    one, other = step(reward), step([mp.exp(r / beta) for r in reward])
    # Parallel vectors have all 2 x 2 minors zero.
    minors = [one[i] * other[j] - one[j] * other[i] for i in range(len(one)) for j in range(i)]
    return max(abs(m) for m in minors) > exact.margin()


def baseline_free(case: Case) -> Array:
    """Regression without a ratio has the nominal target whatever the baseline, which is false away from V*."""
    gaps = []
    for chosen in pessimistic(case)[:2]:
        gaps.append(np.abs(induced(case.bandit, chosen).policy - nominal(case.bandit, chosen).policy).sum(axis=-1) / 2)
    return combined(*gaps)


@exact.precisely
def _confirm_baseline(case: Case) -> bool:
    behavior, reward, beta = exact.numbers(case)
    target = exact.lambert(behavior, reward, beta, exact.mean(behavior, reward) - beta)
    other = exact.gibbs(behavior, reward, beta)
    return max(abs(p - q) for p, q in zip(target, other, strict=True)) > exact.margin()


def negative_conservative(case: Case) -> Array:
    """The divergence order holds in the negative regime too, which is false: it is reversed."""
    chosen = regression(case.beta, beyond_soft_value(case.beta, 0.5))
    target, other = induced(case.bandit, chosen), nominal(case.bandit, chosen)
    kl = DIVERGENCES["kl"]
    near, far = (kl(t.log_ratio, case.bandit.behavior) for t in (target, other))
    return excess(near, far, near, far, np.full(case.size, 1e-6))


@exact.precisely
def _confirm_negative(case: Case) -> bool:
    """A kappa < 0 close to 0 with principal solutions: the slope 1/(1 + kappa rho) > 1 spreads log-ratios further."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    top = exact.soft_value(behavior, reward, beta)
    a = [(r - top) / beta for r in reward]
    kappa = -mp.exp(-1 - max(a)) / 2
    x = [v - mp.lambertw(kappa * mp.exp(v)).real for v in a]
    normal = mp.fsum(p * mp.exp(v) for p, v in zip(behavior, x, strict=True))
    target = [p * mp.exp(v) / normal for p, v in zip(behavior, x, strict=True)]

    def kl(policy: list) -> Any:
        return mp.fsum(q * mp.log(q / p) for q, p in zip(policy, behavior, strict=True))

    # Dividing by the sum moves V, not the shape: a target of the same family with its own offset below d_c.
    return kl(target) - kl(exact.gibbs(behavior, reward, beta)) > exact.margin()


def negative_minimum_rewarded(case: Case) -> Array:
    """At V = V* + 4 beta the lowest loss has at least the behavior policy's value, which is false."""
    found = np.full(case.size, NOT_APPLICABLE)  # the solver takes one instance at a time: 24 a case
    for row in range(min(case.size, 24)):
        behavior, reward = case.bandit.behavior[row], case.bandit.reward[row]
        z = reward / case.beta
        minima = stationary.regression_minima(behavior, z - np.log((behavior * np.exp(z)).sum()), 4.0)
        policy = behavior * np.exp(minima[0].log_ratio)
        shortfall = float(behavior @ reward - policy @ reward)
        found[row] = max(shortfall, 0.0)
    return found


@exact.precisely
def _confirm_minimum(case: Case) -> bool:
    """Each arm in turn on the second branch, the others on the principal one: losses and values in 50 digits."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    a = [(r - exact.soft_value(behavior, reward, beta)) / beta - 4 for r in reward]
    points = []
    for second in range(len(a)):

        def solve(u, second=second):
            # log v of the arm on the second branch is u > 0; it fixes kappa, kappa the others.
            log_kappa = u - mp.exp(u) - a[second]
            kappa = -mp.exp(log_kappa)
            x = [v - mp.lambertw(kappa * mp.exp(v), -1 if i == second else 0) for i, v in enumerate(a)]
            return kappa, [mp.re(v) for v in x]

        def total(u, solve=solve):
            return mp.fsum(p * mp.exp(v) for p, v in zip(behavior, solve(u)[1], strict=True)) - 1

        grid = [mp.mpf(k) / 20 for k in range(1, 120)]
        for low, high in pairwise(grid):
            if total(low) * total(high) < 0:
                x = solve(mp.findroot(total, (low, high), solver="anderson"))[1]
                loss = mp.fsum(p * (v - w) ** 2 for p, v, w in zip(behavior, x, a, strict=True))
                points.append((loss, mp.fsum(p * mp.exp(v) * r for p, v, r in zip(behavior, x, reward, strict=True))))
    return bool(points) and min(points)[1] < exact.mean(behavior, reward) - exact.margin()


def clip_path_free(case: Case) -> Array:
    """The limit of PPO's clipped update does not depend on the start, which is false."""
    from ..targets import gradient_flow

    rows = slice(0, 6)
    bandit = Bandit(case.bandit.behavior[rows], case.bandit.reward[rows])
    chosen = algorithm("ppo")
    one = gradient_flow(bandit, chosen)
    seen = bandit.behavior > 0
    other = gradient_flow(bandit, chosen, start=seen / seen.sum(axis=-1, keepdims=True))
    found = np.full(case.size, NOT_APPLICABLE)  # flows are slow: six instances a case
    found[rows] = np.where(one.converged & other.converged, np.abs(one.policy - other.policy).sum(axis=-1) / 2, 0.0)
    return found


@exact.precisely
def _confirm_tokens(case: Case) -> bool:
    """Arms 0..3 are the completions 00, 01, 10, 11; both targets from their definitions, V as in the check."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    baseline = exact.mean(behavior, reward) - beta * (1 + (max(reward) - min(reward)) / beta)
    first = [behavior[0] + behavior[1], behavior[2] + behavior[3]]
    values = [exact.mean(behavior[2 * i : 2 * i + 2], reward[2 * i : 2 * i + 2]) / first[i] for i in (0, 1)]
    tokens = exact.lambert(first, values, beta, baseline)
    policy = []
    for i in (0, 1):
        inner = [p / first[i] for p in behavior[2 * i : 2 * i + 2]]
        policy += [tokens[i] * p for p in exact.lambert(inner, reward[2 * i : 2 * i + 2], beta, baseline)]
    target = exact.lambert(behavior, reward, beta, baseline)
    return mp.fsum(abs(p - q) for p, q in zip(policy, target, strict=True)) > exact.margin()


@exact.precisely
def _confirm_length(case: Case) -> bool:
    behavior, reward, beta = exact.numbers(case)
    baseline = exact.mean(behavior, reward) - beta
    one, other = (exact.lambert(behavior, reward, b, baseline) for b in (beta, beta / 2))
    return max(abs(p - q) for p, q in zip(one, other, strict=True)) > exact.margin()


def group_follows_betas(case: Case) -> Array:
    """beta1 > beta2 is positive on every prompt with group estimates too, which is false: a lucky group."""
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


def _refuted(
    identifier: str,
    statement: str,
    check: Callable[[Case], Array],
    search: Callable[[], Iterator[Case]],
    confirm: Callable[[Case], bool] | None,
    tolerance: float = VISIBLE,
    source: str = HERE,
    families: tuple[Family, ...] = SMALL,
) -> Claim:
    return Claim(
        identifier,
        statement,
        source,
        families,
        check,
        tolerance,
        refuted=True,
        search=search,
        confirm=confirm,
        falsify=False,
    )


CLAIMS = (
    _refuted(
        "conservatism.entropy",
        "The induced target has at least the nominal one's Shannon entropy (mean baseline, any behavior policy).",
        entropy_order,
        small_rationals,
        _confirm_entropy,
    ),
    _refuted(
        "conservatism.negative",
        "D_f(pi|mu) <= D_f(pi*|mu) holds in the negative regime too.",
        negative_conservative,
        small_rationals,
        _confirm_negative,
    ),
    _refuted(
        "conservatism.baseline_free",
        "Log-ratio regression has the nominal target for every baseline, as its importance-weighted twin does.",
        baseline_free,
        small_rationals,
        _confirm_baseline,
    ),
    _refuted(
        "reinforce.best_arm",
        "REINFORCE with a mean baseline goes to an arm of highest reward.",
        reinforce_best_arm,
        small_rationals,
        _confirm_reinforce,
        source="counterexample of the kind of REC, arXiv 2509.24203",
    ),
    _refuted(
        "negative.global_minimum",
        "In the negative regime the global minimum of the loss has at least the behavior policy's value.",
        negative_minimum_rewarded,
        partial(small_rationals, arms=(2,), betas=(1.0,), levels=2),
        _confirm_minimum,
        families=(),  # one instance at a time: the search alone
    ),
    _refuted(
        "negative.missing_log_g_population",
        "A baseline without its - beta1 log G is in the negative regime with exact expectations too, for any policy.",
        missing_log_population,
        partial(small_rationals, betas=(1.0, 0.5, 0.25, 0.125)),
        _confirm_missing,
    ),
    _refuted(
        "groups.never_negative",
        "No group's soft-value estimate with the regression's own beta exceeds V*.",
        always_pessimistic,
        small_rationals,
        _confirm_group,
    ),
    _refuted(
        "groups.follow_betas",
        "beta1 > beta2 puts every prompt in the positive regime, with baselines estimated from groups too.",
        group_follows_betas,
        small_rationals,
        _confirm_group,
    ),
    _refuted(
        "first_step.awr",
        "At pi = mu AWR takes the same step, up to its length, as log-ratio regression.",
        first_step_awr,
        partial(small_rationals, arms=(2, 3)),
        _confirm_first_step,
    ),
    _refuted(
        "clip.path_free",
        "The limit of PPO's clipped update does not depend on where it starts.",
        clip_path_free,
        partial(small_rationals, betas=(1.0,), levels=2, largest=4),
        None,
        families=(),
        tolerance=1e-3,  # limits across jumps are known to the width of the ramp that stands for the jump, 1e-6
    ),
    _refuted(
        "sequences.token_target",
        "Token-level regression has the same target as sequence-level regression (here: two binary tokens).",
        token_equals_sequence,
        partial(small_rationals, arms=(4,), betas=(1.0,), levels=2, largest=5),
        _confirm_tokens,
    ),
    _refuted(
        "sequences.length_target",
        "Dividing log-ratios by the length leaves the target unchanged (here: a length of two).",
        normalized_equals_sequence,
        small_rationals,
        _confirm_length,
    ),
)
