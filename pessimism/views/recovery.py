"""``pessimism catalogue --map``: which objectives the construction recovers, and what becomes of binary rewards."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from ..construction import FORMS, Recovery
from ..standing import Account
from ..verdict import REGIMES
from .tables import keep_words, named_table

if TYPE_CHECKING:
    from rich.table import Table

READING = (
    "Groups of G samples, of which 1 to G - 1 pass, each with the settings that are published. regimes: how many "
    "groups are positive/boundary/negative, - where the normalizer has no sign. saturated: both targets put all mass "
    "on the passing samples, so the regime makes no difference. closer: the induced target is more conservative than "
    "the nominal one."
)
"""What the columns mean."""

WIDTH = 100


def recovery_table(found: Sequence[Recovery]) -> Table:
    """One line per objective."""
    table = named_table(*headers(found))
    for one in found:
        table.add_row(*cells(one))
    return keep_words(table)


def headers(found: Sequence[Recovery]) -> list[str]:
    """Column titles: objective, form, and three a group size."""
    sizes = found[0].groups if found else ()
    return [
        "objective",
        "form",
        *(f"{name}\nG = {size}" for size in sizes for name in ("regimes", "saturated", "closer")),
    ]


def cells(one: Recovery) -> list[str]:
    """The line of one objective."""
    return [one.name, one.form, *(cell for account in one.groups.values() for cell in _counts(account))]


def legend(found: Sequence[Recovery]) -> str:
    """What the forms in the table mean, one line each, and how to read the columns."""
    used = {one.form for one in found}
    lines = [*(f"{form}: {words}." for form, words in FORMS.items() if form in used), READING]
    return "\n".join(part for line in lines for part in wrap(line, WIDTH))


def recovery_dict(one: Recovery) -> dict[str, Any]:
    """One objective as plain data."""
    return {
        "name": one.name,
        "form": one.form,
        "recovered": one.recovered,
        "beta": one.beta,
        "groups": {
            str(size): {
                "groups": account.rows,
                "regimes": {name: account.regimes[name] for name in REGIMES} if account.regimes else None,
                "saturated": account.counts["saturated"],
                "closer": account.counts["closer"],
                "further": account.counts["further"],
                "kinds": dict(account.kinds),
            }
            for size, account in one.groups.items()
        },
    }


def _counts(account: Account) -> list[str]:
    regimes = "/".join(str(account.regimes[name]) for name in REGIMES) if account.regimes else "-"
    return [regimes, str(account.counts["saturated"]), str(account.counts["closer"])]
