"""Rules about the ratio: its range, its level, and how tokens are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..levels import RULES
from ..trainers.rule import Found, Groups, Rule
from ..trainers.settings import Settings

WIDE_FOR_A_MEAN = 0.05
"""Averaged log-ratios move by the token's mean: GSPO's ranges are a hundredth of this."""

NARROW_FOR_A_TOKEN = 5e-3
"""A token's ratio leaves such a range by rounding alone; PPO's ranges are forty times it."""


USUAL_CAP = 3.0
"""Dual clipping's own, and that of the trainers which have it."""


def _cispo_lower_bound(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.method == "cispo" and "low" in settings.parameters:
        yield Found(
            "low", f"ratios below {1 - settings.parameters['low']:g} count as {1 - settings.parameters['low']:g}"
        )


def _token_level(settings: Settings, groups: Groups) -> Iterator[Found]:
    made = settings.objective.algorithm
    if (
        made is not None
        and made.level == "token"
        and settings.objective.paper_level != "token"
        and settings.objective.uses_log_ratio
    ):
        yield Found(
            "loss", f"{settings.objective.entry} takes log-ratios per token; its source takes them per sequence"
        )


def _gspo_aggregation(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.loss == "gspo" and settings.aggregation != "sequence mean":
        yield Found("aggregation", f"GSPO's loss is averaged by {settings.aggregation}, so long completions weigh more")


def _clip_range_level(settings: Settings, groups: Groups) -> Iterator[Found]:
    made, clip = settings.objective.algorithm, settings.clip
    if made is None or clip is None or settings.lag.ratio_is_one:
        return
    if RULES[made.level].log_ratio == "mean" and max(clip.low, clip.high) >= WIDE_FOR_A_MEAN:
        yield Found(
            "high", f"a range of [-{clip.low:g}, +{clip.high:g}] around an averaged log-ratio all but never acts"
        )
    if made.level == "token" and min(clip.low, clip.high) < NARROW_FOR_A_TOKEN:
        yield Found(
            "high", f"a range of [-{clip.low:g}, +{clip.high:g}] is one for averaged log-ratios, not for tokens"
        )
    if made.level == "sequence" and max(clip.low, clip.high) < 1:
        yield Found(
            "high", f"a range of [-{clip.low:g}, +{clip.high:g}] is one for tokens; here it bounds a product of them"
        )


def _dual_clip(settings: Settings, groups: Groups) -> Iterator[Found]:
    """Silent about the usual cap, also where it is written out, and where no ratio can reach a cap."""
    if settings.lag.ratio_is_one or not settings.given("cap"):
        return
    if settings.clip is not None and math.isfinite(settings.clip.cap) and settings.clip.cap != USUAL_CAP:
        yield Found("cap", f"negative samples whose ratio exceeds {settings.clip.cap:g} get no gradient")


def _length_bias(settings: Settings, groups: Groups) -> Iterator[Found]:
    made = settings.objective.algorithm
    if settings.aggregation == "sequence mean" and made is not None and made.level == "token":
        yield Found("aggregation", "each completion's loss is divided by its own length")


RATIO_RULES = (
    Rule(
        "cispo-lower-bound",
        "warning",
        _cispo_lower_bound,
        "The source clips ratios from above only. With an active lower bound a negative sample keeps its full push "
        "however rare it has become.",
        "MiniMax-M1, arXiv 2506.13585",
        "Set the lower range to 1 or more, which switches the lower bound off.",
    ),
    Rule(
        "token-level",
        "warning",
        _token_level,
        "A sum of per-token squares or weights is not the square or weight of the sum: the target over completions is "
        "another, and depends on how completions are split into tokens.",
        "derived here (claims completions.*)",
        "Use a sequence-level implementation, or read the targets below as those of one-token completions.",
    ),
    Rule(
        "gspo-aggregation",
        "warning",
        _gspo_aggregation,
        "GSPO averages within a completion, then over completions; token averages weigh completions by length.",
        "GSPO, arXiv 2507.18071",
        "Set loss_agg_mode to seq-mean-token-mean.",
    ),
    Rule(
        "clip-range-level",
        "warning",
        _clip_range_level,
        "An averaged log-ratio is smaller than a token's by about the root of the length, a summed one larger by it: "
        "a range made for one either never acts on the other or always does.",
        "GSPO, arXiv 2507.18071 (3e-4, 4e-4)",
        "Use a range that was tuned at the level at which the ratio is taken.",
    ),
    Rule(
        "dual-clip",
        "note",
        _dual_clip,
        "Beyond the cap a bad completion that has become much more likely is no longer pushed down.",
        "arXiv 1912.09729",
        "Nothing, if the data are nearly on-policy; else raise the cap.",
    ),
    Rule(
        "length-bias",
        "note",
        _length_bias,
        "Dividing by the length pushes short completions harder: short ones are favored among the good, long ones "
        "among the bad.",
        "Dr. GRPO, arXiv 2503.20783",
        "Average over tokens of the batch, or divide by a constant.",
    ),
)
