"""How fast the ideal recursion ends: gaps in value over syncs, beside the bound that is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps
from bandits.recursion import gap_bounds
from pessimism.solve import expectation

from . import style
from .spec import FigureSpec


@dataclass(frozen=True)
class Settings:
    """Random bandits and their arms, syncs, temperature, and shifts of the baseline below the mean, over beta."""

    bandits: int = 200
    arms: int = 8
    syncs: int = 25
    beta: float = 0.3
    deltas: tuple[float, ...] = (0.0, 1.0, 4.0)
    seed: int = 0


CAPTION = (
    "The ideal recursion of log-ratio regression with V = E r - delta beta: gap r* - E r after n syncs (solid) and its "
    "bounds. 200 random bandits (8 arms, behavior uniform on the simplex, rewards uniform on [0, 1], the best 1), "
    "beta = 0.3. a: medians over bandits; dashed: the bound from the likelihood-ratio order (gap_bounds); dotted: "
    "(B/n) log(1/mu*). b: distribution over bandits of the gap over the bound of a, dashed, after 1, 5 and 25 syncs "
    "with delta = 1."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns delta, bandit, sync, gap, bound (from the order), simple (the bound in 1/n)."""
    generator = np.random.default_rng(settings.seed)
    behavior = generator.dirichlet(np.ones(settings.arms), size=settings.bandits)
    reward = generator.uniform(size=behavior.shape)
    reward[:, 0] = 1.0
    bandit = ps.Bandit(behavior, reward)
    return pl.concat([_courses(bandit, delta, settings) for delta in settings.deltas])


def _courses(bandit: ps.Bandit, delta: float, settings: Settings) -> pl.DataFrame:
    bounds = gap_bounds(bandit, settings.beta, delta, settings.syncs)
    first = expectation(bandit.behavior, 1 - bandit.reward)
    unit = settings.beta * (1 + delta) + first
    chosen = ps.algorithm("kimi_k15", tau=settings.beta)
    if delta:
        chosen = ps.algorithm("shifted_mean", beta=settings.beta, delta=delta)
    current, parts = bandit, []
    for sync in range(1, settings.syncs + 1):
        policy = ps.induced_target(current, chosen).policy
        current = ps.Bandit(policy / policy.sum(axis=-1, keepdims=True), bandit.reward)
        parts.append(
            pl.DataFrame(
                {
                    "delta": delta,
                    "bandit": np.arange(len(first)),
                    "sync": sync,
                    "gap": expectation(current.behavior, 1 - bandit.reward),
                    "bound": bounds[sync - 1],
                    "simple": -unit / sync * np.log(bandit.behavior[:, 0]),
                }
            )
        )
    return pl.concat(parts)


COLORS = ("#5aa5d6", "#2171b5", "#08306b")
LINES = (("gap", "-"), ("bound", (0, (5, 1.5))), ("simple", (0, (1, 1))))


def draw(table: pl.DataFrame) -> Figure:
    """Medians over syncs, and the distribution of the share of the bound."""
    figure = style.new_figure(style.DOUBLE, 2.7)
    left, right = figure.subplots(1, 2)
    _draw_medians(left, table)
    _draw_shares(right, table)
    for axes, letter in ((left, "a"), (right, "b")):
        style.panel_letter(axes, letter)
    return figure


def _draw_medians(axes: Axes, table: pl.DataFrame) -> None:
    for (delta,), color in zip(table.select("delta").unique(maintain_order=True).rows(), COLORS, strict=False):
        medians = table.filter(pl.col("delta") == delta).group_by("sync", maintain_order=True).median()
        for column, line in LINES:
            label = f"δ = {delta:g}" if column == "gap" else None
            axes.plot(medians["sync"], medians[column], color=color, linestyle=line, label=label)
    axes.set_yscale("log")
    axes.set_ylim(1e-4, 10)
    axes.set_xlabel("syncs n")
    axes.set_ylabel("r* − E r")
    axes.legend(loc="upper right", ncols=3)


def _draw_shares(axes: Axes, table: pl.DataFrame) -> None:
    syncs = (1, 5, table["sync"].to_numpy().max())
    for sync, color in zip(syncs, COLORS, strict=True):
        part = table.filter(pl.col("delta") == 1, pl.col("sync") == sync)
        values = (part["gap"] / part["bound"]).sort().to_numpy()
        axes.plot(values, np.arange(1, len(values) + 1) / len(values), color=color, label=f"n = {sync}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("gap / bound")
    axes.set_ylabel("share of bandits")
    axes.legend(loc="lower right")


FIGURE = FigureSpec(
    name="recursion_rate",
    shows="how fast the ideal recursion of regression ends, and the bound that is known beforehand",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
