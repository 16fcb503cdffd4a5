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
from .entry import EPSILON, Entry, Parameter, fraction, nonnegative, positive
from .ratio import importance_weighted, ratio_weighted, with_ratio, with_stated_clip

__all__ = [
    "clipped",
    "clipped_objective",
    "geometric_mean_clipped",
    "gradient_preserving",
    "inside_one_side",
    "one_side",
    "one_side_kinks",
    "ring",
    "two_side",
    "two_side_kinks",
    "two_side_objective",
]

CLIPPED = "rho A while rho <= 1 + high (A > 0) or rho >= 1 - low (A < 0), else 0"
FLOW = "limit of the flow from mu, held at the clip (path-dependent)"


def _range(low: float = 0.2, high: float = 0.2, example: tuple[float, float] | None = None) -> dict[str, Parameter]:
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
    parameters=_range(),
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
    parameters=_range() | {"cap": Parameter(3.0, "ratio beyond which negative samples are ignored", low=1.0)},
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
    parameters=_range() | {"epsilon": EPSILON},
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
    parameters=_range(),
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
    parameters=_range(0.2, 0.28) | {"epsilon": EPSILON},
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
    parameters=_range(3e-4, 4e-4, example=(0.1, 0.3)) | {"epsilon": EPSILON},
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
    parameters=_range(2e-3, 2.5e-3, example=(0.1, 0.3)) | {"epsilon": EPSILON},
    notes="GSPO without its division by the length: a token counts the same in a long completion as in a short one.",
    bounded="gains",
)

REC_ONESIDE_IS = Entry(
    name="rec_oneside_is",
    title="REC, one-side clip, importance sampling",
    coefficient=CLIPPED,
    target=FLOW,
    family="ratio",
    level="token",
    source="REC, arXiv 2509.24203",
    make=lambda low, high: clipped_objective(baselines.mean(), low, high),
    parameters=_range(),
    notes="Equals dr_grpo's gradient.",
    bounded="gains",
)


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
    parameters=_range()
    | {
        "below": nonnegative(0.75, "beta1: part of the weight kept below the clip, for A < 0 (0.5 for 1.5B models)"),
        "above": nonnegative(1.0, "beta2: part of the weight kept above the clip, for A > 0"),
        "cap": Parameter(3.0, "ratio beyond which negative samples are ignored", low=1.0),
        "epsilon": EPSILON,
    },
    notes="Its code's default cap is 3, its scripts set 10.",
    bounded="all",
)


def one_side(log_ratio: Array, advantage: Array, *, low: float, high: float) -> Array:
    r"""$c = A$ inside PPO's one-sided range, 0 outside: REC-OneSide-NoIS."""
    keep = inside_one_side(log_ratio, advantage, low, high, math.inf)
    return array_namespace(log_ratio).where(keep, advantage, 0 * advantage)


REC_ONESIDE_NOIS = Entry(
    name="rec_oneside_nois",
    title="REC, one-side clip, no importance sampling",
    coefficient="A inside the one-side clip, else 0",
    target=FLOW,
    family="ratio",
    level="token",
    source="REC, arXiv 2509.24203",
    make=lambda low, high: ratio_weighted(
        partial(one_side, low=low, high=high),
        baselines.mean(),
        stated=partial(clipped, low=low, high=high),
        kinks=partial(one_side_kinks, low=low, high=high),
    ),
    parameters=_range(),
    bounded="all",
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


REC_TWOSIDE = Entry(
    name="rec_twoside",
    title="REC, two-side clip, importance sampling",
    coefficient="rho A for 1 - low <= rho <= 1 + high, else 0",
    target=FLOW,
    family="ratio",
    level="token",
    source="REC, arXiv 2509.24203; GLM-5, arXiv 2602.15763, equations 3 to 5",
    make=lambda low, high: two_side_objective(baselines.mean(), low, high),
    parameters=_range(),
    notes="GLM-5's double-sided importance sampling (dis) is this coefficient, with the ratio to the sampler's own "
    "log-probabilities; it prints no range. verl.icepop is it too, with bounds in place of ranges.",
    bounded="all",
    aliases=("dis",),
)


def ring(log_ratio: Array, advantage: Array, *, low: float, high: float, low_outer: float, high_outer: float) -> Array:
    r"""REC-Ring-NoIS: $c = A$ inside $[1 - low, 1 + high]$, and outside it again where that pulls the ratio back.

    That is for $A \ge 0$, $\rho \le 1 - low'$ and for $A \le 0$, $\rho \ge 1 + high'$; 0 elsewhere.
    """
    xp = array_namespace(log_ratio)
    ratio = xp.exp(log_ratio)
    back = ((advantage >= 0) & (ratio <= 1 - low_outer)) | ((advantage <= 0) & (ratio >= 1 + high_outer))
    inside = (ratio >= 1 - low) & (ratio <= 1 + high)
    return xp.where(inside | back, advantage, 0 * advantage)


def ring_objective(low: float, high: float, low_outer: float, high_outer: float) -> Algorithm:
    if low_outer < low or high_outer < high:
        raise ValueError(
            f"rec_ring: low_outer, high_outer are {low_outer:g}, {high_outer:g}; "
            f"they must not lie inside low, high = {low:g}, {high:g}"
        )
    kept = partial(ring, low=low, high=high, low_outer=low_outer, high_outer=high_outer)
    return ratio_weighted(
        kept,
        baselines.mean(),
        stated=partial(with_ratio, coefficient=kept),
        kinks=partial(two_side_kinks, bounds=(1 - low_outer, 1 - low, 1 + high, 1 + high_outer)),
    )


REC_RING = Entry(
    name="rec_ring",
    title="REC, ring clip, no importance sampling",
    coefficient="A inside the range, and outside the outer range where that pulls back; else 0",
    target=FLOW,
    family="ratio",
    level="token",
    source="REC, arXiv 2509.24203",
    make=ring_objective,
    parameters=_range()
    | {
        "low_outer": fraction(0.6, "outer range below 1, beyond which positive samples count again"),
        "high_outer": positive(2.0, "outer range above 1, beyond which negative samples count again"),
    },
    bounded="all",
)

ENTRIES = (
    PPO,
    PPO_DUAL_CLIP,
    CE_GPPO,
    GRPO,
    DR_GRPO,
    DAPO,
    GSPO,
    LUSPO,
    REC_ONESIDE_IS,
    REC_ONESIDE_NOIS,
    GMPO,
    REC_TWOSIDE,
    REC_RING,
)
