"""Reading TRL's arguments (YAML or JSON): GRPO, RLOO, A2PO (A*-PO) and asynchronous GRPO.

Read from trl 1.16.0: ``GRPOConfig``, ``RLOOConfig``, ``experimental.a2po.A2POConfig``,
``experimental.async_grpo.AsyncGRPOConfig`` and their trainers; ``older`` has what GRPOConfig was before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from ... import baselines
from ...baseline import Baseline
from ...hints import near
from ...levels import Level
from ..document import Document
from ..reader import Reader
from ..releases import NEWEST, Fit
from ..settings import Clip, Correction, Drop, Lag, Objective, Settings, adapted, objective, unknown
from ..shared import holding
from ..tokens import SEQUENCE_SUM, usual_aggregation
from ..verl.config import AGGREGATION as VERL_AGGREGATION
from . import older, parts
from .online_dpo import read_online_dpo

RELEASE = "1.16.0"
VERSION = f"trl {RELEASE}"
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
    "OnlineDPOConfig": "trl-online-dpo",
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


def kind_of(document: Document) -> str:
    """Which of TRL's configurations it is: by the class that is called, or by the keys."""
    if document.entry in CLASSES:
        return CLASSES[document.entry]
    return next((kind for kind, keys in OWN_KEYS.items() if any(key in document.values for key in keys)), "trl-grpo")


def read_trl(document: Document, kind: str = "", fit: Fit = NEWEST) -> Settings:
    """The settings of a TRL configuration; ``kind`` is "trl-grpo", "trl-rloo", "trl-a2po" or "trl-async-grpo".

    ``fit`` says which releases a file for GRPOConfig may be for; without it, it is for the newest.
    """
    readers: dict[str, Callable[[Reader], Settings]] = {
        "trl-grpo": partial(_grpo, fit),
        "trl-rloo": _rloo,
        "trl-a2po": _a2po,
        "trl-async-grpo": _async_grpo,
    }
    values = {key: _parsed(value) if key in JSON_TEXTS else value for key, value in document.values.items()}
    return readers[kind or kind_of(document)](Reader(replace(document, values=values), defaults=older.defaults(fit)))


def read_trl_file(document: Document, kind: str = "") -> Settings:
    """As :func:`read_trl`, for the releases that the file's keys fit."""
    made = kind or kind_of(document)
    if made == "trl-online-dpo":
        return read_online_dpo(document, VERSION)
    fit = older.fit_of(document, RELEASE) if made == "trl-grpo" and not document.has("objective") else NEWEST
    return read_trl(document, made, fit)


def _parsed(value: Any) -> Any:
    """What a text of JSON says; anything else as it is."""
    if isinstance(value, str):
        with suppress(json.JSONDecodeError):
            return json.loads(value)
    return value


def _grpo(fit: Fit, reader: Reader) -> Settings:
    if reader.given("objective"):
        return _adapter(reader)
    loss = reader.name("loss_type", "dapo")
    clip = parts.clip(reader)
    scale = parts.scale(reader)
    plain = not fit.newest and fit.all_up_to(older.UNCLIPPED)
    sampling = parts.sampling(reader)
    return Settings(
        reader.document,
        "trl",
        fit.words("trl") if fit.releases else VERSION,
        "GRPOConfig",
        _grpo_objective(reader, loss, scale, clip),
        _grpo_baseline(scale),
        SCALES.get(scale, ""),
        AGGREGATION.get(loss, "") if older.one_average(reader.document, fit) else "",
        reader.integer("num_generations", 8, 1),
        clip=clip if loss in CLIPPED and not plain else None,
        penalty=parts.penalty(reader.number("beta", 0.0), "k3", "loss"),
        sampling=replace(sampling, trained_at=1.0) if plain and reader.given("temperature") else sampling,
        lag=parts.lag(reader),
        correction=parts.correction(reader),
        drops=parts.drops(reader),
        keys={
            "loss": "loss_type",
            "scaling": "scale_rewards",
            "length": "max_completion_length",
            "group_size": "num_generations",
            "penalty": "beta",
            "high": "epsilon_high",
            "low": "epsilon",
            "level": "importance_sampling_level",
            "steps": parts.steps_key(reader),
            "correction_bound": "vllm_importance_sampling_clip_max"
            if reader.given("vllm_importance_sampling_clip_max")
            else "vllm_importance_sampling_cap",
            "off_policy_mask": "off_policy_mask_threshold",
            "correction": "vllm_importance_sampling_mode",
            "cap": "delta",
            "correction_on": "vllm_importance_sampling_correction",
            "aggregation": "loss_type",
            **parts.generation_keys(reader),
        },
        unresolved=(*reader.unresolved, *older.open_defaults(reader.document, fit)),
        fit=fit,
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
        sampling=parts.sampling(reader),
        lag=replace(parts.lag(reader), ratio_is_one=False),
        drops=parts.drops(reader),
        keys={
            "loss": "objective",
            "baseline": "objective",
            "scaling": "objective",
            "group_size": "num_generations",
            "steps": parts.steps_key(reader),
            **{name: f"objective_parameters.{name}" for name in parameters},
            **parts.generation_keys(reader),
        },
        unresolved=tuple(reader.unresolved),
    )


def _rloo(reader: Reader) -> Settings:
    clip = parts.clip(reader)
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
        penalty=parts.penalty(reader.number("beta", 0.05), "k1", "reward"),
        sampling=parts.sampling(reader),
        lag=parts.lag(reader),
        correction=Correction("none" if reader.flag("use_vllm", False) else "not needed"),
        drops=parts.drops(reader),
        keys={
            "scaling": "normalize_advantages",
            "group_size": "num_generations",
            "penalty": "beta",
            "high": "epsilon_high",
            "low": "epsilon",
            "steps": parts.steps_key(reader),
            "correction_on": "use_vllm",
            **parts.generation_keys(reader),
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
        sampling=parts.sampling(reader),
        lag=Lag(),
        drops=(drop,) if filtered else (),
        keys={"group_size": "num_value_samples", "baseline": "beta1"},
        unresolved=tuple(reader.unresolved),
    )


def _async_grpo(reader: Reader) -> Settings:
    clip = parts.clip(reader)
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
        sampling=parts.sampling(reader),
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
