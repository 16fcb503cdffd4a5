"""A small configuration for tests that need one, not a run."""

from __future__ import annotations

from typing import Any

from llm.config import Config


def described(**changes: Any) -> Config:
    """A valid one with some top-level keys changed."""
    table = {
        "name": "a run",
        "steps": 30,
        "model": {"path": "m"},
        "task": {"name": "countdown24"},
        "objective": {"algorithm": "shifted_mean"},
        "lag": {"sync_every": 10},
    }
    return Config.model_validate(table | changes)
