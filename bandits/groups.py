"""Advantages of sampled groups that are held as counts of their outcomes.

A group in which outcome s came up n_s times of G is the policy n/G, so that averages over its samples are weighted sums
over outcomes; rules that correct for the finite group (leave-one-out, unbiased deviations) get its size G.
"""

from __future__ import annotations

import numpy as np

from pessimism import Baseline


def count_advantage(baseline: Baseline, reward: np.ndarray, counts: np.ndarray, by_weights: bool) -> np.ndarray:
    """What ``baseline.group`` gives each sample, per outcome; 0 for outcomes that did not come up.

    Args:
        baseline: the rule.
        reward: (..., S), of every outcome.
        counts: (..., S) whole numbers >= 0, with the same sum G > 0 in every row.
        by_weights: whether the rule may be evaluated with weights, see :func:`works_by_weights`; otherwise the groups
            are written out sample by sample.

    Returns:
        (..., S).

    >>> from pessimism import baselines
    >>> count_advantage(baselines.leave_one_out(), np.array([0.0, 1.0]), np.array([2, 1]), True)
    array([-0.5,  1. ])
    """
    reward = np.broadcast_to(reward, counts.shape)
    if not by_weights:
        return np.where(counts > 0, _written_out(baseline, reward, counts), 0.0)
    size = int(counts.reshape(-1, counts.shape[-1])[0].sum())
    return baseline.weighted(reward, counts / size, size) * (counts > 0)


def works_by_weights(baseline: Baseline) -> bool:
    """Whether weighted averages reproduce a rule on groups, found by trying.

    It fails for rules that look at samples one by one, such as a leave-one-out log-mean-exp or a user's function.
    """
    counts = np.array([[3, 1, 2, 1], [0, 5, 1, 1]])
    reward = np.array([[0.0, 0.3, 1.0, -2.0], [1.0, 0.0, 0.6, 0.2]])
    try:
        tried = count_advantage(baseline, reward, counts, True)
    except Exception:  # a rule that cannot take weights may fail in any way of its own
        return False
    wanted = count_advantage(baseline, reward, counts, False)
    return tried.shape == wanted.shape and np.allclose(tried, wanted, rtol=1e-12, atol=1e-12)


def _written_out(baseline: Baseline, reward: np.ndarray, counts: np.ndarray) -> np.ndarray:
    outcomes = counts.shape[-1]
    flat = counts.reshape(-1, outcomes)
    rows = len(flat)
    samples = np.repeat(np.tile(np.arange(outcomes), rows), flat.ravel()).reshape(rows, -1)
    advantage = baseline.group(np.take_along_axis(reward.reshape(-1, outcomes), samples, axis=-1))
    first = np.minimum(np.cumsum(flat, axis=-1) - flat, samples.shape[-1] - 1)
    return np.take_along_axis(advantage, first, axis=-1).reshape(counts.shape)
