"""How each regime of a Lambert-tempered target is started, and what is done where Newton's method does not converge.

Positive (kappa > 0): a lower bound on kappa, then Newton; else a bracketed search in log kappa. Boundary: the
first-order kappa, of either sign. Negative, W_0 branch: the search is in v = |kappa| max(rho) in (0, 1]. Derived here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lambert_functions import excess, inner, inverse_excess, own_solution
from .lambert_newton import (
    EPSILON,
    SMALLEST_EXPONENT,
    LambertSolution,
    Rows,
    bounded_exp,
    column,
    constraint_scale,
    kappa_change,
    newton,
    put,
    take,
)

Array = NDArray[np.float64]
Index = NDArray[np.intp]

STEP_TOLERANCE = 1e-5  # Newton's step before the last one: the last squares it
FOLD_TOLERANCE = 1e-9  # the same in the negative regime, where curvature is larger
OUTER_STEPS = 6
BOUNDARY_REACH = 0.2  # |kappa| max(rho*) up to which the first-order kappa is a good start
FOLD = 1.0 - 1e-6  # |kappa| max(rho) above which Newton no longer sharpens the negative regime
TINY = float(np.finfo(np.float64).tiny)
ROUNDING = 16.0 * EPSILON
RARE = 1e-100  # a sum of mu e^exponent under which e^SMALLEST_EXPONENT might weigh something
LARGEST_EXPONENT = 709.0


@dataclass(frozen=True)
class _Nominal:
    """The problem anchored at mu, and what its nominal target pi* says about kappa: (n, K) and (n,)."""

    behavior: Array
    advantage: Array
    mass: Array
    top: Array  # the largest advantage
    log_partition: Array  # log E_mu e^a: positive, zero and negative as kappa
    kappa: Array  # the first-order kappa, log_partition / E_pi*[pi* / mu]
    reach: Array  # |kappa| times the largest nominal ratio: how far from the boundary


def solve_block(rows: Rows) -> LambertSolution:
    nominal = _nominal(rows)
    alone = np.count_nonzero(rows.weight, axis=-1) == 1
    unclaimed = rows.uncovered > 0.0
    if unclaimed.any():
        unclaimed &= inner(rows.weight, np.expm1(rows.advantage)) <= rows.uncovered
    boundary = nominal.reach <= BOUNDARY_REACH
    positive = nominal.log_partition > 0.0
    solvers = (_solve_unclaimed, _solve_single, _solve_boundary, _solve_positive, _solve_negative)
    choice = np.select((unclaimed, alone, boundary, positive), (0, 1, 2, 3), 4)
    if (choice == choice[0]).all():
        return solvers[choice[0]](rows, nominal)
    shape = rows.mean.shape
    solved = LambertSolution(
        np.empty(rows.advantage.shape), np.empty(shape), np.empty(shape, dtype=bool), np.empty(shape)
    )
    for number, solve in enumerate(solvers):
        index = np.flatnonzero(choice == number)
        if index.size:
            put(solved, index, solve(take(rows, index), take(nominal, index)))
    return solved


def _nominal(rows: Rows) -> _Nominal:
    mu, a = rows.anchored_at_data()
    mass = rows.mass
    top = a.max(axis=-1)
    tilt, weight, partition = _tilted(mu, a - column(top))
    log_partition = top + np.log(partition / mass)
    if np.abs(log_partition).min() < 0.1:
        surplus = inner(rows.weight, np.expm1(rows.advantage)) - rows.uncovered
        log_partition = np.where(np.abs(log_partition) < 0.1, np.log1p(surplus / rows.total), log_partition)
    kappa = log_partition / (inner(weight, tilt) / partition / partition * mass)
    return _Nominal(mu, a, mass, top, log_partition, kappa, np.abs(kappa) / partition * mass)


def _tilted(mu: Array, exponent: Array) -> tuple[Array, Array, Array]:
    """e^exponent, mu e^exponent and its sum. Exponents are held at a floor that weighs nothing beside the sum."""
    tilt = bounded_exp(exponent)
    weight = mu * tilt
    total = weight.sum(axis=-1)
    if total.min() > RARE:
        return tilt, weight, total
    tilt = bounded_exp(exponent, smallest=2.0 * SMALLEST_EXPONENT)
    weight = mu * tilt
    return tilt, weight, weight.sum(axis=-1)


def _solve_unclaimed(rows: Rows, nominal: _Nominal) -> LambertSolution:
    """kappa = 0 and some of the reference's mass is left over for the arms that mu never plays."""
    zero = np.zeros(rows.mean.shape)
    return LambertSolution(rows.advantage.copy(), zero, np.ones(zero.shape, dtype=bool), zero)


def _solve_single(rows: Rows, nominal: _Nominal) -> LambertSolution:
    """One arm holds all of mu: the constraint alone gives its ratio, and its equation then gives kappa."""
    top = np.argmax(rows.weight, axis=-1)[:, None]
    weight, a = (np.take_along_axis(v, top, -1)[:, 0] for v in (rows.weight, rows.advantage))
    x = np.log1p(rows.uncovered / weight)
    kappa = rows.mean if rows.coverage is None else (a - x) * weight / rows.total
    kappa = kappa if rows.coverage is None else kappa / np.take_along_axis(rows.coverage, top, -1)[:, 0]
    log_ratio = np.broadcast_to(column(x), rows.weight.shape)
    return LambertSolution(log_ratio, kappa, np.ones(x.shape, dtype=bool), np.abs(kappa))


def _solve_boundary(rows: Rows, nominal: _Nominal) -> LambertSolution:
    """kappa rho* is small on every arm: either sign of kappa, started at its first-order value."""
    u = column(nominal.kappa) * bounded_exp(nominal.advantage)
    x = rows.advantage - u / (1.0 + u)
    solved, converged = newton(rows, x, nominal.kappa, STEP_TOLERANCE)
    if converged.all():
        return solved
    index = np.flatnonzero(~converged)
    part = (take(rows, index), take(nominal, index))
    positive = part[1].log_partition > 0.0
    for members, solve in ((positive, _solve_bracketed), (~positive, _solve_negative)):
        chosen = np.flatnonzero(members)
        if chosen.size:
            put(solved, index[chosen], solve(take(part[0], chosen), take(part[1], chosen)))
    return solved


def _solve_positive(rows: Rows, nominal: _Nominal) -> LambertSolution:
    kappa = _lower_bound(rows, nominal)
    solved, converged = newton(rows, _rough_log_ratio(rows, nominal, kappa), kappa, STEP_TOLERANCE)
    index = np.flatnonzero(~converged)
    if index.size:
        put(solved, index, _solve_in_kappa_alone(take(rows, index), take(nominal, index), kappa[index]))
    return solved


def _solve_in_kappa_alone(rows: Rows, nominal: _Nominal, kappa: Array) -> LambertSolution:
    """The positive regime from a lower bound on kappa, with every x solved exactly on the way; for few rows."""
    low, high = kappa, np.maximum(nominal.top, kappa)
    for _ in range(OUTER_STEPS):
        x = own_solution(rows.advantage, kappa, rows.coverage)
        ratio = np.exp(x)
        pull = ratio if rows.coverage is None else ratio * rows.coverage
        surplus = (inner(rows.weight, np.expm1(x)) - rows.uncovered) / rows.total
        slope = inner(rows.weight * ratio, pull / (1.0 + column(kappa) * pull)) / rows.total
        kappa = np.clip(kappa + kappa_change(kappa, surplus, surplus, slope), low, high)
    x = own_solution(rows.advantage, kappa, rows.coverage)
    solved, converged = newton(rows, x, kappa, STEP_TOLERANCE, precise=True)
    index = np.flatnonzero(~converged)
    if index.size:
        put(solved, index, _solve_bracketed(take(rows, index), take(nominal, index)))
    return solved


def _lower_bound(rows: Rows, nominal: _Nominal) -> Array:
    """A kappa at or below the solution, for positive log_partition, close to it both near and far from the boundary.

    From E_pi*[x + kappa rho] = E_pi*[a]: kappa >= log_partition / E_pi*[rho*]. From Jensen's inequality on the arms
    with a > 0, of mass M: kappa >= E_mu[a; a > 0] + M log M. On all arms, M = 1: kappa >= E_mu[a].
    """
    mu, a = nominal.behavior, nominal.advantage
    positive = np.heaviside(a, 0.0)
    bounds = [nominal.kappa, rows.mean]
    if rows.coverage is not None:
        bounds[1] = _jensen_bound(inner(mu, a), mu.sum(axis=-1), nominal.mass)
    bounds.append(_jensen_bound(inner(mu, np.maximum(a, 0.0)), inner(mu, positive), nominal.mass))
    return np.maximum.reduce(bounds)


def _jensen_bound(gain: Array, part: Array, mass: Array) -> Array:
    """E_mu[a; S] + M log M for a set S of arms: gain sums mu a and part mu over S, mass mu over all."""
    share = part / mass
    return gain / mass + share * np.log(np.maximum(share, TINY))


def _rough_log_ratio(rows: Rows, nominal: _Nominal, kappa: Array) -> Array:
    """x of each arm's own equation for kappa > 0, to 2e-4: Winitzki's form of W_0, then one Newton step on log W."""
    y = nominal.advantage + column(np.log(kappa))
    q = np.abs(y)
    np.negative(q, out=q)
    np.maximum(q, -36.0, out=q)  # below, log(1 + e^q) is nothing beside 1
    np.exp(q, out=q)
    np.log1p(q, out=q)
    q += np.maximum(y, 0.0)  # log(1 + e^y)
    omega = np.log1p(q)
    omega /= q + 2.0
    np.subtract(1.0, omega, out=omega)
    omega *= q
    x = np.log(np.maximum(omega, TINY))
    x -= 1.0
    x *= omega
    x += y
    omega += 1.0
    x /= omega
    x -= column(np.log(kappa))
    if rows.coverage is not None:
        x -= np.log(rows.coverage)
    return x


def bracketed_root(function: Callable[[Array, Index], Array], low: Array, high: Array) -> Array:
    """Roots of a monotone function(point, row) by Chandrupatla's method; an end where rounding hides the sign."""
    row = np.arange(low.size)
    at_low, at_high = np.abs(function(low, row)), np.abs(function(high, row))
    from scipy.optimize import elementwise  # takes longer to import than all the rest

    found = elementwise.find_root(function, (low, high), args=(row,))
    return np.where(found.success, found.x, np.where(at_low < at_high, low, high))


def _solve_bracketed(rows: Rows, nominal: _Nominal) -> LambertSolution:
    """The positive regime by a bracketed search in log kappa: slow, sure; then polished by Newton."""
    low = np.log(np.maximum(_lower_bound(rows, nominal), TINY)) - 1e-6
    high = np.log(nominal.top) + 1e-6

    def surplus(log_kappa: Array, row: Index) -> Array:
        part = take(rows, row)
        x = own_solution(part.advantage, np.exp(log_kappa), part.coverage)
        missing = part.uncovered / part.total
        excess_mass = inner(part.weight, np.expm1(np.minimum(x, LARGEST_EXPONENT))) / part.total
        return np.log1p(np.maximum(excess_mass - missing, EPSILON - 1.0))  # finite at any kappa

    log_kappa = bracketed_root(surplus, low, np.maximum(high, low))
    kappa = np.exp(log_kappa)
    x = own_solution(rows.advantage, kappa, rows.coverage)
    exists = np.ones(kappa.shape, dtype=bool)
    scale = np.maximum(np.abs(kappa * log_kappa), constraint_scale(rows, x, kappa))
    solved = LambertSolution(x, kappa, exists, scale)
    polished, converged = newton(rows, x, kappa, STEP_TOLERANCE, precise=True)
    index = np.flatnonzero(converged)
    put(solved, index, take(polished, index))
    return solved


def _fold_terms(nominal: _Nominal, v: Array) -> tuple[Array, Array]:
    """At |kappa| rho_top = v: log v_i of every arm, v_i = |kappa| rho_i <= v <= 1, and T(v) = log E_mu[e^(a + v_i)].

    T rises in v, from log_partition at 0. Its root is the solution; there is one on the W_0 branch iff T(1) >= 0.
    """
    gap = column(nominal.top) - nominal.advantage
    log_part = inverse_excess(column(excess(np.log(v))) + gap, positive=False)
    nominal_weight = nominal.behavior * np.exp(-gap) * column(np.exp(nominal.top - nominal.log_partition))
    growth = inner(nominal_weight, np.expm1(np.exp(log_part))) / nominal.mass
    return log_part, nominal.log_partition + np.log1p(growth)


def _rough_fold_terms(nominal: _Nominal, v: Array) -> tuple[Array, Array, Array]:
    """v_i, T(v) and T'(v) to about 1e-7, at a third of the cost. Away from 0 only: T' is a difference there."""
    target = column(excess(np.log(v)) + nominal.top) - nominal.advantage
    target += 1e-30  # keeps the double root at 0 from dividing by zero
    root = np.expm1(-np.sqrt(2.0 * target) - target / 3.0) - target
    slope = np.expm1(root)
    step = (slope - root - target) / slope
    step /= 1.0 - 0.5 * step * (1.0 + slope) / slope  # Halley, as in inverse_excess
    part, weight, total = _tilted(nominal.behavior, root - step)
    nudge = 1e-12  # the ratio of two zeros, for arms at the top and v = 1, is one
    closeness = inner(weight, column(1.0 - v + nudge) / (1.0 + nudge - part)) / total
    return part, v + np.log(total / nominal.mass / v) + nominal.top, 1.0 - (1.0 - closeness) / v


def _hermite_root(at_zero: Array, slope_zero: Array, at_one: Array, slope_one: Array) -> Array:
    """Where the cubic with these values and slopes at 0 and 1 crosses zero, for a rising convex function: (n,)."""
    cubic = slope_zero + slope_one - 2.0 * (at_one - at_zero)
    square = at_one - at_zero - slope_zero - cubic
    v = np.ones(at_zero.shape)
    for _ in range(6):
        value = at_zero + v * (slope_zero + v * (square + v * cubic))
        v = np.clip(v - value / (slope_zero + v * (2.0 * square + 3.0 * v * cubic)), -at_zero, 1.0)
    return v


def _solve_negative(rows: Rows, nominal: _Nominal) -> LambertSolution:
    """The W_0 branch for kappa < 0, through v = |kappa| rho_top in (0, 1], up to the fold at v = 1 where it ends."""
    shape = nominal.top.shape
    one = np.ones(shape)
    _, slack, slope = _rough_fold_terms(nominal, one)
    close = np.flatnonzero(~(np.abs(slack) > 1e-5))
    if close.size:
        slack[close] = _fold_terms(take(nominal, close), one[close])[1]
    none = np.full(shape, np.nan)
    solved = LambertSolution(np.full(rows.weight.shape, np.nan), none, np.zeros(shape, bool), none.copy())
    # an offset that rounding of the advantages takes past the fold is at the fold
    index = np.flatnonzero(slack >= -ROUNDING * (1.0 + np.abs(nominal.top)))
    if not index.size:
        return solved
    rows, nominal, slack, slope = take(rows, index), take(nominal, index), slack[index], slope[index]
    start = -nominal.log_partition
    v = _hermite_root(-start, start / nominal.reach, slack, slope)
    v = np.where(np.isfinite(v), v, 0.5)
    part, _, _ = _rough_fold_terms(nominal, v)
    kappa = -v * np.exp(-v - nominal.top)
    found, converged = newton(rows, rows.advantage + part, kappa, STEP_TOLERANCE * (1.0 - v))
    converged &= -found.kappa * np.exp(found.log_ratio.max(axis=-1)) < FOLD
    left = np.flatnonzero(~converged)
    if left.size:
        put(found, left, _solve_fold(take(rows, left), take(nominal, left)))
    put(solved, index, found)
    return solved


def _solve_fold(rows: Rows, nominal: _Nominal) -> LambertSolution:
    """The negative regime by a bracketed search in v, which is smooth at the fold where kappa is not; slow, sure."""

    def offset(v: Array, row: Index) -> Array:
        return _fold_terms(take(nominal, row), v)[1]

    low = np.clip(-nominal.log_partition, TINY, 1.0)
    v = bracketed_root(offset, low, np.ones(low.shape))
    log_part, _ = _fold_terms(nominal, v)
    part = np.exp(log_part)
    kappa = -v * np.exp(-v - nominal.top)
    x = rows.advantage + part
    # error_scale as in _settle, with both sums times 1 - v, which is zero at the fold itself
    room = -np.expm1(log_part)
    near = np.where(room > 0.0, column(1.0 - v) / np.where(room > 0.0, room, 1.0), 1.0)
    weight = nominal.behavior * part * near
    noise = inner(weight, np.abs(x) + np.abs(rows.advantage))
    found = LambertSolution(x, kappa, np.ones(v.shape, dtype=bool), -kappa * noise / inner(weight, part))
    smooth = np.flatnonzero(v < FOLD)
    if smooth.size:
        part_rows = take(rows, smooth)
        polished, converged = newton(part_rows, found.log_ratio[smooth], kappa[smooth], FOLD_TOLERANCE)
        good = np.flatnonzero(converged)
        put(found, smooth[good], take(polished, good))
    return found
