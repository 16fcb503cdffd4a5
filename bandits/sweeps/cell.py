"""One cell computed: a simulation, as a long table.

Columns, in this order: ``cell`` (its key); ``bandit`` and ``bandit.<parameter>``; ``algorithm`` and
``algorithm.<parameter>``, ``baseline_of`` and ``baseline_of.<parameter>`` where there is one; every field of
`Settings`, with ``noise`` and ``noise.<parameter>``; ``world``, ``seed`` and ``sync``; ``diverged``, the first sync in
which that run of that world left the range of floating point (0: never); the measures.

One row per sync, seed and world (in this order, the last fastest). A bandit of batch shape (..., N) is N contexts of
one problem, whose measures are averaged, in as many worlds as the other axes have entries; otherwise there is one
world, 0. Units and definitions are those of :class:`bandits.trajectory.Trajectory`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from pessimism.studies import Done, as_parquet

from ..settings import Settings
from ..simulate import simulate
from ..trajectory import Trajectory
from .grid import AlgorithmSpec, Cell
from .provenance import provenance


@dataclass(frozen=True)
class Job:
    """A cell to be computed where the code has this provenance."""

    cell: Cell
    provenance: str

    @property
    def key(self) -> str:
        return self.cell.key(self.provenance)


def compute(job: Job) -> Done:
    """Compute a cell. What its code raises becomes a failure, so that one cell does not end a sweep."""
    start = time.perf_counter()
    try:
        bandit, algorithm = job.cell.bandit.build(), job.cell.algorithm.build()
        if provenance(job.cell) != job.provenance:
            raise ValueError(f"{socket.gethostname()} has other sources or versions than the process that asks")
        with threadpool_limits(limits=1):  # as many cells at a time as there are cores
            run = simulate(bandit, algorithm, job.cell.settings, range(job.cell.seeds))
        content, failure = as_parquet(_table(job, run)), None
    except Exception as error:
        content, failure = None, f"{type(error).__name__}: {error}"
    return Done(job, content, failure, time.perf_counter() - start)


def _table(job: Job, run: Trajectory) -> pl.DataFrame:
    constant = [pl.lit(value).alias(name) for name, value in constants(job.cell, job.key).items()]
    varying = pl.DataFrame(_varying(run, job.cell.measures))
    return varying.select(*constant, *varying.columns)


def constants(cell: Cell, key: str) -> dict[str, Any]:
    """What is the same in all rows of a cell, by column.

    >>> from bandits.sweeps.grid import algorithm, bandit
    >>> cell = Cell(bandit("sparse", arms=10), algorithm("dro", beta=1), Settings(lag=3), seeds=1)
    >>> list(constants(cell, "f00").items())[:5]
    [('cell', 'f00'), ('bandit', 'sparse'), ('bandit.arms', 10), ('algorithm', 'dro'), ('algorithm.beta', 1)]
    """
    draws = {} if cell.bandit.draws is None else {"bandit.draws": cell.bandit.draws}
    settings = {item.name: getattr(cell.settings, item.name) for item in fields(Settings)}
    return {
        "cell": key,
        "bandit": cell.bandit.name,
        **_prefixed("bandit", cell.bandit.parameters),
        **draws,
        **_algorithm_columns("algorithm", cell.algorithm),
        **dict(_flat(settings)),
    }


def _algorithm_columns(prefix: str, spec: AlgorithmSpec) -> dict[str, Any]:
    nested = {} if spec.baseline_of is None else _algorithm_columns("baseline_of", spec.baseline_of)
    return {prefix: spec.name, **_prefixed(prefix, spec.parameters), **nested}


def _prefixed(prefix: str, parameters: Any) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in parameters.items()}


def _flat(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if is_dataclass(value) and not isinstance(value, type):
            yield name, type(value).__name__
            yield from _prefixed(name, asdict(value)).items()
        else:
            yield name, value


def _varying(run: Trajectory, measures: tuple[str, ...]) -> dict[str, np.ndarray | pl.Series]:
    records, seeds = run.value.shape[:2]
    contexts = run.value.shape[-1] if run.value.ndim > 2 else 1
    worlds = run.value[0, 0].size // contexts
    shape = (records, seeds, worlds)
    sync, seed, world = np.meshgrid(run.sync, np.arange(seeds), np.arange(worlds), indexing="ij")
    left = run.diverged.reshape(seeds, worlds, contexts)
    first = np.where(left > 0, left, np.iinfo(left.dtype).max).min(axis=-1)
    diverged = np.broadcast_to(np.where((left > 0).any(axis=-1), first, 0), shape)
    index = {"world": world, "seed": seed, "sync": sync, "diverged": diverged}
    columns: dict[str, np.ndarray | pl.Series] = {name: array.ravel() for name, array in index.items()}
    for name in measures:
        found = getattr(run, name)
        if found is None:
            columns[name] = pl.repeat(None, sync.size, dtype=pl.Float64, eager=True)
        else:
            columns[name] = found.reshape(-1, contexts).mean(axis=-1)
    return columns
