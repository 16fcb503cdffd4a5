"""Claims about objectives that carry an importance ratio, whole, truncated, smoothed or clipped."""

from __future__ import annotations

from functools import partial

import numpy as np

from .. import targets
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..objectives.policy_gradient import policy_gradient
from ..objectives.ratio import importance_weighted
from ..solve.divergences import total_variation
from .case import NOT_APPLICABLE, Case
from .claim import claim, claims_in
from .counterexamples import refuted, small_rationals
from .families import ONE_ARM, RANDOM, SMALL, TIES, ZERO_PROBABILITY
from .policy_gradient import ARMWISE, _ratio, _unit
from .support import (
    HERE,
    SOLVED,
    Array,
    advantages,
    combined,
    induced,
    mass,
    mean,
    nominal,
    over_arms,
    relative,
    stationarity,
)
from .symbolic import is_positive, is_zero, positive_symbols, real_symbols


def _nonnegative(case: Case) -> Bandit:
    """The case with its rewards moved up to be nonnegative, in units of their largest."""
    reward = case.bandit.reward - case.bandit.reward.min(axis=-1, keepdims=True)
    top = reward.max(axis=-1, keepdims=True)
    return Bandit(case.bandit.behavior, reward / np.where(top > 0, top, 1.0))


@claim("importance_weighting.greedy", HERE, SMALL, 1e-06, falsify=False)
def importance_weighting_greedy(case: Case) -> Array:
    """The flow of the importance-weighted policy gradient goes to the best arms.

    Check: The flow of c = rho A goes to the best arms and only there.
    """
    seen = case.bandit.behavior > 0
    # Arms move at rates mu: a flow cannot wait 1/mu for the rarest.
    behavior = 0.9 * case.bandit.behavior + 0.1 * seen / seen.sum(axis=-1, keepdims=True)
    bandit = Bandit(behavior, _unit(case).reward)
    centered = np.where(seen, bandit.reward - np.where(seen, bandit.reward, -np.inf).max(axis=-1, keepdims=True), 0.0)
    chosen = Algorithm(importance_weighted, on_policy=policy_gradient, anchor="behavior")
    flow = targets.gradient_flow(bandit, chosen)
    # E_pi[gap] falls like 1/t once the best arm leads.
    return np.maximum(mass(-centered, flow.policy), 0.0).astype(np.float64)


def _topr_proof() -> bool:
    """A = lambda rho for A >= 0; for A < 0, rho (A - lambda) = 0 has no root rho > 0 as lambda > 0."""
    import sympy as sp

    lam, loss, rho = positive_symbols("lambda a rho")
    gain = sp.symbols("g", nonnegative=True)
    x = sp.symbols("x", nonnegative=True)
    kept = sp.solve(sp.Eq(gain, lam * x), x)
    return is_zero(kept[0] - gain / lam) and is_positive(-(rho * -loss - lam * rho))


@claim("topr.target", "arXiv 2503.14286", ARMWISE, SOLVED, proof=_topr_proof, proves="both signs of the advantage")
def topr_target(case: Case) -> Array:
    """TOPR has the target mu A+/E A+.

    Check: pi ~ mu A+: no mass where A <= 0, ratios in proportion to A elsewhere, and mu c = lambda pi.
    """
    bandit, seen = _unit(case), case.bandit.behavior > 0
    chosen = algorithm("topr")
    target, rho = _ratio(Case("", bandit, 1.0), chosen)
    a = np.where(seen, advantages(bandit, chosen), 0.0)
    expected = mean(np.maximum(a, 0), bandit)
    some = expected > 1e-200
    difference = np.where(seen, rho * expected[:, None] - np.maximum(a, 0), 0.0)
    fault = combined(
        over_arms(relative(difference, np.abs(a), expected[:, None]), seen), stationarity(bandit, chosen, target)
    )
    return np.where(some, fault, NOT_APPLICABLE)


def _cispo_proof() -> bool:
    """cap A = lambda rho above the cap gives rho = cap A/lambda > cap iff A > lambda; below it A = lambda."""
    import sympy as sp

    cap, lam, margin, rho = positive_symbols("cap lambda d rho")
    advantage = lam + margin
    above = sp.solve(sp.Eq(cap * advantage, lam * rho), rho)
    below = sp.solve(sp.Eq(rho * advantage, lam * rho), margin)
    return len(above) == 1 and is_positive(above[0] - cap) and below == []


@claim("cispo.target", HERE, ARMWISE, SOLVED, proof=_cispo_proof, proves="both sides of the cap")
def cispo_target(case: Case) -> Array:
    """CISPO: rho = cap A/lambda where A > lambda, at most one marginal level A = lambda with rho <= cap, 0 below.

    Check: Arms with A > lambda have rho = cap A/lambda; arms at A = lambda have 0 <= rho <= cap; the rest none.
    """
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    made = [algorithm("cispo", cap=cap) for cap in (1.5, 5.0)] + [algorithm("trl.cispo"), algorithm("verl.tis")]
    caps = (1.5, 5.0, 0.2, 2.0)
    for chosen, cap in zip(made, caps, strict=True):
        target, rho = _ratio(Case("", bandit, 1.0), chosen)
        a = np.where(seen, advantages(bandit, chosen), -np.inf)
        level = np.asarray(target.normalizer)[:, None]
        some = (a.max(axis=-1) > 0) & (level[:, 0] > 0)
        a = np.where(seen, a, 0.0)
        near = np.abs(a - level) <= 1e-9 * np.abs(level)
        above = np.where(seen & (a > level) & ~near, level * rho - cap * a, 0.0)
        below = np.where(seen & (a < level) & ~near, rho * np.abs(level), 0.0)
        middle = np.where(seen & near, np.maximum(rho - cap, 0.0) * np.abs(level), 0.0)
        scale = cap * np.abs(a) + np.abs(level)
        fault = combined(*(over_arms(relative(part, scale), seen) for part in (above, below, middle)))
        total = np.abs(mass(rho, bandit.behavior) - 1)
        found.append(np.where(some, combined(fault, total, stationarity(bandit, chosen, target)), 0.0))
    return combined(*found)


def _smoothing_proof() -> bool:
    """rho r/(1 + t rho r) = lambda rho with rho > 0 gives rho = (1/lambda - 1/r)/t."""
    import sympy as sp

    rho, reward, t, lam = positive_symbols("rho r t lambda")
    solved = sp.solve(sp.Eq(reward / (1 + t * rho * reward), lam), rho)
    found = (1 / lam - 1 / reward) / t
    return is_zero(reward / (1 + t * found * reward) - lam) and all(is_zero(s - found) for s in solved)


@claim(
    "ls.target",
    "arXiv 2405.14335; target derived here",
    ARMWISE,
    SOLVED,
    proof=_smoothing_proof,
    proves="the ratio on the support",
)
def smoothing_target(case: Case) -> Array:
    """Logarithmic smoothing of rewards >= 0: rho = [1/lambda - 1/r]+/t.

    Check: rho = [1/lambda - 1/r]+/t: t rho + 1/r the same 1/lambda on the support, 1/r no less than it elsewhere.
    """
    bandit, seen, found = _nonnegative(case), case.bandit.behavior > 0, []
    for t in (0.01, 0.1, 3.0):
        target, rho = _ratio(Case("", bandit, 1.0), algorithm("ls", t=t))
        earning = seen & (bandit.reward > 0)
        price = 1 / np.where(earning, bandit.reward, 1.0)
        level = 1 / np.where(np.asarray(target.normalizer) > 0, np.asarray(target.normalizer), 1.0)[:, None]
        on = earning & (rho > 0)
        inside = np.where(on, t * rho + price - level, 0.0)
        outside = np.where(earning & ~on, np.maximum(level - price, 0.0), np.where(seen & ~earning, rho, 0.0))
        fault = combined(
            over_arms(relative(inside, level, price), seen), over_arms(relative(outside, level, price), seen)
        )
        total = np.abs(mass(rho, bandit.behavior) - 1)
        found.append(np.where(earning.any(axis=-1), combined(fault, total), 0.0))
    return combined(*found)


@claim("trpo.target", "arXiv 1502.05477; form derived here", (RANDOM, TIES, ZERO_PROBABILITY, ONE_ARM), 1e-09)
def trust_region_target(case: Case) -> Array:
    """TRPO's exact step is rho = nu/(tau - A) with KL(mu|pi) = delta.

    Check: TRPO: rho = nu/(tau - A) with KL(mu|pi) = delta, all arms but the best-paid growing less.
    """
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    centered = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64), 0.0)
    deviation = mean(centered**2, bandit)
    best = np.where(seen, bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    losing = np.where(seen & (bandit.reward < best), bandit.behavior, 0.0).sum(axis=-1)
    for delta in (0.01, 0.3):
        # KL(mu|pi) = delta asks for a ratio of about exp(-delta/losing) on the losing arms, which must be a float.
        varied = (deviation > 1e-12) & (500 * losing > delta)
        target, rho = _ratio(Case("", bandit, 1.0), algorithm("trpo", delta=delta))
        # 1/rho is affine in A: its slope from any two arms is the same.
        inverse = np.where(seen, np.exp(-np.where(seen, target.log_ratio, 0.0)), 0.0)
        slope = mean(centered * inverse, bandit) / np.where(varied, deviation, 1.0)
        affine = mean(inverse, bandit)[:, None] + slope[:, None] * centered
        spread = -mass(np.where(seen, target.log_ratio, 0.0), bandit.behavior)
        fault = over_arms(relative(bandit.behavior * (inverse - affine), mean(inverse, bandit)[:, None]), seen)
        found.append(np.where(varied, combined(fault, relative(spread - delta, delta)), 0.0))
        found.append(np.where(varied, np.abs(mass(rho, bandit.behavior) - 1), 0.0))
    return combined(*found)


def _carried_proof() -> bool:
    """c = rho u: mu c = lambda pi is u = lambda, E_mu[rho u] = E_pi[u]: the on-policy condition u = const."""
    import sympy as sp

    mu, rho = positive_symbols("mu rho")
    u, lam = real_symbols("u lambda")
    [found] = sp.solve(sp.Eq(mu * rho * u, lam * mu * rho), u)
    return is_zero(found - lam)


@claim(
    "nominal.carried_ratio", HERE, SMALL, 1e-07, effort=0.15, proof=_carried_proof, proves="the two conditions are one"
)
def carried_ratio(case: Case) -> Array:
    """For an objective that carries the ratio, c = rho u, induced and nominal targets coincide.

    Check: An objective c = rho u(l, A) has one target, induced and nominal; here u = A - sinh(l) and A - l - l^3.
    """
    bandit, found = _unit(case), []
    for u in (_hyperbolic, _cubic):
        chosen = Algorithm(partial(_weighted, u), on_policy=u, anchor="behavior")
        one, other = induced(bandit, chosen), nominal(bandit, chosen)
        found.append(total_variation(one.policy, other.policy))
    return combined(*found)


def _weighted(u, log_ratio: Array, advantage: Array) -> Array:
    return np.exp(log_ratio) * u(log_ratio, advantage)


def _hyperbolic(log_ratio: Array, advantage: Array) -> Array:
    return advantage - np.sinh(log_ratio)


def _cubic(log_ratio: Array, advantage: Array) -> Array:
    return advantage - log_ratio - log_ratio**3


@refuted(
    "clip.path_free", search=partial(small_rationals, betas=(1.0,), levels=2, largest=4), tolerance=0.001, families=()
)
def clip_path_free(case: Case) -> Array:
    """The limit of PPO's clipped update does not depend on where it starts.

    Check: The limit of PPO's clipped update does not depend on the start, which is false.
    """
    from ..targets import gradient_flow

    rows = slice(0, 6)
    bandit = Bandit(case.bandit.behavior[rows], case.bandit.reward[rows])
    chosen = algorithm("ppo")
    one = gradient_flow(bandit, chosen)
    seen = bandit.behavior > 0
    other = gradient_flow(bandit, chosen, start=seen / seen.sum(axis=-1, keepdims=True))
    found = np.full(case.size, NOT_APPLICABLE)  # flows are slow: six instances a case
    found[rows] = np.where(one.converged & other.converged, total_variation(one.policy, other.policy), 0.0)
    return found


CLAIMS = claims_in(vars())
