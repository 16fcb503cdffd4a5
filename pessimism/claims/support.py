"""Pieces that checks share: algorithms to try, relative errors, orders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .. import baselines, targets
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..baseline import Baseline, Statistics
from ..objectives.catalogue import algorithm
from ..target import Target
from .case import NOT_APPLICABLE, Case

__all__ = [
    "HERE",
    "ROUNDED",
    "SOLVED",
    "WEIGHED",
    "advantages",
    "coefficient",
    "combined",
    "disorder",
    "excess",
    "excluded",
    "induced",
    "mass",
    "mean",
    "nominal",
    "over_arms",
    "pessimistic",
    "regression",
    "relative",
    "replaced",
    "size",
    "soft_value",
    "stationarity",
]

Array = np.ndarray

HERE = "derived here"
"""The source of a claim that is in no paper."""

SOLVED = 1e-11
"""The solver promises log-ratios to 1e-12 max(1, |x|): what is compared through them gets ten times that."""

ROUNDED = 1e-13
"""Sums and differences of a few correctly rounded terms, against the sum of their sizes."""

WEIGHED = 1e-9
"""Divergences weigh errors of log-ratios by up to rho |x|; 1e-12 |x| with |x| <= 700 is below 1e-9."""


def induced(bandit: Bandit, chosen: Algorithm) -> Target:
    """The package's induced target, looked up when called, so that tests may swap it."""
    return targets.induced_target(bandit, chosen)


def nominal(bandit: Bandit, chosen: Algorithm) -> Target:
    """The package's nominal target."""
    return targets.nominal_target(bandit, chosen)


def advantages(bandit: Bandit, chosen: Algorithm) -> Array:
    """The algorithm's advantages on a bandit, (n, K)."""
    return chosen.baseline.exact(bandit.reward, bandit.behavior, bandit.reference).advantage


def coefficient(bandit: Bandit, chosen: Algorithm, log_ratio: Array) -> Array:
    """c at log-ratios (n, K), zero on arms that are never played (their coefficient never acts)."""
    arguments = {"behavior": bandit.behavior} if chosen.takes_behavior else {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = chosen.coefficient(log_ratio, advantages(bandit, chosen), **arguments)
    return np.where(bandit.behavior > 0, values, 0.0)


def soft_value(beta: float, offset: float = 0.0) -> Baseline:
    r"""The baseline V*_beta + offset, offset in units of reward."""
    rule = baselines.log_mean_exp(beta).rule

    def shifted(statistics: Statistics) -> tuple[Any, Any]:
        value, scale = rule(statistics)
        return value + offset, scale

    return Baseline("soft value", f"V = V* + {offset:g}", shifted)


def regression(beta: float, baseline: object) -> Algorithm:
    """Log-ratio regression c = A - beta l with any baseline."""
    return algorithm("dro", beta=beta, baseline=baseline)


def pessimistic(case: Case) -> list[Algorithm]:
    """Regressions that are in the positive regime (or at the boundary, where rewards agree) on every instance."""
    beta = case.beta
    return [
        algorithm("kimi_k15", tau=beta),
        algorithm("shifted_mean", beta=beta),
        algorithm("oapl", beta1=beta * max(case.ratio, 1 / case.ratio), beta2=beta),
        regression(beta, soft_value(beta, -abs(case.offset) * beta)),
    ]


def mass(values: Array, weights: Array) -> Array:
    """sum_y w v over the last axis in extended precision, arms of weight 0 ignored, as longdouble (n,)."""
    product = weights.astype(np.longdouble) * np.where(weights == 0, 0.0, values)
    return product.sum(axis=-1)


def mean(values: Array, bandit: Bandit) -> Array:
    """E_mu of values (n, K), as longdouble (n,); mu is read as mu / sum(mu)."""
    return mass(values, bandit.behavior) / bandit.behavior.astype(np.longdouble).sum(axis=-1)


def over_arms(values: Array, where: Array) -> Array:
    """Largest value over the arms selected, (n,); NaN propagates; 0 where none is selected."""
    return np.where(where, values, 0.0).max(axis=-1)


def relative(difference: Array, *scales: Array | float) -> Array:
    """|difference| against the sum of |scales|, elementwise; 0 where both are 0."""
    total = sum(np.abs(np.asarray(scale, dtype=np.longdouble)) for scale in scales)
    difference = np.abs(np.asarray(difference, dtype=np.longdouble))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(difference == 0, 0.0, difference / total).astype(np.float64)


def excess(larger: Array | float, smaller: Array, *scales: Array | float) -> Array:
    """By how much ``larger <= smaller`` is violated, against the sum of |scales|; equal infinities satisfy it."""
    with np.errstate(invalid="ignore"):
        difference = np.where(np.equal(larger, smaller), 0.0, np.subtract(larger, smaller))
    return relative(np.where(difference <= 0, 0.0, difference), *scales)


def disorder(key: Array, values: Array, where: Array) -> Array:
    """How far values (n, K) are from non-decreasing in key over the arms selected, (n,), in the units of values.

    Arms of equal key must have equal values.
    """
    key = np.where(where, key, np.inf)
    values = np.where(where, values, np.where(where, values, -np.inf).max(axis=-1, keepdims=True))
    order = np.lexsort((values, key), axis=-1)
    ranked = np.take_along_axis(values, order, axis=-1)
    falls = np.maximum.accumulate(ranked, axis=-1) - ranked
    keys = np.take_along_axis(key, order, axis=-1)
    tied = (keys[..., 1:] == keys[..., :-1]) & np.isfinite(keys[..., 1:])
    steps = np.where(tied, np.abs(np.diff(ranked, axis=-1)), 0.0)
    return np.maximum(falls.max(axis=-1), steps.max(axis=-1, initial=0.0))


def size(values: Array, where: Array) -> Array:
    """Largest |value| over the arms selected, (n, 1)."""
    return np.where(where, np.abs(values), 0.0).max(axis=-1, keepdims=True)


def stationarity(bandit: Bandit, chosen: Algorithm, target: Target) -> Array:
    r"""How far a target is from mu c = lambda pi, arm by arm, by the algorithm's own coefficient, (n,).

    With lambda = E_mu[c] and on the scale E_mu |c|, both against probability (what moves) and, where the arm keeps
    mass, against its own ratio (what a rare arm would do).
    """
    seen = bandit.behavior > 0
    c = coefficient(bandit, chosen, np.where(seen, target.log_ratio, 0.0))
    normalizer = mean(c, bandit)[:, None]
    ratio = np.where(seen, target.policy, 0.0) / np.where(seen, bandit.behavior, 1.0)
    residual = np.where(seen, c - normalizer * ratio, 0.0)
    return over_arms(relative(bandit.behavior * residual, mean(np.abs(c), bandit)[:, None]), seen)


def combined(*violations: Array) -> Array:
    """The worst of several violations of the same instances; NaN propagates."""
    return np.max(np.stack([np.asarray(v, dtype=np.float64) for v in violations]), axis=0)


def replaced(chosen: Algorithm, **fields: Any) -> Algorithm:
    """The algorithm with other fields."""
    return replace(chosen, **fields)


def excluded(applies: Array, violations: Array) -> Array:
    """Violations where the hypotheses hold; elsewhere not applicable."""
    return np.where(applies, violations, NOT_APPLICABLE)
