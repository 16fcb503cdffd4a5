"""Dose, weight and lag in bandits: what each does to value, entropy and collapse, every cell at its own tuned rate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pessimism.studies import sha256

from . import style
from .contrasts import WEIGHTS, effect
from .experiment import BANDITS, STALE, main_optimizers, over_worlds, tuned
from .spec import FigureSpec

LABELS = {"value": "value", "entropy": "entropy, nats", "collapsed": "share collapsed"}
COLORS: dict[str, str] = dict(
    zip(WEIGHTS, (style.REGIMES["positive"], style.NOMINAL, style.REGIMES["negative"]), strict=True)
)
LINES: dict[str, Any] = {"sgd": "-", "adam": (0, (1, 1)), "normalized": (0, (5, 1.5))}
NAMES = {"sgd": "SGD", "adam": "Adam", "normalized": "equal steps"}


@dataclass(frozen=True)
class Settings:
    """All is settled by the data; their digest tells one version from another."""

    data_sha256: str = field(default_factory=lambda: sha256(BANDITS.read_bytes()))


CAPTION = (
    "The residual family in bandits (docs/experiment.md): outcome against the dose s of implicit pessimism (0: nominal "
    "target, 1: Lambert-tempered), for three weights h, at three lags L. Means over the worlds that were run with an "
    "optimizer, bars: 95% Student-t intervals over blocks of two instances. Every cell is at its own rate, chosen on "
    "the other half of the instances. Collapsed: the final value is below the one that the run began with."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns optimizer, measure, lag, weight, dose, mean, half."""
    rows = []
    for optimizer in main_optimizers():
        for measure in LABELS:
            found = over_worlds(tuned(), optimizer, measure)
            for lag in STALE:
                for weight in WEIGHTS:
                    for dose in found.doses:
                        seen = effect(found.at(dose, weight, [lag]))
                        keys = {"optimizer": optimizer, "measure": measure, "lag": lag, "weight": weight, "dose": dose}
                        rows.append(keys | {"mean": seen.mean, "half": seen.half})
    return pl.DataFrame(rows)


def draw(table: pl.DataFrame) -> Figure:
    """A row for every measure, a column for every lag."""
    lags = table["lag"].unique().sort().to_list()
    figure = style.new_figure(style.DOUBLE, 5.2)
    grid = figure.subplots(len(LABELS), len(lags), sharex=True, sharey="row", squeeze=False)
    for line, (measure, label) in zip(grid, LABELS.items(), strict=True):
        for axes, lag in zip(line, lags, strict=True):
            _panel(axes, table.filter(measure=measure, lag=lag))
        line[0].set_ylabel(label)
    for axes, lag in zip(grid[0], lags, strict=True):
        axes.set_title(f"L = {lag}")
    for axes in grid[-1]:
        axes.set_xlabel("dose s")
    for axes, letter in zip(grid.flat, "abcdefghi", strict=False):
        style.panel_letter(axes, letter)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, handlelength=3)
    return figure


def _panel(axes: Axes, table: pl.DataFrame) -> None:
    doses = table["dose"].unique().sort().to_list()
    cells = [(name, weight) for name in table["optimizer"].unique(maintain_order=True) for weight in WEIGHTS]
    for number, (optimizer, weight) in enumerate(cells):
        cell = table.filter(optimizer=optimizer, weight=weight).sort("dose")
        aside = 0.04 * (number - (len(cells) - 1) / 2)  # so that bars do not hide each other
        places = [doses.index(dose) + aside for dose in cell["dose"]]
        look = {"color": COLORS[weight], "linestyle": LINES[optimizer]}
        axes.plot(places, cell["mean"], **look, marker="o", markersize=2, label=f"{NAMES[optimizer]}, h = {weight}")
        axes.vlines(
            places, cell["mean"] - cell["half"], cell["mean"] + cell["half"], color=COLORS[weight], linewidth=0.7
        )
    axes.set_xticks(range(len(doses)), [f"{dose:g}" for dose in doses])


FIGURE = FigureSpec(
    name="experiment_dose",
    shows="value, entropy and collapse against the dose of implicit pessimism, per weight and lag",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
