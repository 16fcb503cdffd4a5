"""Baseline rules by name: constants, means, soft values, standardized rewards, quantiles."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
from array_api_compat import array_namespace, device

from .baseline import Baseline, Moments, Statistics
from .solve.simplex import Array, expm1_minus

__all__ = [
    "Baseline",
    "Moments",
    "Statistics",
    "constant",
    "leave_one_out",
    "leave_one_out_log_mean_exp",
    "log_mean_exp",
    "log_sum_exp",
    "mean",
    "none",
    "quantile",
    "shifted_mean",
    "standardized",
]

# --- the rules -------------------------------------------------------------------------------------------------------


def _constant_rule(statistics: Statistics, *, value: float) -> tuple[Array, float]:
    return value - statistics.mean, 1.0


def _shifted_rule(statistics: Statistics, *, shift: float) -> tuple[float, float]:
    return shift, 1.0


def _leave_one_out_rule(statistics: Statistics) -> tuple[float, float]:
    if statistics.group_size is None:
        return 0.0, 1.0
    if statistics.group_size < 2:
        raise ValueError("a leave-one-out baseline needs groups of at least 2 samples; got 1")
    return 0.0, statistics.group_size / (statistics.group_size - 1)


def _log_mean_exp_rule(statistics: Statistics, *, beta: float) -> tuple[Array, float]:
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


def _leave_one_out_log_mean_exp_rule(statistics: Statistics, *, beta: float) -> tuple[Array, float]:
    size = statistics.group_size
    if size is None:
        return _log_mean_exp_rule(statistics, beta=beta)
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
    offset, scale = _log_mean_exp_rule(others, beta=beta)
    return rest + offset[..., 0], scale


def _leave_one_out_standardized_rule(statistics: Statistics, *, epsilon: float) -> tuple[Array | float, Array]:
    size = statistics.group_size
    if size is None:
        return _standardized_rule(statistics, epsilon=epsilon, shift=0.0)
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


def _log_sum_exp_rule(statistics: Statistics, *, beta: float, group_size: float) -> tuple[Array, float]:
    offset, scale = _log_mean_exp_rule(statistics, beta=beta)
    size = group_size if statistics.group_size is None else statistics.group_size
    # In extended precision where the offset is.
    return offset + beta * (np.log(np.longdouble(size)) if _is_wide(offset) else math.log(size)), scale


def _is_wide(values: Array) -> bool:
    return isinstance(values, np.ndarray) and values.dtype == np.longdouble


def _standardized_rule(statistics: Statistics, *, epsilon: float, shift: float) -> tuple[float, Array]:
    size = statistics.group_size
    if size == 1:
        raise ValueError("a standardized baseline needs groups of at least 2 samples; got 1")
    correction = 1.0 if size is None else size / (size - 1)
    variance = statistics.expectation(statistics.deviation**2) * correction
    return shift, 1.0 / (variance**0.5 + epsilon)


def _quantile(reward: Array, weights: Array | None) -> Array:
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


# --- constructors ----------------------------------------------------------------------------------------------------


def none() -> Baseline:
    """No baseline: A = r."""
    return Baseline("none", "V = 0", partial(_constant_rule, value=0.0), value=0.0)


def constant(value: float) -> Baseline:
    """A fixed baseline V = value, in units of reward.

    >>> import numpy as np
    >>> constant(0.5).group(np.array([0.0, 1.0]))
    array([-0.5,  0.5])
    """
    value = _finite("value", value)
    return Baseline("constant", f"V = {value:g}", partial(_constant_rule, value=value), value=value)


def mean() -> Baseline:
    r"""The mean reward $V = E_\mu r$."""
    return Baseline("mean", "V = E r", partial(_shifted_rule, shift=0.0))


def shifted_mean(shift: float) -> Baseline:
    r"""The mean reward moved by ``shift`` (in units of reward): $V = E_\mu r + \text{shift}$.

    ``shift = -beta`` is the beta-shifted mean; ``shift < 0`` is AsymRE's $\delta V$.

    >>> import numpy as np
    >>> shifted_mean(-0.5).group(np.array([0.0, 1.0]))
    array([0., 1.])
    """
    sign = "-" if shift < 0 else "+"
    return Baseline(
        "shifted mean",
        f"V = E r {sign} {abs(shift):g}",
        partial(_shifted_rule, shift=_finite("shift", shift)),
    )


def leave_one_out() -> Baseline:
    """Mean of the other samples of the group; with an exact policy, its mean.

    >>> import numpy as np
    >>> leave_one_out().group(np.array([0.0, 0.0, 1.0]))
    array([-0.5, -0.5,  1. ])
    """
    return Baseline("leave one out", "V_i = mean of r_j, j != i", _leave_one_out_rule)


def log_mean_exp(beta: float, measure: str = "behavior") -> Baseline:
    r"""The soft value $V_\beta = \beta \log E_\mu e^{r/\beta}$, non-increasing in $\beta$.

    Args:
        beta: temperature, > 0, in units of reward.
        measure: "behavior" or "reference": whose samples are averaged (A*-PO uses the reference policy's).

    Raises:
        ValueError: beta is not positive and finite, or an unknown measure.
    """
    if measure not in ("behavior", "reference"):
        raise ValueError(f"measure is {measure!r}; it must be 'behavior' or 'reference'")
    rule = partial(_log_mean_exp_rule, beta=_positive("beta", beta))
    return Baseline("log mean exp", f"V = {beta:g} log E exp(r/{beta:g})", rule, measure, soft_temperature=float(beta))


def leave_one_out_log_mean_exp(beta: float) -> Baseline:
    r"""$\beta \log$ of the mean of $e^{r_j/\beta}$ over the other samples; with an exact policy, $V_\beta$."""
    rule = partial(_leave_one_out_log_mean_exp_rule, beta=_positive("beta", beta))
    formula = f"V_i = {beta:g} log mean exp(r_j/{beta:g}), j != i"
    return Baseline("leave-one-out log mean exp", formula, rule, soft_temperature=float(beta), of_others=True)


def log_sum_exp(beta: float, group_size: float) -> Baseline:
    r"""$\beta \log \sum_i e^{r_i/\beta}$: a log-mean-exp that lacks its $-\beta \log G$, as seen in public code.

    With an exact policy ``group_size`` stands for G; a sampled group uses its own size.
    """
    rule = partial(_log_sum_exp_rule, beta=_positive("beta", beta), group_size=_positive("group_size", group_size))
    return Baseline("log sum exp", f"V = {beta:g} log sum exp(r/{beta:g})", rule)


def standardized(epsilon: float = 1e-4, shift: float = 0.0) -> Baseline:
    r"""GRPO's $A = (r - E r - \text{shift})/(\sigma + \epsilon)$.

    $\sigma$ is the population standard deviation for an exact policy and the unbiased one (G - 1) for a group.

    >>> import numpy as np
    >>> standardized(0.0).group(np.array([0.0, 1.0])).round(4)
    array([-0.7071,  0.7071])
    """
    if not (epsilon >= 0 and np.isfinite(epsilon)):
        raise ValueError(f"epsilon is {epsilon}; it must be a finite number >= 0")
    rule = partial(_standardized_rule, epsilon=epsilon, shift=_finite("shift", shift))
    return Baseline("standardized", f"A = (r - E r)/(std + {epsilon:g})", rule)


def leave_one_out_standardized(epsilon: float = 1e-6) -> Baseline:
    r"""$A_i = (r_i - m_i)/(s_i + \epsilon)$ with mean and standard deviation of the *other* samples of the group.

    $s_i$ is their unbiased standard deviation; where they are all equal, or there is only one, nothing is divided,
    $A_i = r_i - m_i$. The only sample that passes then has advantage 1, however rare passing is. With an exact policy
    it is :func:`standardized`.
    NeMo-RL's default (``GRPOAdvantageEstimator`` with ``use_leave_one_out_baseline``).

    Raises:
        ValueError: epsilon is negative; for groups of one sample.

    >>> import numpy as np
    >>> leave_one_out_standardized(0.0).group(np.array([0.0, 0.0, 0.0, 1.0])).round(4)
    array([-0.5774, -0.5774, -0.5774,  1.    ])
    """
    if not (epsilon >= 0 and np.isfinite(epsilon)):
        raise ValueError(f"epsilon is {epsilon}; it must be a finite number >= 0")
    rule = partial(_leave_one_out_standardized_rule, epsilon=epsilon)
    formula = f"A_i = (r_i - mean of r_j)/(std of r_j + {epsilon:g}), j != i"
    return Baseline("leave-one-out standardized", formula, rule, of_others=True)


def quantile(value: float) -> Baseline:
    r"""QRPO: rewards replaced by their quantile $F(r) \in (0, 1]$ under the reference, then a constant baseline.

    Without a reference the quantile is under the behavior policy; of a sampled group it is among the samples.
    """
    value = _finite("value", value)
    rule = partial(_constant_rule, value=value)
    return Baseline("quantile", f"A = F(r) - {value:g}", rule, "reference", _quantile, value=value, in_double=True)


def _positive(name: str, value: float) -> float:
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be a finite number > 0")
    return float(value)


def _finite(name: str, value: float) -> float:
    if not _is_finite(value):
        raise ValueError(f"{name} is {value}; it must be a finite number")
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False
