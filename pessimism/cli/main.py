"""The command ``pessimism``: verify claims, compare targets, look objectives up, audit logs, check configurations."""

from __future__ import annotations

import fnmatch
import os
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ..audit.command import audit, logged_bandit
from ..bandit import Bandit
from ..extras import need
from ..lint.command import lint_command
from ..objectives.catalogue import algorithm as catalogue_algorithm
from ..shell.files import check_writable, parse_number, write_whole
from ..shell.objects import (
    algorithm_of,
    in_user_code,
    is_object_name,
    load_algorithm,
    load_bandit,
    split_settings,
)
from ..shell.terminal import FAILED, new_app, progress_bar, run_app, show, write, write_json

if TYPE_CHECKING:
    from ..claims import Claim

PLOTS = (".png", ".pdf", ".svg")


class _Commands(TyperGroup):
    """The commands, with a ``--json`` whose file may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_json_target(args))


def with_json_target(arguments: Sequence[str]) -> list[str]:
    """``--json`` alone means ``--json -``; only what follows it and ends in .json (or is ``-``) is its file.

    >>> with_json_target(["catalogue", "--json", "grpo"])
    ['catalogue', '--json', '-', 'grpo']
    >>> with_json_target(["verify", "--json", "outcomes.json"])
    ['verify', '--json', 'outcomes.json']
    """
    result: list[str] = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        result.append(argument)
        if argument == "--json" and following != "-" and not following.lower().endswith(".json"):
            result.append("-")
    return result


app = new_app("pessimism", cls=_Commands)

JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="[FILE.json]",
        help="Write the result as JSON: to a file, or, without one or with -, to the output instead of the table. "
        'Infinities are "inf" and "-inf", what is undefined is "nan".',
    ),
]


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


@app.command(short_help="Check every claim about the objectives.")
def verify(
    claim: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this claim; a pattern such as 'regimes.*' takes several. Repeatable."),
    ] = None,
    claims: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:NAME", help="Check these claims too: a tuple of Claim objects. Repeatable."),
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(metavar="NAME[:KEY=VALUE,...]", help="Check this objective instead of the catalogue's entries."),
    ] = None,
    bandit: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|MODULE:NAME", help="Check on this bandit too (JSON, CSV, NPZ). Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the generated instances.")] = 0,
    json: JsonOption = None,
) -> None:
    """Check every claim about what the objectives drive toward. Exit status 1 if one fails."""
    _check_json(json)
    need("claims", "hypothesis", "mpmath", "sympy")
    bandits = [load_bandit(where) for where in bandit or ()]
    objective = None if algorithm is None else algorithm_of(algorithm)
    from ..claims import verify as run_claims

    places = claims or []
    chosen = _chosen_claims(claim, places)
    start = time.perf_counter()
    with progress_bar() as progress:
        outcomes = _in_code_of(
            algorithm,
            lambda: run_claims(
                chosen,
                seed,
                extra_bandits=bandits,
                algorithm=objective,
                progress=progress,
                workers=os.cpu_count() or 1,
                places=places,
            ),
        )
    seconds = time.perf_counter() - start
    from ..views.tables import details, outcome_table, succeeded, summary

    if json != "-":
        show(outcome_table(outcomes), *details(outcomes), summary(outcomes, seconds))
    if json is not None:
        write_json({"seed": seed, "claims": [outcome.to_dict() for outcome in outcomes]}, json)
    if not all(map(succeeded, outcomes)):
        raise typer.Exit(FAILED)


@app.command(short_help="Compare induced and nominal target on a bandit.")
def compare(
    algorithm: Annotated[
        str, typer.Argument(metavar="ALGORITHM", help="A name of the catalogue, or module:name for your own.")
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Its parameters; defaults are the published ones."),
    ] = None,
    bandit: Annotated[
        str | None,
        typer.Option(metavar="FILE|MODULE:NAME", help="The bandit: a JSON, CSV or NPZ file, or a Python object."),
    ] = None,
    behavior: Annotated[
        str | None, typer.Option(metavar="P,P,...", help="Instead of --bandit: the behavior policy, e.g. 1/2,0.3,0.2.")
    ] = None,
    reward: Annotated[
        str | None, typer.Option(metavar="R,R,...", help="With --behavior: the reward of every arm.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="P,P,...", help="With --behavior: the policy that log-ratios are measured from, if another one."
        ),
    ] = None,
    rollouts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Instead of --bandit: logged rollouts (see `pessimism audit`); samples are arms."
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Which group of --rollouts; default: all, which must be of one size."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=COLUMN", help="Which column of --rollouts has a role, such as group=prompt. Repeatable."
        ),
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw the policies to a .png, .pdf or .svg file.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Compare the policy that an objective drives toward with the one it claims to."""
    _check_json(json)
    _check_plot(plot)
    algorithm, settings = split_settings(algorithm)
    objective = load_algorithm(algorithm, [*settings, *(parameters or [])])
    inline = {"behavior": behavior, "reward": reward, "reference": reference}
    logged = None if rollouts is None else (rollouts, group, column or [])
    if logged is None and (group is not None or column):
        raise ValueError(f"--{'column' if group is None else 'group'} goes with --rollouts")
    world = _chosen_bandit(bandit, inline, logged)
    from ..comparison import compare as run_comparison
    from ..views.comparison_plot import comparison_image

    where = algorithm if is_object_name(algorithm) else None
    comparison = _in_code_of(where, lambda: run_comparison(world, objective))
    if plot is not None:
        write_whole(plot, comparison_image(comparison, Path(plot).suffix[1:].lower()))
    if json is not None:
        write_json(comparison.to_dict(), json)
    if json != "-":
        from ..views.comparison import comparison_table

        table = comparison_table(comparison)
        table.caption = None  # rich would wrap it to the width of the table
        show(table, comparison.verdict)


@app.command(short_help="List the objectives, or show one in full.")
def catalogue(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this entry in full.")] = None,
    family: Annotated[str | None, typer.Option(metavar="FAMILY", help="Only entries of this family.")] = None,
    json: JsonOption = None,
) -> None:
    """List the objectives, or show one with its formula, parameters, source and notes."""
    _check_json(json)
    from ..objectives.catalogue import catalogue as read_catalogue
    from ..views import tables as screens

    entries = list(read_catalogue().values())
    families = list(dict.fromkeys(entry.family for entry in entries))
    if family is not None and family not in families:
        raise ValueError(f"unknown family {family!r}; known families: {', '.join(families)}")
    if name is not None:
        if family is not None:
            raise ValueError("give a NAME or a --family, not both")
        catalogue_algorithm(name)  # says which names are known
        entries = [read_catalogue()[name]]
    entries = [entry for entry in entries if family in (None, entry.family)]
    if json is not None:
        found = [screens.entry_dict(entry) for entry in entries]
        write_json(found[0] if name is not None else found, json)
    if json != "-":
        show(*(screens.entry_screen(entries[0]) if name is not None else [screens.catalogue_table(entries)]))


app.command(short_help="What objectives make of logged rollouts.")(audit)
app.command("lint", short_help="What a trainer's configuration really optimizes.")(lint_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's) and return its exit status.

    0: done. 1: a claim failed. 2: bad input, told in one line on the error stream. 130: interrupted. 141: whoever read
    the output stopped reading.
    """
    return run_app(app, "pessimism", arguments)


# --- what the options name ------------------------------------------------------------------------------------------


def _chosen_claims(patterns: list[str] | None, places: list[str]) -> list[Claim]:
    from ..claims import known_claims

    known = known_claims(places)
    for pattern in patterns or ():
        if not fnmatch.filter(known, pattern):
            raise ValueError(f"unknown claim {pattern!r}; known claims: {', '.join(known)}")
    return [claim for name, claim in known.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns or ["*"])]


def _chosen_bandit(
    where: str | None, inline: dict[str, str | None], logged: tuple[str, str | None, list[str]] | None
) -> Bandit:
    given = {name: text for name, text in inline.items() if text is not None}
    if logged is not None:
        if where is not None or given:
            raise ValueError(f"give --rollouts or --{next(iter(given), 'bandit')}, not both")
        return logged_bandit(*logged)
    if where is not None:
        if given:
            raise ValueError(f"give --bandit or --{next(iter(given))}, not both")
        return load_bandit(where)
    for name in ("behavior", "reward"):
        if name not in given:
            raise ValueError(
                f"--{name} is missing: give --behavior and --reward, or --bandit with a file or module:name"
            )
    return Bandit(**{name: _numbers(text, name) for name, text in given.items()})


def _numbers(text: str, name: str) -> list[float]:
    return [parse_number(part, f"{name}[{index}]") for index, part in enumerate(text.split(","))]


def _in_code_of(where: str | None, run: Callable[[], Any]) -> Any:
    return run() if where is None else in_user_code(where, run)


def _check_json(path: str | None) -> None:
    if path not in (None, "-"):
        check_writable(path)


def _check_plot(path: str | None) -> None:
    if path is None:
        return
    suffix = Path(path).suffix.lower()
    if suffix not in PLOTS:
        raise ValueError(f"--plot {path}: the suffix is {suffix!r}; it must be one of {', '.join(PLOTS)}")
    check_writable(path)
