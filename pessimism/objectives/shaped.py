"""Clips that keep or turn over the weight of what they clip, and shaped probabilities: CE-GPPO, ASPO, LUFFY."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..baseline import Moments
from ..masks import needed
from ..solution import Solution, solution, still_or
from ..solve.simplex import Array, log
from .arrays import at_most
from .clip import FLOW, clip_range, clipped, one_side_kinks
from .entry import EPSILON, Entry, Parameter, nonnegative, positive
from .ratio import ratio_weighted

__all__ = ["flipped", "gradient_preserving", "shaped", "shaped_target"]

# --- clipped samples keep a weight ------------------------------------------------------------------------------------


def gradient_preserving(
    log_ratio: Array,
    advantage: Array,
    *,
    low: float,
    high: float,
    below: float,
    above: float,
    cap: float = math.inf,
) -> Array:
    r"""PPO's clip where a clipped sample keeps a constant weight: $c = wA$ (CE-GPPO).

    $w = \rho$ where PPO does not clip, $above\,(1 + high)$ for $A > 0$ and $\rho > 1 + high$, $below\,(1 - low)$ for
    $A < 0$ and $\rho < 1 - low$, and 0 for $A < 0$ and $\rho > cap$.

    >>> import numpy as np
    >>> ratio, advantage = np.array([1.1, 1.5, 0.9, 0.5]), np.array([1.0, 1.0, -1.0, -1.0])
    >>> gradient_preserving(np.log(ratio), advantage, low=0.2, high=0.2, below=0.75, above=1.0)
    array([ 1.1,  1.2, -0.9, -0.6])
    """
    xp = array_namespace(log_ratio)
    ratio, zero = xp.exp(log_ratio), 0 * advantage
    gaining = xp.where(ratio > 1 + high, above * (1 + high) + zero, ratio)
    losing = xp.where(ratio < 1 - low, below * (1 - low) + zero, xp.where(ratio <= cap, ratio, zero))
    return xp.where(advantage > 0, gaining, losing) * advantage


def gradient_preserving_kinks(
    advantage: np.ndarray, *, low: float, high: float, below: float, above: float, cap: float
) -> np.ndarray:
    """Log-ratios (..., K, 2) at which its weight jumps; at an edge of the clip it may go on without one."""
    upper = np.where(advantage >= 0, np.nan if above == 1 else np.log1p(high), np.log(cap))
    lower = np.where(advantage >= 0, np.nan, np.nan if below == 1 else np.log1p(-low))
    return np.stack([upper, lower], axis=-1)


def gradient_preserving_objective(epsilon: float, **values: float) -> Algorithm:
    """CE-GPPO on standardized advantages."""
    return ratio_weighted(
        partial(gradient_preserving, **values),
        baselines.standardized(epsilon),
        stated=partial(clipped, low=1.0, high=math.inf, cap=values["cap"]),  # the ratio whole, and the dual clip
        kinks=partial(gradient_preserving_kinks, **values),
    )


CE_GPPO = Entry(
    name="ce_gppo",
    title="Gradient-preserving clipping that coordinates entropy",
    coefficient="rho A where PPO does not clip; above (1 + high) A for A > 0, below (1 - low) A for A < 0; 0 for A < 0 "
    "beyond rho = cap",
    target=FLOW,
    family="ratio",
    level="token",
    source="CE-GPPO, arXiv 2509.20712; below = above = 1 is GPPO, arXiv 2508.07629",
    make=gradient_preserving_objective,
    parameters=clip_range()
    | {
        "below": nonnegative(0.75, "beta1: part of the weight kept below the clip, for A < 0 (0.5 for 1.5B models)"),
        "above": nonnegative(1.0, "beta2: part of the weight kept above the clip, for A > 0"),
        "cap": Parameter(3.0, "ratio beyond which negative samples are ignored", low=1.0),
        "epsilon": EPSILON,
    },
    notes="Its code's default cap is 3, its scripts set 10.",
    bounded="all",
)

# --- the ratio turned over --------------------------------------------------------------------------------------------


def flipped(log_ratio: Array, advantage: Array, *, low: float, high: float, cap: float) -> Array:
    r"""PPO's clip with the ratio of gains turned over: $c = wA$ (ASPO).

    $w = \min(1/\rho, cap)$ for $A > 0$ and $\rho \le 1 + high$, $\min(\rho, cap)$ for $A < 0$ and $\rho \ge 1 - low$,
    else 0: what has become rare is raised most, what is likely already least.

    >>> import numpy as np
    >>> ratio, advantage = np.array([0.25, 1.25, 1.5, 0.5, 4.0]), np.array([1.0, 1.0, 1.0, -1.0, -1.0])
    >>> flipped(np.log(ratio), advantage, low=0.2, high=0.25, cap=3.0)
    array([ 3. ,  0.8,  0. ,  0. , -3. ])
    """
    xp = array_namespace(log_ratio)
    ratio, zero = xp.exp(log_ratio), 0 * advantage
    gaining = xp.where(ratio > 1 + high, zero, xp.exp(at_most(xp, -log_ratio, math.log(cap))))
    losing = xp.where(ratio < 1 - low, zero, xp.clip(ratio, None, cap))
    return xp.where(advantage > 0, gaining, losing) * advantage


ASPO = Entry(
    name="aspo",
    title="Asymmetric importance sampling policy optimization",
    coefficient="min(1/rho, cap) A while rho <= 1 + high (A > 0), min(rho, cap) A while rho >= 1 - low (A < 0), else 0",
    target=FLOW,
    family="ratio",
    level="token",
    source="ASPO, arXiv 2510.06062; wizard-III/Archer2.0",
    make=lambda low, high, cap, epsilon: ratio_weighted(
        partial(flipped, low=low, high=high, cap=cap),
        baselines.standardized(epsilon),
        stated=partial(clipped, low=low, high=high),
        kinks=partial(one_side_kinks, low=low, high=high),
    ),
    parameters=clip_range() | {"cap": Parameter(3.0, "largest weight, of either sign", low=1.0), "epsilon": EPSILON},
    notes="The authors' code has two ranges, 0.2 and 0.4, by the entropy of the token's distribution, which a bandit "
    "lacks. Beyond the cap a sample keeps its gradient, unlike with ppo_dual_clip.",
    bounded="all",
)

# --- shaped probabilities ---------------------------------------------------------------------------------------------


def shaped(log_ratio: Array, advantage: Array, *, gamma: float, behavior: Array | None = None) -> Array:
    r"""$c = \frac{\gamma\pi}{(\pi + \gamma)^2}A$, the derivative of $f(\pi)A$, $f(x) = x/(x + \gamma)$ (LUFFY).

    ``behavior`` must hold $\mu(y)$ of each sample: $\pi = \mu\rho$. The weight is at most 1/4, at $\pi = \gamma$.

    Raises:
        ValueError: behavior is None.

    >>> import numpy as np
    >>> shaped(np.log([1.0, 2.0]), np.array([1.0, 1.0]), gamma=0.1, behavior=np.array([0.1, 0.45])).round(4)
    array([0.25, 0.09])
    """
    xp, played = array_namespace(log_ratio), needed(behavior)
    distance = log_ratio + xp.log(xp.where(played > 0, played / gamma, xp.ones_like(played)))
    decay = xp.exp(-xp.abs(distance))
    return advantage * decay / (1 + decay) ** 2


def shaped_target(bandit: Bandit, moments: Moments, *, gamma: float) -> Solution:
    r"""LUFFY: $\pi = [\sqrt{\gamma\mu A/\lambda} - \gamma]_+$ on arms of $A > 0$, which maximizes $E_\mu[A f(\pi)]$.

    From $\mu c = \lambda\pi$: $\gamma\mu A = \lambda(\pi + \gamma)^2$, and the arms of the largest $\mu A$ come first.
    Where an arm has $A > 0$ no other policy attracts the flow: moving mass to it from one of $A \le 0$ always gains,
    and among those of $A > 0$ the objective is concave. Rows without one are left unsolved. Derived here.
    """
    root = np.sqrt(gamma * np.where(bandit.behavior > 0, bandit.behavior * np.maximum(moments.advantage, 0.0), 0.0))
    ranked = -np.sort(-root, axis=-1)
    levels = np.cumsum(ranked, axis=-1) / (1 + gamma * np.arange(1, bandit.arms + 1))  # sqrt(lambda) with so many arms
    last = np.maximum((ranked > gamma * levels).sum(axis=-1) - 1, 0)[..., None]
    level = np.take_along_axis(levels, last, axis=-1)
    some = level[..., 0] > 0
    policy = np.maximum(root / np.where(level > 0, level, 1.0) - gamma, 0.0)
    total = policy.sum(axis=-1, keepdims=True)
    log_ratio = log(policy / np.where(total > 0, total, 1.0)) - np.where(policy > 0, bandit.log_behavior, 0.0)
    return still_or(bandit, moments, solution(log_ratio, level[..., 0] ** 2, solved=some))


LUFFY = Entry(
    name="luffy",
    title="LUFFY's shaping of demonstrations",
    coefficient="gamma pi/(pi + gamma)^2 A",
    target="pi = [sqrt(gamma mu A/lambda) - gamma]+ where A > 0, else 0",
    family="ratio",
    level="token",
    source="LUFFY, arXiv 2504.14945; ElliottYan/LUFFY",
    make=lambda gamma: ratio_weighted(
        partial(shaped, gamma=gamma),
        baselines.mean(),
        takes_behavior=True,
        induced=partial(shaped_target, gamma=gamma),
    ),
    parameters={"gamma": positive(0.1, "probability at which a token weighs most")},
    notes="Of demonstrations: the policy's own samples train with rho A, without a clip, and the mean reward is over "
    "both, both as the authors' script sets. The probability stands for a ratio, the demonstrator's being taken for 1. "
    "The coefficient needs behavior=.",
    bounded="all",
    feels_splits=True,
)

ENTRIES = (
    CE_GPPO,
    ASPO,
    LUFFY,
)
