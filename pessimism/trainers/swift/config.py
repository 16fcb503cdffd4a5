"""Reading ms-swift: ``swift rlhf`` and ``megatron rlhf`` with ``rlhf_type grpo``, as flags or as a file of them.

Read from ms-swift at commit 3602360 (August 2026): ``arguments/rlhf_args.py`` and ``rlhf_trainers/args_mixin.py`` (the
defaults), ``rl_core/advantage.py``, ``rlhf_trainers/grpo_trainer.py`` (the loss). The trainer extends TRL's, so
settings are read as TRL's with ms-swift's defaults, and then what differs is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...hints import near
from ..document import Document
from ..reader import Reader
from ..settings import Advantage, Correction, Drop, Lag, Objective, Penalty, Settings, unknown
from ..shared import (
    batch_standardized,
    clipped,
    group_mean,
    holding,
    mean_of_others,
    other,
    remarked,
    with_known_baseline,
)
from ..trl.config import read_trl
from ..trl.parts import CORRECTIONS

VERSION = "ms-swift 3602360"
DEFAULTS: Mapping[str, Any] = {
    "loss_type": "grpo",
    "beta": 0.04,
    "temperature": 0.9,
    "vllm_importance_sampling_correction": False,
}
"""Where ms-swift's defaults are not TRL's."""

AS_IN_TRL = {
    "tau_pos": "sapo_temperature_pos",
    "tau_neg": "sapo_temperature_neg",
    "overlong_filter": "mask_truncated_completions",
    "off_policy_sequence_mask_delta": "off_policy_mask_threshold",
}
"""ms-swift's name of a setting -> TRL's."""

NOT_IN_CATALOGUE = {
    "real": "a contrastive loss between the passing and the failing completions of a group",
    "fipo": "a PPO clip whose tokens are weighted by how later tokens moved",
}
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", *NOT_IN_CATALOGUE)
ESTIMATORS = ("grpo", "rloo", "reinforce_plus_plus")
WITHOUT_REWARD = ("dpo", "orpo", "simpo", "kto", "cpo", "rm", "gkd")
"""Values of ``rlhf_type`` that train on given completions or on a teacher."""


def is_swift(document: Document) -> bool:
    """Whether a file or a command is ms-swift's RLHF, by the key that only it has."""
    return "rlhf_type" in document.values


def read_swift(document: Document) -> Settings:
    """The settings of an ms-swift run."""
    reader = Reader(document)
    kind = reader.name("rlhf_type", "dpo")
    loss = _first(document.values.get("loss_type", DEFAULTS["loss_type"]))
    estimator = reader.name("advantage_estimator", "grpo")
    in_trl = read_trl(_as_in_trl(document, loss if kind == "grpo" else "grpo"), "trl-grpo")
    advantage = _advantage(reader, loss, estimator, in_trl)
    made = _objective(kind, loss, estimator, advantage, in_trl)
    in_reward = reader.flag("kl_in_reward", estimator != "grpo")
    return replace(
        in_trl,
        document=document,
        trainer="ms-swift",
        version=VERSION,
        kind=f"rlhf_type {kind}",
        objective=remarked(made, *_remarks(reader)) if made.entry else made,
        baseline=advantage.words,
        scaling=advantage.scaling,
        penalty=_penalty(in_trl.penalty, in_reward),
        lag=_lag(reader, in_trl.lag),
        correction=_correction(reader),
        drops=_drops(reader),
        keys={
            **in_trl.keys,
            "baseline": "advantage_estimator",
            "correction_bound": "rollout_importance_sampling_threshold",
            "off_policy_mask": "off_policy_sequence_mask_delta",
            "correction": "rollout_importance_sampling_mode",
            "correction_on": "rollout_importance_sampling_mode",
            "bound": "async_generate",
            "untrained": "rlhf_type",
        },
        unresolved=tuple(dict.fromkeys((*in_trl.unresolved, *reader.unresolved))),
        untrained=_untrained(reader, kind),
    )


def _first(value: Any) -> Any:
    """The only entry of a list of one, as several losses may be given; anything else as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _as_in_trl(document: Document, loss: Any) -> Document:
    """The document with ms-swift's defaults filled in and its settings under TRL's names."""
    given = {AS_IN_TRL.get(key, key): value for key, value in document.values.items() if value is not None}
    given.pop("vllm_importance_sampling_correction", None)  # TRL's own, which ms-swift does not read
    if given.get("importance_sampling_level") == "sequence_token":  # its gradient is that of "sequence"
        given["importance_sampling_level"] = "sequence"
    if given.get("scale_rewards") == "gdpo":
        given["scale_rewards"] = "none"
    lines = {AS_IN_TRL.get(key, key): line for key, line in document.lines.items()}
    return replace(document, values={**DEFAULTS, **given, "loss_type": loss}, lines=lines)


def _untrained(reader: Reader, kind: str) -> str:
    if kind in WITHOUT_REWARD:
        return f"rlhf_type is {kind}"
    if _has_teacher(reader) and not reader.document.has("reward_funcs", "reward_model"):
        return "the advantage is the log-ratio to a teacher"
    return ""


def _has_teacher(reader: Reader) -> bool:
    return reader.given("teacher_model") or reader.given("teacher_model_server")


def _advantage(reader: Reader, loss: Any, estimator: str, in_trl: Settings) -> Advantage:
    scale = str(reader.raw("scale_rewards", "")).lower()
    if scale == "gdpo":
        return other("several rewards, each standardized in its group")
    if loss == "real":  # it takes the rewards as they are, whatever the file says
        return group_mean()
    if estimator == "rloo":
        if scale in ("", "none", "false"):
            return mean_of_others()
        return other(f"mean of the other completions, divided by the {'group' if scale != 'batch' else scale}'s std")
    if estimator == "reinforce_plus_plus" and scale in ("", "batch"):
        return batch_standardized()
    made = in_trl.objective.algorithm
    return Advantage(None if made is None else made.baseline, in_trl.baseline, in_trl.scaling)


def _objective(kind: str, loss: Any, estimator: str, advantage: Advantage, in_trl: Settings) -> Objective:
    if kind != "grpo":
        return unknown(kind, f"rlhf_type is {kind!r}; only ms-swift's grpo is read")
    if loss in NOT_IN_CATALOGUE:
        return unknown(loss, f"{loss} is not in the catalogue: {NOT_IN_CATALOGUE[loss]}")
    if loss not in LOSSES:
        return unknown(str(loss), f"loss_type is {loss!r}; {near(str(loss), LOSSES, 'losses')}")
    if estimator not in ESTIMATORS:
        return unknown(str(loss), f"advantage_estimator is {estimator!r}; {near(estimator, ESTIMATORS, 'estimators')}")
    made, clip = in_trl.objective, in_trl.clip
    if made.algorithm is None:
        return made
    known = estimator == "reinforce_plus_plus" or (estimator == "rloo" and advantage.baseline is not None)
    if known and clip is not None:
        return clipped(str(loss), advantage, clip, made.algorithm.level)
    if estimator == "rloo" and advantage.baseline is not None:
        return replace(made, algorithm=replace(made.algorithm, baseline=advantage.baseline))
    return with_known_baseline(made, advantage)


def _remarks(reader: Reader) -> tuple[str, ...]:
    remarks = {
        "a log-ratio to a teacher is added to the advantage, which the targets leave out": _has_teacher(reader),
        "a loss on expert completions (CHORD) is mixed in, which the targets leave out": reader.given(
            "chord_sft_dataset"
        ),
        "advantages are weighted by a teacher's evidence (RLSD), which the targets leave out": reader.given(
            "advantage_reweight"
        ),
        "a gated distillation loss (SDAR) is added, which the targets leave out": reader.number("sdar_loss_coef", 0.0)
        != 0,
    }
    return holding(remarks)


# --- the rest -------------------------------------------------------------------------------------------------------


def _penalty(penalty: Penalty | None, in_reward: bool) -> Penalty | None:
    return Penalty(penalty.coefficient, "k1", "reward") if penalty is not None and in_reward else penalty


def _lag(reader: Reader, lag: Lag) -> Lag:
    """With ``async_generate`` completions are those of the policy one generation before."""
    return replace(lag, asynchronous=True, bound=1) if reader.flag("async_generate", False) else lag


def _correction(reader: Reader) -> Correction:
    """A sequence's ratio is the mean over its tokens there, where TRL takes the sum."""
    mode = reader.name("rollout_importance_sampling_mode", None)
    if mode is None:
        return Correction("none" if reader.flag("use_vllm", False) else "not needed")
    if mode not in CORRECTIONS:
        place = reader.document.place("rollout_importance_sampling_mode")
        raise ValueError(f"{place}: rollout_importance_sampling_mode is {mode!r}; {near(mode, CORRECTIONS, 'modes')}")
    kind, level = CORRECTIONS[mode]
    bound = reader.number("rollout_importance_sampling_threshold", 2.0)
    return Correction(kind, "sequence mean" if level == "sequence" else level, bound, by_default=False)


def _drops(reader: Reader) -> tuple[Drop, ...]:
    if not reader.flag("overlong_filter", False):
        return ()
    return (Drop("overlong_filter", "completions cut at the length limit are left out of the loss"),)
