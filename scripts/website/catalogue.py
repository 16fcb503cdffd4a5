"""Pages of the catalogue: every objective by name, and a page for each family."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

import pessimism as ps
from pessimism.trainers.defaults import defaults
from pessimism.views.tables import method
from scripts.documents import ROOT
from scripts.website.entry_pictures import CAPTION, picture
from scripts.website.markdown import Pages, code, escaped, linked, page, prose, table

INTRODUCTION = """Every objective that `ps.algorithm(NAME)` and `pessimism compare NAME` take. The gradient coefficient
`c(l, A)` and the induced target are written in plain text: `l` is the log-ratio log(pi/mu), `rho` = exp(l) the ratio,
`A` = r - V the advantage, `E` the expectation under the behavior policy mu, and `[x]+` = max(x, 0). A name with a dot
is a public implementation that differs from its source. "exactly" means in closed form, "numerically" by a fixed point
or by following the gradient flow. Which of them are ratio-free regressions, and what becomes of binary rewards at
published settings: [recovered](../theory/recovered.md). What the words mean: [glossary](../glossary.md)."""

ELSEWHERE = """Published methods that are no entry, and why:

* **BAPO** (arXiv 2510.18927) and **M2PO** (arXiv 2510.01161) compare the samples of a batch. They are the masks
  `balance` and `second_moment` of `pessimism.masks`, on top of an objective.
* **Decoupled PPO** (arXiv 2505.24298) and **A-3PO** (arXiv 2512.06547) have a third policy: corrections with
  `pair=proximal`, and `bandits.three_policies`.
* **MaxRL** (arXiv 2602.02710), **OPO** (arXiv 2505.23585) and **REINFORCE++** (arXiv 2501.03262) are baselines:
  `mean_normalized`, `length_weighted`, `batch_standardized` of `pessimism.baselines`. Dr. GRPO's is `mean`.
* **Clip-Cov** and **KL-Cov** (arXiv 2505.22617) pick 2 in 10,000 tokens of a batch by the product of centered advantage
  and centered log-probability, Clip-Cov at random among those between two bounds. An arm of a bandit is no token of a
  batch: it would be picked in part, and no coefficient of an arm says how much."""


def pages() -> Pages:
    """One page for all, one for each family."""
    families: dict[str, list[ps.Entry]] = {}
    for entry in ps.catalogue().values():
        families.setdefault(entry.family, []).append(entry)
    made: Pages = {f"catalogue/{slug(family)}.md": _family(family, found) for family, found in families.items()}
    overview = [
        part for family, found in families.items() for part in (f"## {family.capitalize()}", _overview(family, found))
    ]
    made["catalogue/index.md"] = page(
        "Catalogue of objectives", INTRODUCTION, *overview, "## Not in the table", linked(ELSEWHERE)
    )
    drawn = {entry.name: picture(entry) for found in families.values() for entry in found}
    return made | {f"catalogue/{anchor(name)}.png": data for name, data in drawn.items() if data is not None}


@cache
def _groups() -> Mapping[str, tuple[str, ...]]:
    """Entry -> form, regimes, saturated of groups of 8, as docs/theory/recovered.md has them."""
    text = (ROOT / "docs" / "theory" / "recovered.md").read_text("utf-8")
    rows = [re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: tuple(row[1:4]) for row in rows}


@cache
def _default_of() -> Mapping[str, list[str]]:
    """Entry -> the kinds of run whose configuration is that entry where nothing is set."""
    found: dict[str, list[str]] = {}
    for one in defaults():
        where, _, name = one.name.removesuffix(")").partition(" default (")
        found.setdefault(name, []).append(where)
    return found


def _relatives(entry: ps.Entry) -> list[str]:
    """Links to entries of the same method: of its source, and implementations that differ from it."""
    method_name = entry.name.rpartition(".")[2] if entry.is_variant else entry.name
    names = [
        other
        for other in ps.catalogue()
        if other != entry.name
        and (method_name in (other, other.rpartition(".")[2]) or other.startswith(f"{method_name}."))
    ]
    return [f"[`{name}`]({slug(ps.catalogue()[name].family)}.md#{anchor(name)})" for name in names]


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
    return page(f"Objectives: {family}", CAPTION, *parts, short=family.capitalize())


def _entry(entry: ps.Entry) -> list[str]:
    facts = [
        ("gradient coefficient", f"`c(l, A) = {_in_cell(entry.coefficient)}`"),
        ("baseline", f"`{_in_cell(entry.algorithm().baseline.formula)}`"),
        ("induced target", f"{prose(entry.target)} (solved {method(entry)})"),
        ("level of the log-ratio", entry.level),
        ("source", prose(entry.source)),
    ]
    if entry.name in _groups():
        form, regimes, saturated = _groups()[entry.name]
        seen = f"form: {form}; positive/boundary/negative: {regimes}; saturated: {saturated}"
        facts.append(
            ("groups of 8, published settings", f"{escaped(seen)} ([what this means](../theory/recovered.md))")
        )
    if entry.name in _default_of():
        facts.append(("default of", ", ".join(f"`{name}`" for name in _default_of()[entry.name])))
    if relatives := _relatives(entry):
        facts.append(("other forms", ", ".join(relatives)))
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
        f"![{escaped(entry.name)}: coefficient and target]({anchor(entry.name)}.png)",
        table(("parameter", "default", "allowed", "meaning"), parameters) if parameters else "",
        code(f"pessimism compare {entry.name} --behavior 0.5,0.3,0.2 --reward 0,0,1", "sh"),
    ]


def _in_cell(formula: str) -> str:
    """A formula inside backticks inside a table: only the column's mark needs an escape."""
    return formula.replace("|", r"\|")
