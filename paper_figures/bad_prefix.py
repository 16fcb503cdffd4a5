"""A bad prefix under per-token regression: its next token runs to a vertex unless the baseline is at most zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps
from bandits.sequences import BAD_PREFIX, bad_prefix, next_token, run_to_convergence

from . import style
from .spec import FigureSpec


@dataclass(frozen=True)
class Settings:
    """Temperature of the regression, baselines as shifts of the mean reward in temperatures, and times."""

    beta: float = 0.05
    deltas: tuple[float, ...] = (1.0, 13.0)
    points: int = 17
    first: float = 1.0
    last: float = 1e4


CAPTION = (
    "Completions of two tokens; the first token leads to reward 1 (probability 0.6), to reward 0 (0.1) or into a bad "
    "prefix (0.3), after which three tokens of probability 0.3, 0.5 and 0.2 earn 0.02, 0 and 0. Regression per token "
    "at temperature 0.05 with the baselines E r - 0.05 (a, the shifted mean) and E r - 0.65 < 0 (b), followed on the "
    "logits: probability of each token after the bad prefix against the time of the flow, in units of 1 / coefficient. "
    "The bandit over completions is in the positive regime under both baselines, the prefix under the second only."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns delta, baseline, regime (of the prefix), bandit (regime of the prompt), time, token, probability."""
    world = bad_prefix()
    mean = float(world.bandit.behavior @ world.reward)
    tokens = next_token(world.logits, BAD_PREFIX)
    worth = world.reward[(world.tree.length == 2) & (world.tree.token[:, 0] == BAD_PREFIX)]
    rows: list[dict[str, object]] = []
    for delta in settings.deltas:
        baseline = mean - delta * settings.beta
        chosen = ps.algorithm("verl.dro", beta=settings.beta, baseline=baseline)
        labels = {
            "delta": delta,
            "baseline": baseline,
            "regime": str(ps.prefix_regimes(tokens, worth, baseline, settings.beta).regime),
            "bandit": str(ps.induced_target(world.bandit, chosen).regime),
        }
        for time in np.geomspace(settings.first, settings.last, settings.points):
            policy = next_token(run_to_convergence(world, chosen, time=float(time)).logits, BAD_PREFIX)
            rows += [
                labels | {"time": float(time), "token": k, "probability": p} for k, p in enumerate(policy.tolist())
            ]
    return pl.DataFrame(rows)


LOOKS = (("#2171b5", "-"), ("#e0802b", (0, (5, 1.5))), ("#555555", (0, (1, 1))))


def draw(table: pl.DataFrame) -> Figure:
    """One panel for each baseline."""
    deltas = table["delta"].unique().sort().to_list()
    figure = style.new_figure(style.DOUBLE, 2.4)
    panels = np.atleast_1d(figure.subplots(1, len(deltas), sharey=True))
    for letter, axes, delta in zip("abcdef", panels, deltas, strict=False):
        _draw_panel(axes, table.filter(pl.col("delta") == delta))
        style.panel_letter(axes, letter)
    panels[0].set_ylabel("probability after the bad prefix")
    panels[-1].legend(loc="upper right", title="token worth", title_fontsize=7)
    return figure


def _draw_panel(axes: Axes, table: pl.DataFrame) -> None:
    for token, (worth, (color, line)) in enumerate(zip(("0.02", "0", "0"), LOOKS, strict=True)):
        part = table.filter(pl.col("token") == token).sort("time")
        axes.plot(part["time"], part["probability"], color=color, linestyle=line, label=worth)
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("time")
    axes.set_title(f"V = {table['baseline'][0]:.2f}: prefix {table['regime'][0]}", fontsize=8)


FIGURE = FigureSpec(
    name="bad_prefix",
    shows="a prefix that can earn nothing, run to a single token by per-token regression",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
