"""Named variants: public implementations that differ from their source, so that the difference to the target shows."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm
from ..solve.simplex import Array
from .clip import FLOW, clipped, inside_one_side, one_side_kinks, two_side, two_side_kinks
from .entry import EPSILON, Entry, Parameter, fraction, nonnegative, positive
from .policy_gradient import COLLAPSE, policy_gradient_objective
from .ratio import ratio_weighted, soft_gate, truncated, truncated_target, with_stated_clip
from .regression import LAMBERT, regression_objective
from .weighted import exponential_objective

PER_TOKEN = "Per token every prefix has a regime of its own: ps.prefix_regimes (claim prefixes.regime)."

# --- ratio-free and regressions ---------------------------------------------------------------------------------------

GRPO_NO_RATIO = Entry(
    name="grpo.no_ratio",
    title="GRPO without ratio and clip",
    coefficient="A = (r - mean)/(std + epsilon)",
    target=COLLAPSE,
    family="policy gradient",
    level="sequence",
    source="arXiv 2509.24203, 2402.03300",
    make=lambda epsilon: policy_gradient_objective(baselines.standardized(epsilon)),
    parameters={"epsilon": EPSILON},
    notes="What GRPO is when the log-probabilities in its ratio are recomputed on every batch.",
    feels_splits=True,
)

OAPL_MISSING_LOG_G = Entry(
    name="oapl.missing_log_g",
    title="OAPL whose baseline lacks -beta1 log G",
    coefficient="A - beta2 l, V = beta1 log sum exp(r/beta1)",
    target=LAMBERT + ", negative regime on sampled groups",
    family="regression",
    level="sequence",
    source="KONASH, OAPLTrainer",
    make=lambda beta1, beta2, group_size: regression_objective(
        baselines.log_sum_exp(beta1, group_size), beta2, 2 * beta2
    ),
    parameters={
        "beta1": positive(1.0, "temperature of the baseline", unit=1, example=0.9),
        "beta2": positive(1e-3, "regression temperature", unit=1, example=0.8),
        "group_size": Parameter(
            8.0, "G where the policy is exact; sampled groups use their own", low=1.0, closed=True, example=1.2
        ),
    },
    notes="KONASH also takes the mean of the token log-ratios and a frozen reference; with its beta1 = .05 and rewards "
    "of 0 and 1 no completion has a positive advantage. Puts every sampled group of two or more in the negative regime "
    "(claim negative.missing_log_g); with exact "
    "expectations not every policy (claim negative.missing_log_g_population, refuted).",
    regime="negative",
)

OAPL_SINGLE_BETA = Entry(
    name="oapl.single_beta",
    title="OAPL with one temperature",
    coefficient="A - beta l, V = beta log E exp(r/beta)",
    target="pi ~ mu exp(r/beta): boundary",
    family="regression",
    level="sequence",
    source="a public draft (frozen reference)",
    make=lambda beta: regression_objective(baselines.log_mean_exp(beta), beta, 2 * beta),
    parameters={"beta": positive(0.1, "both temperatures", unit=1, example=0.5, anchors=True)},
    notes="No implicit pessimism with exact expectations (claim regimes.boundary); with a frozen reference, give the "
    "bandit its reference.",
    regime="boundary",
)

OPMD_REC = Entry(
    name="opmd.rec",
    title="Kimi's OPMD as in the REC study",
    coefficient="A - 2 tau l, V = E r",
    target=LAMBERT,
    family="regression",
    level="token",
    source="Trinity-RFT's rec loss with its k2 regularizer; arXiv 2509.24203",
    make=lambda tau: regression_objective(baselines.mean(), 2 * tau),
    parameters={
        "tau": positive(
            0.1, "weight of the squared log-ratio (the source's 1/2 absorbed)", unit=1, example=0.3, anchors=True
        )
    },
    notes=PER_TOKEN,
)


def _trinity_opmd(tau: float, kl: float) -> Algorithm:
    # A/(1 + tau) - kl l = (A - kl (1 + tau) l)/(1 + tau): a regression whose gradient is scaled.
    made = regression_objective(baselines.mean(), kl * (1 + tau)) if kl else policy_gradient_objective(baselines.mean())
    return replace(made, scale=1 / (1 + tau))


TRINITY_OPMD = Entry(
    name="trinity.opmd",
    title="OPMD as Trinity-RFT runs it",
    coefficient="A - kl (1 + tau) l, gradient divided by 1 + tau",
    target=LAMBERT + ", beta = kl (1 + tau)",
    family="regression",
    level="token",
    source="Trinity-RFT, opmd policy loss with its k2 penalty to the reference",
    make=_trinity_opmd,
    parameters={
        "tau": nonnegative(1.0, "divides the gradient by 1 + tau", example=1.0),
        "kl": nonnegative(
            1e-3, "weight of the k2 penalty to the reference; 0 for none", unit=1, example=0.4, anchors=True
        ),
    },
    notes="The temperature scales the step, not the target: without the penalty it is REINFORCE, which collapses. "
    + PER_TOKEN,
)

QRPO_IDENTITY = Entry(
    name="qrpo.identity",
    title="QRPO with log Z = log beta + 1/beta",
    coefficient="F(r) - beta log beta - 1 - beta l",
    target=LAMBERT + " on quantile rewards; further into the negative regime as beta grows",
    family="regression",
    level="sequence",
    source="QRPO's public 'identity' option",
    make=lambda beta: regression_objective(baselines.quantile(beta * math.log(beta) + 1), beta, 2 * beta),
    parameters={"beta": positive(0.1, "regression temperature", example=0.5)},
    notes="Right at beta = 0.1, wrong at beta = 1: it drops log(1 - exp(-1/beta)).",
)

VERL_DRO = Entry(
    name="verl.dro",
    title="DRO per token",
    coefficient="A - beta l, squares of per-token log-ratios",
    target=LAMBERT + " per token",
    family="regression",
    level="token",
    source="verl",
    make=lambda beta: regression_objective(baselines.mean(), beta),
    parameters={"beta": positive(0.1, "regularization strength", unit=1, example=0.5, anchors=True)},
    notes="On one-token arms it equals dro; on sequences the sum of squares is not the square of the sum. " + PER_TOKEN,
)

ROIRL_EXPONENTIAL = Entry(
    name="roirl.exponential",
    title="RoiRL, exponential weight",
    coefficient="exp(r/beta)",
    target="mu exp(r/beta) / Z (Gibbs)",
    family="weighted",
    level="sequence",
    source="RoiRL, arXiv 2510.02892",
    make=lambda beta: exponential_objective(beta, math.inf),
    parameters={"beta": positive(1.0, "temperature, in units of reward", unit=1, example=0.5, anchors=True)},
    notes="The mean reward is subtracted in the exponent, which scales the gradient and leaves the target.",
)

# --- truncated ratios -------------------------------------------------------------------------------------------------

TRL_CISPO = Entry(
    name="trl.cispo",
    title="CISPO in TRL, cap left at its default",
    coefficient="min(rho, epsilon_high) A",
    target="rho = epsilon_high A/lambda where A > lambda; the support shrinks with the cap",
    family="ratio",
    level="token",
    source="TRL, loss_type 'cispo'",
    make=lambda epsilon_high, epsilon: ratio_weighted(
        partial(truncated, low=0.0, high=epsilon_high),
        baselines.standardized(epsilon),
        induced=partial(truncated_target, cap=epsilon_high),
    ),
    parameters={
        "epsilon_high": positive(0.2, "an absolute cap, although its default is a range", example=0.7),
        "epsilon": EPSILON,
    },
    notes="A cap of .2 is active from the first step: samples count as if ratio-free while their ratio exceeds it.",
    bounded="all",
)

VERL_CISPO = Entry(
    name="verl.cispo",
    title="CISPO in verl",
    coefficient="clip(rho, 1 - low, 1 + high) A",
    target="limit of the flow from mu",
    family="ratio",
    level="token",
    source="verl, loss_mode 'cispo'",
    make=lambda low, high, epsilon: ratio_weighted(
        partial(truncated, low=1 - low, high=1 + high), baselines.standardized(epsilon)
    ),
    parameters={"low": fraction(0.2, "range below 1"), "high": positive(0.2, "range above 1"), "epsilon": EPSILON},
    notes="The lower bound is active: negative samples keep pushing however rare they have become.",
    bounded="all",
    feels_splits=True,
)

TRINITY_CISPO = Entry(
    name="trinity.cispo",
    title="CISPO in Trinity-RFT",
    coefficient="min(rho, 1 + high) A",
    target="rho = (1 + high) A/lambda where A > lambda, one marginal level filled in the order of mu, 0 below",
    family="ratio",
    level="token",
    source="Trinity-RFT, cispo policy loss",
    make=lambda high, epsilon: ratio_weighted(
        partial(truncated, low=0.0, high=1 + high),
        baselines.standardized(epsilon),
        induced=partial(truncated_target, cap=1 + high),
    ),
    parameters={"high": positive(0.28, "range above 1"), "epsilon": EPSILON},
    notes="Its option enable_mask_clip, off by default, adds PPO's mask: trinity.cispo_masked.",
    bounded="all",
)


def masked_truncated(
    log_ratio: Array, advantage: Array, *, low: float, high: float, mask_low: float, mask_high: float
) -> Array:
    r"""CISPO's truncated ratio under PPO's one-sided mask (Trinity-RFT)."""
    keep = inside_one_side(log_ratio, advantage, mask_low, mask_high, math.inf)
    value = truncated(log_ratio, advantage, low=low, high=high)
    return array_namespace(log_ratio).where(keep, value, 0 * advantage)


TRINITY_CISPO_MASKED = Entry(
    name="trinity.cispo_masked",
    title="CISPO in Trinity-RFT, with its mask",
    coefficient="clip(rho, 0, 1 + high) A [not (A > 0 and rho > 1 + high)]",
    target=FLOW,
    family="ratio",
    level="token",
    source="Trinity-RFT, cispo policy loss with enable_mask_clip",
    make=lambda high, epsilon: ratio_weighted(
        partial(masked_truncated, low=0.0, high=1 + high, mask_low=1.0, mask_high=high),
        baselines.standardized(epsilon),
        stated=partial(clipped, low=1.0, high=high),
        kinks=partial(one_side_kinks, low=1.0, high=high),
    ),
    parameters={"high": positive(0.28, "range above 1, of the ratio and of the mask"), "epsilon": EPSILON},
    notes="The mask takes back what CISPO is for: clipped samples lose their gradient again.",
    bounded="all",
)


def stopped_soft_gate(log_ratio: Array, advantage: Array, *, tau_positive: float, tau_negative: float) -> Array:
    r"""$c = (4/\tau)\,\sigma(\tau(\rho - 1))\,A$: SAPO with a stop-gradient on its gate (Trinity-RFT)."""
    xp = array_namespace(log_ratio)
    tau = xp.where(advantage > 0, tau_positive + 0 * advantage, tau_negative + 0 * advantage)
    return 4 / tau * advantage / (1 + xp.exp(-tau * (xp.exp(log_ratio) - 1)))


TRINITY_SAPO = Entry(
    name="trinity.sapo",
    title="SAPO in Trinity-RFT",
    coefficient="(4/tau) sigmoid(tau (rho - 1)) A",
    target="limit of the flow from mu",
    family="ratio",
    level="token",
    source="Trinity-RFT, sapo policy loss",
    make=lambda tau_positive, tau_negative, epsilon: ratio_weighted(
        partial(stopped_soft_gate, tau_positive=tau_positive, tau_negative=tau_negative),
        baselines.standardized(epsilon),
        stated=partial(soft_gate, tau_positive=tau_positive, tau_negative=tau_negative),
    ),
    parameters={
        "tau_positive": positive(1.0, "sharpness for A > 0"),
        "tau_negative": positive(1.05, "sharpness for A <= 0"),
        "epsilon": EPSILON,
    },
    notes="A stop-gradient on the gate: at rho = 1/2/4 its weight is 2.0/2.9/3.8 where SAPO's is 1.0/1.6/0.7.",
    bounded="all",
    feels_splits=True,
)

VERL_TIS = Entry(
    name="verl.tis",
    title="Truncated importance sampling",
    coefficient="min(rho, cap) A",
    target="rho = cap A/lambda where A > lambda, one marginal level filled in the order of mu, 0 below",
    family="ratio",
    level="token",
    source="verl, rollout correction",
    make=lambda cap: ratio_weighted(
        partial(truncated, low=0.0, high=cap),
        baselines.mean(),
        induced=partial(truncated_target, cap=cap),
    ),
    parameters={"cap": positive(2.0, "largest ratio", example=1.5)},
    bounded="all",
)

# --- masked -----------------------------------------------------------------------------------------------------------

VERL_ICEPOP = Entry(
    name="verl.icepop",
    title="IcePop: ratios outside a band are masked",
    coefficient="rho A for low <= rho <= high, else 0",
    target=FLOW,
    family="ratio",
    level="token",
    source="IcePop; verl",
    make=lambda low, high: with_stated_clip(
        partial(two_side, low=1 - low, high=high - 1),
        baselines.mean(),
        kinks=partial(two_side_kinks, bounds=(low, high)),
    ),
    parameters={"low": fraction(0.5, "smallest ratio kept"), "high": Parameter(5.0, "largest ratio kept", low=1.0)},
    bounded="all",
)

ENTRIES = (
    GRPO_NO_RATIO,
    OAPL_MISSING_LOG_G,
    OAPL_SINGLE_BETA,
    OPMD_REC,
    TRINITY_OPMD,
    QRPO_IDENTITY,
    VERL_DRO,
    ROIRL_EXPONENTIAL,
    TRL_CISPO,
    VERL_CISPO,
    TRINITY_CISPO,
    TRINITY_CISPO_MASKED,
    TRINITY_SAPO,
    VERL_TIS,
    VERL_ICEPOP,
)
