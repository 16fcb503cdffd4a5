"""Every objective of the catalogue on one bandit: how far its target moves, and what that is worth."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.special import softmax

import pessimism as ps

from . import style
from .spec import FigureSpec

TEMPERATURES = ("beta", "beta2", "tau", "temperature")
"""Parameters that are temperatures of the nominal target; `eta` of REBEL is the inverse of one."""


@dataclass(frozen=True)
class Settings:
    """The bandit; one temperature for all objectives that have one, a multiple of it in the baselines of two."""

    arms: int = 16
    spread: float = 6.0
    temperature: float = 0.1
    baseline_factor: float = 2.0
    frontier: tuple[float, float, int] = (1e-2, 1e2, 81)  # temperatures of the Gibbs curve
    left_out: tuple[str, ...] = ()  # names; limits of clipped flows take seconds each
    seed: int = 0


CAPTION = (
    "Every objective of the catalogue on one bandit (16 arms, rewards uniform on [0, 1], behavior = softmax of logits "
    "evenly spaced on [0, 6]): value of its induced "
    "target against that target's KL divergence from the behavior policy. Line: the Gibbs policies, the most value at "
    "each divergence. Temperatures are 0.1 (OAPL's and A*-PO's beta1 0.2, REBEL's eta 10); all other parameters are "
    "the published defaults. Objectives with the same target share a point. Star: the nominal target of the "
    "regressions."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Rows of panel "objective": name, family, kl and value of the induced target, nominal_kl and nominal_value.

    Rows of panel "frontier": temperature, kl and value of the Gibbs policy: no policy of that KL has more value.
    """
    bandit = _bandit(settings)
    found = []
    for name, entry in ps.catalogue().items():
        if name in settings.left_out:
            continue
        comparison = ps.compare(bandit, ps.algorithm(name, **_parameters(entry, settings)))
        induced, nominal = comparison.induced_metrics, comparison.nominal_metrics
        found.append(
            {
                "panel": "objective",
                "name": name,
                "family": entry.family,
                "kl": induced.kl,
                "value": induced.value,
                "nominal_kl": nominal.kl,
                "nominal_value": nominal.value,
                "regime": comparison.regime,
                "kind": comparison.induced.kind,
            }
        )
    low, high, count = settings.frontier
    for temperature in np.geomspace(low, high, count):
        metrics = ps.compare(bandit, ps.algorithm("opmd", tau=float(temperature))).induced_metrics
        found.append({"panel": "frontier", "temperature": temperature, "kl": metrics.kl, "value": metrics.value})
    return pl.DataFrame(found, infer_schema_length=None)


def _bandit(settings: Settings) -> ps.Bandit:
    reward = np.random.default_rng(settings.seed).uniform(size=settings.arms)
    return ps.Bandit(softmax(np.linspace(0, settings.spread, settings.arms)), reward)


def _parameters(entry: ps.Entry, settings: Settings) -> dict[str, float]:
    """The common temperature for the parameters that are one; all others keep their published defaults."""
    if entry.family in ("ratio", "value") and entry.name != "cql":
        return {}
    chosen = {name: settings.temperature for name in TEMPERATURES if name in entry.parameters}
    if "beta1" in entry.parameters:
        chosen["beta1"] = settings.baseline_factor * settings.temperature
    if entry.name == "rebel":
        chosen["eta"] = 1 / settings.temperature
    return chosen


def clusters(table: pl.DataFrame, digits: int = 3) -> pl.DataFrame:
    """Objectives that share a point: their names, the first one's family, kl and value; by kl."""
    return (
        table.filter(pl.col("panel") == "objective")
        .group_by(pl.col("kl").round(digits).alias("at"), pl.col("value").round(digits).alias("worth"))
        .agg(pl.col("name").sort_by(pl.col("name").str.contains(".", literal=True), maintain_order=True),
             pl.col("kl", "value").first())
        .sort("kl", "value")
    )  # fmt: skip


LEAST_KL = 0.005
"""Targets nearer to the behavior policy than this are drawn at the left edge."""
LINE = 0.029
"""Height of a line of labels, in heights of the axes."""


def draw(table: pl.DataFrame) -> Figure:
    """One panel: value against KL, every point labeled."""
    figure = style.new_figure(style.DOUBLE, 5.7)
    axes = figure.add_subplot()
    frontier = table.filter((pl.col("panel") == "frontier") & (pl.col("kl") > LEAST_KL)).sort("kl")
    curve = axes.plot(frontier["kl"], frontier["value"], color=style.BEHAVIOR, linewidth=3, alpha=0.5, zorder=0)
    axes.set_xscale("log")
    points = clusters(table)
    axes.set_xlim(LEAST_KL * 0.9, points["kl"].max() * 8)  # type: ignore[operator]
    low, high = points["value"].min(), points["value"].max()
    axes.set_ylim(low - 0.12 * (high - low), high + 0.08 * (high - low))  # type: ignore[operator]
    for name, kl, value in table.filter(pl.col("panel") == "objective").select("name", "kl", "value").iter_rows():
        look = style.STYLES[name].points()
        axes.plot(max(kl, LEAST_KL), value, **look, markeredgecolor="white", markeredgewidth=0.3, zorder=3)
    nominal = table.filter(pl.col("name") == "shifted_mean").row(0, named=True)
    axes.plot(nominal["nominal_kl"], nominal["nominal_value"], marker="*", markersize=15, color="none",
              markeredgecolor=style.NOMINAL, markeredgewidth=0.8, zorder=4)  # fmt: skip
    best_at = np.interp(points["kl"], frontier["kl"], frontier["value"])
    left = pl.Series((points["value"] > best_at - 0.012) & (points["kl"] > 0.2))
    _label(axes, points.filter(left), left=True)
    _label(axes, points.filter(~left), left=False)
    axes.set_xlabel("how far the target moves, KL(π‖μ), nats")
    axes.set_ylabel("value of the target, units of reward")
    families = {style.group(ps.catalogue()[name]): name for name in reversed(points["name"].explode().to_list())}
    marks = [Patch(color=style.STYLES[families[name]].color, label=name) for name in style.SHADES if name in families]
    small = Line2D([], [], linestyle="none", marker="*", markersize=8, color="none", markeredgecolor=style.NOMINAL)
    named = {"Gibbs policies: most value at each KL": curve[0], "nominal target of the regressions": small}
    handles = [*named.values(), *marks]
    labels = [*named, *(str(mark.get_label()) for mark in marks)]
    figure.legend(handles, labels, loc="outside lower center", ncols=4, columnspacing=1.2)
    return figure


def _label(axes: Axes, points: pl.DataFrame, left: bool) -> None:
    """Names in a column at the left or the right, each with a line to its point."""
    texts = [
        textwrap.fill(", ".join(names) + (f" (KL {kl:.0e})" if kl < LEAST_KL else ""), 44 if left else 40)
        for names, kl in points.select("name", "kl").iter_rows()
    ]
    lines = np.array([text.count("\n") + 1 for text in texts])
    places = axes.transScale + axes.transLimits
    at = [(max(kl, LEAST_KL), value) for kl, value in points.select("kl", "value").iter_rows()]
    order = np.lexsort(np.array(at).T)  # by value, then by divergence
    heights = np.array([places.transform(at[index])[1] for index in order]) + (0.03 if left else -0.03)
    gaps = LINE * (lines[order][1:] + lines[order][:-1]) / 2 + 0.006
    for index, height in zip(order, _within(style.spread(heights, gaps), gaps), strict=True):
        color = style.darker(style.STYLES[points["name"][int(index)][0]].color)
        axes.annotate(
            texts[index], at[index], xytext=(0.02 if left else 0.99, height), textcoords="axes fraction", fontsize=7,
            ha="left" if left else "right", va="center", color=color, linespacing=1.1, zorder=2,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.4, "shrinkA": 1, "shrinkB": 2,
                        "relpos": (1, 0.5) if left else (0, 0.5)},
        )  # fmt: skip


def _within(heights: np.ndarray, gaps: np.ndarray, low: float = 0.03, high: float = 0.98) -> np.ndarray:
    """Heights pushed back inside the axes, gaps kept as long as there is room."""
    for index in range(len(heights)):  # from below
        floor = low if index == 0 else heights[index - 1] + gaps[index - 1]
        heights[index] = max(heights[index], floor)
    for index in reversed(range(len(heights))):  # from above
        ceiling = high if index == len(heights) - 1 else heights[index + 1] - gaps[index]
        heights[index] = min(heights[index], ceiling)
    return heights


FIGURE = FigureSpec(
    name="catalogue_map",
    shows="all objectives of the catalogue: divergence of the target against its value",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
