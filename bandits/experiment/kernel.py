"""The residual family's runs compiled: what :func:`bandits.simulate.simulate` does with it, twenty times as fast.

The experiment needs a million runs of small tabular policies, where numpy spends its time between operations. This is
one run as a loop over its steps. It is no second definition: tests/test_bandits_experiment.py holds it to `simulate`
and the catalogue's coefficient, run by run, on the same random numbers. The two differ where steps are normalized and a
group has no signal: its gradient is 0 here, and rounding there, which a normalized step makes as long as any other.
"""

from __future__ import annotations

import numpy as np
from numba import njit

OPTIMIZERS = {"sgd": 0, "adam": 1, "normalized": 2}
MEASURED = ("value", "entropy", "reverse_kl", "ess")


@njit(cache=True)
def train(
    log_behavior: np.ndarray,
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
        log_behavior, reward: (K,) of the instance.
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
    logits, first, second, gradient = log_behavior.copy(), np.zeros(arms), np.zeros(arms), np.zeros(arms)
    log_policy, policy = _policy(logits)
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
            gradient[:] = 0.0
            for i in range(size):
                normalizer = delta * beta + (others - surplus[i]) / (size - 1)
                error = advantage[i] - mean + delta * beta - beta * log_ratio[i]
                error -= normalizer * (1 + dose * (ratio[i] - 1))
                pull = (np.exp(power * min(log_ratio[i], log_cap)) * error + offset * ratio[i]) / size
                gradient[drawn[i]] += pull
                total += pull
            gradient -= total * policy
            count += 1
            if optimizer == 0:
                logits += rate * gradient
            elif optimizer == 1:
                first[:] = 0.9 * first + 0.1 * gradient
                second[:] = 0.999 * second + 0.001 * gradient**2
                deviation = np.sqrt(second / (1 - 0.999**count)) + 1e-8
                logits += rate / (1 - 0.9**count) * first / deviation
            else:
                length = np.sqrt((gradient**2).sum())
                if length > 0:
                    logits += rate / length * gradient
            log_policy, policy = _policy(logits)
        if not np.isfinite(policy.sum()):
            return records
        if (window + 1) % every == 0 or window + 1 == windows:
            record = records[window // every]
            record[0] = (policy * reward).sum()
            record[1] = -(policy * log_policy).sum()
            record[2] = (behavior * (log_anchor - log_policy)).sum()
            record[3] = 1 / (behavior * np.exp(2 * (log_policy - log_anchor))).sum()
    return records


@njit(cache=True)
def _policy(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms and probabilities of a softmax policy (K,)."""
    shifted = logits - logits.max()
    policy = np.exp(shifted)
    total = policy.sum()
    return shifted - np.log(total), policy / total
