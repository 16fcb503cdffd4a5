"""Reading verl's configuration: Hydra YAML, or the overrides in the scripts that start it.

Read from verl 0.9.1: ``trainer/config``, ``trainer/ppo/core_algos.py``, ``trainer/ppo/v1``. Values that the file does
not set are verl's own defaults, not those of a file named under ``defaults``. Files for releases up to 0.3.0 are read
as those did (``older``).
"""

from __future__ import annotations

import math

from ... import baselines
from ...hints import near
from ...levels import Level
from ..document import Document
from ..reader import Reader
from ..releases import NEWEST
from ..settings import (
    Advantage,
    Clip,
    Correction,
    Lag,
    Objective,
    Penalty,
    Sampling,
    Settings,
    adapted,
    objective,
    own_advantage,
    policy_gradient,
    unknown,
)
from ..shared import clipped as clipped_ratio
from ..shared import gated, with_known_baseline
from . import older
from .forks import ROLLOUT, group_key, group_size, is_prime, open_defaults, own_loss, program, ragen_batch

RELEASE = "0.9.1"
VERSION = f"verl {RELEASE}"
ACTOR = "actor_rollout_ref.actor"
CORRECTION = "algorithm.rollout_correction"

AGGREGATION = {
    "token-mean": "token",
    "token-sum": "token sum",
    "seq-mean-token-mean": "sequence mean",
    "seq-mean-token-sum": "sequence sum",
    "seq-mean-token-sum-norm": "constant",
}
ESTIMATORS_OF_KL = {
    "kl": "k1",
    "k1": "k1",
    "abs": "abs",
    "mse": "k2",
    "k2": "k2",
    "low_var_kl": "k3",
    "k3": "k3",
}
NOT_IN_CATALOGUE = {
    "clip_cov": "a PPO clip that also drops random tokens of high covariance",
    "kl_cov": "a ratio with a penalty on the tokens of highest covariance",
}
LOSSES = ("vanilla", "gspo", "sapo", "gpg", "dro", "cispo", "dppo_tv", "dppo_kl", "geo_mean", *NOT_IN_CATALOGUE)


_UNKNOWN_BASELINES = {
    "reinforce_plus_plus": "mean of the batch, not of the prompt",
    "remax": "reward of the greedy completion",
    "grpo_passk": "advantage of the best completion over the second best",
    "gdpo": "several rewards, each standardized in its group",
    "optimal_token_baseline": "a baseline per token, weighted by gradient norms",
    "tir_optimal_token_baseline": "a baseline per token and turn, weighted by gradient norms",
}


ESTIMATORS = (
    "gae",
    "grpo",
    "grpo_vectorized",
    "rloo",
    "rloo_vectorized",
    "reinforce_plus_plus_baseline",
    "opo",
    "gpg",
    "pessimism",
    *_UNKNOWN_BASELINES,
)
"""Names that ``adv_estimator`` may have, the adapter's among them."""


def read_verl(document: Document) -> Settings:
    """The settings of a verl configuration."""
    reader = Reader(document)
    other = program(reader)
    fit = NEWEST if other else older.fit_of(document, RELEASE)
    old = not other and fit.all_up_to(older.LAST)
    estimator = reader.name("algorithm.adv_estimator", "gae")
    advantage = _advantage(reader, estimator)
    bypass = _bypass(reader)
    uses_samplers = bypass or _is_fully_async(reader)  # its actor.use_rollout_log_probs is on
    loss = reader.name(f"{ACTOR}.policy_loss.loss_mode", "vanilla")
    if bypass and loss != "pessimism":
        loss = reader.name(f"{CORRECTION}.loss_type", "ppo_clip")
    clip = older.clip(reader) if old else _clip(reader)
    aggregation = reader.name(f"{ACTOR}.loss_agg_mode", "token-mean")
    clipped = loss in ("vanilla", "ppo_clip", "gspo")
    in_loss = reader.flag(f"{ACTOR}.use_kl_loss", False)
    in_reward = not in_loss if old else reader.flag("algorithm.use_kl_in_reward", False)
    return Settings(
        document,
        "verl",
        VERSION if other else fit.words("verl"),
        other or "PPO trainer",
        _objective(reader, loss, estimator, advantage, clip),
        advantage.words,
        advantage.scaling,
        "sequence mean" if loss == "sapo" else AGGREGATION.get(aggregation, str(aggregation)),
        group_size(reader),
        advantage.needs_group,
        clip=(clip if loss != "gspo" else Clip(clip.low, clip.high)) if clipped else None,
        penalty=older.penalty(reader, ESTIMATORS_OF_KL) if old else _penalty(reader),
        sampling=_sampling(reader),
        lag=_lag(reader),
        correction=Correction() if uses_samplers else _correction(reader),
        keys={
            "loss": f"{CORRECTION}.loss_type" if bypass and loss != "pessimism" else f"{ACTOR}.policy_loss.loss_mode",
            "baseline": "algorithm.adv_estimator",
            "scaling": "algorithm.norm_adv_by_std_in_grpo" if "grpo" in estimator else "algorithm.adv_estimator",
            "aggregation": f"{ACTOR}.loss_agg_mode",
            "length": "data.max_response_length",
            "group_size": group_key(reader),
            "clip_ratio": f"{ACTOR}.clip_ratio",
            "low": f"{ACTOR}.clip_ratio" if old else f"{ACTOR}.clip_ratio_low",
            "high": f"{ACTOR}.clip_ratio" if old else f"{ACTOR}.clip_ratio_high",
            "cap": f"{ACTOR}.clip_ratio_c",
            "penalty": older.COEFFICIENT if in_reward else f"{ACTOR}.kl_loss_coef",
            "kl_estimator": f"{ACTOR}.kl_loss_type",
            "untrained": _untrained_key(reader),
            "batch": "data.train_batch_size",
            "dynamic_batch": f"{ACTOR}.use_dynamic_bsz",
            "kl_loss_coefficient": f"{ACTOR}.kl_loss_coef",
            "kl_loss_on": f"{ACTOR}.use_kl_loss",
            "kl_reward_coefficient": older.COEFFICIENT,
            "kl_reward_on": "algorithm.use_kl_in_reward",
            "steps": f"{ACTOR}.ppo_mini_batch_size",
            "gradient_clip": f"{ACTOR}.grad_clip",
            "optimizer_clip": f"{ACTOR}.optim.clip_grad",
            "bound": _bound_key(reader),
            "correction_bound": _threshold_key(reader),
            "correction": f"{CORRECTION}.rollout_rs"
            if reader.given(f"{CORRECTION}.rollout_rs")
            else f"{CORRECTION}.rollout_is",
            "correction_on": f"{CORRECTION}.rollout_is",
            **{name: f"{ROLLOUT}.{name}" for name in ("temperature", "top_p", "top_k", "repetition_penalty")},
        },
        unresolved=(
            *reader.unresolved,
            *(() if other else open_defaults(reader)),
            *(() if old or other else older.open_penalty(reader, fit)),
        ),
        untrained=_untrained(reader),
        fit=fit,
        own_keys=other != "",
    )


# --- objective ------------------------------------------------------------------------------------------------------


def _advantage(reader: Reader, name: str) -> Advantage:
    if is_prime(reader):
        return Advantage(None, "PRIME's, from rewards of every token by a model trained along", needs_group=False)
    if name in ("grpo", "grpo_vectorized"):
        if reader.flag("algorithm.norm_adv_by_std_in_grpo", True):
            words = "group mean, divided by the group's std + 1e-6"
            return Advantage(baselines.standardized(1e-6), words, "group std")
        return Advantage(baselines.mean(), "group mean")
    if name == "pessimism":  # pessimism.trainers.verl.adapter
        return own_advantage(reader.section("algorithm.objective"))
    if name in ("rloo", "rloo_vectorized"):
        return Advantage(baselines.leave_one_out(), "mean of the other completions (leave one out)")
    known = {
        "gae": Advantage(
            baselines.mean(),
            "a critic's value, divided by the batch's std",
            "batch std",
            False,
            ("the critic is taken to know the mean reward; gamma, lambda and whitening are left out",),
        ),
        "reinforce_plus_plus_baseline": Advantage(
            baselines.mean(), "group mean, divided by the batch's std", "batch std"
        ),
        "opo": Advantage(
            baselines.mean(),
            "group mean weighted by length",
            remarks=("the targets are those of completions of one length, where the baseline is the group mean",),
        ),
        "gpg": Advantage(
            baselines.mean(),
            "group mean, times batch size over completions of nonzero reward",
            remarks=("the factor that is common to the batch is left out",),
        ),
    }
    return known.get(name, Advantage(None, _UNKNOWN_BASELINES.get(name, f"adv_estimator {name}"), needs_group=False))


def _objective(reader: Reader, loss: str, estimator: str, advantage: Advantage, clip: Clip) -> Objective:
    if loss == "pessimism":
        return adapted(reader.section(f"{ACTOR}.policy_loss.objective"), advantage.baseline)
    if own := own_loss(reader):
        return unknown(loss, f"the loss is {own}; it is not read")
    if estimator not in ESTIMATORS:
        return unknown(loss, f"adv_estimator is {estimator!r}; {near(estimator, ESTIMATORS, 'estimators')}")
    if loss in NOT_IN_CATALOGUE:
        return unknown(loss, f"{loss} is not in the catalogue: {NOT_IN_CATALOGUE[loss]}")
    return with_known_baseline(_loss(reader, loss, advantage, clip), advantage)


def _loss(reader: Reader, loss: str, advantage: Advantage, clip: Clip) -> Objective:
    baseline = advantage.baseline
    remarks = advantage.remarks
    if clip.low >= 1:  # no ratio is below 0; the catalogue wants a bound below 1, and one rounding step is as good
        remarks = (*remarks, "the ratio has no lower bound") if loss in ("vanilla", "ppo_clip", "gspo") else remarks
    bounds = {"low": min(clip.low, math.nextafter(1.0, 0.0)), "high": clip.high}
    if loss in ("vanilla", "ppo_clip") and math.isinf(clip.cap):  # before there was a cap
        return clipped_ratio(loss, advantage, clip)
    if loss in ("vanilla", "ppo_clip"):
        return objective(loss, "ppo_dual_clip", baseline, "token", remarks, cap=clip.cap, **bounds)
    if loss == "gspo":
        return objective(loss, "gspo", baseline, None, remarks, **bounds)
    if loss in ("dppo_tv", "dppo_kl"):  # the clip range is of probabilities, or of divergences
        return objective(loss, loss, baseline, "token", remarks, low=clip.low, high=clip.high, cap=clip.cap)
    if loss == "geo_mean":  # and here of log-ratios
        return objective(loss, "gmpo", baseline, None, remarks, low=clip.low, high=clip.high)
    if loss == "sapo":
        taus = reader.number(f"{ACTOR}.tau_pos", 1.0), reader.number(f"{ACTOR}.tau_neg", 1.05)
        return gated(loss, advantage, *taus)
    if loss == "cispo":
        if clip.low >= 1:
            return objective(loss, "cispo", baseline, "token", remarks, cap=1 + clip.high)
        return objective(loss, "verl.cispo", baseline, "token", remarks, **bounds)
    if loss == "dro":
        beta = reader.number(f"{ACTOR}.policy_loss.dro_beta", None)
        if beta is None or beta <= 0:
            return unknown(loss, f"{ACTOR}.policy_loss.dro_beta is {beta}; verl asks for a positive number")
        return objective(loss, "verl.dro", baseline, "token", remarks, beta=beta)
    if loss == "gpg":
        return policy_gradient(loss, advantage)
    if loss == "reinforce":
        return _corrected_reinforce(reader, advantage)
    return unknown(loss, f"loss_mode is {loss!r}; {near(loss, LOSSES, 'losses')}")


def _corrected_reinforce(reader: Reader, advantage: Advantage) -> Objective:
    """REINFORCE with the ratio to the sampler as an explicit weight (bypass mode)."""
    level_name = reader.name(f"{CORRECTION}.rollout_is", None)
    if level_name is None:
        return policy_gradient("reinforce", advantage)
    if level_name not in ("token", "sequence"):
        return unknown(
            "reinforce", f"rollout_is is {level_name!r}; {near(level_name, ('token', 'sequence'), 'levels')}"
        )
    level: Level = "token" if level_name == "token" else "sequence"
    low, high = _threshold(reader)
    if low is None:
        return objective("reinforce", "verl.tis", advantage.baseline, level, advantage.remarks, cap=high)
    return objective("reinforce", "verl.icepop", advantage.baseline, level, advantage.remarks, low=low, high=high)


def _threshold(reader: Reader) -> tuple[float | None, float]:
    """A number is the upper bound; "lower_upper" are both."""
    key = f"{CORRECTION}.rollout_is_threshold"
    value = reader.raw(key, 2.0)
    parts = str(value).split("_")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise ValueError(f"{reader.document.place(key)}: {key} is {value!r}; it must be a number, or two as in 0.5_5.0")
    return (None, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


# --- the rest -------------------------------------------------------------------------------------------------------


def _clip(reader: Reader) -> Clip:
    shared = reader.number(f"{ACTOR}.clip_ratio", 0.2)

    def bound(name: str) -> float:
        found, value = reader.document.find(f"{ACTOR}.{name}")
        return shared if found and value is None else reader.number(f"{ACTOR}.{name}", 0.2)

    return Clip(bound("clip_ratio_low"), bound("clip_ratio_high"), reader.number(f"{ACTOR}.clip_ratio_c", 3.0))


def _penalty(reader: Reader) -> Penalty | None:
    if reader.flag("algorithm.use_kl_in_reward", False):
        coefficient = reader.number("algorithm.kl_ctrl.kl_coef", 1e-3)
        if coefficient:
            return Penalty(coefficient, ESTIMATORS_OF_KL.get(reader.name("algorithm.kl_penalty", "kl"), ""), "reward")
    if not reader.flag(f"{ACTOR}.use_kl_loss", False):
        return None
    kind = reader.name(f"{ACTOR}.kl_loss_type", "low_var_kl")
    estimator = "k2" if kind.endswith("+") else ESTIMATORS_OF_KL.get(kind, "")  # k3+: the gradient is that of k2
    coefficient = reader.number(f"{ACTOR}.kl_loss_coef", 1e-3)
    return Penalty(coefficient, estimator, "loss") if coefficient else None


def _sampling(reader: Reader) -> Sampling:
    temperature = reader.number(f"{ROLLOUT}.temperature", 1.0)  # the actor's log-probabilities are taken at it too
    return Sampling(
        temperature,
        temperature,
        reader.number(f"{ROLLOUT}.top_p", 1.0),
        reader.number(f"{ROLLOUT}.top_k", -1),
        repetition_penalty=reader.number(f"{ROLLOUT}.repetition_penalty", 1.0),
    )


def _lag(reader: Reader) -> Lag:
    epochs = reader.integer(f"{ACTOR}.ppo_epochs", 1, 1)
    if _is_fully_async(reader):  # its data.train_batch_size must be 0
        share = reader.number("async_training.staleness_threshold", 0.1)
        steps = reader.integer("async_training.trigger_parameter_sync_step", 4, 1)
        batches = reader.integer("async_training.require_batches", 1, 1)
        return Lag(steps * batches * epochs, True, math.ceil(share))
    batch = reader.integer("data.train_batch_size", 1024, 1)
    if reader.given("es_manager.train.env_groups"):  # RAGEN's program sets the batch to what it samples and keeps
        batch = ragen_batch(reader)
    mini = reader.integer(f"{ACTOR}.ppo_mini_batch_size", 256, 1)
    steps = max(1.0, batch / mini) * epochs
    if any(value.key in (f"{ACTOR}.ppo_mini_batch_size", "data.train_batch_size") for value in reader.unresolved):
        return Lag(steps=None)
    if "one_step_off" in reader.document.entry:  # samples of the next step are drawn while this one is trained on
        return Lag(steps, True, 1)
    mode = reader.name("trainer.v1.trainer_mode", "sync") if reader.flag("trainer.use_v1", True) else "sync"
    if mode == "sync":  # with one step the old log-probabilities are the trainer's own, of the same weights
        return Lag(steps, ratio_is_one=steps == 1 and not _bypass(reader))
    key = "trainer.v1.sampler.max_off_policy_threshold"
    unbounded = reader.document.find(key) == (True, None)
    drops = reader.name("trainer.v1.sampler.max_off_policy_strategy", "drop") == "drop"
    return Lag(steps, True, math.inf if unbounded else reader.integer(key, 8, 0), drops)


def _bypass(reader: Reader) -> bool:
    """Whether old log-probabilities are the sampler's; the one-step-off trainer's own configuration says so."""
    own = reader.document.entry.startswith("verl.experimental.one_step_off_policy")
    return reader.flag(f"{CORRECTION}.bypass_mode", own)


def _is_fully_async(reader: Reader) -> bool:
    return bool(reader.section("async_training")) or "fully_async" in reader.document.entry


def _untrained_key(reader: Reader) -> str:
    if program(reader):
        return reader.document.entry
    return "trainer.val_only" if reader.given("trainer.val_only") else "distillation.enabled"


def _untrained(reader: Reader) -> str:
    if what := program(reader):
        return what
    if reader.flag("trainer.val_only", False):
        return "trainer.val_only is true"
    distilled = reader.flag("distillation.enabled", False)
    if distilled and not reader.flag("distillation.distillation_loss.use_task_rewards", True):
        return "the policy is distilled from a teacher, without task rewards"
    return ""


def _bound_key(reader: Reader) -> str:
    if _is_fully_async(reader):
        return "async_training.staleness_threshold"
    return "trainer.v1.sampler.max_off_policy_threshold"


def _correction(reader: Reader) -> Correction:
    rejection = reader.name(f"{CORRECTION}.rollout_rs", None)
    if rejection is not None:
        level: Level = "token"
        if "seq_" in rejection:
            level = "sequence" if "seq_sum" in rejection else "sequence mean"
        low, _, high = str(reader.raw(f"{CORRECTION}.rollout_rs_threshold", "inf")).rpartition("_")
        if "k1" not in rejection:  # the bound is one on a divergence, not on a ratio
            return Correction("mask", level, by_default=False)
        bound = _bound(high)
        least = _bound(low) if low else 1 / bound
        return Correction("mask", level, bound, by_default=False, low=0.0 if math.isinf(least) else least)
    weight = reader.name(f"{CORRECTION}.rollout_is", None)
    if weight is None:
        return Correction("none")
    low, high = _threshold(reader)
    level = "token" if weight == "token" else "sequence"
    return Correction("truncate" if low is None else "mask", level, high, False, low or 0.0)


def _threshold_key(reader: Reader) -> str:
    kind = "rollout_rs" if reader.given(f"{CORRECTION}.rollout_rs") else "rollout_is"
    return f"{CORRECTION}.{kind}_threshold"


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf
