"""What a figure is: data computed from settings, a drawing of the data, and a caption."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bandits.sweeps import Sweep

ROOT = Path(__file__).resolve().parent.parent
ORIGIN = "derived here; not a figure of the source paper (arXiv 2605.28150)"


@dataclass(frozen=True)
class FigureSpec:
    """One figure.

    Attributes:
        name: of its files and on the command line.
        shows: one line, for lists.
        caption: what a reader of the figure needs to know: instance, quantities, units, how many draws.
        settings: a frozen dataclass of numbers, strings and tuples; whatever decides the data, ``seed`` if drawn.
        compute: (settings, *tables of the sweeps) -> tidy table (columns of numbers, String or Boolean).
        draw: table -> figure. It is called inside ``style.context()``.
        sweeps: whose results `compute` reads, if any; they are run first, on all processes.
        origin: whose figure this is.
    """

    name: str
    shows: str
    caption: str
    settings: Any
    compute: Callable[..., pl.DataFrame]
    draw: Callable[[pl.DataFrame], Figure]
    sweeps: tuple[Sweep, ...] = ()
    origin: str = ORIGIN

    @property
    def script(self) -> Path:
        """The file that computes and draws it."""
        found = inspect.getsourcefile(self.compute)
        if found is None:
            raise ValueError(f"{self.name}: its compute function has no source file")
        return Path(found).resolve()

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self.settings)
