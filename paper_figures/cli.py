"""The command ``python -m paper_figures``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pessimism.shell import near
from pessimism.shell.terminal import new_app, progress_bar, run_app, show

from .figures import FIGURES
from .numbers import NAME as NUMBERS_NAME
from .numbers import evaluate, figures_read, numbers_table, write_numbers
from .run import make

OUT = Path("results") / "figures"

app = new_app("paper_figures")


@app.command()
def figures(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Figures, or 'numbers'; all where none is named.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")] = OUT,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Processes.")] = os.cpu_count() or 1,
    recompute: Annotated[bool, typer.Option("--recompute", help="Compute data that are there already, too.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Print the names and what they show, and stop.")] = False,
) -> None:
    """Write figures (PDF and PNG), their data (CSV) and captions (text), a manifest, and every number quoted."""
    chosen = _chosen(names or [])
    if listed:
        show(_listing(chosen))
        return
    wanted = [name for name in chosen if name != NUMBERS_NAME]
    tables = {}
    needed = figures_read() if NUMBERS_NAME in chosen else ()
    specs = [spec for name, spec in FIGURES.items() if name in wanted or name in needed]
    with progress_bar() as progress:
        for done, made in enumerate(make(specs, out, jobs, recompute, progress), 1):
            tables[made.name] = made.table
            source = "data as they were" if made.cached else f"{made.table.height:,} rows computed"
            print(f"{out / made.name}.pdf .png .csv .txt  {source}, {made.seconds:.1f} s", flush=True)
            progress(done, len(specs), "figures")
    if NUMBERS_NAME in chosen:
        numbers = evaluate(tables)
        path = write_numbers(out, numbers)
        show(numbers_table(numbers))
        print(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 0, or 2 for bad input (one line says which)."""
    return run_app(app, "python -m paper_figures", arguments)


def _chosen(names: list[str]) -> list[str]:
    known = [*FIGURES, NUMBERS_NAME]
    for name in names:
        if name not in known:
            raise ValueError(f"unknown figure {name!r}; {near(name, known)}")
    return [name for name in known if name in names] if names else known


def _listing(names: list[str]) -> Table:
    table = Table("name", "shows", box=None, pad_edge=False)
    for name in names:
        shows = "every number quoted in README and notebooks" if name == NUMBERS_NAME else FIGURES[name].shows
        table.add_row(name, shows)
    return table
