"""Reading Trinity-RFT's configuration (YAML).

Read from trinity-rft 0.6.0: ``algorithm``, ``common/config.py``, ``common/config_validator.py`` and
``trainer/verl/config.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...hints import near
from ..document import Document
from ..reader import Reader
from ..settings import Clip, Correction, Drop, Lag, Penalty, Sampling, Settings, unknown
from ..verl.config import AGGREGATION
from .losses import ADVANTAGE_ARGUMENTS, LOSS_ARGUMENTS, advantage_of, clip_range, objective_of

VERSION = "trinity-rft 0.6.0"


@dataclass(frozen=True)
class _Type:
    """The defaults of an ``algorithm_type``."""

    loss: str
    advantage: str
    kl: str = "k2"
    group_size: int = 2


TYPES = {
    "ppo": _Type("ppo", "ppo", group_size=1),
    "grpo": _Type("ppo", "grpo"),
    "grpo_verl": _Type("ppo", "grpo"),
    "dapo": _Type("ppo", "grpo", "none", 16),
    "reinforceplusplus": _Type("ppo", "reinforceplusplus"),
    "rloo": _Type("ppo", "rloo"),
    "opmd": _Type("opmd", "opmd"),
    "asymre": _Type("opmd", "asymre", "none"),
    "topr": _Type("topr", "reinforce"),
    "cispo": _Type("cispo", "grpo"),
    "gspo": _Type("gspo", "grpo"),
    "sapo": _Type("sapo", "grpo"),
    "rec": _Type("rec", "rec"),
    "sppo": _Type("sppo", "opmd", "none"),
    "multi_step_grpo": _Type("ppo", "step_wise_grpo", group_size=8),
    "gigpo": _Type("ppo", "gigpo", group_size=8),
    "dpo": _Type("dpo", "", group_size=2),
    "mix": _Type("mix", "grpo", group_size=8),
    "mix_chord": _Type("mix_chord", "grpo", group_size=8),
    "raft": _Type("sft", "", "none", 1),
    "sft": _Type("sft", "", "none", 1),
    "cpt": _Type("sft", "", "none", 1),
    "on_policy_distill": _Type("ppo", "on_policy_distill", "none", 8),
    "jsd": _Type("ppo", "jsd", "none", 8),
}
KL_ESTIMATORS = {"k1": "k1", "k2": "k2", "k3": "k3", "low_var_kl": "k3", "abs": "abs", "corrected_k3": "k3"}


def read_trinity(document: Document) -> Settings:
    """The settings of a Trinity-RFT configuration."""
    reader = Reader(document)
    kind = reader.name("algorithm.algorithm_type", "ppo")
    defaults = TYPES.get(kind, _Type("", "", "none"))
    loss = reader.name("algorithm.policy_loss_fn", defaults.loss)
    name = reader.name("algorithm.advantage_fn", defaults.advantage)
    advantage = advantage_of(reader, name)
    penalty = _penalty(reader, defaults.kl)
    made = objective_of(reader, loss, name, advantage, penalty)
    if kind not in TYPES:
        made = unknown(loss or kind, f"algorithm_type is {kind!r}; {near(kind, TYPES, 'types')}")
    clip = _ratio_range(reader, loss)
    return Settings(
        document,
        "trinity",
        VERSION,
        f"algorithm_type {kind}",
        made,
        advantage.words,
        advantage.scaling,
        _aggregation(reader, loss),
        reader.integer("algorithm.repeat_times", defaults.group_size, 1),
        advantage.needs_group and loss != "dpo",
        clip=clip,
        penalty=None if loss in ("dpo", "sft") else penalty,
        sampling=_sampling(reader),
        lag=_lag(reader),
        correction=Correction() if reader.flag("algorithm.bypass_old_logprobs", True) else Correction("none"),
        drops=_drops(reader),
        keys={
            "loss": "algorithm.policy_loss_fn"
            if reader.given("algorithm.policy_loss_fn")
            else "algorithm.algorithm_type",
            "baseline": "algorithm.advantage_fn",
            "scaling": "algorithm.advantage_fn",
            "shift": f"{ADVANTAGE_ARGUMENTS}.baseline_shift",
            "tau": f"{LOSS_ARGUMENTS}.tau",
            "aggregation": "algorithm.loss_agg_mode",
            "aggregation_ignored": f"{LOSS_ARGUMENTS}.loss_agg_mode",
            "length": "model.max_response_tokens",
            "group_size": "algorithm.repeat_times",
            "untrained": "mode",
            "low": f"{LOSS_ARGUMENTS}.{'epsilon' if loss == 'rec' else 'clip_range'}_low",
            "high": f"{LOSS_ARGUMENTS}.{'epsilon' if loss == 'rec' else 'clip_range'}_high",
            "cap": f"{LOSS_ARGUMENTS}.clip_ratio_c",
            "cispo_mask": f"{LOSS_ARGUMENTS}.enable_mask_clip",
            "penalty": "algorithm.kl_loss_fn_args.kl_coef",
            "kl_estimator": "algorithm.kl_loss_fn",
            "steps": "synchronizer.sync_interval",
            "bound": _bound_key(reader),
            "correction_on": "algorithm.bypass_old_logprobs",
            **{
                field: _sampling_key(reader, field) for field in ("temperature", "top_p", "top_k", "repetition_penalty")
            },
        },
        unresolved=tuple(reader.unresolved),
        untrained=f"mode is {mode}" if (mode := reader.name("mode", "both")) in ("explore", "bench", "serve") else "",
    )


# --- the rest -------------------------------------------------------------------------------------------------------


def _ratio_range(reader: Reader, loss: str) -> Clip | None:
    if loss == "ppo" and not reader.flag(f"{LOSS_ARGUMENTS}.fallback_to_policy_gradient", False):
        clip = clip_range(reader, 0.2, 0.2)
        return None if clip is None else replace(clip, cap=reader.number(f"{LOSS_ARGUMENTS}.clip_ratio_c", 3.0))
    if loss == "gspo":
        return clip_range(reader, 3e-4, 4e-4)
    if loss == "rec" and reader.name(f"{LOSS_ARGUMENTS}.clip_mode", "none") != "none":
        return Clip(
            reader.number(f"{LOSS_ARGUMENTS}.epsilon_low", 0.2), reader.number(f"{LOSS_ARGUMENTS}.epsilon_high", 0.2)
        )
    return None


def _aggregation(reader: Reader, loss: str) -> str:
    if loss == "rec":
        mode = reader.name(f"{LOSS_ARGUMENTS}.clip_mode", "none")
        return "sequence mean" if mode == "gspo-one-side" else "token"
    mode = reader.name("algorithm.loss_agg_mode", "token-mean")
    return AGGREGATION.get(mode, str(mode))


def _penalty(reader: Reader, default: str) -> Penalty | None:
    in_reward = reader.name("algorithm.kl_penalty_fn", "none")
    if in_reward != "none":
        coefficient = reader.number("algorithm.kl_penalty_fn_args.kl_coef", 1e-3)
        return Penalty(coefficient, KL_ESTIMATORS.get(in_reward, ""), "reward")
    kind = reader.name("algorithm.kl_loss_fn", default)
    coefficient = reader.number("algorithm.kl_loss_fn_args.kl_coef", 1e-3)
    return Penalty(coefficient, KL_ESTIMATORS.get(kind, ""), "loss") if kind != "none" and coefficient else None


def _taskset(reader: Reader) -> str:
    single = "buffer.explorer_input.taskset"
    return single if reader.given(single) else "buffer.explorer_input.tasksets.0"


def _sampling_key(reader: Reader, name: str) -> str:
    own = f"{_taskset(reader)}.rollout_args.{name}"
    return own if reader.given(own) else f"model.{name}"


def _sampling(reader: Reader) -> Sampling:
    defaults = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0}
    values = {name: reader.number(_sampling_key(reader, name), default) for name, default in defaults.items()}
    trained_at = values["temperature"]  # that of the first task set
    others = reader.raw("buffer.explorer_input.tasksets", [])
    for index in range(len(others) if isinstance(others, list) else 0):
        key = f"buffer.explorer_input.tasksets.{index}.rollout_args.temperature"
        values["temperature"] = reader.number(key, trained_at)
        if values["temperature"] != trained_at:
            break
    return Sampling(trained_at=trained_at, **values)


def _lag(reader: Reader) -> Lag:
    interval = reader.integer(
        "synchronizer.trainer_sync_interval", reader.integer("synchronizer.sync_interval", 1, 1), 1
    )
    offset = reader.integer("synchronizer.sync_offset", 0, 0)
    fixed = str(reader.raw("synchronizer.sync_style", "fixed")).lower() == "fixed"
    together = reader.name("mode", "both") in ("both", "colocate")
    strategy = reader.name("algorithm.sample_strategy", "default")
    if fixed and together and not offset:
        return Lag(interval)
    if strategy == "staleness_control":
        bound = reader.number("algorithm.sample_strategy_args.max_staleness", math.inf)
        return Lag(interval, True, bound, drops_stale=True)
    return Lag(interval, True, offset if fixed and together else math.inf)


def _bound_key(reader: Reader) -> str:
    """What bounds the age of samples, or keeps it from being bounded."""
    if reader.name("algorithm.sample_strategy", "default") == "staleness_control":
        return "algorithm.sample_strategy_args.max_staleness"
    own = ("synchronizer.sync_style", "mode", "synchronizer.sync_offset")
    plain = ("fixed", "both", 0)
    return next((key for key, value in zip(own, plain, strict=True) if reader.raw(key, value) != value), own[0])


def _drops(reader: Reader) -> tuple[Drop, ...]:
    share = reader.number("explorer.over_rollout.ratio", 0.0)
    if not share:
        return ()
    return (Drop("explorer.over_rollout.ratio", f"the slowest {share:.0%} of the prompts of a batch are given up"),)
