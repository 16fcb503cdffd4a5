"""Pieces that the claims about dynamics share: playable instances, ideal recursions, simulated windows, updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

import pessimism as ps
from pessimism.claims import Case
from pessimism.claims.support import size

from ..batches import Batch, draw_batch, make_task
from ..batches import finite_log as finite_log
from ..recursion import ideal_recursion
from ..settings import Settings
from ..simulate import logit_gradient, simulate
from ..trajectory import Trajectory

Array = np.ndarray

EXACT = Settings()


def playable(case: Case, low: float = 0.5, high: float = 4.0) -> Case:
    """The case with rewards of range one, ``low`` <= beta <= ``high``, and no arm much rarer than 0.1/K.

    A simulation has a step for every 1/(beta mu) that an arm needs; what is never played stays so.
    """
    seen = case.bandit.behavior > 0
    behavior = 0.9 * case.bandit.behavior + 0.1 * seen / seen.sum(axis=-1, keepdims=True)
    top = np.where(seen, case.bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    spread = top - np.where(seen, case.bandit.reward, np.inf).min(axis=-1, keepdims=True)
    varied = spread > 1e-9 * size(case.bandit.reward, seen)
    reward = np.where(seen & varied, (case.bandit.reward - top) / np.where(varied, spread, 1.0), 0.0)
    beta = float(np.clip(case.beta / max(np.median(spread), 1e-12), low, high))
    return replace(case, bandit=ps.Bandit(behavior / behavior.sum(axis=-1, keepdims=True), reward), beta=beta)


def syncs(bandit: ps.Bandit, algorithm: ps.Algorithm, count: int) -> Iterator[tuple[ps.Bandit, Trajectory]]:
    """The ideal recursion sync by sync: what each one started from, and its one-record trajectory."""
    for _ in range(count):
        run = ideal_recursion(bandit, algorithm, 1)
        yield bandit, run
        bandit = ps.Bandit(run.policy[0], bandit.reward)


def last_policy(bandit: ps.Bandit, algorithm: ps.Algorithm, count: int) -> Array:
    """The ideal recursion's policy (n, K) after ``count`` syncs."""
    return ideal_recursion(bandit, algorithm, count).policy[0]


def exact_window(bandit: ps.Bandit, algorithm: ps.Algorithm, steps: int, rate: float, windows: int = 1) -> Array:
    """Where windows of exact steps end, (n, K)."""
    settings = Settings(syncs=windows, lag=steps, learning_rate=rate, record_every=windows, targets=False)
    return simulate(bandit, algorithm, settings).policy[0]


def some_policy(case: Case) -> Array:
    """A policy (n, K) about a nat away from the behavior policy, on the same arms."""
    moved = case.bandit.behavior * np.exp(np.random.default_rng(case.seed).normal(size=case.bandit.behavior.shape))
    return moved / moved.sum(axis=-1, keepdims=True)


def population_update(bandit: ps.Bandit, algorithm: ps.Algorithm, policy: Array) -> Array:
    """E_mu[c grad log pi] in the logits (n, K), as the simulator computes it with exact gradients."""
    batch = draw_batch(make_task(bandit, algorithm, EXACT), bandit.behavior, ())
    return logit_gradient(algorithm, batch, log_of(policy), policy)


def group_batch(algorithm: ps.Algorithm, weights: Array, advantage: Array, log_anchor: Array, behavior: Array) -> Batch:
    """One group a row: weights, advantages, log-anchors and behavior probabilities of its arms, (R, K) each."""
    taken = algorithm.weights(weights if algorithm.coupled else behavior).get("behavior")
    return Batch(
        None, weights[:, None], advantage[:, None], log_anchor[:, None], None if taken is None else taken[:, None]
    )


def log_of(policy: Array) -> Array:
    """log of a policy, -inf where it is 0."""
    with np.errstate(divide="ignore"):
        return np.log(policy)


def tilted(bandit: ps.Bandit, exponent: Array) -> Array:
    """mu e^z / E e^z for exponents z (n, K)."""
    z = np.where(bandit.behavior > 0, exponent, -np.inf)
    raised = bandit.behavior * np.exp(z - z.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)
