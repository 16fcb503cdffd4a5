"""Every local minimum of the log-ratio regression loss on the simplex, in any regime.

    minimize over pi:  E_mu[(beta x - A)^2] / (2 beta)  =  beta E_mu[(x - a)^2] / 2,   x = log(pi / mu), a = A / beta.

Stationary: x_i + kappa e^(x_i) = a_i. For kappa < 0 write v_i = |kappa| pi_i / mu_i: every arm is on one of two
branches, v_i < 1 (W_0) or v_i > 1 (W_-1). A minimum has no arm on W_-1, or exactly one. Derived here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .lambert import solve_lambert
from .lambert_functions import excess, inverse_excess, own_solution
from .lambert_regimes import bracketed_root

Array = NDArray[np.float64]
Index = NDArray[np.intp]

SCAN_POINTS = 64  # on 1 < v <= 2, where the curvature along a branch may change sign more than once
CHUNK_ELEMENTS = 1 << 21


@dataclass(frozen=True)
class Minimum:
    """One local minimum: log_ratio x (K,), kappa, the arm on the W_-1 branch (None: all on W_0), loss / beta."""

    log_ratio: Array
    kappa: float
    arm: int | None
    loss_over_beta: float


@dataclass(frozen=True)
class _Branch:
    """The arms with positive mass, normalized: behavior and nominal log-ratio (n,), and the largest of the latter."""

    behavior: Array
    nominal: Array
    top: float


def regression_minima(
    behavior: ArrayLike, nominal_log_ratio: ArrayLike, delta: float, arms: Sequence[int] | None = None
) -> list[Minimum]:
    """All local minima of the regression loss of one instance, sorted by loss.

    behavior mu (K,), read as mu / sum(mu); nominal_log_ratio a0 (K,), log(pi*/mu) of the Gibbs policy mu e^(r/beta), so
    that E_mu[e^(a0)] = 1; delta = (V - V*) / beta, the baseline's offset from the boundary, so that a = a0 - delta;
    arms: those to look for on W_-1, all where None.

    For delta <= 0 the minimum is unique. For delta > 0, arm j on W_-1 and log v_j = u > 0 determine all other arms,
    phi(log v_i) = phi(u) + a0_j - a0_i with phi(x) = e^x - 1 - x, and then delta:

        H_j(u) = phi(u) + 1 + a0_j + log(sum_i mu_i v_i) = delta.

    A root is a minimum where H_j rises: where mu_j v_j^2 / (v_j - 1) > sum over the others of mu_i v_i^2 / (1 - v_i).
    The difference rises for v_j > 2, so that H_j turns there at most once; on 1 < v_j <= 2 its turns are looked for on
    a grid of SCAN_POINTS. Arms without mass get the W_0 solution of their own equation. Raises ValueError on shapes
    that are not one instance, and on a nominal_log_ratio that is not one (|log E_mu e^(a0)| > 1e-6).

    >>> mu, a0 = np.array([.5, .5]), np.zeros(2)
    >>> [(m.arm, round(m.loss_over_beta, 6)) for m in regression_minima(mu, a0, 0.5)]
    [(None, 0.125)]
    >>> [m.arm for m in regression_minima(mu, a0, 2.0)]
    [0, 1]
    """
    mu, a0 = np.asarray(behavior, dtype=np.float64), np.asarray(nominal_log_ratio, dtype=np.float64)
    if mu.ndim != 1 or mu.shape != a0.shape:
        raise ValueError(
            f"behavior and nominal_log_ratio: must be one instance (K,) each, got {mu.shape} and {a0.shape}"
        )
    live = np.flatnonzero(mu > 0.0)
    weight, nominal = mu[live] / mu[live].sum(), a0[live]
    partition = np.log(np.dot(weight, np.exp(nominal)))
    if not abs(partition) <= 1e-6:
        raise ValueError(f"nominal_log_ratio: E_mu[e^nominal_log_ratio] must be 1, got e^{partition}")
    center = np.dot(weight, nominal)
    smooth = solve_lambert(weight, nominal - delta, nominal - center, center - delta)
    minima = []
    if bool(smooth.exists):
        minima.append(_minimum(mu, a0 - delta, live, smooth.log_ratio, float(smooth.kappa), None))
    if delta > 0.0 and live.size > 1:
        branch = _Branch(weight, nominal, float(nominal.max()))
        wanted = np.arange(live.size) if arms is None else np.flatnonzero(np.isin(live, arms))
        for arm, u in _rising_roots(branch, delta, bool(smooth.exists), wanted):
            log_part = _log_parts(branch, np.array([arm]), np.array([u]))[0]
            log_size = delta - excess(u) - 1.0 - nominal[arm]
            log_ratio = nominal - delta + np.exp(log_part)
            kappa = -float(np.exp(log_size))
            minima.append(_minimum(mu, a0 - delta, live, log_ratio, kappa, int(live[arm])))
    return sorted(minima, key=lambda minimum: minimum.loss_over_beta)


def _minimum(mu: Array, a: Array, live: Index, log_ratio: Array, kappa: float, arm: int | None) -> Minimum:
    full = own_solution(a, np.asarray(kappa), None)
    full[live] = log_ratio
    pull = kappa * np.exp(log_ratio)  # a - x, without its cancellation
    weight = mu[live] / mu[live].sum()
    return Minimum(full, kappa, arm, 0.5 * float(np.dot(weight, pull * pull)))


def _log_parts(branch: _Branch, arm: Index, u: Array) -> Array:
    """log v_i (m, n) of all arms, where arm[k] (m,) is on W_-1 at log v = u[k] >= its least value."""
    gap = (excess(u) + branch.nominal[arm])[:, None] - branch.nominal
    log_part = inverse_excess(np.maximum(gap, 0.0), positive=False)
    log_part[np.arange(arm.size), arm] = u
    return log_part


def _offset(branch: _Branch, arm: Index, u: Array) -> Array:
    """H_arm(u) (m,): the delta that these points are stationary for."""
    log_part = _log_parts(branch, arm, u)
    peak = log_part.max(axis=-1)
    share = np.exp(log_part - peak[:, None]) @ branch.behavior
    return excess(u) + 1.0 + branch.nominal[arm] + peak + np.log(share)


def _rise(branch: _Branch, arm: Index, u: Array) -> Array:
    """A number (m,) in [-1, 1] of the sign of dH/du: of mu_j v_j^2 / (v_j - 1) - sum mu_i v_i^2 / (1 - v_i)."""
    log_part = _log_parts(branch, arm, u)
    here = np.arange(arm.size)
    with np.errstate(divide="ignore", over="ignore"):  # v_i = 1 at the start of a branch
        term = branch.behavior * np.exp(2.0 * log_part - u[:, None]) / np.abs(np.expm1(log_part))
        own = term[here, arm]
        term[here, arm] = 0.0
        return 2.0 / (1.0 + term.sum(axis=-1) / own) - 1.0


def _rising_roots(branch: _Branch, delta: float, smooth_exists: bool, wanted: Index) -> list[tuple[int, float]]:
    """(arm, u) of every root of H_arm(u) = delta at which H rises, for the wanted arms."""
    gap = branch.top - branch.nominal
    start = inverse_excess(gap, positive=True)
    # beyond `stop` H exceeds delta: H_j(u) >= phi(u) + 1 + a0_j + log(mu_j v_j)
    need = delta - 1.0 - branch.nominal - np.log(branch.behavior)
    stop = np.maximum(start, inverse_excess(np.maximum(need, 0.0), positive=True)) + 1e-3
    scanned = wanted[start[wanted] < np.log(2.0)]
    plain = wanted[start[wanted] >= np.log(2.0)]
    fraction = np.linspace(0.0, 1.0, SCAN_POINTS) ** 2  # dense where the branch starts
    grid = start[scanned, None] + (np.log(2.0) - start[scanned])[:, None] * fraction
    ends = np.maximum(stop, np.log(2.0) + 1e-3)
    segments = [
        _monotone_segments(branch, scanned, np.concatenate([grid, ends[scanned, None]], axis=1)),
        _monotone_segments(branch, plain, np.stack([start[plain], ends[plain]], axis=1)),
    ]
    arm, low, high = (np.concatenate(parts) for parts in zip(*segments, strict=True))
    below = _offset(branch, arm, low) < delta
    # the largest arm's branch starts where W_0 ends: one decision for both, whatever the rounding
    below = np.where((low == 0.0) & (gap[arm] == 0.0), not smooth_exists, below)
    rising = np.flatnonzero(below & (_offset(branch, arm, high) >= delta))
    if not rising.size:
        return []
    arm = arm[rising]
    roots = bracketed_root(lambda u, row: _offset(branch, arm[row], u) - delta, low[rising], high[rising])
    return list(zip(arm.tolist(), roots.tolist(), strict=True))


def _monotone_segments(branch: _Branch, arms: Index, knots: Array) -> tuple[Index, Array, Array]:
    """(arm, low, high) of the stretches of u between the turns of H that the knots (m, p) of each arm bracket."""
    if not arms.size:
        return arms, np.empty(0), np.empty(0)
    sign = np.empty(knots.shape)
    owner = np.repeat(arms, knots.shape[1] - 1)
    size = max(1, CHUNK_ELEMENTS // branch.nominal.size)
    points = knots[:, 1:].reshape(-1)
    rises = [_rise(branch, owner[k : k + size], points[k : k + size]) for k in range(0, points.size, size)]
    sign[:, 1:] = np.sign(np.concatenate(rises)).reshape(arms.size, -1)
    # a branch starts with the largest arm at v = 1, where H falls infinitely fast, unless it is that arm's own
    sign[:, 0] = np.where(branch.nominal[arms] < branch.top, -1.0, sign[:, 1])
    row, at = np.nonzero(sign[:, :-1] * sign[:, 1:] < 0.0)
    turns = np.empty(0)
    if row.size:
        turns = bracketed_root(lambda u, index: _rise(branch, arms[row[index]], u), knots[row, at], knots[row, at + 1])
    everywhere = np.arange(arms.size)
    row = np.concatenate([everywhere, row, everywhere])
    edges = np.concatenate([knots[:, 0], turns, knots[:, -1]])
    order = np.lexsort((edges, row))
    row, edges = row[order], edges[order]
    inside = np.flatnonzero(row[1:] == row[:-1])
    return arms[row[inside]], edges[inside], edges[inside + 1]
