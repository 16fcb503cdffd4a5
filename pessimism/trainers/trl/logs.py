"""TRL's logs: tables of completions."""

from __future__ import annotations

from dataclasses import replace

from ...audit.layout import Columns, Layout

COLUMNS = Columns(group=("step", "prompt"), step="step", in_runs=True, content=("prompt", "completion", "advantage"))
"""TRL writes its last generated batch at every logging step, the same batch several times if steps share one."""

LAYOUTS = (
    Layout(
        "TRL completions (1.16)",
        frozenset({"step", "prompt", "completion", "advantage"}),
        replace(COLUMNS, missing_is_zero=True),
        forbids=frozenset({"reward"}),
        other_numbers=frozenset({"step", "advantage"}),
    ),
    Layout(
        "TRL completions (1.16)",
        frozenset({"step", "prompt", "completion", "advantage", "reward"}),
        replace(COLUMNS, reward=((1.0, "reward"),)),
    ),
)
