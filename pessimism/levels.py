r"""Levels: which log-ratio of a completion a coefficient is a function of, and what each token's gradient counts.

Tokens $y_1..y_T$ of a completion y have log-ratios $\ell_t = \log\pi(y_t|y_{<t})/\mu(y_t|y_{<t})$. Its part of the
update is $\sum_t w\,c_t\,\nabla\log\pi(y_t|y_{<t})$, and the level says what $c_t$ and $w$ are:

    level                        c_t                            w
    "sequence"                   c(sum of l, A)                 1
    "token"                      c(l_t, A)                      1
    "sequence mean"              c(mean of l, A)                1/T
    "sequence mean times length" c(mean of l, A)                1
    "token vector"               c_t(l_1, ..., l_T, A)          1/T

On a bandit an arm is one token long and they all coincide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol, cast

import numpy as np
from array_api_compat import array_namespace

from .solve.simplex import Array

__all__ = [
    "LEVELS",
    "RULES",
    "Level",
    "LevelRule",
    "Objective",
    "PackedTokens",
    "PaddedTokens",
    "Tokens",
    "check_level",
    "completion_mean",
    "known_level",
    "token_coefficients",
    "token_weight",
]

Level = Literal["sequence", "token", "sequence mean", "sequence mean times length", "token vector"]
"""Where a log-ratio is taken; see :data:`RULES` for what each means."""


@dataclass(frozen=True)
class LevelRule:
    """What a level means.

    Attributes:
        log_ratio: what the coefficient takes: the "sum" or the "mean" of a completion's token log-ratios, "each" of
            them alone, or "all": the coefficient then takes ``tokens=`` and returns a value for every token.
        averaged: whether a token's gradient counts 1/T (else 1), as in a mean over the tokens of a completion.
    """

    log_ratio: Literal["sum", "mean", "each", "all"]
    averaged: bool

    @property
    def of_completions(self) -> bool:
        """Whether a completion has one coefficient for all its tokens."""
        return self.log_ratio in ("sum", "mean")


RULES: Mapping[Level, LevelRule] = MappingProxyType(
    {
        "sequence": LevelRule("sum", averaged=False),
        "token": LevelRule("each", averaged=False),
        "sequence mean": LevelRule("mean", averaged=True),
        "sequence mean times length": LevelRule("mean", averaged=False),
        "token vector": LevelRule("all", averaged=True),
    }
)
"""Level -> what its log-ratio is, and whether its update is divided by the completion's length."""

LEVELS: tuple[Level, ...] = tuple(RULES)
"""Every level, by name."""


class Tokens(Protocol):
    """Which tokens belong to which completion."""

    @property
    def length(self) -> Array:
        """Number of tokens of every completion; 1 where there is none, so that means are 0."""
        ...

    def sum(self, values: Array) -> Array:
        """Sums over the tokens of every completion."""
        ...

    def largest(self, values: Array) -> Array:
        """The largest value of a token of every completion; 0 where there is none."""
        ...

    def spread(self, values: Array) -> Array:
        """A completion's value at each of its tokens; 0 at places that hold no token."""
        ...

    def kept(self, values: Array) -> Array:
        """Values of tokens; 0 at places that hold no token."""
        ...


@dataclass(frozen=True, eq=False)
class PaddedTokens:
    """Completions (...) padded to T tokens.

    Attributes:
        present: (..., T) bool, whether there is a token.

    >>> tokens = PaddedTokens(np.array([[True, True], [True, False]]))
    >>> tokens.sum(np.array([[1.0, 2.0], [3.0, 9.0]])).tolist(), tokens.length.tolist()
    ([3.0, 3.0], [2.0, 1.0])
    """

    present: Array

    @property
    def length(self) -> Array:
        """(...) float64; 1 where there is no token."""
        xp = array_namespace(self.present)
        count = xp.sum(xp.astype(self.present, xp.float64), axis=-1)
        return xp.where(count > 0, count, xp.ones_like(count))

    def sum(self, values: Array) -> Array:
        """(...) of values (..., T)."""
        return array_namespace(values).sum(self.kept(values), axis=-1)

    def largest(self, values: Array) -> Array:
        """(...) of values (..., T)."""
        xp = array_namespace(values)
        found = xp.max(xp.where(self.present, values, xp.full_like(values, -xp.inf)), axis=-1)
        return xp.where(xp.any(self.present, axis=-1), found, xp.zeros_like(found))

    def spread(self, values: Array) -> Array:
        """(..., T) of values (...)."""
        return self.kept(values[..., None])

    def kept(self, values: Array) -> Array:
        """(..., T), or what broadcasts to it."""
        xp = array_namespace(values)
        return xp.where(self.present, values, xp.zeros_like(values))


@dataclass(frozen=True, eq=False)
class PackedTokens:
    """The N tokens of B completions in one row, without padding.

    Attributes:
        row: (N,) the completion of each token, 0 to B - 1.
        length: (B,) float, tokens of every completion, at least one.

    >>> tokens = PackedTokens(np.array([0, 0, 1]), np.array([2.0, 1.0]))
    >>> tokens.sum(np.array([1.0, 2.0, 3.0])).tolist(), tokens.spread(np.array([5.0, 7.0])).tolist()
    ([3.0, 3.0], [5.0, 5.0, 7.0])
    """

    row: Array
    length: Array

    def sum(self, values: Array) -> Array:
        """(B,) of values (N,)."""
        zero = array_namespace(values).zeros(len(self.length), dtype=values.dtype, device=values.device)
        if isinstance(values, np.ndarray):
            np.add.at(zero, self.row, values)
            return zero
        return zero.index_add_(0, self.row, values)  # the array API has no such sum

    def largest(self, values: Array) -> Array:
        """(B,) of values (N,)."""
        lowest = array_namespace(values).full_like(self.length, -math.inf, dtype=values.dtype)
        if isinstance(values, np.ndarray):
            np.maximum.at(lowest, self.row, values)
            return lowest
        return lowest.scatter_reduce_(0, self.row, values, "amax")

    def spread(self, values: Array) -> Array:
        """(N,) of values (B,)."""
        return values[self.row]

    def kept(self, values: Array) -> Array:
        """(N,) as they are: there is no padding."""
        return values


def completion_mean(values: Array, tokens: Tokens | None) -> Array:
    """The mean over each completion, at all its tokens; without ``tokens`` every value is a completion of its own.

    What a coefficient at the level "token vector" takes means with.

    >>> completion_mean(np.array([1.0, 2.0, 3.0]), PackedTokens(np.array([0, 0, 1]), np.array([2.0, 1.0]))).tolist()
    [1.5, 1.5, 3.0]
    """
    return values if tokens is None else tokens.spread(tokens.sum(values) / tokens.length)


def token_weight(level: Level, tokens: Tokens) -> Array:
    """w of every completion's tokens: 1, or 1 over its length."""
    return 1 / tokens.length if RULES[level].averaged else 0 * tokens.length + 1


class Composed(Protocol):
    """What a level needs to know of a :class:`~pessimism.composition.Composition`; see there."""

    @property
    def base(self) -> Any: ...
    def on_tokens(
        self,
        values: Array,
        log_ratio: Array,
        advantage: Array,
        *,
        tokens: Tokens,
        behavior: Array | None = None,
        proximal: Array | None = None,
        reference: Array | None = None,
    ) -> Array: ...


class Objective(Protocol):
    """What a level needs to know of an :class:`~pessimism.Algorithm`; see there."""

    @property
    def name(self) -> str: ...
    @property
    def level(self) -> Level: ...
    @property
    def coefficient(self) -> Callable[..., Array]: ...
    @property
    def coupled(self) -> bool: ...
    @property
    def takes_behavior(self) -> bool: ...
    @property
    def composition(self) -> Composed | None: ...
    def weights(self, behavior: Array, /) -> dict[str, Array]: ...


def token_coefficients(
    algorithm: Objective,
    log_ratio: Array,
    advantage: Array,
    tokens: Tokens,
    *,
    token_advantage: Array | None = None,
    behavior_log_prob: Array | None = None,
    weight: Array | None = None,
    group: Array | None = None,
    proximal_log_prob: Array | None = None,
    reference_log_prob: Array | None = None,
) -> Array:
    """c of every token at the algorithm's level; 0 at places that hold no token.

    Arrays of tokens have the shape of ``log_ratio``, arrays of completions that of ``tokens.length``.

    Args:
        algorithm: the objective.
        log_ratio: of tokens, nats.
        advantage: of completions.
        tokens: which token belongs to which completion.
        token_advantage: of tokens, where trainers carry them so; used where the level looks at tokens.
        behavior_log_prob: of tokens under the behavior policy, nats; for coefficients that take probabilities.
        weight: of completions within their group, for coupled coefficients; None: equal.
        group: of completions, a whole number each: those of one number are compared, those of a negative number left
            out. None: the last axis is one group.
        proximal_log_prob: of tokens under the policy that clipping is measured from, nats; None: the behavior policy.
        reference_log_prob: of tokens under the policy that a KL term is to, nats.

    Masks that compare a composition's samples see all tokens that are given here.

    Raises:
        ValueError: a coupled coefficient at a level that looks at tokens, or a completion so improbable that its
            probability underflows where the coefficient needs it; a policy that is needed and not given.

    >>> from pessimism import algorithm
    >>> tokens = PaddedTokens(np.array([[True, True], [True, False]]))
    >>> log_ratio, advantage = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([1.0, 1.0])
    >>> token_coefficients(algorithm("dro", beta=0.5), log_ratio, advantage, tokens).tolist()
    [[0.5, 0.5], [0.5, 0.0]]
    """
    if algorithm.composition is not None or proximal_log_prob is not None:
        return _composed(
            algorithm,
            log_ratio,
            advantage,
            tokens,
            token_advantage,
            behavior_log_prob,
            {"weight": weight, "group": group},
            proximal_log_prob,
            reference_log_prob,
        )
    check_level(algorithm)
    rule = RULES[algorithm.level]
    if rule.of_completions:
        total = tokens.sum(log_ratio)
        seen = total / tokens.length if rule.log_ratio == "mean" else total
        if algorithm.coupled:
            return tokens.spread(_coupled(algorithm, seen, advantage, weight, group))
        taken = _probability(algorithm, behavior_log_prob, tokens)
        return tokens.spread(algorithm.coefficient(seen, advantage, **taken))
    per_token = tokens.spread(advantage) if token_advantage is None else token_advantage
    taken: dict[str, Any] = {"tokens": tokens} if rule.log_ratio == "all" else {}
    if algorithm.takes_behavior:
        taken |= algorithm.weights(array_namespace(log_ratio).exp(_known(algorithm, behavior_log_prob)))
    return tokens.kept(algorithm.coefficient(log_ratio, per_token, **taken))


def _composed(
    algorithm: Objective,
    log_ratio: Array,
    advantage: Array,
    tokens: Tokens,
    token_advantage: Array | None,
    behavior_log_prob: Array | None,
    groups: dict[str, Array | None],
    proximal_log_prob: Array | None,
    reference_log_prob: Array | None,
) -> Array:
    """The objective's own coefficients, its log-ratio from the proximal policy where there is one, then the parts."""
    xp = array_namespace(log_ratio)

    def to_sampler(log_prob: Array | None) -> Array | None:
        return None if log_prob is None else tokens.kept(log_prob - _known(algorithm, behavior_log_prob))

    proximal, parts = to_sampler(proximal_log_prob), algorithm.composition
    base = algorithm if parts is None else replace(parts.base, level=algorithm.level)
    values = token_coefficients(
        base,
        log_ratio if proximal is None else log_ratio - proximal,
        advantage,
        tokens,
        token_advantage=token_advantage,
        behavior_log_prob=behavior_log_prob if proximal_log_prob is None else proximal_log_prob,
        **groups,
    )
    if parts is None:
        return values
    found = parts.on_tokens(
        values,
        tokens.kept(log_ratio),
        tokens.spread(advantage) if token_advantage is None else token_advantage,
        tokens=tokens,
        behavior=None if behavior_log_prob is None else xp.exp(behavior_log_prob),
        proximal=proximal,
        reference=to_sampler(reference_log_prob),
    )
    return tokens.kept(found)


def check_level(algorithm: Objective) -> None:
    """Raise a ValueError if a coefficient that compares completions is to look at single tokens."""
    if algorithm.composition is not None:  # its masks may compare tokens; its objective is looked at alone
        check_level(replace(algorithm.composition.base, level=algorithm.level))
        return
    if algorithm.coupled and not RULES[algorithm.level].of_completions:
        known = ", ".join(level for level, rule in RULES.items() if rule.of_completions)
        raise ValueError(
            f"{algorithm.name!r} compares the completions of a group, so its level must be one of {known}; "
            f"it is {algorithm.level!r}"
        )


def known_level(name: object) -> Level:
    """The level of that name, or a ValueError that lists them.

    >>> known_level("word")
    Traceback (most recent call last):
    ...
    ValueError: level is 'word'; it must be one of sequence, token, sequence mean, sequence mean times length,
    token vector
    """
    if name not in LEVELS:
        raise ValueError(f"level is {name!r}; it must be one of {', '.join(LEVELS)}")
    return cast(Level, name)


def _coupled(algorithm: Objective, seen: Array, advantage: Array, weight: Array | None, group: Array | None) -> Array:
    """c of completions, group by group."""
    if group is None:
        return algorithm.coefficient(seen, advantage, behavior=_equal(seen) if weight is None else weight)
    values = array_namespace(seen).zeros_like(seen)
    for rows in _groups(group, seen):
        shares = _equal(seen[rows]) if weight is None else weight[rows]
        values[rows] = algorithm.coefficient(seen[rows], advantage[rows], behavior=shares)
    return values


def _equal(group: Array) -> Array:
    return array_namespace(group).ones_like(group) / group.shape[-1]


def _groups(group: Array, like: Array) -> list[Array]:
    """Masks (B,) of the completions of every group; those of a negative number belong to none."""
    numbers = array_namespace(like).asarray(group, device=like.device)
    return [numbers == index for index in sorted({int(index) for index in numbers}) if index >= 0]


def _probability(algorithm: Objective, behavior_log_prob: Array | None, tokens: Tokens) -> dict[str, Array]:
    """Whole completions' behavior probabilities, where the coefficient takes them."""
    if not algorithm.takes_behavior:
        return {}
    total = tokens.sum(_known(algorithm, behavior_log_prob))
    xp = array_namespace(total)
    probability = xp.exp(total)
    if not bool(xp.all(probability > 0)):
        raise ValueError("a completion's behavior probability underflows; this objective needs shorter completions")
    return algorithm.weights(probability)


def _known(algorithm: Objective, behavior_log_prob: Array | None) -> Array:
    if behavior_log_prob is None:
        raise ValueError(f"{algorithm.name!r} takes probabilities; it needs behavior_log_prob")
    return behavior_log_prob
