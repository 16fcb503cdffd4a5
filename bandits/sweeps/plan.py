"""A sweep computed: what is there is kept, what is missing is computed, finished cells are written at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from .backends import Backend, on_cores
from .cell import Job
from .grid import Sweep, digest
from .provenance import described, provenance
from .results import Manifest, Store, load, read_cell

Progress = Callable[[int, int], None]
"""Called with the number of cells done and that of all cells."""


@dataclass(frozen=True)
class Plan:
    """A sweep and what there is of it.

    Attributes:
        sweep, store: what and where.
        jobs: all cells, by key.
        files: those that are finished, by key.
        damaged: what is wrong with other files that are there, which are to be written anew.
        manifest: as it stands before anything is computed.
    """

    sweep: Sweep
    store: Store
    jobs: Mapping[str, Job]
    files: Mapping[str, Path]
    damaged: Mapping[Path, str]
    manifest: Manifest

    @property
    def missing(self) -> list[Job]:
        """What is to be computed."""
        return [job for key, job in self.jobs.items() if key not in self.files]


def run(
    sweep: Sweep,
    directory: str | Path,
    backend: Backend | None = None,
    progress: Progress | None = None,
    restart: bool = False,
) -> pl.DataFrame:
    """Compute what is missing of a sweep and return all its rows.

    The numbers do not depend on the backend, nor on how often the sweep was interrupted.

    Args:
        sweep: the grid.
        directory: the folder for results; see :mod:`bandits.sweeps.results`.
        backend: :func:`bandits.sweeps.on_cores` (the default, all cores) or :func:`bandits.sweeps.on_ray`.
        progress: called after every cell.
        restart: discard what is there, instead of refusing results of another grid and resuming those of this one.

    Raises:
        ValueError: a grid that makes no sense, results of another grid, a folder that cannot be written to.
        RuntimeError: cells failed; the others are kept.
    """
    plan = make_plan(sweep, directory, restart)
    manifest = execute(plan, backend or on_cores(), progress)
    if manifest.failures:
        key, failure = next(iter(manifest.failures.items()))
        raise RuntimeError(
            f"sweep {sweep.name}: {len(manifest.failures)} of {len(plan.jobs)} cells failed; the first is "
            f"{manifest.cells[key]}: {failure}"
        )
    return load(directory, sweep.name)


def make_plan(sweep: Sweep, directory: str | Path, restart: bool = False) -> Plan:
    """What there is of a sweep and what is missing; writes nothing, unless ``restart`` discards what is there.

    Raises:
        ValueError: a grid that makes no sense, or results of another grid.
    """
    jobs = {job.key: job for job in (Job(cell, provenance(cell)) for cell in sweep.cells())}
    store = Store(Path(directory), sweep.name)
    if restart:
        store.discard()
    fresh = Manifest(
        sweep=sweep.name,
        shows=sweep.shows,
        grid=digest(list(jobs)),
        provenance=digest(sorted({job.provenance for job in jobs.values()})),
        versions=described(),
        cells={key: str(job.cell) for key, job in jobs.items()},
        seconds={},
        failures={},
    )
    files, damaged = store.read_cells(jobs)
    try:
        found = store.read_manifest()
    except ValueError as error:  # cells go by all that determines them: none of another grid can be among them
        found, damaged[store.manifest] = None, str(error)
    if found is not None:
        _check_same_grid(store, found, fresh)
        fresh = fresh.model_copy(update={"seconds": found.seconds, "hash": found.hash})
    return Plan(sweep, store, jobs, files, damaged, fresh)


def execute(plan: Plan, backend: Backend, progress: Progress | None = None) -> Manifest:
    """Compute what a plan lacks; returns the manifest that is then on disk, with the failures."""
    store, manifest = plan.store, plan.manifest
    store.create()
    for path in plan.damaged:
        path.unlink(missing_ok=True)
    store.write_manifest(manifest)
    files, seconds, failures = dict(plan.files), dict(manifest.seconds), {}
    try:
        with closing(backend(plan.missing)) as results:
            for done in results:
                key = done.job.key
                if done.content is None:
                    failures[key] = done.failure
                else:
                    files[key] = store.write_cell(key, done.content)
                    seconds[key] = round(done.seconds, 3)
                if progress is not None:
                    progress(len(files) + len(failures), len(plan.jobs))
    finally:
        in_order = {key: seconds[key] for key in plan.jobs if key in seconds}
        manifest = manifest.model_copy(update={"seconds": in_order, "failures": failures})
        store.write_manifest(manifest)
    if not failures:
        manifest = manifest.model_copy(update={"hash": store.write_whole(read_cell(files[key]) for key in plan.jobs)})
        store.write_manifest(manifest)
    return manifest


def _check_same_grid(store: Store, found: Manifest, wanted: Manifest) -> None:
    if found.grid == wanted.grid:
        return
    what = "with other code or library versions" if found.provenance != wanted.provenance else "from another grid"
    raise ValueError(
        f"{store.folder} holds results computed {what}; keep them by choosing another folder (--out), "
        "or discard them (--restart)"
    )
