"""Claims about the residual family h(rho)(c - lambda - s lambda (rho - 1)): targets, stability, groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from ..algorithm import Algorithm
from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..objectives.residual import residual
from .case import NOT_APPLICABLE, Case
from .claim import claim, claims_in
from .families import MODERATE, SMALL
from .support import (
    HERE,
    ROUNDED,
    SOLVED,
    WEIGHED,
    Array,
    advantages,
    coefficient,
    combined,
    excess,
    induced,
    mass,
    over_arms,
    pessimistic,
    regression,
    relative,
    soft_value,
)

WEIGHTS = ((0.0, np.inf), (0.5, np.inf), (1.0, np.inf), (1.0, 2.0), (2.0, 5.0), (-0.5, np.inf))
"""Exponents and caps of h = min(rho, cap)^power."""
DOSES = (0.0, 0.5, 1.0, 2.0)
LARGEST = 150.0
"""Log-ratios, of either sign, up to which every weight and its square are floats."""
MILD = 30.0
"""Rewards over the temperature up to which a derivative of the velocity can be taken by differences."""
STEP = 1e-5
"""Of central differences, whose relative error is then 1e-10 of the largest slope."""


def prove_zero_mean() -> bool:
    """Three arms: E_mu[c - lambda - s lambda (rho - 1)] = 0 once E rho = 1, so nu E[rho/h] = 0 with E[rho/h] > 0."""
    import sympy as sp

    mu1, mu2, h1, h2, h3, r1, r2, r3 = sp.symbols("mu1 mu2 h1 h2 h3 rho1 rho2 rho3", positive=True)
    c1, c2, c3, s = sp.symbols("c1 c2 c3 s", real=True)
    mu3 = sp.Symbol("mu3", positive=True)
    arms = ((mu1, c1, r1, h1), (mu2, c2, r2, h2), (mu3, c3, r3, h3))
    normalizer = sp.Add(*(mu * c for mu, c, _, _ in arms))
    average = sp.Add(*(mu * (c - normalizer - s * normalizer * (rho - 1)) for mu, c, rho, _ in arms))
    left = average.subs(r3, (1 - mu1 * r1 - mu2 * r2) / mu3).subs(mu3, 1 - mu1 - mu2)
    weight = sp.Add(*(mu * rho / h for mu, _, rho, h in arms))
    return sp.simplify(sp.expand(sp.simplify(left))) == 0 and weight.is_positive is True


def prove_mean_ratio() -> bool:
    """Two samples: the average residual factors into (1 - m)(s lambda-hat + b)."""
    import sympy as sp

    c1, c2, r1, r2, s, b = sp.symbols("c1 c2 rho1 rho2 s b", real=True)
    m, c = (r1 + r2) / 2, (c1 + c2) / 2
    estimate = c + b * (m - 1)
    average = sum(each - estimate * (1 + s * (rho - 1)) for each, rho in ((c1, r1), (c2, r2))) / 2
    return sp.expand(average - (1 - m) * (s * estimate + b)) == 0


def rare_winners() -> Iterator[Case]:
    """Three arms, a rare one the best, V = V* - beta/50."""
    for percent in range(50, 80, 5):
        behavior = np.array([[percent, 99 - percent, 1]]) / 100
        for reward in ([[0.0, 1.0, 2.0]], [[0.0, 3.0, 4.0]], [[0.0, 4.0, 6.0]]):
            yield Case("rare winners", Bandit(behavior, np.array(reward)), 1.0, 2.0, -0.02)


def _shifted(case: Case, delta: float, **values: float) -> Algorithm:
    return residual(algorithm("shifted_mean", beta=case.beta, delta=delta), **values)


def _policies(case: Case) -> Array:
    """Log-ratios (n, K) of a policy drawn for every instance, within a few nats of mu."""
    seen = case.bandit.behavior > 0
    drawn = np.where(seen, np.random.default_rng(case.seed).normal(size=seen.shape), 0.0)
    return drawn - np.log(mass(np.exp(drawn), case.bandit.behavior).astype(np.float64))[:, None]


@claim("residual.target", HERE, MODERATE, SOLVED)
def same_target(case: Case) -> Array:
    """h(rho)(c - lambda rho) is zero on every arm at c's own Lambert target, for every weight h.

    Check: Arm by arm, at the target solved for c itself.
    """
    seen, found = case.bandit.behavior > 0, []
    for chosen in pessimistic(case):
        target = induced(case.bandit, chosen)
        x = np.where(seen, target.log_ratio, 0.0)
        gain = np.abs(advantages(case.bandit, chosen))
        fits = over_arms(np.abs(x), seen) < LARGEST
        ratio = np.exp(np.minimum(x, LARGEST))
        size = gain + case.beta * np.abs(x) + np.abs(np.asarray(target.normalizer))[:, None] * (1 + ratio)
        # The estimate of lambda adds up these over the group.
        scale = size + mass(gain + case.beta * (np.abs(x) + ratio + 1), case.bandit.behavior)[:, None]
        for power, cap in WEIGHTS:
            value = coefficient(case.bandit, residual(chosen, power=power, cap=cap), x)
            weight = np.exp(power * np.minimum(np.clip(x, -LARGEST, LARGEST), np.log(cap)))
            off = over_arms(relative(value, weight * scale * np.maximum(1, ratio)), seen)
            found.append(np.where(fits, off, NOT_APPLICABLE))
    return combined(*found)


@claim(
    "residual.only_target",
    HERE,
    SMALL,
    ROUNDED,
    proof=prove_zero_mean,
    proves="for three arms, any coefficient, weight and dose",
)
def zero_mean(case: Case) -> Array:
    """The residual without its weight averages zero under mu at every policy, so it cannot be nu rho/h for nu != 0.

    Check: At policies drawn at random.
    """
    bandit, x, found = case.bandit, _policies(case), []
    plain = algorithm("shifted_mean", beta=case.beta, delta=0.7)
    size = mass(np.abs(advantages(bandit, plain)) + case.beta * (np.abs(x) + np.exp(x) + 1), bandit.behavior)
    for dose, (power, cap) in product(DOSES, WEIGHTS):
        value = coefficient(bandit, residual(plain, power=power, cap=cap, dose=dose), x)
        error = value / np.exp(power * np.minimum(x, np.log(cap)))
        found.append(relative(mass(error, bandit.behavior), (1 + dose) * size))
    return combined(*found)


@claim("residual.dose", HERE, SMALL, WEIGHED, effort=0.5)
def dose_is_a_dial(case: Case) -> Array:
    """At dose s the target is that of a mean baseline shifted by s delta - (1 - s) KL(mu|pi); KL falls in s.

    Check: That regression's target, and the order of the divergences.
    """
    bandit, found, before = case.bandit, [], None
    for dose in DOSES:
        target = induced(bandit, _shifted(case, 0.7, dose=dose))
        distance = -mass(target.log_ratio, bandit.behavior).astype(np.float64)
        shift = 0.7 * dose - (1 - dose) * distance
        # A number per row is no rule of a baseline, which may see any part of the rows: it goes into the rewards.
        baseline = mass(bandit.reward, bandit.behavior).astype(np.float64) - shift * case.beta
        advantage = case.with_reward(bandit.reward - baseline[:, None]).bandit
        plain = induced(advantage, regression(case.beta, 0.0))
        found.append(np.abs(plain.policy - target.policy).max(axis=-1))
        if before is not None:
            found.append(excess(distance, before, distance, 1.0))
        before = distance
    return combined(*found)


@claim("residual.step", HERE, SMALL, ROUNDED)
def same_step(case: Case) -> Array:
    """Without a weight the expected update is s times the regression's plus 1 - s times the centered regression's.

    Check: mu c~ - pi E c~ = s (mu c - pi E c) + (1 - s) mu (c - E c), at random policies.
    """
    bandit, x, found = case.bandit, _policies(case), []
    mu, plain = bandit.behavior, algorithm("shifted_mean", beta=case.beta, delta=0.7)
    pi, c = mu * np.exp(x), coefficient(bandit, plain, x)
    average = mass(c, mu)[:, None]
    for dose in DOSES:
        value = coefficient(bandit, residual(plain, dose=dose), x)
        step = mu * value - pi * mass(value, mu)[:, None]
        wanted = dose * (mu * c - pi * average) + (1 - dose) * mu * (c - average)
        found.append(
            over_arms(relative(step - wanted, mass(np.abs(c), mu)[:, None] * (1 + np.exp(x)) * (1 + dose)), mu > 0)
        )
    return combined(*found)


@claim(
    "residual.mean_ratio", HERE, MODERATE, ROUNDED, proof=prove_mean_ratio, proves="for two samples, any coefficient"
)
def mean_ratio(case: Case) -> Array:
    """On a group the unweighted residuals average (1 - m)(s lambda-hat + beta), m the mean ratio: at rest m = 1.

    Check: At random ratios.
    """
    x = np.random.default_rng(case.seed).normal(size=case.bandit.behavior.shape)
    plain = algorithm("shifted_mean", beta=case.beta, delta=0.7)
    reward, found = case.bandit.reward, []
    advantage, m = plain.advantage(reward), np.exp(x).mean(axis=-1)
    estimate = advantage.mean(axis=-1) + case.beta * (np.expm1(x) - x).mean(axis=-1)
    for dose in DOSES:
        value = residual(plain, dose=dose).coefficient(x, advantage)
        wanted = (1 - m) * (dose * estimate + case.beta)
        scale = np.abs(value).mean(axis=-1) + np.abs(reward).max(axis=-1) + estimate * (1 + dose * m)
        found.append(relative(value.mean(axis=-1) - wanted, scale))
    return combined(*found)


@claim("residual.unbiased", HERE, SMALL, ROUNDED, effort=0.3)
def unbiased(case: Case) -> Array:
    """Leaving a sample out of its own estimate of lambda makes the residual unbiased at every policy, for G >= 2.

    Check: Its expectation given its own sample; all pairs and triples are enumerated.
    """
    bandit, x, found = case.bandit, _policies(case), []
    seen = bandit.behavior > 0
    plain = algorithm("shifted_mean", beta=case.beta, delta=0.7)
    gain, c = advantages(bandit, plain), coefficient(bandit, plain, x)
    normalizer = mass(c, bandit.behavior)[:, None]
    wanted = (c - normalizer * np.exp(x))[:, None, :]
    for size in (2, 3):
        chosen = residual(plain, group_size=size)
        total = np.zeros((case.size, 1, bandit.arms))
        for group in product(range(bandit.arms), repeat=size):
            own, index = group[0], list(group)
            # The advantages' own mean is delta beta in expectation, whatever the rewards drawn: it is set to that.
            drawn = gain[:, index]
            value = chosen.coefficient(x[:, index], drawn - drawn.mean(axis=-1, keepdims=True) + 0.7 * case.beta)
            value = value + (drawn.mean(axis=-1, keepdims=True) - 0.7 * case.beta)
            total[:, 0, own] += bandit.behavior[:, index[1:]].prod(axis=-1) * value[:, 0]
        scale = np.abs(c) + np.abs(normalizer) * (1 + np.exp(x)) + np.abs(gain).max(axis=-1, keepdims=True)
        found.append(over_arms(relative(total[:, 0] - wanted[:, 0], scale), seen))
    return combined(*found)


def _growth(case: Case, chosen: Algorithm) -> Array:
    """Largest real part of the linearized softmax flow at the target, relative to the largest eigenvalue, (n,)."""
    mu = case.bandit.behavior
    logits = np.log(mu) + induced(case.bandit, chosen).log_ratio
    slopes = [
        (_velocity(case, chosen, logits + STEP * unit) - _velocity(case, chosen, logits - STEP * unit)) / (2 * STEP)
        for unit in np.eye(mu.shape[-1])
    ]
    values = np.linalg.eigvals(np.stack(slopes, axis=-1))
    largest = np.abs(values).max(axis=-1)
    return values.real.max(axis=-1) / np.where(largest > 0, largest, 1.0)


def _velocity(case: Case, chosen: Algorithm, logits: Array) -> Array:
    top = logits.max(axis=-1, keepdims=True)
    log_policy = logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
    mu = case.bandit.behavior
    pull = mu * coefficient(case.bandit, chosen, log_policy - np.log(mu))
    return pull - np.exp(log_policy) * pull.sum(axis=-1, keepdims=True)


@claim("residual.stable", HERE, SMALL, 1e-7, effort=0.1)
def stable(case: Case) -> Array:
    """With a baseline up to the mean the target of every weight and dose tried is stable under the softmax flow.

    Check: Eigenvalues of central differences of the velocity; a shift of all logits is an exact eigenvalue 0.
    """
    bandit = case.bandit
    if bandit.arms == 1:
        return np.full(case.size, NOT_APPLICABLE)
    # Every arm is played, so that each has a logit that moves.
    played = replace(case, bandit=Bandit(0.95 * bandit.behavior + 0.05 / bandit.arms, bandit.reward))
    tried = product((0.0, 1.0), WEIGHTS[1:5], (0.0, 1.0, 2.0))
    mild = np.ptp(bandit.reward, axis=-1) < MILD * case.beta
    found = combined(
        *(
            _growth(played, _shifted(case, delta, power=power, cap=cap, dose=dose))
            for delta, (power, cap), dose in tried
        )
    )
    return np.where(mild, found, NOT_APPLICABLE)


@claim("residual.stable_below_soft_value", HERE, (), 1e-4, refuted=True, search=rare_winners, falsify=False)
def unstable_below_soft_value(case: Case) -> Array:
    """With a full importance weight the target is stable for every baseline below the soft value V*.

    Check: Growth at the target with V just below V*.
    """
    chosen = residual(regression(case.beta, soft_value(case.beta, case.offset * case.beta)), power=1.0)
    return _growth(case, chosen)


CLAIMS = claims_in(vars())
