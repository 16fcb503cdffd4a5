"""Newton's method on all log-ratios and the normalizer of a Lambert-tempered target together, for blocks of rows.

The Jacobian of x_i + kappa h_i e^(x_i) = a_i, E[e^x] = 1 in (x, kappa) is an arrow, so that one step costs one
exponential per arm. See lambert.py for the problem. Derived here.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .lambert_functions import excess, inner

Array = NDArray[np.float64]
Record = TypeVar("Record")

MAXIMUM_STEPS = 12
PATIENCE = 3  # steps before a block goes on without its last few rows
CENTERED_BELOW = 1.0  # norm of the deviation under which rows are solved relative to their mean
CANCELLATION = 0.1  # kappa / error_scale under which the normalizer identity loses digits
EPSILON = float(np.finfo(np.float64).eps)
SMALLEST_EXPONENT = -340.0  # whose square is a normal float too


@dataclass(frozen=True)
class LambertSolution:
    """Log-ratios x (..., K), kappa (...), whether a solution on the W_0 branch exists (...), and error_scale (...).

    kappa carries an absolute error of a few machine epsilons times `error_scale`. Rows that do not exist hold nan.
    """

    log_ratio: Array
    kappa: Array
    exists: NDArray[np.bool_]
    error_scale: Array


@dataclass(frozen=True)
class Rows:
    """Rows (n, K) of the problem: weight is the anchor's (mu, or the reference), total its sum over all arms.

    behavior is mu without the arms that have no weight, mass the sum of mu with them. coverage None stands for 1.
    """

    weight: Array
    advantage: Array
    deviation: Array
    mean: Array
    total: Array
    uncovered: Array
    behavior: Array
    coverage: Array | None
    mass: Array

    def anchored_at_data(self) -> tuple[Array, Array]:
        """(mu, a + log h): in log(pi / mu) the problem has no coverage. For starts, as it loses digits of small a."""
        if self.coverage is None:
            return self.weight, self.advantage
        return self.behavior, self.advantage + np.log(self.coverage)


def take(record: Record, index: NDArray[np.intp]) -> Record:
    """The same record of arrays at some of its rows."""
    return type(record)(*(None if field is None else field[index] for field in vars(record).values()))


def put(record: LambertSolution, index: NDArray[np.intp], part: LambertSolution) -> None:
    for name, field in vars(part).items():
        getattr(record, name)[index] = field


def bounded_exp(exponent: Array, out: Array | None = None, smallest: float = SMALLEST_EXPONENT) -> Array:
    """e^exponent, held at e^smallest: products of smaller ones are subnormal, where a processor is 30 times slower."""
    clipped = np.maximum(exponent, smallest, out=out)
    return np.exp(clipped, out=clipped)


def column(values: Array) -> Array:
    return values[:, None]


def newton(
    rows: Rows, x: Array, kappa: Array, tolerance: float | Array, precise: bool = False
) -> tuple[LambertSolution, NDArray[np.bool_]]:
    """Newton on all x and kappa together from a start, in the form that suits each row; and which rows converged."""
    centered = inner(rows.deviation, rows.deviation) <= CENTERED_BELOW**2
    if rows.coverage is not None:
        centered = np.zeros(centered.shape, dtype=bool)
    if (centered == centered[0]).all():
        return _iterate(rows, x, kappa, bool(centered[0]), tolerance, precise)
    shape = kappa.shape
    solved = LambertSolution(np.empty(x.shape), np.empty(shape), np.empty(shape, dtype=bool), np.empty(shape))
    converged = np.empty(shape, dtype=bool)
    for form in (False, True):
        index = np.flatnonzero(centered == form)
        limit = np.broadcast_to(tolerance, shape)[index]
        part, converged[index] = _iterate(take(rows, index), x[index], kappa[index], form, limit, precise)
        put(solved, index, part)
    return solved, converged


def _iterate(
    rows: Rows, x: Array, kappa: Array, centered: bool, tolerance: float | Array, precise: bool
) -> tuple[LambertSolution, NDArray[np.bool_]]:
    work = (np.empty(x.shape), np.empty(x.shape), np.empty(x.shape))
    x = x.copy()
    rounding = 8.0 * EPSILON * np.sqrt(inner(rows.advantage, rows.advantage))
    converged = np.zeros(kappa.shape, dtype=bool)
    for step in range(MAXIMUM_STEPS):
        kappa, length = _step(rows, x, kappa, centered, precise, work)
        converged = length <= tolerance + rounding
        stragglers = kappa.size - np.count_nonzero(converged)
        if stragglers == 0 or (step >= PATIENCE and stragglers * 8 < kappa.size):
            break
    kappa, length = _step(rows, x, kappa, centered, True, work)
    converged &= length <= tolerance + rounding  # fails where only the precise step sees the surplus
    solved = _settle(rows, x, kappa, centered, work[0])
    left = np.flatnonzero(~converged)
    if 0 < left.size < kappa.size / 8:  # the rest of the block does not wait for a few slow rows
        limit = np.broadcast_to(tolerance, kappa.shape)[left]
        part, converged[left] = _iterate(take(rows, left), x[left], kappa[left], centered, limit, precise)
        put(solved, left, part)
    return solved, converged


def _step(
    rows: Rows, x: Array, kappa: Array, centered: bool, precise: bool, work: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """One Newton step on (x, kappa): x changes in place; returns the new kappa and the length of the step in x.

    `centered` rows write each equation as x + kappa expm1(x) = s - (kappa - m), whose terms are all small with s.
    `precise` keeps the digits of the surplus sum w expm1(x) that a rare arm's ratio depends on; needed last.
    """
    rho, f, u = work
    spread_kappa = column(kappa)
    if centered:
        np.expm1(x, out=rho)
        surplus = inner(rows.weight, rho)
        np.multiply(rho, spread_kappa, out=f)
        f += x
        f -= rows.deviation
        f += column(kappa - rows.mean)
        rho += 1.0
        np.multiply(rho, spread_kappa, out=u)
    else:
        bounded_exp(x, out=rho) if rows.coverage is None else np.exp(x, out=rho)
        np.multiply(rho, spread_kappa, out=u)
        if precise:
            surplus = inner(rows.weight, np.expm1(x, out=f)) - rows.uncovered
        else:
            surplus = inner(rows.weight, rho) - rows.total
        if rows.coverage is not None:
            u *= rows.coverage
        np.add(u, x, out=f)
        f -= rows.advantage
    u += 1.0
    f /= u
    np.divide(rho, u, out=u)
    if rows.coverage is not None:
        u *= rows.coverage
    rho *= rows.weight
    slope = inner(rho, u) / rows.total
    surplus /= rows.total
    ahead = np.maximum(surplus - inner(rho, f) / rows.total, -0.9)
    change = kappa_change(kappa, surplus, ahead, slope)
    u *= column(change)
    f += u
    x -= f
    return kappa + change, np.maximum(np.sqrt(inner(f, f)), np.abs(ahead))


def kappa_change(kappa: Array, surplus: Array, ahead: Array, slope: Array) -> Array:
    """The step to where a row would be solved whose target is uniform on part of mu.

    Exact in both limits of kappa, and Newton's step, ahead / slope, as `ahead` goes to 0. surplus is E[e^x] - 1, ahead
    what remains of it once x solves its equations at this kappa, slope E_pi[h rho / (1 + kappa h rho)].
    """
    log_part = (1.0 + surplus) / slope - kappa
    return (1.0 + ahead) * log_part * np.log1p(ahead) + kappa * ahead


def _settle(rows: Rows, x: Array, kappa: Array, centered: bool, policy: Array) -> LambertSolution:
    """The one with the smaller error bound of Newton's kappa and the identity kappa = m + E_mu[phi(x)]."""
    exists = np.ones(kappa.shape, dtype=bool)
    if rows.coverage is None:
        spread = -inner(rows.weight, x) / rows.total  # equal to E phi(x) where E expm1(x) = 0
        if centered or spread.min() < 0.01:
            spread = inner(rows.weight, excess(x)) / rows.total
        identity = rows.mean + spread
        # rounding of x moves the identity by E |expm1(x) x|, which is KL(mu || pi) + KL(pi || mu)
        scale = np.abs(rows.mean) + spread + np.maximum(inner(policy, x) / rows.total, 0.0)
    else:
        identity = inner(rows.behavior, rows.advantage - x) / rows.total
        scale = inner(rows.behavior, np.abs(rows.advantage) + np.abs(x)) / rows.total
    doubtful = np.flatnonzero(np.abs(identity) < CANCELLATION * scale)
    if centered or not doubtful.size:
        return LambertSolution(x, identity, exists, scale)
    sharper = constraint_scale(take(rows, doubtful), x[doubtful], kappa[doubtful])
    better = sharper < scale[doubtful]
    identity[doubtful[better]] = kappa[doubtful[better]]
    scale[doubtful[better]] = sharper[better]
    return LambertSolution(x, identity, exists, scale)


def constraint_scale(rows: Rows, x: Array, kappa: Array) -> Array:
    """What the error of kappa is in units of rounding, where it is solved from E[e^x] = 1.

    E[W (|x| + |a|)] + E|expm1(x)| over E[W h rho], W = rho / (1 + kappa h rho), as rounding moves each equation by
    |x| + |a| and the constraint by E|expm1(x)|.
    """
    ratio = bounded_exp(x) if rows.coverage is None else np.exp(x)
    pull = ratio if rows.coverage is None else ratio * rows.coverage
    weight = rows.weight * ratio / (1.0 + column(kappa) * pull)
    noise = inner(weight, np.abs(x) + np.abs(rows.advantage))
    noise += inner(rows.weight, np.abs(np.expm1(x))) + rows.uncovered
    return noise / inner(weight, pull)
