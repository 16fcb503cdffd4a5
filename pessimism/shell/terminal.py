"""What every command line here shares: exit statuses, how bad input is told, tables, progress, output.

rich is imported where it is used, so that a command which prints no table starts without it.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from ..views.tables import new_table
from .files import write_whole
from .printable import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = [
    "BAD_INPUT",
    "BROKEN_PIPE",
    "FAILED",
    "GIVEN",
    "INTERRUPTED",
    "USAGE_ERROR",
    "command_line",
    "console_on",
    "new_app",
    "new_table",
    "progress_bar",
    "run_app",
    "show",
    "write",
    "write_json",
]

FAILED = 1
"""Exit status: the command ran and what it checked does not hold."""

BAD_INPUT = 2
"""Exit status: something that the user gave is not as it must be."""

INTERRUPTED = 130
"""Exit status: Ctrl-C."""

BROKEN_PIPE = 141
"""Exit status: whoever read the output closed it."""

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""The class of all of typer's own errors; whether it is click's or a copy of it depends on typer's version."""


def new_app(name: str, **options: Any) -> typer.Typer:
    """A command line in plain text, without tracebacks of its own; ``options`` go to ``typer.Typer``."""
    settings: dict[str, Any] = {"add_completion": False} | options
    return typer.Typer(
        name=name,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **settings,
    )


def run_app(
    app: typer.Typer,
    name: str,
    arguments: Sequence[str] | None = None,
    failures: tuple[type[Exception], ...] = (),
) -> int:
    """Run a command line and return its exit status.

    Args:
        app: the commands.
        name: how it is called, for usage messages.
        arguments: default: the process's.
        failures: exceptions that mean "could not be done" rather than bad input.

    Returns:
        0: done. 1: one of ``failures``, told in one line on the error stream. 2: bad input (a usage error,
        ``ValueError`` or ``OSError``), told likewise. 130: interrupted. Commands raise ``typer.Exit`` for the rest.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name in any script prints in any locale
    command = typer.main.get_command(app)
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return int(command.main(given, prog_name=name, standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except USAGE_ERROR as error:
        return _complain(error.format_message(), BAD_INPUT)  # type: ignore[attr-defined]
    except failures as error:
        return _complain(str(error), FAILED)
    except (ValueError, OSError) as error:
        return _complain(str(error), BAD_INPUT)


GIVEN = "pessimism.arguments"
"""Where a command's context keeps the arguments that the command line was called with."""


def command_line(context: typer.Context) -> str:
    """The command that is running, as a shell takes it."""
    return shlex.join([str(context.find_root().info_name), *context.meta[GIVEN]])


def _complain(message: str, status: int) -> int:
    print("error:", printable(" ".join(message.split("\n"))), file=sys.stderr)
    return status


def console_on(stream: Any) -> Console:
    """A console that takes text as it is, but for characters that would steer the terminal."""
    from rich.console import Console
    from rich.text import Text

    class CleanConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    console = CleanConsole(file=stream, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 10_000  # files and pipes have no width: one line per row, nothing cut
    return console


def show(*parts: RenderableType) -> None:
    """Print tables and lines on the output, without blanks at the ends of lines."""
    console = console_on(sys.stdout)
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    write("\n".join(line.rstrip() for line in captured.get().split("\n")))


def write(text: str) -> None:
    """Write to the output as it is.

    Raises:
        typer.Exit: with status 141, if whoever read the output has stopped reading.
    """
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        # Python would flush once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(BROKEN_PIPE) from None


def write_json(value: Mapping[str, Any] | Sequence[Any], path: str) -> None:
    """Write JSON to a file, whole or not at all, or to the output where the path is ``-``."""
    from ..views.tables import encode

    text = encode(value) + "\n"
    if path == "-":
        write(text)
    else:
        write_whole(path, text.encode())


FIRST_LINE, NEXT_LINES = 10.0, 60.0
"""Seconds after which progress is first told in a file or a pipe, and from then on."""


@contextmanager
def progress_bar(*, left: bool = False) -> Iterator[Callable[..., None]]:
    """A bar on the error stream, removed at the end; where that is no terminal, a line now and then.

    Args:
        left: show how long it will still take.

    Yields:
        a function of (done, total) and, if there is one, the name of what was done last.
    """
    console = console_on(sys.stderr)
    if not console.is_terminal:
        yield _lines()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    remaining = (TextColumn("elapsed,"), TimeRemainingColumn(), TextColumn("left")) if left else ()
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), *remaining, TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, name="": bar.update(task, completed=done, total=total, description=printable(name))


def _lines() -> Callable[..., None]:
    """A function of what is done that prints a line where enough time has passed since the last one."""
    start = time.monotonic()
    due = start + FIRST_LINE

    def tell(done: int, total: int, name: str = "") -> None:
        nonlocal due
        now = time.monotonic()
        if now < due or done >= total:
            return
        due = now + NEXT_LINES
        told = f"{done} of {total} done after {now - start:.0f} s" + (f": {printable(name)}" if name else "")
        print(told, file=sys.stderr, flush=True)

    return tell
