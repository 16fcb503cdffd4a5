"""The tables of docs/experiment.md about a language model, from the stored runs, however many there are yet."""

from __future__ import annotations

import polars as pl

from llm.study.experiment import SEEDS, TARGET_OR_NOISE, WARM_STARTS, member
from paper_figures import experiment
from paper_figures.contrasts import PRIMARY, WEIGHTS, contrasts, effect, pairs

from .documents import grid
from .experiment import told, verdict
from .findings import number

OUTCOMES = {"evaluation/pass@1": "pass@1", "evaluation/pass@8": "pass@8", "evaluation/entropy": "entropy per token"}
BOUNDS = {"evaluation/pass@1": 0.02, "evaluation/pass@8": 0.04}
MEASURED = {
    "kl/k1_sequence": "KL(μ‖π)",
    "kl/k3_sequence": "KL(π‖μ), k3",
    "ratio/ess_sequence": "effective samples, share",
    "gradient/norm": "gradient norm",
    "gradient/clipped": "share of steps clipped",
    "evaluation/well_formed": "well-formed",
}


def tables() -> dict[str, str]:
    """Name -> Markdown of every generated part."""
    return {
        "model_runs": runs(),
        "model_noise": noise_table(),
        "model_cells": cell_table(),
        "model_contrasts": contrast_table(),
        "model_measured": measured_table(),
    }


def runs() -> str:
    """How much of the plan is there."""
    table, blocks = experiment.language_model(), experiment.whole_blocks()
    whole = blocks.select(experiment.BLOCK_OF_MODEL).unique().height
    return f"{len(table)} runs are stored; of {SEEDS * WARM_STARTS} blocks {whole} are whole."


def shown(rows: pl.DataFrame) -> str:
    """Means of the outcomes, or a dash where there is no run."""
    return " / ".join(number(rows[name].to_numpy().mean()) for name in OUTCOMES) if len(rows) else "–"


def noise_table() -> str:
    """Target or noise: at L = 1."""
    table = experiment.language_model().filter(sync_every=1)
    labels = (member(1.0, "1").label, *(variant.label for variant in TARGET_OR_NOISE))
    starts = table.filter(variant=labels[-1]).select("study", "seed").sort("seed", "study").rows()
    return grid(
        ["objective, L = 1", *(f"{study}, seed {seed}" for study, seed in starts)],
        [[label, *(shown(table.filter(variant=label, study=s, seed=n)) for s, n in starts)] for label in labels],
    )


def cell_table() -> str:
    """Outcomes of the crossing, means over the whole blocks."""
    blocks = experiment.whole_blocks()
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


def measured_table() -> str:
    """What was measured in the last step of a run, means over whole blocks and both lags."""
    blocks = experiment.whole_blocks()
    rows = []
    for dose in PRIMARY:
        for weight in WEIGHTS:
            cell = blocks.filter(dose=dose, weight=weight)
            rows.append([f"{dose:g}", weight, *(number(cell[name].to_numpy().mean()) for name in MEASURED)])
    return grid(["s", "h", *MEASURED.values()], rows)
