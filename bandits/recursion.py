"""The ideal recursion, in which every window reaches its induced target exactly, and how fast it ends."""

from __future__ import annotations

import numpy as np

import pessimism as ps
from pessimism.shell import understood
from pessimism.solve import expectation, total_variation

from .trajectory import Recorder, Trajectory, describe

__all__ = ["gap_bounds", "ideal_recursion"]


def ideal_recursion(bandit: ps.Bandit, algorithm: ps.Algorithm | str, syncs: int) -> Trajectory:
    r"""$\pi_{k+1} = \pi^\dagger(\pi_k)$ from $\pi_0 = \mu$: lagged learning with infinite lag and infinite groups.

    Args:
        bandit: batch shape (...); a reference stays what it is while the behavior policy moves.
        algorithm: any, or text that names one.
        syncs: number of steps of the recursion, >= 1.

    Returns:
        A :class:`Trajectory` with one seed. The induced distance is 0, and shares of regimes are 0 or 1 (NaN for
        objectives without regimes). Policies are divided by their sums, which rounding alone moves from one.

    Raises:
        ValueError: syncs < 1, or whatever :func:`pessimism.induced_target` refuses.

    >>> bandit, algorithm = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1]), ps.algorithm("shifted_mean", beta=0.5)
    >>> run = ideal_recursion(bandit, algorithm, 2)
    >>> once = ps.induced_target(bandit, algorithm).policy
    >>> bool(np.allclose(run.policy[0], ps.induced_target(ps.Bandit(once, bandit.reward), algorithm).policy))
    True
    """
    bandit, algorithm = understood(bandit, algorithm)
    _check_syncs(syncs)
    records = Recorder(syncs)
    current = bandit
    for sync in range(1, syncs + 1):
        target = ps.induced_target(current, algorithm)
        nominal = ps.nominal_target(current, algorithm)
        policy = target.policy / target.policy.sum(axis=-1, keepdims=True)
        record = describe(current, policy, target.log_policy)
        record["normalizer"] = np.asarray(target.normalizer)
        for name in ("positive", "boundary", "negative"):
            known = np.nan if target.regime is None else np.equal(target.regime, name)
            record[name] = np.broadcast_to(np.asarray(known, dtype=float), bandit.batch_shape)
        record["induced_distance"] = np.zeros(bandit.batch_shape)
        record["nominal_distance"] = total_variation(policy, nominal.policy)
        records.add(sync, record)
        current = ps.Bandit(policy, bandit.reward, bandit.reference)
    shape = (1, *bandit.batch_shape)
    return records.trajectory(shape, current.behavior.copy(), np.zeros(shape, dtype=int))


def gap_bounds(bandit: ps.Bandit, beta: float, delta: float, syncs: int) -> np.ndarray:
    r"""Bounds on $\max r - E_{\pi_n} r$ after n = 1, ..., N syncs of $\pi_{k+1} = \pi^\dagger(\pi_k)$: (N, ...).

    The baseline is V = E r - delta beta, delta >= 0. After n syncs the policy is ahead, in likelihood-ratio order, of
    $\mu e^{s_n r}/Z$ with $s_{n+1} = s_n + 1/(\beta(1 + \delta) + g_n)$, where $g_n$ is that policy's own gap: this gap
    is the bound. It is at most $(B/n)\log(1/\mu^*)$ and at most $\sum_y (r^* - r_y)(\mu_y/\mu^*)e^{-n(r^* - r_y)/B}$,
    with $B = \beta(1 + \delta) + r^* - E_\mu r$ and $\mu^*$ the behavior policy's mass on the best arms. Derived here.

    Args:
        bandit: batch shape (...), without a reference.
        beta: temperature, in units of reward.
        delta: at least 0 (0: the mean baseline).
        syncs: N, a whole number >= 1.

    Raises:
        ValueError: a reference, or a number outside its range.

    >>> import pessimism as ps
    >>> gap_bounds(ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1]), beta=0.5, delta=1.0, syncs=3).round(3)
    array([0.697, 0.56 , 0.401])
    """
    if bandit.reference is not None:
        raise ValueError("the bound is for log-ratios from the behavior policy; leave the reference out")
    if not (0 < beta < np.inf and 0 <= delta < np.inf):
        raise ValueError(f"beta is {beta!r} and delta {delta!r}; beta must be finite and > 0, delta finite and >= 0")
    _check_syncs(syncs)
    fixed = beta * (1 + delta)
    top = np.where(bandit.behavior > 0, bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    behind = np.where(bandit.behavior > 0, top - bandit.reward, 0.0)
    slope, found = np.zeros(bandit.batch_shape), [expectation(bandit.behavior, behind)]
    for _ in range(syncs):
        slope = slope + 1 / (fixed + found[-1])
        tilt = bandit.behavior * np.exp(-slope[..., None] * behind)
        found.append(expectation(tilt, behind) / tilt.sum(axis=-1))
    return np.stack(found[1:])


def _check_syncs(syncs: int) -> None:
    if not isinstance(syncs, int) or syncs < 1:
        raise ValueError(f"syncs is {syncs!r}; it must be a whole number >= 1")
