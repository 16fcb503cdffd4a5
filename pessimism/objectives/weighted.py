"""Weighted maximum likelihood: the coefficient is a nonnegative weight, and the target a reweighted behavior policy."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..baseline import Moments
from ..solution import Solution, gibbs, over, solution, tilted
from ..solve.simplex import Array, log_expectation_exp
from .arrays import at_most, finite_average
from .entry import Entry, positive
from .policy_gradient import policy_gradient, weighted_target

__all__ = ["cross_entropy", "cross_entropy_target", "exponential", "exponential_objective", "exponential_target"]


def exponential(log_ratio: Array, advantage: Array, *, beta: float, cap: float) -> Array:
    r"""$c = \min(e^{A/\beta}, \text{cap})$: advantage-weighted regression (AWR), RoiRL with exponential weights."""
    xp = array_namespace(log_ratio)
    return xp.exp(at_most(xp, advantage / beta, math.log(cap))) + array_namespace(log_ratio).zeros_like(log_ratio)


def exponential_target(bandit: Bandit, moments: Moments, *, beta: float, cap: float) -> Solution:
    r"""AWR: $\pi \propto \mu\min(e^{A/\beta}, \text{cap})$, in logs."""
    exponent = np.minimum(moments.advantage / beta, np.log(cap))
    found = tilted(bandit, exponent)
    with np.errstate(over="ignore"):
        normalizer = np.exp(log_expectation_exp(bandit.behavior, exponent))
    return solution(found.log_ratio, normalizer)


def exponential_objective(beta: float, cap: float) -> Algorithm:
    """c = min(exp(A/beta), cap); derived as a projection onto the Gibbs policy, which is what it claims."""
    coefficient = partial(exponential, beta=beta, cap=cap)
    return Algorithm(
        coefficient,
        baselines.mean(),
        stated=coefficient,
        anchor="behavior",
        induced=partial(exponential_target, beta=beta, cap=cap),
        nominal=partial(gibbs, beta=beta),
    )


AWR = Entry(
    name="awr",
    title="Advantage-weighted regression",
    coefficient="min(exp(A/beta), cap)",
    target="mu min(exp(A/beta), cap) / Z; Gibbs where the cap does not bind",
    family="weighted",
    level="sequence",
    source="AWR, arXiv 1910.00177",
    make=exponential_objective,
    parameters={
        "beta": positive(0.05, "temperature, in units of reward", unit=1, example=0.5, anchors=True),
        "cap": positive(20.0, "largest weight; infinite for none", infinite=True),
    },
    notes="Without the cap it has exactly the nominal target, whatever the baseline (claim twins.nominal).",
)

ROIRL = Entry(
    name="roirl",
    title="RoiRL, identity weight",
    coefficient="r",
    target="mu r / E r",
    family="weighted",
    level="sequence",
    source="RoiRL, arXiv 2510.02892",
    make=lambda: Algorithm(
        policy_gradient,
        baselines.none(),
        anchor="behavior",
        induced=partial(weighted_target, weight=policy_gradient),
        nominal=partial(weighted_target, weight=policy_gradient),
    ),
    notes="The source's reward is a majority vote. Exponential weights: roirl.exponential.",
    absolute=True,
)


def cross_entropy(log_ratio: Array, advantage: Array, *, eta: float, behavior: Array | None = None) -> Array:
    r"""TPO: $c = (q - p)/w$, $q \propto w\,e^{A/\eta}$, $p \propto w\,e^{\ell}$. Coupled.

    With the behavior policy as weights w this is $(q - \pi)/\mu$, so that $E_\mu[c\,\nabla\log\pi]$ moves $\pi$ to q.
    """
    return _tilt(advantage / eta, behavior) - _tilt(log_ratio, behavior)


def _tilt(exponent: Array, behavior: Array | None) -> Array:
    """e^z / E_w e^z: the density, relative to the weights, of the group tilted by z."""
    xp = array_namespace(exponent)
    bounds = xp.finfo(exponent.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        raised = xp.exp(exponent)
        mean = finite_average(raised, behavior)
        tilted = raised * (1 / mean)
    usable = (mean > bounds.smallest_normal / bounds.eps) & (mean < math.inf)  # in most groups
    if bool(xp.all(usable)):
        return tilted
    if behavior is not None:
        exponent = xp.where(behavior > 0, exponent, -math.inf + 0 * exponent)
    raised = xp.exp(exponent - xp.max(exponent, axis=-1, keepdims=True))
    return xp.where(usable, tilted, raised / finite_average(raised, behavior))


def cross_entropy_target(bandit: Bandit, moments: Moments, *, eta: float) -> Solution:
    r"""TPO's target $q \propto \mu\,e^{z/\eta}$, z the advantage (a within-group z-score; arXiv 2604.06159)."""
    return tilted(bandit, over(moments.below, eta))


TPO = Entry(
    name="tpo",
    title="Target policy optimization",
    coefficient="(q - p)/w, q ~ w exp(z/eta), p ~ w exp(l)",
    target="q ~ mu exp(z/eta), z the within-group z-score",
    family="weighted",
    level="sequence",
    source="TPO, arXiv 2604.06159",
    make=lambda eta, epsilon: Algorithm(
        partial(cross_entropy, eta=eta),
        baselines.standardized(epsilon),
        coupled=True,
        anchor="behavior",
        induced=partial(cross_entropy_target, eta=eta),
        nominal=partial(cross_entropy_target, eta=eta),
    ),
    parameters={
        "eta": positive(1.0, "temperature, in standard deviations of reward", example=0.8, anchors=True),
        "epsilon": positive(1e-6, "added to the standard deviation", unit=1),
    },
    notes="On sampled groups the source weighs samples by p_old once more: pass its probabilities as behavior=. TRL's "
    "tpo trainer is another method, triple preference optimization, arXiv 2405.16681.",
)

ENTRIES = (
    AWR,
    ROIRL,
    TPO,
)
