"""Lag on a language model, other settings: does the picture of `language_model_lag` move when one of them changes?

The runs are the companion studies of `python -m llm sweep`, hours of computing; their results lie beside this file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pessimism.studies import sha256

from . import style
from .language_model_lag import DATA as LAG
from .language_model_lag import SEEDS, over_seeds
from .spec import FigureSpec

STUDIES = ("length51", "length102", "cap", "temperature", "reuse", "rate", "rate_high", "noise")
FOLDER = LAG.parent
LENGTHS = ("17", "51", "102")
"""Tokens of a completion."""

BEFORE = "before training"
COMPARED = ("shifted_mean", "oapl", "pmd_mean", "is_regression", "grpo")
"""Objectives that do not collapse at L = 100."""


def _digest() -> str:
    content = b"".join(file.read_bytes() for file in (LAG, *map(path, STUDIES), *map(warmup, LENGTHS)))
    return sha256(content)


def path(study: str) -> Path:
    """The stored runs of a study."""
    return FOLDER / f"language_model_{study}.parquet"


def warmup(tokens: str) -> Path:
    """The record of the warm-up that made a base model, by the tokens of its completions."""
    return FOLDER / f"language_model_warmup{tokens}.json"


@dataclass(frozen=True)
class Settings:
    """All is settled by the data; their digest tells one version from another."""

    data_sha256: str = field(default_factory=_digest)


MEASURES = ("reward", "pass@8", "entropy", "well_formed")

PANELS = {
    "length": "tokens of a completion",
    "cap": "cap of the importance ratio",
    "temperature": "temperature $\\beta$",
    "reuse": "passes over a window's batches",
    "rate": "learning rate",
    "noise": "verifier",
}

CAPTION = (
    "Runs as in language_model_lag at L = 100, one setting changed at a time. Grey: the base model. Reward on 256 held-"
    "out prompts, 8 completions each: the share of a prompt's problems that are solved, pass@1 where there is one. "
    "Lines: means over seeds; bars: from the lowest seed to the highest; where there is no bar there is one seed. "
    "(a) 1, 3 and 6 problems in one completion of 17, 51 and 102 tokens; the base model of each was warmed up alike. "
    "(b) The importance-weighted twin, its ratio capped, at two lags. (c) beta; OAPL's beta1 is ten times that. "
    "(d) How often a window's batches are used; a window has as many steps, so that once means fresh batches at every "
    "step and eight times an eighth of them. (e) AdamW's rate. (f) One in ten right answers fails and one in fifty "
    "wrong ones passes; the evaluation does not err."
)

Part = tuple[str, str, str, pl.DataFrame]
"""Panel, setting, objective and its runs."""


def compute(settings: Settings) -> pl.DataFrame:
    """Columns panel, setting, objective, measure, seeds; mean, low, high, half (see :func:`over_seeds`)."""
    lag = pl.read_parquet(LAG).filter("last")
    found = {study: pl.read_parquet(path(study)).filter("last") for study in STUDIES}
    parts = list(_parts(lag, found))
    for panel, setting in dict.fromkeys((panel, setting) for panel, setting, *_ in parts):
        tokens = setting if panel == "length" else LENGTHS[0]
        parts.append((panel, setting, BEFORE, _base(tokens)))
    rows = [
        {"panel": panel, "setting": setting, "objective": objective, "measure": measure}
        | over_seeds(part[f"evaluation/{measure}"].to_numpy())
        for panel, setting, objective, part in parts
        for measure in MEASURES
    ]
    return pl.DataFrame(rows, schema_overrides={"half": pl.Float64})


def _base(tokens: str) -> pl.DataFrame:
    """What the base model does, one row."""
    evaluations = json.loads(warmup(tokens).read_text("utf-8"))["evaluations"]
    return pl.DataFrame({f"evaluation/{measure}": evaluations[-1][measure] for measure in MEASURES})


def _parts(lag: pl.DataFrame, found: dict[str, pl.DataFrame]) -> Iterator[Part]:
    """All runs that are drawn, settings in their order."""
    same = lag.filter(pl.col("sync_every") == 100)

    def each(panel: str, setting: str, table: pl.DataFrame, wanted: Sequence[str]) -> Iterator[Part]:
        for objective in wanted:
            yield panel, setting, objective, table.filter(pl.col("algorithm") == objective)

    for tokens, table in zip(LENGTHS, (same, found["length51"], found["length102"]), strict=True):
        yield from each("length", tokens, table, COMPARED)
    for steps in (100, 400):
        at_lag = pl.concat([found["cap"], lag], how="diagonal").filter(
            (pl.col("sync_every") == steps) & (pl.col("algorithm") == "is_regression")
        )
        for cap in ("1", "3", "10", "100"):
            named = f"is_regression, cap {cap}" if cap != "10" else "is_regression"
            yield "cap", cap, f"is_regression, L = {steps}", at_lag.filter(pl.col("variant") == named)
    for beta in ("0.03", "0.1", "0.3"):
        table = same if beta == "0.1" else found["temperature"].filter(pl.col("variant").str.ends_with(f"beta {beta}"))
        yield from each("temperature", beta, table, ("shifted_mean", "oapl", "is_regression"))
    for epochs in (1, 2, 8):
        table = pl.concat([found["reuse"], same], how="diagonal").filter(pl.col("epochs") == epochs)
        yield from each("reuse", str(epochs), table, COMPARED)
    for rate, table in (("1e-4", found["rate"]), ("3e-4", same), ("1e-3", found["rate_high"])):
        yield from each("rate", rate, table, COMPARED)
    with_noise = found["noise"]["algorithm"].unique(maintain_order=True).to_list()
    for verifier, table in (("exact", same), ("errs", found["noise"])):
        yield from each("noise", verifier, table, with_noise)


def draw(table: pl.DataFrame) -> Figure:
    """Six panels, one for each setting, a line for every objective."""
    figure = style.new_figure(style.DOUBLE, 5.2)
    grid = figure.subplots(2, 3)
    shown = table.filter(pl.col("measure") == "reward")
    labels: dict[str, Artist] = {}
    for axes, (panel, label), letter in zip(grid.flat, PANELS.items(), "abcdef", strict=True):
        _panel(axes, shown.filter(pl.col("panel") == panel))
        axes.set_xlabel(label)
        axes.set_ylim(-0.015, 1.08 * max(shown["high"]))  # zeros show whole
        style.panel_letter(axes, letter)
        labels |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    for axes in grid[:, 0]:
        axes.set_ylabel("reward on held-out prompts")
    figure.legend(
        list(labels.values()), list(labels), loc="outside lower center", ncols=4, title=SEEDS, title_fontsize=7
    )
    return figure


def _panel(axes: Axes, table: pl.DataFrame) -> None:
    settings = table["setting"].unique(maintain_order=True).to_list()
    start = table.filter(pl.col("objective") == BEFORE)
    for place, level in enumerate(start["mean"]):
        axes.hlines(level, place - 0.3, place + 0.3, color=style.BEHAVIOR, linewidth=0.8, label=BEFORE)
    objectives = [name for name in table["objective"].unique(maintain_order=True) if name != BEFORE]
    for number, objective in enumerate(objectives):
        part = table.filter(pl.col("objective") == objective)
        look = style.STYLES[re.sub(", .*", "", objective)]
        # Bars must not hide each other; a line that shares its objective with another is hollow.
        places = [settings.index(setting) + 0.05 * (number - (len(objectives) - 1) / 2) for setting in part["setting"]]
        face = "white" if objective.endswith("L = 400") else look.color
        axes.plot(
            places, part["mean"], **look.lines(), marker=look.marker, markersize=3, markerfacecolor=face,
            linewidth=0.9, label=objective.removesuffix(", L = 100"),
        )  # fmt: skip
        axes.vlines(places, part["low"], part["high"], color=look.color, linewidth=0.8)
    axes.set_xticks(range(len(settings)), settings)
    axes.set_xlim(-0.4, len(settings) - 0.6)


FIGURE = FigureSpec(
    name="language_model_settings",
    shows="whether length, cap, beta, reuse, learning rate or a verifier that errs move the picture of lag",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
