"""Tabular worlds for `pessimism`; run from a checkout, never part of the wheel."""
