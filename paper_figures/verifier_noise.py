"""Verifier noise against pessimism: which regime ends best where the verifier errs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bandits.sweeps.grids import VERIFIER_NOISE

from . import style
from .spec import FigureSpec
from .swept import cells, interval, per_world, runs


@dataclass(frozen=True)
class Settings:
    """All is settled by the sweep."""


RATES = ("false_positive", "false_negative")
REGIMES = ("positive", "boundary", "negative")

CAPTION = (
    "True value at the end where the verifier passes wrong answers (false positives) and fails right ones (false "
    "negatives) at the given rates: 16 draws of a bandit with 100 arms, ten of them right; 16 windows of 100 steps at "
    "learning rate 1, on four groups of 8 used 25 times each; temperature 0.2. Means over draws, 8 runs each. Framed: "
    "the highest mean of the six objectives at these rates, and all that do not differ from it (95% Student-t "
    "intervals of the difference over draws, paired by draw, not adjusted for their number). Titles: how often that "
    "is, and the regimes of the last window's groups, averaged over all rates. is_regression has the baseline of "
    "pmd_mean: its twin without implicit pessimism. Darker: further from the best value, 1; logarithmic."
)


def compute(settings: Settings, table: pl.DataFrame) -> pl.DataFrame:
    """Columns false_positive, false_negative, objective; value, half (of its interval's width); behind, behind_half.

    Further: positive, boundary, negative, shares of the last window's groups (null without regimes). `behind` is the
    best mean at these rates minus this one, paired by draw, and `with_best` whether the interval of the difference
    holds 0 (or this is the best).
    """
    worlds: dict[tuple[float, ...], dict[str, np.ndarray]] = {}
    regimes: dict[tuple[tuple[float, ...], str], dict[str, float | None]] = {}
    for first, cell in cells(table):
        rates = tuple(first[f"noise.{rate}"] for rate in RATES)
        worlds.setdefault(rates, {})[first["algorithm"]] = per_world(runs(cell, "value")[-1])
        shares = {name: float(runs(cell, name)[-1].mean()) for name in REGIMES}
        known = {name: None if math.isnan(share) else share for name, share in shares.items()}
        regimes[rates, first["algorithm"]] = known
    rows = []
    for rates, values in worlds.items():
        best = max(values.values(), key=lambda value: value.mean())
        for objective, value in values.items():
            (mean, half), (behind, behind_half) = interval(value), interval(best - value)
            row = {"objective": objective, "value": float(mean), "half": float(half)}
            row |= {
                "behind": float(behind),
                "behind_half": float(behind_half),
                "with_best": bool(behind <= behind_half),
            }
            rows.append({**dict(zip(RATES, rates, strict=True)), **row, **regimes[rates, objective]})
    return pl.DataFrame(rows)


def draw(table: pl.DataFrame) -> Figure:
    """One map of false positives against false negatives for every objective."""
    figure = style.new_figure(style.DOUBLE, 4.6)
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    objectives = table["objective"].unique(maintain_order=True)
    for axes, objective in zip(grid.flat, objectives, strict=True):
        part = table.filter(pl.col("objective") == objective)
        _map(axes, part)
        axes.set_title(f"{objective}: framed in {part['with_best'].sum()} of {part.height}\n{_regimes(part)}")
    for axes in grid[-1]:
        axes.set_xlabel("false negatives")
    for axes in grid[:, 0]:
        axes.set_ylabel("false positives")
    bar = figure.colorbar(grid[0, 0].images[0], ax=list(grid.flat), location="right", aspect=30, shrink=0.8)
    bar.set_label("1 − value (the number in a cell is the value)")
    bar.set_ticks([0.001, 0.01, 0.1, 1], labels=["0.001", "0.01", "0.1", "1"])
    frame = Rectangle((0, 0), 1, 1, fill=False, edgecolor="#d94801", linewidth=1.6)
    text = "highest mean of the six objectives at these rates, or not told apart from it"
    figure.legend([frame], [text], loc="outside lower center", handlelength=1.2)
    return figure


def _regimes(table: pl.DataFrame) -> str:
    if table["positive"].null_count():
        return "nothing implicit"
    shares = (
        f"{name} {table[name].to_numpy().mean():.0%}" for name in REGIMES if table[name].to_numpy().mean() > 0.005
    )
    return ", ".join(shares)


def _map(axes: Axes, table: pl.DataFrame) -> None:
    positive, negative = (table[rate].unique().sort().to_list() for rate in RATES)
    lacking = np.full((len(positive), len(negative)), np.nan)
    for row in table.iter_rows(named=True):
        y, x = positive.index(row["false_positive"]), negative.index(row["false_negative"])
        lacking[y, x] = 1 - row["value"]
        dark = lacking[y, x] > 0.03
        text = f"{row['value']:.3f}".lstrip("0")
        axes.annotate(text, (x, y), color="white" if dark else "black", ha="center", va="center", fontsize=7)
        if row["with_best"]:
            edge = "#fdae6b" if dark else "#d94801"  # apart from the cell in greyscale, too
            frame = Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor=edge, linewidth=1.6)
            axes.add_patch(frame)
    axes.imshow(lacking, cmap="Greys", norm=LogNorm(1e-3, 1), origin="lower", aspect="auto")
    axes.set_xticks(range(len(negative)), [f"{rate:g}" for rate in negative])
    axes.set_yticks(range(len(positive)), [f"{rate:g}" for rate in positive])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


FIGURE = FigureSpec(
    name="verifier_noise",
    shows="verifier noise against pessimism: which regime ends best where",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
    sweeps=(VERIFIER_NOISE,),
)
