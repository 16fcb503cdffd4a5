"""The table of what importance corrections make of a gap per token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..corrections import Correction
from ..gap import Effect

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("tokens touched", "completions touched", "mean weight", "variance", "effective share")


def gap_table(
    rows: Sequence[tuple[Correction, Effect, Effect | None]], gap: float, length: int, completions: int
) -> Table:
    """A line per correction: each number in closed form, and from the simulation in parentheses."""
    from rich.table import Table

    title = (
        f"Gap {gap:g} nats per token (mean size {gap * math.sqrt(2 / math.pi):.2g}), {length} tokens: "
        f"log-ratio of a completion {-length * gap**2 / 2:.3g} +- {gap * math.sqrt(length):.3g}"
    )
    drawn = f" In parentheses: {completions} drawn completions." if completions else ""
    table = Table(
        title=title,
        caption="1 - mean weight is the share of the trained policy's probability that the corrected data lack."
        + drawn,
    )
    table.add_column("correction", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for correction, exact, simulated in rows:
        numbers = [
            (getattr(exact, field), None if simulated is None else getattr(simulated, field)) for field in FIELDS
        ]
        table.add_row(str(correction), *(_told(*pair) for pair in numbers))
    return table


FIELDS = ("tokens", "completions", "kept", "variance", "effective")


def _told(exact: float, simulated: float | None) -> str:
    beside = "" if simulated is None else f" ({simulated:.3g})"
    return f"{exact:.3g}{beside}"
