"""Claims about log-ratio regression in the negative regime, where the baseline exceeds the soft value."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import lambertw

from ..bandit import Bandit
from ..baseline import Baseline, Statistics
from ..baselines import log_mean_exp, shifted_mean
from ..objectives.catalogue import algorithm
from ..solve import lambert_minima as stationary
from . import exact
from .case import NOT_APPLICABLE, Case
from .claim import claim, claims_in
from .counterexamples import refuted, small_rationals
from .families import HUGE_BETA, NEAR_BOUNDARY, RANDOM, SMALL, TIES, ZERO_PROBABILITY, Family
from .support import (
    HERE,
    SOLVED,
    Array,
    advantages,
    combined,
    disorder,
    excluded,
    induced,
    mean,
    nominal,
    over_arms,
    regression,
    relative,
    size,
)
from .symbolic import is_positive, positive_symbols, target_slope

MIDDLING = (RANDOM, NEAR_BOUNDARY, TIES, ZERO_PROBABILITY, HUGE_BETA, *SMALL)


def critical_offset(weights: Array, nominal_log_ratio: Array) -> Array:
    r"""d_c/beta = log E[rho~], rho~ = -W0(-kappa_m e^a)/kappa_m, kappa_m = e^(-1 - max a), scipy's W; (..., 1)."""
    a = np.where(weights > 0, nominal_log_ratio, -np.inf).astype(np.float64)
    top = a.max(axis=-1, keepdims=True)
    argument = -np.exp(a - top - 1)
    # At the branch point (the top arm, and its ties up to rounding) W = -1; rounding may leave the real line there.
    at_branch = argument <= np.nextafter(-np.exp(-1.0), 0.0)
    ratio = np.where(at_branch, 1.0, -lambertw(np.where(at_branch, 0.0, argument)).real)
    total = (weights * ratio).sum(axis=-1, keepdims=True) / weights.sum(axis=-1, keepdims=True)
    return np.log(total) + 1 + top


def beyond_soft_value(beta: float, fraction: float) -> Baseline:
    """V = V* + fraction * d_c."""
    soft = log_mean_exp(beta).rule

    def rule(statistics: Statistics) -> tuple[Any, Any]:
        value, scale = soft(statistics)
        assert statistics.weights is not None
        log_ratio = (statistics.deviation - value) / beta
        return value + fraction * beta * critical_offset(statistics.weights, log_ratio), scale

    return Baseline("beyond soft value", f"V = V* + {fraction:g} d_c", rule)


def _varied(bandit: Bandit) -> Array:
    """Whether rewards differ among the arms that are played, visibly against rounding."""
    seen = bandit.behavior > 0
    low = np.where(seen, bandit.reward, np.inf).min(axis=-1)
    high = np.where(seen, bandit.reward, -np.inf).max(axis=-1)
    return high - low > 1e-6 * np.maximum(np.abs(high), np.abs(low))


@claim("negative.unstable_rest", HERE, MIDDLING, 0.0, effort=0.3)
def unstable_rest(case: Case) -> Array:
    """Where rewards agree, regression rests at the behavior policy, stably up to V = V* + beta and unstably beyond.

    Check: at baselines on either side, what the target is called agrees with the sign of what the loss changes by
    along pi = mu (1 + t e) with E_mu[e] = 0, t = +-1e-3. Its linear term averages to 0 and is left out arm by arm.
    """
    bandit, found = case.bandit, []
    reward = np.broadcast_to(bandit.reward[:, :1], bandit.reward.shape)
    several = np.count_nonzero(bandit.behavior > 0, axis=-1) > 1
    generator = np.random.default_rng(case.seed)
    push = np.where(bandit.behavior > 0, generator.normal(size=reward.shape), 0.0)
    push = push - np.where(bandit.behavior > 0, mean(push, bandit)[:, None].astype(float), 0.0)
    push /= np.maximum(np.abs(push).max(axis=-1, keepdims=True), 1e-300)
    for excess in (0.5, 0.95, 1.05, 4.0):

        def change(t: float, excess: float = excess) -> Array:
            """Of the loss, in units of beta."""
            x = np.log1p(t * push)
            return mean(excess * (x - t * push) + x**2 / 2, bandit)

        leaves = change(1e-3) + change(-1e-3) < 0
        chosen = regression(case.beta, shifted_mean(excess * case.beta))  # V* is the mean
        called = np.asarray(induced(Bandit(bandit.behavior, reward), chosen).kind) == "unstable"
        found.append(np.where(several, called != leaves, called).astype(float))
    return combined(*found)


@claim("negative.persists", HERE, MIDDLING, 1e-09)
def persists(case: Case) -> Array:
    """For V* < V <= V* + d_c the principal solution persists, with lambda < 0 and |lambda| rho <= beta.

    Check: Up to d_c the principal solution exists, with lambda < 0 and |kappa| rho <= 1 on every arm.
    """
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for fraction in (0.1, 0.5, 0.95):
        target = induced(bandit, regression(case.beta, beyond_soft_value(case.beta, fraction)))
        kappa = np.asarray(target.normalizer)[:, None] / case.beta
        steep = over_arms(-kappa * np.exp(target.log_ratio), seen)
        closed = np.asarray(target.method) == "closed form"
        found += [np.where(closed, 0.0, 1.0), np.maximum(kappa[:, 0], 0.0), np.maximum(steep - 1, 0.0)]
    return combined(*found)


@claim("negative.ends", HERE, MIDDLING, 0.0)
def ends(case: Case) -> Array:
    """Beyond V* + d_c, d_c = beta log E[-W0(-k e^a)/k], k = exp(-1 - max a), no principal solution exists.

    Check: Beyond d_c there is no principal solution: the closed form declines.
    """
    bandit = case.bandit
    found = []
    for fraction in (1.001, 1.1, 3.0):
        chosen = regression(case.beta, beyond_soft_value(case.beta, fraction))
        assert chosen.induced is not None
        solved = chosen.induced(bandit, chosen.baseline.exact(bandit.reward, bandit.behavior)).solved
        found.append(np.where(solved, 1.0, 0.0))
    return excluded(_varied(bandit), combined(*found))


@claim("negative.offset", HERE, MIDDLING, 1e-07)
def offset_bound(case: Case) -> Array:
    """0 < d_c < beta where rewards differ; d_c = beta where they agree.

    Check: 0 < d_c < beta where rewards differ; d_c = beta where they do not.
    """
    chosen = regression(case.beta, log_mean_exp(case.beta))
    found = critical_offset(case.bandit.behavior, advantages(case.bandit, chosen) / case.beta)[:, 0]
    # W0 next to its branch point has a square-root singularity: half the digits.
    return np.maximum(np.maximum(found - 1, -found), np.where(_varied(case.bandit), 0.0, np.abs(found - 1)))


def _aggressive_proof() -> bool:
    """For lambda = -m < 0 on the principal branch, m rho < beta, the slope 1/(beta - m rho) exceeds 1/beta."""
    import sympy as sp

    magnitude, rho, slack = positive_symbols("m rho d")
    lam = sp.Symbol("lambda", positive=True)
    beta = sp.Symbol("beta", positive=True)
    slope_below = target_slope().subs(lam, -magnitude).subs(beta, slack + magnitude * rho)
    return is_positive(slope_below - 1 / (slack + magnitude * rho))


@claim(
    "negative.aggressive", HERE, MIDDLING, SOLVED, proof=_aggressive_proof, proves="the slope on the principal branch"
)
def aggressive(case: Case) -> Array:
    """For V* < V <= V* + d_c the target is more aggressive than nominal: log(pi/pi*) rises with the reward.

    Check: log pi - log pi* is non-decreasing in the reward for V* < V < V* + d_c, and steeper than nominal.
    """
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for fraction in (0.1, 0.5, 0.95):
        chosen = regression(case.beta, beyond_soft_value(case.beta, fraction))
        target, other = induced(bandit, chosen), nominal(bandit, chosen)
        gap = np.where(seen, target.log_ratio - other.log_ratio, 0.0)
        scale = size(other.log_ratio, seen) + size(advantages(bandit, chosen) / case.beta, seen)
        found.append(relative(disorder(bandit.reward, gap, seen), scale[:, 0]))
        values = [mean(np.exp(t.log_ratio) * bandit.reward, bandit) for t in (other, target)]
        found.append(relative(np.maximum(values[0] - values[1], 0.0), size(bandit.reward, seen)[:, 0]))
    return combined(*found)


def _nominal_log_ratio(bandit: Bandit, row: int, beta: float) -> tuple[Array, Array]:
    """mu and log(pi*/mu) of one instance, over the arms that are played."""
    seen = bandit.behavior[row] > 0
    weights = bandit.behavior[row][seen] / bandit.behavior[row][seen].sum()
    z = bandit.reward[row][seen] / beta
    return weights, z - z.max() - np.log((weights * np.exp(z - z.max())).sum())


def _faults(weights: Array, a: Array, log_ratios: list[Array], kappas: list[float]) -> float:
    """How far points are from x + kappa e^x = a, from being policies, and from being minima along random tangents."""
    generator = np.random.default_rng(len(a))
    worst = 0.0
    for x, kappa in zip(log_ratios, kappas, strict=True):
        pull = kappa * np.exp(x)
        worst = max(worst, float((np.abs(x + pull - a) / (1 + np.abs(pull) + np.abs(a))).max()))
        worst = max(worst, abs(float((weights * np.exp(x)).sum()) - 1))
        loss = (weights * (x - a) ** 2).sum() / 2
        steps = 1e-3 * generator.normal(size=(6, len(a)))
        moved = x + steps
        moved = moved - np.log((weights * np.exp(moved)).sum(axis=-1, keepdims=True))
        drop = loss - (weights * (moved - a) ** 2).sum(axis=-1) / 2
        worst = max(worst, float(drop.max()) / max(1.0, loss))
    return worst if np.isfinite([*kappas, worst]).all() else np.nan


@claim("negative.minima", HERE, SMALL, 1e-09, effort=0.05)
def minima_are_minima(case: Case) -> Array:
    """The local minima of the regression loss solve its stationarity equation; at V <= V* there is exactly one.

    Check: One minimum at V = V* - beta; at V = V* + 2 beta (every twelfth instance) minima indeed, sorted by loss.
    """
    found = np.zeros(case.size)
    for row in range(case.size):
        weights, nominal_ratio = _nominal_log_ratio(case.bandit, row, case.beta)
        for delta in (-1.0, 2.0) if row % 12 == 0 else (-1.0,):
            minima = stationary.regression_minima(weights, nominal_ratio, delta)
            losses = [point.loss_over_beta for point in minima]
            expected = len(minima) >= 1 if delta > 0 else len(minima) == 1
            points = [point.log_ratio for point in minima], [point.kappa for point in minima]
            fault = _faults(weights, nominal_ratio - delta, *points)
            found[row] = np.maximum(found[row], fault if expected and losses == sorted(losses) else 1.0)
    return found


EXAMPLE_BEHAVIOR = np.array([0.118, 0.273, 0.0989, 0.0211, 0.489])


EXAMPLE_REWARD = np.array([0.914, -0.02, -1.249, -0.314, 0.054])


def _example_family() -> Family:
    """The example of five minima, its arms permuted and its rewards and temperature moved to other units."""

    def make(generator: np.random.Generator, count: int):
        for _ in range(4):
            rows = -(-count // 4)
            order = generator.permuted(np.tile(np.arange(5), (rows, 1)), axis=-1)
            unit = float(10.0 ** generator.uniform(-3, 3))
            reward = unit * (EXAMPLE_REWARD[order] + generator.uniform(-1, 1, size=(rows, 1)))
            # mu sums to 1.0000: as printed.
            yield Case("the example, in other units and orders", Bandit(EXAMPLE_BEHAVIOR[order], reward), 0.7 * unit)

    return Family("five minima", make, 1.0)


@claim("negative.five_minima", HERE, (_example_family(),), 0.0005, falsify=False)
def five_minima(case: Case) -> Array:
    """At V = V* + 3 the five-arm example has five minima, one per arm, the best with pi = .986 on the rarest arm.

    Check: At V = V* + 3 (in units where beta = 0.7): five minima, one per arm, the best with pi = .986 on the
    rarest arm.

    The solver lists them on eight instances of a case; on the others, which are the same up to units and the order of
    arms, the points of the first are shown to be minima and to have those properties.
    """
    delta = 3 / 0.7
    found = np.ones(case.size)
    listed: dict[int, tuple[list[Array], list[float]]] = {}
    for row in range(case.size):
        weights, nominal_ratio = _nominal_log_ratio(case.bandit, row, case.beta)
        if row < 8:
            minima = stationary.regression_minima(weights, nominal_ratio, delta)
            points = [point.log_ratio for point in minima], [point.kappa for point in minima]
            listed[row] = points
        else:
            order = np.argsort(np.argsort(weights))
            points = [x[np.argsort(case.bandit.behavior[0])][order] for x in listed[0][0]], listed[0][1]
        policies = [weights * np.exp(x) for x in points[0]]
        arms = sorted(int(policy.argmax()) for policy in policies)
        losses = [float((weights * (x - nominal_ratio + delta) ** 2).sum()) for x in points[0]]
        rarest = int(weights.argmin())
        fault = _faults(weights, nominal_ratio - delta, *points)
        if arms == [0, 1, 2, 3, 4] and int(np.argmin(losses)) == 0 and policies[0].argmax() == rarest and fault < 1e-8:
            found[row] = abs(policies[0][rarest] - 0.986)
    return found


@claim("negative.missing_log_g", HERE, MIDDLING, 1e-14)
def missing_log_group(case: Case) -> Array:
    """A baseline without its - beta1 log G puts every group of G >= 2 samples in the negative regime.

    Check: On a group's own (uniform) measure a baseline beta1 log sum exp(r/beta1) is above V*_beta2: negative
    regime.
    """
    bandit = Bandit(np.full(case.bandit.behavior.shape, 1 / case.bandit.arms), case.bandit.reward)
    group = float(bandit.arms)
    if group < 2:
        return np.full(case.size, NOT_APPLICABLE)
    chosen = algorithm("oapl.missing_log_g", beta1=case.ratio * case.beta, beta2=case.beta, group_size=group)
    advantage = advantages(bandit, chosen) / case.beta
    top = advantage.max(axis=-1)
    level = top + np.log(np.exp(advantage - top[:, None]).mean(axis=-1))  # (V* - V)/beta
    # Equality is approached where one arm has all the weight in both sums: rounding of a difference of size |a|.
    return np.maximum(relative(np.maximum(level, 0.0), np.abs(top), np.abs(advantage).max(axis=-1)), 0.0)


@exact.precisely
def _confirm_missing(case: Case) -> bool:
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    one = mp.mpf(case.ratio) * beta
    baseline = exact.soft_value(behavior, reward, one) + one * mp.log(2)
    return exact.soft_value(behavior, reward, beta) - baseline > exact.margin()


@refuted(
    "negative.missing_log_g_population",
    search=partial(small_rationals, betas=(1.0, 0.5, 0.25, 0.125)),
    confirm=_confirm_missing,
)
def missing_log_population(case: Case) -> Array:
    """A baseline without its - beta1 log G is in the negative regime with exact expectations too, for any policy.

    Check: The same with exact expectations and any group size G, which is false: a best arm rarer than 1/G.
    """
    chosen = algorithm("oapl.missing_log_g", beta1=case.ratio * case.beta, beta2=case.beta, group_size=2.0)
    bandit = case.bandit
    advantage = np.where(bandit.behavior > 0, advantages(bandit, chosen) / case.beta, -np.inf)
    top = advantage.max(axis=-1)
    weights = bandit.behavior / bandit.behavior.sum(axis=-1, keepdims=True)
    level = top + np.log((weights * np.exp(advantage - top[:, None])).sum(axis=-1))
    return np.maximum(level, 0.0) / (1 + np.abs(level))


@exact.precisely
def _confirm_minimum(case: Case) -> bool:
    """Each arm in turn on the second branch, the others on the principal one: losses and values in 50 digits."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    a = [(r - exact.soft_value(behavior, reward, beta)) / beta - 4 for r in reward]
    points = []
    for second in range(len(a)):

        def solve(u, second=second):
            # log v of the arm on the second branch is u > 0; it fixes kappa, kappa the others.
            log_kappa = u - mp.exp(u) - a[second]
            kappa = -mp.exp(log_kappa)
            x = [v - mp.lambertw(kappa * mp.exp(v), -1 if i == second else 0) for i, v in enumerate(a)]
            return kappa, [mp.re(v) for v in x]

        def total(u, solve=solve):
            return mp.fsum(p * mp.exp(v) for p, v in zip(behavior, solve(u)[1], strict=True)) - 1

        grid = [mp.mpf(k) / 20 for k in range(1, 120)]
        for low, high in pairwise(grid):
            if total(low) * total(high) < 0:
                x = solve(mp.findroot(total, (low, high), solver="anderson"))[1]
                loss = mp.fsum(p * (v - w) ** 2 for p, v, w in zip(behavior, x, a, strict=True))
                points.append((loss, mp.fsum(p * mp.exp(v) * r for p, v, r in zip(behavior, x, reward, strict=True))))
    return bool(points) and min(points)[1] < exact.mean(behavior, reward) - exact.margin()


@refuted(
    "negative.global_minimum",
    search=partial(small_rationals, arms=(2,), betas=(1.0,), levels=2),
    confirm=_confirm_minimum,
    families=(),
)
def negative_minimum_rewarded(case: Case) -> Array:
    """In the negative regime the global minimum of the loss has at least the behavior policy's value.

    Check: At V = V* + 4 beta the lowest loss has at least the behavior policy's value, which is false.
    """
    found = np.full(case.size, NOT_APPLICABLE)  # the solver takes one instance at a time: 24 a case
    for row in range(min(case.size, 24)):
        behavior, reward = case.bandit.behavior[row], case.bandit.reward[row]
        z = reward / case.beta
        minima = stationary.regression_minima(behavior, z - np.log((behavior * np.exp(z)).sum()), 4.0)
        policy = behavior * np.exp(minima[0].log_ratio)
        shortfall = float(behavior @ reward - policy @ reward)
        found[row] = max(shortfall, 0.0)
    return found


NEARLY = 0.9  # of the way from V* to V* + d_c


@exact.precisely
def _confirm_safe_zone(case: Case) -> bool:
    """A policy with less loss than the principal solution, the rest of the mass on the rarest arm."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    a = [(r - exact.soft_value(behavior, reward, beta)) / beta for r in reward]
    steepest = mp.exp(-1 - max(a))
    at_end = [-mp.lambertw(-steepest * mp.exp(v)).real / steepest for v in a]
    offset = mp.mpf(NEARLY) * mp.log(mp.fdot(behavior, at_end))
    a = [v - offset for v in a]

    def principal(kappa: Any) -> list[Any]:
        return [v - mp.lambertw(kappa * mp.exp(v)).real for v in a]

    def loss(x: list[Any]) -> Any:
        return mp.fsum(p * (v - w) ** 2 for p, v, w in zip(behavior, x, a, strict=True)) / 2

    low, high = -mp.exp(-1 - max(a)), mp.mpf(0)
    for _ in range(160):
        middle = (low + high) / 2
        more = mp.fsum(p * mp.exp(v) for p, v in zip(behavior, principal(middle), strict=True)) > 1
        low, high = (middle, high) if more else (low, middle)
    rarest = behavior.index(min(behavior))
    others = mp.fsum(p * mp.exp(v) for i, (p, v) in enumerate(zip(behavior, a, strict=True)) if i != rarest)
    moved = [mp.log((1 - others) / behavior[rarest]) if i == rarest else v for i, v in enumerate(a)]
    return loss(moved) < loss(principal(low)) - exact.margin()


@refuted(
    "negative.safe_zone",
    search=partial(small_rationals, arms=(2,), betas=(1.0,), levels=2, largest=40),
    confirm=_confirm_safe_zone,
    families=(),
)
def safe_zone(case: Case) -> Array:
    """Up to V* + d_c the lowest minimum of the loss is the solution with all arms on the principal branch.

    Check: at V* + 0.9 d_c, by how much another minimum is lower, which is so where an arm is rare enough.
    """
    found = np.full(case.size, NOT_APPLICABLE)  # one instance at a time: 4 a case, with the rarest arms
    for row in range(min(case.size, 4)):
        weights, nominal_ratio = _nominal_log_ratio(case.bandit, row, case.beta)
        delta = NEARLY * critical_offset(weights, nominal_ratio)[0]
        minima = stationary.regression_minima(weights, nominal_ratio, float(delta))
        principal = next(point for point in minima if point.arm is None)
        found[row] = principal.loss_over_beta - minima[0].loss_over_beta
    return found


CLAIMS = claims_in(vars())
