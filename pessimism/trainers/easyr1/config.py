"""Reading EasyR1's configuration (YAML, and overrides of it): verl's ideas under ``worker.actor`` and ``algorithm``.

Read from EasyR1 at commit b44b311 (July 2026): ``verl/trainer/config.py``, ``verl/workers/*/config.py`` (the defaults),
``verl/trainer/core_algos.py`` (advantages, compute_policy_loss).
"""

from __future__ import annotations

from ...hints import near
from ..document import Document
from ..reader import Reader
from ..settings import Advantage, Clip, Correction, Lag, Objective, Penalty, Sampling, Settings, unknown
from ..shared import capped, clipped, critic, gated, group_standardized, mean_of_others, other, remarked
from ..verl.config import ESTIMATORS_OF_KL

VERSION = "EasyR1 b44b311"
ACTOR, ROLLOUT = "worker.actor", "worker.rollout"
LOSSES = ("default", "gspo", "gspo_token", "cispo", "sapo")
ESTIMATORS = ("gae", "grpo", "grpo_passk", "rloo", "reinforce_plus_plus", "remax")
AVERAGED = ("gspo", "gspo_token")


def is_easyr1(document: Document) -> bool:
    """Whether a file or a command is EasyR1's, by the sections that only it has."""
    return document.has(ACTOR, ROLLOUT, "worker.reward") and not document.has("actor_rollout_ref")


def read_easyr1(document: Document) -> Settings:
    """The settings of an EasyR1 run."""
    reader = Reader(document)
    loss = reader.name(f"{ACTOR}.loss_type", "default")
    estimator = reader.name("algorithm.adv_estimator", "grpo")
    advantage, clip = _advantage(estimator), _clip(reader)
    made = _objective(reader, loss, estimator, advantage, clip)
    if document.missing:
        made = unknown(loss, f"{document.missing[0]}, which it builds on, is not next to it")
    group = f"{ROLLOUT}.n"
    return Settings(
        document,
        "easyr1",
        VERSION,
        "PPO trainer",
        remarked(made, "the cap of the dual clip is left out of the targets") if loss in AVERAGED else made,
        advantage.words,
        advantage.scaling,
        "sequence mean" if reader.name(f"{ACTOR}.loss_avg_mode", "token") == "seq" else "token",
        None if document.missing and not reader.given(group) else reader.integer(group, 1, 1),
        advantage.needs_group,
        clip=clip if loss in ("default", *AVERAGED) else None,
        penalty=_penalty(reader),
        sampling=_sampling(reader),
        lag=_lag(reader),
        correction=Correction("none"),
        keys={
            "loss": f"{ACTOR}.loss_type",
            "baseline": "algorithm.adv_estimator",
            "scaling": "algorithm.adv_estimator",
            "aggregation": f"{ACTOR}.loss_avg_mode",
            "length": "data.max_response_length",
            "batch": "data.rollout_batch_size",
            "group_size": group,
            "low": f"{ACTOR}.clip_ratio_low",
            "high": f"{ACTOR}.clip_ratio_high",
            "cap": f"{ACTOR}.clip_ratio_dual",
            "penalty": "algorithm.kl_coef",
            "kl_estimator": "algorithm.kl_penalty",
            "steps": f"{ACTOR}.global_batch_size",
            "correction_on": ROLLOUT,
            "untrained": "trainer.val_only",
            **{name: f"{ROLLOUT}.{name}" for name in ("temperature", "top_p", "top_k")},
        },
        unresolved=tuple(reader.unresolved),
        untrained="trainer.val_only is true" if reader.flag("trainer.val_only", False) else "",
    )


# --- objective ------------------------------------------------------------------------------------------------------


def _advantage(name: str) -> Advantage:
    known = {"grpo": group_standardized("1e-6"), "rloo": mean_of_others(), "gae": critic()}
    words = {
        "reinforce_plus_plus": "mean of the batch, not of the prompt",
        "remax": "reward of the greedy completion",
        "grpo_passk": "advantage of the best completion over the second best",
    }
    return known.get(name, other(words.get(name, f"adv_estimator {name}")))


def _objective(reader: Reader, loss: str, estimator: str, advantage: Advantage, clip: Clip) -> Objective:
    if estimator not in ESTIMATORS:
        return unknown(loss, f"adv_estimator is {estimator!r}; {near(estimator, ESTIMATORS, 'estimators')}")
    if loss == "default":
        return clipped(loss, advantage, clip)
    if loss in AVERAGED:
        return clipped(loss, advantage, clip, "sequence mean")
    if loss == "cispo":
        return capped(loss, advantage, clip.low, clip.high)
    if loss == "sapo":
        taus = reader.number(f"{ACTOR}.tau_positive", 1.0), reader.number(f"{ACTOR}.tau_negative", 1.05)
        return gated(loss, advantage, *taus)
    return unknown(loss, f"loss_type is {loss!r}; {near(loss, LOSSES, 'losses')}")


def _clip(reader: Reader) -> Clip:
    return Clip(
        reader.number(f"{ACTOR}.clip_ratio_low", 0.2),
        reader.number(f"{ACTOR}.clip_ratio_high", 0.3),
        reader.number(f"{ACTOR}.clip_ratio_dual", 3.0),
    )


# --- the rest -------------------------------------------------------------------------------------------------------


def _penalty(reader: Reader) -> Penalty | None:
    if reader.flag("algorithm.disable_kl", False):
        return None
    coefficient = reader.number("algorithm.kl_coef", 1e-3)
    estimator = ESTIMATORS_OF_KL.get(reader.name("algorithm.kl_penalty", "kl"), "full")
    place = "loss" if reader.flag("algorithm.use_kl_loss", False) else "reward"
    return Penalty(coefficient, estimator, place) if coefficient else None


def _sampling(reader: Reader) -> Sampling:
    temperature = reader.number(f"{ROLLOUT}.temperature", 1.0)  # log-probabilities are taken at it too
    return Sampling(
        temperature, temperature, reader.number(f"{ROLLOUT}.top_p", 1.0), reader.number(f"{ROLLOUT}.top_k", -1)
    )


def _lag(reader: Reader) -> Lag:
    keys = ("data.rollout_batch_size", f"{ACTOR}.global_batch_size")
    batch, mini = reader.integer(keys[0], 512, 1), reader.integer(keys[1], 256, 1)
    epochs = reader.integer(f"{ACTOR}.ppo_epochs", 1, 1)
    unset = [key for key in keys if not reader.given(key)]
    if any(value.key in keys for value in reader.unresolved) or (reader.document.missing and unset):
        return Lag(None)
    steps = max(1.0, batch / mini) * epochs
    return Lag(steps, ratio_is_one=steps == 1)
