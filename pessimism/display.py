"""How results show themselves: in one screen at a prompt and in a notebook, as plain values, and as polars frames."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from .extras import need

if TYPE_CHECKING:
    import polars as pl

__all__ = ["brief", "brief_html", "contents", "long_frame", "plain_values", "value_text"]

WIDTH = 100
"""Characters that a field of a result may take."""


def contents(thing: Any) -> dict[str, Any]:
    """The names and values that a result shows: what its ``_contents()`` says, or the fields of a dataclass."""
    own = getattr(thing, "_contents", None)
    return own() if own is not None else {each.name: getattr(thing, each.name) for each in fields(thing) if each.repr}


def value_text(value: Any) -> str:
    """A value in at most one line: numbers to six digits, long arrays by their ends, batches by their shape.

    >>> value_text(np.array([0.25, 0.75])), value_text(np.zeros((4, 2))), value_text(1 / 3)
    ('[0.25, 0.75]', 'array of shape (4, 2)', '0.333333')
    """
    if isinstance(value, np.ndarray):
        if value.ndim > 1:
            return f"array of shape {value.shape}"
        text = np.array2string(value, precision=6, threshold=12, edgeitems=3, separator=", ", max_line_width=10_000)
    elif isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(value, Mapping):
        text = ", ".join(f"{name}={value_text(part)}" for name, part in value.items())
    else:
        text = value if isinstance(value, str) else repr(value)
    return textwrap.shorten(text, WIDTH, placeholder=" ...")


def brief(self: Any) -> str:
    """A result in a few lines at most: its type and what it holds. Made to be a class's ``__repr__``."""
    parts = [f"{name}={value_text(value)}" for name, value in contents(self).items() if value is not None]
    one_line = f"{type(self).__name__}({', '.join(parts)})"
    if len(one_line) <= WIDTH + 20:
        return one_line
    return f"{type(self).__name__}(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def brief_html(self: Any) -> str:
    """The same as an HTML table for notebooks, every string escaped. Made to be a class's ``_repr_html_``."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(value_text(value))}</td></tr>"
        for name, value in contents(self).items()
        if value is not None
    )
    return f"<table><caption>{html.escape(type(self).__name__)}</caption><tbody>{rows}</tbody></table>"


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as nested lists, everything else as it is.

    >>> plain_values({"policy": np.array([0.25, 0.75]), "kind": "interior"})
    {'policy': [0.25, 0.75], 'kind': 'interior'}
    """
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def long_frame(axes: Mapping[str, int], columns: Mapping[str, Any]) -> pl.DataFrame:
    """A polars frame with one line for every index of the axes, whose numbers are the first columns.

    Args:
        axes: name -> length of each axis.
        columns: name -> array of all those axes, or of only the first of them (repeated over the others), or a scalar.

    Raises:
        ValueError: polars is not installed.

    >>> long_frame({"row": 2, "arm": 2}, {"policy": np.array([[0.1, 0.9], [0.5, 0.5]]), "kl": np.array([1.0, 2.0])})
    shape: (4, 4)
    ┌─────┬─────┬────────┬─────┐
    │ row ┆ arm ┆ policy ┆ kl  │
    │ --- ┆ --- ┆ ---    ┆ --- │
    │ i64 ┆ i64 ┆ f64    ┆ f64 │
    ╞═════╪═════╪════════╪═════╡
    │ 0   ┆ 0   ┆ 0.1    ┆ 1.0 │
    │ 0   ┆ 1   ┆ 0.9    ┆ 1.0 │
    │ 1   ┆ 0   ┆ 0.5    ┆ 2.0 │
    │ 1   ┆ 1   ┆ 0.5    ┆ 2.0 │
    └─────┴─────┴────────┴─────┘
    """
    need("tables", "polars")
    import polars as pl

    shape = tuple(axes.values())
    numbers = dict(zip(axes, np.indices(shape), strict=True))
    whole = {name: np.asarray(value) for name, value in columns.items() if value is not None}
    spread = {name: array.reshape(array.shape + (1,) * (len(shape) - array.ndim)) for name, array in whole.items()}
    return pl.DataFrame({n: np.broadcast_to(array, shape).reshape(-1) for n, array in (numbers | spread).items()})
