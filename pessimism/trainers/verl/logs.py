"""verl's logs: rollout dumps."""

from __future__ import annotations

from ...audit.layout import Columns, Layout

LAYOUTS = (
    Layout(
        "verl rollout dump (0.9)",
        frozenset({"input", "output", "gts", "score", "step", "uid"}),
        Columns(group=("step", "uid"), reward=((1.0, "score"),), step="step", trim=r"_\d+_\d+$"),
    ),
    Layout(
        "verl rollout dump (0.9)",
        frozenset({"input", "output", "gts", "score", "step"}),
        Columns(group=("step", "input"), reward=((1.0, "score"),), step="step"),
    ),
    Layout(
        "verl rollout dump (to 0.4, and forks)",
        frozenset({"input", "output", "score", "step"}),
        Columns(group=("step", "input"), reward=((1.0, "score"),), step="step"),
        forbids=frozenset({"gts"}),
    ),
)
