"""Claims about sampled groups: what an update does on average over every group that can be drawn, by enumeration."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement, product

import numpy as np
from scipy.special import gammaln, xlogy

import pessimism as ps
from pessimism import Baseline, baselines
from pessimism.claims import Case, claim, claims_in, exact, refuted, small_rationals
from pessimism.claims.families import SMALL
from pessimism.claims.support import HERE, combined, excess, over_arms, regression, relative, size
from pessimism.claims.symbolic import is_zero

from ..groups import count_advantage, works_by_weights
from ..simulate import logit_gradient
from .support import Array, finite_log, group_batch, log_of, playable, population_update, some_policy

# Averages over at most a few hundred groups of updates that are sums of correctly rounded terms.
AVERAGED = 1e-12


SIZES = (2, 3)


def all_groups(arms: int, samples: int) -> Array:
    """Every outcome of ``samples`` draws as counts (M, K)."""
    drawn = np.array(list(combinations_with_replacement(range(arms), samples)))
    return (drawn[:, :, None] == np.arange(arms)).sum(axis=1)


def group_probability(behavior: Array, counts: Array) -> Array:
    """Multinomial probability of each group (M, K) under each behavior policy (n, K): (n, M)."""
    orders = gammaln(counts.sum(axis=-1) + 1) - gammaln(counts + 1).sum(axis=-1)
    return np.exp(orders + xlogy(counts, behavior[:, None, :]).sum(axis=-1))


def expected_update(bandit: ps.Bandit, algorithm: ps.Algorithm, policy: Array, samples: int) -> Array:
    """The update on a group of ``samples`` in the logits (n, K), averaged over all groups."""
    counts = all_groups(bandit.arms, samples)
    shape = (len(bandit.behavior), *counts.shape)

    def rows(array: Array) -> Array:
        return np.broadcast_to(array, shape).reshape(-1, bandit.arms)

    by_weights = works_by_weights(algorithm.baseline)
    advantage = count_advantage(algorithm.baseline, bandit.reward[:, None], np.broadcast_to(counts, shape), by_weights)
    anchor, behavior = rows(finite_log(bandit.behavior)[:, None]), rows(bandit.behavior[:, None])
    batch = group_batch(algorithm, rows(counts / samples), advantage.reshape(-1, bandit.arms), anchor, behavior)
    updates = logit_gradient(algorithm, batch, rows(log_of(policy)[:, None]), rows(policy[:, None]))
    return (group_probability(bandit.behavior, counts)[..., None] * updates.reshape(shape)).sum(axis=1)


def _apart(
    case: Case,
    sampled: ps.Algorithm,
    exact: ps.Algorithm | Callable[[int], ps.Algorithm],
    factor: Callable[[int], float],
) -> Array:
    """How far averages over groups of G are from ``factor(G)`` times the update of the population, in rewards."""
    policy, found = some_policy(case), []
    log_ratio = finite_log(policy) - finite_log(case.bandit.behavior)
    scale = 1 + case.beta * (1 + size(log_ratio, case.bandit.behavior > 0))
    for samples in SIZES:
        expected = expected_update(case.bandit, sampled, policy, samples)
        chosen = exact if isinstance(exact, ps.Algorithm) else exact(samples)
        wanted = factor(samples) * population_update(case.bandit, chosen, policy)
        found.append(over_arms(relative(expected - wanted, scale), case.bandit.behavior > 0))
    return combined(*found)


def _shrunk(samples: int) -> float:
    return 1 - 1 / samples


@claim("updates.independent_baseline", HERE, SMALL, AVERAGED, effort=0.05)
def independent_baseline(case: Case) -> Array:
    """With a baseline that does not look at the group, groups average to the population's update, at any policy."""
    case = playable(case)
    made = [ps.algorithm(name, baseline=-0.4) for name in ("reinforce", "topr", "cispo")]
    made += [ps.algorithm(name, beta=case.beta, baseline=-0.4) for name in ("dro", "is_regression", "awr")]
    return combined(*(_apart(case, chosen, chosen, lambda samples: 1.0) for chosen in made))


def _group_mean_proof() -> bool:
    """E[(e_1 - mean of G) f_1] = (1 - 1/G) cov(e, f) for independent draws; and what that does to beta l."""
    import sympy as sp

    p, group, beta = sp.symbols("p G beta", positive=True)
    e, f = sp.symbols("e1:3", real=True), sp.symbols("f1:3", real=True)
    weights = (p, 1 - p)
    expected = 0
    for i, j in product(range(2), repeat=2):
        # The mean of a group: 1/G of the sample itself, (G - 1)/G of others, any one of which stands for all.
        expected += weights[i] * weights[j] * (e[i] - e[i] / group - (group - 1) / group * e[j]) * f[i]
    covariance = sum(w * a * b for w, a, b in zip(weights, e, f, strict=True)) - sum(
        w * a for w, a in zip(weights, e, strict=True)
    ) * sum(w * b for w, b in zip(weights, f, strict=True))
    reward, mean, x, delta = sp.symbols("r m l delta", real=True)
    factor = 1 - 1 / group
    plain = factor * (reward - mean) + delta * beta - beta * x
    warmer = beta / factor
    return is_zero(expected - factor * covariance) and is_zero(
        plain - factor * (reward - mean + delta * warmer - warmer * x)
    )


@claim("updates.group_mean", HERE, SMALL, AVERAGED, proof=_group_mean_proof, proves="two arms, any G", effort=0.05)
def group_mean(case: Case) -> Array:
    """A group mean gives on average (1 - 1/G) times the population's update at temperature beta G/(G - 1).

    Check: The group mean gives (1 - 1/G) times REINFORCE's update; of a regression, the one at temperature beta
    G/(G-1).
    """
    case = playable(case)
    reinforce = ps.algorithm("reinforce")
    found = [_apart(case, reinforce, reinforce, _shrunk)]
    for baseline in (lambda beta: baselines.mean(), lambda beta: baselines.shifted_mean(-beta)):
        found.append(_apart(case, *_cold_and_warm(case.beta, baseline), _shrunk))
    return combined(*found)


def _cold_and_warm(
    beta: float, baseline: Callable[[float], Baseline]
) -> tuple[ps.Algorithm, Callable[[int], ps.Algorithm]]:
    """A regression with a baseline that depends on its temperature, and the same at beta G/(G - 1) by G."""

    def at(temperature: float) -> ps.Algorithm:
        return regression(temperature, baseline(temperature))

    return at(beta), lambda samples: at(beta / _shrunk(samples))


def _leave_one_out_proof() -> bool:
    """E[(e_1 - e_2) f_1] = cov(e, f) for independent draws 1 and 2; the mean of others is an average of such e_2."""
    import sympy as sp

    p = sp.symbols("p", positive=True)
    e, f = sp.symbols("e1:3", real=True), sp.symbols("f1:3", real=True)
    weights = (p, 1 - p)
    expected = sum(weights[i] * weights[j] * (e[i] - e[j]) * f[i] for i, j in product(range(2), repeat=2))
    mean = p * e[0] + (1 - p) * e[1]
    return is_zero(expected - sum(w * (a - mean) * b for w, a, b in zip(weights, e, f, strict=True)))


@claim("updates.leave_one_out", HERE, SMALL, AVERAGED, proof=_leave_one_out_proof, proves="two arms", effort=0.05)
def leave_one_out(case: Case) -> Array:
    """A leave-one-out mean gives on average the population's update with the mean E r, at any policy.

    Check: A leave-one-out mean is unbiased: groups average to the update with the mean E r, at any policy.
    """
    case = playable(case)
    made = (ps.algorithm("rloo"), ps.algorithm("pmd_mean", tau=case.beta))
    return combined(*(_apart(case, chosen, chosen, lambda samples: 1.0) for chosen in made))


@claim("updates.centered_twins", HERE, SMALL, AVERAGED, effort=0.05)
def centered_twins(case: Case) -> Array:
    """Pairwise and centered regression keep their temperature on groups: (1 - 1/G) times the population's update.

    Check: Pairwise and centered regression on groups: (1 - 1/G) times the population's update, the temperature as
    it is.
    """
    case = playable(case)
    made = [ps.algorithm(name, beta=case.beta) for name in ("pairwise_regression", "centered_regression")]
    return combined(*(_apart(case, chosen, chosen, _shrunk) for chosen in made))


def _soft_value_exponential_proof() -> bool:
    """exp(V-hat/beta) is the group's mean of exp(r/beta), whose expectation is exp(V*/beta)."""
    import sympy as sp

    p = sp.symbols("p", positive=True)
    raised = sp.symbols("x1:3", positive=True)
    weights = (p, 1 - p)
    expected = sp.Integer(0)
    for group in product(range(2), repeat=3):
        chance = sp.prod([weights[i] for i in group])
        expected += chance * sum(raised[i] for i in group) / 3
    return is_zero(expected - (p * raised[0] + (1 - p) * raised[1]))


@claim(
    "updates.soft_value",
    HERE,
    SMALL,
    AVERAGED,
    proof=_soft_value_exponential_proof,
    proves="the identity, for two arms and groups of three",
    effort=0.2,
)
def soft_value_exponential(case: Case) -> Array:
    """E exp((V-hat - V*)/beta) = 1 over groups: with the exact V* as baseline groups fall into both regimes.

    Check: E exp((V-hat - V*)/beta) = 1 over groups, so that where rewards differ V* is above some V-hat, below
    others.
    """
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    rule = baselines.log_mean_exp(case.beta)
    exact = ps.algorithm("dro", beta=case.beta, baseline=rule).advantage(bandit.reward, bandit.behavior)
    for samples in SIZES:
        counts = all_groups(bandit.arms, samples)
        shape = (case.size, *counts.shape)
        groups = np.broadcast_to(counts, shape)
        advantage = count_advantage(rule, bandit.reward[:, None], groups, works_by_weights(rule))
        # Any arm of the group tells V-hat - V*: the difference of its two advantages.
        gap = np.where(groups > 0, exact[:, None] - advantage, -np.inf).max(axis=-1) / case.beta
        weights = group_probability(bandit.behavior, counts)
        scale = 1 + size(bandit.reward, seen)[:, 0] / case.beta
        raised = np.where(weights > 0, weights * np.exp(np.where(weights > 0, gap, 0.0)), 0.0)
        found.append(relative(raised.sum(axis=-1) - 1, scale))
        both = (np.where(weights > 0, gap, -np.inf).max(axis=-1) > 0) & (
            np.where(weights > 0, gap, np.inf).min(axis=-1) < 0
        )
        spread = size(exact, seen)[:, 0] / case.beta
        found.append(np.where(both | (spread < 1e-9 * scale), 0.0, 1.0))
    return combined(*found)


@exact.precisely
def _confirm_soft_value(case: Case) -> bool:
    """The expected update in the first arm's logit over all groups of two, at mu e^(r/beta)/Z."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    arms = range(len(behavior))
    target = exact.gibbs(behavior, reward, beta)
    x = [mp.log(p / m) for p, m in zip(target, behavior, strict=True)]
    moving = mp.mpf(0)
    for group in product(arms, repeat=2):
        value = beta * mp.log(mp.fsum(mp.exp(reward[i] / beta) for i in group) / 2)
        for i in group:
            pull = (reward[i] - value - beta * x[i]) / 2
            moving += behavior[group[0]] * behavior[group[1]] * pull * ((i == 0) - target[0])
    return abs(moving) > exact.margin()


@refuted("updates.soft_value_target", search=small_rationals, confirm=_confirm_soft_value, families=())
def soft_value_target(case: Case) -> Array:
    """With soft values estimated from groups the regression stands still, on average, at its population target.

    Check: With V-hat from groups of two the average update vanishes at the population's target, which is false.
    """
    chosen = ps.algorithm("oapl.single_beta", beta=case.beta)
    target = ps.induced_target(case.bandit, chosen).policy
    moving = expected_update(case.bandit, chosen, target / target.sum(axis=-1, keepdims=True), 2)
    return np.abs(moving).max(axis=-1) / case.beta


def _chernoff_proof() -> bool:
    """Markov's inequality for e^(G mean/beta): (E e^(r/beta))^G e^(-G (V* + delta beta)/beta) = e^(-G delta)."""
    import sympy as sp

    beta, delta, group, raised = sp.symbols("beta delta G M", positive=True)
    soft = beta * sp.log(raised)
    return is_zero(group * sp.log(raised) - group * (soft + delta * beta) / beta + group * delta)


@claim("groups.shifted_mean", HERE, SMALL, 1e-9, proof=_chernoff_proof, proves="the exponent", effort=0.3)
def mean_above_soft_value(case: Case) -> Array:
    """The mean of G samples less d beta exceeds V* with probability at most e^(-G d), and at most e^(-2G (d beta/R)^2).

    R is the range of the rewards: with the smaller of two shifts, prescribe's, groups are negative that rarely.

    Check: all groups of 2, 3 and (up to five arms) 6 samples with their probabilities, for three d and for the shift
    that prescribe gives.
    """
    bandit, beta, found = case.bandit, case.beta, []
    seen = bandit.behavior > 0
    behavior = bandit.behavior / bandit.behavior.sum(axis=-1, keepdims=True)
    top = np.where(seen, bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    reward = np.where(seen, bandit.reward - top, 0.0)
    soft = beta * np.log((behavior * np.exp(reward / beta)).sum(axis=-1))
    spread = -np.where(seen, reward, 0.0).min(axis=-1)
    rounding = 1e-12 * (spread + beta)[:, None]  # of means and soft values: it may not lift one over the level
    for samples in (2, 3, 6) if bandit.arms <= 5 else (2, 3):
        counts = all_groups(bandit.arms, samples)
        chance = group_probability(behavior, counts)
        above = (counts * reward[:, None]).sum(axis=-1) / samples - soft[:, None]
        for delta in (0.02, 0.2, 1.0):
            over = above > delta * beta + rounding
            with np.errstate(divide="ignore"):
                hoeffding = np.exp(-2 * samples * (delta * beta / spread) ** 2)
            found.append(excess((chance * over).sum(axis=-1), np.minimum(np.exp(-samples * delta), hoeffding), 1.0))
        shift = ps.prescribe(reward, nats=1.0, beta=beta, behavior=behavior, group_size=samples, failure=0.1)
        over = above > np.asarray(shift.group_shift)[:, None] + rounding
        found.append(excess((chance * over).sum(axis=-1), np.full(case.size, 0.1), 1.0))
    return combined(*found)


CLAIMS = claims_in(vars())
