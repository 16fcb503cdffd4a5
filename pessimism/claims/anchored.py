"""Claims about an anchor apart from the data: coverage as the implicit penalty."""

from __future__ import annotations

import numpy as np

from ..algorithm import Algorithm
from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from .case import NOT_APPLICABLE, Case
from .claim import claim, claims_in
from .families import ANCHORED, RARE_ARMS, SMALL, TIES, ZERO_PROBABILITY
from .support import HERE, SOLVED, Array, advantages, combined, induced, mass, over_arms, pessimistic, relative, size
from .symbolic import is_positive, is_zero, positive_symbols, real_symbols


def _anchored(case: Case) -> list[Algorithm]:
    beta = case.beta
    return [
        algorithm("a_star_po", beta1=beta * max(case.ratio, 1 / case.ratio), beta2=beta, baseline=None),
        algorithm("shifted_mean", beta=beta, delta=1.0 + abs(case.offset)),
        algorithm("shifted_mean", beta=beta, delta=30.0),
    ]


def _positive(case: Case, chosen: Algorithm) -> tuple:
    """The target and which rows are in the positive regime, (n,)."""
    target = induced(case.bandit, chosen)
    return target, np.asarray(target.normalizer) > 0


def _anchored_proof() -> bool:
    """E r - beta KL(pi|ref) - (lambda/2) sum pi^2/mu is stationary at beta log(pi/ref) + lambda pi/mu = A."""
    import sympy as sp

    beta, lam, mu, ref, policy = positive_symbols("beta lambda mu ref pi")
    reward, multiplier = real_symbols("r m")
    lagrangian = policy * reward - beta * policy * sp.log(policy / ref) - lam / 2 * policy**2 / mu - multiplier * policy
    stationary = sp.diff(lagrangian, policy)
    wanted = reward - (multiplier + beta) - beta * sp.log(policy / ref) - lam * policy / mu
    return is_zero(stationary - wanted) and is_positive(-sp.diff(lagrangian, policy, 2))


@claim(
    "anchored.equation",
    HERE,
    ANCHORED,
    1e-10,
    proof=_anchored_proof,
    proves="first and second order conditions of the penalized objective",
)
def anchored_equation(case: Case) -> Array:
    """Anchored at a reference: beta log(pi/pi_ref) + lambda pi/mu = A on every covered arm.

    Check: beta log(pi/pi_ref) + lambda pi/mu = A on every covered arm.
    """
    bandit, seen = case.bandit, case.bandit.behavior > 0
    assert bandit.reference is not None
    found = []
    for chosen in _anchored(case):
        target, positive = _positive(case, chosen)
        x = np.where(seen, target.log_ratio, 0.0)
        pull = np.asarray(target.normalizer)[:, None] * target.policy / np.where(seen, bandit.behavior, 1.0)
        advantage = advantages(bandit, chosen)
        residual = np.where(seen, case.beta * x + pull - advantage, 0.0)
        fault = over_arms(relative(residual, case.beta * (1 + np.abs(x)), pull, advantage), seen)
        found.append(np.where(positive, fault, 0.0))
    return combined(*found)


@claim("anchored.objective", HERE, ANCHORED, 1e-10)
def anchored_gap(case: Case) -> Array:
    """Anchored at a reference, the target maximizes E r - beta KL(pi|pi_ref) - (lambda/2) sum pi^2/mu (lambda > 0).

    Check: Duality gap of max E r - beta KL(pi|pi_ref) - (lambda/2) sum pi^2/mu over covered policies.
    """
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for chosen in _anchored(case):
        target, positive = _positive(case, chosen)
        x = np.where(seen, target.log_ratio, 0.0)
        pull = np.asarray(target.normalizer)[:, None] * target.policy / np.where(seen, bandit.behavior, 1.0)
        gradient = np.where(seen, bandit.reward - case.beta * x - pull, -np.inf)
        gap = gradient.max(axis=-1) - mass(np.where(seen, gradient, 0.0), np.where(seen, target.policy, 0.0))
        terms = np.abs(bandit.reward) + np.abs(case.beta * x) + np.abs(pull) + case.beta
        found.append(np.where(positive, relative(gap, size(terms, seen)[:, 0]), 0.0))
    return combined(*found)


@claim("anchored.uncovered", HERE, ANCHORED, SOLVED)
def anchored_uncovered(case: Case) -> Array:
    """For lambda > 0 an arm that the data never show gets nothing, whatever probability the reference gives it.

    Check: Where lambda > 0, arms that the data never show get nothing, and the target is a policy.
    """
    bandit, found = case.bandit, []
    for chosen in _anchored(case):
        target, positive = _positive(case, chosen)
        outside = np.where(bandit.behavior == 0, target.policy, 0.0).sum(axis=-1)
        total = np.abs(target.policy.sum(axis=-1) - 1)
        found.append(np.where(positive, np.maximum(outside, total), total))
    return combined(*found)


@claim("anchored.boundary", HERE, ANCHORED, SOLVED)
def anchored_boundary(case: Case) -> Array:
    """Anchored at a reference that the data cover, V = beta log E_ref exp(r/beta) is the boundary.

    Check: With full coverage, V = beta log E_ref exp(r/beta) gives lambda = 0 and the policy pi_ref exp(r/beta)/Z.
    """
    bandit = case.bandit
    assert bandit.reference is not None
    if (bandit.behavior == 0).any():
        return np.full(case.size, NOT_APPLICABLE)
    chosen = algorithm("a_star_po", beta1=case.beta, beta2=case.beta)
    target = induced(bandit, chosen)
    z = bandit.reward.astype(np.longdouble) / case.beta
    z = z - z.max(axis=-1, keepdims=True)
    exact = z - np.log((bandit.reference * np.exp(z)).sum(axis=-1, keepdims=True))
    scale = 1 + size(bandit.reward / case.beta, bandit.behavior > 0)
    policy = np.exp(np.log(bandit.reference) + exact)
    ratio = np.exp(np.log(bandit.reference / bandit.behavior) + exact)
    # lambda acts through the penalty lambda sum pi^2/mu: that product is what is known to rounding, and moving it by
    # d moves the log-ratio of an arm by d (pi/mu) / sum pi^2/mu.
    penalty = mass(ratio, policy)
    steepness = 1 + ratio / penalty[:, None]
    kappa = np.asarray(target.normalizer) / case.beta
    difference = relative(target.log_ratio - exact, scale * steepness)
    return combined(over_arms(difference, bandit.behavior > 0), relative(kappa * penalty, scale[:, 0]))


COVERED = (*SMALL, TIES, ZERO_PROBABILITY, RARE_ARMS)


@claim("anchored.at_data", HERE, COVERED, 1e-10)
def anchored_at_data(case: Case) -> Array:
    """A reference equal to the behavior policy changes nothing."""
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    anchored = Bandit(bandit.behavior, bandit.reward, bandit.behavior)
    for chosen in pessimistic(case):
        one, other = induced(bandit, chosen), induced(anchored, chosen)
        difference = np.where(seen, one.log_ratio - other.log_ratio, 0.0)
        a = size(advantages(bandit, chosen) / case.beta, seen)
        found.append(over_arms(np.abs(difference) / (1 + a), seen))
    return combined(*found)


CLAIMS = claims_in(vars())
