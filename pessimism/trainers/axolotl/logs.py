"""Axolotl's logs: those of TRL, whose layouts tell them."""

from __future__ import annotations

from ...audit.fields import Layout

LAYOUTS: tuple[Layout, ...] = ()
