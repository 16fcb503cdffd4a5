"""Induced and nominal targets of any algorithm on any bandit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .algorithm import Algorithm, ClosedForm, Coefficient
from .bandit import Bandit, batch_rows
from .baselines import UNITS, Moments
from .display import brief_html, long_frame, plain_values
from .given import understood, understood_algorithm
from .solution import Solution, greedy
from .solve.divergences import total_variation
from .solve.fixed_point import FixedPoint, solve_fixed_point
from .solve.flow import Flow, softmax_flow
from .solve.lambert_minima import regression_minima
from .solve.numbers import as_float64
from .solve.simplex import expectation, log, log_expectation_exp, plain

if TYPE_CHECKING:
    import polars as pl

SOLVER = 1e-9
"""Normalizers that numeric solvers cannot tell from 0, over E|c| at the behavior policy."""

SMALL = 1e-5
"""Log-ratio over which the slope of a coefficient is measured."""

SAME_BASIN = 0.05
"""Total variation within which a local minimum is taken for the one that a flow was running to."""

NARROW = 64
"""Arms up to which a flow along jumps keeps its default accuracy, 1e-5 in log-ratios."""

FLOW_SUPPORT = 1e-6
"""Arms with less probability than this at the end of a numeric flow are reported as having lost all their mass."""


@dataclass(frozen=True, eq=False)
class Target:
    r"""The policy that an update drives toward, arm by arm: $\mu c = \lambda\pi$.

    For a batch of shape (...) every scalar below is an array (...); for a single bandit it is a plain Python value.

    Attributes:
        policy: (..., K).
        log_policy: (..., K), accurate where the policy underflows; -inf where it is zero.
        log_ratio: (..., K), log(policy / anchor). On arms that the anchor never plays: the value that an arm of
            vanishing probability would have.
        normalizer: $\lambda = E_\mu[c]$ at the target, in units of the coefficient; of a nominal target the constant
            that its on-policy coefficient equals on the support.
        regime: sign of the normalizer for objectives whose sign means something ("positive": pessimistic, "boundary":
            exactly nominal, "negative": fragile), else None.
        unique: True where this is provably the only limit from the behavior policy; False where it is not, or not
            proven to be.
        support: (..., K) bool, the arms that keep mass.
        method: "closed form", "fixed point" or "flow".
        kind: "interior" (all arms of the anchor keep mass), "sparse" (some lose all), "vertex" (one has all), "face"
            (nothing moves: every policy on the support is a target; the one given is the anchor restricted to it),
            "path-dependent" (the coefficient jumps: the limit of the softmax flow from the behavior policy, other
            starts end elsewhere), "unstable" (rewards agree, so that nothing tells the arms apart and the exact update
            rests at the behavior policy, which is given; the slightest push takes it away, to one of several limits)
            or "not converged" (the flow still moved at the end of its time; the policy it had reached is given).
        face: (..., K) bool, arms that tie: their joint mass could be divided in any other way (each arm up to the
            objective's cap, where it has one) and the policy still be stationary. The policy given is where the flow
            from the anchor goes: the arm that the anchor plays most takes what it can, then the next
            (docs/theory/ties.md).
            All False where the target stands alone, or was found numerically.
        rate: tied arms that lose everything fall like time^-rate; 0 where there is none.

    >>> import pessimism as ps
    >>> target = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [1, 1, 0]), ps.algorithm("verl.tis"))
    >>> target.policy.tolist(), target.kind, target.face.tolist(), target.rate
    ([1.0, 0.0, 0.0], 'vertex', [True, True, False], 0.5)
    """

    policy: np.ndarray
    log_policy: np.ndarray
    log_ratio: np.ndarray
    normalizer: Any
    regime: Any
    unique: Any
    support: np.ndarray
    method: Any
    kind: Any
    face: np.ndarray
    rate: Any

    def __len__(self) -> int:
        """Targets along the first axis of the batch."""
        if self.policy.ndim == 1:
            raise TypeError("this is one target, not a batch; len(target.policy) is the number of its arms")
        return len(self.policy)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: Any) -> Target:
        """The target, or the batch, at an index of the batch's axes.

        >>> import pessimism as ps
        >>> batch = ps.induced_target(ps.Bandit([[0.5, 0.5], [0.2, 0.8]], [0, 1]), ps.algorithm("dro", beta=1))
        >>> batch[1].policy.round(3), batch[1].kind
        (array([0.088, 0.912]), 'interior')
        """
        rows = batch_rows(self.policy.shape[:-1], index, "target")
        found: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{name: plain(value[rows]) for name, value in found.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values; infinities stay infinities."""
        names = ("policy", "log_ratio", "normalizer", "regime", "unique", "support", "method", "kind", "face", "rate")
        return plain_values({name: getattr(self, name) for name in names})

    def to_polars(self) -> pl.DataFrame:
        """A line for every arm (of every row of the batch, which ``row`` counts): what it gets and what its row is.

        Raises:
            ValueError: polars is not installed.
        """
        rows, arms = int(np.prod(self.policy.shape[:-1], dtype=int)), self.policy.shape[-1]
        by_arm = {name: getattr(self, name).reshape(rows, arms) for name in ("policy", "log_ratio", "support", "face")}
        names = ("normalizer", "regime", "unique", "method", "kind", "rate")
        of_row = {n: np.reshape(value, rows) for n in names if (value := getattr(self, n)) is not None}
        frame = long_frame({"row": rows, "arm": arms}, by_arm | of_row)
        return frame if self.policy.ndim > 1 else frame.drop("row")

    _repr_html_ = brief_html

    def __repr__(self) -> str:
        if self.policy.ndim > 1:
            return f"Target(batch shape {self.policy.shape[:-1]}, {self.policy.shape[-1]} arms)"
        arms = np.array2string(self.policy, precision=6, threshold=12)
        return f"Target({arms}, normalizer={self.normalizer:.6g}, regime={self.regime}, {self.kind}, {self.method})"


def induced_target(bandit: Bandit, algorithm: Algorithm | str) -> Target:
    r"""The policy that the update really drives toward: where $E_\mu[c\,\nabla\log\pi]$ stops.

    Args:
        bandit: one, or a batch.
        algorithm: an :class:`Algorithm`, or text that names one: "oapl:beta1=1,beta2=.5" of the catalogue, or your own
            as "module:name" or "file.py:name".

    Objectives whose coefficient jumps (clipped ones) are known to 1e-5 in log-ratios up to 64 arms, and to about a
    twentieth of the clip range, at most 1e-2, beyond.

    In closed form where the algorithm has one; otherwise the fixed point $c(\log\rho, A) = \lambda\rho$ if all arms
    keep mass, and else the limit of the softmax gradient flow from the behavior policy.

    Raises:
        ValueError: the bandit has a reference and the algorithm's ratio is an importance ratio; or the coefficient
            returns NaN.

    >>> import pessimism as ps
    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> target = ps.induced_target(bandit, ps.algorithm("shifted_mean", beta=0.5))
    >>> target.policy.round(6), round(target.normalizer, 6), target.regime
    (array([0.39316 , 0.235896, 0.370944]), 0.534383, 'positive')
    """
    bandit, algorithm = understood(bandit, algorithm)
    _check_anchor(bandit, algorithm)
    return _induced(bandit, _moments(bandit, algorithm), algorithm)


def _induced(bandit: Bandit, moments: Moments, algorithm: Algorithm) -> Target:
    def numeric(rows: Bandit, rows_moments: Moments) -> _Numeric:
        return _solve_induced(rows, rows_moments.advantage, algorithm)

    ratio_free = not algorithm.carries_ratio and not algorithm.coupled
    return _target(bandit, moments, algorithm.induced, numeric, with_regime=ratio_free)


def group_target(reward: ArrayLike, algorithm: Algorithm | str) -> Target:
    r"""The induced target of sampled groups: where the update would stop if these samples were all there is.

    Every sample is an arm of probability 1/G, and its advantage is the one that a trainer gives it: baselines that
    treat a sample differently from an arm (leave-one-out, unbiased deviations, a missing log G) do so here. Mass that
    goes to completions which nobody sampled is left out: docs/theory.md says when it matters.

    Args:
        reward: (..., G) of the samples of each group.
        algorithm: any, or text that names one, as in :func:`induced_target`.

    Raises:
        ValueError: rewards that are not finite, or groups too small for the baseline.

    >>> import pessimism as ps
    >>> target = group_target([[0, 0, 0, 1], [0, 0, 0, 0]], ps.algorithm("oapl", beta1=1, beta2=0.5))
    >>> target.regime.tolist(), target.log_ratio[0].round(4)
    (['positive', 'boundary'], array([-0.7721, -0.7721, -0.7721,  0.9608]))
    """
    algorithm = understood_algorithm(algorithm)
    rewards = as_float64("reward", reward)
    if rewards.ndim == 0 or rewards.size == 0:
        raise ValueError(f"reward has shape {rewards.shape}; a group needs at least one sample")
    groups = Bandit(np.full(rewards.shape, 1 / rewards.shape[-1]), rewards)
    return _induced(groups, algorithm.baseline.sampled(rewards, algorithm.beta), algorithm)


def regression_regime(advantage: ArrayLike, weights: ArrayLike, beta: float, size: ArrayLike = 0.0) -> np.ndarray:
    r"""Sign of the normalizer at the target of the log-ratio regression $A - \beta\ell$, without solving for either.

    The target is pessimistic where the baseline is below the soft value, that is where $\log E\,e^{A/\beta} > 0$.

    Args:
        advantage: (..., K).
        weights: (..., K).
        beta: in units of the advantage.
        size: (...) or one number: the largest of the rewards (in magnitude) that the advantages are differences of,
            where those are much larger than the advantages.

    Returns:
        (...) 1 (positive regime), 0 (boundary) or -1 (negative). Boundary is what rounding of the advantages, in their
        own type, cannot tell from it: a few times its epsilon times the largest advantage, or ``size``, over beta.

    >>> regression_regime([[0.5, -0.5], [0.0, -1.0], [1.0, 1.0]], [0.5, 0.5], beta=1.0)
    array([ 1., -1.,  1.])
    """
    given, share = np.asarray(advantage), np.asarray(weights, dtype=np.float64)
    kind = given.dtype if given.dtype.kind == "f" else np.dtype(np.float64)
    exponents = given.astype(np.float64) / beta
    height = log_expectation_exp(share / share.sum(axis=-1, keepdims=True), exponents)
    largest = np.where(share > 0, np.abs(exponents), 0.0).max(axis=-1)
    scale = np.maximum(largest, np.abs(np.asarray(size, dtype=np.float64)) / beta)
    tolerance = UNITS * np.finfo(kind).eps * (1 + np.log2(exponents.shape[-1])) * scale
    return np.where(np.abs(height) <= tolerance, 0.0, np.sign(height))


def nominal_target(bandit: Bandit, algorithm: Algorithm | str) -> Target:
    r"""The policy that the algorithm claims to drive toward.

    That is where the same update would stop on data from $\pi$ itself, $E_\pi[u\,\nabla\log\pi] = 0$, with $u$ its
    on-policy coefficient; for objectives derived as projections onto a tilted policy (AWR, TPO, RoiRL) that policy, and
    for IPO, whose win rates are against the behavior policy by definition, its own fixed point.

    >>> import pessimism as ps
    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> ps.nominal_target(bandit, ps.algorithm("shifted_mean", beta=0.5)).policy.round(6)
    array([0.219509, 0.131705, 0.648786])
    """
    bandit, algorithm = understood(bandit, algorithm)
    _check_anchor(bandit, algorithm)
    moments = _moments(bandit, algorithm)
    on_policy = algorithm.on_policy or algorithm.coefficient
    closed_form = algorithm.nominal
    takes_behavior = algorithm.takes_behavior and algorithm.on_policy is None
    if closed_form is None and not takes_behavior and _free_of_log_ratio(on_policy, moments.advantage):
        closed_form = _greedy_in(on_policy)

    def numeric(rows: Bandit, rows_moments: Moments) -> _Numeric:
        return _solve_nominal(rows, rows_moments.advantage, on_policy, algorithm)

    return _target(bandit, moments, closed_form, numeric, with_regime=False)


def gradient_flow(bandit: Bandit, algorithm: Algorithm | str, **options: Any) -> Flow:
    r"""The softmax gradient flow of the update from the behavior policy: an oracle independent of every closed form.

    $\dot\theta_y = \mu(y)\,c(\ell(y), A(y)) - \pi(y)\,E_\mu[c]$, $\pi = \mathrm{softmax}(\theta)$. Options are those of
    :func:`pessimism.solve.flow.softmax_flow`: ``t_max``, ``rtol``, ``keep``, ...

    >>> import pessimism as ps
    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> algorithm = ps.algorithm("shifted_mean", beta=0.5)
    >>> flow = ps.gradient_flow(bandit, algorithm)
    >>> bool(abs(flow.policy - ps.induced_target(bandit, algorithm).policy).max() < 1e-6)
    True
    """
    bandit, algorithm = understood(bandit, algorithm)
    _check_anchor(bandit, algorithm)
    moments = _moments(bandit, algorithm)
    options = {
        "kinks": _bound_kinks(algorithm, bandit.behavior),
        "reference": bandit.reference,
        "coupled": algorithm.coupled,
        "takes_behavior": algorithm.takes_behavior,
    } | options
    return softmax_flow(algorithm.coefficient, bandit.behavior, moments.advantage, **options)


def _moments(bandit: Bandit, algorithm: Algorithm) -> Moments:
    return algorithm.baseline.exact(bandit.reward, bandit.behavior, bandit.reference, algorithm.beta)


# --- closed form first, then fixed point, then flow -----------------------------------------------------------------


@dataclass(frozen=True)
class _Numeric:
    """What the numeric routes found for a flat batch (B, K)."""

    log_ratio: np.ndarray
    normalizer: np.ndarray
    method: np.ndarray
    kind: np.ndarray  # "" where it follows from the support
    scale: np.ndarray  # E|c| at the behavior policy, to which solvers' tolerances are relative


def _target(
    bandit: Bandit,
    moments: Moments,
    closed_form: ClosedForm | None,
    numeric: Callable[[Bandit, Moments], _Numeric],
    with_regime: bool,
) -> Target:
    shape, arms = bandit.batch_shape, bandit.arms
    rows = int(np.prod(shape, dtype=int))
    found = None if closed_form is None else closed_form(bandit, moments)
    if found is not None and found.solved.all():
        return _assemble(bandit, found)

    open_rows = np.ones(rows, bool) if found is None else ~found.solved.reshape(rows)
    flat = _rows(bandit, open_rows)
    result = numeric(flat, moments.rows(open_rows))

    log_ratio = np.full((rows, arms), np.nan) if found is None else found.log_ratio.reshape(rows, arms).copy()
    normalizer = np.full(rows, np.nan) if found is None else found.normalizer.reshape(rows).copy()
    log_ratio[open_rows], normalizer[open_rows] = result.log_ratio, result.normalizer
    method = np.full(rows, "closed form")
    method[open_rows] = result.method
    kind = np.full(rows, "", dtype="<U14")
    kind[open_rows] = result.kind
    unique = np.zeros(rows, bool) if found is None else found.unique.reshape(rows) & ~open_rows
    face = np.zeros(rows, bool) if found is None else found.face.reshape(rows) & ~open_rows
    regime = None
    if found is not None and found.regime is not None:
        regime = found.regime.reshape(shape)
    elif with_regime:
        regime = np.full(rows, "boundary", dtype="<U8")
        regime[open_rows] = _numeric_regime(result)
        regime = regime.reshape(shape)
    closed = ~open_rows.reshape(shape)
    solution = Solution(
        log_ratio.reshape(*shape, arms),
        normalizer.reshape(shape),
        unique.reshape(shape),
        face.reshape(shape),
        np.ones(shape, bool),
        regime,
        None if found is None or found.tied is None else found.tied & closed[..., None],
        None if found is None or found.rate is None else np.where(closed, found.rate, 0.0),
    )
    return _assemble(bandit, solution, method.reshape(shape), kind.reshape(shape))


def _assemble(
    bandit: Bandit, found: Solution, method: np.ndarray | None = None, kind: np.ndarray | None = None
) -> Target:
    log_policy = (bandit.log_behavior if bandit.reference is None else log(bandit.anchor)) + found.log_ratio
    policy = np.exp(log_policy)
    # A policy may underflow without being zero: only a log-ratio of -inf loses an arm.
    support = log_policy > -np.inf
    if method is not None:
        support = np.where((method == "flow")[..., None], policy > FLOW_SUPPORT, support)
    else:
        method = np.full(bandit.batch_shape, "closed form")
    count = support.sum(axis=-1)
    played = (bandit.anchor > 0).sum(axis=-1)
    alone = played == 1  # there is only one policy
    shape_kind = np.select(
        [found.face & ~alone, (count == 1) & (played > 1), count < played],
        ["face", "vertex", "sparse"],
        default="interior",
    )
    kind = shape_kind if kind is None else np.where((kind != "") & (shape_kind != "vertex"), kind, shape_kind)
    return Target(
        policy=policy,
        log_policy=log_policy,
        log_ratio=found.log_ratio,
        normalizer=plain(found.normalizer),
        regime=None if found.regime is None else plain(found.regime),
        unique=plain(found.unique | alone),
        support=support,
        method=plain(method),
        kind=plain(kind),
        face=_face(bandit, found),
        rate=plain(
            np.zeros(bandit.batch_shape) if found.rate is None else np.broadcast_to(found.rate, bandit.batch_shape)
        ),
    )


def _face(bandit: Bandit, found: Solution) -> np.ndarray:
    """Arms whose mass could be divided in any other way: those that tie, or all of the support where nothing moves."""
    still = found.face[..., None] & (found.log_ratio > -np.inf) & (bandit.anchor > 0)
    return still if found.tied is None else still | found.tied


def _solve_induced(bandit: Bandit, advantage: np.ndarray, algorithm: Algorithm) -> _Numeric:
    """Fixed point, or flow where there is none with full support or the coefficient jumps."""
    rows, arms = advantage.shape
    method = np.full(rows, "flow", dtype="<U11")
    kind = np.full(rows, "path-dependent" if algorithm.kinks else "", dtype="<U14")
    log_ratio = np.full((rows, arms), np.nan)
    resting = _rests_unstably(bandit, advantage, algorithm)
    log_ratio[resting], method[resting], kind[resting] = 0.0, "fixed point", "unstable"
    todo = ~resting
    options: dict[str, Any] = {"coupled": algorithm.coupled, "takes_behavior": algorithm.takes_behavior}
    if algorithm.kinks is None and todo.any():
        open_, gain = _rows(bandit, todo), advantage[todo]
        point = solve_fixed_point(algorithm.coefficient, open_.behavior, gain, reference=open_.reference, **options)
        found = _is_fixed(point, open_, gain, algorithm)
        fixed = np.flatnonzero(todo)[found]
        log_ratio[fixed], method[fixed], todo[fixed] = point.log_ratio[found], "fixed point", False
    if todo.any():
        rest = _rows(bandit, todo)
        flow = softmax_flow(
            algorithm.coefficient,
            rest.behavior,
            advantage[todo],
            reference=rest.reference,
            kinks=_bound_kinks(algorithm, rest.behavior),
            **options,
            **_wide_options(rest, advantage[todo], algorithm),
        )
        log_ratio[todo] = flow.log_ratio
        kind[todo] = np.where(flow.converged, kind[todo], "not converged")
        if algorithm.beta is not None and bandit.reference is None:
            _move_to_minima(log_ratio, method, kind, np.flatnonzero(todo), bandit, advantage, algorithm.beta)
    values = algorithm.coefficient(log_ratio, advantage, **algorithm.weights(bandit.behavior))
    scale = _start_scale(bandit, advantage, algorithm)
    return _Numeric(log_ratio, expectation(bandit.behavior, values), method, kind, scale)


def _wide_options(bandit: Bandit, advantage: np.ndarray, algorithm: Algorithm) -> dict[str, Any]:
    """Options of the flow where more than ``NARROW`` arms may meet a jump: none, or a wider ramp in place of a jump.

    Every arrival at a jump takes dozens of steps at the default width, so that many arms would run out of them. The
    ramp is 1% of a log-ratio to either side, and never more than a twentieth of the way to a jump; the limit moves by
    about as much.
    """
    kinks = _bound_kinks(algorithm, bandit.behavior)
    if kinks is None or bandit.arms <= NARROW:
        return {}
    places = np.abs(np.asarray(kinks(advantage), dtype=np.float64))
    nearest = places[np.isfinite(places) & (places > 0)].min(initial=1.0)
    band = float(np.clip(nearest / 20, 1e-5, 1e-2))
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


def _solve_nominal(bandit: Bandit, advantage: np.ndarray, on_policy: Coefficient, algorithm: Algorithm) -> _Numeric:
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
    return _Numeric(log_ratio, normalizer, method, kind, np.ones(rows))


def _bound_kinks(algorithm: Algorithm, behavior: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """The algorithm's kinks as a function of the advantage alone."""
    if algorithm.kinks is None or not algorithm.takes_behavior:
        return algorithm.kinks
    return partial(algorithm.kinks, behavior=behavior)


def _free_of_log_ratio(coefficient: Coefficient, advantage: np.ndarray) -> bool:
    """Whether the coefficient ignores its log-ratio, tried at several values on these very advantages."""
    probes = [coefficient(np.full_like(advantage, value), advantage) for value in (0.0, -2.5, 0.7)]
    return all(np.array_equal(probes[0], probe) for probe in probes[1:])


def _greedy_in(on_policy: Coefficient) -> ClosedForm:
    def closed_form(bandit: Bandit, moments: Moments) -> Solution:
        score = on_policy(np.zeros_like(moments.advantage), moments.advantage)
        return greedy(bandit, replace(moments, advantage=score))

    return closed_form


def _check_anchor(bandit: Bandit, algorithm: Algorithm) -> None:
    if bandit.reference is not None and algorithm.anchor == "behavior":
        raise ValueError(
            f"the bandit has a reference, but {algorithm.name!r} measures its log-ratio from the behavior policy; "
            "leave the reference out"
        )


def _numeric_regime(found: _Numeric) -> np.ndarray:
    """Signs of normalizers that are known to the tolerance of a solver, not to rounding."""
    sign = np.where(np.abs(found.normalizer) <= SOLVER * found.scale, 0.0, np.sign(found.normalizer))
    return np.select([sign > 0, sign < 0], ["positive", "negative"], "boundary")


def _rows(bandit: Bandit, keep: np.ndarray) -> Bandit:
    arms = bandit.arms
    reference = None if bandit.reference is None else bandit.reference.reshape(-1, arms)[keep]
    return Bandit(bandit.behavior.reshape(-1, arms)[keep], bandit.reward.reshape(-1, arms)[keep], reference)
