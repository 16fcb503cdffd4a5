"""Claims about how fast the ideal recursion of log-ratio regression ends; proofs in docs/theory/guarantees.md."""

from __future__ import annotations

import numpy as np

import pessimism as ps
from pessimism.claims import Case, claim, claims_in
from pessimism.claims.families import MIXED
from pessimism.claims.support import (
    HERE,
    SOLVED,
    WEIGHED,
    advantages,
    combined,
    disorder,
    excess,
    pessimistic,
    size,
)
from pessimism.claims.symbolic import is_nonnegative
from pessimism.solve import expectation, total_variation

from ..recursion import gap_bounds
from .recursion import SMALLEST, rounding
from .support import Array, finite_log, syncs

SYNCS = 4


def shifted(case: Case, delta: float) -> ps.Algorithm:
    """Regression with V = E r - delta beta; delta = 0 is the mean baseline."""
    if delta:
        return ps.algorithm("shifted_mean", beta=case.beta, delta=delta)
    return ps.algorithm("kimi_k15", tau=case.beta)


def gaps(bandit: ps.Bandit) -> tuple[Array, Array]:
    """How far each arm's reward is behind the best (n, K), 0 on arms that are never played, and the mean of it (n,)."""
    seen = bandit.behavior > 0
    top = np.where(seen, bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    behind = np.where(seen, top - bandit.reward, 0.0)
    return behind, expectation(bandit.behavior, behind)


def _slope_proof() -> bool:
    """The best arm has lambda rho = max A - beta x, x >= 0, so beta + lambda rho <= beta + max A."""
    import sympy as sp

    beta, pull = sp.symbols("beta q", positive=True)  # q = lambda rho of the best arm
    x = sp.symbols("x", nonnegative=True)
    largest = pull + beta * x  # max A, by the target's equation
    return is_nonnegative(1 / (beta + pull) - 1 / (beta + largest))


@claim(
    "rate.tilt",
    HERE,
    MIXED,
    SOLVED,
    proof=_slope_proof,
    proves="the slope of the best arm at one sync, the least of all",
    effort=0.1,
)
def ahead_of_tilt(case: Case) -> Array:
    """After n syncs pi_n is ahead of mu e^(s r)/Z in likelihood-ratio order, s = sum of 1/(beta + max r - V_k).

    Check: log(pi_n/mu) - s r does not fall in r, for baselines of the positive regime, k = 0, ..., 3.
    """
    bandit, found = case.bandit, []
    seen = bandit.behavior > 0
    for chosen in pessimistic(case)[:3]:
        slope = np.zeros(case.size)
        for count, (start, run) in enumerate(syncs(bandit, chosen, SYNCS), 1):
            largest = np.where(start.behavior > 0, advantages(start, chosen), -np.inf).max(axis=-1)
            slope = slope + 1 / (case.beta + largest)
            policy = run.policy[0]
            kept = seen & (policy > SMALLEST)
            lead = finite_log(policy) - finite_log(bandit.behavior) - slope[:, None] * bandit.reward
            found.append(disorder(bandit.reward, np.where(kept, lead, 0.0), kept) / rounding(case, count))
    return combined(*found)


@claim("rate.gap", HERE, MIXED, WEIGHED, effort=0.1)
def gap_of_value(case: Case) -> Array:
    """With V = E r - d beta, r* - E_n r <= (B/n) log(1/mu*), B = beta (1 + d) + r* - E_mu r, mu* mass of the best arms.

    It is also at most the sum of (r* - r)(mu/mu*) e^(-n (r* - r)/B), and at most what gap_bounds gives.

    Check: d = 0, 0.3, 1, 5 and n = 1, ..., 4; and gap_bounds is the least of the three.
    """
    bandit, found = case.bandit, []
    behind, first = gaps(bandit)
    best = np.where((behind == 0) & (bandit.behavior > 0), bandit.behavior, 0.0).sum(axis=-1)
    scale = size(bandit.reward, bandit.behavior > 0)[:, 0]
    for delta in (0.0, 0.3, 1.0, 5.0):
        bounds, unit = gap_bounds(bandit, case.beta, delta, SYNCS), case.beta * (1 + delta) + first
        for count, (_, run) in enumerate(syncs(bandit, shifted(case, delta), SYNCS), 1):
            reached = expectation(run.policy[0], behind)
            slow = -unit / count * np.log(best)
            with np.errstate(over="ignore", divide="ignore"):
                odds = finite_log(bandit.behavior) - np.log(best)[:, None] - count * behind / unit[:, None]
                fast = np.where(bandit.behavior > 0, behind * np.exp(odds), 0.0).sum(axis=-1)
            found.append(excess(reached, bounds[count - 1], bounds[count - 1], scale))
            found += [excess(bounds[count - 1], other, bounds[count - 1], unit) for other in (slow, fast)]
    return combined(*found)


@claim("rate.path", HERE, MIXED, WEIGHED, effort=0.1)
def path_length(case: Case) -> Array:
    """The steps' total variations sum to at most the sum over reward levels c above the lowest of P_mu(r < c).

    And their divergences both ways to at most (r* - E_mu r)/beta, however many syncs there are.

    Check: four syncs with V = E r - d beta, d = 0, 1.
    """
    bandit, found = case.bandit, []
    seen = bandit.behavior > 0
    levels = bandit.reward[:, None, :]
    below = np.where(levels < bandit.reward[..., None], bandit.behavior[:, None, :], 0.0).sum(axis=-1)
    again = (bandit.reward[:, None, :] == bandit.reward[..., None]) & seen[:, None, :]
    leader = np.argmax(again, axis=-1) == np.arange(bandit.arms)  # one arm a level counts
    allowed = np.where(seen & leader, below, 0.0).sum(axis=-1)
    _, first = gaps(bandit)
    for delta in (0.0, 1.0):
        moved, spent = np.zeros(case.size), np.zeros(case.size)
        for start, run in syncs(bandit, shifted(case, delta), SYNCS):
            moved = moved + total_variation(run.policy[0], start.behavior)
            spent = spent + run.kl[0, 0] + run.reverse_kl[0, 0]
        found.append(excess(moved, allowed, 1.0))
        noise = size(bandit.reward, seen)[:, 0]
        found.append(excess(case.beta * spent, first, first, noise, case.beta * 1e-3))
    return combined(*found)


CLAIMS = claims_in(vars())
