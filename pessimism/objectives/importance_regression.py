"""Log-ratio regression with an importance weight, whose target is the nominal one whatever the baseline."""

from __future__ import annotations

import math
from functools import partial

from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm
from ..levels import Tokens, completion_mean
from ..solution import gibbs
from ..solve.simplex import Array
from .arrays import at_most
from .entry import Entry, positive
from .regression import GIBBS, regression

__all__ = ["flow_balanced", "weighted_regression"]


def weighted_regression(log_ratio: Array, advantage: Array, *, beta: float, cap: float) -> Array:
    r"""$c = \min(\rho, \text{cap})\,(A - \beta\ell)$: importance-weighted regression, the counterfactual twin."""
    xp = array_namespace(log_ratio)
    return xp.exp(at_most(xp, log_ratio, math.log(cap))) * (advantage - beta * log_ratio)


def weighted_regression_objective(beta: float, cap: float) -> Algorithm:
    exact = cap == math.inf
    return Algorithm(
        partial(weighted_regression, beta=beta, cap=cap),
        baselines.mean(),
        on_policy=partial(regression, beta=beta),
        anchor="behavior",
        induced=partial(gibbs, beta=beta) if exact else None,
        nominal=partial(gibbs, beta=beta),
    )


IS_REGRESSION = Entry(
    name="is_regression",
    title="Importance-weighted regression (counterfactual twin)",
    coefficient="min(rho, cap) (A - beta l)",
    target=f"{GIBBS}; with a finite cap a fixed point that depends on the baseline",
    family="regression",
    level="sequence",
    source="derived here",
    make=weighted_regression_objective,
    parameters={
        "beta": positive(0.1, "regression temperature", unit=1, example=0.5, anchors=True),
        "cap": positive(math.inf, "largest ratio; finite caps lose the closed form", infinite=True),
    },
    notes="Carries the ratio: nominal for every baseline while no cap binds (claim twins.nominal). Noise and "
    "preconditioner differ too.",
    regime="boundary",
)


def flow_balanced(
    log_ratio: Array, advantage: Array, *, inverse_temperature: float, tokens: Tokens | None = None
) -> Array:
    r"""$c_t = \rho\,(A - \bar\ell/b)$ with the ratio of the whole completion and the mean of its log-ratios (FlowRL).

    Minus the derivative of $\rho\,(\bar\ell - bA)^2/2b$ with $\rho$ held fixed; b is the inverse temperature.

    >>> import numpy as np
    >>> flow_balanced(np.log([1.0, 2.0]), np.array([1.0, 1.0]), inverse_temperature=2.0).round(4)
    array([1.    , 1.3069])
    """
    mean = completion_mean(log_ratio, tokens)
    total = log_ratio if tokens is None else tokens.spread(tokens.sum(log_ratio))
    return array_namespace(log_ratio).exp(total) * (advantage - mean / inverse_temperature)


FLOWRL = Entry(
    name="flowrl",
    title="FlowRL: trajectory balance with an importance weight",
    coefficient="rho (A - l/b), rho of the whole completion, l the mean over its tokens",
    target="pi ~ mu exp(b A), for every baseline: that of tpo at eta = 1/b",
    family="regression",
    level="token vector",
    source="FlowRL, arXiv 2509.15207; Xuekai-Zhu/FlowRL",
    make=lambda inverse_temperature, epsilon: Algorithm(
        partial(flow_balanced, inverse_temperature=inverse_temperature),
        baselines.standardized(epsilon),
        on_policy=partial(regression, beta=1 / inverse_temperature),
        anchor="behavior",
        induced=partial(gibbs, beta=1 / inverse_temperature),
        nominal=partial(gibbs, beta=1 / inverse_temperature),
        scale=2 * inverse_temperature,
    ),
    parameters={
        "inverse_temperature": positive(15.0, "beta of the source, per standard deviation of reward", example=2.0),
        "epsilon": positive(1e-6, "added to the standard deviation", unit=1),
    },
    notes="The source learns log Z of every prompt; here it is 0, which moves the noise and not the target. Its code "
    "computes a clipped weight and multiplies by the whole one. It measures the error's log-ratio from the initial "
    "model and the weight's from the sampler: here both are from the sampler. With log Z learned, completions of T "
    "tokens end at log rho = T (b A - log Z): their length counts (derived here).",
    regime="boundary",
)

ENTRIES = (
    IS_REGRESSION,
    FLOWRL,
)
