"""Canonical rows of logs whose samples are nested in their records."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from .rows import NO_NUMBER


def summed(parts: Any) -> float:
    """Sum over messages; a token more probable than certain makes the sum so too."""
    values = [math.nan if value is None else float(value) for part in parts for value in part]
    return max(sum(values), max(values)) if values and max(values) > 0 else math.fsum(values)


def canonical_table(rows: list[dict[str, Any]], file: int, step: int) -> pl.DataFrame:
    """The canonical rows of records with key0, version, place, reward, log_prob, current_log_prob and length."""
    floats = {
        name: np.array([math.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
        for name in ("reward", "log_prob", "current_log_prob", "length")
    }
    for name in ("log_prob", "current_log_prob"):
        if np.isnan(floats[name]).all():  # these files have none
            del floats[name]
    versions = {"version": [row["version"] for row in rows], "step": [step] * len(rows)}
    return pl.DataFrame(
        {"key0": pl.Series([row["key0"] for row in rows], dtype=pl.String)}
        | floats
        | {name: pl.Series(values, dtype=pl.Int64) for name, values in versions.items() if set(values) != {NO_NUMBER}}
        | {
            "file": np.full(len(rows), file, dtype=np.int32),
            "place": pl.Series([row["place"] for row in rows], dtype=pl.Int64),
        }
    )
