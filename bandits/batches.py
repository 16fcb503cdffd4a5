"""The data of one window: exact populations or sampled groups, in one form that the update reads.

Arrays here are flat: R rows (every context of every run), K arms, B groups, S slots in a group. A slot is a sample, or
an outcome that stands for all samples that had it: an arm and, with a noisy verifier, its verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pessimism as ps
from pessimism.simplex import log

from .groups import count_advantage, works_by_weights
from .noise import GaussianNoise, Noise, VerifierNoise
from .settings import Settings


@dataclass(frozen=True)
class Batch:
    """Groups of data, as the update reads them.

    Attributes:
        arms: (R, B, S) arm of every slot as an index into the flattened (R, K) array; None: slot s is arm s.
        weights: (R, B, S), summing to one in each group.
        advantage: (R, B, S); 0 where the weight is 0.
        log_anchor: (R, B, S), from what log-ratios are measured.
        behavior: (R, B, S), what the coefficient takes as ``behavior``, or None if it takes nothing: the weights if it
            is coupled, else the probability of the slot's arm under the policy that drew it.
    """

    arms: np.ndarray | None
    weights: np.ndarray
    advantage: np.ndarray
    log_anchor: np.ndarray
    behavior: np.ndarray | None

    def of_slots(self, per_arm: np.ndarray) -> np.ndarray:
        """Values (R, K) of the arms, slot by slot: (R, B, S), or (R, 1, S) where all groups are alike."""
        return per_arm[:, None, :] if self.arms is None else per_arm.take(self.arms)

    def add_to_arms(self, per_arm: np.ndarray, per_slot: np.ndarray) -> None:
        """Add values (R, B, S) of the slots to their arms' entries of (R, K), in place."""
        if self.arms is None:
            per_arm += per_slot.sum(axis=1)
        else:
            np.add.at(per_arm.reshape(-1), self.arms.reshape(-1), per_slot.reshape(-1))


@dataclass(frozen=True)
class Outcomes:
    """What a sample can turn out to be: an arm and its observed reward. S = K, or 2 K with a noisy verifier."""

    arms: np.ndarray  # (S,)
    probability: np.ndarray  # (R, S)
    reward: np.ndarray  # (R, S)


@dataclass(frozen=True)
class Task:
    """What stays the same in a simulation. The bandit has one row per context and run, runs outermost."""

    bandit: ps.Bandit
    algorithm: ps.Algorithm
    settings: Settings
    by_weights: bool

    @property
    def log_anchor(self) -> np.ndarray | None:
        """log of the reference (R, K), 0 where it is 0; None if log-ratios are measured from the behavior policy."""
        return None if self.bandit.reference is None else _finite_log(self.bandit.reference)


def make_task(bandit: ps.Bandit, algorithm: ps.Algorithm, settings: Settings) -> Task:
    """The task of a flat bandit."""
    return Task(bandit, algorithm, settings, works_by_weights(algorithm.baseline))


def outcomes_of(behavior: np.ndarray, reward: np.ndarray, noise: Noise | None) -> Outcomes:
    """Outcomes of one draw from ``behavior`` (R, K) when arms are worth ``reward`` (R, K)."""
    arms = np.arange(behavior.shape[-1])
    if not isinstance(noise, VerifierNoise):
        return Outcomes(arms, behavior, reward)
    passes = noise.expected(reward)
    return Outcomes(
        np.concatenate([arms, arms]),
        np.concatenate([behavior * (1 - passes), behavior * passes], axis=-1),
        np.concatenate([np.zeros_like(reward), np.ones_like(reward)], axis=-1),
    )


Generators = Sequence[np.random.Generator]
"""One per run; the R rows are theirs in equal consecutive parts."""


def draw_batch(task: Task, behavior: np.ndarray, generators: Generators) -> Batch:
    """The data of one window drawn from ``behavior`` (R, K): all groups, or the population if gradients are exact."""
    size, noise = task.settings.group_size, task.settings.noise
    outcomes = outcomes_of(behavior, task.bandit.reward, noise)
    if size is None:
        return _exact(task, outcomes, behavior)
    if size < outcomes.arms.size or isinstance(noise, GaussianNoise):
        return _sampled(task, outcomes, behavior, generators, size)
    return _counted(task, outcomes, behavior, generators, size)


def minibatches(batches: Sequence[Batch], parts: int) -> list[Batch]:
    """Each batch's groups cut into equal parts, and the parts of all batches put together: all groups count alike."""
    groups = batches[0].weights.shape[1] // parts
    cuts = [slice(part * groups, (part + 1) * groups) for part in range(parts)]
    return [_joined([_cut(batch, cut) for batch in batches]) for cut in cuts]


def _cut(batch: Batch, groups: slice) -> Batch:
    return _made({name: None if array is None else array[:, groups] for name, array in vars(batch).items()})


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    columns = {name: [getattr(batch, name) for batch in batches] for name in vars(batches[0])}
    return _made({name: None if c[0] is None else np.concatenate(c, axis=1) for name, c in columns.items()})


def _made(arrays: dict[str, Any]) -> Batch:
    return Batch(**arrays)


def _exact(task: Task, outcomes: Outcomes, behavior: np.ndarray) -> Batch:
    reference = task.bandit.reference
    if reference is not None:  # an arm's outcomes are as likely whoever plays it
        share = outcomes.probability / np.where(behavior > 0, behavior, 1.0)[:, outcomes.arms]
        reference = reference[:, outcomes.arms] * share
    advantage = task.algorithm.baseline.exact(outcomes.reward, outcomes.probability, reference).advantage
    return _by_outcome(task, outcomes, behavior, outcomes.probability[:, None], advantage[:, None])


def _counted(task: Task, outcomes: Outcomes, behavior: np.ndarray, generators: Generators, size: int) -> Batch:
    """Groups at least as large as the number of outcomes: how often each came up is multinomial."""
    probability = outcomes.probability / outcomes.probability.sum(axis=-1, keepdims=True)
    probability = probability.reshape(len(generators), -1, 1, probability.shape[-1])
    shape = (probability.shape[1], task.settings.groups)
    pairs = zip(generators, probability, strict=True)
    counts = np.concatenate([generator.multinomial(size, row, shape) for generator, row in pairs])
    advantage = count_advantage(task.algorithm.baseline, outcomes.reward[:, None], counts, task.by_weights)
    return _by_outcome(task, outcomes, behavior, counts / size, advantage)


def _by_outcome(
    task: Task, outcomes: Outcomes, behavior: np.ndarray, weights: np.ndarray, advantage: np.ndarray
) -> Batch:
    """A batch (R, B, S) whose slots are the outcomes."""
    rows, arms = behavior.shape
    index = None
    if outcomes.arms.size != arms:
        index = np.broadcast_to((np.arange(rows)[:, None] * arms + outcomes.arms)[:, None], weights.shape)
    log_anchor = _finite_log(behavior) if task.log_anchor is None else task.log_anchor
    per_slot = [np.broadcast_to(array[:, None, outcomes.arms], weights.shape) for array in (log_anchor, behavior)]
    return Batch(index, weights, advantage, per_slot[0], _taken(task.algorithm, weights, per_slot[1]))


def _sampled(task: Task, outcomes: Outcomes, behavior: np.ndarray, generators: Generators, size: int) -> Batch:
    """Groups smaller than the number of outcomes: sample by sample, by inverting the distribution function."""
    noise = task.settings.noise
    rows, arms = behavior.shape
    shape = (rows // len(generators), task.settings.groups * size)
    uniform = np.concatenate([generator.random(shape) for generator in generators])
    cumulative = np.cumsum(outcomes.probability, axis=-1)
    cumulative /= cumulative[:, -1:]
    drawn = np.stack([cumulative[row].searchsorted(uniform[row], side="right") for row in range(rows)])
    reward = np.take_along_axis(outcomes.reward, drawn, axis=-1)
    if isinstance(noise, GaussianNoise):
        reward = reward + noise.deviation * np.concatenate([rng.standard_normal(shape) for rng in generators])
    groups = (rows, task.settings.groups, size)
    index = (np.arange(rows)[:, None] * arms + outcomes.arms[drawn]).reshape(groups)
    log_anchor = _finite_log(behavior) if task.log_anchor is None else task.log_anchor
    weights = np.broadcast_to(1 / size, groups)
    return Batch(
        index,
        weights,
        task.algorithm.baseline.group(reward.reshape(groups)),
        log_anchor.take(index),
        _taken(task.algorithm, weights, behavior.take(index)),
    )


def _taken(algorithm: ps.Algorithm, weights: np.ndarray, probability: np.ndarray) -> np.ndarray | None:
    return algorithm.weights(weights if algorithm.coupled else probability).get("behavior")


def _finite_log(policy: np.ndarray) -> np.ndarray:
    """log of a policy, 0 for arms it never plays: they have no data."""
    return np.where(policy > 0, log(policy), 0.0)
