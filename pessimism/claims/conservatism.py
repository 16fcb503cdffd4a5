"""Claims about how log-ratio regression is conservative in the positive regime, and what it maximizes there."""

from __future__ import annotations

import numpy as np

from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..solve import divergences
from .claim import Case, Claim
from .families import MODERATE, PLAIN
from .support import (
    HERE,
    SOLVED,
    WEIGHED,
    Array,
    advantages,
    combined,
    disorder,
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
)


def likelihood_order(case: Case) -> Array:
    """log pi* - log pi-dagger is non-decreasing in the reward."""
    seen, found = case.bandit.behavior > 0, []
    for chosen in pessimistic(case):
        target, other = induced(case.bandit, chosen), nominal(case.bandit, chosen)
        gap = np.where(seen, other.log_ratio - target.log_ratio, 0.0)
        scale = np.maximum(size(other.log_ratio, seen), size(advantages(case.bandit, chosen) / case.beta, seen))
        found.append(share(disorder(case.bandit.reward, gap, seen), scale[:, 0]))
    return combined(*found)


def slope_bracket(case: Case) -> Array:
    """Between two arms, log rho gains between 1/(beta + lambda rho_high) and 1/(beta + lambda rho_low) per reward."""
    bandit, found = case.bandit, []
    key = np.where(bandit.behavior > 0, bandit.reward, np.inf)
    order = np.argsort(key, axis=-1)
    reward = np.take_along_axis(key, order, axis=-1)
    both = np.isfinite(reward[:, 1:])
    rise = np.where(both, np.diff(np.where(np.isfinite(reward), reward, 0.0), axis=-1), 0.0)
    for chosen in pessimistic(case):
        target = induced(bandit, chosen)
        x = np.take_along_axis(np.where(bandit.behavior > 0, target.log_ratio, 0.0), order, axis=-1)
        gain = np.where(both, np.diff(x, axis=-1), 0.0)
        steepness = case.beta + np.asarray(target.normalizer)[:, None] * np.exp(x)
        low, high = rise / steepness[:, 1:], rise / steepness[:, :-1]
        scale = (
            np.maximum(np.abs(x[:, 1:]), np.abs(x[:, :-1])) + size(advantages(bandit, chosen), key < np.inf) / case.beta
        )
        fault = np.maximum(share(np.maximum(gain - high, 0), scale), share(np.maximum(low - gain, 0), scale))
        found.append(np.where(both, fault, 0.0).max(axis=-1, initial=0.0))
    return combined(*found)


def divergence_order(case: Case) -> Array:
    """D_f(pi-dagger|mu) <= D_f(pi*|mu) for every divergence of the package."""
    found = []
    for chosen in pessimistic(case):
        target, other = induced(case.bandit, chosen), nominal(case.bandit, chosen)
        for divergence in divergences.DIVERGENCES.values():
            near, far = (divergence(t.log_ratio, case.bandit.behavior) for t in (target, other))
            # Log-ratios are right to 1e-16 absolutely: divergences below 1e-6 are compared absolutely, to 1e-15.
            found.append(excess(near, far, near, far, np.full(case.size, 1e-6)))
    return combined(*found)


def value_order(case: Case) -> Array:
    """E_pi-dagger r <= E_pi* r."""
    bandit, found = case.bandit, []
    centered = bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64)
    scale = size(bandit.reward, bandit.behavior > 0)[:, 0]
    for chosen in pessimistic(case):
        values = [mass(centered, t.policy) for t in (induced(bandit, chosen), nominal(bandit, chosen))]
        found.append(excess(values[0], values[1], scale))
    return combined(*found)


def ratio_order(case: Case) -> Array:
    """max rho-dagger <= max rho* and min rho-dagger >= min rho*."""
    seen, found = case.bandit.behavior > 0, []
    for chosen in pessimistic(case):
        target, other = induced(case.bandit, chosen), nominal(case.bandit, chosen)
        scale = np.maximum(size(other.log_ratio, seen), size(advantages(case.bandit, chosen) / case.beta, seen))[:, 0]
        top, high = (np.where(seen, t.log_ratio, -np.inf).max(axis=-1) for t in (target, other))
        bottom, low = (np.where(seen, t.log_ratio, np.inf).min(axis=-1) for t in (target, other))
        found += [excess(top, high, scale), excess(low, bottom, scale)]
    return combined(*found)


def uniform_entropy_order(case: Case) -> Array:
    """Under a uniform behavior policy the induced target has at least the nominal one's Shannon entropy."""
    arms = case.bandit.arms
    bandit = Bandit(np.full(case.bandit.behavior.shape, 1 / arms), case.bandit.reward)
    found = []
    for chosen in pessimistic(case):
        near, far = (divergences.entropy(t.policy) for t in (induced(bandit, chosen), nominal(bandit, chosen)))
        found.append(excess(far, near, np.log(arms) + 1))
    return combined(*found)


def entropy_order(case: Case) -> Array:
    """H(pi-dagger) >= H(pi*), which is false in general."""
    chosen = algorithm("kimi_k15", tau=case.beta)
    near, far = (divergences.entropy(t.policy) for t in (induced(case.bandit, chosen), nominal(case.bandit, chosen)))
    return excess(far, near, np.log(max(case.bandit.arms, 2)))


def dial_monotone(case: Case) -> Array:
    """Each step of V down from V* moves the target toward mu in the likelihood-ratio order."""
    bandit, seen = case.bandit, case.bandit.behavior > 0
    previous, found = None, []
    for depth in (0.0, 0.03, 0.3, 1.0, 4.0, 30.0, 1e3, 1e5):
        chosen = regression(case.beta, soft_value(case.beta, -depth * case.beta))
        current = np.where(seen, induced(bandit, chosen).log_ratio, 0.0)
        if previous is not None:
            scale = size(advantages(bandit, chosen) / case.beta, seen)[:, 0] + size(previous, seen)[:, 0]
            found.append(share(disorder(bandit.reward, previous - current, seen), scale))
        previous = current
    return combined(*found)


def dial_limit(case: Case) -> Array:
    """As V falls to minus infinity the target tends to mu, at least like range(r)/lambda in log-ratio."""
    bandit, seen = case.bandit, case.bandit.behavior > 0
    spread = size(bandit.reward, seen)[:, 0] * 2
    depth = 1e8 * (spread.max() / case.beta + 1)
    target = induced(bandit, regression(case.beta, soft_value(case.beta, -depth * case.beta)))
    rho = np.exp(np.where(seen, target.log_ratio, 0.0))
    moved = mass(np.abs(rho - 1), bandit.behavior) / 2
    return np.asarray(np.maximum(moved - spread / np.asarray(target.normalizer), 0.0), dtype=np.float64)


def explicit_gap(case: Case) -> Array:
    """Duality gap of max E r - beta KL - (lambda/2) chi2 at the target: the linearized objective, maximized."""
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for chosen in pessimistic(case):
        target = induced(bandit, chosen)
        x, normalizer = np.where(seen, target.log_ratio, 0.0), np.asarray(target.normalizer)[:, None]
        pull = normalizer * np.expm1(x)
        gradient = np.where(seen, bandit.reward - case.beta * x - pull, -np.inf)
        gap = gradient.max(axis=-1) - mass(np.where(seen, gradient, 0.0), target.policy)
        terms = np.abs(bandit.reward) + np.abs(case.beta * x) + np.abs(pull) + np.abs(normalizer)
        found.append(share(gap, size(terms, seen)[:, 0]))
    return combined(*found)


def explicit_maximum(case: Case) -> Array:
    """No other policy tried does better in max E r - beta KL - (lambda/2) chi2 with the target's own lambda."""
    bandit, found = case.bandit, []
    generator = np.random.default_rng(case.seed)
    for chosen in pessimistic(case):
        target = induced(bandit, chosen)
        best, scale = _penalized(case, target.log_policy, np.asarray(target.normalizer))
        with np.errstate(divide="ignore"):
            log_rivals = [nominal(bandit, chosen).log_policy, bandit.log_behavior]
            for step in (1e-3, 0.1, 1.0):
                moved = target.log_policy + step * generator.normal(size=target.policy.shape)
                moved = moved - moved.max(axis=-1, keepdims=True)
                log_rivals.append(moved - np.log(np.exp(moved).sum(axis=-1, keepdims=True)))
        for log_rival in log_rivals:
            other, other_scale = _penalized(case, log_rival, np.asarray(target.normalizer))
            found.append(excess(other, best, scale, np.where(np.isfinite(other), other_scale, 0.0)))
    return combined(*found)


def _penalized(case: Case, log_policy: Array, normalizer: Array) -> tuple[Array, Array]:
    bandit = case.bandit
    with np.errstate(invalid="ignore", over="ignore"):
        x = np.where(bandit.behavior > 0, log_policy - bandit.log_behavior, -np.inf)
    centered = bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64)
    value = mass(centered, np.exp(log_policy))
    cost = case.beta * divergences.kl(x, bandit.behavior)
    with np.errstate(over="ignore"):
        cost = cost + normalizer / 2 * divergences.chi_squared(x, bandit.behavior)
    # Divergences are right to 1e-16 absolutely.
    floor = 1e-16 / SOLVED * case.beta
    return value - cost, size(bandit.reward, bandit.behavior > 0)[:, 0] + np.abs(value) + cost + floor


def cql_fixed_point(case: Case) -> Array:
    """CQL's Q = r - alpha(rho - 1) has pi ~ mu e^(Q/beta); regression with its V has lambda = alpha and its target."""
    bandit, seen, beta = case.bandit, case.bandit.behavior > 0, case.beta
    found = []
    for alpha in (0.3 * beta, 3 * beta):
        chosen = algorithm("cql", alpha=alpha, beta=beta)
        target = induced(bandit, chosen)
        x = np.where(seen, target.log_ratio, 0.0)
        values = bandit.reward - alpha * np.expm1(x)
        level = np.where(seen, values / beta - x, 0.0)  # log Z of the Gibbs policy of Q, the same on every arm
        spread = np.where(seen, level, -np.inf).max(axis=-1) - np.where(seen, level, np.inf).min(axis=-1)
        scale = size(np.abs(bandit.reward) / beta + np.abs(x) + alpha / beta * np.exp(x), seen)[:, 0]
        found.append(share(spread, scale))
        twin = regression(beta, _level_rule(alpha, beta))
        again = induced(bandit, twin)
        found.append(over_arms(np.abs(again.log_ratio - x), seen) / (1 + scale))
        found.append(share(np.asarray(again.normalizer) - alpha, alpha, beta * scale))
    return combined(*found)


def _level_rule(alpha: float, beta: float):
    """V = r - beta x - alpha rho of CQL's own target, as a baseline rule."""

    def rule(reward: Array, behavior: Array) -> Array:
        target = induced(Bandit(behavior, reward), algorithm("cql", alpha=alpha, beta=beta))
        seen = behavior > 0
        x = np.where(seen, target.log_ratio, 0.0)
        level = reward - beta * x - alpha * np.exp(x)
        return (np.where(seen, behavior * level, 0.0).sum(axis=-1) / behavior.sum(axis=-1))[..., None]

    return rule


CLAIMS = (
    Claim(
        "conservatism.likelihood_ratio",
        "In the positive regime log(pi*/pi) is non-decreasing in the reward.",
        HERE,
        PLAIN,
        likelihood_order,
        SOLVED,
    ),
    Claim(
        "conservatism.slope",
        "log rho rises by 1/(beta + lambda rho) per unit of reward, less than the nominal 1/beta.",
        HERE,
        MODERATE,
        slope_bracket,
        SOLVED,
    ),
    Claim(
        "conservatism.f_divergence",
        "In the positive regime D_f(pi|mu) <= D_f(pi*|mu) for every f-divergence (seven are tried).",
        HERE,
        PLAIN,
        divergence_order,
        WEIGHED,
    ),
    Claim(
        "conservatism.value",
        "In the positive regime E_pi r <= E_pi* r.",
        HERE,
        PLAIN,
        value_order,
        SOLVED,
    ),
    Claim(
        "conservatism.ratios",
        "In the positive regime max rho <= max rho* and min rho >= min rho*.",
        HERE,
        PLAIN,
        ratio_order,
        SOLVED,
    ),
    Claim(
        "conservatism.entropy_uniform",
        "With a uniform behavior policy the induced target has at least the nominal one's Shannon entropy.",
        HERE,
        PLAIN,
        uniform_entropy_order,
        SOLVED,
    ),
    Claim(
        "dial.monotone",
        "As the baseline falls from V* the target moves monotonically, in likelihood-ratio order, from pi* to mu.",
        HERE,
        PLAIN,
        dial_monotone,
        SOLVED,
    ),
    Claim(
        "dial.limit",
        "As the baseline falls to minus infinity the target tends to mu.",
        HERE,
        PLAIN,
        dial_limit,
        SOLVED,
    ),
    Claim(
        "explicit.stationary",
        "The target maximizes E_pi r - beta KL(pi|mu) - (lambda/2) chi2(pi|mu): its duality gap is zero.",
        "derived here; the link is that of arXiv 2407.13399",
        PLAIN,
        explicit_gap,
        SOLVED,
    ),
    Claim(
        "explicit.maximum",
        "No other policy does better in E_pi r - beta KL(pi|mu) - (lambda/2) chi2(pi|mu).",
        "derived here; the link is that of arXiv 2407.13399",
        MODERATE,
        explicit_maximum,
        SOLVED,
    ),
    Claim(
        "cql.fixed_point",
        "CQL on a bandit, Q = r - alpha(rho - 1) and pi ~ mu exp(Q/beta), is the Lambert target with lambda = alpha.",
        HERE,
        MODERATE,
        cql_fixed_point,
        SOLVED,
    ),
)
