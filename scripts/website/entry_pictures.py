"""One small picture for each entry of the catalogue: what a sample pulls with, and what becomes of binary rewards."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps

RATIOS = np.geomspace(1 / 16, 16, 241)
SHARES = np.linspace(0.02, 0.98, 49)
REGIMES = {"positive": "#2171b5", "boundary": "#000000", "negative": "#c01c28"}
CAPTION = (
    "Left: the coefficient of a sample whose probability was 0.05, against its ratio. Right, where "
    "the target has a closed form: mass of the passing completions in the target against their share in the data, of "
    "rewards 0 and 1, by regime. Example settings where the entry has some, else the published ones."
)


def picture(entry: ps.Entry) -> bytes | None:
    """The picture as PNG; None for a coefficient that compares samples and has no closed form."""
    algorithm = ps.algorithm(entry.name, **entry.examples)
    if algorithm.coupled and not entry.closed_form:
        return None
    figure = Figure(figsize=(6.2, 2.1))
    left, right = figure.subplots(1, 2, gridspec_kw={"left": 0.08, "right": 0.98, "bottom": 0.2, "top": 0.95})
    _pull(left, algorithm)
    _target(right, algorithm if entry.closed_form else None)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _pull(axes: Axes, algorithm: ps.Algorithm) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlabel("ratio", fontsize=7)
    axes.set_ylabel("coefficient", fontsize=7)
    axes.tick_params(labelsize=6)
    if algorithm.coupled:
        axes.text(0.5, 0.5, "compares samples", ha="center", transform=axes.transAxes, fontsize=7)
        return
    log_ratio = np.log(RATIOS)
    for gain, color in ((1.0, "#2171b5"), (-1.0, "#c01c28")):
        taken = algorithm.weights(np.full_like(RATIOS, 0.05))
        values = np.asarray(algorithm.coefficient(log_ratio, np.full_like(RATIOS, gain), **taken))
        axes.plot(RATIOS, np.clip(values, -4, 4), color=color, linewidth=1.2, label=f"A = {gain:+.0f}")
    axes.legend(fontsize=6, frameon=False)


def _target(axes: Axes, algorithm: ps.Algorithm | None) -> None:
    axes.set_xlabel("share that passes", fontsize=7)
    axes.set_ylabel("mass in the target", fontsize=7)
    axes.tick_params(labelsize=6)
    axes.plot([0, 1], [0, 1], color="#9e9e9e", linewidth=0.8)
    if algorithm is None:
        axes.text(0.5, 0.5, "found numerically", ha="center", transform=axes.transAxes, fontsize=7)
        return
    bandit = ps.Bandit(np.stack([SHARES, 1 - SHARES], axis=-1), np.tile([1.0, 0.0], (len(SHARES), 1)))
    target = ps.induced_target(bandit, algorithm)
    regimes = np.broadcast_to(np.asarray(target.regime, dtype=object), SHARES.shape)
    for name, color in (*REGIMES.items(), (None, "#5e8c31")):
        here = np.array([regime == name for regime in regimes])
        if here.any():
            axes.plot(SHARES[here], target.policy[here, 0], ".", color=color, markersize=3, label=name or "target")
    axes.legend(fontsize=6, frameon=False)
