"""The command ``pessimism corrections``: what importance corrections make of a gap per token at a length."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated

import typer

from ..corrections import Correction, mask, truncate
from ..gap import Effect, gaussian_effect, simulated_effect
from ..shell.terminal import show, write_json

LEVELS = ("token", "sequence", "geometric")


def corrections_command(
    gap: Annotated[
        float,
        typer.Option(metavar="NATS", help="Standard deviation of a token's log-ratio, trainer against sampler, nats."),
    ],
    length: Annotated[int, typer.Option(min=1, metavar="T", help="Tokens of a completion.")],
    cap: Annotated[float, typer.Option(metavar="C", help="Largest ratio.")] = 2.0,
    low: Annotated[
        float | None, typer.Option(metavar="C", help="Smallest ratio; default: none.", show_default=False)
    ] = None,
    completions: Annotated[
        int, typer.Option(min=0, metavar="N", help="Completions of the simulation beside; 0 for none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the simulation.")] = 0,
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="[FILE.json]", help="Write the result as JSON: to a file, or to the output."),
    ] = None,
) -> None:
    """What truncated and masked importance weights do at a gap per token: how much they touch, lose and scatter.

    In closed form for log-ratios that are Gaussian and independent from token to token; beside it from drawn tokens.
    """
    lowest = -math.inf if low is None else low
    chosen = [make(cap, low=lowest, level=level) for level in LEVELS for make in (truncate, mask)]
    rows = [(each, gaussian_effect(each, gap, length), _drawn(each, gap, length, completions, seed)) for each in chosen]
    if json is not None:
        found = [
            {"correction": str(each), "exact": asdict(exact), "simulated": None if drawn is None else asdict(drawn)}
            for each, exact, drawn in rows
        ]
        write_json({"gap": gap, "length": length, "completions": completions, "seed": seed, "corrections": found}, json)
    if json != "-":
        from ..views.gap import gap_table

        show(gap_table(rows, gap, length, completions))


def _drawn(each: Correction, gap: float, length: int, completions: int, seed: int) -> Effect | None:
    return simulated_effect(each, gap, length, completions, seed) if completions else None
