"""Three policies: where PPO's clip is measured from, and what that makes of old data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps
from bandits.three_policies import MODES, Ages, train

from . import style
from .spec import FigureSpec


@dataclass(frozen=True)
class Settings:
    """Random bandits, their arms, runs of each, steps, and how old sampler and proximal policy become."""

    bandits: int = 16
    arms: int = 20
    runs: int = 2
    steps: int = 1024
    every: int = 32
    samplers: tuple[int, ...] = (16, 64, 256)
    proximal: int = 4
    group_size: int = 8
    seed: int = 0


CAPTION = (
    "PPO (low = high = 0.2) on data of a sampler that is renewed every L steps, its proximal policy every 4. "
    "16 random bandits (20 arms, behavior uniform on the simplex, rewards uniform on [0, 1], the best 1), two runs "
    "each, 1024 steps of plain gradient ascent (rate 1) on a fresh group of 8 a step. a: gap r* - E r, mean over runs; "
    "b: entropy. The clip is measured from the sampler; from the proximal policy, without a weight (recomputed); with "
    "the weight between the two, at most 5 (decoupled); or from the log-linear mean of sampler and current policy "
    "(interpolated, A-3PO), with that weight."
)

LOOKS = {
    "around the sampler": style.Style("#000000", "-", "o"),
    "recomputed": style.Style("#d94801", (0, (5, 1.5)), "s"),
    "decoupled": style.Style("#2171b5", "-", "^"),
    "interpolated": style.Style("#238b45", (0, (1, 1)), "D"),
}


def compute(settings: Settings) -> pl.DataFrame:
    """Columns mode, sampler (L), step, gap, entropy, moved: means over bandits and runs."""
    generator = np.random.default_rng(settings.seed)
    behavior = generator.dirichlet(np.ones(settings.arms), size=settings.bandits)
    reward = generator.uniform(size=behavior.shape)
    reward[:, 0] = 1.0
    bandit = ps.Bandit(behavior, reward)
    gap, entropy = 1 - (behavior * reward).sum(axis=-1).mean(), -(behavior * np.log(behavior)).sum(axis=-1).mean()
    parts = []
    for lag in settings.samplers:
        for mode in MODES:
            ages = Ages(
                settings.steps,
                sampler=lag,
                proximal=settings.proximal,
                group_size=settings.group_size,
                record_every=settings.every,
            )
            run = train(bandit, mode, ages, range(settings.runs))
            columns = {
                "step": np.concatenate([[0], run.step]),
                "gap": np.concatenate([[gap], 1 - run.value.mean(axis=-1)]),
                "entropy": np.concatenate([[entropy], run.entropy.mean(axis=-1)]),
                "moved": np.concatenate([[0.0], run.moved.mean(axis=-1)]),
            }
            parts.append(pl.DataFrame({"mode": mode, "sampler": lag, **columns}))
    return pl.concat(parts)


def draw(table: pl.DataFrame) -> Figure:
    """Gap over entropy, a column for every age of the sampler."""
    lags = table["sampler"].unique().sort().to_list()
    figure = style.new_figure(style.DOUBLE, 3.9)
    grid = figure.subplots(2, len(lags), sharex=True, sharey="row", squeeze=False)
    for column, lag in zip(grid.T, lags, strict=True):
        for axes, name in zip(column, ("gap", "entropy"), strict=True):
            _lines(axes, table.filter(pl.col("sampler") == lag), name)
        column[0].set_title(f"sampler renewed every {lag} steps")
        column[0].set_yscale("log")
        column[1].set_xlabel("optimizer steps")
    for row, label, letter in zip(grid, ("r* − E r", "entropy, nats"), "ab", strict=True):
        row[0].set_ylabel(label)
        style.panel_letter(row[0], letter)
    grid[1, 0].legend(loc="upper right", handlelength=2.8)
    return figure


def _lines(axes: Axes, table: pl.DataFrame, name: str) -> None:
    for mode, look in LOOKS.items():
        part = table.filter(pl.col("mode") == mode)
        axes.plot(part["step"], part[name], **look.lines(), label=mode)


FIGURE = FigureSpec(
    name="three_policies",
    shows="where PPO's clip is measured from, and what that makes of old data",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
