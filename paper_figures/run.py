"""Making figures: data from the cache where they are current, else computed; then drawn, written and recorded."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from joblib import Parallel, delayed

from bandits.sweeps import Sweep, load, on_cores
from bandits.sweeps import run as run_sweep
from bandits.sweeps.plan import make_plan
from pessimism.shell import write_whole
from pessimism.studies import held, sha256

from . import style
from .fingerprint import fingerprint, sources_hash, sweep_hashes, versions
from .spec import ROOT, FigureSpec
from .store import Manifest, Record, column_types, from_csv, read_manifest, to_csv, widened, write_manifest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNDATED = {"pdf": {"CreationDate": None}, "png": {}}
"""Kinds of picture, each with the metadata that keeps the time of day out of the file."""


SWEEPS = "sweeps"
"""Folder beside the figures that keeps the results of sweeps, resumable cell by cell."""


@dataclass(frozen=True)
class Made:
    """What became of one figure: its table, its record, whether the data were there already, and seconds taken."""

    name: str
    table: pl.DataFrame
    record: Record
    cached: bool
    seconds: float


Progress = Callable[[int, int, str], None]


def make(
    specs: Sequence[FigureSpec],
    folder: Path,
    jobs: int = 1,
    recompute: bool = False,
    progress: Progress = lambda done, total, name: None,
) -> Iterator[Made]:
    """Make figures, several at a time, and yield each as it is finished, in any order.

    For each: NAME.csv, NAME.pdf, NAME.png, its caption in NAME.txt, and its record in manifest.json. All files are
    written whole or not at all; the record comes last, so that a run that is cut short leaves nothing that a later one
    would take for current.

    Args:
        specs: which.
        folder: where; made if it is missing.
        jobs: processes.
        recompute: whether to compute data that are there already, too.
        progress: called with (done, in all, of what) while sweeps run that figures read, and before figures are drawn.

    Raises:
        ValueError: the folder cannot be written, another process makes figures there, its manifest is not one, or
            current data are not what was computed (edited, cut off); the message names the file.
    """
    with held(folder):
        yield from _make(specs, folder, jobs, recompute, progress)


def _make(specs: Sequence[FigureSpec], folder: Path, jobs: int, recompute: bool, progress: Progress) -> Iterator[Made]:
    try:
        manifest = read_manifest(folder)
    except ValueError:
        if not recompute:
            raise
        manifest = Manifest()
    kept = {spec.name: None if recompute else _current(spec, folder, manifest) for spec in specs}
    for sweep in {sweep.name: sweep for spec in specs if kept[spec.name] is None for sweep in spec.sweeps}.values():
        _sweep(sweep, folder / SWEEPS, jobs, recompute, progress)
    progress(0, len(specs), "figures")
    parallel: Any = Parallel(n_jobs=jobs, return_as="generator_unordered")  # type: ignore[arg-type]
    for made in parallel(delayed(_make_one)(spec, folder, kept[spec.name]) for spec in specs):
        manifest = manifest.with_record(made.name, made.record)
        write_manifest(folder, manifest)
        yield made


def picture(figure: Figure, kind: str) -> bytes:
    """A figure as a file ("pdf" or "png"); the same bytes whenever it is drawn with the same versions."""
    content = io.BytesIO()
    figure.savefig(content, format=kind, metadata=UNDATED[kind])
    return content.getvalue()


@dataclass(frozen=True)
class _Kept:
    content: bytes
    record: Record


def _current(spec: FigureSpec, folder: Path, manifest: Manifest) -> _Kept | None:
    """The data of an earlier run if nothing that they depend on has changed since."""
    record = manifest.figures.get(spec.name)
    path = folder / f"{spec.name}.csv"
    if record is None or record.fingerprint != fingerprint(spec) or not path.exists():
        return None
    content = path.read_bytes()
    if sha256(content) != record.files.get(path.name):
        raise ValueError(f"{path}: not the data that were computed (edited or cut off since); --recompute mends it")
    return _Kept(content, record)


def _sweep(sweep: Sweep, folder: Path, jobs: int, restart: bool, progress: Progress) -> None:
    """Compute what is missing of a sweep. Results of another grid or of older code are the cache's own: discarded."""
    try:
        make_plan(sweep, folder)
    except ValueError:
        restart = True
    told = f"cells of the sweep {sweep.name}"
    run_sweep(sweep, folder, on_cores(jobs), lambda done, total: progress(done, total, told), restart=restart)


def _make_one(spec: FigureSpec, folder: Path, kept: _Kept | None) -> Made:
    start = time.perf_counter()
    origin = {
        "script": spec.script.relative_to(ROOT).as_posix(),
        "script_sha256": sha256(spec.script.read_bytes()),
        "sources_sha256": sources_hash(spec.script),
        "fingerprint": fingerprint(spec),
    }
    if kept is None:
        tables = [load(folder / SWEEPS, sweep.name) for sweep in spec.sweeps]
        computed = widened(spec.compute(spec.settings, *tables))
        content, columns = to_csv(computed), column_types(computed)
    else:
        content, columns = kept.content, kept.record.columns
    table = from_csv(content, columns)  # also when just computed: both ways draw the same
    with style.context():
        figure = spec.draw(table)
        files = {f"{spec.name}.csv": content} | {f"{spec.name}.{kind}": picture(figure, kind) for kind in UNDATED}
        files[f"{spec.name}.txt"] = f"{spec.caption}\n".encode()
    for name, whole in files.items():
        write_whole(folder / name, whole)
    record = Record(
        shows=spec.shows,
        caption=spec.caption,
        origin=spec.origin,
        settings=spec.parameters,
        seed=spec.parameters.get("seed"),
        sweeps=sweep_hashes(spec),
        versions=versions(),
        rows=table.height,
        columns=columns,
        files={name: sha256(whole) for name, whole in files.items()},
        **origin,
    )
    return Made(spec.name, table, record, kept is not None, time.perf_counter() - start)
