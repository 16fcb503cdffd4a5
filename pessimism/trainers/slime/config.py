"""Reading the command lines of slime and of miles, a fork that kept its flags: ``train.py``, ``train_async.py``.

Read from slime at commit 624b824 and miles at commit 31f1ca9: ``utils/arguments.py`` (the defaults),
``utils/ppo_utils.py``, ``backends/megatron_utils/loss.py`` (``backends/training_utils/loss.py`` in miles),
``ray/rollout.py`` (the baseline).
"""

from __future__ import annotations

import math
import re

from ... import baselines
from ...hints import near
from ..document import Document
from ..reader import Reader
from ..settings import Advantage, Clip, Correction, Drop, Lag, Objective, Penalty, Sampling, Settings, unknown
from ..shared import (
    batch_standardized,
    capped,
    clipped,
    critic,
    group_mean,
    group_standardized,
    holding,
    other,
    remarked,
)

VERSION = "slime 624b824"
STANDARDIZED = ("grpo", "gspo", "cispo")
ESTIMATORS = (*STANDARDIZED, "reinforce_plus_plus", "reinforce_plus_plus_baseline", "ppo")
OWN_CODE = {
    "custom_loss_function_path": "the loss",
    "custom_advantage_function_path": "the advantage",
    "custom_reward_post_process_path": "the baseline",
    "custom_pg_loss_reducer_function_path": "the average over tokens",
}
"""Flags that name code of the user's own -> what it replaces."""


def is_slime(document: Document) -> bool:
    """Whether a command is one of slime's, by what it starts and by its flags."""
    started = re.fullmatch(r"(?:.*/)?train(?:_async)?\.py", document.entry) is not None
    flags = document.has("rollout_batch_size", "num_rollout")
    own = document.has("rollout_max_response_len", "rollout_num_gpus_per_engine", "actor_num_gpus_per_node")
    return flags and own and (started or document.has("n_samples_per_prompt", "advantage_estimator"))


def read_slime(document: Document) -> Settings:
    """The settings of a command that starts slime or miles."""
    reader = Reader(document)
    estimator = reader.name("advantage_estimator", "grpo")
    advantage = _advantage(reader, estimator)
    clip = _clip(reader)
    made = _objective(reader, estimator, advantage, clip)
    in_loss = reader.flag("use_kl_loss", False)
    return Settings(
        document,
        "slime",
        VERSION,
        "asynchronous" if _is_async(reader) else "RL",
        remarked(made, *_remarks(reader, estimator)) if made.entry else made,
        advantage.words,
        advantage.scaling,
        "token" if reader.flag("calculate_per_token_loss", False) else "sequence mean",
        reader.integer("n_samples_per_prompt", 1, 1),
        advantage.needs_group,
        clip=None if estimator == "cispo" else clip,
        penalty=_penalty(reader, in_loss),
        sampling=_sampling(reader),
        lag=_lag(reader),
        correction=_correction(reader),
        drops=_drops(reader),
        keys={
            "loss": "advantage_estimator",
            "baseline": "advantage_estimator",
            "scaling": "disable_grpo_std_normalization",
            "aggregation": "calculate_per_token_loss",
            "length": "rollout_max_response_len",
            "group_size": "n_samples_per_prompt",
            "low": "eps_clip",
            "high": "eps_clip_high",
            "cap": "eps_clip_c",
            "penalty": "kl_loss_coef" if in_loss else "kl_coef",
            "kl_estimator": "kl_loss_type",
            "steps": "num_steps_per_rollout" if reader.given("num_steps_per_rollout") else "global_batch_size",
            "bound": "rollout_function_path" if reader.given("rollout_function_path") else "update_weights_interval",
            "correction_bound": "tis_clip",
            "off_policy_mask": "opsm_delta" if reader.flag("use_opsm", False) else "",
            "correction": "custom_tis_function_path" if reader.given("custom_tis_function_path") else "use_tis",
            "correction_on": "use_tis",
            "untrained": "loss_type" if reader.given("loss_type") else "debug_rollout_only",
            **{name: f"rollout_{name}" for name in ("temperature", "top_p", "top_k")},
        },
        unresolved=tuple(reader.unresolved),
        off_policy_mask_to_sampler=reader.flag("use_rollout_logprobs", False),
        untrained=_untrained(reader),
    )


def _untrained(reader: Reader) -> str:
    if reader.name("loss_type", "policy_loss") == "sft_loss":
        return "loss_type is sft_loss"
    return "debug_rollout_only is on" if reader.flag("debug_rollout_only", False) else ""


def _is_async(reader: Reader) -> bool:
    own = reader.name("rollout_function_path", "")
    return reader.document.entry.endswith("train_async.py") or "async" in own or reader.flag("fully_async", False)


# --- objective ------------------------------------------------------------------------------------------------------


def _advantage(reader: Reader, estimator: str) -> Advantage:
    centered = not reader.flag("disable_rewards_normalization", False)
    whitened = reader.flag("normalize_advantages", False)
    if estimator == "ppo":
        return critic(whitened)
    if estimator == "reinforce_plus_plus" or (not centered and whitened):
        if whitened:
            return other("mean of the batch, not of the prompt")
        return Advantage(baselines.none(), "none: the reward itself", needs_group=False)
    if not centered:
        return Advantage(baselines.none(), "none: the reward itself", needs_group=False)
    if estimator in STANDARDIZED and not reader.flag("disable_grpo_std_normalization", False):
        return group_standardized("1e-6")
    return batch_standardized() if whitened else group_mean()


def _objective(reader: Reader, estimator: str, advantage: Advantage, clip: Clip) -> Objective:
    for key, what in OWN_CODE.items():
        if reader.given(key):
            return unknown(estimator, f"{what} is code of your own, {reader.raw(key)}")
    if estimator not in ESTIMATORS:
        return unknown(estimator, f"advantage_estimator is {estimator!r}; {near(estimator, ESTIMATORS, 'estimators')}")
    if estimator == "cispo":
        return capped(estimator, advantage, clip.low, clip.high)
    return clipped(estimator, advantage, clip, "sequence mean" if estimator == "gspo" else "token")


def _clip(reader: Reader) -> Clip:
    low = reader.number("eps_clip", 0.2)
    return Clip(low, reader.number("eps_clip_high", low), reader.number("eps_clip_c", math.inf))


def _remarks(reader: Reader, estimator: str) -> tuple[str, ...]:
    remarks = {
        "an entropy bonus is added, which the targets leave out": reader.number("entropy_coef", 0.0) != 0,
        "a log-ratio to a teacher is added to the advantage, which the targets leave out": reader.flag(
            "use_opd", False
        ),
        "advantages are also standardized over the batch, which the targets leave out": estimator in STANDARDIZED
        and reader.flag("normalize_advantages", False),
        "top-p is applied to the trainer's log-probabilities too": reader.number("rollout_top_p", 1.0) != 1,
    }
    return holding(remarks)


# --- the rest -------------------------------------------------------------------------------------------------------


def _penalty(reader: Reader, in_loss: bool) -> Penalty | None:
    """Outside the loss it enters with PPO and REINFORCE++ only, after the baseline."""
    kind = reader.name("kl_loss_type", "k1")
    estimator = "k3" if kind == "low_var_kl" else kind
    if in_loss:
        coefficient = reader.number("kl_loss_coef", 0.0)
        weighted = " with the score's gradient" if reader.flag("use_unbiased_kl", False) else ""
        return Penalty(coefficient, f"{estimator}{weighted}", "loss") if coefficient else None
    coefficient = reader.number("kl_coef", 0.0)
    reaches = reader.name("advantage_estimator", "grpo") not in STANDARDIZED
    return Penalty(coefficient, estimator, "advantage") if coefficient and reaches else None


def _sampling(reader: Reader) -> Sampling:
    """The trainer takes log-probabilities at the sampler's temperature, and within its top-p."""
    temperature = reader.number("rollout_temperature", 1.0)
    return Sampling(temperature, temperature, top_k=reader.number("rollout_top_k", -1))


def _lag(reader: Reader) -> Lag:
    steps = _steps(reader)
    if "fully_async" in reader.name("rollout_function_path", ""):
        return Lag(steps, True, math.inf)
    if _is_async(reader):  # the next batch is sampled while this one is trained on
        return Lag(steps, True, reader.integer("update_weights_interval", 1, 1))
    return Lag(steps, ratio_is_one=steps == 1 and not reader.flag("use_rollout_logprobs", False))


def _steps(reader: Reader) -> float | None:
    steps = reader.integer("num_steps_per_rollout", None, 1)
    if steps is not None:
        return steps
    prompts, batch = reader.integer("rollout_batch_size", None, 1), reader.integer("global_batch_size", None, 1)
    group = reader.integer("n_samples_per_prompt", 1, 1)
    keys = ("rollout_batch_size", "global_batch_size", "n_samples_per_prompt", "num_steps_per_rollout")
    if prompts is None or batch is None or any(value.key in keys for value in reader.unresolved):
        return None
    return max(1.0, prompts * group / batch)


def _correction(reader: Reader) -> Correction:
    if reader.flag("use_rollout_logprobs", False):
        return Correction()
    if not reader.flag("use_tis", False):
        return Correction("none")
    own = reader.name("custom_tis_function_path", "")
    bound = reader.number("tis_clip", 2.0)
    if own:
        return Correction("mask", "token", bound, False) if own.endswith("icepop_function") else Correction("own code")
    return Correction("truncate", "token", bound, False)


def _drops(reader: Reader) -> tuple[Drop, ...]:
    if not reader.flag("use_opsm", False):
        return ()
    delta = reader.number("opsm_delta", 1e-4)
    what = (
        f"completions of negative advantage whose mean log-ratio fell by more than {delta:g} are left out of the loss"
    )
    return (Drop("opsm_delta", what),)
