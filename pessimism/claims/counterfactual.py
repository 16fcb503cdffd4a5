"""Claims about baselines, about removing the pessimism, first steps, equivariance, and anchors apart from the data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..algorithm import Algorithm
from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..solve import divergences
from .claim import NOT_APPLICABLE, Case, Claim
from .families import ANCHORED, MODERATE, PLAIN, RARE_ARMS, SMALL, TIES, ZERO_PROBABILITY
from .support import (
    HERE,
    ROUNDED,
    SOLVED,
    Array,
    advantages,
    coefficient,
    combined,
    excess,
    induced,
    mass,
    mean,
    nominal,
    over_arms,
    pessimistic,
    regression,
    share,
    size,
    soft_value,
    stationarity,
)


def _kl(case: Case, chosen: Algorithm) -> tuple[Array, Array]:
    target = induced(case.bandit, chosen)
    return np.asarray(target.normalizer), divergences.reverse_kl(target.log_ratio, case.bandit.behavior)


def mean_normalizer(case: Case) -> Array:
    """With V = E r: lambda = beta KL(mu|pi) >= 0."""
    normalizer, spread = _kl(case, algorithm("kimi_k15", tau=case.beta))
    return combined(share(normalizer - case.beta * spread, normalizer, case.beta * spread), np.maximum(-normalizer, 0))


def mean_expansion(case: Case) -> Array:
    """kappa beta^2/Var -> 1/2 with an error of at most range/beta; rewards made small against beta first."""
    bandit, seen = case.bandit, case.bandit.behavior > 0
    centered = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64), 0.0)
    spread = size(centered, seen)
    # Beyond rounding of the rewards themselves there is a variance to speak of.
    varied = (spread > 1e-9 * size(bandit.reward, seen))[:, 0]
    unit = np.where(varied[:, None], centered / np.where(spread > 0, spread, 1.0), 0.0)
    found = []
    for beta in (10.0, 1e3, 1e5):
        part = Bandit(bandit.behavior, unit)
        variance = mean(unit**2, part) - mean(unit, part) ** 2
        kappa = np.asarray(induced(part, algorithm("kimi_k15", tau=beta)).normalizer) / beta
        relative = share(kappa * 2 * beta**2 - variance, np.where(varied, variance, 1.0))
        found.append(np.where(varied, relative * beta, NOT_APPLICABLE))
    return combined(*found)


def shifted_normalizer(case: Case) -> Array:
    """With V = E r - delta beta: lambda = beta (delta + KL) >= delta beta."""
    found = []
    for delta in (0.1, 1.0, 5.0):
        normalizer, spread = _kl(case, algorithm("shifted_mean", beta=case.beta, delta=delta))
        expected = case.beta * (delta + spread)
        found += [share(normalizer - expected, expected), excess(delta * case.beta, normalizer, normalizer)]
    return combined(*found)


def shifted_bound(case: Case) -> Array:
    """rho <= 1 + (r_max - E r)/(delta beta)."""
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    best = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64), 0.0).max(axis=-1)
    for delta in (0.1, 1.0, 5.0):
        target = induced(bandit, algorithm("shifted_mean", beta=case.beta, delta=delta))
        top = np.where(seen, target.log_ratio, -np.inf).max(axis=-1)
        bound = np.log1p(np.maximum(best, 0.0) / (delta * case.beta))
        found.append(np.maximum(top - bound, 0.0) / (1 + bound))
    return combined(*found)


def soft_value_monotone(case: Case) -> Array:
    """V_beta = beta log E exp(r/beta) falls in beta, from max r to E r."""
    bandit, seen = case.bandit, case.bandit.behavior > 0
    gains = []
    for factor in (0.03, 0.3, 0.9, 1.0, 1.1, 3.0, 30.0):
        chosen = regression(case.beta, soft_value(factor * case.beta))
        gains.append(-chosen.baseline.exact(bandit.reward, bandit.behavior).mean)  # V - E r
    scale = size(bandit.reward, seen)[:, 0]
    falls = [excess(later, earlier, earlier, later) for earlier, later in pairwise(gains)]
    top = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64), -np.inf).max(axis=-1)
    return combined(*falls, share(np.maximum(gains[0] - top, 0), scale), np.maximum(-gains[-1], 0.0))


def decoupled_regimes(case: Case) -> Array:
    """beta1 > beta2: positive; beta1 = beta2: boundary; beta1 < beta2: negative, for rewards that differ."""
    bandit, found = case.bandit, []
    for ratio in (max(case.ratio, 1 / case.ratio), 1.0, min(case.ratio, 1 / case.ratio)):
        chosen = algorithm("oapl", beta1=ratio * case.beta, beta2=case.beta)
        moments = chosen.baseline.exact(bandit.reward, bandit.behavior)
        assert chosen.induced is not None
        closed = chosen.induced(bandit, moments).solved
        rows = np.flatnonzero(closed)
        wrong = np.zeros(case.size)
        if rows.size:
            part = Bandit(bandit.behavior[rows], bandit.reward[rows])
            target = induced(part, chosen)
            spread = case.beta * divergences.reverse_kl(target.log_ratio, part.behavior)
            strength = np.asarray(target.normalizer) * np.sign(ratio - 1)
            against = np.maximum(-strength, 0.0) if ratio != 1 else np.abs(np.asarray(target.normalizer))
            wrong[rows] = share(
                against, np.abs(moments.mean[rows]), spread, 1e-12 * size(part.reward, part.behavior > 0)[:, 0]
            )
        found.append(wrong)
    return combined(*found)


def twins_are_nominal(case: Case) -> Array:
    """Importance-weighted, pairwise, centered regression, uncapped AWR: the nominal target, for every baseline."""
    bandit, seen, beta = case.bandit, case.bandit.behavior > 0, case.beta
    reference = nominal(bandit, regression(beta, 0.0))
    found = []
    for chosen in _twins(case):
        target = induced(bandit, chosen)
        scale = size(reference.log_ratio, seen) + size(advantages(bandit, chosen) / beta, seen) + 1e-6
        difference = np.where(seen, target.log_ratio - reference.log_ratio, 0.0)
        found.append(over_arms(share(difference, scale), seen))
    return combined(*found)


def _twins(case: Case) -> list[Algorithm]:
    beta = case.beta
    levels = [soft_value(beta, case.offset * beta), 0.7 * beta]
    made = [algorithm(n, beta=beta, baseline=v) for n in ("is_regression", "pairwise_regression") for v in levels]
    made += [algorithm("centered_regression", beta=beta, baseline=v) for v in levels]
    return [*made, *(algorithm("awr", beta=beta, cap=float("inf"), baseline=v) for v in levels)]


def twins_are_stationary(case: Case) -> Array:
    """At the nominal target each twin's own coefficient satisfies mu c = lambda pi."""
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
        found.append(over_arms(share(residual, rounding), seen))
    return combined(*found)


def first_step(case: Case) -> Array:
    """At pi = mu every regression, its twins and REINFORCE move along mu (r - E r), whatever the baseline."""
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
        found.append(over_arms(share(direction - step, scale), seen))
    return combined(*found)


def first_step_awr(case: Case) -> Array:
    """AWR's first step is along r - E r too, which is false: it is along exp(A/beta)."""
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


def shift_equivariance(case: Case) -> Array:
    """r -> r + a leaves targets and lambda unchanged for relative baselines; on rewards that add without rounding."""
    seen, found = case.bandit.behavior > 0, []
    unit = 2.0 ** np.ceil(np.log2(np.maximum(np.abs(case.bandit.reward).max(), 1e-300)))
    grid = unit * 2.0**-26
    bandit = case.with_reward(np.round(case.bandit.reward / grid) * grid).bandit
    shift = 8 * unit
    moved = Bandit(bandit.behavior, bandit.reward + shift)
    for chosen in [*pessimistic(case), algorithm("opmd", tau=case.beta)]:
        before, after = induced(bandit, chosen), induced(moved, chosen)
        difference = np.where(seen, after.log_ratio - before.log_ratio, 0.0)
        scale = 1 + shift / case.beta
        found.append(over_arms(np.abs(difference) / scale, seen))
        change = np.asarray(after.normalizer) - np.asarray(before.normalizer)
        found.append(share(change, np.abs(np.asarray(before.normalizer)), shift, case.beta))
    return combined(*found)


def scale_equivariance(case: Case) -> Array:
    """(r, beta, V) -> (s r, s beta, s V) leaves the target and takes lambda to s lambda; s a power of two is exact."""
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for factor in (2.0**-20, 2.0**9):
        moved = Case("", Bandit(bandit.behavior, factor * bandit.reward), factor * case.beta, case.ratio, case.offset)
        for one, other in zip(pessimistic(case), pessimistic(moved), strict=True):
            before, after = induced(bandit, one), induced(moved.bandit, other)
            difference = np.where(seen, after.log_ratio - before.log_ratio, 0.0)
            found.append(over_arms(np.abs(difference) / (1 + np.abs(np.where(seen, before.log_ratio, 0.0))), seen))
            normalizers = np.asarray(before.normalizer), np.asarray(after.normalizer) / factor
            found.append(share(normalizers[1] - normalizers[0], np.abs(normalizers[0]), case.beta))
    return combined(*found)


# --- an anchor apart from the data ----------------------------------------------------------------------------------


def _anchored(case: Case) -> list[Algorithm]:
    beta = case.beta
    return [
        algorithm("a_star_po", beta1=beta * max(case.ratio, 1 / case.ratio), beta2=beta, baseline=None),
        algorithm("shifted_mean", beta=beta, delta=1.0 + abs(case.offset)),
        algorithm("shifted_mean", beta=beta, delta=30.0),
    ]


def _positive(case: Case, chosen: Algorithm) -> tuple:
    """The target and which rows are in the positive regime, (n,)."""
    target = induced(case.bandit, chosen)
    return target, np.asarray(target.normalizer) > 0


def anchored_equation(case: Case) -> Array:
    """beta log(pi/pi_ref) + lambda pi/mu = A on every covered arm."""
    bandit, seen = case.bandit, case.bandit.behavior > 0
    assert bandit.reference is not None
    found = []
    for chosen in _anchored(case):
        target, positive = _positive(case, chosen)
        x = np.where(seen, target.log_ratio, 0.0)
        pull = np.asarray(target.normalizer)[:, None] * target.policy / np.where(seen, bandit.behavior, 1.0)
        advantage = advantages(bandit, chosen)
        residual = np.where(seen, case.beta * x + pull - advantage, 0.0)
        fault = over_arms(share(residual, case.beta * (1 + np.abs(x)), pull, advantage), seen)
        found.append(np.where(positive, fault, 0.0))
    return combined(*found)


def anchored_gap(case: Case) -> Array:
    """Duality gap of max E r - beta KL(pi|pi_ref) - (lambda/2) sum pi^2/mu over covered policies."""
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for chosen in _anchored(case):
        target, positive = _positive(case, chosen)
        x = np.where(seen, target.log_ratio, 0.0)
        pull = np.asarray(target.normalizer)[:, None] * target.policy / np.where(seen, bandit.behavior, 1.0)
        gradient = np.where(seen, bandit.reward - case.beta * x - pull, -np.inf)
        gap = gradient.max(axis=-1) - mass(np.where(seen, gradient, 0.0), np.where(seen, target.policy, 0.0))
        terms = np.abs(bandit.reward) + np.abs(case.beta * x) + np.abs(pull) + case.beta
        found.append(np.where(positive, share(gap, size(terms, seen)[:, 0]), 0.0))
    return combined(*found)


def anchored_uncovered(case: Case) -> Array:
    """Where lambda > 0, arms that the data never show get nothing, and the target is a policy."""
    bandit, found = case.bandit, []
    for chosen in _anchored(case):
        target, positive = _positive(case, chosen)
        outside = np.where(bandit.behavior == 0, target.policy, 0.0).sum(axis=-1)
        total = np.abs(target.policy.sum(axis=-1) - 1)
        found.append(np.where(positive, np.maximum(outside, total), total))
    return combined(*found)


def anchored_boundary(case: Case) -> Array:
    """With full coverage, V = beta log E_ref exp(r/beta) gives lambda = 0 and the policy pi_ref exp(r/beta)/Z."""
    bandit = case.bandit
    assert bandit.reference is not None
    if (bandit.behavior == 0).any():
        return np.full(case.size, NOT_APPLICABLE)
    chosen = algorithm("a_star_po", beta1=case.beta, beta2=case.beta)
    target = induced(bandit, chosen)
    z = bandit.reward.astype(np.longdouble) / case.beta
    z = z - z.max(axis=-1, keepdims=True)
    exact = z - np.log((bandit.reference * np.exp(z)).sum(axis=-1, keepdims=True))
    scale = 1 + size(bandit.reward / case.beta, bandit.behavior > 0)
    policy = np.exp(np.log(bandit.reference) + exact)
    ratio = np.exp(np.log(bandit.reference / bandit.behavior) + exact)
    # lambda acts through the penalty lambda sum pi^2/mu: that product is what is known to rounding, and moving it by
    # d moves the log-ratio of an arm by d (pi/mu) / sum pi^2/mu.
    penalty = mass(ratio, policy)
    steepness = 1 + ratio / penalty[:, None]
    kappa = np.asarray(target.normalizer) / case.beta
    difference = share(target.log_ratio - exact, scale * steepness)
    return combined(over_arms(difference, bandit.behavior > 0), share(kappa * penalty, scale[:, 0]))


def anchored_at_data(case: Case) -> Array:
    """A reference equal to the behavior policy changes nothing."""
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    anchored = Bandit(bandit.behavior, bandit.reward, bandit.behavior)
    for chosen in pessimistic(case):
        one, other = induced(bandit, chosen), induced(anchored, chosen)
        difference = np.where(seen, one.log_ratio - other.log_ratio, 0.0)
        a = size(advantages(bandit, chosen) / case.beta, seen)
        found.append(over_arms(np.abs(difference) / (1 + a), seen))
    return combined(*found)


COVERED = (*SMALL, TIES, ZERO_PROBABILITY, RARE_ARMS)
CLAIMS = (
    Claim(
        "mean.normalizer",
        "With a mean baseline lambda = beta KL(mu|pi) >= 0.",
        HERE + "; the mean-baseline case is reported by arXiv 2602.05933",
        PLAIN,
        mean_normalizer,
        SOLVED,
    ),
    Claim(
        "mean.expansion",
        "With a mean baseline lambda/beta = Var(r)/(2 beta^2) (1 + O(range/beta)): it vanishes where rewards agree.",
        HERE,
        MODERATE,
        mean_expansion,
        # The violation is the relative error in units of range/beta, of which the next term of the series is below one.
        2.0,
    ),
    Claim(
        "shifted.normalizer",
        "With V = E r - delta beta, lambda = beta (delta + KL(mu|pi)) >= delta beta.",
        "idea: arXiv 2605.28150; formula derived here",
        PLAIN,
        shifted_normalizer,
        SOLVED,
    ),
    Claim(
        "shifted.bound",
        "With V = E r - delta beta, rho <= 1 + (max r - E r)/(delta beta): linear, where nominal is exponential.",
        HERE,
        PLAIN,
        shifted_bound,
        SOLVED,
    ),
    Claim(
        "decoupled.soft_value",
        "V_beta = beta log E exp(r/beta) is non-increasing in beta and lies between E r and max r.",
        HERE,
        PLAIN,
        soft_value_monotone,
        ROUNDED,
    ),
    Claim(
        "decoupled.regimes",
        "Decoupled temperatures: beta1 > beta2 positive, beta1 = beta2 boundary, beta1 < beta2 negative.",
        HERE,
        PLAIN,
        decoupled_regimes,
        1e-9,  # against |E A| + beta KL and a floor of 1e-12 of the rewards, where margins drown in rounding
    ),
    Claim(
        "twins.nominal",
        "Importance-weighted, pairwise and centered regression and AWR have the nominal target for every baseline.",
        HERE,
        MODERATE,
        twins_are_nominal,
        SOLVED,
    ),
    Claim(
        "twins.stationary",
        "At the nominal target the twins' own coefficients satisfy mu c = lambda pi.",
        HERE,
        MODERATE,
        twins_are_stationary,
        SOLVED,
    ),
    Claim(
        "first_step.same",
        "At pi = mu all log-ratio regressions, their twins and REINFORCE take the same step, E[(r - V) grad log pi].",
        HERE,
        PLAIN,
        first_step,
        ROUNDED,
    ),
    Claim(
        "equivariance.shift",
        "Adding a constant to all rewards leaves targets unchanged for relative baselines.",
        HERE,
        MODERATE,
        shift_equivariance,
        SOLVED,
    ),
    Claim(
        "equivariance.scale",
        "Scaling rewards, temperatures and baseline together leaves the target and scales lambda.",
        HERE,
        MODERATE,
        scale_equivariance,
        SOLVED,
    ),
    Claim(
        "anchored.equation",
        "Anchored at a reference: beta log(pi/pi_ref) + lambda pi/mu = A on every covered arm.",
        HERE,
        ANCHORED,
        anchored_equation,
        1e-10,  # solved to 1e-12 of the largest term of each row, over ratios of mu to the reference up to 1e10
    ),
    Claim(
        "anchored.objective",
        "Anchored at a reference, the target maximizes E r - beta KL(pi|pi_ref) - (lambda/2) sum pi^2/mu (lambda > 0).",
        HERE,
        ANCHORED,
        anchored_gap,
        1e-10,
    ),
    Claim(
        "anchored.uncovered",
        "For lambda > 0 an arm that the data never show gets nothing, however the reference likes it.",
        HERE,
        ANCHORED,
        anchored_uncovered,
        SOLVED,
    ),
    Claim(
        "anchored.boundary",
        "Anchored at a reference that the data cover, V = beta log E_ref exp(r/beta) is the boundary.",
        HERE,
        ANCHORED,
        anchored_boundary,
        SOLVED,
    ),
    Claim(
        "anchored.at_data",
        "A reference equal to the behavior policy changes nothing.",
        HERE,
        COVERED,
        anchored_at_data,
        1e-10,
    ),
)
