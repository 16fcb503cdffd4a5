"""Sequence-level, token-level and length-normalized objectives go to different policies over completions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps
from bandits.sequences import random_sequences, run_to_convergence
from pessimism.solve import total_variation

from . import style
from .spec import FigureSpec

LEVELS = ("sequence", "token", "sequence mean")


@dataclass(frozen=True)
class Settings:
    """Trees of at most these lengths over a vocabulary, and the beta-shifted-mean objective at one temperature."""

    vocabulary: int = 3
    lengths: tuple[int, ...] = (1, 2, 3, 4, 5)
    trees: int = 8
    beta: float = 0.3
    drawn_length: int = 3
    seed: int = 0


CAPTION = (
    "The beta-shifted-mean regression (beta = 0.3) with its log-ratio taken per sequence, per token and per sequence "
    "divided by length, run to convergence on the logits of small autoregressive policies (3 tokens, one of them "
    "ending the completion; standard normal logits; rewards uniform on [0, 1] per completion). a: total variation "
    "between where each level ends and the induced target over completions, over 8 random trees per greatest length "
    "(lines: medians). b: one tree, its 15 "
    "completions sorted by reward: probability relative to the behavior policy."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Rows of panel "distance": length, tree, level, distance (total variation to the induced target), converged.

    Rows of panel "example": completion (tokens), reward, level, behavior, probability.
    """
    algorithm = ps.algorithm("shifted_mean", beta=settings.beta)
    found: list[dict[str, object]] = []
    for length in settings.lengths:
        for tree in range(settings.trees):
            world = random_sequences(settings.vocabulary, length, settings.seed + tree)
            target = ps.induced_target(world.bandit, algorithm).policy
            for level in LEVELS:
                reached = run_to_convergence(world, algorithm, level)
                found.append(
                    {
                        "panel": "distance",
                        "length": length,
                        "tree": tree,
                        "level": level,
                        "distance": float(total_variation(reached.policy, target)),
                        "converged": reached.converged,
                    }
                )
    return pl.concat([pl.DataFrame(found), _example(settings, algorithm)], how="diagonal")


def _example(settings: Settings, algorithm: ps.Algorithm) -> pl.DataFrame:
    world = random_sequences(settings.vocabulary, settings.drawn_length, settings.seed)
    tree = world.tree
    names = ["".join(str(token) for token in row[:size]) for row, size in zip(tree.token, tree.length, strict=True)]
    parts = []
    for level in LEVELS:
        parts.append(
            pl.DataFrame(
                {
                    "panel": "example",
                    "level": level,
                    "completion": names,
                    "reward": world.reward,
                    "behavior": world.bandit.behavior,
                    "probability": run_to_convergence(world, algorithm, level).policy,
                }
            )
        )
    return pl.concat(parts)


LOOKS = {
    "sequence": ("#000000", "o", "-"),
    "token": ("#2171b5", "s", (0, (5, 1.5))),
    "sequence mean": ("#e0802b", "^", (0, (1, 1))),
}


def draw(table: pl.DataFrame) -> Figure:
    """Distances over lengths, and one tree's completions."""
    figure = style.new_figure(style.DOUBLE, 2.6)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    _draw_distances(left, table.filter(pl.col("panel") == "distance"))
    _draw_example(right, table.filter(pl.col("panel") == "example"))
    style.panel_letter(left, "a")
    style.panel_letter(right, "b")
    return figure


def _draw_distances(axes: Axes, table: pl.DataFrame) -> None:
    for shift, level in zip((-0.12, 0.0, 0.12), LEVELS, strict=True):
        color, marker, line = LOOKS[level]
        part = table.filter(pl.col("level") == level)
        axes.plot(part["length"] + shift, part["distance"], linestyle="none", marker=marker, color=color,
                  markersize=2, alpha=0.45)  # fmt: skip
        middle = part.group_by("length").agg(pl.col("distance").median()).sort("length")
        axes.plot(middle["length"] + shift, middle["distance"], color=color, linestyle=line, label=level)
    axes.set_xticks(sorted(table["length"].unique()))
    axes.set_xlabel("greatest length, tokens")
    axes.set_ylabel("total variation to the target")


def _draw_example(axes: Axes, table: pl.DataFrame) -> None:
    for level in LEVELS:
        color, marker, line = LOOKS[level]
        part = table.filter(pl.col("level") == level).sort("reward")
        ratio = part["probability"] / part["behavior"]
        axes.plot(ratio, np.arange(part.height), color=color, linestyle=line, marker=marker, linewidth=0.9, label=level)
    order = table.filter(pl.col("level") == LEVELS[0]).sort("reward")
    places = np.arange(order.height)
    axes.set_yticks(places, order["completion"].to_list())
    axes.set_ylabel("completion (0 ends it)")
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(places, [f"{reward:.2f}" for reward in order["reward"]])
    beside.set_ylabel("its reward")
    beside.tick_params(length=0)
    beside.spines[:].set_visible(False)
    axes.axvline(1, color=style.BEHAVIOR, linewidth=0.6, zorder=0)
    axes.set_xlim(0, None)
    axes.legend(loc="upper left", title="log-ratio per", title_fontsize=7)
    axes.set_xlabel("ratio to behavior, π / μ")


FIGURE = FigureSpec(
    name="sequence_levels",
    shows="where sequence-level, token-level and length-normalized regression end, over completions",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
