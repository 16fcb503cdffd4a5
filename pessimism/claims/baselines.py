"""Claims about baselines: mean, shifted mean, decoupled temperatures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..algorithm import Algorithm
from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..solve import divergences
from .case import NOT_APPLICABLE, Case
from .claim import claim, claims_in
from .families import MODERATE, PLAIN
from .support import (
    HERE,
    ROUNDED,
    SOLVED,
    Array,
    combined,
    excess,
    induced,
    mean,
    regression,
    relative,
    size,
    soft_value,
)
from .symbolic import is_nonnegative, is_zero, positive_symbols, real_symbols


def _kl(case: Case, chosen: Algorithm) -> tuple[Array, Array]:
    target = induced(case.bandit, chosen)
    return np.asarray(target.normalizer), divergences.reverse_kl(target.log_ratio, case.bandit.behavior)


@claim("mean.normalizer", HERE + "; the mean-baseline case is reported by arXiv 2602.05933", PLAIN, SOLVED)
def mean_normalizer(case: Case) -> Array:
    """With a mean baseline lambda = beta KL(mu|pi) >= 0.

    Check: With V = E r: lambda = beta KL(mu|pi) >= 0.
    """
    normalizer, spread = _kl(case, algorithm("kimi_k15", tau=case.beta))
    return combined(
        relative(normalizer - case.beta * spread, normalizer, case.beta * spread), np.maximum(-normalizer, 0)
    )


def _mean_expansion_proof() -> bool:
    """kappa = Var/(2 beta^2) + O(1/beta^3) for a mean baseline: two arms, general mu, orders in 1/beta matched."""
    import sympy as sp

    t, mu = positive_symbols("t mu")  # t = 1/beta
    one, two, k2 = real_symbols("one two k2")
    other = 1 - mu
    rewards = (other, -mu)  # centered, one apart
    # log rho_i = t r_i - kappa rho_i with kappa = k2 t^2 + ..., rho_i = 1 + t a_i + t^2 b_i + ...
    equations = []
    for reward, second in zip(rewards, (one, two), strict=True):
        rho = 1 + t * reward + t**2 * second
        series = sp.series(sp.log(rho) + k2 * t**2 * rho - t * reward, t, 0, 3).removeO()
        equations.append(sp.expand(series).coeff(t, 2))
    constraint = mu * one + other * two
    [found] = sp.solve([*equations, constraint], [one, two, k2], dict=True)
    variance = mu * other
    return is_zero(found[k2] - variance / 2)


@claim(
    "mean.expansion", HERE, MODERATE, 2.0, proof=_mean_expansion_proof, proves="to second order in 1/beta, for two arms"
)
def mean_expansion(case: Case) -> Array:
    """With a mean baseline lambda/beta = Var(r)/(2 beta^2) (1 + O(range/beta)): it vanishes where rewards agree.

    Check: kappa beta^2/Var -> 1/2 with an error of at most range/beta; rewards made small against beta first.
    """
    bandit, seen = case.bandit, case.bandit.behavior > 0
    centered = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64), 0.0)
    spread = size(centered, seen)
    # Beyond rounding of the rewards themselves there is a variance to speak of.
    varied = (spread > 1e-9 * size(bandit.reward, seen))[:, 0]
    unit = np.where(varied[:, None], centered / np.where(spread > 0, spread, 1.0), 0.0)
    found = []
    for beta in (10.0, 1e3, 1e5):
        part = Bandit(bandit.behavior, unit)
        variance = mean(unit**2, part) - mean(unit, part) ** 2
        kappa = np.asarray(induced(part, algorithm("kimi_k15", tau=beta)).normalizer) / beta
        error = relative(kappa * 2 * beta**2 - variance, np.where(varied, variance, 1.0))
        found.append(np.where(varied, error * beta, NOT_APPLICABLE))
    return combined(*found)


def _shifted_normalizer_proof() -> bool:
    """E A = delta beta for V = E r - delta beta, and KL >= 0 term by term: e^x - 1 - x >= 0."""
    import sympy as sp

    beta, delta = positive_symbols("beta delta")
    mean, x = real_symbols("m x")
    advantage = mean - (mean - delta * beta)
    gap = sp.exp(x) - 1 - x
    # Convex with value and slope 0 at 0.
    convex = sp.diff(gap, x, 2).is_positive is True
    return is_zero(advantage - delta * beta) and convex and gap.subs(x, 0) == 0 and sp.diff(gap, x).subs(x, 0) == 0


@claim(
    "shifted.normalizer",
    "idea: arXiv 2605.28150; formula derived here",
    PLAIN,
    SOLVED,
    proof=_shifted_normalizer_proof,
    proves="E A = delta beta and KL >= 0",
)
def shifted_normalizer(case: Case) -> Array:
    """With V = E r - delta beta, lambda = beta (delta + KL(mu|pi)) >= delta beta.

    Check: With V = E r - delta beta: lambda = beta (delta + KL) >= delta beta.
    """
    found = []
    for delta in (0.1, 1.0, 5.0):
        normalizer, spread = _kl(case, algorithm("shifted_mean", beta=case.beta, delta=delta))
        expected = case.beta * (delta + spread)
        found += [relative(normalizer - expected, expected), excess(delta * case.beta, normalizer, normalizer)]
    return combined(*found)


def _shifted_bound_proof() -> bool:
    """For rho >= 1 and lambda >= delta beta: delta beta rho <= beta log rho + lambda rho = r - E r + delta beta."""
    import sympy as sp

    beta, delta = positive_symbols("beta delta")
    extra, log_rho = sp.symbols("e x", nonnegative=True)
    rho = sp.exp(log_rho)
    lam = delta * beta + extra
    gain = beta * log_rho + lam * rho - delta * beta  # r - E r, by the target's equation
    return is_nonnegative(sp.expand(1 + gain / (delta * beta) - rho))


@claim("shifted.bound", HERE, PLAIN, SOLVED, proof=_shifted_bound_proof, proves="the bound, where rho >= 1")
def shifted_bound(case: Case) -> Array:
    """With V = E r - delta beta, rho <= 1 + (max r - E r)/(delta beta): linear, where nominal is exponential.

    Check: rho <= 1 + (r_max - E r)/(delta beta).
    """
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    best = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64), 0.0).max(axis=-1)
    for delta in (0.1, 1.0, 5.0):
        target = induced(bandit, algorithm("shifted_mean", beta=case.beta, delta=delta))
        top = np.where(seen, target.log_ratio, -np.inf).max(axis=-1)
        bound = np.log1p(np.maximum(best, 0.0) / (delta * case.beta))
        found.append(np.maximum(top - bound, 0.0) / (1 + bound))
    return combined(*found)


def _soft_value_monotone_proof() -> bool:
    """d V_beta/d beta = -KL(pi*_beta|mu) with pi* = mu e^(r/beta)/Z: two arms, the identity itself."""
    import sympy as sp

    beta, mu = positive_symbols("beta mu")
    reward = real_symbols("r")
    z = mu * sp.exp(reward / beta) + 1 - mu
    value = beta * sp.log(z)
    first, second = mu * sp.exp(reward / beta) / z, (1 - mu) / z
    divergence = first * (reward / beta - sp.log(z)) + second * -sp.log(z)
    return is_zero(sp.diff(value, beta) + divergence)


@claim(
    "decoupled.soft_value",
    HERE,
    PLAIN,
    ROUNDED,
    proof=_soft_value_monotone_proof,
    proves="dV/dbeta = -KL(pi*|mu), for two arms",
)
def soft_value_monotone(case: Case) -> Array:
    """V_beta = beta log E exp(r/beta) is non-increasing in beta and lies between E r and max r.

    Check: V_beta = beta log E exp(r/beta) falls in beta, from max r to E r.
    """
    bandit, seen = case.bandit, case.bandit.behavior > 0
    gains = []
    for factor in (0.03, 0.3, 0.9, 1.0, 1.1, 3.0, 30.0):
        chosen = regression(case.beta, soft_value(factor * case.beta))
        gains.append(-chosen.baseline.exact(bandit.reward, bandit.behavior).mean)  # V - E r
    scale = size(bandit.reward, seen)[:, 0]
    falls = [excess(later, earlier, earlier, later) for earlier, later in pairwise(gains)]
    top = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64), -np.inf).max(axis=-1)
    return combined(*falls, relative(np.maximum(gains[0] - top, 0), scale), np.maximum(-gains[-1], 0.0))


@claim("decoupled.regimes", HERE, PLAIN, 1e-09)
def decoupled_regimes(case: Case) -> Array:
    """Decoupled temperatures: beta1 > beta2 positive, beta1 = beta2 boundary, beta1 < beta2 negative.

    Check: beta1 > beta2: positive; beta1 = beta2: boundary; beta1 < beta2: negative, for rewards that differ.
    """
    bandit, found = case.bandit, []
    for ratio in (max(case.ratio, 1 / case.ratio), 1.0, min(case.ratio, 1 / case.ratio)):
        chosen = algorithm("oapl", beta1=ratio * case.beta, beta2=case.beta)
        moments = chosen.baseline.exact(bandit.reward, bandit.behavior)
        assert chosen.induced is not None
        closed = chosen.induced(bandit, moments).solved
        rows = np.flatnonzero(closed)
        wrong = np.zeros(case.size)
        if rows.size:
            part = Bandit(bandit.behavior[rows], bandit.reward[rows])
            target = induced(part, chosen)
            spread = case.beta * divergences.reverse_kl(target.log_ratio, part.behavior)
            strength = np.asarray(target.normalizer) * np.sign(ratio - 1)
            against = np.maximum(-strength, 0.0) if ratio != 1 else np.abs(np.asarray(target.normalizer))
            wrong[rows] = relative(
                against, np.abs(moments.mean[rows]), spread, 1e-12 * size(part.reward, part.behavior > 0)[:, 0]
            )
        found.append(wrong)
    return combined(*found)


CLAIMS = claims_in(vars())
