"""Ratio-free policy gradients: the coefficient is the advantage, as it is or reweighted by its own value."""

from __future__ import annotations

from functools import partial

from .. import baselines, closed_forms, coefficients, greedy_forms
from ..algorithm import Algorithm
from ..baselines import Baseline
from .entry import Entry, nonnegative, positive, real

PROJECTED = "[mu A - tau]+ / E A"
COLLAPSE = "all mass on argmax mu A"


def policy_gradient(baseline: Baseline) -> Algorithm:
    """c = A."""
    return Algorithm(
        coefficients.policy_gradient,
        baseline,
        induced=closed_forms.policy_gradient,
        nominal=greedy_forms.greedy,
    )


ENTRIES = (
    Entry(
        "reinforce",
        "REINFORCE on off-policy data, mean baseline",
        "A",
        COLLAPSE,
        "policy gradient",
        "sequence",
        "Williams 1992; off-policy: arXiv 2509.24203",
        lambda: policy_gradient(baselines.mean()),
        notes="Not the best arm but that of the largest mu A takes everything (claim reinforce.best_arm).",
    ),
    Entry(
        "rloo",
        "REINFORCE leave-one-out",
        "A",
        COLLAPSE,
        "policy gradient",
        "sequence",
        "RLOO, arXiv 2402.14740",
        lambda: policy_gradient(baselines.leave_one_out()),
    ),
    Entry(
        "asymre",
        "Asymmetric REINFORCE",
        "r - E r - shift",
        PROJECTED + " for shift < 0; a vertex for shift >= 0",
        "policy gradient",
        "sequence",
        "AsymRE, arXiv 2506.20520",
        lambda shift: policy_gradient(baselines.shifted_mean(shift)),
        {"shift": real(-0.1, "delta V, added to the mean baseline, in units of reward")},
        "Equals REINFORCE plus a forward-KL penalty of weight -shift (claim asymre.chi_squared). The authors saw "
        "collapse at shift = 0.",
    ),
    Entry(
        "red_weight",
        "REC with advantage weights (RED-Weight)",
        "A exp(A/temperature)",
        "[mu g - tau]+ / E g, g = A exp(A/temperature)",
        "policy gradient",
        "token",
        "arXiv 2509.24203",
        lambda temperature: Algorithm(
            partial(coefficients.exponential_advantage, temperature=temperature),
            baselines.mean(),
            induced=partial(
                closed_forms.weighted,
                weight=partial(coefficients.exponential_advantage, temperature=temperature),
            ),
            nominal=greedy_forms.greedy,
        ),
        {"temperature": positive(1.0, "of the exponential weight, in units of reward")},
    ),
    Entry(
        "red_drop",
        "REC with surplus negatives dropped (RED-Drop)",
        "A for A >= 0, min(1, w+/w-) A for A < 0",
        "[mu g - tau]+ / E g; collapse where negatives are not in surplus",
        "policy gradient",
        "sequence",
        "arXiv 2509.24203",
        lambda: Algorithm(
            coefficients.balanced,
            baselines.mean(),
            coupled=True,
            induced=partial(closed_forms.weighted, weight=coefficients.balanced, coupled=True),
            nominal=greedy_forms.greedy,
        ),
        notes="In expectation over which negatives are dropped. Trinity-RFT (advantage rec, drop balance) takes the "
        "mean anew over the samples that it keeps, so that their advantages sum to 0.",
    ),
    Entry(
        "topr",
        "Tapered off-policy REINFORCE",
        "A for A >= 0, min(rho, 1) A for A < 0",
        "mu A+ / E A+",
        "policy gradient",
        "sequence",
        "TOPR, arXiv 2503.14286",
        lambda: Algorithm(
            coefficients.tapered,
            baselines.mean(),
            on_policy=coefficients.policy_gradient,
            anchor="behavior",
            induced=closed_forms.tapered,
            nominal=greedy_forms.greedy,
        ),
        notes="Trinity-RFT takes the ratio per token, the paper per sequence.",
    ),
    Entry(
        "ls",
        "Logarithmic smoothing",
        "rho r / (1 + t rho r)",
        "rho = [1/lambda - 1/r]+ / t",
        "policy gradient",
        "sequence",
        "arXiv 2405.14335",
        lambda t: Algorithm(
            stated := partial(coefficients.log_smoothed, t=t),
            baselines.none(),
            on_policy=coefficients.policy_gradient,
            anchor="behavior",
            stated=stated,
            induced=partial(closed_forms.log_smoothed, t=t),
            nominal=greedy_forms.greedy,
        ),
        {"t": positive(0.1, "smoothing (the source's lambda), per unit of reward")},
        "Rewards must be >= 0. That the smoothing is pessimism by design is its authors' reading.",
    ),
    Entry(
        "trpo",
        "Trust region policy optimization",
        "rho A + nu, nu the multiplier of KL(mu|pi) <= delta",
        "rho = nu / (tau - A), KL(mu|pi) = delta",
        "ratio",
        "sequence",
        "TRPO, arXiv 1502.05477",
        lambda delta: Algorithm(
            stated := partial(coefficients.trust_region, delta=delta),
            baselines.mean(),
            coupled=True,
            on_policy=coefficients.policy_gradient,
            anchor="behavior",
            stated=stated,
            induced=partial(closed_forms.trust_region, delta=delta),
            nominal=greedy_forms.greedy,
        ),
        {"delta": positive(0.01, "trust region: greatest KL(mu|pi)")},
    ),
    Entry(
        "pevi",
        "Lower confidence bound (PEVI)",
        "rho (A - bonus/sqrt(samples mu))",
        "greedy in r - bonus/sqrt(samples mu)",
        "value",
        "sequence",
        "PEVI, arXiv 2012.15085",
        lambda bonus, samples: Algorithm(
            stated := partial(coefficients.lower_confidence, bonus=bonus, samples=samples),
            baselines.mean(),
            takes_behavior=True,
            on_policy=coefficients.policy_gradient,
            anchor="behavior",
            stated=stated,
            induced=partial(greedy_forms.pessimistic_greedy, bonus=bonus, samples=samples),
            nominal=greedy_forms.greedy,
        ),
        {
            "bonus": nonnegative(1.0, "width of the confidence interval at one sample, in units of reward"),
            "samples": positive(100.0, "how many samples of the behavior policy the values rest on"),
        },
        "Explicit pessimism, for comparison.",
    ),
    Entry(
        "cql",
        "Conservative Q-learning on a bandit",
        "rho (A - alpha (rho - 1) - beta l)",
        "beta log rho + alpha rho = r - v: the Lambert-tempered target with lambda = alpha",
        "value",
        "sequence",
        "CQL, arXiv 2006.04779; fixed point derived here",
        lambda alpha, beta: Algorithm(
            stated := partial(coefficients.conservative, alpha=alpha, beta=beta),
            baselines.mean(),
            on_policy=partial(coefficients.regression, beta=beta),
            anchor="behavior",
            stated=stated,
            induced=partial(closed_forms.mixed_link, beta=beta, alpha=alpha, carries_ratio=True),
            nominal=partial(closed_forms.gibbs, beta=beta),
        ),
        {
            "alpha": positive(1.0, "weight of the conservative penalty, in units of reward"),
            "beta": positive(0.1, "temperature of the actor"),
        },
        "Explicit pessimism of the same form as the implicit one (claim cql.fixed_point).",
    ),
)
