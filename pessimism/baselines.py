r"""Reward to advantage: every baseline rule, written once for exact policies and for sampled groups.

A rule says how far the baseline lies above the mean reward (its *offset* $V - E r$) and by what the difference is
scaled, so that $A = \text{scale}\,(r - E r - \text{offset})$. It sees rewards only through their mean, their deviation
from it and an expectation operator; the same lines then serve

* :meth:`Baseline.exact`: a known behavior policy (numpy, computed in extended precision and rounded once), and
* :meth:`Baseline.group`: a sampled group on the last axis (numpy or torch), where expectations are group averages.

Working with deviations is what keeps $E_\mu A$ accurate when the temperature is large against the rewards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from .display import brief, brief_html
from .solve.simplex import Array, expm1_minus


@dataclass(frozen=True)
class Statistics:
    """What a rule may look at: the rewards of one group (last axis), through these alone."""

    reward: Array  # (..., K), as they were given; differences of them lose what `deviation` keeps
    mean: Array  # (..., 1)
    deviation: Array  # (..., K), reward - mean
    expectation: Callable[[Array], Array]  # (..., K) -> (..., 1)
    maximum: Callable[[Array], Array]  # (..., K) -> (..., 1), over arms that have weight
    group_size: int | None  # of sampled groups; None where the behavior policy is known
    weights: Array | None = None  # (..., K), the behavior policy where it is known
    temperature: float | None = None  # advantages will be divided by it; None if unknown


UNITS = 16
"""Roundings that a sum over a group is granted."""

Rule = Callable[[Statistics], tuple[Array | float, Array | float]]
"""Statistics -> (offset, scale); each broadcasts against (..., K)."""


@dataclass(frozen=True)
class Moments:
    r"""The advantage and its decomposition, each elementwise accurate.

    Attributes:
        advantage: $A$ (..., K), accurate where deviation and mean cancel.
        deviation: $A - E_\mu A$ (..., K), accurate where it is tiny against the rewards; 0 on every arm that is played
            where those rewards are equal.
        mean: $E_\mu A$ (...), accurate where it is tiny against the rewards.
        rounding: (...) what ``mean`` may be off by beyond its own last digits: 0 where the rule fixes it (a mean
            baseline), a few units of extended precision where it is a difference of large numbers, of double precision
            where a user's own function gave the baseline. A sign of ``mean`` within it means nothing.
        below: $A - \max A$ over the arms that are played (..., K), accurate near the best arm, however far the others
            lie below it.
        soft_temperature: the beta whose soft value $\beta\log E e^{r/\beta}$ under the anchor the baseline is by
            construction, if there is one: at that temperature the boundary holds exactly, which no rounded number
            can tell.
    """

    advantage: np.ndarray
    deviation: np.ndarray
    mean: np.ndarray
    rounding: np.ndarray
    below: np.ndarray
    soft_temperature: float | None = None

    def rows(self, keep: np.ndarray) -> Moments:
        """The moments of some rows of a batch, (B, K): ``keep`` is a mask over the flattened batch."""
        arms = self.advantage.shape[-1]
        wide = (self.advantage, self.deviation, self.below)
        advantage, deviation, below = (part.reshape(-1, arms)[keep] for part in wide)
        mean, rounding = (part.reshape(-1)[keep] for part in (self.mean, self.rounding))
        return Moments(advantage, deviation, mean, rounding, below, self.soft_temperature)


@dataclass(frozen=True)
class Baseline:
    """A baseline rule with its name and formula.

    Attributes:
        name: short name.
        formula: one line, for tables.
        rule: see :data:`Rule`.
        measure: "behavior", or "reference": the policy whose samples the rule averages over (A*-PO).
        transform: optional map applied to rewards before the rule: (rewards, weights or None) -> rewards. The weights
            are those of ``measure``.
        soft_temperature: the beta of a rule that is the soft value at beta, else None.
        value: the V of a constant rule, else None: r - V is then taken directly, which keeps rewards near V accurate.
        of_others: whether a sample's baseline leaves its own reward out.
        in_double: whether the rule, or the transform, works in double precision whatever it is given.
    """

    name: str
    formula: str
    rule: Rule
    measure: str = "behavior"
    transform: Callable[[Array, Array | None], Array] | None = None
    soft_temperature: float | None = None
    value: float | None = None
    of_others: bool = False
    in_double: bool = False

    def _contents(self) -> dict[str, Any]:
        over = None if self.measure == "behavior" else self.measure
        return {"name": self.name, "formula": self.formula, "measure": over}

    __repr__ = brief
    _repr_html_ = brief_html

    def exact(
        self,
        reward: np.ndarray,
        behavior: np.ndarray,
        reference: np.ndarray | None = None,
        temperature: float | None = None,
    ) -> Moments:
        """Advantages under a known behavior policy (population expectations).

        Args:
            reward: (..., K) float64.
            behavior: (..., K), a validated policy; read as behavior / sum(behavior).
            reference: (..., K) or None; used by rules that average over reference samples.
            temperature: what the advantages will be divided by, if known: rules whose own temperature is not much
                larger may then take exponentials in double precision, which is many times faster.

        Returns:
            Moments in float64; intermediate work is in ``numpy.longdouble`` (64-bit mantissa on x86). Where a platform
            has no wider type, an advantage much smaller than the reward range keeps absolute accuracy only.
        """
        rows = np.broadcast_shapes(reward.shape, behavior.shape)
        rewards, behavior = np.broadcast_to(reward, rows), np.broadcast_to(behavior, rows)
        of_reference = self.measure == "reference" and reference is not None
        measure = np.broadcast_to(reference, rows) if of_reference else behavior  # type: ignore[arg-type]
        of_anchor = reference is None or of_reference
        return self._moments(
            rewards, behavior, measure, temperature, None, self.soft_temperature if of_anchor else None
        )

    def sampled(self, reward: np.ndarray, temperature: float | None = None) -> Moments:
        """What :meth:`group` gives the samples of each group, as accurately as :meth:`exact` gives it for a policy.

        Args:
            reward: (..., G) float64, one group on the last axis.
            temperature: as in :meth:`exact`.

        Raises:
            ValueError: as :meth:`group`.
        """
        size = _group_size(reward)
        weights = np.broadcast_to(1 / size, reward.shape)
        soft = None if self.of_others else self.soft_temperature
        return self._moments(reward, weights, weights, temperature, size, soft)

    def _moments(
        self,
        reward: np.ndarray,
        behavior: np.ndarray,
        measure: np.ndarray,
        temperature: float | None,
        group_size: int | None,
        soft_temperature: float | None,
    ) -> Moments:
        rows = reward.shape
        if self.transform is not None:
            reward = self.transform(reward, measure if group_size is None else None)
        flat = [array.reshape(-1, rows[-1]) for array in (reward, behavior, measure)]
        wide = [np.empty(flat[0].shape) for _ in range(3)]  # advantage, deviation, below
        narrow = [np.empty(len(flat[0])) for _ in range(2)]  # mean, rounding
        # Blocks that fit a cache bound the memory that extended precision takes.
        step = max(1, 2**13 // (rows[-1] ** 2 if self.of_others and group_size else rows[-1]))
        for start in range(0, len(flat[0]), step):
            block = slice(start, start + step)
            rewards, weights, measured = (array[block] for array in flat)
            found = self._exact_rows(rewards, weights, measured, temperature, group_size)
            for whole, part in zip((*wide, *narrow), found, strict=True):
                whole[block] = part
        advantage, deviation, below = (array.reshape(rows) for array in wide)
        mean, rounding = (array.reshape(rows[:-1]) for array in narrow)
        return Moments(advantage, deviation, mean, rounding, below, soft_temperature)

    def _exact_rows(
        self,
        reward: np.ndarray,
        behavior: np.ndarray,
        measure: np.ndarray,
        temperature: float | None,
        group_size: int | None,
    ) -> tuple[np.ndarray, ...]:
        """advantage, deviation, below (n, K), mean, rounding (n,) of a block of rows; see :class:`Moments`."""
        own = statistics = _exact_statistics(reward, behavior, temperature, group_size)
        if self.measure != "behavior":
            statistics = _exact_statistics(reward, measure, temperature, group_size)
        offset, scale = self.rule(statistics)
        if statistics is not own:
            offset = offset + statistics.expectation(own.deviation)  # as seen from the mean under the behavior policy
        by_arm = np.size(offset) > len(reward)
        advantage = scale * (own.deviation - offset)
        if self.value is not None:
            advantage = reward.astype(np.longdouble) - self.value
        mean, deviation = 0.0 - offset * scale, scale * own.deviation
        if by_arm or self.value is not None:
            mean = own.expectation(advantage)
        below = scale * (reward - own.maximum(reward))
        if by_arm:
            deviation, below = advantage - mean, advantage - own.maximum(advantage)
        rounding = 0.0
        if by_arm or self.value is not None or statistics is not own:
            rounding = UNITS * np.finfo(np.longdouble).eps * own.expectation(np.abs(advantage))
        if self.in_double:
            largest = own.maximum(np.maximum(np.abs(reward), np.abs(reward - advantage / scale)))
            rounding = rounding + UNITS * np.finfo(np.float64).eps * scale * largest
        one = np.ones((len(reward), 1))
        return advantage, deviation, below, (mean * one)[:, 0], (rounding * one)[:, 0]

    def group(self, reward: Array) -> Array:
        """Advantages estimated from sampled groups.

        Args:
            reward: (..., G), one group on the last axis; numpy or torch.

        Returns:
            (..., G), the same type; of integers and booleans the library's default floating-point type. Half precision
            is computed in double precision and rounded once; other types in themselves, which :meth:`sampled` exceeds.

        Raises:
            ValueError: the group is empty, or has one sample where the rule leaves one out or divides by a spread.
        """
        xp = array_namespace(reward)
        size = _group_size(reward)
        kind = floating_type(reward)
        if xp.finfo(kind).bits < 32:
            return xp.astype(self.group(xp.astype(reward, xp.float64)), kind)
        if reward.dtype != kind:
            reward = xp.astype(reward, kind)
        rewards = reward if self.transform is None else self.transform(reward, None)

        def average(values: Array) -> Array:
            return xp.mean(values, axis=-1, keepdims=True)

        def maximum(values: Array) -> Array:
            return xp.max(values, axis=-1, keepdims=True)

        if self.value is not None:
            return rewards - self.value
        mean = _within(average(rewards), -maximum(-rewards), maximum(rewards))
        offset, scale = self.rule(Statistics(rewards, mean, rewards - mean, average, maximum, size))
        return scale * (rewards - mean - offset)

    def weighted(
        self,
        reward: np.ndarray,
        weights: np.ndarray,
        group_size: int | None = None,
        reference: np.ndarray | None = None,
    ) -> np.ndarray:
        """Advantages where averages are weighted sums, in double precision: for simulations, which need many.

        Args:
            reward: (..., K).
            weights: (..., K), a policy.
            group_size: None for a known behavior policy: what :meth:`exact` gives, many times faster. G for a group of
                G samples in which arm y came up G * weights[y] times: what :meth:`group` gives each of them, if the
                rule looks at averages only.
            reference: (..., K) or None, as in :meth:`exact`.

        Returns:
            (..., K) float64. Not accurate where it is tiny against the rewards; :meth:`exact` is.

        >>> mean().weighted(np.array([0.0, 1.0]), np.array([0.75, 0.25]))
        array([-0.25,  0.75])
        """
        measure = reference if self.measure == "reference" and reference is not None else weights
        if self.transform is not None:
            reward = self.transform(np.broadcast_to(reward, np.broadcast_shapes(reward.shape, weights.shape)), measure)
        if self.value is not None:
            return reward - self.value

        def average(values: np.ndarray) -> np.ndarray:
            return np.einsum("...k,...k->...", measure, values)[..., None]

        def maximum(values: np.ndarray) -> np.ndarray:
            return np.where(measure > 0, values, -np.inf).max(axis=-1, keepdims=True)

        mean = _within(average(reward), -maximum(-reward), maximum(reward))
        deviation = reward - mean
        offset, scale = self.rule(Statistics(reward, mean, deviation, average, maximum, group_size, weights))
        if np.ndim(offset) > 0 or offset != 0:
            deviation -= offset
        deviation *= scale
        return deviation


def floating_type(values: Array) -> Any:
    """The type of an array's real numbers: its own, or for integers and booleans the library's default."""
    xp = array_namespace(values)
    if xp.isdtype(values.dtype, "real floating"):
        return values.dtype
    return xp.__array_namespace_info__().default_dtypes()["real floating"]


def _group_size(reward: Array) -> int:
    shape = tuple(reward.shape)
    if not shape or shape[-1] == 0:
        raise ValueError(f"reward has shape {shape}; a group must hold at least one sample")
    return shape[-1]


def _within(mean: Array, lowest: Array, highest: Array) -> Array:
    """The mean, held where means lie: rounding takes that of equal rewards off them, and invents a signal."""
    xp = array_namespace(mean)
    return xp.minimum(xp.maximum(mean, lowest), highest)


def _exact_statistics(
    reward: np.ndarray, weights: np.ndarray, temperature: float | None, group_size: int | None
) -> Statistics:
    wide = weights.astype(np.longdouble)
    wide /= wide.sum(axis=-1, keepdims=True)
    absent = weights == 0
    if not absent.any():
        absent = None  # the usual case, and the masks cost as much as the sums

    def average(values: np.ndarray) -> np.ndarray:
        values = values if absent is None else np.where(absent, 0, values)
        return (wide * values).sum(axis=-1, keepdims=True)

    def maximum(values: np.ndarray) -> np.ndarray:
        values = values if absent is None else np.where(absent, -np.inf, values)
        return values.max(axis=-1, keepdims=True)

    values = reward.astype(np.longdouble)
    first = _within(average(values), -maximum(-reward), maximum(reward))
    deviation = values - first
    rest = average(deviation)  # what rounding left: the second pass makes the deviations centered
    known = weights if group_size is None else None
    return Statistics(reward, first + rest, deviation - rest, average, maximum, group_size, known, temperature)


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
    """e^z; narrow: from the double nearest to z, and its derivative for the rest of z."""
    if not narrow:
        return array_namespace(z).exp(z)
    rounded = z.astype(np.float64)
    return np.exp(rounded) * (1 + (z - rounded).astype(np.float64))


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
