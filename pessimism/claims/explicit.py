"""Claims about what an induced target maximizes: a chi-squared penalty with an adaptive coefficient."""

from __future__ import annotations

import numpy as np

from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..solve import divergences
from .case import Case
from .claim import claim, claims_in
from .families import MODERATE, PLAIN
from .support import (
    HERE,
    SOLVED,
    Array,
    combined,
    excess,
    induced,
    mass,
    mean,
    nominal,
    over_arms,
    pessimistic,
    regression,
    relative,
    size,
)
from .symbolic import is_positive, is_zero, positive_symbols, real_symbols


def _explicit_proof() -> bool:
    """The Lagrangian of E r - beta KL - (lambda/2) chi2 is stationary where beta log rho + lambda rho = r - V."""
    import sympy as sp

    beta, lam, mu, rho = positive_symbols("beta lambda mu rho")
    reward, multiplier = real_symbols("r m")
    lagrangian = mu * (rho * reward - beta * rho * sp.log(rho) - lam / 2 * (rho - 1) ** 2 - multiplier * rho)
    stationary = sp.diff(lagrangian, rho) / mu
    baseline = multiplier + beta - lam
    concave = -sp.diff(lagrangian, rho, 2)
    return is_zero(stationary - (reward - baseline - beta * sp.log(rho) - lam * rho)) and is_positive(concave)


@claim(
    "explicit.stationary",
    "derived here; the link is that of arXiv 2407.13399",
    PLAIN,
    SOLVED,
    proof=_explicit_proof,
    proves="first and second order conditions",
)
def explicit_gap(case: Case) -> Array:
    """The target maximizes E_pi r - beta KL(pi|mu) - (lambda/2) chi2(pi|mu): its duality gap is zero.

    Check: Duality gap of max E r - beta KL - (lambda/2) chi2 at the target: the linearized objective, maximized.
    """
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for chosen in pessimistic(case):
        target = induced(bandit, chosen)
        x, normalizer = np.where(seen, target.log_ratio, 0.0), np.asarray(target.normalizer)[:, None]
        pull = normalizer * np.expm1(x)
        gradient = np.where(seen, bandit.reward - case.beta * x - pull, -np.inf)
        gap = gradient.max(axis=-1) - mass(np.where(seen, gradient, 0.0), target.policy)
        terms = np.abs(bandit.reward) + np.abs(case.beta * x) + np.abs(pull) + np.abs(normalizer)
        found.append(relative(gap, size(terms, seen)[:, 0]))
    return combined(*found)


@claim("explicit.maximum", "derived here; the link is that of arXiv 2407.13399", MODERATE, SOLVED)
def explicit_maximum(case: Case) -> Array:
    """No other policy does better in E_pi r - beta KL(pi|mu) - (lambda/2) chi2(pi|mu).

    Check: No other policy tried does better in max E r - beta KL - (lambda/2) chi2 with the target's own lambda.
    """
    bandit, found = case.bandit, []
    generator = np.random.default_rng(case.seed)
    for chosen in pessimistic(case):
        target = induced(bandit, chosen)
        best, scale = _penalized(case, target.log_policy, np.asarray(target.normalizer))
        with np.errstate(divide="ignore"):
            log_rivals = [nominal(bandit, chosen).log_policy, bandit.log_behavior]
            for step in (1e-3, 0.1, 1.0):
                moved = target.log_policy + step * generator.normal(size=target.policy.shape)
                moved = moved - moved.max(axis=-1, keepdims=True)
                log_rivals.append(moved - np.log(np.exp(moved).sum(axis=-1, keepdims=True)))
        for log_rival in log_rivals:
            other, other_scale = _penalized(case, log_rival, np.asarray(target.normalizer))
            found.append(excess(other, best, scale, np.where(np.isfinite(other), other_scale, 0.0)))
    return combined(*found)


def _penalized(case: Case, log_policy: Array, normalizer: Array) -> tuple[Array, Array]:
    bandit = case.bandit
    with np.errstate(invalid="ignore", over="ignore"):
        x = np.where(bandit.behavior > 0, log_policy - bandit.log_behavior, -np.inf)
    centered = bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64)
    value = mass(centered, np.exp(log_policy))
    cost = case.beta * divergences.kl(x, bandit.behavior)
    with np.errstate(over="ignore"):
        cost = cost + normalizer / 2 * divergences.chi_squared(x, bandit.behavior)
    # Divergences are right to 1e-16 absolutely.
    floor = 1e-16 / SOLVED * case.beta
    return value - cost, size(bandit.reward, bandit.behavior > 0)[:, 0] + np.abs(value) + cost + floor


def _cql_proof() -> bool:
    """beta log rho = Q - v with Q = r - alpha (rho - 1) is beta log rho + alpha rho = r - (v - alpha)."""
    import sympy as sp

    beta, alpha, rho = positive_symbols("beta alpha rho")
    reward, level = real_symbols("r v")
    left = beta * sp.log(rho) - (reward - alpha * (rho - 1) - level)
    return is_zero(left - (beta * sp.log(rho) + alpha * rho - (reward - (level - alpha))))


@claim("cql.fixed_point", HERE, MODERATE, SOLVED, proof=_cql_proof, proves="the equation")
def cql_fixed_point(case: Case) -> Array:
    """CQL on a bandit, Q = r - alpha(rho - 1) and pi ~ mu exp(Q/beta), is the Lambert target with lambda = alpha.

    Check: CQL's Q = r - alpha(rho - 1) has pi ~ mu e^(Q/beta); regression with its V has lambda = alpha and its
    target.
    """
    bandit, seen, beta = case.bandit, case.bandit.behavior > 0, case.beta
    found = []
    for alpha in (0.3 * beta, 3 * beta):
        chosen = algorithm("cql", alpha=alpha, beta=beta)
        target = induced(bandit, chosen)
        x = np.where(seen, target.log_ratio, 0.0)
        values = bandit.reward - alpha * np.expm1(x)
        level = np.where(seen, values / beta - x, 0.0)  # log Z of the Gibbs policy of Q, the same on every arm
        spread = np.where(seen, level, -np.inf).max(axis=-1) - np.where(seen, level, np.inf).min(axis=-1)
        scale = size(np.abs(bandit.reward) / beta + np.abs(x) + alpha / beta * np.exp(x), seen)[:, 0]
        found.append(relative(spread, scale))
        twin = regression(beta, _level_rule(alpha, beta))
        again = induced(bandit, twin)
        found.append(over_arms(np.abs(again.log_ratio - x), seen) / (1 + scale))
        found.append(relative(np.asarray(again.normalizer) - alpha, alpha, beta * scale))
    return combined(*found)


def _level_rule(alpha: float, beta: float):
    """V = r - beta x - alpha rho of CQL's own target, as a baseline rule."""

    def rule(reward: Array, behavior: Array) -> Array:
        target = induced(Bandit(behavior, reward), algorithm("cql", alpha=alpha, beta=beta))
        seen = behavior > 0
        x = np.where(seen, target.log_ratio, 0.0)
        level = reward - beta * x - alpha * np.exp(x)
        return (np.where(seen, behavior * level, 0.0).sum(axis=-1) / behavior.sum(axis=-1))[..., None]

    return rule


CLAIMS = claims_in(vars())
