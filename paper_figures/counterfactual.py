"""The counterfactual: regressions against their twins with the same nominal target and no implicit pessimism."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bandits.sweeps.grids import COUNTERFACTUAL, REGRESSIONS

from . import style
from .spec import FigureSpec
from .swept import cells, entropy_at, interval, per_world, population_entropy, runs, start

WEIGHTED, CENTERED = "is_regression", "pairwise_regression"
LEAST_REACHED = 0.5
"""Share of the runs of either side that must reach the level for a comparison at it."""


@dataclass(frozen=True)
class Settings:
    """The value at which entropies are compared."""

    level: float = 0.95


CAPTION = (
    "What changes when the implicit pessimism of a log-ratio regression is removed: twin minus objective, at equal "
    "nominal target (temperature 0.2), data, steps and learning rate. Same bandits and training as in "
    "lag_and_collapse; rows: lag L and learning rate η. The importance-weighted twin keeps the objective's own "
    "baseline; pairwise regression (the coefficient of the regression centered in the group) is one and the same twin "
    "of all: a baseline that is one number per group drops out of it, and pmd_mean's leave-one-out mean, which is not, "
    "would only stretch its advantages by 8/7. Marks: means over 16 draws of the bandit, 16 runs each; bars: 95% "
    "Student-t intervals over draws, "
    "paired by draw, not adjusted for their number. Columns: final value; greatest KL(π‖μ) of a recorded window; final "
    f"entropy; entropy when the value first reaches {Settings().level:g}, where on either side at least half of the "
    "runs get there. Symmetric logarithmic scales."
)

MEASURES = {
    "value": "final value",
    "kl": "greatest window KL\n(right: less stable)",
    "entropy": "final entropy",
    "entropy_at": "entropy at equal value",
}

Variation = tuple[int, float]
"""Lag and learning rate."""
Run = tuple[Variation, str, str | None]
"""Variation, algorithm, and whose baseline it has if not its own."""


def compute(settings: Settings, table: pl.DataFrame) -> pl.DataFrame:
    """Columns lag, learning_rate, objective, twin, measure; change (twin - objective), half (of its interval's width).

    Further: of_objective, of_twin, the means; reached_objective, reached_twin, shares of runs that have the measure.
    """
    found = _measured(settings, table)
    rows = []
    variations = dict.fromkeys(variation for variation, _, _ in found)
    for variation, objective in itertools.product(variations, (spec.name for spec in REGRESSIONS)):
        own = found[variation, objective, None]
        twins = {WEIGHTED: found[variation, WEIGHTED, objective], CENTERED: found[variation, CENTERED, None]}
        for (twin, other), name in ((pair, name) for pair in twins.items() for name in MEASURES):
            keys = dict(zip(("lag", "learning_rate"), variation, strict=True))
            change = _change(own[name], other[name])
            rows.append({**keys, "objective": objective, "twin": twin, "measure": name, **change})
    return pl.DataFrame(rows)


def _measured(settings: Settings, table: pl.DataFrame) -> dict[Run, dict[str, np.ndarray]]:
    """Run -> measure -> (seeds, worlds)."""
    bandit = COUNTERFACTUAL.bandits[0].build()
    begin, population = start(bandit), population_entropy(bandit)
    found: dict[Run, dict[str, np.ndarray]] = {}
    for first, cell in cells(table):
        value, left = runs(cell, "value"), runs(cell, "entropy")
        found[(first["lag"], first["learning_rate"]), first["algorithm"], first["baseline_of"]] = {
            "value": value[-1],
            "kl": runs(cell, "kl").max(axis=0),
            "entropy": left[-1],
            "entropy_at": entropy_at(settings.level, value, left, begin, population),
        }
    return found


def _change(own: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    reached = {"reached_objective": own, "reached_twin": other}
    shares = {name: float(np.mean(~np.isnan(values))) for name, values in reached.items()}
    paired = np.stack([per_world(own), per_world(other)])
    paired = paired[:, ~np.isnan(paired).any(axis=0)]
    if min(shares.values()) < LEAST_REACHED or paired.shape[1] < 2:
        return {"change": None, "half": None, "of_objective": None, "of_twin": None, **shares}
    change, half = interval(paired[1] - paired[0])
    means = dict(zip(("of_objective", "of_twin"), paired.mean(axis=-1).tolist(), strict=True))
    return {"change": float(change), "half": float(half), **means, **shares}


SCALES = {
    "value": (1e-3, (-0.01, 0, 0.01, 1), "change in value"),
    "kl": (0.1, (-1, 0, 1), "change, nats"),
    "entropy": (0.1, (-1, 0, 1), "change, nats"),
    "entropy_at": (0.1, (-1, 0, 1), "change, nats"),
}
"""Measure -> half the width of the linear part of its scale, ticks, label."""


def draw(table: pl.DataFrame) -> Figure:
    """A row of panels for every lag and learning rate, a column for every measure."""
    variations = table.select("lag", "learning_rate").unique(maintain_order=True).rows()
    figure = style.new_figure(style.DOUBLE, 1.2 * len(variations) + 0.8)
    grid = figure.subplots(len(variations), len(MEASURES), sharex="col", sharey=True, squeeze=False)
    for row, (lag, rate) in zip(grid, variations, strict=True):
        here = table.filter(pl.col("lag") == lag, pl.col("learning_rate") == rate)
        for axes, name in zip(row, MEASURES, strict=True):
            _dots(axes, here.filter(pl.col("measure") == name), name)
        row[-1].annotate(f"L = {lag}, η = {rate:g}", (1.04, 0.5), xycoords="axes fraction", rotation=270, va="center")
    for column, (name, title) in zip(grid.T, MEASURES.items(), strict=True):
        column[0].set_title(title)
        linear, _, label = SCALES[name]
        column[-1].set_xlabel(f"{label}\n(linear to ±{linear:g}, then log)")
    marks = [
        Line2D([], [], color=style.BEHAVIOR, marker="o", linestyle="none", label="importance-weighted twin"),
        Line2D([], [], color=style.BEHAVIOR, marker="o", linestyle="none", label="pairwise twin", **OPEN),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2)
    return figure


OPEN: dict[str, Any] = {"markerfacecolor": "white"}


def _dots(axes: Axes, table: pl.DataFrame, name: str) -> None:
    objectives = table["objective"].unique(maintain_order=True).to_list()
    linear, ticks, _ = SCALES[name]
    for row in table.iter_rows(named=True):
        look, weighted = style.STYLES[row["objective"]], row["twin"] == WEIGHTED
        height = objectives.index(row["objective"]) + (-0.17 if weighted else 0.17)
        if row["change"] is not None:
            fill = {} if weighted else OPEN
            axes.errorbar(
                row["change"], height, xerr=row["half"], color=look.color, marker=look.marker, elinewidth=1, **fill
            )
    missing = table.filter(pl.col("change").is_null())["objective"].value_counts()
    for objective in missing.filter(pl.col("count") == 2)["objective"]:
        axes.annotate("too few get there", (0.5, objectives.index(objective)), color="#606060", va="center",
                      ha="center", xycoords=("axes fraction", "data"))  # fmt: skip
    axes.set_yticks(range(len(objectives)), objectives)
    axes.set_ylim(len(objectives) - 0.4, -0.6)
    axes.set_xscale("symlog", linthresh=linear, linscale=0.6)
    axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    axes.axvline(0, color=style.BEHAVIOR, linewidth=0.6, zorder=0)


FIGURE = FigureSpec(
    name="counterfactual",
    shows="what changes when implicit pessimism is removed: value, stability, entropy",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
    sweeps=(COUNTERFACTUAL,),
)
