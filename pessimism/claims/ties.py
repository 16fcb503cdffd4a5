"""Claims about tied rewards under the ratio, whole or capped as a weight: where the flow from mu goes, and how fast.

Proofs are written out in docs/theory/ties.md. Flows cannot wait for differences of mu that are tiny, so behavior
probabilities of tied arms are equal or a factor apart here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ..algorithm import Algorithm
from ..bandit import Bandit
from ..objectives.policy_gradient import policy_gradient
from ..objectives.ratio import importance_weighted, truncated, truncated_target
from ..solution import greedy
from ..solve.divergences import entropy, total_variation
from ..solve.flow import softmax_flow
from ..solve.simplex import expectation
from ..solve.ties import greedy_fill
from .case import Case
from .claim import NOT_APPLICABLE, claim, claims_in
from .families import RANDOM, TIES, ZERO_PROBABILITY, Family, Generator
from .support import HERE, ROUNDED, Array, advantages, combined, excluded, induced, over_arms, relative
from .symbolic import is_nonnegative, is_zero, positive_symbols, real_symbols

WEIGHTED = Algorithm(importance_weighted, on_policy=policy_gradient, anchor="behavior", induced=greedy)
CAPS = (1.3, 2.0)
FAR, NEAR = 1e10, 1e6  # times at which flows are looked at; beyond NEAR capped arms are within rounding of their corner


def capped(cap: float) -> Algorithm:
    """c = min(rho, cap) A with a mean baseline."""
    coefficient = partial(truncated, low=0.0, high=cap)
    return Algorithm(
        coefficient, anchor="behavior", induced=partial(truncated_target, cap=cap), kinks=partial(_corner, cap=cap)
    )


def _corner(advantage: Array, *, cap: float) -> Array:
    """Arms slide along the corner of their cap, within 1/t of it: the flow must know where it is."""
    return np.full((*advantage.shape, 1), np.log(cap))


ARMS = 7


def _winners(generator: Generator, count: int) -> Iterator[Case]:
    """Two to four tied winners over one to three losers, in any places; two winners equal in a third of the rows."""
    winners, losers = generator.integers(2, 5, (count, 1)), generator.integers(1, 4, (count, 1))
    place = np.broadcast_to(np.arange(ARMS), (count, ARMS))
    best, played = place < winners, place < winners + losers
    weight = np.cumprod(generator.uniform(1.4, 2.5, size=(count, ARMS)), axis=-1)
    equal = (generator.uniform(size=(count, 1)) < 1 / 3) & (place == winners - 1)
    weight = np.where(equal, np.roll(weight, 1, axis=-1), weight)
    typical = np.where(best, weight, 0.0).sum(axis=-1, keepdims=True) / winners
    weight = np.where(best, weight, np.where(played, generator.uniform(0.2, 0.8, (count, ARMS)) * typical, 0.0))
    reward = np.where(best, 1.0, -generator.choice([0.0, 0.5], (count, ARMS)))
    order = generator.permuted(place, axis=-1)
    behavior, reward = (np.take_along_axis(part, order, axis=-1) for part in (weight, reward))
    behavior = behavior / behavior.sum(axis=-1, keepdims=True)
    yield Case("tied winners", Bandit(behavior, reward), 1.0, seed=int(generator.integers(2**31)))


TIED_WINNERS = (Family("tied winners", _winners, 1.02),)
MIXED = (RANDOM, TIES, ZERO_PROBABILITY)


def _some_policy(case: Case) -> Array:
    """A policy (n, K) on the arms that are played, drawn from the case's seed."""
    draws = np.random.default_rng(case.seed).exponential(size=case.bandit.behavior.shape)
    draws = np.where(case.bandit.behavior > 0, draws, 0.0)
    return draws / draws.sum(axis=-1, keepdims=True)


def _velocity(bandit: Bandit, chosen: Algorithm, policy: Array) -> Array:
    """mu c - pi E_mu[c], (n, K), by the coefficient itself."""
    seen = bandit.behavior > 0
    x = np.log(np.where(seen, policy, 1.0)) - np.log(np.where(seen, bandit.behavior, 1.0))
    weighted = np.where(seen, bandit.behavior * chosen.coefficient(x, advantages(bandit, chosen)), 0.0)
    return weighted - policy * weighted.sum(axis=-1, keepdims=True)


def _law_proof() -> bool:
    """c = rho A: the difference of two tied arms' velocities, three arms."""
    one, two, three = positive_symbols("p1 p2 p3")
    best, other = real_symbols("A B")
    value = (one + two) * best + three * other
    velocity = [p * a - p * value for p, a in ((one, best), (two, best))]
    return is_zero(velocity[0] - velocity[1] - (one - two) * (best - value))


@claim("ties.law", HERE, TIED_WINNERS, 1e-11, proof=_law_proof, proves="the law, for two tied arms of three")
def ties_law(case: Case) -> Array:
    """With the weight rho tied winners part at d log(pi_i/pi_j)/dt = (pi_i - pi_j)(max A - E_pi A).

    Check: at a random policy, against the velocities that the coefficient gives.
    """
    bandit, policy = case.bandit, _some_policy(case)
    velocity, a = _velocity(bandit, WEIGHTED, policy), advantages(bandit, WEIGHTED)
    gap = a.max(axis=-1, keepdims=True) - expectation(policy, a)[:, None]
    tied = a == a.max(axis=-1, keepdims=True)
    lead = np.argmax(np.where(tied, policy, -1.0), axis=-1)[:, None]
    parted = np.take_along_axis(velocity, lead, axis=-1) - velocity
    law = (np.take_along_axis(policy, lead, axis=-1) - policy) * gap
    return over_arms(relative(np.where(tied, parted - law, 0.0), np.abs(a).max(axis=-1, keepdims=True)), tied)


def _order_proof() -> bool:
    """A (min(p, cap m) - min(p, cap n)) >= 0 for m >= n, in the three places that p can have."""
    p, cap, n, step, a, slack = positive_symbols("p C n s A d")
    below_both = a * (p - p)
    between = a * ((cap * n + slack) - cap * n)  # p = cap n + slack, below cap m
    above_both = a * (cap * (n + step) - cap * n)
    return all(is_nonnegative(part.expand()) for part in (below_both, between, above_both))


@claim("ties.order", HERE, MIXED, ROUNDED, proof=_order_proof, proves="both sides of the cap, for A > 0")
def ties_order(case: Case) -> Array:
    """With a weight min(rho, cap), no arm overtakes a tied arm of positive advantage that mu plays more.

    Check: where the two are equally probable, the velocity of the one that mu plays more is no less.
    """
    bandit, found = case.bandit, []
    policy = np.where(bandit.behavior > 0, 1.0, 0.0)
    policy = policy / policy.sum(axis=-1, keepdims=True)
    order = np.lexsort((bandit.behavior, advantages(bandit, WEIGHTED)), axis=-1)  # equal rewards, up to rounding
    for cap in (0.3, 1.5, 4.0):
        a = np.take_along_axis(advantages(bandit, capped(cap)), order, axis=-1)
        velocity = np.take_along_axis(_velocity(bandit, capped(cap), policy), order, axis=-1)
        played = np.take_along_axis(bandit.behavior, order, axis=-1) > 0
        pairs = (a[:, 1:] == a[:, :-1]) & (a[:, 1:] > 0) & played[:, :-1]
        fall = np.where(pairs, velocity[:, :-1] - velocity[:, 1:], 0.0).max(axis=-1, initial=0.0)
        found.append(fall / np.maximum(np.abs(a).max(axis=-1), 1e-300))
    return combined(*found)


@claim("ties.gap", HERE, MIXED, ROUNDED)
def ties_gap(case: Case) -> Array:
    """With the weight rho the gap e = max A - E_pi A falls no faster than de/dt = -2 e^2, so its integral diverges.

    Check: the norm of the gradient, sum pi^2 (A - E_pi A)^2, at a random policy.
    """
    bandit, policy = case.bandit, _some_policy(case)
    seen = bandit.behavior > 0
    a = np.where(seen, advantages(bandit, WEIGHTED), 0.0)
    value = expectation(policy, a)
    gap = np.where(seen, a, -np.inf).max(axis=-1) - value
    speed = (policy**2 * (a - value[:, None]) ** 2).sum(axis=-1)
    return np.maximum(speed - 2 * gap**2, 0.0) / np.maximum(np.abs(a).max(axis=-1) ** 2, 1e-300)


@claim("ties.winner_takes_all", HERE, TIED_WINNERS, 2e-3, falsify=False, effort=0.1)
def ties_winner_takes_all(case: Case) -> Array:
    """With the weight rho the flow from mu ends on the most probable of the tied winners; equal ones share.

    Check: total variation of the flow at time 1e10, where a loser of the tie has fallen by t^-n/(n + e), the slowest to
    1e10^(-1/3) = 5e-4 times a constant.
    """
    target = induced(case.bandit, WEIGHTED)
    flow = softmax_flow(WEIGHTED.coefficient, *_problem(case, WEIGHTED), t_max=FAR, tol=1e-30, rtol=1e-4)
    return total_variation(flow.policy, target.policy)


@claim("ties.rate", HERE, TIED_WINNERS, 0.03, falsify=False, effort=0.1)
def ties_rate(case: Case) -> Array:
    """With n losers and e winners that share, the other tied winners fall like t^-n/(n + e) under the weight rho.

    Check: slopes of log pi against log t at the end of a flow to time 1e10.
    """
    bandit, behavior = case.bandit, case.bandit.behavior
    flow = softmax_flow(WEIGHTED.coefficient, *_problem(case, WEIGHTED), t_max=FAR, tol=1e-30, rtol=1e-4, keep=40)
    assert flow.times is not None
    assert flow.policies is not None
    best = _best(bandit)
    top = np.where(best, behavior, 0.0).max(axis=-1, keepdims=True)
    shared, losers = (best & (behavior == top)).sum(axis=-1), (~best & (behavior > 0)).sum(axis=-1)
    span = np.log(flow.times[:, -1] / flow.times[:, -5])[:, None]
    end, before = (np.log(np.where(behavior > 0, flow.policies[:, at], 1.0)) for at in (-1, -5))
    slope = (end - before) / span
    off = np.where(best & (behavior < top), np.abs(slope + (losers / (losers + shared))[:, None]), 0.0)
    return np.where((best & (behavior < top)).any(axis=-1), off.max(axis=-1), NOT_APPLICABLE)


@claim("ties.greedy_fill", HERE, TIED_WINNERS, 0.05, falsify=False, effort=0.1)
def ties_greedy_fill(case: Case) -> Array:
    """With a weight min(rho, cap), the flow from mu fills tied winners to rho = cap in the order of mu.

    Check: total variation of the flow at time 1e6. Arms are filled one after the other, each in a time that grows with
    a power of 1/(difference of mu): instances with winners that do not differ by a tenth are left out.
    """
    found, far = [], _spread(case.bandit) > 0.1
    for cap in CAPS:
        chosen = capped(cap)
        target = induced(case.bandit, chosen)
        problem = _problem(case, chosen)
        flow = softmax_flow(chosen.coefficient, *problem, kinks=chosen.kinks, t_max=NEAR, tol=1e-30, rtol=1e-4)
        distance = total_variation(flow.policy, target.policy)
        found.append(excluded(far & target.face.any(axis=-1), distance))
    return combined(*found)


def _best(bandit: Bandit) -> Array:
    """Arms (n, K) that are played and tie for the greatest reward among those."""
    reward = np.where(bandit.behavior > 0, bandit.reward, -np.inf)
    return reward == reward.max(axis=-1, keepdims=True)


def _spread(bandit: Bandit) -> Array:
    """Smallest difference (n,) between the probabilities of winners that are not equal."""
    ranked = np.sort(np.where(_best(bandit), bandit.behavior, -np.inf), axis=-1)
    with np.errstate(invalid="ignore"):
        step = np.diff(ranked, axis=-1)
    return np.where(step > 0, step, np.inf).min(axis=-1)


@claim("ties.least_entropy", HERE, TIED_WINNERS, ROUNDED, effort=0.3)
def ties_least_entropy(case: Case) -> Array:
    """Of all divisions of the mass among tied arms up to a cap, greedy fill has the least entropy if mu has no ties.

    Check: random other divisions, and the one in proportion to mu.
    """
    bandit = case.bandit
    best = _best(bandit)
    ranked = np.sort(np.where(best, bandit.behavior, -np.arange(1.0, bandit.arms + 1)), axis=-1)
    distinct = (np.diff(ranked, axis=-1) != 0).all(axis=-1)
    found, generator = [], np.random.default_rng(case.seed)
    for cap in (1.2, 2.0, 1e9):
        room = np.where(best, np.minimum(cap * bandit.behavior, 1.0), 0.0)
        mass = np.minimum(room.sum(axis=-1), 1.0)
        least = entropy(greedy_fill(best, bandit.behavior, mass, cap).policy)
        for _ in range(3):
            part = mass[:, None] * _divided(generator, room / mass[:, None])
            found.append(np.maximum(least - entropy(part), 0.0))
    return excluded(distinct, combined(*found))


def _divided(generator: Generator, room: Array) -> Array:
    """A division of 1 (n, K) that leaves no arm more than its room: rooms taken in random order and random shares."""
    full = room / room.sum(axis=-1, keepdims=True)  # in proportion to the room: within it, as rooms sum to 1 or more
    order = generator.permuted(np.tile(np.arange(room.shape[-1]), (len(room), 1)), axis=-1)
    ranked = np.take_along_axis(room, order, axis=-1)
    before = np.cumsum(ranked, axis=-1) - ranked
    filled = np.empty_like(ranked)
    np.put_along_axis(filled, order, np.clip(1 - before, 0.0, ranked), axis=-1)
    weight = generator.uniform(size=(len(room), 1))
    return weight * full + (1 - weight) * filled


def _problem(case: Case, chosen: Algorithm) -> tuple[Array, Array]:
    return case.bandit.behavior, advantages(case.bandit, chosen)


CLAIMS = claims_in(vars())
