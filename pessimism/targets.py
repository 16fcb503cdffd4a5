"""Induced and nominal targets of any algorithm on any bandit: in closed form where there is one, else numerically."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .algorithm import Algorithm, ClosedForm, Coefficient
from .bandit import Bandit
from .baseline import UNITS, Moments
from .compose import has_context, placed
from .given import understood, understood_algorithm
from .numeric_targets import Numeric, bound_kinks, flat_rows, solve_induced, solve_nominal
from .solution import Solution, greedy
from .solve.flow import Flow, softmax_flow
from .solve.numbers import as_float64
from .solve.simplex import log, log_expectation_exp, plain
from .target import Target, stacked

SOLVER = 1e-9
"""Normalizers that numeric solvers cannot tell from 0, over E|c| at the behavior policy."""

FLOW_SUPPORT = 1e-6
"""Arms with less probability than this at the end of a numeric flow are reported as having lost all their mass."""


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
    if has_context(bandit, algorithm):
        return _each(induced_target, bandit, algorithm)
    _check_anchor(bandit, algorithm)
    return _induced(bandit, _moments(bandit, algorithm), algorithm)


def _each(target: Callable[[Bandit, Algorithm], Target], bandit: Bandit, algorithm: Algorithm) -> Target:
    """Targets of a batch with a proximal policy, or a KL term to a reference: one bandit at a time."""
    if not bandit.batch_shape:
        return target(*placed(bandit, algorithm))
    found = [target(*placed(bandit[index], algorithm)) for index in np.ndindex(bandit.batch_shape)]
    return stacked(found, bandit.batch_shape)


def _induced(bandit: Bandit, moments: Moments, algorithm: Algorithm) -> Target:
    def numeric(rows: Bandit, rows_moments: Moments) -> Numeric:
        return solve_induced(rows, rows_moments.advantage, algorithm)

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
    groups = group_bandit(reward)
    return _induced(groups, sampled_moments(groups, algorithm), algorithm)


def group_nominal_target(reward: ArrayLike, algorithm: Algorithm | str) -> Target:
    """The nominal target of sampled groups, with the advantages that a trainer gives the samples; (..., G) rewards.

    >>> import pessimism as ps
    >>> group_nominal_target([0, 0, 0, 1], ps.algorithm("oapl", beta1=1, beta2=0.5)).log_ratio.round(4)
    array([-0.9545, -0.9545, -0.9545,  1.0455])
    """
    algorithm = understood_algorithm(algorithm)
    groups = group_bandit(reward)
    return _nominal(groups, sampled_moments(groups, algorithm), algorithm)


def group_bandit(reward: ArrayLike) -> Bandit:
    """The bandit of the samples of groups (..., G): each of them an arm of probability 1/G.

    Raises:
        ValueError: no sample, or rewards that are not finite.
    """
    rewards = as_float64("reward", reward)
    if rewards.ndim == 0 or rewards.size == 0:
        raise ValueError(f"reward has shape {rewards.shape}; a group needs at least one sample")
    return Bandit(np.full(rewards.shape, 1 / rewards.shape[-1]), rewards)


def sampled_moments(groups: Bandit, algorithm: Algorithm) -> Moments:
    """The advantages that a trainer gives the samples of groups."""
    return algorithm.baseline.sampled(groups.reward, algorithm.beta)


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
    if has_context(bandit, algorithm):
        return _each(nominal_target, bandit, algorithm)
    _check_anchor(bandit, algorithm)
    return _nominal(bandit, _moments(bandit, algorithm), algorithm)


def both_targets(bandit: Bandit, algorithm: Algorithm) -> tuple[Target, Target]:
    """The induced and the nominal target, as the two functions give them, with the advantages computed once."""
    if has_context(bandit, algorithm):
        return induced_target(bandit, algorithm), nominal_target(bandit, algorithm)
    _check_anchor(bandit, algorithm)
    moments = _moments(bandit, algorithm)
    return _induced(bandit, moments, algorithm), _nominal(bandit, moments, algorithm)


def _nominal(bandit: Bandit, moments: Moments, algorithm: Algorithm) -> Target:
    on_policy = algorithm.on_policy or algorithm.coefficient
    closed_form = algorithm.nominal
    takes_behavior = algorithm.takes_behavior and algorithm.on_policy is None
    if closed_form is None and not takes_behavior and _free_of_log_ratio(on_policy, moments.advantage):
        closed_form = _greedy_in(on_policy)

    def numeric(rows: Bandit, rows_moments: Moments) -> Numeric:
        return solve_nominal(rows, rows_moments.advantage, on_policy, algorithm)

    return _target(bandit, moments, closed_form, numeric, with_regime=False)


def gradient_flow(bandit: Bandit, algorithm: Algorithm | str, **options: Any) -> Flow:
    r"""The softmax gradient flow of the update from the behavior policy: an oracle independent of every closed form.

    $\dot\theta_y = \mu(y)\,c(\ell(y), A(y)) - \pi(y)\,E_\mu[c]$, $\pi = \mathrm{softmax}(\theta)$. Options are those of
    :func:`pessimism.solve.softmax_flow`: ``t_max``, ``rtol``, ``keep``, ...

    >>> import pessimism as ps
    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> algorithm = ps.algorithm("shifted_mean", beta=0.5)
    >>> flow = ps.gradient_flow(bandit, algorithm)
    >>> bool(abs(flow.policy - ps.induced_target(bandit, algorithm).policy).max() < 1e-6)
    True
    """
    bandit, algorithm = understood(bandit, algorithm)
    if algorithm.switches:
        raise ValueError(
            f"{algorithm} jumps where no single log-ratio says; induced_target follows its flow in small steps"
        )
    if has_context(bandit, algorithm):
        if bandit.batch_shape:
            raise ValueError("the flow with a proximal policy, or a KL term to a reference, is of one bandit at a time")
        bandit, algorithm = placed(bandit, algorithm)
    _check_anchor(bandit, algorithm)
    moments = _moments(bandit, algorithm)
    options = {
        "kinks": bound_kinks(algorithm, bandit.behavior),
        "reference": bandit.reference,
        "coupled": algorithm.coupled,
        "takes_behavior": algorithm.takes_behavior,
    } | options
    return softmax_flow(algorithm.coefficient, bandit.behavior, moments.advantage, **options)


def _moments(bandit: Bandit, algorithm: Algorithm) -> Moments:
    return algorithm.baseline.exact(bandit.reward, bandit.behavior, bandit.reference, algorithm.beta)


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


# --- closed form first, then numerically -----------------------------------------------------------------------------


def _target(
    bandit: Bandit,
    moments: Moments,
    closed_form: ClosedForm | None,
    numeric: Callable[[Bandit, Moments], Numeric],
    with_regime: bool,
) -> Target:
    shape, arms = bandit.batch_shape, bandit.arms
    rows = int(np.prod(shape, dtype=int))
    found = None if closed_form is None else closed_form(bandit, moments)
    if found is not None and found.solved.all():
        return _assemble(bandit, found)

    open_rows = np.ones(rows, bool) if found is None else ~found.solved.reshape(rows)
    flat = flat_rows(bandit, open_rows)
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


def _numeric_regime(found: Numeric) -> np.ndarray:
    """Signs of normalizers that are known to the tolerance of a solver, not to rounding."""
    sign = np.where(np.abs(found.normalizer) <= SOLVER * found.scale, 0.0, np.sign(found.normalizer))
    return np.select([sign > 0, sign < 0], ["positive", "negative"], "boundary")
