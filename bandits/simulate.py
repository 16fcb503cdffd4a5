"""Lagged off-policy learning, simulated: stale data, finite groups, noise, a choice of optimizer and policy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

import pessimism as ps
from pessimism.shell import understood
from pessimism.solve import check_finite, log, total_variation

from .batches import Batch, Generators, Task, draw_batch, make_task, minibatches
from .learners import Learner, Policy, autoregressive, linear, make_optimizer, softmax, tabular
from .noise import observed
from .sequences import SequenceTree
from .settings import Settings
from .trajectory import Record, Recorder, Trajectory, describe, first_seeds, join

__all__ = ["logit_gradient", "policy_gradient", "simulate", "simulate_grid", "slot_coefficients"]

Draw = Callable[[Task, np.ndarray, Generators], Batch]
"""What turns a behavior policy (R, K) into the data of a window."""

MakeLearner = Callable[[np.ndarray], Learner]
"""Behavior policy (R, K) -> what is trained, beginning there."""

BLOCK = 2**15
"""Probabilities simulated at a time: few enough that the arrays of a step stay in the processor's cache."""

SAME = 1e-9
"""Normalizers closer to 0 than this count as the boundary, relative to the coefficients' average size."""


def simulate(
    bandit: ps.Bandit,
    algorithm: ps.Algorithm | str,
    settings: Settings,
    seeds: Iterable[int] = (0,),
    features: ArrayLike | SequenceTree | None = None,
    draw: Draw = draw_batch,
) -> Trajectory:
    r"""Train a softmax policy on data that its own past versions drew.

    Starts at $\pi = \mu$, the bandit's behavior policy. Every step climbs $E[c\,\nabla\log\pi]$ on the window's data,
    with the algorithm's own baseline and coefficient; log-ratios are measured from the version that drew the data, or
    from the bandit's reference if it has one.

    Args:
        bandit: batch shape (...). The last batch axis holds the contexts of one problem (they share the weights of a
            linear policy, and one normalized step); earlier ones are separate problems.
        algorithm: or text that names one, as in :func:`pessimism.induced_target`; its level must not matter, as arms
            are whole completions.
        settings: see :class:`Settings`.
        seeds: one run for each; a run's numbers depend on its own seed alone.
        features: (N, d) of the N contexts, for a linear policy; the tree whose completions are the arms, for a
            softmax after every prefix; None for a tabular policy.
        draw: how data come about, if not by drawing groups from the behavior policy.

    Raises:
        ValueError: no seeds or negative ones, features or a tree that do not match, a reference for an importance
            ratio, noise that does not fit the rewards, or groups too small for the baseline.

    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> algorithm = ps.algorithm("shifted_mean", beta=0.5)
    >>> run = simulate(bandit, algorithm, Settings(lag=500))
    >>> run.policy[0].round(4), ps.induced_target(bandit, algorithm).policy.round(4)
    (array([0.3932, 0.2359, 0.3709]), array([0.3932, 0.2359, 0.3709]))
    """
    bandit, algorithm = understood(bandit, algorithm)
    seeds = _checked_seeds(seeds)
    if bandit.reference is not None and algorithm.anchor == "behavior":
        raise ValueError(
            f"the bandit has a reference, but {algorithm.name!r} measures its log-ratio from the behavior policy; "
            "leave the reference out"
        )
    learner = _learner(bandit, features)
    _keep_freed_memory()
    per_block = max(1, BLOCK // bandit.behavior.size)
    blocks = [seeds[start : start + per_block] for start in range(0, len(seeds), per_block)]
    return join([_simulate_seeds(bandit, algorithm, settings, block, learner, draw) for block in blocks])


def simulate_grid(
    bandit: ps.Bandit, cells: Mapping[str, tuple[ps.Algorithm | str, Settings]], seeds: Iterable[int] = (0,)
) -> dict[str, Trajectory]:
    """:func:`simulate` for each named algorithm and settings, on the same bandit and with the same seeds.

    One after the other, since any two algorithms or settings may differ in kind; ``python -m benchmarks.bench_bandits``
    measures what that costs. From about a hundred seeds of a hundred arms on it is nothing: one of them fills the
    processor's cache. Bandits of one shape need no grid: they are a batch.

    >>> bandit, settings = ps.Bandit([0.5, 0.5], [0, 1]), Settings(lag=50)
    >>> cells = {f"beta = {beta}": (ps.algorithm("dro", beta=beta), settings) for beta in (0.1, 1.0)}
    >>> values = [run.value.item() for run in simulate_grid(bandit, cells).values()]
    >>> values[0] > values[1]
    True
    """
    seeds = list(seeds)
    return {name: simulate(bandit, algorithm, settings, seeds) for name, (algorithm, settings) in cells.items()}


def _keep_freed_memory() -> None:
    """Teach glibc's allocator, by freeing one array of 16 MB that is never touched, to keep up to 32 MB for itself.

    Otherwise it hands the temporaries of a step back to the system and fetches them again page by page, which costs
    more than the arithmetic. Other allocators do not mind.
    """
    np.empty(2**21)


def _simulate_seeds(
    bandit: ps.Bandit,
    algorithm: ps.Algorithm,
    settings: Settings,
    seeds: Sequence[int],
    learner: MakeLearner,
    draw: Draw,
) -> Trajectory:
    """One block, in which a single row gets a copy of itself for company.

    numpy adds up a lone row's arms in another order than those of several, and no run may depend on its company.
    """
    alone = len(seeds) * bandit.behavior.size == bandit.arms
    run = _simulate_block(bandit, algorithm, settings, [*seeds, *seeds] if alone else seeds, learner, draw)
    return first_seeds(run, len(seeds)) if alone else run


def _simulate_block(
    bandit: ps.Bandit,
    algorithm: ps.Algorithm,
    settings: Settings,
    seeds: Sequence[int],
    learner_of: MakeLearner,
    draw: Draw,
) -> Trajectory:
    runs = len(seeds)
    task = make_task(_repeated(bandit, runs), algorithm, settings)
    generators = [np.random.default_rng(seed) for seed in seeds]
    learner = learner_of(task.bandit.behavior)
    contexts = bandit.batch_shape[-1] if bandit.batch_shape else 1
    problems = len(task.bandit.behavior) // contexts
    climb = make_optimizer(settings, problems)
    parameters = learner.start
    policy = softmax(learner.logits(parameters))
    data: deque[Batch] = deque(maxlen=settings.replay)
    records = Recorder(settings.records)
    diverged = np.zeros(problems, dtype=int)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of runs that diverge
        for sync in range(1, settings.syncs + 1):
            behavior = policy.probability
            data.append(draw(task, behavior, generators))
            parts = minibatches(data, settings.minibatches)
            for step in range(settings.lag):
                gradient = policy_gradient(algorithm, parts[step % len(parts)], policy)
                parameters = climb(parameters, learner.gradient(parameters, gradient))
                policy = softmax(learner.logits(parameters))
            lost = ~np.isfinite(policy.log_total).reshape(problems, -1).all(axis=1)
            if lost.any():  # such a run starts again, unseen, so that the others can go on
                diverged[lost & (diverged == 0)] = sync
                parameters = np.where(np.repeat(lost, len(parameters) // problems)[:, None], learner.start, parameters)
                policy = softmax(learner.logits(parameters))
            if settings.is_recorded(sync):
                records.add(sync, _record(task, parts, behavior, policy))
    return records.trajectory((runs, *bandit.batch_shape), policy.probability, np.repeat(diverged, contexts))


def policy_gradient(algorithm: ps.Algorithm, batch: Batch, policy: Policy) -> np.ndarray:
    r"""$E[c\,\nabla_\theta\log\pi]$ over a batch, averaged over its groups, for $\pi$ = softmax($\theta$): (R, K)."""
    values = slot_coefficients(algorithm, batch, policy)
    if batch.weights.base is policy.probability:  # the policy's own population: the gradient is pi (c - E c)
        average = np.einsum("rk,rk->r", values[:, 0], policy.probability)[:, None]
        if np.isfinite(average).all():
            gradient = values[:, 0] - average
            gradient *= policy.probability
            return gradient
    pull = values * batch.weights
    if pull.shape[1] > 1:
        pull *= 1 / pull.shape[1]
    total = pull.sum(axis=(1, 2))
    if not np.isfinite(total).all():  # slots of no weight have no coefficient
        pull = np.where(batch.weights > 0, pull, 0.0)
        total = pull.sum(axis=(1, 2))
    return batch.to_arms(pull, policy.probability * -total[:, None])


def logit_gradient(algorithm: ps.Algorithm, batch: Batch, log_policy: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """:func:`policy_gradient` at a policy given by its log-probabilities and probabilities, (R, K) each."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return policy_gradient(algorithm, batch, Policy(log_policy, policy, np.zeros((len(policy), 1))))


def slot_coefficients(algorithm: ps.Algorithm, batch: Batch, policy: Policy) -> np.ndarray:
    """The coefficient of every slot (R, B, S); of no meaning where the weight is 0.

    Raises:
        ValueError: the coefficient does not keep its arguments' shape.
    """
    taken = {} if batch.behavior is None else {"behavior": batch.behavior}
    values = algorithm.coefficient(batch.log_ratio(policy), batch.advantage, **taken)
    if np.shape(values) != batch.advantage.shape:
        raise ValueError(
            f"the coefficient of {algorithm.name!r} returned shape {np.shape(values)} for arguments of shape "
            f"{batch.advantage.shape}; it must keep the shape"
        )
    return values


def _record(task: Task, parts: Sequence[Batch], behavior: np.ndarray, policy: Policy) -> Record:
    bandit = ps.Bandit(behavior, task.bandit.reward, task.bandit.reference)
    groups = [_group_statistics(task, part, policy) for part in parts]
    normalizer, regime = (np.concatenate(arrays, axis=1) for arrays in zip(*groups, strict=True))
    record = describe(bandit, policy.probability, policy.log_probability())
    record["normalizer"] = normalizer.mean(axis=-1)
    for name, sign in (("positive", 1), ("boundary", 0), ("negative", -1)):
        record[name] = np.where(np.isnan(regime), np.nan, regime == sign).mean(axis=-1)
    if task.settings.targets:
        seen = observed(bandit, task.settings.noise)
        induced, nominal = ps.induced_target(seen, task.algorithm), ps.nominal_target(seen, task.algorithm)
        record["induced_distance"] = total_variation(policy.probability, induced.policy)
        record["nominal_distance"] = total_variation(policy.probability, nominal.policy)
    return record


def _group_statistics(task: Task, batch: Batch, policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    """Each group's normalizer E[c] at the policy, and the sign of its normalizer at its own target: (R, B) each.

    A group is a bandit of its own, with its weights as the behavior policy. For a log-ratio regression the sign is
    that of :func:`pessimism.regression_regime`, whatever the policy now; a coefficient that is free of the log-ratio
    has the same normalizer everywhere. Where the sign means nothing (importance ratios, coupled coefficients) it is
    NaN, as it is with a reference, whose soft value no group knows.
    """
    algorithm = task.algorithm
    values = slot_coefficients(algorithm, batch, policy)
    weighted = np.where(batch.weights > 0, values * batch.weights, 0.0)
    normalizer = weighted.sum(axis=-1)
    if algorithm.carries_ratio or algorithm.coupled or task.bandit.reference is not None:
        return normalizer, np.full_like(normalizer, np.nan)
    if algorithm.beta is not None:
        largest = np.abs(task.bandit.reward).max()
        return normalizer, ps.regression_regime(batch.advantage, batch.weights, algorithm.beta, largest)
    rounding = SAME * np.abs(weighted).sum(axis=-1)
    return normalizer, np.where(np.abs(normalizer) <= rounding, 0.0, np.sign(normalizer))


def _repeated(bandit: ps.Bandit, times: int) -> ps.Bandit:
    """The bandit's rows one below the other, ``times`` over."""

    def repeated(array: np.ndarray) -> np.ndarray:
        return np.asfortranarray(np.tile(array.reshape(-1, bandit.arms), (times, 1)))

    reference = None if bandit.reference is None else repeated(bandit.reference)
    return ps.Bandit(repeated(bandit.behavior), repeated(bandit.reward), reference)


def _checked_seeds(seeds: Iterable[int]) -> list[int]:
    found = list(seeds)
    if not found:
        raise ValueError("seeds is empty; there must be at least one run")
    for index, seed in enumerate(found):
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seeds[{index}] is {seed!r}; it must be a whole number >= 0")
    return [int(seed) for seed in found]


def _learner(bandit: ps.Bandit, features: ArrayLike | SequenceTree | None) -> MakeLearner:
    if features is None:
        return lambda behavior: tabular(log(behavior))
    if isinstance(features, SequenceTree):
        tree = features
        if tree.completions != bandit.arms:
            raise ValueError(f"features is a tree of {tree.completions} completions; the bandit has {bandit.arms} arms")
        if bandit.behavior.min() <= 0:
            raise ValueError("features is a tree, whose completions all are played; the bandit has arms that are not")
        return lambda behavior: autoregressive(tree, behavior)
    table = _checked_features(features, bandit)
    return lambda behavior: linear(log(behavior), table)


def _checked_features(features: ArrayLike, bandit: ps.Bandit) -> np.ndarray:
    table = np.asarray(features, dtype=np.float64)
    contexts = bandit.batch_shape[-1] if bandit.batch_shape else 1
    if table.ndim != 2 or table.shape[0] != contexts or table.size == 0:
        raise ValueError(f"features has shape {table.shape}; it must be ({contexts}, d), a row for every context")
    check_finite("features", table)
    return table
