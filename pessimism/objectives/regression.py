"""Log-ratio regression: objectives that fit beta * log-ratio to the advantage, and their counterfactual twins."""

from __future__ import annotations

import math
from functools import partial

from .. import baselines, closed_forms, coefficients
from ..algorithm import Algorithm
from ..baselines import Baseline
from .entry import Entry, positive, real

LAMBERT = "beta log rho + lambda rho = A (Lambert-tempered)"
GIBBS = "pi ~ mu exp(r/beta) (Gibbs, the nominal target), for every baseline"
BOUNDARY = "boundary: pi ~ mu exp(r/tau)"


def regression(baseline: Baseline, beta: float, scale: float = 1.0) -> Algorithm:
    """c = A - beta l with its two closed forms."""
    return Algorithm(
        partial(coefficients.regression, beta=beta),
        baseline,
        beta=beta,
        induced=partial(closed_forms.lambert, beta=beta),
        nominal=partial(closed_forms.gibbs, beta=beta),
        scale=scale,
    )


def centered(baseline: Baseline, beta: float, scale: float = 1.0) -> Algorithm:
    """Regression with a free constant: c = e - E e, e = A - beta l. Its residual vanishes at the nominal target."""
    return Algorithm(
        partial(coefficients.centered_regression, beta=beta),
        baseline,
        coupled=True,
        induced=partial(closed_forms.gibbs, beta=beta, centered=True),
        nominal=partial(closed_forms.gibbs, beta=beta, centered=True),
        scale=scale,
    )


def quantile_log_partition(beta: float) -> float:
    """beta log Z for rewards uniform on [0, 1]: Z = beta (exp(1/beta) - 1), without overflow.

    >>> round(quantile_log_partition(1.0), 12)  # log(e - 1)
    0.541324854613
    """
    return beta * (math.log(beta) + 1 / beta + math.log(-math.expm1(-1 / beta)))


def _is_regression(beta: float, cap: float) -> Algorithm:
    exact = cap == math.inf
    return Algorithm(
        partial(coefficients.weighted_regression, beta=beta, cap=cap),
        baselines.mean(),
        on_policy=partial(coefficients.regression, beta=beta),
        anchor="behavior",
        induced=partial(closed_forms.gibbs, beta=beta) if exact else None,
        nominal=partial(closed_forms.gibbs, beta=beta),
    )


ENTRIES = (
    Entry(
        "opmd",
        "Online policy mirror descent, exact partition function",
        "A - tau l, V = tau log E exp(r/tau)",
        BOUNDARY,
        "regression",
        "sequence",
        "Kimi k1.5, arXiv 2501.12599 (before its mean approximation); arXiv 2509.24203",
        lambda tau: regression(baselines.log_mean_exp(tau), tau),
        {"tau": positive(1.0, "regression temperature and that of the log-mean-exp baseline")},
        "Trinity-RFT's opmd drops the log-ratio and divides the gradient by 1 + tau: see trinity.opmd.",
    ),
    Entry(
        "kimi_k15",
        "Kimi k1.5 policy optimization",
        "A - tau l, V = E r",
        LAMBERT,
        "regression",
        "sequence",
        "Kimi k1.5, arXiv 2501.12599",
        lambda tau: regression(baselines.mean(), tau),
        {"tau": positive(0.01, "regression temperature (not printed in the report; OpenKimi's default)")},
        "The mean reward stands in for tau log Z: that is what makes it pessimistic (claim mean.normalizer).",
    ),
    Entry(
        "pmd_mean",
        "Policy mirror descent, mean baseline",
        "A - tau l, V = leave-one-out mean",
        LAMBERT,
        "regression",
        "sequence",
        "PMD-mean, arXiv 2602.05933",
        lambda tau: regression(baselines.leave_one_out(), tau),
        {"tau": positive(0.01, "regression temperature")},
        "OpenKimi divides each squared error by the completion's length.",
    ),
    Entry(
        "pmd_partition",
        "Policy mirror descent, partition-function baseline",
        "A - tau l, V = leave-one-out tau log mean exp(r/tau)",
        BOUNDARY,
        "regression",
        "sequence",
        "arXiv 2602.05933",
        lambda tau: regression(baselines.leave_one_out_log_mean_exp(tau), tau),
        {"tau": positive(0.01, "regression temperature and that of the baseline")},
        "With finite groups the leave-one-out estimate is pessimistic on average (claim groups.jensen).",
    ),
    Entry(
        "a_star_po",
        "A*-PO",
        "A - beta2 l, V = beta1 log E_ref exp(r/beta1)",
        LAMBERT,
        "regression",
        "sequence",
        "A*-PO, arXiv 2505.20686",
        lambda beta1, beta2: regression(baselines.log_mean_exp(beta1, "reference"), beta2, 2 * beta2),
        {
            "beta1": positive(0.5, "temperature of the optimal-value estimate from reference samples"),
            "beta2": positive(1e-3, "regression temperature"),
        },
        "Anchored at the reference: once data come from a later policy, give the bandit its reference.",
    ),
    Entry(
        "oapl",
        "OAPL",
        "A - beta2 l",
        LAMBERT + "; positive for beta1 > beta2",
        "regression",
        "sequence",
        "OAPL, arXiv 2602.19362",
        lambda beta1, beta2: regression(baselines.log_mean_exp(beta1), beta2, 2 * beta2),
        {
            "beta1": positive(1.0, "temperature of the group's log-mean-exp baseline"),
            "beta2": positive(1e-3, "regression temperature"),
        },
        "Anchor: the lagged inference policy, not the initial model. See oapl.missing_log_g and oapl.single_beta.",
    ),
    Entry(
        "shifted_mean",
        "beta-shifted-mean advantage",
        "A - beta l, V = E r - delta beta",
        LAMBERT + ", lambda = beta (delta + KL(mu|pi)) >= delta beta",
        "regression",
        "sequence",
        "idea: arXiv 2605.28150; formula derived here",
        lambda beta, delta: regression(baselines.shifted_mean(-delta * beta), beta),
        {
            "beta": positive(0.1, "regression temperature and unit of the shift"),
            "delta": real(1.0, "shift of the mean baseline, in units of beta; 0 is the mean baseline"),
        },
        "Single temperature; positive regime on every prompt for delta > 0 (claim shifted.normalizer).",
    ),
    Entry(
        "dro",
        "Direct reward optimization, policy part",
        "A - beta l",
        LAMBERT,
        "regression",
        "sequence",
        "DRO, arXiv 2405.19107",
        lambda beta: regression(baselines.mean(), beta),
        {"beta": positive(0.1, "regularization strength")},
        "The source learns V; here it is the mean. verl squares per-token log-ratios: see verl.dro.",
    ),
    Entry(
        "qrpo",
        "Quantile reward policy optimization",
        "F(r) - beta log Z - beta l",
        LAMBERT + " on quantile rewards; boundary as the rewards' distribution becomes continuous",
        "regression",
        "sequence",
        "QRPO, arXiv 2507.08068",
        lambda beta: regression(baselines.quantile(quantile_log_partition(beta)), beta, 2 * beta),
        {"beta": positive(0.1, "regression temperature, in units of quantile reward")},
        "The public 'identity' option approximates log Z by log beta + 1/beta: see qrpo.identity.",
    ),
    Entry(
        "rebel",
        "REBEL",
        "e - E e, e = A - l/eta",
        "pi ~ mu exp(eta r), for every baseline",
        "regression",
        "sequence",
        "REBEL, arXiv 2404.16767",
        lambda eta: centered(baselines.mean(), 1 / eta, 4 / eta),
        {"eta": positive(1.0, "step size: the inverse temperature")},
    ),
    Entry(
        "is_regression",
        "Importance-weighted regression (counterfactual twin)",
        "min(rho, cap) (A - beta l)",
        GIBBS,
        "regression",
        "sequence",
        "derived here",
        _is_regression,
        {
            "beta": positive(0.1, "regression temperature"),
            "cap": positive(math.inf, "largest ratio; finite caps lose the closed form", infinite=True),
        },
        "Carries the ratio: nominal for every baseline (claim twins.nominal). Noise and preconditioner differ too.",
    ),
    Entry(
        "pairwise_regression",
        "Pairwise regression (counterfactual twin)",
        "E_b[(A_a - A_b) - beta (l_a - l_b)]",
        GIBBS,
        "regression",
        "sequence",
        "derived here; the surrogate of arXiv 2509.24203",
        lambda beta: centered(baselines.mean(), beta),
        {"beta": positive(0.1, "regression temperature")},
    ),
    Entry(
        "centered_regression",
        "Regression with the log-ratio centered in the group (counterfactual twin)",
        "e - E e, e = A - beta l",
        GIBBS,
        "regression",
        "sequence",
        "derived here",
        lambda beta: centered(baselines.mean(), beta),
        {"beta": positive(0.1, "regression temperature")},
        "The same coefficient as pairwise_regression: expanding the square over pairs centers the error (claim "
        "twins.nominal).",
    ),
)
