"""How much of the outcomes each factor of the experiment explains, in bandits."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from . import style
from .contrasts import shares
from .experiment import crossing, equal_rate, main_optimizers, tuned, worlds_of
from .experiment_dose import LABELS, NAMES, Settings
from .spec import FigureSpec

FACTORS = ("world", "dose", "weight", "lag")
PAIRS_OF_WORLD, REST = "world x another", "three or more"

COLORS = {
    "world": "#9e9e9e",
    "dose": "#08306b",
    "weight": "#99000d",
    "lag": "#00441b",
    "dose x weight": "#6a3d9a",
    "dose x lag": "#4292c6",
    "weight x lag": "#fd8d3c",
    PAIRS_OF_WORLD: "#cfcfcf",
    REST: "#ececec",
}

CAPTION = (
    "Share of the sum of squares of cell means (worlds x doses x weights x lags 20, 100, 400; means over blocks) that "
    "each factor and each pair of factors explains, for three outcomes, every cell at its own tuned rate or as the "
    "mean over the four rates."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns optimizer, rate ("tuned" or "equal"), measure, factor, share."""
    rows = []
    for optimizer in main_optimizers():
        for rate, table in (("tuned", tuned()), ("equal", equal_rate())):
            for measure in LABELS:
                each = [crossing(table, world, optimizer, measure).values for world in worlds_of(optimizer)]
                found = explained(np.stack([values.mean(axis=0) for values in each]))
                keys = {"optimizer": optimizer, "rate": rate, "measure": measure}
                rows += [keys | {"factor": factor, "share": share} for factor, share in found.items()]
    return pl.DataFrame(rows)


def explained(means: np.ndarray) -> dict[str, float]:
    """Shares of cell means (worlds, doses, weights, lags), the pairs with the world put together; they sum to one.

    >>> varying = np.arange(3.0)[:, None]  # with the weight alone
    >>> {name: round(share, 3) for name, share in explained(np.zeros((2, 4, 3, 3)) + varying).items() if share > 0.001}
    {'weight': 1.0}
    """
    each = dict(shares(means, FACTORS))
    found = {name: share for name, share in each.items() if not name.startswith("world x")}
    found[PAIRS_OF_WORLD] = sum(share for name, share in each.items() if name not in found)
    return found | {REST: 1 - sum(found.values())}


def draw(table: pl.DataFrame) -> Figure:
    """A panel for every optimizer and kind of rate, a bar for every outcome, made of its factors."""
    panels = list(table.select("optimizer", "rate").unique(maintain_order=True).iter_rows())
    figure = style.new_figure(style.DOUBLE, 3.2)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (optimizer, rate), letter in zip(grid, panels, "abcd", strict=False):
        for place, measure in enumerate(LABELS):
            left = 0.0
            for factor, color in COLORS.items():
                share = table.filter(optimizer=optimizer, rate=rate, measure=measure, factor=factor)["share"].item()
                label = factor if place == 0 else None
                axes.barh(place, share, left=left, color=color, label=label, height=0.7)
                left += share
        axes.set_title(f"{NAMES[optimizer]}, {rate} rate" + ("s" if rate == "equal" else ""))
        axes.set_xlim(0, 1)
        axes.set_xlabel("share")
        style.panel_letter(axes, letter)
    grid[0].set_yticks(range(len(LABELS)), [label.partition(",")[0] for label in LABELS.values()])
    grid[0].invert_yaxis()
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


FIGURE = FigureSpec(
    name="experiment_variance",
    shows="share of value, entropy and collapse that dose, weight, lag and world explain",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
