"""Claims about completions of several tokens: a small autoregressive policy, all completions enumerated."""

from __future__ import annotations

import numpy as np

from ..bandit import Bandit
from ..catalogue import algorithm
from .claim import Case, Claim
from .families import SMALL
from .regression import HERE, SOLVED
from .support import Array, advantages, combined, induced, share

VOCABULARY, LENGTH = 3, 3
"""27 completions of three tokens."""


def token_policies(completions: Array) -> list[Array]:
    """A policy over completions (n, V^T) as its conditionals: for t = 0..T-1 an array (n, V^t, V) of pi(token | prefix)."""
    rows = len(completions)
    found = []
    for t in range(LENGTH):
        mass = (
            completions.reshape(rows, VOCABULARY ** (t + 1), -1).sum(axis=-1).reshape(rows, VOCABULARY**t, VOCABULARY)
        )
        found.append(mass / mass.sum(axis=-1, keepdims=True))
    return found


def language(case: Case) -> Bandit:
    """An autoregressive behavior policy, softmax of random logits per prefix, with random rewards of its 27 completions."""
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


def _gradient(behavior: Array, policy: Array, coefficients: list[Array]) -> Array:
    r"""Gradient of the update in the logits of every prefix, largest entry against its size, (n,).

    ``coefficients[t]`` (n, V^T) multiplies grad log pi(y_t | y_<t): for each prefix and token the gradient is the
    coefficient's mass through that token less pi(token | prefix) times that through the prefix.
    """
    rows = len(behavior)
    found = []
    for t, tokens in enumerate(token_policies(policy)):
        flow = (behavior * coefficients[t]).reshape(rows, VOCABULARY ** (t + 1), -1).sum(axis=-1)
        flow = flow.reshape(rows, VOCABULARY**t, VOCABULARY)
        residual = flow - tokens * flow.sum(axis=-1, keepdims=True)
        found.append(np.abs(residual).reshape(rows, -1).max(axis=-1))
    size = sum((behavior * np.abs(c)).sum(axis=-1) for c in coefficients)
    return share(np.max(found, axis=0), size)


def _setting(case: Case) -> tuple[Bandit, list]:
    bandit = language(case)
    beta = float(np.clip(case.beta / max(np.ptp(case.bandit.reward), 1e-12), 0.2, 5.0))
    return bandit, [algorithm("shifted_mean", beta=beta), algorithm("kimi_k15", tau=beta)]


def sequence_target(case: Case) -> Array:
    """At the bandit's target over completions the sequence-level update vanishes in the logits of every prefix."""
    bandit, chosen_ones = _setting(case)
    found = []
    for chosen in chosen_ones:
        target = induced(bandit, chosen)
        c = chosen.coefficient(target.log_ratio, advantages(bandit, chosen))
        found.append(_gradient(bandit.behavior, target.policy, [c] * LENGTH))
    return combined(*found)


def _token_log_ratios(bandit: Bandit, policy: Array) -> list[Array]:
    """log pi(y_t | y_<t)/mu(y_t | y_<t) of every completion, one array (n, V^T) per t."""
    pairs = zip(token_policies(policy), token_policies(bandit.behavior), strict=True)
    rows, count = len(policy), VOCABULARY**LENGTH
    return [
        np.repeat(np.log(p / m).reshape(rows, -1), count // VOCABULARY ** (t + 1), axis=-1)
        for t, (p, m) in enumerate(pairs)
    ]


def token_level_target(case: Case) -> Array:
    """With per-token log-ratios the update stops where each prefix is its own Lambert bandit, on the data's values Q(prefix, token)."""
    bandit, chosen = _low_baseline(case)
    policy = _token_target(bandit, chosen)
    a = advantages(bandit, chosen)
    return _gradient(bandit.behavior, policy, [chosen.coefficient(x, a) for x in _token_log_ratios(bandit, policy)])


def _low_baseline(case: Case):  # noqa: ANN202
    """A baseline below every reward puts every prefix in the positive regime."""
    bandit, (chosen, _) = _setting(case)
    beta = chosen.parameters["beta"]
    return bandit, algorithm("shifted_mean", beta=beta, delta=1 + float(np.ptp(bandit.reward)) / beta)


def _token_target(bandit: Bandit, chosen) -> Array:  # noqa: ANN001
    rows = len(bandit.behavior)
    a = advantages(bandit, chosen)
    beta = chosen.parameters["beta"]
    policy = np.ones((rows, 1))
    for t, tokens in enumerate(token_policies(bandit.behavior)):
        weights = bandit.behavior.reshape(rows, VOCABULARY**t, VOCABULARY, -1)
        values = (weights * a.reshape(weights.shape)).sum(axis=-1) / weights.sum(axis=-1)
        local = induced(Bandit(tokens, values), algorithm("dro", beta=beta, baseline=0.0))
        policy = (policy[:, :, None] * local.policy).reshape(rows, -1)
    return policy / policy.sum(axis=-1, keepdims=True)


def token_equals_sequence(case: Case) -> Array:
    """Token-level regression has the bandit's target too, which is false."""
    bandit, chosen = _low_baseline(case)
    return np.abs(_token_target(bandit, chosen) - induced(bandit, chosen).policy).sum(axis=-1) / 2


def normalized_equals_sequence(case: Case) -> Array:
    """Dividing the log-ratio by the length leaves the target, which is false: it multiplies the temperature's inverse."""
    bandit, chosen_ones = _setting(case)
    beta = chosen_ones[0].parameters["beta"]
    shift = algorithm("shifted_mean", beta=beta).baseline
    plain = induced(bandit, algorithm("dro", beta=beta, baseline=shift))
    normalized = induced(bandit, algorithm("dro", beta=beta / LENGTH, baseline=shift))
    return np.abs(plain.policy - normalized.policy).sum(axis=-1) / 2


def length_normalized_target(case: Case) -> Array:
    """With log-ratios divided by the (common) length T the target is the bandit's at temperature beta/T."""
    bandit, chosen_ones = _setting(case)
    beta = chosen_ones[0].parameters["beta"]
    shift = algorithm("shifted_mean", beta=beta).baseline
    scaled = algorithm("dro", beta=beta / LENGTH, baseline=shift)
    target = induced(bandit, scaled)
    own = algorithm("dro", beta=beta, baseline=shift)
    c = own.coefficient(target.log_ratio / LENGTH, advantages(bandit, own))
    return _gradient(bandit.behavior, target.policy, [c] * LENGTH)


CLAIMS = (
    Claim(
        "sequences.target",
        "With sequence-level log-ratios an autoregressive policy's target over completions is exactly the bandit's.",
        HERE,
        SMALL,
        sequence_target,
        SOLVED,
        effort=0.5,
    ),
    Claim(
        "sequences.tokens",
        "With token-level log-ratios each prefix goes to its own Lambert target, on the data's values of its next tokens.",
        HERE,
        SMALL,
        token_level_target,
        SOLVED,
        effort=0.5,
    ),
    Claim(
        "sequences.length",
        "With log-ratios divided by a common length T the target is the bandit's at temperature beta/T.",
        HERE,
        SMALL,
        length_normalized_target,
        SOLVED,
        effort=0.5,
    ),
)
