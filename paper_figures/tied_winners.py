"""Tied winners: where the flow takes the mass of two equally rewarded arms, with whole and with capped weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps
from pessimism import Coefficient
from pessimism.objectives.ratio import importance_weighted, truncated
from pessimism.solve import entropy

from . import style
from .spec import FigureSpec


@dataclass(frozen=True)
class Settings:
    """Behavior policy, 0/1 rewards, the cap of panel b, the flow's last time and how many of its steps are kept."""

    behavior: tuple[float, ...] = (0.5, 0.3, 0.2)
    reward: tuple[float, ...] = (1.0, 1.0, 0.0)
    cap: float = 1.6
    end: float = 1e5
    points: int = 60


CAPTION = (
    "Two right answers and a wrong one, mu = (.5, .3, .2), advantage r - E r. Probability of each arm against time of "
    "the softmax flow from mu, in units of 1/reward. a: importance-weighted policy gradient, c = rho A: every division "
    "of the mass between the right answers is stationary, and the one that mu plays more takes all; the other falls "
    "like t^-1/2 (dashed: that slope). b: weight capped at 1.6: the first right answer is filled to 1.6 mu = .8, the "
    "other keeps what is left, .2. c: entropy along both flows; dotted: mu restricted to the right answers, which is "
    "stationary too and not where the flow goes."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Rows: weight ("whole" or "capped"), time, arm, behavior, reward, probability, entropy (of the policy, nats)."""
    weights = {
        "whole": importance_weighted,
        "capped": partial(truncated, low=0.0, high=settings.cap),
    }
    return pl.concat([_path(settings, name, coefficient) for name, coefficient in weights.items()])


def _path(settings: Settings, name: str, coefficient: Coefficient) -> pl.DataFrame:
    bandit = ps.Bandit(settings.behavior, settings.reward)
    made = ps.Algorithm(coefficient, anchor="behavior")
    flow = ps.gradient_flow(bandit, made, t_max=settings.end, tol=1e-14, keep=settings.points)
    assert flow.times is not None
    assert flow.policies is not None
    parts = [
        pl.DataFrame(
            {
                "weight": name,
                "time": float(time),
                "arm": np.arange(bandit.arms),
                "behavior": bandit.behavior,
                "reward": bandit.reward,
                "probability": policy,
                "entropy": float(entropy(policy)),
            }
        )
        for time, policy in zip(flow.times[1:], flow.policies[1:], strict=True)
    ]
    return pl.concat(parts)


def draw(table: pl.DataFrame) -> Figure:
    """Policies with whole and with capped weights, entropies of both."""
    figure = style.new_figure(style.DOUBLE, 3.0)
    axes = figure.subplots(1, 3)
    for place, name in zip(axes, ("whole", "capped"), strict=False):
        _draw_policy(place, table.filter(pl.col("weight") == name))
        place.set_title(f"{name} weight")
    axes[0].set_ylabel("probability")
    _draw_slope(axes[0], table.filter(pl.col("weight") == "whole"))
    _draw_entropy(axes[2], table)
    axes[2].set_title("both weights")
    for place, letter in zip(axes, "abc", strict=True):
        place.set_xscale("log")
        place.set_xlim(0.1, None)
        place.set_xlabel("time, 1/reward")
        style.panel_letter(place, letter)
        style.legend_below(place)
    return figure


ARMS = (("#08306b", "-"), ("#5aa5d6", "-"), ("#d6402b", (0, (5, 1.5))))


def _draw_policy(axes: Axes, table: pl.DataFrame) -> None:
    for (arm,), curve in table.group_by("arm", maintain_order=True):
        color, line = ARMS[int(str(arm)) % len(ARMS)]
        behavior, reward = curve["behavior"][0], curve["reward"][0]
        axes.plot(curve["time"], curve["probability"], color=color, linestyle=line,
                  label=f"μ = {behavior:.2g}, r = {reward:g}")  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(1e-6, 1.5)


def _draw_slope(axes: Axes, table: pl.DataFrame) -> None:
    """A line of slope -1/2 above the end of the losing right answer's curve."""
    curve = table.filter(pl.col("arm") == 1)
    time, last = curve["time"].to_numpy(), curve["probability"].to_numpy()[-1]
    late = time >= time[-1] / 1e3
    axes.plot(time[late], 2 * last * (time[late] / time[-1]) ** -0.5, color=style.BEHAVIOR, linestyle=(0, (4, 1.5)),
              label="slope −1/2")  # fmt: skip


def _draw_entropy(axes: Axes, table: pl.DataFrame) -> None:
    for name, color in (("whole", "#000000"), ("capped", "#238b45")):
        curve = table.filter((pl.col("weight") == name) & (pl.col("arm") == 0))
        axes.plot(curve["time"], curve["entropy"], color=color, label=f"{name} weight")
    right = table.filter((pl.col("weight") == "whole") & (pl.col("reward") == 1)).group_by("arm").first()["behavior"]
    share = right.to_numpy() / right.to_numpy().sum()
    axes.axhline(float(entropy(share)), color=style.BEHAVIOR, linestyle=(0, (1, 1)), label="μ on the right answers")
    axes.set_ylim(0, None)
    axes.set_ylabel("entropy, nats")


FIGURE = FigureSpec(
    name="tied_winners",
    shows="of two equally good arms the importance weight keeps one: policy and entropy against log time",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
