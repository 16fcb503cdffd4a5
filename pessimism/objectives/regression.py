"""Log-ratio regression: objectives that fit beta * log-ratio to the advantage, and their counterfactual twins."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from .. import baselines
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..baseline import Baseline, Moments
from ..solution import Solution, gibbs, over, regimes, solution
from ..solve.lambert import LambertSolution, solve_lambert
from ..solve.simplex import Array, expectation, log
from .arrays import average
from .entry import Entry, positive, real
from .policy_gradient import _at_boundary

__all__ = [
    "centered_objective",
    "centered_regression",
    "lambert_target",
    "quantile_log_partition",
    "regression",
    "regression_objective",
]

LAMBERT = "beta log rho + lambda rho = A (Lambert-tempered)"
GIBBS = "pi ~ mu exp(r/beta) (Gibbs, the nominal target), for every baseline"
BOUNDARY = "boundary: pi ~ mu exp(r/tau)"

# --- plain ------------------------------------------------------------------------------------------------------------


def regression(log_ratio: Array, advantage: Array, *, beta: float) -> Array:
    r"""$c = A - \beta\ell$: log-ratio regression (A*-PO, OAPL, Kimi k1.5, PMD-mean, DRO, QRPO).

    Minus the derivative of $(A - \beta\ell)^2/2\beta$.

    >>> import numpy as np
    >>> regression(np.array([0.0, 1.0]), np.array([1.0, 1.0]), beta=0.5)
    array([1. , 0.5])
    """
    return advantage - beta * log_ratio


def lambert_target(bandit: Bandit, moments: Moments, *, beta: float) -> Solution:
    r"""Lambert-tempered target of $c = A - \beta\ell$: $\beta\log\rho + \lambda\rho = A$, $E_\mu\rho = 1$.

    It solves $\max_\pi E_\pi r - \beta\,\mathrm{KL}(\pi\|\mu) - (\lambda/2)\,\chi^2(\pi\|\mu)$. With a reference
    $\pi_{ref}$ it is $\beta\log(\pi/\pi_{ref}) + \lambda\pi/\mu = A$, and arms that the data never show get nothing
    while $\lambda > 0$; at $\lambda = 0$ they share, in any way, what the covered arms leave.

    Rows in the negative regime whose baseline exceeds the soft value by more than the critical offset have no solution
    on the principal branch and are left unsolved.
    """
    advantage, deviation = (over(part, beta) for part in (moments.advantage, moments.deviation))
    mean, rounding = moments.mean / beta, moments.rounding / beta
    uncovered = bandit.reference is not None and bool(((bandit.behavior == 0) & (bandit.reference > 0)).any())
    if moments.soft_temperature == beta and not uncovered:
        return solution(_at_boundary(bandit, moments, beta), 0.0, regime=np.full(bandit.batch_shape, "boundary"))
    if bandit.reference is None:
        found = solve_lambert(bandit.behavior, advantage, deviation, mean)
        regime = _regimes(found, bandit.arms, rounding)
        return solution(
            found.log_ratio,
            beta * found.kappa,
            unique=regime != "negative",
            solved=found.exists,
            regime=regime,
        )
    return _anchored_lambert(bandit, advantage, deviation, mean, rounding, beta)


def _regimes(found: LambertSolution, arms: int, rounding: np.ndarray) -> np.ndarray:
    # The principal branch is lost only where the baseline lies far above the soft value.
    return np.where(found.exists, regimes(found.kappa, found.error_scale, arms, rounding), "negative")


def _anchored_lambert(
    bandit: Bandit, advantage: np.ndarray, deviation: np.ndarray, mean: np.ndarray, rounding: np.ndarray, beta: float
) -> Solution:
    assert bandit.reference is not None
    covered = bandit.behavior > 0
    coverage = np.where(covered, bandit.reference, 1.0) / np.where(covered, bandit.behavior, 1.0)
    uncovered = ~covered & (bandit.reference > 0)
    reserve = np.where(uncovered, bandit.reference, 0.0).sum(axis=-1)
    found = solve_lambert(bandit.behavior, advantage, deviation, mean, coverage, reserve)
    regime = _regimes(found, bandit.arms, rounding)
    kept = expectation(np.where(covered, bandit.reference, 0.0), np.exp(np.where(covered, found.log_ratio, 0.0)))
    left = np.where((found.kappa <= 0) & uncovered.any(axis=-1), np.maximum(1 - kept, 0.0), 0.0)
    share = log(left) - log(np.where(reserve > 0, reserve, 1.0))
    log_ratio = np.where(covered, found.log_ratio, share[..., None])
    several = (left > 0) & (uncovered.sum(axis=-1) > 1)
    return solution(
        log_ratio,
        beta * found.kappa,
        unique=(regime != "negative") & ~several,
        face=several,
        solved=found.exists,
        regime=regime,
    )


def regression_objective(baseline: Baseline, beta: float, scale: float = 1.0) -> Algorithm:
    """c = A - beta l with its two closed forms."""
    return Algorithm(
        partial(regression, beta=beta),
        baseline,
        beta=beta,
        induced=partial(lambert_target, beta=beta),
        nominal=partial(gibbs, beta=beta),
        scale=scale,
    )


def quantile_log_partition(beta: float) -> float:
    """beta log Z for rewards uniform on [0, 1]: Z = beta (exp(1/beta) - 1), without overflow.

    >>> round(quantile_log_partition(1.0), 12)  # log(e - 1)
    0.541324854613
    """
    return beta * (math.log(beta) + 1 / beta + math.log(-math.expm1(-1 / beta)))


OPMD = Entry(
    name="opmd",
    title="Online policy mirror descent, exact partition function",
    coefficient="A - tau l, V = tau log E exp(r/tau)",
    target=BOUNDARY,
    family="regression",
    level="sequence",
    source="Kimi k1.5, arXiv 2501.12599 (before its mean approximation); arXiv 2509.24203",
    make=lambda tau: regression_objective(baselines.log_mean_exp(tau), tau),
    parameters={
        "tau": positive(
            1.0, "regression temperature and that of the log-mean-exp baseline", unit=1, example=0.5, anchors=True
        )
    },
    notes="Trinity-RFT's opmd drops the log-ratio and divides the gradient by 1 + tau: see trinity.opmd.",
    regime="boundary",
)

KIMI_K15 = Entry(
    name="kimi_k15",
    title="Kimi k1.5 policy optimization",
    coefficient="A - tau l, V = E r",
    target=LAMBERT,
    family="regression",
    level="sequence",
    source="Kimi k1.5, arXiv 2501.12599; Kimi K2, arXiv 2507.20534",
    make=lambda tau: regression_objective(baselines.mean(), tau),
    parameters={
        "tau": positive(
            0.01,
            "regression temperature (not printed in the report; OpenKimi's default)",
            unit=1,
            example=0.5,
            anchors=True,
        )
    },
    notes="The mean reward stands in for tau log Z: that is what makes it pessimistic (claim mean.normalizer). Kimi K2 "
    "prints the same objective; Kimi K2.5 another, kimi_k25. What this catalogue called kimi_k2 up to version 0.1 is "
    "prime_rl.default.",
    aliases=("kimi_k2",),
)

PMD_MEAN = Entry(
    name="pmd_mean",
    title="Policy mirror descent, mean baseline",
    coefficient="A - tau l, V = leave-one-out mean",
    target=LAMBERT,
    family="regression",
    level="sequence",
    source="PMD-mean, arXiv 2602.05933",
    make=lambda tau: regression_objective(baselines.leave_one_out(), tau),
    parameters={"tau": positive(0.01, "regression temperature", unit=1, example=0.5, anchors=True)},
    notes="OpenKimi divides each squared error by the completion's length T: a coefficient of (A - tau l)/T, whose "
    "fixed point is tau l + lambda T rho = A, more pessimistic for long completions (derived here; no entry has it).",
)

PMD_PARTITION = Entry(
    name="pmd_partition",
    title="Policy mirror descent, partition-function baseline",
    coefficient="A - tau l, V = leave-one-out tau log mean exp(r/tau)",
    target=BOUNDARY,
    family="regression",
    level="sequence",
    source="arXiv 2602.05933",
    make=lambda tau: regression_objective(baselines.leave_one_out_log_mean_exp(tau), tau),
    parameters={
        "tau": positive(0.01, "regression temperature and that of the baseline", unit=1, example=0.5, anchors=True)
    },
    notes="With finite groups the leave-one-out estimate is pessimistic on average (claim groups.jensen).",
    regime="boundary",
)

A_STAR_PO = Entry(
    name="a_star_po",
    title="A*-PO",
    coefficient="A - beta2 l, V = beta1 log E_ref exp(r/beta1)",
    target=LAMBERT,
    family="regression",
    level="sequence",
    source="A*-PO, arXiv 2505.20686",
    make=lambda beta1, beta2: regression_objective(baselines.log_mean_exp(beta1, "reference"), beta2, 2 * beta2),
    parameters={
        "beta1": positive(0.5, "temperature of the optimal-value estimate from reference samples", unit=1, example=0.9),
        "beta2": positive(1e-3, "regression temperature", unit=1, example=0.5, anchors=True),
    },
    notes="Anchored at the reference: once data come from a later policy, give the bandit its reference.",
)

OAPL = Entry(
    name="oapl",
    title="OAPL",
    coefficient="A - beta2 l",
    target=LAMBERT + "; positive for beta1 > beta2",
    family="regression",
    level="sequence",
    source="OAPL, arXiv 2602.19362; KARL, arXiv 2603.05218, equation 1",
    make=lambda beta1, beta2: regression_objective(baselines.log_mean_exp(beta1), beta2, 2 * beta2),
    parameters={
        "beta1": positive(1.0, "temperature of the group's log-mean-exp baseline", unit=1, example=0.9),
        "beta2": positive(1e-3, "regression temperature", unit=1, example=0.5, anchors=True),
    },
    notes="Anchor: the lagged inference policy, not the initial model. See oapl.missing_log_g and oapl.single_beta.",
)

SHIFTED_MEAN = Entry(
    name="shifted_mean",
    title="beta-shifted-mean advantage",
    coefficient="A - beta l, V = E r - delta beta",
    target=LAMBERT + ", lambda = beta (delta + KL(mu|pi)) >= delta beta",
    family="regression",
    level="sequence",
    source="idea: arXiv 2605.28150; formula derived here",
    make=lambda beta, delta: regression_objective(baselines.shifted_mean(-delta * beta), beta),
    parameters={
        "beta": positive(0.1, "regression temperature and unit of the shift", unit=1, example=0.5, anchors=True),
        "delta": real(1.0, "shift of the mean baseline, in units of beta; 0 is the mean baseline", example=0.7),
    },
    notes="Single temperature; positive regime on every prompt for delta > 0 (claim shifted.normalizer).",
)

DRO = Entry(
    name="dro",
    title="Direct reward optimization, policy part",
    coefficient="A - beta l",
    target=LAMBERT,
    family="regression",
    level="sequence",
    source="DRO, arXiv 2405.19107",
    make=lambda beta: regression_objective(baselines.mean(), beta),
    parameters={"beta": positive(0.1, "regularization strength", unit=1, example=0.5, anchors=True)},
    notes="The source learns V; here it is the mean. verl squares per-token log-ratios: see verl.dro.",
)

QRPO = Entry(
    name="qrpo",
    title="Quantile reward policy optimization",
    coefficient="F(r) - beta log Z - beta l",
    target=LAMBERT + " on quantile rewards; boundary as the rewards' distribution becomes continuous",
    family="regression",
    level="sequence",
    source="QRPO, arXiv 2507.08068",
    make=lambda beta: regression_objective(baselines.quantile(quantile_log_partition(beta)), beta, 2 * beta),
    parameters={
        "beta": positive(0.1, "regression temperature, in units of quantile reward", example=0.5, anchors=True)
    },
    notes="The public 'identity' option approximates log Z by log beta + 1/beta: see qrpo.identity.",
)

# --- with a free constant, that is on pairs ---------------------------------------------------------------------------


def centered_regression(log_ratio: Array, advantage: Array, *, beta: float, behavior: Array | None = None) -> Array:
    r"""$c = e - E_w e$ with $e = A - \beta\ell$: regression with a free constant, i.e. on pairs (REBEL). Coupled.

    Minus the derivative of $E_{a,b}[(e_a - e_b)^2]/4\beta$, and of $\mathrm{Var}_w(e)/2\beta$.
    """
    error = advantage - beta * log_ratio
    return error - average(error, behavior)


def centered_objective(baseline: Baseline, beta: float, scale: float = 1.0) -> Algorithm:
    """Regression with a free constant: c = e - E e, e = A - beta l. Its residual vanishes at the nominal target."""
    return Algorithm(
        partial(centered_regression, beta=beta),
        baseline,
        coupled=True,
        induced=partial(gibbs, beta=beta, centered=True),
        nominal=partial(gibbs, beta=beta, centered=True),
        scale=scale,
    )


REBEL = Entry(
    name="rebel",
    title="REBEL",
    coefficient="e - E e, e = A - l/eta",
    target="pi ~ mu exp(eta r), for every baseline",
    family="regression",
    level="sequence",
    source="REBEL, arXiv 2404.16767",
    make=lambda eta: centered_objective(baselines.mean(), 1 / eta, 4 / eta),
    parameters={"eta": positive(1.0, "step size: the inverse temperature", unit=-1, example=2.0)},
    regime="boundary",
)

PAIRWISE_REGRESSION = Entry(
    name="pairwise_regression",
    title="Pairwise regression (counterfactual twin)",
    coefficient="E_b[(A_a - A_b) - beta (l_a - l_b)]",
    target=GIBBS,
    family="regression",
    level="sequence",
    source="derived here; the surrogate of arXiv 2509.24203",
    make=lambda beta: centered_objective(baselines.mean(), beta),
    parameters={"beta": positive(0.1, "regression temperature", unit=1, example=0.5, anchors=True)},
    regime="boundary",
)

CENTERED_REGRESSION = Entry(
    name="centered_regression",
    title="Regression with the log-ratio centered in the group (counterfactual twin)",
    coefficient="e - E e, e = A - beta l",
    target=GIBBS,
    family="regression",
    level="sequence",
    source="derived here; with a reference, the VarGrad form of trajectory balance, TBA, arXiv 2503.18929",
    make=lambda beta: centered_objective(baselines.mean(), beta),
    parameters={"beta": positive(0.1, "regression temperature", unit=1, example=0.5, anchors=True)},
    notes="The same coefficient as pairwise_regression: expanding the square over pairs centers the error (claim "
    "twins.nominal). TBA measures the log-ratio from the initial model: give the bandit its reference.",
    regime="boundary",
    aliases=("tba",),
)

ENTRIES = (
    OPMD,
    KIMI_K15,
    PMD_MEAN,
    PMD_PARTITION,
    A_STAR_PO,
    OAPL,
    SHIFTED_MEAN,
    DRO,
    QRPO,
    REBEL,
    PAIRWISE_REGRESSION,
    CENTERED_REGRESSION,
)
