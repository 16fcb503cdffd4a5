"""A sweep computed: what is there is kept, what is missing is computed, finished cells are written at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from pessimism import studies
from pessimism.studies import Backend, Plan

from .backends import on_cores
from .cell import Job
from .grid import Sweep
from .provenance import described, provenance
from .results import Manifest, Store, load, order

Progress = Callable[[int, int], None]
"""Called with the number of cells done and that of all cells."""


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
        directory: the folder for results; see :mod:`pessimism.studies`.
        backend: :func:`bandits.sweeps.on_cores` (the default, all cores) or :func:`bandits.sweeps.on_ray`.
        progress: called after every cell.
        restart: discard what is there, instead of refusing results of another grid and resuming those of this one.

    Raises:
        ValueError: a grid that makes no sense, results of another grid, a folder that cannot be written to or in which
            another process computes.
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
    """What there is of a sweep and what is missing; writes nothing.

    Raises:
        ValueError: a grid that makes no sense, or results of another grid.
    """
    jobs = {job.key: job for job in (Job(cell, provenance(cell)) for cell in sweep.cells())}
    cells = {key: str(job.cell) for key, job in jobs.items()}
    provenances = {job.provenance for job in jobs.values()}
    manifest = studies.new_manifest(sweep.name, sweep.shows, cells, provenances, described())
    plan = studies.make_plan(Store(Path(directory), sweep.name), jobs, manifest, restart)
    studies.check_same(plan, manifest)
    return plan


def execute(plan: Plan, backend: Backend, progress: Progress | None = None) -> Manifest:
    """Compute what a plan lacks; returns the manifest that is then on disk, with the failures."""
    report = progress or (lambda done, total: None)
    return studies.execute(plan, backend, order, lambda _, done, total: report(done, total))
