"""Claims about trust regions: how far one sync moves, and the baseline that keeps it within so many nats."""

from __future__ import annotations

import numpy as np

from ..bandit import Bandit
from ..guarantees import prescribe, step_bounds
from ..objectives.catalogue import algorithm
from ..solve.divergences import chi_squared, kl
from ..solve.simplex import expectation
from .case import Case
from .claim import claim, claims_in
from .families import MIXED
from .support import HERE, SOLVED, WEIGHED, Array, combined, excess, induced, nominal, regression, relative, size
from .symbolic import is_positive, is_zero

FLOOR = 1e-2
"""Square roots of divergences are compared to 1e-11 of themselves and of this: log-ratios are known to 1e-13."""


def _one_sync(case: Case, shift: float | Array) -> tuple[Array, Array, Array]:
    """log-ratio (n, K), normalizer and gain (n,) of the target with V = E r - shift."""
    bandit, center = case.bandit, expectation(case.bandit.behavior, case.bandit.reward)
    target = induced(bandit, regression(case.beta, lambda reward, behavior: center - shift))
    x = np.where(bandit.behavior > 0, target.log_ratio, 0.0)
    gain = expectation(bandit.behavior * np.expm1(x), bandit.reward - center[:, None])
    return x, np.asarray(target.normalizer), gain


def _deviation(bandit: Bandit) -> Array:
    """Standard deviation of the rewards under mu, (n,), from rewards relative to the greatest."""
    seen = bandit.behavior > 0
    top = np.where(seen, bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    behind = np.where(seen, bandit.reward - top, 0.0)
    return np.sqrt(expectation(bandit.behavior, (behind - expectation(bandit.behavior, behind)[:, None]) ** 2))


def _lipschitz_proof() -> bool:
    """d rho/dr = 1/(lambda + beta/rho) <= 1/(lambda + beta/M) for rho <= M."""
    import sympy as sp

    beta, lam, rho, slack = sp.symbols("beta lambda rho d", positive=True)
    reward, baseline = sp.symbols("r V", real=True)
    equation = beta * sp.log(rho) + lam * rho - (reward - baseline)
    slope = -sp.diff(equation, reward) / sp.diff(equation, rho)
    return is_zero(slope - 1 / (lam + beta / rho)) and is_positive(1 / (lam + beta / (rho + slack)) - slope)


@claim(
    "trust_region.bounds",
    HERE,
    MIXED,
    SOLVED,
    proof=_lipschitz_proof,
    proves="rho is Lipschitz in r with constant 1/(lambda + beta/max rho)",
    effort=0.1,
)
def trust_region(case: Case) -> Array:
    """With V = E r - d beta: chi2 <= Var/(lambda + beta/max rho)^2 <= Var/(d beta)^2, gain <= Var/(d beta).

    And KL <= log(1 + chi2).

    Check: the target's own divergences and value, d = 0.3, 1, 5.
    """
    mu, sd, found = case.bandit.behavior, _deviation(case.bandit), []
    scale = size(case.bandit.reward, mu > 0)[:, 0]
    for delta in (0.3, 1.0, 5.0):
        shift = delta * case.beta
        x, normalizer, gain = _one_sync(case, shift)
        chi, sharp = chi_squared(x, mu), sd / (normalizer + case.beta / np.exp(x.max(axis=-1)))
        loose, nats, most = step_bounds(sd, shift)
        found.append(excess(np.sqrt(chi), sharp, sharp, FLOOR))
        found.append(excess(sharp, np.sqrt(loose), sharp, FLOOR))
        found.append(excess(np.sqrt(kl(x, mu)), np.sqrt(np.log1p(chi)), np.sqrt(chi), FLOOR))
        found.append(excess(np.sqrt(kl(x, mu)), np.sqrt(nats), np.sqrt(nats), FLOOR))
        found.append(excess(gain, sd * sharp, sd * sharp, sd * FLOOR, scale * FLOOR))
        found.append(excess(gain, most, most, sd * FLOOR, scale * FLOOR))
    return combined(*found)


@claim("trust_region.prescription", HERE, MIXED, SOLVED, effort=0.1)
def prescription(case: Case) -> Array:
    """d beta = sd(r)/sqrt(e^k - 1) keeps KL(pi|mu) <= k; the exact root gives k, or the nominal target within k.

    Check: the induced target with the prescribed baselines.
    """
    mu, found = case.bandit.behavior, []
    for nats in ((1e-3, 0.1, 1.0)[case.seed % 3],):
        asked = prescribe(case.bandit.reward, nats=nats, beta=case.beta, behavior=mu)
        reached = kl(_one_sync(case, np.asarray(asked.shift))[0], mu)
        found += [
            excess(reached, np.full(case.size, nats), nats),
            relative(reached - asked.nats, nats, WEIGHED / SOLVED),
        ]
        x, normalizer, _ = _one_sync(case, np.asarray(asked.exact_shift))
        other = nominal(case.bandit, algorithm("kimi_k15", tau=case.beta))
        most = kl(np.where(mu > 0, other.log_ratio, 0.0), mu)
        wanted = np.where(asked.binding, nats, most)
        # V is rounded like the rewards: log-ratios move by that over beta + lambda rho, KL by their size times it.
        rounding = (1 + size(case.bandit.reward, mu > 0)[:, 0] / case.beta) * (1 + size(x, mu > 0)[:, 0])
        found.append(relative(kl(x, mu) - wanted, np.maximum(nats, most) + rounding))
        found.append(np.where(asked.binding, np.maximum(-normalizer, 0.0) / case.beta, 0.0))
        found.append(np.where(np.equal(asked.binding, most > nats) | (np.abs(most - nats) < WEIGHED), 0.0, 1.0))
    return combined(*found)


CLAIMS = claims_in(vars())
