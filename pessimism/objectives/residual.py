r"""The residual family: any coefficient $c$ as $h(\rho)\,(c - \lambda\rho)$, which vanishes on every arm at its target.

Theorem (derived here). Let $\lambda(\pi) = E_\mu[c]$, $s \ge 0$ and $h > 0$ any function of the arm. On a bandit,
$\tilde c = h\,(c - \lambda - s\lambda(\rho - 1))$ is stationary at an interior policy iff it is zero on every arm.
Proof: stationarity is $\tilde c = \nu\rho$ on every arm. So $c - \lambda - s\lambda(\rho - 1) = \nu\rho/h$; the mean of
the left under $\mu$ is 0 and $E_\mu[\rho/h] > 0$, hence $\nu = 0$. At dose $s = 1$ these are the interior stationary
points of $c$ itself, at $s = 0$ those where $c$ is constant: the nominal ones of a ratio-free $c$.

So the weight $h$ moves no target, and at $\rho = 1$ all members take the same step on every sample.
docs/theory/residual.md has what follows: stability, noise, groups, and where the weight does matter.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .. import baselines
from ..algorithm import Algorithm, ClosedForm, Coefficient
from ..bandit import Bandit
from ..baseline import Moments
from ..given import understood_algorithm
from ..solution import Solution, gibbs
from ..solve.lambert import solve_fixed_kappa
from ..solve.simplex import Array, expectation
from .arrays import average
from .entry import Entry, Parameter, nonnegative, positive, real
from .regression import GIBBS, lambert_target, regression_objective

__all__ = ["dosed_lambert", "group_normalizer", "residual", "residual_coefficient"]

SOURCE = "derived here"


def residual_coefficient(
    log_ratio: Array,
    advantage: Array,
    *,
    base: Coefficient,
    restoring: float,
    power: float,
    cap: float,
    dose: float,
    group_size: float,
    behavior: Array | None = None,
) -> Array:
    r"""$\tilde c = h(\rho)\,(c - \hat\lambda - s\hat\lambda(\rho - 1))$, $h = \min(\rho, \text{cap})^{\text{power}}$.

    Coupled: $\hat\lambda$ is :func:`group_normalizer`.

    Args:
        log_ratio, advantage: (..., K).
        base: the arm-wise coefficient c.
        restoring, group_size: see :func:`group_normalizer`.
        power, cap: of the weight h; power 0 is no weight.
        dose: s.
        behavior: (..., K) weights of the group; None: equal ones.

    >>> from pessimism.objectives.regression import regression
    >>> base = partial(regression, beta=1.0)
    >>> settings = {"restoring": 1.0, "power": 1.0, "cap": math.inf, "dose": 1.0, "group_size": math.inf}
    >>> log_ratio = np.log([0.5, 1.5])
    >>> at_target = np.log([0.5, 1.5]) + 0.3 * np.array([0.5, 1.5])  # beta l + lambda rho at lambda = 0.3
    >>> abs(residual_coefficient(log_ratio, at_target, base=base, **settings)).max() < 1e-15
    np.True_
    """
    xp = array_namespace(log_ratio)
    value = base(log_ratio, advantage)
    surplus = xp.expm1(log_ratio)
    normalizer = group_normalizer(
        value,
        base(xp.zeros_like(log_ratio), advantage),
        surplus,
        restoring=restoring,
        group_size=group_size,
        behavior=behavior,
    )
    error = value - normalizer * (1 + dose * surplus)
    if power == 0:
        return error
    capped = log_ratio if cap == math.inf else xp.clip(log_ratio, None, math.log(cap))
    return xp.exp(power * capped) * error


def group_normalizer(
    value: Array, start: Array, surplus: Array, *, restoring: float, group_size: float, behavior: Array | None
) -> Array:
    r"""Estimate of $\lambda = E_\mu[c]$ from a group: $E_w[c_0] + E_w[x]$ with $x = c - c_0 + b(\rho - 1)$.

    b is ``restoring``, $c_0$ is c at $\rho = 1$. As $E_\mu\rho = 1$, b changes nothing under an exact policy. On a
    group that is trained on for long it keeps the mean ratio m at one, as there
    $E_w[c - \hat\lambda\rho] = (1 - m)(\hat\lambda + b)$.
    For the regression $A - \beta\ell$ with $b = \beta$, $x = \beta(\rho - 1 - \ell) \ge 0$ has no reward in it, and
    with the shifted mean $E_w[c_0] = \delta\beta$ neither.

    Args:
        value: c (..., K).
        start: c at ratio one (..., K).
        surplus: rho - 1 (..., K).
        group_size: G > 1: x is averaged over the other G - 1 samples, which makes the estimate of each sample
            independent of it. Infinite: over all of them, which is exact for a policy.
        behavior: (..., K) weights of the group; None: equal ones.

    Returns:
        (..., 1), or (..., K) where the sample itself is left out.
    """
    own = value - start + restoring * surplus
    rest = average(own, behavior)
    if group_size != math.inf:
        rest = rest + (rest - own) / (group_size - 1)
    return average(start, behavior) + rest


def dosed_lambert(bandit: Bandit, moments: Moments, *, beta: float, dose: float, proven: bool) -> Solution:
    r"""Target of the residual regression at dose s: $\beta\log\rho + s\lambda\rho = A - (1 - s)\lambda$.

    $\lambda = E_\mu A + \beta\,\mathrm{KL}(\mu\|\pi)$. With $k = s\lambda/\beta$ fixed it is the target of conservative
    Q-learning, and k is the root of $k = s\,(E_\mu A/\beta + \mathrm{KL}(\mu\|\pi_k))$, increasing in k on the left and
    decreasing on the right. It lies between $k_1$ and $s k_1$, $k_1$ that of the plain regression (s = 1).

    So it is the Lambert-tempered target of a mean baseline shifted by
    $\delta' = s\delta - (1 - s)\,\mathrm{KL}(\mu\|\pi)$ instead of $\delta$: the dose is that dial at a fixed baseline.

    Rows in the negative regime are left unsolved unless s is 1 (the principal branch) or 0 (Gibbs, whatever V).
    ``proven``: whether the flow is known to end here.
    """
    if dose == 0:
        found = gibbs(bandit, moments, beta=beta, centered=True)
        return replace(found, unique=found.unique & proven)
    plain = lambert_target(bandit, moments, beta=beta)
    log_ratio, solved = plain.log_ratio, plain.solved
    if dose != 1:
        positive_rows = solved & (plain.normalizer > 0)
        log_ratio = np.where((solved & (plain.normalizer >= 0))[..., None], log_ratio, np.nan)
        log_ratio[positive_rows] = _at_dose(
            bandit.behavior[positive_rows],
            moments.advantage[positive_rows] / beta,
            moments.mean[positive_rows] / beta,
            plain.normalizer[positive_rows] / beta,
            dose,
        )
        solved = solved & (plain.normalizer >= 0)
    return Solution(
        log_ratio, np.where(solved, 0.0, np.nan), plain.unique & solved & proven, np.zeros_like(solved), solved
    )


def _at_dose(behavior: np.ndarray, advantage: np.ndarray, mean: np.ndarray, plain: np.ndarray, dose: float) -> Any:
    """log-ratio (n, K) where k = s (mean + KL(mu|pi_k)), all in units of beta; plain (n,) is k at s = 1."""
    if not plain.size:
        return advantage
    from scipy.optimize import elementwise  # takes longer to import than all the rest

    def excess(log_strength: np.ndarray, row: np.ndarray) -> np.ndarray:
        index, strength = row.astype(int), np.exp(log_strength)
        log_ratio, _ = solve_fixed_kappa(behavior[index], advantage[index], strength)
        return strength - dose * (mean[index] - expectation(behavior[index], log_ratio))

    ends = np.sort([np.log(plain), np.log(dose * plain)], axis=0)
    found = elementwise.find_root(excess, tuple(ends), args=(np.arange(plain.size, dtype=float),))
    # Equal signs at both ends: divergence and slope are below rounding, and so is the difference of the two ends' KL.
    root = np.where(found.success, found.x, np.log(dose * plain))
    return solve_fixed_kappa(behavior, advantage, np.exp(root))[0]


def _interior_only(bandit: Bandit, moments: Moments, *, of: ClosedForm, proven: bool) -> Solution:
    """Where a closed form keeps every arm, or the update is the same one in expectation: as target of the residual."""
    found = of(bandit, moments)
    kept = np.isfinite(np.where(bandit.behavior > 0, found.log_ratio, 0.0)).all(axis=-1)
    solved = found.solved & (kept | proven)
    log_ratio = np.where(solved[..., None], found.log_ratio, np.nan)
    normalizer = np.where(solved, 0.0, np.nan)
    return Solution(log_ratio, normalizer, found.unique & solved & proven, found.face & solved, solved)


def residual(
    algorithm: Algorithm | str,
    *,
    power: float = 0.0,
    cap: float = math.inf,
    dose: float = 1.0,
    group_size: float = math.inf,
    restoring: float | None = None,
) -> Algorithm:
    r"""The residual form of an arm-wise algorithm: its c becomes $h(\rho)(c - \lambda - s\lambda(\rho - 1))$.

    At dose 1 it has c's interior targets, at dose 0 those where c is constant, for every weight h; its own coefficient
    is zero there on every sample, so the noise of the gradient dies out. Without a weight, dose 1 takes c's own step in
    expectation ($E_\mu[\rho\nabla\log\pi] = 0$, whatever the policy's parameters): $\lambda\rho$ is a control variate.

    Args:
        algorithm: or text that names one, such as "oapl:beta1=1,beta2=.5"; the coefficient must not look at other arms,
            nor jump.
        power, cap: the weight $h = \min(\rho, \text{cap})^{\text{power}}$: (0, any) none, (1, inf) the full ratio,
            (1, 2) truncated at 2.
        dose: s >= 0.
        group_size: G of the groups, for a leave-one-out estimate of $\lambda$; infinite: the group's own mean.
        restoring: b of :func:`group_normalizer`, in units of the coefficient; None: the algorithm's beta, or 0.

    Raises:
        ValueError: a coefficient that is coupled, takes the behavior policy, or jumps; a parameter out of range.

    >>> import pessimism as ps
    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> plain = ps.algorithm("oapl", beta1=1.0, beta2=0.5)
    >>> ps.induced_target(bandit, residual(plain, power=1, cap=2)).policy.round(4)
    array([0.2606, 0.1564, 0.583 ])
    >>> ps.induced_target(bandit, residual("oapl:beta2=.5", dose=0)).policy.round(4)
    array([0.2195, 0.1317, 0.6488])
    """
    algorithm = understood_algorithm(algorithm)
    _check_arm_wise(algorithm)
    values = {"power": power, "cap": cap, "dose": dose, "group_size": group_size}
    filled = {name: RESIDUAL_PARAMETERS[name].check("residual", name, value) for name, value in values.items()}
    strength = (algorithm.beta or 0.0) if restoring is None else restoring
    return Algorithm(
        partial(residual_coefficient, base=algorithm.coefficient, restoring=strength, **filled),
        algorithm.baseline,
        name=f"residual of {algorithm.name}",
        level=algorithm.level,
        coupled=True,
        on_policy=algorithm.on_policy or algorithm.coefficient,
        anchor="behavior",
        induced=_closed_form(algorithm, filled),
        nominal=algorithm.nominal,
        scale=algorithm.scale,
        parameters={**algorithm.parameters, **filled, "restoring": strength},
    )


def _closed_form(algorithm: Algorithm, filled: dict[str, float]) -> ClosedForm | None:
    if filled["group_size"] != math.inf:
        return None  # a sample's own share of the estimate moves the target by O(1/G)
    proven = filled["power"] == 0
    if algorithm.beta is not None:
        return partial(dosed_lambert, beta=algorithm.beta, dose=filled["dose"], proven=proven)
    if algorithm.induced is not None and filled["dose"] == 1:
        return partial(_interior_only, of=algorithm.induced, proven=proven)
    return None


def _check_arm_wise(algorithm: Algorithm) -> None:
    if algorithm.takes_behavior:
        raise ValueError(
            f"{algorithm.name!r} looks at the behavior policy or at other arms; residual forms are of coefficients of "
            "an arm's own log-ratio and advantage"
        )
    if algorithm.kinks is not None:
        raise ValueError(
            f"the coefficient of {algorithm.name!r} jumps; its targets are ends of a path, not points where a residual "
            "vanishes"
        )


# --- entries ---------------------------------------------------------------------------------------------------------

_BETA = positive(0.1, "regression temperature", unit=1, example=0.5, anchors=True)
_DELTA = real(1.0, "shift of the mean baseline, in units of beta; 0 is the mean baseline", example=0.7)
_POWER = real(1.0, "exponent of the weight min(rho, cap)^power; 0 is no weight")
_CAP = positive(2.0, "largest ratio in the weight", infinite=True)

RESIDUAL_PARAMETERS = {
    "power": _POWER,
    "cap": _CAP,
    "dose": nonnegative(1.0, "multiplies lambda (rho - 1); 1 has the regression's own target, 0 the nominal one"),
    "group_size": Parameter(
        math.inf, "G, to leave each sample out of its own estimate of lambda", low=1.0, infinite=True
    ),
}

_DOSE, _GROUP_SIZE = RESIDUAL_PARAMETERS["dose"], RESIDUAL_PARAMETERS["group_size"]
_TARGET = "beta log rho + s lambda rho = A - (1 - s) lambda; Lambert-tempered as the regression's at dose s = 1"
_COSTS = "Needs whole groups. "


def _lambert(beta: float, delta: float, **values: float) -> Algorithm:
    return residual(regression_objective(baselines.shifted_mean(-delta * beta), beta), **values)


def _nominal(beta: float, **values: float) -> Algorithm:
    return residual(regression_objective(baselines.mean(), beta), dose=0.0, **values)


RESIDUAL_REGRESSION = Entry(
    name="residual_regression",
    title="Residual regression",
    coefficient="A - beta l - lambda - s lambda (rho - 1), lambda = E[A] + beta E[rho - 1 - l], V = E r - delta beta",
    target=_TARGET,
    family="regression",
    level="sequence",
    source=SOURCE,
    make=_lambert,
    parameters={"beta": _BETA, "delta": _DELTA, "dose": replace(_DOSE, example=1.5), "group_size": _GROUP_SIZE},
    notes=_COSTS + "The step of shifted_mean in expectation, at dose 1, with noise that vanishes at the target.",
)

RESIDUAL_REGRESSION_WEIGHTED = Entry(
    name="residual_regression.weighted",
    title="Residual regression under a weight",
    coefficient="min(rho, cap)^power (A - beta l - lambda - s lambda (rho - 1)), "
    "lambda and V as in residual_regression",
    target=_TARGET + ", whatever the weight",
    family="regression",
    level="sequence",
    source=SOURCE,
    make=_lambert,
    parameters={
        "beta": _BETA,
        "delta": _DELTA,
        "dose": replace(_DOSE, example=0.5),
        "power": _POWER,
        "cap": _CAP,
        "group_size": _GROUP_SIZE,
    },
    notes=_COSTS + "An infinite cap is the full importance weight. With delta < 0 the target may be unstable.",
)

RESIDUAL_NOMINAL = Entry(
    name="residual_nominal",
    title="Residual regression on the nominal target",
    coefficient="e - E e - beta (E rho - 1), e = A - beta l",
    target=GIBBS,
    family="regression",
    level="sequence",
    source=SOURCE,
    make=_nominal,
    parameters={"beta": _BETA, "group_size": _GROUP_SIZE},
    notes=_COSTS + "residual_regression at dose 0: centered_regression that also keeps a group's mean ratio at one.",
    regime="boundary",
)

RESIDUAL_NOMINAL_WEIGHTED = Entry(
    name="residual_nominal.weighted",
    title="Residual regression on the nominal target under a weight",
    coefficient="min(rho, cap)^power (e - E e - beta (E rho - 1)), e = A - beta l",
    target=GIBBS,
    family="regression",
    level="sequence",
    source=SOURCE,
    make=_nominal,
    parameters={"beta": _BETA, "power": _POWER, "cap": _CAP, "group_size": _GROUP_SIZE},
    notes=_COSTS + "An infinite cap is the full importance weight.",
    regime="boundary",
)

ENTRIES = (
    RESIDUAL_REGRESSION,
    RESIDUAL_REGRESSION_WEIGHTED,
    RESIDUAL_NOMINAL,
    RESIDUAL_NOMINAL_WEIGHTED,
)
