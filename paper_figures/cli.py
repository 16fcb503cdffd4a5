"""The command ``python -m paper_figures``."""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .figures import FIGURES
from .numbers import NAME as NUMBERS_NAME
from .numbers import evaluate, figures_read, numbers_table, write_numbers
from .run import make

BAD_INPUT = 2
INTERRUPTED = 130
OUT = Path("results") / "figures"
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""The class of all of typer's own errors; whether it is click's or a copy of it depends on typer's version."""

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    """Write figures (PDF and PNG), the data behind them (CSV), a manifest, and every number quoted in the texts."""
    chosen = _chosen(names or [])
    if listed:
        _print(_listing(chosen))
        return
    wanted = [name for name in chosen if name != NUMBERS_NAME]
    tables = {}
    needed = figures_read() if NUMBERS_NAME in chosen else ()
    for made in make(
        [spec for name, spec in FIGURES.items() if name in wanted or name in needed], out, jobs, recompute
    ):
        tables[made.name] = made.table
        source = "data as they were" if made.cached else f"{made.table.height:,} rows computed"
        print(f"{out / made.name}.pdf .png .csv  {source}, {made.seconds:.1f} s", flush=True)
    if NUMBERS_NAME in chosen:
        numbers = evaluate(tables)
        path = write_numbers(out, numbers)
        _print(numbers_table(numbers))
        print(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 0, or 2 for bad input (one line says which)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    command = typer.main.get_command(app)
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return int(command.main(given, prog_name="python -m paper_figures", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except USAGE_ERROR as error:
        return _complain(error.format_message())  # type: ignore[attr-defined]
    except (ValueError, OSError) as error:
        return _complain(str(error))


def _complain(message: str) -> int:
    print("error:", " ".join(message.split("\n")), file=sys.stderr)
    return BAD_INPUT


def _chosen(names: list[str]) -> list[str]:
    known = [*FIGURES, NUMBERS_NAME]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise ValueError(f"unknown figure {name!r}; {hint}known: {', '.join(known)}")
    return [name for name in known if name in names] if names else known


def _listing(names: list[str]) -> Table:
    table = Table("name", "shows", box=None, pad_edge=False)
    for name in names:
        shows = "every number quoted in README and notebooks" if name == NUMBERS_NAME else FIGURES[name].shows
        table.add_row(name, shows)
    return table


def _print(table: Any) -> None:
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 10_000  # files and pipes have no width: one line per row, nothing cut
    console.print(table)
