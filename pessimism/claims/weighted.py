"""Claims about weighted likelihoods: AWR, RoiRL, TPO."""

from __future__ import annotations

import numpy as np

from ..objectives.catalogue import algorithm
from .case import Case
from .claim import claim, claims_in
from .families import MODERATE
from .policy_gradient import _ratio, _unit
from .ratio import _nonnegative
from .support import ROUNDED, SOLVED, Array, combined, induced, mean, over_arms, relative, size
from .symbolic import is_zero, real_symbols
from .twins import _awr_proof


@claim(
    "awr.target",
    "arXiv 1910.00177, 2510.02892",
    MODERATE,
    ROUNDED,
    proof=_awr_proof,
    proves="the slope, whatever the baseline",
)
def awr_target(case: Case) -> Array:
    """AWR without a cap and RoiRL's exponential weights have the target mu exp(A/beta)/Z.

    Check: pi ~ mu exp(A/beta) for AWR without a cap and for RoiRL's exponential weights, in logs.
    """
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for chosen in (algorithm("awr", beta=case.beta, cap=float("inf")), algorithm("roirl.exponential", beta=case.beta)):
        x = np.where(seen, induced(bandit, chosen).log_ratio, 0.0)
        level = x - bandit.reward.astype(np.longdouble) / case.beta
        spread = np.where(seen, level, -np.inf).max(axis=-1) - np.where(seen, level, np.inf).min(axis=-1)
        found.append(relative(spread, size(bandit.reward / case.beta, seen)[:, 0] + size(x, seen)[:, 0]))
    return combined(*found)


@claim("roirl.target", "arXiv 2510.02892", MODERATE, ROUNDED)
def roirl_target(case: Case) -> Array:
    """RoiRL has the target mu r/E r.

    Check: pi = mu r/E r for nonnegative rewards.
    """
    bandit, seen = _nonnegative(case), case.bandit.behavior > 0
    expected = mean(np.where(seen, bandit.reward, 0.0), bandit)
    _, rho = _ratio(Case("", bandit, 1.0), algorithm("roirl"))
    difference = np.where(seen, rho * expected[:, None] - bandit.reward, 0.0)
    return np.where(expected > 0, over_arms(relative(difference, bandit.reward, 1e-300), seen), 0.0)


def _tpo_proof() -> bool:
    """c = (q - pi)/mu is lambda pi/mu only with lambda = 0, summing over arms, and so pi = q; three arms."""
    import sympy as sp

    q1, q2, lam = real_symbols("q1 q2 lambda")
    p1, p2 = real_symbols("p1 p2")
    solved = sp.solve(
        [q1 - p1 - lam * p1, q2 - p2 - lam * p2, (1 - q1 - q2) - (1 - p1 - p2) - lam * (1 - p1 - p2)],
        [p1, p2, lam],
        dict=True,
    )
    return len(solved) == 1 and all(is_zero(solved[0][a] - b) for a, b in ((p1, q1), (p2, q2), (lam, 0)))


@claim(
    "tpo.target",
    "arXiv 2604.06159",
    MODERATE,
    SOLVED,
    proof=_tpo_proof,
    proves="pi = q is the only solution, for three arms",
)
def tpo_target(case: Case) -> Array:
    """TPO has the target mu exp(z/eta)/Z, z the z-score.

    Check: q ~ mu exp(z/eta), z = (r - E r)/(std + eps), and the coefficient vanishes there.
    """
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    centered = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None], 0.0)
    deviation = np.sqrt(mean(centered.astype(np.float64) ** 2, bandit))[:, None]
    for eta in (0.3, 1.0, 10.0):
        chosen = algorithm("tpo", eta=eta)
        z = centered / (deviation + 1e-6) / eta
        x = np.where(seen, induced(bandit, chosen).log_ratio, 0.0)
        level = np.where(seen, x - z, 0.0)
        spread = np.where(seen, level, -np.inf).max(axis=-1) - np.where(seen, level, np.inf).min(axis=-1)
        found.append(relative(spread, 1 + size(z, seen)[:, 0]))
    return combined(*found)


CLAIMS = claims_in(vars())
