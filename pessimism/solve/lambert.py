"""Lambert-tempered targets: the stationary points of log-ratio regression on the simplex, solved in batches.

The problem, per row, with the temperature already divided out (derived here):

    x_i + kappa h_i e^(x_i) = a_i  for every arm,      E_mu[e^x] = 1,

unknown the log-ratios x_i = log(pi_i / mu_i) and the scalar kappa. h_i = 1, unless the log-ratio is anchored at a
reference policy other than the data's: then x_i = log(pi_i / ref_i), h_i = ref_i / mu_i, and E is over the reference.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .lambert_functions import inner, inverse_excess, own_solution
from .lambert_newton import LambertSolution, Rows
from .lambert_regimes import bracketed_root, solve_block

__all__ = ["LambertSolution", "critical_offset", "solve_fixed_kappa", "solve_lambert"]

Array = NDArray[np.float64]

BLOCK_ELEMENTS = 32768  # of one work array: a block's work arrays together then stay within a core's cache
SHIFT_STEPS = 12
SHIFT_TOLERANCE = 1e-14


def solve_lambert(
    behavior: ArrayLike,
    advantage: ArrayLike,
    deviation: ArrayLike,
    mean: ArrayLike,
    coverage: ArrayLike | None = None,
    uncovered: ArrayLike = 0.0,
) -> LambertSolution:
    r"""Log-ratios and normalizer of the Lambert-tempered target of every row.

    Solves x + kappa h e^x = a with E_mu[expm1(x)] = 0 on the W_0 branch (h = 1 without `coverage`).

    Parameters, all divided by the temperature beta, any leading batch shape:

    - behavior mu (..., K), at least 0; read as mu / sum(mu), so that rounding of its sum has no effect;
    - advantage a (..., K), right to rounding relative to itself;
    - deviation s = a - E_mu[a] (..., K) and mean m = E_mu[a] (...), both right to rounding: a alone would not do, as
      at large beta kappa is a difference of numbers that agree in all of its digits;
    - coverage h = ref / mu (..., K), finite, for log-ratios anchored at a reference (anything where mu is 0), and
      `uncovered` (...), the reference's mass on arms that mu never plays. Where kappa = 0 leaves part of that mass
      unclaimed, the answer is kappa = 0, x = a, and the rest belongs to the uncovered arms.

    Conditioning. kappa = m + KL(mu || pi) (with h = 1), so away from the boundary its error is a few epsilon times
    `error_scale` = |m| + KL(mu || pi) + KL(pi || mu). Near the boundary that would be a small difference, and kappa
    comes from the constraint where that is sharper; `error_scale` is then E[W (|x| + |a|)] / E[W h rho], W = rho /
    (1 + kappa h rho). Call a row a boundary when |kappa| is below some epsilons times its `error_scale`. The error of
    kappa moves x by rho / (1 + kappa h rho) times as much: x is right to 1e-12 max(1, |x|) beyond that.

    Arms with zero mass get the solution of their own equation (for kappa < 0 beyond the branch point: that point) and
    influence nothing. Rows with a single arm have x = 0, kappa = m. No W_0 solution: `exists` is False, the row nan.

    Raises ValueError where the last axis is empty, coverage or an advantage is not finite, or no arm of a row has mass.

    >>> import numpy as np
    >>> mu, r, beta = np.array([.5, .3, .2]), np.array([0., 0., 1.]), .5
    >>> s = (r - mu @ r) / beta
    >>> solution = solve_lambert(mu, s, s, 0.)
    >>> print(np.round(mu * np.exp(solution.log_ratio), 8), round(float(solution.kappa) * beta, 12))
    [0.29238342 0.17543005 0.53218653] 0.116749163205
    """
    shape = np.broadcast_shapes(np.shape(behavior), np.shape(advantage), np.shape(deviation))
    if not shape or shape[-1] == 0:
        raise ValueError(f"behavior: needs at least one arm on its last axis, got shape {shape}")
    batch = shape[:-1]
    mu = _flat("behavior", behavior, shape, 1)
    a, s = _flat("advantage", advantage, shape, 1), _flat("deviation", deviation, shape, 1)
    m, missing = _flat("mean", mean, batch, 0), _flat("uncovered", uncovered, batch, 0)
    h = None if coverage is None else _flat("coverage", coverage, shape, 1)
    x, kappa = np.empty(mu.shape), np.empty(m.shape)
    exists, scale = np.empty(m.shape, dtype=bool), np.empty(m.shape)
    for part in _blocks(m.size, shape[-1]):
        h_part = None if h is None else h[part]
        rows = _prepare(part.start, mu[part], a[part], s[part], m[part], missing[part], h_part)
        with np.errstate(all="ignore"):  # iterates that leave the floats are caught by the convergence check
            solved = solve_block(rows)
        x[part], kappa[part], exists[part], scale[part] = vars(solved).values()
        dead = rows.weight == 0.0
        if dead.any():
            own = own_solution(a[part], solved.kappa, h_part)
            x[part] = np.where(dead, own, solved.log_ratio)
    return LambertSolution(x.reshape(shape), kappa.reshape(batch), exists.reshape(batch), scale.reshape(batch))


def _flat(name: str, values: ArrayLike, shape: tuple[int, ...], kept: int) -> Array:
    """values broadcast to `shape`, all but its last `kept` axes made one; ValueError where one is not finite."""
    array = np.broadcast_to(np.asarray(values, dtype=np.float64), shape)
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}: must be finite, got {array[first]} at index {first}")
    return array.reshape(-1, *shape[len(shape) - kept :])


def _blocks(rows: int, arms: int) -> Iterator[slice]:
    size = max(1, BLOCK_ELEMENTS // arms)
    return (slice(start, start + size) for start in range(0, rows, size))


def _prepare(start: int, mu: Array, a: Array, s: Array, m: Array, missing: Array, h: Array | None) -> Rows:
    """One block. An arm without mass copies the row's largest arm, so that it weighs nothing and disturbs nothing."""
    weight, mass = mu if h is None else mu * h, mu.sum(axis=-1)
    dead = weight == 0.0
    if dead.any():
        empty = dead.all(axis=-1)
        if empty.any():
            raise ValueError(f"behavior: row {start + int(empty.argmax())} of the batch has no arm with mass")
        top = np.argmax(np.where(dead, -np.inf, a), axis=-1)[:, None]
        a, s = (np.where(dead, np.take_along_axis(v, top, -1), v) for v in (a, s))
        h = None if h is None else np.where(dead, np.take_along_axis(h, top, -1), h)
        mu = np.where(dead, 0.0, mu)
    return Rows(weight, a, s, m, weight.sum(axis=-1) + missing, missing, mu, h, mass)


def solve_fixed_kappa(behavior: ArrayLike, advantage: ArrayLike, kappa: ArrayLike) -> tuple[Array, Array]:
    """(log_ratio (..., K), shift (...)): x + kappa e^x = a - shift with E_mu[e^x] = 1, for a given kappa (...) > 0.

    The target of conservative Q-learning and of chi-PO, where the strength of the chi-squared penalty is set and the
    baseline is what the constraint leaves free. behavior (..., K) is read as mu / sum(mu); arms of zero mass get the
    solution of their own equation. Accuracy: x to a few epsilon times (|a| + |shift|) / (1 + kappa e^x), so to rounding
    where advantages are of the order of kappa e^x + |x|. Raises ValueError where kappa is not positive. Derived here.

    >>> x, shift = solve_fixed_kappa([.5, .3, .2], [0., 0., 2.], 1.)
    >>> print(round(float(np.dot([.5, .3, .2], np.exp(x))), 12), np.round(x + np.exp(x) + shift, 12) + 0.)
    1.0 [0. 0. 2.]
    """
    mu, a = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (behavior, advantage)))
    arms, batch = mu.shape[-1], mu.shape[:-1]
    strength = np.broadcast_to(np.asarray(kappa, dtype=np.float64), batch)
    if not np.all(strength > 0.0):
        first = tuple(int(i) for i in np.argwhere(~(strength > 0.0))[0])
        raise ValueError(f"kappa: must be positive, got {strength[first]} at index {first}")
    mu, a, strength = mu.reshape(-1, arms), a.reshape(-1, arms), strength.reshape(-1)
    x, shift = np.empty(mu.shape), np.empty(strength.shape)
    for part in _blocks(strength.size, arms):
        x[part], shift[part] = _shift_rows(mu[part], a[part], strength[part])
    return x.reshape(*batch, arms), shift.reshape(batch)


def _shift_rows(mu: Array, a: Array, kappa: Array) -> tuple[Array, Array]:
    """x and the shift, solved for relative to the best arm's advantage, which would cost their digits if large."""
    best = np.where(mu > 0.0, a, -np.inf).max(axis=-1)
    x, shift = _shift_below(mu, a - best[:, None], kappa)
    return x, best + shift


def _shift_below(mu: Array, a: Array, kappa: Array) -> tuple[Array, Array]:
    live = np.where(mu > 0.0, a, -np.inf)
    top, mass = live.max(axis=-1), mu.sum(axis=-1)
    tilt = np.exp(live)
    partition = inner(mu, tilt) / mass
    free = np.log(partition)  # the shift at kappa = 0
    dense = inner(mu, tilt * tilt) / mass / partition / partition  # E_pi*[rho*]; a square would underflow
    mean = inner(mu, np.where(mu > 0.0, a, 0.0)) / mass
    low, high = mean - kappa, np.minimum(free, top - kappa)
    shift = np.clip(free - kappa * dense, low, high)

    def surplus(at: Array, row: NDArray[np.intp]) -> Array:
        with np.errstate(over="ignore"):
            x = np.where(mu[row] > 0.0, own_solution(a[row] - at[:, None], kappa[row], None), -np.inf)
            return np.log1p(inner(mu[row], np.expm1(x)) / mass[row])

    settled = np.zeros(kappa.shape, dtype=bool)
    with np.errstate(
        over="ignore", divide="ignore", invalid="ignore"
    ):  # rows that leave the floats are bracketed below
        for _ in range(SHIFT_STEPS):
            x = np.where(mu > 0.0, own_solution(a - shift[:, None], kappa, None), -np.inf)
            ratio = np.exp(x)
            excess_mass = inner(mu, np.expm1(x)) / mass
            total = 1.0 + excess_mass
            slope = inner(mu, ratio / (1.0 + kappa[:, None] * ratio)) / mass
            # exact for a target uniform on part of mu; Newton's step as excess_mass goes to 0
            step = np.log1p(excess_mass) + (total / slope - 1.0) * excess_mass / total
            shift = shift + step
            settled = np.abs(step) <= SHIFT_TOLERANCE * (1.0 + np.abs(shift) + np.abs(top))
            if settled.all():
                break
    left = np.flatnonzero(~settled)
    if left.size:
        margin = 1e-12 * (1.0 + np.abs(low) + np.abs(high))
        shift[left] = bracketed_root(
            lambda at, row: surplus(at, left[row]), (low - margin)[left], (high + margin)[left]
        )
    return own_solution(a - shift[:, None], kappa, None), shift


def critical_offset(behavior: ArrayLike, nominal_log_ratio: ArrayLike) -> Array:
    """d_c / beta (...): how far the baseline may lie above the boundary before the W_0 solution ends.

    log E_mu[e^(a0) e^v] with v = -W_0(-e^(a0 - max a0 - 1)) in (0, 1], where nominal_log_ratio a0 (..., K) is that of
    the nominal target, so that E_mu[e^(a0)] = 1; the maximum is over arms with positive behavior (..., K). Always in
    (0, 1]; computed as log1p(E_mu[e^(a0) expm1(v)]), which keeps small offsets accurate. Derived here.

    >>> print(critical_offset([.5, .5], [0., 0.]))
    1.0
    """
    mu, nominal = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (behavior, nominal_log_ratio)))
    top = np.where(mu > 0.0, nominal, -np.inf).max(axis=-1, keepdims=True)
    gap = np.where(mu > 0.0, top - nominal, 0.0)
    v = np.exp(inverse_excess(gap, positive=False))
    return np.log1p(inner(mu / mu.sum(axis=-1, keepdims=True), np.exp(top - gap) * np.expm1(v)))
