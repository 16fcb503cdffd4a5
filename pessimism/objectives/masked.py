"""Importance weighting under a mask that looks at probabilities, or at ratios on both sides, whatever the advantage."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm, Coefficient
from ..masks import moved_edges, moved_within, needed
from ..solution import gibbs, greedy
from ..solve.simplex import Array
from .arrays import at_most
from .clip import FLOW, two_side, two_side_kinks
from .entry import Entry, Parameter, fraction, nonnegative, positive
from .policy_gradient import policy_gradient
from .regression import regression

# --- probabilities ----------------------------------------------------------------------------------------------------


def inside_total_variation(log_ratio: Array, advantage: Array, behavior: Array, low: float, high: float) -> Array:
    r"""True where $\pi - \mu \le high$ ($A > 0$) or $\pi - \mu \ge -low$ ($A \le 0$)."""
    return moved_within(log_ratio, advantage, behavior, low, high)


def inside_either_way(log_ratio: Array, advantage: Array, behavior: Array, low: float, high: float) -> Array:
    r"""True where $-low \le \pi - \mu \le high$, whatever the advantage."""
    return moved_within(log_ratio, advantage, behavior, low, high, either_way=True)


def inside_binary_divergence(log_ratio: Array, advantage: Array, behavior: Array, low: float, high: float) -> Array:
    r"""True where the divergence of "this arm or another" is $\le high$ ($A > 0$) or $\le low$, or the move is inward.

    $\mathrm{KL} = \mu\log\frac{\mu}{\pi} + (1 - \mu)\log\frac{1 - \mu}{1 - \pi}$; inward is $\pi \le \mu$ for $A > 0$
    and $\pi \ge \mu$ for $A \le 0$.
    """
    xp, distance = array_namespace(log_ratio), binary_divergence(log_ratio, behavior)
    return xp.where(advantage > 0, (distance <= high) | (log_ratio <= 0), (distance <= low) | (log_ratio >= 0))


def binary_divergence(log_ratio: Array, behavior: Array) -> Array:
    r"""$\mu\log\frac{\mu}{\pi} + (1 - \mu)\log\frac{1 - \mu}{1 - \pi}$, in nats; infinite at 1.

    >>> import numpy as np
    >>> binary_divergence(np.log(np.array([0.5, 2.0, 4.0])), np.array([0.25, 0.25, 0.25])).round(4)
    array([0.0577, 0.1308,    inf])
    """
    xp = array_namespace(log_ratio)
    others, left = 1 - behavior, 1 - behavior * xp.exp(log_ratio)
    possible = (left > 0) & (others > 0)
    share = xp.where(possible, left, xp.ones_like(left)) / xp.where(others > 0, others, xp.ones_like(others))
    distance = -behavior * log_ratio - others * xp.log(share)
    return xp.where(possible | ((others <= 0) & (log_ratio <= 0)), distance, xp.full_like(distance, math.inf))


def masked_weight(
    log_ratio: Array,
    advantage: Array,
    *,
    inside: Coefficient,
    low: float,
    high: float,
    cap: float = math.inf,
    tau: float = 0.0,
    behavior: Array | None = None,
) -> Array:
    r"""$c = \min(\rho, cap)\,A\,[\text{inside}] - 2\tau\ell$.

    The masks look at probabilities, not ratios, so ``behavior`` must hold $\mu(y)$ of each sample itself.

    Raises:
        ValueError: behavior is None.
    """
    keep = inside(log_ratio, advantage, needed(behavior), low, high)
    xp = array_namespace(log_ratio)
    weight = xp.exp(at_most(xp, log_ratio, math.log(cap) if cap < math.inf else cap))
    masked = xp.where(keep, weight * advantage, 0 * advantage)
    return masked if tau == 0 else masked - 2 * tau * log_ratio


def total_variation_kinks(advantage: np.ndarray, *, low: float, high: float, behavior: np.ndarray) -> np.ndarray:
    """Log-ratios (..., K, 1) at which pi - mu reaches high (A > 0) or -low (A <= 0)."""
    return np.stack(moved_edges(advantage, behavior, low, high), axis=-1)


def either_way_kinks(advantage: np.ndarray, *, low: float, high: float, behavior: np.ndarray) -> np.ndarray:
    """Log-ratios (..., K, 2) at which pi - mu reaches high, and at which it reaches -low."""
    return np.stack(moved_edges(advantage, behavior, low, high, either_way=True), axis=-1)


def binary_divergence_kinks(advantage: np.ndarray, *, low: float, high: float, behavior: np.ndarray) -> np.ndarray:
    """Log-ratios (..., K, 1) at which the binary divergence reaches high (A > 0, above mu) or low (A <= 0, below).

    The divergence is monotone on either side of mu: bisection, to the last bit.
    """
    upward = advantage > 0
    played = np.where((behavior > 0) & (behavior < 1), behavior, 0.5)
    bound = np.where(upward, high, low)
    near, far = np.zeros_like(played), np.where(upward, -np.log(played), -bound / played - 1.0)
    for _ in range(80):
        middle = (near + far) / 2
        beyond = np.asarray(binary_divergence(middle, played)) > bound
        near, far = np.where(beyond, near, middle), np.where(beyond, middle, far)
    return np.where((behavior > 0) & (behavior < 1), near, np.nan)[..., None]


MASKS = {
    inside_total_variation: total_variation_kinks,
    inside_either_way: either_way_kinks,
    inside_binary_divergence: binary_divergence_kinks,
}


def masked_objective(
    inside: Coefficient, low: float, high: float, cap: float = math.inf, tau: float = 0.0
) -> Algorithm:
    """Importance weighting under one of the masks; with tau > 0 also a squared log-ratio."""
    coefficient = partial(masked_weight, inside=inside, low=low, high=high, cap=cap, tau=tau)
    return Algorithm(
        coefficient,
        baselines.mean(),
        stated=coefficient,
        takes_behavior=True,
        on_policy=partial(regression, beta=2 * tau) if tau else policy_gradient,
        anchor="behavior",
        kinks=partial(MASKS[inside], low=low, high=high),
        nominal=partial(gibbs, beta=2 * tau) if tau else greedy,
    )


SEES_PROBABILITIES = "The mask compares probabilities, not ratios, so the coefficient needs behavior=."

DPPO_TV = Entry(
    name="dppo_tv",
    title="Divergence PPO, binary total variation",
    coefficient="min(rho, cap) A [keep], keep: pi - mu <= high (A > 0), >= -low (A <= 0)",
    target=FLOW,
    family="ratio",
    level="token",
    source="DPPO, arXiv 2602.04879; sail-sg/Stable-RL",
    make=partial(masked_objective, inside_total_variation),
    parameters={
        "low": positive(0.15, "largest loss of probability for A <= 0 (verl's example)", example=0.05),
        "high": positive(0.15, "largest gain of probability for A > 0 (verl's example)"),
        "cap": positive(10.0, "largest ratio (the authors' code; verl's example has 10000)", infinite=True),
    },
    notes=SEES_PROBABILITIES + " prime_rl.default has a squared log-ratio and no cap. Samples of A < 0 that are rarer "
    "than low are never masked: they vanish like 1/t, and their push goes on in log-time, so that targets at such "
    "samples may be reported as not converged.",
    bounded="all",
)

DPPO_KL = Entry(
    name="dppo_kl",
    title="Divergence PPO, binary KL",
    coefficient="min(rho, cap) A [keep], keep: KL(mu|pi) of this arm or the rest <= high (A > 0), <= low (A <= 0), "
    "or moving inward",
    target=FLOW,
    family="ratio",
    level="token",
    source="DPPO, arXiv 2602.04879; sail-sg/Stable-RL",
    make=partial(masked_objective, inside_binary_divergence),
    parameters={
        "low": positive(0.05, "largest divergence for A <= 0, nats (verl's example)"),
        "high": positive(0.05, "largest divergence for A > 0, nats (verl's example)"),
        "cap": positive(10.0, "largest ratio (the authors' code; verl's example has 10000)", infinite=True),
    },
    notes=SEES_PROBABILITIES + " The authors' code adds 1e-8 to both 1 - mu and 1 - pi.",
    bounded="all",
)

PRIME_RL_DEFAULT = Entry(
    name="prime_rl.default",
    title="prime-rl's default loss: DPPO's mask with a squared log-ratio",
    coefficient="rho A [keep] - 2 tau l, keep: pi - mu <= high (A > 0), >= -low (A <= 0)",
    target=FLOW,
    family="ratio",
    level="token",
    source="prime-rl, default_loss_fn: the mask of DPPO, arXiv 2602.04879, the penalty of Kimi K2.5, arXiv 2602.02276",
    make=lambda low, high, tau: masked_objective(inside_total_variation, low, high, tau=tau),
    parameters={
        "low": positive(0.2, "largest loss of probability for A <= 0"),
        "high": positive(0.2, "largest gain of probability for A > 0"),
        "tau": nonnegative(1e-3, "weight of the squared log-ratio; 0 for none", unit=1, example=0.3, anchors=True),
    },
    notes=SEES_PROBABILITIES + " Up to version 0.1 of this catalogue it was called kimi_k2.",
)

PRIME_RL_IPO = Entry(
    name="prime_rl.ipo",
    title="prime-rl's 'ipo' loss: probabilities masked on either side",
    coefficient="rho A [|pi - mu| <= threshold] - 2 tau l",
    target=FLOW,
    family="ratio",
    level="token",
    source="prime-rl, ipo_loss_fn",
    make=lambda threshold, tau: masked_objective(inside_either_way, threshold, threshold, tau=tau),
    parameters={
        "threshold": positive(0.1, "largest change of probability, either way"),
        "tau": nonnegative(1e-3, "weight of the squared log-ratio; 0 for none", unit=1, example=0.3, anchors=True),
    },
    notes=SEES_PROBABILITIES + " Not the IPO of preference learning, which is ipo.",
)

# --- ratios, whatever the advantage -----------------------------------------------------------------------------------


def penalized_two_side(log_ratio: Array, advantage: Array, *, low: float, high: float, tau: float) -> Array:
    r"""$c = \rho A\,[low \le \rho \le high] - 2\tau\ell$: Kimi K2.5."""
    return two_side(log_ratio, advantage, low=1 - low, high=high - 1) - 2 * tau * log_ratio


def penalized_two_side_objective(low: float, high: float, tau: float) -> Algorithm:
    coefficient = partial(penalized_two_side, low=low, high=high, tau=tau)
    return Algorithm(
        coefficient,
        baselines.mean(),
        stated=coefficient,
        on_policy=partial(regression, beta=2 * tau),
        anchor="behavior",
        kinks=partial(two_side_kinks, bounds=(low, high)),
        nominal=partial(gibbs, beta=2 * tau),
    )


KIMI_K25 = Entry(
    name="kimi_k25",
    title="Kimi K2.5 policy optimization",
    coefficient="rho A [low <= rho <= high] - 2 tau l",
    target=FLOW,
    family="ratio",
    level="token",
    source="Kimi K2.5, arXiv 2602.02276, equation 1",
    make=penalized_two_side_objective,
    parameters={
        "low": fraction(0.5, "smallest ratio kept (not printed; IcePop's)"),
        "high": Parameter(5.0, "largest ratio kept (not printed; IcePop's)", low=1.0),
        "tau": positive(
            1e-3, "weight of the squared log-ratio (not printed; prime-rl's)", unit=1, example=0.3, anchors=True
        ),
    },
    notes="The equation clips the ratio to [alpha, beta], its text says that log-ratios outside have no gradient: the "
    "mask is the same, whatever the sign of the advantage. The squared log-ratio is never masked.",
)

ENTRIES = (DPPO_TV, DPPO_KL, PRIME_RL_DEFAULT, PRIME_RL_IPO, KIMI_K25)
