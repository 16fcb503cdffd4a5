"""Value-based objectives with explicit pessimism, for comparison: conservative values, lower confidence bounds."""

from __future__ import annotations

from functools import partial

from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..baseline import Moments
from ..solution import Solution, gibbs, greedy, mixed_link
from ..solve.simplex import Array
from .entry import Entry, nonnegative, positive
from .policy_gradient import policy_gradient
from .ratio import importance_weighted
from .regression import regression

__all__ = ["confidence_width", "conservative", "lower_confidence", "lower_confidence_target"]


def lower_confidence(
    log_ratio: Array, advantage: Array, *, bonus: float, samples: float, behavior: Array | None = None
) -> Array:
    r"""$c = \rho\,(A - b/\sqrt{N\mu})$: policy gradient on a lower confidence bound (PEVI), N samples drawn from $\mu$.

    Raises:
        ValueError: behavior is None (counts cannot be told from a group).
    """
    if behavior is None:
        raise ValueError("behavior is None; a lower confidence bound needs the behavior policy's probabilities")
    return importance_weighted(log_ratio, advantage - confidence_width(behavior, bonus=bonus, samples=samples))


def confidence_width(behavior: Array, *, bonus: float, samples: float) -> Array:
    r"""$b/\sqrt{N\mu(y)}$ (..., K), in units of reward; 0 where $\mu = 0$, where no coefficient acts."""
    xp = array_namespace(behavior)
    seen = behavior > 0
    return xp.where(seen, bonus / (samples * xp.where(seen, behavior, xp.ones_like(behavior))) ** 0.5, 0 * behavior)


def lower_confidence_target(bandit: Bandit, moments: Moments, *, bonus: float, samples: float) -> Solution:
    r"""PEVI: greedy in the lower confidence bound $r - b/\sqrt{N\mu}$ (arXiv 2012.15085)."""
    return greedy(bandit, moments, penalty=confidence_width(bandit.behavior, bonus=bonus, samples=samples))


PEVI = Entry(
    name="pevi",
    title="Lower confidence bound (PEVI)",
    coefficient="rho (A - bonus/sqrt(samples mu))",
    target="greedy in r - bonus/sqrt(samples mu)",
    family="value",
    level="sequence",
    source="PEVI, arXiv 2012.15085",
    make=lambda bonus, samples: Algorithm(
        stated := partial(lower_confidence, bonus=bonus, samples=samples),
        baselines.mean(),
        takes_behavior=True,
        on_policy=policy_gradient,
        anchor="behavior",
        stated=stated,
        induced=partial(lower_confidence_target, bonus=bonus, samples=samples),
        nominal=greedy,
    ),
    parameters={
        "bonus": nonnegative(
            1.0, "width of the confidence interval at one sample, in units of reward", unit=1, example=0.5
        ),
        "samples": positive(100.0, "how many samples of the behavior policy the values rest on", example=10.0),
    },
    notes="Explicit pessimism, for comparison.",
    feels_splits=True,
)


def conservative(log_ratio: Array, advantage: Array, *, alpha: float, beta: float) -> Array:
    r"""$c = \rho\,(A - \alpha(\rho - 1) - \beta\ell)$: the actor of conservative Q-learning on a bandit.

    Its values are $Q = r - \alpha(\rho - 1)$.
    """
    ratio = array_namespace(log_ratio).exp(log_ratio)
    return ratio * (advantage - alpha * (ratio - 1) - beta * log_ratio)


CQL = Entry(
    name="cql",
    title="Conservative Q-learning on a bandit",
    coefficient="rho (A - alpha (rho - 1) - beta l)",
    target="beta log rho + alpha rho = r - v: the Lambert-tempered target with lambda = alpha",
    family="value",
    level="sequence",
    source="CQL, arXiv 2006.04779; fixed point derived here",
    make=lambda alpha, beta: Algorithm(
        stated := partial(conservative, alpha=alpha, beta=beta),
        baselines.mean(),
        on_policy=partial(regression, beta=beta),
        anchor="behavior",
        stated=stated,
        induced=partial(mixed_link, beta=beta, alpha=alpha, carries_ratio=True),
        nominal=partial(gibbs, beta=beta),
    ),
    parameters={
        "alpha": positive(
            1.0, "weight of the conservative penalty, in units of reward", unit=1, example=0.6, anchors=True
        ),
        "beta": positive(0.1, "temperature of the actor", unit=1, example=0.4),
    },
    notes="Explicit pessimism of the same form as the implicit one (claim cql.fixed_point).",
)

ENTRIES = (
    PEVI,
    CQL,
)
