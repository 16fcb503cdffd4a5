"""Weighted maximum likelihood: the coefficient is a nonnegative weight, and the target a reweighted behavior policy."""

from __future__ import annotations

import math
from functools import partial

from .. import baselines, closed_forms, coefficients
from ..algorithm import Algorithm
from .entry import Entry, positive


def exponential(beta: float, cap: float) -> Algorithm:
    """c = min(exp(A/beta), cap); derived as a projection onto the Gibbs policy, which is what it claims."""
    coefficient = partial(coefficients.exponential, beta=beta, cap=cap)
    return Algorithm(
        coefficient,
        baselines.mean(),
        stated=coefficient,
        anchor="behavior",
        induced=partial(closed_forms.exponential, beta=beta, cap=cap),
        nominal=partial(closed_forms.gibbs, beta=beta),
    )


ENTRIES = (
    Entry(
        "awr",
        "Advantage-weighted regression",
        "min(exp(A/beta), cap)",
        "mu min(exp(A/beta), cap) / Z; Gibbs where the cap does not bind",
        "weighted",
        "sequence",
        "AWR, arXiv 1910.00177",
        exponential,
        {
            "beta": positive(0.05, "temperature, in units of reward"),
            "cap": positive(20.0, "largest weight; infinite for none", infinite=True),
        },
        "Without the cap it has exactly the nominal target, whatever the baseline (claim twins.nominal).",
    ),
    Entry(
        "roirl",
        "RoiRL, identity weight",
        "r",
        "mu r / E r",
        "weighted",
        "sequence",
        "RoiRL, arXiv 2510.02892",
        lambda: Algorithm(
            coefficients.policy_gradient,
            baselines.none(),
            anchor="behavior",
            induced=partial(closed_forms.weighted, weight=coefficients.policy_gradient),
            nominal=partial(closed_forms.weighted, weight=coefficients.policy_gradient),
        ),
        notes="The source's reward is a majority vote. Exponential weights: roirl.exponential.",
    ),
    Entry(
        "tpo",
        "Target policy optimization",
        "(q - p)/w, q ~ w exp(z/eta), p ~ w exp(l)",
        "q ~ mu exp(z/eta), z the within-group z-score",
        "weighted",
        "sequence",
        "TPO, arXiv 2604.06159",
        lambda eta, epsilon: Algorithm(
            partial(coefficients.cross_entropy, eta=eta),
            baselines.standardized(epsilon),
            coupled=True,
            anchor="behavior",
            induced=partial(closed_forms.tilted_by_score, eta=eta),
            nominal=partial(closed_forms.tilted_by_score, eta=eta),
        ),
        {
            "eta": positive(1.0, "temperature, in standard deviations of reward"),
            "epsilon": positive(1e-6, "added to the standard deviation"),
        },
        "On sampled groups the source weighs samples by p_old once more: pass its probabilities as behavior=.",
    ),
)

EXPONENTIAL_VARIANT = Entry(
    "roirl.exponential",
    "RoiRL, exponential weight",
    "exp(r/beta)",
    "mu exp(r/beta) / Z (Gibbs)",
    "weighted",
    "sequence",
    "RoiRL, arXiv 2510.02892",
    lambda beta: exponential(beta, math.inf),
    {"beta": positive(1.0, "temperature, in units of reward")},
    "The mean reward is subtracted in the exponent, which scales the gradient and leaves the target.",
)
