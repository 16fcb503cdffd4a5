"""Fixed points c = lambda pi/mu of an arbitrary coefficient, on a whole batch at once.

Successive tangents (derived here): at the current log-ratio x each arm's coefficient is replaced by its tangent, the
exponential is kept, and the model problem

    c_y + c'_y d_y = lambda (pi_y/mu_y) e^{d_y}  on every arm,      sum_y anchor_y e^{x_y + d_y} = 1              (1)

is solved exactly: every d_y is a Wright omega function of lambda, and the sum is decreasing in lambda, one unknown per
row. Log-ratio regression is solved in one step at any temperature, exponential weights likewise; other smooth
coefficients converge quadratically. Steps are limited per arm by how well the last tangent predicted the coefficient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import lambertw, logsumexp, wrightomega

from .flow_field import check_problem
from .simplex import first_index, log

Array = NDArray[np.float64]

_DIFFERENCE = 1e-7  # forward difference of the coefficient; its error slows convergence and does not move the result
_FIRST_RADIUS = 4.0  # log-ratio an arm may move by before its tangent has been tested
_SEEN = 0.01  # least move from the mean for which a coupled arm's slope is measured; below, the row's steepest is used
_SEARCH = 100  # evaluations of a model in search of its lambda: 5 where Newton's steps hold
_NEAR = 1e-9  # relative change of lambda from which one more step of Newton's is exact
_EXACT = 1e-15  # and that of a bracket that has closed
_LARGEST = 1e300  # |lambda| at which the search for it ends
_FLOOR = 1e-12  # least slope, relative to the terms it is compared with


@dataclass(frozen=True)
class FixedPoint:
    """Leading batch shape `...`, K arms on the last axis.

    log_ratio: (..., K) log(pi / anchor). 0 on arms where behavior and anchor are 0; -inf on arms that only the
        reference plays, which a fixed point with lambda > 0 leaves empty.
    normalizer: (...) lambda = E_mu[c], in units of the coefficient.
    converged: (...) residual <= tol. Where it is False the row has no fixed point with full support, or none
        that these passes found; its other entries are those of the last iterate.
    stable: (...) the softmax flow returns to the point after any small push. None for coupled coefficients.
    residual: (...) largest move, relative to max(1, |log_ratio|), that the model (1) still asks of a log-ratio.
    passes: evaluations of the coefficient over the batch.
    """

    log_ratio: Array
    normalizer: Array
    converged: NDArray[np.bool_]
    stable: NDArray[np.bool_] | None
    residual: Array
    passes: int


@dataclass(frozen=True)
class _Model:
    """Tangent model (1) on rows, all (B, K): c and dc/dx, pi/mu, log(anchor) + x, the largest |d| allowed.

    `proportional` arms are those whose coefficient follows the ratio (importance weights): there the tangent is that
    of c / ratio, and (1) is linear in d.
    """

    value: Array
    slope: Array
    ratio: Array
    log_policy: Array
    radius: Array
    proportional: NDArray[np.bool_]

    def step(self, normalizer: Array, rows: NDArray[np.intp]) -> tuple[Array, Array]:
        """d(lambda) for each row, (len(rows), K): non-increasing in lambda, limited to the radius; dd/d log|lambda|."""
        value, slope, ratio = self.value[rows], self.slope[rows], self.ratio[rows]
        radius, sign, proportional = self.radius[rows], np.sign(normalizer)[:, None], self.proportional[rows]
        with np.errstate(all="ignore"):
            steep = np.maximum(-slope, np.maximum(_FLOOR * np.abs(value), np.finfo(float).tiny))
            log_weight = np.log(np.abs(normalizer))[:, None] + np.log(ratio) - np.log(steep)
            offset = value / steep
            tangent = _exponential_step(offset, sign, log_weight)
            pull = offset - tangent  # sign e^(log_weight + d), in (1) divided by the slope
            rate = -pull / (1.0 + pull)
            if proportional.any():
                spread = np.maximum(value - slope, np.finfo(float).tiny)
                linear = (value - normalizer[:, None] * ratio) / spread
                tangent = np.where(proportional, linear, tangent)
                rate = np.where(proportional, -normalizer[:, None] * ratio / spread, rate)
            free = np.abs(tangent) < radius  # NaN is not
            return np.clip(np.where(np.isnan(tangent), 0.0, tangent), -radius, radius), np.where(free, rate, 0.0)

    def excess(self, normalizer: Array, rows: NDArray[np.intp]) -> tuple[Array, Array]:
        """log of the total probability after the step, and its derivative in log|lambda|, both (len(rows),)."""
        step, rate = self.step(normalizer, rows)
        after = self.log_policy[rows] + step
        total = np.asarray(logsumexp(after, axis=-1))
        with np.errstate(invalid="ignore"):
            return total, (np.exp(after - total[:, None]) * rate).sum(axis=-1)


def _exponential_step(offset: Array, sign: Array, log_weight: Array) -> Array:
    """The d with d + sign e^(log_weight + d) = offset that tends to `offset` with the weight; +inf if there is none."""
    exponent = offset + log_weight
    omega = wrightomega(exponent)
    step = np.where(omega > 1.0, np.log(omega) - log_weight, offset - omega)
    if (sign < 0).any():
        argument = -np.exp(exponent)
        exists = argument >= -np.exp(-1.0)
        negative = np.where(exists, offset - lambertw(np.where(exists, argument, 0.0)).real, np.inf)
        step = np.where(sign < 0, negative, step)
    return np.where(sign == 0, offset, step)


def _solve_model(model: _Model, scale: Array, guess: Array, balanced: NDArray[np.bool_]) -> tuple[Array, Array]:
    """lambda (B,) and the step (B, K) of the model problem, from a `guess` of lambda and the `scale` (B,) of |lambda|.

    Where the coefficient is `balanced`, lambda is 0, and normalizing is left to the caller. The excess falls with
    |lambda| from what it is at 0: Newton's steps in lambda, or where they leave the bracket in log|lambda|. Some rows
    have no root.
    """
    rows = np.arange(len(scale))
    normalizer = np.zeros(len(scale))
    at_zero = model.excess(normalizer, rows)[0]
    sign = np.where(at_zero > 0, 1.0, -1.0)
    size = np.where(guess * sign > 0, np.abs(guess), scale)
    low, high = np.zeros(len(scale)), np.full(len(scale), np.inf)
    todo = rows[(np.abs(at_zero) > 1e-16) & ~balanced]
    for turn in range(_SEARCH):
        if not todo.size:
            break
        leap = 4.0 ** (turn + 1)
        signs, now = sign[todo], size[todo]
        total, rate = model.excess(signs * now, todo)
        short = signs * total > 0
        low[todo], high[todo] = np.where(short, now, low[todo]), np.where(short, high[todo], now)
        bottom, top = low[todo], high[todo]
        with np.errstate(all="ignore"):
            newton = now * (1.0 - total / rate)
            in_log = now * np.exp(-total / rate)
            middle = np.where(
                np.isinf(top), leap * now, np.where(bottom == 0, now / leap, np.sqrt(bottom) * np.sqrt(top))
            )
        following = np.where((bottom < in_log) & (in_log < top), in_log, middle)
        sharp = (bottom < newton) & (newton < top)
        following = np.where(total == 0, now, np.where(sharp, newton, following))
        size[todo] = following
        found = np.abs(following - now) <= np.where(sharp, _NEAR, _EXACT) * now
        normalizer[todo[found]] = (signs * following)[found]
        todo = todo[~found & (following > 1 / _LARGEST) & (following < _LARGEST)]
    return normalizer, model.step(normalizer, rows)[0]


def _balanced_signs(weights: Array) -> Array:
    """Signs (B, K) with sum_y w_y s_y near 0: probing along them sees an arm's own slope, hardly a common shift."""
    order = np.argsort(-weights, axis=-1)
    signs, total = np.empty_like(weights), np.zeros(len(weights))
    rows = np.arange(len(weights))
    for arm in order.T:
        signs[rows, arm] = np.where(total > 0, -1.0, 1.0)
        total += signs[rows, arm] * weights[rows, arm]
    return signs


def solve_fixed_point(
    coefficient: Callable[..., Array],
    behavior: ArrayLike,
    advantage: ArrayLike,
    *,
    reference: ArrayLike | None = None,
    coupled: bool = False,
    takes_behavior: bool = False,
    start: ArrayLike | None = None,
    max_passes: int = 50,
    tol: float = 1e-12,
) -> FixedPoint:
    r"""Solve c(x, A) = lambda e^x anchor/mu on every arm, E_anchor[e^x] = 1, for a smooth coefficient.

    These are the stationary points with full support of the population update E_mu[c grad log pi] (derived here); the
    anchor is the behavior policy or `reference`. Where several exist (lambda < 0) it returns one, near the start.

    Args:
        coefficient: c(log_ratio, advantage) -> array of the same shape (rows, K), rows independent of each other,
            smooth. Called with `behavior=mu` (rows, K) too if `coupled` or `takes_behavior`.
        behavior: mu, (..., K). Leading shapes of all arrays broadcast.
        advantage: A, (..., K), handed to the coefficient as it is.
        reference: anchor of the log-ratio, (..., K), positive wherever behavior is; None for behavior.
        coupled: c of one arm depends on the others. Its Jacobian is then taken as diagonal, seen along one probe, and
            convergence is linear; coefficients that only see differences of log-ratios (lambda = 0) are fine.
        start: log-ratio to start from, (..., K); 0, the anchor itself, where None.
        max_passes: evaluations of the coefficient allowed, two per iteration.
        tol: largest step, relative to max(1, |log_ratio|), still asked for at the solution. The error that is left
            is that of evaluating the coefficient, magnified by at most 1 / (lambda pi/mu - dc/dx).

    Returns:
        FixedPoint; rows not solved have `converged` False and are never an error.

    Raises:
        ValueError: bad shapes or probabilities, a coefficient that is not finite at the start, naming the first index.

    >>> point = solve_fixed_point(lambda x, a: a - 0.5 * x, [0.5, 0.3, 0.2], [-0.2, -0.2, 0.8])
    >>> round(float(point.normalizer), 10), bool(point.converged and point.stable)
    (0.1167491632, True)
    """
    mu, gain, anchor, shape = check_problem(behavior, advantage, reference)
    played = mu > 0
    alone = played.sum(axis=-1, keepdims=True) == 1  # normalization alone decides
    first = np.zeros(shape) if start is None else np.asarray(start, dtype=np.float64)
    x = np.where(played, np.broadcast_to(first, shape).reshape(mu.shape), 0.0)
    log_anchor = np.where(played, log(anchor), -np.inf)
    x = np.where(played, x - logsumexp(log_anchor + x, axis=-1, keepdims=True), 0.0)

    def evaluate(log_ratio: Array, rows: NDArray[np.intp]) -> Array:
        with np.errstate(all="ignore"):
            weights = {"behavior": mu[rows]} if coupled or takes_behavior else {}
            values = np.asarray(coefficient(log_ratio, gain[rows], **weights), dtype=np.float64)
        if values.shape != log_ratio.shape:
            raise ValueError(
                f"coefficient must return the shape of its input: got {values.shape} for {log_ratio.shape}"
            )
        return np.where(played[rows], values, 0.0)

    log_mu = np.where(played, log(mu), 0.0)
    signs = _balanced_signs(mu) if coupled else np.ones_like(mu)
    radius, last_step = np.full(mu.shape, _FIRST_RADIUS), np.zeros_like(mu)
    value, slope, proportional = np.zeros_like(mu), np.zeros_like(mu), np.zeros(mu.shape, dtype=bool)
    normalizer, residual = np.zeros(len(mu)), np.full(len(mu), np.inf)
    balanced = np.zeros(len(mu), dtype=bool)
    active: np.ndarray = np.arange(len(mu))
    passes = 0
    while active.size and passes + 2 <= max_passes:
        reach = np.maximum(1.0, np.abs(x[active]))
        if coupled:
            reach = reach.max(axis=-1, keepdims=True)
        moved = x[active] + _DIFFERENCE * reach * signs[active]
        here, there = evaluate(x[active], active), evaluate(moved, active)
        passes += 2
        with np.errstate(invalid="ignore"):
            tangent = (there - here) / (moved - x[active])
        if coupled:  # a common shift of all log-ratios does not move these coefficients: measure from the probe's mean
            share = 1.0 - signs[active] * (mu[active] * signs[active]).sum(axis=-1, keepdims=True)
            seen = share > _SEEN
            tangent = np.where(seen, tangent / share, 0.0)
            tangent = np.where(seen, tangent, tangent.min(axis=-1, keepdims=True))
        tangent = np.where(played[active], tangent, -1.0)
        lost = ~(np.isfinite(here) & np.isfinite(tangent))
        if passes == 2 and lost.any():
            row, arm = first_index(lost)
            index = [*(int(i) for i in np.unravel_index(row, shape[:-1])), arm] if shape[:-1] else [arm]
            raise ValueError(f"coefficient{index} is {here[row, arm]} at the start; it must be finite there")
        if lost.any():  # stepped out of the coefficient's range: back three quarters of the way, in these arms only
            retreat = np.where(lost, 0.75 * last_step[active], 0.0)
            x[active] -= retreat
            last_step[active] -= retreat
            radius[active] = np.where(lost, np.abs(last_step[active]), radius[active])
        rows, usable = active[~lost.any(axis=-1)], ~lost.any(axis=-1)
        here, tangent = here[usable], tangent[usable]
        log_policy = log_anchor[rows] + x[rows]
        ratio = np.exp(np.where(played[rows], log_policy - log_mu[rows], 0.0))
        if passes > 2:
            radius[rows], proportional[rows] = _learn(
                radius[rows],
                last_step[rows],
                value[rows],
                slope[rows],
                here,
                here - normalizer[rows, None] * ratio,
                np.where(balanced[rows, None], mu[rows], 0.0),
            )
        else:
            proportional = (tangent > 0) & (tangent < here)
        value[rows], slope[rows] = here, tangent
        model = _Model(
            here, tangent, ratio, log_policy, radius[rows], proportional[rows] & (tangent < here) & (not coupled)
        )
        size = (mu[rows] * np.abs(here)).sum(axis=-1)
        if passes == 2:
            balanced = coupled & (np.abs((mu * here).sum(axis=-1)) <= 1e-12 * size)
        normalizer[rows], step = _solve_model(model, np.where(size > 0, size, 1.0), normalizer[rows], balanced[rows])
        step = np.where(played[rows] & ~alone[rows], step, 0.0)
        residual[rows] = (np.abs(step) / np.maximum(1.0, np.abs(x[rows]))).max(axis=-1)
        # Both sides of the equation underflowed: any log-ratio would pass for a solution on this arm.
        vanished = played[rows] & (here == 0) & (tangent == 0) & (ratio == 0)
        residual[rows] = np.where(vanished.any(axis=-1), np.inf, residual[rows])
        going = residual[rows] > tol
        active = np.union1d(active[~usable], rows[going])
        x[rows[going]] += step[going]
        total = np.asarray(logsumexp(log_anchor[active] + x[active], axis=-1, keepdims=True))
        x[active] -= np.where(played[active], total, 0.0)
        last_step[rows] = step
    weighted = mu * value
    normalizer = weighted.sum(axis=-1)
    converged = residual <= tol
    stable = None if coupled else _stable(mu * slope, np.exp(log_anchor + x), normalizer, played, anchor > 0)
    log_ratio = np.where(played | (anchor == 0), x, -np.inf)
    batch = shape[:-1]
    return FixedPoint(
        log_ratio.reshape(shape),
        normalizer.reshape(batch),
        converged.reshape(batch),
        None if stable is None else (stable & converged).reshape(batch),
        residual.reshape(batch),
        passes,
    )


def _learn(
    radius: Array, step: Array, value: Array, slope: Array, now: Array, gap: Array, common: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """What the last step taught, per arm: the new radius, and whether the tangent of c / ratio foresaw c better.

    Wider where the coefficient came out as foreseen, half the step where it overshot the arm's equation (gap, step).
    Where log-ratios only matter up to a shift, so do the misses: `common` weighs their mean.
    """
    with np.errstate(all="ignore"):
        miss = now - (value + slope * step)
        miss = np.abs(miss - (common * miss).sum(axis=-1, keepdims=True))
        miss_proportional = np.abs(now - (value + (slope - value) * step) * np.exp(step))
    proportional = miss_proportional < miss
    foreseen = np.fmin(miss, miss_proportional) <= 0.25 * np.abs(slope * step) + 1e-9 * np.abs(value)
    overshot = gap * step < 0
    wider = np.where(foreseen, 8.0 * radius, np.maximum(radius, 2.0 * np.abs(step)))
    return np.maximum(np.where(overshot & ~foreseen, 0.5 * np.abs(step), wider), 1e-6), proportional


def _stable(
    slope: Array, policy: Array, normalizer: Array, played: NDArray[np.bool_], anchored: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether sum_y (mu_y c'_y - lambda pi_y) u_y^2 < 0 for every u with pi.u = 0, rows (B,).

    The softmax flow's Jacobian is P diag(mu c' - lambda pi) P^T with P = I - pi 1^T (derived here). On a hyperplane
    a diagonal form with one positive entry is negative iff sum pi^2 / diagonal > 0; with two it never is.
    """
    diagonal = np.where(played, slope - normalizer[:, None] * policy, -1.0)
    positive = (diagonal > 0).sum(axis=-1)
    with np.errstate(all="ignore"):
        total = np.where(played, policy * (policy / diagonal), 0.0).sum(axis=-1)
    alone = played.sum(axis=-1) == 1
    leaves_rest_empty = (normalizer > 0) | ~(anchored & ~played).any(axis=-1)
    return ((positive == 0) | ((positive == 1) & (total > 0)) | alone) & leaves_rest_empty
