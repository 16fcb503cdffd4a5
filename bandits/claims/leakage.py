"""Claims about arms that no sample of a group shows: the simplex does not bind those seen, and mass leaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import pessimism as ps
from pessimism.claims import Case, claim, claims_in
from pessimism.claims.families import SMALL, Family
from pessimism.claims.support import HERE, combined, over_arms, relative
from pessimism.claims.symbolic import is_zero

from ..batches import Batch
from ..settings import Settings
from ..simulate import logit_gradient, simulate
from .support import Array, finite_log, group_batch, log_of, playable

UNSEEN = 5


SHARE = 0.3  # of the behavior policy's mass, on the arms of the group


ENDED = 1e-7


EXACTLY = 1e-12


RARE = 1e-10


def unclaimed_mass(behavior: Array, scaled: Array, weighed: Array) -> Array:
    """[1 - sum of mu e^(A/beta)]+ over the arms that a regression weighs, (n,): the mass that it leaves to the others.

    It is one formula for the arms that a group has not sampled and, where ``weighed`` is all arms but a rare one and
    V > V*, for that arm, 1 - e^(-(V - V*)/beta). ``scaled`` is A/beta (n, K).
    """
    claimed = np.where(weighed, behavior * np.exp(np.where(weighed, scaled, 0.0)), 0.0).sum(axis=-1)
    return np.maximum(1 - claimed, 0.0)


@dataclass(frozen=True)
class _Group:
    """One group in a larger world: ``sampled`` (K,), its weights (n, K), 0 on the rest; rewards are relative to V."""

    bandit: ps.Bandit
    weights: Array
    sampled: Array
    beta: float

    def batch(self, algorithm: ps.Algorithm) -> Batch:
        """What an update on the group sees; rewards are advantages already."""
        advantage = np.where(self.sampled, self.bandit.reward, 0.0)
        behavior = self.bandit.behavior
        return group_batch(algorithm, self.weights, advantage, finite_log(behavior), behavior)


def _group(case: Case, claimed: float) -> _Group:
    """The case's arms as sampled ones, five unsampled, V such that sum mu e^(A/beta) is ``claimed`` over the group."""
    case = playable(case, low=1.0)
    generator = np.random.default_rng(case.seed)
    played = case.bandit.behavior > 0
    counts = np.where(played, generator.integers(1, 3, size=played.shape), 0)
    rest = generator.dirichlet(np.ones(UNSEEN), size=case.size)
    reward = np.where(played, case.bandit.reward, 0.0) / case.beta
    total = SHARE * (case.bandit.behavior * np.exp(reward)).sum(axis=-1, keepdims=True)
    advantage = case.beta * (reward - np.log(total / claimed))
    none = np.zeros((case.size, UNSEEN))
    behavior = np.concatenate([SHARE * case.bandit.behavior, (1 - SHARE) * rest], axis=-1)
    return _Group(
        ps.Bandit(behavior / behavior.sum(axis=-1, keepdims=True), np.concatenate([advantage, none], axis=-1)),
        np.concatenate([counts / counts.sum(axis=-1, keepdims=True), none], axis=-1),
        np.concatenate([played, none > 0], axis=-1),
        case.beta,
    )


def _frozen(group: _Group, algorithm: ps.Algorithm, steps: int, rate: float = 1.0) -> Array:
    """Where steps of ``rate``/beta on the one group end, (n, K)."""
    settings = Settings(lag=steps, learning_rate=rate / group.beta, targets=False)
    return simulate(group.bandit, algorithm, settings, draw=lambda *_: group.batch(algorithm)).policy[0]


def _unclaimed(group: _Group) -> Array:
    return unclaimed_mass(group.bandit.behavior, group.bandit.reward / group.beta, group.weights > 0)


def _leakage_proof() -> bool:
    """An unsampled arm moves by -pi lambda: it stands still with pi > 0 only if lambda = 0, and then c = 0."""
    import sympy as sp

    policy, weight, beta = sp.symbols("pi w beta", positive=True)
    lam, advantage, x = sp.symbols("lambda A x", real=True)
    still = sp.solve(-policy * lam, lam)
    arm = sp.solve((weight * (advantage - beta * x) - policy * lam).subs(lam, still[0]), x)
    return still == [0] and is_zero(arm[0] - advantage / beta)


@claim(
    "leakage.free",
    HERE,
    SMALL,
    ENDED,
    proof=_leakage_proof,
    proves="unsampled arms stand still only if lambda = 0 or they have nothing",
    falsify=False,
)
def free_targets(case: Case) -> Array:
    """While sum mu e^(A/beta) < 1 over a group, its arms go to rho = e^(A/beta); unsampled arms get the rest.

    Check: While sum mu e^(A/beta) < 1 over the group, every sampled arm goes to rho = e^(A/beta), with any
    weights.
    """
    found = []
    for claimed in (0.2, 0.45):
        group = _group(case, claimed)
        # The curvature w beta of an arm is multiplied by its ratio, 1/4 to 4, where there is an importance weight.
        for name, rate, steps in (("dro", 1.0, 400), ("is_regression", 0.4, 3000)):
            end = _frozen(group, ps.algorithm(name, beta=group.beta, baseline=0.0), steps, rate)
            wanted = group.bandit.behavior * np.exp(group.bandit.reward / group.beta)
            found.append(over_arms(np.abs(end - wanted), group.sampled))
            rest = np.where(group.weights > 0, 0.0, end).sum(axis=-1)
            found.append(np.abs(rest - _unclaimed(group)))
    return combined(*found)


@claim("leakage.bound", HERE, SMALL, EXACTLY, effort=0.2)
def bound_targets(case: Case) -> Array:
    """Where that sum exceeds 1 unsampled arms lose all: beta log(pi/mu) + lambda pi/w = A, w the group's shares.

    Check: With sum mu e^(A/beta) > 1 the sampled arms take all: beta log(pi/mu) + lambda pi/w = A with lambda > 0.
    """
    group = _group(case, 2.0)
    chosen = ps.algorithm("dro", beta=group.beta, baseline=0.0)
    anchored = ps.Bandit(group.weights, group.bandit.reward, group.bandit.behavior)
    target = ps.induced_target(anchored, chosen)
    update = logit_gradient(chosen, group.batch(chosen), log_of(target.policy), target.policy)
    outside = np.where(group.weights > 0, 0.0, target.policy).sum(axis=-1) - _unclaimed(group)
    positive = np.where(np.asarray(target.normalizer) > 0, 0.0, 1.0)
    return combined(np.abs(outside), positive, over_arms(relative(update, group.beta), group.sampled))


@claim("leakage.centered", HERE, SMALL, ENDED, falsify=False)
def centered_stays(case: Case) -> Array:
    """Pairwise and centered regression give sampled arms odds of e^((r - average r)/beta) against unsampled ones.

    Check: Centered and pairwise regression leave unsampled arms' logits, and the sum of sampled ones, as they
    were.
    """
    group, found = _group(case, 0.5), []
    sampled, kept = group.weights > 0, (group.weights == 0) & (group.bandit.behavior > 0)
    for name in ("centered_regression", "pairwise_regression"):
        end = _frozen(group, ps.algorithm(name, beta=group.beta, baseline=0.0), 400)
        x = finite_log(end) - finite_log(group.bandit.behavior)
        level = np.where(kept, x, 0.0).sum(axis=-1, keepdims=True) / kept.sum(axis=-1, keepdims=True)
        found.append(over_arms(np.abs(x - level), kept))
        mean = np.where(sampled, group.bandit.reward, 0.0).sum(axis=-1, keepdims=True) / sampled.sum(
            axis=-1, keepdims=True
        )
        found.append(over_arms(np.abs(x - level - (group.bandit.reward - mean) / group.beta), sampled))
    return combined(*found)


def _law_proof() -> bool:
    """With all other arms at mu e^a the loss is m (log(p/m) - a)^2/2 on the rare arm alone, which vanishes with m."""
    import sympy as sp

    m, left = sp.symbols("m p", positive=True)
    a, delta = sp.symbols("a delta", real=True)
    loss = m * (sp.log(left) - sp.log(m) - a) ** 2 / 2
    rest = sp.exp(-delta) - m * sp.exp(a)  # sum of mu e^a over the others, as the whole sum is e^-delta
    return sp.limit(sp.expand(loss), m, 0, "+") == 0 and is_zero(sp.limit(1 - rest, m, 0) - (1 - sp.exp(-delta)))


def _few(generator: np.random.Generator, count: int) -> Iterator[Case]:
    """Small cases, a hundredth as many: the lowest minimum is looked for in one instance at a time."""
    for family in SMALL:
        yield from family.cases(int(generator.integers(2**31)), max(3, count // 100))


@claim(
    "leakage.law",
    HERE,
    (Family("few", _few),),
    # kappa = O(m log 1/m) at the lowest minimum, with m = 1e-10: some 1e-9, times ratios of up to 1/m' of rare others
    1e-6,
    proof=_law_proof,
    proves="the loss of the policy that the minimum tends to",
    falsify=False,
)
def law(case: Case) -> Array:
    """Let mu_j -> 0 with (V - V*)/beta = d > 0: the lowest minimum has pi_j -> 1 - e^-d, pi_i -> mu_i e^(A_i/beta).

    The loss tends to 0, all of it whatever the reward r_j, and for every d > 0, below d_c too.

    Check: mu_j = 1e-10, its reward the best, the worst or another, d from 0.05 to 3.
    """
    case = playable(case, low=1.0)
    generator = np.random.default_rng(case.seed)
    offset, found = float(np.clip(abs(case.offset), 0.05, 3.0)), np.zeros(case.size)
    for row in range(case.size):
        behavior = np.append((1 - RARE) * case.bandit.behavior[row], RARE)
        reward = np.append(case.bandit.reward[row], generator.choice([-2.0, -0.5, 1.0]))
        value = case.beta * (np.log(behavior @ np.exp(reward / case.beta)) + offset)
        bandit = ps.Bandit(behavior / behavior.sum(), reward)
        lowest = ps.stationary_points(bandit, ps.algorithm("dro", beta=case.beta, baseline=float(value)))[0]
        scaled = (reward - value) / case.beta
        common = np.arange(len(behavior)) < len(behavior) - 1
        wanted = np.where(common, behavior * np.exp(scaled), unclaimed_mass(behavior, scaled, common))
        zero = (behavior * scaled**2).sum() / 2  # the loss is reported relative to the behavior policy's
        fault = np.abs(lowest.policy - wanted).max(), abs(lowest.policy[-1] + np.expm1(-offset))
        found[row] = max(*fault, abs(lowest.loss / case.beta + zero))
    return found


CLAIMS = claims_in(vars())
