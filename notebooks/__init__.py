"""Numbered marimo notebooks; run from a checkout (``marimo run notebooks``), never part of the wheel."""
