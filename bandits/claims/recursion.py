"""Claims about the ideal recursion of log-ratio regression: every window reaches its induced target exactly."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import pessimism as ps
from pessimism.claims import Case, claim, claims_in, exact, refuted, small_rationals
from pessimism.claims.families import MODERATE, SMALL
from pessimism.claims.support import (
    HERE,
    SOLVED,
    WEIGHED,
    combined,
    disorder,
    excess,
    over_arms,
    pessimistic,
    relative,
    size,
)
from pessimism.claims.symbolic import is_positive, is_zero
from pessimism.solve import expectation, total_variation

from .support import Array, finite_log, last_policy, playable, syncs, tilted

SYNCS = 3


SMALLEST = 1e-280
"""Arms with less probability are left out of comparisons of log-policies: recursions start again from floats."""


def _range(bandit: ps.Bandit) -> Array:
    """max r - min r over the arms that are played, (n,)."""
    seen = bandit.behavior > 0
    low = np.where(seen, bandit.reward, np.inf).min(axis=-1)
    return np.where(seen, bandit.reward, -np.inf).max(axis=-1) - low


def rounding(case: Case, count: int) -> Array:
    """The size of k r/beta and of log mu: what a log-policy after k syncs is rounded against, (n,)."""
    seen = case.bandit.behavior > 0
    return (
        1
        + count * size(case.bandit.reward, seen)[:, 0] / case.beta
        + size(finite_log(case.bandit.behavior), seen)[:, 0]
    )


def _boundary_proof() -> bool:
    """From pi_k = mu e^(k r/beta)/Z_k the target of the boundary, pi_k e^(r/beta)/Z, is pi_k+1; three arms."""
    import sympy as sp

    beta, count = sp.symbols("beta k", positive=True)
    reward = sp.symbols("r1:4", real=True)
    mu = sp.symbols("mu1:4", positive=True)

    def tilt(weights: list, times: object) -> list:
        raised = [w * sp.exp(times * r / beta) for w, r in zip(weights, reward, strict=True)]
        return [value / sum(raised) for value in raised]

    again = tilt(tilt(list(mu), count), 1)
    return all(sp.simplify(a / b) == 1 for a, b in zip(again, tilt(list(mu), count + 1), strict=True))


@claim(
    "recursion.boundary", HERE, MODERATE, SOLVED, proof=_boundary_proof, proves="the step from k to k + 1", effort=0.1
)
def boundary(case: Case) -> Array:
    """The ideal recursion at the boundary is pi_k = mu exp(k r/beta)/Z exactly.

    Check: With V = V* (beta1 = beta2) the k-th policy is exactly mu exp(k r/beta)/Z.
    """
    bandit, found = case.bandit, []
    chosen = ps.algorithm("oapl.single_beta", beta=case.beta)
    for count, (_, run) in enumerate(syncs(bandit, chosen, SYNCS), 1):
        policy, exact = run.policy[0], tilted(bandit, count * (bandit.reward / case.beta))
        seen = np.minimum(policy, exact) > SMALLEST
        scale = rounding(case, count)
        found.append(over_arms(np.abs(finite_log(policy) - finite_log(exact)) / scale[:, None], seen))
        found.append(total_variation(policy, exact) / scale)
    return combined(*found)


def _gain_proof() -> bool:
    """beta x + lambda rho = r - V, weighed by pi - mu: the gain is beta E[(rho - 1) x] + lambda E[(rho - 1)^2]."""
    import sympy as sp

    beta, lam, baseline = sp.symbols("beta lambda V", real=True)
    mu1, mu2, rho1, rho2 = sp.symbols("mu1 mu2 rho1 rho2", positive=True)
    mu3 = 1 - mu1 - mu2
    rho3 = (1 - mu1 * rho1 - mu2 * rho2) / mu3
    x = sp.symbols("x1:4", real=True)
    weights, ratios = (mu1, mu2, mu3), (rho1, rho2, rho3)
    gained = spent = sp.Integer(0)
    for m, rho, log_ratio in zip(weights, ratios, x, strict=True):
        reward = baseline + beta * log_ratio + lam * rho
        gained += m * (rho - 1) * reward
        spent += beta * m * (rho - 1) * log_ratio + lam * m * (rho - 1) ** 2
    return is_zero(gained - spent)


@claim("recursion.gain", HERE, MODERATE, SOLVED, proof=_gain_proof, proves="the identity, for three arms", effort=0.1)
def gain(case: Case) -> Array:
    """Each sync gains beta (KL(pi|mu) + KL(mu|pi)) + lambda chi2(pi|mu) in value, exactly: >= 0 if lambda >= 0.

    Check: E_k+1 r - E_k r = beta (KL both ways) + lambda chi2 >= 0, each taken from the run's own records.
    """
    found = []
    for chosen in pessimistic(case):
        for start, run in syncs(case.bandit, chosen, SYNCS):
            moved = run.policy[0] - start.behavior
            spent = case.beta * (run.kl[0, 0] + run.reverse_kl[0, 0]) + run.normalizer[0, 0] * run.chi2[0, 0]
            # A log-ratio is known to 1e-12 of itself and of one; the gain weighs its error by |rho - 1|.
            known = case.beta * np.abs(moved).sum(axis=-1) * (1 + np.log(run.max_ratio[0, 0]) + run.reverse_kl[0, 0])
            scale = size(case.bandit.reward, start.behavior > 0)[:, 0]
            gained = expectation(moved, case.bandit.reward)
            found += [relative(gained - spent, spent, known, scale), excess(0.0, gained, scale)]
    return combined(*found)


def _behind_nominal_proof() -> bool:
    """k/beta less k slopes 1/(beta + lambda_j rho_j) is a sum of positive terms; one of them."""
    import sympy as sp

    beta, lam, rho = sp.symbols("beta lambda rho", positive=True)
    return is_positive(1 / beta - 1 / (beta + lam * rho))


@claim(
    "recursion.behind_nominal",
    HERE,
    MODERATE,
    SOLVED,
    proof=_behind_nominal_proof,
    proves="the slope of every sync is below 1/beta",
    effort=0.1,
)
def behind_nominal(case: Case) -> Array:
    """At every sync the positive regime is behind pi*_k = mu exp(k r/beta)/Z, in likelihood-ratio order and value.

    Check: After k syncs log(pi*_k/pi_k) is non-decreasing in the reward, pi*_k = mu exp(k r/beta)/Z; so values are
    less.
    """
    bandit, found = case.bandit, []
    for chosen in pessimistic(case):
        for count, (_, run) in enumerate(syncs(bandit, chosen, SYNCS), 1):
            policy = run.policy[0]
            kept, scale = policy > SMALLEST, rounding(case, count)
            lead = count * (bandit.reward / case.beta) - (finite_log(policy) - finite_log(bandit.behavior))
            found.append(disorder(bandit.reward, np.where(kept, lead, 0.0), kept) / scale)
            nominal = expectation(tilted(bandit, count * (bandit.reward / case.beta)), bandit.reward)
            found.append(excess(run.value[0, 0], nominal, size(bandit.reward, bandit.behavior > 0)[:, 0]))
    return combined(*found)


@claim("recursion.shifted_mean", HERE, MODERATE, WEIGHED, effort=0.1)
def shifted_budget(case: Case) -> Array:
    """With V = E r - d beta every sync has rho <= 1 + (max r - E r)/(d beta); all chi2 sum to <= gain/(d beta).

    Check: With V = E r - delta beta every sync has rho <= 1 + (max r - E r)/(delta beta) and chi2 <= gain/(delta
    beta).
    """
    bandit, found = case.bandit, []
    for delta in (0.3, 1.0, 5.0):
        chosen = ps.algorithm("shifted_mean", beta=case.beta, delta=delta)
        spent, first, value = np.zeros(case.size), expectation(bandit.behavior, bandit.reward), np.zeros(case.size)
        scale = size(bandit.reward, bandit.behavior > 0)[:, 0]
        for start, run in syncs(bandit, chosen, SYNCS):
            seen = start.behavior > 0
            before = expectation(start.behavior, bandit.reward)
            best = np.where(seen, bandit.reward, -np.inf).max(axis=-1)
            bound = 1 + (best - before) / (delta * case.beta)
            found.append(excess(run.max_ratio[0, 0], bound, bound, scale / (delta * case.beta)))
            spent, value = spent + run.chi2[0, 0], run.value[0, 0]
        found.append(excess(delta * case.beta * spent, value - first, spent * delta * case.beta, scale))
    return combined(*found)


@claim("recursion.last_rate", HERE, MODERATE, 1e-07, falsify=False)
def last_rate(case: Case) -> Array:
    """Near the end a sync with V = E r - d beta multiplies an arm of gap D by W0(d e^(d - D/beta))/d.

    Check: Next to the best arm's vertex a sync multiplies an arm of gap D by e^(-D/beta) or W0(d e^(d -
    D/beta))/d.
    """
    seen, bandit = case.bandit.behavior > 0, case.bandit
    best = np.where(seen, bandit.reward, -np.inf).argmax(axis=-1)[:, None]
    top = np.arange(bandit.arms) == best
    behavior = np.where(top, 0.0, 1e-9 * bandit.behavior)
    behavior = np.where(top, 1 - behavior.sum(axis=-1, keepdims=True), behavior)
    near = ps.Bandit(behavior / behavior.sum(axis=-1, keepdims=True), bandit.reward)
    gap = np.where(seen, np.take_along_axis(bandit.reward, best, axis=-1) - bandit.reward, 0.0) / case.beta
    found = []
    for delta in (0.0, 0.3, 1.0, 5.0):
        chosen = ps.algorithm("kimi_k15", tau=case.beta)
        if delta:
            chosen = ps.algorithm("shifted_mean", beta=case.beta, delta=delta)
        policy = last_policy(near, chosen, 1)
        kept = seen & (policy > SMALLEST)
        x = np.where(kept, finite_log(policy) - finite_log(near.behavior), 0.0)
        # W0 by its equation: x + delta e^x = delta - D/beta; for delta = 0 that is x = -D/beta.
        residual = np.where(kept, x + delta * (np.exp(x) - 1) + gap, 0.0)
        found.append(over_arms(np.abs(residual), kept) / ((1 + delta) * (1 + size(gap, seen)[:, 0])))
    return combined(*found)


@claim("recursion.order", HERE, MODERATE, SOLVED, effort=0.1)
def order_persists(case: Case) -> Array:
    """Of two baselines E r - delta beta the lower one stays behind at every sync: likelihood-ratio order and value."""
    bandit, found = case.bandit, []
    made = [ps.algorithm("kimi_k15", tau=case.beta)]
    made += [ps.algorithm("shifted_mean", beta=case.beta, delta=delta) for delta in (0.3, 1.0, 3.0)]
    scale = size(bandit.reward, bandit.behavior > 0)[:, 0]
    runs = zip(*(syncs(bandit, chosen, SYNCS + 2) for chosen in made), strict=True)
    for count, step in enumerate(runs, 1):
        for (_, ahead), (_, behind) in pairwise(step):
            one, other = ahead.policy[0], behind.policy[0]
            kept = np.minimum(one, other) > SMALLEST
            lead = np.where(kept, finite_log(one) - finite_log(other), 0.0)
            found.append(disorder(bandit.reward, lead, kept) / rounding(case, count))
            found.append(excess(behind.value[0, 0], ahead.value[0, 0], scale))
    return combined(*found)


@claim("recursion.two_levels", HERE, MODERATE, SOLVED, effort=0.1)
def two_levels(case: Case) -> Array:
    """With two levels of reward all recursions pass through mu e^(s r)/Z: at equal value, equal entropy.

    Check: With two levels of reward every recursion passes through mu e^(s r)/Z: at equal value, the same policy.
    """
    seen = case.bandit.behavior > 0
    middle = expectation(case.bandit.behavior, case.bandit.reward)[:, None]
    high = case.bandit.reward > middle
    case = case.with_reward(np.where(high, _range(case.bandit)[:, None], 0.0))
    found = []
    for chosen in (*pessimistic(case), ps.algorithm("oapl.single_beta", beta=case.beta)):
        for count, (_, run) in enumerate(syncs(case.bandit, chosen, SYNCS), 1):
            policy = run.policy[0]
            kept = seen & (policy > SMALLEST)
            x = np.where(kept, finite_log(policy) - finite_log(case.bandit.behavior), 0.0)
            for level in (kept & high, kept & ~high):
                spread = np.where(level, x, -np.inf).max(axis=-1) - np.where(level, x, np.inf).min(axis=-1)
                found.append(np.where(level.any(axis=-1), np.maximum(spread, 0.0), 0.0) / rounding(case, count))
    return combined(*found)


def tilt_of_value(bandit: ps.Bandit, value: Array) -> Array:
    """The policy mu e^(s r)/Z, s >= 0, of a given value between E r and max r, (n,), by bisection on s."""
    unit = _range(bandit)
    scaled = bandit.reward / np.where(unit > 0, unit, 1.0)[:, None]
    low, high = np.zeros(len(unit)), np.full(len(unit), 700.0)
    for _ in range(60):
        middle = (low + high) / 2
        more = expectation(tilted(bandit, middle[:, None] * scaled), bandit.reward) < value
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return tilted(bandit, ((low + high) / 2)[:, None] * scaled)


def entropy_of(policy: Array) -> Array:
    """Shannon entropy in nats (n,)."""
    return -expectation(policy, finite_log(policy))


@claim("recursion.uniform_entropy", HERE, SMALL, 1e-09, effort=0.1)
def uniform_entropy(case: Case) -> Array:
    """From a uniform policy no recursion has, at equal value, more entropy than the boundary's path mu e^(s r)/Z."""
    seen = case.bandit.behavior > 0
    uniform = ps.Bandit(seen / seen.sum(axis=-1, keepdims=True), case.bandit.reward)
    found = []
    for chosen in pessimistic(replace(case, bandit=uniform))[:3]:
        policy = last_policy(uniform, chosen, 2)
        path = tilt_of_value(uniform, expectation(policy, uniform.reward))
        found.append(np.maximum(entropy_of(policy) - entropy_of(path), 0.0))
    return combined(*found)


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


@refuted("recursion.entropy", search=partial(small_rationals, arms=(3,)), confirm=_confirm_entropy, families=())
def entropy_order(case: Case) -> Array:
    """At equal value the shifted mean's recursion keeps at least the entropy of the boundary's path mu e^(s r)/Z.

    Check: At equal value the shifted mean's policy keeps at least the boundary's entropy, which is false.
    """
    policy = last_policy(case.bandit, ps.algorithm("shifted_mean", beta=case.beta), 2)
    path = tilt_of_value(case.bandit, expectation(policy, case.bandit.reward))
    return np.maximum(entropy_of(path) - entropy_of(policy), 0.0)


@claim("recursion.best_arm", HERE, SMALL, 1e-09, falsify=False)
def reaches_best(case: Case) -> Array:
    """The recursion of the positive regime and of the boundary ends on the arms of highest reward.

    Check: Forty syncs from the best arms' rivals: rewards in quarters of their range, beta at most a fifth of it.
    """
    case = playable(case, low=0.05, high=0.2)
    bandit = case.with_reward(np.round(4 * case.bandit.reward) / 4).bandit
    best = np.where(bandit.behavior > 0, bandit.reward, -np.inf).max(axis=-1)
    made = pessimistic(case)[:3]
    return combined(*(best - expectation(last_policy(bandit, chosen, 40), bandit.reward) for chosen in made))


CLAIMS = claims_in(vars())
