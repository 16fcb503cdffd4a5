"""The residual family in a bandit: two targets by three weights, at the same first step, lag and rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps
from bandits import settings as training
from bandits.instances import sparse
from bandits.noise import GaussianNoise
from bandits.simulate import simulate

from . import style
from .spec import FigureSpec

TARGETS = {"nominal": "residual_nominal.weighted", "Lambert": "residual_regression.weighted"}
WEIGHTS = {"1": (0.0, math.inf), "min(ρ, 2)": (1.0, 2.0), "ρ": (1.0, math.inf)}
"""Name of h -> power and cap."""


@dataclass(frozen=True)
class World:
    """How the six cells are trained in one column of the figure."""

    beta: float
    lag: int
    learning_rate: float
    noise: float


@dataclass(frozen=True)
class Settings:
    """Bandit and runs; every step takes a fresh group of the version that drew it."""

    arms: int = 100
    rewarded: int = 10
    group_size: int = 8
    syncs: int = 6
    seeds: int = 24
    worlds: tuple[World, ...] = (World(0.2, 100, 1.0, 0.0), World(0.1, 400, 5.0, 0.0), World(0.1, 400, 5.0, 1.0))


CAPTION = (
    "Residual regression: target (nominal: dose 0; Lambert: dose 1, shift delta = 1) by weight h, all with the same "
    "first step on every sample. Bandit of 100 arms, 10 of them rewarded, groups of 8, a fresh group for every step, "
    "SGD, lambda estimated without the sample itself; columns: temperature, lag L and learning rate (not tuned), and "
    "standard deviation of the noise on rewards. Lines: means over 24 runs after every sync, bands: 95% Student-t "
    "intervals; entropy in nats (uniform on the winners: 2.30)."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns world, beta, lag, learning_rate, noise, target, weight, sync; mean and half (interval) of both measures.

    Further: collapsed, the share of runs whose final value is below one half (or that left floating point).
    """
    bandit = sparse(settings.arms, settings.rewarded)
    rows = [
        row
        for place, world in enumerate(settings.worlds)
        for target in TARGETS
        for weight in WEIGHTS
        for row in _cell(settings, bandit, place, world, target, weight)
    ]
    return pl.DataFrame(rows)


def _cell(
    settings: Settings, bandit: ps.Bandit, place: int, world: World, target: str, weight: str
) -> list[dict[str, Any]]:
    power, cap = WEIGHTS[weight]
    size = settings.group_size
    chosen = ps.algorithm(TARGETS[target], beta=world.beta, power=power, cap=cap, group_size=size)
    trained = training.Settings(
        syncs=settings.syncs,
        lag=world.lag,
        learning_rate=world.learning_rate,
        group_size=size,
        groups=world.lag,
        minibatches=world.lag,
        noise=GaussianNoise(world.noise) if world.noise else None,
        targets=False,
    )
    run = simulate(bandit, chosen, trained, range(settings.seeds))
    value, entropy = np.asarray(run.value), np.asarray(run.entropy)
    keys = {"world": place, "beta": world.beta, "lag": world.lag, "learning_rate": world.learning_rate}
    keys |= {"noise": world.noise, "target": target, "weight": weight}
    # A run that left the range of floating point counts as collapsed, and in no later mean.
    collapsed = float(np.mean(~(value[-1] >= 0.5)))
    return [
        keys
        | {"sync": sync + 1, "collapsed": collapsed}
        | _interval("value", value[sync])
        | _interval("entropy", entropy[sync])
        for sync in range(settings.syncs)
    ]


def _interval(name: str, runs: np.ndarray) -> dict[str, float]:
    from scipy.stats import t

    runs = runs[np.isfinite(runs)]
    half = t.ppf(0.975, len(runs) - 1) * runs.std(ddof=1) / math.sqrt(len(runs)) if len(runs) > 1 else 0.0
    return {name: float(runs.mean()), f"{name}_half": float(half)}


LOOKS = {"nominal": style.NOMINAL, "Lambert": style.REGIMES["positive"]}
LINES: dict[str, Any] = {"1": "-", "min(ρ, 2)": (0, (5, 1.5)), "ρ": (0, (1, 1))}


def draw(table: pl.DataFrame) -> Figure:
    """A column for every world; value above entropy."""
    worlds = table["world"].unique(maintain_order=True).to_list()
    figure = style.new_figure(style.DOUBLE, 3.9)
    grid = figure.subplots(2, len(worlds), sharex=True, sharey="row", squeeze=False)
    for column, world in zip(grid.T, worlds, strict=True):
        here = table.filter(pl.col("world") == world)
        for axes, name in zip(column, ("value", "entropy"), strict=True):
            _lines(axes, here, name)
        first = here.row(0, named=True)
        noise = f", noise {first['noise']:g}" if first["noise"] else ""
        column[0].set_title(f"β = {first['beta']:g}, L = {first['lag']}, η = {first['learning_rate']:g}{noise}")
        column[-1].set_xlabel("sync")
    grid[0, 0].set_ylabel("value")
    grid[1, 0].set_ylabel("entropy, nats")
    for axes, letter in zip(grid.flat, "abcdef", strict=False):
        style.panel_letter(axes, letter)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=3)
    return figure


def _lines(axes: Axes, table: pl.DataFrame, name: str) -> None:
    for target, color in LOOKS.items():
        for weight, line in LINES.items():
            cell = table.filter(pl.col("target") == target, pl.col("weight") == weight)
            middle, half = cell[name].to_numpy(), cell[f"{name}_half"].to_numpy()
            axes.plot(cell["sync"], middle, color=color, linestyle=line, label=f"{target}, h = {weight}")
            axes.fill_between(cell["sync"], middle - half, middle + half, color=color, alpha=0.12, linewidth=0)


FIGURE = FigureSpec(
    name="residual_cells",
    shows="the residual family: two targets by three weights under lag",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
