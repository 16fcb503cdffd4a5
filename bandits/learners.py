"""What is trained and how: tabular, linear and autoregressive softmax policies; SGD, normalized steps and Adam.

Arrays (R, K) hold a row for every context of every run, runs outermost, and lie in memory arm by arm (Fortran order):
sums over the arms then are as fast as anything elementwise, and add up in the same order however many rows there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .sequences import SequenceTree
from .settings import Settings


@dataclass(frozen=True)
class Policy:
    """A softmax policy.

    Attributes:
        logits, probability: (R, K).
        log_total: (R, 1), log of the sum of the logits' exponentials; not finite where a row left floating point.
    """

    logits: np.ndarray
    probability: np.ndarray
    log_total: np.ndarray

    def log_probability(self) -> np.ndarray:
        """(R, K); -inf for arms that are never played."""
        return self.logits - self.log_total


@dataclass(frozen=True)
class Learner:
    """A parametrised policy over the contexts of several runs.

    Attributes:
        start: parameters (rows, width) at which the policy is the initial behavior policy; each run has its share of
            the rows, runs outermost.
        logits: parameters -> (R, K).
        gradient: (parameters, gradient with respect to the logits (R, K)) -> gradient with respect to the parameters.
    """

    start: np.ndarray
    logits: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray]


def tabular(log_behavior: np.ndarray) -> Learner:
    """One logit per context and arm, (R, K); each context moves at the full rate, not divided by their number."""
    return Learner(np.asfortranarray(log_behavior), _unchanged, lambda parameters, gradient: gradient)


def linear(log_behavior: np.ndarray, features: np.ndarray) -> Learner:
    r"""$\pi(y|n) \propto \mu_0(y|n)\,e^{(x_n W)_y}$ with weights W (d, K) shared by all contexts, W = 0 at the start.

    Args:
        log_behavior: (R, K) for N contexts in each of R / N runs.
        features: $x$, (N, d). The objective is the average over contexts.
    """
    rows, arms = log_behavior.shape
    contexts, width = features.shape

    def logits(weights: np.ndarray) -> np.ndarray:
        scores = features @ weights.reshape(-1, width, arms)
        return np.asfortranarray(log_behavior + scores.reshape(rows, arms))

    def gradient(parameters: np.ndarray, logit_gradient: np.ndarray) -> np.ndarray:
        return (features.T @ logit_gradient.reshape(-1, contexts, arms) / contexts).reshape(-1, arms)

    return Learner(np.zeros((rows // contexts * width, arms)), logits, gradient)


def autoregressive(tree: SequenceTree, behavior: np.ndarray) -> Learner:
    """Logits of the next token after every prefix of a tree, (R, prefixes * vocabulary); arms are its completions.

    Args:
        tree: the completions.
        behavior: (R, K), the probability of every completion: positive, and summing to one in each row.
    """
    tokens = tree.prefixes * tree.vocabulary
    passes = np.zeros((tokens, tree.completions))  # which next tokens a completion consists of
    completion, position = np.nonzero(tree.present)
    taken = tree.node[completion, position] * tree.vocabulary + tree.token[completion, position]
    passes[taken, completion] = 1.0

    def shifted(parameters: np.ndarray) -> np.ndarray:
        values = parameters.reshape(-1, tree.prefixes, tree.vocabulary)
        return values - values.max(axis=-1, keepdims=True)

    def logits(parameters: np.ndarray) -> np.ndarray:
        values = shifted(parameters)
        values -= np.log(np.exp(values).sum(axis=-1, keepdims=True))
        return np.asfortranarray(values.reshape(-1, tokens) @ passes)

    def gradient(parameters: np.ndarray, logit_gradient: np.ndarray) -> np.ndarray:
        chosen = (logit_gradient @ passes.T).reshape(-1, tree.prefixes, tree.vocabulary)
        probability = np.exp(shifted(parameters))
        probability *= chosen.sum(axis=-1, keepdims=True) / probability.sum(axis=-1, keepdims=True)
        return (chosen - probability).reshape(-1, tokens)

    return Learner(
        np.log(behavior @ passes.T), logits, gradient
    )  # how often a token follows its prefix, up to a factor


def softmax(logits: np.ndarray) -> Policy:
    """The policy of some logits (R, K); arms with logit -inf have probability 0, rows with a NaN are NaN."""
    # Logits are nearly normalized as a rule; the pass for a maximum costs as much as the exponentials.
    with np.errstate(over="ignore"):
        probability = np.exp(logits)
    total = probability.sum(axis=-1, keepdims=True)
    if not (total.min() > 1e-250 and total.max() < np.inf):
        extreme = ~((total[:, 0] > 1e-250) & (total[:, 0] < np.inf))
        with np.errstate(invalid="ignore"):
            shifted = logits[extreme] - logits[extreme].max(axis=-1, keepdims=True)
        logits = logits.copy(order="F")
        logits[extreme], probability[extreme] = shifted, np.exp(shifted)
        total = probability.sum(axis=-1, keepdims=True)
    probability *= 1 / total
    return Policy(logits, probability, np.log(total))


Climb = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(parameters, gradient) -> new parameters, (rows, width) each; the gradient's memory may become theirs."""


def make_optimizer(settings: Settings, runs: int) -> Climb:
    """The optimizer of several runs with equal shares of the rows. Adam's keeps its moments."""
    climb = {"sgd": _sgd, "normalized": _normalized, "adam": _Adam}[settings.optimizer](settings.learning_rate, runs)
    if settings.clip_norm is None:
        return climb
    longest = settings.clip_norm

    def clipped(parameters: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        length = _lengths(gradient, runs)
        return climb(parameters, gradient * _per_row(np.minimum(1.0, longest / np.fmax(length, longest)), gradient))

    return clipped


def _sgd(rate: float, runs: int) -> Climb:
    def climb(parameters: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        gradient *= rate
        gradient += parameters
        return gradient

    return climb


def _normalized(rate: float, runs: int) -> Climb:
    """Steps of length ``rate`` in each run; a gradient of 0 stays 0."""

    def climb(parameters: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        length = _lengths(gradient, runs)
        gradient *= _per_row(rate / np.where(length > 0, length, 1.0), gradient)
        gradient += parameters
        return gradient

    return climb


class _Adam:
    """Adam with PyTorch's defaults."""

    def __init__(
        self, rate: float, runs: int, decay: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8
    ) -> None:
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


def _lengths(gradient: np.ndarray, runs: int) -> np.ndarray:
    """Euclidean length of each run's gradient, (runs,)."""
    return np.sqrt(np.einsum("rk,rk->r", gradient, gradient).reshape(runs, -1).sum(axis=-1))


def _per_row(of_runs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Values (runs,) for every row of a run: (rows, 1)."""
    return np.repeat(of_runs, len(rows) // len(of_runs))[:, None]


def _unchanged(array: np.ndarray) -> np.ndarray:
    return array
