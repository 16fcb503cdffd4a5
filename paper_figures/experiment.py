"""The stored runs of docs/experiment.md as crossings of dose, weight and lag. Computes and draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from bandits.experiment.design import BLOCK, DOSES, INSTANCES, ORDER, RATES, groups

from .contrasts import PRIMARY, WEIGHTS, Crossing

BANDITS = Path(__file__).parent / "data" / "experiment_bandits.parquet"
LANGUAGE_MODEL = BANDITS.with_name("experiment_language_model.parquet")

CELL = ("world", "optimizer", "lag", "objective", "dose", "weight", "offset")
STALE = (20, 100, 400)
"""Lags at which dose and weight make a difference."""


@cache
def bandits() -> pl.DataFrame:
    """Rows of the batches of each world and optimizer of which every cell is there (of the family, or landmarks).

    ``half`` says which of two halves a block belongs to.
    """
    table = pl.read_parquet(BANDITS).with_columns(
        pl.col(pl.Float32).cast(pl.Float64), half=pl.col("block") % 2, member=pl.col("objective") == "residual"
    )
    place = ["world", "optimizer", "member"]
    wanted = Counter[tuple[str, str, bool]]()
    for group in groups(0):
        member = group.cells[0].objective == "residual"
        wanted[group.world, group.optimizer, member] += len(group.cells) * INSTANCES // BLOCK
    complete = pl.DataFrame([(*key, count) for key, count in wanted.items()], [*place, "wanted"], orient="row")
    counted = table.with_columns(there=pl.len().over(*place, "batch")).join(complete, on=place)
    return counted.filter(pl.col("there") == pl.col("wanted")).drop("there", "wanted", "member")


def trained() -> list[tuple[str, str]]:
    """The worlds and optimizers that are there, in the order of the design."""
    there = set(bandits().filter(objective="residual").select("world", "optimizer").iter_rows())
    return sorted((pair for pair in ORDER if pair in there), key=lambda pair: [*RATES].index(pair[1]))


@cache
def tuned() -> pl.DataFrame:
    """Every cell at its own rate."""
    return at_own_rate(bandits(), CELL)


def at_own_rate(table: pl.DataFrame, cell: Sequence[str]) -> pl.DataFrame:
    """The rows of every cell at its own rate: each half at the one with the highest mean value on the other half.

    Of equal means the lower rate.

    Args:
        table: columns of the cell, ``rate``, ``half`` and ``value`` among them.
        cell: columns that tell one cell from another.
    """
    scores = table.group_by(*cell, "rate", "half").agg(score=pl.col("value").mean())
    chosen = scores.sort("score", "rate", descending=[False, True]).group_by(*cell, "half").last()
    best = chosen.select(*cell, "rate", half=1 - pl.col("half"))
    return table.join(best, on=[*cell, "rate", "half"])


@cache
def equal_rate() -> pl.DataFrame:
    """Every cell as the mean over all rates, which are the same for all."""
    table = bandits()
    numbers = [name for name, kind in table.schema.items() if kind == pl.Float64 and name not in (*CELL, "rate")]
    return table.group_by(*CELL, "block", maintain_order=True).agg(pl.col(numbers).mean())


PLACE = pl.col("weight").replace_strict(dict(zip(WEIGHTS, range(len(WEIGHTS)), strict=True)))
"""The place of a weight in the order of the design."""


def crossing(table: pl.DataFrame, world: str, optimizer: str, measure: str) -> Crossing:
    """One measure in one world with one optimizer."""
    cells = table.filter(objective="residual", offset=0.0, world=world, optimizer=optimizer)
    ordered = cells.filter(pl.col("lag").is_in(STALE)).with_columns(place=PLACE).sort("block", "dose", "place", "lag")
    shape = (ordered["block"].n_unique(), len(DOSES), len(WEIGHTS), len(STALE))
    return Crossing(ordered[measure].to_numpy().reshape(shape), DOSES, STALE)


def over_worlds(table: pl.DataFrame, optimizer: str, measure: str) -> Crossing:
    """The mean over the worlds that are trained with an optimizer, block by block; only blocks that all have."""
    found = [crossing(table, world, optimizer, measure).values for world in worlds_of(optimizer)]
    blocks = min(len(values) for values in found)
    return Crossing(np.mean([values[:blocks] for values in found], axis=0), DOSES, STALE)


def main_optimizers() -> list[str]:
    """Those that are there and run in more than one world; "normalized" is not."""
    return [name for name in dict.fromkeys(name for _, name in trained()) if name != "normalized"]


def worlds_of(optimizer: str) -> list[str]:
    """The worlds that are trained with an optimizer."""
    return [world for world, name in trained() if name == optimizer]


LAGS_OF_MODEL = (100, 400)
BLOCK_OF_MODEL = ["study", "seed"]


@cache
def language_model() -> pl.DataFrame:
    """Last rows of the language model's runs, with ``dose`` and ``weight`` of members of the family.

    ``slow``: at a quarter of the rate.
    """
    table = pl.read_parquet(LANGUAGE_MODEL).filter("last")
    named = pl.col("variant").str.extract_groups(r"^(?<slow>slow, )?residual (?<dose>[\d.]+) (?<weight>.+)$").struct
    return table.with_columns(
        dose=named.field("dose").cast(pl.Float64),
        weight=named.field("weight"),
        slow=named.field("slow").is_not_null(),
    )


def whole_blocks() -> pl.DataFrame:
    """Members at long lags, of blocks that are complete."""
    members = language_model().filter(
        pl.col("dose").is_not_null(), pl.col("sync_every").is_in(LAGS_OF_MODEL), slow=False
    )
    size = len(PRIMARY) * len(WEIGHTS) * len(LAGS_OF_MODEL)
    return members.filter(pl.len().over(BLOCK_OF_MODEL) == size)


def model_crossing(measure: str) -> Crossing:
    """One measure of the whole blocks, with doses 0, 1 and 2."""
    ordered = whole_blocks().with_columns(place=PLACE).sort("seed", "study", "dose", "place", "sync_every")
    shape = (-1, len(PRIMARY), len(WEIGHTS), len(LAGS_OF_MODEL))
    return Crossing(ordered[measure].to_numpy().reshape(shape), PRIMARY, LAGS_OF_MODEL)
