"""What every notebook's page needs: sharp pictures with a text for those who cannot see them, and plain tables."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

import marimo as mo
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

PIXELS_PER_INCH = 104
"""Scale of a picture where there is room: two of five inches fill a page of medium width."""


def new_figure(height: float = 3.7) -> tuple[Figure, Axes]:
    """An empty figure, five inches wide, and its axes. No window or registry keeps hold of it."""
    figure = Figure(figsize=(5, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def legend_above(axes: Axes, columns: int) -> None:
    """A legend over the axes, where no bar or curve can be."""
    axes.legend(
        frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, fontsize=9,
        handlelength=1.6, columnspacing=1.2,
    )  # fmt: skip


def plain_log_ticks(axis: Axis) -> None:
    """Ticks 1, 2, 5, 10, ... written as such: powers of ten alone leave a narrow logarithmic axis without numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def picture(figure: Figure, text: str) -> mo.Html:
    """The figure as a vector image inside the page, for :func:`side_by_side`.

    Args:
        figure: drawn in full; it is not kept.
        text: what the picture shows, read out in place of it.
    """
    image = io.BytesIO()
    with rc_context({"svg.hashsalt": "pessimism"}):  # the same bytes whenever it is drawn
        figure.savefig(image, format="svg", metadata={"Date": None})
    source = "data:image/svg+xml;base64," + base64.b64encode(image.getvalue()).decode("ascii")
    style = f"flex: 1 1 20rem; max-width: {round(figure.get_figwidth() * PIXELS_PER_INCH)}px"
    return mo.Html(f'<img src="{source}" alt="{html.escape(text)}" style="{style}">')


def side_by_side(*pictures: mo.Html) -> mo.Html:
    """Pictures in a row, or one below the other where the page is narrow."""
    images = "".join(each.text for each in pictures)
    return mo.Html(f'<div style="display: flex; flex-wrap: wrap; gap: 1rem 1.5rem">{images}</div>')


def number(value: float, digits: int = 4) -> str:
    """So many digits behind the point, with the signs that readers know."""
    return f"{value:.{digits}f}".replace("inf", "∞").replace("-", "−")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> mo.Html:
    """A table with words in its first column and numbers, right-aligned, in the others.

    Args:
        header: one text per column.
        rows: as many cells each; a float is written as :func:`number` does.
    """

    def line(tag: str, cells: Sequence[object], wrap: str) -> str:
        first, *others = (html.escape(number(cell) if isinstance(cell, float) else str(cell)) for cell in cells)
        style = f"padding: 0.15rem 0 0.15rem 1.5rem; text-align: right; white-space: {wrap}"
        tail = "".join(f'<{tag} style="{style}">{cell}</{tag}>' for cell in others)
        return f'<tr style="border-bottom: 1px solid #8884"><{tag} style="text-align: left">{first}</{tag}>{tail}</tr>'

    head, body = line("th", header, "normal"), "".join(line("td", row, "nowrap") for row in rows)
    return mo.Html(f'<div style="overflow-x: auto"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>')
