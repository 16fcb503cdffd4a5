"""Pages of the catalogue: every objective by name, and a page for each family."""

from __future__ import annotations

from collections.abc import Sequence

import pessimism as ps
from pessimism.views.tables import method
from scripts.website.markdown import Pages, code, escaped, page, prose, table

INTRODUCTION = """Every objective that `ps.algorithm(NAME)` and `pessimism compare NAME` take. The gradient coefficient
`c(l, A)` and the induced target are written in plain text: `l` is the log-ratio log(pi/mu), `rho` = exp(l) the ratio,
`A` = r - V the advantage, `E` the expectation under the behavior policy mu, and `[x]+` = max(x, 0). A name with a dot
is a public implementation that differs from its source. "exactly" means in closed form, "numerically" by a fixed point
or by following the gradient flow. Which of them are ratio-free regressions, and what becomes of binary rewards at
published settings: [recovered](../theory/recovered.md). What the words mean: [glossary](../glossary.md)."""


def pages() -> Pages:
    """One page for all, one for each family."""
    families: dict[str, list[ps.Entry]] = {}
    for entry in ps.catalogue().values():
        families.setdefault(entry.family, []).append(entry)
    made: Pages = {f"catalogue/{slug(family)}.md": _family(family, found) for family, found in families.items()}
    overview = [
        part for family, found in families.items() for part in (f"## {family.capitalize()}", _overview(family, found))
    ]
    made["catalogue/index.md"] = page("Catalogue of objectives", INTRODUCTION, *overview)
    return made


def slug(family: str) -> str:
    """The name of a family's page."""
    return family.replace(" ", "_")


def _overview(family: str, entries: Sequence[ps.Entry]) -> str:
    rows = (
        (
            f"[`{entry.name}`]({slug(family)}.md#{anchor(entry.name)})",
            f"`{_in_cell(entry.coefficient)}`",
            prose(entry.target),
            method(entry),
            prose(entry.source),
        )
        for entry in entries
    )
    return table(("name", "gradient coefficient", "induced target", "solved", "source"), rows)


def anchor(name: str) -> str:
    """The anchor of an entry on its family's page.

    >>> anchor("oapl.missing_log_g")
    'oapl-missing_log_g'
    """
    return name.replace(".", "-")


def _family(family: str, entries: Sequence[ps.Entry]) -> str:
    parts = (part for entry in entries for part in _entry(entry))
    return page(f"Objectives: {family}", *parts, short=family.capitalize())


def _entry(entry: ps.Entry) -> list[str]:
    facts = [
        ("gradient coefficient", f"`c(l, A) = {_in_cell(entry.coefficient)}`"),
        ("baseline", f"`{_in_cell(entry.algorithm().baseline.formula)}`"),
        ("induced target", f"{prose(entry.target)} (solved {method(entry)})"),
        ("level of the log-ratio", entry.level),
        ("source", prose(entry.source)),
    ]
    if entry.notes:
        facts.append(("notes", prose(entry.notes)))
    parameters = [
        (f"`{name}`", f"{parameter.default:g}", escaped(parameter.allowed), prose(parameter.description))
        for name, parameter in entry.parameters.items()
    ]
    return [
        f"## {escaped(entry.name)} {{ #{anchor(entry.name)} }}",
        prose(entry.title),
        table(("", ""), facts),
        table(("parameter", "default", "allowed", "meaning"), parameters) if parameters else "",
        code(f"pessimism compare {entry.name} --behavior 0.5,0.3,0.2 --reward 0,0,1", "sh"),
    ]


def _in_cell(formula: str) -> str:
    """A formula inside backticks inside a table: only the column's mark needs an escape."""
    return formula.replace("|", r"\|")
