"""REC's study of clips: one side, both sides or a ring, on a token's ratio or a completion's, with and without ratio.

arXiv 2509.24203; its authors' code is Trinity-RFT's ``rec`` loss, whose ``clip_mode`` and ``weight`` are named here.
"""

from __future__ import annotations

import math
from functools import partial

from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm
from ..solve.simplex import Array
from .clip import (
    CLIPPED,
    FLOW,
    clip_range,
    clipped,
    clipped_objective,
    inside_one_side,
    one_side_kinks,
    two_side,
    two_side_kinks,
    two_side_objective,
)
from .entry import Entry, fraction, positive
from .ratio import ratio_weighted, with_ratio

__all__ = ["both_sides", "one_side", "ring"]

# --- one side ---------------------------------------------------------------------------------------------------------

REC_ONESIDE_IS = Entry(
    name="rec_oneside_is",
    title="REC, one-side clip, importance sampling",
    coefficient=CLIPPED,
    target=FLOW,
    family="ratio",
    level="token",
    source="REC, arXiv 2509.24203",
    make=lambda low, high: clipped_objective(baselines.mean(), low, high),
    parameters=clip_range(),
    notes="Equals dr_grpo's gradient.",
    bounded="gains",
)


def one_side(log_ratio: Array, advantage: Array, *, low: float, high: float) -> Array:
    r"""$c = A$ inside PPO's one-sided range, 0 outside: REC-OneSide-NoIS."""
    keep = inside_one_side(log_ratio, advantage, low, high, math.inf)
    return array_namespace(log_ratio).where(keep, advantage, 0 * advantage)


def one_side_objective(low: float, high: float) -> Algorithm:
    return ratio_weighted(
        partial(one_side, low=low, high=high),
        baselines.mean(),
        stated=partial(clipped, low=low, high=high),
        kinks=partial(one_side_kinks, low=low, high=high),
    )


REC_ONESIDE_NOIS = Entry(
    name="rec_oneside_nois",
    title="REC, one-side clip, no importance sampling",
    coefficient="A inside the one-side clip, else 0",
    target=FLOW,
    family="ratio",
    level="token",
    source="REC, arXiv 2509.24203",
    make=one_side_objective,
    parameters=clip_range(),
    bounded="all",
)

OF_COMPLETIONS = clip_range(3e-4, 4e-4, example=(0.1, 0.3))

REC_GSPO_IS = Entry(
    name="rec_gspo_is",
    title="REC, one-side clip of the completion's ratio, importance sampling",
    coefficient=CLIPPED + ", rho = exp(mean over tokens)",
    target=FLOW,
    family="ratio",
    level="sequence mean",
    source="Trinity-RFT's rec loss, gspo-one-side with gspo_importance_sampling; REC, arXiv 2509.24203",
    make=lambda low, high: clipped_objective(baselines.mean(), low, high),
    parameters=OF_COMPLETIONS,
    notes="gspo without the division by the standard deviation.",
    bounded="gains",
)

REC_GSPO_NOIS = Entry(
    name="rec_gspo_nois",
    title="REC, one-side clip of the completion's ratio, no importance sampling",
    coefficient="A inside the one-side clip, else 0, rho = exp(mean over tokens)",
    target=FLOW,
    family="ratio",
    level="sequence mean",
    source="Trinity-RFT's rec loss, gspo-one-side; REC, arXiv 2509.24203",
    make=one_side_objective,
    parameters=OF_COMPLETIONS,
    bounded="all",
)

# --- two sides --------------------------------------------------------------------------------------------------------

REC_TWOSIDE = Entry(
    name="rec_twoside",
    title="REC, two-side clip, importance sampling",
    coefficient="rho A for 1 - low <= rho <= 1 + high, else 0",
    target=FLOW,
    family="ratio",
    level="token",
    source="REC, arXiv 2509.24203; GLM-5, arXiv 2602.15763, equations 3 to 5",
    make=lambda low, high: two_side_objective(baselines.mean(), low, high),
    parameters=clip_range(),
    notes="GLM-5's double-sided importance sampling (dis) is this coefficient, with the ratio to the sampler's own "
    "log-probabilities; it prints no range. verl.icepop is it too, with bounds in place of ranges.",
    bounded="all",
    aliases=("dis",),
)


def both_sides(log_ratio: Array, advantage: Array, *, low: float, high: float) -> Array:
    r"""$c = A$ for $1 - low \le \rho \le 1 + high$, else 0: REC-TwoSide-NoIS."""
    xp = array_namespace(log_ratio)
    ratio = xp.exp(log_ratio)
    return xp.where((ratio >= 1 - low) & (ratio <= 1 + high), advantage, 0 * advantage)


REC_TWOSIDE_NOIS = Entry(
    name="rec_twoside_nois",
    title="REC, two-side clip, no importance sampling",
    coefficient="A for 1 - low <= rho <= 1 + high, else 0",
    target=FLOW,
    family="ratio",
    level="token",
    source="Trinity-RFT's rec loss, two-side; REC, arXiv 2509.24203",
    make=lambda low, high: ratio_weighted(
        partial(both_sides, low=low, high=high),
        baselines.mean(),
        stated=partial(two_side, low=low, high=high),
        kinks=partial(two_side_kinks, bounds=(1 - low, 1 + high)),
    ),
    parameters=clip_range(),
    bounded="all",
)

# --- a ring -----------------------------------------------------------------------------------------------------------


def ring(log_ratio: Array, advantage: Array, *, low: float, high: float, low_outer: float, high_outer: float) -> Array:
    r"""REC-Ring-NoIS: $c = A$ inside $[1 - low, 1 + high]$, and outside it again where that pulls the ratio back.

    That is for $A \ge 0$, $\rho \le 1 - low'$ and for $A \le 0$, $\rho \ge 1 + high'$; 0 elsewhere.
    """
    xp = array_namespace(log_ratio)
    ratio = xp.exp(log_ratio)
    back = ((advantage >= 0) & (ratio <= 1 - low_outer)) | ((advantage <= 0) & (ratio >= 1 + high_outer))
    inside = (ratio >= 1 - low) & (ratio <= 1 + high)
    return xp.where(inside | back, advantage, 0 * advantage)


def ring_objective(
    low: float, high: float, low_outer: float, high_outer: float, name: str = "rec_ring", weighted: bool = False
) -> Algorithm:
    if low_outer < low or high_outer < high:
        raise ValueError(
            f"{name}: low_outer, high_outer are {low_outer:g}, {high_outer:g}; "
            f"they must not lie inside low, high = {low:g}, {high:g}"
        )
    kept = partial(ring, low=low, high=high, low_outer=low_outer, high_outer=high_outer)
    with_weight = partial(with_ratio, coefficient=kept)
    return ratio_weighted(
        with_weight if weighted else kept,
        baselines.mean(),
        stated=with_weight,
        kinks=partial(two_side_kinks, bounds=(1 - low_outer, 1 - low, 1 + high, 1 + high_outer)),
    )


RING = clip_range() | {
    "low_outer": fraction(0.6, "outer range below 1, beyond which positive samples count again"),
    "high_outer": positive(2.0, "outer range above 1, beyond which negative samples count again"),
}

REC_RING = Entry(
    name="rec_ring",
    title="REC, ring clip, no importance sampling",
    coefficient="A inside the range, and outside the outer range where that pulls back; else 0",
    target=FLOW,
    family="ratio",
    level="token",
    source="REC, arXiv 2509.24203",
    make=ring_objective,
    parameters=RING,
    bounded="all",
)

REC_RING_IS = Entry(
    name="rec_ring_is",
    title="REC, ring clip, importance sampling",
    coefficient="rho A inside the range, and outside the outer range where that pulls back; else 0",
    target=FLOW,
    family="ratio",
    level="token",
    source="Trinity-RFT's rec loss, ring with importance_sampling; REC, arXiv 2509.24203",
    make=partial(ring_objective, name="rec_ring_is", weighted=True),
    parameters=RING,
    notes="Negative samples beyond the outer range are pushed down by their whole ratio.",
    bounded="gains",
)

ENTRIES = (
    REC_ONESIDE_IS,
    REC_ONESIDE_NOIS,
    REC_GSPO_IS,
    REC_GSPO_NOIS,
    REC_TWOSIDE,
    REC_TWOSIDE_NOIS,
    REC_RING,
    REC_RING_IS,
)
