"""How everything looks: one place that gives every objective of the catalogue its color, line and marker.

Hue tells the family, lightness, line and marker the member, so that lines stay apart in greyscale and for the
color-blind. Log-ratio regression is split by regime: blue where it is pessimistic, black and grey where its target is
the nominal one, crimson in the negative regime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

import pessimism as ps
from pessimism.views import REGIMES as REGIMES

SINGLE = 3.25
"""Width of one column, inches."""
DOUBLE = 6.75
"""Width of both columns, inches."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
}

BEHAVIOR = "#9e9e9e"
NOMINAL = "#000000"


@dataclass(frozen=True)
class Style:
    """Color, line style and marker of one objective."""

    color: str
    line: Any
    marker: str

    def lines(self) -> dict[str, Any]:
        """Keywords of a line without markers."""
        return {"color": self.color, "linestyle": self.line}

    def points(self) -> dict[str, Any]:
        """Keywords of markers without a line."""
        return {"color": self.color, "linestyle": "none", "marker": self.marker}


# Dark to light, per group.
SHADES = {
    "pessimistic regression": ("#08306b", "#2171b5", "#4292c6", "#6baed6", "#9ecae1"),
    "nominal regression": ("#000000", "#525252", "#7a7a7a", "#969696"),
    "negative regression": ("#99000d",),
    "policy gradient": ("#7f2704", "#a63603", "#d94801", "#f16913", "#fd8d3c"),
    "ratio": ("#00441b", "#006d2c", "#238b45", "#41ab5d", "#74c476"),
    "weighted": ("#6a3d9a", "#807dba", "#9e9ac8"),
    "preference": ("#8c6d00", "#b8960a", "#d9b93b"),
    "value": ("#5c3317", "#8c5a32"),
}
LINES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (6, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")


def group(entry: ps.Entry) -> str:
    """The group whose hue an entry has: its family, with regression split by regime.

    >>> group(ps.catalogue()["oapl"]), group(ps.catalogue()["grpo"])
    ('pessimistic regression', 'ratio')
    """
    if entry.family != "regression":
        return entry.family
    return {"negative": "negative", "boundary": "nominal"}.get(entry.regime, "pessimistic") + " regression"


# Objectives that are drawn together often, told apart by hand.
_CHOSEN = {
    "shifted_mean": Style("#08306b", "-", "o"),
    "pmd_mean": Style("#2171b5", (0, (5, 1.5)), "s"),
    "oapl": Style("#5aa5d6", "-", "^"),
    "opmd": Style("#000000", "-", "D"),
    "oapl.single_beta": Style("#525252", (0, (5, 1.5)), "D"),
    "is_regression": Style("#8a8a8a", (0, (3, 1, 1, 1)), "v"),
    "oapl.missing_log_g": Style("#99000d", (0, (1, 1)), "X"),
    "asymre": Style("#d94801", "-", "P"),
    "grpo.no_ratio": Style("#fd8d3c", (0, (5, 1.5)), "<"),
    "grpo": Style("#006d2c", "-", ">"),
    "tpo": Style("#807dba", (0, (3, 1, 1, 1)), "p"),
}


def _styles() -> Mapping[str, Style]:
    """The chosen ones, and for every other entry the next look of its group that nobody has yet."""
    positions = {name: count() for name in SHADES}
    styles = dict(_CHOSEN)
    for entry in ps.catalogue().values():
        while entry.name not in styles:
            shades, place = SHADES[group(entry)], next(positions[group(entry)])
            line = LINES[(place + place // len(shades)) % len(LINES)]
            look = Style(shades[place % len(shades)], line, MARKERS[place % len(MARKERS)])
            if look not in styles.values():
                styles[entry.name] = look
    return MappingProxyType({name: styles[name] for name in ps.catalogue()})


STYLES: Mapping[str, Style] = _styles()
"""Catalogue name -> style; every entry has one, and no two the same."""


@contextmanager
def context() -> Iterator[None]:
    """Fonts, lines and sizes of every figure, while it is drawn and saved."""
    with matplotlib.rc_context(RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def panel_letter(axes: Axes, letter: str) -> None:
    """A letter at the upper left, outside the axes."""
    axes.annotate(
        letter, (0, 1), xycoords="axes fraction", xytext=(-3, 4), textcoords="offset points", fontweight="bold",
        fontsize=8, ha="right", va="bottom",
    )  # fmt: skip


def darker(color: str) -> tuple[float, ...]:
    """A color as dark as small text on white needs (contrast 4.5, WCAG 2), hue kept.

    >>> darker("#000000")
    (0.0, 0.0, 0.0)
    """
    channels = np.array(to_rgb(color))
    scale = min(1.0, (0.18 / max(luminance(color), 1e-9)) ** (1 / 2.2))
    return tuple(float(channel) for channel in channels * scale)


def luminance(color: str) -> float:
    """Relative luminance of a color (WCAG 2), what is left of it in greyscale.

    >>> luminance("#ffffff")
    1.0
    """
    channels = np.array(to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def spread(places: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Ascending places (n,) moved as little as it takes (least squares) to leave the gaps (n - 1,) between neighbors.

    >>> spread(np.array([0.0, 0.1, 5.0]), np.array([1.0, 1.0])).round(2).tolist()
    [-0.45, 0.55, 5.0]
    """
    steps = np.concatenate([[0.0], np.cumsum(gaps)])
    return isotonic_regression(places - steps).x + steps


def end_labels(axes: Axes, ends: list[tuple[float, float, str, str]], gap: float = 0.07, reach: float = 0.05) -> None:
    """Labels at the right of the axes for lines that end at (x, y): (x, y, text, color), moved apart where crowded.

    Call it last: it needs the axes' final limits. `gap` is the least distance of two labels and `reach` how far to the
    right of the axes they stand, in heights and widths of the axes. A thin line leads from each end to its label.
    """
    places = axes.transScale + axes.transLimits
    ends = sorted(ends, key=lambda end: places.transform((end[0], end[1]))[1])
    heights = np.array([places.transform((x, y))[1] for x, y, _, _ in ends])
    for (x, y, text, color), height in zip(ends, spread(heights, np.full(len(ends) - 1, gap)), strict=True):
        axes.annotate(
            text, (x, y), xycoords="data", xytext=(1 + reach, height), textcoords="axes fraction", color=color,
            fontsize=7, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.4, "shrinkA": 1, "shrinkB": 1,
                        "relpos": (0, 0.5)},  # to the label's beginning, so that no line crosses another label
        )  # fmt: skip


def legend_below(axes: Axes) -> None:
    """The legend under the axes and their label, one entry per line."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), borderaxespad=0, handlelength=2.8, labelspacing=0.25)
