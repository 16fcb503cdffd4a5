"""The command ``pessimism``: verify claims, compare targets, look objectives up, audit logs, check configurations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ..advice.command import advise
from ..audit.command import audit
from ..lint.command import lint_command
from ..shell.terminal import new_app, run_app, write
from .catalogue import catalogue
from .compare import compare
from .gap_command import corrections_command
from .options import Commands
from .verify import verify

app = new_app("pessimism", cls=Commands, add_completion=True)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """What does an off-policy reinforcement-learning objective really optimize toward?"""
    if version:
        from .. import __version__

        write(f"pessimism {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        write(context.get_help() + "\n")


app.command(short_help="Check every claim about the objectives.")(verify)
app.command(short_help="Compare induced and nominal targets on a bandit.")(compare)
app.command(short_help="List the objectives, or show one in full.")(catalogue)
app.command(short_help="What objectives make of logged rollouts.")(audit)
app.command(short_help="Which setting moves the policy as far as asked.")(advise)
app.command("lint", short_help="What a trainer's configuration really optimizes.")(lint_command)
app.command("corrections", short_help="What importance corrections do at a gap per token.")(corrections_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's) and return its exit status.

    0: done. 1: a claim failed. 2: bad input, told in one line on the error stream. 130: interrupted. 141: whoever read
    the output stopped reading.
    """
    return run_app(app, "pessimism", arguments)
