"""The tables of docs/experiment.md about a language model, from the stored runs, however many there are yet."""

from __future__ import annotations

import numpy as np
import polars as pl

from llm.study.experiment import BASE, LAGS, SEEDS, SLOW, SLOW_CELLS, TARGET_OR_NOISE, WARM_STARTS, member
from paper_figures import experiment
from paper_figures.contrasts import PRIMARY, WEIGHTS, contrasts, effect, pairs

from .documents import grid
from .experiment import told, verdict
from .formats import number

OUTCOMES = {"evaluation/pass@1": "pass@1", "evaluation/pass@8": "pass@8", "evaluation/entropy": "entropy per token"}
BOUNDS = {"evaluation/pass@1": 0.02, "evaluation/pass@8": 0.04}
BLOCK = experiment.BLOCK_OF_MODEL
NONE = "No block is whole yet."


def tables() -> dict[str, str]:
    """Name -> Markdown of every generated part; without runs all but one are empty."""
    if not experiment.LANGUAGE_MODEL.exists():
        return {"model_runs": "No run is stored yet.", **dict.fromkeys(PARTS, "")}
    made = {"model_runs": runs()}
    for name, (caption, table) in PARTS.items():
        made[name] = f"**{caption}**\n\n{table()}"
    return made


def runs() -> str:
    """How much of the plan is there."""
    table, blocks = experiment.language_model(), experiment.whole_blocks()
    whole = blocks.select(experiment.BLOCK_OF_MODEL).unique().height
    return f"Runs stored: {len(table)}. Whole blocks: {whole} of {SEEDS * WARM_STARTS}."


def shown(rows: pl.DataFrame) -> str:
    """Means of the outcomes, or a dash where there is no run."""
    return " / ".join(number(rows[name].to_numpy().mean()) for name in OUTCOMES) if len(rows) else "–"


def noise_table() -> str:
    """Target or noise: at L = 1."""
    table = experiment.language_model().filter(sync_every=1)
    labels = (member(1.0, "1").label, *(variant.label for variant in TARGET_OR_NOISE))
    starts = table.select("study", "seed").unique().sort("seed", "study").rows()
    return grid(
        ["objective, L = 1", *(f"{study}, seed {seed}" for study, seed in starts)],
        [[label, *(shown(table.filter(variant=label, study=s, seed=n)) for s, n in starts)] for label in labels],
    )


def cell_table() -> str:
    """Outcomes of the crossing, means over the whole blocks."""
    blocks = experiment.whole_blocks()
    if blocks.is_empty():
        return NONE
    return grid(
        ["s", "h", *(f"L = {lag}" for lag in experiment.LAGS_OF_MODEL)],
        [
            [
                f"{dose:g}",
                weight,
                *(shown(blocks.filter(dose=dose, weight=weight, sync_every=lag)) for lag in experiment.LAGS_OF_MODEL),
            ]
            for dose in PRIMARY
            for weight in WEIGHTS
        ],
    )


def contrast_table() -> str:
    """Contrasts, and differences from ratio-free Lambert with their verdicts; no interval for a single block."""
    if experiment.whole_blocks().is_empty():
        return NONE
    rows = []
    found = {name: experiment.model_crossing(name) for name in OUTCOMES}
    for kind in (contrasts, pairs):
        each = {name: kind(crossing, experiment.LAGS_OF_MODEL) for name, crossing in found.items()}
        for label in each["evaluation/pass@1"]:
            cells = []
            for name in OUTCOMES:
                seen = effect(each[name][label])
                judged = f": {verdict(seen, BOUNDS[name])}" if kind is pairs and name in BOUNDS else ""
                cells.append(told(seen) + judged)
            rows.append([label, *cells])
    return grid(["contrast, or cell less Lambert, h = 1", *OUTCOMES.values()], rows)


def slow_blocks() -> pl.DataFrame:
    """Every member in the blocks that have all cells at the rate and at a quarter of it."""
    slow = experiment.language_model().filter("slow").filter(pl.len().over(BLOCK) == len(SLOW_CELLS) * len(LAGS))
    both = slow.select(BLOCK).unique().join(experiment.whole_blocks().select(BLOCK).unique(), on=BLOCK)
    return experiment.language_model().join(both, on=BLOCK)


def slow_table() -> str:
    """Four cells at a quarter of the rate, beside the same cells at the rate."""
    table = slow_blocks()
    if table.is_empty():
        return NONE

    def outcomes(dose: float, weight: str) -> list[str]:
        mine = table.filter(dose=dose, weight=weight)
        return [shown(mine.filter(sync_every=lag, slow=slow)) for lag in LAGS for slow in (False, True)]

    rate = float(BASE["optimizer"]["learning_rate"])
    heads = [f"L = {lag}, rate {each:g}" for lag in LAGS for each in (rate, SLOW)]
    rows = [[f"{dose:g}", weight, *outcomes(dose, weight)] for dose, weight in SLOW_CELLS]
    return f"Blocks: {table.select(BLOCK).n_unique()}.\n\n" + grid(["s", "h", *heads], rows)


SLOW_PAIRS = {
    "Lambert less nominal, h = 1": ((1.0, "1"), (0.0, "1")),
    "Lambert less nominal, h = ρ": ((1.0, "ρ"), (0.0, "ρ")),
    "h = ρ less h = 1, nominal": ((0.0, "ρ"), (0.0, "1")),
    "h = ρ less h = 1, Lambert": ((1.0, "ρ"), (1.0, "1")),
    "nominal, h = ρ, less Lambert, h = 1": ((0.0, "ρ"), (1.0, "1")),
}
"""Differences at a quarter of the rate: (dose, weight) of the one and of the other."""


def slow_contrasts() -> str:
    """Differences of pass@1 at a quarter of the rate, means over blocks."""
    table = slow_blocks().filter("slow").sort("seed", "study")
    if table.is_empty():
        return NONE

    def outcome(lag: int, dose: float, weight: str) -> np.ndarray:
        return table.filter(sync_every=lag, dose=dose, weight=weight)["evaluation/pass@1"].to_numpy()

    rows = []
    for label, (one, other) in SLOW_PAIRS.items():
        found = [effect(outcome(lag, *one) - outcome(lag, *other)) for lag in LAGS]
        rows.append([label, *(f"{told(each)}: {verdict(each)}" for each in found)])
    return grid(["pass@1", *(f"L = {lag}" for lag in LAGS)], rows)


PARTS = {
    "model_noise": ("Target or noise at L = 1: pass@1 / pass@8 / entropy per token", noise_table),
    "model_cells": ("The crossing, means over whole blocks: pass@1 / pass@8 / entropy per token", cell_table),
    "model_slow": ("A quarter of the rate: pass@1 / pass@8 / entropy per token", slow_table),
    "model_slow_contrasts": ("Differences at a quarter of the rate", slow_contrasts),
    "model_contrasts": ("Contrasts, and what would refute the thesis", contrast_table),
}
"""Name -> caption and table."""
