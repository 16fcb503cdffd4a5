"""Axolotl's logs: those of TRL, whose layouts tell them."""

from __future__ import annotations

from ...audit.layout import Layout

LAYOUTS: tuple[Layout, ...] = ()
