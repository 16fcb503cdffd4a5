"""Reading SkyRL's configuration: overrides in the scripts that start it, or YAML.

Read from SkyRL at commit a956457 (2026): ``train/config/config.py`` (the defaults),
``backends/skyrl_train/utils/ppo_utils.py`` (losses, advantages), ``off_policy_correction_utils.py``.
"""

from __future__ import annotations

import math
import re

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
    objective,
    unknown,
)
from ..shared import (
    capped,
    clipped,
    critic,
    gated,
    group_mean,
    group_standardized,
    holding,
    mean_normalized,
    mean_of_others,
    other,
    remarked,
    with_known_baseline,
)

VERSION = "SkyRL a956457"
ALGORITHM = "trainer.algorithm"
CORRECTION = f"{ALGORITHM}.off_policy_correction"
SAMPLING = "generator.sampling_params"
AGGREGATION = {
    "token_mean": "token",
    "token_mean_legacy": "token",
    "sequence_mean": "sequence mean",
    "seq_mean_token_sum_norm": "constant",
    "prompt_mean": "mean over the tokens of a prompt's completions, then over prompts",
}
NOT_IN_CATALOGUE = {
    "clip_cov": "a PPO clip that also drops random tokens of high covariance",
    "kl_cov": "a ratio with a penalty on the tokens of highest covariance",
    "importance_sampling": "the ratio times the advantage, without a clip; it is greedy",
}
LOSSES = ("regular", "dual_clip", "gspo", "cispo", "rollout_is", "sapo", "dppo", "cross_entropy", *NOT_IN_CATALOGUE)
ESTIMATORS = ("grpo", "rloo", "gae", "reinforce++", "maxrl")
FROM_SAMPLER = ("rollout_is", "dppo")
"""Losses whose ratio is to the sampler's log-probabilities."""


def is_skyrl(document: Document) -> bool:
    """Whether a file is SkyRL's, by its sections or by what the command starts."""
    started = re.fullmatch(r"(?:.*[./])?skyrl\w*\..*", document.entry) is not None
    own = document.has(
        f"{ALGORITHM}.advantage_estimator", f"{ALGORITHM}.policy_loss_type", "trainer.policy_mini_batch_size"
    )
    sections = document.has(ALGORITHM) and document.has("generator")
    return not document.has("actor_rollout_ref") and (
        own or sections or (started and document.has("trainer", "generator"))
    )


def read_skyrl(document: Document) -> Settings:
    """The settings of a SkyRL configuration."""
    reader = Reader(document)
    loss = reader.name(_loss_key(document), "regular")
    advantage = _advantage(reader)
    clip = _clip(reader, loss)
    aggregation = reader.name(f"{ALGORITHM}.loss_reduction", "token_mean")
    made = _objective(reader, loss, advantage, clip)
    return Settings(
        document,
        "skyrl",
        VERSION,
        "fully asynchronous" if _is_async(reader) else "RL",
        remarked(made, *_remarks(reader)) if made.entry else made,
        advantage.words,
        advantage.scaling,
        AGGREGATION.get(aggregation, aggregation or ""),
        reader.integer("generator.n_samples_per_prompt", 5, 1),
        advantage.needs_group,
        clip=clip if loss in ("regular", "dual_clip", "gspo") else None,
        penalty=_penalty(reader),
        sampling=_sampling(reader),
        lag=_lag(reader, loss),
        correction=_correction(reader, loss),
        drops=_drops(reader),
        keys={
            "loss": _loss_key(document),
            "baseline": f"{ALGORITHM}.advantage_estimator",
            "scaling": f"{ALGORITHM}.grpo_norm_by_std",
            "aggregation": f"{ALGORITHM}.loss_reduction",
            "batch": "trainer.train_batch_size",
            "length": "generator.sampling_params.max_generate_length",
            "group_size": "generator.n_samples_per_prompt",
            "low": f"{ALGORITHM}.eps_clip_low",
            "high": f"{ALGORITHM}.eps_clip_high",
            "cap": f"{ALGORITHM}.clip_ratio_c",
            "penalty": f"{ALGORITHM}.kl_loss_coef",
            "kl_estimator": f"{ALGORITHM}.kl_estimator_type",
            "steps": "trainer.policy_mini_batch_size",
            "bound": "trainer.fully_async.max_staleness_steps",
            "correction": f"{CORRECTION}.sequence_mask_metric"
            if reader.given(f"{CORRECTION}.sequence_mask_metric")
            else f"{CORRECTION}.tis_ratio_type",
            "correction_on": f"{CORRECTION}.tis_ratio_type",
            "untrained": _loss_key(document),
            **{name: f"{SAMPLING}.{name}" for name in ("temperature", "top_p", "top_k", "min_p")},
        },
        unresolved=tuple(reader.unresolved),
        untrained=_untrained(document, loss),
    )


def _loss_key(document: Document) -> str:
    older = f"{ALGORITHM}.ppo_loss_type"
    return older if document.has(older) else f"{ALGORITHM}.policy_loss_type"


def _untrained(document: Document, loss: str) -> str:
    if loss == "cross_entropy":
        return "the loss is cross-entropy on samples"
    name = document.entry.rpartition(".")[2]
    what = {"main_generate": "completions are generated only", "main_sft": "supervised fine-tuning"}
    return what.get(name, "the policy is distilled from a teacher" if "distill" in name else "")


# --- objective ------------------------------------------------------------------------------------------------------


def _advantage(reader: Reader) -> Advantage:
    name = reader.name(f"{ALGORITHM}.advantage_estimator", "grpo")
    if name == "grpo":
        scaled = reader.flag(f"{ALGORITHM}.grpo_norm_by_std", True)
        return group_standardized("1e-6") if scaled else group_mean()
    if name == "rloo":
        return mean_of_others()
    if name == "gae":
        return critic()
    if name == "maxrl":
        return mean_normalized("1e-6")
    known = {"reinforce++": "mean of the batch, not of the prompt"}
    return other(known.get(name, f"advantage_estimator {name}"))


def _objective(reader: Reader, loss: str, advantage: Advantage, clip: Clip) -> Objective:
    if loss in NOT_IN_CATALOGUE:
        return unknown(loss, f"{loss} is not in the catalogue: {NOT_IN_CATALOGUE[loss]}")
    name = reader.name(f"{ALGORITHM}.advantage_estimator", "grpo")
    if name not in ESTIMATORS:
        return unknown(loss, f"advantage_estimator is {name!r}; {near(name, ESTIMATORS, 'estimators')}")
    if loss in ("regular", "dual_clip"):
        return clipped(loss, advantage, clip)
    if loss == "gspo":
        return clipped(loss, advantage, clip, "sequence mean")
    if loss == "cispo":
        section = f"{ALGORITHM}.cispo"
        low, high = (
            reader.number(f"{section}.cispo_eps_clip_low", 1.0),
            reader.number(f"{section}.cispo_eps_clip_high", 4.0),
        )
        return capped(loss, advantage, low, high)
    if loss == "rollout_is":
        bounds = {"low": max(0.0, 1 - clip.low), "high": 1 + clip.high}
        made = objective(loss, "verl.icepop", advantage.baseline, "token", advantage.remarks, **bounds)
        return with_known_baseline(made, advantage)
    if loss == "sapo":
        taus = reader.number(f"{ALGORITHM}.sapo.tau_pos", 1.0), reader.number(f"{ALGORITHM}.sapo.tau_neg", 1.05)
        return gated(loss, advantage, *taus)
    if loss == "dppo":
        kind = reader.name(f"{ALGORITHM}.dppo.dppo_type", "binary_tv")
        entry = {"binary_tv": "dppo_tv", "binary_kl": "dppo_kl"}.get(kind)
        if entry is None:
            return unknown(loss, f"dppo_type is {kind!r}; {near(kind, ('binary_tv', 'binary_kl'), 'types')}")
        deltas = {name: reader.number(f"{ALGORITHM}.dppo.delta_{name}", 0.2) for name in ("low", "high")}
        made = objective(loss, entry, advantage.baseline, "token", advantage.remarks, cap=math.inf, **deltas)
        return with_known_baseline(made, advantage)
    if loss == "cross_entropy":
        return unknown(loss, "cross-entropy on samples, not a policy optimization of a reward")
    return unknown(loss, f"policy_loss_type is {loss!r}; {near(loss, LOSSES, 'losses')}")


def _clip(reader: Reader, loss: str) -> Clip:
    cap = reader.number(f"{ALGORITHM}.clip_ratio_c", 3.0) if loss == "dual_clip" else math.inf
    return Clip(reader.number(f"{ALGORITHM}.eps_clip_low", 0.2), reader.number(f"{ALGORITHM}.eps_clip_high", 0.2), cap)


def _remarks(reader: Reader) -> tuple[str, ...]:
    remarks = {
        "an entropy bonus is added, which the targets leave out": reader.flag(f"{ALGORITHM}.use_entropy_loss", False)
        and reader.number(f"{ALGORITHM}.entropy_loss_coef", 0.01) != 0,
        "advantages are also standardized over the batch, which the targets leave out": reader.flag(
            f"{ALGORITHM}.advantage_batch_normalize", False
        ),
    }
    return holding(remarks)


# --- the rest -------------------------------------------------------------------------------------------------------


def _penalty(reader: Reader) -> Penalty | None:
    in_reward = reader.flag(f"{ALGORITHM}.use_kl_in_reward", False)
    coefficient = reader.number(f"{ALGORITHM}.kl_loss_coef", 1e-3)
    if not coefficient or not (in_reward or reader.flag(f"{ALGORITHM}.use_kl_loss", True)):
        return None
    return Penalty(coefficient, reader.name(f"{ALGORITHM}.kl_estimator_type", "k3"), "reward" if in_reward else "loss")


def _sampling(reader: Reader) -> Sampling:
    temperature = reader.number(f"{SAMPLING}.temperature", 1.0)
    return Sampling(
        temperature,
        reader.number(f"{ALGORITHM}.temperature", temperature),
        reader.number(f"{SAMPLING}.top_p", 1.0),
        reader.number(f"{SAMPLING}.top_k", -1),
        reader.number(f"{SAMPLING}.min_p", 0.0),
    )


def _is_async(reader: Reader) -> bool:
    return reader.flag("trainer.fully_async.enabled", False) or "fully_async" in reader.document.entry


def _lag(reader: Reader, loss: str) -> Lag:
    epochs = reader.integer("trainer.update_epochs_per_batch", 1, 1)
    if _is_async(reader):  # a mini-batch is a batch there
        return Lag(epochs, True, reader.integer("trainer.fully_async.max_staleness_steps", 4, 0))
    batch = reader.integer("trainer.train_batch_size", 1024, 1)
    mini = reader.integer("trainer.policy_mini_batch_size", 256, 1)
    if any(value.key in ("trainer.train_batch_size", "trainer.policy_mini_batch_size") for value in reader.unresolved):
        return Lag(steps=None)
    steps = max(1.0, batch / mini) * epochs
    if re.search(r"\bmain_async\b|\.async\.", reader.document.entry):  # the next batch is sampled beside it
        return Lag(steps, True, 1)
    return Lag(steps, ratio_is_one=steps == 1 and loss not in FROM_SAMPLER)


def _correction(reader: Reader, loss: str) -> Correction:
    anchored = loss == "cispo" and reader.name(f"{ALGORITHM}.cispo.cispo_anchor", "old") == "rollout"
    if loss in FROM_SAMPLER or anchored:
        return Correction()
    metric = reader.name(f"{CORRECTION}.sequence_mask_metric", None)
    if metric == "product":
        low, high = (
            reader.number(f"{CORRECTION}.product_mask_{name}", default)
            for name, default in (("low", 0.5), ("high", 2.0))
        )
        return Correction("mask", "sequence", high, False, low)
    if metric == "geometric":
        return Correction("mask", "sequence mean", reader.number(f"{CORRECTION}.geo_mask_high", 1.01), False)
    weight = reader.name(f"{CORRECTION}.tis_ratio_type", None)
    if weight == "token":
        return Correction("truncate", "token", reader.number(f"{CORRECTION}.token_tis_ratio_clip_high", 2.0), False)
    if weight == "sequence":
        return Correction(
            "truncate", "sequence", reader.number(f"{CORRECTION}.sequence_tis_ratio_clip_high", 5.0), False
        )
    if reader.flag(f"{ALGORITHM}.use_tis", False):  # its older spelling
        return Correction("truncate", "token", reader.number(f"{ALGORITHM}.tis_imp_ratio_cap", math.inf), False)
    high = reader.number(f"{CORRECTION}.token_mask_is_threshold_high", None)
    return Correction("none") if high is None else Correction("mask", "token", high, False)


def _drops(reader: Reader) -> tuple[Drop, ...]:
    if not reader.flag("generator.apply_overlong_filtering", False):
        return ()
    return (Drop("generator.apply_overlong_filtering", "completions cut at the length limit are left out of the loss"),)
