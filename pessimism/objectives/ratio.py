"""Objectives that carry an importance ratio: whole, truncated, tapered, gated or smoothed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm, Coefficient
from ..bandit import Bandit
from ..baseline import Baseline, Moments
from ..solution import Solution, greedy, solution, still_or
from ..solve.simplex import Array, any_arm, expectation, first_index, log
from ..solve.ties import greedy_fill, losing_rate
from .arrays import at_most
from .entry import EPSILON, Entry, positive
from .policy_gradient import policy_gradient

__all__ = [
    "gamma_weighted",
    "importance_weighted",
    "log_smoothed",
    "log_smoothed_target",
    "ratio_weighted",
    "soft_gate",
    "tapered",
    "tapered_target",
    "truncated",
    "truncated_target",
    "with_ratio",
    "with_stated_clip",
]

# --- the whole ratio --------------------------------------------------------------------------------------------------


def importance_weighted(log_ratio: Array, advantage: Array) -> Array:
    r"""$c = \rho A$: the importance-weighted policy gradient, without clipping."""
    return array_namespace(log_ratio).exp(log_ratio) * advantage


def with_ratio(log_ratio: Array, advantage: Array, *, coefficient: Callable[..., Array]) -> Array:
    r"""$\rho\,c(\ell, A)$: a coefficient that leaves the importance weight out, with the weight put back."""
    xp, value = array_namespace(log_ratio), coefficient(log_ratio, advantage)
    return xp.where(value == 0, value, xp.exp(log_ratio) * value)  # whatever the ratio, where c is 0


def ratio_weighted(
    coefficient: Coefficient, baseline: Baseline, stated: Coefficient | None = None, **fields: object
) -> Algorithm:
    """A coefficient whose importance weight becomes 1 on-policy, where it is the plain advantage."""
    return Algorithm(
        coefficient,
        baseline,
        stated=stated,
        on_policy=policy_gradient,
        anchor="behavior",
        nominal=greedy,
        **fields,  # type: ignore[arg-type]
    )


def with_stated_clip(coefficient: Coefficient, baseline: Baseline, **fields: object) -> Algorithm:
    """A coefficient that keeps the ratio whole, and whose clip, mask or gate the objective states."""
    return ratio_weighted(coefficient, baseline, stated=coefficient, **fields)


# --- truncated --------------------------------------------------------------------------------------------------------


def truncated(log_ratio: Array, advantage: Array, *, low: float, high: float) -> Array:
    r"""$c = \mathrm{clip}(\rho, low, high)\,A$: CISPO, truncated importance sampling (absolute bounds)."""
    xp = array_namespace(log_ratio)
    return xp.clip(xp.exp(log_ratio), low, high) * advantage


def truncated_target(bandit: Bandit, moments: Moments, *, cap: float) -> Solution:
    r"""CISPO, $c = \min(\rho, \bar c)A$: $\rho = \bar cA/\lambda$ where $A > \lambda$, marginal $A = \lambda$, else 0.

    The demand for mass $\sum_{A > \lambda}\mu\bar cA/\lambda$ falls in $\lambda$ and jumps at each advantage;
    $\lambda$ is where it crosses one. Of tied marginal arms any split that keeps $\rho \le \bar c$ is stationary. The
    flow from $\mu$ fills them in the order of $\mu$, each up to $\rho = \bar c$; those of equal $\mu$ share
    (docs/theory/ties.md: proved where no arm lies above them, else only checked, and ``unique`` is False). Rows without
    a positive advantage are left unsolved.
    """
    advantage = np.where(bandit.behavior > 0, moments.advantage, -np.inf)
    order = np.argsort(-advantage, axis=-1, kind="stable")
    level = np.take_along_axis(advantage, order, axis=-1)
    pull = np.where(bandit.behavior > 0, bandit.behavior * np.maximum(moments.advantage, 0.0), 0.0)
    through = cap * np.cumsum(np.take_along_axis(pull, order, axis=-1), axis=-1)  # with the arm itself
    positive = level > 0
    # First arm whose own level is low enough for it and those above to claim all the mass.
    reached = positive & (through >= level)
    some = any_arm(positive)
    index = np.where(any_arm(reached), reached.argmax(axis=-1), positive.sum(axis=-1) - 1).clip(0)[..., None]
    here = np.take_along_axis(level, index, axis=-1)
    strictly_above = np.where(advantage > here, pull, 0.0).sum(axis=-1, keepdims=True) * cap
    marginal = any_arm(reached)[..., None] & (strictly_above <= here)
    last = np.take_along_axis(through, index, axis=-1)
    normalizer = np.where(marginal, here, np.where(any_arm(reached)[..., None], strictly_above, last))
    safe = np.where(some[..., None], normalizer, 1.0)
    ratio = np.where(advantage > safe, cap * np.maximum(advantage, 0.0) / safe, 0.0)
    tied = marginal & (advantage == here)
    left = np.maximum(1 - expectation(bandit.behavior, ratio), 0.0)[..., None]
    division = greedy_fill(tied, bandit.behavior, left[..., 0], cap)
    losers = ((bandit.behavior > 0) & (advantage < here)).sum(axis=-1)
    kept = tied & ((losers == 0) & (strictly_above[..., 0] == 0))[..., None]  # all tie below the cap: nothing moves
    ratio = np.where(tied, division.policy / np.where(tied, bandit.behavior, 1.0), ratio)
    ratio = np.where(kept, 1.0, ratio)
    several = (tied.sum(axis=-1) > 1) & (left[..., 0] > 0)
    still = several & kept.any(axis=-1)
    found = solution(
        log(ratio),
        normalizer[..., 0],
        unique=~several | (~still & (strictly_above[..., 0] == 0)),
        face=still,
        solved=some,
        tied=tied & several[..., None],
        rate=np.where(several & ~still, losing_rate(division, losers), 0.0),
    )
    return still_or(bandit, moments, found)


CISPO = Entry(
    name="cispo",
    title="Clipped importance-sampling policy optimization",
    coefficient="min(rho, cap) A",
    target="rho = cap A/lambda where A > lambda, one marginal level filled in the order of mu, 0 below",
    family="ratio",
    level="token",
    source="MiniMax-M1, arXiv 2506.13585",
    make=lambda cap, epsilon: ratio_weighted(
        partial(truncated, low=0.0, high=cap),
        baselines.standardized(epsilon),
        induced=partial(truncated_target, cap=cap),
    ),
    parameters={
        "cap": positive(5.0, "largest ratio (the source gives none; 5 is a common setting)", example=1.5),
        "epsilon": EPSILON,
    },
    notes="trl.cispo: an absolute cap; verl.cispo: an active lower bound; trinity.cispo_masked: a mask on top.",
    bounded="all",
)

# --- tapered ----------------------------------------------------------------------------------------------------------


def tapered(log_ratio: Array, advantage: Array) -> Array:
    r"""$c = A$ for $A \ge 0$ and $\min(\rho, 1)\,A$ for $A < 0$ (TOPR)."""
    xp = array_namespace(log_ratio)
    return xp.where(advantage >= 0, advantage, xp.exp(at_most(xp, log_ratio, 0.0)) * advantage)


def tapered_target(bandit: Bandit, moments: Moments) -> Solution:
    r"""TOPR: $\pi \propto \mu A_+$ (arXiv 2503.14286). Rows without a positive advantage are left unsolved."""
    gain = np.where(bandit.behavior > 0, np.maximum(moments.advantage, 0.0), 0.0)
    mean = expectation(bandit.behavior, gain)
    some = mean > 0
    log_ratio = log(gain) - log(np.where(some, mean, 1.0))[..., None]
    return still_or(bandit, moments, solution(log_ratio, mean, solved=some))


TOPR = Entry(
    name="topr",
    title="Tapered off-policy REINFORCE",
    coefficient="A for A >= 0, min(rho, 1) A for A < 0",
    target="mu A+ / E A+",
    family="policy gradient",
    level="sequence",
    source="TOPR, arXiv 2503.14286",
    make=lambda: Algorithm(
        tapered,
        baselines.mean(),
        on_policy=policy_gradient,
        anchor="behavior",
        induced=tapered_target,
        nominal=greedy,
    ),
    notes="Trinity-RFT takes the ratio per token, the paper per sequence.",
    bounded="all",
)

# --- gated ------------------------------------------------------------------------------------------------------------


def soft_gate(log_ratio: Array, advantage: Array, *, tau_positive: float, tau_negative: float) -> Array:
    r"""$c = 4\rho\,\sigma(z)(1 - \sigma(z))\,A$, $z = \tau(\rho - 1)$, $\tau$ by the sign of A: SAPO's soft gate."""
    xp = array_namespace(log_ratio)
    tau = xp.where(advantage > 0, tau_positive + 0 * advantage, tau_negative + 0 * advantage)
    steep = xp.abs(tau * xp.expm1(log_ratio))
    # rho and s(1 - s) in one exponential: their product is bounded where the ratio itself overflows.
    return 4 * advantage * xp.exp(log_ratio - steep) / (1 + xp.exp(-steep)) ** 2


SAPO = Entry(
    name="sapo",
    title="Soft adaptive policy optimization",
    coefficient="4 rho s (1 - s) A, s = sigmoid(tau (rho - 1)), tau by the sign of A",
    target="4 s (1 - s) A = lambda on the support",
    family="ratio",
    level="token",
    source="SAPO, arXiv 2511.20347",
    make=lambda tau_positive, tau_negative, epsilon: with_stated_clip(
        partial(soft_gate, tau_positive=tau_positive, tau_negative=tau_negative),
        baselines.standardized(epsilon),
    ),
    parameters={
        "tau_positive": positive(1.0, "sharpness of the gate for A > 0"),
        "tau_negative": positive(1.05, "sharpness of the gate for A <= 0"),
        "epsilon": EPSILON,
    },
    notes="TRL, verl and AReaL differentiate the gate; Trinity-RFT does not (trinity.sapo).",
    bounded="all",
)


def gamma_weighted(
    log_ratio: Array,
    advantage: Array,
    *,
    k_positive: float,
    lambda_positive: float,
    k_negative: float,
    lambda_negative: float,
) -> Array:
    r"""$c = \varphi(\rho)\,A$ with $\varphi(w) = w^k e^{\lambda(1 - w)}$, $(k, \lambda)$ by the sign of A (VESPO)."""
    xp = array_namespace(log_ratio)
    k = xp.where(advantage >= 0, k_positive + 0 * advantage, k_negative + 0 * advantage)
    rate = xp.where(advantage >= 0, lambda_positive + 0 * advantage, lambda_negative + 0 * advantage)
    return xp.exp(k * log_ratio + rate * (1 - xp.exp(log_ratio))) * advantage


VESPO = Entry(
    name="vespo",
    title="Variational sequence-level soft policy optimization",
    coefficient="rho^k exp(lambda (1 - rho)) A, (k, lambda) by the sign of A",
    target="rho^(k-1) exp(lambda (1 - rho)) A constant on the support",
    family="ratio",
    level="sequence",
    source="VESPO, arXiv 2602.10693",
    make=lambda k_positive, lambda_positive, k_negative, lambda_negative, epsilon: ratio_weighted(
        partial(
            gamma_weighted,
            k_positive=k_positive,
            lambda_positive=lambda_positive,
            k_negative=k_negative,
            lambda_negative=lambda_negative,
        ),
        baselines.standardized(epsilon),
    ),
    parameters={
        "k_positive": positive(2.0, "power of the ratio for A >= 0"),
        "lambda_positive": positive(3.0, "decay rate for A >= 0"),
        "k_negative": positive(3.0, "power of the ratio for A < 0"),
        "lambda_negative": positive(2.0, "decay rate for A < 0"),
        "epsilon": EPSILON,
    },
    bounded="all",
)

# --- smoothed ---------------------------------------------------------------------------------------------------------


def log_smoothed(log_ratio: Array, advantage: Array, *, t: float) -> Array:
    r"""$c = \rho r/(1 + t\rho r)$: logarithmic smoothing of nonnegative rewards (arXiv 2405.14335)."""
    xp = array_namespace(log_ratio)
    earning = xp.where(advantage != 0, advantage, xp.ones_like(advantage))
    return advantage / (xp.exp(-log_ratio) + t * earning)


def log_smoothed_target(bandit: Bandit, moments: Moments, *, t: float) -> Solution:
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


LS = Entry(
    name="ls",
    title="Logarithmic smoothing",
    coefficient="rho r / (1 + t rho r)",
    target="rho = [1/lambda - 1/r]+ / t",
    family="policy gradient",
    level="sequence",
    source="arXiv 2405.14335",
    make=lambda t: Algorithm(
        stated := partial(log_smoothed, t=t),
        baselines.none(),
        on_policy=policy_gradient,
        anchor="behavior",
        stated=stated,
        induced=partial(log_smoothed_target, t=t),
        nominal=greedy,
    ),
    parameters={
        "t": positive(0.1, "smoothing (the source's lambda), per unit of reward", unit=-1, example=0.8, anchors=True)
    },
    notes="Rewards must be >= 0. That the smoothing is pessimism by design is its authors' reading.",
    bounded="all",
    absolute=True,
)

ENTRIES = (
    CISPO,
    TOPR,
    SAPO,
    VESPO,
    LS,
)
