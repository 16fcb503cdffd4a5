r"""What the adapters share: an objective from a config, and coefficients of padded tokens.

Tensors are of shape (B, T): B completions, padded to T tokens, ``mask`` 1 where a token is trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from array_api_compat import array_namespace

from ..algorithm import LEVELS, Algorithm
from ..objectives.catalogue import algorithm as from_catalogue
from ..solve.simplex import Array

TOKEN_MEAN = "token-mean"
TOKEN_SUM = "token-sum"
SEQUENCE_SUM = "seq-mean-token-sum"
SEQUENCE_SUM_SCALED = "seq-mean-token-sum-norm"
SEQUENCE_MEAN = "seq-mean-token-mean"

# How a level's tokens may be averaged, by verl's names. A completion's gradient is the sum over its tokens: a mean per
# completion would divide it by its length, and a mean over tokens the whole batch by a number that changes.
AGGREGATIONS = {
    "sequence": (SEQUENCE_SUM, SEQUENCE_SUM_SCALED, TOKEN_SUM),
    "sequence mean": (SEQUENCE_MEAN,),
    "token": (SEQUENCE_SUM, SEQUENCE_SUM_SCALED, SEQUENCE_MEAN, TOKEN_MEAN, TOKEN_SUM),
}


def objective(settings: Mapping[str, Any]) -> Algorithm:
    """The algorithm that a trainer's config describes: ``name``, its parameters, and ``level`` to replace the entry's.

    Raises:
        ValueError: no name, an unknown name, parameter or level, or a value out of range.

    >>> objective({"name": "shifted_mean", "beta": 0.2}).parameters["beta"]
    0.2
    >>> objective({"name": "topr", "level": "token"}).level
    'token'
    >>> objective({"beta": 0.2})
    Traceback (most recent call last):
    ...
    ValueError: the objective has no name; give the name of a catalogue entry, such as name: oapl
    """
    if not settings.get("name"):
        raise ValueError("the objective has no name; give the name of a catalogue entry, such as name: oapl")
    for key, value in settings.items():
        if not isinstance(value, (str, int, float)):
            raise ValueError(f"the objective's {key} is {value!r}; it must be a number or a name")
    return _made(tuple(sorted(settings.items())))


@cache  # losses are made anew for every batch of tokens
def _made(items: tuple[tuple[str, Any], ...]) -> Algorithm:
    settings = dict(items)
    name, level = settings.pop("name"), settings.pop("level", None)
    made = from_catalogue(name, **settings)
    if level is None:
        return made
    if level not in LEVELS:
        raise ValueError(f"{name}: level is {level!r}; it must be one of {', '.join(LEVELS)}")
    if made.coupled and level != made.level:
        raise ValueError(f"{name}: level is {level!r}; it compares the completions of a group, at level {made.level}")
    return replace(made, level=level)


def check_aggregation(algorithm: Algorithm, aggregation: str, setting: str) -> None:
    """Raise a ValueError unless averaging tokens in this way gives the objective's gradient at its level.

    Args:
        algorithm: the objective.
        aggregation: one of verl's names.
        setting: what the trainer calls it, for the message.

    >>> check_aggregation(objective({"name": "oapl"}), "token-mean", "actor.loss_agg_mode")
    Traceback (most recent call last):
    ...
    ValueError: actor.loss_agg_mode is 'token-mean'; oapl at the sequence level needs seq-mean-token-sum,
    seq-mean-token-sum-norm or token-sum
    """
    allowed = AGGREGATIONS[algorithm.level]
    if aggregation not in allowed:
        several = ", ".join(allowed[:-1])
        needed = f"{several} or {allowed[-1]}" if several else allowed[-1]
        raise ValueError(
            f"{setting} is {aggregation!r}; {algorithm.name} at the {algorithm.level} level needs {needed}"
        )


def refuse_coupled(algorithm: Algorithm, trainer: str) -> None:
    """Raise a ValueError for objectives that compare a group's completions, where a loss never sees a group."""
    if algorithm.coupled:
        raise ValueError(
            f"{algorithm.name} compares the completions of a group, and {trainer}'s loss does not see groups; "
            "use an objective that takes one completion at a time"
        )


def surrogate(algorithm: Algorithm, log_prob: Array, coefficient: Array, mask: Array) -> Array:
    """Per-token losses (B, T), to be averaged by the trainer; 0 where masked."""
    xp = array_namespace(log_prob)
    pull = xp.astype(-algorithm.scale * coefficient, log_prob.dtype)
    return pull * xp.where(xp.astype(mask, xp.bool), log_prob, 0.0 * pull)


def coefficients(
    algorithm: Algorithm,
    log_prob: Array,
    behavior_log_prob: Array,
    advantage: Array,
    mask: Array,
    group: Array | None = None,
) -> Array:
    """c of every token (B, T) in double precision, without gradient; 0 where masked.

    Args:
        algorithm: the objective; its level says where the log-ratio is taken.
        log_prob: (B, T) under the policy that is trained, nats.
        behavior_log_prob: (B, T) under the policy that sampled the tokens, nats.
        advantage: (B,), or (B, T) where trainers carry it per token.
        mask: (B, T), bool or 0/1.
        group: (B,) group of each completion, for coupled objectives. All of a group's completions must be here.

    Raises:
        ValueError: a log-probability that is not finite where the mask is 1, advantages that change within a completion
            although the log-ratio is the completion's, a coupled objective without groups, or a completion so
            improbable that its probability underflows where the objective needs it.
    """
    xp = array_namespace(log_prob)
    keep = xp.astype(mask, xp.bool)
    zero = xp.zeros_like(keep, dtype=xp.float64)

    def kept(values: Array) -> Array:
        return xp.where(keep, xp.astype(values, xp.float64), zero)

    behavior = kept(behavior_log_prob.detach())
    log_ratio = kept(log_prob.detach()) - behavior
    if not bool(xp.all(xp.isfinite(log_ratio))):
        raise ValueError("a token that is trained on has a log-probability that is not finite")
    advantages = kept(advantage if advantage.ndim == 2 else advantage[:, None] + zero)
    if algorithm.level == "token":
        return kept(algorithm.coefficient(log_ratio, advantages, **algorithm.weights(xp.exp(behavior))))
    length = xp.sum(xp.astype(keep, xp.float64), axis=-1)
    length = xp.where(length > 0, length, xp.ones_like(length))
    single = _of_completion(xp, advantages, length, keep)
    log_ratio = xp.sum(log_ratio, axis=-1)
    if algorithm.level == "sequence mean":
        log_ratio = log_ratio / length
    if algorithm.coupled:
        trained = xp.any(keep, axis=-1)
        value = _of_groups(xp, algorithm, log_ratio, single, group, trained)
    else:
        taken = algorithm.weights(_probability(xp, behavior)) if algorithm.takes_behavior else {}
        value = algorithm.coefficient(log_ratio, single, **taken)
    return kept(value[:, None] + zero)


def normalizer(coefficient: Array, mask: Array) -> Array:
    """The mean of c over completions, of its mean over tokens: an estimate of lambda, E c, on the data at hand."""
    xp = array_namespace(coefficient)
    length = xp.sum(xp.astype(mask, coefficient.dtype), axis=-1)
    trained = length > 0
    mean = xp.sum(coefficient, axis=-1) / xp.where(trained, length, xp.ones_like(length))
    count = xp.sum(xp.astype(trained, coefficient.dtype))
    return xp.sum(mean) / xp.where(count > 0, count, xp.ones_like(count))


def _of_completion(xp: Any, advantages: Array, length: Array, keep: Array) -> Array:
    """The one advantage (B,) of each completion, from its tokens'."""
    mean = xp.sum(advantages, axis=-1) / length
    spread = xp.where(keep, xp.abs(advantages - mean[:, None]), 0 * advantages)
    if bool(xp.any(spread > 1e-5 * (1 + xp.abs(mean[:, None])))):
        raise ValueError("advantages change within a completion; set level: token, or use one advantage per completion")
    return mean


def _of_groups(
    xp: Any, algorithm: Algorithm, log_ratio: Array, advantage: Array, group: Array | None, trained: Array
) -> Array:
    if group is None:
        raise ValueError(f"{algorithm.name} compares the completions of a group; it must be told which is whose")
    value = xp.zeros_like(log_ratio)
    for index in sorted({int(index) for index in group[trained]}):
        rows = (group == index) & trained
        weights = xp.ones_like(log_ratio[rows]) / log_ratio[rows].shape[0]
        value[rows] = algorithm.coefficient(log_ratio[rows], advantage[rows], **algorithm.weights(weights))
    return value


def _probability(xp: Any, behavior_log_prob: Array) -> Array:
    total = xp.sum(behavior_log_prob, axis=-1)
    if bool(xp.any(total < math.log(5e-324))):
        raise ValueError("a completion's behavior probability underflows; this objective needs shorter completions")
    return xp.exp(total)
