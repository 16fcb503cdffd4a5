"""Ratio-free policy gradients: the coefficient is the advantage, as it is or reweighted by its own value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..baseline import Baseline, Moments
from ..solution import Solution, greedy, over, regimes, solution, tilted
from ..solve.simplex import Array, expectation, first_index, log, log_expectation_exp
from .arrays import average
from .entry import Entry, positive, real

__all__ = [
    "balanced",
    "constant_coefficient",
    "exponential_advantage",
    "policy_gradient",
    "policy_gradient_objective",
    "policy_gradient_target",
    "weighted_target",
]

PROJECTED = "[mu A - tau]+ / E A"
COLLAPSE = "all mass on argmax mu A"

# --- the advantage as it is -------------------------------------------------------------------------------------------


def policy_gradient(log_ratio: Array, advantage: Array) -> Array:
    r"""$c = A$: REINFORCE on the data as they come; no ratio at all."""
    if np.broadcast_shapes(advantage.shape, log_ratio.shape) == tuple(advantage.shape):
        return advantage
    return advantage + array_namespace(log_ratio).zeros_like(log_ratio)


def policy_gradient_target(bandit: Bandit, moments: Moments) -> Solution:
    """REINFORCE and AsymRE: :func:`constant_coefficient` with g = A."""
    return constant_coefficient(
        bandit, moments.advantage, moments.mean, moments.rounding, moments.below, with_regime=True
    )


def constant_coefficient(
    bandit: Bandit,
    weight: np.ndarray,
    mean: np.ndarray,
    rounding: np.ndarray | float = 0.0,
    below: np.ndarray | None = None,
    *,
    with_regime: bool,
) -> Solution:
    r"""$c = g$ free of $\ell$: $\pi = [\mu g - \tau]_+ / E_\mu g$, $\tau \ge 0$ by normalization, where $E_\mu g > 0$.

    AsymRE, Theorem 4.2 (arXiv 2506.20520). With all $g \ge 0$, $\tau = 0$ and $\pi = \mu g/E_\mu g$. At
    $E_\mu g = 0$ the flow runs to the arms of greatest $\mu g$, which keep the proportions they have under $\mu$;
    where $E_\mu g < 0$ it runs to a vertex that depends on the start, and the row is left unsolved.

    Args:
        weight: $g$ (..., K).
        mean: $E_\mu g$ (...), as accurately as it is known.
        rounding: (...) what it may be off by beyond its own last digits.
        below: (..., K) g minus its largest value, where that is known to more digits than g: it tells apart arms
            whose weights round to the same number.
    """
    pull = np.where(bandit.behavior > 0, bandit.behavior * weight, 0.0)
    scale = np.abs(pull).sum(axis=-1)
    sign = regimes(mean, scale, bandit.arms, rounding)
    positive = sign == "positive"
    level = _projection_level(pull, np.where(positive, mean, 1.0))
    gain = np.maximum(pull - level[..., None], 0.0)
    kept = gain > 0
    # Over their own sum, which is E g but for rounding of the level.
    log_ratio = log(gain) - np.where(kept, bandit.log_behavior, 0.0) - _log_sum(gain)[..., None]
    log_ratio = np.where(kept, log_ratio, -np.inf)
    # Where no arm is cut off the plain ratio g/E g is the more accurate form, and defined for arms without data too.
    uncut = (level == 0) & (weight >= 0).all(axis=-1)
    plain = log(np.maximum(weight, 0.0)) - _log_sum(pull)[..., None]
    log_ratio = np.where(uncut[..., None], plain, log_ratio)

    top = np.where(bandit.behavior > 0, pull, -np.inf).max(axis=-1, keepdims=True)
    winners = (pull == top) & (bandit.behavior > 0)
    if below is not None:
        winners &= ~_outdone(bandit.behavior, below, winners)
    collapse = np.where(winners, -log(np.where(winners, bandit.anchor, 0.0).sum(axis=-1, keepdims=True)), -np.inf)
    boundary = sign == "boundary"
    still = boundary & (scale == 0)
    return solution(
        np.where(boundary[..., None], collapse, log_ratio),
        mean,
        # Ties at the boundary keep their proportions under mu, so the limit is one point; with no signal nothing moves.
        unique=positive | (boundary & ~still),
        face=still,
        solved=positive | boundary,
        regime=sign if with_regime else None,
    )


def _at_boundary(bandit: Bandit, moments: Moments, beta: float) -> np.ndarray:
    r"""$\log\rho = A/\beta$ (..., K) where V is the soft value, by the advantage or from the best arm's reward on.

    The advantage keeps an arm that has nearly all mass, whose log-ratio is next to 0. It loses the best arms' digits
    where others lie far below them: then $E\,e^{A/\beta}$ differs from 1.
    """
    direct = over(moments.advantage, beta)
    weights = bandit.anchor / bandit.anchor.sum(axis=-1, keepdims=True)
    tolerance = 8 * np.finfo(np.float64).eps * (1 + np.log2(bandit.arms))
    sums_to_one = np.abs(log_expectation_exp(weights, direct)) <= tolerance
    return np.where(sums_to_one[..., None], direct, tilted(bandit, over(moments.below, beta)).log_ratio)


def _outdone(behavior: np.ndarray, below: np.ndarray, winners: np.ndarray) -> np.ndarray:
    """Arms (..., K) that weigh less than the winner of greatest weight, and are played no more than it."""
    first = np.where(winners, below, -np.inf).argmax(axis=-1)[..., None]
    best, played = (np.take_along_axis(array, first, axis=-1) for array in (below, behavior))
    return (below < best) & (behavior <= played)


def _log_sum(values: np.ndarray) -> np.ndarray:
    """log of the sum over the last axis of numbers >= 0; 0 where they are all 0."""
    total = np.maximum(values, 0.0).sum(axis=-1)
    return log(np.where(total > 0, total, 1.0))


def _projection_level(pull: np.ndarray, total: np.ndarray) -> np.ndarray:
    """tau >= 0 with sum [pull - tau]_+ = total, given sum [pull]_+ >= total (Euclidean projection on the simplex)."""
    ranked = -np.sort(-pull, axis=-1)
    excess = np.cumsum(ranked, axis=-1) - total[..., None]
    counts = np.arange(1, pull.shape[-1] + 1)
    active = (ranked * counts > excess).sum(axis=-1)
    last = np.maximum(active - 1, 0)[..., None]
    level = np.take_along_axis(excess, last, axis=-1)[..., 0] / (last[..., 0] + 1)
    # Without negative pulls the level is zero, and rounding of a sum must not make it anything else.
    return np.where((pull >= 0).all(axis=-1), 0.0, np.maximum(level, 0.0))


def policy_gradient_objective(baseline: Baseline) -> Algorithm:
    """c = A."""
    return Algorithm(
        policy_gradient,
        baseline,
        induced=policy_gradient_target,
        nominal=greedy,
    )


REINFORCE = Entry(
    name="reinforce",
    title="REINFORCE on off-policy data, mean baseline",
    coefficient="A",
    target=COLLAPSE,
    family="policy gradient",
    level="sequence",
    source="Williams 1992; off-policy: arXiv 2509.24203",
    make=lambda: policy_gradient_objective(baselines.mean()),
    notes="Not the best arm but that of the largest mu A takes everything (claim reinforce.best_arm).",
    feels_splits=True,
)

RLOO = Entry(
    name="rloo",
    title="REINFORCE leave-one-out",
    coefficient="A",
    target=COLLAPSE,
    family="policy gradient",
    level="sequence",
    source="RLOO, arXiv 2402.14740",
    make=lambda: policy_gradient_objective(baselines.leave_one_out()),
    feels_splits=True,
)

ASYMRE = Entry(
    name="asymre",
    title="Asymmetric REINFORCE",
    coefficient="r - E r - shift",
    target=PROJECTED + " for shift < 0; a vertex for shift >= 0",
    family="policy gradient",
    level="sequence",
    source="AsymRE, arXiv 2506.20520",
    make=lambda shift: policy_gradient_objective(baselines.shifted_mean(shift)),
    parameters={"shift": real(-0.1, "delta V, added to the mean baseline, in units of reward", unit=1, example=-0.6)},
    notes="Equals REINFORCE plus a forward-KL penalty of weight -shift (claim asymre.chi_squared). The authors saw "
    "collapse at shift = 0.",
    feels_splits=True,
)

# --- reweighted by its own value --------------------------------------------------------------------------------------


def weighted_target(
    bandit: Bandit, moments: Moments, *, weight: Callable[..., np.ndarray], coupled: bool = False
) -> Solution:
    """A coefficient g(A) that is free of the log-ratio: :func:`constant_coefficient` with it.

    Raises:
        ValueError: g overflows on an arm that the behavior policy plays.
    """
    with np.errstate(over="ignore"):
        arguments = {"behavior": bandit.behavior} if coupled else {}
        values = weight(np.zeros_like(moments.advantage), moments.advantage, **arguments)
    seen = np.where(bandit.behavior > 0, values, 0.0)
    if not np.isfinite(seen).all():
        index = ", ".join(map(str, first_index(~np.isfinite(seen))))
        raise ValueError(f"the weight of arm [{index}] overflows; the temperature is too small for these advantages")
    unit = _power_of_two(seen)
    found = constant_coefficient(bandit, seen / unit, expectation(bandit.behavior, seen / unit), with_regime=False)
    return replace(found, normalizer=found.normalizer * unit[..., 0])


def _power_of_two(values: np.ndarray) -> np.ndarray:
    """The one (..., 1) by which the largest value of each row lies between 1/2 and 1, so that no product underflows."""
    largest = np.abs(values).max(axis=-1, keepdims=True)
    return np.ldexp(1.0, np.frexp(np.where(largest > 0, largest, 1.0))[1])


def exponential_advantage(log_ratio: Array, advantage: Array, *, temperature: float) -> Array:
    r"""$c = A\,e^{A/T}$: RED-Weight."""
    xp = array_namespace(log_ratio)
    return advantage * xp.exp(advantage / temperature) + xp.zeros_like(log_ratio)


RED_WEIGHT = Entry(
    name="red_weight",
    title="REC with advantage weights (RED-Weight)",
    coefficient="A exp(A/temperature)",
    target="[mu g - tau]+ / E g, g = A exp(A/temperature)",
    family="policy gradient",
    level="token",
    source="arXiv 2509.24203",
    make=lambda temperature: Algorithm(
        partial(exponential_advantage, temperature=temperature),
        baselines.mean(),
        induced=partial(
            weighted_target,
            weight=partial(exponential_advantage, temperature=temperature),
        ),
        nominal=greedy,
    ),
    parameters={"temperature": positive(1.0, "of the exponential weight, in units of reward", unit=1, example=0.7)},
    feels_splits=True,
)


def balanced(log_ratio: Array, advantage: Array, *, behavior: Array | None = None) -> Array:
    r"""RED-Drop in expectation: negatives in surplus are dropped at random, down to the weight of the others. Coupled.

    $c = A$ for $A \ge 0$ and $\min(1, w_{\ge 0}/w_{<0})\,A$ for $A < 0$, with $w$ the weight of either kind.
    """
    xp = array_namespace(log_ratio)
    negative = xp.astype(advantage < 0, advantage.dtype)
    share = average(negative, behavior)
    keep = xp.clip((1 - share) / xp.where(share > 0, share, xp.ones_like(share)), 0.0, 1.0)
    return xp.where(advantage < 0, keep * advantage, advantage) + array_namespace(log_ratio).zeros_like(log_ratio)


RED_DROP = Entry(
    name="red_drop",
    title="REC with surplus negatives dropped (RED-Drop)",
    coefficient="A for A >= 0, min(1, w+/w-) A for A < 0",
    target="[mu g - tau]+ / E g; collapse where negatives are not in surplus",
    family="policy gradient",
    level="sequence",
    source="arXiv 2509.24203",
    make=lambda: Algorithm(
        balanced,
        baselines.mean(),
        coupled=True,
        induced=partial(weighted_target, weight=balanced, coupled=True),
        nominal=greedy,
    ),
    notes="In expectation over which negatives are dropped. Trinity-RFT (advantage rec, drop balance) takes the "
    "mean anew over the samples that it keeps, so that their advantages sum to 0.",
    feels_splits=True,
)

ENTRIES = (
    REINFORCE,
    RLOO,
    ASYMRE,
    RED_WEIGHT,
    RED_DROP,
)
