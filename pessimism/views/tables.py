"""What the command line prints: the catalogue and the outcomes of claims as tables and as plain data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..objectives.entry import Entry

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from ..claims.claim import Outcome


def encode(value: Any, indent: str = "") -> str:
    """JSON that people can read: one line per key or record, arrays in one line.

    JSON has no infinities and no NaN; they become the strings "inf", "-inf" and "nan", which Python's and numpy's
    ``float`` read back.

    >>> print(encode({"policy": [0.25, 0.75], "kl": float("inf")}))
    {
      "policy": [0.25, 0.75],
      "kl": "inf"
    }
    """
    deeper = indent + "  "
    if isinstance(value, Mapping) and value:
        lines = [f"{deeper}{json.dumps(str(key))}: {encode(part, deeper)}" for key, part in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)) and any(isinstance(part, Mapping) for part in value):
        return "[\n" + ",\n".join(deeper + encode(part, deeper) for part in value) + f"\n{indent}]"
    return json.dumps(_finite(value), allow_nan=False, default=repr)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return value


# --- catalogue ------------------------------------------------------------------------------------------------------


def catalogue_table(entries: Sequence[Entry]) -> Table:
    """One line per entry, families apart."""
    table = _table("name", "gradient coefficient", "induced target", "solved")
    previous = entries[0].family if entries else ""
    for entry in entries:
        if entry.family != previous:
            table.add_section()
        previous = entry.family
        table.add_row(entry.name, entry.coefficient, entry.target, method(entry))
    return keep_words(table)


def entry_screen(entry: Entry) -> list[Table]:
    """One entry in full."""
    head = _grid()
    for label, value in _facts(entry):
        head.add_row(label, value)
    if not entry.parameters:
        return [head]
    parameters = _table("parameter", "default", "allowed", "meaning")
    for name, parameter in entry.parameters.items():
        parameters.add_row(name, f"{parameter.default:g}", parameter.allowed, parameter.description)
    return [head, parameters]


def method(entry: Entry) -> str:
    """How the induced target is found: exactly (in closed form) or numerically (fixed point or flow)."""
    return "exactly" if entry.closed_form else "numerically"


def entry_dict(entry: Entry) -> dict[str, Any]:
    """One entry as plain data."""
    return {
        "name": entry.name,
        "title": entry.title,
        "family": entry.family,
        "level": entry.level,
        "coefficient": entry.coefficient,
        "baseline": entry.algorithm().baseline.formula,
        "target": entry.target,
        "closed_form": entry.closed_form,
        "variant": entry.is_variant,
        "parameters": {
            name: {"default": p.default, "allowed": p.allowed, "description": p.description}
            for name, p in entry.parameters.items()
        },
        "source": entry.source,
        "notes": entry.notes,
    }


def _facts(entry: Entry) -> list[tuple[str, str]]:
    facts = [
        (entry.name, entry.title),
        ("coefficient", f"c(l, A) = {entry.coefficient}"),
        ("", "l = log(pi/mu) is the log-ratio, rho = exp(l), A = r - V the advantage"),
        ("baseline", entry.algorithm().baseline.formula),
        ("target", f"{entry.target} (solved {method(entry)})"),
        ("family", entry.family),
        ("level", entry.level),
        ("source", entry.source),
    ]
    return facts + [("notes", entry.notes)] * bool(entry.notes)


# --- claims ---------------------------------------------------------------------------------------------------------

PROOFS = {True: "yes", False: "NO", None: ""}


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """One line per claim; a residual holds up to what is allowed beside it."""
    table = _table("claim", "verdict", "worst\nresidual", "allowed", "instances", "seconds", "proved")
    table.columns[0].no_wrap = False  # rather folded than cut
    table.columns[0].overflow = "fold"
    for column in table.columns[2:6]:
        column.justify = "right"
    for outcome in outcomes:
        residual = "raised" if outcome.error else f"{outcome.worst:.1e}"
        counts = (f"{outcome.claim.tolerance:.0e}", f"{outcome.instances:,}", f"{outcome.seconds:.2f}")
        style = None if succeeded(outcome) else "bold red"
        table.add_row(outcome.claim.id, outcome.verdict, residual, *counts, PROOFS[outcome.proof], style=style)
    return table


def succeeded(outcome: Outcome) -> bool:
    """Whether a claim came out as it should, its proof included."""
    return outcome.ok and outcome.proof is not False


def details(outcomes: Sequence[Outcome]) -> list[RenderableType]:
    """What the table has no room for: why a claim failed, and what refutes those that are false."""
    from rich.padding import Padding

    screens: list[RenderableType] = []
    for outcome in outcomes:
        if outcome.verdict == "holds" and succeeded(outcome):
            continue
        lines = [outcome.claim.statement]
        if outcome.error:
            lines.append(f"raised {outcome.error}")
        elif outcome.instances == 0:
            lines.append("tried on no instance: none lay within its hypotheses")
        elif not outcome.ok:
            lines.append(f"worst residual {outcome.worst:.3g}, allowed {outcome.claim.tolerance:.3g}")
        if outcome.proof is False:
            lines.append("sympy does not confirm the proof")
        if outcome.counterexample is not None:
            lines.append(f"counterexample: {' '.join(str(outcome.counterexample).split())}")
        screens += [f"{outcome.claim.id}: {outcome.verdict}", *(Padding(line, (0, 0, 0, 2)) for line in lines)]
    return [*screens, ""] if screens else []


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """One line: how many claims came out how."""
    verdicts = [outcome.verdict for outcome in outcomes if succeeded(outcome)]
    return (
        f"{len(outcomes)} claim{'s' * (len(outcomes) != 1)}: {verdicts.count('holds')} hold "
        f"({sum(outcome.proof is True for outcome in outcomes)} proved), "
        f"{verdicts.count('refuted')} refuted as expected, {len(outcomes) - len(verdicts)} failed; "
        f"{sum(outcome.instances for outcome in outcomes):,} instances in {seconds:.1f} s"
    )


# --- tables ---------------------------------------------------------------------------------------------------------


def keep_words(table: Table) -> Table:
    """The table with columns that are never narrower than their longest word: identifiers stay whole."""
    for column in table.columns:
        words = " ".join(map(str, (column.header, *column.cells))).split()
        column.min_width = max(map(len, words), default=0)
    return table


def _table(*headers: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.overflow = "fold"  # rather folded than cut
    return table


def _grid() -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    return grid
