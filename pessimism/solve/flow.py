"""Softmax gradient flow of a population update: where training itself ends up, with no formula for the target assumed.

The policy is softmax(theta) and theta follows the expected update E_mu[c grad log pi],

    d theta_y / dt = mu_y c_y - pi_y lambda,        lambda = E_mu[c],                                        (1)

with c = c(x, A) and x = log(pi / anchor), the anchor being the behavior policy or a reference. Rates span hundreds
of orders of magnitude (rare arms move at rate mu_y) and vertices are approached like 1/t, hence a linearly implicit
(Rosenbrock) integrator whose steps grow with t. Its linear systems cost O(K): the Jacobian of (1) for an arm-wise
coefficient is diagonal plus rank two (derived here).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .flow_field import Field, check_problem, knots_of, linear_solver, nearest_band, velocity_of
from .simplex import check_policy, first_index, log

Array = NDArray[np.float64]
_Step = tuple[NDArray[np.intp], Array, Array]  # rows, times and log-policies of accepted steps

# RODAS (Hairer & Wanner, Solving Ordinary Differential Equations II, IV.7): order 4(3), L-stable, stiffly accurate.
_GAMMA = 0.25
_STAGE = (
    (),
    (1.544,),
    (0.9466785280815826, 0.2557011698983284),
    (3.314825187068521, 2.896124015972201, 0.9986419139977817),
    (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950),
    (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1.0),
)
_COUPLING = (
    (),
    (-5.6688,),
    (-2.430093356833875, -0.2063599157091915),
    (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
    (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
    (8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054),
)

_PULL = 1e-6  # an arm whose logit still rises at more than this share of E|c| is on its way, however rare
_FALL = 1e-3  # log-probability that an arm must lose in a factor e of time to count as falling ...
_RARE = 1e-5  # ... and the most it may have left, where the policy has stopped moving
_DEPTH = 0.1  # log-error allowed on a sliding arm, relative to its distance from the edge of the kink's band
_ROUNDING = 1e-13  # velocities below this share of E|c| are rounding where arms of order-one probability balance
_LOOSE = 0.03  # largest log-error allowed per step on an arm that is vanishing
_GROWTH = 6.0  # most that a step may grow by; not at all after a rejected one, or every other step would be rejected
_SHRINK = 0.7  # and the least that a rejected step must shrink by
_MAX_STEPS = 20_000


@dataclass(frozen=True)
class Flow:
    """Where a softmax gradient flow stood when it stopped; leading batch shape `...`, K arms on the last axis.

    log_ratio: (..., K) log(policy / anchor); 0 on arms where both are 0.
    policy: (..., K). A limit on a face or a vertex is approached like 1/time, never reached: see `residual`.
    time: (...) time at the stop, in units of 1 / coefficient.
    residual: (...) max_y |d pi_y / d log t| at the stop: what the policy still moves by per factor e of time,
        which for an approach like 1/t is the distance left to go.
    converged: (...) residual <= tol and no arm, however rare, still on its way up.
    scale: (...) the largest E|c| on the way, to which rounding and what is still on its way are relative.
    steps: integrator steps taken by the slowest row, rejected ones included.
    times, policies: (..., keep) and (..., keep, K) when `keep` snapshots were asked for: accepted steps nearest to
        log-spaced times (one may repeat), the start at time 0 first.
    """

    log_ratio: Array
    policy: Array
    time: Array
    residual: Array
    converged: NDArray[np.bool_]
    scale: Array
    steps: int
    times: Array | None = None
    policies: Array | None = None


def softmax_flow(
    coefficient: Callable[..., Array],
    behavior: ArrayLike,
    advantage: ArrayLike,
    *,
    reference: ArrayLike | None = None,
    start: ArrayLike | None = None,
    coupled: bool = False,
    takes_behavior: bool = False,
    on_policy: bool = False,
    kinks: Callable[[Array], Array] | None = None,
    elapsed: float = 0.0,
    scale: ArrayLike = 0.0,
    t_max: float = 1e12,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    tol: float = 1e-8,
    band: float = 1e-5,
    keep: int = 0,
) -> Flow:
    r"""Follow the softmax policy gradient flow until the policy stands still.

    Integrates d theta_y/dt = mu_y c_y - pi_y E_mu[c], pi = softmax(theta), c = c(log(pi/anchor), A); derived here.
    Where c jumps down in its log-ratio (clipped objectives), the flow slides along the jump (Filippov): list the jumps
    in `kinks` and each becomes a steep ramp `band` wide to either side, which moves the limit by O(band).

    Args:
        coefficient: c(log_ratio, advantage) -> array of the same shape (rows, K), rows independent of each other.
            Arm-wise unless `coupled`, which costs 2 K rows per row and step for the Jacobian. Called with
            `behavior=weights` (rows, K) too if `coupled` or `takes_behavior` (arm-wise, each sees its own weight).
        behavior: mu, (..., K). Leading shapes of all arrays broadcast.
        advantage: A, (..., K), handed to the coefficient as it is.
        reference: anchor of the log-ratio, (..., K); the behavior policy where None. Positive wherever behavior is.
        start: policy at time 0, (..., K), positive wherever behavior is; the behavior policy where None.
            Arms that start at 0 stay at 0.
        on_policy: the data come from pi itself: d theta_y/dt = pi_y (c_y - E_pi[c]).
        kinks: advantage (rows, K) -> log-ratios (rows, K, n) at which the arm-wise coefficient jumps; NaN or
            infinite for none. At least 2 * band apart on an arm (or equal).
        elapsed: time at the start, for a flow that goes on where another one stopped.
        scale: (...), that flow's scale.
        t_max: time at which to give up, in units of 1 / coefficient. An arm moves at a rate of about mu_y c_y, so
            rare arms need times beyond 1 / mu_y; the cost is a few steps per factor of ten.
        rtol: per-step error allowed in log pi relative to max(1, |log_ratio|).
        atol: per-step error allowed in the probability of vanishing arms.
        tol: stop once max_y |d pi_y/d log t| <= tol.
        keep: number of snapshots of the path to return.

    Returns:
        Flow. A row that ran out of time or steps has `converged` False and its last state.

    Raises:
        ValueError: bad shapes or probabilities, a coefficient that is NaN or infinite on a state that was reached,
            naming the argument and the first index.

    >>> import numpy as np
    >>> flow = softmax_flow(lambda x, a: a - 0.5 * x, [0.5, 0.3, 0.2], [-0.2, -0.2, 0.8])
    >>> np.round(flow.policy, 6).tolist(), bool(flow.converged)
    ([0.292383, 0.17543, 0.532187], True)
    """
    mu, gain, anchor, shape = check_problem(behavior, advantage, reference)
    first = mu if start is None else np.broadcast_to(np.asarray(start, dtype=np.float64), shape).reshape(mu.shape)
    check_policy("start", first)
    stuck = (first == 0) & (mu > 0) | (first > 0) & (anchor == 0)
    if stuck.any():
        index = list(first_index(stuck.reshape(shape)))
        raise ValueError(f"start{index} must be positive where behavior is and 0 where the anchor of the log-ratio is")
    if coupled and kinks is not None:
        raise ValueError("kinks are locations on one arm's log-ratio; a coupled coefficient has none")
    for name, value in {"t_max": t_max, "rtol": rtol, "atol": atol, "tol": tol, "band": band}.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be positive and finite")
    if not 0 <= elapsed < t_max:
        raise ValueError(f"elapsed is {elapsed:g}; it must be at least 0 and less than t_max, {t_max:g}")
    field = Field(
        coefficient=coefficient,
        behavior=mu,
        advantage=gain,
        log_anchor=log(anchor),
        alive=first > 0,
        knots=knots_of(kinks, gain, band),
        band=band,
        coupled=coupled,
        takes_behavior=coupled or takes_behavior,
        on_policy=on_policy,
    )
    begin = _normalize(log(first))
    least = np.broadcast_to(np.asarray(scale, dtype=np.float64), shape[:-1]).reshape(-1)
    final, converged, steps, record = _integrate(
        field, begin, (elapsed, t_max), least, rtol, atol, tol, shape[:-1], keep
    )
    times, policies = _snapshots(record, begin, keep) if keep else (None, None)
    return Flow(
        log_ratio=np.subtract(final.log_policy, log(anchor), out=np.zeros_like(begin), where=anchor > 0).reshape(shape),
        policy=np.exp(final.log_policy).reshape(shape),
        time=final.time.reshape(shape[:-1]),
        residual=final.residual.reshape(shape[:-1]),
        converged=converged.reshape(shape[:-1]),
        scale=final.scale.reshape(shape[:-1]),
        steps=steps,
        times=None if times is None else times.reshape(*shape[:-1], keep),
        policies=None if policies is None else policies.reshape(*shape[:-1], keep, shape[-1]),
    )


@dataclass(frozen=True)
class _State:
    """Rows that still move: index in the batch, log-policy (B, K), time, next step, most growth, residual, max E|c|."""

    row: NDArray[np.intp]
    log_policy: Array
    time: Array
    step: Array
    growth: Array
    residual: Array
    scale: Array

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "_State":
        return _State(*(getattr(self, entry.name)[rows] for entry in fields(self)))

    def put(self, part: "_State") -> None:
        """Overwrite the rows of a whole-batch state by those of `part`."""
        for entry in fields(self):
            getattr(self, entry.name)[part.row] = getattr(part, entry.name)


def _integrate(
    field: Field,
    start: Array,
    span: tuple[float, float],
    scale: Array,
    rtol: float,
    atol: float,
    tol: float,
    batch: tuple[int, ...],
    keep: int,
) -> tuple[_State, NDArray[np.bool_], int, list[_Step]]:
    """Final state of every row, which rows converged, the steps taken and, to `keep` snapshots, the accepted steps."""
    rows, (elapsed, t_max) = len(start), span
    final = _State(
        row=np.arange(rows),
        log_policy=start.copy(),
        time=np.full(rows, elapsed),
        step=np.full(rows, np.nan),
        growth=np.full(rows, _GROWTH),
        residual=np.full(rows, np.inf),
        scale=scale.copy(),
    )
    state, converged = final.take(final.row), np.zeros(rows, dtype=bool)
    record: list[_Step] = []
    steps = 0
    while state.row.size and steps < _MAX_STEPS:
        velocity, policy, weighted = velocity_of(field, state.log_policy)
        _check_coefficient(weighted, state.row, batch)
        still = (velocity == 0).all(axis=-1)
        state = replace(
            state,
            residual=np.where(still, 0.0, state.residual),
            scale=np.maximum(state.scale, np.abs(weighted).sum(axis=-1)),
        )
        settled = (state.residual <= tol) & ~_rising(velocity, policy, state.scale)
        if settled.any():
            settled[settled] = ~_waking(field.take(settled), state.take(settled), velocity[settled])
        done = settled | (state.time >= t_max) | (state.step < 1e-14 * state.time)
        if done.any():
            final.put(state.take(done))
            converged[state.row[done]] = settled[done]
            field, state = field.take(~done), state.take(~done)
            velocity, policy, weighted = velocity[~done], policy[~done], weighted[~done]
            if not state.row.size:
                break
        with np.errstate(all="ignore"):  # a trial step may overflow: it is rejected
            drift = velocity - (policy * velocity).sum(axis=-1, keepdims=True)
            step = np.where(np.isnan(state.step), 1e-4 / np.abs(drift).max(axis=-1), state.step)
            step = np.minimum(step, t_max - state.time)
            solve = linear_solver(field, state.log_policy, policy, weighted, _GAMMA * step)
            proposal, error = _rosenbrock(field, state.log_policy, velocity, solve, step)
            size = np.abs(error / _allowed(field, state.log_policy, policy, drift, rtol, atol)).max(axis=-1)
        size = np.where(np.isfinite(size), size, np.inf)
        state, accepted = _advance(state, proposal, step, size, t_max), size <= 1.0
        steps += 1
        if keep:
            record.append((state.row[accepted], state.time[accepted], state.log_policy[accepted]))
    final.put(state)
    return final, converged, steps, record


def _allowed(field: Field, log_policy: Array, policy: Array, drift: Array, rtol: float, atol: float) -> Array:
    """Error in log pi that a step may make, (B, K): looser on arms that vanish, tight inside the band of a kink."""
    log_ratio = field.log_ratio(log_policy)
    vanishing = np.where(drift < 0, np.minimum(atol / policy, _LOOSE), 0.0)
    allowed = rtol * np.maximum(1.0, np.abs(log_ratio)) + vanishing
    if field.knots is None:
        return allowed
    low, high, inside = nearest_band(field, log_ratio)
    depth = np.maximum(np.minimum(log_ratio - low, high - log_ratio), 1e-4 * field.band)
    return np.where(inside, np.minimum(allowed, _DEPTH * depth), allowed)


def _advance(state: _State, proposal: Array, step: Array, size: Array, t_max: float) -> _State:
    """The state after a step with error `size` (in units of the error allowed), and the next step's length."""
    accepted = size <= 1.0
    time = np.where(state.time + step >= t_max, t_max, state.time + step)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(np.exp(proposal) - np.exp(state.log_policy)).max(axis=-1)
        residual = np.where(state.time > 0, change / np.log(time / state.time), np.inf)
    growth = np.clip(0.9 * np.maximum(size, 1e-10) ** -0.25, 0.1, np.where(accepted, state.growth, _SHRINK))
    return replace(
        state,
        log_policy=np.where(accepted[:, None], proposal, state.log_policy),
        time=np.where(accepted, time, state.time),
        residual=np.where(accepted, residual, state.residual),
        step=step * growth,
        growth=np.where(accepted, _GROWTH, 1.0),
    )


def _normalize(logits: Array) -> Array:
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _rosenbrock(
    field: Field, log_policy: Array, velocity: Array, solve: Callable[[Array], Array], step: Array
) -> tuple[Array, Array]:
    """One Rosenbrock step: the new log-policy and the error estimate (the last stage), both (B, K)."""
    stages: list[Array] = []
    inner = log_policy
    for weights, couplings in zip(_STAGE, _COUPLING, strict=True):
        if stages:
            inner = _normalize(log_policy + _combination(weights, stages))
            velocity = velocity_of(field, inner)[0] + _combination(couplings, stages) / step[:, None]
        stages.append(solve(velocity))
    return _normalize(inner + stages[-1]), stages[-1]


def _combination(weights: Sequence[float], stages: Sequence[Array]) -> Array:
    total = weights[0] * stages[0]
    for weight, stage in zip(weights[1:], stages[1:], strict=True):
        total += weight * stage
    return total


def _rising(velocity: Array, policy: Array, scale: Array) -> NDArray[np.bool_]:
    """Rows (B,) in which some arm, however rare, is still on its way up: its log-probability grows at v_y - pi.v.

    While arms die their logits may fall forever, and pi.v > 0 is what the others rise by; with none dying pi.v
    is pure rounding, far above the rates of rare arms, and is taken for the 0 it stands for.
    """
    common = (policy * velocity).sum(axis=-1)
    noise = _ROUNDING * scale
    common, slack = np.where(np.abs(common) > noise, (common, noise), 0.0)
    return (velocity - common[:, None] > _PULL * scale[:, None] * policy + slack[:, None]).any(axis=-1)


def _waking(field: Field, state: _State, velocity: Array) -> NDArray[np.bool_]:
    """Rows (B,) in which arms that fall pull ever harder: a factor e of time later the coefficients would be others.

    Log-ratio regression at a small temperature looks settled on the likeliest arms long before the log-ratios of the
    others have come to rest; what they do then to the normalizer decides between the arms that are left.
    """
    policy = np.exp(state.log_policy)
    fall = (velocity - (policy * velocity).sum(axis=-1, keepdims=True)) * state.time[:, None]
    falling = (fall < -_FALL) & (policy < _RARE)  # likelier arms have come to rest: their drift is rounding
    later = state.log_policy + np.where(falling, fall, 0.0)
    change = np.abs(velocity_of(field, later)[2] - velocity_of(field, state.log_policy)[2]).sum(axis=-1)
    return change > _PULL * state.scale


def _check_coefficient(weighted: Array, row: NDArray[np.intp], batch: tuple[int, ...]) -> None:
    bad = ~np.isfinite(weighted)
    if bad.any():
        place, arm = first_index(bad)
        index = [int(i) for i in np.unravel_index(row[place], batch)] if batch else []
        value = weighted[place, arm]
        raise ValueError(f"coefficient{[*index, arm]} is {value} on a policy the flow reached; it must be finite")


def _snapshots(record: list[_Step], start: Array, keep: int) -> tuple[Array, Array]:
    """From the accepted steps (rows, times, log-policies), `keep` per row nearest to log-spaced times."""
    rows = np.concatenate([np.arange(len(start)), *(entry[0] for entry in record)])
    times = np.concatenate([np.zeros(len(start)), *(entry[1] for entry in record)])
    states = np.concatenate([start, *(entry[2] for entry in record)])
    chosen = np.empty((len(start), keep), dtype=np.intp)
    for row in range(len(start)):
        own = np.flatnonzero(rows == row)  # in order of time, the start first
        chosen[row] = own[0]
        if len(own) > 1 and keep > 1:
            log_times = np.log(times[own[1:]])
            wanted = np.linspace(log_times[0], log_times[-1], keep - 1)
            chosen[row, 1:] = own[1 + np.abs(log_times[None, :] - wanted[:, None]).argmin(axis=1)]
    return times[chosen], np.exp(states[chosen])
