"""A group of cells computed: means over blocks of instances. And the probe that stands for the code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

import pessimism as ps
from pessimism.studies import Done, as_parquet, digest, kept, on_cores

from ..learners import autoregressive
from ..noise import VerifierNoise
from ..settings import Settings
from ..simulate import BLOCK as TOGETHER
from ..simulate import simulate
from ..trajectory import Trajectory, join
from .design import (
    BETA,
    BLOCK,
    DELTA,
    GROUP_SIZE,
    INSTANCES,
    RATES,
    WEIGHTS,
    WORLDS,
    Group,
    World,
    groups,
    side_by_side,
)
from .kernel import MEASURED, OPTIMIZERS, train

FARTHEST = 1e3
"""Largest KL that enters a mean, nats."""


@dataclass(frozen=True)
class Job:
    """A group, or a case of :mod:`bandits.experiment.deployed`, to be computed by code with this probe."""

    part: Any
    probe: str

    @property
    def key(self) -> str:
        return digest([self.probe, asdict(self.part)])


def run(
    path: Path,
    batches: Sequence[int],
    jobs: int | None = None,
    finished: kept.Finished = lambda done, count, total: None,
) -> dict[str, str]:
    """Compute what a file lacks of these batches; what failed, by key. Batches outermost: every stop leaves whole ones.

    Raises:
        ValueError: the file was computed by code that gives other numbers, or cannot be written.
    """
    parts = (group for batch in batches for group in groups(batch))
    return complete(path, probe(), parts, compute, jobs, finished)


def complete(
    path: Path,
    today: kept.Probe,
    parts: Iterable[Any],
    function: Callable[[Job], Done],
    jobs: int | None,
    finished: kept.Finished,
) -> dict[str, str]:
    """What a file lacks of these parts, computed on all cores by code with this probe; what failed, by key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settled = kept.settled(path.with_suffix(".json"), today)
    wanted = [Job(part, settled) for part in parts]
    return kept.complete(path, {job.key: job for job in wanted}, on_cores(function, jobs), finished)


def compute(job: Job) -> Done:
    """The rows of a group."""
    return done(job, lambda: rows(job.part))


def done(job: Job, rows: Callable[[], pl.DataFrame]) -> Done:
    """The rows of a job in one thread, with its key, or what went wrong: one job does not end a study."""
    began = time.perf_counter()
    try:
        with threadpool_limits(limits=1):
            content, failure = as_parquet(rows().insert_column(0, pl.lit(job.key).alias("cell"))), None
    except Exception as error:
        content, failure = None, f"{type(error).__name__}: {error}"
    return Done(job, content, failure, time.perf_counter() - began)


def rows(group: Group) -> pl.DataFrame:
    r"""A row for every cell and block: means over the instances of the block.

    Columns: the group's and the cell's; ``block``, counted over all batches; ``value`` at the end, true rewards, 0 for
    a run that left floating point; ``average`` of it over the records; ``entropy`` in nats; ``collapsed``, the share of
    runs that end below the value they began with; ``diverged``, the share that left floating point; and of the last
    window ``kl``, $\mathrm{KL}(\mu\|\pi)$ in nats, ``conservatism``, $s\,(\delta\beta + \beta\,\mathrm{KL}(\mu\|\pi))$,
    which is $s\,E_\mu[A - \beta\ell]$, and ``ess``, the effective sample size as a share.
    """
    bandit = WORLDS[group.world].instances(group.batch)
    found = trained(group, bandit, group.settings())
    start = np.broadcast_to((bandit.behavior * bandit.reward).sum(axis=-1).ravel(), found["value"].shape[1:])
    doses = np.array([[cell.dose] for cell in group.cells])
    blocks = {
        name: values.reshape(len(group.cells), -1, BLOCK).mean(axis=-1).ravel()
        for name, values in _measured(found, start, doses).items()
    }
    each = INSTANCES // BLOCK
    described = {name: value for name, value in asdict(group).items() if name != "cells"}
    cells = pl.DataFrame([asdict(cell) for cell in group.cells for _ in range(each)])
    number = np.tile(np.arange(group.batch * each, (group.batch + 1) * each, dtype=np.int32), len(group.cells))
    measures = [pl.Series(name, array, dtype=pl.Float32) for name, array in blocks.items()]
    return cells.select(
        *(pl.lit(value).alias(name) for name, value in described.items()), *cells.columns, pl.Series("block", number)
    ).hstack(measures)


Records = dict[str, np.ndarray]
"""The measures of :mod:`bandits.experiment.kernel`, (records, cells, instances) each."""


def trained(group: Group, bandit: ps.Bandit, settings: Settings) -> Records:
    """The group's cells on these instances (n, 1)."""
    if group.cells[0].objective == "residual":
        return compiled(group, bandit, settings)
    found = simulated(group, bandit, settings)
    return {name: getattr(found, name)[..., 0] for name in MEASURED}


def compiled(group: Group, bandit: ps.Bandit, settings: Settings) -> Records:
    """The same numbers as :func:`simulated`, but for rounding: residual cells only."""
    instances, shape = len(bandit.behavior), (settings.syncs, len(bandit.behavior), settings.lag * GROUP_SIZE)
    generator, noise = np.random.default_rng(group.batch), settings.noise
    assert not isinstance(noise, VerifierNoise)
    uniform, added = np.empty(shape), np.zeros(shape)
    for window in range(settings.syncs):  # in the order in which the simulation draws
        uniform[window] = generator.random(shape[1:])
        if noise is not None:
            added[window] = noise.deviation * generator.standard_normal(shape[1:])
    start, taken, vocabulary = _policies(WORLDS[group.world], bandit.behavior[:, 0])
    records = np.empty((len(group.cells), instances, settings.records, len(MEASURED)))
    for place, cell in enumerate(group.cells):
        power, cap = WEIGHTS[cell.weight]
        for i in range(instances):
            records[place, i] = train(
                start[i], taken, vocabulary, bandit.reward[i, 0], uniform[:, i], added[:, i],
                BETA, DELTA, cell.dose, power, np.log(cap), cell.offset,
                GROUP_SIZE, OPTIMIZERS[settings.optimizer], settings.learning_rate, settings.record_every,
            )  # fmt: skip
    return dict(zip(MEASURED, np.moveaxis(records, (2, 3), (1, 0)), strict=True))


def _policies(world: World, behavior: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """What the kernel takes for policies (instances, K): ``start`` of each, ``taken``, ``vocabulary``."""
    if world.tree is None:
        return np.log(behavior), np.zeros((behavior.shape[-1], 0), int), 1
    tree = world.tree()
    taken = np.where(tree.present, tree.node * tree.vocabulary + tree.token, -1)
    return autoregressive(tree, behavior).start, taken, tree.vocabulary


def simulated(group: Group, bandit: ps.Bandit, settings: Settings) -> Trajectory:
    """The group's cells in the place of a trajectory's seeds: (records, cells, n, 1)."""
    world, rows = WORLDS[group.world], len(bandit.behavior)
    together = max(1, TOGETHER // bandit.behavior.size)  # what the simulation takes at a time

    def parts() -> Iterator[Trajectory]:
        for first in range(0, len(group.cells), together):
            part = group.cells[first : first + together]
            tree = None if world.tree is None else world.tree()
            yield simulate(bandit, side_by_side(part, rows), settings, [group.batch] * len(part), tree)

    return join(list(parts()))


def _measured(found: Records, start: np.ndarray, dose: np.ndarray) -> dict[str, np.ndarray]:
    """Of every cell and instance, (cells, instances)."""
    ended = endings(found["value"][-1], found["entropy"][-1], start)
    kl = np.nan_to_num(found["reverse_kl"][-1], nan=FARTHEST, posinf=FARTHEST).clip(max=FARTHEST)
    return {
        "value": ended["value"],
        "average": np.nan_to_num(found["value"], nan=0.0).mean(axis=0),
        "entropy": ended["entropy"],
        "collapsed": ended["collapsed"],
        "diverged": np.isnan(found["value"][-1]).astype(float),
        "kl": kl,
        "conservatism": dose * (DELTA * BETA + BETA * kl),
        "ess": np.nan_to_num(found["ess"][-1], nan=0.0),
    }


def endings(value: np.ndarray, entropy: np.ndarray, start: np.ndarray) -> dict[str, np.ndarray]:
    """How runs end: value and entropy, 0 for those that left floating point, and whether they collapsed.

    Args:
        value, entropy: of the last record, NaN for a run that left floating point.
        start: the value that each began with.
    """
    return {
        "value": np.nan_to_num(value, nan=0.0),
        "entropy": np.nan_to_num(entropy, nan=0.0),
        "collapsed": (np.isnan(value) | (value < start)).astype(float),
    }


PROBED = ("binary", "noise .3", "graded", "sequences")


def probe() -> dict[str, float]:
    """Values and entropies after two short windows, of every cell, optimizer and kind of world."""
    numbers: dict[str, float] = {}
    for group in groups(0):
        if group.world in PROBED and group.lag == 20 and group.rate == middle(group):
            made = WORLDS[group.world].instances(0)
            settings = replace(group.settings(), syncs=2, lag=5, groups=5, minibatches=5, record_every=2)
            found = trained(group, ps.Bandit(made.behavior[:2], made.reward[:2]), settings)
            for cell, value, entropy in zip(group.cells, found["value"][-1], found["entropy"][-1], strict=True):
                name = " ".join(map(str, (group.world, group.optimizer, *asdict(cell).values())))
                numbers |= {f"{name}: value": float(value.mean()), f"{name}: entropy": float(entropy.mean())}
    return numbers


def middle(group: Group) -> float:
    """The rate that the probe takes: the second of the optimizer's."""
    return RATES[group.optimizer][1]
