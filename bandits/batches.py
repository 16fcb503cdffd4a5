"""The data of one window: exact populations or sampled groups, in one form that the update reads.

Arrays here are flat: R rows (every context of every run), K arms, B groups, S slots in a group. A slot is a sample, or
an outcome that stands for all samples that had it: an arm and, with a noisy verifier, its verdict. Rows are adjacent in
memory (Fortran order), see :mod:`bandits.learners`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

import pessimism as ps
from pessimism.solve import log

from .groups import count_advantage, works_by_weights
from .learners import Policy
from .noise import GaussianNoise, Noise, VerifierNoise
from .settings import Settings


@dataclass(frozen=True)
class Batch:
    """Groups of data, as the update reads them.

    Attributes:
        arms: (R, B, S) arm of every slot, as an index arm * R + row; None: slot s is arm s.
        weights: (R, B, S), summing to one in each group.
        advantage: (R, B, S); 0 where the weight is 0.
        anchor: (R, B, S), from what log-ratios are measured; None: from the log of ``drawn_by``.
        behavior: (R, B, S), what the coefficient takes as ``behavior``, or None if it takes nothing: the weights if it
            is coupled, else the probability of the slot's arm under the policy that drew it.
        drawn_by: (R, K), the policy that drew the data, if ``anchor`` is None.
        one_zero: whether the coefficient takes a single number for log-ratios that are all 0.
    """

    arms: np.ndarray | None
    weights: np.ndarray
    advantage: np.ndarray
    anchor: np.ndarray | None
    behavior: np.ndarray | None
    drawn_by: np.ndarray | None = None
    one_zero: bool = False

    @cached_property
    def log_anchor(self) -> np.ndarray:
        """What log-ratios are measured from, slot by slot: (R, B, S), or (R, 1, S) where all groups are alike."""
        if self.anchor is not None:
            return self.anchor
        assert self.drawn_by is not None
        return finite_log(self.of_slots(self.drawn_by))

    def log_ratio(self, policy: Policy) -> np.ndarray:
        """(R, B, S); 0 for arms that nobody plays. At the policy that drew the data all are 0, perhaps as (1, 1, 1)."""
        if self.anchor is None and policy.probability is self.drawn_by:
            return _zeros((1, 1, 1) if self.one_zero else self.advantage.shape)
        log_ratio = self.of_slots(policy.logits) - np.broadcast_to(self.log_anchor, self.advantage.shape)
        log_ratio -= policy.log_total[:, None]
        if log_ratio.min() == -np.inf:
            log_ratio[log_ratio == -np.inf] = 0.0
        return log_ratio

    def of_slots(self, per_arm: np.ndarray) -> np.ndarray:
        """Values (R, K) of the arms, slot by slot: (R, B, S), or (R, 1, S) where all groups are alike."""
        return per_arm[:, None, :] if self.arms is None else per_arm.T.reshape(-1).take(self.arms.T).T

    def to_arms(self, per_slot: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Values (R, B, S) of the slots added up arm by arm on top of ``start`` (R, K), which they may overwrite."""
        if self.arms is None:
            start += per_slot[:, 0] if per_slot.shape[1] == 1 else per_slot.sum(axis=1)
            return start
        flat = start.T.reshape(-1)
        np.add.at(flat, self.arms.T.reshape(-1), per_slot.T.reshape(-1))
        return flat.reshape(start.T.shape).T


@lru_cache(maxsize=8)
def _zeros(shape: tuple[int, ...]) -> np.ndarray:
    zeros = np.zeros(shape, order="F")
    zeros.flags.writeable = False
    return zeros


@dataclass(frozen=True)
class Outcomes:
    """What a sample can turn out to be: an arm and its observed reward. S = K, or 2 K with a noisy verifier."""

    arms: np.ndarray | None  # (S,), None if outcome s is arm s
    probability: np.ndarray  # (R, S)
    reward: np.ndarray  # (R, S)

    def of(self, per_arm: np.ndarray) -> np.ndarray:
        """Values (R, K) of the arms, outcome by outcome: (R, S)."""
        return per_arm if self.arms is None else per_arm[:, self.arms]


@dataclass(frozen=True)
class Task:
    """What stays the same in a simulation. The bandit has one row per context and run, runs outermost."""

    bandit: ps.Bandit
    algorithm: ps.Algorithm
    settings: Settings
    by_weights: bool
    one_zero: bool

    @cached_property
    def log_anchor(self) -> np.ndarray | None:
        """log of the reference (R, K), 0 where it is 0; None if log-ratios are measured from the behavior policy."""
        return None if self.bandit.reference is None else finite_log(self.bandit.reference)

    @cached_property
    def constant_advantage(self) -> np.ndarray | None:
        """(R, S), of the outcomes; None if the baseline looks at the policy."""
        baseline = self.algorithm.baseline
        if baseline.value is None or baseline.transform is not None:
            return None
        outcomes = outcomes_of(self.bandit.behavior, self.bandit.reward, self.settings.noise)
        return baseline.weighted(outcomes.reward, outcomes.probability)

    @cached_property
    def even_advantage(self) -> np.ndarray:
        """(R, K), of the arms as one group in which all have the same weight."""
        alike = np.full_like(self.bandit.behavior, 1 / self.bandit.arms)
        return self.algorithm.baseline.weighted(self.bandit.reward, alike)


def make_task(bandit: ps.Bandit, algorithm: ps.Algorithm, settings: Settings) -> Task:
    """The task of a flat bandit."""
    return Task(bandit, algorithm, settings, works_by_weights(algorithm.baseline), takes_one_zero(algorithm))


def takes_one_zero(algorithm: ps.Algorithm) -> bool:
    """Whether the coefficient may be given one 0 for log-ratios that are all 0, found by trying.

    On-policy learning spares itself several passes over the arms so. It fails for coefficients that compare members of
    a group with each other, or look at the arguments' shape.
    """
    advantage = np.array([[[0.3, -1.0, 0.7, 0.0]], [[-0.2, 2.0, 0.5, 1.0]]])
    taken = algorithm.weights(np.array([[[0.1, 0.4, 0.3, 0.2]], [[0.25, 0.25, 0.3, 0.2]]]))
    try:
        wanted = algorithm.coefficient(np.zeros_like(advantage), advantage, **taken)
        tried = algorithm.coefficient(np.zeros((1, 1, 1)), advantage, **taken)
    except Exception:  # in whatever way it cannot take one
        return False
    return np.array_equal(tried, wanted)


def outcomes_of(behavior: np.ndarray, reward: np.ndarray, noise: Noise | None) -> Outcomes:
    """Outcomes of one draw from ``behavior`` (R, K) when arms are worth ``reward`` (R, K)."""
    if not isinstance(noise, VerifierNoise):
        return Outcomes(None, behavior, reward)
    passes = noise.expected(reward)
    arms = np.arange(behavior.shape[-1])
    pairs = [(behavior * (1 - passes), behavior * passes), (np.zeros_like(reward), np.ones_like(reward))]
    probability, outcome = (np.asfortranarray(np.concatenate(pair, axis=-1)) for pair in pairs)
    return Outcomes(np.concatenate([arms, arms]), probability, outcome)


Generators = Sequence[np.random.Generator]
"""One per run; the R rows are theirs in equal consecutive parts."""


def draw_batch(task: Task, behavior: np.ndarray, generators: Generators) -> Batch:
    """The data of one window drawn from ``behavior`` (R, K): all groups, or the population if gradients are exact."""
    size, noise = task.settings.group_size, task.settings.noise
    outcomes = outcomes_of(behavior, task.bandit.reward, noise)
    if size is None:
        return _exact(task, outcomes, behavior)
    if size < outcomes.probability.shape[-1] or isinstance(noise, GaussianNoise):
        return _sampled(task, outcomes, behavior, generators, size)
    return _counted(task, outcomes, behavior, generators, size)


def minibatches(batches: Sequence[Batch], parts: int) -> list[Batch]:
    """Each batch's groups cut into equal parts, and the parts of all batches put together: all groups count alike."""
    if parts == len(batches) == 1:
        return [batches[0]]
    groups = batches[0].weights.shape[1] // parts
    cuts = [slice(part * groups, (part + 1) * groups) for part in range(parts)]
    return [_joined([_cut(batch, cut) for batch in batches]) for cut in cuts]


SLOTS = ("arms", "weights", "advantage", "anchor", "behavior")
"""A batch's arrays with an axis of groups."""


def _cut(batch: Batch, groups: slice) -> Batch:
    arrays = {name: getattr(batch, name) for name in SLOTS}
    cut = {name: None if array is None else np.asfortranarray(array[:, groups]) for name, array in arrays.items()}
    return replace(batch, **cut)


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    anchored = [replace(batch, anchor=batch.log_anchor, drawn_by=None) for batch in batches]
    columns = {name: [getattr(batch, name) for batch in anchored] for name in SLOTS}
    joined = {name: None if c[0] is None else np.concatenate(c, axis=1) for name, c in columns.items()}
    return Batch(**joined)  # type: ignore[arg-type]


def _exact(task: Task, outcomes: Outcomes, behavior: np.ndarray) -> Batch:
    reference = task.bandit.reference
    if reference is not None:  # an arm's outcomes are as likely whoever plays it
        share = outcomes.probability / outcomes.of(np.where(behavior > 0, behavior, 1.0))
        reference = outcomes.of(reference) * share
    advantage = task.constant_advantage
    if advantage is None:
        advantage = task.algorithm.baseline.weighted(outcomes.reward, outcomes.probability, reference=reference)
    return _by_outcome(task, outcomes, behavior, outcomes.probability[:, None], advantage[:, None])


def _counted(task: Task, outcomes: Outcomes, behavior: np.ndarray, generators: Generators, size: int) -> Batch:
    """Groups at least as large as the number of outcomes: how often each came up is multinomial."""
    probability = np.ascontiguousarray(outcomes.probability / outcomes.probability.sum(axis=-1, keepdims=True))
    rows, contexts = len(probability), len(probability) // len(generators)
    counts = np.empty((rows, task.settings.groups, probability.shape[-1]), dtype=int)
    for row in range(rows):  # one by one, as multinomial takes many rows no faster
        counts[row] = generators[row // contexts].multinomial(size, probability[row], task.settings.groups)
    counts = np.asfortranarray(counts)
    advantage = count_advantage(task.algorithm.baseline, outcomes.reward[:, None], counts, task.by_weights)
    return _by_outcome(task, outcomes, behavior, counts / size, advantage)


def _by_outcome(
    task: Task, outcomes: Outcomes, behavior: np.ndarray, weights: np.ndarray, advantage: np.ndarray
) -> Batch:
    """A batch (R, B, S) whose slots are the outcomes."""
    index = None
    if outcomes.arms is not None:
        index = _placed(np.broadcast_to(outcomes.arms, weights.shape))
    anchor = None if task.log_anchor is None else np.broadcast_to(outcomes.of(task.log_anchor)[:, None], weights.shape)
    taken = _taken(task.algorithm, weights, lambda: np.broadcast_to(outcomes.of(behavior)[:, None], weights.shape))
    return Batch(index, weights, advantage, anchor, taken, behavior, task.one_zero)


def _sampled(task: Task, outcomes: Outcomes, behavior: np.ndarray, generators: Generators, size: int) -> Batch:
    """Groups smaller than the number of outcomes: sample by sample, by inverting the distribution function."""
    noise = task.settings.noise
    rows = len(behavior)
    shape = (rows // len(generators), task.settings.groups * size)
    uniform = np.concatenate([generator.random(shape) for generator in generators])
    cumulative = np.cumsum(outcomes.probability, axis=-1)
    cumulative = np.ascontiguousarray(cumulative / cumulative[:, -1:])
    drawn = np.stack([cumulative[row].searchsorted(uniform[row], side="right") for row in range(rows)])
    reward = np.take_along_axis(outcomes.reward, drawn, axis=-1)
    if isinstance(noise, GaussianNoise):
        reward = reward + noise.deviation * np.concatenate([rng.standard_normal(shape) for rng in generators])
    groups = (rows, task.settings.groups, size)
    reward = np.asfortranarray(reward.reshape(groups))
    arms = (drawn if outcomes.arms is None else outcomes.arms[drawn]).reshape(groups)
    batch = Batch(_placed(arms), np.full(groups, 1 / size, order="F"), reward, None, None, behavior, task.one_zero)
    return replace(
        batch,
        advantage=task.algorithm.baseline.group(reward),
        anchor=None if task.log_anchor is None else batch.of_slots(task.log_anchor),
        behavior=_taken(task.algorithm, batch.weights, lambda: batch.of_slots(behavior)),
    )


def _placed(arms: np.ndarray) -> np.ndarray:
    """Where arms (R, B, S) lie in arrays (R, K) as they are held in memory."""
    rows = len(arms)
    return np.asfortranarray(arms * rows + np.arange(rows)[:, None, None])


def _taken(algorithm: ps.Algorithm, weights: np.ndarray, probability: Callable[[], np.ndarray]) -> np.ndarray | None:
    """What the coefficient takes as ``behavior``."""
    if not algorithm.takes_behavior:
        return None
    return weights if algorithm.coupled else probability()


def finite_log(policy: np.ndarray) -> np.ndarray:
    """log of a policy, 0 for arms it never plays: they have no data."""
    values = log(policy)
    if values.min() == -np.inf:
        values[values == -np.inf] = 0.0
    return values
