"""Importance weighting under a mask that compares probabilities instead of ratios."""

from __future__ import annotations

from functools import partial

import numpy as np
from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm
from ..solution import gibbs
from ..solve.simplex import Array
from .clip import FLOW
from .entry import Entry, positive
from .ratio import importance_weighted
from .regression import regression


def total_variation_masked(
    log_ratio: Array, advantage: Array, *, low: float, high: float, tau: float, behavior: Array | None = None
) -> Array:
    r"""$c = \rho A\,[\text{keep}] - 2\tau\ell$, keep: $-low \le \pi - \mu \le high$ (prime-rl).

    The upper bound holds for $A > 0$ and the lower one for $A \le 0$.

    The mask looks at probabilities, not ratios, so ``behavior`` must hold $\mu(y)$ of each sample itself.

    Raises:
        ValueError: behavior is None.
    """
    if behavior is None:
        raise ValueError("behavior is None; this mask needs the behavior policy's probability of every sample")
    xp = array_namespace(log_ratio)
    gained = behavior * xp.expm1(log_ratio)
    drop = xp.where(advantage > 0, gained > high, gained < -low)
    weighted = xp.where(drop, 0 * advantage, importance_weighted(log_ratio, advantage))
    return weighted - 2 * tau * log_ratio


def total_variation_kinks(advantage: np.ndarray, *, low: float, high: float, behavior: np.ndarray) -> np.ndarray:
    """Log-ratios (..., K, 1) at which pi - mu reaches high (A > 0) or -low (A < 0)."""
    seen = np.where(behavior > 0, behavior, 1.0)
    ratio = 1 + np.where(advantage > 0, high, -low) / seen
    return np.where(ratio > 0, np.log(np.where(ratio > 0, ratio, 1.0)), np.nan)[..., None]


def total_variation_masked_objective(low: float, high: float, tau: float) -> Algorithm:
    coefficient = partial(total_variation_masked, low=low, high=high, tau=tau)
    return Algorithm(
        coefficient,
        baselines.mean(),
        stated=coefficient,
        takes_behavior=True,
        on_policy=partial(regression, beta=2 * tau),
        anchor="behavior",
        kinks=partial(total_variation_kinks, low=low, high=high),
        nominal=partial(gibbs, beta=2 * tau),
    )


KIMI_K2 = Entry(
    name="kimi_k2",
    title="Masked importance weighting with a squared log-ratio (prime-rl)",
    coefficient="rho A [keep] - 2 tau l, keep: pi - mu <= high (A > 0), >= -low (A < 0)",
    target=FLOW,
    family="ratio",
    level="token",
    source="Kimi K2, arXiv 2507.20534; form: prime-rl's default loss",
    make=total_variation_masked_objective,
    parameters={
        "low": positive(0.2, "largest loss of probability for A < 0"),
        "high": positive(0.2, "largest gain of probability for A > 0"),
        "tau": positive(1e-3, "weight of the squared log-ratio", unit=1, example=0.3, anchors=True),
    },
    notes="The mask compares probabilities, not ratios, so the coefficient needs behavior=.",
)

ENTRIES = (KIMI_K2,)
