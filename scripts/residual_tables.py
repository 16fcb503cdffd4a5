"""The numbers of docs/theory/residual.md: noise of a sample's gradient, and the simulated cells, from their figures.

python -m scripts.residual_tables            rewrite the tables (minutes: it simulates)
python -m scripts.residual_tables --check    change nothing; status 1 if one is out of date
"""

from __future__ import annotations

import sys

import polars as pl

from paper_figures import residual_cells, residual_noise

from .documents import ROOT, markdown, refresh

PAGE = ROOT / "docs" / "theory" / "residual.md"


def noise() -> str:
    """Markdown, a row for each objective and form: the noise at the start, halfway and at the end."""
    found = residual_noise.compute(residual_noise.Settings())
    lines = {}
    for (objective, form), rows in found.group_by("objective", "form", maintain_order=True):
        name = f"{objective}, c − λρ" if form == "residual" else objective
        values = [rows.filter(pl.col("place") == place)["noise"].item() for place in residual_noise.PLACES]
        lines[name] = [f"{value:.3f}" for value in values]
    return markdown(residual_noise.PLACES, lines)


def cells() -> str:
    """Markdown, a row for each world and a column for each cell: value / entropy after the last sync."""
    found = residual_cells.compute(residual_cells.Settings())
    last = found.filter(pl.col("sync") == pl.col("sync").max())
    keys = [(target, weight) for target in residual_cells.TARGETS for weight in residual_cells.WEIGHTS]
    lines = {}
    for _, rows in last.group_by("world", maintain_order=True):
        first = rows.row(0, named=True)
        extra = f", noise {first['noise']:g}" if first["noise"] else ""
        world = f"β {first['beta']:g}, L {first['lag']}, η {first['learning_rate']:g}{extra}"
        lines[world] = []
        for target, weight in keys:
            one = rows.filter(pl.col("target") == target, pl.col("weight") == weight).row(0, named=True)
            lost = f" ({one['collapsed']:.0%})" if one["collapsed"] else ""
            lines[world].append(f"{one['value']:.3f} / {one['entropy']:.2f}{lost}")
    return markdown([f"{target}, {weight}" for target, weight in keys], lines, "world")


def main() -> int:
    """Rewrite or check the page; return the exit status."""
    return refresh(PAGE, lambda: {"noise": noise(), "cells": cells()}, "python -m scripts.residual_tables", __doc__)


if __name__ == "__main__":
    sys.exit(main())
