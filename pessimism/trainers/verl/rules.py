"""Rules about what only verl has."""

from __future__ import annotations

from collections.abc import Iterator

from ..rule import Found, Groups, Rule, Wording
from ..settings import Settings
from .older import LAST

CLIP_DEFAULT = 0.2
"""verl's default of all three clip ranges; where the other two stay at it, it changes nothing."""

KL_DEFAULT = 1e-3
"""verl's default of both coefficients; written out, it changes nothing."""


def _clip_ratio_ignored(settings: Settings, groups: Groups) -> Iterator[Found]:
    idle = _number(settings.value("clip_ratio")) == CLIP_DEFAULT
    if settings.given("clip_ratio") and not idle and not (settings.given("low") and settings.given("high")):
        unset = [settings.key(name).rpartition(".")[2] for name in ("low", "high") if not settings.given(name)]
        yield Found("clip_ratio", f"clip_ratio is set, but {' and '.join(unset)} stay at their default, 0.2, and win")


def _kl_unused(settings: Settings, groups: Groups) -> Iterator[Found]:
    for name, switch in (("kl_loss_coefficient", "kl_loss_on"), ("kl_reward_coefficient", "kl_reward_on")):
        idle = _number(settings.value(name)) in (0.0, KL_DEFAULT)
        if name == "kl_reward_coefficient" and settings.fit.releases and settings.fit.all_up_to(LAST):
            continue  # it had no switch
        if settings.given(name) and not idle and not settings.on(switch):
            yield Found(name, f"{settings.key(name)} is set, but {settings.key(switch)} is off")


def _number(value: object) -> float | None:
    """A number, also where YAML takes one for a text (1e-3)."""
    try:
        return float(str(value))
    except ValueError:
        return None


def _kl_twice(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.on("kl_loss_on") and settings.on("kl_reward_on"):
        message = f"{settings.key('kl_loss_on')} and {settings.key('kl_reward_on')} are both on, and both are applied"
        yield Found("kl_reward_on", message)


def _gradient_clip_ignored(settings: Settings, groups: Groups) -> Iterator[Found]:
    same = _number(settings.value("gradient_clip")) == 1.0
    if settings.given("gradient_clip") and not same and not settings.given("optimizer_clip"):
        message = f"nothing reads it; gradients are clipped by {settings.key('optimizer_clip')}, 1.0 by default"
        yield Found("gradient_clip", message)


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
        "kl-twice",
        "note",
        _kl_twice,
        "Two penalties hold the policy to the reference, one in the reward before advantages are scaled, one in the "
        "loss.",
        "verl 0.9.1, main_ppo and utils/config.py print a notice and go on",
        "Keep one, unless both are wanted.",
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
    "mini-batch-larger": Wording("verl 0.9.1, ActorConfig.validate: it stops unless use_dynamic_bsz is on"),
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
