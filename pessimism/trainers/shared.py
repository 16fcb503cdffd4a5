"""Losses and advantages that several trainers have in the same form, written once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from .. import baselines
from ..levels import Level
from .settings import Advantage, Clip, Objective, objective, unknown

CRITIC_REMARK = "the critic is taken to know the mean reward; gamma, lambda and whitening are left out"


def group_standardized(epsilon: str) -> Advantage:
    """The reward minus its group's mean, divided by the group's standard deviation plus ``epsilon``."""
    words = f"group mean, divided by the group's std + {epsilon}"
    return Advantage(baselines.standardized(float(epsilon)), words, "group std")


def group_mean() -> Advantage:
    """The reward minus its group's mean."""
    return Advantage(baselines.mean(), "group mean")


def mean_normalized(epsilon: str) -> Advantage:
    """MaxRL's: the reward minus its group's mean, divided by that mean plus ``epsilon``."""
    words = "group mean, divided by the group mean" + (f" + {epsilon}" if float(epsilon) else "")
    return Advantage(baselines.mean_normalized(float(epsilon)), words, "group mean")


def batch_standardized() -> Advantage:
    """The reward minus its group's mean, divided by the standard deviation of the batch."""
    return Advantage(baselines.mean(), "group mean, divided by the batch's std", "batch std")


def mean_of_others() -> Advantage:
    """The reward minus the mean of the other completions of its group."""
    return Advantage(baselines.leave_one_out(), "mean of the other completions (leave one out)")


def critic(whitened: bool = True) -> Advantage:
    """Generalized advantage estimation with a value network."""
    words, scaling = (
        ("a critic's value, divided by the batch's std", "batch std") if whitened else ("a critic's value", "")
    )
    return Advantage(baselines.mean(), words, scaling, False, (CRITIC_REMARK,))


def other(words: str) -> Advantage:
    """An advantage that the catalogue has no baseline for."""
    return Advantage(None, words, needs_group=False)


def clipped(
    loss: str, advantage: Advantage, clip: Clip, level: Level = "token", remarks: tuple[str, ...] = ()
) -> Objective:
    """PPO's clipped ratio, by the entry that has the same advantage: of tokens, or averaged (GSPO); with a cap or not.

    >>> clipped("vanilla", group_mean(), Clip(0.2, 0.2)).entry
    'dr_grpo'
    >>> clipped("vanilla", group_mean(), Clip(0.2, 0.2, 3.0)).entry
    'ppo_dual_clip'
    """
    remarks = (*advantage.remarks, *remarks)
    if clip.low >= 1:  # no ratio is below 0; the catalogue wants a bound below 1, and one rounding step is as good
        remarks = (*remarks, "the ratio has no lower bound")
    bounds = {"low": min(clip.low, math.nextafter(1.0, 0.0)), "high": clip.high}
    if level == "sequence mean":
        made = objective(loss, "gspo", advantage.baseline, level, remarks, **bounds)
    elif math.isfinite(clip.cap):
        made = objective(loss, "ppo_dual_clip", advantage.baseline, level, remarks, cap=clip.cap, **bounds)
    else:
        mean = advantage.baseline is not None and advantage.baseline.name == "mean"
        plain = mean and advantage.needs_group and not advantage.scaling
        entry = "grpo" if advantage.scaling == "group std" else "dr_grpo" if plain else "ppo"
        made = objective(loss, entry, advantage.baseline, level, remarks, **bounds)
    return with_known_baseline(made, advantage)


def capped(loss: str, advantage: Advantage, low: float, high: float, remarks: tuple[str, ...] = ()) -> Objective:
    """CISPO: the ratio, held to [1 - low, 1 + high], as a constant factor of the gradient.

    >>> capped("cispo", group_mean(), 1.0, 4.0).entry, capped("cispo", group_mean(), 0.2, 0.2).entry
    ('cispo', 'verl.cispo')
    """
    remarks = (*advantage.remarks, *remarks)
    if low >= 1:
        made = objective(loss, "cispo", advantage.baseline, "token", remarks, cap=1 + high)
    else:
        low = max(low, math.ulp(0.5))  # the catalogue wants a bound above 0, and one rounding step is as good
        made = objective(loss, "verl.cispo", advantage.baseline, "token", remarks, low=low, high=high)
    return with_known_baseline(made, advantage)


def gated(loss: str, advantage: Advantage, positive: float, negative: float) -> Objective:
    """SAPO: the ratio through a sigmoid gate, of temperature ``positive`` for gains and ``negative`` for losses.

    >>> gated("sapo", group_mean(), 1.0, 1.05).entry
    'sapo'
    """
    taus = {"tau_positive": positive, "tau_negative": negative}
    made = objective(loss, "sapo", advantage.baseline, "token", advantage.remarks, **taus)
    return with_known_baseline(made, advantage)


def sampler_weighted(
    loss: str, advantage: Advantage, level: Level, low: float | None, high: float, remarks: tuple[str, ...] = ()
) -> Objective:
    """A policy gradient weighted by its ratio to the sampler: capped at ``high``, or 0 outside [low, high].

    >>> sampler_weighted("reinforce", group_mean(), "token", None, 2.0).entry
    'verl.tis'
    """
    remarks = (*advantage.remarks, *remarks)
    if math.isinf(high):
        return unknown(loss, "the ratio to the sampler times the advantage, without a bound, is not in the catalogue")
    if low is None:
        made = objective(loss, "verl.tis", advantage.baseline, level, remarks, cap=high)
    else:
        made = objective(loss, "verl.icepop", advantage.baseline, level, remarks, low=low, high=high)
    return with_known_baseline(made, advantage)


def with_known_baseline(made: Objective, advantage: Advantage) -> Objective:
    """The objective, or that it cannot be told where the catalogue has no baseline like the trainer's."""
    if advantage.baseline is not None or not made.entry:
        return made
    why = f"its coefficient is that of {made.entry}, but its baseline, {advantage.words}, is not in the catalogue"
    return unknown(made.loss, why)


def remarked(made: Objective, *remarks: str) -> Objective:
    """The objective with further remarks, each once."""
    return replace(made, remarks=tuple(dict.fromkeys((*made.remarks, *remarks))))


def holding(remarks: Mapping[str, bool]) -> tuple[str, ...]:
    """The remarks that hold.

    >>> holding({"an entropy bonus is added": False, "the critic is left out": True})
    ('the critic is left out',)
    """
    return tuple(words for words, holds in remarks.items() if holds)
