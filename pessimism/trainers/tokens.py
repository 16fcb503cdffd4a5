r"""What the adapters share: an objective from a config, and coefficients of padded tokens.

Tensors are of shape (B, T): B completions, padded to T tokens, ``mask`` 1 where a token is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from array_api_compat import array_namespace

from ..algorithm import Algorithm
from ..compose import check_two_policies
from ..levels import RULES, PaddedTokens, token_coefficients
from ..objectives.catalogue import algorithm as from_catalogue
from ..shell.objects import is_object_name, load_object
from ..solve.simplex import Array

__all__ = [
    "SEQUENCE_MEAN",
    "SEQUENCE_SUM",
    "SEQUENCE_SUM_SCALED",
    "TOKEN_MEAN",
    "TOKEN_SUM",
    "aggregations",
    "check_aggregation",
    "coefficients",
    "normalizer",
    "objective",
    "refuse_coupled",
    "surrogate",
    "usual_aggregation",
]

TOKEN_MEAN = "token-mean"
"""The mean over all tokens of a batch."""

TOKEN_SUM = "token-sum"
"""The sum over all tokens of a batch."""

SEQUENCE_SUM = "seq-mean-token-sum"
"""The mean over completions of the sum over their tokens."""

SEQUENCE_SUM_SCALED = "seq-mean-token-sum-norm"
"""The same divided by a constant length."""

SEQUENCE_MEAN = "seq-mean-token-mean"
"""The mean over completions of the mean over their tokens."""

SUMS = (SEQUENCE_SUM, SEQUENCE_SUM_SCALED, TOKEN_SUM)
"""Averages, by verl's names, under which a token's gradient does not depend on its completion's length."""


def objective(settings: Mapping[str, Any]) -> Algorithm:
    """The algorithm that a trainer's config describes: ``name``, its parameters, and ``level`` to replace the entry's.

    The name is one of the catalogue, or ``module:name`` or ``file.py:name`` for an objective of one's own.
    Corrections, masks and a KL term are parameters too, as text.

    Raises:
        ValueError: no name, an unknown name, parameter or level, or a value out of range.

    >>> objective({"name": "shifted_mean", "beta": 0.2}).parameters["beta"]
    0.2
    >>> print(objective({"name": "reinforce", "correction": "truncate(cap=2)"}))
    reinforce(correction=truncate(cap=2))
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
    made = load_object(name, Algorithm, **settings) if is_object_name(name) else from_catalogue(name, **settings)
    check_two_policies(made, "an adapter")
    if level is None or level == made.level:
        return made
    if made.coupled:
        raise ValueError(f"{name}: level is {level!r}; it compares the completions of a group, at level {made.level}")
    try:
        return replace(made, level=level)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def usual_aggregation(algorithm: Algorithm) -> str:
    """The average over tokens that gives the objective's gradient at its level, by verl's name.

    >>> usual_aggregation(objective({"name": "oapl"})), usual_aggregation(objective({"name": "gspo"}))
    ('seq-mean-token-sum', 'seq-mean-token-mean')
    """
    return SEQUENCE_MEAN if RULES[algorithm.level].averaged else SEQUENCE_SUM


def aggregations(algorithm: Algorithm) -> tuple[str, ...]:
    """All averages over tokens that an objective allows at its level, by verl's names.

    A completion's gradient is the sum over its tokens: a mean over a batch's tokens would divide it by a number that
    changes. Objectives of single tokens are run with any of them.
    """
    if algorithm.level == "token":
        return (*SUMS, SEQUENCE_MEAN, TOKEN_MEAN)
    return (SEQUENCE_MEAN,) if RULES[algorithm.level].averaged else SUMS


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
    allowed = aggregations(algorithm)
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
            although the coefficient is the completion's, a coupled objective without groups, or a completion so
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
    if algorithm.coupled and group is None:
        raise ValueError(f"{algorithm.name} compares the completions of a group; it must be told which is whose")
    tokens = PaddedTokens(keep)
    per_token = kept(advantage if advantage.ndim == 2 else advantage[:, None] + zero)
    mean = tokens.sum(per_token) / tokens.length
    if algorithm.level != "token":
        _check_single(per_token, mean, tokens)
    return token_coefficients(
        algorithm,
        log_ratio,
        mean,
        tokens,
        token_advantage=per_token if algorithm.level == "token" else None,
        behavior_log_prob=behavior,
        group=None if group is None else xp.where(xp.any(keep, axis=-1), group, -1 + 0 * group),
    )


def normalizer(coefficient: Array, mask: Array) -> Array:
    """The mean of c over completions, of its mean over tokens: an estimate of lambda, E c, on the data at hand."""
    xp = array_namespace(coefficient)
    tokens = PaddedTokens(xp.astype(mask, xp.bool))
    count = xp.sum(xp.astype(xp.any(tokens.present, axis=-1), coefficient.dtype))
    total = xp.sum(tokens.sum(coefficient) / xp.astype(tokens.length, coefficient.dtype))
    return total / xp.where(count > 0, count, xp.ones_like(count))


def _check_single(advantages: Array, mean: Array, tokens: PaddedTokens) -> None:
    """Raise a ValueError unless every completion's tokens (B, T) carry one advantage, their mean (B,)."""
    xp = array_namespace(advantages)
    spread = tokens.kept(xp.abs(advantages - mean[:, None]))
    if bool(xp.any(spread > 1e-5 * (1 + xp.abs(mean[:, None])))):
        raise ValueError("advantages change within a completion; set level: token, or use one advantage per completion")
