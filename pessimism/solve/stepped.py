"""The softmax flow in small steps of one length, for coefficients that jump where no single arm's log-ratio says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .simplex import expectation, log

__all__ = ["stepped_flow"]

STEP = 0.01
"""Largest change of a log-ratio in a step, in nats: how far a policy may stray from a jump that holds it."""

WINDOW, WINDOWS = 500, 12
"""Steps over which a position is averaged, and how many such windows are tried."""


def stepped_flow(
    coefficient: Callable[..., np.ndarray], behavior: np.ndarray, advantage: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Where $\dot\theta = \mu c - \pi E_\mu c$ from $\mu$ comes to rest, to about 0.01 nats.

    At a jump that holds the policy steps go to and fro across it, so what rests is their average over a window. A tail
    that is slower than 0.01 nats in five units of time (of 1/E|c| at the start) is taken for rest.

    Args:
        coefficient: (log_ratio, advantage, behavior=) -> (B, K).
        behavior, advantage: (B, K).

    Returns:
        log_ratio (B, K), and whether two windows agree (B,).

    >>> mu, gain = np.array([[0.5, 0.5]]), np.array([[1.0, -1.0]])
    >>> inside = lambda l, a, behavior: np.where((l * a > 0) & (np.abs(l) > 0.2), 0.0, a)
    >>> found, rests = stepped_flow(inside, mu, gain)
    >>> bool(rests[0]), bool(abs(found[0, 0] - 0.2) < 0.02)
    (True, True)
    """
    played = behavior > 0
    log_behavior = np.where(played, log(behavior), 0.0)
    logits = np.where(played, log_behavior, -np.inf)
    at_start = coefficient(np.zeros_like(advantage), advantage, behavior=behavior)
    pace = np.maximum(expectation(behavior, np.abs(at_start)), np.finfo(float).tiny)[:, None]
    before, rests = np.full_like(advantage, np.inf), np.zeros(len(advantage), dtype=bool)
    for _ in range(WINDOWS):
        total = np.zeros_like(advantage)
        for _ in range(WINDOW):
            top = logits.max(axis=-1, keepdims=True)
            log_policy = logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
            log_ratio = np.where(played, log_policy - log_behavior, 0.0)
            total += log_ratio
            weighted = np.where(played, behavior * coefficient(log_ratio, advantage, behavior=behavior), 0.0)
            velocity = weighted - np.exp(log_policy) * weighted.sum(axis=-1, keepdims=True)
            fastest = np.maximum(np.abs(velocity).max(axis=-1, keepdims=True), pace)
            logits = np.where(played, logits + STEP * velocity / fastest, logits)
        mean = total / WINDOW
        rests = np.abs(mean - before).max(axis=-1) < STEP
        before = mean
        if rests.all():
            break
    # An average of log-ratios is not normalized: its exponential is.
    mass = np.where(played, behavior * np.exp(before), 0.0).sum(axis=-1, keepdims=True)
    return np.where(played, before - np.log(mass), 0.0), rests
