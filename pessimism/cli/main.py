"""The command ``pessimism``: verify claims, compare targets, look objectives up, audit logs, check configurations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..shell.terminal import GIVEN, new_app, run_app, write
from .options import OnDemand, with_json_target

COMMANDS = {
    "verify": ("pessimism.cli.verify", "verify", "Check every claim about the objectives."),
    "compare": ("pessimism.cli.compare", "compare", "Compare induced and nominal targets on a bandit."),
    "catalogue": ("pessimism.cli.catalogue", "catalogue", "List the objectives, or show one in full."),
    "audit": ("pessimism.audit.command", "audit", "What objectives make of logged rollouts."),
    "advise": ("pessimism.advice.command", "advise", "Which setting moves the policy as far as asked."),
    "lint": ("pessimism.lint.command", "lint_command", "What a trainer's configuration really optimizes."),
    "corrections": (
        "pessimism.cli.gap_command",
        "corrections_command",
        "What importance corrections do at a gap per token.",
    ),
}
"""Name -> module, function, and what the list of the commands says."""


class Commands(TyperGroup):
    """The commands, with a ``--json`` whose file may be left out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        places = {name: (module, function) for name, (module, function, _) in COMMANDS.items()}
        self.commands = OnDemand(places)  # type: ignore[assignment]  # nothing adds to it

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[GIVEN] = list(args)
        return super().parse_args(ctx, with_json_target(args))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, _, words) in COMMANDS.items()])


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's) and return its exit status.

    0: done. 1: a claim failed. 2: bad input, told in one line on the error stream. 130: interrupted. 141: whoever read
    the output stopped reading.
    """
    return run_app(app, "pessimism", arguments)
