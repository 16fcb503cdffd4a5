"""What is trained and how: tabular and linear softmax policies; SGD, normalized steps and Adam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .settings import Settings

Policy = tuple[np.ndarray, np.ndarray]
"""log-probabilities and probabilities, both (runs, N, K)."""


@dataclass(frozen=True)
class Learner:
    """A parametrised policy over N contexts for several runs.

    Attributes:
        start: parameters (runs, ...) at which the policy is the initial behavior policy.
        logits: parameters -> (runs, N, K).
        gradient: gradient with respect to the logits (runs, N, K) -> gradient with respect to the parameters.
    """

    start: np.ndarray
    logits: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray], np.ndarray]


def tabular(log_behavior: np.ndarray) -> Learner:
    """One logit per context and arm, (runs, N, K); each context moves at the full rate, not divided by N."""
    return Learner(log_behavior, _unchanged, _unchanged)


def linear(log_behavior: np.ndarray, features: np.ndarray) -> Learner:
    r"""$\pi(y|n) \propto \mu_0(y|n)\,e^{(x_n W)_y}$ with weights W (d, K) shared by all contexts, W = 0 at the start.

    Args:
        log_behavior: (runs, N, K).
        features: $x$, (N, d). The objective is the average over contexts.
    """
    runs, contexts, arms = log_behavior.shape

    def logits(weights: np.ndarray) -> np.ndarray:
        return log_behavior + features @ weights

    def gradient(logit_gradient: np.ndarray) -> np.ndarray:
        return features.T @ logit_gradient / contexts

    return Learner(np.zeros((runs, features.shape[1], arms)), logits, gradient)


def softmax(logits: np.ndarray) -> Policy:
    """log softmax and softmax over the last axis; arms with logit -inf have probability 0."""
    # Logits are nearly normalized as a rule; the pass for a maximum costs as much as the exponentials.
    with np.errstate(over="ignore"):
        policy = np.exp(logits)
    total = policy.sum(axis=-1, keepdims=True)
    extreme = ~((total[..., 0] > 1e-250) & (total[..., 0] < np.inf))
    if extreme.any():
        shifted = logits[extreme] - logits[extreme].max(axis=-1, keepdims=True)
        logits = logits.copy()
        logits[extreme], policy[extreme] = shifted, np.exp(shifted)
        total = policy.sum(axis=-1, keepdims=True)
    policy /= total
    return logits - np.log(total), policy


def make_optimizer(settings: Settings) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function (parameters, gradient) -> new parameters that climbs; first axis: runs. Adam's keeps moments."""
    rate = settings.learning_rate
    if settings.optimizer == "adam":
        return _Adam(rate)
    if settings.optimizer == "normalized":
        return lambda parameters, gradient: parameters + rate * _unit(gradient)
    return lambda parameters, gradient: parameters + rate * gradient


class _Adam:
    """Adam with PyTorch's defaults."""

    def __init__(self, rate: float, decay: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8) -> None:
        self.rate, self.decay, self.epsilon = rate, decay, epsilon
        self.steps = 0
        self.first: np.ndarray | float = 0.0
        self.second: np.ndarray | float = 0.0

    def __call__(self, parameters: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        self.steps += 1
        one, two = self.decay
        self.first = one * self.first + (1 - one) * gradient
        self.second = two * self.second + (1 - two) * gradient**2
        deviation = np.sqrt(self.second / (1 - two**self.steps)) + self.epsilon
        return parameters + self.rate / (1 - one**self.steps) * self.first / deviation


def _unit(gradient: np.ndarray) -> np.ndarray:
    """The gradient of each run divided by its length; 0 stays 0."""
    axes = tuple(range(1, gradient.ndim))
    length = np.sqrt((gradient**2).sum(axis=axes, keepdims=True))
    return gradient / np.where(length > 0, length, 1.0)


def _unchanged(array: np.ndarray) -> np.ndarray:
    return array
