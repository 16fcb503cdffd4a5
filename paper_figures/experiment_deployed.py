"""Do deployed objectives that are more conservative survive old data better? In bandits; see docs/experiment.md."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from scipy.stats import rankdata

import pessimism as ps
from bandits.experiment.deployed import published, sampled
from pessimism.studies import sha256

from . import style
from .contrasts import LONG
from .experiment import BANDITS, at_own_rate
from .experiment_dose import NAMES, Settings
from .spec import FigureSpec

DEPLOYED = BANDITS.with_name("experiment_deployed.parquet")
MEASURED = {"movement": "movement: KL of the induced target, nats", "implicit_gap": "implicit gap, nats"}
DRAWS = 2000


CAPTION = (
    "Objectives of the catalogue in bandits (docs/experiment.md), with published parameters (filled) or with the "
    "parameter at which the induced targets move the sampled groups by a mean KL of .3 nats (hollow): share of runs "
    "that end below the value that they began with, against the movement of the induced target and against the "
    "implicit gap, both measured before training. One point for an objective and optimizer: means over three worlds, "
    "four rates, and 100 and 400 steps between syncs. The axes across are linear below .01."
)


@cache
def runs() -> pl.DataFrame:
    """Rows of the cases that ran, of batches of which every case is there."""
    table = pl.read_parquet(DEPLOYED)
    size = table.group_by("batch").agg(cases=pl.struct("entry", "kind", "world").n_unique())
    whole = size.filter(pl.col("cases") == size["cases"].max())["batch"]
    return table.filter(pl.col("batch").is_in(whole.implode()), reason="")


def left_out() -> pl.DataFrame:
    """Cases without a run in some world: entry, kind, world, reason."""
    table = pl.read_parquet(DEPLOYED).filter(pl.col("reason") != "")
    return table.select("entry", "kind", "world", "reason").unique(maintain_order=True)


CASE = ("entry", "kind", "world", "optimizer", "lag")


@cache
def outcomes() -> pl.DataFrame:
    """One row per entry, kind, world, optimizer and lag.

    Columns: those, ``movement``, ``implicit_gap``, ``value`` and ``collapsed`` as means over the rates, ``stability``,
    the share that did not collapse, ``tuned``, the value at the rate that was best on the other half of the instances,
    and ``offset`` (:func:`offset`), null where the parameters are not the published ones.
    """
    table = (
        runs()
        .group_by(*CASE, "rate", "half", maintain_order=True)
        .agg(pl.col("movement", "implicit_gap", "value", "collapsed").mean())
    )
    tuned = at_own_rate(table, CASE).group_by(CASE).agg(tuned=pl.col("value").mean())
    means = table.group_by(CASE, maintain_order=True).agg(
        pl.col("movement", "implicit_gap", "value", "collapsed").mean()
    )
    offsets = means.filter(kind="published").select("entry", "kind", "world").unique(maintain_order=True)
    offsets = offsets.with_columns(offset=pl.Series([offset(name, world) for name, _, world in offsets.iter_rows()]))
    found = means.join(tuned, on=CASE).join(offsets, on=("entry", "kind", "world"), how="left")
    return found.with_columns(stability=1 - pl.col("collapsed"))


def offset(entry: str, world: str) -> float:
    r"""How far a published objective's first step is from centered: mean over a world's groups of |mean c| / rms c.

    c are the coefficients of a group at ratio one. 0: they sum to zero. 1: they are all the same.
    """
    rewards, algorithm = sampled(world), published(entry)
    weights = algorithm.weights(np.full(rewards.shape, 1 / rewards.shape[-1]))
    values = algorithm.coefficient(np.zeros_like(rewards), algorithm.advantage(rewards), **weights)
    values = np.broadcast_to(values, rewards.shape)
    size = np.sqrt((values**2).mean(axis=-1))
    return float(np.divide(np.abs(values.mean(axis=-1)), size, out=np.zeros_like(size), where=size > 0).mean())


@dataclass(frozen=True)
class Correlation:
    """A mean of rank correlations, the ends of its 95% interval over entries, and how many entries there are."""

    mean: float
    low: float
    high: float
    entries: int


def correlation(kind: str, optimizer: str, measured: str, outcome: str) -> Correlation:
    """Of an outcome with a measure of conservatism over the entries; mean over worlds and the lags of ``LONG``.

    The interval draws entries with replacement.
    """
    table = outcomes().filter(pl.col("lag").is_in(LONG), kind=kind, optimizer=optimizer)
    cells = [cell for _, cell in table.group_by("world", "lag", maintain_order=True)]
    common = sorted(set.intersection(*(set(cell["entry"]) for cell in cells)))
    ordered = [cell.filter(pl.col("entry").is_in(common)).sort("entry") for cell in cells]
    pairs = np.array([[cell[measured].to_numpy(), cell[outcome].to_numpy()] for cell in ordered])
    generator = np.random.default_rng(0)
    drawn = [spearman(pairs[..., generator.integers(len(common), size=len(common))]) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Correlation(spearman(pairs), float(low), float(high), len(common))


def spearman(pairs: np.ndarray) -> float:
    """Mean over cells of the rank correlation of two rows (cells, 2, n); 0 in a cell where one of them is constant.

    >>> spearman(np.array([[[1.0, 2.0, 3.0], [1.0, 4.0, 9.0]], [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]]))
    0.0
    """
    ranks = rankdata(pairs, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    lengths = np.sqrt((ranks**2).sum(axis=-1)).prod(axis=-1)
    products = (ranks[:, 0] * ranks[:, 1]).sum(axis=-1)
    return float(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0).mean())


def compute(settings: Settings) -> pl.DataFrame:
    """Columns entry, kind, optimizer, movement, implicit_gap, collapsed: means over worlds and long lags."""
    long = outcomes().filter(pl.col("lag").is_in(LONG))
    return long.group_by("entry", "kind", "optimizer", maintain_order=True).agg(
        pl.col("movement", "implicit_gap", "collapsed").mean()
    )


def draw(table: pl.DataFrame) -> Figure:
    """A row for every optimizer, a column for every measure of conservatism; hues by family."""
    figure = style.new_figure(style.DOUBLE, 4.8)
    optimizers = table["optimizer"].unique(maintain_order=True).to_list()
    panels = figure.subplots(len(optimizers), len(MEASURED), sharey=True, squeeze=False)
    groups = {name: style.group(ps.catalogue()[name]) for name in table["entry"].unique(maintain_order=True)}
    for line, optimizer in zip(panels, optimizers, strict=True):
        for axes, measured in zip(line, MEASURED, strict=True):
            for group in dict.fromkeys(groups.values()):
                for kind, filled in (("published", True), ("matched", False)):
                    mine = [name for name, its in groups.items() if its == group]
                    cell = table.filter(pl.col("entry").is_in(mine), optimizer=optimizer, kind=kind)
                    color = style.SHADES[group][:2][-1]  # the first are almost black
                    face = color if filled else "none"
                    axes.plot(
                        cell[measured], cell["collapsed"], linestyle="none", marker="o", markersize=4,
                        markeredgecolor=color, markerfacecolor=face, markeredgewidth=0.8,
                        label=group if filled else None,
                    )  # fmt: skip
            axes.set_xscale("symlog", linthresh=0.01)
            axes.grid(visible=True, linewidth=0.3)
        line[0].set_ylabel(f"share collapsed, {NAMES[optimizer]}")
    for axes, label in zip(panels[-1], MEASURED.values(), strict=True):
        axes.set_xlabel(label)
    for axes, letter in zip(panels.flat, "abcd", strict=False):
        style.panel_letter(axes, letter)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


FIGURE = FigureSpec(
    name="experiment_deployed",
    shows="share of runs that collapse against conservatism, over the objectives of the catalogue",
    caption=CAPTION,
    settings=Settings(sha256(DEPLOYED.read_bytes())),
    compute=compute,
    draw=draw,
)
