"""How tight the trust region is: nats that a sync really moves, over the nats that were allowed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps

from . import style
from .spec import FigureSpec


@dataclass(frozen=True)
class Settings:
    """Random bandits and their arms, the nats allowed, and temperatures in standard deviations of the rewards."""

    bandits: int = 1000
    arms: int = 8
    nats: tuple[float, ...] = (0.01, 0.1, 1.0)
    temperatures: tuple[float, ...] = (0.03, 0.3, 3.0)
    seed: int = 0


CAPTION = (
    "Tightness of the prescription delta beta = sd(r)/sqrt(exp(k) - 1), which keeps KL(target | behavior) below k nats "
    "in a sync. 1,000 random bandits a line (8 arms, behavior uniform on the simplex, rewards 1 with probability 0.4, "
    "else 0, at least one of each; temperature in standard deviations of the rewards). a: distribution of the realized "
    "KL over k. b: distribution of the exact shift, at which KL is k, over the prescribed one; at most 0 where the "
    "mean baseline is within k already. Bandits whose nominal target is within k are in both, with its shift."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns nats, temperature, bandit, realized (KL over k), shift (exact over prescribed), binding."""
    generator = np.random.default_rng(settings.seed)
    shape = (settings.bandits, settings.arms)
    behavior = generator.dirichlet(np.ones(settings.arms), size=settings.bandits)
    reward = (generator.uniform(size=shape) < 0.4).astype(float)
    reward[:, 0], reward[:, 1] = 0.0, 1.0
    mean = (behavior * reward).sum(axis=-1, keepdims=True)
    scaled = (reward - mean) / np.sqrt((behavior * (reward - mean) ** 2).sum(axis=-1, keepdims=True))
    parts = []
    for nats in settings.nats:
        for temperature in settings.temperatures:
            found = ps.prescribe(scaled, behavior=behavior, nats=nats, beta=temperature)
            parts.append(
                pl.DataFrame(
                    {
                        "nats": nats,
                        "temperature": temperature,
                        "bandit": np.arange(settings.bandits),
                        "realized": found.nats / nats,
                        "shift": found.exact_shift / found.shift,
                        "binding": found.binding,
                    }
                )
            )
    return pl.concat(parts)


COLORS = ("#9ecae1", "#2171b5", "#08306b")
LINES = ("-", (0, (5, 1.5)), (0, (1, 1)))


def draw(table: pl.DataFrame) -> Figure:
    """Two distribution functions."""
    figure = style.new_figure(style.DOUBLE, 3.4)
    left, right = figure.subplots(1, 2)
    _draw_distribution(left, table, "realized", "realized KL / k")
    _draw_distribution(right, table, "shift", "exact shift / prescribed shift")
    left.set_xlim(0, 1)
    right.set_xlim(-1, 1)
    for axes, letter in ((left, "a"), (right, "b")):
        style.panel_letter(axes, letter)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _draw_distribution(axes: Axes, table: pl.DataFrame, column: str, label: str) -> None:
    for (nats,), color in zip(table.select("nats").unique(maintain_order=True).rows(), COLORS, strict=False):
        rows = table.filter(pl.col("nats") == nats)
        for (beta,), line in zip(rows.select("temperature").unique(maintain_order=True).rows(), LINES, strict=False):
            values = rows.filter(pl.col("temperature") == beta)[column].sort().to_numpy()
            share = np.arange(1, len(values) + 1) / len(values)
            axes.plot(values, share, color=color, linestyle=line, label=f"k = {nats:g}, β = {beta:g} sd")
    axes.set_ylim(0, 1)
    axes.set_xlabel(label)
    axes.set_ylabel("share of bandits")


FIGURE = FigureSpec(
    name="trust_region",
    shows="how far below the allowed nats a sync stays, and how much smaller the exact shift is",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
