"""Lag and collapse: what ten objectives do on the way, with ever older data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.sweeps.grids import LAG

from . import style
from .spec import FigureSpec
from .swept import cells, interval, per_world, population_entropy, runs, start


@dataclass(frozen=True)
class Settings:
    """Values at which the population's entropy is drawn; all else is settled by the sweep."""

    values: tuple[float, ...] = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)


MEASURES = ("value", "entropy", "kl")
POPULATION = "population"
LIMITS = {"value": (1e-4, 1.5), "kl": (1e-6, 6)}
"""Of logarithmic axes."""

CAPTION = (
    "Ten objectives on 16 draws of a bandit with 100 arms, ten of them right (reward 1, else 0): 1600 steps of plain "
    "gradient ascent (learning rate 1) on fresh groups of 8, drawn by a behavior policy that is renewed every L steps. "
    "Lines: means over draws, 16 runs each; bands: 95% Student-t intervals over draws (of the logarithm on "
    "logarithmic axes). Rows: distance to the best "
    "value; entropy; KL from the behavior policy at the end of a window to the one at its start; entropy against "
    "value, where the dashed line is what a policy of that value has that only tilts the starting one, as every "
    "log-ratio regression does without sampling error (lines between the few records of L = 400 are straight). A line "
    "that leaves a panel goes on beyond it, to a value of 1 or a KL of 0. "
    "Regressions share the temperature 0.2; is_regression has the "
    "baseline of pmd_mean."
)


def compute(settings: Settings, table: pl.DataFrame) -> pl.DataFrame:
    """Columns algorithm, lag (steps), step, and value, entropy, kl with half their intervals' widths.

    The rows of the algorithm "population" (lag and step null) hold the entropy at given values, mean over worlds.
    """
    bandit = LAG.bandits[0].build()
    value, left = start(bandit)
    begin = {"value": value, "entropy": left, "kl": np.full(len(value), np.nan)}  # nothing has moved yet: no KL
    parts = []
    for first, cell in cells(table):
        steps = cell["sync"].unique().sort().to_numpy() * first["lag"]
        columns = {"step": np.concatenate([[0], steps])}
        for name in MEASURES:
            found = per_world(runs(cell, name))
            mean, half = interval(np.vstack([begin[name], found]))
            columns |= {name: mean, f"{name}_half": half}
        parts.append(pl.DataFrame({"algorithm": first["algorithm"], "lag": first["lag"], **columns}))
    values = np.array(settings.values)
    curve = population_entropy(bandit)(np.broadcast_to(values[:, None], (len(values), len(value))))
    population = pl.DataFrame({"algorithm": POPULATION, "value": values, "entropy": curve.mean(axis=-1)})
    return pl.concat([*parts, population], how="diagonal_relaxed").with_columns(pl.col(pl.Float64).fill_nan(None))


def draw(table: pl.DataFrame) -> Figure:
    """Four rows of panels, a column for every lag."""
    objectives = table.filter(pl.col("algorithm") != POPULATION)
    lags = objectives["lag"].unique().sort().to_list()
    figure = style.new_figure(style.DOUBLE, 7.8)
    grid = figure.subplots(4, len(lags), sharey="row")
    for column, lag in zip(grid.T, lags, strict=True):
        here = objectives.filter(pl.col("lag") == lag)
        for axes, name in zip(column, MEASURES, strict=False):
            _over_steps(axes, here, name)
        _against_value(column[3], here, table.filter(pl.col("algorithm") == POPULATION))
        for axes in column[:2]:
            axes.tick_params(labelbottom=False)
        column[0].set_title(f"L = {lag}" + (" (on-policy)" if lag == 1 else ""))
        column[2].set_xlabel("optimizer steps")
        column[3].set_xlabel("value")
    for row, label in zip(grid, ("1 − value", "entropy, nats", "KL moved, nats", "entropy, nats"), strict=True):
        row[0].set_ylabel(label)
    for row, letter in zip(grid, "abcd", strict=True):
        style.panel_letter(row[0], letter)
    grid[3, 0].annotate("dashed: the starting\npolicy, only tilted", (0.98, 0.97), xycoords="axes fraction", ha="right",
                        va="top", fontsize=7)  # fmt: skip
    figure.draw_without_rendering()  # end labels need the final limits
    last = objectives.filter(pl.col("lag") == lags[-1])
    for axes, name in zip(grid[:, -1], (*MEASURES, "entropy"), strict=True):
        style.end_labels(axes, _ends(axes, last, name, against=axes is grid[3, -1]), gap=0.085)
    return figure


def _plotted(part: pl.DataFrame, name: str) -> np.ndarray:
    """What is drawn of a measure: all of it, or what the value lacks."""
    values = part[name].to_numpy()
    return 1 - values if name == "value" else values


def _over_steps(axes: Axes, table: pl.DataFrame, name: str) -> None:
    for (algorithm,), part in table.group_by("algorithm", maintain_order=True):
        look = style.STYLES[str(algorithm)]
        shown, half = _plotted(part, name), part[f"{name}_half"].to_numpy()
        low, high = shown - half, shown + half
        if name != "entropy":  # on a logarithmic axis, the interval of the logarithm (delta method)
            relative = np.divide(half, shown, out=np.zeros_like(half), where=shown > 0)
            low, high = shown * np.exp(-relative), shown * np.exp(relative)
        axes.plot(part["step"], shown, **look.lines())
        axes.fill_between(part["step"], low, high, color=look.color, alpha=0.15, linewidth=0)
    axes.set_xticks([0, 800, 1600])
    if name != "entropy":
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(*LIMITS[name])


def _against_value(axes: Axes, table: pl.DataFrame, population: pl.DataFrame) -> None:
    for (algorithm,), part in table.group_by("algorithm", maintain_order=True):
        look = style.STYLES[str(algorithm)]
        marked = [-1] if part.height > 20 else None  # few records: say where they are
        axes.plot(part["value"], part["entropy"], **look.lines(), marker=look.marker, markersize=2, markevery=marked)
    axes.plot(population["value"], population["entropy"], color=style.NOMINAL, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_xscale("logit")
    axes.set_xlim(0.08, 1 - 1e-4)
    axes.set_xticks([0.1, 0.5, 0.9, 0.999], ["0.1", "0.5", "0.9", "0.999"])
    axes.minorticks_off()


def _ends(axes: Axes, table: pl.DataFrame, name: str, against: bool) -> list[tuple[float, float, str, str]]:
    """Where lines end, or leave the axes."""
    ends = []
    for (algorithm,), part in table.group_by("algorithm", maintain_order=True):
        place = np.clip(part["value" if against else "step"][-1], *axes.get_xlim())
        height = np.clip(_plotted(part, name)[-1], *axes.get_ylim())
        ends.append((float(place), float(height), str(algorithm), style.darker(style.STYLES[str(algorithm)].color)))
    return ends


FIGURE = FigureSpec(
    name="lag_and_collapse",
    shows="value, entropy and KL of ten objectives on the way, at four lags",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
    sweeps=(LAG,),
)
