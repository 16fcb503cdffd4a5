"""Targets in closed form, batched: one function per family of coefficients.

Each takes a bandit and the moments of its advantages and returns a :class:`Solution`. Sources: theory derived for this
project unless a paper is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from . import coefficients
from .bandit import Bandit
from .baselines import UNITS, Moments
from .solve.lambert import LambertSolution, solve_fixed_kappa, solve_lambert
from .solve.simplex import any_arm, expectation, first_index, log, log_expectation_exp


@dataclass(frozen=True)
class Solution:
    """Targets of a batch as a closed form gives them.

    Attributes:
        log_ratio: (..., K), relative to the anchor; -inf on arms that lose all their mass.
        normalizer: (...), E_mu[c] at the target.
        unique: (...) bool, whether this is the only stationary point that the flow from the behavior policy can reach.
        face: (...) bool, whether the flow singles out none of the policies on the support, all of them targets; the one
            given is then the anchor restricted to the support.
        solved: (...) bool; rows that this closed form does not cover are False and NaN, and left to numeric routes.
        regime: (...) str, "positive" | "boundary" | "negative", or None where regimes mean nothing.
        tied: (..., K) bool, arms whose joint mass could be divided in any other way (each up to the objective's cap)
            and the policy still be stationary; the division given is where the flow goes. None for no such arms.
        rate: (...), tied arms that lose fall like t^-rate; 0 where none does. None for zeros.
    """

    log_ratio: np.ndarray
    normalizer: np.ndarray
    unique: np.ndarray
    face: np.ndarray
    solved: np.ndarray
    regime: np.ndarray | None = None
    tied: np.ndarray | None = None
    rate: np.ndarray | None = None


def solution(
    log_ratio: np.ndarray,
    normalizer: np.ndarray | float,
    *,
    unique: np.ndarray | bool = True,
    face: np.ndarray | bool = False,
    solved: np.ndarray | bool = True,
    regime: np.ndarray | None = None,
    tied: np.ndarray | None = None,
    rate: np.ndarray | None = None,
) -> Solution:
    shape = log_ratio.shape[:-1]
    solved = np.broadcast_to(solved, shape)
    normalizer = np.broadcast_to(normalizer, shape)
    if not solved.all():
        log_ratio = np.where(solved[..., None], log_ratio, np.nan)
        normalizer = np.where(solved, normalizer, np.nan)
    return Solution(
        log_ratio,
        normalizer,
        np.broadcast_to(unique, shape),
        np.broadcast_to(face, shape),
        solved,
        regime,
        tied,
        rate,
    )


def regimes(normalizer: np.ndarray, scale: np.ndarray, arms: int, rounding: np.ndarray | float = 0.0) -> np.ndarray:
    """Sign of the normalizer (...) as a regime: "boundary" where rounding hides it.

    That is the rounding of a sum of size ``scale`` in double precision, and ``rounding``: what the baseline is off by
    (see :class:`~pessimism.baselines.Moments`).
    """
    tolerance = UNITS * np.finfo(np.float64).eps * (1 + np.log2(arms)) * scale + rounding
    signs = np.where(normalizer > tolerance, "positive", np.where(normalizer < -tolerance, "negative", "boundary"))
    return signs.astype("<U8")


def _regimes(found: LambertSolution, arms: int, rounding: np.ndarray) -> np.ndarray:
    # The principal branch is lost only where the baseline lies far above the soft value.
    return np.where(found.exists, regimes(found.kappa, found.error_scale, arms, rounding), "negative")


def lambert(bandit: Bandit, moments: Moments, *, beta: float) -> Solution:
    r"""Lambert-tempered target of $c = A - \beta\ell$: $\beta\log\rho + \lambda\rho = A$, $E_\mu\rho = 1$.

    It solves $\max_\pi E_\pi r - \beta\,\mathrm{KL}(\pi\|\mu) - (\lambda/2)\,\chi^2(\pi\|\mu)$. With a reference
    $\pi_{ref}$ it is $\beta\log(\pi/\pi_{ref}) + \lambda\pi/\mu = A$, and arms that the data never show get nothing
    while $\lambda > 0$; at $\lambda = 0$ they share, in any way, what the covered arms leave.

    Rows in the negative regime whose baseline exceeds the soft value by more than the critical offset have no solution
    on the principal branch and are left unsolved.
    """
    advantage, deviation = (_over(part, beta) for part in (moments.advantage, moments.deviation))
    mean, rounding = moments.mean / beta, moments.rounding / beta
    uncovered = bandit.reference is not None and bool(((bandit.behavior == 0) & (bandit.reference > 0)).any())
    if moments.soft_temperature == beta and not uncovered:
        return solution(_at_boundary(bandit, moments, beta), 0.0, regime=np.full(bandit.batch_shape, "boundary"))
    if bandit.reference is None:
        found = solve_lambert(bandit.behavior, advantage, deviation, mean)
        regime = _regimes(found, bandit.arms, rounding)
        return solution(
            found.log_ratio,
            beta * found.kappa,
            unique=regime != "negative",
            solved=found.exists,
            regime=regime,
        )
    return _anchored_lambert(bandit, advantage, deviation, mean, rounding, beta)


def _at_boundary(bandit: Bandit, moments: Moments, beta: float) -> np.ndarray:
    r"""$\log\rho = A/\beta$ (..., K) where V is the soft value, by the advantage or from the best arm's reward on.

    The advantage keeps an arm that has nearly all mass, whose log-ratio is next to 0. It loses the best arms' digits
    where others lie far below them: then $E\,e^{A/\beta}$ differs from 1.
    """
    direct = _over(moments.advantage, beta)
    weights = bandit.anchor / bandit.anchor.sum(axis=-1, keepdims=True)
    tolerance = 8 * np.finfo(np.float64).eps * (1 + np.log2(bandit.arms))
    sums_to_one = np.abs(log_expectation_exp(weights, direct)) <= tolerance
    return np.where(sums_to_one[..., None], direct, _tilted(bandit, _over(moments.below, beta)).log_ratio)


def _over(values: np.ndarray, beta: float) -> np.ndarray:
    """values / beta (..., K), or a ValueError where that leaves the floats."""
    with np.errstate(over="ignore"):
        divided = values / beta
    if not np.isfinite(divided).all():
        index = ", ".join(map(str, first_index(~np.isfinite(divided))))
        raise ValueError(f"advantage[{index}] / beta overflows; beta = {beta:g} is too small for these rewards")
    return divided


def _anchored_lambert(
    bandit: Bandit, advantage: np.ndarray, deviation: np.ndarray, mean: np.ndarray, rounding: np.ndarray, beta: float
) -> Solution:
    assert bandit.reference is not None
    covered = bandit.behavior > 0
    coverage = np.where(covered, bandit.reference, 1.0) / np.where(covered, bandit.behavior, 1.0)
    uncovered = ~covered & (bandit.reference > 0)
    reserve = np.where(uncovered, bandit.reference, 0.0).sum(axis=-1)
    found = solve_lambert(bandit.behavior, advantage, deviation, mean, coverage, reserve)
    regime = _regimes(found, bandit.arms, rounding)
    kept = expectation(np.where(covered, bandit.reference, 0.0), np.exp(np.where(covered, found.log_ratio, 0.0)))
    left = np.where((found.kappa <= 0) & uncovered.any(axis=-1), np.maximum(1 - kept, 0.0), 0.0)
    share = log(left) - log(np.where(reserve > 0, reserve, 1.0))
    log_ratio = np.where(covered, found.log_ratio, share[..., None])
    several = (left > 0) & (uncovered.sum(axis=-1) > 1)
    return solution(
        log_ratio,
        beta * found.kappa,
        unique=(regime != "negative") & ~several,
        face=several,
        solved=found.exists,
        regime=regime,
    )


def gibbs(bandit: Bandit, moments: Moments, *, beta: float, centered: bool = False) -> Solution:
    r"""$\pi \propto \pi_0\,e^{r/\beta}$ with $\pi_0$ the anchor: $\max_\pi E_\pi r - \beta\,\mathrm{KL}(\pi\|\pi_0)$.

    The normalizer is the constant $A - \beta\log(\pi/\pi_0) = V^*_\beta - V$, or 0 for a ``centered`` coefficient.
    """
    found = _tilted(bandit, _over(moments.below, beta))
    if centered:
        return found
    return solution(found.log_ratio, moments.mean - beta * expectation(bandit.behavior, found.log_ratio))


def win_rate_gibbs(bandit: Bandit, moments: Moments, *, tau: float) -> Solution:
    r"""IPO's target $\pi \propto \mu\,e^{p/\tau}$, $p(y) = E_{b\sim\mu}\,\sigma(r(y) - r(b))$ (arXiv 2310.12036)."""
    rows = moments.advantage.reshape(-1, bandit.arms)
    weights = bandit.behavior.reshape(-1, bandit.arms)
    wins = np.empty_like(rows)
    for arm in range(bandit.arms):  # one arm at a time keeps memory at the size of the input
        wins[:, arm] = expectation(weights, expit(rows[:, arm : arm + 1] - rows))
    return _tilted(bandit, wins.reshape(moments.advantage.shape) / tau)


def tilted_by_score(bandit: Bandit, moments: Moments, *, eta: float) -> Solution:
    r"""TPO's target $q \propto \mu\,e^{z/\eta}$, z the advantage (a within-group z-score; arXiv 2604.06159)."""
    return _tilted(bandit, _over(moments.below, eta))


def _tilted(bandit: Bandit, exponent: np.ndarray) -> Solution:
    anchor = bandit.anchor
    top = np.where(anchor > 0, exponent, -np.inf).max(axis=-1, keepdims=True)
    below = np.where(exponent <= top, exponent - top, 0.0)
    log_ratio = below - log_expectation_exp(anchor / anchor.sum(axis=-1, keepdims=True), below)[..., None]
    return solution(log_ratio, 0.0)


def mixed_link(bandit: Bandit, moments: Moments, *, beta: float, alpha: float, carries_ratio: bool) -> Solution:
    r"""$\beta\log\rho + \alpha\rho = r - v$ with $\alpha$ given and v the normalizing constant.

    $\chi$PO ($\alpha = \beta$; arXiv 2407.13399), and conservative Q-learning, whose fixed point is the
    Lambert-tempered target with $\lambda = \alpha$.
    """
    log_ratio, shift = solve_fixed_kappa(
        bandit.behavior, _over(moments.below, beta), np.full(bandit.batch_shape, alpha / beta)
    )
    # `below` starts at the best arm's advantage, and so does the shift.
    best = np.where(bandit.behavior > 0, moments.advantage, -np.inf).max(axis=-1)
    normalizer = best + beta * shift + alpha if carries_ratio else 0.0
    return solution(log_ratio, normalizer)


def _face(bandit: Bandit, winners: np.ndarray, normalizer: np.ndarray | float) -> Solution:
    mass = np.where(winners, bandit.anchor, 0.0).sum(axis=-1, keepdims=True)
    log_ratio = np.where(winners, -log(mass), -np.inf)
    several = (winners & (bandit.anchor > 0)).sum(axis=-1) > 1
    return solution(log_ratio, normalizer, unique=~several, face=several)


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
    collapse = _face(bandit, winners, 0.0)
    boundary = sign == "boundary"
    still = boundary & (scale == 0)
    return solution(
        np.where(boundary[..., None], collapse.log_ratio, log_ratio),
        mean,
        # Ties at the boundary keep their proportions under mu, so the limit is one point; with no signal nothing moves.
        unique=positive | (boundary & ~still),
        face=still,
        solved=positive | boundary,
        regime=sign if with_regime else None,
    )


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


def policy_gradient(bandit: Bandit, moments: Moments) -> Solution:
    """REINFORCE and AsymRE: :func:`constant_coefficient` with g = A."""
    return constant_coefficient(
        bandit, moments.advantage, moments.mean, moments.rounding, moments.below, with_regime=True
    )


def weighted(bandit: Bandit, moments: Moments, *, weight: Callable[..., np.ndarray], coupled: bool = False) -> Solution:
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


def exponential(bandit: Bandit, moments: Moments, *, beta: float, cap: float) -> Solution:
    r"""AWR: $\pi \propto \mu\min(e^{A/\beta}, \text{cap})$, in logs."""
    exponent = np.minimum(moments.advantage / beta, np.log(cap))
    tilted = _tilted(bandit, exponent)
    with np.errstate(over="ignore"):
        normalizer = np.exp(log_expectation_exp(bandit.behavior, exponent))
    return solution(tilted.log_ratio, normalizer)


def tapered(bandit: Bandit, moments: Moments) -> Solution:
    r"""TOPR: $\pi \propto \mu A_+$ (arXiv 2503.14286). Rows without a positive advantage are left unsolved."""
    gain = np.where(bandit.behavior > 0, np.maximum(moments.advantage, 0.0), 0.0)
    mean = expectation(bandit.behavior, gain)
    some = mean > 0
    log_ratio = log(gain) - log(np.where(some, mean, 1.0))[..., None]
    return still_or(bandit, moments, solution(log_ratio, mean, solved=some))


def log_smoothed(bandit: Bandit, moments: Moments, *, t: float) -> Solution:
    r"""Logarithmic smoothing: $\rho = [1/\lambda - 1/r]_+/t$, $E_\mu\rho = 1$ (arXiv 2405.14335), rewards >= 0.

    Raises:
        ValueError: a negative reward on an arm that the behavior policy plays.
    """
    reward = np.where(bandit.behavior > 0, moments.advantage, 0.0)
    if (reward < 0).any():
        index = first_index(reward < 0)
        raise ValueError(
            f"reward[{', '.join(map(str, index))}] is {reward[index]:g}; logarithmic smoothing needs rewards >= 0"
        )
    earning = reward > 0
    with np.errstate(over="ignore"):
        price = np.where(earning, 1 / np.where(earning, reward, 1.0), np.inf)
    order = np.argsort(price, axis=-1)
    ranked = np.take_along_axis(price, order, axis=-1)
    bought = np.isfinite(ranked)
    mass = np.cumsum(np.take_along_axis(np.where(earning, bandit.behavior, 0.0), order, axis=-1), axis=-1)
    # What it takes to lift all cheaper arms to this arm's price: a sum of nonnegative terms, nothing cancels.
    rise = np.diff(np.where(bought, ranked, 0.0), axis=-1, prepend=0.0)
    rise[..., 0] = 0.0
    below = np.concatenate([np.zeros_like(mass[..., :1]), mass[..., :-1]], axis=-1)
    drop = np.cumsum(np.where(bought, below * rise, 0.0), axis=-1)
    some = any_arm(bought)
    last = ((bought & (drop < t)).sum(axis=-1) - 1).clip(0)[..., None]
    highest, spent, share = (np.take_along_axis(array, last, axis=-1) for array in (ranked, drop, mass))
    highest = np.where(some[..., None], highest, 1.0)
    surplus = (t - spent) / np.where(share > 0, share, 1.0)
    kept = earning & (price <= highest)
    ratio = np.where(kept, highest - np.where(kept, price, 0.0) + surplus, 0.0) / t
    return still_or(bandit, moments, solution(log(ratio), 1 / (highest + surplus)[..., 0], solved=some))


def trust_region(bandit: Bandit, moments: Moments, *, delta: float) -> Solution:
    r"""TRPO: $\rho = \nu/(\tau - A)$, best under $\mathrm{KL}(\mu\|\pi) \le \delta$ (arXiv 1502.05477)."""
    distance = coefficients.trust_region_distance(moments.advantage, delta=delta, behavior=bandit.behavior)
    log_ratio = -np.log(distance)
    log_ratio = log_ratio - log_expectation_exp(bandit.behavior, log_ratio)[..., None]
    return solution(log_ratio, moments.mean + expectation(bandit.behavior, distance))


def still_or(bandit: Bandit, moments: Moments, found: Solution) -> Solution:
    """Where no arm has any advantage nothing moves: the behavior policy, and any other, is stationary."""
    still = (np.where(bandit.behavior > 0, moments.advantage, 0.0) == 0).all(axis=-1)
    return solution(
        np.where(still[..., None], 0.0, found.log_ratio),
        np.where(still, 0.0, found.normalizer),
        unique=found.unique & ~still,
        face=found.face | still,
        solved=found.solved | still,
        regime=found.regime,
        tied=found.tied,
        rate=found.rate,
    )
