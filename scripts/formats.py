"""How the numbers of generated tables are written, and p-values adjusted."""

from __future__ import annotations

import numpy as np


def holm(values: np.ndarray) -> np.ndarray:
    """p-values (n,) adjusted for their number by Holm's step-down rule.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1.0)
    return stepped[np.argsort(order)]


def probability(value: float) -> str:
    """A p-value in a table.

    >>> probability(0.0234), probability(1e-10), probability(1.0)
    ('.023', '< .001', '1')
    """
    return "< .001" if value < 0.001 else "1" if value > 0.9995 else number(value)


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number without the zero before its point.

    >>> number(0.25), number(-0.25), number(0.25, sign=True)
    ('.250', '-.250', '+.250')
    """
    shown = f"{abs(value):.{digits}f}".removeprefix("0")
    return ("-" if value < 0 else "+" if sign else "") + shown
