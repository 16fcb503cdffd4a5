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

    With $\nu = 1/E[1/(\tau - A)]$ it solves $\mathrm{KL}(\mu\|\pi) = E\log(\tau - A) + \log E[1/(\tau - A)] = \delta$,
    by bisection on $\log(\tau - \max A)$, 100 halvings. Where all advantages are equal any level gives $\rho = 1$.
    Arms without weight get the distance of the best arm.
    """
    xp = array_namespace(advantage)
    weights = xp.ones_like(advantage) / advantage.shape[-1] if behavior is None else behavior
    seen = weights > 0
    top = xp.max(xp.where(seen, advantage, -math.inf + 0 * advantage), axis=-1, keepdims=True)
    gap = xp.where(seen, top - advantage, xp.zeros_like(advantage))
    spread = xp.max(gap, axis=-1, keepdims=True)
    spread = xp.where(spread > 0, spread, xp.ones_like(spread))
    gap = gap / spread
    # Down to where the inverse of a distance still fits the type, up to a divergence of 1e-17.
    low = xp.zeros_like(spread) + 0.95 * math.log(xp.finfo(advantage.dtype).smallest_normal)
    high = xp.zeros_like(spread) + 20.0
    for _ in range(100):
        middle = (low + high) / 2
        relative = gap / xp.exp(middle)
        share = average(relative / (1 + relative), weights)
        inverse = average(1 / (1 + relative), weights)
        # log1p while the two terms nearly cancel: the divergence is of second order in the relative gaps.
        normalizer = xp.where(share < 0.5, xp.log1p(-xp.where(share < 0.5, share, 0 * share)), xp.log(inverse))
        divergence = average(xp.log1p(relative), weights) + normalizer
        low = xp.where(divergence > delta, middle, low)
        high = xp.where(divergence > delta, high, middle)
    return spread * (gap + xp.exp(high))


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
