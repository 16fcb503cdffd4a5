"""Lag on a language model: where ten objectives end, by the number of steps between weight syncs.

The runs are `python -m llm sweep lag`'s, hours of computing; their results lie beside this file as data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pessimism.studies import sha256

from . import style
from .spec import FigureSpec
from .swept import interval

DATA = Path(__file__).parent / "data" / "language_model_lag.parquet"


@dataclass(frozen=True)
class Settings:
    """All is settled by the data; their digest tells one version from another."""

    data_sha256: str = field(default_factory=lambda: sha256(DATA.read_bytes()))


MEASURES = {
    "pass@1": "pass@1",
    "pass@8": "pass@8",
    "entropy": "entropy, nats per token",
    "well_formed": "share of answers well formed",
}

SEEDS = "marks: means over training seeds; bars: lowest to highest seed, none where there is one"

CAPTION = (
    "A transformer (64 wide, 2 layers) on countdown in 24 tokens, warmed up by imitation, after 400 optimizer steps "
    "(800 for L = 400) on data from a policy that is renewed every L steps; 32 prompts with 8 completions each; AdamW "
    "at 3e-4, gradients clipped at norm 1; a window's batches, 50 at most, are used 1, 1, 2 and 8 times. On 256 held- "
    "out problems, 8 completions each. Lines: means over seeds of the training (one warmed-up model); bars: from the "
    "lowest seed to the highest. A collapsed run can have high entropy: of garbage, as the share of well-formed "
    "answers shows. Regressions share the temperature 0.1."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns objective, lag, measure and those of :func:`over_seeds`."""
    table = pl.read_parquet(DATA).filter(pl.col("last"))
    rows = []
    for (objective, lag), part in table.group_by("variant", "sync_every", maintain_order=True):
        for measure in MEASURES:
            row = {"objective": objective, "lag": lag, "measure": measure}
            rows.append(row | over_seeds(part[f"evaluation/{measure}"].to_numpy()))
    return pl.DataFrame(rows, schema_overrides={"half": pl.Float64})


def over_seeds(values: np.ndarray) -> dict[str, float | None]:
    """How many seeds, their mean, low and high, and half of the width of the mean's 95% interval.

    The interval is Student's, of no use for two seeds (half is None for fewer than three).

    >>> over_seeds(np.array([0.25, 0.75]))
    {'seeds': 2, 'mean': 0.5, 'low': 0.25, 'high': 0.75, 'half': None}
    """
    return {
        "seeds": len(values),
        "mean": float(values.mean()),
        "low": float(values.min()),
        "high": float(values.max()),
        "half": float(interval(values)[1]) if len(values) > 2 else None,
    }


def draw(table: pl.DataFrame) -> Figure:
    """Four panels, a line for every objective."""
    figure = style.new_figure(style.DOUBLE, 5.4)
    grid = figure.subplots(2, 2, sharex=True)
    lags = table["lag"].unique().sort().to_list()
    for axes, (measure, label), letter in zip(grid.flat, MEASURES.items(), "abcd", strict=True):
        _panel(axes, table.filter(pl.col("measure") == measure), lags)
        axes.set_ylabel(label)
        axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # zeros show whole
        style.panel_letter(axes, letter)
    for axes in grid[-1]:
        axes.set_xticks(range(len(lags)), [str(lag) for lag in lags])
        axes.set_xlabel("optimizer steps between weight syncs, L")
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, title=SEEDS, title_fontsize=7)
    return figure


def _panel(axes: Axes, table: pl.DataFrame, lags: list[int]) -> None:
    objectives = table["objective"].unique(maintain_order=True).to_list()
    for number, objective in enumerate(objectives):
        part = table.filter(pl.col("objective") == objective).sort("lag")
        look = style.STYLES[objective]
        aside = 0.03 * (number - (len(objectives) - 1) / 2)  # so that bars do not hide each other
        places = np.array([lags.index(lag) for lag in part["lag"]]) + aside
        axes.plot(
            places, part["mean"], **look.lines(), marker=look.marker, markersize=3, linewidth=0.9, label=objective
        )
        axes.vlines(places, part["low"], part["high"], color=look.color, linewidth=0.8)


FIGURE = FigureSpec(
    name="language_model_lag",
    shows="a language model's pass rate and entropy against lag, ten objectives",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
