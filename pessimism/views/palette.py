"""Palette: the colors of policies and regimes in every picture."""

from __future__ import annotations

from types import MappingProxyType

COLORS = MappingProxyType({"induced": "#1b4f72", "nominal": "#e08214", "behavior": "#bdbdbd"})
"""Policy -> its color; from dark to light, so that the three stay apart in greyscale too."""

REGIMES = MappingProxyType({"positive": "#2166ac", "boundary": "#4d4d4d", "negative": "#b2182b"})
"""Regime -> its color."""
