r"""Regimes of prefixes: what a per-token regression drives toward after every prefix of a completion.

A regression whose log-ratios are taken per token, $c_t = A - \beta\ell_t$, has at each prefix h the update of a
bandit of its own: its arms are the next tokens, its behavior policy is $\mu(\cdot|h)$, and its rewards are
$Q_\mu(h, a) = E_\mu[r \mid h, a]$. The baseline V is the completion's. So the regime of h is the sign of $V^*_h - V$,
$V^*_h = \beta\log E_{a\sim\mu(\cdot|h)} e^{Q_\mu(h, a)/\beta}$, and not that of the bandit over completions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .algorithm import Algorithm
from .bandit import Bandit
from .levels import RULES
from .solve.simplex import log_expectation_exp

__all__ = ["PrefixRegimes", "has_prefix_regimes", "prefix_regimes", "regime_words"]

OF_ONE_TOKEN = " of one-token arms; per token every prefix has its own"


@dataclass(frozen=True)
class PrefixRegimes:
    r"""The regimes of prefixes, arrays (...).

    Attributes:
        soft_value: $V^*_h$, in units of reward.
        regime: "positive" where $V < V^*_h$, "boundary" where they are equal, "negative" where $V > V^*_h$.
    """

    soft_value: np.ndarray
    regime: np.ndarray


def prefix_regimes(behavior: ArrayLike, value: ArrayLike, baseline: ArrayLike, beta: float) -> PrefixRegimes:
    r"""The regime of every prefix under a regression whose log-ratios are taken per token.

    Args:
        behavior: (..., A) probabilities $\mu(a|h)$ of the next token.
        value: (..., A) $Q_\mu(h, a)$, the mean reward of the data's completions of h and a, in units of reward.
        baseline: (...) V of the prompt, in units of reward.
        beta: regression temperature, > 0.

    Raises:
        ValueError: an invalid policy, values that are not finite, or a temperature that is not positive.

    Where every continuation is worth 0 a baseline of .5 is negative, though the prompt's regime may be positive:

    >>> found = prefix_regimes([[0.5, 0.5], [0.5, 0.5]], [[0, 0], [0, 1]], baseline=0.5, beta=0.2)
    >>> found.regime.tolist(), found.soft_value.round(4).tolist()
    (['negative', 'positive'], [0.0, 0.8627])
    """
    if not (np.isfinite(beta) and beta > 0):
        raise ValueError(f"beta is {beta!r}; it must be a finite number > 0")
    prefixes = Bandit(np.asarray(behavior, dtype=np.float64), np.asarray(value, dtype=np.float64))
    above = np.asarray(baseline, dtype=np.float64)
    if not np.isfinite(above).all():
        raise ValueError(f"baseline is {baseline!r}; every entry must be a finite number")
    played = prefixes.behavior > 0
    lowest = np.where(played, prefixes.reward, np.inf).min(axis=-1)
    # From the lowest value: continuations that are all worth the same have exactly that soft value.
    above_lowest = np.where(played, prefixes.reward - lowest[..., None], 0.0)
    gain = beta * log_expectation_exp(prefixes.behavior, above_lowest / beta)
    distance = (lowest - above) + gain
    regime = np.where(distance > 0, "positive", np.where(distance < 0, "negative", "boundary"))
    return PrefixRegimes(lowest + gain, regime)


def regime_words(algorithm: Algorithm, regime: str) -> str:
    """A bandit's regime in words; per token it is that of one-token arms only.

    >>> from pessimism import algorithm
    >>> regime_words(algorithm("dro"), "positive")
    'positive regime'
    >>> regime_words(algorithm("verl.dro"), "positive")
    'positive regime of one-token arms; per token every prefix has its own'
    """
    return f"{regime} regime{OF_ONE_TOKEN if has_prefix_regimes(algorithm) else ''}"


def has_prefix_regimes(algorithm: Algorithm) -> bool:
    """Whether the regime of an algorithm is a matter of prefixes: a regression whose log-ratios are taken per token."""
    return algorithm.beta is not None and RULES[algorithm.level].log_ratio == "each"
