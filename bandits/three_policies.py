"""Training with three policies: the sampler's, the proximal one that a clip is measured from, and the current one.

An asynchronous trainer takes samples of a policy that is some steps old. It must choose what PPO's clip is measured
from: that policy, a newer one that never sampled (recomputed log-probabilities), or the newer one with a weight between
the two (decoupled PPO, arXiv 2505.24298). A-3PO (arXiv 2512.06547) does not compute the newer one: it interpolates
between the sampler and the current policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

import pessimism as ps
from pessimism.compose import check_two_policies, composed
from pessimism.solve import entropy, expectation, kl

from .batches import finite_log

__all__ = ["MODES", "Ages", "Course", "Mode", "train"]


@dataclass(frozen=True)
class Mode:
    """What a trainer measures its clip from.

    Attributes:
        algorithm: PPO, with the weight between proximal policy and sampler if there is one; or text that names it.
        proximal: "none": the clip is measured from the sampler; "kept": from a copy of the policy that is renewed every
            so many steps; "interpolated": from what A-3PO puts in that copy's place.
    """

    algorithm: ps.Algorithm | str
    proximal: Literal["none", "kept", "interpolated"]


WEIGHTED = "ppo:correction=truncate(cap=5, pair=proximal)"

MODES: Mapping[str, Mode] = MappingProxyType(
    {
        "around the sampler": Mode("ppo", "none"),
        "recomputed": Mode("ppo", "kept"),
        "decoupled": Mode(WEIGHTED, "kept"),
        "interpolated": Mode(WEIGHTED, "interpolated"),
    }
)
"""Ways of asynchronous trainers: rollout log-probabilities, recomputed ones, AReaL's decoupled loss, A-3PO."""


@dataclass(frozen=True)
class Ages:
    """How a run trains.

    Attributes:
        steps: optimizer steps.
        sampler: L: the sampler becomes the current policy every L steps, so that data are 0 to L - 1 steps old.
        proximal: M: the proximal policy becomes the current one every M steps.
        learning_rate: of plain gradient ascent.
        group_size: fresh samples of the sampler in every step; None for exact gradients.
        record_every: steps between records.

    Raises:
        ValueError: a number out of range.
    """

    steps: int = 400
    sampler: int = 16
    proximal: int = 4
    learning_rate: float = 1.0
    group_size: int | None = None
    record_every: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "sampler", "proximal", "group_size", "record_every"):
            value = getattr(self, name)
            if value is None and name == "group_size":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number >= 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be a finite number > 0")


@dataclass(frozen=True, eq=False)
class Course:
    """What became of the policy. N records, R rows: the bandit's rows, and those over for every seed.

    Attributes:
        step: (N,).
        value, entropy: (N, R), expected reward and entropy in nats.
        moved: (N, R), KL(policy | sampler) in nats.
        policy: (R, K), the last.
    """

    step: np.ndarray
    value: np.ndarray
    entropy: np.ndarray
    moved: np.ndarray
    policy: np.ndarray


def train(bandit: ps.Bandit, mode: Mode | str, ages: Ages, seeds: Iterable[int] = (0,)) -> Course:
    r"""Climb $E_\mu[c\,\nabla\log\pi]$ on data of a sampler $\mu$ of age 0 to L - 1, from $\pi = \mu$ on.

    Args:
        bandit: (K,) or (B, K); its behavior policy is the first of all three.
        mode: or the name of one in ``MODES``.
        ages: see :class:`Ages`.
        seeds: one run of every row each; a run's numbers depend on its own seed alone.

    Raises:
        ValueError: an unknown mode, a bandit with a reference or a proximal policy of its own, an algorithm that
            compares samples, or a weight to a proximal policy that the mode does not have.

    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.0, 1.0])
    >>> train(bandit, "decoupled", Ages(steps=200, sampler=20)).value[-1].round(2)
    array([1.])
    """
    chosen, algorithm = _checked(bandit, mode)
    runs = [np.random.default_rng(seed) for seed in seeds]
    flat = [np.tile(array.reshape(-1, bandit.arms), (len(runs), 1)) for array in (bandit.behavior, bandit.reward)]
    behavior, reward = flat
    rows, played = len(behavior) // len(runs), behavior > 0
    logits, policy = finite_log(behavior), behavior
    log_policy = log_sampler = log_proximal = logits
    renewed = {"sampler": 0, "proximal": 0}
    records: list[tuple[Any, ...]] = []
    for step in range(ages.steps):
        if step % ages.sampler == 0:
            log_sampler, renewed["sampler"] = log_policy, step
        if step % ages.proximal == 0:
            log_proximal, renewed["proximal"] = log_policy, step
        third: np.ndarray | None = None
        if chosen.proximal == "kept":
            third = log_proximal - log_sampler
        elif chosen.proximal == "interpolated":
            third = _share(step, **renewed) * (log_policy - log_sampler)
        sampler, policy = (np.where(played, np.exp(each), 0.0) for each in (log_sampler, log_policy))
        taken: dict[str, Any] = {} if third is None else {"proximal": third}
        if ages.group_size is None:
            gain = algorithm.baseline.weighted(reward, sampler)
            pull = sampler * algorithm.coefficient(log_policy - log_sampler, gain, **taken)
        else:
            drawn = _samples(sampler, np.concatenate([run.random((rows, ages.group_size)) for run in runs]))
            pull = _of_group(algorithm, reward, log_policy - log_sampler, taken, drawn)
        logits = logits + ages.learning_rate * (pull - policy * pull.sum(axis=-1, keepdims=True))
        log_policy = _normalized(logits, played)
        if (step + 1) % ages.record_every == 0 or step + 1 == ages.steps:
            policy = np.where(played, np.exp(log_policy), 0.0)
            records.append((step + 1, expectation(policy, reward), entropy(policy), kl(policy, sampler)))
    steps, value, left, moved = (np.array(column) for column in zip(*records, strict=True))
    return Course(steps, value, left, moved, policy)


def _checked(bandit: ps.Bandit, mode: Mode | str) -> tuple[Mode, ps.Algorithm]:
    if isinstance(mode, str):
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; it must be one of {', '.join(MODES)}")
        mode = MODES[mode]
    if bandit.reference is not None or bandit.proximal is not None:
        raise ValueError("the bandit has a third policy of its own; here the policies are made by training")
    algorithm = ps.Algorithm.read(mode.algorithm) if isinstance(mode.algorithm, str) else mode.algorithm
    if algorithm.coupled or algorithm.takes_behavior:
        raise ValueError(f"{algorithm} looks at other samples or at probabilities; choose one that looks at ratios")
    if mode.proximal == "none":
        check_two_policies(algorithm, "this mode")
        return mode, algorithm
    return mode, algorithm if algorithm.composition is not None else composed(algorithm)


def _share(step: int, sampler: int, proximal: int) -> float:
    """How far A-3PO goes from the sampler to the current policy: as far as the kept copy is, by age."""
    return 0.0 if step == sampler else min(max((proximal - sampler) / (step - sampler), 0.0), 1.0)


def _normalized(logits: np.ndarray, played: np.ndarray) -> np.ndarray:
    top = np.where(played, logits, -np.inf).max(axis=-1, keepdims=True)
    total = np.where(played, np.exp(np.where(played, logits - top, 0.0)), 0.0).sum(axis=-1, keepdims=True)
    return np.where(played, logits - top - np.log(total), 0.0)


def _samples(sampler: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Arms (R, G) of a policy (R, K) for uniform numbers (R, G): where they fall among its sums."""
    sums = np.cumsum(sampler, axis=-1)
    return (uniform[..., None] * sums[:, None, -1:] >= sums[:, None, :]).sum(axis=-1)


def _of_group(
    algorithm: ps.Algorithm, reward: np.ndarray, log_ratio: np.ndarray, taken: dict[str, Any], arms: np.ndarray
) -> np.ndarray:
    """What one group of samples (R, G) pulls at every arm (R, K): the mean of its coefficients."""

    def of_samples(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, arms, axis=-1)

    gain = algorithm.baseline.group(of_samples(reward))
    third = {name: of_samples(values) for name, values in taken.items()}
    pull = np.zeros_like(reward)
    values = algorithm.coefficient(of_samples(log_ratio), gain, **third) / arms.shape[-1]
    np.add.at(pull, (np.arange(len(pull))[:, None], arms), values)
    return pull
