"""Claims about completions of different lengths: an autoregressive policy with an end token, enumerated as a tree."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
from scipy.special import wrightomega

import pessimism as ps
from pessimism.claims import NOT_APPLICABLE, Case, claim, claims_in, exact, refuted, small_rationals
from pessimism.claims.families import SMALL
from pessimism.claims.support import HERE, SOLVED, advantages, combined
from pessimism.claims.symbolic import is_zero
from pessimism.solve import expectation, total_variation

from ..sequences import SequenceBandit, SequenceTree, population_update, run_to_convergence
from .support import Array, finite_log, playable

# Vocabulary and longest length: 15 completions; the four completions 0, 10, 110, 111; and 0, 10, 11.
SHAPE, NARROW, SHORT = (3, 3), (2, 3), (2, 2)


FLOWS = 1  # a case: each takes a tenth of a second


@cache
def _tree(vocabulary: int, longest: int) -> SequenceTree:
    return SequenceTree(vocabulary, longest)


def logits_of(tree: SequenceTree, policy: Array) -> Array:
    """Logits (P, V) of a distribution over completions (K,): the log of what passes through every prefix and token."""
    passing = np.zeros((tree.prefixes, tree.vocabulary))
    np.add.at(passing, (tree.node, tree.token), np.where(tree.present, policy[:, None], 0.0))
    return finite_log(passing)


def _worlds(case: Case, shape: tuple[int, int] = SHAPE) -> list[SequenceBandit]:
    """A world per instance: random logits, the case's rewards spread over the completions."""
    tree = _tree(*shape)
    generator = np.random.default_rng(case.seed)
    pick = generator.integers(case.bandit.arms, size=(case.size, tree.completions))
    reward = np.take_along_axis(case.bandit.reward, pick, axis=-1)
    logits = generator.normal(size=(case.size, tree.prefixes, tree.vocabulary))
    return [SequenceBandit(tree, one, other) for one, other in zip(logits, reward, strict=True)]


def _stacked(worlds: list[SequenceBandit]) -> ps.Bandit:
    bandits = [world.bandit for world in worlds]
    return ps.Bandit(np.stack([b.behavior for b in bandits]), np.stack([b.reward for b in bandits]))


def _moving(world: SequenceBandit, algorithm: ps.Algorithm, level: str, policy: Array) -> float:
    """The largest entry of the update at a policy over completions."""
    return float(np.abs(population_update(world, algorithm, level)(logits_of(world.tree, policy))).max())


@claim("completions.target", HERE, SMALL, SOLVED, effort=0.05)
def sequence_level(case: Case) -> Array:
    """With completions of many lengths, sequence-level regression stands still at the bandit's target over them.

    Check: At the bandit's target over completions of all lengths the token logits stand still; six flows end
    there.
    """
    case = playable(case)
    worlds = _worlds(case)
    found = []
    for chosen in (ps.algorithm("shifted_mean", beta=case.beta), ps.algorithm("kimi_k15", tau=case.beta)):
        target = ps.induced_target(_stacked(worlds), chosen).policy
        pairs = zip(worlds, target, strict=True)
        found.append(np.array([_moving(world, chosen, "sequence", policy) for world, policy in pairs]))
    return combined(*found) / case.beta


@claim("completions.flow", HERE, SMALL, 1e-06, falsify=False)
def flow_ends(case: Case) -> Array:
    """The flow of an autoregressive policy's token logits from mu ends at the bandit's target over completions.

    Check: The flow of the token logits from mu ends at the bandit's target over completions; one flow a case.
    """
    case = playable(case)
    found = np.full(case.size, NOT_APPLICABLE)
    chosen = ps.algorithm("shifted_mean", beta=case.beta)
    worlds = _worlds(case, NARROW)
    for row in [row for row, world in enumerate(worlds) if np.ptp(world.reward) > 0][:FLOWS]:
        reached = run_to_convergence(worlds[row], chosen, "sequence")
        target = ps.induced_target(worlds[row].bandit, chosen).policy
        found[row] = total_variation(reached.policy, target) if reached.converged else 1.0
    return found


def length_target(bandit: ps.Bandit, length: Array, algorithm: ps.Algorithm) -> tuple[Array, Array]:
    r"""Target and normalizer of a regression whose log-ratios are divided by the length, (n, K) and (n,).

    Arm by arm $\beta/|y|^2 \log\rho + \lambda\rho = A/|y|$, from $\mu\,(A - \beta\ell/|y|)/|y| = \lambda\pi$. Bisection
    on $\log\lambda$; where $E e^{|y|A/\beta} \le 1$ there is no $\lambda > 0$, and the normalizer is NaN.
    """
    assert algorithm.beta is not None
    beta = algorithm.beta
    a = length * advantages(bandit, algorithm) / beta

    def log_ratio(log_normalizer: Array) -> Array:
        log_kappa = log_normalizer[:, None] + 2 * np.log(length) - np.log(beta)
        return np.log(wrightomega(a + log_kappa)) - log_kappa

    low, high = np.full(len(a), -60.0), np.full(len(a), 60.0)
    for _ in range(100):
        middle = (low + high) / 2
        over = expectation(bandit.behavior, np.exp(log_ratio(middle))) > 1
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    normalizer = np.where(expectation(bandit.behavior, np.exp(a)) > 1, np.exp(low), np.nan)
    return bandit.behavior * np.exp(log_ratio(low)), normalizer


def _length_level_proof() -> bool:
    """mu (A - beta l/n)/n = lambda mu rho is beta/n^2 l + lambda rho = A/n."""
    import sympy as sp

    mu, beta, rho, length = sp.symbols("mu beta rho n", positive=True)
    advantage, lam, x = sp.symbols("A lambda l", real=True)
    left = mu * (advantage - beta * x / length) / length - lam * mu * rho
    return is_zero(left / mu - (advantage / length - beta / length**2 * x - lam * rho))


@claim("completions.length", HERE, SMALL, SOLVED, proof=_length_level_proof, proves="the equation", effort=0.05)
def length_level(case: Case) -> Array:
    """With log-ratios divided by the length |y| the target is beta/|y|^2 log rho + lambda rho = A/|y|, arm by arm.

    Check: Where beta/|y|^2 log rho + lambda rho = A/|y|, the update with log-ratios divided by |y| stands still.
    """
    case = playable(case)
    worlds = _worlds(case)
    chosen = ps.algorithm("shifted_mean", beta=case.beta)
    policy, normalizer = length_target(_stacked(worlds), _tree(*SHAPE).length, chosen)
    moving = np.array([_moving(w, chosen, "sequence mean", p) for w, p in zip(worlds, policy, strict=True)])
    return np.where(np.isnan(normalizer), NOT_APPLICABLE, moving / case.beta)


@exact.precisely
def _confirm_length(case: Case) -> bool:
    """The target of lengths 1, 2, 2 with V = E r - beta, and whether two arms of equal reward part."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    baseline = exact.mean(behavior, reward) - beta
    lengths = (1, 2, 2)

    def ratios(log_normalizer: Any) -> list[Any]:
        kappas = [mp.exp(log_normalizer) * n**2 / beta for n in lengths]
        exponents = [n * (r - baseline) / beta for n, r in zip(lengths, reward, strict=True)]
        return [mp.lambertw(k * mp.exp(a)).real / k for k, a in zip(kappas, exponents, strict=True)]

    low, high = mp.mpf(-60), mp.mpf(60)
    for _ in range(200):
        middle = (low + high) / 2
        over = mp.fdot(behavior, ratios(middle)) > 1
        low, high = (middle, high) if over else (low, middle)
    found = ratios(low)
    return any(reward[0] == reward[i] and abs(found[0] - found[i]) > exact.margin() for i in (1, 2))


@refuted("completions.length_blind", search=partial(small_rationals, arms=(3,)), confirm=_confirm_length, families=())
def length_blind(case: Case) -> Array:
    """With log-ratios divided by the length, completions of equal reward keep their odds whatever their lengths.

    Check: Divided by the length, completions of equal reward have the same ratio whatever their length, which is
    false.
    """
    tree = _tree(*SHORT)
    if case.bandit.arms != tree.completions or (case.bandit.behavior == 0).any():
        return np.full(case.size, NOT_APPLICABLE)
    chosen = ps.algorithm("shifted_mean", beta=case.beta)
    policy, normalizer = length_target(case.bandit, tree.length, chosen)
    x = np.log(policy / case.bandit.behavior)
    short, long = x[:, :1], x[:, 1:]
    alike = case.bandit.reward[:, :1] == case.bandit.reward[:, 1:]
    apart = np.where(alike, np.abs(short - long), 0.0).max(axis=-1)
    return np.where(np.isnan(normalizer), NOT_APPLICABLE, apart)


CLAIMS = claims_in(vars())
