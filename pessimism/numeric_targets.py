"""Targets without a closed form, found numerically: the fixed point where all arms keep mass, and else the flow."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from .algorithm import Algorithm, Coefficient
from .bandit import Bandit
from .solve.divergences import total_variation
from .solve.fixed_point import FixedPoint, solve_fixed_point
from .solve.flow import Flow, softmax_flow
from .solve.lambert_minima import regression_minima
from .solve.simplex import expectation, log, log_expectation_exp
from .solve.stepped import stepped_flow
from .solve.tied_tail import given_up, tied_losers

SMALL = 1e-5
"""Log-ratio over which the slope of a coefficient is measured."""

SAME_BASIN = 0.05
"""Total variation within which a local minimum is taken for the one that a flow was running to."""

STAGES = (1e6, 1e9, 1e12)
"""Times, in units of 1 / coefficient, at which a flow is searched for tied arms that still divide their mass."""

BAND = 1e-5
"""Log-ratio to either side of a jump over which the flow makes it a ramp."""

NARROW = 64
"""Arms up to which a flow along jumps keeps its default accuracy, 1e-5 in log-ratios."""


@dataclass(frozen=True)
class Numeric:
    """What the numeric routes found for a flat batch (B, K)."""

    log_ratio: np.ndarray
    normalizer: np.ndarray
    method: np.ndarray
    kind: np.ndarray  # "" where it follows from the support
    scale: np.ndarray  # E|c| at the behavior policy, to which solvers' tolerances are relative


def solve_induced(bandit: Bandit, advantage: np.ndarray, algorithm: Algorithm) -> Numeric:
    """Fixed point, or flow where there is none with full support or the coefficient jumps."""
    rows, arms = advantage.shape
    method = np.full(rows, "flow", dtype="<U11")
    kind = np.full(rows, "path-dependent" if algorithm.kinks else "", dtype="<U14")
    log_ratio = np.full((rows, arms), np.nan)
    resting = _rests_unstably(bandit, advantage, algorithm)
    log_ratio[resting], method[resting], kind[resting] = 0.0, "fixed point", "unstable"
    todo = ~resting
    if algorithm.switches and todo.any():
        open_ = flat_rows(bandit, todo)
        log_ratio[todo], rests = stepped_flow(algorithm.coefficient, open_.behavior, advantage[todo])
        kind[todo], todo = np.where(rests, "path-dependent", "not converged"), np.zeros(rows, dtype=bool)
    if algorithm.kinks is None and todo.any():
        open_, gain = flat_rows(bandit, todo), advantage[todo]
        point = solve_fixed_point(
            algorithm.coefficient, open_.behavior, gain, reference=open_.reference, **_how_called(algorithm)
        )
        found = _is_fixed(point, open_, gain, algorithm)
        fixed = np.flatnonzero(todo)[found]
        log_ratio[fixed], method[fixed], todo[fixed] = point.log_ratio[found], "fixed point", False
    if todo.any():
        flow = _follow(flat_rows(bandit, todo), advantage[todo], algorithm)
        log_ratio[todo] = flow.log_ratio
        kind[todo] = np.where(flow.converged, kind[todo], "not converged")
        if algorithm.beta is not None and bandit.reference is None:
            _move_to_minima(log_ratio, method, kind, np.flatnonzero(todo), bandit, advantage, algorithm.beta)
    values = algorithm.coefficient(log_ratio, advantage, **algorithm.weights(bandit.behavior))
    scale = _start_scale(bandit, advantage, algorithm)
    return Numeric(log_ratio, expectation(bandit.behavior, values), method, kind, scale)


def _how_called(algorithm: Algorithm) -> dict[str, Any]:
    """What solvers are told of a coefficient: whether it sees all arms at once, and whether it takes their weights."""
    return {"coupled": algorithm.coupled, "takes_behavior": algorithm.takes_behavior}


def _follow(bandit: Bandit, advantage: np.ndarray, algorithm: Algorithm) -> Flow:
    """The flow of a flat batch from the behavior policy to its end, tied arms that lose included.

    Where a coefficient jumps the flow is followed in ``STAGES``. Rows that still move after one, because tied arms
    divide their mass by a power law, end with the arms that lose left out, to within the mass that arms of less
    advantage still hold: at most about 1e-6 where the coefficient is of order one.
    """
    kinks = bound_kinks(algorithm, bandit.behavior)
    options = _how_called(algorithm)
    if kinks is not None:
        options |= {"band": BAND} | _wide_options(bandit, advantage, algorithm)

    def run(rows: np.ndarray, **more: Any) -> Flow:
        part = flat_rows(bandit, rows)
        jumps = bound_kinks(algorithm, part.behavior)
        return softmax_flow(
            algorithm.coefficient,
            part.behavior,
            advantage[rows],
            reference=part.reference,
            kinks=jumps,
            **options,
            **more,
        )

    late = np.arange(len(advantage))
    if kinks is None:
        return run(late)
    flow = run(late, t_max=STAGES[0])
    jumps = np.asarray(kinks(advantage), dtype=np.float64)
    for elapsed, t_max in itertools.pairwise(STAGES):
        late = late[~flow.converged[late]]
        if late.size:
            rest = flat_rows(bandit, late)
            flow = _leave_out(flow, late, rest, advantage[late], algorithm, jumps[late], run, options["band"])
            late = late[~flow.converged[late]]
        if late.size:
            more = run(late, start=flow.policy[late], elapsed=elapsed, scale=flow.scale[late], t_max=t_max)
            flow = _put(flow, late, more)
    return flow


def _leave_out(
    flow: Flow,
    rows: np.ndarray,
    bandit: Bandit,
    advantage: np.ndarray,
    algorithm: Algorithm,
    jumps: np.ndarray,
    run: Callable[..., Flow],
    band: float,
) -> Flow:
    """The flow with `rows` ended without the tied arms that lose; not those whose leader meets a jump on its way.

    From a jump on the leader would gain no more, and the arms that it had beaten would.
    """
    log_ratio, policy = flow.log_ratio[rows], flow.policy[rows]
    held = (np.abs(log_ratio[..., None] - jumps) < 2.0 * band).any(axis=-1)
    values = algorithm.coefficient(log_ratio, advantage, **algorithm.weights(bandit.behavior))
    losers, leader = tied_losers(policy, np.where(held, 0.0, bandit.behavior * values), advantage)
    tied = losers.any(axis=-1)
    if not tied.any():
        return flow
    end = run(rows[tied], start=given_up(policy, losers, leader)[tied], scale=flow.scale[rows[tied]])
    before, after = log_ratio[tied, :, None], end.log_ratio[..., None]
    met = ((before < jumps[tied]) & (jumps[tied] < after + 2.0 * band)).any(axis=-1)
    row, arm = np.nonzero(losers)
    leads = np.zeros(losers.shape, dtype=bool)
    leads[row, leader[row, arm]] = True
    sound = end.converged & ~(met & leads[tied]).any(axis=-1)
    return _put(flow, rows[tied][sound], end, sound)


def _put(flow: Flow, rows: np.ndarray, part: Flow, chosen: np.ndarray | slice = slice(None)) -> Flow:
    """A flow whose `rows` are the `chosen` rows of another."""
    parts = {}
    for name in ("log_ratio", "policy", "time", "residual", "converged", "scale"):
        parts[name] = getattr(flow, name).copy()
        parts[name][rows] = getattr(part, name)[chosen]
    return replace(flow, **parts)


def _wide_options(bandit: Bandit, advantage: np.ndarray, algorithm: Algorithm) -> dict[str, Any]:
    """Options of the flow where more than ``NARROW`` arms may meet a jump: none, or a wider ramp in place of a jump.

    Every arrival at a jump takes dozens of steps at the default width, so that many arms would run out of them. The
    ramp is 1% of a log-ratio to either side, and never more than a twentieth of the way to a jump; the limit moves by
    about as much.
    """
    kinks = bound_kinks(algorithm, bandit.behavior)
    if kinks is None or bandit.arms <= NARROW:
        return {}
    places = np.abs(np.asarray(kinks(advantage), dtype=np.float64))
    nearest = places[np.isfinite(places) & (places > 0)].min(initial=1.0)
    band = float(np.clip(nearest / 20, BAND, 1e-2))
    return {"band": band, "rtol": band / 10}


def _rests_unstably(bandit: Bandit, advantage: np.ndarray, algorithm: Algorithm) -> np.ndarray:
    r"""Rows (B,) whose advantages agree on all arms that are played, and whose flow leaves $\mu$ after any push.

    With $c$ and its slope $c'$ at log-ratio 0 the same for all arms, $\mu$ is stationary and $\lambda = c$. At
    $\pi = \mu(1 + \epsilon)$, $E_\mu\epsilon = 0$, to first order $\dot\theta_y = -\mu_y(\lambda - c')\epsilon_y$: the
    flow returns where $\lambda > c'$ and leaves where $\lambda < c'$ (derived here). For log-ratio regression
    $c' = -\beta$ and $\lambda = V^* - V$: it leaves where $V > V^* + \beta$.
    """
    played = bandit.behavior > 0
    value = np.where(played, advantage, -np.inf).max(axis=-1, keepdims=True)
    equal = (np.where(played, advantage, value) == value).all(axis=-1) & (played.sum(axis=-1) > 1)
    if algorithm.coupled or bandit.reference is not None or not equal.any():
        return np.zeros(len(advantage), dtype=bool)
    low, middle, high = (
        algorithm.coefficient(np.full_like(advantage, x), advantage, **algorithm.weights(bandit.behavior))
        for x in (-SMALL, 0.0, SMALL)
    )
    slope = (high - low) / (2 * SMALL)
    leaves = slope - middle > 1e-6 * (np.abs(slope) + np.abs(middle))  # beyond the error of the difference
    return equal & np.where(played, leaves, True).all(axis=-1)


def _start_scale(bandit: Bandit, advantage: np.ndarray, algorithm: Algorithm) -> np.ndarray:
    """E|c| (B,) at the behavior policy, where the log-ratio is 0."""
    at_start = algorithm.coefficient(np.zeros_like(advantage), advantage, **algorithm.weights(bandit.behavior))
    return expectation(bandit.behavior, np.abs(at_start))


def _is_fixed(point: FixedPoint, bandit: Bandit, advantage: np.ndarray, algorithm: Algorithm) -> np.ndarray:
    """Whether rows of a fixed point satisfy c = lambda pi/mu on every arm, however rare, and attract the flow."""
    accepted = point.converged if point.stable is None else point.converged & point.stable
    played = bandit.behavior > 0
    with np.errstate(all="ignore"):
        value = algorithm.coefficient(point.log_ratio, advantage, **algorithm.weights(bandit.behavior))
        ratio = np.exp(np.where(played, log(bandit.anchor) - bandit.log_behavior + point.log_ratio, 0.0))
        scale = _start_scale(bandit, advantage, algorithm)[:, None]
        pull = point.normalizer[:, None] * ratio
        off = np.abs(value - pull) - 1e-8 * (np.abs(value) + np.abs(pull) + scale * np.minimum(ratio, 1.0))
    return accepted & np.where(played, off <= 0, True).all(axis=-1)


def _move_to_minima(
    log_ratio: np.ndarray,
    method: np.ndarray,
    kind: np.ndarray,
    rows: np.ndarray,
    bandit: Bandit,
    advantage: np.ndarray,
    beta: float,
) -> None:
    """Beyond the principal branch: from where the flow of a regression stood to its local minimum, exactly, in place.

    Rows whose flow was still far from every minimum (an arm too rare to have moved yet) stay where they are.
    """
    for row in rows:
        behavior, scaled = bandit.behavior[row], advantage[row] / beta
        offset = -log_expectation_exp(behavior, scaled)
        # Only the arm of the largest ratio can sit on the second branch; the flow has singled it out.
        arm = int(np.argmax(np.where(behavior > 0, log_ratio[row], -np.inf)))
        minima = regression_minima(behavior, scaled + offset, float(offset), arms=(arm,))
        reached = behavior * np.exp(log_ratio[row])
        distances = [total_variation(behavior * np.exp(minimum.log_ratio), reached) for minimum in minima]
        if distances and min(distances) < SAME_BASIN:
            log_ratio[row] = minima[int(np.argmin(distances))].log_ratio
            method[row], kind[row] = "fixed point", ""


def solve_nominal(bandit: Bandit, advantage: np.ndarray, on_policy: Coefficient, algorithm: Algorithm) -> Numeric:
    """The on-policy flow's limit; for arm-wise coefficients first the fixed point of rho u, as E_pi[u] = E[rho u]."""
    rows = len(advantage)
    method = np.full(rows, "flow", dtype="<U11")
    kind = np.full(rows, "", dtype="<U14")
    log_ratio = np.full(advantage.shape, np.nan)
    todo = np.ones(rows, bool)
    coupled = algorithm.coupled and on_policy is algorithm.coefficient
    takes_behavior = algorithm.takes_behavior and on_policy is algorithm.coefficient
    if not takes_behavior:

        def weighted(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
            return np.exp(log_ratio) * on_policy(log_ratio, advantage)

        on_anchor = Bandit(bandit.anchor, bandit.reward)
        point = solve_fixed_point(weighted, bandit.anchor, advantage)
        todo = ~_is_fixed(point, on_anchor, advantage, Algorithm(weighted))
        log_ratio[~todo] = point.log_ratio[~todo]
        method[~todo] = "fixed point"
    if todo.any():
        flow = softmax_flow(
            on_policy,
            bandit.anchor[todo],
            advantage[todo],
            on_policy=True,
            coupled=coupled,
            takes_behavior=takes_behavior,
        )
        log_ratio[todo] = flow.log_ratio
        kind[todo] = np.where(flow.converged, "", "not converged")
    weights = {"behavior": bandit.behavior} if takes_behavior else {}
    values = on_policy(log_ratio, advantage, **weights)
    normalizer = expectation(bandit.anchor * np.exp(log_ratio), values)
    return Numeric(log_ratio, normalizer, method, kind, np.ones(rows))


def bound_kinks(algorithm: Algorithm, behavior: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """The algorithm's kinks as a function of the advantage alone."""
    if algorithm.kinks is None or not algorithm.takes_behavior:
        return algorithm.kinks
    return partial(algorithm.kinks, behavior=behavior)


def flat_rows(bandit: Bandit, keep: np.ndarray) -> Bandit:
    arms = bandit.arms
    reference = None if bandit.reference is None else bandit.reference.reshape(-1, arms)[keep]
    return Bandit(bandit.behavior.reshape(-1, arms)[keep], bandit.reward.reshape(-1, arms)[keep], reference)
