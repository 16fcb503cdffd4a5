"""The picture of one comparison, or of several on one bandit. matplotlib is imported only when one is asked for."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..extras import need
from ..hints import near
from ..verdict import verdict
from .comparison import title
from .palette import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..compare import Comparison

BARS_UP_TO = 40
COLUMNS = 3
"""Panels in a row, for several comparisons."""
CURVED = 4.0
"""Where the nominal ratios span more than this factor, an inset on linear axes shows the bend of the induced ones."""


@dataclass(frozen=True)
class Look:
    """Width of a picture in inches, height of a panel as a share of its width, type size, and size of a point."""

    width: float
    height: float
    type_size: float
    point: float


LOOKS = MappingProxyType(
    {
        "screen": Look(6.4, 0.6, 9, 9),
        "paper": Look(3.25, 0.75, 7, 4),  # one column of a paper
        "slides": Look(10.0, 0.5, 16, 36),
    }
)
"""Styles by name."""


def known_style(style: str, width: float | None = None) -> Look:
    """The look of that name, as wide as asked for.

    Raises:
        ValueError: no such style, or a width that no picture has.

    >>> known_style("paper").width
    3.25
    >>> known_style("poster")
    Traceback (most recent call last):
    ...
    ValueError: unknown style 'poster'; known styles: screen, paper, slides
    """
    if style not in LOOKS:
        raise ValueError(f"unknown style {style!r}; {near(style, LOOKS, 'styles')}")
    look = LOOKS[style]
    if width is None:
        return look
    if not 1 <= width <= 40:
        raise ValueError(f"width is {width:g}; it must be between 1 and 40 inches")
    return Look(width, look.height, look.type_size, look.point)


def plot_comparison(comparison: Comparison, style: str = "screen", width: float | None = None) -> Figure:
    """The picture of one comparison; see :func:`plot_comparisons`."""
    return plot_comparisons([comparison], style, width)


def plot_comparisons(comparisons: Sequence[Comparison], style: str = "screen", width: float | None = None) -> Figure:
    """A panel for each comparison, with its verdict below.

    One bandit: the three policies as bars, or, for many arms, both targets' ratios against reward. A batch: KL of the
    induced against KL of the nominal target, a point per row.

    Args:
        comparisons: of the same bandit.
        style: a name of LOOKS.
        width: in inches; the style's where it is None.

    Raises:
        ValueError: matplotlib is not installed, an unknown style, or a width out of range.
    """
    look = known_style(style, width)
    need("plots", "matplotlib")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(comparisons))
    rows = -(-len(comparisons) // columns)
    panel, line = look.width / columns, 1.25 * look.type_size / 72
    characters = max(16, int((panel / line * 1.25 - 6) / 0.54))
    texts = [_texts(comparison, characters, short=len(comparisons) > 1) for comparison in comparisons]
    written = max("".join(text).count("\n") for text in texts) + 7  # the title, ticks, the label and a blank
    with rc_context({"font.size": look.type_size, "axes.linewidth": look.type_size / 11}):
        figure = Figure(
            figsize=(look.width, rows * (panel * look.height + written * line) + 2 * line), layout="constrained"
        )
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for place, axes in enumerate(grid):
            if place >= len(comparisons):
                axes.set_visible(False)
                continue
            _draw(comparisons[place], axes, look)
            heading, told = texts[place]
            axes.set_title(heading, fontsize=look.type_size, loc="left")
            axes.set_xlabel(f"{axes.get_xlabel()}\n\n{told}", loc="left")
            if place % columns:
                axes.set_ylabel("")
            axes.spines[["top", "right"]].set_visible(False)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, ncols=3, loc="outside upper left", markerscale=2)
    return figure


def comparison_image(
    comparisons: Sequence[Comparison], kind: str, style: str = "screen", width: float | None = None
) -> bytes:
    """The picture as a file of that kind ("png", "pdf" or "svg"); the same bytes whenever it is drawn.

    Raises:
        ValueError: as :func:`plot_comparisons`.
    """
    figure = plot_comparisons(comparisons, style, width)
    from matplotlib import rc_context

    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    image = io.BytesIO()
    with rc_context({"svg.hashsalt": "pessimism"}):
        figure.savefig(image, format=kind, dpi=200, metadata=undated.get(kind))
    return image.getvalue()


def notes(comparison: Comparison, short: bool = False) -> str:
    """What a reader of the picture must know: the verdict, and that there are other minima where there can be.

    Args:
        comparison: that is drawn.
        short: without the numbers.
    """
    said = verdict(comparison)
    if short:
        said = said.partition(": ")[0].partition("; ")[0]
    target = comparison.induced
    # Where a numeric route was taken, nothing is known of other limits: then nothing is said of them.
    several = (np.asarray(target.kind) == "path-dependent") | (
        np.equal(comparison.regime, "negative") & ~np.asarray(target.unique)
    )
    if not several.any():
        return said
    if short:
        return f"{said}; several limits"
    where = "" if several.ndim == 0 else f"on {several.mean():.1%} of the rows, "
    return f"{said}. Several limits: {where}training that starts elsewhere can end elsewhere"


def _texts(comparison: Comparison, characters: int, short: bool) -> tuple[str, str]:
    """Title and notes in lines of so many characters; a dollar sign in a user's name is no formula."""
    heading, told = title(comparison), notes(comparison, short)
    wrapped = (
        textwrap.fill(text, characters, break_long_words=False, break_on_hyphens=False).replace("$", r"\$")
        for text in (heading, told)
    )
    return next(wrapped), next(wrapped)


def _draw(comparison: Comparison, axes: Axes, look: Look) -> None:
    if comparison.bandit.batch_shape:
        _plot_batch(comparison, axes, look)
    elif comparison.bandit.arms <= BARS_UP_TO:
        _plot_bars(comparison, axes, look)
    else:
        _plot_ratios(comparison, axes, look)


def _plot_bars(comparison: Comparison, axes: Axes, look: Look) -> None:
    bandit = comparison.bandit
    order = np.argsort(bandit.reward, kind="stable")
    policies = {
        "behavior": bandit.behavior,
        "induced": comparison.induced.policy,
        "nominal": comparison.nominal.policy,
    }
    places = np.arange(bandit.arms)
    for offset, (name, policy) in zip((-0.27, 0.0, 0.27), policies.items(), strict=True):
        axes.bar(places + offset, policy[order], 0.25, label=name, color=COLORS[name])
    labels = [f"{bandit.reward[arm] + 0.0:.3g}" for arm in order]  # + 0.0: no "-0"
    axes.set_xticks(places, labels, rotation=0 if bandit.arms <= 12 else 90, fontsize=look.type_size * 0.9)
    axes.set_xlabel("arms, by their reward")
    axes.set_ylabel("probability")


def _plot_ratios(comparison: Comparison, axes: Axes, look: Look) -> None:
    bandit = comparison.bandit
    played = bandit.behavior > 0
    reward = bandit.reward[played]
    axes.axhline(1, color=COLORS["behavior"], linewidth=1.5, label="behavior")
    ratios = {
        name: target.policy[played] / bandit.behavior[played]
        for name, target in (("induced", comparison.induced), ("nominal", comparison.nominal))
    }
    for name, ratio in ratios.items():
        axes.scatter(reward, ratio, s=look.point, color=COLORS[name], linewidths=0, label=name)
    lost = {name: int((ratio == 0).sum()) for name, ratio in ratios.items()}
    told = [f"(not drawn: {count} {name} ones at 0)" for name, count in lost.items() if count]
    axes.set_yscale("log")
    axes.set_xlabel("\n".join(["reward, one point per arm", *told]))  # a logarithmic axis has no place for them
    axes.set_ylabel("ratio to the behavior policy")
    if not any(lost.values()) and np.ptp(np.log(ratios["nominal"])) > np.log(CURVED):
        _inset(axes, reward, ratios["induced"], look)


def _inset(axes: Axes, reward: np.ndarray, ratio: np.ndarray, look: Look) -> None:
    """The induced ratios once more on linear axes, where a straight line is one: at the lower right, below the curves.

    That corner is empty, because ratios grow with the reward and end above one.
    """
    inset = axes.inset_axes((0.66, 0.08, 0.32, 0.34))
    inset.scatter(reward, ratio, s=look.point / 3, color=COLORS["induced"], linewidths=0)
    inset.axhline(1, color=COLORS["behavior"], linewidth=1)
    inset.set_title("induced, linear axis", fontsize=look.type_size * 0.8, loc="left", pad=2)
    inset.tick_params(labelsize=look.type_size * 0.7, length=2, pad=1)
    inset.spines[["top", "right"]].set_visible(False)


def _plot_batch(comparison: Comparison, axes: Axes, look: Look) -> None:
    induced, nominal = np.ravel(comparison.induced_metrics.kl), np.ravel(comparison.nominal_metrics.kl)
    finite = np.isfinite(induced) & np.isfinite(nominal)  # infinite where a reference leaks to arms without data
    top = float(max(induced[finite].max(initial=0), nominal[finite].max(initial=0))) or 1.0
    axes.plot([0, top], [0, top], color=COLORS["behavior"], linewidth=1.5, label="equal")
    left = int((~finite).sum())
    label = "one row each" + (f" ({left} infinite)" if left else "")
    size = look.point * 0.7
    axes.scatter(
        nominal[finite], induced[finite], s=size, color=COLORS["induced"], linewidths=0, alpha=0.5, label=label
    )
    axes.set_xlabel("KL(nominal | behavior), nats")
    axes.set_ylabel("KL(induced | behavior), nats")
