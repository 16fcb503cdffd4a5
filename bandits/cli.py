"""The command ``python -m bandits``: run sweeps, list them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table

from pessimism.shell import is_object_name, load_object, near
from pessimism.shell.terminal import FAILED, new_app, new_table, progress_bar, run_app, show

from .sweeps.backends import Backend, BackendLostError, on_cores, on_ray
from .sweeps.estimate import estimate
from .sweeps.grid import Sweep
from .sweeps.grids import SWEEPS
from .sweeps.plan import Plan, execute, make_plan
from .sweeps.results import Manifest

TERMINATED = 143

app = new_app("bandits")


class BackendName(StrEnum):
    """Where cells are computed."""

    local = "local"
    ray = "ray"


@app.callback(invoke_without_command=True)
def start(context: typer.Context) -> None:
    """Tabular worlds: lagged off-policy learning, swept over algorithms and settings."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(short_help="Compute a sweep, or what is missing of it.")
def sweep(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A sweep that ships, or module:name for your own.")],
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Folder of the results, and of those of earlier runs.")
    ] = "results",
    backend: Annotated[BackendName, typer.Option(help="This machine's cores, or a Ray cluster.")] = BackendName.local,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cells at a time; default: as many as there are cores.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Address of the Ray cluster; default: $RAY_ADDRESS, or a new one on this machine."
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Runs per cell, instead of the grid's number.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Discard earlier results of this sweep.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the cells and how long they will take.")
    ] = False,
) -> None:
    """Compute a sweep and file its results. Interrupted at any moment, the same command resumes it.

    Exit status 1 if a cell failed (the others are kept), 2 for bad input.
    """
    if address is not None and backend is not BackendName.ray:
        raise ValueError("--address is that of a Ray cluster; add --backend ray")
    if restart and dry_run:
        raise ValueError("--restart discards results, --dry-run touches nothing: give one of them")
    workers = on_cores(jobs) if backend is BackendName.local else on_ray(address, jobs)
    chosen = _chosen(name)
    if seeds is not None:
        chosen = chosen.with_seeds(seeds)
    plan = make_plan(chosen, out, restart)
    for message in plan.damaged.values():
        print(f"warning: {message}; it will be written anew", file=sys.stderr)
    if dry_run:
        local = None if backend is BackendName.ray else os.cpu_count()
        common, table, summary = _dry_run(plan, jobs or local)
        print(common)
        show(table)
        print(summary)
        return
    begin = time.perf_counter()
    manifest = _computed(plan, workers)
    print(_summary(plan, manifest, time.perf_counter() - begin), flush=True)
    if manifest.failures:
        raise typer.Exit(FAILED)


@app.command(short_help="Compute what is missing of docs/experiment.md's bandits.")
def experiment(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Parquet file of the results, and of those of earlier runs.",
            show_default="results/experiment.parquet, or results/experiment_deployed.parquet",
        ),
    ] = None,
    deployed: Annotated[
        bool, typer.Option("--deployed", help="The catalogue's objectives instead of dose, weight, lag and noise.")
    ] = False,
    batches: Annotated[int, typer.Option(min=1, metavar="N", help="Of instances; each holds the whole design.")] = 1,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; default: as many as there are cores.")
    ] = None,
) -> None:
    """Target, weight, lag and noise taken apart, or the catalogue's objectives ordered by conservatism.

    Interrupted at any moment, the same command goes on.

    Exit status 1 if something failed (the rest is kept), 2 for bad input, such as results of code that computes
    something else.
    """
    from .experiment import compute
    from .experiment import deployed as objectives

    run = objectives.run if deployed else compute.run
    out = out or Path(f"results/experiment{'_deployed' if deployed else ''}.parquet")
    with progress_bar(left=True) as progress:
        failures = run(out, range(batches), jobs, lambda _, done, total: progress(done, total))
    for failure in failures.values():
        print(f"failed: {failure}", file=sys.stderr)
    print(out)
    if failures:
        raise typer.Exit(FAILED)


@app.command(short_help="List the sweeps that ship.")
def sweeps() -> None:
    """List the sweeps that ship: how many cells, seeds in each, and what they show."""
    table = new_table("sweep", ">cells", ">seeds", "shows")
    for entry in SWEEPS.values():
        table.add_row(entry.name, f"{len(entry.cells()):,}", f"{entry.seeds:,}", entry.shows)
    show(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's) and return its exit status.

    0: done. 1: a cell failed, or the workers were lost. 2: bad input, told in one line on the error stream. 130:
    interrupted. 143: terminated.
    """
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        return run_app(app, "python -m bandits", arguments, failures=(BackendLostError,))
    except _Terminated:
        return TERMINATED
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Terminated(BaseException):
    """SIGTERM, raised where SIGINT would be. (Not a KeyboardInterrupt, which typer turns into its own Abort.)"""


def _terminate(number: int, frame: object) -> NoReturn:
    raise _Terminated


def _chosen(name: str) -> Sweep:
    if is_object_name(name):
        return load_object(name, Sweep)
    if name not in SWEEPS:
        raise ValueError(f"unknown sweep {name!r}; {near(name, SWEEPS)}, or module:name for one of yours")
    return SWEEPS[name]


def _computed(plan: Plan, workers: Backend) -> Manifest:
    cells = len(plan.jobs)
    try:
        with progress_bar(left=True) as progress:
            progress(len(plan.files), cells)
            return execute(plan, workers, progress)
    except (KeyboardInterrupt, _Terminated):
        done = len(plan.store.read_cells(plan.jobs)[0])
        kept = f"interrupted: {done} of {cells} cells are done and kept in {plan.store.folder}"
        print(f"{kept}; the same command computes the others", file=sys.stderr)
        raise


# --- output ---------------------------------------------------------------------------------------------------------


def _dry_run(plan: Plan, workers: int | None) -> tuple[str, Table, str]:
    """What the cells have in common, the cells, and how long they take."""
    changed = dict.fromkeys(name for job in plan.jobs.values() for name in job.cell.described())
    rows = {
        key: {name: job.cell.described().get(name) or str(getattr(job.cell.settings, name)) for name in changed}
        for key, job in plan.jobs.items()
    }
    shared = {name: values.pop() for name in changed if len(values := {row[name] for row in rows.values()}) == 1}
    table = new_table("key", *(name for name in changed if name not in shared), ">seconds")
    total = 0.0
    for key, job in plan.jobs.items():
        state = "done"
        if key not in plan.files:
            try:
                seconds = estimate(job.cell)
            except ValueError as error:
                state = f"will fail: {error}"
            else:
                total += seconds
                state = f"~{seconds:.2g}"
        table.add_row(key, *(value for name, value in rows[key].items() if name not in shared), state)
    common = "all cells: " + ", ".join(f"{name} {value}" for name, value in shared.items())
    spread = "" if workers is None else f", {total / workers:.2g} s on {workers} cores"
    summary = f"{len(plan.missing)} of {len(plan.jobs)} cells to compute: about {total:.2g} s on one core{spread}"
    return common, table, summary


def _summary(plan: Plan, manifest: Manifest, seconds: float) -> str:
    computed, failed = len(plan.missing) - len(manifest.failures), len(manifest.failures)
    earlier = f"{len(plan.jobs)} cells: {len(plan.files)} computed before"
    counts = f"{earlier}, {computed} computed now, {failed} failed; {seconds:.1f} s"
    failures = [f"failed: {manifest.cells[key]}: {failure}" for key, failure in manifest.failures.items()]
    where = f"finished cells are in {plan.store.folder}" if failed else f"all rows are in {plan.store.whole}"
    return "\n".join([f"{plan.store.name}: {counts}", *failures, where])
