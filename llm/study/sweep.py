"""Many runs of one kind: a study is declared as data, computed cell by cell on all cores, and kept in Parquet.

A cell that is done is never computed again, and one that was interrupted goes on from its last checkpoint. A cell's
key stands for everything that decides its numbers: its configuration, the model that it starts from, our sources and
the versions of libraries.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polars
from pydantic import ValidationError

from pessimism.studies import (
    NO_NUMBERS,
    Done,
    Plan,
    Store,
    as_parquet,
    commit,
    digest,
    execute,
    make_plan,
    named_sources,
    new_manifest,
    of_files,
    on_cores,
    sources,
)

from ..config import Config, Lag, problems, set_value
from ..run import runs
from ..run.watch import METRICS, Watcher, read

BUFFERS = ("buffer", "checkpoints")
COLUMNS = ("cell", "study", "variant", "algorithm", "sync_every", "epochs", "seed", "last", "ended", "step")


@dataclass(frozen=True)
class Variant:
    """One objective of a study.

    Attributes:
        label: unique within it.
        algorithm: an entry of the catalogue, or ``module:name`` or ``file.py:name``.
        parameters: of it.
    """

    label: str
    algorithm: str
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """How stale data get: ``sync_every`` steps between syncs, ``epochs`` over a window's batches; ``steps`` in all."""

    sync_every: int
    epochs: int
    steps: int


@dataclass(frozen=True)
class Study:
    """Every variant at every schedule with every seed.

    Attributes:
        name: of the study.
        shows: what it is about.
        base: the configuration that all runs share.
        variants, schedules: what differs.
        seeds: how many.
        warmup: how to make the model that all runs start from, where it is not there yet; as `[warmup]` in a
            configuration.
    """

    name: str
    shows: str
    base: Mapping[str, Any]
    variants: tuple[Variant, ...]
    schedules: tuple[Schedule, ...]
    seeds: int = 3
    warmup: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    study: str
    variant: Variant
    config: Config

    def key(self, provenance: str) -> str:
        """Of everything that decides its numbers; ``provenance`` is what :func:`provenance` says.

        What has its default is left out, so that a key of the configuration that is added later makes no new cells.
        """
        names = {"name", "checkpoint_every", "watch"}
        described = self.config.model_dump(mode="json", exclude=names, exclude_defaults=True)
        return digest([provenance, described])


@dataclass(frozen=True)
class Job:
    """A cell to be computed, by code of this provenance, with a folder for its run."""

    cell: Cell
    provenance: str
    runs: Path

    @property
    def key(self) -> str:
        return self.cell.key(self.provenance)


def cells(study: Study, seeds: int | None = None, overrides: Sequence[str] = ()) -> list[Cell]:
    """The runs of a study, seeds outermost, so that an early stop leaves whole comparisons.

    Args:
        study: which.
        seeds: how many instead of the study's.
        overrides: "key.subkey=value" for all of them, as :func:`llm.config.load` takes them.

    Raises:
        ValueError: a configuration that is not allowed.
    """
    return [
        Cell(study.name, variant, _config(study, variant, schedule, seed, overrides))
        for seed in range(study.seeds if seeds is None else seeds)
        for schedule in study.schedules
        for variant in study.variants
    ]


def _config(study: Study, variant: Variant, schedule: Schedule, seed: int, overrides: Sequence[str]) -> Config:
    table: dict[str, Any] = {
        **copy.deepcopy(dict(study.base)),
        "name": f"{study.name} {variant.label} L={schedule.sync_every} seed {seed}",
        "seed": seed,
        "steps": schedule.steps,
        "objective": {"algorithm": variant.algorithm, "parameters": dict(variant.parameters)},
        "lag": Lag(sync_every=schedule.sync_every, epochs=schedule.epochs).model_dump(),
    }
    for override in overrides:
        set_value(table, override)
    try:
        return Config.model_validate(table)
    except ValidationError as error:
        raise ValueError(f"study {study.name}: {problems(error, Config)}") from None


Progress = Callable[[int, int, str], None]


def run(
    study: Study,
    folder: Path,
    jobs: int = 1,
    seeds: int | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = lambda done, total, last: None,
) -> polars.DataFrame:
    """Compute what is missing of a study; all of its results.

    Args:
        study: which.
        folder: for results, see :mod:`pessimism.studies`. Cells of other code, seeds or overrides stay there.
        jobs: processes, each with one thread.
        seeds, overrides: see :func:`cells`.
        progress: called with (cells done, cells in all, what was finished last).

    Raises:
        ValueError: a configuration that is not allowed, or another process computes the study there.
        RuntimeError: cells could not be run; the others are kept.
        BackendLostError: a worker process was killed; what was finished is kept.
    """
    plan = make_study_plan(study, folder, seeds, overrides)
    progress(len(plan.files), len(plan.jobs), "")
    backend = on_cores(compute, jobs)
    manifest = execute(plan, backend, order, lambda done, *now: progress(now[0], now[1], done.job.cell.config.name))
    if manifest.failures:
        key, failure = next(iter(manifest.failures.items()))
        raise RuntimeError(
            f"study {study.name}: {len(manifest.failures)} of {len(plan.jobs)} runs failed; the first is "
            f"{manifest.cells[key]}: {failure}"
        )
    return plan.store.load(f"python -m llm sweep {study.name} --out {folder}")


def make_study_plan(study: Study, folder: Path, seeds: int | None = None, overrides: Sequence[str] = ()) -> Plan:
    """What there is of a study and what is missing; writes nothing."""
    store = Store(folder, study.name)
    wanted = [Job(cell, provenance(cell.config), store.folder / "runs") for cell in cells(study, seeds, overrides)]
    jobs = {job.key: job for job in wanted}
    named = {key: job.cell.config.name for key, job in jobs.items()}
    described = runs.versions() | {"commit": commit()}
    codes = {job.provenance for job in wanted}
    return make_plan(store, jobs, new_manifest(study.name, study.shows, named, codes, described))


def provenance(config: Config) -> str:
    """A hash of what decides a run's numbers besides its configuration.

    That is our sources that a run reaches, the versions of libraries, the files of the model that it starts from, where
    that is a folder, and the file of an objective that is named as ``module:name`` or ``file.py:name``.
    """
    own = of_files(named_sources([config.objective.algorithm]))
    return digest([_code(), _model(config.model.path), own])


@cache
def _code() -> str:
    return digest([of_files(sources(Path(__file__), ("pessimism", "llm"), NO_NUMBERS)), runs.versions()])


@cache
def _model(path: str) -> str:
    return of_files(sorted(file for file in Path(path).rglob("*") if file.is_file()))


class Quiet:
    """A screen that shows nothing."""

    def update(self, step: int, numbers: Mapping[str, float], timing: Mapping[str, float]) -> None:
        """Do nothing."""


def compute(job: Job) -> Done:
    """Run a cell to its end, or as far as it gets: a run that cannot go on is a result too."""
    began = time.perf_counter()
    try:
        content, failure = as_parquet(_table(job, *_trained(job))), None
    except Exception as error:  # one cell does not end a study
        content, failure = None, f"{type(error).__name__}: {error}"
    return Done(job, content, failure, time.perf_counter() - began)


def _trained(job: Job) -> tuple[list[dict[str, Any]], str]:
    """The records of a cell's run, and why it could not go on, or ""."""
    import torch

    from ..run.train import opened, train
    from ..sample.engines.base import EngineError
    from ..update.learner import RunError

    torch.set_num_threads(1)
    place, ended = job.runs / job.key, ""
    with opened(place), Watcher(place, Quiet()) as watcher:
        try:
            if train(job.cell.config, place, watcher) < job.cell.config.steps:
                raise KeyboardInterrupt
        except (RunError, EngineError) as error:
            ended = str(error)
    records = read(place / METRICS)
    for name in BUFFERS:
        shutil.rmtree(place / name, ignore_errors=True)
    return records, ended


def _table(job: Job, records: Sequence[Mapping[str, Any]], ended: str) -> polars.DataFrame:
    """One row per evaluation: what was evaluated, and the training numbers of that step.

    Columns: ``cell`` (its key), ``study``, ``variant``, ``algorithm``, ``sync_every``, ``epochs``, ``seed``, ``last``
    (whether it is the cell's last), ``ended`` (why it could not go on, or ""), ``step``, every number by its name, and
    ``gradient/clipped``, the share of the steps so far whose gradient was shortened.
    """
    cell, config = job.cell, job.cell.config
    constant = {
        "cell": job.key,
        "study": cell.study,
        "variant": cell.variant.label,
        "algorithm": cell.variant.algorithm,
        "sync_every": config.lag.sync_every,
        "epochs": config.lag.epochs,
        "seed": config.seed,
    }
    evaluated = [record for record in records if "evaluation/reward" in record] or [*records[-1:]] or [{"step": 0}]
    clipped = [record["step"] for record in records if (record.get("gradient/norm") or 0) > config.optimizer.clip_norm]

    def share(step: int) -> dict[str, float]:
        return {"gradient/clipped": sum(at <= step for at in clipped) / step} if step else {}

    rows = [
        {**constant, "last": record is evaluated[-1], "ended": ended, **record, **share(record["step"])}
        for record in evaluated
    ]
    numbers = {name: polars.Float64 for row in rows for name in row if name not in COLUMNS}
    return polars.DataFrame(rows, schema_overrides=numbers, infer_schema_length=None)


def order(column: str) -> int:
    """Where a column stands: those that describe a row first, then the numbers as they come."""
    return COLUMNS.index(column) if column in COLUMNS else len(COLUMNS)
