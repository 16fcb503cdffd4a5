"""The picture of a comparison. matplotlib is imported only when one is asked for."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from ..extras import need
from .comparison import title
from .palette import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..compare import Comparison

BARS_UP_TO = 40


def plot_comparison(comparison: Comparison) -> Figure:
    """One bandit: the three policies as bars, or, for many arms, both targets' ratios against reward. A batch: KL of
    the induced against KL of the nominal target, a point per row.

    Raises:
        ValueError: matplotlib is not installed.
    """
    need("plots", "matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    if comparison.bandit.batch_shape:
        _plot_batch(comparison, axes)
    elif comparison.bandit.arms <= BARS_UP_TO:
        _plot_bars(comparison, axes)
    else:
        _plot_ratios(comparison, axes)
    # Above the axes, where no bar or point can be; a dollar sign in a user's name is no formula.
    axes.legend(
        frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, fontsize=9, markerscale=2
    )
    heading = textwrap.fill(title(comparison), 80).replace("$", r"\$")
    axes.set_title(heading, fontsize=10, loc="left", pad=24)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def comparison_image(comparison: Comparison, kind: str) -> bytes:
    """The picture as a file of that kind ("png", "pdf" or "svg"); the same bytes whenever it is drawn.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figure = plot_comparison(comparison)
    from matplotlib import rc_context

    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    image = io.BytesIO()
    with rc_context({"svg.hashsalt": "pessimism"}):
        figure.savefig(image, format=kind, dpi=200, metadata=undated.get(kind))
    return image.getvalue()


def _plot_bars(comparison: Comparison, axes: Axes) -> None:
    bandit = comparison.bandit
    order = np.argsort(bandit.reward, kind="stable")
    policies = {
        "behavior": bandit.behavior,
        "induced": comparison.induced.policy,
        "nominal": comparison.nominal.policy,
    }
    places = np.arange(bandit.arms)
    for offset, (name, policy) in zip((-0.27, 0.0, 0.27), policies.items(), strict=True):
        axes.bar(places + offset, policy[order], 0.25, label=name, color=COLORS[name])
    labels = [f"{bandit.reward[arm] + 0.0:.3g}" for arm in order]  # + 0.0: no "-0"
    axes.set_xticks(places, labels, rotation=0 if bandit.arms <= 12 else 90, fontsize=8)
    axes.set_xlabel("arms, by their reward")
    axes.set_ylabel("probability")


def _plot_ratios(comparison: Comparison, axes: Axes) -> None:
    bandit = comparison.bandit
    played = bandit.behavior > 0
    axes.axhline(1, color=COLORS["behavior"], linewidth=1.5, label="behavior")
    for name, target in (("induced", comparison.induced), ("nominal", comparison.nominal)):
        ratio = target.policy[played] / bandit.behavior[played]
        lost = int((ratio == 0).sum())
        label = name + (f" ({lost} arms at 0)" if lost else "")  # a logarithmic axis has no place for them
        axes.scatter(bandit.reward[played], ratio, s=9, color=COLORS[name], linewidths=0, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("reward, one point per arm")
    axes.set_ylabel("probability / behavior probability")


def _plot_batch(comparison: Comparison, axes: Axes) -> None:
    induced, nominal = np.ravel(comparison.induced_metrics.kl), np.ravel(comparison.nominal_metrics.kl)
    finite = np.isfinite(induced) & np.isfinite(nominal)  # infinite where a reference leaks to arms without data
    top = float(max(induced[finite].max(initial=0), nominal[finite].max(initial=0))) or 1.0
    axes.plot([0, top], [0, top], color=COLORS["behavior"], linewidth=1.5, label="equal")
    left = int((~finite).sum())
    label = "one row each" + (f" ({left} infinite)" if left else "")
    axes.scatter(nominal[finite], induced[finite], s=6, color=COLORS["induced"], linewidths=0, alpha=0.5, label=label)
    axes.set_xlabel("KL(nominal | behavior), nats")
    axes.set_ylabel("KL(induced | behavior), nats")
