"""Claims about coefficients other than log-ratio regression: each objective's target by what characterizes it."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import expit

from .. import coefficients, targets
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from .claim import NOT_APPLICABLE, Case, Claim
from .families import MODERATE, ONE_ARM, RANDOM, RARE_ARMS, SMALL, TIES, ZERO_PROBABILITY
from .support import (
    HERE,
    ROUNDED,
    SOLVED,
    Array,
    advantages,
    coefficient,
    combined,
    induced,
    mass,
    mean,
    nominal,
    over_arms,
    share,
    size,
    stationarity,
)

ARMWISE = (RANDOM, TIES, ZERO_PROBABILITY, RARE_ARMS, ONE_ARM)


def _ratio(case: Case, chosen: Algorithm) -> tuple[targets.Target, Array]:
    """The induced target and pi/mu (n, K), 0 on arms that are never played."""
    target = induced(case.bandit, chosen)
    return target, np.where(case.bandit.behavior > 0, np.exp(target.log_ratio), 0.0)


def _nonnegative(case: Case) -> Bandit:
    """The case with its rewards moved up to be nonnegative, in units of their largest."""
    reward = case.bandit.reward - case.bandit.reward.min(axis=-1, keepdims=True)
    top = reward.max(axis=-1, keepdims=True)
    return Bandit(case.bandit.behavior, reward / np.where(top > 0, top, 1.0))


def _unit(case: Case) -> Bandit:
    """The case with its rewards in units of their largest size, as the objectives with thresholds need."""
    top = np.abs(case.bandit.reward).max(axis=-1, keepdims=True)
    return Bandit(case.bandit.behavior, case.bandit.reward / np.where(top > 0, top, 1.0))


def asymre_projection(case: Case) -> Array:
    """pi = [mu A - tau]+ / E A with tau >= 0: by the KKT conditions of that projection, not by its formula."""
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    for shift in (-1.0, -0.1, -0.01):
        chosen = algorithm("asymre", shift=shift)
        target = induced(bandit, chosen)
        pull = bandit.behavior * advantages(bandit, chosen)
        # tau = mu A - pi E A on the support, mu A <= tau off it, E A = -shift.
        level = np.where(seen, pull - target.policy * -shift, -np.inf)
        on = target.support & seen & (target.policy > 0)
        top = np.where(on, level, -np.inf).max(axis=-1)
        bottom = np.where(on, level, np.inf).min(axis=-1)
        above = np.where(seen & ~on, pull - bottom[:, None], -np.inf).max(axis=-1)
        scale = mean(np.abs(advantages(bandit, chosen)), bandit)
        found += [share(top - bottom, scale), share(np.maximum(above, 0), scale), share(np.minimum(bottom, 0), scale)]
        found.append(np.abs(target.policy.sum(axis=-1) - 1))
    return combined(*found)


def asymre_chi_square(case: Case) -> Array:
    """Where all r - E r + beta >= 0: rho = 1 + (r - E r)/beta, the maximizer of E r - (beta/2) chi2(pi|mu)."""
    bandit, seen = _unit(case), case.bandit.behavior > 0
    centered = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None], 0.0)
    found = []
    for beta in (2.0, 30.0):
        target, rho = _ratio(Case("", bandit, beta), algorithm("asymre", shift=-beta))
        gradient = np.where(seen, bandit.reward - beta * (rho - 1), -np.inf)
        gap = gradient.max(axis=-1) - mass(np.where(seen, gradient, 0.0), target.policy)
        found += [share(gap, beta), over_arms(np.abs(rho - 1 - centered / beta), seen)]
    return combined(*found)


def reinforce_collapse(case: Case) -> Array:
    """With a mean baseline (and A/std) all mass goes to argmax mu A; where rewards agree nothing moves."""
    bandit, seen = _unit(case), case.bandit.behavior > 0
    centered = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64), 0.0)
    pull = np.where(seen, bandit.behavior * centered, -np.inf)
    top = pull.max(axis=-1, keepdims=True)
    near = pull >= top - 1e-12
    # The winner's lead must be visible against rounding for "the" arm to mean anything.
    varied = np.abs(centered).max(axis=-1) > 1e-9
    visible = varied & (top[:, 0] > 1e-10)
    found = []
    for name in ("reinforce", "rloo", "grpo.no_ratio"):
        policy = induced(bandit, algorithm(name)).policy
        found.append(np.where(visible, np.abs(1 - np.where(near, policy, 0.0).sum(axis=-1)), 0.0))
    return combined(*found)


def reinforce_best_arm(case: Case) -> Array:
    """REINFORCE with a mean baseline goes to the arm of highest reward, which is false."""
    bandit = case.bandit
    best = np.where(bandit.behavior > 0, bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    policy = induced(bandit, algorithm("reinforce")).policy
    return 1 - np.where(bandit.reward == best, policy, 0.0).sum(axis=-1)


def importance_weighting_greedy(case: Case) -> Array:
    """The flow of c = rho A goes to the best arms and only there."""
    seen = case.bandit.behavior > 0
    # Arms move at rates mu: a flow cannot wait 1/mu for the rarest.
    behavior = 0.9 * case.bandit.behavior + 0.1 * seen / seen.sum(axis=-1, keepdims=True)
    bandit = Bandit(behavior, _unit(case).reward)
    centered = np.where(seen, bandit.reward - np.where(seen, bandit.reward, -np.inf).max(axis=-1, keepdims=True), 0.0)
    chosen = Algorithm(coefficients.importance_weighted, on_policy=coefficients.policy_gradient, anchor="behavior")
    flow = targets.gradient_flow(bandit, chosen)
    # E_pi[gap] falls like 1/t once the best arm leads.
    return np.maximum(mass(-centered, flow.policy), 0.0).astype(np.float64)


def awr_target(case: Case) -> Array:
    """pi ~ mu exp(A/beta) for AWR without a cap and for RoiRL's exponential weights, in logs."""
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for chosen in (algorithm("awr", beta=case.beta, cap=float("inf")), algorithm("roirl.exponential", beta=case.beta)):
        x = np.where(seen, induced(bandit, chosen).log_ratio, 0.0)
        level = x - bandit.reward.astype(np.longdouble) / case.beta
        spread = np.where(seen, level, -np.inf).max(axis=-1) - np.where(seen, level, np.inf).min(axis=-1)
        found.append(share(spread, size(bandit.reward / case.beta, seen)[:, 0] + size(x, seen)[:, 0]))
    return combined(*found)


def roirl_target(case: Case) -> Array:
    """pi = mu r/E r for nonnegative rewards."""
    bandit, seen = _nonnegative(case), case.bandit.behavior > 0
    expected = mean(np.where(seen, bandit.reward, 0.0), bandit)
    _, rho = _ratio(Case("", bandit, 1.0), algorithm("roirl"))
    difference = np.where(seen, rho * expected[:, None] - bandit.reward, 0.0)
    return np.where(expected > 0, over_arms(share(difference, bandit.reward, 1e-300), seen), 0.0)


def tpo_target(case: Case) -> Array:
    """q ~ mu exp(z/eta), z = (r - E r)/(std + eps), and the coefficient vanishes there."""
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    centered = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None], 0.0)
    deviation = np.sqrt(mean(centered.astype(np.float64) ** 2, bandit))[:, None]
    for eta in (0.3, 1.0, 10.0):
        chosen = algorithm("tpo", eta=eta)
        z = centered / (deviation + 1e-6) / eta
        x = np.where(seen, induced(bandit, chosen).log_ratio, 0.0)
        level = np.where(seen, x - z, 0.0)
        spread = np.where(seen, level, -np.inf).max(axis=-1) - np.where(seen, level, np.inf).min(axis=-1)
        found.append(share(spread, 1 + size(z, seen)[:, 0]))
    return combined(*found)


def topr_target(case: Case) -> Array:
    """pi ~ mu A+: no mass where A <= 0, ratios in proportion to A elsewhere, and mu c = lambda pi."""
    bandit, seen = _unit(case), case.bandit.behavior > 0
    chosen = algorithm("topr")
    target, rho = _ratio(Case("", bandit, 1.0), chosen)
    a = np.where(seen, advantages(bandit, chosen), 0.0)
    expected = mean(np.maximum(a, 0), bandit)
    some = expected > 1e-200
    difference = np.where(seen, rho * expected[:, None] - np.maximum(a, 0), 0.0)
    fault = combined(
        over_arms(share(difference, np.abs(a), expected[:, None]), seen), stationarity(bandit, chosen, target)
    )
    return np.where(some, fault, NOT_APPLICABLE)


def cispo_target(case: Case) -> Array:
    """Arms with A > lambda have rho = cap A/lambda; arms at A = lambda have 0 <= rho <= cap; the rest none."""
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    made = [algorithm("cispo", cap=cap) for cap in (1.5, 5.0)] + [algorithm("trl.cispo"), algorithm("verl.tis")]
    caps = (1.5, 5.0, 0.2, 2.0)
    for chosen, cap in zip(made, caps, strict=True):
        target, rho = _ratio(Case("", bandit, 1.0), chosen)
        a = np.where(seen, advantages(bandit, chosen), -np.inf)
        level = np.asarray(target.normalizer)[:, None]
        some = (a.max(axis=-1) > 0) & (level[:, 0] > 0)
        a = np.where(seen, a, 0.0)
        near = np.abs(a - level) <= 1e-9 * np.abs(level)
        above = np.where(seen & (a > level) & ~near, level * rho - cap * a, 0.0)
        below = np.where(seen & (a < level) & ~near, rho * np.abs(level), 0.0)
        middle = np.where(seen & near, np.maximum(rho - cap, 0.0) * np.abs(level), 0.0)
        scale = cap * np.abs(a) + np.abs(level)
        fault = combined(*(over_arms(share(part, scale), seen) for part in (above, below, middle)))
        total = np.abs(mass(rho, bandit.behavior) - 1)
        found.append(np.where(some, combined(fault, total, stationarity(bandit, chosen, target)), 0.0))
    return combined(*found)


def smoothing_target(case: Case) -> Array:
    """rho = [1/lambda - 1/r]+/t: t rho + 1/r the same 1/lambda on the support, 1/r no less than it elsewhere."""
    bandit, seen, found = _nonnegative(case), case.bandit.behavior > 0, []
    for t in (0.01, 0.1, 3.0):
        target, rho = _ratio(Case("", bandit, 1.0), algorithm("ls", t=t))
        earning = seen & (bandit.reward > 0)
        price = 1 / np.where(earning, bandit.reward, 1.0)
        level = 1 / np.where(np.asarray(target.normalizer) > 0, np.asarray(target.normalizer), 1.0)[:, None]
        on = earning & (rho > 0)
        inside = np.where(on, t * rho + price - level, 0.0)
        outside = np.where(earning & ~on, np.maximum(level - price, 0.0), np.where(seen & ~earning, rho, 0.0))
        fault = combined(over_arms(share(inside, level, price), seen), over_arms(share(outside, level, price), seen))
        total = np.abs(mass(rho, bandit.behavior) - 1)
        found.append(np.where(earning.any(axis=-1), combined(fault, total), 0.0))
    return combined(*found)


def preference_links(case: Case) -> Array:
    """DPO: beta log rho = r - v; IPO: tau log rho = win rate - v; chi-PO: beta (rho + log rho) = r - v."""
    bandit, seen, beta = case.bandit, case.bandit.behavior > 0, case.beta
    wins = expit(bandit.reward[:, :, None] - bandit.reward[:, None, :])
    rate = np.where(bandit.behavior[:, None, :] > 0, bandit.behavior[:, None, :] * wins, 0.0).sum(axis=-1)
    found = []
    for chosen, utility, weight in (
        (algorithm("dpo", beta=beta), bandit.reward / beta, 0.0),
        (algorithm("ipo", tau=0.2), rate / 0.2, 0.0),
        (algorithm("chi_po", beta=beta), bandit.reward / beta, 1.0),
    ):
        x = np.where(seen, induced(bandit, chosen).log_ratio, 0.0)
        link = x + weight * np.exp(x)
        level = np.where(seen, utility - link, 0.0)
        spread = np.where(seen, level, -np.inf).max(axis=-1) - np.where(seen, level, np.inf).min(axis=-1)
        found.append(share(spread, 1 + size(np.abs(utility) + np.abs(link), seen)[:, 0]))
    return combined(*found)


def coupled_rest(case: Case) -> Array:
    """Coupled coefficients (preferences, TPO, pairwise regression) vanish on every played arm of their targets."""
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    for chosen in (
        algorithm("dpo", beta=1.0),
        algorithm("ipo", tau=0.5),
        algorithm("chi_po", beta=1.0),
        algorithm("tpo"),
        algorithm("pairwise_regression", beta=0.5),
    ):
        target = induced(bandit, chosen)
        c = coefficient(bandit, chosen, np.where(seen, target.log_ratio, 0.0))
        terms = 1 + np.abs(advantages(bandit, chosen)) + np.exp(np.where(seen, target.log_ratio, 0.0))
        found.append(over_arms(share(bandit.behavior * c, bandit.behavior * terms, mean(terms, bandit)[:, None]), seen))
    return combined(*found)


def pevi_target(case: Case) -> Array:
    """All mass where r - b/sqrt(n) is largest; with no bonus, where r is."""
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    for bonus in (0.0, 0.3, 2.0):
        target = induced(bandit, algorithm("pevi", bonus=bonus, samples=50.0))
        counts = 50.0 * np.where(seen, bandit.behavior, 1.0)
        score = np.where(seen, bandit.reward - bonus / np.sqrt(counts), 0.0)
        top = np.where(seen, score, -np.inf).max(axis=-1, keepdims=True)
        lost = mass(np.where(seen, top - score, 0.0), target.policy)
        found.append(share(lost, np.abs(top[:, 0]), 1.0))
        outside = np.where(seen, 0.0, target.policy).sum(axis=-1)
        found.append(outside)
    return combined(*found)


def trust_region_target(case: Case) -> Array:
    """TRPO: rho = nu/(tau - A) with KL(mu|pi) = delta, all arms but the best-paid growing less."""
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    centered = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64), 0.0)
    deviation = mean(centered**2, bandit)
    best = np.where(seen, bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    losing = np.where(seen & (bandit.reward < best), bandit.behavior, 0.0).sum(axis=-1)
    for delta in (0.01, 0.3):
        # KL(mu|pi) = delta asks for a ratio of about exp(-delta/losing) on the losing arms, which must be a float.
        varied = (deviation > 1e-12) & (500 * losing > delta)
        target, rho = _ratio(Case("", bandit, 1.0), algorithm("trpo", delta=delta))
        # 1/rho is affine in A: its slope from any two arms is the same.
        inverse = np.where(seen, np.exp(-np.where(seen, target.log_ratio, 0.0)), 0.0)
        slope = mean(centered * inverse, bandit) / np.where(varied, deviation, 1.0)
        affine = mean(inverse, bandit)[:, None] + slope[:, None] * centered
        spread = -mass(np.where(seen, target.log_ratio, 0.0), bandit.behavior)
        fault = over_arms(share(bandit.behavior * (inverse - affine), mean(inverse, bandit)[:, None]), seen)
        found.append(np.where(varied, combined(fault, share(spread - delta, delta)), 0.0))
        found.append(np.where(varied, np.abs(mass(rho, bandit.behavior) - 1), 0.0))
    return combined(*found)


def carried_ratio(case: Case) -> Array:
    """An objective c = rho u(l, A) has one target, induced and nominal; here u = A - sinh(l) and A - l - l^3."""
    bandit, found = _unit(case), []
    for u in (_hyperbolic, _cubic):
        chosen = Algorithm(partial(_weighted, u), on_policy=u, anchor="behavior")
        one, other = induced(bandit, chosen), nominal(bandit, chosen)
        found.append(np.abs(one.policy - other.policy).sum(axis=-1) / 2)
    return combined(*found)


def _weighted(u, log_ratio: Array, advantage: Array) -> Array:
    return np.exp(log_ratio) * u(log_ratio, advantage)


def _hyperbolic(log_ratio: Array, advantage: Array) -> Array:
    return advantage - np.sinh(log_ratio)


def _cubic(log_ratio: Array, advantage: Array) -> Array:
    return advantage - log_ratio - log_ratio**3


CLAIMS = (
    Claim(
        "asymre.theorem_4_2",
        "REINFORCE with V < E r goes to [mu A - tau]+ / E A (conditions of optimality of that projection).",
        "AsymRE, arXiv 2506.20520, theorem 4.2",
        ARMWISE,
        asymre_projection,
        SOLVED,
    ),
    Claim(
        "asymre.chi_squared",
        "Where all A >= 0, V = E r - beta gives rho = 1 + (r - E r)/beta, the chi2-regularized target.",
        HERE,
        ARMWISE,
        asymre_chi_square,
        ROUNDED,
    ),
    Claim(
        "reinforce.collapse",
        "With a mean baseline REINFORCE and unclipped GRPO put all mass on argmax mu A.",
        "REC, arXiv 2509.24203; AsymRE, arXiv 2506.20520",
        ARMWISE,
        reinforce_collapse,
        SOLVED,
    ),
    Claim(
        "importance_weighting.greedy",
        "The flow of the importance-weighted policy gradient goes to the best arms.",
        HERE,
        SMALL,
        importance_weighting_greedy,
        1e-6,  # the flow approaches a vertex like 1/t, and stops when a factor e of time moves it by less than 1e-8
        # A search finds flows that pass so close to a worse arm (a saddle) that they seem to have stopped there.
        falsify=False,
    ),
    Claim(
        "awr.target",
        "AWR without a cap and RoiRL's exponential weights have the target mu exp(A/beta)/Z.",
        "arXiv 1910.00177, 2510.02892",
        MODERATE,
        awr_target,
        ROUNDED,
    ),
    Claim("roirl.target", "RoiRL has the target mu r/E r.", "arXiv 2510.02892", MODERATE, roirl_target, ROUNDED),
    Claim(
        "tpo.target",
        "TPO has the target mu exp(z/eta)/Z, z the z-score.",
        "arXiv 2604.06159",
        MODERATE,
        tpo_target,
        SOLVED,
    ),
    Claim("topr.target", "TOPR has the target mu A+/E A+.", "arXiv 2503.14286", ARMWISE, topr_target, SOLVED),
    Claim(
        "cispo.target",
        "CISPO: rho = cap A/lambda where A > lambda, at most one marginal level A = lambda with rho <= cap, 0 below.",
        HERE,
        ARMWISE,
        cispo_target,
        SOLVED,
    ),
    Claim(
        "ls.target",
        "Logarithmic smoothing of rewards >= 0: rho = [1/lambda - 1/r]+/t.",
        "arXiv 2405.14335; target derived here",
        ARMWISE,
        smoothing_target,
        SOLVED,
    ),
    Claim(
        "preference.links",
        "DPO, IPO and chi-PO tilt mu by the links log z, log z (of the win rate) and z + log z.",
        "arXiv 2305.18290, 2310.12036, 2407.13399",
        (RANDOM, TIES, ZERO_PROBABILITY, RARE_ARMS, ONE_ARM),
        preference_links,
        SOLVED,
    ),
    Claim(
        "coupled.rest",
        "Coupled coefficients vanish on every arm at their targets: there lambda = 0.",
        HERE,
        (RANDOM, TIES, ZERO_PROBABILITY, ONE_ARM),
        coupled_rest,
        SOLVED,
    ),
    Claim("pevi.target", "PEVI is greedy in r - b/sqrt(n).", "arXiv 2012.15085", ARMWISE, pevi_target, ROUNDED),
    Claim(
        "trpo.target",
        "TRPO's exact step is rho = nu/(tau - A) with KL(mu|pi) = delta.",
        "arXiv 1502.05477; form derived here",
        (RANDOM, TIES, ZERO_PROBABILITY, ONE_ARM),
        trust_region_target,
        1e-9,  # tau - A is a difference that cancels to about 1/100 of its terms at delta = 0.01, found by bisection
    ),
    Claim(
        "nominal.carried_ratio",
        "For an objective that carries the ratio, c = rho u, induced and nominal targets coincide.",
        HERE,
        SMALL,
        carried_ratio,
        1e-7,  # both are found numerically; the flow, where it is used, stops at moves of 1e-8 per factor e of time
        effort=0.15,
    ),
)
