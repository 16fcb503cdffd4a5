"""Reading commands that start open-instruct's GRPO (``grpo_fast.py``, ``grpo.py``), also through ``mason.py``.

Read from open-instruct at commit e6c3044 (August 2026): ``grpo_utils.py`` (compute_grpo_loss, compute_rho_correction),
``data_loader.py`` (advantages), ``model_utils.py`` (estimate_kl). Several defaults changed on 20 March 2026 (7917d41);
what tells on which side of it a file is: estimators of KL by name (up to December 2025), ``num_epochs`` (up to April
2026), ``rho_*`` (since May 2026).
"""

from __future__ import annotations

import math
import re

from ...hints import near
from ..document import Document
from ..reader import Reader, Unresolved
from ..settings import Advantage, Clip, Correction, Drop, Lag, Objective, Penalty, Sampling, Settings, unknown
from ..shared import capped, clipped, group_mean, group_standardized

VERSION = "open-instruct e6c3044"
LOSSES = ("dapo", "cispo")
ADVANTAGES = ("standard", "centered")
ESTIMATORS = {"kl1": "k1", "kl2": "k2", "kl3": "k3", "kl4": "k1 with the ratio"}
"""By their older names; the newer ones are their places in this order."""

BEFORE = {
    "advantage_normalization_type": "standard",
    "clip_higher": 0.2,
    "async_steps": 1,
    "truncated_importance_sampling_ratio_cap": 0.0,
}
SINCE = {
    "advantage_normalization_type": "centered",
    "clip_higher": 0.272,
    "async_steps": 8,
    "truncated_importance_sampling_ratio_cap": 2.0,
}
"""The defaults that changed in March 2026, before it and since."""


def is_open_instruct(document: Document) -> bool:
    """Whether a command starts open-instruct's GRPO, by its file or by the flag that only it has."""
    started = re.fullmatch(r"(?:.*/)?grpo_fast\.py|(?:.*/)?open_instruct[./]grpo(?:\.py)?", document.entry)
    other = re.match(r"(?:.*/)?open_instruct[./]", document.entry) is not None
    return started is not None or (document.has("num_samples_per_prompt_rollout") and not other)


def read_open_instruct(document: Document) -> Settings:
    """The settings of an open-instruct GRPO command."""
    old = _is_old(document)
    reader = Reader(document, defaults=SINCE if old is None else BEFORE if old else SINCE)
    loss = reader.name("loss_fn", "dapo")
    advantage = _advantage(reader)
    clip = Clip(reader.number("clip_lower", 0.2), reader.number("clip_higher", 0.272))
    in_use = [] if old is not None else [*_open_defaults(reader, loss)]
    return Settings(
        document,
        "open-instruct",
        "open-instruct before March 2026" if old else VERSION,
        "GRPO",
        _objective(loss, advantage, clip),
        advantage.words,
        advantage.scaling,
        "token" if str(reader.raw("loss_denominator", "token")) == "token" else "constant",
        reader.integer("num_samples_per_prompt_rollout", 4, 1),
        clip=clip if loss == "dapo" else None,
        penalty=_penalty(reader),
        sampling=_sampling(reader),
        lag=_lag(reader),
        correction=_correction(reader),
        drops=_drops(reader),
        keys={
            "loss": "loss_fn",
            "baseline": "advantage_normalization_type",
            "scaling": "advantage_normalization_type",
            "aggregation": "loss_denominator",
            "group_size": "num_samples_per_prompt_rollout",
            "length": "response_length",
            "low": "clip_lower",
            "high": "clip_higher",
            "penalty": "beta",
            "kl_estimator": "kl_estimator",
            "steps": "num_mini_batches",
            "bound": "async_steps",
            "correction": "rho_mask_sequence_level"
            if reader.given("rho_mask_sequence_level")
            else "use_rho_correction",
            "correction_on": "use_rho_correction",
            "temperature": "temperature",
            "top_p": "vllm_top_p",
        },
        unresolved=(*reader.unresolved, *in_use),
    )


def _is_old(document: Document) -> bool | None:
    """Whether a file is for a release before March 2026; None where it does not tell."""
    named = str(document.find("kl_estimator")[1]).startswith("kl")
    if named or document.has("async_mode", "masked_mean_axis"):
        return True
    newer = (
        "use_rho_correction",
        *(f"rho_{what}_{end}_bound" for what in ("clamp", "mask") for end in ("lower", "upper")),
    )
    return False if document.has(*newer) else None


def _open_defaults(reader: Reader, loss: str) -> list[Unresolved]:
    keys = ("advantage_normalization_type", "clip_higher", "async_steps")
    why = "its default changed in March 2026, from {} to {}, and the file does not tell its release"
    return [Unresolved(key, why.format(BEFORE[key], SINCE[key]), SINCE[key]) for key in keys if not reader.given(key)]


def _advantage(reader: Reader) -> Advantage:
    kind = reader.name("advantage_normalization_type", "centered")
    if kind not in ADVANTAGES:
        place = reader.document.place("advantage_normalization_type")
        raise ValueError(f"{place}: advantage_normalization_type is {kind!r}; {near(kind, ADVANTAGES, 'types')}")
    return group_standardized("1e-8") if kind == "standard" else group_mean()


def _objective(loss: str, advantage: Advantage, clip: Clip) -> Objective:
    if loss not in LOSSES:
        return unknown(loss, f"loss_fn is {loss!r}; {near(loss, LOSSES, 'losses')}")
    if loss == "cispo":
        return capped(loss, advantage, 1.0, clip.high)
    return clipped(loss, advantage, clip)


def _penalty(reader: Reader) -> Penalty | None:
    coefficient = reader.number("beta", 0.05)
    if not coefficient or not reader.flag("load_ref_policy", True):
        return None
    kind = reader.raw("kl_estimator", 2)
    names = list(ESTIMATORS.values())
    if str(kind).isdecimal() and int(kind) < len(names):
        return Penalty(coefficient, names[int(kind)], "loss")
    if kind not in ESTIMATORS:
        place = reader.document.place("kl_estimator")
        raise ValueError(f"{place}: kl_estimator is {kind!r}; it must be 0 to 3, or one of {', '.join(ESTIMATORS)}")
    return Penalty(coefficient, ESTIMATORS[kind], "loss")


def _sampling(reader: Reader) -> Sampling:
    """The trainer takes log-probabilities at the sampler's temperature."""
    temperature = reader.number("temperature", 1.0)
    return Sampling(temperature, temperature, reader.number("vllm_top_p", 1.0))


def _lag(reader: Reader) -> Lag:
    steps = reader.integer("num_mini_batches", 1, 1) * reader.integer("num_epochs", 1, 1)
    bound = reader.integer("async_steps", 8, 0)
    own = not reader.flag("use_vllm_logprobs", False)
    return Lag(steps, bound > 0, bound, ratio_is_one=own and steps == 1)


def _correction(reader: Reader) -> Correction:
    if reader.flag("use_vllm_logprobs", False):
        return Correction()
    if reader.given("truncated_importance_sampling_ratio_cap") or reader.defaults is BEFORE:
        cap = reader.number("truncated_importance_sampling_ratio_cap", 2.0)
        return Correction("truncate", "token", cap, False) if cap > 0 else Correction("none")
    if not reader.flag("use_rho_correction", True):
        return Correction("none", by_default=False)
    low, high = (reader.number(f"rho_mask_{end}_bound", 0.0) for end in ("lower", "upper"))
    if high > 0 or low > 0:
        level = "sequence mean" if reader.flag("rho_mask_sequence_level", False) else "token"
        return Correction("mask", level, high or math.inf, False, low)
    return Correction("truncate", "token", reader.number("rho_clamp_upper_bound", 2.0) or math.inf)


def _drops(reader: Reader) -> tuple[Drop, ...]:
    if not reader.flag("mask_truncated_completions", False):
        return ()
    return (Drop("mask_truncated_completions", "completions cut at the length limit are left out of the loss"),)
