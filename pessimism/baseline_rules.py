"""The rules of baselines: how far V lies above the mean reward, and what the difference is divided by.

Each takes :class:`~pessimism.baseline.Statistics` and returns (offset, scale). :mod:`pessimism.baselines` makes
baselines of them, and holds their formulas.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace, device

from .baseline import Statistics
from .solve.simplex import Array, expm1_minus


def constant_rule(statistics: Statistics, *, value: float) -> tuple[Array, float]:
    return value - statistics.mean, 1.0


def shifted_rule(statistics: Statistics, *, shift: float) -> tuple[float, float]:
    return shift, 1.0


def leave_one_out_rule(statistics: Statistics) -> tuple[float, float]:
    if statistics.group_size is None:
        return 0.0, 1.0
    if statistics.group_size < 2:
        raise ValueError("a leave-one-out baseline needs groups of at least 2 samples; got 1")
    return 0.0, statistics.group_size / (statistics.group_size - 1)


def log_mean_exp_rule(statistics: Statistics, *, beta: float) -> tuple[Array, float]:
    temperature = statistics.temperature
    # Rounding an exponential moves V by eps * beta, and V / temperature by no more than 1000 eps.
    narrow = temperature is not None and beta <= 1000 * temperature
    return beta * _log_mean_exp(statistics, statistics.deviation / beta, narrow), 1.0


def _log_mean_exp(statistics: Statistics, z: Array, narrow: bool) -> Array:
    """log E e^z (..., 1) for centered z: log1p(E phi(z)) unless z is large, shifted by its maximum there.

    phi >= 0, so that the first form keeps relative accuracy also where all that tilts the policy is rare. ``narrow``
    takes the exponentials of extended-precision z in double precision.
    """
    xp = array_namespace(z)
    top = statistics.maximum(z)
    kind = np.dtype(np.float64) if narrow else z.dtype
    small = top <= xp.log(xp.asarray(xp.finfo(kind).max, dtype=kind)) - 5
    near = far = xp.zeros_like(top)
    if bool(xp.any(small)):
        near = xp.log1p(statistics.expectation(_excess(xp.where(small & (z <= top), z, xp.zeros_like(z)), narrow)))
    if not bool(xp.all(small)):
        # Arms without weight may lie above the maximum: they must not overflow.
        below = xp.where(z <= top, z - top, xp.zeros_like(z))
        far = top + xp.log(statistics.expectation(_exponential(below, narrow)))
    return xp.where(small, near, far)


def _excess(z: Array, narrow: bool) -> Array:
    """phi(z); narrow: from the double nearest to z, and its derivative for the rest of z."""
    if not narrow:
        return expm1_minus(z)
    rounded = z.astype(np.float64)
    return expm1_minus(rounded) + np.expm1(rounded) * (z - rounded).astype(np.float64)


def _exponential(z: Array, narrow: bool) -> Array:
    """e^z for z <= 0; narrow: in double precision, where rounding of z moves e^z by |z| e^z eps < eps / 2."""
    return np.exp(z.astype(np.float64)) if narrow else array_namespace(z).exp(z)


def leave_one_out_log_mean_exp_rule(statistics: Statistics, *, beta: float) -> tuple[Array, float]:
    size = statistics.group_size
    if size is None:
        return log_mean_exp_rule(statistics, beta=beta)
    if size < 2:
        raise ValueError("a leave-one-out baseline needs groups of at least 2 samples; got 1")
    deviation = statistics.deviation
    xp = array_namespace(deviation)
    other = ~xp.eye(size, dtype=xp.bool, device=device(deviation))  # row i lacks sample i
    rest = -deviation / (size - 1)  # mean of the others' deviations

    def average(values: Array) -> Array:
        return xp.sum(xp.where(other, values, xp.zeros_like(values)), axis=-1, keepdims=True) / (size - 1)

    def maximum(values: Array) -> Array:
        return xp.max(xp.where(other, values, xp.full_like(values, -xp.inf)), axis=-1, keepdims=True)

    centered = deviation[..., None, :] - rest[..., :, None]
    others = replace(statistics, deviation=centered, expectation=average, maximum=maximum)
    offset, scale = log_mean_exp_rule(others, beta=beta)
    return rest + offset[..., 0], scale


def leave_one_out_standardized_rule(statistics: Statistics, *, epsilon: float) -> tuple[Array | float, Array]:
    size = statistics.group_size
    if size is None:
        return standardized_rule(statistics, epsilon=epsilon, shift=0.0)
    if size < 2:
        raise ValueError("a leave-one-out baseline needs groups of at least 2 samples; got 1")
    deviation = statistics.deviation
    xp = array_namespace(deviation)
    other = ~xp.eye(size, dtype=xp.bool, device=device(deviation))  # row i lacks sample i
    rest = -deviation / (size - 1)  # mean of the others' deviations
    spread = xp.where(other, deviation[..., None, :] - rest[..., :, None], xp.zeros_like(deviation)[..., None, :])
    rewards = statistics.reward[..., None, :] + xp.zeros_like(spread)  # compared as given: rounding makes no spread
    highest = xp.max(xp.where(other, rewards, xp.full_like(rewards, -xp.inf)), axis=-1)
    lowest = xp.min(xp.where(other, rewards, xp.full_like(rewards, xp.inf)), axis=-1)
    std = (xp.sum(spread**2, axis=-1) / max(1, size - 2)) ** 0.5
    differ = highest > lowest
    return rest, xp.where(differ, 1.0 / xp.where(differ, std + epsilon, xp.ones_like(std)), xp.ones_like(std))


def log_sum_exp_rule(statistics: Statistics, *, beta: float, group_size: float) -> tuple[Array, float]:
    offset, scale = log_mean_exp_rule(statistics, beta=beta)
    size = group_size if statistics.group_size is None else statistics.group_size
    # In extended precision where the offset is.
    return offset + beta * (np.log(np.longdouble(size)) if _is_wide(offset) else math.log(size)), scale


def _is_wide(values: Array) -> bool:
    return isinstance(values, np.ndarray) and values.dtype == np.longdouble


def standardized_rule(statistics: Statistics, *, epsilon: float, shift: float) -> tuple[float, Array]:
    size = statistics.group_size
    if size == 1:
        raise ValueError("a standardized baseline needs groups of at least 2 samples; got 1")
    correction = 1.0 if size is None else size / (size - 1)
    variance = statistics.expectation(statistics.deviation**2) * correction
    return shift, 1.0 / (variance**0.5 + epsilon)


def mean_normalized_rule(statistics: Statistics, *, epsilon: float) -> tuple[float, Array]:
    lowest = -statistics.maximum(-statistics.reward)
    if bool(array_namespace(lowest).any(lowest < 0)):
        raise ValueError(f"the lowest reward is {float(lowest.min()):g}; A = (r - E r)/E r needs rewards >= 0")
    return 0.0, 1.0 / (statistics.mean + epsilon)


def length_weighted_rule(statistics: Statistics, *, lengths: tuple[float, ...]) -> tuple[Array, float]:
    deviation = statistics.deviation
    if deviation.shape[-1] != len(lengths):
        raise ValueError(
            f"lengths has {len(lengths)} values; the rewards have {deviation.shape[-1]} on their last axis"
        )
    weight = array_namespace(deviation).asarray(lengths, dtype=deviation.dtype, device=device(deviation))
    weight = weight + 0 * deviation
    return statistics.expectation(weight * deviation) / statistics.expectation(weight), 1.0


def fixed_rule(statistics: Statistics, *, value: float, scale: float) -> tuple[Array, float]:
    return value - statistics.mean, scale


def quantile_of(reward: Array, weights: Array | None) -> Array:
    r"""$F(r) = P(r' \le r)$ of every reward (..., K) within its row: under the policy, or among the samples."""
    if weights is None:
        xp = array_namespace(reward)
        below = reward[..., None, :] <= reward[..., :, None]
        return xp.mean(xp.astype(below, reward.dtype), axis=-1)
    order = np.argsort(reward, axis=-1)
    ranked = np.take_along_axis(reward, order, axis=-1)
    cumulative = np.cumsum(np.take_along_axis(weights, order, axis=-1), axis=-1, dtype=np.longdouble)
    cumulative = (cumulative / cumulative[..., -1:]).astype(np.float64)
    # The last of each run of ties holds the run's value of F: a running minimum from the right carries it over.
    last_of_run = np.concatenate([ranked[..., 1:] != ranked[..., :-1], np.full_like(ranked[..., :1], True)], axis=-1)
    cumulative = np.where(last_of_run, cumulative, np.inf)
    cumulative = np.minimum.accumulate(cumulative[..., ::-1], axis=-1)[..., ::-1]
    return np.take_along_axis(cumulative, np.argsort(order, axis=-1), axis=-1)
