r"""From reward to advantage: a baseline, written once for exact policies and for sampled groups.

A rule says how far the baseline lies above the mean reward (its *offset* $V - E r$) and by what the difference is
scaled, so that $A = \text{scale}\,(r - E r - \text{offset})$. It sees rewards only through their mean, their deviation
from it and an expectation operator; the same lines then serve

* :meth:`Baseline.exact`: a known behavior policy (numpy, computed in extended precision and rounded once), and
* :meth:`Baseline.group`: a sampled group on the last axis (numpy or torch), where expectations are group averages.

Working with deviations is what keeps $E_\mu A$ accurate when the temperature is large against the rewards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .display import brief, brief_html
from .solve.simplex import Array


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

        >>> from pessimism.baselines import mean
        >>> mean().weighted(np.array([0.0, 1.0]), np.array([0.75, 0.25]))
        array([-0.25,  0.75])
        """
        measure = reference if self.measure == "reference" and reference is not None else weights
        if self.transform is not None:
            shape = np.broadcast_shapes(reward.shape, weights.shape)
            reward = self.transform(np.broadcast_to(reward, shape), np.broadcast_to(measure, shape))
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
