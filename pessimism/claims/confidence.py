"""Claims about lower confidence bounds: how much pessimism noise in the rewards justifies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import chi2

from ..bandit import Bandit
from ..guarantees import LowerConfidenceBound, confidence_width, lcb
from ..objectives.catalogue import algorithm
from ..solve.divergences import chi_squared, kl, reverse_kl
from ..solve.simplex import expectation, log
from .case import Case
from .claim import claim, claims_in
from .families import MIXED, RANDOM, Family
from .support import (
    HERE,
    SOLVED,
    Array,
    combined,
    excess,
    induced,
    nominal,
    over_arms,
    pessimistic,
    regression,
    relative,
    size,
)
from .symbolic import is_zero

ALPHA = 0.1
DRAWS = 4000
KNOWN = 1e-13
"""Error of a log-ratio, as a share of itself and of one, that these claims grant the solver (it promises 1e-12)."""


def _scale(case: Case) -> Array:
    """Largest |reward| of an arm that is played, (n,)."""
    return size(case.bandit.reward, case.bandit.behavior > 0)[:, 0]


def _generators(case: Case) -> list[np.random.Generator]:
    """One generator a row, decided by the row itself, so that a row alone is the same instance again."""
    return [np.random.default_rng([case.seed, *row.tobytes()]) for row in case.bandit.behavior]


def _noise(case: Case) -> Array:
    """A noise (n,) between 1e-3 and 30 times the range of a row's rewards, from the case's seed."""
    spread = np.ptp(case.bandit.reward, axis=-1)
    return np.where(spread > 0, spread, 1.0) * 10.0 ** np.random.default_rng(case.seed).uniform(-3, 1.5)


def _counts(case: Case) -> Array:
    """Random counts (n, K) of four samples an arm in the mean: many arms get none."""
    weights = case.bandit.behavior / case.bandit.behavior.sum(axis=-1, keepdims=True)
    draws = [g.multinomial(4 * case.bandit.arms, w) for g, w in zip(_generators(case), weights, strict=True)]
    return np.array(draws, dtype=float)


def _errors(case: Case, shares: Array) -> Array:
    """Random errors (n, K) of estimates whose variances are as 1/w, of random size; 0 on arms without samples."""
    drawn = np.array([generator.normal(size=case.bandit.arms) for generator in _generators(case)])
    return np.where(shares > 0, drawn / np.sqrt(np.where(shares > 0, shares, 1.0)), 0.0)


def _bounds(case: Case, noise: Array | float | None = None) -> Iterator[tuple[LowerConfidenceBound, Array]]:
    """Lower confidence bounds with expected and with random counts, and the shares w (n, K) that each is about."""
    noise, counts = _noise(case) if noise is None else noise, _counts(case)
    yield lcb(case.bandit, case.beta, noise, samples=64, alpha=ALPHA), case.bandit.behavior
    yield lcb(case.bandit, case.beta, noise, counts=counts, alpha=ALPHA), counts / counts.sum(axis=-1, keepdims=True)


@claim("lcb.maximizer", HERE, MIXED, SOLVED, effort=0.1)
def maximizer(case: Case) -> Array:
    """No policy has a greater E r - a sqrt(sum pi^2/w) - beta KL(pi|mu) than the one that lcb gives.

    Check: the objective is concave, so max_y g_y - E_pi g bounds what another policy gains; g is its gradient.
    """
    found, mu = [], case.bandit.behavior
    for bound, shares in _bounds(case):
        seen, policy, width = shares > 0, bound.policy, np.asarray(bound.width)
        ratio = np.where(seen, policy, 0.0) / np.where(seen, shares, 1.0)
        spread = np.sqrt(expectation(policy, ratio))[:, None]
        x = np.where(seen, bound.log_policy - log(np.where(seen, mu, 1.0)), 0.0)
        gradient = case.bandit.reward - width[:, None] * ratio / spread - case.beta * x
        best = np.where(seen, gradient, -np.inf).max(axis=-1)
        largest = size(x, seen)[:, 0]
        steep = over_arms(ratio / spread, seen) * width
        scales = _scale(case), steep, case.beta * (largest + KNOWN / SOLVED)
        found += [relative(best - expectation(policy, gradient), *scales), over_arms(policy, ~seen)]
        found.append(np.abs(policy.sum(axis=-1) - mu.sum(axis=-1)))
    return combined(*found)


def _confidence_proof() -> bool:
    """E r - a S - beta KL, S^2 = sum pi^2/mu, is stationary at beta log rho + (a/S) rho = r - V; three arms."""
    import sympy as sp

    policy, mu = sp.symbols("p1:4", positive=True), sp.symbols("mu1:4", positive=True)
    reward = sp.symbols("r1:4", real=True)
    width, beta = sp.symbols("a beta", positive=True)
    multiplier = sp.symbols("m", real=True)
    spread = sp.sqrt(sum(p**2 / m for p, m in zip(policy, mu, strict=True)))
    arms = list(zip(policy, mu, reward, strict=True))
    value = sum(p * r - beta * p * sp.log(p / m) - multiplier * p for p, m, r in arms) - width * spread

    def equation(p: sp.Expr, m: sp.Expr, r: sp.Expr) -> sp.Expr:
        return r - (multiplier + beta) - beta * sp.log(p / m) - width / spread * p / m

    return all(is_zero(sp.diff(value, p) - equation(p, m, r)) for p, m, r in arms)


@claim(
    "lcb.regression",
    HERE,
    MIXED,
    SOLVED,
    proof=_confidence_proof,
    proves="the stationarity conditions, for three arms",
    effort=0.1,
)
def is_regression_target(case: Case) -> Array:
    """That policy is the target of regression with lcb's baseline: Lambert-tempered with lambda = a/sqrt(1 + chi2).

    Check: the induced target; with counts, behavior w and reference mu.
    """
    found, mu = [], case.bandit.behavior
    for (bound, shares), reference in zip(_bounds(case), (None, mu), strict=True):
        value = np.asarray(bound.baseline)
        chosen = regression(case.beta, lambda reward, behavior, value=value: value)
        target = induced(Bandit(shares, case.bandit.reward, reference), chosen)
        # V is rounded like the rewards; that moves a log-ratio by its rounding over beta.
        rounding = 1 + (_scale(case) + np.abs(value)) / case.beta
        found.append(np.abs(target.policy - bound.policy).sum(axis=-1) / rounding)
        # lambda is known to rounding of the terms of its identity, which is about log(pi/w).
        own = np.where(shares > 0, bound.log_policy - log(np.where(shares > 0, shares, 1.0)), 0.0)
        terms = value, _scale(case), case.beta * reverse_kl(own, shares), case.beta * size(own, shares > 0)[:, 0]
        found.append(relative(target.normalizer - bound.normalizer, bound.normalizer, *terms))
    return combined(*found)


@claim("lcb.event", HERE, MIXED, SOLVED, effort=0.1)
def holds_on_event(case: Case) -> Array:
    """If sum n e^2 <= a^2 N for the estimates' errors e, rewards are at least the bound; the worst errors attain it.

    Check: random errors of that size, and errors in proportion to pi/n.
    """
    bound, shares = list(_bounds(case))[1]
    seen, width = shares > 0, np.asarray(bound.width)[:, None]
    ratio = np.where(seen, bound.policy, 0.0) / np.where(seen, shares, 1.0)
    scale = _scale(case) + width[:, 0] * np.asarray(bound.spread)
    true = []
    for drawn in (ratio, _errors(case, shares)):
        size_of = np.sqrt(expectation(shares, drawn**2))[:, None]
        error = width * np.where(seen, drawn, 0.0) / np.where(size_of > 0, size_of, 1.0)
        true.append(expectation(bound.policy, case.bandit.reward - error))
    return combined(relative(true[0] - bound.bound, scale), excess(np.asarray(bound.bound), true[1], scale))


@claim(
    "lcb.tail",
    "Laurent and Massart (2000), Lemma 1; for sub-Gaussian noise arXiv 1110.2842, Theorem 2.1",
    (RANDOM,),
    1e-9,  # scipy's tail probabilities, relative to alpha
    falsify=False,
)
def tail(case: Case) -> Array:
    """C = K + 2 sqrt(K log 1/alpha) + 2 log 1/alpha exceeds the chi-squared quantile: Gaussian noise is covered.

    Check: scipy's tail probability, K up to a million.
    """
    generator = np.random.default_rng(case.seed)
    arms = np.round(10 ** generator.uniform(0, 6, size=case.size))
    found = []
    for alpha in (0.5, 0.1, 1e-3, 1e-12):
        limit = confidence_width(1.0, 1.0, arms, alpha) ** 2
        found.append(np.maximum(chi2.sf(limit, arms) / alpha - 1, 0.0))
    return combined(*found)


def _sampled(generator: np.random.Generator, count: int) -> Iterator[Case]:
    """A few bandits with arms that are rarely sampled, for simulations."""
    del count
    for arms in (2, 6, 20):
        behavior = generator.dirichlet(np.full(arms, 0.5), size=2)
        yield Case("sampled", Bandit(behavior, np.zeros((2, arms))), 1.0, seed=int(generator.integers(2**31)))


@claim("lcb.coverage", HERE, (Family("sampled", _sampled),), 0.0, falsify=False)
def coverage(case: Case) -> Array:
    """With random counts some policy's reward is below its bound in at most a share alpha of the draws.

    Check: simulated Gaussian and binary noise; the share, less alpha and four standard deviations of a share.
    """
    generator, bandit = np.random.default_rng(case.seed), case.bandit
    samples, found = 5 * bandit.arms, []
    for row in range(case.size):
        mu = bandit.behavior[row] / bandit.behavior[row].sum()
        counts = generator.multinomial(samples, mu, size=DRAWS)
        draws = np.maximum(counts, 1)
        chance = generator.uniform(size=mu.shape)
        gaussian = generator.normal(size=counts.shape) / np.sqrt(draws)
        binary = generator.binomial(counts, chance) / draws - chance
        for noise, error in ((1.0, gaussian), (0.5, binary)):
            # sup over policies of E e/sqrt(sum pi^2/w) is at pi in proportion to w e+.
            worst = np.sqrt((counts / samples * np.maximum(error, 0.0) ** 2 * (counts > 0)).sum(axis=-1))
            width = confidence_width(noise, samples, (counts > 0).sum(axis=-1), ALPHA)
            found.append((worst > width).mean() - ALPHA - 4 * np.sqrt(ALPHA * (1 - ALPHA) / DRAWS))
    return np.maximum(np.array(found).reshape(case.size, 2).max(axis=-1), 0.0)


def _oracle_proof() -> bool:
    """lambda S^2/2 + a^2/(2 lambda) - a S = (lambda S - a)^2/(2 lambda) >= 0."""
    import sympy as sp

    width, lam, spread = sp.symbols("a lambda S", positive=True)
    slack = lam * spread**2 / 2 + width**2 / (2 * lam) - width * spread
    return is_zero(slack - (lam * spread - width) ** 2 / (2 * lam))


@claim(
    "lcb.oracle", HERE, MIXED, SOLVED, proof=_oracle_proof, proves="a S <= lambda S^2/2 + a^2/(2 lambda)", effort=0.1
)
def oracle(case: Case) -> Array:
    """On that event E_pi r >= E_pi' r - 2a S' - beta KL(pi'|mu) for all pi', S'^2 = 1 + chi2(pi'|mu).

    For any other target of a normalizer lambda > 0, lambda S'^2 + a^2/lambda stands for 2a S'.

    Check: random errors; pi' the behavior policy, another target, and the nominal target of the true rewards.
    """
    mu, seen, found = case.bandit.behavior, case.bandit.behavior > 0, []
    width = confidence_width(_noise(case), 64, seen.sum(axis=-1), ALPHA)
    drawn = _errors(case, mu)
    error = width[:, None] * drawn / np.sqrt(expectation(mu, drawn**2))[:, None]
    true = case.bandit.reward - np.where(seen, error, 0.0)
    bound = lcb(case.bandit, case.beta, _noise(case), samples=64, alpha=ALPHA)
    reached = expectation(bound.policy, true)
    others = [mu, induced(case.bandit, algorithm("shifted_mean", beta=case.beta)).policy]
    others.append(nominal(Bandit(mu, true), algorithm("kimi_k15", tau=case.beta)).policy)
    # For other lambda too: the target with V = E r - 2 beta has some lambda of its own, and so does the bound's.
    for other in others:
        x = np.where(seen & (other > 0), log(np.where(seen, other, 1.0)) - log(np.where(seen, mu, 1.0)), -np.inf)
        spread, spent = np.sqrt(1 + chi_squared(x, mu)), case.beta * kl(x, mu)
        scale = size(true, seen)[:, 0] + _scale(case) + width * spread + spent
        promised = expectation(other, true) - spent
        found.append(excess(promised - 2 * width * spread, reached, scale))
        for chosen in pessimistic(case)[:2]:
            target = induced(case.bandit, chosen)
            lam = np.asarray(target.normalizer)
            positive = np.where(lam > 0, lam, 1.0)
            paid = np.where(lam > 0, positive * spread**2 + width**2 / positive, np.inf)
            found.append(excess(promised - paid, expectation(target.policy, true), scale))
    return combined(*found)


@claim("lcb.exact_verifier", HERE, MIXED, SOLVED, effort=0.1)
def exact_verifier(case: Case) -> Array:
    """Without noise the bound justifies no pessimism: lambda = 0 and the nominal target on the sampled arms.

    Check: the Gibbs policy on the sampled arms.
    """
    found = []
    for bound, shares in _bounds(case, noise=0.0):
        seen = shares > 0
        moved = np.where(seen, case.bandit.behavior, 0.0)
        rest = moved / moved.sum(axis=-1, keepdims=True)
        target = nominal(Bandit(rest, case.bandit.reward), algorithm("kimi_k15", tau=case.beta))
        rounding = 1 + _scale(case) / case.beta
        found += [np.abs(bound.policy - target.policy).sum(axis=-1) / rounding, np.abs(np.asarray(bound.normalizer))]
        found.append(relative(np.asarray(bound.width), 1.0))
    return combined(*found)


CLAIMS = claims_in(vars())
