"""Rules about what only verl has."""

from __future__ import annotations

from collections.abc import Iterator

from ..rule import Found, Groups, Rule, Wording
from ..settings import Settings


def _clip_ratio_ignored(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.given("clip_ratio") and not (settings.given("low") and settings.given("high")):
        unset = [settings.key(name).rpartition(".")[2] for name in ("low", "high") if not settings.given(name)]
        yield Found("clip_ratio", f"clip_ratio is set, but {' and '.join(unset)} stay at their default, 0.2, and win")


def _kl_unused(settings: Settings, groups: Groups) -> Iterator[Found]:
    for name, switch in (("kl_loss_coefficient", "kl_loss_on"), ("kl_reward_coefficient", "kl_reward_on")):
        place = "loss" if name.startswith("kl_loss") else "reward"
        if settings.given(name) and (settings.penalty is None or settings.penalty.place != place):
            yield Found(name, f"{settings.key(name)} is set, but {settings.key(switch)} is off")


def _gradient_clip_ignored(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.given("gradient_clip") and not settings.given("optimizer_clip"):
        told = f"nothing reads it; gradients are clipped by {settings.key('optimizer_clip')}, 1.0 by default"
        yield Found("gradient_clip", told)


RULES = (
    Rule(
        "clip-ratio-ignored",
        "warning",
        _clip_ratio_ignored,
        "verl uses clip_ratio only where clip_ratio_low and clip_ratio_high are null, and both default to 0.2.",
        "verl 0.9.1, ActorConfig and compute_policy_loss_vanilla",
        "Set clip_ratio_low and clip_ratio_high.",
    ),
    Rule(
        "kl-unused",
        "warning",
        _kl_unused,
        "The coefficient has no effect without its switch.",
        "verl 0.9.1, actor.yaml and ppo_trainer.yaml",
        "Turn the switch on, or remove the coefficient.",
    ),
    Rule(
        "gradient-clip-ignored",
        "warning",
        _gradient_clip_ignored,
        "Regressions on log-ratios are published with small bounds (OAPL: 1e-3), which then never act.",
        "verl 0.9.1, workers/engine/*/transformer_impl.py",
        "Set actor.optim.clip_grad.",
    ),
)
"""The rules."""

WORDINGS = {
    "cispo-lower-bound": Wording("verl's own CISPO example sets clip_ratio_low=10"),
    "dual-clip": Wording("verl 0.9.1 has it on by default"),
    "gspo-aggregation": Wording("verl 0.9.1, compute_policy_loss_gspo"),
    "group-of-one": Wording("verl 0.9.1, compute_grpo_outcome_advantage takes the mean of one for 0"),
    "no-lag-bound": Wording("verl#7569"),
    "sequence-mask": Wording(
        fix="Use a token-level mode (token_k1), or a bound that suits your lengths, and watch the share masked."
    ),
    "stale-uncorrected": Wording(
        "verl 0.9.1, trainer_separate_async.py; verl#7569",
        "Use the sampler's log-probabilities: rollout_correction.bypass_mode, or rollout_is.",
    ),
    "steps-per-batch": Wording("verl#4449, verl#6780"),
    "uncorrected-sampler": Wording("verl#2996, verl#2656"),
}
"""The general rules in verl's words."""
