"""Objectives that carry an importance ratio: clipped, truncated, gated or masked."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from array_api_compat import array_namespace

from .. import baselines, closed_forms, coefficients, greedy_forms
from ..algorithm import Algorithm, Coefficient
from ..baselines import Baseline
from ..levels import Tokens, completion_mean
from ..solve.simplex import Array
from .entry import Entry, Parameter, fraction, positive

CLIPPED = "rho A while rho <= 1 + high (A > 0) or rho >= 1 - low (A < 0), else 0"
FLOW = "limit of the flow from mu, held at the clip (path-dependent)"


def ratio_weighted(
    coefficient: Coefficient, baseline: Baseline, stated: Coefficient | None = None, **fields: object
) -> Algorithm:
    """A coefficient whose importance weight becomes 1 on-policy, where it is the plain advantage."""
    return Algorithm(
        coefficient,
        baseline,
        stated=stated,
        on_policy=coefficients.policy_gradient,
        anchor="behavior",
        nominal=greedy_forms.greedy,
        **fields,  # type: ignore[arg-type]
    )


def one_side_kinks(advantage: np.ndarray, *, low: float, high: float, cap: float = np.inf) -> np.ndarray:
    """Log-ratios (..., K, 2) at which a one-sided clip switches off: by the sign of the advantage."""
    upper = np.where(advantage >= 0, np.log1p(high), np.log(cap))
    lower = np.where(advantage >= 0, np.nan, np.log1p(-low) if low < 1 else np.nan)
    return np.stack([upper, lower], axis=-1)


def two_side_kinks(advantage: np.ndarray, *, bounds: tuple[float, ...]) -> np.ndarray:
    """Log-ratios (..., K, n) of fixed ratio bounds, the same for every arm."""
    return np.broadcast_to(np.log(bounds), (*advantage.shape, len(bounds)))


def total_variation_kinks(advantage: np.ndarray, *, low: float, high: float, behavior: np.ndarray) -> np.ndarray:
    """Log-ratios (..., K, 1) at which pi - mu reaches high (A > 0) or -low (A < 0)."""
    seen = np.where(behavior > 0, behavior, 1.0)
    ratio = 1 + np.where(advantage > 0, high, -low) / seen
    return np.where(ratio > 0, np.log(np.where(ratio > 0, ratio, 1.0)), np.nan)[..., None]


def with_stated_clip(coefficient: Coefficient, baseline: Baseline, **fields: object) -> Algorithm:
    """A coefficient that keeps the ratio whole, and whose clip, mask or gate the objective states."""
    return ratio_weighted(coefficient, baseline, stated=coefficient, **fields)


def clipped(baseline: Baseline, low: float, high: float, cap: float = np.inf) -> Algorithm:
    """PPO's clip."""
    return with_stated_clip(
        partial(coefficients.clipped, low=low, high=high, cap=cap),
        baseline,
        kinks=partial(one_side_kinks, low=low, high=high, cap=cap),
    )


def two_side(baseline: Baseline, low: float, high: float) -> Algorithm:
    """rho A inside a fixed range of ratios."""
    return with_stated_clip(
        partial(coefficients.two_side, low=low, high=high),
        baseline,
        kinks=partial(two_side_kinks, bounds=(1 - low, 1 + high)),
    )


def geometric_mean_clipped(
    log_ratio: Array, advantage: Array, *, low: float, high: float, tokens: Tokens | None = None
) -> Array:
    r"""$c_t = A\,e^{\bar\ell}$ where $\ell_t$ is not clipped, else 0; $\bar\ell$ the mean of the clipped ones (GMPO).

    $\min(\ell_t, high)$ for $A \ge 0$ and $\max(\ell_t, -low)$ for $A < 0$: a bound on log-ratios, in nats.
    """
    xp = array_namespace(log_ratio)
    bounded = xp.where(advantage >= 0, xp.clip(log_ratio, None, high), xp.clip(log_ratio, -low, None))
    kept = xp.astype(bounded == log_ratio, log_ratio.dtype)
    return kept * xp.exp(completion_mean(bounded, tokens)) * advantage


def _gmpo(low: float, high: float, epsilon: float) -> Algorithm:
    return ratio_weighted(
        partial(geometric_mean_clipped, low=low, high=high),
        baselines.standardized(epsilon),
        kinks=partial(one_side_kinks, low=-math.expm1(-low), high=math.expm1(high)),
    )


def _rec_ring(low: float, high: float, low_outer: float, high_outer: float) -> Algorithm:
    if low_outer < low or high_outer < high:
        raise ValueError(
            f"rec_ring: low_outer, high_outer are {low_outer:g}, {high_outer:g}; "
            f"they must not lie inside low, high = {low:g}, {high:g}"
        )
    kept = partial(coefficients.ring, low=low, high=high, low_outer=low_outer, high_outer=high_outer)
    return ratio_weighted(
        kept,
        baselines.mean(),
        stated=partial(coefficients.with_ratio, coefficient=kept),
        kinks=partial(two_side_kinks, bounds=(1 - low_outer, 1 - low, 1 + high, 1 + high_outer)),
    )


def _kimi_k2(low: float, high: float, tau: float) -> Algorithm:
    coefficient = partial(coefficients.total_variation_masked, low=low, high=high, tau=tau)
    return Algorithm(
        coefficient,
        baselines.mean(),
        stated=coefficient,
        takes_behavior=True,
        on_policy=partial(coefficients.regression, beta=2 * tau),
        anchor="behavior",
        kinks=partial(total_variation_kinks, low=low, high=high),
        nominal=partial(closed_forms.gibbs, beta=2 * tau),
    )


def _range(low: float = 0.2, high: float = 0.2) -> dict[str, Parameter]:
    return {
        "low": fraction(low, "clip range below 1"),
        "high": positive(high, "clip range above 1"),
    }


_EPSILON = positive(1e-4, "added to the standard deviation")

ENTRIES = (
    Entry(
        "ppo",
        "Proximal policy optimization, clipped surrogate",
        CLIPPED,
        FLOW,
        "ratio",
        "token",
        "PPO, arXiv 1707.06347",
        lambda low, high: clipped(baselines.mean(), low, high),
        _range(),
        "The source's learned value is the mean reward here.",
    ),
    Entry(
        "ppo_dual_clip",
        "PPO with dual clipping",
        CLIPPED + "; for A < 0 also 0 beyond rho = cap",
        FLOW,
        "ratio",
        "token",
        "arXiv 1912.09729; verl's default",
        lambda low, high, cap: clipped(baselines.mean(), low, high, cap),
        _range() | {"cap": Parameter(3.0, "ratio beyond which negative samples are ignored", low=1.0)},
    ),
    Entry(
        "grpo",
        "Group relative policy optimization",
        CLIPPED,
        FLOW,
        "ratio",
        "token",
        "DeepSeekMath, arXiv 2402.03300",
        lambda low, high, epsilon: clipped(baselines.standardized(epsilon), low, high),
        _range() | {"epsilon": _EPSILON},
        "A = (r - mean)/(std + epsilon). TRL's default loss type is dapo. Without ratio and clip: grpo.no_ratio.",
    ),
    Entry(
        "dr_grpo",
        "GRPO done right",
        CLIPPED,
        FLOW,
        "ratio",
        "token",
        "Dr. GRPO, arXiv 2503.20783",
        lambda low, high: clipped(baselines.mean(), low, high),
        _range(),
        "No division by the standard deviation; summed over tokens, divided by a constant length.",
    ),
    Entry(
        "dapo",
        "DAPO",
        CLIPPED,
        FLOW,
        "ratio",
        "token",
        "DAPO, arXiv 2503.14476",
        lambda low, high, epsilon: clipped(baselines.standardized(epsilon), low, high),
        _range(0.2, 0.28) | {"epsilon": _EPSILON},
        "Clip-higher; token mean over the batch; groups without reward spread are dropped (their A is 0 anyway).",
    ),
    Entry(
        "gspo",
        "Group sequence policy optimization",
        CLIPPED + ", rho = exp(mean over tokens)",
        FLOW,
        "ratio",
        "sequence mean",
        "GSPO, arXiv 2507.18071",
        lambda low, high, epsilon: clipped(baselines.standardized(epsilon), low, high),
        _range(3e-4, 4e-4) | {"epsilon": _EPSILON},
        "On a bandit an arm is one token long, so the target shows the clip range at face value.",
    ),
    Entry(
        "luspo",
        "Length-unbiased sequence policy optimization",
        CLIPPED + ", rho = exp(mean over tokens), times the length",
        FLOW,
        "ratio",
        "sequence mean times length",
        "LUSPO, arXiv 2602.05261",
        lambda low, high, epsilon: clipped(baselines.standardized(epsilon), low, high),
        _range(2e-3, 2.5e-3) | {"epsilon": _EPSILON},
        "GSPO without its division by the length: a token counts the same in a long completion as in a short one.",
    ),
    Entry(
        "gmpo",
        "Geometric-mean policy optimization",
        "exp(mean over tokens of clipped l) A on tokens that are not clipped: l <= high (A > 0), >= -low (A < 0)",
        FLOW,
        "ratio",
        "token vector",
        "GMPO, arXiv 2507.20673",
        _gmpo,
        {
            "low": positive(0.4, "bound of a token's log-ratio below, for A < 0, nats"),
            "high": positive(0.4, "bound of a token's log-ratio above, for A > 0, nats"),
            "epsilon": _EPSILON,
        },
        "A clipped token keeps its share of the mean and loses its gradient. On a bandit an arm is one token long.",
    ),
    Entry(
        "cispo",
        "Clipped importance-sampling policy optimization",
        "min(rho, cap) A",
        "rho = cap A/lambda where A > lambda, one marginal level filled in the order of mu, 0 below",
        "ratio",
        "token",
        "MiniMax-M1, arXiv 2506.13585",
        lambda cap, epsilon: ratio_weighted(
            partial(coefficients.truncated, low=0.0, high=cap),
            baselines.standardized(epsilon),
            induced=partial(greedy_forms.truncated, cap=cap),
        ),
        {
            "cap": positive(5.0, "largest ratio (the source gives none; 5 is a common setting)"),
            "epsilon": _EPSILON,
        },
        "trl.cispo: an absolute cap; verl.cispo: an active lower bound; trinity.cispo_masked: a mask on top.",
    ),
    Entry(
        "sapo",
        "Soft adaptive policy optimization",
        "4 rho s (1 - s) A, s = sigmoid(tau (rho - 1)), tau by the sign of A",
        "4 s (1 - s) A = lambda on the support",
        "ratio",
        "token",
        "SAPO, arXiv 2511.20347",
        lambda tau_positive, tau_negative, epsilon: with_stated_clip(
            partial(coefficients.soft_gate, tau_positive=tau_positive, tau_negative=tau_negative),
            baselines.standardized(epsilon),
        ),
        {
            "tau_positive": positive(1.0, "sharpness of the gate for A > 0"),
            "tau_negative": positive(1.05, "sharpness of the gate for A <= 0"),
            "epsilon": _EPSILON,
        },
        "TRL, verl and AReaL differentiate the gate; Trinity-RFT does not (trinity.sapo).",
    ),
    Entry(
        "vespo",
        "Variational sequence-level soft policy optimization",
        "rho^k exp(lambda (1 - rho)) A, (k, lambda) by the sign of A",
        "rho^(k-1) exp(lambda (1 - rho)) A constant on the support",
        "ratio",
        "sequence",
        "VESPO, arXiv 2602.10693",
        lambda k_positive, lambda_positive, k_negative, lambda_negative, epsilon: ratio_weighted(
            partial(
                coefficients.gamma_weighted,
                k_positive=k_positive,
                lambda_positive=lambda_positive,
                k_negative=k_negative,
                lambda_negative=lambda_negative,
            ),
            baselines.standardized(epsilon),
        ),
        {
            "k_positive": positive(2.0, "power of the ratio for A >= 0"),
            "lambda_positive": positive(3.0, "decay rate for A >= 0"),
            "k_negative": positive(3.0, "power of the ratio for A < 0"),
            "lambda_negative": positive(2.0, "decay rate for A < 0"),
            "epsilon": _EPSILON,
        },
    ),
    Entry(
        "kimi_k2",
        "Masked importance weighting with a squared log-ratio (prime-rl)",
        "rho A [keep] - 2 tau l, keep: pi - mu <= high (A > 0), >= -low (A < 0)",
        FLOW,
        "ratio",
        "token",
        "Kimi K2, arXiv 2507.20534; form: prime-rl's default loss",
        _kimi_k2,
        {
            "low": positive(0.2, "largest loss of probability for A < 0"),
            "high": positive(0.2, "largest gain of probability for A > 0"),
            "tau": positive(1e-3, "weight of the squared log-ratio"),
        },
        "The mask compares probabilities, not ratios, so the coefficient needs behavior=.",
    ),
    Entry(
        "rec_oneside_nois",
        "REC, one-side clip, no importance sampling",
        "A inside the one-side clip, else 0",
        FLOW,
        "ratio",
        "token",
        "REC, arXiv 2509.24203",
        lambda low, high: ratio_weighted(
            partial(coefficients.one_side, low=low, high=high),
            baselines.mean(),
            stated=partial(coefficients.clipped, low=low, high=high),
            kinks=partial(one_side_kinks, low=low, high=high),
        ),
        _range(),
    ),
    Entry(
        "rec_oneside_is",
        "REC, one-side clip, importance sampling",
        CLIPPED,
        FLOW,
        "ratio",
        "token",
        "REC, arXiv 2509.24203",
        lambda low, high: clipped(baselines.mean(), low, high),
        _range(),
        "Equals dr_grpo's gradient.",
    ),
    Entry(
        "rec_twoside",
        "REC, two-side clip, importance sampling",
        "rho A for 1 - low <= rho <= 1 + high, else 0",
        FLOW,
        "ratio",
        "token",
        "REC, arXiv 2509.24203",
        lambda low, high: two_side(baselines.mean(), low, high),
        _range(),
    ),
    Entry(
        "rec_ring",
        "REC, ring clip, no importance sampling",
        "A inside the range, and outside the outer range where that pulls back; else 0",
        FLOW,
        "ratio",
        "token",
        "REC, arXiv 2509.24203",
        _rec_ring,
        _range()
        | {
            "low_outer": fraction(0.6, "outer range below 1, beyond which positive samples count again"),
            "high_outer": positive(2.0, "outer range above 1, beyond which negative samples count again"),
        },
    ),
)
