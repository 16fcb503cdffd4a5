r"""What a correction makes of a gap between two engines, or of staleness: for a Gaussian gap, exactly and simulated.

A token's log-ratio between the policy that is trained and the sampler, $\ell_t$, is taken to be Gaussian of standard
deviation g under the sampler, independently of all others, with mean $-g^2/2$, so that $E_\mu e^{\ell_t} = 1$. A
completion of T tokens then has a log-ratio $N(-s^2/2, s^2)$ with $s = g\sqrt T$, and a geometric mean of ratios of
$s = g/\sqrt T$ around $-g^2/2$. With $a = \log C$ and $\Phi$ the normal distribution function,

$$E_\mu[\rho^k; \rho \le C] = e^{k(k-1)s^2/2}\,\Phi\big((a + (1/2 - k)s^2)/s\big)$$

for a token or a completion, and likewise with the other mean for the geometric mean, from which all numbers here
follow (derived here).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from .corrections import Correction
from .levels import PaddedTokens

__all__ = ["Effect", "gaussian_effect", "simulated_effect"]

BLOCK = 2**22
"""Tokens that are drawn at a time."""


@dataclass(frozen=True)
class Effect:
    """What a correction does to data whose log-ratios are noise.

    Attributes:
        tokens: share of the tokens whose weight is not the ratio: truncated, or masked.
        completions: share of the completions with at least one such token.
        kept: mean weight, 1 for the exact ratio: 1 minus it is the share of the trained policy's probability that the
            corrected data lack, which is the bias of an expectation of a bounded reward, at most.
        variance: of the weight.
        effective: effective share of samples, (mean weight)^2 / mean squared weight; 0 where all are masked.

    ``kept``, ``variance`` and ``effective`` are of tokens at the levels "token" and "geometric" and of completions at
    "sequence".
    """

    tokens: float
    completions: float
    kept: float
    variance: float
    effective: float


def gaussian_effect(correction: Correction, gap: float, length: int) -> Effect:
    """The effect on a Gaussian gap, exactly.

    Args:
        correction: a truncation or a mask of ratios.
        gap: standard deviation of a token's log-ratio, nats, > 0.
        length: tokens of a completion, >= 1.

    Raises:
        ValueError: a correction on k1, k2 or k3, or without a weight, or a gap or length out of range.

    >>> from pessimism.corrections import mask
    >>> effect = gaussian_effect(mask(cap=2, level="sequence"), gap=0.02, length=16384)
    >>> round(effect.completions, 3), round(effect.kept, 3)
    (0.06, 0.156)
    """
    _check(correction, gap, length)
    spread, mean = _moments(correction, gap, length)
    low, cap = max(correction.low, 0.0), correction.cap
    above = 1 - _below(cap, 0, spread, mean)
    under = _below(low, 0, spread, mean)
    touched = above + under
    first, second = (_below(cap, k, spread, mean) - _below(low, k, spread, mean) for k in (1, 2))
    if correction.kind == "truncate":
        first += low * under + (cap * above if above > 0 else 0.0)
        second += low**2 * under + (cap**2 * above if above > 0 else 0.0)
    whole = -math.expm1(length * math.log1p(-touched)) if correction.level == "token" and touched < 1 else touched
    return Effect(touched, whole, first, second - first**2, first**2 / second if second > 0 else 0.0)


def simulated_effect(correction: Correction, gap: float, length: int, completions: int = 1000, seed: int = 0) -> Effect:
    """The same from draws of single tokens, with the correction's own code.

    Args:
        correction, gap, length: as in :func:`gaussian_effect`.
        completions: how many are drawn; an event of probability p is known to about sqrt(p / completions).
        seed: of the draws.

    Raises:
        ValueError: as :func:`gaussian_effect`, or fewer than 2 completions.
    """
    _check(correction, gap, length)
    if completions < 2:
        raise ValueError(f"completions is {completions}; it must be at least 2")
    touched = whole = 0.0
    first, second = 0.0, 0.0
    for drawn in _draws(gap, length, completions, np.random.default_rng(seed)):
        tokens = PaddedTokens(np.ones(drawn.shape, bool))
        weight, inside = correction.weight(drawn, tokens), correction.inside(drawn, tokens)
        if correction.level == "sequence":  # one weight for all tokens
            weight, inside = weight[:, :1], inside[:, :1]
        touched += float((~inside).mean(axis=1).sum())
        whole += float((~inside).any(axis=1).sum())
        first += float(weight.mean(axis=1).sum())
        second += float((weight**2).mean(axis=1).sum())
    touched, whole, first, second = (value / completions for value in (touched, whole, first, second))
    return Effect(touched, whole, first, second - first**2, first**2 / second if second > 0 else 0.0)


def _draws(gap: float, length: int, completions: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    size = max(1, BLOCK // length)
    for start in range(0, completions, size):
        rows = min(size, completions - start)
        yield gap * rng.standard_normal((rows, length)) - gap**2 / 2


def _moments(correction: Correction, gap: float, length: int) -> tuple[float, float]:
    """Standard deviation and mean of the log of what the correction bounds."""
    if correction.level == "token":
        return gap, -(gap**2) / 2
    if correction.level == "sequence":
        return gap * math.sqrt(length), -length * gap**2 / 2
    return gap / math.sqrt(length), -(gap**2) / 2


def _below(bound: float, power: int, spread: float, mean: float) -> float:
    """E[x^power; x <= bound] of a lognormal x."""
    if bound <= 0:
        return 0.0
    place = math.inf if bound == math.inf else (math.log(bound) - mean - power * spread**2) / spread
    share = float(ndtr(place))
    return share * math.exp(power * mean + power**2 * spread**2 / 2) if share > 0 else 0.0


def _check(correction: Correction, gap: float, length: int) -> None:
    if correction.on != "ratio" or correction.kind == "reject" or correction.level == "largest":
        raise ValueError(f"{correction} is no weight by a bound of ratios; use truncate or mask")
    if not (math.isfinite(gap) and gap > 0):
        raise ValueError(f"gap is {gap}; it must be a finite number > 0, in nats per token")
    if length < 1:
        raise ValueError(f"length is {length}; it must be a whole number of tokens >= 1")
