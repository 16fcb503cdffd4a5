"""The pictures of an audit, as SVG that stands by itself."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..views import palette
from .report import AlgorithmAudit
from .statistics import REGIMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {**palette.REGIMES, "none": "#7a9e9f"}
DARK = palette.COLORS["induced"]
LIGHT = "#e08214"
LINE = "black"
"""On the stacked shares, which are light on any page."""

INK = "#010203"
"""What stands for the color of the page's text, which is light on dark pages."""

MANY_BINS = 40
"""Bins from which on a chart shows a running mean, with the raw values behind it."""

TAIL = 0.002
"""Share of the values at each end that a histogram leaves out, and says so."""


def pictures(algorithm: AlgorithmAudit) -> list[tuple[str, str]]:
    """(caption, SVG) of everything there is to draw; groups of 0/1 rewards take a few values only, and have a table."""
    drawn = algorithm.drawn
    found: list[tuple[str, str]] = []
    for name, axis, words in (
        ("normalizer", "normalizer (its sign is the regime)", "Normalizer"),
        ("kl", "KL(pi|mu), nats", "How far the target is from the samples"),
        ("value_change", "predicted change of the mean reward", "What the target would gain"),
    ):
        if algorithm.by_passes:
            break
        values = drawn[name][np.isfinite(drawn[name])]
        if name == "normalizer" and "none" in algorithm.regimes:
            continue  # its sign says nothing
        if len(values):
            low, high = np.quantile(values, [TAIL, 1 - TAIL])
            out = int(((values < low) | (values > high)).sum())
            caption = f"{words}, by group with signal" + (f" ({out} of {len(values):,} lie outside)" if out else "")
            by_sign = name == "normalizer"
            found.append((caption, _svg(_histogram(values, low, high, axis, by_sign), f"{algorithm.name} {name}")))
    for title, bins in (("version", algorithm.by_version), ("lag", algorithm.by_lag)):
        if len(bins) > 1:
            smoothed = ", smoothed, with raw values behind" if len(bins) > MANY_BINS else ""
            found.append(
                (f"Regimes and distance by {title}{smoothed}", _svg(_drift(bins, title), f"{algorithm.name} {title}"))
            )
    if algorithm.realized is not None and len(drawn["predicted"]) > 1:
        count = len(drawn["predicted"])
        drawn_of = "all" if count == algorithm.realized["all samples"]["samples"] else "drawn at random"
        caption = f"Realized against predicted log-ratios, {count:,} samples ({drawn_of})"
        found.append((caption, _svg(_realized(algorithm), f"{algorithm.name} realized")))
    return found


def _svg(draw: Callable[[Axes], None], salt: str) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    text = io.StringIO()
    ink = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.size": 9.5, **ink}):  # words as words
        figure = Figure(figsize=(4.0, 2.2), layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :].replace(INK, "currentColor")
    return re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to these, and every picture has the same


def _histogram(values: np.ndarray, low: float, high: float, axis: str, by_sign: bool) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        edges = np.linspace(low, high, 41) if high > low else np.array([low - 0.5, low + 0.5])
        parts = [("", values, DARK)]
        if by_sign:
            signs = (("negative", values < 0), ("boundary", values == 0), ("positive", values > 0))
            parts = [(name, values[chosen], COLORS[name]) for name, chosen in signs if chosen.any()]
        axes.hist(
            [part for _, part, _ in parts],
            bins=edges,  # type: ignore[arg-type]
            stacked=True,
            color=[color for _, _, color in parts],
            label=[name for name, _, _ in parts],
        )
        if by_sign:
            axes.legend(frameon=False)
        axes.set_xlabel(axis)
        axes.set_ylabel("groups")

    return draw


def _drift(bins: list[dict[str, float]], title: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        places = np.array([(row["from"] + row["to"]) / 2 for row in bins])
        counts = np.array([row["groups"] for row in bins])
        sums = {name: np.array([row[name] for row in bins]) for name in REGIMES}
        sums = {name: values for name, values in sums.items() if values.any()}
        shares = [running(values, counts) for values in sums.values()]
        colors = [COLORS[name] for name in sums]
        labels = ["no regime" if name == "none" else name for name in sums]
        axes.stackplot(places, *shares, labels=labels, colors=colors, linewidth=0)
        if len(bins) > MANY_BINS:
            for edge in np.cumsum([values / counts for values in sums.values()], axis=0)[:-1]:
                axes.plot(places, edge, color="white", linewidth=0.5, alpha=0.6)
        axes.set_ylim(0, 1)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlim(places[0], places[-1])
        axes.set_xlabel(title)
        axes.set_ylabel("share of groups")
        right = axes.twinx()
        kl = np.array([row["kl"] for row in bins])
        if len(bins) > MANY_BINS:
            right.plot(places, kl / counts, color=LINE, linewidth=0.6, alpha=0.5)
        right.plot(places, running(kl, counts), color=LINE, linewidth=1.5, label="mean KL")
        right.set_ylim(0, 1.1 * max((kl / counts).max(), 1e-9))
        right.set_ylabel("mean KL, nats")
        right.spines[["top"]].set_visible(False)
        handles = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
        names = [*axes.get_legend_handles_labels()[1], *right.get_legend_handles_labels()[1]]
        axes.legend(handles, names, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)

    return draw


def running(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n,) sums over counts, of many bins as a running mean over a fortieth of them, at the ends over what there is.

    >>> running(np.array([1.0, 2.0]), np.array([2.0, 2.0]))
    array([0.5, 1. ])
    """
    width = 1 if len(sums) <= MANY_BINS else 2 * (len(sums) // MANY_BINS) + 1
    window = np.ones(width)
    return np.convolve(sums, window, "same") / np.convolve(counts, window, "same")


def _realized(algorithm: AlgorithmAudit) -> Callable[[Axes], None]:
    predicted, realized = algorithm.drawn["predicted"], algorithm.drawn["realized"]
    assert algorithm.realized is not None
    fit = algorithm.realized["all samples"]

    def draw(axes: Axes) -> None:
        axes.scatter(predicted, realized, s=4, color=DARK, alpha=0.25, linewidths=0, rasterized=True)
        ends = np.array([predicted.min(), predicted.max()])
        if np.isfinite(fit["slope"]):
            label = f"slope {fit['slope']:.3g}, R2 {fit['r2']:.2f}"
            axes.plot(ends, fit["intercept"] + fit["slope"] * ends, color=LIGHT, linewidth=1.5, label=label)
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
        axes.set_xlabel("predicted log-ratio at the target")
        axes.set_ylabel("realized so far")

    return draw
