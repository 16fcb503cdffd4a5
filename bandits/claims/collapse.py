"""Claims about policy gradients without ratio over syncs: AsymRE's recursion, its support and what it can lose."""

from __future__ import annotations

import numpy as np

import pessimism as ps
from pessimism.claims.claim import Case, Claim
from pessimism.claims.families import MODERATE
from pessimism.claims.support import HERE, SOLVED, combined, excess, over_arms, share, size
from pessimism.solve.simplex import expectation

from . import proofs
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


def support_shrinks(case: Case) -> Array:
    """AsymRE's support never grows, and a sync gains at least |shift| chi2 in value (shift < 0)."""
    bandit, found = _unit(case), []
    for shift in (-2.0, -0.3, -0.03):
        for start, run in syncs(bandit, ps.algorithm("asymre", shift=shift), SYNCS):
            policy = run.policy[0]
            found.append(np.where(start.behavior > 0, 0.0, policy).sum(axis=-1))
            gained = expectation(policy - start.behavior, bandit.reward)
            # Ratios of rare arms that gained a lot are known relative to themselves, chi2 relative to 1 + chi2.
            found.append(excess(-shift * run.chi2[0, 0], gained, -shift * (1 + run.chi2[0, 0]), np.ones(case.size)))
    return combined(*found)


def keeps_all(case: Case) -> Array:
    """With |shift| at least the range of rewards: rho = 1 + (r - E r)/|shift| and a gain of Var(r)/|shift| a sync."""
    bandit, found = _unit(case), []
    for shift in (1.0, 4.0):
        for start, run in syncs(bandit, ps.algorithm("asymre", shift=-shift), SYNCS):
            centered = bandit.reward - expectation(start.behavior, bandit.reward)[:, None]
            found.append(over_arms(np.abs(run.policy[0] - start.behavior * (1 + centered / shift)), start.behavior > 0))
            gained = expectation(run.policy[0] - start.behavior, bandit.reward)
            found.append(share(gained - expectation(start.behavior, centered**2) / shift, 1.0))
    return combined(*found)


def keeps_best(case: Case) -> Array:
    """The same recursion ends on the best arms: each sync multiplies their mass against an arm of gap D by 1 + more."""
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


def asymre_best_arm(case: Case) -> Array:
    """AsymRE's recursion with V < E r keeps an arm of highest reward, which is false: it can lose it at once."""
    bandit, unit = case.bandit, np.ptp(case.bandit.reward, axis=-1).max()
    policy = last_policy(bandit, ps.algorithm("asymre", shift=-case.beta * unit / 10), 1)
    best = bandit.reward == bandit.reward.max(axis=-1, keepdims=True)
    return np.where((np.where(best, policy, 0.0).sum(axis=-1) == 0), 1.0, 0.0)


def grpo_best_arm(case: Case) -> Array:
    """GRPO without ratio, trained to the end between syncs, ends on an arm of highest reward, which is false."""
    policy = last_policy(case.bandit, ps.algorithm("grpo.no_ratio"), 2)
    best = case.bandit.reward == case.bandit.reward.max(axis=-1, keepdims=True)
    return 1 - np.where(best, policy, 0.0).sum(axis=-1)


CLAIMS = (
    Claim(
        "asymre.support",
        "AsymRE's recursion with V < E r: no arm comes back, and a sync gains at least (E r - V) chi2(pi|mu) in value.",
        HERE,
        MODERATE,
        support_shrinks,
        SOLVED,
        proof=proofs.asymre_gain,
        proves="the step from A >= w/mu, w = mu A - tau, to the bound by Cauchy's inequality, for two kept arms",
        effort=0.1,
    ),
    Claim(
        "asymre.keeps_all",
        "AsymRE's recursion with V = E r - s, s >= max r - min r: rho = 1 + (r - E r)/s, and a sync gains Var(r)/s.",
        HERE,
        MODERATE,
        keeps_all,
        SOLVED,
        proof=proofs.chi_square_gain,
        proves="the gain, for two arms",
        effort=0.1,
    ),
    Claim(
        "asymre.keeps_best",
        "The same recursion ends on the best arms: a sync raises their odds by 1 + D/(s + r - min r), D = max r - r.",
        HERE,
        MODERATE,
        keeps_best,
        SOLVED,
        effort=0.1,
    ),
)
