"""What a training step tells: rewards, distance from the behavior policy, regimes, and theory against practice.

No targets are computed here: a group of samples is a bandit with uniform weights, and its targets are `pessimism`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import pessimism as ps

from ..samples import Group
from .batch import Batch
from .loss import Step

PASSES = 1.0
"""Reward from which on an answer passes."""


def describe(step: Step, algorithm: ps.Algorithm) -> dict[str, float]:
    r"""Numbers of a step by name; log-ratios in nats, from the behavior policy.

    ``kl/*`` estimate $KL(\mu\|\pi)$: k1 is the mean of $-\ell$, k3 that of $\rho - 1 - \ell$. ``ratio/*`` are of the
    ratios $\rho$: effective sample size as a share of the samples, $\chi^2 = E_\mu(\rho-1)^2$, and the largest one.
    ``target/*`` and ``theory/*``: see :func:`compare_with_targets`; left out where an objective has no closed form.
    """
    batch = step.batch
    numbers = {
        **_reward_numbers(batch.reward.reshape(batch.groups, -1)),
        "policy/entropy": float(step.token_entropy.mean()),
        "completion/length": float(batch.length.mean()),
        "coefficient/mean": float(step.coefficient.mean()),
    }
    for level, log_ratio in (("sequence", step.log_ratio), ("token", step.token_log_ratio)):
        numbers |= {f"{name}_{level}": value for name, value in ratio_numbers(log_ratio).items()}
    return numbers | compare_with_targets(step, algorithm)


def drawn(groups: Sequence[Group]) -> dict[str, float]:
    """Numbers of all groups that were drawn, those included that the update dropped."""
    cut = [not completion.finished for group in groups for completion in group.completions]
    return {**_reward_numbers(np.stack([group.rewards for group in groups])), "completion/cut_off": float(np.mean(cut))}


def mismatch(step: Step) -> dict[str, float]:
    """How far the trainer's policy is from the engine's on a step's completions, where both have the same weights.

    At lag 0 every log-ratio is such a mismatch: other kernels, other precision. Per token, nats: mean, mean size, 99%
    quantile and largest; per completion: mean size. ``mismatch/growth`` is the slope of the log of a completion's
    log-ratio over the log of its length: about 1/2 for noise, 1 for a bias; NaN where all are of one length.
    """
    token, sequence, length = np.abs(step.token_log_ratio), np.abs(step.log_ratio), step.batch.length
    nonzero = sequence > 0
    x, y = np.log(length[nonzero]), np.log(sequence[nonzero])
    varied = len(x) > 0 and np.ptp(x) > 0
    return {
        "mismatch/mean": float(step.token_log_ratio.mean()),
        "mismatch/size": float(token.mean()),
        "mismatch/p99": float(np.quantile(token, 0.99)),
        "mismatch/max": float(token.max()),
        "mismatch/completion": float(sequence.mean()),
        "mismatch/growth": float(np.polyfit(x, y, 1)[0]) if varied else math.nan,
    }


def _reward_numbers(reward: np.ndarray) -> dict[str, float]:
    """Of the rewards (groups, G)."""
    return {
        "reward/mean": float(reward.mean()),
        "reward/pass_rate": float((reward >= PASSES).mean()),
        "reward/groups_without_signal": float((np.ptp(reward, axis=1) == 0).mean()),
    }


def ratio_numbers(log_ratio: np.ndarray) -> dict[str, float]:
    """Numbers of the log-ratios (n,) of samples from the behavior policy; infinite where they overflow.

    >>> {name: round(value, 4) for name, value in ratio_numbers(np.log([0.5, 1.5])).items()}
    {'kl/k1': 0.1438, 'kl/k3': 0.1438, 'ratio/ess': 0.8, 'ratio/chi2': 0.25, 'ratio/max': 1.5}
    """
    count = math.log(len(log_ratio))
    first, second = np.logaddexp.reduce(log_ratio) - count, np.logaddexp.reduce(2 * log_ratio) - count
    with np.errstate(over="ignore"):
        ratio = np.exp(log_ratio)
        return {
            "kl/k1": float(-log_ratio.mean()),
            "kl/k3": float((ratio - 1 - log_ratio).mean()),
            "ratio/ess": float(np.exp(2 * first - second)),
            "ratio/chi2": float(((ratio - 1) ** 2).mean()),
            "ratio/max": float(ratio.max()),
        }


def compare_with_targets(step: Step, algorithm: ps.Algorithm) -> dict[str, float]:
    r"""Where the groups are headed, and how far the policy has followed.

    Every group is a bandit whose arms are its samples. ``target/<regime>`` is the share of groups in each regime and
    ``target/normalizer`` the mean $\lambda$ at the induced target. ``theory/slope`` and ``theory/r2`` are of the line
    through the realized log-ratios over those that the induced target predicts, both taken from their group's mean:
    a policy may take mass from completions that nobody sampled, which shifts a whole group.

    For log-ratio regressions ``theory/equation_r2`` is the share of the advantages' variance that the left side of
    $\beta\ell + \lambda\pi/w = A$ explains, where training on the group alone would end: w is the share of the group
    that a completion has, $\lambda$ = E[c] at the policy as it is. ``theory/equation_r2_without`` is the same without
    the term $\lambda\pi/w$. ``theory/sampled_mass`` is what the sampled completions of a group hold of the policy's
    mass, on average. ``target/bound`` is the share of groups in which they would overfill it, as
    $\sum\mu e^{A/\beta} > 1$: they end with all of it. In the others the term vanishes, and $\ell = A/\beta$.

    Groups in the negative regime have several targets, which take longer to find than a step takes: they count in the
    shares of regimes only.

    Returns:
        Nothing where the objective has no closed form, or is not taken on whole completions.
    """
    if not has_targets(algorithm):
        return {}
    batch, beta = step.batch, algorithm.beta
    advantage, log_ratio, weight, coefficient = (
        values.reshape(batch.groups, -1) for values in (batch.advantage, step.log_ratio, batch.weight, step.coefficient)
    )
    numbers: dict[str, float] = {}
    sign = regimes(step, algorithm)
    if beta is not None:
        named = (("positive", 1), ("boundary", 0), ("negative", -1))
        numbers |= {f"target/{name}": float((sign == value).mean()) for name, value in named}
        normalizer = (weight * coefficient).sum(axis=1, keepdims=True)
        behavior, held = sampled(batch)
        with np.errstate(over="ignore"):
            policy = np.exp(behavior + log_ratio)
            claimed = np.exp(behavior + advantage / beta)
        # Completions that are equal share what they hold: weight / held of it each.
        numbers["theory/equation_r2"] = _explained(advantage, beta * log_ratio + normalizer * policy / held)
        numbers["theory/equation_r2_without"] = _explained(advantage, beta * log_ratio)
        numbers["theory/sampled_mass"] = float((policy * weight / held).sum(axis=1).mean())
        numbers["target/bound"] = float(((claimed * weight / held).sum(axis=1) > 1).mean())
    if (sign >= 0).any():
        target, realized = _targets(step, algorithm, sign >= 0)
        numbers["target/normalizer"] = float(np.mean(target.normalizer))
        numbers |= _line(*_both(target, realized))
    return numbers


def sampled(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The behavior policy's log-probability of every completion, nats, and the weight that it has in its group,
    together with those that are equal to it: (groups, G) each."""
    held: dict[tuple[int, bytes], float] = {}
    keys = [(group, tokens.tobytes()) for group, tokens in zip(batch.group.tolist(), batch.tokens, strict=True)]
    for key, weight in zip(keys, batch.weight.tolist(), strict=True):
        held[key] = held.get(key, 0.0) + weight
    behavior = [log_probs.sum(dtype=np.float64) for log_probs in batch.behavior_log_probs]
    shape = (batch.groups, -1)
    return np.reshape(behavior, shape), np.reshape([held[key] for key in keys], shape)


def log_ratio_pairs(step: Step, algorithm: ps.Algorithm) -> np.ndarray:
    """Log-ratios (2, n) of a step's samples, nats: those that the induced target predicts, and the realized ones.

    Both are taken from their group's mean; groups that :func:`compare_with_targets` leaves out, and samples whose
    prediction is not finite, are left out here too.
    """
    solvable = has_targets(algorithm) & (regimes(step, algorithm) >= 0)
    if not solvable.any():
        return np.empty((2, 0))
    pairs = np.stack(_both(*_targets(step, algorithm, solvable))).reshape(2, -1)
    return pairs[:, np.isfinite(pairs[0])]


def has_targets(algorithm: ps.Algorithm) -> bool:
    """Whether groups' targets are known in closed form and taken on whole completions."""
    return algorithm.induced is not None and algorithm.level == "sequence"


def regimes(step: Step, algorithm: ps.Algorithm) -> np.ndarray:
    """The sign (groups,) of each group's regime; objectives that are no regressions have one target, as if positive."""
    if algorithm.beta is None:
        return np.ones(step.batch.groups)
    advantage, weight, reward = (
        values.reshape(step.batch.groups, -1) for values in (step.batch.advantage, step.batch.weight, step.batch.reward)
    )
    return ps.regression_regime(advantage, weight, algorithm.beta, np.abs(reward).max(axis=-1))


def _targets(step: Step, algorithm: ps.Algorithm, chosen: np.ndarray) -> tuple[ps.Target, np.ndarray]:
    """The induced targets of the chosen groups, and the log-ratios (chosen, G) that are there instead."""
    reward, log_ratio = (
        values.reshape(step.batch.groups, -1)[chosen] for values in (step.batch.reward, step.log_ratio)
    )
    return ps.group_target(reward, algorithm), log_ratio


def _both(target: ps.Target, realized: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted = np.where(np.isfinite(target.log_ratio), target.log_ratio, np.nan)
    return _centered(predicted), _centered(realized)


def _centered(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=1, keepdims=True)


def _line(predicted: np.ndarray, realized: np.ndarray) -> dict[str, float]:
    """Slope and R^2 of the line through the origin; NaN where predictions do not differ."""
    usable = np.isfinite(predicted)
    x, y = predicted[usable], realized[usable]
    total = float(x @ x)
    if total == 0:
        return {"theory/slope": math.nan, "theory/r2": math.nan}
    slope = float(x @ y) / total
    return {"theory/slope": slope, "theory/r2": _explained(y, slope * x)}


def _explained(values: np.ndarray, explanation: np.ndarray) -> float:
    """Share of the values' variance that an explanation leaves nothing of; NaN where they do not differ."""
    variance = float(((values - values.mean()) ** 2).sum())
    with np.errstate(over="ignore", invalid="ignore"):
        return math.nan if variance == 0 else 1 - float(((values - explanation) ** 2).sum()) / variance
