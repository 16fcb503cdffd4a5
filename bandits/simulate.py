"""Lagged off-policy learning, simulated: stale data, finite groups, noise, a choice of optimizer and policy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

import pessimism as ps
from pessimism.simplex import check_finite, log_expectation_exp

from .batches import Batch, Generators, Task, draw_batch, make_task, minibatches
from .learners import Learner, linear, make_optimizer, softmax, tabular
from .noise import observed
from .settings import Settings
from .trajectory import Record, Trajectory, describe, join_records, join_seeds, total_variation

Draw = Callable[[Task, np.ndarray, Generators], Batch]
"""What turns a behavior policy (R, K) into the data of a window."""

BLOCK = 2**15
"""Probabilities simulated at a time: few enough that the arrays of a step stay in the processor's cache."""

SAME = 1e-9
"""Normalizers (in units of the temperature, where there is one) closer to 0 than this count as the boundary."""


def simulate(
    bandit: ps.Bandit,
    algorithm: ps.Algorithm,
    settings: Settings,
    seeds: Iterable[int] = (0,),
    features: ArrayLike | None = None,
    draw: Draw = draw_batch,
) -> Trajectory:
    r"""Train a softmax policy on data that its own past versions drew.

    Starts at $\pi = \mu$, the bandit's behavior policy. Every step climbs $E[c\,\nabla\log\pi]$ on the window's data,
    with the algorithm's own baseline and coefficient; log-ratios are measured from the version that drew the data, or
    from the bandit's reference if it has one.

    Args:
        bandit: batch shape (...). The last batch axis holds the contexts of one problem (they share the weights of a
            linear policy, and one normalized step); earlier ones are separate problems.
        algorithm: its level must not matter, as arms are whole completions.
        settings: see :class:`Settings`.
        seeds: one run for each; a run's numbers depend on its own seed alone.
        features: (N, d) of the N contexts, for a linear policy; None for a tabular one.
        draw: how data come about, if not by drawing groups from the behavior policy.

    Raises:
        ValueError: no seeds or negative ones, features that do not match, a reference for an importance ratio, noise
            that does not fit the rewards, groups too small for the baseline, or parameters that stop being finite.

    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> algorithm = ps.algorithm("shifted_mean", beta=0.5)
    >>> run = simulate(bandit, algorithm, Settings(lag=500))
    >>> run.policy[0].round(4), ps.induced_target(bandit, algorithm).policy.round(4)
    (array([0.3932, 0.2359, 0.3709]), array([0.3932, 0.2359, 0.3709]))
    """
    seeds = _checked_seeds(seeds)
    if bandit.reference is not None and algorithm.anchor == "behavior":
        raise ValueError(
            f"the bandit has a reference, but {algorithm.name!r} measures its log-ratio from the behavior policy; "
            "leave the reference out"
        )
    table = None if features is None else _checked_features(features, bandit)
    per_block = max(1, BLOCK // bandit.behavior.size)
    blocks = [seeds[start : start + per_block] for start in range(0, len(seeds), per_block)]
    return join_seeds([_simulate_block(bandit, algorithm, settings, block, table, draw) for block in blocks])


def _simulate_block(
    bandit: ps.Bandit,
    algorithm: ps.Algorithm,
    settings: Settings,
    seeds: Sequence[int],
    features: np.ndarray | None,
    draw: Draw,
) -> Trajectory:
    task = make_task(_repeated(bandit, len(seeds)), algorithm, settings)
    generators = [np.random.default_rng(seed) for seed in seeds]
    learner = _learner(task, bandit.batch_shape, features)
    climb = make_optimizer(settings)
    parameters = learner.start
    flat, nested = task.bandit.behavior.shape, learner.logits(parameters).shape
    log_policy, policy = (array.reshape(flat) for array in softmax(learner.logits(parameters)))
    data: deque[Batch] = deque(maxlen=settings.replay)
    records: list[Record] = []
    kept: list[int] = []
    for sync in range(1, settings.syncs + 1):
        behavior = policy
        data.append(draw(task, behavior, generators))
        parts = minibatches(data, settings.minibatches)
        with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges is told of below
            for step in range(settings.lag):
                gradient = logit_gradient(algorithm, parts[step % len(parts)], log_policy, policy)
                parameters = climb(parameters, learner.gradient(gradient.reshape(nested)))
                log_policy, policy = (array.reshape(flat) for array in softmax(learner.logits(parameters)))
        _check_alive(policy, seeds, sync)
        if settings.records(sync):
            records.append(_record(task, parts, behavior, log_policy, policy))
            kept.append(sync)
    outer = (len(seeds), *bandit.batch_shape)
    shaped = [{name: array.reshape(outer) for name, array in record.items()} for record in records]
    return join_records(shaped, kept, policy.reshape(*outer, bandit.arms))


def logit_gradient(algorithm: ps.Algorithm, batch: Batch, log_policy: np.ndarray, policy: np.ndarray) -> np.ndarray:
    r"""$E[c\,\nabla_\theta\log\pi]$ over a batch, averaged over its groups, for $\pi$ = softmax($\theta$): (R, K)."""
    pull = slot_coefficients(algorithm, batch, log_policy) * batch.weights
    pull /= pull.shape[1]
    gradient = -pull.sum(axis=(1, 2))[:, None] * policy
    batch.add_to_arms(gradient, pull)
    return gradient


def slot_coefficients(algorithm: ps.Algorithm, batch: Batch, log_policy: np.ndarray) -> np.ndarray:
    """The coefficient of every slot (R, B, S); 0 where the weight is 0.

    Raises:
        ValueError: the coefficient does not keep its arguments' shape.
    """
    log_ratio = batch.of_slots(log_policy) - batch.log_anchor
    log_ratio[log_ratio == -np.inf] = 0.0  # arms that nobody plays
    taken = {} if batch.behavior is None else {"behavior": batch.behavior}
    values = algorithm.coefficient(log_ratio, batch.advantage, **taken)
    if np.shape(values) != log_ratio.shape:
        raise ValueError(
            f"the coefficient of {algorithm.name!r} returned shape {np.shape(values)} for arguments of shape "
            f"{log_ratio.shape}; it must keep the shape"
        )
    return np.where(batch.weights > 0, values, 0.0)


def _record(
    task: Task, parts: Sequence[Batch], behavior: np.ndarray, log_policy: np.ndarray, policy: np.ndarray
) -> Record:
    bandit = ps.Bandit(behavior, task.bandit.reward, task.bandit.reference)
    groups = [_group_statistics(task, part, log_policy) for part in parts]
    normalizer, regime = (np.concatenate(arrays, axis=1) for arrays in zip(*groups, strict=True))
    record = describe(bandit, policy, log_policy)
    record["normalizer"] = normalizer.mean(axis=-1)
    for name, sign in (("positive", 1), ("boundary", 0), ("negative", -1)):
        record[name] = np.where(np.isnan(regime), np.nan, regime == sign).mean(axis=-1)
    if task.settings.targets:
        seen = observed(bandit, task.settings.noise)
        record["induced_distance"] = total_variation(policy, ps.induced_target(seen, task.algorithm).policy)
        record["nominal_distance"] = total_variation(policy, ps.nominal_target(seen, task.algorithm).policy)
    return record


def _group_statistics(task: Task, batch: Batch, log_policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each group's normalizer E[c] at the policy, and the sign of its normalizer at its own target: (R, B) each.

    A group is a bandit of its own, with its weights as the behavior policy. For a log-ratio regression of temperature
    beta that sign is the one of log E e^{A/beta} (V below, at or above the soft value), whatever the policy now; a
    coefficient that is free of the log-ratio has the same normalizer everywhere. Where the sign means nothing
    (importance ratios, coupled coefficients) it is NaN, as it is with a reference, whose soft value no group knows.
    """
    algorithm = task.algorithm
    values = slot_coefficients(algorithm, batch, log_policy)
    normalizer = (values * batch.weights).sum(axis=-1)
    if algorithm.carries_ratio or algorithm.coupled or task.bandit.reference is not None:
        return normalizer, np.full_like(normalizer, np.nan)
    at_target = normalizer
    if algorithm.beta is not None:
        at_target = log_expectation_exp(batch.weights, batch.advantage / algorithm.beta)
    return normalizer, np.where(np.abs(at_target) <= SAME, 0.0, np.sign(at_target))


def _learner(task: Task, batch_shape: tuple[int, ...], features: np.ndarray | None) -> Learner:
    contexts = batch_shape[-1] if batch_shape else 1
    log_behavior = task.bandit.log_behavior.reshape(-1, contexts, task.bandit.arms)
    return tabular(log_behavior) if features is None else linear(log_behavior, features)


def _repeated(bandit: ps.Bandit, times: int) -> ps.Bandit:
    """The bandit's rows one below the other, ``times`` over."""

    def repeated(array: np.ndarray) -> np.ndarray:
        return np.tile(array.reshape(-1, bandit.arms), (times, 1))

    reference = None if bandit.reference is None else repeated(bandit.reference)
    return ps.Bandit(repeated(bandit.behavior), repeated(bandit.reward), reference)


def _check_alive(policy: np.ndarray, seeds: Sequence[int], sync: int) -> None:
    dead = np.flatnonzero(~np.isfinite(policy).all(axis=-1))
    if dead.size:
        seed = seeds[dead[0] * len(seeds) // len(policy)]
        raise ValueError(
            f"the run of seed {seed} left the range of floating point before sync {sync}; lower learning_rate"
        )


def _checked_seeds(seeds: Iterable[int]) -> list[int]:
    found = list(seeds)
    if not found:
        raise ValueError("seeds is empty; there must be at least one run")
    for index, seed in enumerate(found):
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seeds[{index}] is {seed!r}; it must be a whole number >= 0")
    return [int(seed) for seed in found]


def _checked_features(features: ArrayLike, bandit: ps.Bandit) -> np.ndarray:
    table = np.asarray(features, dtype=np.float64)
    contexts = bandit.batch_shape[-1] if bandit.batch_shape else 1
    if table.ndim != 2 or table.shape[0] != contexts or table.size == 0:
        raise ValueError(f"features has shape {table.shape}; it must be ({contexts}, d), a row for every context")
    check_finite("features", table)
    return table
