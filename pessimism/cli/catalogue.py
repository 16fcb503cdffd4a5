"""``pessimism catalogue``: the command."""

from __future__ import annotations

from typing import Annotated

import typer

from ..hints import near
from ..objectives.catalogue import catalogue as read_catalogue
from ..objectives.catalogue import entry_named
from ..objectives.entry import Entry
from ..shell.terminal import progress_bar, show, write_json
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
    recovered: Annotated[
        bool,
        typer.Option(
            "--map",
            help="Which of them the source paper's construction recovers, and what becomes of groups with binary "
            "rewards at the published settings; without a NAME or a --family also the defaults of trainers. Takes a "
            "minute for all.",
        ),
    ] = False,
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
    if recovered:
        _show_map(entries, trainers=name is None and family is None, json=json)
        return
    if json is not None:
        found = [screens.entry_dict(entry) for entry in entries]
        write_json(found[0] if name is not None else found, json)
    if json != "-":
        show(*(screens.entry_screen(entries[0]) if name is not None else [screens.catalogue_table(entries)]))


def _show_map(entries: list[Entry], trainers: bool, json: str | None) -> None:
    """Forms and targets of the entries at their published settings, and of trainers' defaults."""
    from ..construction import recovery
    from ..trainers.defaults import defaults
    from ..views import recovery as screens

    made = [entry.algorithm() for entry in entries] + (list(defaults()) if trainers else [])
    found = []
    with progress_bar() as progress:
        for number, one in enumerate(made):
            progress(number, len(made), one.name)
            found.append(recovery(one))
    if json is not None:
        write_json([screens.recovery_dict(one) for one in found], json)
    if json != "-":
        show(screens.recovery_table(found), screens.legend(found))
