"""Claims about per-token regression: the regime of a prefix is that of the bandit of its next tokens."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..prefixes import prefix_regimes
from . import exact
from .case import NOT_APPLICABLE, Case
from .claim import claim, claims_in
from .counterexamples import refuted, small_rationals
from .families import SMALL
from .sequences import gradient, language, temperature, token_policies
from .support import HERE, ROUNDED, SOLVED, Array, combined, induced, mean

WARM = 6.0
"""A temperature, in units of the rewards' range, at which soft values of prefixes lie within d_c of one another."""


def prefix_values(bandit: Bandit) -> list[tuple[Array, Array]]:
    """mu(token | prefix) and the mean reward of (prefix, token), (n, V^t, V) each, for t = 0..T-1."""
    found = []
    for tokens in token_policies(bandit.behavior):
        weights = bandit.behavior.reshape(*tokens.shape, -1)
        worth = (weights * bandit.reward.reshape(weights.shape)).sum(axis=-1) / weights.sum(axis=-1)
        found.append((tokens, worth))
    return found


def _soft_values(bandit: Bandit, beta: float) -> list[Array]:
    zero = np.zeros(1)
    return [prefix_regimes(tokens, worth, zero, beta).soft_value for tokens, worth in prefix_values(bandit)]


@claim("prefixes.regime", HERE, SMALL, SOLVED, effort=0.3)
def regime(case: Case) -> Array:
    """Per-token regression is, at each prefix h, a regression on rewards Q_mu(h, .), and its regime is the sign of
    V*_h - V.

    Check: with V between the prefixes' soft values, so that both signs occur, the token logits stand still where every
    prefix has the target of its own bandit, whose normalizer has the sign that `prefix_regimes` says.
    """
    bandit = language(case)
    beta = WARM * max(1.0, float(np.ptp(bandit.reward)))
    soft = _soft_values(bandit, beta)
    everything = np.concatenate([values.reshape(case.size, -1) for values in soft], axis=-1)
    baseline = (everything.min(axis=-1) + everything.max(axis=-1)) / 2
    policy, wrong = np.ones((case.size, 1)), np.zeros(case.size)
    for tokens, worth in prefix_values(bandit):
        own = induced(Bandit(tokens, worth - baseline[:, None, None]), algorithm("dro", beta=beta, baseline=0.0))
        said = prefix_regimes(tokens, worth, baseline[:, None], beta)
        clear = np.abs(said.soft_value - baseline[:, None]) > 1e-9 * beta
        sign = np.where(said.regime == "positive", 1.0, -1.0)
        wrong = np.maximum(wrong, (clear & (np.sign(own.normalizer) != sign)).any(axis=-1))
        policy = (policy[:, :, None] * own.policy).reshape(case.size, -1)
    policy = policy / policy.sum(axis=-1, keepdims=True)
    above = Bandit(bandit.behavior, bandit.reward - baseline[:, None])
    return combined(gradient(above, policy, algorithm("dro", beta=beta, baseline=0.0), "token"), wrong)


@claim("prefixes.all_positive", HERE, SMALL, ROUNDED)
def all_positive(case: Case) -> Array:
    """With V at or below the smallest reward no prefix is in the negative regime, and a prefix that can only earn that
    reward is in it for every V above: with rewards in [0, 1] and dead prefixes, V = E r - delta beta keeps all out iff
    delta >= E r/beta.

    Check: soft values of all prefixes against the smallest reward; after the first token has made the rest worthless,
    those below it are equal to it.
    """
    bandit, beta = language(case), temperature(case)
    least = bandit.reward.min(axis=-1)
    below = [np.maximum(least[:, None] - soft, 0.0).max(axis=-1) for soft in _soft_values(bandit, beta)]
    reward = bandit.reward.copy()
    part = reward.shape[-1] // 3
    reward[:, :part] = least[:, None]
    dead = _soft_values(Bandit(bandit.behavior, reward), beta)[1:]
    apart = [np.abs(soft[:, : soft.shape[-1] // 3] - least[:, None]).max(axis=-1) for soft in dead]
    return combined(*below, *apart) / (beta + np.abs(bandit.reward).max(axis=-1))


def _dead_proof() -> bool:
    """The Jacobian of the update on three tokens, at pi = mu, for A = r - V on all of them."""
    import sympy as sp

    first, second, beta, reward, baseline = sp.symbols("m1 m2 beta r V")
    mu, theta = [first, second, 1 - first - second], sp.symbols("t1:4")
    weights = [m * sp.exp(t) for m, t in zip(mu, theta, strict=True)]
    policy = [weight / sp.Add(*weights) for weight in weights]
    pull = [m * (reward - baseline - beta * sp.log(p / m)) for p, m in zip(policy, mu, strict=True)]
    update = [own - p * sp.Add(*pull) for own, p in zip(pull, policy, strict=True)]
    at_start = dict.fromkeys(theta, 0)
    slopes = [[sp.diff(u, t).subs(at_start) for t in theta] for u in update]
    claimed = [[(baseline - reward - beta) * (mu[i] * int(i == j) - mu[i] * mu[j]) for j in range(3)] for i in range(3)]
    still = all(sp.simplify(u.subs(at_start)) == 0 for u in update)
    return still and all(sp.simplify(slopes[i][j] - claimed[i][j]) == 0 for i in range(3) for j in range(3))


@claim("prefixes.dead", HERE, SMALL, ROUNDED, proof=_dead_proof, proves="the linearization, for three tokens")
def dead(case: Case) -> Array:
    """At a prefix whose completions are all worth r the behavior policy stands still; it is stable for V < r + beta and
    unstable beyond: the update's linearization is V - r - beta times the covariance of the tokens.

    Check: a complex-step derivative of the softmax update, along random directions, for V - r from -beta to 3 beta.
    """
    mu = case.bandit.behavior
    direction = np.random.default_rng(case.seed).normal(size=mu.shape)
    found = []
    for above in (-1.0, 0.5, 1.0, 3.0):
        tilted = mu * np.exp(1e-30j * direction)
        policy = tilted / tilted.sum(axis=-1, keepdims=True)
        log_ratio = 1e-30j * direction - np.log(tilted.sum(axis=-1, keepdims=True))
        pull = mu * (-above - log_ratio)  # in units of the temperature
        slope = (pull - policy * pull.sum(axis=-1, keepdims=True)).imag / 1e-30
        covariance = mu * (direction - (mu * direction).sum(axis=-1, keepdims=True))
        found.append(np.abs(slope - (above - 1) * covariance).max(axis=-1) / (1 + np.abs(direction).max(axis=-1)))
    return combined(*found)


@exact.precisely
def _confirm_mean(case: Case) -> bool:
    """Arms 0..3 are the completions 00, 01, 10, 11; the prefix 0 against V = E r."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    baseline = exact.mean(behavior, reward)
    first = [behavior[0] + behavior[1], behavior[2] + behavior[3]]
    soft = [
        beta * mp.log(mp.fsum(behavior[2 * i + j] / first[i] * mp.e ** (reward[2 * i + j] / beta) for j in (0, 1)))
        for i in (0, 1)
    ]
    return baseline - min(soft) > exact.margin()


@refuted(
    "prefixes.mean_positive",
    search=partial(small_rationals, arms=(4,), betas=(1.0,), levels=2, largest=5),
    confirm=_confirm_mean,
)
def mean_positive(case: Case) -> Array:
    """With the mean baseline every prefix of a per-token regression is in the positive regime, as the bandit over
    completions is (here: two binary tokens).

    Check: how far V = E r lies above the smallest soft value of a prefix, in temperatures.
    """
    if case.bandit.arms != 4 or (case.bandit.behavior == 0).any():
        return np.full(case.size, NOT_APPLICABLE)
    baseline = mean(case.bandit.reward, case.bandit).astype(float)
    above = [baseline - soft.min(axis=-1) for soft in _soft_values(case.bandit, case.beta)]
    return np.maximum(np.max(above, axis=0), 0.0) / case.beta


CLAIMS = claims_in(vars())
