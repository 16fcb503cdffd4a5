"""Claims about how log-ratio regression is conservative in the positive regime, and what it maximizes there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..solve import divergences
from ..solve.divergences import DIVERGENCES, total_variation
from . import exact
from .case import Case
from .claim import claim, claims_in
from .counterexamples import refuted, small_rationals
from .families import MODERATE, PLAIN
from .negative import beyond_soft_value
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
    pessimistic,
    regression,
    relative,
    size,
    soft_value,
)
from .symbolic import is_positive, is_zero, positive_symbols, target_slope


def _likelihood_order_proof() -> bool:
    """d log(pi*/pi)/dr = 1/beta - slope > 0 for lambda > 0."""
    (beta,) = positive_symbols("beta,")
    return is_positive(1 / beta - target_slope())


@claim(
    "conservatism.likelihood_ratio",
    HERE,
    PLAIN,
    SOLVED,
    proof=_likelihood_order_proof,
    proves="the sign of the derivative",
)
def likelihood_order(case: Case) -> Array:
    """In the positive regime log(pi*/pi) is non-decreasing in the reward.

    Check: log pi* - log pi-dagger is non-decreasing in the reward.
    """
    seen, found = case.bandit.behavior > 0, []
    for chosen in pessimistic(case):
        target, other = induced(case.bandit, chosen), nominal(case.bandit, chosen)
        gap = np.where(seen, other.log_ratio - target.log_ratio, 0.0)
        scale = np.maximum(size(other.log_ratio, seen), size(advantages(case.bandit, chosen) / case.beta, seen))
        found.append(relative(disorder(case.bandit.reward, gap, seen), scale[:, 0]))
    return combined(*found)


def _slope_proof() -> bool:
    """The slope is 1/(beta + lambda rho), and 1/beta exceeds it by something positive for lambda > 0."""
    beta, lam, rho = positive_symbols("beta lambda rho")
    found = target_slope()
    return is_zero(found - 1 / (beta + lam * rho)) and is_positive(1 / beta - found)


@claim("conservatism.slope", HERE, MODERATE, SOLVED, proof=_slope_proof, proves="implicit differentiation")
def slope_bracket(case: Case) -> Array:
    """log rho rises by 1/(beta + lambda rho) per unit of reward, less than the nominal 1/beta.

    Check: Between two arms, log rho gains between 1/(beta + lambda rho_high) and 1/(beta + lambda rho_low) per
    reward.
    """
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
        fault = np.maximum(relative(np.maximum(gain - high, 0), scale), relative(np.maximum(low - gain, 0), scale))
        found.append(np.where(both, fault, 0.0).max(axis=-1, initial=0.0))
    return combined(*found)


@claim("conservatism.f_divergence", HERE, PLAIN, WEIGHED)
def divergence_order(case: Case) -> Array:
    """In the positive regime D_f(pi|mu) <= D_f(pi*|mu) for every f-divergence (seven are tried).

    Check: D_f(pi-dagger|mu) <= D_f(pi*|mu) for every divergence of the package.
    """
    found = []
    for chosen in pessimistic(case):
        target, other = induced(case.bandit, chosen), nominal(case.bandit, chosen)
        for divergence in divergences.DIVERGENCES.values():
            near, far = (divergence(t.log_ratio, case.bandit.behavior) for t in (target, other))
            # Log-ratios are right to 1e-16 absolutely: divergences below 1e-6 are compared absolutely, to 1e-15.
            found.append(excess(near, far, near, far, np.full(case.size, 1e-6)))
    return combined(*found)


@claim("conservatism.value", HERE, PLAIN, SOLVED)
def value_order(case: Case) -> Array:
    """In the positive regime E_pi r <= E_pi* r.

    Check: E_pi-dagger r <= E_pi* r.
    """
    bandit, found = case.bandit, []
    centered = bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64)
    scale = size(bandit.reward, bandit.behavior > 0)[:, 0]
    for chosen in pessimistic(case):
        values = [mass(centered, t.policy) for t in (induced(bandit, chosen), nominal(bandit, chosen))]
        found.append(excess(values[0], values[1], scale))
    return combined(*found)


@claim("conservatism.ratios", HERE, PLAIN, SOLVED)
def ratio_order(case: Case) -> Array:
    """In the positive regime max rho <= max rho* and min rho >= min rho*.

    Check: max rho-dagger <= max rho* and min rho-dagger >= min rho*.
    """
    seen, found = case.bandit.behavior > 0, []
    for chosen in pessimistic(case):
        target, other = induced(case.bandit, chosen), nominal(case.bandit, chosen)
        scale = np.maximum(size(other.log_ratio, seen), size(advantages(case.bandit, chosen) / case.beta, seen))[:, 0]
        top, high = (np.where(seen, t.log_ratio, -np.inf).max(axis=-1) for t in (target, other))
        bottom, low = (np.where(seen, t.log_ratio, np.inf).min(axis=-1) for t in (target, other))
        found += [excess(top, high, scale), excess(low, bottom, scale)]
    return combined(*found)


@claim("conservatism.entropy_uniform", HERE, PLAIN, SOLVED)
def uniform_entropy_order(case: Case) -> Array:
    """With a uniform behavior policy the induced target has at least the nominal one's Shannon entropy.

    Check: Under a uniform behavior policy the induced target has at least the nominal one's Shannon entropy.
    """
    arms = case.bandit.arms
    bandit = Bandit(np.full(case.bandit.behavior.shape, 1 / arms), case.bandit.reward)
    found = []
    for chosen in pessimistic(case):
        near, far = (divergences.entropy(t.policy) for t in (induced(bandit, chosen), nominal(bandit, chosen)))
        found.append(excess(far, near, np.log(arms) + 1))
    return combined(*found)


@exact.precisely
def _confirm_entropy(case: Case) -> bool:
    behavior, reward, beta = exact.numbers(case)
    target = exact.lambert(behavior, reward, beta, exact.mean(behavior, reward))
    return exact.entropy(exact.gibbs(behavior, reward, beta)) - exact.entropy(target) > exact.margin()


@refuted("conservatism.entropy", search=small_rationals, confirm=_confirm_entropy)
def entropy_order(case: Case) -> Array:
    """The induced target has at least the nominal one's Shannon entropy (mean baseline, any behavior policy).

    Check: H(pi-dagger) >= H(pi*), which is false in general.
    """
    chosen = algorithm("kimi_k15", tau=case.beta)
    near, far = (divergences.entropy(t.policy) for t in (induced(case.bandit, chosen), nominal(case.bandit, chosen)))
    return excess(far, near, np.log(max(case.bandit.arms, 2)))


def _dial_proof() -> bool:
    """d slope/d kappa < 0 along the target of an arm's own reward when rho is held: flatter as lambda grows."""
    import sympy as sp

    lam = sp.Symbol("lambda", positive=True)
    return is_positive(-sp.diff(target_slope(), lam))


@claim("dial.monotone", HERE, PLAIN, SOLVED, proof=_dial_proof, proves="the slope falls in lambda at a given ratio")
def dial_monotone(case: Case) -> Array:
    """As the baseline falls from V* the target moves monotonically, in likelihood-ratio order, from pi* to mu.

    Check: Each step of V down from V* moves the target toward mu in the likelihood-ratio order.
    """
    bandit, seen = case.bandit, case.bandit.behavior > 0
    previous, found = None, []
    for depth in (0.0, 0.03, 0.3, 1.0, 4.0, 30.0, 1e3, 1e5):
        chosen = regression(case.beta, soft_value(case.beta, -depth * case.beta))
        current = np.where(seen, induced(bandit, chosen).log_ratio, 0.0)
        if previous is not None:
            scale = size(advantages(bandit, chosen) / case.beta, seen)[:, 0] + size(previous, seen)[:, 0]
            found.append(relative(disorder(bandit.reward, previous - current, seen), scale))
        previous = current
    return combined(*found)


@claim("dial.limit", HERE, PLAIN, SOLVED)
def dial_limit(case: Case) -> Array:
    """As the baseline falls to minus infinity the target tends to mu.

    Check: As V falls to minus infinity the target tends to mu, at least like range(r)/lambda in log-ratio.
    """
    bandit, seen = case.bandit, case.bandit.behavior > 0
    spread = size(bandit.reward, seen)[:, 0] * 2
    depth = 1e8 * (spread.max() / case.beta + 1)
    target = induced(bandit, regression(case.beta, soft_value(case.beta, -depth * case.beta)))
    rho = np.exp(np.where(seen, target.log_ratio, 0.0))
    moved = mass(np.abs(rho - 1), bandit.behavior) / 2
    return np.asarray(np.maximum(moved - spread / np.asarray(target.normalizer), 0.0), dtype=np.float64)


@exact.precisely
def _confirm_baseline(case: Case) -> bool:
    behavior, reward, beta = exact.numbers(case)
    target = exact.lambert(behavior, reward, beta, exact.mean(behavior, reward) - beta)
    other = exact.gibbs(behavior, reward, beta)
    return max(abs(p - q) for p, q in zip(target, other, strict=True)) > exact.margin()


@refuted("conservatism.baseline_free", search=small_rationals, confirm=_confirm_baseline)
def baseline_free(case: Case) -> Array:
    """Log-ratio regression has the nominal target for every baseline, as its importance-weighted twin does.

    Check: Regression without a ratio has the nominal target whatever the baseline, which is false away from V*.
    """
    gaps = []
    for chosen in pessimistic(case)[:2]:
        gaps.append(total_variation(induced(case.bandit, chosen).policy, nominal(case.bandit, chosen).policy))
    return combined(*gaps)


@exact.precisely
def _confirm_negative(case: Case) -> bool:
    """A kappa < 0 close to 0 with principal solutions: the slope 1/(1 + kappa rho) > 1 spreads log-ratios further."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    top = exact.soft_value(behavior, reward, beta)
    a = [(r - top) / beta for r in reward]
    kappa = -mp.exp(-1 - max(a)) / 2
    x = [v - mp.lambertw(kappa * mp.exp(v)).real for v in a]
    normal = mp.fsum(p * mp.exp(v) for p, v in zip(behavior, x, strict=True))
    target = [p * mp.exp(v) / normal for p, v in zip(behavior, x, strict=True)]

    def kl(policy: list) -> Any:
        return mp.fsum(q * mp.log(q / p) for q, p in zip(policy, behavior, strict=True))

    # Dividing by the sum moves V, not the shape: a target of the same family with its own offset below d_c.
    return kl(target) - kl(exact.gibbs(behavior, reward, beta)) > exact.margin()


@refuted("conservatism.negative", search=small_rationals, confirm=_confirm_negative)
def negative_conservative(case: Case) -> Array:
    """D_f(pi|mu) <= D_f(pi*|mu) holds in the negative regime too.

    Check: The divergence order holds in the negative regime too, which is false: it is reversed.
    """
    chosen = regression(case.beta, beyond_soft_value(case.beta, 0.5))
    target, other = induced(case.bandit, chosen), nominal(case.bandit, chosen)
    kl = DIVERGENCES["kl"]
    near, far = (kl(t.log_ratio, case.bandit.behavior) for t in (target, other))
    return excess(near, far, near, far, np.full(case.size, 1e-6))


CLAIMS = claims_in(vars())
