"""Noise of one sample's gradient: the residual family, regressions, and other objectives with their residual forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import pessimism as ps
from bandits.instances import sparse
from pessimism.objectives.residual import residual_coefficient

from . import style
from .residual_cells import TARGETS, WEIGHTS
from .spec import FigureSpec

PLAIN = {"shifted_mean": {"delta": 1.0}, "is_regression": {}, "centered_regression": {}}
OTHERS = {
    "oapl": {"beta1": 1.0, "beta2": 0.2},
    "asymre": {"shift": -0.1},
    "reinforce": {},
    "cispo": {"cap": 2.0},
    "grpo": {},
}
"""Objectives whose residual form is c - lambda rho; that of a clipped one is taken of its coefficient as it is."""

PLACES = ("start", "halfway", "end")


@dataclass(frozen=True)
class Settings:
    """The bandit and the temperature of the regressions."""

    arms: int = 100
    rewarded: int = 10
    beta: float = 0.2


CAPTION = (
    "Trace of the covariance of c grad log pi, one sample from mu, logit parameters; exact, with lambda exact. Bandit "
    "of 100 arms, 10 rewarded; regressions at temperature 0.2. Start: pi = mu; halfway: the mean of mu "
    "and the objective's own end; end: its induced target. a: log-ratio regressions and the residual family. "
    "b: other objectives (filled) and c - lambda rho (open), which takes the same step in expectation. Scale linear "
    "below 0.001."
)

Values = Callable[[np.ndarray], np.ndarray]
"""log-ratio (K,) -> c (K,)."""


def compute(settings: Settings) -> pl.DataFrame:
    """Columns panel ("family" or "others"), objective, form ("plain" or "residual"), place, noise."""
    bandit = sparse(settings.arms, settings.rewarded)
    rows = []
    for name, chosen in _family(settings.beta).items():
        rows += _rows(bandit, "family", name, "plain", _values(bandit, chosen), chosen)
    for name, parameters in OTHERS.items():
        chosen = ps.algorithm(name, **parameters)
        rows += _rows(bandit, "others", name, "plain", _values(bandit, chosen), chosen)
        rows += _rows(bandit, "others", name, "residual", _residual_values(bandit, chosen), chosen)
    return pl.DataFrame(rows)


def _family(beta: float) -> dict[str, ps.Algorithm]:
    plain = {name: ps.algorithm(name, beta=beta, **values) for name, values in PLAIN.items()}
    cells = {
        f"{target}, h = {weight}": ps.algorithm(entry, beta=beta, power=power, cap=cap)
        for target, entry in TARGETS.items()
        for weight, (power, cap) in WEIGHTS.items()
    }
    return plain | cells


def _values(bandit: ps.Bandit, chosen: ps.Algorithm) -> Values:
    advantage = chosen.advantage(bandit.reward, bandit.behavior)
    return lambda log_ratio: chosen.coefficient(log_ratio, advantage, **chosen.weights(bandit.behavior))


def _residual_values(bandit: ps.Bandit, chosen: ps.Algorithm) -> Values:
    advantage = chosen.advantage(bandit.reward, bandit.behavior)
    form = partial(
        residual_coefficient,
        base=chosen.coefficient,
        restoring=0.0,
        power=0.0,
        cap=math.inf,
        dose=1.0,
        group_size=math.inf,
    )
    return lambda log_ratio: form(log_ratio, advantage, behavior=bandit.behavior)


def _rows(
    bandit: ps.Bandit, panel: str, objective: str, form: str, values: Values, chosen: ps.Algorithm
) -> list[dict[str, str | float]]:
    end = ps.induced_target(bandit, chosen).policy
    found: dict[str, float] = {}
    for place, share in zip(PLACES, (0.0, 0.5, 1.0), strict=True):
        with np.errstate(divide="ignore"):
            log_ratio = np.log(((1 - share) * bandit.behavior + share * end) / bandit.behavior)
        found[place] = noise(bandit, values, log_ratio)
    return [
        {"panel": panel, "objective": objective, "form": form, "place": place, "noise": value}
        for place, value in found.items()
    ]


def noise(bandit: ps.Bandit, values: Values, log_ratio: np.ndarray) -> float:
    """Trace of Cov[c (e_y - pi)] for y from mu: E[c^2 |e_y - pi|^2] - |E[c (e_y - pi)]|^2.

    >>> bandit = ps.Bandit([0.5, 0.5], [0.0, 1.0])
    >>> noise(bandit, lambda log_ratio: np.ones(2), np.zeros(2))  # e_y - pi is +-(1/2, -1/2), with mean 0
    0.5
    """
    mu, c = bandit.behavior, values(log_ratio)
    policy = mu * np.exp(log_ratio)
    lengths = 1 - 2 * policy + (policy**2).sum()
    mean = mu * c - policy * (mu @ c)
    return float(max(mu @ (c**2 * lengths) - mean @ mean, 0.0))


LOOKS = {"start": style.BEHAVIOR, "halfway": "#6baed6", "end": "#08306b"}


def draw(table: pl.DataFrame) -> Figure:
    """A row for every objective, a color for every place."""
    figure = style.new_figure(style.DOUBLE, 2.9)
    left, right = figure.subplots(1, 2)
    _dots(left, table.filter(pl.col("panel") == "family"))
    _dots(right, table.filter(pl.col("panel") == "others"))
    for axes, letter in zip((left, right), "ab", strict=True):
        style.panel_letter(axes, letter)
        axes.set_xscale("symlog", linthresh=1e-3, linscale=0.4)
        axes.set_xlim(-3e-4, 6.0)
        axes.set_xlabel("trace of the covariance, reward²")
    handles, labels = left.get_legend_handles_labels()
    rings = Line2D([], [], color=style.NOMINAL, marker="o", linestyle="none", markerfacecolor="white")
    figure.legend([*handles, rings], [*labels, "b: c − λρ, the same step in expectation"], loc="outside lower center",
                  ncols=4)  # fmt: skip
    return figure


def _dots(axes: Axes, table: pl.DataFrame) -> None:
    names = table["objective"].unique(maintain_order=True).to_list()
    for place, color in LOOKS.items():
        for form, face in (("plain", color), ("residual", "white")):
            rows = table.filter(pl.col("place") == place, pl.col("form") == form)
            heights = [names.index(name) + (0.18 if form == "residual" else 0.0) for name in rows["objective"]]
            label = place if form == "plain" else None
            look: dict[str, Any] = {"color": color, "marker": "o", "markerfacecolor": face, "linestyle": "none"}
            axes.plot(rows["noise"], heights, label=label, **look)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


FIGURE = FigureSpec(
    name="residual_noise",
    shows="noise of a sample's gradient at the start, halfway and at the end, with and without lambda rho",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
