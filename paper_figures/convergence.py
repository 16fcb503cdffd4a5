"""Convergence: lagged runs approach the ideal recursion as their groups grow, at the rate of sampling error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

import pessimism as ps
from bandits.recursion import ideal_recursion
from bandits.settings import Settings as Training
from bandits.simulate import simulate
from pessimism.solve import total_variation

from . import style
from .spec import FigureSpec
from .swept import interval


@dataclass(frozen=True)
class Settings:
    """Sizes of groups, from which size on slopes are fitted, windows, bandits, runs each, and how a window is trained.

    Behavior policies are drawn from a symmetric Dirichlet distribution of the given concentration.
    """

    sizes: tuple[int, ...] = (16, 64, 256, 1024, 4096, 16384, 65536)
    fitted_from: int = 256
    windows: tuple[int, ...] = (1, 3)
    bandits: int = 16
    arms: int = 5
    concentration: float = 4.0
    runs: int = 8
    lag: int = 2000
    learning_rate: float = 1.0
    seed: int = 0


OBJECTIVES: Mapping[str, ps.Algorithm] = MappingProxyType(
    {
        "shifted_mean": ps.algorithm("shifted_mean", beta=1.0),
        "pmd_mean": ps.algorithm("pmd_mean", tau=1.0),
        "oapl": ps.algorithm("oapl", beta1=2.0, beta2=1.0),
        "is_regression": ps.algorithm("is_regression", beta=1.0),
        "pairwise_regression": ps.algorithm("pairwise_regression", beta=1.0),
    }
)
"""Catalogue name -> algorithm, all with temperature 1."""

EXACT = 0
"""The size that stands for exact gradients, infinite groups."""

CLEAR = 3
"""A slope is fitted where the greatest groups are this many times as far from the ideal as exact gradients."""

CAPTION = (
    "Distance (total variation) of simulated policies from the ideal recursion, in which every window reaches its "
    "induced target exactly, against the size G of the one group that a window uses in all of its 2000 steps "
    "(learning rate 1, temperature 1). Means over 16 random bandits of five arms, 8 runs each; bands: 95% Student-t "
    "intervals of the logarithm. a: after three windows; marks at the right: exact gradients, what the finite window "
    "leaves; dashed: slope -1/2. "
    "b: slopes of the logarithms for G >= 256, where as a rule every arm was seen; least squares within each bandit, "
    "mean over bandits and 95% Student-t interval, after one window (filled) and three (open). Pairwise regression has "
    "no slope: with rewards that are certain its error vanishes at the target, so every group that has all arms gives "
    "the same target, and only unseen arms make a difference."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns panel, objective, window; half the width of the interval of the number that the panel is named for.

    Panel "distance": size (0: exact gradients) and distance; "slope": slope, where sampling errors dominate.
    """
    generator = np.random.default_rng(settings.seed)
    shape = (settings.bandits, settings.arms)
    behavior = generator.dirichlet(np.full(settings.arms, settings.concentration), size=settings.bandits)
    bandit = ps.Bandit(behavior, generator.normal(size=shape))
    rows = []
    for objective, algorithm in OBJECTIVES.items():
        for window in settings.windows:
            ideal = ideal_recursion(bandit, algorithm, window).policy[0]
            own = {"objective": objective, "window": window}
            distances = {}
            for size in (EXACT, *settings.sizes):
                training = Training(
                    syncs=window, lag=settings.lag, learning_rate=settings.learning_rate, group_size=size or None,
                    record_every=window, targets=False,
                )  # fmt: skip
                runs = range(settings.seed, settings.seed + (settings.runs if size else 1))
                policies = simulate(bandit, algorithm, training, runs).policy
                distances[size] = total_variation(policies, ideal).mean(axis=0)
                mean, half = interval(distances[size])
                rows.append({"panel": "distance", **own, "size": size, "distance": float(mean), "half": float(half)})
            fitted = [size for size in settings.sizes if size >= settings.fitted_from]
            if distances[fitted[-1]].mean() > CLEAR * distances[EXACT].mean():
                slope, half = interval(_slopes(np.array(fitted), np.stack([distances[size] for size in fitted])))
                rows.append({"panel": "slope", **own, "slope": float(slope), "half": float(half)})
    return pl.DataFrame(rows)


def _slopes(sizes: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Least-squares slopes of log distance (sizes, bandits) against log size, one for each bandit."""
    apart = (np.log(sizes) - np.log(sizes).mean())[:, None]
    return (apart * np.log(distances)).sum(axis=0) / (apart**2).sum()


def draw(table: pl.DataFrame) -> Figure:
    """Distances against the size, and the slopes."""
    figure = style.new_figure(style.DOUBLE, 2.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    distances = table.filter(pl.col("panel") == "distance", pl.col("window") == table["window"].max())
    sizes = distances["size"].unique().sort().to_list()[1:]
    beyond = sizes[-1] * 4
    for (objective,), part in distances.group_by("objective", maintain_order=True):
        look = style.STYLES[str(objective)]
        sampled, exact = part.filter(pl.col("size") != EXACT), part.filter(pl.col("size") == EXACT)
        left.plot(sampled["size"], sampled["distance"], **look.lines(), marker=look.marker, label=objective)
        relative = sampled["half"] / sampled["distance"]  # the interval of the logarithm (delta method)
        low, high = (sampled["distance"] * (sign * relative).exp() for sign in (-1, 1))
        left.fill_between(sampled["size"], low, high, color=look.color, alpha=0.15, linewidth=0)
        left.plot([beyond], exact["distance"], **look.points())
    start = 1.4 * distances.filter(pl.col("size") == sizes[0])["distance"].to_numpy().max()
    reference = [start * (size / sizes[0]) ** -0.5 for size in sizes]
    left.plot(sizes, reference, color=style.NOMINAL, linewidth=0.8, linestyle=(0, (4, 2)), label="slope −1/2")
    left.set_xscale("log", base=2)
    left.set_yscale("log")
    left.set_xticks([*sizes, beyond], [*map(str, sizes), "exact"])
    left.minorticks_off()
    left.set_xlabel("group size G")
    left.set_ylabel("total variation to the ideal")
    left.legend(loc="lower left")
    style.panel_letter(left, "a")
    _draw_slopes(right, table.filter(pl.col("panel") == "slope"))
    style.panel_letter(right, "b")
    return figure


def _draw_slopes(axes: Axes, table: pl.DataFrame) -> None:
    objectives = table["objective"].unique(maintain_order=True).to_list()
    for row in table.iter_rows(named=True):
        look = style.STYLES[row["objective"]]
        first = row["window"] == table["window"].min()
        height = objectives.index(row["objective"]) + (-0.15 if first else 0.15)
        fill: dict[str, Any] = {} if first else {"markerfacecolor": "white"}
        axes.errorbar(
            row["slope"], height, xerr=row["half"], color=look.color, marker=look.marker, elinewidth=1, **fill
        )
    axes.axvline(-0.5, color=style.NOMINAL, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    axes.set_yticks(range(len(objectives)), objectives)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MultipleLocator(0.05))
    axes.set_xlabel("fitted slope")
    windows = table["window"].unique().sort().to_list()
    for number, inside in zip((windows[0], windows[-1]), ("0.4", "white"), strict=True):
        name = f"after {number} window{'s' if number > 1 else ''}"
        axes.plot([], [], linestyle="", marker="o", color="0.4", markerfacecolor=inside, label=name)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderaxespad=0.2, handletextpad=0.2)


FIGURE = FigureSpec(
    name="convergence",
    shows="simulated learning approaches the ideal recursion as groups grow, at the rate -1/2",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
