"""How much pessimism noise makes worthwhile: the best strength in simulation, and the one that a bound certifies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps
from pessimism.solve import expectation, solve_fixed_kappa

from . import style
from .spec import FigureSpec


@dataclass(frozen=True)
class Settings:
    """Bandits and their arms, draws of the noise each, temperature, numbers of samples (noise 1), and strengths."""

    bandits: int = 100
    arms: int = 20
    draws: int = 5
    beta: float = 0.02
    samples: tuple[int, ...] = (20, 80, 320, 1280, 5120, 20480)
    low: float = 3e-6
    high: float = 3.0
    points: int = 37
    alpha: float = 0.05
    seed: int = 0


CAPTION = (
    "Implicit pessimism that noise makes worthwhile. 100 random bandits (20 arms, behavior uniform on the simplex, "
    "rewards uniform on [0, 1]), beta = 0.02; estimated rewards have Gaussian noise of standard deviation "
    "sigma/sqrt(N mu), sigma = 1, 5 draws each. a: true value of the Lambert-tempered policy of strength lambda, "
    "averaged; dots: its maximum; diamonds: the lambda of the lower confidence bound at alpha = 0.05 (mean over "
    "bandits). b: the best lambda (dots) and that of the bound (diamonds) against sigma/sqrt(N); line: half of "
    "sigma/sqrt(N). The bound holds for all policies at once and asks for more than pays off on average, and the best "
    "strength falls faster than 1/sqrt(N)."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Columns panel, samples, strength, value.

    Panel "curve": mean true value at each strength; "best": the strength of the greatest, refined by a parabola in log
    strength through its neighbors; "certified": the mean strength of :func:`pessimism.lcb`, and its mean true value.
    """
    generator = np.random.default_rng(settings.seed)
    shape = (settings.bandits, settings.arms)
    behavior = generator.dirichlet(np.ones(settings.arms), size=settings.bandits)
    reward = generator.uniform(size=shape)
    unit = generator.normal(size=(settings.draws, *shape))
    strengths = np.geomspace(settings.low, settings.high, settings.points)
    rows = []
    for samples in settings.samples:
        estimate = reward + unit / np.sqrt(samples * behavior)
        values = np.array([_value(behavior, reward, estimate, s, settings.beta) for s in strengths])
        rows += [
            {"panel": "curve", "samples": samples, "strength": float(s), "value": float(v)}
            for s, v in zip(strengths, values, strict=True)
        ]
        best = _peak(strengths, values)
        rows.append({"panel": "best", "samples": samples, "strength": best, "value": float(values.max())})
        bound = ps.lcb(ps.Bandit(behavior, estimate), settings.beta, 1.0, samples=samples, alpha=settings.alpha)
        value, strength = expectation(bound.policy, reward).mean(), float(np.mean(bound.normalizer))
        rows.append({"panel": "certified", "samples": samples, "strength": strength, "value": float(value)})
    return pl.DataFrame(rows)


def _value(behavior: np.ndarray, reward: np.ndarray, estimate: np.ndarray, strength: float, beta: float) -> float:
    """Mean true value of the targets whose normalizer is ``strength``."""
    kappa = np.full(estimate.shape[:-1], strength / beta)
    log_ratio, _ = solve_fixed_kappa(behavior, estimate / beta, kappa)
    return float(expectation(behavior * np.exp(log_ratio), reward).mean())


def _peak(strengths: np.ndarray, values: np.ndarray) -> float:
    """Where a parabola through the greatest value and its neighbors, in log strength, is greatest."""
    place = int(values.argmax())
    if place in (0, len(values) - 1):
        return float(strengths[place])
    before, here, after = values[place - 1 : place + 2]
    step = np.log(strengths[1] / strengths[0])
    return float(strengths[place] * np.exp(step * (before - after) / (2 * (before - 2 * here + after))))


COLORS = ("#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08306b")
MARKS = (("best", "o", "best in simulation"), ("certified", "D", "lower confidence bound"))


def draw(table: pl.DataFrame) -> Figure:
    """Values against the strength, and best strengths against the standard error."""
    figure = style.new_figure(style.DOUBLE, 2.7)
    left, right = figure.subplots(1, 2)
    _draw_curves(left, table)
    _draw_strengths(right, table)
    for axes, letter in ((left, "a"), (right, "b")):
        style.panel_letter(axes, letter)
        axes.set_xscale("log")
    left.legend(loc="lower left", ncols=2)  # below the lowest curve
    right.legend(loc="upper left")
    return figure


def _draw_curves(axes: Axes, table: pl.DataFrame) -> None:
    for (samples,), color in zip(table.select("samples").unique(maintain_order=True).rows(), COLORS, strict=False):
        part = table.filter(pl.col("samples") == samples)
        curve = part.filter(pl.col("panel") == "curve")
        axes.plot(curve["strength"], curve["value"], color=color, label=f"N = {samples}")
        for panel, marker, _ in MARKS:
            point = part.filter(pl.col("panel") == panel)
            axes.plot(point["strength"], point["value"], color=color, marker=marker, linestyle="")
    axes.set_ylim(0.25, 1)
    axes.set_xlabel("λ")
    axes.set_ylabel("true value")


def _draw_strengths(axes: Axes, table: pl.DataFrame) -> None:
    error = (1 / pl.col("samples").sqrt()).alias("error")
    for (panel, marker, text), color in zip(MARKS, ("#08306b", "#d6402b"), strict=True):
        part = table.filter(pl.col("panel") == panel).with_columns(error)
        axes.plot(part["error"], part["strength"], color=color, marker=marker, linestyle="", label=text)
    ends = table.with_columns(error)["error"]
    line = np.array([ends.to_numpy().min(), ends.to_numpy().max()])
    axes.plot(line, line / 2, color=style.NOMINAL, linewidth=0.8, label="σ / (2√N)")
    axes.set_yscale("log")
    axes.set_xlabel("σ / √N")
    axes.set_ylabel("λ")


FIGURE = FigureSpec(
    name="confidence_shift",
    shows="the implicit pessimism that noise makes worthwhile, and what a confidence bound certifies",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
