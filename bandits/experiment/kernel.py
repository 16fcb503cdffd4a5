"""The residual family's runs compiled: what :func:`bandits.simulate.simulate` does with it, twenty times as fast.

The experiment needs a million runs of small policies, tabular or autoregressive, where numpy spends its time between
operations. This is one run as a loop over its steps. It is no second definition: tests/test_bandits_experiment.py holds
it to `simulate` and the catalogue's coefficient, run by run, on the same random numbers. The two differ where steps are
normalized and a group has no signal: its gradient is 0 here, and rounding there, which a normalized step makes as long
as any other.
"""

from __future__ import annotations

import numpy as np
from numba import njit

OPTIMIZERS = {"sgd": 0, "adam": 1, "normalized": 2}
MEASURED = ("value", "entropy", "reverse_kl", "ess")


@njit(cache=True)
def train(
    start: np.ndarray,
    taken: np.ndarray,
    vocabulary: int,
    reward: np.ndarray,
    uniform: np.ndarray,
    noise: np.ndarray,
    beta: float,
    delta: float,
    dose: float,
    power: float,
    log_cap: float,
    offset: float,
    size: int,
    optimizer: int,
    rate: float,
    every: int,
) -> np.ndarray:
    r"""One run of one cell: $h(\rho)(c - \hat\lambda - s\hat\lambda(\rho - 1)) + o\rho$, with c of the shifted mean.

    Args:
        start: parameters of the behavior policy: log-probabilities (K,), or logits (prefixes * vocabulary,).
        taken: (K, T) which of those logits the tokens of a completion are, -1 beyond its end; (K, 0) if tabular.
        vocabulary: tokens after every prefix.
        reward: (K,) of the instance.
        uniform: (windows, steps * size) numbers in [0, 1) that pick the samples of each window.
        noise: the same shape, added to the rewards.
        beta, delta: of the shifted mean.
        dose, power, log_cap, offset: s, h = min(rho, cap)^power, o.
        size: samples of a group, at least 2.
        optimizer: one of ``OPTIMIZERS``.
        rate: of it.
        every: windows per record; the last one is always recorded.

    Returns:
        (records, len(MEASURED)); NaN from the window on in which the run leaves floating point.
    """
    windows, arms = len(uniform), len(reward)
    steps = uniform.shape[1] // size
    records = np.full((-(-windows // every), 4), np.nan)
    parameters, first, second = start.copy(), np.zeros(len(start)), np.zeros(len(start))
    log_policy, policy = _policy(parameters, taken, vocabulary)
    drawn, ratio, log_ratio = np.zeros(size, np.int64), np.zeros(size), np.zeros(size)
    advantage, surplus = np.zeros(size), np.zeros(size)
    count = 0
    for window in range(windows):
        log_anchor, behavior = log_policy.copy(), policy.copy()
        cumulative = np.cumsum(behavior)
        cumulative /= cumulative[-1]
        for step in range(steps):
            mean = 0.0
            for i in range(size):
                at = step * size + i
                arm = np.searchsorted(cumulative, uniform[window, at], side="right")
                drawn[i] = arm
                advantage[i] = reward[arm] + noise[window, at]
                mean += advantage[i] / size
                log_ratio[i] = log_policy[arm] - log_anchor[arm]
                ratio[i] = np.exp(log_ratio[i])
                surplus[i] = beta * (ratio[i] - 1 - log_ratio[i])
            others = surplus.sum()
            total = 0.0
            pulls = np.zeros(arms)  # gradient with respect to the log-probabilities of the arms
            for i in range(size):
                normalizer = delta * beta + (others - surplus[i]) / (size - 1)
                error = advantage[i] - mean + delta * beta - beta * log_ratio[i]
                error -= normalizer * (1 + dose * (ratio[i] - 1))
                pull = (np.exp(power * min(log_ratio[i], log_cap)) * error + offset * ratio[i]) / size
                pulls[drawn[i]] += pull
                total += pull
            for arm in range(arms):
                pulls[arm] -= total * policy[arm]
            gradient = _gradient(pulls, parameters, taken, vocabulary)
            count += 1
            _climb(parameters, gradient, first, second, optimizer, rate, count)
            log_policy, policy = _policy(parameters, taken, vocabulary)
        if not np.isfinite(policy.sum()):
            return records
        if (window + 1) % every == 0 or window + 1 == windows:
            value, entropy, divergence, square = 0.0, 0.0, 0.0, 0.0
            for arm in range(arms):
                moved = log_policy[arm] - log_anchor[arm]
                value += policy[arm] * reward[arm]
                entropy -= policy[arm] * log_policy[arm]
                divergence -= behavior[arm] * moved
                square += behavior[arm] * np.exp(2 * moved)
            record = records[window // every]
            record[0], record[1], record[2], record[3] = value, entropy, divergence, 1 / square
    return records


@njit(cache=True)
def _climb(
    parameters: np.ndarray,
    gradient: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    optimizer: int,
    rate: float,
    count: int,
) -> None:
    """One step of an optimizer, in place. Loops here and elsewhere: array expressions take long to compile."""
    length = 0.0
    for i in range(len(gradient)):
        length += gradient[i] ** 2
    length = np.sqrt(length)
    for i in range(len(gradient)):
        if optimizer == 0:
            parameters[i] += rate * gradient[i]
        elif optimizer == 1:
            first[i] = 0.9 * first[i] + 0.1 * gradient[i]
            second[i] = 0.999 * second[i] + 0.001 * gradient[i] ** 2
            deviation = np.sqrt(second[i] / (1 - 0.999**count)) + 1e-8
            parameters[i] += rate / (1 - 0.9**count) * first[i] / deviation
        elif length > 0:
            parameters[i] += rate / length * gradient[i]


@njit(cache=True)
def _policy(parameters: np.ndarray, taken: np.ndarray, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms and probabilities of the policy (K,)."""
    if taken.shape[1] == 0:
        return _softmax(parameters)
    next_tokens = _next_tokens(parameters, vocabulary)
    logits = np.zeros(len(taken))
    for arm in range(len(taken)):
        for place in range(taken.shape[1]):
            if taken[arm, place] >= 0:
                logits[arm] += next_tokens[taken[arm, place]]
    return _softmax(logits)


@njit(cache=True)
def _gradient(pulls: np.ndarray, parameters: np.ndarray, taken: np.ndarray, vocabulary: int) -> np.ndarray:
    """With respect to the parameters, from that with respect to the arms' logits (K,)."""
    if taken.shape[1] == 0:
        return pulls
    gradient = np.zeros(len(parameters))
    for arm in range(len(taken)):
        for place in range(taken.shape[1]):
            if taken[arm, place] >= 0:
                gradient[taken[arm, place]] += pulls[arm]
    next_tokens = _next_tokens(parameters, vocabulary)
    for at in range(0, len(parameters), vocabulary):
        total = 0.0
        for i in range(at, at + vocabulary):
            total += gradient[i]
        for i in range(at, at + vocabulary):
            gradient[i] -= total * np.exp(next_tokens[i])
    return gradient


@njit(cache=True)
def _next_tokens(parameters: np.ndarray, vocabulary: int) -> np.ndarray:
    """Log-probabilities of every next token after every prefix. Loops: what is allocated per prefix costs most."""
    found = np.empty(len(parameters))
    for at in range(0, len(parameters), vocabulary):
        largest, total = parameters[at], 0.0
        for i in range(at + 1, at + vocabulary):
            largest = max(largest, parameters[i])
        for i in range(at, at + vocabulary):
            total += np.exp(parameters[i] - largest)
        normalizer = largest + np.log(total)
        for i in range(at, at + vocabulary):
            found[i] = parameters[i] - normalizer
    return found


@njit(cache=True)
def _softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities and probabilities."""
    largest, total = logits.max(), 0.0
    policy, log_policy = np.empty(len(logits)), np.empty(len(logits))
    for i in range(len(logits)):
        policy[i] = np.exp(logits[i] - largest)
        total += policy[i]
    normalizer = np.log(total)
    for i in range(len(logits)):
        policy[i] /= total
        log_policy[i] = logits[i] - largest - normalizer
    return log_policy, policy
