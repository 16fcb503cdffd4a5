"""Tables, plots and pages of results, and the colors in them."""

from .palette import COLORS, REGIMES

__all__ = ["COLORS", "REGIMES"]
