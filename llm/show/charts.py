"""The charts of a run's report, as SVG."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pessimism import views

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8984",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e6e5e0",
    "grid.linewidth": 0.8,
    "axes.labelcolor": "#3a3936",
    "xtick.color": "#6a6964",
    "ytick.color": "#6a6964",
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
}
COLORS = ("#2a6fbb", "#d9622b", "#1f8f6b", "#8a4fa8")
REGIMES = tuple(views.REGIMES.values())  # positive, boundary, negative
LOG_RANGE = 1e3
SYNCS_SHOWN = 40


@dataclass(frozen=True)
class Chart:
    """Some numbers of a run over its steps.

    Attributes:
        title: what it shows.
        unit: of the vertical axis.
        series: label -> name of a number. With an interval where ``name_low`` and ``name_high`` are there too.
        note: what to look for, in a sentence.
        stacked: shares of the three regimes, which add up to one, filled.
    """

    title: str
    unit: str
    series: Mapping[str, str]
    note: str = ""
    stacked: bool = False


CHARTS = (
    Chart(
        "Reward on training prompts",
        "reward",
        {"mean reward": "reward/mean", "pass rate": "reward/pass_rate"},
        "Of the completions that the step trains on, which an older policy may have drawn. Pass rate: those with full "
        "reward.",
    ),
    Chart(
        "Entropy of the policy",
        "nats per token",
        {"at sampled tokens": "policy/entropy"},
        "Compare runs at equal pass rate: a policy that has collapsed into garbage can have much of it.",
    ),
    Chart(
        "Distance from the behavior policy, KL(μ‖π)",
        "nats per completion",
        {"k1: mean of -log ratio": "kl/k1_sequence", "k3: mean of ratio - 1 - log ratio": "kl/k3_sequence"},
        "Both estimate the same number; where they part, a few samples decide.",
    ),
    Chart(
        "Effective sample size",
        "share of the samples",
        {"of completions": "ratio/ess_sequence", "of tokens": "ratio/ess_token"},
        "How large a sample of the policy itself would say as much: (Σ ratio)²/(n Σ ratio²). One on fresh data.",
    ),
    Chart(
        "χ² of the ratios",
        "E(ratio - 1)²",
        {"of completions": "ratio/chi2_sequence", "of tokens": "ratio/chi2_token"},
        "The variance of the policy's probability over the behavior policy's. Zero on fresh data.",
    ),
    Chart(
        "Regimes of the groups",
        "share of the groups",
        {"positive": "target/positive", "boundary": "target/boundary", "negative": "target/negative"},
        "By the sign of the normalizer that each group's advantages lead to. A group without reward spread is positive "
        "or boundary by its baseline alone.",
        stacked=True,
    ),
    Chart(
        "Normalizer λ at the induced target",
        "mean over groups",
        {"λ": "target/normalizer"},
        "The strength of the implicit pessimism: positive is more conservative than the nominal target, negative more "
        "aggressive.",
    ),
    Chart(
        "Theory against practice: how far the policy has come",
        "slope, R²",
        {"slope": "theory/slope", "R²": "theory/r2"},
        "Of the line through realized over predicted log-ratios, from their group's mean. It starts at zero after "
        "each sync; a slope of one is the induced target.",
    ),
    Chart(
        "Theory against practice: the equation βℓ + λπ/w = A",
        "share of the variance of A",
        {"with λπ/w": "theory/equation_r2", "without": "theory/equation_r2_without"},
        "How much of the advantages the left side explains; one where training on these groups alone would end. "
        "w is a completion's share of its group.",
    ),
    Chart(
        "What sampled completions hold",
        "share",
        {"of the policy's mass": "theory/sampled_mass", "groups that would overfill it": "target/bound"},
        "Where a group's completions would not overfill it, training on the group alone ends with mass left for what "
        "nobody sampled, and the pessimistic term λπ/w vanishes.",
    ),
    Chart(
        "Age of the data", "optimizer steps", {"lag": "lag/steps"}, "Steps since the policy that drew them was copied."
    ),
    Chart("Norm of the gradient, before clipping", "", {"norm": "gradient/norm"}, "Of all parameters together."),
    Chart("Length of completions", "tokens", {"mean": "completion/length"}, "Of the batch, its last token included."),
    Chart(
        "Probe after each sync",
        "nats per token",
        {"largest gap of engine and trainer": "sync/probe_gap"},
        "Both score the same tokens with the same weights: what is left is rounding, unless something is wrong.",
    ),
    Chart("Speed", "completion tokens per second", {"trained on": "time/tokens_per_second"}),
    Chart(
        "Where the time goes",
        "seconds per step",
        {"sync": "time/sync", "waiting for samples": "time/wait", "update": "time/update"},
    ),
)


def column(records: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """A number (n,) of every record; NaN where it is missing or was not finite."""
    return np.array([math.nan if record.get(name) is None else record[name] for record in records], dtype=float)


def draw(chart: Chart, records: Sequence[Mapping[str, Any]], syncs: Sequence[int]) -> str | None:
    """The chart as SVG; None if the run has none of its numbers.

    Args:
        chart: what to draw.
        records: of the run, with "step".
        syncs: steps after which weights were synced.
    """
    step = column(records, "step")
    found = {label: column(records, name) for label, name in chart.series.items()}
    found = _without_doubles({label: values for label, values in found.items() if np.isfinite(values).any()})
    if not found:
        return None

    def fill(axes: Axes) -> None:
        if len(syncs) <= SYNCS_SHOWN:
            for sync in syncs:
                axes.axvline(sync + 0.5, color="#d8d7d1", linewidth=0.8, zorder=0)
        if chart.stacked:
            shares = np.nan_to_num(np.stack(list(found.values())))
            axes.stackplot(step, shares, labels=list(found), colors=REGIMES, alpha=0.85, linewidth=0)
            axes.set_ylim(0, 1)
        else:
            for (label, values), color in zip(found.items(), COLORS, strict=False):
                _line(axes, records, step, values, label, chart.series.get(label, ""), color)
            _scale(axes, np.concatenate(list(found.values())))
        axes.set(xlabel="optimizer step", ylabel=chart.unit, xlim=_limits(step))
        if len(found) > 1 or found.keys() != chart.series.keys():
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(found), borderaxespad=0.2)

    return _svg(fill)


def draw_pairs(predicted: Sequence[float], realized: Sequence[float]) -> str | None:
    """Realized over predicted log-ratios as SVG, with the line of perfect agreement and the fitted one."""
    x, y = np.array(predicted), np.array(realized)
    if not len(x) or not x.any():
        return None

    def fill(axes: Axes) -> None:
        low, high = min(x.min(), 0), max(x.max(), 0)
        slope = float(x @ y) / float(x @ x)
        axes.plot([low, high], [low, high], color="#8a8984", linewidth=1, dashes=(4, 3), label="at the induced target")
        axes.plot([low, high], [slope * low, slope * high], color=COLORS[1], label=f"fitted, slope {slope:.2g}")
        axes.plot(x, y, "o", color=COLORS[0], markersize=3, alpha=0.45, markeredgewidth=0)
        axes.set(xlabel="predicted log-ratio from its group's mean, nats", ylabel="realized, nats")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, borderaxespad=0.2)

    return _svg(fill)


def _without_doubles(series: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Lines that would hide each other become one, which says so."""
    found: dict[str, np.ndarray] = {}
    for label, values in series.items():
        same = next((other for other in found if np.array_equal(found[other], values, equal_nan=True)), None)
        if same is None:
            found[label] = values
        else:
            found[f"{same}, {label}"] = found.pop(same)
    return found


def _line(
    axes: Axes,
    records: Sequence[Mapping[str, Any]],
    step: np.ndarray,
    values: np.ndarray,
    label: str,
    name: str,
    color: str,
) -> None:
    there = np.isfinite(values)
    sparse = there.sum() < len(values) / 2
    axes.plot(step[there], values[there], color=color, label=label, marker="o" if sparse else "", markersize=3.5)
    low, high = column(records, f"{name}_low"), column(records, f"{name}_high")
    if np.isfinite(low).any():
        axes.fill_between(step[there], low[there], high[there], color=color, alpha=0.15, linewidth=0)


def _scale(axes: Axes, values: np.ndarray) -> None:
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if len(positive) and positive.max() > LOG_RANGE * np.median(np.abs(finite)):
        linear = max(float(np.median(np.abs(finite))), float(positive.min()))
        axes.set_yscale("symlog", linthresh=linear)


def _limits(step: np.ndarray) -> tuple[float, float]:
    return step.min() - 0.5, step.max() + 0.5


def _svg(fill: Any) -> str:
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(5.4, 2.7), layout="constrained")
        fill(figure.add_subplot())
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
