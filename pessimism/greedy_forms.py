"""Targets in closed form of objectives that weigh by the ratio, or by a truncated one: batched.

The most rewarded arms take the mass, all of it or each up to a cap, and where they tie the start decides. Theory
derived for this project (docs/theory/ties.md) unless a paper is named.
"""

from __future__ import annotations

import numpy as np

from . import coefficients
from .bandit import Bandit
from .baselines import Moments
from .closed_forms import Solution, solution, still_or
from .solve.simplex import any_arm, expectation, log
from .solve.ties import greedy_fill, losing_rate


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


def pessimistic_greedy(bandit: Bandit, moments: Moments, *, bonus: float, samples: float) -> Solution:
    r"""PEVI: greedy in the lower confidence bound $r - b/\sqrt{N\mu}$ (arXiv 2012.15085)."""
    return greedy(bandit, moments, penalty=coefficients.confidence_width(bandit.behavior, bonus=bonus, samples=samples))


def truncated(bandit: Bandit, moments: Moments, *, cap: float) -> Solution:
    r"""CISPO, $c = \min(\rho, \bar c)A$: $\rho = \bar cA/\lambda$ where $A > \lambda$, marginal $A = \lambda$, else 0.

    The demand for mass $\sum_{A > \lambda}\mu\bar cA/\lambda$ falls in $\lambda$ and jumps at each advantage;
    $\lambda$ is where it crosses one. Of tied marginal arms any split that keeps $\rho \le \bar c$ is stationary. The
    flow from $\mu$ fills them in the order of $\mu$, each up to $\rho = \bar c$; those of equal $\mu$ share
    (docs/theory/ties.md: proved where no arm lies above them, else only checked, and ``unique`` is False). Rows without
    a positive advantage are left unsolved.
    """
    advantage = np.where(bandit.behavior > 0, moments.advantage, -np.inf)
    order = np.argsort(-advantage, axis=-1, kind="stable")
    level = np.take_along_axis(advantage, order, axis=-1)
    pull = np.where(bandit.behavior > 0, bandit.behavior * np.maximum(moments.advantage, 0.0), 0.0)
    through = cap * np.cumsum(np.take_along_axis(pull, order, axis=-1), axis=-1)  # with the arm itself
    positive = level > 0
    # First arm whose own level is low enough for it and those above to claim all the mass.
    reached = positive & (through >= level)
    some = any_arm(positive)
    index = np.where(any_arm(reached), reached.argmax(axis=-1), positive.sum(axis=-1) - 1).clip(0)[..., None]
    here = np.take_along_axis(level, index, axis=-1)
    strictly_above = np.where(advantage > here, pull, 0.0).sum(axis=-1, keepdims=True) * cap
    marginal = any_arm(reached)[..., None] & (strictly_above <= here)
    last = np.take_along_axis(through, index, axis=-1)
    normalizer = np.where(marginal, here, np.where(any_arm(reached)[..., None], strictly_above, last))
    safe = np.where(some[..., None], normalizer, 1.0)
    ratio = np.where(advantage > safe, cap * np.maximum(advantage, 0.0) / safe, 0.0)
    tied = marginal & (advantage == here)
    left = np.maximum(1 - expectation(bandit.behavior, ratio), 0.0)[..., None]
    division = greedy_fill(tied, bandit.behavior, left[..., 0], cap)
    losers = ((bandit.behavior > 0) & (advantage < here)).sum(axis=-1)
    kept = tied & ((losers == 0) & (strictly_above[..., 0] == 0))[..., None]  # all tie below the cap: nothing moves
    ratio = np.where(tied, division.policy / np.where(tied, bandit.behavior, 1.0), ratio)
    ratio = np.where(kept, 1.0, ratio)
    several = (tied.sum(axis=-1) > 1) & (left[..., 0] > 0)
    still = several & kept.any(axis=-1)
    found = solution(
        log(ratio),
        normalizer[..., 0],
        unique=~several | (~still & (strictly_above[..., 0] == 0)),
        face=still,
        solved=some,
        tied=tied & several[..., None],
        rate=np.where(several & ~still, losing_rate(division, losers), 0.0),
    )
    return still_or(bandit, moments, found)
