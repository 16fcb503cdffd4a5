"""Rules about what only TRL has."""

from __future__ import annotations

from collections.abc import Iterator

from ..rule import Found, Groups, Rule, Wording
from ..settings import Settings


def _cispo_cap(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.entry == "trl.cispo":
        cap = settings.parameters["epsilon_high"]
        origin = "" if settings.given("high") else " (from epsilon)" if settings.given("low") else " (the default)"
        yield Found("high", f"the ratio is capped at {cap:g}{origin}, below 1")


def _luspo_level(settings: Settings, groups: Groups) -> Iterator[Found]:
    made = settings.objective.algorithm
    if settings.objective.loss == "luspo" and made is not None and made.level == "token":
        yield Found("level", "importance_sampling_level is token; LUSPO is defined on the sequence's mean log-ratio")


RULES = (
    Rule(
        "cispo-cap",
        "error",
        _cispo_cap,
        "In TRL's CISPO epsilon_high is the cap itself, not its distance from 1, and it defaults to epsilon = 0.2. A "
        "cap below 1 is active on every sample from the first step: the ratio is a constant, and the update "
        "ratio-free.",
        "trl 1.16.0, GRPOTrainer._compute_loss; MiniMax-M1, arXiv 2506.13585; ScaleRL, arXiv 2510.13786",
        "Set epsilon_high to an absolute cap above 1; TRL's documentation recommends 5.0.",
    ),
    Rule(
        "luspo-level",
        "error",
        _luspo_level,
        "TRL does not check this; with token-level ratios the loss is GRPO's, summed over tokens, so long completions "
        "dominate.",
        "trl 1.16.0, GRPOConfig.loss_type; LUSPO, arXiv 2602.05261",
        "Set importance_sampling_level to sequence.",
    ),
)
"""The rules."""

WORDINGS = {
    "dr-grpo-std": Wording("trl 1.16.0, GRPOConfig.scale_rewards", "Set scale_rewards to none."),
    "mixed-levels": Wording("trl#5814, trl#4772"),
    "clip-range-level": Wording("trl#5814, trl#4772"),
    "ratio-is-one": Wording("trl 1.16.0, GRPOTrainer._compute_loss"),
    "sequence-mask": Wording(
        "trl 1.16.0, GRPOConfig.vllm_importance_sampling_mode; trl#5814, trl#4772",
        "Use token_truncate or token_mask, or a bound that suits your lengths, and watch the share masked.",
    ),
    "truncated-sampling": Wording("trl#6789"),
}
"""The general rules in TRL's words."""
