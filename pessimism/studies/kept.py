"""A study kept in one Parquet file, small enough for a repository: what is there is kept, what is missing is computed.

Such a study outlives the machine that began it, and the commits in between: a cell's key must not change when some
unrelated line of the code does. So what stands for the code in a key are numbers that it computes, a *probe*: a small
piece of every kind of cell. It is kept beside the results, and before anything is added the code of today must give it
again. Code that computes something else is refused, code that was only moved or renamed is not.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ..shell.files import write_whole
from .lock import held
from .provenance import digest
from .store import as_parquet
from .workers import Backend, Done

__all__ = ["Finished", "Probe", "complete", "read", "settled"]

Probe = Mapping[str, float]
"""What was computed -> its number."""

Finished = Callable[[Done | None, int, int], None]
"""Called at the beginning and after every cell with what came of it, the cells done and those in all."""

PAUSE = 20.0
"""Seconds between two rewritings of the file, at least."""


def settled(path: Path, today: Probe, tolerance: float = 1e-6) -> str:
    """The digest of a study's probe, which is a part of its keys. Written down where there is none yet.

    Args:
        path: of the JSON file.
        today: what the code gives now.
        tolerance: largest difference, relative to the number or to one: another machine rounds otherwise.

    Raises:
        ValueError: the code of today computes something else.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "probe.json"
    ...     settled(path, {"a": 0.5}) == settled(path, {"a": 0.5 + 1e-9})
    True
    """
    if not path.exists():
        write_whole(path, (json.dumps(dict(today), indent=1) + "\n").encode())
    kept: dict[str, float] = json.loads(path.read_text("utf-8"))
    if kept.keys() != today.keys():
        other = sorted(kept.keys() ^ today.keys())[0]
        raise ValueError(f"{path}: {other!r} is a part of only one of its probe and that of today's code; {_WAY_OUT}")
    for name, number in kept.items():
        if not math.isclose(number, today[name], rel_tol=tolerance, abs_tol=tolerance):
            raise ValueError(
                f"{path}: today's code gives {today[name]:.9g} for {name!r}, where that of the results gave "
                f"{number:.9g}; {_WAY_OUT}"
            )
    return digest(kept)


_WAY_OUT = "results of the two must not be mixed: take another file (--out)"


def read(path: Path) -> pl.DataFrame | None:
    """The rows that are there, or None.

    Raises:
        ValueError: no Parquet file.
    """
    if not path.exists():
        return None
    try:
        return pl.read_parquet(io.BytesIO(path.read_bytes()))
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: no Parquet file: {error}") from None


def complete(
    path: Path, jobs: Mapping[str, Any], backend: Backend, finished: Finished = lambda done, count, total: None
) -> dict[str, str]:
    """Compute what a file lacks of these jobs, in their order. Interrupted at any moment, it goes on from there.

    Args:
        path: of the file; rows of other jobs stay in it.
        jobs: by key, which their rows carry in the column ``cell``.
        backend: computes them.
        finished: see there.

    Returns:
        Key -> what went wrong, for jobs that failed.

    Raises:
        ValueError: the folder cannot be written, another process works on the file, or it is damaged.
    """
    with held(path.parent / f".{path.stem}"):
        table = read(path)
        there = set() if table is None else set(table["cell"].unique())
        missing = [job for key, job in jobs.items() if key not in there]
        count, failures, fresh = len(jobs) - len(missing), {}, [] if table is None else [table]
        finished(None, count, len(jobs))
        written = time.monotonic()
        try:
            for done in backend(missing):
                if done.content is None:
                    failures[done.job.key] = str(done.failure)
                else:
                    fresh.append(pl.read_parquet(io.BytesIO(done.content)))
                count += 1
                finished(done, count, len(jobs))
                if time.monotonic() - written > PAUSE:
                    fresh, written = [_write(path, fresh)], time.monotonic()
        finally:
            if missing and fresh:
                _write(path, fresh)
    return failures


def _write(path: Path, tables: list[pl.DataFrame]) -> pl.DataFrame:
    joined = pl.concat(tables, how="diagonal_relaxed")
    write_whole(path, as_parquet(joined))
    return joined
