"""Clipped and masked objectives: the coefficient jumps to 0 at the edge of a range of ratios (PPO and its kin)."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm
from ..baseline import Baseline
from ..levels import Tokens, completion_mean
from ..solve.simplex import Array
from .entry import EPSILON, Entry, Parameter, fraction, positive
from .ratio import importance_weighted, ratio_weighted, with_stated_clip

__all__ = [
    "clip_range",
    "clipped",
    "clipped_objective",
    "geometric_mean_clipped",
    "inside_one_side",
    "one_side_kinks",
    "two_side",
    "two_side_kinks",
    "two_side_objective",
]

CLIPPED = "rho A while rho <= 1 + high (A > 0) or rho >= 1 - low (A < 0), else 0"
FLOW = "limit of the flow from mu, held at the clip (path-dependent)"


def clip_range(low: float = 0.2, high: float = 0.2, example: tuple[float, float] | None = None) -> dict[str, Parameter]:
    """The two parameters of a range of ratios [1 - low, 1 + high], with the defaults and examples given."""
    lower, upper = example or (None, None)
    return {
        "low": fraction(low, "clip range below 1", example=lower),
        "high": positive(high, "clip range above 1", example=upper),
    }


# --- one side ---------------------------------------------------------------------------------------------------------


def inside_one_side(log_ratio: Array, advantage: Array, low: float, high: float, cap: float) -> Array:
    """True where PPO's clip leaves the gradient alone, False where it stops it."""
    xp = array_namespace(log_ratio)
    ratio = xp.exp(log_ratio)
    return xp.where(advantage >= 0, ratio <= 1 + high, (ratio >= 1 - low) & (ratio <= cap))


def clipped(log_ratio: Array, advantage: Array, *, low: float, high: float, cap: float = math.inf) -> Array:
    r"""$c = \rho A$ while $\rho \le 1 + high$ ($A > 0$) or $1 - low \le \rho \le cap$ ($A < 0$), else 0.

    The derivative of PPO's $\min(\rho A, \mathrm{clip}(\rho, 1 - low, 1 + high) A)$; a finite ``cap`` is dual clipping.

    >>> import numpy as np
    >>> clipped(np.log([1.1, 1.3, 0.9, 0.7]), np.array([1.0, 1.0, -1.0, -1.0]), low=0.2, high=0.2)
    array([ 1.1,  0. , -0.9, -0. ])
    """
    xp = array_namespace(log_ratio)
    keep = inside_one_side(log_ratio, advantage, low, high, cap)
    return xp.where(keep, importance_weighted(log_ratio, advantage), 0 * advantage)


def one_side_kinks(advantage: np.ndarray, *, low: float, high: float, cap: float = np.inf) -> np.ndarray:
    """Log-ratios (..., K, 2) at which a one-sided clip switches off: by the sign of the advantage."""
    upper = np.where(advantage >= 0, np.log1p(high), np.log(cap))
    lower = np.where(advantage >= 0, np.nan, np.log1p(-low) if low < 1 else np.nan)
    return np.stack([upper, lower], axis=-1)


def clipped_objective(baseline: Baseline, low: float, high: float, cap: float = np.inf) -> Algorithm:
    """PPO's clip."""
    return with_stated_clip(
        partial(clipped, low=low, high=high, cap=cap),
        baseline,
        kinks=partial(one_side_kinks, low=low, high=high, cap=cap),
    )


PPO = Entry(
    name="ppo",
    title="Proximal policy optimization, clipped surrogate",
    coefficient=CLIPPED,
    target=FLOW,
    family="ratio",
    level="token",
    source="PPO, arXiv 1707.06347",
    make=lambda low, high: clipped_objective(baselines.mean(), low, high),
    parameters=clip_range(),
    notes="The source's learned value is the mean reward here.",
    bounded="gains",
)

PPO_DUAL_CLIP = Entry(
    name="ppo_dual_clip",
    title="PPO with dual clipping",
    coefficient=CLIPPED + "; for A < 0 also 0 beyond rho = cap",
    target=FLOW,
    family="ratio",
    level="token",
    source="arXiv 1912.09729; verl's default",
    make=lambda low, high, cap: clipped_objective(baselines.mean(), low, high, cap),
    parameters=clip_range() | {"cap": Parameter(3.0, "ratio beyond which negative samples are ignored", low=1.0)},
    bounded="all",
)

GRPO = Entry(
    name="grpo",
    title="Group relative policy optimization",
    coefficient=CLIPPED,
    target=FLOW,
    family="ratio",
    level="token",
    source="DeepSeekMath, arXiv 2402.03300",
    make=lambda low, high, epsilon: clipped_objective(baselines.standardized(epsilon), low, high),
    parameters=clip_range() | {"epsilon": EPSILON},
    notes="A = (r - mean)/(std + epsilon). TRL's default loss type is dapo. Without ratio and clip: grpo.no_ratio.",
    bounded="gains",
)

DR_GRPO = Entry(
    name="dr_grpo",
    title="GRPO done right",
    coefficient=CLIPPED,
    target=FLOW,
    family="ratio",
    level="token",
    source="Dr. GRPO, arXiv 2503.20783",
    make=lambda low, high: clipped_objective(baselines.mean(), low, high),
    parameters=clip_range(),
    notes="No division by the standard deviation; summed over tokens, divided by a constant length.",
    bounded="gains",
)

DAPO = Entry(
    name="dapo",
    title="DAPO",
    coefficient=CLIPPED,
    target=FLOW,
    family="ratio",
    level="token",
    source="DAPO, arXiv 2503.14476",
    make=lambda low, high, epsilon: clipped_objective(baselines.standardized(epsilon), low, high),
    parameters=clip_range(0.2, 0.28) | {"epsilon": EPSILON},
    notes="Clip-higher; token mean over the batch; groups without reward spread are dropped (their A is 0 anyway).",
    bounded="gains",
)

GSPO = Entry(
    name="gspo",
    title="Group sequence policy optimization",
    coefficient=CLIPPED + ", rho = exp(mean over tokens)",
    target=FLOW,
    family="ratio",
    level="sequence mean",
    source="GSPO, arXiv 2507.18071",
    make=lambda low, high, epsilon: clipped_objective(baselines.standardized(epsilon), low, high),
    parameters=clip_range(3e-4, 4e-4, example=(0.1, 0.3)) | {"epsilon": EPSILON},
    notes="On a bandit an arm is one token long, so the target shows the clip range at face value.",
    bounded="gains",
)

LUSPO = Entry(
    name="luspo",
    title="Length-unbiased sequence policy optimization",
    coefficient=CLIPPED + ", rho = exp(mean over tokens), times the length",
    target=FLOW,
    family="ratio",
    level="sequence mean times length",
    source="LUSPO, arXiv 2602.05261",
    make=lambda low, high, epsilon: clipped_objective(baselines.standardized(epsilon), low, high),
    parameters=clip_range(2e-3, 2.5e-3, example=(0.1, 0.3)) | {"epsilon": EPSILON},
    notes="GSPO without its division by the length: a token counts the same in a long completion as in a short one.",
    bounded="gains",
)

# --- of token vectors -------------------------------------------------------------------------------------------------


def geometric_mean_clipped(
    log_ratio: Array, advantage: Array, *, low: float, high: float, tokens: Tokens | None = None
) -> Array:
    r"""$c_t = A\,e^{\bar\ell}$ where $\ell_t$ is not clipped, else 0; $\bar\ell$ the mean of the clipped ones (GMPO).

    $\min(\ell_t, high)$ for $A \ge 0$ and $\max(\ell_t, -low)$ for $A < 0$: a bound on log-ratios, in nats.
    """
    xp = array_namespace(log_ratio)
    bounded = xp.where(advantage >= 0, xp.clip(log_ratio, None, high), xp.clip(log_ratio, -low, None))
    kept = xp.astype(bounded == log_ratio, log_ratio.dtype)
    return kept * xp.exp(completion_mean(bounded, tokens)) * advantage


def geometric_mean_objective(low: float, high: float, epsilon: float) -> Algorithm:
    return ratio_weighted(
        partial(geometric_mean_clipped, low=low, high=high),
        baselines.standardized(epsilon),
        kinks=partial(one_side_kinks, low=-math.expm1(-low), high=math.expm1(high)),
    )


GMPO = Entry(
    name="gmpo",
    title="Geometric-mean policy optimization",
    coefficient="exp(mean over tokens of clipped l) A on tokens that are not clipped: "
    "l <= high (A > 0), >= -low (A < 0)",
    target=FLOW,
    family="ratio",
    level="token vector",
    source="GMPO, arXiv 2507.20673",
    make=geometric_mean_objective,
    parameters={
        "low": positive(0.4, "bound of a token's log-ratio below, for A < 0, nats"),
        "high": positive(0.4, "bound of a token's log-ratio above, for A > 0, nats"),
        "epsilon": EPSILON,
    },
    notes="A clipped token keeps its share of the mean and loses its gradient. On a bandit an arm is one token long.",
    bounded="gains",
)

# --- two sides --------------------------------------------------------------------------------------------------------


def two_side(log_ratio: Array, advantage: Array, *, low: float, high: float) -> Array:
    r"""$c = \rho A$ for $1 - \text{low} \le \rho \le 1 + \text{high}$, else 0: REC-TwoSide-IS."""
    xp = array_namespace(log_ratio)
    ratio = xp.exp(log_ratio)
    return xp.where((ratio >= 1 - low) & (ratio <= 1 + high), ratio * advantage, 0 * advantage)


def two_side_kinks(advantage: np.ndarray, *, bounds: tuple[float, ...]) -> np.ndarray:
    """Log-ratios (..., K, n) of fixed ratio bounds, the same for every arm."""
    return np.broadcast_to(np.log(bounds), (*advantage.shape, len(bounds)))


def two_side_objective(baseline: Baseline, low: float, high: float) -> Algorithm:
    """rho A inside a fixed range of ratios."""
    return with_stated_clip(
        partial(two_side, low=low, high=high),
        baseline,
        kinks=partial(two_side_kinks, bounds=(1 - low, 1 + high)),
    )


ENTRIES = (
    PPO,
    PPO_DUAL_CLIP,
    GRPO,
    DR_GRPO,
    DAPO,
    GSPO,
    LUSPO,
    GMPO,
)
