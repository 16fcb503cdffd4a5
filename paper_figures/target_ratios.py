"""How much more probable an arm becomes, against its advantage, for each kind of target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps
from pessimism.solve import own_solution

from . import style
from .spec import FigureSpec


@dataclass(frozen=True)
class Settings:
    """Points per curve, range of advantages in temperatures, and values of lambda / beta."""

    points: int = 401
    span: float = 5.0
    strengths: tuple[float, ...] = (-0.1, -0.03, 0.0, 0.1, 0.3, 1.0, 3.0, 10.0)


CAPTION = (
    "Ratio of the induced target to the behavior policy against the advantage. a: the Lambert-tempered ratio "
    "of log-ratio regression at fixed lambda/beta, beside the arm whose ratio is one: exponential at lambda = 0 (the "
    "nominal target), bent to linear for lambda > 0; for lambda < 0 steeper than exponential, up to the point where "
    "its solution ends (dot). b: whole targets on a bandit with uniform behavior policy and rewards evenly spaced "
    "within 5 beta of their mean, each curve averaging to one: nominal (exponential), OAPL with beta1 = 2 beta2, mean "
    "baseline, beta-shifted mean (at most one more per temperature), and AsymRE (linear; it drops arms unless its "
    "baseline lies below every reward)."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns panel, curve, objective (null in panel a), advantage (temperatures), ratio, strength (lambda / beta)."""
    return pl.concat([_fixed_strengths(settings), _targets(settings)])


def _fixed_strengths(settings: Settings) -> pl.DataFrame:
    parts = []
    for strength in settings.strengths:
        advantage = np.linspace(-settings.span, settings.span, settings.points)
        if strength < 0:  # where the principal branch ends: log ratio = -log |lambda / beta|
            end = -np.log(-strength) - 1 - strength
            advantage = np.append(advantage[advantage < end], end)
        log_ratio = own_solution(advantage + strength, np.asarray(strength), None)
        parts.append(_table("strength", f"{strength:g}", None, advantage, np.exp(log_ratio), strength))
    return pl.concat(parts)


def _targets(settings: Settings) -> pl.DataFrame:
    reward = np.linspace(-settings.span, settings.span, settings.points)  # in temperatures: beta = 1
    bandit = ps.Bandit(np.full(settings.points, 1 / settings.points), reward)
    curves = {
        "nominal (opmd)": ps.algorithm("opmd", tau=1.0),
        "oapl, β₁ = 2β₂": ps.algorithm("oapl", beta1=2.0, beta2=1.0),
        "pmd_mean": ps.algorithm("pmd_mean", tau=1.0),
        "shifted_mean": ps.algorithm("shifted_mean", beta=1.0),
        "asymre, δV = −β": ps.algorithm("asymre", shift=-1.0),
        f"asymre, δV = −{settings.span:g}β": ps.algorithm("asymre", shift=-settings.span),
    }
    parts = []
    for label, algorithm in curves.items():
        target = ps.induced_target(bandit, algorithm)
        ratio = np.exp(target.log_ratio)
        parts.append(_table("target", label, algorithm.name, reward, ratio, float(target.normalizer)))
    return pl.concat(parts)


def _table(
    panel: str, curve: str, objective: str | None, advantage: np.ndarray, ratio: np.ndarray, strength: float
) -> pl.DataFrame:
    names = pl.DataFrame(
        {"panel": panel, "curve": curve, "objective": objective},
        schema={"panel": pl.String, "curve": pl.String, "objective": pl.String},
    )
    numbers = pl.DataFrame({"advantage": advantage, "ratio": ratio}).with_columns(strength=pl.lit(strength))
    return names.join(numbers, how="cross")


def draw(table: pl.DataFrame) -> Figure:
    """Ratios at fixed strength on a logarithmic axis, and whole targets on a linear one."""
    figure = style.new_figure(style.DOUBLE, 2.7)
    left, right = figure.subplots(1, 2)
    _draw_strengths(left, table.filter(pl.col("panel") == "strength"))
    _draw_targets(right, table.filter(pl.col("panel") == "target"))
    for axes, letter in ((left, "a"), (right, "b")):
        axes.axhline(1, color=style.BEHAVIOR, linewidth=0.6, zorder=0)
        axes.set_ylabel("ratio to behavior, π / μ")
        style.panel_letter(axes, letter)
    return figure


def _draw_strengths(axes: Axes, table: pl.DataFrame) -> None:
    axes.set_yscale("log")
    axes.set_ylim(3e-3, 2e2)
    ends = []
    for (name,), curve in table.group_by("curve", maintain_order=True):
        strength, x, y = float(name), curve["advantage"].to_numpy(), curve["ratio"].to_numpy()
        regime = "positive" if strength > 0 else "negative" if strength < 0 else "boundary"
        color = style.NOMINAL if strength == 0 else style.REGIMES[regime]
        axes.plot(x, y, color=color, linestyle=(0, (4, 1.5)) if strength < 0 else "-")
        if strength < 0:
            axes.plot(x[-1:], y[-1:], "o", color=color)
            text = f"λ/β = {name.replace('-', '−')}"
            axes.annotate(text, (x[-1], y[-1]), xytext=(-5, 2), textcoords="offset points", ha="right", color=color)
        else:
            ends.append((x[-1], y[-1], f"λ/β = {name}" if strength else "λ = 0: nominal", color))
    axes.set_xlim(*np.quantile(table["advantage"], (0, 1)))
    axes.set_xlabel("advantage, in β, above the arm of ratio 1")
    style.end_labels(axes, ends)


def _draw_targets(axes: Axes, table: pl.DataFrame) -> None:
    ends = []
    for (label, name), curve in table.group_by("curve", "objective", maintain_order=True):
        look = style.STYLES[name].lines()
        x, y = curve["advantage"].to_numpy(), curve["ratio"].to_numpy()
        if name == "asymre" and y[1] > 0:  # its baseline is at the least reward: every arm above that is kept
            look |= {"linestyle": (0, (1, 1))}
        axes.plot(x, y, **look)
        ends.append((x[-1], y[-1], label, look["color"]))
    axes.set_xlim(*np.quantile(table["advantage"], (0, 1)))
    axes.set_ylim(0, None)
    axes.set_xlabel("advantage over the mean, (r − E r) / β")
    style.end_labels(axes, ends)


FIGURE = FigureSpec(
    name="target_ratios",
    shows="ratio of the target to the behavior policy against advantage: exponential, bent, linear",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
