"""Dose and weight at equal rates: what the rate does to value and collapse at the longest lag."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style
from .contrasts import WEIGHTS, effect
from .experiment import bandits, main_optimizers, worlds_of
from .experiment_dose import COLORS, LABELS, NAMES, Settings
from .spec import FigureSpec

LAG = 400
DOSES = {0.0: (0, (1, 1)), 1.0: "-"}

CAPTION = (
    "The residual family at equal rates and L = 400: value, entropy and share of collapsed runs against the rate of "
    "the optimizer, for three weights h at dose 0 (nominal target, dotted) and 1 (Lambert-tempered, solid). At an "
    "equal rate all cells take the same first step on every sample. Means over worlds, bars: 95% Student-t intervals "
    "over blocks."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns optimizer, measure, weight, dose, rate, mean, half."""
    table = bandits().filter(pl.col("dose").is_in(list(DOSES)), objective="residual", offset=0.0, lag=LAG)
    rows: list[dict[str, Any]] = []
    for optimizer in main_optimizers():
        worlds = worlds_of(optimizer)
        here = table.filter(pl.col("world").is_in(worlds), optimizer=optimizer)
        for measure in LABELS:
            blocks = here.group_by("weight", "dose", "rate", "block").agg(pl.col(measure).mean(), pl.len())
            blocks = blocks.filter(pl.col("len") == len(worlds))  # those that all worlds have
            for (weight, dose, rate), cell in blocks.sort("rate").group_by(
                "weight", "dose", "rate", maintain_order=True
            ):
                seen = effect(cell[measure].to_numpy())
                keys = {"optimizer": optimizer, "measure": measure, "weight": weight, "dose": dose, "rate": rate}
                rows.append(keys | {"mean": seen.mean, "half": seen.half})
    return pl.DataFrame(rows)


def draw(table: pl.DataFrame) -> Figure:
    """A row for every optimizer, a column for every measure."""
    names = table["optimizer"].unique(maintain_order=True).to_list()
    figure = style.new_figure(style.DOUBLE, 1.0 + 1.7 * len(names))
    grid = figure.subplots(len(names), len(LABELS), squeeze=False)
    for line, optimizer in zip(grid, names, strict=True):
        for axes, (measure, label) in zip(line, LABELS.items(), strict=True):
            _panel(axes, table.filter(optimizer=optimizer, measure=measure))
            axes.set_ylabel(label)
            axes.set_xlabel(f"rate, {NAMES[optimizer]}")
    for axes, letter in zip(grid.flat, "abcdef", strict=False):
        style.panel_letter(axes, letter)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=3)
    return figure


def _panel(axes: Axes, table: pl.DataFrame) -> None:
    for dose, line in DOSES.items():
        for weight in WEIGHTS:
            cell = table.filter(weight=weight, dose=dose).sort("rate")
            look = {"color": COLORS[weight], "linestyle": line}
            axes.plot(cell["rate"], cell["mean"], **look, marker="o", markersize=2, label=f"s = {dose:g}, h = {weight}")
            low, high = cell["mean"] - cell["half"], cell["mean"] + cell["half"]
            axes.vlines(cell["rate"], low, high, color=COLORS[weight], linewidth=0.7)
    axes.set_xscale("log")
    rates = table["rate"].unique().sort().to_list()
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()


FIGURE = FigureSpec(
    name="experiment_rates",
    shows="dose and weight at equal rates: value, entropy and collapse against the rate at L = 400",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
