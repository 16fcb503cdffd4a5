"""The negative regime's rare-arm capture: which arm the lowest minimum takes, and how often the update goes there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pessimism as ps
from bandits.instances import five_arm

from . import style
from .spec import FigureSpec
from .worlds import at_offset, random_bandits, rows


@dataclass(frozen=True)
class Settings:
    """The example's temperature and offsets (V - V*) / beta; random bandits with temperature one and theirs."""

    beta: float = 0.7
    high: float = 5.0
    points: int = 51
    bandits: int = 150
    offsets: tuple[float, ...] = (-0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
    arms: int = 5
    seed: int = 1


CAPTION = (
    "Rare-arm capture in the negative regime. a: the policy at the lowest minimum of the five-armed example (beta = "
    "0.7) as its baseline V rises above the soft value V*: the arm that the behavior policy plays least takes over, "
    "although its reward is below average. b: random bandits (five arms, behavior uniform on the simplex, standard "
    "normal rewards, beta = 1): share in which the best arm, or the rarest arm where that is not the best, has more "
    "than half of the probability, at the lowest minimum (solid) and where the exact update from the behavior policy "
    "ends (dashed): the exact update does not go to rare arms, the loss would. c: the same by how often the behavior "
    "policy plays the arm."
)


def compute(settings: Settings) -> pl.DataFrame:
    """Rows of panel "example": offset, arm, behavior, reward, probability (at the lowest minimum).

    Rows of panel "random": bandit, offset, place ("minimum" or "flow"), the winner = its most probable arm, and that
    arm's probability, behavior, rank (1: rarest under the behavior policy), best and below_mean (of its reward).
    """
    return pl.concat([_example(settings), _random(settings)], how="diagonal")


def _example(settings: Settings) -> pl.DataFrame:
    bandit = five_arm()
    parts = []
    for offset in np.linspace(0, settings.high, settings.points):
        lowest = ps.stationary_points(bandit, at_offset(bandit, settings.beta, float(offset)))[0]
        parts.append(
            pl.DataFrame(
                {
                    "panel": "example",
                    "offset": float(offset),
                    "arm": np.arange(bandit.arms),
                    "behavior": bandit.behavior,
                    "reward": bandit.reward,
                    "probability": lowest.policy,
                }
            )
        )
    return pl.concat(parts)


def _random(settings: Settings) -> pl.DataFrame:
    batch = random_bandits(settings.bandits, settings.arms, settings.seed)
    parts = []
    for offset in settings.offsets:
        lowest = [ps.stationary_points(bandit, at_offset(bandit, 1.0, offset))[0].policy for bandit in rows(batch)]
        reached = ps.induced_target(batch, at_offset(batch, 1.0, offset)).policy
        parts += [
            _winners(batch, offset, place, policy)
            for place, policy in (("minimum", np.array(lowest)), ("flow", reached))
        ]
    return pl.concat(parts)


def _winners(batch: ps.Bandit, offset: float, place: str, policy: np.ndarray) -> pl.DataFrame:
    winner = policy.argmax(axis=-1)

    def of_winner(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, winner[:, None], axis=-1)[:, 0]

    mean = (batch.behavior * batch.reward).sum(axis=-1)
    return pl.DataFrame(
        {
            "panel": "random",
            "bandit": np.arange(len(winner)),
            "offset": offset,
            "place": place,
            "winner": winner,
            "probability": of_winner(policy),
            "behavior": of_winner(batch.behavior),
            "rank": of_winner(batch.behavior.argsort(axis=-1).argsort(axis=-1)) + 1,
            "best": winner == batch.reward.argmax(axis=-1),
            "below_mean": of_winner(batch.reward) < mean,
        }
    )


def shares(table: pl.DataFrame) -> pl.DataFrame:
    """Per place and offset: in what share of the random bandits the best arm, or a rarest arm that is not it, wins.

    An arm wins where it has more than half of the probability.
    """
    won = pl.col("probability") > 0.5
    return (
        table.filter(pl.col("panel") == "random")
        .group_by("place", "offset", maintain_order=True)
        .agg(
            best=(won & pl.col("best")).mean(),
            rarest=(won & (pl.col("rank") == 1) & ~pl.col("best")).mean(),
            below_mean=(won & pl.col("below_mean")).mean(),
        )
    )


def draw(table: pl.DataFrame) -> Figure:
    """The example, shares over offsets, shares over ranks."""
    figure = style.new_figure(style.DOUBLE, 3.0)
    first, second, third = figure.subplots(1, 3)
    random = table.filter(pl.col("panel") == "random")
    _draw_example(first, table.filter(pl.col("panel") == "example"))
    _draw_shares(second, shares(random))
    _draw_ranks(third, random)
    for axes, letter in ((first, "a"), (second, "b"), (third, "c")):
        style.panel_letter(axes, letter)
        style.legend_below(axes)
    return figure


ARMS = (("#08306b", "-"), ("#5aa5d6", (0, (5, 1.5))), ("#9e9e9e", (0, (1, 1))), ("#d6402b", (0, (6, 1, 1, 1))),
        ("#525252", (0, (3, 1, 1, 1, 1, 1))))  # fmt: skip


def _draw_example(axes: Axes, table: pl.DataFrame) -> None:
    for (_, behavior, reward), curve in table.group_by("arm", "behavior", "reward", maintain_order=True):
        color, line = ARMS[int(curve["arm"][0]) % len(ARMS)]
        text = f"μ = {behavior:.2g}, r = {reward:.2g}".replace("-", "−")
        axes.plot(curve["offset"], curve["probability"], color=color, linestyle=line, label=text)
    axes.set_xlim(0, table["offset"].to_numpy().max())
    axes.set_ylim(0, 1)
    axes.set_xlabel("(V − V*) / β")
    axes.set_ylabel("probability at the lowest minimum")


PLACES = (("minimum", "lowest minimum", "-"), ("flow", "update from μ", (0, (4, 1.5))))


def _draw_shares(axes: Axes, table: pl.DataFrame) -> None:
    for column, color, marker in (("best", "#08306b", "o"), ("rarest", "#d6402b", "X")):
        for place, text, line in PLACES:
            part = table.filter(pl.col("place") == place)
            axes.plot(part["offset"], part[column], color=color, linestyle=line, marker=marker, markersize=3.5,
                      clip_on=False, label=f"{column} arm, {text}")  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_xlabel("(V − V*) / β")
    axes.set_ylabel("share of bandits in which the arm\nhas more than half of the mass")


def _draw_ranks(axes: Axes, table: pl.DataFrame) -> None:
    ranks = np.arange(1, table["rank"].to_numpy().max() + 1)
    count = table["bandit"].n_unique()
    offsets = [offset for offset in table["offset"].unique().sort() if offset > 0]
    for offset, color in ((offsets[0], "#9e9e9e"), (offsets[-1], "#000000")):
        for place, text, line in PLACES:
            here = (pl.col("offset") == offset) & (pl.col("place") == place) & (pl.col("probability") > 0.5)
            won = table.filter(here)["rank"].to_numpy()
            axes.plot(ranks, [(won == rank).sum() / count for rank in ranks], color=color, linestyle=line, marker="o",
                      markersize=3, clip_on=False, label=f"(V − V*) / β = {offset:g}, {text}")  # fmt: skip
    axes.set_xticks(ranks)
    axes.set_ylim(0, 1)
    axes.set_xlabel("rank of the arm by μ (1: rarest)")
    axes.set_ylabel("share of bandits in which the arm\nhas more than half of the mass")


FIGURE = FigureSpec(
    name="rare_arms",
    shows="the negative regime's lowest minimum goes to arms that the behavior policy hardly plays",
    caption=CAPTION,
    settings=Settings(),
    compute=compute,
    draw=draw,
)
