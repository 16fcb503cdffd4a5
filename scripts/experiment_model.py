"""The tables of docs/experiment.md about a language model, from the stored runs, however many there are yet."""

from __future__ import annotations

import polars as pl

from llm.study.experiment import BASE, LAGS, SEEDS, SLOW, SLOW_CELLS, TARGET_OR_NOISE, WARM_STARTS, member
from paper_figures import experiment
from paper_figures.contrasts import PRIMARY, WEIGHTS, contrasts, effect, pairs

from .documents import grid
from .experiment import told, verdict
from .formats import number

OUTCOMES = {"evaluation/pass@1": "pass@1", "evaluation/pass@8": "pass@8", "evaluation/entropy": "entropy per token"}
BOUNDS = {"evaluation/pass@1": 0.02, "evaluation/pass@8": 0.04}
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


def slow_table() -> str:
    """Four cells at a quarter of the rate, beside the same cells at the rate, in the blocks that have all of both."""
    size = len(SLOW_CELLS) * len(LAGS)
    table = experiment.language_model()
    slow = table.filter("slow").filter(pl.len().over(experiment.BLOCK_OF_MODEL) == size)
    both = (
        slow.select(experiment.BLOCK_OF_MODEL)
        .unique()
        .join(experiment.whole_blocks().select(experiment.BLOCK_OF_MODEL).unique(), on=experiment.BLOCK_OF_MODEL)
    )
    if both.is_empty():
        return NONE
    mine = table.join(both, on=experiment.BLOCK_OF_MODEL)
    rate = float(BASE["optimizer"]["learning_rate"])
    rows = [
        [
            f"{dose:g}",
            weight,
            *(
                shown(mine.filter(dose=dose, weight=weight, sync_every=lag, slow=is_slow))
                for lag in LAGS
                for is_slow in (False, True)
            ),
        ]
        for dose, weight in SLOW_CELLS
    ]
    heads = [f"L = {lag}, rate {each:g}" for lag in LAGS for each in (rate, SLOW)]
    return f"Blocks: {len(both)}.\n\n" + grid(["s", "h", *heads], rows)


PARTS = {
    "model_noise": ("Target or noise at L = 1: pass@1 / pass@8 / entropy per token", noise_table),
    "model_cells": ("The crossing, means over whole blocks: pass@1 / pass@8 / entropy per token", cell_table),
    "model_slow": ("A quarter of the rate: pass@1 / pass@8 / entropy per token", slow_table),
    "model_contrasts": ("Contrasts, and what would refute the thesis", contrast_table),
}
"""Name -> caption and table."""
