"""Sums over the tokens of every sample: of log-probabilities, and of what two of them say of a ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-5
"""Log-probabilities above zero by no more than this are rounding in single precision."""

CLIP = (0.8, 1.2)
"""Ratios outside are counted as clipped: the range that most trainers begin with."""

STILL = 1e-6
"""A token's two log-probabilities that differ by less are the same."""

SUMS = (
    "token_square",
    "token_ratio",
    "token_ratio_square",
    "token_outside",
    "token_up",
    "token_down",
    "token_behavior",
    "token_behavior_square",
    "token_product",
    "token_largest",
)
"""By sample, over the tokens that count, with l = log pi/mu and b = log mu: sums of l^2, of e^l, of e^2l, of tokens
whose ratio is outside the clip, of tokens with l > 0 and l < 0 (beyond rounding), of b, b^2, b l; the largest |l|."""


@dataclass(frozen=True)
class TokenLists:
    """A number for every token of n samples.

    Attributes:
        values: (N,) one sample after another; NaN where one is missing.
        lengths: (n,) whole numbers.
        missing: (n,) whether the sample has no list at all.
    """

    values: np.ndarray
    lengths: np.ndarray
    missing: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """(n,) where each sample begins."""
        return np.cumsum(self.lengths) - self.lengths

    def reduced(self, function: np.ufunc, values: np.ndarray, empty: float) -> np.ndarray:
        """(n,) a reduction over each sample's tokens, ``empty`` where it has none."""
        found, some = np.full(len(self.lengths), empty), self.lengths > 0
        if some.any():
            with np.errstate(invalid="ignore", over="ignore"):
                found[some] = function.reduceat(values, self.starts[some])
        return found

    def sums(self, values: np.ndarray | None = None) -> np.ndarray:
        """(n,) sums over each sample's tokens."""
        return self.reduced(np.add, self.values if values is None else values, 0.0)

    def keep(self, counted: np.ndarray) -> TokenLists:
        """The tokens where ``counted`` (N,) is true."""
        return TokenLists(self.values[counted], self.sums(counted.astype(float)).astype(np.int64), self.missing)


def log_prob_sums(tokens: TokenLists) -> np.ndarray:
    """(n,) sums in double precision, NaN where the list or one of its numbers is missing.

    A token that is more probable than certain makes the sum so too: it must not hide behind the others.

    >>> log_prob_sums(TokenLists(np.array([-1.0, -2.0, np.nan]), np.array([2, 1, 0]), np.array([False, False, True])))
    array([-3., nan, nan])
    """
    sums, tops = tokens.sums(), tokens.reduced(np.maximum, tokens.values, -np.inf)
    sums = np.where(tops > 0, np.maximum(sums, tops), sums) if (tops > ROUNDING).any() else sums
    return np.where(tokens.missing, np.nan, sums)


def ratio_sums(behavior: TokenLists, current: TokenLists) -> dict[str, np.ndarray]:
    """``SUMS`` of samples, (n,) each; NaN where the two lists of a sample differ in length."""
    differs = (behavior.lengths != current.lengths) | behavior.missing | current.missing
    mu, pi = (part.values[np.repeat(~differs, part.lengths)] for part in (behavior, current))
    whole = TokenLists(mu, np.where(differs, 0, behavior.lengths), differs)
    with np.errstate(invalid="ignore", over="ignore"):
        x = pi - mu
        ratio = np.exp(x)
        values = (
            x * x,
            ratio,
            ratio * ratio,
            (ratio < CLIP[0]) | (ratio > CLIP[1]),
            x > STILL,
            x < -STILL,
            mu,
            mu * mu,
            mu * x,
        )
    found = [whole.sums(np.asarray(part, dtype=np.float64)) for part in values]
    found.append(whole.reduced(np.maximum, np.abs(x), 0.0))
    return {name: np.where(differs, np.nan, part) for name, part in zip(SUMS, found, strict=True)}
