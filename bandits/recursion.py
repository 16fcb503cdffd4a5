"""The ideal recursion: every window reaches its induced target exactly."""

from __future__ import annotations

import numpy as np

import pessimism as ps

from .trajectory import Recorder, Trajectory, describe, total_variation


def ideal_recursion(bandit: ps.Bandit, algorithm: ps.Algorithm, syncs: int) -> Trajectory:
    r"""$\pi_{k+1} = \pi^\dagger(\pi_k)$ from $\pi_0 = \mu$: lagged learning with infinite lag and infinite groups.

    Args:
        bandit: batch shape (...); a reference stays what it is while the behavior policy moves.
        algorithm: any.
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
    if not isinstance(syncs, int) or syncs < 1:
        raise ValueError(f"syncs is {syncs!r}; it must be a whole number >= 1")
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
