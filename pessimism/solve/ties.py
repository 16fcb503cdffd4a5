"""Greedy fill: how the softmax flow from a start divides the mass of arms whose scores tie.

Derived in docs/theory/ties.md. With c = rho A the flow of two tied winners is d log(pi_i/pi_j)/dt = (pi_i - pi_j) e,
e = max A - E_pi A > 0, and the integral of e over time diverges: the arm that starts as the most probable one takes
all. With c = min(rho, cap) A it grows to pi = cap mu, then the next one does, until the mass is used up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROUNDING = 8 * np.finfo(np.float64).eps  # of the mass that is left when arms above have been filled to their caps


@dataclass(frozen=True)
class Division:
    """How mass is divided among tied arms.

    Attributes:
        policy: (..., K), the probability that each tied arm gets; 0 on all others.
        last: (...), how many arms share what the filled ones leave: those of equal start that are filled last.
        lost: (...) bool, whether some tied arm gets nothing.
    """

    policy: np.ndarray
    last: np.ndarray
    lost: np.ndarray


def greedy_fill(tied: np.ndarray, start: np.ndarray, mass: np.ndarray, cap: float = np.inf) -> Division:
    r"""Fill tied arms in the order of their start, each up to ``cap * start``; arms of equal start share.

    Args:
        tied: (..., K) bool; rows without any get nothing.
        start: (..., K), the policy at time 0, positive on tied arms.
        mass: (...), what there is to divide; at most the sum of the caps.
        cap: largest ratio of an arm to its start.

    >>> fill = greedy_fill(np.array([True, True, True, False]), np.array([0.2, 0.4, 0.2, 0.2]), np.array(1.0), 2.0)
    >>> fill.policy.round(12).tolist(), int(fill.last), bool(fill.lost)
    ([0.1, 0.8, 0.1, 0.0], 2, False)
    """
    mass = mass[..., None]
    order = np.argsort(np.where(tied, -start, np.inf), axis=-1, kind="stable")
    ranked = np.take_along_axis(np.where(tied, start, 0.0), order, axis=-1)
    with np.errstate(invalid="ignore"):
        room = np.where(ranked > 0, np.minimum(cap * ranked, mass), 0.0)
    first, size = _runs(ranked)
    before = np.take_along_axis(np.cumsum(room, axis=-1) - room, first, axis=-1)
    left = mass - before
    left = np.where(left > _ROUNDING, left, 0.0)
    share = np.where(ranked > 0, np.minimum(left / size, room), 0.0)
    policy = np.empty_like(share)
    np.put_along_axis(policy, order, share, axis=-1)
    filled = share > 0
    index = np.maximum(filled.sum(axis=-1, keepdims=True) - 1, 0)
    last = np.where(filled.any(axis=-1), np.take_along_axis(size, index, axis=-1)[..., 0], 0)
    return Division(policy, last, (tied & (policy == 0)).any(axis=-1))


def losing_rate(division: Division, losers: np.ndarray) -> np.ndarray:
    r"""The exponent (...) with which tied arms that get nothing fall: $t^{-n/(n + e)}$; 0 where there is none.

    n (``losers``, (...)) is the number of arms that die because they score less, e the number that shares what is left.
    """
    total = np.maximum(losers + division.last, 1)
    return np.where(division.lost & (division.last > 0), losers / total, 0.0)


def _runs(ranked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the first arm of each run of equal values along the last axis, and the run's length, both (..., K)."""
    places = np.broadcast_to(np.arange(ranked.shape[-1]), ranked.shape)
    new = np.concatenate([np.ones_like(ranked[..., :1], bool), ranked[..., 1:] != ranked[..., :-1]], axis=-1)
    first = np.maximum.accumulate(np.where(new, places, 0), axis=-1)
    final = np.concatenate([new[..., 1:], np.ones_like(new[..., :1])], axis=-1)
    last = np.minimum.accumulate(np.where(final, places, ranked.shape[-1])[..., ::-1], axis=-1)[..., ::-1]
    return first, last - first + 1
