"""Reading Tinker cookbook's reinforcement learning: commands that start a recipe with ``key=value``, and its Config.

Read from tinker-cookbook at commit 9dfcc3a (August 2026): ``rl/train.py`` (Config, its loop), ``rl/data_processing.py``
(advantages), ``rl/metrics.py`` (the KL penalty), ``tutorials/202_loss_functions.py`` (the losses and their defaults).
Losses are computed by the Tinker service, which is not public.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...hints import near
from ..document import PYTHON, Document
from ..reader import Reader
from ..settings import Clip, Lag, Objective, Penalty, Sampling, Settings, policy_gradient, unknown
from ..shared import capped, clipped, group_mean, holding, remarked

VERSION = "Tinker cookbook 9dfcc3a"
LOSSES = ("importance_sampling", "ppo", "cispo")
RECIPES = ("tinker_cookbook.recipes.", "tinker_cookbook.rl.")
OWN = ("dataset_builder", "max_tokens")
"""Arguments of Config that its classes for supervised learning and for distillation do not have together."""

SUPERVISED = {
    "chat_sl": "supervised fine-tuning",
    "sl_basic": "supervised fine-tuning",
    "sl_loop": "supervised fine-tuning",
    "dpo": "DPO on given pairs of completions",
    "distillation": "distillation from a teacher",
    "prompt_distillation": "distillation from a teacher",
    "sdft": "distillation from the policy itself",
}
"""Parts of a recipe's name that is no reinforcement learning -> what it does."""


def is_tinker(document: Document) -> bool:
    """Whether a command starts one of the cookbook's recipes, or a Python file makes the Config of its RL."""
    if document.suffix in PYTHON:
        return document.entry == "Config" and all(document.has(key) for key in OWN)
    return _module(document.entry).startswith(RECIPES)


def _module(entry: str) -> str:
    return entry.removesuffix(".py").replace("/", ".")


def read_tinker(document: Document) -> Settings:
    """The settings of a run of Tinker cookbook."""
    reader = Reader(document)
    loss = reader.name("loss_fn", "importance_sampling")
    lag = _lag(reader)
    clip = _clip(reader, loss)
    advantage = group_mean()
    own = reader.raw("async_config", {})  # a mapping, or what cannot be told
    told = not any(value.key in ("async_config", "max_steps_off_policy") for value in reader.unresolved)
    made = _objective(loss, clip, lag, told and isinstance(own, Mapping))
    temperature = reader.number("temperature", 1.0)
    return Settings(
        document,
        "tinker",
        VERSION,
        "RL",
        remarked(made, *_remarks(temperature)) if made.entry else made,
        advantage.words,
        advantage.scaling,
        "sequence sum",
        reader.integer("group_size", None, 1),
        clip=clip if loss == "ppo" else None,
        penalty=_penalty(reader),
        sampling=Sampling(temperature, temperature),
        lag=lag,
        keys={
            "loss": "loss_fn",
            "baseline": "loss_fn",
            "scaling": "loss_fn",
            "group_size": "group_size",
            "length": "max_tokens",
            "low": "loss_fn_config.clip_low_threshold",
            "high": "loss_fn_config.clip_high_threshold",
            "penalty": "kl_penalty_coef",
            "steps": "num_substeps",
            "bound": "max_steps_off_policy",
            "temperature": "temperature",
            "untrained": "dataset_builder",
        },
        unresolved=tuple(reader.unresolved),
        untrained=_untrained(document),
    )


def _untrained(document: Document) -> str:
    parts = _module(document.entry).split(".")
    return next((what for name, what in SUPERVISED.items() if name in parts), "")


def _objective(loss: str, clip: Clip, lag: Lag, told: bool) -> Objective:
    """Ratios are to the sampler's log-probabilities; with one step on fresh samples they are 1."""
    if loss not in LOSSES:
        return unknown(loss, f"loss_fn is {loss!r}; {near(loss, LOSSES, 'losses')}")
    if loss == "ppo":
        return clipped(loss, group_mean(), clip)
    if loss == "cispo":
        return capped(loss, group_mean(), clip.low, clip.high)
    if lag.steps is None or not told:
        return unknown(loss, "the ratio times the advantage; whether it is 1, on fresh samples, is not in the file")
    if lag.off_policy:
        return unknown(loss, "the ratio to the sampler times the advantage, without a bound, is not in the catalogue")
    return policy_gradient(loss, group_mean())


def _remarks(temperature: float) -> tuple[str, ...]:
    """What the service does with a temperature in its losses is not public."""
    return holding(
        {"whether the loss takes log-probabilities at the sampler's temperature is not public": temperature != 1}
    )


def _clip(reader: Reader, loss: str) -> Clip:
    """Bounds of the ratio itself there; by default 0.8 and 1.2 for PPO, 0 and 4 for CISPO."""
    low, high = (0.0, 4.0) if loss == "cispo" else (0.8, 1.2)
    return Clip(
        1 - reader.number("loss_fn_config.clip_low_threshold", low),
        reader.number("loss_fn_config.clip_high_threshold", high) - 1,
    )


def _penalty(reader: Reader) -> Penalty | None:
    """Taken off the advantages token by token, less its mean over the batch."""
    coefficient = reader.number("kl_penalty_coef", 0.0)
    return Penalty(coefficient, "k1", "advantage") if coefficient else None


def _lag(reader: Reader) -> Lag:
    section = "async_config.max_steps_off_policy"
    bound = reader.integer("max_steps_off_policy", reader.integer(section, None, 0), 0)
    steps = reader.integer("num_substeps", 1, 1)
    if any(value.key == "num_substeps" for value in reader.unresolved):
        steps = None
    return Lag(steps) if bound is None else Lag(steps, bound > 0, bound, drops_stale=True)
