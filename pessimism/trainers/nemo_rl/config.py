"""Reading NeMo-RL's configuration (YAML, and overrides of it): GRPO and its relatives.

Read from NeMo-RL at commit 7ea279a (August 2026): ``algorithms/loss/loss_functions.py`` (ClippedPGLossFn),
``algorithms/advantage_estimator.py``, ``algorithms/grpo.py``, ``algorithms/utils.py``. Values that neither the file nor
its ``defaults`` set are those of the classes there, which are also those of ``examples/configs/grpo_math_1B.yaml``.
"""

from __future__ import annotations

import math
import re

from ... import baselines
from ...hints import near
from ..document import Document
from ..reader import Reader
from ..settings import (
    Advantage,
    Clip,
    Correction,
    Drop,
    Lag,
    Objective,
    Penalty,
    Sampling,
    Settings,
    policy_gradient,
    unknown,
)
from ..shared import (
    capped,
    clipped,
    critic,
    group_mean,
    group_standardized,
    holding,
    mean_of_others,
    other,
    remarked,
    sampler_weighted,
    with_known_baseline,
)

VERSION = "NeMo-RL 7ea279a"
LOSS = "loss_fn"
GENERATION = "policy.generation"
ESTIMATORS = ("grpo", "gdpo", "reinforce_plus_plus", "opd", "raw_reward", "gae")
CORRECTIONS = ("tis", "icepop", "seq-mask-tis")
WITHOUT_REWARD = {
    "sft": "supervised fine-tuning",
    "dpo": "DPO on given pairs of completions",
    "rm": "training of a reward model",
    "distillation": "distillation from a teacher",
}
"""Sections of the trainers that train on no reward -> what they do."""


def is_nemo_rl(document: Document) -> bool:
    """Whether a file is NeMo-RL's, by its sections or by what the command starts."""
    sections = document.has("policy") and document.has("loss_fn", "grpo", "distillation", "grpo.num_prompts_per_step")
    own = document.has("grpo.num_generations_per_prompt", "grpo.num_prompts_per_step", "loss_fn.ratio_clip_min")
    started = re.fullmatch(r"(?:.*/)?run_(?:vlm_)?grpo(?:_\w+)?\.py|nemo_rl\..*", document.entry) is not None
    return (sections and not document.has("trainer")) or own or (started and document.has("policy", "grpo", "cluster"))


def read_nemo_rl(document: Document) -> Settings:
    """The settings of a NeMo-RL configuration."""
    reader = Reader(document)
    section = "ppo" if document.has("ppo") and not document.has("grpo") else "grpo"
    advantage = _advantage(reader, section)
    clip = _clip(reader)
    level = "sequence mean" if reader.flag(f"{LOSS}.sequence_level_importance_ratios", False) else "token"
    made, ranged = _objective(reader, advantage, clip, level == "sequence mean")
    if document.missing:  # its files set everything; what the classes hold is no default of theirs
        made, ranged = unknown("clipped_pg", f"{document.missing[0]}, which it builds on, is not next to it"), False
    penalty = _penalty(reader)
    group = f"{section}.num_generations_per_prompt"
    return Settings(
        document,
        "nemo-rl",
        VERSION,
        section.upper(),
        remarked(made, *_remarks(reader)) if made.entry else made,
        advantage.words,
        advantage.scaling,
        "token" if reader.flag(f"{LOSS}.token_level_loss", True) else "sequence mean",
        None if document.missing and not reader.given(group) else reader.integer(group, 16, 1),
        advantage.needs_group,
        clip=clip if ranged else None,
        penalty=penalty,
        sampling=_sampling(reader),
        lag=_lag(reader, section),
        correction=_correction(reader),
        drops=_drops(reader, section),
        keys={
            "loss": LOSS,
            "baseline": f"{section}.adv_estimator.name",
            "scaling": f"{section}.normalize_rewards",
            "aggregation": f"{LOSS}.token_level_loss",
            "length": "policy.max_total_sequence_length",
            "group_size": group,
            "low": f"{LOSS}.ratio_clip_min",
            "high": f"{LOSS}.ratio_clip_max",
            "cap": f"{LOSS}.ratio_clip_c",
            "level": f"{LOSS}.sequence_level_importance_ratios",
            "penalty": f"{LOSS}.reference_policy_kl_penalty",
            "kl_estimator": f"{LOSS}.reference_policy_kl_type",
            "steps": "policy.train_global_batch_size",
            "bound": f"{section}.async_{section}.max_trajectory_age_steps",
            "correction_bound": f"{LOSS}.truncated_importance_sampling_ratio",
            "correction": f"{LOSS}.truncated_importance_sampling_type",
            "correction_on": f"{LOSS}.use_importance_sampling_correction",
            "temperature": f"{GENERATION}.temperature",
            "untrained": next((name for name in WITHOUT_REWARD if document.has(name)), "grpo.adv_estimator.name"),
        },
        unresolved=tuple(reader.unresolved),
        untrained=_untrained(reader, section),
    )


def _untrained(reader: Reader, section: str) -> str:
    if reader.name(f"{section}.adv_estimator.name", "grpo") == "opd":
        return "the advantage is the log-ratio to a teacher"
    if reader.document.has("grpo", "ppo"):
        return ""
    return next((what for name, what in WITHOUT_REWARD.items() if reader.document.has(name)), "")


# --- objective ------------------------------------------------------------------------------------------------------


def _advantage(reader: Reader, section: str) -> Advantage:
    estimator = f"{section}.adv_estimator"
    name = reader.name(f"{estimator}.name", "gae" if section == "ppo" else "grpo")
    if name == "grpo":
        scaled = _either(reader, section, "normalize_rewards")
        if not _either(reader, section, "use_leave_one_out_baseline"):
            return group_standardized("1e-6") if scaled else group_mean()
        if not scaled:
            return mean_of_others()
        words = "mean of the other completions, divided by their std + 1e-6 (by 1 where they are all equal)"
        return Advantage(baselines.leave_one_out_standardized(1e-6), words, "group std")
    if name == "reinforce_plus_plus":
        if reader.flag(f"{estimator}.minus_baseline", True):
            words = "group mean, then centered and divided by the batch's std"
            return Advantage(baselines.mean(), words, "batch std")
        return other("mean of the batch, not of the prompt")
    if name == "gae":
        return critic(reader.flag(f"{estimator}.normalize_advantages", True))
    if name == "raw_reward" and not reader.flag(f"{estimator}.normalize_advantages", False):
        return Advantage(baselines.none(), "none: the reward itself", needs_group=False)
    known = {
        "gdpo": "several rewards, each standardized in its group",
        "opd": "the log-ratio to a teacher",
        "raw_reward": "mean of the batch, not of the prompt",
    }
    return other(known.get(name, f"adv_estimator {name}"))


def _either(reader: Reader, section: str, name: str) -> bool:
    """A setting of the estimator, which by default is the section's."""
    return reader.flag(f"{section}.adv_estimator.{name}", reader.flag(f"{section}.{name}", True))


def _objective(reader: Reader, advantage: Advantage, clip: Clip, averaged: bool) -> tuple[Objective, bool]:
    """The objective, and whether the ratio is held to a range."""
    name = reader.name("grpo.adv_estimator.name", "grpo")
    if name not in ESTIMATORS:
        return unknown("clipped_pg", f"adv_estimator.name is {name!r}; {near(name, ESTIMATORS, 'estimators')}"), False
    if reader.flag(f"{LOSS}.use_cispo", False):
        return capped("cispo", advantage, clip.low, clip.high), False
    if reader.flag(f"{LOSS}.disable_ppo_ratio", False) or reader.flag(f"{LOSS}.force_on_policy_ratio", False):
        correction = _correction(reader)
        if correction.kind != "none" and correction.level == "token":  # the weight is the whole ratio
            low = reader.number(f"{LOSS}.truncated_importance_sampling_ratio_min", 0.0)
            kept = low if correction.kind == "mask" else None
            return sampler_weighted("clipped_pg", advantage, correction.level, kept, correction.bound), False
        return with_known_baseline(policy_gradient("clipped_pg", advantage), advantage), False
    return clipped("clipped_pg", advantage, clip, "sequence mean" if averaged else "token"), True


def _clip(reader: Reader) -> Clip:
    low = reader.number(f"{LOSS}.ratio_clip_min", 0.2)
    high = reader.number(f"{LOSS}.ratio_clip_max", 0.2)
    return Clip(low, high, reader.number(f"{LOSS}.ratio_clip_c", math.inf))


def _remarks(reader: Reader) -> tuple[str, ...]:
    filtered = reader.number(f"{GENERATION}.top_p", 1.0) < 1 or reader.number(f"{GENERATION}.top_k", -1) > 0
    remarks = {
        "a log-likelihood of correct completions is added, which the targets leave out": reader.number(
            f"{LOSS}.positive_example_nll_weight", 0.0
        )
        > 0,
        "top-p and top-k are applied to the trainer's log-probabilities too": filtered,
        "advantages are clipped, which the targets leave out": reader.given("grpo.advantage_clip_low")
        or reader.given("grpo.advantage_clip_high"),
    }
    return holding(remarks)


# --- the rest -------------------------------------------------------------------------------------------------------


def _penalty(reader: Reader) -> Penalty | None:
    coefficient = reader.number(f"{LOSS}.reference_policy_kl_penalty", 0.01)
    if not coefficient:
        return None
    kind = reader.name(f"{LOSS}.reference_policy_kl_type", "k3")
    in_reward = reader.flag(f"{LOSS}.use_kl_in_reward", False)
    # In the loss every estimator is weighted by pi / sg(pi), which adds the gradient of the samples' probability.
    return Penalty(
        coefficient, kind if in_reward else f"{kind} with the score's gradient", "reward" if in_reward else "loss"
    )


def _sampling(reader: Reader) -> Sampling:
    """The trainer takes log-probabilities at the sampler's temperature, top-p and top-k."""
    temperature = reader.number(f"{GENERATION}.temperature", 1.0)
    return Sampling(temperature, temperature)


def _lag(reader: Reader, section: str) -> Lag:
    prompts = reader.integer(f"{section}.num_prompts_per_step", 32, 1)
    group = reader.integer(f"{section}.num_generations_per_prompt", 16, 1)
    batch = reader.integer("policy.train_global_batch_size", 512, 1)
    keys = (
        f"{section}.num_prompts_per_step",
        f"{section}.num_generations_per_prompt",
        "policy.train_global_batch_size",
    )
    open_ = any(value.key in keys for value in reader.unresolved)
    steps = None if open_ or reader.document.missing else max(1.0, prompts * group / batch)
    forced = reader.flag(f"{LOSS}.force_on_policy_ratio", False)
    own = f"{section}.async_{section}"
    if reader.flag(f"{own}.enabled", False):
        return Lag(steps, True, reader.integer(f"{own}.max_trajectory_age_steps", 1, 0), ratio_is_one=forced)
    return Lag(steps, ratio_is_one=forced or steps == 1)


def _correction(reader: Reader) -> Correction:
    if not reader.flag(f"{LOSS}.use_importance_sampling_correction", False):
        return Correction("none")
    kind = reader.name(f"{LOSS}.truncated_importance_sampling_type", None)
    bound = reader.number(f"{LOSS}.truncated_importance_sampling_ratio", math.inf)
    level = "sequence" if reader.flag(f"{LOSS}.sequence_level_importance_ratios", False) else "token"
    if kind == "seq-mask-tis":
        return Correction("mask", "sequence mean", bound, False)
    return Correction("mask" if kind == "icepop" else "truncate", level, bound, False)


def _drops(reader: Reader, section: str) -> tuple[Drop, ...]:
    if not reader.flag(f"{section}.overlong_filtering", False):
        return ()
    return (Drop(f"{section}.overlong_filtering", "completions cut at the length limit are left out of the loss"),)
