"""A study computed: what is there is kept, what is missing is computed, finished cells are written at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .lock import held
from .provenance import digest
from .store import Manifest, Order, Store, read_cell
from .workers import Backend, Done

Finished = Callable[[Done, int, int], None]
"""Called after every cell with what came of it, the number of cells done and that of all cells."""


@dataclass(frozen=True)
class Plan:
    """A study and what there is of it.

    Attributes:
        store: where.
        jobs: all cells, by key.
        files: those that are finished, by key.
        damaged: what is wrong with other files that are there, which are to be written anew.
        manifest: as it stands before anything is computed.
        restart: whether what is there is to be discarded first.
    """

    store: Store
    jobs: Mapping[str, Any]
    files: Mapping[str, Path]
    damaged: Mapping[Path, str]
    manifest: Manifest
    restart: bool = False

    @property
    def missing(self) -> list[Any]:
        """What is to be computed."""
        return [job for key, job in self.jobs.items() if key not in self.files]


def make_plan(store: Store, jobs: Mapping[str, Any], manifest: Manifest, restart: bool = False) -> Plan:
    """What there is of a study and what is missing; writes nothing.

    Args:
        store: where its results are.
        jobs: all cells, by key.
        manifest: of today's study, before anything is computed.
        restart: plan to discard what is there.
    """
    files, damaged = ({}, {}) if restart else store.read_cells(jobs)
    found = None
    if not restart:
        try:
            found = store.read_manifest()
        except ValueError as error:  # cells go by all that determines them: none of another study can be among them
            damaged[store.manifest] = str(error)
    if found is not None:
        whole = found.hash if found.grid == manifest.grid else None
        manifest = manifest.model_copy(update={"seconds": found.seconds, "hash": whole})
    return Plan(store, jobs, files, damaged, manifest, restart)


def check_same(plan: Plan, wanted: Manifest) -> None:
    """Refuse results of other cells or of other code.

    Raises:
        ValueError: there are some.
    """
    store = plan.store
    found = None if plan.restart or store.manifest in plan.damaged else store.read_manifest()
    if found is None or found.grid == wanted.grid:
        return
    what = "with other code or library versions" if found.provenance != wanted.provenance else "from another grid"
    raise ValueError(
        f"{store.folder} holds results computed {what}; keep them by choosing another folder (--out), "
        "or discard them (--restart)"
    )


def execute(
    plan: Plan, backend: Backend, order: Order, finished: Finished = lambda done, count, total: None
) -> Manifest:
    """Compute what a plan lacks; returns the manifest that is then on disk, with the failures.

    Raises:
        ValueError: the folder cannot be written, or another process computes there.
    """
    with held(plan.store.folder):
        if plan.restart:
            plan.store.discard()
        plan.store.cells.mkdir(exist_ok=True)
        for path in plan.damaged:
            path.unlink(missing_ok=True)
        return _execute(plan, backend, order, finished)


def _execute(plan: Plan, backend: Backend, order: Order, finished: Finished) -> Manifest:
    store, manifest = plan.store, plan.manifest
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
                finished(done, len(files) + len(failures), len(plan.jobs))
    finally:
        in_order = {key: seconds[key] for key in plan.jobs if key in seconds}
        manifest = manifest.model_copy(update={"seconds": in_order, "failures": failures})
        store.write_manifest(manifest)
    if not failures:
        whole = store.write_whole((read_cell(files[key]) for key in plan.jobs), order)
        manifest = manifest.model_copy(update={"hash": whole})
        store.write_manifest(manifest)
    return manifest


def new_manifest(
    name: str, shows: str, cells: Mapping[str, str], provenances: set[str], versions: Mapping[str, str | None]
) -> Manifest:
    """Of a study before anything is computed; ``cells`` are in words, by key."""
    return Manifest(
        sweep=name,
        shows=shows,
        grid=digest(list(cells)),
        provenance=digest(sorted(provenances)),
        versions=dict(versions),
        cells=dict(cells),
        seconds={},
        failures={},
    )
