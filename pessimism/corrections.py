r"""Corrections: what an update is multiplied by because its data come from another policy than it assumes.

Asynchronous trainers put one on top of an objective: an importance weight that is truncated (TIS), or dropped where it
leaves a range (IcePop, masked importance sampling), or rejection of what has moved too far, without a weight. Each
looks at a statistic of the log-ratio $\ell$, of every token alone or of a whole completion:

    on       statistic               estimates
    "ratio"  $e^\ell$                the importance weight
    "k1"     $-\ell$                 KL(mu|pi), on samples of mu
    "k2"     $\ell^2/2$              the same, to second order
    "k3"     $e^\ell - 1 - \ell$     the same, never negative

A corrected algorithm is made by :func:`pessimism.algorithm`: ``algorithm("reinforce", correction=truncate(cap=2))``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace
from scipy.special import lambertw

from .levels import Tokens
from .parts import told_call
from .solve.simplex import Array

__all__ = ["Correction", "gathered", "mask", "reject", "truncate"]

Kind = Literal["truncate", "mask", "reject"]
Level = Literal["token", "sequence", "geometric", "largest"]
Statistic = Literal["ratio", "k1", "k2", "k3"]
Pair = Literal["current", "proximal"]

LEVELS: tuple[Level, ...] = ("token", "sequence", "geometric", "largest")
STATISTICS: tuple[Statistic, ...] = ("ratio", "k1", "k2", "k3")
PAIRS: tuple[Pair, ...] = ("current", "proximal")


@dataclass(frozen=True)
class Correction:
    """One factor of an update; made by :func:`truncate`, :func:`mask` and :func:`reject`.

    Attributes:
        kind: "truncate": the weight, clipped to the bounds; "mask": the weight inside, 0 outside; "reject": 1 and 0.
        cap, low: bounds of the statistic; ``low`` -inf for one bound only.
        level: "token"; "sequence": of the sum of a completion's log-ratios (of k2 and k3: the sum of their values);
            "geometric": of the mean; "largest": the largest value of a token. What it gives holds for all its tokens.
        on: the statistic.
        pair: between which policies: "current": the one that is trained and the sampler; "proximal": the one that
            clipping is measured from and the sampler (a constant of the data).
    """

    kind: Kind
    cap: float
    low: float = -math.inf
    level: Level = "token"
    on: Statistic = "ratio"
    pair: Pair = "current"

    def __post_init__(self) -> None:
        for name, allowed in (("level", LEVELS), ("on", STATISTICS), ("pair", PAIRS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{self.kind}: {name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}"
                )
        for name in ("cap", "low"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or math.isnan(value):
                raise ValueError(f"{self.kind}: {name} is {value!r}; it must be a number")
        if self.on != "k1" and self.cap <= 0:
            raise ValueError(f"{self.kind}: cap is {self.cap:g}; it must be > 0, as a bound of {self.on}")
        if self.on == "ratio" and self.low <= 0 and self.low != -math.inf:
            raise ValueError(f"{self.kind}: low is {self.low:g}; a smallest ratio must be > 0 (leave it out for none)")
        if self.on in ("k2", "k3") and self.low != -math.inf:
            raise ValueError(f"{self.kind}: low is {self.low:g}; {self.on} has an upper bound only")
        if self.low >= self.cap:
            raise ValueError(f"{self.kind}: low is {self.low:g}, which is not below cap = {self.cap:g}")
        if self.level == "largest" and self.on not in ("k2", "k3"):
            raise ValueError(f"{self.kind}: level 'largest' is of k2 and k3; on is {self.on!r}")

    def statistic(self, log_ratio: Array, tokens: Tokens | None = None) -> Array:
        """The statistic of every token, or of its completion. Without ``tokens`` every value is a completion.

        >>> mask(cap=5, level="sequence").statistic(np.log([0.5, 4.0])).round(3)
        array([0.5, 4. ])
        """
        xp = array_namespace(log_ratio)
        if self.on in ("ratio", "k1"):
            seen = gathered(log_ratio, self.level, tokens)
            return xp.exp(seen) if self.on == "ratio" else -seen
        values = log_ratio**2 / 2 if self.on == "k2" else xp.expm1(log_ratio) - log_ratio
        return gathered(values, self.level, tokens)

    def inside(self, log_ratio: Array, tokens: Tokens | None = None) -> Array:
        """Whether the statistic lies within the bounds, bounds included; bool."""
        found = self.statistic(log_ratio, tokens)
        return (found <= self.cap) & (found >= self.low)

    def weight(self, log_ratio: Array, tokens: Tokens | None = None) -> Array:
        r"""The factor, of log-ratios $\ell$ in nats: of the shape of ``log_ratio``.

        >>> ratios = np.log([0.1, 1.0, 4.0])
        >>> truncate(cap=2).weight(ratios).round(3), mask(cap=2, low=0.5).weight(ratios).round(3)
        (array([0.1, 1. , 2. ]), array([0., 1., 0.]))
        """
        xp = array_namespace(log_ratio)
        if self.kind == "truncate":
            return xp.clip(self.statistic(log_ratio, tokens), max(self.low, 0.0), self.cap)
        keep = self.inside(log_ratio, tokens)
        if self.kind == "reject":
            return xp.astype(keep, log_ratio.dtype)
        ratio = xp.exp(gathered(log_ratio, "geometric" if self.level == "geometric" else _of(self.level), tokens))
        return xp.where(keep, ratio, xp.zeros_like(ratio))

    def jumps(self) -> tuple[float, ...]:
        """Log-ratios of a completion of one token at which the factor jumps.

        >>> reject(cap=2, low=0.5).jumps() == (math.log(2), math.log(0.5)), truncate(cap=2).jumps()
        (True, ())
        """
        if self.kind == "truncate" or self.cap == math.inf:
            return ()
        if self.on == "ratio":
            return (math.log(self.cap), *((math.log(self.low),) if self.low > 0 else ()))
        if self.on == "k1":
            return (-self.cap, *((-self.low,) if self.low > -math.inf else ()))
        if self.on == "k2":
            return (-math.sqrt(2 * self.cap), math.sqrt(2 * self.cap))
        # e^l - 1 - l = cap: l = -(1 + cap) - W(-e^-(1 + cap)) on both branches.
        base = 1 + self.cap
        roots = [-base - float(np.real(lambertw(-math.exp(-base), branch))) for branch in (0, -1)]
        return (roots[0], roots[1])

    def __str__(self) -> str:
        """As text that :func:`pessimism.algorithm` reads.

        >>> str(truncate(cap=2, level="sequence"))
        'truncate(cap=2, level=sequence)'
        """
        left_out = {"low": -math.inf, "level": "token", "on": "ratio", "pair": "current"}
        shown = {name: getattr(self, name) for name in ("cap", "low", "level", "on", "pair")}
        return told_call(self.kind, {name: v for name, v in shown.items() if left_out.get(name) != v})


def _of(level: Level) -> Level:
    return "token" if level == "token" else "sequence"


def gathered(values: Array, level: Level, tokens: Tokens | None) -> Array:
    """What a completion makes of its tokens' values, at each of its tokens; the values themselves for "token".

    >>> from pessimism.levels import PaddedTokens
    >>> tokens = PaddedTokens(np.array([[True, True]]))
    >>> gathered(np.array([[1.0, 3.0]]), "geometric", tokens).tolist()
    [[2.0, 2.0]]
    """
    if tokens is None or level == "token":
        return values
    if level == "largest":
        return tokens.spread(tokens.largest(values))
    total = tokens.sum(values)
    return tokens.spread(total / tokens.length if level == "geometric" else total)


def truncate(cap: float, low: float = -math.inf, level: Level = "token", pair: Pair = "current") -> Correction:
    r"""Truncated importance sampling: $\mathrm{clip}(\rho, low, cap)$ (TIS; verl, TRL, slime, OpenRLHF).

    Raises:
        ValueError: a bound that is not allowed, an unknown level or pair.
    """
    return Correction("truncate", cap, low, level, "ratio", pair)


def mask(
    cap: float, low: float = -math.inf, level: Level = "token", on: Statistic = "ratio", pair: Pair = "current"
) -> Correction:
    r"""Masked importance sampling: $\rho$ where the statistic is in $[low, cap]$, else 0 (IcePop; TRL's default).

    Raises:
        ValueError: a bound that is not allowed, an unknown level, statistic or pair.
    """
    return Correction("mask", cap, low, level, on, pair)


def reject(
    cap: float, low: float = -math.inf, level: Level = "token", on: Statistic = "ratio", pair: Pair = "current"
) -> Correction:
    """Rejection: 1 where the statistic is in [low, cap], else 0; no weight (verl's rollout_rs).

    Raises:
        ValueError: a bound that is not allowed, an unknown level, statistic or pair.
    """
    return Correction("reject", cap, low, level, on, pair)


MAKERS: dict[str, Any] = {"truncate": truncate, "mask": mask, "reject": reject}
