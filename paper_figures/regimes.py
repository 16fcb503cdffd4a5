"""The three regimes: normalizer and number of local minima against the baseline's distance from the soft value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.figure import Figure

import pessimism as ps
from bandits.instances import five_arm

from . import style
from .spec import FigureSpec
from .worlds import at_offset, random_bandits, rows


@dataclass(frozen=True)
class Settings:
    """The example's temperature, offsets (V - V*) / beta, and random bandits with temperature one."""

    beta: float = 0.7
    low: float = -3.0
    high: float = 5.0
    points: int = 65
    bandits: int = 60
    bandit_points: int = 33
    arms: int = 5
    seed: int = 0


CAPTION = (
    "Log-ratio regression against its baseline's distance from the soft value V*. a: normalizer lambda/beta of every "
    "local minimum of the loss for the five-armed example (beta = 0.7; thick: the lowest one; thin: others), and the "
    "central 90% of the lowest minimum's over random bandits (five arms, behavior uniform on the simplex, standard "
    "normal rewards, beta = 1). b: number of local minima of the example (line) and over the random bandits (central "
    "90% and mean). Up to V* there is one minimum and lambda >= 0; beyond it lambda < 0 and minima multiply."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Rows of panel "example": offset, rank (0: lowest loss), rare_arm, strength (lambda / beta), minima (how many).

    Rows of panel "random": offset, and low (5%), middle (median), high (95%) of the lowest minimum's strength;
    minima_low, minima_mean, minima_high.
    """
    return pl.concat([_example(settings), _random(settings)], how="diagonal")


def _example(settings: Settings) -> pl.DataFrame:
    bandit = five_arm()
    found = []
    for offset in np.linspace(settings.low, settings.high, settings.points):
        points = ps.stationary_points(bandit, at_offset(bandit, settings.beta, float(offset)))
        found += [
            {
                "panel": "example",
                "offset": float(offset),
                "rank": rank,
                "rare_arm": point.rare_arm,
                "strength": point.normalizer / settings.beta,
                "minima": len(points),
            }
            for rank, point in enumerate(points)
        ]
    return pl.DataFrame(found, schema_overrides={"rare_arm": pl.Int64})


def _random(settings: Settings) -> pl.DataFrame:
    bandits = rows(random_bandits(settings.bandits, settings.arms, settings.seed))
    found = []
    for offset in np.linspace(settings.low, settings.high, settings.bandit_points):
        points = [ps.stationary_points(bandit, at_offset(bandit, 1.0, float(offset))) for bandit in bandits]
        minima = np.array([len(each) for each in points], dtype=float)
        low, middle, high = np.quantile([each[0].normalizer for each in points], (0.05, 0.5, 0.95))
        found.append(
            {
                "panel": "random",
                "offset": float(offset),
                "low": low,
                "middle": middle,
                "high": high,
                "minima_low": np.quantile(minima, 0.05),
                "minima_mean": minima.mean(),
                "minima_high": np.quantile(minima, 0.95),
            }
        )
    return pl.DataFrame(found)


def draw(table: pl.DataFrame) -> Figure:
    """Normalizers above, numbers of minima below."""
    example, random = (table.filter(pl.col("panel") == panel).sort("offset") for panel in ("example", "random"))
    figure = style.new_figure(style.SINGLE, 4.7)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.5, 1))
    above.fill_between(random["offset"], random["low"], random["high"], color=style.BEHAVIOR, alpha=0.35, linewidth=0,
                       label="lowest minimum, random bandits")  # fmt: skip
    for (arm,), branch in example.group_by("rare_arm", maintain_order=True):
        regime = style.REGIMES["negative"]
        if arm is not None:
            above.plot(branch["offset"], branch["strength"], color=regime, linewidth=0.7, label="other minima")
    lowest = example.filter(pl.col("rank") == 0)
    for regime, part in (("positive", pl.col("offset") <= 0), ("negative", pl.col("offset") >= 0)):
        for stretch in _unbroken(lowest.filter(part)):
            above.plot(
                stretch["offset"],
                stretch["strength"],
                color=style.REGIMES[regime],
                linewidth=1.8,
                label=f"lowest minimum, {regime} regime",
            )
    above.plot(0, 0, "o", color=style.NOMINAL, markersize=4, label="V = V*: the nominal target")
    above.axhline(0, color=style.NOMINAL, linewidth=0.5)
    above.set_ylabel("normalizer, λ / β")
    handles = dict(zip(*reversed(above.get_legend_handles_labels()), strict=True))  # one of each kind
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=1, title="a", alignment="left")
    for x, text, regime in ((0.02, "positive regime", "positive"), (0.98, "negative regime", "negative")):
        above.text(x, 1.02, text, transform=above.transAxes, color=style.REGIMES[regime], fontweight="bold",
                   ha="left" if x < 0.5 else "right")  # fmt: skip

    minima = example.unique("offset", maintain_order=True)
    below.fill_between(
        random["offset"], random["minima_low"], random["minima_high"], color=style.BEHAVIOR, alpha=0.35, linewidth=0,
        label="random: central 90%",
    )  # fmt: skip
    below.plot(random["offset"], random["minima_mean"], color="#616161", linestyle=(0, (4, 1.5)), label="random: mean")
    below.step(minima["offset"], minima["minima"], where="mid", color=style.NOMINAL, label="example")
    below.set_ylabel("local minima")
    below.set_ylim(0, None)
    below.set_xlabel("baseline above the soft value, (V − V*) / β")
    below.legend(loc="upper left")
    below.set_xlim(example["offset"].min(), example["offset"].max())
    style.panel_letter(above, "a")
    style.panel_letter(below, "b")
    return figure


def _unbroken(lowest: pl.DataFrame) -> list[pl.DataFrame]:
    """Stretches over which the lowest minimum stays on its branch: where it jumps, a line must not connect."""
    jump = (lowest["rare_arm"].fill_null(-1) != lowest["rare_arm"].shift(1).fill_null(-1)).fill_null(False)
    far = (lowest["strength"] - lowest["strength"].shift(1)).abs() > 0.05
    return lowest.with_columns(stretch=(jump & far.fill_null(False)).cum_sum()).partition_by("stretch")


FIGURE = FigureSpec(
    name="regimes",
    shows="normalizer and number of local minima against the baseline: positive, boundary, negative regime",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
