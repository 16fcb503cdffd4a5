"""Rules about the ratio: its range, its level, and how tokens are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..trainers.settings import Settings
from .reference_groups import ReferenceGroup
from .rule import ALL, Found, Rule

Groups = Sequence[ReferenceGroup]

WIDE_FOR_A_MEAN = 0.05
"""Averaged log-ratios move by the token's mean: GSPO's ranges are a hundredth of this."""

NARROW_FOR_A_TOKEN = 5e-3
"""A token's ratio leaves such a range by rounding alone; PPO's ranges are forty times it."""


def _cispo_cap(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.entry == "trl.cispo":
        cap = settings.parameters["epsilon_high"]
        origin = "" if settings.given("high") else " (from epsilon)" if settings.given("low") else " (the default)"
        yield Found("high", f"the ratio is capped at {cap:g}{origin}, below 1")


def _cispo_lower_bound(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.entry == "verl.cispo":
        yield Found(
            "low", f"ratios below {1 - settings.parameters['low']:g} count as {1 - settings.parameters['low']:g}"
        )


def _cispo_mask(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.entry == "trinity.cispo_masked":
        yield Found("cispo_mask", "clipped tokens are masked out of the loss")


def _sapo_stopped_gate(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.entry == "trinity.sapo":
        yield Found("loss", "the gate is a constant factor of the gradient, not part of what is differentiated")


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


def _luspo_level(settings: Settings, groups: Groups) -> Iterator[Found]:
    made = settings.objective.algorithm
    if settings.objective.loss == "luspo" and made is not None and made.level == "token":
        yield Found("level", "importance_sampling_level is token; LUSPO is defined on the sequence's mean log-ratio")


def _gspo_aggregation(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.loss == "gspo" and settings.aggregation != "sequence mean":
        yield Found("aggregation", f"GSPO's loss is averaged by {settings.aggregation}, so long completions weigh more")


def _aggregation_ignored(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.given("aggregation_ignored") and not settings.given("aggregation"):
        yield Found(
            "aggregation_ignored", "loss_agg_mode is set for the loss function, and overwritten with token-mean"
        )


def _clip_range_level(settings: Settings, groups: Groups) -> Iterator[Found]:
    made, clip = settings.objective.algorithm, settings.clip
    if made is None or clip is None or settings.lag.ratio_is_one:
        return
    if made.level == "sequence mean" and max(clip.low, clip.high) >= WIDE_FOR_A_MEAN:
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


def _clip_ratio_ignored(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.given("clip_ratio") and not (settings.given("low") and settings.given("high")):
        unset = [settings.key(name).rpartition(".")[2] for name in ("low", "high") if not settings.given(name)]
        yield Found("clip_ratio", f"clip_ratio is set, but {' and '.join(unset)} stay at their default, 0.2, and win")


def _dual_clip(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.clip is not None and math.isfinite(settings.clip.cap):
        yield Found("cap", f"negative samples whose ratio exceeds {settings.clip.cap:g} get no gradient")


def _length_bias(settings: Settings, groups: Groups) -> Iterator[Found]:
    made = settings.objective.algorithm
    if settings.aggregation == "sequence mean" and made is not None and made.level == "token":
        yield Found("aggregation", "each completion's loss is divided by its own length")


RATIO_RULES = (
    Rule(
        "cispo-cap",
        "error",
        ("trl",),
        _cispo_cap,
        "In TRL's CISPO epsilon_high is the cap itself, not its distance from 1, and it defaults to epsilon = 0.2. A "
        "cap below 1 is active on every sample from the first step: the ratio is a constant, and the update "
        "ratio-free.",
        "trl 1.16.0, GRPOTrainer._compute_loss; MiniMax-M1, arXiv 2506.13585; ScaleRL, arXiv 2510.13786",
        "Set epsilon_high to an absolute cap above 1; TRL's documentation recommends 5.0.",
    ),
    Rule(
        "cispo-lower-bound",
        "warning",
        ("verl", "trinity"),
        _cispo_lower_bound,
        "The source clips ratios from above only. With an active lower bound a negative sample keeps its full push "
        "however rare it has become.",
        "MiniMax-M1, arXiv 2506.13585; verl's own CISPO example sets clip_ratio_low=10",
        "Set the lower range to 1 or more, which switches the lower bound off.",
    ),
    Rule(
        "cispo-mask",
        "warning",
        ("trinity",),
        _cispo_mask,
        "CISPO is for keeping the gradient of clipped tokens; the mask takes it away again, and the loss is a PPO "
        "clip.",
        "trinity-rft 0.6.0, CISPOPolicyLossFn; MiniMax-M1, arXiv 2506.13585",
        "Leave enable_mask_clip at false.",
    ),
    Rule(
        "sapo-stopped-gate",
        "warning",
        ("trinity",),
        _sapo_stopped_gate,
        "The source differentiates the gate, whose weight then falls off for large ratios: 1.0, 1.6 and 0.7 at ratios "
        "1, 2 and 4. As a constant factor it grows instead: 2.0, 2.9, 3.8.",
        "trinity-rft 0.6.0, SAPOPolicyLossFn; SAPO, arXiv 2511.20347",
        "Use a policy loss that differentiates the gate, or know that large ratios are not held back.",
    ),
    Rule(
        "token-level",
        "warning",
        ALL,
        _token_level,
        "A sum of per-token squares or weights is not the square or weight of the sum: the target over completions is "
        "another, and depends on how completions are split into tokens.",
        "derived here (claims completions.*)",
        "Use a sequence-level implementation, or read the targets below as those of one-token completions.",
    ),
    Rule(
        "luspo-level",
        "error",
        ("trl",),
        _luspo_level,
        "TRL does not check this; with token-level ratios the loss is GRPO's, summed over tokens, so long completions "
        "dominate.",
        "trl 1.16.0, GRPOConfig.loss_type; LUSPO, arXiv 2602.05261",
        "Set importance_sampling_level to sequence.",
    ),
    Rule(
        "gspo-aggregation",
        "warning",
        ("verl", "trinity"),
        _gspo_aggregation,
        "GSPO averages within a completion, then over completions; token averages weigh completions by length.",
        "GSPO, arXiv 2507.18071; verl 0.9.1, compute_policy_loss_gspo",
        "Set loss_agg_mode to seq-mean-token-mean.",
    ),
    Rule(
        "loss-agg-mode-ignored",
        "warning",
        ("trinity",),
        _aggregation_ignored,
        "Trinity-RFT writes algorithm.loss_agg_mode, whose default is token-mean, over the loss function's own; so "
        "its GSPO runs with token means unless told otherwise.",
        "trinity-rft 0.6.0, common/config_validator.py",
        "Set algorithm.loss_agg_mode.",
    ),
    Rule(
        "clip-range-level",
        "warning",
        ALL,
        _clip_range_level,
        "An averaged log-ratio is smaller than a token's by about the root of the length, a summed one larger by it: "
        "a range made for one either never acts on the other or always does.",
        "GSPO, arXiv 2507.18071 (3e-4, 4e-4); trl#5814, trl#4772",
        "Use a range that was tuned at the level at which the ratio is taken.",
    ),
    Rule(
        "clip-ratio-ignored",
        "warning",
        ("verl",),
        _clip_ratio_ignored,
        "verl uses clip_ratio only where clip_ratio_low and clip_ratio_high are null, and both default to 0.2.",
        "verl 0.9.1, ActorConfig and compute_policy_loss_vanilla",
        "Set clip_ratio_low and clip_ratio_high.",
    ),
    Rule(
        "dual-clip",
        "note",
        ALL,
        _dual_clip,
        "Beyond the cap a bad completion that has become much more likely is no longer pushed down.",
        "arXiv 1912.09729; verl 0.9.1 and trinity-rft 0.6.0 have it on by default",
        "Nothing, if the data are nearly on-policy; else raise the cap.",
    ),
    Rule(
        "length-bias",
        "note",
        ALL,
        _length_bias,
        "Dividing by the length pushes short completions harder: short ones are favored among the good, long ones "
        "among the bad.",
        "Dr. GRPO, arXiv 2503.20783",
        "Average over tokens of the batch, or divide by a constant.",
    ),
)
