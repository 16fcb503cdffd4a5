"""``pessimism advise``: the command."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from ..audit.standard_input import with_standard_input
from ..extras import need
from ..shell.terminal import new_table, progress_bar, show, write_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from .advice import Advice, Row


def advise(
    logs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LOG...]", help="Logs of rollouts, or folders of them, as for `pessimism audit`."),
    ] = None,
    kl: Annotated[
        float | None,
        typer.Option(metavar="NATS", help="Move this far: mean KL from the behavior policy, over groups with signal."),
    ] = None,
    ess: Annotated[
        float | None, typer.Option(metavar="X", help="Move until this effective sample size, between 0 and 1.")
    ] = None,
    max_ratio: Annotated[
        float | None, typer.Option(metavar="X", help="Move until the largest ratio of a sample is this.")
    ] = None,
    algorithm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:KEY=VALUE,KEY=?",
            help="An objective, with ? for the parameter that is asked for, e.g. oapl:beta1=1,beta2=?. Repeatable; "
            "default: eight of them.",
        ),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=COLUMN", help="As for `pessimism audit`. Repeatable.")
    ] = None,
    share: Annotated[
        float, typer.Option(metavar="X", help="Look at this share of the log's groups, drawn at random.")
    ] = 1.0,
    group_size: Annotated[
        int | None, typer.Option(metavar="N", help="Instead of a log: completions per prompt.")
    ] = None,
    pass_rate: Annotated[
        list[float] | None,
        typer.Option(metavar="P", help="With --group-size: the share of completions that pass. One for each prompt."),
    ] = None,
    length: Annotated[float | None, typer.Option(metavar="N", help="Tokens of a completion, without a log.")] = None,
    lag: Annotated[int | None, typer.Option(metavar="N", help="How many windows old the data are.")] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Optimizer steps per sync.")] = None,
    ess_bound: Annotated[
        float, typer.Option(metavar="X", help="Effective sample size below which data are called too old.")
    ] = 0.5,
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="[FILE.json]", help="Write the advice as JSON: to a file, or to the output."),
    ] = None,
) -> None:
    """Which setting of which objective moves the policy as far as asked, on these groups?"""
    if logs:
        need("audits", "matplotlib", "polars", "pyarrow")
    from .advice import FAMILIES
    from .advice import advise as run_advise

    columns = None
    if column:
        from ..audit.fields import parse_columns

        columns = parse_columns(column)
    with with_standard_input(logs or []) as read, progress_bar(left=True) as progress:
        found = run_advise(
            read or None,
            kl=kl,
            ess=ess,
            max_ratio=max_ratio,
            objectives=algorithm or FAMILIES,
            columns=columns,
            share=share,
            group_size=group_size,
            pass_rates=pass_rate,
            length=length,
            lag=lag,
            steps=steps,
            ess_bound=ess_bound,
            progress=progress,
        )
    if json is not None:
        write_json(found.to_dict(), json)
    if json != "-":
        show(*screens(found))


def screens(advice: Advice) -> list[RenderableType]:
    """Everything that is printed, top to bottom."""
    what = f"{advice.groups:,} groups" if advice.groups else "Groups of the given pass rates"
    parts: list[RenderableType] = [
        f"{what}, {advice.distinct:,} distinct; {advice.silent:.1%} without signal",
        f"asked: {advice.asked}",
        "",
        _table(advice.rows),
    ]
    for title, lines in (("Recommended", advice.reasons), ("Lag", advice.lag), ("Warnings", advice.warnings)):
        if lines:
            parts += ["", f"{title}:", *lines]
    return parts


def _table(rows: tuple[Row, ...]) -> RenderableType:
    headers = (">value", ">KL", ">ESS", ">max ratio", ">entropy", ">reward", ">positive")
    table = new_table("objective", *headers, "fails")
    table.columns[0].no_wrap = True
    for row in rows:
        if row.value is None:
            table.add_row(row.family, *["-"] * len(headers), row.fails)
            continue
        positive = f"{row.regimes['positive']:.0%}" if "positive" in row.regimes else "-"
        numbers = (f"{row.kl:.3f}", f"{row.ess:.1%}", _number(row.max_ratio))
        changes = (f"{row.entropy_change:+.3f}", f"{row.value_change:+.3f}", positive)
        table.add_row(row.family, f"{row.value:.4g}", *numbers, *changes, row.fails)
    return table


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "inf"
