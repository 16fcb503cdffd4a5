"""The vector field of the softmax gradient flow and its linearisation, on (B, K) blocks of rows.

The field is (1) of `pessimism.solve.flow`. Its state is log pi: only logits modulo a constant matter.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .simplex import check_finite, check_policy, first_index

Array = NDArray[np.float64]

_DIFFERENCE = 6e-6  # eps^(1/3): central differences of the coefficient


def check_problem(
    behavior: ArrayLike, advantage: ArrayLike, reference: ArrayLike | None
) -> tuple[Array, Array, Array, tuple[int, ...]]:
    """behavior, advantage and anchor as (B, K) rows, with their common shape (..., K), or a ValueError."""
    given = {"behavior": behavior, "advantage": advantage}
    if reference is not None:
        given["reference"] = reference
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in given.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len({shape[-1:] for shape in shapes.values()}) > 1 or not all(shapes.values()):
        raise ValueError(f"behavior, advantage and reference must share their last axis, the arms: got {shapes}")
    shape = np.broadcast_shapes(*shapes.values())
    check_policy("behavior", arrays["behavior"])
    check_finite("advantage", arrays["advantage"])
    if reference is not None:
        check_policy("reference", arrays["reference"])
    arrays = {name: np.broadcast_to(array, shape).reshape(-1, shape[-1]) for name, array in arrays.items()}
    anchor = arrays.get("reference", arrays["behavior"])
    uncovered = ((arrays["behavior"] > 0) & (anchor == 0)).reshape(shape)
    if uncovered.any():
        raise ValueError(
            f"reference{list(first_index(uncovered))} is 0 where behavior is positive; the log-ratio is infinite"
        )
    return arrays["behavior"], arrays["advantage"], anchor, shape


@dataclass(frozen=True)
class Field:
    """The right-hand side of (1) on a block of rows: everything but the state. Arrays are (B, K), knots (B, K, n)."""

    coefficient: Callable[..., Array]
    behavior: Array
    advantage: Array
    log_anchor: Array
    alive: NDArray[np.bool_]
    knots: Array | None
    band: float
    coupled: bool
    takes_behavior: bool
    on_policy: bool

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Field":
        return replace(
            self,
            behavior=self.behavior[rows],
            advantage=self.advantage[rows],
            log_anchor=self.log_anchor[rows],
            alive=self.alive[rows],
            knots=None if self.knots is None else self.knots[rows],
        )

    @cached_property
    def twice(self) -> "Field":
        """Its rows, and once more below them: one call of the coefficient costs less than two of half the rows."""
        return self.take(np.tile(np.arange(len(self.behavior)), 2))

    @cached_property
    def thrice(self) -> "Field":
        """Its rows three times over."""
        return self.take(np.tile(np.arange(len(self.behavior)), 3))

    @cached_property
    def all_alive(self) -> bool:
        """Whether every arm is in play, so that nothing has to be masked."""
        return bool(self.alive.all())

    def log_ratio(self, log_policy: Array) -> Array:
        if self.all_alive:
            return log_policy - self.log_anchor
        return np.subtract(log_policy, self.log_anchor, out=np.zeros_like(log_policy), where=self.alive)

    def weights(self, log_ratio: Array) -> Array:
        """Probabilities with which the data come."""
        if not self.on_policy:
            return self.behavior
        return np.where(self.alive, np.exp(self.log_anchor + log_ratio), 0.0)

    def raw(self, log_ratio: Array) -> Array:
        """The user's coefficient, zero on arms that are out of play."""
        with np.errstate(all="ignore"):
            if self.takes_behavior:
                values = self.coefficient(log_ratio, self.advantage, behavior=self.weights(log_ratio))
            else:
                values = self.coefficient(log_ratio, self.advantage)
        values = np.asarray(values, dtype=np.float64)
        if values.shape != log_ratio.shape:
            raise ValueError(
                f"coefficient must return the shape of its input: got {values.shape} for {log_ratio.shape}"
            )
        return values if self.all_alive else np.where(self.alive, values, 0.0)


def nearest_band(field: Field, log_ratio: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """The edges (B, K) of the band around the kink nearest to each log-ratio, and whether it lies between them."""
    assert field.knots is not None
    if field.knots.shape[-1] == 1:
        knot = field.knots[..., 0]
    else:
        nearest = np.abs(log_ratio[..., None] - field.knots).argmin(axis=-1)
        rows, arms = nearest.shape
        knot = field.knots[np.arange(rows)[:, None], np.arange(arms), nearest]
    return knot - field.band, knot + field.band, np.abs(log_ratio - knot) < field.band


def _values(field: Field, log_ratio: Array) -> Array:
    """c with every jump replaced by a ramp, so that sliding along a kink is a stiff mode.

    The ramp is cubic with flat ends: a corner would leave the linearisation blind on one side, and the integrator
    would chatter across it.
    """
    if field.knots is None:
        return field.raw(log_ratio)
    low, high, inside = nearest_band(field, log_ratio)
    if not inside.any():
        return field.raw(log_ratio)
    rows = len(log_ratio)
    ends = [np.where(inside, low, log_ratio), np.where(inside, high, log_ratio), log_ratio]
    stacked = field.thrice.raw(np.concatenate(ends))
    below, above, values = stacked[:rows], stacked[rows : 2 * rows], stacked[2 * rows :]
    with np.errstate(invalid="ignore"):  # where an arm has no kink the edges are infinite
        place = np.where(inside, (log_ratio - low) / (high - low), 0.0)
    return np.where(inside, below + (above - below) * place**2 * (3.0 - 2.0 * place), values)


def _slopes(field: Field, log_ratio: Array) -> Array:
    """dc/dx of those values: differences of c, never across a kink."""
    reach = _DIFFERENCE * np.maximum(1.0, np.abs(log_ratio))
    low, high, inside = log_ratio - reach, log_ratio + reach, None
    if field.knots is not None:
        offset = log_ratio[..., None] - field.knots
        low = np.maximum(low, np.where(offset >= field.band, field.knots + field.band, -np.inf).max(axis=-1))
        high = np.minimum(high, np.where(offset <= -field.band, field.knots - field.band, np.inf).min(axis=-1))
        bottom, top, inside = nearest_band(field, log_ratio)
        low, high = np.where(inside, bottom, low), np.where(inside, top, high)
    stacked, rows = field.twice.raw(np.concatenate([low, high])), len(log_ratio)
    slope = (stacked[rows:] - stacked[:rows]) / (high - low)
    if inside is None or not inside.any():
        return slope
    place = np.where(inside, (log_ratio - low) / (high - low), 0.0)
    return np.where(inside, slope * 6.0 * place * (1.0 - place), slope)


def velocity_of(field: Field, log_policy: Array) -> tuple[Array, Array, Array]:
    """d theta / dt, the policy and the weighted coefficient mu c, all (B, K)."""
    policy, log_ratio = np.exp(log_policy), field.log_ratio(log_policy)
    values = _values(field, log_ratio)
    with np.errstate(invalid="ignore", over="ignore"):  # the caller looks at what is not finite
        weighted = field.weights(log_ratio) * values
        velocity = weighted - policy * weighted.sum(axis=-1, keepdims=True)
    # They sum to 0. Near a vertex the leading arm's is a small difference of large terms: read it off the rest.
    lead = (np.arange(len(policy)), policy.argmax(axis=-1))
    velocity[lead] = 0.0
    velocity[lead] = -velocity.sum(axis=-1)
    return velocity, policy, weighted


def _dense_slope(field: Field, log_ratio: Array) -> Array:
    """d(mu_y c_y)/dx_z, (B, K, K), for a coefficient that couples the arms; one stacked call each side."""
    rows, arms = log_ratio.shape
    reach = _DIFFERENCE * np.maximum(1.0, np.abs(log_ratio))
    stacked = field.take(np.repeat(np.arange(rows), arms))
    bump = (np.eye(arms) * reach[:, None, :]).reshape(rows * arms, arms)
    base = np.repeat(log_ratio, arms, axis=0)

    def moved(shifted: Array) -> Array:
        return (stacked.weights(shifted) * stacked.raw(shifted)).reshape(rows, arms, arms)

    return np.swapaxes((moved(base + bump) - moved(base - bump)) / (2.0 * reach[:, :, None]), -1, -2)


def linear_solver(
    field: Field, log_policy: Array, policy: Array, weighted: Array, step: Array
) -> Callable[[Array], Array]:
    """Solver of (1/step - J) u = f modulo constants, returned with pi.u = 0.

    On such u, J u = G u - lambda pi u - pi (1.G u), G = d(mu c)/dx; a multiple k of the ones vector is left free.
    Arm-wise: e u + pi q + k = f with e = 1/step - (G - lambda pi), q = G.u: two unknowns and O(K) sums.
    """
    normalizer = weighted.sum(axis=-1, keepdims=True)
    shift = 1.0 / step[:, None]
    if field.coupled:
        arms = policy.shape[-1]
        slope = _dense_slope(field, field.log_ratio(log_policy))
        bordered = np.zeros((len(policy), arms + 1, arms + 1))
        bordered[:, :arms, :arms] = policy[:, :, None] * slope.sum(axis=1, keepdims=True) - slope
        bordered[:, range(arms), range(arms)] += shift + normalizer * policy
        bordered[:, :arms, arms] = 1.0
        bordered[:, arms, :arms] = policy
        inverse = np.linalg.inv(bordered)[:, :arms, :arms]
        return lambda rhs: np.where(field.alive, np.einsum("bij,bj->bi", inverse, rhs), 0.0)

    log_ratio = field.log_ratio(log_policy)
    slope = field.weights(log_ratio) * _slopes(field, log_ratio)
    if field.on_policy:
        slope = slope + weighted
    inverse = 1.0 / (shift - slope + normalizer * policy)
    policy_inverse, slope_inverse = policy * inverse, slope * inverse
    s11, s12 = policy_inverse.sum(axis=-1), (policy * policy_inverse).sum(axis=-1)
    s21, s22 = slope_inverse.sum(axis=-1), 1.0 + (policy * slope_inverse).sum(axis=-1)
    determinant = s11 * s22 - s12 * s21

    def solve(rhs: Array) -> Array:
        r1, r2 = (policy_inverse * rhs).sum(axis=-1), (slope_inverse * rhs).sum(axis=-1)
        constant = (s22 * r1 - s12 * r2) / determinant
        flux = (s11 * r2 - s21 * r1) / determinant
        moved = inverse * (rhs - constant[:, None] - policy * flux[:, None])
        return moved if field.all_alive else np.where(field.alive, moved, 0.0)

    return solve


def knots_of(kinks: Callable[[Array], Array] | None, advantage: Array, band: float) -> Array | None:
    """Kink locations (B, K, n), sorted, infinite where there is none."""
    if kinks is None:
        return None
    knots = np.asarray(kinks(advantage), dtype=np.float64)
    if knots.ndim != advantage.ndim + 1 or knots.shape[:-1] != advantage.shape:
        raise ValueError(f"kinks must return shape {advantage.shape} + (n,): got {knots.shape}")
    knots = np.sort(np.where(np.isnan(knots), np.inf, knots), axis=-1)
    with np.errstate(invalid="ignore"):
        gap = np.diff(knots, axis=-1)
    crowded = (gap > 0) & (gap < 2.0 * band)
    if crowded.any():
        raise ValueError(
            f"kinks{list(first_index(crowded))} lies within 2 * band = {2.0 * band:g} of the next; use a smaller band"
        )
    return knots
