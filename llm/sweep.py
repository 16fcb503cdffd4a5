"""Many runs of one kind: a study is declared as data, computed cell by cell on all cores, and kept in Parquet.

A cell that is done is never computed again, and one that was interrupted goes on from its last checkpoint.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars
from pydantic import ValidationError

from pessimism.shell.files import write_whole

from .config import Config, Lag, set_value, told
from .watch import METRICS, Watcher, read

BUFFERS = ("buffer", "checkpoints")


@dataclass(frozen=True)
class Variant:
    """One objective of a study.

    Attributes:
        label: unique within it.
        algorithm: a catalogue entry.
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

    @property
    def key(self) -> str:
        """Of everything that decides its numbers."""
        described = self.config.model_dump(mode="json", exclude={"name", "checkpoint_every", "watch"})
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


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
        raise ValueError(f"study {study.name}: {told(error)}") from None


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
        folder: gets ``cells/`` with a file for every finished run, and ``<name>.parquet``.
        jobs: processes, each with one thread.
        seeds, overrides: see :func:`cells`.
        progress: called with (cells done, cells in all, what was finished last).

    Raises:
        ValueError: a configuration that is not allowed.
    """
    from joblib import Parallel, delayed

    wanted = cells(study, seeds, overrides)
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    open_cells = [cell for cell in wanted if not _result(folder, cell).exists()]
    done = len(wanted) - len(open_cells)
    progress(done, len(wanted), "")
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes that start now
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)  # type: ignore[arg-type]
    finished: Iterator[Any] = iter(parallel(delayed(run_cell)(cell, folder) for cell in open_cells))
    for name in finished:
        done += 1
        progress(done, len(wanted), str(name))
    table = gather(wanted, folder)
    content = io.BytesIO()
    table.write_parquet(content)
    write_whole(folder / f"{study.name}.parquet", content.getvalue())
    return table


class _Quiet:
    def update(self, step: int, numbers: Mapping[str, float], timing: Mapping[str, float]) -> None:
        pass


def run_cell(cell: Cell, folder: Path) -> str:
    """Run a cell to its end, or as far as it gets; its name. A run that cannot go on is a result too."""
    import torch

    from .engines.base import EngineError
    from .train import RunError, opened, train

    torch.set_num_threads(1)
    place = folder / "cells" / cell.key
    ended = ""
    with opened(place), Watcher(place, _Quiet()) as watcher:
        try:
            if train(cell.config, place, watcher) < cell.config.steps:
                raise KeyboardInterrupt
        except (RunError, EngineError) as error:
            ended = str(error)
    result = {"config": cell.config.model_dump(mode="json"), "ended": ended, "records": read(place / METRICS)}
    write_whole(_result(folder, cell), json.dumps(result).encode())
    for name in BUFFERS:
        shutil.rmtree(place / name, ignore_errors=True)
    return cell.config.name


def gather(wanted: Sequence[Cell], folder: Path) -> polars.DataFrame:
    """One row per finished cell and evaluation: what was evaluated, and the training numbers of that step.

    Columns: ``study``, ``variant``, ``algorithm``, ``sync_every``, ``epochs``, ``seed``, ``step``, ``last`` (whether it
    is the cell's last), ``ended`` (why it could not go on, or ""), and every number by its name.

    Raises:
        ValueError: a damaged result.
    """
    rows = [row for cell in wanted if _result(folder, cell).exists() for row in _rows(cell, _result(folder, cell))]
    return polars.DataFrame(rows, infer_schema_length=None)


def _rows(cell: Cell, path: Path) -> Iterator[dict[str, Any]]:
    try:
        found = json.loads(path.read_text("utf-8"))
        records, ended = found["records"], found["ended"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: damaged; delete it to compute it again") from None
    told_of = [record for record in records if "evaluation/reward" in record] or records[-1:]
    config = cell.config
    for record in told_of:
        yield {
            "study": cell.study,
            "variant": cell.variant.label,
            "algorithm": cell.variant.algorithm,
            "sync_every": config.lag.sync_every,
            "epochs": config.lag.epochs,
            "seed": config.seed,
            "last": record is told_of[-1],
            "ended": ended,
            **record,
        }


def _result(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{cell.key}.json"
