"""``pessimism catalogue``: the command."""

from __future__ import annotations

from typing import Annotated

import typer

from ..hints import near
from ..objectives.catalogue import catalogue as read_catalogue
from ..objectives.catalogue import entry_named
from ..shell.terminal import show, write_json
from . import complete
from .options import JsonOption, check_json


def catalogue(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Show this entry in full.", autocompletion=complete.algorithms),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(metavar="FAMILY", help="Only entries of this family.", autocompletion=complete.families),
    ] = None,
    json: JsonOption = None,
) -> None:
    """List the objectives, or show one with its formula, parameters, source and notes."""
    check_json(json)
    from ..views import tables as screens

    entries = list(read_catalogue().values())
    families = list(dict.fromkeys(entry.family for entry in entries))
    if family is not None and family not in families:
        raise ValueError(f"unknown family {family!r}; {near(family, families, 'families')}")
    if name is not None:
        if family is not None:
            raise ValueError("give a NAME or a --family, not both")
        entries = [entry_named(name)]
    entries = [entry for entry in entries if family in (None, entry.family)]
    if json is not None:
        found = [screens.entry_dict(entry) for entry in entries]
        write_json(found[0] if name is not None else found, json)
    if json != "-":
        show(*(screens.entry_screen(entries[0]) if name is not None else [screens.catalogue_table(entries)]))
