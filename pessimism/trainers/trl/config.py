"""Reading TRL's arguments (YAML or JSON): GRPO, RLOO, A2PO (A*-PO) and asynchronous GRPO.

Read from trl 1.16.0: ``GRPOConfig``, ``RLOOConfig``, ``experimental.a2po.A2POConfig``,
``experimental.async_grpo.AsyncGRPOConfig`` and their trainers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ... import baselines
from ...baseline import Baseline
from ...hints import near
from ...levels import Level
from ..document import Document
from ..reader import Reader
from ..settings import Clip, Correction, Drop, Lag, Objective, Penalty, Sampling, Settings, adapted, objective, unknown
from ..shared import holding
from ..tokens import SEQUENCE_SUM, usual_aggregation
from ..verl.config import AGGREGATION as VERL_AGGREGATION

VERSION = "trl 1.16.0"
CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
LOSSES = (*CLIPPED, "cispo", "sapo", "vespo")
AGGREGATION = {
    "grpo": "sequence mean",
    "sapo": "sequence mean",
    "bnpo": "token",
    "dapo": "token",
    "cispo": "token",
    "vespo": "token",
    "dr_grpo": "constant",
    "luspo": "sequence sum",
}
SCALES = {"group": "group std", "batch": "batch std", "none": ""}
JSON_TEXTS = ("generation_kwargs", "objective_parameters")
"""Mappings that may also be written as JSON in a text, as on a command line."""

CORRECTIONS: dict[str, tuple[str, Level]] = {
    "token_truncate": ("truncate", "token"),
    "token_mask": ("mask", "token"),
    "sequence_truncate": ("truncate", "sequence"),
    "sequence_mask": ("mask", "sequence"),
}
OWN_KEYS = {
    "trl-a2po": ("num_value_samples", "beta1", "beta2", "filter_all_incorrect"),
    "trl-async-grpo": ("max_staleness", "weight_sync_steps", "max_inflight_tasks", "token_budget"),
    "trl-rloo": ("normalize_advantages", "reward_clip_range"),
}
"""Keys that only one of the configurations has; without any it is read as GRPOConfig."""

CLASSES = {
    "GRPOConfig": "trl-grpo",
    "RLOOConfig": "trl-rloo",
    "A2POConfig": "trl-a2po",
    "AsyncGRPOConfig": "trl-async-grpo",
}
"""The classes that are read where a Python file makes one."""

KEYS = (
    "loss_type",
    "num_generations",
    "scale_rewards",
    "num_iterations",
    "importance_sampling_level",
    "steps_per_generation",
    "max_completion_length",
    "epsilon_high",
    "vllm_mode",
)
"""Keys by which a file is told to be TRL's."""

A2PO_REMARK = (
    "the log-ratio is to the frozen reference, the data from the policy itself: the targets are those of the first step"
)
_SAMPLING_KEYS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def kind_of(document: Document) -> str:
    """Which of TRL's configurations it is: by the class that is called, or by the keys."""
    if document.entry in CLASSES:
        return CLASSES[document.entry]
    return next((kind for kind, keys in OWN_KEYS.items() if any(key in document.values for key in keys)), "trl-grpo")


def read_trl(document: Document, kind: str = "") -> Settings:
    """The settings of a TRL configuration; ``kind`` is "trl-grpo", "trl-rloo", "trl-a2po" or "trl-async-grpo"."""
    readers: dict[str, Callable[[Reader], Settings]] = {
        "trl-grpo": _grpo,
        "trl-rloo": _rloo,
        "trl-a2po": _a2po,
        "trl-async-grpo": _async_grpo,
    }
    values = {key: _parsed(value) if key in JSON_TEXTS else value for key, value in document.values.items()}
    return readers[kind or kind_of(document)](Reader(replace(document, values=values)))


def _parsed(value: Any) -> Any:
    """What a text of JSON says; anything else as it is."""
    if isinstance(value, str):
        with suppress(json.JSONDecodeError):
            return json.loads(value)
    return value


def _grpo(reader: Reader) -> Settings:
    if reader.given("objective"):
        return _adapter(reader)
    loss = reader.name("loss_type", "dapo")
    clip = _clip(reader)
    scale = _scale(reader)
    return Settings(
        reader.document,
        "trl",
        VERSION,
        "GRPOConfig",
        _grpo_objective(reader, loss, scale, clip),
        _grpo_baseline(scale),
        SCALES.get(scale, ""),
        AGGREGATION.get(loss, ""),
        reader.integer("num_generations", 8, 1),
        clip=clip if loss in CLIPPED else None,
        penalty=_penalty(reader.number("beta", 0.0), "k3", "loss"),
        sampling=_sampling(reader),
        lag=_lag(reader),
        correction=_correction(reader),
        drops=_drops(reader),
        keys={
            "loss": "loss_type",
            "scaling": "scale_rewards",
            "group_size": "num_generations",
            "penalty": "beta",
            "high": "epsilon_high",
            "low": "epsilon",
            "level": "importance_sampling_level",
            "steps": _steps_key(reader),
            "correction": "vllm_importance_sampling_mode",
            "cap": "delta",
            "correction_on": "vllm_importance_sampling_correction",
            "aggregation": "loss_type",
            **_generation_keys(reader),
        },
        unresolved=tuple(reader.unresolved),
    )


def _grpo_objective(reader: Reader, loss: str, scale: str, clip: Clip) -> Objective:
    level_name = reader.name("importance_sampling_level", "token")
    if level_name not in ("token", "sequence"):
        return unknown(
            loss, f"importance_sampling_level is {level_name!r}; {near(level_name, ('token', 'sequence'), 'levels')}"
        )
    if scale not in SCALES:
        return unknown(loss, f"scale_rewards is {scale!r}; {near(scale, SCALES, 'scales')}")
    level: Level = "sequence mean" if level_name == "sequence" else "token"
    baseline = _baseline(scale)
    remarks = _grpo_remarks(reader, scale)
    bounds = {"low": clip.low, "high": clip.high}
    if loss in CLIPPED:
        if math.isfinite(clip.cap):
            return objective(loss, "ppo_dual_clip", baseline, level, remarks, cap=clip.cap, **bounds)
        if loss == "luspo":
            own: Level = "token" if level == "token" else "sequence mean times length"
            return objective(loss, "luspo", baseline, own, remarks, **bounds)
        if level == "sequence mean":
            return objective(loss, "gspo", baseline, level, remarks, **bounds)
        named = "dapo" if loss == "dapo" else "grpo"
        return objective(loss, "dr_grpo" if scale != "group" else named, baseline, level, remarks, **bounds)
    if loss == "cispo":
        if clip.high < 1:
            return objective(loss, "trl.cispo", baseline, level, remarks, epsilon_high=clip.high)
        return objective(loss, "cispo", baseline, level, remarks, cap=clip.high)
    if loss == "sapo":
        taus = {
            "tau_positive": reader.number("sapo_temperature_pos", 1.0),
            "tau_negative": reader.number("sapo_temperature_neg", 1.05),
        }
        return objective(loss, "sapo", baseline, level, remarks, **taus)
    if loss == "vespo":
        powers = {
            "k_positive": reader.number("vespo_k_pos", 2.0),
            "lambda_positive": reader.number("vespo_lambda_pos", 3.0),
            "k_negative": reader.number("vespo_k_neg", 3.0),
            "lambda_negative": reader.number("vespo_lambda_neg", 2.0),
        }
        return objective(loss, "vespo", baseline, "sequence", remarks, **powers)
    return unknown(loss, f"loss_type is {loss!r}; {near(loss, LOSSES, 'GRPO losses')}")


def _grpo_remarks(reader: Reader, scale: str) -> tuple[str, ...]:
    remarks = {
        "the advantage is also divided by the standard deviation of the whole batch, which the targets leave out": scale
        == "batch",
        "rewards are standardized one by one before they are summed; the targets are those of one reward": reader.name(
            "multi_objective_aggregation", "sum_then_normalize"
        )
        == "normalize_then_sum",
        "only the tokens of highest entropy are trained on": reader.number("top_entropy_quantile", 1.0) < 1,
        "an entropy bonus is added, which the targets leave out": reader.number("entropy_coef", 0.0) != 0
        or reader.flag("use_adaptive_entropy", False),
        "negative completions far from the sampler are masked": reader.number("off_policy_mask_threshold", None)
        is not None,
    }
    return holding(remarks)


def _baseline(scale: str) -> Baseline:
    return baselines.standardized(1e-4) if scale == "group" else baselines.mean()


def _grpo_baseline(scale: str) -> str:
    return {
        "group": "group mean, divided by the group's std + 1e-4",
        "batch": "group mean, divided by the batch's std",
    }.get(scale, "group mean")


def _adapter(reader: Reader) -> Settings:
    """The configuration of ``pessimism.trainers.trl.adapter``, whose ratio is always to the policy that sampled."""
    parameters = reader.section("objective_parameters")
    level = {"level": reader.raw("objective_level")} if reader.given("objective_level") else {}
    made = adapted({**parameters, **level, "name": reader.raw("objective")})
    usual = SEQUENCE_SUM if made.algorithm is None else usual_aggregation(made.algorithm)
    aggregation = reader.name("aggregation", usual)
    return Settings(
        reader.document,
        "trl",
        VERSION,
        "pessimism.trainers.trl.adapter.Config",
        made,
        "the objective's own" if made.algorithm is None else made.algorithm.baseline.formula,
        "group std" if made.algorithm is not None and made.algorithm.baseline.name == "standardized" else "",
        VERL_AGGREGATION.get(aggregation, str(aggregation)),
        reader.integer("num_generations", 8, 1),
        sampling=_sampling(reader),
        lag=replace(_lag(reader), ratio_is_one=False),
        drops=_drops(reader),
        keys={
            "loss": "objective",
            "baseline": "objective",
            "scaling": "objective",
            "group_size": "num_generations",
            "steps": _steps_key(reader),
            **{name: f"objective_parameters.{name}" for name in parameters},
            **_generation_keys(reader),
        },
        unresolved=tuple(reader.unresolved),
    )


def _rloo(reader: Reader) -> Settings:
    clip = _clip(reader)
    whitened = reader.flag("normalize_advantages", False)
    remarks = ("advantages are also standardized over the batch, which the targets leave out",) if whitened else ()
    return Settings(
        reader.document,
        "trl",
        VERSION,
        "RLOOConfig",
        objective("rloo", "ppo", baselines.leave_one_out(), "sequence", remarks, low=clip.low, high=clip.high),
        "mean of the other completions (leave one out)",
        "batch std" if whitened else "",
        "",
        reader.integer("num_generations", 2, 1),
        clip=clip,
        penalty=_penalty(reader.number("beta", 0.05), "k1", "reward"),
        sampling=_sampling(reader),
        lag=_lag(reader),
        correction=Correction("none" if reader.flag("use_vllm", False) else "not needed"),
        drops=_drops(reader),
        keys={
            "scaling": "normalize_advantages",
            "group_size": "num_generations",
            "penalty": "beta",
            "high": "epsilon_high",
            "low": "epsilon",
            "steps": _steps_key(reader),
            "correction_on": "use_vllm",
            **_generation_keys(reader),
        },
        unresolved=tuple(reader.unresolved),
    )


def _a2po(reader: Reader) -> Settings:
    beta1, beta2 = reader.number("beta1", 0.5), reader.number("beta2", 1e-3)
    filtered = reader.flag("filter_all_incorrect", True)
    drop = Drop("filter_all_incorrect", "prompts whose reference samples all failed are left out for good")
    return Settings(
        reader.document,
        "trl",
        VERSION,
        "experimental A2POConfig",
        objective("a2po", "a_star_po", None, None, (A2PO_REMARK,), beta1=beta1, beta2=beta2),
        f"{beta1:g} log mean exp(r/{beta1:g}) of reference samples, taken once",
        "",
        "",
        reader.integer("num_value_samples", 8, 1),
        sampling=_sampling(reader),
        lag=Lag(),
        drops=(drop,) if filtered else (),
        keys={"group_size": "num_value_samples", "baseline": "beta1"},
        unresolved=tuple(reader.unresolved),
    )


def _async_grpo(reader: Reader) -> Settings:
    clip = _clip(reader)
    bound = reader.integer("max_staleness", 4, 0)
    return Settings(
        reader.document,
        "trl",
        VERSION,
        "experimental AsyncGRPOConfig",
        objective("grpo", "grpo", baselines.standardized(1e-8), "token", (), low=clip.low, high=clip.high),
        "group mean, divided by the group's std + 1e-8",
        "group std",
        "token",
        reader.integer("num_generations", 8, 1),
        clip=clip,
        sampling=_sampling(reader),
        lag=Lag(reader.integer("weight_sync_steps", 1, 1), True, bound, drops_stale=True),
        keys={
            "group_size": "num_generations",
            "high": "epsilon_high",
            "low": "epsilon",
            "steps": "weight_sync_steps",
            "bound": "max_staleness",
        },
        unresolved=tuple(reader.unresolved),
    )


# --- parts that several have ----------------------------------------------------------------------------------------


def _clip(reader: Reader) -> Clip:
    low = reader.number("epsilon", 0.2)
    return Clip(low, reader.number("epsilon_high", low), reader.number("delta", math.inf))


def _scale(reader: Reader) -> str:
    value = reader.raw("scale_rewards", "group")
    return {"true": "group", "false": "none"}.get(str(value).lower(), str(value).lower())


def _penalty(coefficient: float, estimator: str, place: str) -> Penalty | None:
    return Penalty(coefficient, estimator, place) if coefficient else None


def _sampling(reader: Reader) -> Sampling:
    temperature = reader.number("temperature", 1.0)
    values = {
        name: reader.number(f"generation_kwargs.{name}", reader.number(name, default))
        for name, default in zip(_SAMPLING_KEYS, (temperature, 1.0, 0, 0.0, 1.0), strict=True)
    }
    return Sampling(trained_at=temperature, **values)


def _generation_keys(reader: Reader) -> dict[str, str]:
    found = {name: f"generation_kwargs.{name}" for name in _SAMPLING_KEYS}
    return {name: key for name, key in found.items() if reader.given(key)}


def _steps_key(reader: Reader) -> str:
    return "steps_per_generation" if reader.given("steps_per_generation") else "num_iterations"


def _lag(reader: Reader) -> Lag:
    accumulation = reader.integer("gradient_accumulation_steps", 1, 1)
    iterations = reader.integer("num_iterations", 1, 1)
    slices = reader.integer("steps_per_generation", None, 1)
    if slices is None and reader.given("generation_batch_size"):
        return Lag(steps=None)  # it depends on the number of processes
    passes = (accumulation if slices is None else slices) * iterations
    # With a correction for vLLM the old log-probabilities are those of the trainer, of the same weights.
    return Lag(max(1.0, passes / accumulation), ratio_is_one=accumulation % passes == 0)


def _correction(reader: Reader) -> Correction:
    if not reader.flag("use_vllm", False):
        return Correction()
    if not reader.flag("vllm_importance_sampling_correction", True):
        return Correction("none", by_default=False)
    mode = reader.name("vllm_importance_sampling_mode", "sequence_mask")
    if mode not in CORRECTIONS:
        place = reader.document.place("vllm_importance_sampling_mode")
        raise ValueError(f"{place}: vllm_importance_sampling_mode is {mode!r}; {near(mode, CORRECTIONS, 'modes')}")
    kind, level = CORRECTIONS[mode]
    bound = 3.0
    if reader.document.find("vllm_importance_sampling_clip_max")[0]:
        bound = reader.number("vllm_importance_sampling_clip_max", math.inf)  # null: no bound
    return Correction(kind, level, bound, not reader.given("vllm_importance_sampling_mode"))


def _drops(reader: Reader) -> tuple[Drop, ...]:
    if not reader.flag("mask_truncated_completions", False):
        return ()
    return (Drop("mask_truncated_completions", "completions cut at the length limit are left out of the loss"),)
