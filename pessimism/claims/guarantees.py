"""Claims about confidence bounds and trust regions; proofs in docs/theory/guarantees.md."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import chi2

from ..bandit import Bandit
from ..guarantees import LowerConfidenceBound, confidence_width, lcb, prescribe, step_bounds
from ..objectives.catalogue import algorithm
from ..solve.divergences import chi_squared, kl, reverse_kl
from ..solve.simplex import expectation, log
from . import proofs_guarantees as proofs
from .claim import Case, Claim
from .families import MIXED, RANDOM, Family
from .support import (
    HERE,
    SOLVED,
    WEIGHED,
    Array,
    combined,
    excess,
    induced,
    nominal,
    over_arms,
    pessimistic,
    regression,
    share,
    size,
)

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


def maximizer(case: Case) -> Array:
    """The objective is concave, so max_y g_y - E_pi g bounds by how much any policy beats pi; g is its gradient."""
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
        found += [share(best - expectation(policy, gradient), *scales), over_arms(policy, ~seen)]
        found.append(np.abs(policy.sum(axis=-1) - mu.sum(axis=-1)))
    return combined(*found)


def is_regression_target(case: Case) -> Array:
    """The induced target of regression with the reported baseline: behavior w, anchored at mu where counts differ."""
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
        found.append(share(target.normalizer - bound.normalizer, bound.normalizer, *terms))
    return combined(*found)


def holds_on_event(case: Case) -> Array:
    """With errors e of the estimates, sum n e^2 = a^2 N: the bound holds, and is attained for e in proportion to pi/n."""
    bound, shares = list(_bounds(case))[1]
    seen, width = shares > 0, np.asarray(bound.width)[:, None]
    ratio = np.where(seen, bound.policy, 0.0) / np.where(seen, shares, 1.0)
    scale = _scale(case) + width[:, 0] * np.asarray(bound.spread)
    true = []
    for drawn in (ratio, _errors(case, shares)):
        size_of = np.sqrt(expectation(shares, drawn**2))[:, None]
        error = width * np.where(seen, drawn, 0.0) / np.where(size_of > 0, size_of, 1.0)
        true.append(expectation(bound.policy, case.bandit.reward - error))
    return combined(share(true[0] - bound.bound, scale), excess(np.asarray(bound.bound), true[1], scale))


def tail(case: Case) -> Array:
    """C = (a/sigma)^2 N is above the 1 - alpha quantile of chi-squared with K degrees of freedom, K up to a million."""
    generator = np.random.default_rng(case.seed)
    arms = np.round(10 ** generator.uniform(0, 6, size=case.size))
    found = []
    for alpha in (0.5, 0.1, 1e-3, 1e-12):
        limit = confidence_width(1.0, 1.0, arms, alpha) ** 2
        found.append(np.maximum(chi2.sf(limit, arms) / alpha - 1, 0.0))
    return combined(*found)


def coverage(case: Case) -> Array:
    """Random counts: how often some policy on the sampled arms is worth less than its bound, less alpha and 4 sd."""
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


def oracle(case: Case) -> Array:
    """For errors on the event and every pi': E_pi r >= E_pi' r - 2 a S(pi') - beta KL(pi'|mu), and the forms in lambda."""
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


def exact_verifier(case: Case) -> Array:
    """Without noise lambda is 0 and the policy is the nominal one on the sampled arms."""
    found = []
    for bound, shares in _bounds(case, noise=0.0):
        seen = shares > 0
        moved = np.where(seen, case.bandit.behavior, 0.0)
        rest = moved / moved.sum(axis=-1, keepdims=True)
        target = nominal(Bandit(rest, case.bandit.reward), algorithm("kimi_k15", tau=case.beta))
        rounding = 1 + _scale(case) / case.beta
        found += [np.abs(bound.policy - target.policy).sum(axis=-1) / rounding, np.abs(np.asarray(bound.normalizer))]
        found.append(share(np.asarray(bound.width), 1.0))
    return combined(*found)


def _one_sync(case: Case, shift: float | Array) -> tuple[Array, Array, Array]:
    """log-ratio (n, K), normalizer and gain (n,) of the target with V = E r - shift."""
    bandit, center = case.bandit, expectation(case.bandit.behavior, case.bandit.reward)
    target = induced(bandit, regression(case.beta, lambda reward, behavior: center - shift))
    x = np.where(bandit.behavior > 0, target.log_ratio, 0.0)
    gain = expectation(bandit.behavior * np.expm1(x), bandit.reward - center[:, None])
    return x, np.asarray(target.normalizer), gain


def _deviation(bandit: Bandit) -> Array:
    """Standard deviation of the rewards under mu, (n,), from rewards relative to the greatest."""
    seen = bandit.behavior > 0
    top = np.where(seen, bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    behind = np.where(seen, bandit.reward - top, 0.0)
    return np.sqrt(expectation(bandit.behavior, (behind - expectation(bandit.behavior, behind)[:, None]) ** 2))


def trust_region(case: Case) -> Array:
    """chi2, KL and gain of one sync with V = E r - delta beta against their bounds, the sharper ones too."""
    mu, sd, found = case.bandit.behavior, _deviation(case.bandit), []
    floor = KNOWN / SOLVED
    for delta in (0.3, 1.0, 5.0):
        shift = delta * case.beta
        x, normalizer, gain = _one_sync(case, shift)
        chi, sharp = chi_squared(x, mu), sd / (normalizer + case.beta / np.exp(x.max(axis=-1)))
        loose, nats, most = step_bounds(sd, shift)
        found.append(excess(np.sqrt(chi), sharp, sharp, floor))
        found.append(excess(sharp, np.sqrt(loose), sharp, floor))
        found.append(excess(np.sqrt(kl(x, mu)), np.sqrt(np.log1p(chi)), np.sqrt(chi), floor))
        found.append(excess(np.sqrt(kl(x, mu)), np.sqrt(nats), np.sqrt(nats), floor))
        found.append(excess(gain, sd * sharp, sd * sharp, sd * floor, _scale(case) * floor))
        found.append(excess(gain, most, most, sd * floor, _scale(case) * floor))
    return combined(*found)


def prescription(case: Case) -> Array:
    """The prescribed shift keeps KL within k nats; the exact one gives k, or the nominal target where that is within."""
    mu, found = case.bandit.behavior, []
    for nats in ((1e-3, 0.1, 1.0)[case.seed % 3],):
        asked = prescribe(case.bandit.reward, nats=nats, beta=case.beta, behavior=mu)
        reached = kl(_one_sync(case, np.asarray(asked.shift))[0], mu)
        found += [excess(reached, np.full(case.size, nats), nats), share(reached - asked.nats, nats, WEIGHED / SOLVED)]
        x, normalizer, _ = _one_sync(case, np.asarray(asked.exact_shift))
        other = nominal(case.bandit, algorithm("kimi_k15", tau=case.beta))
        most = kl(np.where(mu > 0, other.log_ratio, 0.0), mu)
        wanted = np.where(asked.binding, nats, most)
        # V is rounded like the rewards: log-ratios move by that over beta + lambda rho, KL by their size times it.
        rounding = (1 + _scale(case) / case.beta) * (1 + size(x, mu > 0)[:, 0])
        found.append(share(kl(x, mu) - wanted, np.maximum(nats, most) + rounding))
        found.append(np.where(asked.binding, np.maximum(-normalizer, 0.0) / case.beta, 0.0))
        found.append(np.where(np.equal(asked.binding, most > nats) | (np.abs(most - nats) < WEIGHED), 0.0, 1.0))
    return combined(*found)


def _sampled(generator: np.random.Generator, count: int) -> Iterator[Case]:
    """A few bandits with arms that are rarely sampled, for simulations."""
    del count
    for arms in (2, 6, 20):
        behavior = generator.dirichlet(np.full(arms, 0.5), size=2)
        yield Case("sampled", Bandit(behavior, np.zeros((2, arms))), 1.0, seed=int(generator.integers(2**31)))


CLAIMS = (
    Claim(
        "lcb.maximizer",
        "No policy has a greater E r - a sqrt(sum pi^2/w) - beta KL(pi|mu) than the one that lcb gives.",
        HERE,
        MIXED,
        maximizer,
        SOLVED,
        effort=0.1,
    ),
    Claim(
        "lcb.regression",
        "That policy is the Lambert-tempered target with lambda = a/sqrt(1 + chi2), of regression with lcb's baseline.",
        HERE,
        MIXED,
        is_regression_target,
        SOLVED,
        proof=proofs.confidence_stationary,
        proves="the stationarity conditions, for three arms",
        effort=0.1,
    ),
    Claim(
        "lcb.event",
        "If sum n e^2 <= a^2 N for the estimates' errors e, rewards are at least the bound; the worst errors attain it.",
        HERE,
        MIXED,
        holds_on_event,
        SOLVED,
        effort=0.1,
    ),
    Claim(
        "lcb.tail",
        "C = K + 2 sqrt(K log 1/alpha) + 2 log 1/alpha exceeds the chi-squared quantile: Gaussian noise is covered.",
        "Laurent and Massart (2000), Lemma 1; for sub-Gaussian noise arXiv 1110.2842, Theorem 2.1",
        (RANDOM,),
        tail,
        1e-9,  # scipy's tail probabilities, relative to alpha
        falsify=False,
    ),
    Claim(
        "lcb.coverage",
        "With random counts some policy's reward is below its bound in at most a share alpha of the draws.",
        HERE,
        (Family("sampled", _sampled),),
        coverage,
        0.0,
        falsify=False,
    ),
    Claim(
        "lcb.oracle",
        "On that event E_pi r >= E_pi' r - 2a S' - beta KL(pi'|mu) for all pi', S'^2 = 1 + chi2(pi'|mu); 2a S' may be"
        " lambda S'^2 + a^2/lambda for other targets.",
        HERE,
        MIXED,
        oracle,
        SOLVED,
        proof=proofs.oracle,
        proves="a S <= lambda S^2/2 + a^2/(2 lambda)",
        effort=0.1,
    ),
    Claim(
        "lcb.exact_verifier",
        "Without noise the bound justifies no pessimism: lambda = 0 and the nominal target on the sampled arms.",
        HERE,
        MIXED,
        exact_verifier,
        SOLVED,
        effort=0.1,
    ),
    Claim(
        "trust_region.bounds",
        "With V = E r - d beta: chi2 <= Var/(lambda + beta/max rho)^2 <= Var/(d beta)^2, gain <= Var/(d beta), KL <= "
        "log(1 + chi2).",
        HERE,
        MIXED,
        trust_region,
        SOLVED,
        proof=proofs.lipschitz,
        proves="rho is Lipschitz in r with constant 1/(lambda + beta/max rho)",
        effort=0.1,
    ),
    Claim(
        "trust_region.prescription",
        "d beta = sd(r)/sqrt(e^k - 1) keeps KL(pi|mu) <= k; the exact root gives k, or the nominal target within k.",
        HERE,
        MIXED,
        prescription,
        SOLVED,
        effort=0.1,
    ),
)
