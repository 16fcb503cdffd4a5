"""Reading OpenRLHF's command lines: ``openrlhf.cli.train_ppo_ray``.

Read from OpenRLHF 0.11.0 (commit 3c3be62): ``cli/train_ppo_ray.py`` (the defaults), ``models/loss.py`` (PolicyLoss),
``trainer/ppo_utils/experience_maker.py``, ``trainer/ray/ppo_actor.py``. Flags before 0.11 had other names, and
are read too, with the same defaults.
"""

from __future__ import annotations

import math
import re
from typing import Any

from ... import baselines
from ...hints import near
from ..document import Document
from ..reader import Reader
from ..releases import fitting, releases
from ..settings import Advantage, Clip, Correction, Lag, Objective, Penalty, Sampling, Settings, unknown
from ..shared import clipped, critic, group_mean, group_standardized, mean_of_others, other, remarked

RELEASE = "0.11.0"
VERSION = f"OpenRLHF {RELEASE}"
OLDER = {
    "actor.eps_clip": "eps_clip",
    "actor.eps_clip_low_high": "eps_clip_low_high",
    "actor.dual_clip": "dual_clip",
    "actor.policy_loss_type": "policy_loss_type",
    "actor.entropy_coef": "entropy_loss_coef",
    "algo.advantage.estimator": "advantage_estimator",
    "algo.advantage.no_std_norm": "no_advantage_std_norm",
    "algo.advantage.is_correction_enable": "enable_vllm_is_correction",
    "algo.advantage.is_correction_threshold": "vllm_is_truncated_threshold",
    "algo.advantage.is_correction_type": "vllm_is_correction_type",
    "algo.kl.init_coef": "init_kl_coef",
    "algo.kl.use_loss": "use_kl_loss",
    "algo.kl.estimator": "kl_estimator",
    "rollout.n_samples_per_prompt": "n_samples_per_prompt",
    "rollout.batch_size": "rollout_batch_size",
    "rollout.temperature": "temperature",
    "rollout.top_p": "top_p",
    "train.batch_size": "train_batch_size",
    "train.max_epochs": "max_epochs",
    "train.async_enable": "async_train",
    "train.async_queue_size": "async_queue_size",
}
"""A flag's name -> its name before 0.11."""

ESTIMATORS = ("gae", "reinforce", "rloo", "reinforce_baseline", "group_norm", "dr_grpo")
OTHER_TRAINERS = ("train_sft", "train_rm", "train_dpo", "train_kto", "train_kd", "train_prm", "batch_inference")
"""Its entry points that train on no reward."""


def is_openrlhf(document: Document) -> bool:
    """Whether a command starts OpenRLHF, or a fork that kept its flags."""
    started = re.split(r"[./]", document.entry.removesuffix(".py"))
    ours = "openrlhf" in started and started[-1].startswith("train_")
    return (
        ours
        or started[-1] == "train_ppo_ray"
        or (document.has("micro_rollout_batch_size") and document.has("init_kl_coef", "n_samples_per_prompt"))
    )


def read_openrlhf(document: Document) -> Settings:
    """The settings of a command that starts OpenRLHF's PPO."""
    reader = Reader(document)
    keys = {name: older if document.has(older) else name for name, older in OLDER.items()}
    flags = _Flags(reader, keys)
    loss = flags.name("actor.policy_loss_type", "ppo")
    advantage = _advantage(flags)
    clip = _clip(flags)
    made = _objective(flags, loss, advantage, clip)
    entry = re.split(r"[./]", document.entry.removesuffix(".py"))[-1]
    fit = fitting(document.values, releases("openrlhf", RELEASE))
    return Settings(
        document,
        "openrlhf",
        fit.words("OpenRLHF"),
        "PPO trainer",
        remarked(made, *_remarks(flags)) if made.entry else made,
        advantage.words,
        advantage.scaling,
        "sequence mean" if loss == "gspo" else "token",
        flags.integer("rollout.n_samples_per_prompt", 1),
        advantage.needs_group,
        clip=clip,
        penalty=_penalty(flags),
        sampling=Sampling(
            temperature := flags.number("rollout.temperature", 1.0), temperature, flags.number("rollout.top_p", 1.0)
        ),
        lag=_lag(flags),
        correction=_correction(flags, loss),
        keys={
            "loss": keys["actor.policy_loss_type"],
            "baseline": keys["algo.advantage.estimator"],
            "scaling": keys["algo.advantage.estimator"],
            "length": "generate_max_len",
            "group_size": keys["rollout.n_samples_per_prompt"],
            "low": keys["actor.eps_clip"],
            "high": keys["actor.eps_clip_low_high"],
            "cap": keys["actor.dual_clip"],
            "penalty": keys["algo.kl.init_coef"],
            "kl_estimator": keys["algo.kl.estimator"],
            "steps": keys["train.batch_size"],
            "bound": keys["train.async_queue_size"],
            "correction": keys["algo.advantage.is_correction_type"],
            "correction_on": keys["algo.advantage.is_correction_enable"],
            "temperature": keys["rollout.temperature"],
            "top_p": keys["rollout.top_p"],
        },
        unresolved=tuple(reader.unresolved),
        untrained=f"{entry} trains on no reward" if entry in OTHER_TRAINERS else "",
        fit=fit,
        own_keys=entry in OTHER_TRAINERS,
    )


class _Flags:
    """Flags by their newest names, read under the names that the command gives them."""

    def __init__(self, reader: Reader, keys: dict[str, str]) -> None:
        self.reader, self.keys = reader, keys

    def name(self, key: str, default: Any) -> Any:
        return self.reader.name(self.keys[key], default)

    def number(self, key: str, default: Any) -> Any:
        return self.reader.number(self.keys[key], default)

    def integer(self, key: str, default: int) -> int:
        return self.reader.integer(self.keys[key], default, 1)

    def flag(self, key: str) -> bool:
        return self.reader.flag(self.keys[key], False)

    def pair(self, key: str) -> tuple[float, float] | None:
        """Two numbers, as ``--eps_clip_low_high 0.2 0.28`` gives them."""
        key = self.keys[key]
        value = self.reader.raw(key, None)
        if value is None:
            return None
        try:
            low, high = (float(part) for part in value)
        except (TypeError, ValueError):
            raise ValueError(f"{self.reader.document.place(key)}: {key} is {value!r}; it must be two numbers") from None
        return low, high

    def open(self, *keys: str) -> bool:
        """Whether only a run could tell one of them."""
        return any(value.key in [self.keys[key] for key in keys] for value in self.reader.unresolved)


def _advantage(flags: _Flags) -> Advantage:
    name = flags.name("algo.advantage.estimator", "gae")
    scaled = not flags.flag("algo.advantage.no_std_norm")
    if name == "gae":
        return critic(scaled)
    if name == "rloo":
        return mean_of_others()
    if name == "dr_grpo":
        return group_mean()
    if name == "group_norm":
        return group_standardized("1e-9")
    if name == "reinforce_baseline":
        words = "group mean, then centered on the batch" + (" and divided by its std" if scaled else "")
        return Advantage(baselines.mean(), words, "batch std" if scaled else "")
    known = {"reinforce": "mean of the batch, not of the prompt"}
    return other(known.get(name, f"advantage_estimator {name}"))


def _objective(flags: _Flags, loss: str, advantage: Advantage, clip: Clip) -> Objective:
    name = flags.name("algo.advantage.estimator", "gae")
    if name not in ESTIMATORS:
        return unknown(loss, f"the advantage's estimator is {name!r}; {near(name, ESTIMATORS, 'estimators')}")
    if loss not in ("ppo", "gspo"):
        return unknown(loss, f"policy_loss_type is {loss!r}; {near(loss, ('ppo', 'gspo'), 'losses')}")
    return clipped(loss, advantage, clip, "sequence mean" if loss == "gspo" else "token")


def _clip(flags: _Flags) -> Clip:
    shared = flags.number("actor.eps_clip", 0.2)
    low, high = flags.pair("actor.eps_clip_low_high") or (shared, shared)
    return Clip(low, high, flags.number("actor.dual_clip", math.inf))


def _remarks(flags: _Flags) -> tuple[str, ...]:
    bonus = flags.number("actor.entropy_coef", None)
    return ("an entropy bonus is added, which the targets leave out",) if bonus else ()


def _penalty(flags: _Flags) -> Penalty | None:
    """Not in the loss, it is taken off every token's advantage after the baseline and the group's std."""
    coefficient = flags.number("algo.kl.init_coef", 0.01)
    place = "loss" if flags.flag("algo.kl.use_loss") else "advantage"
    return Penalty(coefficient, flags.name("algo.kl.estimator", "k1"), place) if coefficient > 0 else None


def _lag(flags: _Flags) -> Lag:
    if flags.open("rollout.batch_size", "rollout.n_samples_per_prompt", "train.batch_size", "train.max_epochs"):
        steps = None
    else:
        samples = flags.integer("rollout.batch_size", 1024) * flags.integer("rollout.n_samples_per_prompt", 1)
        steps = max(1.0, samples / flags.integer("train.batch_size", 128)) * flags.integer("train.max_epochs", 1)
    if flags.flag("train.async_enable"):
        return Lag(steps, True, flags.integer("train.async_queue_size", 1))
    return Lag(steps, ratio_is_one=steps == 1)


def _correction(flags: _Flags, loss: str) -> Correction:
    if not flags.flag("algo.advantage.is_correction_enable"):
        return Correction("none")
    if loss == "gspo":
        return Correction()  # its ratio is then to the sampler
    _, high = flags.pair("algo.advantage.is_correction_threshold") or (0.5, 5.0)
    kind = flags.name("algo.advantage.is_correction_type", "tis")
    if kind == "seq-mask-tis":
        return Correction("mask", "sequence mean", high, False)
    return Correction("mask" if kind == "icepop" else "truncate", "token", high, False)
