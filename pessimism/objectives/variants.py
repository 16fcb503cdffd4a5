"""Named variants: public implementations that differ from their source, so that the difference to the target shows."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from .. import baselines, coefficients, greedy_forms
from ..algorithm import Algorithm
from .entry import Entry, Parameter, fraction, nonnegative, positive
from .policy_gradient import COLLAPSE, policy_gradient
from .ratio import FLOW, one_side_kinks, ratio_weighted, two_side_kinks, with_stated_clip
from .regression import LAMBERT, regression
from .weighted import EXPONENTIAL_VARIANT

PER_TOKEN = "Per token every prefix has a regime of its own: ps.prefix_regimes (claim prefixes.regime)."
_EPSILON = positive(1e-4, "added to the standard deviation")


def _trinity_opmd(tau: float, kl: float) -> Algorithm:
    # A/(1 + tau) - kl l = (A - kl (1 + tau) l)/(1 + tau): a regression whose gradient is scaled.
    made = regression(baselines.mean(), kl * (1 + tau)) if kl else policy_gradient(baselines.mean())
    return replace(made, scale=1 / (1 + tau))


ENTRIES = (
    Entry(
        "grpo.no_ratio",
        "GRPO without ratio and clip",
        "A = (r - mean)/(std + epsilon)",
        COLLAPSE,
        "policy gradient",
        "sequence",
        "arXiv 2509.24203, 2402.03300",
        lambda epsilon: policy_gradient(baselines.standardized(epsilon)),
        {"epsilon": _EPSILON},
        "What GRPO is when the log-probabilities in its ratio are recomputed on every batch.",
    ),
    Entry(
        "oapl.missing_log_g",
        "OAPL whose baseline lacks -beta1 log G",
        "A - beta2 l, V = beta1 log sum exp(r/beta1)",
        LAMBERT + ", negative regime on sampled groups",
        "regression",
        "sequence",
        "seen in public code",
        lambda beta1, beta2, group_size: regression(baselines.log_sum_exp(beta1, group_size), beta2, 2 * beta2),
        {
            "beta1": positive(1.0, "temperature of the baseline"),
            "beta2": positive(1e-3, "regression temperature"),
            "group_size": Parameter(
                8.0, "G where the policy is exact; sampled groups use their own", low=1.0, closed=True
            ),
        },
        "Puts every sampled group of two or more in the negative regime (claim negative.missing_log_g); with exact "
        "expectations not every policy (claim negative.missing_log_g_population, refuted).",
    ),
    Entry(
        "oapl.single_beta",
        "OAPL with one temperature",
        "A - beta l, V = beta log E exp(r/beta)",
        "pi ~ mu exp(r/beta): boundary",
        "regression",
        "sequence",
        "a public draft (frozen reference)",
        lambda beta: regression(baselines.log_mean_exp(beta), beta, 2 * beta),
        {"beta": positive(0.1, "both temperatures")},
        "No implicit pessimism with exact expectations (claim regimes.boundary); with a frozen reference, give the "
        "bandit its reference.",
    ),
    Entry(
        "opmd.rec",
        "Kimi's OPMD as in the REC study",
        "A - 2 tau l, V = E r",
        LAMBERT,
        "regression",
        "token",
        "Trinity-RFT's rec loss with its k2 regularizer; arXiv 2509.24203",
        lambda tau: regression(baselines.mean(), 2 * tau),
        {"tau": positive(0.1, "weight of the squared log-ratio (the source's 1/2 absorbed)")},
        PER_TOKEN,
    ),
    Entry(
        "trinity.opmd",
        "OPMD as Trinity-RFT runs it",
        "A - kl (1 + tau) l, gradient divided by 1 + tau",
        LAMBERT + ", beta = kl (1 + tau)",
        "regression",
        "token",
        "Trinity-RFT, opmd policy loss with its k2 penalty to the reference",
        _trinity_opmd,
        {
            "tau": nonnegative(1.0, "divides the gradient by 1 + tau"),
            "kl": nonnegative(1e-3, "weight of the k2 penalty to the reference; 0 for none"),
        },
        "The temperature scales the step, not the target: without the penalty it is REINFORCE, which collapses. "
        + PER_TOKEN,
    ),
    Entry(
        "qrpo.identity",
        "QRPO with log Z = log beta + 1/beta",
        "F(r) - beta log beta - 1 - beta l",
        LAMBERT + " on quantile rewards; further into the negative regime as beta grows",
        "regression",
        "sequence",
        "QRPO's public 'identity' option",
        lambda beta: regression(baselines.quantile(beta * math.log(beta) + 1), beta, 2 * beta),
        {"beta": positive(0.1, "regression temperature")},
        "Right at beta = 0.1, wrong at beta = 1: it drops log(1 - exp(-1/beta)).",
    ),
    Entry(
        "verl.dro",
        "DRO per token",
        "A - beta l, squares of per-token log-ratios",
        LAMBERT + " per token",
        "regression",
        "token",
        "verl",
        lambda beta: regression(baselines.mean(), beta),
        {"beta": positive(0.1, "regularization strength")},
        "On one-token arms it equals dro; on sequences the sum of squares is not the square of the sum. " + PER_TOKEN,
    ),
    EXPONENTIAL_VARIANT,
    Entry(
        "trl.cispo",
        "CISPO in TRL, cap left at its default",
        "min(rho, epsilon_high) A",
        "rho = epsilon_high A/lambda where A > lambda; the support shrinks with the cap",
        "ratio",
        "token",
        "TRL, loss_type 'cispo'",
        lambda epsilon_high, epsilon: ratio_weighted(
            partial(coefficients.truncated, low=0.0, high=epsilon_high),
            baselines.standardized(epsilon),
            induced=partial(greedy_forms.truncated, cap=epsilon_high),
        ),
        {
            "epsilon_high": positive(0.2, "an absolute cap, although its default is a range"),
            "epsilon": _EPSILON,
        },
        "A cap of .2 is active from the first step: positive samples count as if ratio-free.",
    ),
    Entry(
        "verl.cispo",
        "CISPO in verl",
        "clip(rho, 1 - low, 1 + high) A",
        "limit of the flow from mu",
        "ratio",
        "token",
        "verl, loss_mode 'cispo'",
        lambda low, high, epsilon: ratio_weighted(
            partial(coefficients.truncated, low=1 - low, high=1 + high), baselines.standardized(epsilon)
        ),
        {"low": fraction(0.2, "range below 1"), "high": positive(0.2, "range above 1"), "epsilon": _EPSILON},
        "The lower bound is active: negative samples keep pushing however rare they have become.",
    ),
    Entry(
        "trinity.cispo",
        "CISPO in Trinity-RFT",
        "min(rho, 1 + high) A",
        "rho = (1 + high) A/lambda where A > lambda, one marginal level filled in the order of mu, 0 below",
        "ratio",
        "token",
        "Trinity-RFT, cispo policy loss",
        lambda high, epsilon: ratio_weighted(
            partial(coefficients.truncated, low=0.0, high=1 + high),
            baselines.standardized(epsilon),
            induced=partial(greedy_forms.truncated, cap=1 + high),
        ),
        {"high": positive(0.28, "range above 1"), "epsilon": _EPSILON},
        "Its option enable_mask_clip, off by default, adds PPO's mask: trinity.cispo_masked.",
    ),
    Entry(
        "trinity.cispo_masked",
        "CISPO in Trinity-RFT, with its mask",
        "clip(rho, 0, 1 + high) A [not (A > 0 and rho > 1 + high)]",
        FLOW,
        "ratio",
        "token",
        "Trinity-RFT, cispo policy loss with enable_mask_clip",
        lambda high, epsilon: ratio_weighted(
            partial(coefficients.masked_truncated, low=0.0, high=1 + high, mask_low=1.0, mask_high=high),
            baselines.standardized(epsilon),
            stated=partial(coefficients.clipped, low=1.0, high=high),
            kinks=partial(one_side_kinks, low=1.0, high=high),
        ),
        {"high": positive(0.28, "range above 1, of the ratio and of the mask"), "epsilon": _EPSILON},
        "The mask takes back what CISPO is for: clipped samples lose their gradient again.",
    ),
    Entry(
        "trinity.sapo",
        "SAPO in Trinity-RFT",
        "(4/tau) sigmoid(tau (rho - 1)) A",
        "limit of the flow from mu",
        "ratio",
        "token",
        "Trinity-RFT, sapo policy loss",
        lambda tau_positive, tau_negative, epsilon: ratio_weighted(
            partial(coefficients.stopped_soft_gate, tau_positive=tau_positive, tau_negative=tau_negative),
            baselines.standardized(epsilon),
            stated=partial(coefficients.soft_gate, tau_positive=tau_positive, tau_negative=tau_negative),
        ),
        {
            "tau_positive": positive(1.0, "sharpness for A > 0"),
            "tau_negative": positive(1.05, "sharpness for A <= 0"),
            "epsilon": _EPSILON,
        },
        "A stop-gradient on the gate: at rho = 1/2/4 its weight is 2.0/2.9/3.8 where SAPO's is 1.0/1.6/0.7.",
    ),
    Entry(
        "verl.tis",
        "Truncated importance sampling",
        "min(rho, cap) A",
        "rho = cap A/lambda where A > lambda, one marginal level filled in the order of mu, 0 below",
        "ratio",
        "token",
        "verl, rollout correction",
        lambda cap: ratio_weighted(
            partial(coefficients.truncated, low=0.0, high=cap),
            baselines.mean(),
            induced=partial(greedy_forms.truncated, cap=cap),
        ),
        {"cap": positive(2.0, "largest ratio")},
    ),
    Entry(
        "verl.icepop",
        "IcePop: ratios outside a band are masked",
        "rho A for low <= rho <= high, else 0",
        FLOW,
        "ratio",
        "token",
        "IcePop; verl",
        lambda low, high: with_stated_clip(
            partial(coefficients.two_side, low=1 - low, high=high - 1),
            baselines.mean(),
            kinks=partial(two_side_kinks, bounds=(low, high)),
        ),
        {"low": fraction(0.5, "smallest ratio kept"), "high": Parameter(5.0, "largest ratio kept", low=1.0)},
    ),
)
