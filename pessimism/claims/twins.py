"""Claims about objectives that keep the nominal target, and about the first step that they share."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..algorithm import Algorithm
from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from . import exact
from .case import NOT_APPLICABLE, Case
from .claim import claim, claims_in
from .counterexamples import refuted, small_rationals
from .families import MODERATE, PLAIN
from .support import (
    HERE,
    ROUNDED,
    SOLVED,
    Array,
    advantages,
    coefficient,
    combined,
    induced,
    mean,
    nominal,
    over_arms,
    pessimistic,
    regression,
    relative,
    size,
    soft_value,
    stationarity,
)
from .symbolic import is_zero, positive_symbols, real_symbols


def _twins_proof() -> bool:
    """At rho = e^((r - V*)/beta), c/rho (weighted, AWR) and A - beta l (centered) are the same on every arm."""
    import sympy as sp

    beta, rho = positive_symbols("beta rho")
    reward, baseline, top = real_symbols("r V T")
    x = (reward - top) / beta
    error = reward - baseline - beta * x
    weighted = rho * error / rho
    likelihood = sp.exp((reward - baseline) / beta) / sp.exp(x)
    free = all(is_zero(sp.diff(sp.simplify(value), reward)) for value in (error, weighted, likelihood))
    return free and is_zero(weighted - (top - baseline))


def _awr_proof() -> bool:
    """c = e^(A/beta) = lambda rho gives log rho = A/beta - log lambda: slope 1/beta in r, the same for every V."""
    import sympy as sp

    beta, lam = positive_symbols("beta lambda")
    reward, baseline = real_symbols("r V")
    log_ratio = sp.expand_log(sp.log(sp.exp((reward - baseline) / beta) / lam), force=True)
    return is_zero(sp.diff(log_ratio, reward) - 1 / beta) and is_zero(sp.diff(log_ratio, reward, baseline))


@claim("twins.nominal", HERE, MODERATE, SOLVED, proof=_twins_proof, proves="the twins' equations at the nominal target")
def twins_are_nominal(case: Case) -> Array:
    """Importance-weighted, pairwise and centered regression and AWR have the nominal target for every baseline.

    Check: Importance-weighted, pairwise, centered regression, uncapped AWR: the nominal target, for every
    baseline.
    """
    bandit, seen, beta = case.bandit, case.bandit.behavior > 0, case.beta
    reference = nominal(bandit, regression(beta, 0.0))
    found = []
    for chosen in _twins(case):
        target = induced(bandit, chosen)
        scale = size(reference.log_ratio, seen) + size(advantages(bandit, chosen) / beta, seen) + 1e-6
        difference = np.where(seen, target.log_ratio - reference.log_ratio, 0.0)
        found.append(over_arms(relative(difference, scale), seen))
    return combined(*found)


def _twins(case: Case) -> list[Algorithm]:
    beta = case.beta
    levels = [soft_value(beta, case.offset * beta), 0.7 * beta]
    made = [algorithm(n, beta=beta, baseline=v) for n in ("is_regression", "pairwise_regression") for v in levels]
    made += [algorithm("centered_regression", beta=beta, baseline=v) for v in levels]
    return [*made, *(algorithm("awr", beta=beta, cap=float("inf"), baseline=v) for v in levels)]


@claim("twins.stationary", HERE, MODERATE, SOLVED)
def twins_are_stationary(case: Case) -> Array:
    """At the nominal target the twins' own coefficients satisfy mu c = lambda pi.

    Check: At the nominal target each twin's own coefficient satisfies mu c = lambda pi.
    """
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for chosen in _twins(case):
        target = nominal(bandit, regression(case.beta, 0.0))
        a = np.where(seen, advantages(bandit, chosen) / case.beta, 0.0)
        if chosen.name == "awr":
            # Exponentials of more than 1e2 leave the floats' useful range; there the claim is one about logs.
            keep = (np.abs(a).max(axis=-1) < 100) & (np.abs(np.where(seen, target.log_ratio, 0.0)).max(axis=-1) < 100)
            rows = np.flatnonzero(keep)
            values = np.full(case.size, NOT_APPLICABLE)
            if rows.size:
                part = Bandit(bandit.behavior[rows], bandit.reward[rows])
                values[rows] = stationarity(part, chosen, nominal(part, regression(case.beta, 0.0)))
            found.append(values)
            continue
        c = coefficient(bandit, chosen, np.where(seen, target.log_ratio, 0.0))
        ratio = np.exp(np.where(seen, target.log_ratio, 0.0))
        normalizer = mean(c, bandit)[:, None]
        # c is a difference of terms of size |A| + beta |l|, times rho where it is weighted.
        terms = (np.abs(a) + np.abs(target.log_ratio)) * case.beta
        weight = ratio if chosen.carries_ratio else 1.0
        rounding = mean(np.where(seen, terms * weight, 0.0), bandit)[:, None]
        residual = bandit.behavior * np.where(seen, c - normalizer * ratio, 0.0)
        found.append(over_arms(relative(residual, rounding), seen))
    return combined(*found)


def _first_step_proof() -> bool:
    """At log rho = 0 the coefficients A - beta l and rho (A - beta l) give the step mu (r - E r); two arms."""
    import sympy as sp

    (beta,) = positive_symbols("beta,")
    (mu,) = positive_symbols("mu,")
    x, one, two, baseline = real_symbols("x one two V")
    other = 1 - mu
    mean = mu * one + other * two
    forms = (lambda a: a - beta * x, lambda a: sp.exp(x) * (a - beta * x))
    for form in forms:
        c1, c2 = form(one - baseline).subs(x, 0), form(two - baseline).subs(x, 0)
        step = mu * c1 - mu * (mu * c1 + other * c2)
        if not is_zero(step - mu * (one - mean)):
            return False
    return True


@claim(
    "first_step.same",
    HERE,
    PLAIN,
    ROUNDED,
    proof=_first_step_proof,
    proves="regression and its weighted twin, for two arms",
)
def first_step(case: Case) -> Array:
    """At pi = mu all log-ratio regressions, their twins and REINFORCE take the same step, E[(r - V) grad log pi].

    Check: At pi = mu every regression, its twins and REINFORCE move along mu (r - E r), whatever the baseline.
    """
    bandit, seen = case.bandit, case.bandit.behavior > 0
    centered = bandit.reward - mean(bandit.reward, bandit)[:, None]
    step = np.where(seen, bandit.behavior * centered, 0.0)
    chosen_ones = [*pessimistic(case), *_twins(case), algorithm("reinforce"), algorithm("opmd", tau=case.beta)]
    found = []
    for chosen in chosen_ones:
        if chosen.name == "awr":
            continue  # see first_step.awr
        c = coefficient(bandit, chosen, np.zeros_like(bandit.reward))
        direction = bandit.behavior * np.where(seen, c - mean(c, bandit)[:, None], 0.0)
        scale = size(advantages(bandit, chosen), seen) + size(bandit.reward, seen)
        found.append(over_arms(relative(direction - step, scale), seen))
    return combined(*found)


@exact.precisely
def _confirm_first_step(case: Case) -> bool:
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)

    def step(c: list) -> list:
        center = exact.mean(behavior, c)
        return [p * (v - center) for p, v in zip(behavior, c, strict=True)]

    one, other = step(reward), step([mp.exp(r / beta) for r in reward])
    # Parallel vectors have all 2 x 2 minors zero.
    minors = [one[i] * other[j] - one[j] * other[i] for i in range(len(one)) for j in range(i)]
    return max(abs(m) for m in minors) > exact.margin()


@refuted("first_step.awr", search=partial(small_rationals, arms=(2, 3)), confirm=_confirm_first_step)
def first_step_awr(case: Case) -> Array:
    """At pi = mu AWR takes the same step, up to its length, as log-ratio regression.

    Check: AWR's first step is along r - E r too, which is false: it is along exp(A/beta).
    """
    bandit = case.bandit
    centered = bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64)
    z = centered / case.beta
    c = np.exp(np.clip(z, -50, 50))
    values = coefficient(bandit, algorithm("awr", beta=case.beta, cap=float("inf")), np.zeros_like(z))
    c = np.where(np.abs(z) < 50, values, c)
    one = bandit.behavior * (c - mean(c, bandit)[:, None].astype(np.float64))
    other = bandit.behavior * centered
    norms = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosine = (one * other).sum(axis=-1) / np.where(norms > 0, norms, 1.0)
    return np.where(norms > 0, np.maximum(1 - cosine, 0.0), 0.0)


CLAIMS = claims_in(vars())
