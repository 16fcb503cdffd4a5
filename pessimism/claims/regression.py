"""Claims about log-ratio regression in the positive regime and at the boundary: the Lambert-tempered target."""

from __future__ import annotations

import numpy as np

from .. import divergences
from ..bandit import Bandit
from ..catalogue import algorithm
from ..targets import Target
from .claim import NOT_APPLICABLE, Case, Claim
from .families import MODERATE, PLAIN
from .support import (
    Array,
    advantages,
    coefficient,
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

# The solver promises log-ratios to 1e-12 max(1, |x|): what is compared through them gets ten times that.
SOLVED = 1e-11
# Sums and differences of a few correctly rounded terms, against the sum of their sizes.
ROUNDED = 1e-13
# Divergences weigh errors of log-ratios by up to rho |x|; 1e-12 |x| with |x| <= 700 is below 1e-9.
WEIGHED = 1e-9


def targets_equation(case: Case) -> Array:
    """beta log rho + lambda rho = A on every arm, against its terms and the lesser of beta and the rewards."""
    return combined(*(_equation(case, induced(case.bandit, a), advantages(case.bandit, a)) for a in _regressions(case)))


def _regressions(case: Case) -> list:
    return [*pessimistic(case), algorithm("opmd", tau=case.beta)]


def _equation(case: Case, target: Target, advantage: Array) -> Array:
    seen = case.bandit.behavior > 0
    x = np.where(seen, target.log_ratio, 0.0)
    tempered, pull = case.beta * x, np.asarray(target.normalizer)[:, None] * np.exp(x)
    residual = np.where(seen, tempered + pull - advantage, 0.0)
    floor = np.minimum(case.beta, size(case.bandit.reward, seen))
    # lambda itself is known to a few epsilon (here 1e-15) times |E A| + beta KL: its condition number.
    identity = np.abs(mean(advantage, case.bandit)) + case.beta * divergences.reverse_kl(x, case.bandit.behavior)
    floor = floor + 1e-15 / SOLVED * np.exp(x) * identity[:, None]
    return over_arms(share(residual, tempered, pull, advantage, floor), seen)


def are_policies(case: Case) -> Array:
    """Targets sum to one, are nonnegative and leave arms of probability zero alone."""
    return combined(*(policy_fault(case.bandit, induced(case.bandit, a)) for a in _regressions(case)))


def policy_fault(bandit: Bandit, target: Target) -> Array:
    """How far a target is from being a policy on the arms of the anchor, (n,)."""
    policy = target.policy
    outside = np.where(bandit.anchor == 0, np.abs(policy), 0.0).sum(axis=-1)
    below = np.maximum(-policy, 0).max(axis=-1)
    # The input's own sum may be 1e-9 away from one: what is asked is that its total is kept.
    total = np.abs(policy.astype(np.longdouble).sum(axis=-1) - 1)
    slack = np.abs(bandit.anchor.astype(np.longdouble).sum(axis=-1) - 1)
    return combined(outside, below, np.maximum(total - slack, 0.0))


def normalizer_identity(case: Case) -> Array:
    """lambda = E A + beta KL(mu|pi), and = E_mu[c] by the coefficient itself."""
    found = []
    for chosen in _regressions(case):
        target = induced(case.bandit, chosen)
        moments = chosen.baseline.exact(case.bandit.reward, case.bandit.behavior)
        spread = case.beta * divergences.reverse_kl(target.log_ratio, case.bandit.behavior)
        found.append(share(target.normalizer - (moments.mean + spread), moments.mean, spread))
        x = np.where(case.bandit.behavior > 0, target.log_ratio, 0.0)
        c = coefficient(case.bandit, chosen, x)
        size_of_terms = mean(np.abs(moments.advantage) + np.abs(case.beta * x), case.bandit)
        found.append(share(mean(c, case.bandit) - target.normalizer, size_of_terms))
    return combined(*found)


def log_partition(advantage: Array, beta: float, bandit: Bandit) -> tuple[Array, Array]:
    """(V* - V)/beta = log E e^(A/beta) and E_pi*|A|/beta, which bounds its rounding, as longdouble (n,)."""
    a = np.where(bandit.behavior > 0, advantage.astype(np.longdouble) / beta, -np.inf)
    top = a.max(axis=-1, keepdims=True)
    weights = bandit.behavior / bandit.behavior.astype(np.longdouble).sum(axis=-1, keepdims=True)
    tilted = weights * np.exp(a - top)
    total = tilted.sum(axis=-1)
    # expm1 keeps what rare arms add to a sum that is nearly one.
    small = np.where((top < 100) & (bandit.behavior > 0), a, 0.0)
    value = np.where(top[:, 0] < 100, np.log1p((weights * np.expm1(small)).sum(axis=-1)), top[:, 0] + np.log(total))
    rounding = mass(np.abs(np.where(bandit.behavior > 0, a, 0.0)), (tilted / total[:, None]).astype(np.float64))
    return value, rounding


def regime_sign(case: Case) -> Array:
    """lambda has the sign of V* - V, and the reported regime is that sign; V* by its definition."""
    beta, found = case.beta, []
    chosen_ones = [*_regressions(case), algorithm("oapl", beta1=beta * case.ratio, beta2=beta)]
    for chosen in [*chosen_ones, regression(beta, soft_value(beta, 0.05 * np.tanh(case.offset) * beta))]:
        solved = _closed_rows(case.bandit, chosen)
        found.append(_sign_fault(solved, chosen, beta))
    return combined(*found)


def _closed_rows(bandit: Bandit, chosen) -> tuple[Bandit, Array]:
    """The rows that the closed form covers (beyond the critical offset there is no principal solution)."""
    moments = chosen.baseline.exact(bandit.reward, bandit.behavior)
    keep = chosen.induced(bandit, moments).solved
    rows = np.flatnonzero(keep)
    if not rows.size:
        return bandit, keep
    return Bandit(bandit.behavior[rows], bandit.reward[rows]), keep


def _sign_fault(solved: tuple[Bandit, Array], chosen, beta: float) -> Array:
    bandit, keep = solved
    found = np.zeros(len(keep))
    if not keep.any():
        return found
    target = induced(bandit, chosen)
    moments = chosen.baseline.exact(bandit.reward, bandit.behavior)
    gap, rounding = log_partition(moments.advantage, beta, bandit)
    kappa = np.asarray(target.normalizer) / beta
    scale = np.abs(moments.mean) / beta + divergences.reverse_kl(target.log_ratio, bandit.behavior)
    differ = np.sign(gap) != np.sign(kappa)
    wrong = np.minimum(share(gap, rounding), share(kappa, scale))
    named = np.select([target.regime == "positive", target.regime == "negative"], [1.0, -1.0], 0.0)
    misnamed = np.where(named != np.sign(kappa), share(kappa, scale), 0.0)
    found[keep] = combined(np.where(differ, wrong, 0.0), misnamed)
    return found


def boundary_is_nominal(case: Case) -> Array:
    """At V = V* the induced target is the nominal one, arm by arm."""
    chosen = regression(case.beta, soft_value(case.beta))
    seen = case.bandit.behavior > 0
    target, other = induced(case.bandit, chosen), nominal(case.bandit, chosen)
    x = np.where(seen, other.log_ratio, 0.0)
    # Rounding of V by d moves log rho by d rho/(beta E_pi* rho*): that is the condition number of an arm.
    steepness = 1 + np.exp(
        x
        - np.log(mass(np.exp(2 * (x - x.max(axis=-1, keepdims=True))), case.bandit.behavior))[:, None].astype(
            np.float64
        )
        - 2 * x.max(axis=-1, keepdims=True)
    )
    difference = np.where(seen, target.log_ratio - x, 0.0)
    return over_arms(share(difference, steepness * np.maximum(size(x, seen), 1e-3)), seen)


def unique_stationary_point(case: Case) -> Array:
    """E rho(kappa) = 1 crosses once: below one for larger kappa, above for smaller, W by its defining equation."""
    bandit, found = case.bandit, []
    seen = bandit.behavior > 0
    for chosen in pessimistic(case):
        target = induced(bandit, chosen)
        x, kappa = np.where(seen, target.log_ratio, 0.0), np.asarray(target.normalizer)[:, None] / case.beta
        for factor in (0.0, 0.5, 0.9, 1.1, 2.0, 10.0):
            # One arm's equation has one root for kappa > 0; Newton in x finds it without any omega function.
            moved = _root(advantages(bandit, chosen) / case.beta, factor * kappa, x)
            surplus = mass(np.expm1(np.clip(moved, None, 700)), bandit.behavior)
            wrong = surplus if factor > 1 else -surplus
            found.append(np.where(kappa[:, 0] > 0, np.maximum(share(wrong, 1 + np.abs(wrong)) * (wrong > 0), 0.0), 0.0))
    return combined(*found)


def _root(a: Array, kappa: Array, start: Array) -> Array:
    """x + kappa e^x = a for kappa >= 0, by Newton on its convex left side (monotone from the right of the root)."""
    x = np.where(
        kappa > 0,
        np.minimum(a, np.maximum(np.log(np.maximum(a, 1.0)) - np.log(np.maximum(kappa, 1e-300)), start) + 1),
        a,
    )
    for _ in range(60):
        pull = kappa * np.exp(np.minimum(x, 709.0))
        x = x - (x + pull - a) / (1 + pull)
    return x


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


def nominal_is_gibbs(case: Case) -> Array:
    """The nominal target is mu e^(r/beta)/Z whatever the baseline, Z summed directly."""
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    z = np.where(seen, bandit.reward.astype(np.longdouble) / case.beta, -np.inf)
    z = z - z.max(axis=-1, keepdims=True)
    weights = bandit.behavior / bandit.behavior.astype(np.longdouble).sum(axis=-1, keepdims=True)
    exact = np.where(seen, z - np.log((weights * np.exp(z)).sum(axis=-1, keepdims=True)), 0.0)
    scale = size(bandit.reward / case.beta, seen) * 2 + 1e-6  # constant rewards leave only the rounding of sum(mu)
    for chosen in [*_regressions(case), regression(case.beta, soft_value(case.beta, abs(case.offset) * case.beta))]:
        other = np.where(seen, nominal(bandit, chosen).log_ratio, 0.0)
        found.append(over_arms(share(other - exact, scale + size(advantages(bandit, chosen) / case.beta, seen)), seen))
    return combined(*found)


def excluded(applies: Array, violations: Array) -> Array:
    """Violations where the hypotheses hold; elsewhere not applicable."""
    return np.where(applies, violations, NOT_APPLICABLE)


HERE = "derived here"
CLAIMS = (
    Claim(
        "regression.equation",
        "The target of c = A - beta l satisfies beta log rho + lambda rho = A on every arm.",
        HERE,
        PLAIN,
        targets_equation,
        SOLVED,
    ),
    Claim(
        "regression.policy",
        "Lambert-tempered targets are policies: they sum to one and play no arm that the data never show.",
        HERE,
        PLAIN,
        are_policies,
        SOLVED,
    ),
    Claim(
        "regression.normalizer",
        "lambda = E_mu[c] = E_mu A + beta KL(mu|pi).",
        HERE,
        PLAIN,
        normalizer_identity,
        SOLVED,
    ),
    Claim(
        "nominal.gibbs",
        "The nominal target of log-ratio regression is mu exp(r/beta)/Z for every baseline.",
        HERE,
        PLAIN,
        nominal_is_gibbs,
        SOLVED,
    ),
    Claim(
        "regimes.sign",
        "lambda has the sign of V* - V, V* = beta log E exp(r/beta): positive, boundary and negative regime.",
        HERE,
        PLAIN,
        regime_sign,
        ROUNDED,
    ),
    Claim(
        "regimes.boundary",
        "At V = V* the induced target is exactly the nominal one.",
        HERE,
        PLAIN,
        boundary_is_nominal,
        SOLVED,
    ),
    Claim(
        "regimes.unique",
        "For lambda >= 0 the stationary point is unique: E rho falls strictly in kappa = lambda/beta.",
        HERE,
        MODERATE,
        unique_stationary_point,
        SOLVED,
    ),
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
