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
TAIL = 0.002
"""Share of the values at each end that a histogram leaves out, and says so."""


def pictures(algorithm: AlgorithmAudit) -> list[tuple[str, str]]:
    """(caption, SVG) of everything there is to draw."""
    drawn = algorithm.drawn
    found: list[tuple[str, str]] = []
    for name, axis, words in (
        ("normalizer", "normalizer (its sign is the regime)", "Normalizer"),
        ("kl", "KL(pi|mu), nats", "How far the target is from the samples"),
        ("value_change", "predicted change of the mean reward", "What the target would gain"),
    ):
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
            found.append((f"Regimes and distance by {title}", _svg(_drift(bins, title), f"{algorithm.name} {title}")))
    if algorithm.realized is not None and len(drawn["predicted"]) > 1:
        count = len(drawn["predicted"])
        drawn_of = "all" if count == algorithm.realized["all samples"]["samples"] else "drawn at random"
        caption = f"Realized against predicted log-ratios, {count:,} samples ({drawn_of})"
        found.append((caption, _svg(_realized(algorithm), f"{algorithm.name} realized")))
    return found


def _svg(draw: Callable[[Axes], None], salt: str) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    text = io.StringIO()
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):  # ids apart, words as words
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
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
            axes.legend(frameon=False, fontsize=9)
        axes.set_xlabel(axis)
        axes.set_ylabel("groups")

    return draw


def _drift(bins: list[dict[str, float]], title: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        places = np.array([(row["from"] + row["to"]) / 2 for row in bins])
        counts = np.array([row["groups"] for row in bins])
        shares = {name: np.array([row[name] for row in bins]) / counts for name in REGIMES}
        shares = {name: share for name, share in shares.items() if share.any()}
        axes.stackplot(
            places, *shares.values(), labels=list(shares), colors=[COLORS[name] for name in shares], linewidth=0
        )
        axes.set_ylim(0, 1)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlim(places[0], places[-1])
        axes.set_xlabel(title)
        axes.set_ylabel("share of the groups")
        right = axes.twinx()
        kl = np.array([row["kl"] for row in bins]) / counts
        right.plot(places, kl, color="black", linewidth=1.5, label="mean KL")
        right.set_ylim(0, 1.1 * max(kl.max(), 1e-9))
        right.set_ylabel("mean KL(pi|mu), nats")
        right.spines[["top"]].set_visible(False)
        handles = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
        names = [*axes.get_legend_handles_labels()[1], *right.get_legend_handles_labels()[1]]
        axes.legend(
            handles, names, frameon=False, fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0
        )

    return draw


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
        axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
        axes.set_xlabel("predicted log-ratio at the target")
        axes.set_ylabel("realized so far")

    return draw
