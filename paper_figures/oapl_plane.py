"""OAPL's plane of two temperatures: sign and size of the normalizer, measured group by group."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

import pessimism as ps

from . import style
from .spec import FigureSpec
from .worlds import soft_value


@dataclass(frozen=True)
class Settings:
    """Temperatures on a logarithmic grid; sizes of groups and groups drawn of each, for planes and for shares."""

    lowest: float = 0.05
    highest: float = 2.0
    points: int = 17
    plane_sizes: tuple[int, ...] = (2, 8, 64)
    plane_groups: int = 300
    sizes: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    groups: int = 4000
    ratios: tuple[float, ...] = (2.0, 1.0, 0.5)  # beta1 / beta2, with beta2 in the middle of the grid
    success: float = 0.3
    seed: int = 0


CAPTION = (
    "OAPL's temperatures beta1 (of its baseline) and beta2 (of its regression) on sampled groups of rewards in [0, 1]: "
    "binary (1 with chance 0.3) or continuous (uniform). a-c, e-g: median over groups (those whose rewards are not all "
    "equal) of the normalizer lambda/beta2 of the group's own regression; in each such group its sign is that of "
    "beta1 - beta2. Hatched: in most groups the solution that continues the boundary has ended, and only minima that "
    "favor single samples are left. d, h: share of all groups whose baseline lies below the soft value V* of the whole "
    "prompt, for beta2 in the middle of the grid; crosses: oapl.missing_log_g with beta1 = beta2."
)
KINDS = ("binary", "continuous")


def compute(settings: Settings) -> pl.DataFrame:
    """Rows of panel "plane", one per reward kind, size (of the groups), beta1 and beta2.

    Columns: informative (share of groups whose rewards differ), and among these positive and negative (share of groups
    by the sign of lambda on the group itself), solved (share whose principal solution exists), strength (median lambda
    / beta2 of the solved ones, null if none).

    Rows of panel "size", one per reward kind, size, variant and beta1: below (share of groups with V below V*).
    """
    generator = np.random.default_rng(settings.seed)
    temperatures = np.geomspace(settings.lowest, settings.highest, settings.points)
    beta2 = float(temperatures[settings.points // 2])
    found: list[dict[str, object]] = []
    for kind in KINDS:
        for size in settings.plane_sizes:
            groups = _groups(generator, kind, settings.plane_groups, size, settings.success)
            where = {"panel": "plane", "reward": kind, "size": size}
            found += [where | _cell(groups, float(b1), float(b2)) for b1 in temperatures for b2 in temperatures]
        value = float(soft_value(_prompt(kind, settings.success), beta2))
        for size in settings.sizes:
            groups = _groups(generator, kind, settings.groups, size, settings.success)
            algorithms = [ps.algorithm("oapl", beta1=ratio * beta2, beta2=beta2) for ratio in settings.ratios]
            algorithms.append(ps.algorithm("oapl.missing_log_g", beta1=beta2, beta2=beta2, group_size=float(size)))
            for algorithm in algorithms:
                baseline = (groups - algorithm.advantage(groups))[:, 0]
                where = {"panel": "size", "reward": kind, "size": size, "variant": algorithm.name}
                below = float((baseline < value).mean())
                found.append(where | {"beta1": algorithm.parameters["beta1"], "beta2": beta2, "below": below})
    return pl.DataFrame(found, infer_schema_length=None)


def _groups(generator: np.random.Generator, kind: str, count: int, size: int, success: float) -> np.ndarray:
    uniform = generator.uniform(size=(count, size))
    return (uniform < success).astype(float) if kind == "binary" else uniform


def _prompt(kind: str, success: float) -> ps.Bandit:
    """The distribution that groups are drawn from: two outcomes, or a fine grid on [0, 1]."""
    if kind == "binary":
        return ps.Bandit([1 - success, success], [0.0, 1.0])
    points = 1000
    return ps.Bandit(np.full(points, 1 / points), (np.arange(points) + 0.5) / points)


def _cell(groups: np.ndarray, beta1: float, beta2: float) -> dict[str, object]:
    """What OAPL's closed form says of each group as a bandit of its own."""
    algorithm = ps.algorithm("oapl", beta1=beta1, beta2=beta2)
    assert algorithm.induced is not None  # the closed form knows the sign where it has no solution, too
    differ = np.ptp(groups, axis=-1) > 0
    bandit = ps.Bandit(np.full(groups.shape[-1], 1 / groups.shape[-1]), groups[differ])
    solution = algorithm.induced(bandit, algorithm.baseline.exact(bandit.reward, bandit.behavior))
    regime = np.asarray(solution.regime)
    strengths = solution.normalizer[solution.solved] / beta2
    return {
        "beta1": beta1,
        "beta2": beta2,
        "informative": float(differ.mean()),
        "positive": float((regime == "positive").mean()),
        "negative": float((regime == "negative").mean()),
        "solved": float(solution.solved.mean()),
        "strength": float(np.median(strengths)) if strengths.size else None,
    }


def draw(table: pl.DataFrame) -> Figure:
    """Planes for some sizes and both kinds of reward, and shares of groups against their size."""
    planes, shares = (table.filter(pl.col("panel") == panel) for panel in ("plane", "size"))
    sizes = planes["size"].unique().sort().to_list()
    figure = style.new_figure(style.DOUBLE, 4.1)
    grid = figure.subplots(2, len(sizes) + 1, width_ratios=(*[1] * len(sizes), 1.25), squeeze=False)
    norm = SymLogNorm(0.03, vmin=-10, vmax=10)
    letters = iter("abcdefgh")
    for row, kind in enumerate(KINDS):
        for column, size in enumerate(sizes):
            axes = grid[row, column]
            image = _draw_plane(axes, planes.filter((pl.col("reward") == kind) & (pl.col("size") == size)), norm)
            axes.set_title(f"{kind}, G = {size}", fontsize=7.5)
            axes.label_outer()
        _draw_sizes(grid[row, -1], shares.filter(pl.col("reward") == kind))
        grid[row, -1].set_title(kind, fontsize=7.5)
        grid[row, 0].set_ylabel("β₂, regression")
        for axes in grid[row]:
            style.panel_letter(axes, next(letters))
    for axes in grid[1, :-1]:
        axes.set_xlabel("β₁, baseline")
    grid[1, -1].set_xlabel("group size, G")
    bar = figure.colorbar(image, ax=list(grid[:, :-1].flat), location="bottom", aspect=40, shrink=0.85, pad=0.02)
    bar.set_label("median λ / β₂ of a group (negative: fragile, positive: pessimistic)\n"
                  "hatched: in most groups the solution that continues the boundary has ended")  # fmt: skip
    bar.set_ticks([-10, -1, -0.1, 0, 0.1, 1, 10], labels=["−10", "−1", "−0.1", "0", "0.1", "1", "10"])
    bar.minorticks_off()
    handles, labels = grid[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower right", handlelength=2.4, labelspacing=0.1, borderpad=0,
                  borderaxespad=0.3)  # fmt: skip
    return figure


def _draw_plane(axes: Axes, table: pl.DataFrame, norm: SymLogNorm) -> QuadMesh:
    plane = table.sort("beta2", "beta1")
    beta = np.unique(plane["beta1"].to_numpy())
    shape = (len(beta), len(beta))
    strength = plane["strength"].to_numpy().astype(float).reshape(shape)
    lost = plane["solved"].to_numpy().reshape(shape) < 0.5
    image = axes.pcolormesh(beta, beta, strength, cmap="RdBu", norm=norm, shading="nearest", rasterized=True)
    edges = beta[0] * (beta[1] / beta[0]) ** (np.arange(len(beta) + 1) - 0.5)
    for row, column in np.argwhere(lost):
        width, height = edges[column + 1] - edges[column], edges[row + 1] - edges[row]
        axes.add_patch(Rectangle((edges[column], edges[row]), width, height, fill=False, hatch="/////", linewidth=0))
    axes.plot(beta[[0, -1]], beta[[0, -1]], color=style.NOMINAL, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([0.1, 1.0], labels=["0.1", "1"])
        axis.set_minor_formatter(NullFormatter())
    axes.set_aspect("equal")
    for x, y, text in ((0.97, 0.1, "λ > 0"), (0.05, 0.88, "λ < 0")):
        axes.text(x, y, text, transform=axes.transAxes, ha="right" if x > 0.5 else "left", va="center",
                  fontweight="bold", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    return image


LOOKS = (("#08306b", "-", "o"), ("#525252", (0, (5, 1.5)), "D"), ("#d6604d", (0, (1, 1)), "v"))


def _draw_sizes(axes: Axes, table: pl.DataFrame) -> None:
    correct = table.filter(pl.col("variant") == "oapl")
    ratios = (correct["beta1"] / correct["beta2"]).round(6).unique().sort(descending=True)
    for ratio, (color, line, marker) in zip(ratios, cycle(LOOKS), strict=False):
        part = correct.filter((pl.col("beta1") / pl.col("beta2")).round(6) == ratio).sort("size")
        text = "β₁ = β₂" if ratio == 1 else f"β₁ = {ratio:g} β₂"
        axes.plot(part["size"], part["below"], color=color, linestyle=line, marker=marker, markersize=3, label=text)
    part = table.filter(pl.col("variant") != "oapl").sort("size")
    axes.plot(part["size"], part["below"], linestyle="none", marker="x", color=style.REGIMES["negative"],
              label="β₁ = β₂, − β₁ log G missing", clip_on=False)  # fmt: skip
    sizes = table["size"].unique().sort().to_list()
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("groups with V < V*")


FIGURE = FigureSpec(
    name="oapl_plane",
    shows="OAPL's two temperatures: sign and size of the normalizer in groups of 2 to 64",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
