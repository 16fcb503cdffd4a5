"""What the command line prints: the catalogue as tables and as plain data, and JSON that people can read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..objectives.entry import Entry

if TYPE_CHECKING:
    from rich.table import Table


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
    table = named_table("name", "gradient coefficient", "induced target", "solved")
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
    parameters = named_table("parameter", "default", "allowed", "meaning")
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


# --- tables ---------------------------------------------------------------------------------------------------------


def keep_words(table: Table) -> Table:
    """The table with columns that are never narrower than their longest word: identifiers stay whole."""
    for column in table.columns:
        words = " ".join(map(str, (column.header, *column.cells))).split()
        column.min_width = max(map(len, words), default=0)
    return table


def new_table(*headers: str) -> Table:
    """The table of every screen. Columns whose header begins with ">" are numbers, to the right; others are folded."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for header in headers:
        number = header.startswith(">")
        table.add_column(header.lstrip(">"), justify="right" if number else "left", overflow="fold", no_wrap=number)
    return table


def named_table(*headers: str) -> Table:
    """A table whose first column, of names, is whole."""
    table = new_table(*headers)
    table.columns[0].no_wrap = True
    return table


def _grid() -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    return grid
