"""Claims about preference losses, coupled coefficients and the value-based comparator."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from ..objectives.catalogue import algorithm
from .case import Case
from .claim import claim, claims_in
from .families import ONE_ARM, RANDOM, RARE_ARMS, TIES, ZERO_PROBABILITY
from .policy_gradient import ARMWISE, _unit
from .support import (
    HERE,
    ROUNDED,
    SOLVED,
    Array,
    advantages,
    coefficient,
    combined,
    induced,
    mass,
    mean,
    over_arms,
    relative,
    size,
)


@claim(
    "preference.links",
    "arXiv 2305.18290, 2310.12036, 2407.13399",
    (RANDOM, TIES, ZERO_PROBABILITY, RARE_ARMS, ONE_ARM),
    SOLVED,
)
def preference_links(case: Case) -> Array:
    """DPO, IPO and chi-PO tilt mu by the links log z, log z (of the win rate) and z + log z.

    Check: DPO: beta log rho = r - v; IPO: tau log rho = win rate - v; chi-PO: beta (rho + log rho) = r - v.
    """
    bandit, seen, beta = case.bandit, case.bandit.behavior > 0, case.beta
    wins = expit(bandit.reward[:, :, None] - bandit.reward[:, None, :])
    rate = np.where(bandit.behavior[:, None, :] > 0, bandit.behavior[:, None, :] * wins, 0.0).sum(axis=-1)
    found = []
    for chosen, utility, weight in (
        (algorithm("dpo", beta=beta), bandit.reward / beta, 0.0),
        (algorithm("ipo", tau=0.2), rate / 0.2, 0.0),
        (algorithm("chi_po", beta=beta), bandit.reward / beta, 1.0),
    ):
        x = np.where(seen, induced(bandit, chosen).log_ratio, 0.0)
        link = x + weight * np.exp(x)
        level = np.where(seen, utility - link, 0.0)
        spread = np.where(seen, level, -np.inf).max(axis=-1) - np.where(seen, level, np.inf).min(axis=-1)
        found.append(relative(spread, 1 + size(np.abs(utility) + np.abs(link), seen)[:, 0]))
    return combined(*found)


@claim("coupled.rest", HERE, (RANDOM, TIES, ZERO_PROBABILITY, ONE_ARM), SOLVED)
def coupled_rest(case: Case) -> Array:
    """Coupled coefficients vanish on every arm at their targets: there lambda = 0.

    Check: Coupled coefficients (preferences, TPO, pairwise regression) vanish on every played arm of their
    targets.
    """
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    for chosen in (
        algorithm("dpo", beta=1.0),
        algorithm("ipo", tau=0.5),
        algorithm("chi_po", beta=1.0),
        algorithm("tpo"),
        algorithm("pairwise_regression", beta=0.5),
    ):
        target = induced(bandit, chosen)
        c = coefficient(bandit, chosen, np.where(seen, target.log_ratio, 0.0))
        terms = 1 + np.abs(advantages(bandit, chosen)) + np.exp(np.where(seen, target.log_ratio, 0.0))
        found.append(
            over_arms(relative(bandit.behavior * c, bandit.behavior * terms, mean(terms, bandit)[:, None]), seen)
        )
    return combined(*found)


@claim("pevi.target", "arXiv 2012.15085", ARMWISE, ROUNDED)
def pevi_target(case: Case) -> Array:
    """PEVI is greedy in r - b/sqrt(n).

    Check: All mass where r - b/sqrt(n) is largest; with no bonus, where r is.
    """
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    for bonus in (0.0, 0.3, 2.0):
        target = induced(bandit, algorithm("pevi", bonus=bonus, samples=50.0))
        counts = 50.0 * np.where(seen, bandit.behavior, 1.0)
        score = np.where(seen, bandit.reward - bonus / np.sqrt(counts), 0.0)
        top = np.where(seen, score, -np.inf).max(axis=-1, keepdims=True)
        lost = mass(np.where(seen, top - score, 0.0), target.policy)
        found.append(relative(lost, np.abs(top[:, 0]), 1.0))
        outside = np.where(seen, 0.0, target.policy).sum(axis=-1)
        found.append(outside)
    return combined(*found)


CLAIMS = claims_in(vars())
