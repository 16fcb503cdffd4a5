"""``pessimism audit``: the command."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..bandit import Bandit
from ..extras import need
from ..shell.files import check_writable, write_whole
from ..shell.objects import algorithm_of
from ..shell.terminal import command_line, progress_bar, show, write_json
from .standard_input import with_standard_input

if TYPE_CHECKING:
    from ..advice.advice import Advice
    from ..advice.reading import Reader
    from .groups import Groups
    from .measure import Measured
    from .report import Audit
    from .run import Keep
    from .table import GroupTable


def audit(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Logs of rollouts, or folders of them: .parquet, .csv, .jsonl, .json, .arrow, .pt; - is standard "
            "input. Those of trainers (.db too) are read as they are.",
        ),
    ],
    algorithm: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:KEY=VALUE,...]",
            help="What to audit for: a name of the catalogue (see `pessimism catalogue`) or module:name, with its "
            "parameters, e.g. oapl:beta1=1,beta2=1e-3. Repeatable.",
        ),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=COLUMN",
            help="Which column has a role: group, reward, log_prob, current_log_prob, version, step, length or mask. "
            "NAME[] is a list with a value per sample. Several columns make a group with +, and a reward with weights: "
            "group=step+prompt, reward=0.8*right+0.2*format. "
            "Repeatable.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first faulty group instead of leaving it out and counting it.")
    ] = False,
    share: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="Look at this share of the groups, drawn at random: for objectives without a closed form on "
            "continuous rewards, whose targets take milliseconds each.",
        ),
    ] = 1.0,
    json: Annotated[
        str | None,
        typer.Option(
            "--json",
            metavar="[FILE.json]",
            help="Write the result as JSON: to a file, or, without one or with -, to the output instead of the tables.",
        ),
    ] = None,
    parquet: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write every group, with the log-ratio of each sample.")
    ] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write one self-contained page with plots.")] = None,
) -> None:
    """What do objectives make of logged rollouts: on which groups are they pessimistic, on which fragile?"""
    for path in (parquet, html, None if json == "-" else json):
        if path is not None:
            check_writable(path)
    algorithms = [algorithm_of(text, f"--algorithm {text!r}: ") for text in algorithm]
    need("audits", "matplotlib", "polars", "pyarrow")
    from ..advice.reading import Reader
    from .fields import parse_columns
    from .run import audit as run_audit
    from .table import GroupTable

    columns = parse_columns(column or [])
    with ExitStack() as stack:
        logs = stack.enter_context(with_standard_input(files))
        progress = stack.enter_context(progress_bar(left=True))
        names = [str(chosen) for chosen in algorithms]
        table = None if parquet is None else stack.enter_context(GroupTable(Path(parquet), names))
        reader = None if html is None else Reader(distances=False)
        sinks = [sink for sink in (table, reader) if sink is not None]
        result = run_audit(
            logs, algorithms, columns, strict=strict, share=share, progress=progress, keep=partial(_restarted, sinks)
        )
        if table is not None:
            table.finish()
        if html is not None and reader is not None:
            from .page import page

            write_whole(html, page(result, _advice(reader, result), command_line(context)).encode())
    if json is not None:
        write_json(result.to_dict(), json)
    if json != "-":
        from .screen import screens

        show(*screens(result))


def _restarted(sinks: Sequence[GroupTable | Reader]) -> Keep:
    """What is kept besides the totals, from the beginning of a pass on."""
    kept = [sink.restart() for sink in sinks]

    def keep(groups: Groups, measured: Sequence[Measured]) -> None:
        for sink in kept:
            sink(groups, measured)

    return keep


def _advice(reader: Reader, result: Audit) -> Advice | None:
    """Settings of other objectives that move as far as the first one does; None where nothing is learned."""
    from ..advice.advice import BATCHED, advise_on
    from ..advice.matching import Asked
    from .checks import Skipped

    moved = result.algorithms[0].targets["mean kl"] * result.groups / max(result.groups - result.silent, 1)
    if not moved > NO_MOVEMENT:
        return None
    read = reader.reading(Skipped(), result.share, result.ratios)  # what was left out is told already
    return advise_on(read.pool, Asked("kl", moved), BATCHED, read=read)


NO_MOVEMENT = 1e-6
"""Nats below which there is nothing to match."""


def logged_bandit(file: str, group: str | None, column: Sequence[str]) -> Bandit:
    """The bandit of ``pessimism compare --rollouts FILE``; see :func:`pessimism.audit.run.rollouts_bandit`."""
    need("audits", "matplotlib", "polars", "pyarrow")
    from .fields import parse_columns
    from .run import rollouts_bandit

    return rollouts_bandit([file], parse_columns(column), group)
