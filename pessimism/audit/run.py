"""The audit: logs in, one pass, what each algorithm makes of every group out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..algorithm import Algorithm
from ..bandit import Bandit
from .ahead import ahead
from .checks import Skipped, checked
from .files import Source, open_sources
from .frames import frame_of
from .groups import Groups, Scattered, gathered_groups, rows_of, shown_id, whole_groups
from .measure import Measured, Totals, measure
from .report import Audit
from .statistics import Solver

__all__ = ["audit", "read_groups", "rollouts_bandit"]

Progress = Callable[[int, int, str], None]
Keep = Callable[[Groups, Sequence[Measured]], None]
"""What else is done with groups as they go by, e.g. writing them to a file."""


def audit(
    files: Sequence[object],
    algorithms: Sequence[Algorithm],
    columns: Mapping[str, str] | None = None,
    *,
    strict: bool = False,
    share: float = 1.0,
    progress: Progress | None = None,
    keep: Callable[[], Keep] | None = None,
) -> Audit:
    """What algorithms make of logged rollouts: per group and over all of them.

    Every group is the bandit of its own samples, each of probability 1/G, with the advantages that a trainer gives
    them (:func:`pessimism.group_target`). One pass in bounded memory. Where the rows of a group turn out not to be
    together, a second pass sorts all rows into temporary files first.

    Args:
        files: logs (Parquet, CSV, JSON, Arrow, a trainer's database), folders of them, or data frames.
        algorithms: whose targets are predicted.
        columns: role -> column, where the log has other names; roles are in ``pessimism.audit.fields.ROLES``.
        strict: stop at the first faulty group instead of leaving it out and counting it.
        share: look at this share of the groups, drawn at random: for objectives without a closed form, whose targets
            take milliseconds each where rewards are continuous.
        progress: called with (percent read, 100, name of the file).
        keep: called at the beginning of every pass; what it returns gets every batch of groups.

    Raises:
        ValueError: files that cannot be read, faulty groups where ``strict``, no group left, or rewards that an
            algorithm does not take.
    """
    names = [str(algorithm) for algorithm in algorithms]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"algorithms are {names}; give one or more, each once")
    _check_share(share)
    sources = open_sources(files, columns or {})
    for gathered in (False, True):
        skipped, totals = Skipped(), Totals(names)
        solvers = [Solver(algorithm) for algorithm in algorithms]
        sink = None if keep is None else keep()
        work = partial(_measured, solvers=solvers, where=_place(sources))
        try:
            sound = _drawn(_groups(sources, skipped, strict, progress, gathered), share)
            for groups, measured in ahead(sound, work):
                totals.add(groups, measured)
                if sink is not None:
                    sink(groups, measured)
        except Scattered:
            continue
        break
    if strict and skipped.groups:
        raise ValueError(skipped.first)
    if not totals.groups:
        raise ValueError(f"{_several(sources)}: no group is left; {skipped.described()}")
    return Audit.of(sources, algorithms, totals, skipped, share)


def read_groups(
    files: Sequence[str | Path], columns: Mapping[str, str] | None = None, name: str | None = None
) -> Iterator[Groups]:
    """The groups of logs, or the one of that name, in no particular order; faulty ones raise ValueError."""
    yield from _groups(open_sources(files, columns or {}), Skipped(), True, None, True, name)


def logs_of(log: Any) -> list[Any]:
    """The logs in what was given: a path, a frame or a list of records is one, other sequences are several.

    Raises:
        ValueError: something that is no log.
    """
    several = isinstance(log, Sequence) and not isinstance(log, str) and not all(isinstance(x, Mapping) for x in log)
    logs = list(log) if several else [log]
    for each in logs:
        frame_of(each)  # says what it is, if it is nothing that can be read
    return logs


def log_groups(
    files: Sequence[object],
    columns: Mapping[str, str],
    restart: Callable[[], Callable[[Groups], None]],
    progress: Progress | None = None,
    share: float = 1.0,
) -> Skipped:
    """Every sound group of logs goes to what ``restart`` returns; it is called again where a second pass is needed.

    Raises:
        ValueError: files that cannot be read, or a share that is not above 0 and at most 1.
    """
    _check_share(share)
    sources = open_sources(files, columns)
    for gathered in (False, True):
        skipped, sink = Skipped(), restart()
        try:
            for groups in _drawn(_groups(sources, skipped, False, progress, gathered), share):
                sink(groups)
        except Scattered:
            continue
        return skipped
    raise AssertionError("gathered groups are never scattered")


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"share is {share:g}; it must be > 0 and <= 1")


def rollouts_bandit(
    files: Sequence[str | Path], columns: Mapping[str, str] | None = None, group: str | None = None
) -> Bandit:
    """A logged group as the bandit of its G samples, each of probability 1/G; all groups as a batch, if they are of
    one size and none is chosen.

    Args:
        files, columns: as in :func:`audit`.
        group: the id of a group; parts are joined by " / ".

    Raises:
        ValueError: no such group, groups of several sizes, or faulty ones among those that were asked for.
    """
    found = list(read_groups(files, columns, group))
    if not found:
        raise ValueError(f"--rollouts: no group {group!r}" if group is not None else "--rollouts: no group")
    sizes = np.unique(np.concatenate([groups.size for groups in found])).tolist()
    if len(sizes) > 1:
        some = found[0].names(np.arange(min(len(found[0]), 3)))
        raise ValueError(
            f"--rollouts: groups have {sizes[0]} to {sizes[-1]} samples, which makes no batch; choose one with "
            f"--group, e.g. {', '.join(map(shown_id, some))}"
        )
    reward = np.concatenate([groups.column("reward") for groups in found]).reshape(-1, sizes[0])
    reward = reward[0] if len(reward) == 1 else reward
    return Bandit(np.full(reward.shape, 1 / sizes[0]), reward)


def _drawn(batches: Iterator[Groups], share: float) -> Iterator[Groups]:
    random = np.random.default_rng(0)
    for groups in batches:
        drawn = groups if share == 1 else groups.keep(random.random(len(groups)) < share)
        if len(drawn):
            yield drawn


def _measured(groups: Groups, solvers: Sequence[Solver], where: Callable[[int, int], str]) -> list[Measured]:
    return [measure(groups, solver, where) for solver in solvers]


def _groups(
    sources: Sequence[Source],
    skipped: Skipped,
    strict: bool,
    progress: Progress | None,
    gathered: bool,
    name: str | None = None,
) -> Iterator[Groups]:
    pieces, place = _pieces(sources, progress), _place(sources)
    if name is not None:
        pieces = (rows_of(name, piece) for piece in pieces)
    found = gathered_groups(pieces) if gathered else ((groups, None) for groups in whole_groups(pieces))
    for groups, repeated in found:
        sound = checked(groups, repeated, skipped, place, strict)
        if len(sound):
            yield sound


def _place(sources: Sequence[Source]) -> Callable[[int, int], str]:
    return lambda file, place: f"{sources[file].path}, {sources[file].unit} {place}"


def _pieces(sources: Sequence[Source], progress: Progress | None) -> Iterator[pl.DataFrame]:
    total, before = sum(source.size for source in sources), 0
    for number, source in enumerate(sources):
        for piece, share in source.pieces(number):
            yield piece
            if progress is not None:
                progress(int(100 * (before + share * source.size) / total), 100, source.path.name)
        before += source.size


def _several(sources: Sequence[Source]) -> str:
    return str(sources[0].path) if len(sources) == 1 else f"{len(sources)} files"
