"""Parts that several of TRL's configurations have: sampling, clip, lag, correction, what is dropped."""

from __future__ import annotations

import math

from ...hints import near
from ...levels import Level
from ..reader import Reader
from ..settings import Clip, Correction, Drop, Lag, Penalty, Sampling

CORRECTIONS: dict[str, tuple[str, Level]] = {
    "token_truncate": ("truncate", "token"),
    "token_mask": ("mask", "token"),
    "sequence_truncate": ("truncate", "sequence"),
    "sequence_mask": ("mask", "sequence"),
}
SAMPLING_KEYS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def clip(reader: Reader) -> Clip:
    low = reader.number("epsilon", 0.2)
    return Clip(low, reader.number("epsilon_high", low), reader.number("delta", math.inf))


def scale(reader: Reader) -> str:
    value = reader.raw("scale_rewards", "group")
    return {"true": "group", "false": "none"}.get(str(value).lower(), str(value).lower())


def penalty(coefficient: float, estimator: str, place: str) -> Penalty | None:
    return Penalty(coefficient, estimator, place) if coefficient else None


def sampling(reader: Reader) -> Sampling:
    temperature = reader.number("temperature", 1.0)
    values = {
        name: reader.number(f"generation_kwargs.{name}", reader.number(name, default))
        for name, default in zip(SAMPLING_KEYS, (temperature, 1.0, 0, 0.0, 1.0), strict=True)
    }
    return Sampling(trained_at=temperature, **values)


def generation_keys(reader: Reader) -> dict[str, str]:
    found = {name: f"generation_kwargs.{name}" for name in SAMPLING_KEYS}
    return {name: key for name, key in found.items() if reader.given(key)}


def steps_key(reader: Reader) -> str:
    return "steps_per_generation" if reader.given("steps_per_generation") else "num_iterations"


def lag(reader: Reader) -> Lag:
    accumulation = reader.integer("gradient_accumulation_steps", 1, 1)
    iterations = reader.integer("num_iterations", 1, 1)
    slices = reader.integer("steps_per_generation", None, 1)
    if slices is None and reader.given("generation_batch_size"):
        return Lag(steps=None)  # it depends on the number of processes
    passes = (accumulation if slices is None else slices) * iterations
    # With a correction for vLLM the old log-probabilities are those of the trainer, of the same weights.
    return Lag(max(1.0, passes / accumulation), ratio_is_one=accumulation % passes == 0)


def correction(reader: Reader) -> Correction:
    if not reader.flag("use_vllm", False):
        return Correction()
    if not reader.flag("vllm_importance_sampling_correction", True):
        return Correction("none", by_default=False)
    mode = reader.name("vllm_importance_sampling_mode", "sequence_mask")
    if mode not in CORRECTIONS:
        place = reader.document.place("vllm_importance_sampling_mode")
        raise ValueError(f"{place}: vllm_importance_sampling_mode is {mode!r}; {near(mode, CORRECTIONS, 'modes')}")
    kind, level = CORRECTIONS[mode]
    bound = reader.number("vllm_importance_sampling_cap", 3.0)  # its name before clip_max
    if reader.document.find("vllm_importance_sampling_clip_max")[0]:
        bound = reader.number("vllm_importance_sampling_clip_max", math.inf)  # null: no bound
    return Correction(kind, level, bound, not reader.given("vllm_importance_sampling_mode"))


def drops(reader: Reader) -> tuple[Drop, ...]:
    if not reader.flag("mask_truncated_completions", False):
        return ()
    return (Drop("mask_truncated_completions", "completions cut at the length limit are left out of the loss"),)
