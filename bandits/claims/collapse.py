"""Claims about policy gradients without ratio over syncs: AsymRE's recursion, its support and what it can lose."""

from __future__ import annotations

from functools import partial

import numpy as np

import pessimism as ps
from pessimism.claims import Case, claim, claims_in, exact, refuted, small_rationals
from pessimism.claims.families import MODERATE
from pessimism.claims.support import HERE, SOLVED, combined, excess, over_arms, relative, size
from pessimism.claims.symbolic import is_nonnegative, is_zero
from pessimism.solve import expectation

from .support import Array, finite_log, last_policy, syncs

SYNCS = 3


def _unit(case: Case) -> ps.Bandit:
    """Rewards moved to [0, 1] and scaled to a range of one (where they differ visibly), arms never played at 0."""
    seen = case.bandit.behavior > 0
    low = np.where(seen, case.bandit.reward, np.inf).min(axis=-1, keepdims=True)
    raised = np.where(seen, case.bandit.reward - low, 0.0)
    spread = raised.max(axis=-1, keepdims=True)
    varied = spread > 1e-9 * size(case.bandit.reward, seen)
    return ps.Bandit(case.bandit.behavior, np.where(varied, raised / np.where(varied, spread, 1.0), 0.0))


def _asymre_gain_proof() -> bool:
    """With w_i = mu_i A_i - tau, tau >= 0: sum w_i A_i - sum w_i^2/mu_i = tau sum w_i/mu_i >= 0; two kept arms."""
    import sympy as sp

    mu = sp.symbols("mu1:3", positive=True)
    w = sp.symbols("w1:3", positive=True)
    tau = sp.symbols("tau", nonnegative=True)
    advantages = [(a + tau) / m for a, m in zip(w, mu, strict=True)]
    left = sum(a * b for a, b in zip(w, advantages, strict=True)) - sum(a**2 / m for a, m in zip(w, mu, strict=True))
    # pi = w/s, s = sum w = E A: E_pi A - s (1 + chi2) = left/s, and E_pi A - s is the gain.
    return is_zero(left - tau * sum(a / m for a, m in zip(w, mu, strict=True))) and is_nonnegative(left)


@claim(
    "asymre.support",
    HERE,
    MODERATE,
    SOLVED,
    proof=_asymre_gain_proof,
    proves="the step from A >= w/mu, w = mu A - tau, to the bound by Cauchy's inequality, for two kept arms",
    effort=0.1,
)
def support_shrinks(case: Case) -> Array:
    """AsymRE's recursion with V < E r: no arm comes back, and a sync gains at least (E r - V) chi2(pi|mu) in value.

    Check: AsymRE's support never grows, and a sync gains at least |shift| chi2 in value (shift < 0).
    """
    bandit, found = _unit(case), []
    for shift in (-2.0, -0.3, -0.03):
        for start, run in syncs(bandit, ps.algorithm("asymre", shift=shift), SYNCS):
            policy = run.policy[0]
            found.append(np.where(start.behavior > 0, 0.0, policy).sum(axis=-1))
            gained = expectation(policy - start.behavior, bandit.reward)
            # Ratios of rare arms that gained a lot are known relative to themselves, chi2 relative to 1 + chi2.
            found.append(excess(-shift * run.chi2[0, 0], gained, -shift * (1 + run.chi2[0, 0]), np.ones(case.size)))
    return combined(*found)


def _chi_square_gain_proof() -> bool:
    """sum mu (1 + (r - E r)/s) r - E r = Var(r)/s; two arms."""
    import sympy as sp

    mu, s = sp.symbols("mu s", positive=True)
    rewards = sp.symbols("r1 r2", real=True)
    weights = (mu, 1 - mu)
    mean = sum(w * r for w, r in zip(weights, rewards, strict=True))
    value = sum(w * (1 + (r - mean) / s) * r for w, r in zip(weights, rewards, strict=True))
    return is_zero(value - mean - sum(w * (r - mean) ** 2 for w, r in zip(weights, rewards, strict=True)) / s)


@claim(
    "asymre.keeps_all",
    HERE,
    MODERATE,
    SOLVED,
    proof=_chi_square_gain_proof,
    proves="the gain, for two arms",
    effort=0.1,
)
def keeps_all(case: Case) -> Array:
    """AsymRE's recursion with V = E r - s, s >= max r - min r: rho = 1 + (r - E r)/s, and a sync gains Var(r)/s.

    Check: With |shift| at least the range of rewards: rho = 1 + (r - E r)/|shift| and a gain of Var(r)/|shift| a
    sync.
    """
    bandit, found = _unit(case), []
    for shift in (1.0, 4.0):
        for start, run in syncs(bandit, ps.algorithm("asymre", shift=-shift), SYNCS):
            centered = bandit.reward - expectation(start.behavior, bandit.reward)[:, None]
            found.append(over_arms(np.abs(run.policy[0] - start.behavior * (1 + centered / shift)), start.behavior > 0))
            gained = expectation(run.policy[0] - start.behavior, bandit.reward)
            found.append(relative(gained - expectation(start.behavior, centered**2) / shift, 1.0))
    return combined(*found)


@claim("asymre.keeps_best", HERE, MODERATE, SOLVED, effort=0.1)
def keeps_best(case: Case) -> Array:
    """The same recursion ends on the best arms: a sync raises their odds by 1 + D/(s + r - min r), D = max r - r.

    Check: The same recursion ends on the best arms: each sync multiplies their mass against an arm of gap D by 1 +
    more.
    """
    bandit, found = _unit(case), []
    seen = bandit.behavior > 0
    best = bandit.reward == np.where(seen, bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    for shift in (1.0, 4.0):
        policy = last_policy(bandit, ps.algorithm("asymre", shift=-shift), SYNCS)
        kept = seen & (policy > 1e-280)
        x = np.where(kept, finite_log(policy) - finite_log(bandit.behavior), 0.0)
        ahead = np.where(best & kept, x, np.inf).min(axis=-1, keepdims=True) - x
        # (s + r* - E)/(s + r - E) with E r >= 0 = min r, s >= 1: at least 1 + D/(s + r).
        least = SYNCS * np.log1p((1 - bandit.reward) / (shift + bandit.reward))
        varied = bandit.reward.max(axis=-1) > 0
        fault = np.where(kept & np.isfinite(ahead), np.maximum(least - ahead, 0.0), 0.0)
        found.append(np.where(varied, over_arms(fault / (1 + size(x, kept)), kept), 0.0))
    return combined(*found)


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


@refuted(
    "asymre.best_arm",
    search=partial(small_rationals, betas=(1.0, 0.5, 0.25, 0.125)),
    confirm=_confirm_asymre,
    families=(),
)
def asymre_best_arm(case: Case) -> Array:
    """AsymRE's recursion with V < E r never loses all arms of highest reward.

    Check: AsymRE's recursion with V < E r keeps an arm of highest reward, which is false: it can lose it at once.
    """
    bandit, unit = case.bandit, np.ptp(case.bandit.reward, axis=-1).max()
    policy = last_policy(bandit, ps.algorithm("asymre", shift=-case.beta * unit / 10), 1)
    best = bandit.reward == bandit.reward.max(axis=-1, keepdims=True)
    return np.where((np.where(best, policy, 0.0).sum(axis=-1) == 0), 1.0, 0.0)


CLAIMS = claims_in(vars())
