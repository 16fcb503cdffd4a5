"""Targets in closed form: what a closed form returns, and those that belong to no one objective.

Each takes a bandit and the moments of its advantages, batched, and returns a :class:`Solution`. Those of one objective
stand beside it, in :mod:`pessimism.objectives`. Theory derived for this project unless a paper is named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .bandit import Bandit
from .baseline import UNITS, Moments
from .solve.lambert import solve_fixed_kappa
from .solve.simplex import expectation, first_index, log_expectation_exp
from .solve.ties import greedy_fill, losing_rate


@dataclass(frozen=True)
class Solution:
    """Targets of a batch as a closed form gives them.

    Attributes:
        log_ratio: (..., K), relative to the anchor; -inf on arms that lose all their mass.
        normalizer: (...), E_mu[c] at the target.
        unique: (...) bool, whether this is the only stationary point that the flow from the behavior policy can reach.
        face: (...) bool, whether the flow singles out none of the policies on the support, all of them targets; the one
            given is then the anchor restricted to the support.
        solved: (...) bool; rows that this closed form does not cover are False and NaN, and left to numeric routes.
        regime: (...) str, "positive" | "boundary" | "negative", or None where regimes mean nothing.
        tied: (..., K) bool, arms whose joint mass could be divided in any other way (each up to the objective's cap)
            and the policy still be stationary; the division given is where the flow goes. None for no such arms.
        rate: (...), tied arms that lose fall like t^-rate; 0 where none does. None for zeros.
    """

    log_ratio: np.ndarray
    normalizer: np.ndarray
    unique: np.ndarray
    face: np.ndarray
    solved: np.ndarray
    regime: np.ndarray | None = None
    tied: np.ndarray | None = None
    rate: np.ndarray | None = None


def solution(
    log_ratio: np.ndarray,
    normalizer: np.ndarray | float,
    *,
    unique: np.ndarray | bool = True,
    face: np.ndarray | bool = False,
    solved: np.ndarray | bool = True,
    regime: np.ndarray | None = None,
    tied: np.ndarray | None = None,
    rate: np.ndarray | None = None,
) -> Solution:
    shape = log_ratio.shape[:-1]
    solved = np.broadcast_to(solved, shape)
    normalizer = np.broadcast_to(normalizer, shape)
    if not solved.all():
        log_ratio = np.where(solved[..., None], log_ratio, np.nan)
        normalizer = np.where(solved, normalizer, np.nan)
    return Solution(
        log_ratio,
        normalizer,
        np.broadcast_to(unique, shape),
        np.broadcast_to(face, shape),
        solved,
        regime,
        tied,
        rate,
    )


def regimes(normalizer: np.ndarray, scale: np.ndarray, arms: int, rounding: np.ndarray | float = 0.0) -> np.ndarray:
    """Sign of the normalizer (...) as a regime: "boundary" where rounding hides it.

    That is the rounding of a sum of size ``scale`` in double precision, and ``rounding``: what the baseline is off by
    (see :class:`~pessimism.baseline.Moments`).
    """
    tolerance = UNITS * np.finfo(np.float64).eps * (1 + np.log2(arms)) * scale + rounding
    signs = np.where(normalizer > tolerance, "positive", np.where(normalizer < -tolerance, "negative", "boundary"))
    return signs.astype("<U8")


def still_or(bandit: Bandit, moments: Moments, found: Solution) -> Solution:
    """Where no arm has any advantage nothing moves: the behavior policy, and any other, is stationary."""
    still = (np.where(bandit.behavior > 0, moments.advantage, 0.0) == 0).all(axis=-1)
    return solution(
        np.where(still[..., None], 0.0, found.log_ratio),
        np.where(still, 0.0, found.normalizer),
        unique=found.unique & ~still,
        face=found.face | still,
        solved=found.solved | still,
        regime=found.regime,
        tied=found.tied,
        rate=found.rate,
    )


def over(values: np.ndarray, beta: float) -> np.ndarray:
    """values / beta (..., K), or a ValueError where that leaves the floats."""
    with np.errstate(over="ignore"):
        divided = values / beta
    if not np.isfinite(divided).all():
        index = ", ".join(map(str, first_index(~np.isfinite(divided))))
        raise ValueError(f"advantage[{index}] / beta overflows; beta = {beta:g} is too small for these rewards")
    return divided


def tilted(bandit: Bandit, exponent: np.ndarray) -> Solution:
    anchor = bandit.anchor
    top = np.where(anchor > 0, exponent, -np.inf).max(axis=-1, keepdims=True)
    below = np.where(exponent <= top, exponent - top, 0.0)
    log_ratio = below - log_expectation_exp(anchor / anchor.sum(axis=-1, keepdims=True), below)[..., None]
    return solution(log_ratio, 0.0)


def gibbs(bandit: Bandit, moments: Moments, *, beta: float, centered: bool = False) -> Solution:
    r"""$\pi \propto \pi_0\,e^{r/\beta}$ with $\pi_0$ the anchor: $\max_\pi E_\pi r - \beta\,\mathrm{KL}(\pi\|\pi_0)$.

    The normalizer is the constant $A - \beta\log(\pi/\pi_0) = V^*_\beta - V$, or 0 for a ``centered`` coefficient.
    """
    found = tilted(bandit, over(moments.below, beta))
    if centered:
        return found
    return solution(found.log_ratio, moments.mean - beta * expectation(bandit.behavior, found.log_ratio))


def greedy(bandit: Bandit, moments: Moments, *, penalty: np.ndarray | float = 0.0) -> Solution:
    r"""All mass on the arms of greatest $A$ - penalty among those the anchor plays: $\max_\pi E_\pi[A]$.

    Where several tie every policy on them is optimal. The flow from the anchor goes to the one that the anchor plays
    most; those that it plays equally share, the others fall like $t^{-n/(n + e)}$, with n arms below the best and e
    that share (docs/theory/ties.md). Where all tie nothing moves. Rewards tie if they are equal as floats.
    """
    anchor = bandit.anchor
    played = anchor > 0
    score = np.where(played, moments.advantage - penalty, -np.inf)
    best = score.max(axis=-1, keepdims=True)
    winners = score == best
    division = greedy_fill(winners, anchor, np.ones(bandit.batch_shape))
    losers = (played & ~winners).sum(axis=-1)
    still = losers == 0
    with np.errstate(divide="ignore"):
        log_share = np.log(division.policy) - np.log(np.where(played, anchor, 1.0))
    several = winners.sum(axis=-1, keepdims=True) > 1
    return solution(
        np.where(still[..., None] & played, 0.0, log_share),
        best[..., 0],
        unique=~still | ~several[..., 0],
        face=still & several[..., 0],
        tied=winners & several,
        rate=losing_rate(division, losers),
    )


def mixed_link(bandit: Bandit, moments: Moments, *, beta: float, alpha: float, carries_ratio: bool) -> Solution:
    r"""$\beta\log\rho + \alpha\rho = r - v$ with $\alpha$ given and v the normalizing constant.

    $\chi$PO ($\alpha = \beta$; arXiv 2407.13399), and conservative Q-learning, whose fixed point is the
    Lambert-tempered target with $\lambda = \alpha$.
    """
    log_ratio, shift = solve_fixed_kappa(
        bandit.behavior, over(moments.below, beta), np.full(bandit.batch_shape, alpha / beta)
    )
    # `below` starts at the best arm's advantage, and so does the shift.
    best = np.where(bandit.behavior > 0, moments.advantage, -np.inf).max(axis=-1)
    normalizer = best + beta * shift + alpha if carries_ratio else 0.0
    return solution(log_ratio, normalizer)
