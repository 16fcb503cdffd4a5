"""Ends of flows in which tied arms still divide their mass: a power law that no finite time completes.

Arms that tie have the same advantage and a coefficient c = rho w with one w, as below the clip of a clipped
objective. Then d log(pi_i/pi_j)/dt = (pi_i - pi_j)(w - lambda), and w - lambda falls like 1/t: the more probable arm
takes all, the others fall like t^-1/2 (docs/theory/ties.md, statements 1 to 3). To a residual of 1e-8 that takes 1e16
units of time.
"""

from __future__ import annotations

import numpy as np

_SAME = 1e-9
"""Relative difference up to which two weights, or two probabilities, are taken for one."""

GONE = 1e-290
"""Probability that stands for an arm that has died: positive, as a flow's start must be, and without effect."""


def tied_losers(policy: np.ndarray, weighted: np.ndarray, advantage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Arms that lose to a more probable arm of the same advantage and weight, and each arm's leader.

    Args:
        policy: (B, K), where the flow stands.
        weighted: (B, K), $\mu_y c_y$ there; with $w_y = \mu_y c_y / \pi_y$, $\dot\theta_y = \pi_y (w_y - \lambda)$.
        advantage: (B, K).

    Returns:
        losers, (B, K) bool, and leader, (B, K) int: the most probable arm of each arm's group (itself where it ties
        with none). Arms as probable as their leader share with it and do not lose.

    >>> policy = np.array([[0.1, 0.3, 0.2, 0.4]])
    >>> losers, leader = tied_losers(policy, policy * [1.0, 1.0, 0.5, 0.9], np.array([[1.0, 1.0, 1.0, 0.0]]))
    >>> losers.tolist(), leader.tolist()
    ([[True, False, False, False]], [[1, 1, 2, 3]])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(policy > 0, weighted / policy, np.nan)
    together = (advantage[:, :, None] == advantage[:, None, :]) & (weight[:, :, None] > 0)
    together &= np.abs(weight[:, :, None] - weight[:, None, :]) <= _SAME * np.abs(weight[:, :, None])
    rivals = np.where(together, policy[:, None, :], -np.inf)
    own = np.arange(policy.shape[-1])
    leader = np.where(together.any(axis=-1), rivals.argmax(axis=-1), own)
    best = np.take_along_axis(policy, leader, axis=-1)
    losers = together.any(axis=-1) & (policy < (1.0 - _SAME) * best)
    return losers, leader


def given_up(policy: np.ndarray, losers: np.ndarray, leader: np.ndarray) -> np.ndarray:
    """The policy (B, K) after every loser has left its mass to its leader.

    >>> losers, leader = np.array([[True, False, False]]), np.array([[1, 1, 2]])
    >>> given_up(np.array([[0.25, 0.5, 0.25]]), losers, leader).round(9).tolist()
    [[0.0, 0.75, 0.25]]
    """
    after = np.where(losers, GONE, policy)
    moved = np.where(losers, policy, 0.0)
    np.add.at(after, (np.arange(len(policy))[:, None], leader), moved)
    return after
