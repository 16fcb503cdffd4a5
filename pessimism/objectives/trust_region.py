"""Trust region policy optimization: the ratio-weighted gradient with the multiplier of a divergence constraint."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..baseline import Moments
from ..solution import Solution, greedy, solution
from ..solve.simplex import Array, expectation, log_expectation_exp
from .arrays import average
from .entry import Entry, positive
from .policy_gradient import policy_gradient
from .ratio import importance_weighted

__all__ = ["trust_region", "trust_region_distance", "trust_region_target"]


def trust_region(log_ratio: Array, advantage: Array, *, delta: float, behavior: Array | None = None) -> Array:
    r"""$c = \rho A + \nu$: TRPO. Coupled.

    It maximizes $E_\mu[\rho A]$ under $\mathrm{KL}(\mu\|\pi) \le \delta$, whose multiplier is $\nu$.
    """
    distance = trust_region_distance(advantage, delta=delta, behavior=behavior)
    multiplier = 1 / average(1 / distance, behavior)
    return importance_weighted(log_ratio, advantage) + multiplier


def trust_region_distance(advantage: Array, *, delta: float, behavior: Array | None = None) -> Array:
    r"""$\tau - A$ (..., K) at the level $\tau > \max A$ of TRPO's optimum $\rho = \nu/(\tau - A)$.

    With $\nu = 1/E[1/(\tau - A)]$ it solves $D = E\log(\tau - A) + \log E[1/(\tau - A)] = \delta$, where $D$ is
    $\mathrm{KL}(\mu\|\pi)$, by Newton's method for $\log D$ on $z = \log(\tau - \max A)$, kept inside a bracket that
    every step narrows. With $q = (\tau - \max A)/(\tau - A)$ the slope is $dD/dz = -\mathrm{Var}(q)/E[q]$ (derived
    here). Where all advantages are equal any level gives $\rho = 1$, and the lowest is taken: the constraint does not
    bind. Arms without weight get the distance of the best arm.
    """
    xp = array_namespace(advantage)
    weights = xp.ones_like(advantage) / advantage.shape[-1] if behavior is None else behavior
    seen = weights > 0
    top = xp.max(xp.where(seen, advantage, -math.inf + 0 * advantage), axis=-1, keepdims=True)
    gap = xp.where(seen, top - advantage, xp.zeros_like(advantage))
    spread = xp.max(gap, axis=-1, keepdims=True)
    equal = spread == 0
    spread = xp.where(equal, xp.ones_like(spread), spread)
    gap = gap / spread
    # Down to where the inverse of a distance still fits the type, up to a divergence of 1e-17.
    low = xp.zeros_like(spread) + 0.95 * math.log(xp.finfo(advantage.dtype).smallest_normal)
    high = xp.zeros_like(spread) + 20.0
    middle = xp.where(equal, low, xp.clip(_far_level(gap, weights, delta), low, high))
    for _ in range(100):
        relative = gap / xp.exp(middle)
        near = 1 / (1 + relative)
        share, inverse = average(relative * near, weights), average(near, weights)
        # log1p while the two terms nearly cancel: the divergence is of second order in the relative gaps.
        normalizer = xp.where(share < 0.5, xp.log1p(-xp.where(share < 0.5, share, 0 * share)), xp.log(inverse))
        rise = average(xp.log1p(relative), weights)
        divergence = rise + normalizer
        solved = xp.abs(divergence - delta) <= xp.finfo(rise.dtype).eps * (rise - normalizer)
        low = xp.where(divergence > delta, middle, low)
        high = xp.where(divergence > delta, high, middle)
        variance = average((near - inverse) ** 2, weights)
        usable = (divergence > 0) & (variance > 0)
        fall = xp.where(usable, variance / inverse, xp.ones_like(inverse))
        excess = xp.where(usable, divergence, xp.ones_like(divergence))
        newton = middle + excess * (xp.log(excess) - math.log(delta)) / fall
        following = xp.where(usable & (newton > low) & (newton < high), newton, (low + high) / 2)
        solved = solved | equal | (high - low <= xp.finfo(middle.dtype).eps * xp.abs(middle))
        if bool(xp.all(solved)):
            break
        middle = xp.where(solved, middle, following)
    return spread * (gap + xp.exp(middle))


def _far_level(gap: Array, weights: Array, delta: float) -> Array:
    """log(tau - max A) to which KL = Var(A)/(2 (tau - max A)^2), its limit far above the advantages, equals delta."""
    xp = array_namespace(gap)
    variance = average((gap - average(gap, weights)) ** 2, weights)
    return xp.log(xp.where(variance > 0, variance, xp.ones_like(variance)) / (2 * delta)) / 2


def trust_region_target(bandit: Bandit, moments: Moments, *, delta: float) -> Solution:
    r"""TRPO: $\rho = \nu/(\tau - A)$, best under $\mathrm{KL}(\mu\|\pi) \le \delta$ (arXiv 1502.05477)."""
    distance = trust_region_distance(moments.advantage, delta=delta, behavior=bandit.behavior)
    log_ratio = -np.log(distance)
    log_ratio = log_ratio - log_expectation_exp(bandit.behavior, log_ratio)[..., None]
    return solution(log_ratio, moments.mean + expectation(bandit.behavior, distance))


TRPO = Entry(
    name="trpo",
    title="Trust region policy optimization",
    coefficient="rho A + nu, nu the multiplier of KL(mu|pi) <= delta",
    target="rho = nu / (tau - A), KL(mu|pi) = delta",
    family="ratio",
    level="sequence",
    source="TRPO, arXiv 1502.05477",
    make=lambda delta: Algorithm(
        stated := partial(trust_region, delta=delta),
        baselines.mean(),
        coupled=True,
        on_policy=policy_gradient,
        anchor="behavior",
        stated=stated,
        induced=partial(trust_region_target, delta=delta),
        nominal=greedy,
    ),
    parameters={"delta": positive(0.01, "trust region: greatest KL(mu|pi)", example=0.1)},
)

ENTRIES = (TRPO,)
