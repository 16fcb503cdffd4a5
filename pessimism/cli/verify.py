"""``pessimism verify``: the command."""

from __future__ import annotations

import fnmatch
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ..extras import need
from ..hints import near
from ..shell.objects import algorithm_of, load_bandit
from ..shell.terminal import FAILED, progress_bar, show, write, write_json
from . import complete
from .options import JsonOption, check_json, in_code_of

if TYPE_CHECKING:
    from ..claims import Claim


def verify(
    claim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Only this claim; a pattern such as 'regimes.*' takes several. Repeatable.",
            autocompletion=complete.claims,
        ),
    ] = None,
    claims: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:NAME", help="Check these claims too: a tuple of Claim objects. Repeatable."),
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:KEY=VALUE,...]",
            help="Check this objective instead of the catalogue's entries; your own claims that take an algorithm are "
            "then about it.",
            autocompletion=complete.algorithms,
        ),
    ] = None,
    bandit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|MODULE:NAME",
            help="Check on this bandit too (JSON, CSV, NPZ; - reads standard input). Repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the generated instances.")] = 0,
    listed: Annotated[
        bool, typer.Option("--list", help="Print the claims with their statements, and check nothing.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only claims that do not come out as they should.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Check every claim about what the objectives drive toward. Exit status 1 if one fails."""
    check_json(json)
    need("claims", "hypothesis", "mpmath", "sympy")
    bandits = [load_bandit(where) for where in bandit or ()]
    objective = None if algorithm is None else algorithm_of(algorithm)
    from ..claims import verify as run_claims

    places = claims or []
    chosen = _chosen_claims(claim, places)
    from ..views import outcomes as screens

    if listed:
        if json is not None:
            write_json([screens.claim_dict(each) for each in chosen], json)
        if json != "-":
            show(screens.claim_table(chosen))
        return
    start = time.perf_counter()
    with progress_bar() as progress:
        outcomes = in_code_of(
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
    failed = [outcome for outcome in outcomes if not screens.succeeded(outcome)]
    if json != "-" and (failed or not quiet):
        shown = failed if quiet else outcomes
        told = screens.details(shown, statements=bool(claim))
        show(screens.outcome_table(shown), *told, screens.summary(outcomes, seconds))
        write(screens.programs(shown, screens.Replay(algorithm, tuple(places)), refuted=bool(claim)))
    if json is not None:
        write_json({"seed": seed, "claims": [outcome.to_dict() for outcome in outcomes]}, json)
    if failed:
        raise typer.Exit(FAILED)


def _chosen_claims(patterns: list[str] | None, places: list[str]) -> list[Claim]:
    from ..claims import known_claims

    known = known_claims(places)
    for pattern in patterns or ():
        if not fnmatch.filter(known, pattern):
            hint = near(pattern, known, "claims", see="`pessimism verify --list`")
            raise ValueError(f"unknown claim {pattern!r}; {hint}")
    return [claim for name, claim in known.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns or ["*"])]
