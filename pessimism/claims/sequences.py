"""Claims about completions of several tokens: a small autoregressive policy, all completions enumerated."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from ..algorithm import Algorithm
from ..bandit import Bandit
from ..levels import Level, PaddedTokens, token_coefficients
from ..objectives.catalogue import algorithm
from ..solve.divergences import total_variation
from . import exact
from .case import NOT_APPLICABLE, Case
from .claim import claim, claims_in
from .counterexamples import refuted, small_rationals
from .families import SMALL
from .support import HERE, SOLVED, Array, advantages, combined, induced, relative

VOCABULARY, LENGTH = 3, 3


SHAPES = {27: (3, 3), 4: (2, 2)}
"""Number of completions -> (size of the vocabulary, length)."""


def token_policies(completions: Array) -> list[Array]:
    """A policy over completions (n, V^T) as conditionals pi(token | prefix): for t = 0..T-1 an array (n, V^t, V)."""
    rows = len(completions)
    vocabulary, length = SHAPES[completions.shape[-1]]
    found = []
    for t in range(length):
        mass = completions.reshape(rows, vocabulary ** (t + 1), -1).sum(axis=-1)
        mass = mass.reshape(rows, vocabulary**t, vocabulary)
        found.append(mass / mass.sum(axis=-1, keepdims=True))
    return found


def language(case: Case) -> Bandit:
    """An autoregressive behavior policy (softmax of random logits per prefix) with rewards of its 27 completions."""
    generator = np.random.default_rng(case.seed)
    rows = case.size
    behavior = np.ones((rows, 1))
    for t in range(LENGTH):
        logits = generator.normal(size=(rows, VOCABULARY**t, VOCABULARY))
        tokens = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        behavior = (behavior[:, :, None] * tokens).reshape(rows, -1)
    # The case's own rewards, spread over completions, keep its kind: binary, tied or Gaussian.
    unit = np.ptp(case.bandit.reward, axis=-1, keepdims=True)
    pick = generator.integers(case.bandit.arms, size=behavior.shape)
    reward = np.take_along_axis(case.bandit.reward / np.where(unit > 0, unit, 1.0), pick, axis=-1)
    return Bandit(behavior / behavior.sum(axis=-1, keepdims=True), reward)


def gradient(bandit: Bandit, policy: Array, chosen: Algorithm, level: Level) -> Array:
    r"""Gradient of a regression's update in the logits of every prefix, largest entry against its size, (n,).

    The coefficient of token t multiplies grad log pi(y_t | y_<t): for each prefix and token the gradient is the
    coefficient's mass through that token less pi(token | prefix) times that through the prefix.
    """
    behavior, rows = bandit.behavior, len(policy)
    log_ratio = _token_log_ratios(bandit, policy)
    tokens = PaddedTokens(np.ones(log_ratio.shape, dtype=bool))
    placed = replace(chosen, level=level)
    coefficients = token_coefficients(placed, log_ratio, advantages(bandit, chosen), tokens)
    found = []
    for t, conditional in enumerate(token_policies(policy)):
        flow = (behavior * coefficients[..., t]).reshape(rows, conditional[0].size, -1).sum(axis=-1)
        flow = flow.reshape(conditional.shape)
        residual = flow - conditional * flow.sum(axis=-1, keepdims=True)
        found.append(np.abs(residual).reshape(rows, -1).max(axis=-1))
    # Log-ratios are differences of logarithms, known to rounding: where all c vanish the temperature is the measure.
    assert chosen.beta is not None
    size = chosen.beta + (behavior[..., None] * np.abs(coefficients)).sum(axis=(-2, -1))
    return relative(np.max(found, axis=0), size)


def temperature(case: Case) -> float:
    """The case's temperature in units of its rewards, within reach of float64 sums over completions."""
    return float(np.clip(case.beta / max(np.ptp(case.bandit.reward), 1e-12), 0.2, 5.0))


@claim("sequences.target", HERE, SMALL, SOLVED, effort=0.5)
def sequence_target(case: Case) -> Array:
    """With sequence-level log-ratios an autoregressive policy's regression target over completions is the bandit's.

    Check: At the bandit's target over completions the sequence-level update vanishes in the logits of every
    prefix.
    """
    bandit, beta = language(case), temperature(case)
    found = []
    for chosen in (algorithm("shifted_mean", beta=beta), algorithm("kimi_k15", tau=beta)):
        target = induced(bandit, chosen)
        found.append(gradient(bandit, target.policy, chosen, "sequence"))
    return combined(*found)


def _token_log_ratios(bandit: Bandit, policy: Array) -> Array:
    """log pi(y_t | y_<t)/mu(y_t | y_<t) of every completion, (n, V^T, T)."""
    pairs = zip(token_policies(policy), token_policies(bandit.behavior), strict=True)
    ratios = [np.log(p / m).reshape(len(policy), -1) for p, m in pairs]
    return np.stack([np.repeat(ratio, policy.shape[-1] // ratio.shape[-1], axis=-1) for ratio in ratios], axis=-1)


@claim("sequences.tokens", HERE, SMALL, SOLVED, effort=0.5)
def token_level_target(case: Case) -> Array:
    """With token-level log-ratios each prefix goes to a Lambert target of its own, on the data's values.

    Check: With per-token log-ratios the update stops where each prefix is its own Lambert bandit.

    Its rewards are what the data's completions of (prefix, token) are worth on average.
    """
    bandit, beta = language(case), temperature(case)
    chosen = _low_baseline(bandit, beta)
    return gradient(bandit, token_target(bandit, beta), chosen, "token")


def _low_baseline(bandit: Bandit, beta: float) -> Algorithm:
    """A baseline below every reward puts every prefix in the positive regime."""
    return algorithm("shifted_mean", beta=beta, delta=1 + float(np.ptp(bandit.reward)) / beta)


def token_target(bandit: Bandit, beta: float) -> Array:
    """The target (n, V^T) of token-level regression."""
    rows = len(bandit.behavior)
    a = advantages(bandit, _low_baseline(bandit, beta))
    policy = np.ones((rows, 1))
    for tokens in token_policies(bandit.behavior):
        weights = bandit.behavior.reshape(*tokens.shape, -1)
        values = (weights * a.reshape(weights.shape)).sum(axis=-1) / weights.sum(axis=-1)
        local = induced(Bandit(tokens, values), algorithm("dro", beta=beta, baseline=0.0))
        policy = (policy[:, :, None] * local.policy).reshape(rows, -1)
    return policy / policy.sum(axis=-1, keepdims=True)


@exact.precisely
def _confirm_tokens(case: Case) -> bool:
    """Arms 0..3 are the completions 00, 01, 10, 11; both targets from their definitions, V as in the check."""
    import mpmath as mp

    behavior, reward, beta = exact.numbers(case)
    baseline = exact.mean(behavior, reward) - beta * (1 + (max(reward) - min(reward)) / beta)
    first = [behavior[0] + behavior[1], behavior[2] + behavior[3]]
    values = [exact.mean(behavior[2 * i : 2 * i + 2], reward[2 * i : 2 * i + 2]) / first[i] for i in (0, 1)]
    tokens = exact.lambert(first, values, beta, baseline)
    policy = []
    for i in (0, 1):
        inner = [p / first[i] for p in behavior[2 * i : 2 * i + 2]]
        policy += [tokens[i] * p for p in exact.lambert(inner, reward[2 * i : 2 * i + 2], beta, baseline)]
    target = exact.lambert(behavior, reward, beta, baseline)
    return mp.fsum(abs(p - q) for p, q in zip(policy, target, strict=True)) > exact.margin()


@refuted(
    "sequences.token_target",
    search=partial(small_rationals, arms=(4,), betas=(1.0,), levels=2, largest=5),
    confirm=_confirm_tokens,
)
def token_equals_sequence(case: Case) -> Array:
    """Token-level regression has the same target as sequence-level regression (here: two binary tokens).

    Check: Token-level regression has the bandit's target too, which is false; four arms as two binary tokens.
    """
    if case.bandit.arms != 4 or (case.bandit.behavior == 0).any():
        return np.full(case.size, NOT_APPLICABLE)
    target = induced(case.bandit, _low_baseline(case.bandit, case.beta))
    return total_variation(token_target(case.bandit, case.beta), target.policy)


@exact.precisely
def _confirm_length(case: Case) -> bool:
    behavior, reward, beta = exact.numbers(case)
    baseline = exact.mean(behavior, reward) - beta
    one, other = (exact.lambert(behavior, reward, b, baseline) for b in (beta, beta / 2))
    return max(abs(p - q) for p, q in zip(one, other, strict=True)) > exact.margin()


@refuted("sequences.length_target", search=small_rationals, confirm=_confirm_length)
def normalized_equals_sequence(case: Case) -> Array:
    """Dividing log-ratios by the length leaves the target unchanged (here: a length of two).

    Check: Dividing log-ratios by a length of two leaves the target, which is false: the temperature is halved.
    """
    shift = algorithm("shifted_mean", beta=case.beta).baseline
    plain, halved = (algorithm("dro", beta=beta, baseline=shift) for beta in (case.beta, case.beta / 2))
    return total_variation(induced(case.bandit, plain).policy, induced(case.bandit, halved).policy)


@claim("sequences.length", HERE, SMALL, SOLVED, effort=0.5)
def length_normalized_target(case: Case) -> Array:
    """With log-ratios divided by a common length T the target is the bandit's at temperature beta/T.

    Check: With log-ratios divided by the (common) length T the target is the bandit's at temperature beta/T.
    """
    bandit, beta = language(case), temperature(case)
    shift = algorithm("shifted_mean", beta=beta).baseline
    own, scaled = (algorithm("dro", beta=b, baseline=shift) for b in (beta, beta / LENGTH))
    return gradient(bandit, induced(bandit, scaled).policy, own, "sequence mean")


CLAIMS = claims_in(vars())
