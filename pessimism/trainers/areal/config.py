"""Reading AReaL's configuration (YAML, and overrides of it): PPO, GRPO and their relatives, decoupled or not.

Read from AReaL at commit 4aef98d (May 2026): ``areal/api/cli_args.py`` (the defaults), ``areal/trainer/ppo/actor.py``
(rewards, advantages), ``areal/utils/functional/functional.py`` (ppo_actor_loss_fn, apply_rejection_sampling).
"""

from __future__ import annotations

import math
from dataclasses import replace

from ... import baselines, masks
from ...compose import composed
from ...hints import near
from ...levels import Level
from ..document import Document
from ..reader import Reader
from ..settings import Advantage, Clip, Correction, Lag, Objective, Penalty, Sampling, Settings, unknown
from ..shared import (
    batch_standardized,
    clipped,
    critic,
    gated,
    group_mean,
    group_standardized,
    holding,
    mean_of_others,
    other,
    remarked,
)

VERSION = "AReaL 4aef98d"
ALL_TOKENS = 10_000_000
"""From this number on ``top_k`` leaves nothing out; its default there is 1e8."""


def is_areal(document: Document) -> bool:
    """Whether a file is one of AReaL's RL experiments, by its sections."""
    return document.has("gconfig") and document.has("actor")


def read_areal(document: Document) -> Settings:
    """The settings of an AReaL experiment."""
    reader = Reader(document)
    sapo = reader.flag("actor.use_sapo_loss", False)
    level = reader.name("actor.importance_sampling_level", "token")
    loss = "sapo" if sapo else "ppo"
    advantage, clip = _advantage(reader), _clip(reader)
    made = _objective(reader, loss, level, advantage, clip)
    correction = _correction(reader)
    return Settings(
        document,
        "areal",
        VERSION,
        "decoupled PPO" if reader.flag("actor.use_decoupled_loss", False) else "PPO",
        remarked(made, *_remarks(reader)) if made.entry else made,
        advantage.words,
        advantage.scaling,
        "token",
        reader.integer("gconfig.n_samples", 1, 1),
        advantage.needs_group,
        clip=None if sapo else clip,
        penalty=_penalty(reader),
        sampling=_sampling(reader),
        lag=_lag(reader),
        correction=correction,
        keys={
            "loss": "actor.use_sapo_loss",
            "baseline": "actor.reward_norm",
            "scaling": "actor.reward_norm",
            "level": "actor.importance_sampling_level",
            "length": "gconfig.max_new_tokens",
            "group_size": "gconfig.n_samples",
            "low": "actor.eps_clip",
            "high": "actor.eps_clip_higher",
            "cap": "actor.c_clip",
            "penalty": "actor.kl_ctl",
            "kl_estimator": "actor.kl_estimator",
            "steps": "actor.ppo_n_minibatches",
            "bound": "rollout.max_head_offpolicyness",
            "correction_bound": "actor.rejection_sampling.upper",
            "correction": "actor.rejection_sampling",
            "correction_on": "actor.rejection_sampling",
            "temperature": "gconfig.temperature",
            "top_p": "gconfig.top_p",
            "top_k": "gconfig.top_k",
        },
        unresolved=tuple(reader.unresolved),
    )


# --- objective ------------------------------------------------------------------------------------------------------


def _level_of(reader: Reader, norm: str, name: str) -> str:
    """``mean_level`` or ``std_level`` of a normalization, the whole batch by default; "" where there is none."""
    key = f"{norm}.{name}"
    if not reader.given(norm) or reader.document.find(key) == (True, None):
        return ""
    level = str(reader.name(key, "batch")).lower()
    return "" if level in ("none", "null") else level


def _advantage(reader: Reader) -> Advantage:
    """Rewards are normalized first; advantages are their sums over the tokens to come, less a critic's values."""
    if reader.given("critic"):
        return critic(_level_of(reader, "actor.adv_norm", "std_level") != "")
    mean, std = (_level_of(reader, "actor.reward_norm", name) for name in ("mean_level", "std_level"))
    if mean == "" and std == "":
        return _of_advantages(reader)
    if mean == "group" and reader.flag("actor.reward_norm.mean_leave1out", False):
        if std == "":
            return mean_of_others()
        return other(f"mean of the other completions, divided by the {std}'s std")
    if mean == "group":
        epsilon = reader.number("actor.reward_norm.eps", 1e-5)
        known = {"group": group_standardized(f"{epsilon:g}"), "batch": batch_standardized(), "": group_mean()}
        return known.get(std, other(f"std_level {std}"))
    words = {"batch": "mean of the batch, not of the prompt", "": f"none, divided by the {std}'s std"}
    return other(words.get(mean, f"mean_level {mean}"))


def _of_advantages(reader: Reader) -> Advantage:
    """Without normalized rewards: what ``adv_norm`` does to the advantages, token by token."""
    mean = _level_of(reader, "actor.adv_norm", "mean_level")
    if mean:
        return other(f"mean over the tokens of the {mean}")
    return Advantage(baselines.none(), "none: the reward itself", needs_group=False)


def _objective(reader: Reader, loss: str, level_name: str, advantage: Advantage, clip: Clip) -> Objective:
    if level_name not in ("token", "sequence"):
        return unknown(
            loss, f"importance_sampling_level is {level_name!r}; {near(level_name, ('token', 'sequence'), 'levels')}"
        )
    if loss == "sapo":
        taus = reader.number("actor.sapo_tau_pos", 1.0), reader.number("actor.sapo_tau_neg", 1.05)
        made = gated(loss, advantage, *taus)
    else:
        made = clipped(loss, advantage, clip, "sequence mean" if level_name == "sequence" else "token")
    budget = reader.number("actor.m2_threshold", None)
    return made if budget is None else _m2po(made, budget)


def _m2po(made: Objective, budget: float) -> Objective:
    """The objective without the tokens of the largest squared log-ratios between sampler and proximal policy."""
    if made.algorithm is None:
        return made
    try:
        masked = composed(made.algorithm, mask=masks.second_moment(budget, "all"))
    except ValueError as error:
        return unknown("m2po", str(error))
    remark = "the mask looks at the sampler and the proximal policy, which the targets take for the policy itself"
    return remarked(replace(made, loss=f"{made.loss} with m2po", algorithm=masked), remark)


def _clip(reader: Reader) -> Clip:
    low = reader.number("actor.eps_clip", 0.2)
    return Clip(low, reader.number("actor.eps_clip_higher", low), reader.number("actor.c_clip", math.inf))


def _remarks(reader: Reader) -> tuple[str, ...]:
    normalized = reader.given("actor.reward_norm") and reader.given("actor.adv_norm")
    no_reference = not reader.given("ref") and reader.number("actor.kl_ctl", 0.1) != 0
    remarks = {
        "advantages are also normalized, token by token, which the targets leave out": normalized,
        "without ref, kl_ctl penalizes the log-probability itself, which the targets leave out": no_reference,
        "completions without an end get the reward 0": reader.flag("actor.mask_no_eos_with_zero", False),
        "a penalty on long completions is part of the reward": reader.flag("actor.overlong_reward_penalty", False),
    }
    return holding(remarks)


# --- the rest -------------------------------------------------------------------------------------------------------


def _penalty(reader: Reader) -> Penalty | None:
    """Taken off every token's reward, after rewards are normalized."""
    coefficient = reader.number("actor.kl_ctl", 0.1)
    if not coefficient or not reader.given("ref"):
        return None
    return Penalty(coefficient, reader.name("actor.kl_estimator", "k1"), "advantage")


def _sampling(reader: Reader) -> Sampling:
    temperature = 0.0 if reader.flag("gconfig.greedy", False) else reader.number("gconfig.temperature", 1.0)
    top_k = reader.number("gconfig.top_k", ALL_TOKENS)
    return Sampling(
        temperature,
        reader.number("actor.temperature", 1.0),
        reader.number("gconfig.top_p", 1.0),
        0 if top_k >= ALL_TOKENS else top_k,
    )


def _lag(reader: Reader) -> Lag:
    steps = reader.integer("actor.ppo_n_minibatches", 4, 1)
    bound = reader.integer("rollout.max_head_offpolicyness", 0, 0)
    return Lag(steps, bound > 0, bound, ratio_is_one=steps == 1 and _recomputes(reader))


WEIGHT = "actor.behave_imp_weight"
OLDER = (f"{WEIGHT}_cap", f"{WEIGHT}_mode", "actor.behav_imp_weight_cap", "actor.group_adv_norm", "async_training")
"""Keys of files for AReaL before ``rejection_sampling``, when the decoupled loss always had the weight of the proximal
policy over the sampler, and left tokens out where it was above a cap."""


def _recomputes(reader: Reader) -> bool:
    """Whether the clipped ratio is to log-probabilities that the trainer computes before its first step."""
    return reader.flag("actor.use_decoupled_loss", False) or reader.flag("actor.recompute_logprob", False)


def _correction(reader: Reader) -> Correction:
    if not _recomputes(reader):
        return Correction()
    section = "actor.rejection_sampling"
    if reader.flag("actor.use_decoupled_loss", False) and any(reader.given(key) for key in OLDER):
        cap = reader.number(f"{WEIGHT}_cap", reader.number("actor.behav_imp_weight_cap", math.inf))
        disabled = reader.name(f"{WEIGHT}_mode", "token_mask") == "disabled"
        return Correction("none" if disabled else "mask", "token", cap)
    if not reader.flag("actor.use_decoupled_loss", False) or not reader.given(section):
        return Correction("none")
    level: Level = "token"
    if reader.name(f"{section}.level", "token") == "sequence":
        level = "sequence" if reader.name(f"{section}.agg", "mean") == "sum" else "sequence mean"
    kind = "truncate" if reader.name(f"{section}.action", "mask") == "clamp" else "mask"
    return Correction(kind, level, reader.number(f"{section}.upper", 5.0), by_default=False)
