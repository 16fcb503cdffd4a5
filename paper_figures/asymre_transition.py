"""AsymRE's phase transition: what the sign of its baseline's shift from the mean does, at once and in the long run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.figure import Figure

import pessimism as ps
from bandits.instances import asymre_100
from bandits.recursion import ideal_recursion

from . import style
from .spec import FigureSpec


@dataclass(frozen=True)
class Settings:
    """Shifts of the baseline from the mean reward, windows of the ideal recursion, and reward draws."""

    below: tuple[float, ...] = (
        1.5, 1.2, 1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.06, 0.045, 0.03, 0.02, 0.01, 0.005,
    )  # fmt: skip
    above: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
    windows: tuple[int, ...] = (1, 10, 100)
    draws: int = 20
    seed: int = 0


CAPTION = (
    "AsymRE's target against the shift of its baseline from the mean reward, on its authors' bandit (100 arms, rewards "
    "uniform on [0, 1], behavior policy softmax(y/10)), mean over 20 draws of the rewards; band: their central 90% "
    "after one window. One window: the induced target itself; more: the ideal recursion, in which every window reaches "
    "it. Below zero several arms keep mass; from zero on all mass is on one arm, once and for all, and not always on "
    "the best. a: expected reward (dashed: best arm). b: arms with more than one millionth of the mass. c: entropy."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns shift (units of reward), window, draw, value, support (arms), entropy (nats), best (reward)."""
    drawn = [asymre_100(settings.seed + draw) for draw in range(settings.draws)]
    bandit = ps.Bandit(np.stack([each.behavior for each in drawn]), np.stack([each.reward for each in drawn]))
    shifts = [-shift for shift in settings.below] + list(settings.above)
    return pl.concat([_at_shift(bandit, shift, settings.windows) for shift in shifts])


def _at_shift(bandit: ps.Bandit, shift: float, windows: tuple[int, ...]) -> pl.DataFrame:
    algorithm = ps.algorithm("asymre", shift=shift)
    run = ideal_recursion(bandit, algorithm, 2)
    still = bool((run.policy[0].max(axis=-1) == 1).all() and (run.support == 1).all())
    if not still:  # a policy on one arm stays where it is: no need to follow it
        run = ideal_recursion(bandit, algorithm, max(windows))
    parts = []
    for window in windows:
        at = min(window, len(run.sync)) - 1
        parts.append(
            pl.DataFrame(
                {
                    "shift": shift,
                    "window": window,
                    "draw": np.arange(len(bandit.reward)),
                    "value": run.value[at, 0],
                    "support": run.support[at, 0],
                    "entropy": run.entropy[at, 0],
                    "best": bandit.reward.max(axis=-1),
                }
            )
        )
    return pl.concat(parts)


PANELS = (("value", "value, units of reward"), ("support", "arms that keep mass"), ("entropy", "entropy, nats"))
WINDOWS = (("#7f2704", "-"), ("#d94801", (0, (5, 1.5))), ("#fd9a5a", (0, (1, 1))))


def draw(table: pl.DataFrame) -> Figure:
    """Value, support and entropy against the shift."""
    figure = style.new_figure(style.DOUBLE, 2.3)
    windows = table["window"].unique().sort().to_list()
    for axes, letter, (column, label) in zip(figure.subplots(1, 3), "abc", PANELS, strict=True):
        for number, window in enumerate(windows):
            part = _over_draws(table.filter(pl.col("window") == window), column)
            color, line = WINDOWS[number % len(WINDOWS)]
            text = "1 window" if window == 1 else f"{window} windows"
            axes.plot(part["shift"], part["mean"], color=color, linestyle=line, label=text)
            if number == 0:
                axes.fill_between(part["shift"], part["low"], part["high"], color=color, alpha=0.15, linewidth=0)
        axes.axvline(0, color=style.BEHAVIOR, linewidth=0.6, zorder=0)
        axes.set_xlabel("shift of the baseline, V − E r")
        axes.set_ylabel(label)
        style.panel_letter(axes, letter)
        if column == "value":
            best = float(table["best"].to_numpy().mean())
            axes.axhline(best, color=style.NOMINAL, linewidth=0.6, linestyle=(0, (4, 2)))
            axes.annotate("best arm", (0, best), xycoords=("axes fraction", "data"), xytext=(2, 2),
                          textcoords="offset points")  # fmt: skip
        if column == "support":
            axes.set_yscale("log")
            axes.set_yticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"], minor=False)
            axes.minorticks_off()
            axes.legend(loc="lower left")
    return figure


def _over_draws(table: pl.DataFrame, column: str) -> pl.DataFrame:
    value = pl.col(column)
    return (
        table.group_by("shift")
        .agg(mean=value.mean(), low=value.quantile(0.05, "linear"), high=value.quantile(0.95, "linear"))
        .sort("shift")
    )


FIGURE = FigureSpec(
    name="asymre_transition",
    shows="AsymRE's phase transition in the shift of its baseline: value, support, entropy",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
