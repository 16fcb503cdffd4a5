"""Misalignment with the oracle's update on TPO's single-context bandit: how much of a mean is its tail."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.instances import tpo_single_context
from bandits.misalignment import misalignments
from bandits.published import SINGLE_CONTEXT, SINGLE_CONTEXT_METHODS

from . import style
from .spec import FigureSpec
from .swept import interval


@dataclass(frozen=True)
class Settings:
    """Runs, and what is added to squared lengths (as in public code) when a cosine is taken."""

    runs: int = 2000
    steps: int = 150
    added: float = 1e-12
    quantiles: tuple[float, float] = (0.05, 0.95)


LOOKS = {"tpo": "tpo", "grpo": "grpo.no_ratio", "policy gradient": "reinforce"}
"""Method -> the catalogue's name for it, where it has one."""

CAPTION = (
    "Misalignment 1 - cos of every step's update with the oracle's direction on the single-context bandit of TPO "
    "(arXiv 2604.06159; 100 arms, one right, 100 samples a step, normalized steps of 0.1), by the four methods "
    "compared there; 2000 runs. Solid: mean, with its 95% Student-t interval; dashed: median; band: central 90% of the "
    "runs. As in the public code 1e-12 is added to squared lengths, which counts the shortness of late updates as "
    "misalignment (the straight rises). A mean far above the median is made by few runs: a "
    "hundred seeds do not settle it. Experiment of that source, simulated and drawn here."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns method, step (from 0); mean, half (of its interval's width), median, low, high of the misalignment."""
    plan = replace(SINGLE_CONTEXT, syncs=settings.steps, record_every=settings.steps)
    parts = []
    for method, (algorithm, draw_data) in SINGLE_CONTEXT_METHODS.items():
        found = misalignments(tpo_single_context(), algorithm, plan, settings.runs, draw_data, settings.added)
        mean, half = interval(found)
        low, median, high = np.quantile(found, (settings.quantiles[0], 0.5, settings.quantiles[1]), axis=-1)
        columns = {"step": np.arange(len(found)), "mean": mean, "half": half, "median": median}
        parts.append(pl.DataFrame({"method": method, **columns, "low": low, "high": high}))
    return pl.concat(parts)


def draw(table: pl.DataFrame) -> Figure:
    """A panel for every method."""
    figure = style.new_figure(style.DOUBLE, 2.2)
    methods = table["method"].unique(maintain_order=True).to_list()
    panels = figure.subplots(1, len(methods), sharex=True, sharey=True)
    for axes, method in zip(panels, methods, strict=True):
        look = style.STYLES[LOOKS[method]] if method in LOOKS else None
        _panel(axes, table.filter(pl.col("method") == method), look.color if look else "#606060")
        axes.set_title(method)
        axes.set_xlabel("step")
    panels[0].set_ylabel("misalignment, 1 − cos")
    panels[2].legend(loc="lower left")
    return figure


def _panel(axes: Axes, table: pl.DataFrame, color: str) -> None:
    mean, half = table["mean"].to_numpy(), table["half"].to_numpy()
    axes.fill_between(table["step"], table["low"], table["high"], color=color, alpha=0.18, linewidth=0)
    axes.plot(table["step"], mean, color=color, label="mean")
    relative = half / mean  # the interval of the logarithm (delta method)
    axes.fill_between(table["step"], mean * np.exp(-relative), mean * np.exp(relative), color=color, alpha=0.35,
                      linewidth=0)  # fmt: skip
    axes.plot(table["step"], table["median"], color=color, linestyle=(0, (4, 2)), linewidth=1, label="median")
    axes.set_yscale("log")


FIGURE = FigureSpec(
    name="tpo_misalignment",
    shows="misalignment with the oracle's update on TPO's single-context bandit: means and their tails",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
    origin="experiment of TPO (arXiv 2604.06159), simulated and drawn here",
)
