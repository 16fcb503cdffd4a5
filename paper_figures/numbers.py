"""Every number that README or a notebook quotes: where it comes from, its value, and how it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.table import Table

import pessimism as ps
from pessimism.shell import write_whole

from . import counterfactual, rare_arms

NAME = "numbers"
"""On the command line."""

Tables = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Number:
    """One quoted number.

    Attributes:
        name: by which texts ask for it.
        says: what it is, in words, with its unit.
        value: from the tables of `figures`.
        written: a format specification, such as ".2f" or ".0%".
        figures: names of the figures whose data it is read from; none if it is computed on the spot.
    """

    name: str
    says: str
    value: Callable[[Tables], float]
    written: str
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quoted:
    """A number with its value: what `numbers.json` holds."""

    name: str
    value: float
    text: str
    says: str
    figures: tuple[str, ...]


def _captured(offset: float) -> Callable[[Tables], float]:
    """Share of random bandits whose lowest minimum puts more than half on a rarest arm that is not the best."""

    def value(tables: Tables) -> float:
        found = rare_arms.shares(tables["rare_arms"].filter(pl.col("panel") == "random"))
        row = found.filter((pl.col("place") == "minimum") & (pl.col("offset") == offset))
        return row["rarest"].item()

    return value


def _flow_captured(tables: Tables) -> float:
    found = rare_arms.shares(tables["rare_arms"].filter(pl.col("panel") == "random"))
    return found.filter((pl.col("place") == "flow") & (pl.col("offset") > 0))["rarest"].to_numpy().max()


def _rare_arm(column: str) -> Callable[[Tables], float]:
    """Of the five-armed example, at the highest baseline drawn: the winner's probability or behavior probability."""

    def value(tables: Tables) -> float:
        example = tables["rare_arms"].filter(pl.col("panel") == "example")
        return example.sort("offset", "probability")[column][-1]

    return value


def _example_minima(tables: Tables) -> float:
    return tables["regimes"].filter(pl.col("panel") == "example")["minima"].to_numpy().max()


def _level_distance(level: str) -> Callable[[Tables], float]:
    """Median total variation to the induced target over the trees of the greatest length drawn."""

    def value(tables: Tables) -> float:
        distances = tables["sequence_levels"].filter((pl.col("panel") == "distance") & (pl.col("level") == level))
        longest = distances["length"].to_numpy().max()
        return float(np.median(distances.filter(pl.col("length") == longest)["distance"].to_numpy()))

    return value


def _collapse_value(tables: Tables) -> float:
    table = tables["asymre_transition"].filter((pl.col("shift") == 0) & (pl.col("window") == 1))
    return float(table["value"].to_numpy().mean())


def _best_long_run(tables: Tables) -> float:
    table = tables["asymre_transition"]
    last = table.filter(pl.col("window") == table["window"].to_numpy().max())
    return last.group_by("shift").agg(pl.col("value").mean())["value"].to_numpy().max()


def _value_share(name: str) -> Callable[[Tables], float]:
    """KL from the behavior policy of an objective's induced target as a share of its nominal target's."""

    def value(tables: Tables) -> float:
        row = tables["catalogue_map"].filter(pl.col("name") == name).row(0, named=True)
        return row["kl"] / row["nominal_kl"]

    return value


def _below(reward: str, size: int) -> Callable[[Tables], float]:
    """Share of groups whose own soft value lies below the prompt's, at beta1 = beta2."""

    def value(tables: Tables) -> float:
        here = (pl.col("panel") == "size") & (pl.col("variant") == "oapl") & (pl.col("beta1") == pl.col("beta2"))
        cell = (pl.col("reward") == reward) & (pl.col("size") == size)
        return tables["oapl_plane"].filter(here & cell)["below"].item()

    return value


def _lagged(objective: str, lag: int, measure: str) -> Callable[[Tables], float]:
    """A measure at the end of the lagged runs of an objective."""

    def value(tables: Tables) -> float:
        runs = tables["lag_and_collapse"].filter((pl.col("algorithm") == objective) & (pl.col("lag") == lag))
        return runs.sort("step")[measure][-1]

    return value


def _removed(objective: str, lag: int, measure: str, column: str) -> Callable[[Tables], float]:
    """What the importance-weighted twin does to a measure at learning rate 1."""

    def value(tables: Tables) -> float:
        table = tables["counterfactual"].filter((pl.col("lag") == lag) & (pl.col("learning_rate") == 1))
        row = {"objective": objective, "twin": counterfactual.WEIGHTED, "measure": measure}
        return table.filter(*[pl.col(name) == found for name, found in row.items()])[column].item()

    return value


def _best_under_noise(objective: str) -> Callable[[Tables], float]:
    def value(tables: Tables) -> float:
        table = tables["verifier_noise"].filter(pl.col("objective") == objective)
        return float(table["with_best"].sum())

    return value


def _slope(column: str) -> Callable[[Tables], float]:
    def value(tables: Tables) -> float:
        slopes = tables["convergence"].filter((pl.col("panel") == "slope") & (pl.col("window") == 1))
        return slopes.filter(pl.col("objective") == "shifted_mean")[column].item()

    return value


NUMBERS: tuple[Number, ...] = (
    Number("catalogue.size", "objectives in the catalogue, variants included", lambda _: len(ps.catalogue()), ".0f"),
    Number("example.minima", "most local minima of the five-armed example", _example_minima, ".0f", ("regimes",)),
    Number(
        "example.rare_arm.probability",
        "probability of the winning arm at the lowest minimum of the five-armed example, highest baseline drawn",
        _rare_arm("probability"), ".3f", ("rare_arms",),
    ),
    Number(
        "example.rare_arm.behavior", "how often the behavior policy plays that arm",
        _rare_arm("behavior"), ".4f", ("rare_arms",),
    ),
    Number(
        "random.rare_arm.share",
        "share of random five-armed bandits whose lowest minimum at V = V* + 3 beta is on the rarest arm, not the best",
        _captured(3.0), ".0%", ("rare_arms",),
    ),
    Number(
        "random.rare_arm.update",
        "greatest share of them in which the exact update from the behavior policy ends there, over all V > V* drawn",
        _flow_captured, ".0%", ("rare_arms",),
    ),
    Number(
        "levels.token.distance", "median total variation between token-level end and target, longest trees drawn",
        _level_distance("token"), ".3f", ("sequence_levels",),
    ),
    Number(
        "levels.mean.distance", "the same for length-normalized log-ratios",
        _level_distance("sequence mean"), ".3f", ("sequence_levels",),
    ),
    Number(
        "asymre.collapse.value", "mean value over reward draws where AsymRE's baseline is the mean: one arm is left",
        _collapse_value, ".3f", ("asymre_transition",),
    ),
    Number(
        "asymre.long_run.value", "highest mean value over all shifts drawn after the most windows drawn",
        _best_long_run, ".3f", ("asymre_transition",),
    ),
    Number(
        "map.shifted_mean.share", "KL that the beta-shifted mean moves as a share of its nominal target's",
        _value_share("shifted_mean"), ".0%", ("catalogue_map",),
    ),
    Number(
        "map.oapl.share", "the same for OAPL with beta1 = 2 beta2",
        _value_share("oapl"), ".0%", ("catalogue_map",),
    ),
    Number(
        "groups.below.8", "share of groups of 8 uniform rewards whose soft value lies below the prompt's",
        _below("continuous", 8), ".0%", ("oapl_plane",),
    ),
    Number(
        "lag.entropy.shifted_mean", "entropy left by the beta-shifted mean at lag 100, nats",
        _lagged("shifted_mean", 100, "entropy"), ".2f", ("lag_and_collapse",),
    ),
    Number(
        "lag.entropy.single_beta", "the same for OAPL with one temperature",
        _lagged("oapl.single_beta", 100, "entropy"), ".2f", ("lag_and_collapse",),
    ),
    Number(
        "lag.value.missing_log_g", "final value of OAPL without - beta1 log G at lag 100",
        _lagged("oapl.missing_log_g", 100, "value"), ".2f", ("lag_and_collapse",),
    ),
    Number(
        "removed.entropy.shifted_mean",
        "change of the beta-shifted mean's final entropy, lag 100, when its pessimism is removed, nats",
        _removed("shifted_mean", 100, "entropy", "change"), "+.2f", ("counterfactual",),
    ),
    Number(
        "removed.entropy_at.shifted_mean", "the same at equal value",
        _removed("shifted_mean", 100, "entropy_at", "change"), "+.2f", ("counterfactual",),
    ),
    Number(
        "removed.value.shifted_mean", "the same change of its final value",
        _removed("shifted_mean", 100, "value", "change"), "+.4f", ("counterfactual",),
    ),
    Number(
        "removed.entropy.single_beta", "the change of final entropy at the boundary (one temperature), lag 100, nats",
        _removed("oapl.single_beta", 100, "entropy", "change"), "+.2f", ("counterfactual",),
    ),
    Number(
        "removed.value.missing_log_g", "final value of the negative regime's importance-weighted twin, lag 100",
        _removed("oapl.missing_log_g", 100, "value", "of_twin"), ".2f", ("counterfactual",),
    ),
    Number(
        "noise.pmd_mean", "pairs of verifier error rates, of 25, at which the mean baseline is best or tied with it",
        _best_under_noise("pmd_mean"), ".0f", ("verifier_noise",),
    ),
    Number(
        "noise.single_beta", "the same for OAPL with one temperature",
        _best_under_noise("oapl.single_beta"), ".0f", ("verifier_noise",),
    ),
    Number(
        "convergence.slope", "slope of log distance to the ideal recursion in log G, beta-shifted mean, one window",
        _slope("slope"), ".2f", ("convergence",),
    ),
    Number(
        "convergence.slope.half", "half the width of its 95% interval", _slope("half"), ".2f", ("convergence",),
    ),
)  # fmt: skip
"""Every number that a text may quote; another one is another line here."""


def figures_read() -> list[str]:
    """Names of all figures that numbers are read from, sorted."""
    return sorted({name for number in NUMBERS for name in number.figures})


def evaluate(tables: Tables, wanted: Sequence[Number] = NUMBERS) -> list[Quoted]:
    """Numbers with their values, from tables by figure name."""
    found = []
    for number in wanted:
        value = float(number.value(tables))
        found.append(Quoted(number.name, value, format(value, number.written), number.says, number.figures))
    return found


def write_numbers(folder: Path, numbers: list[Quoted]) -> Path:
    """numbers.json in a folder; returns its path."""
    path = folder / "numbers.json"
    content = {number.name: {k: v for k, v in asdict(number).items() if k != "name"} for number in numbers}
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
    return path


def numbers_table(numbers: list[Quoted]) -> Table:
    """Names, what a text says, meaning and source, for a terminal."""
    table = Table("name", "written", "what it is", "from", box=None, pad_edge=False)
    for number in numbers:
        table.add_row(number.name, number.text, number.says, ", ".join(number.figures) or "computed on the spot")
    return table


def filled(text: str, numbers: Mapping[str, str]) -> str:
    """A text with every ``<!-- number NAME -->...<!-- end -->`` holding what is written for that number.

    Raises ValueError for a name that is no number's.

    >>> filled("up to <!-- number top -->?<!-- end --> times", {"top": "2.5"})
    'up to <!-- number top -->2.5<!-- end --> times'
    """

    def replacement(found: re.Match[str]) -> str:
        name = found[1]
        if name not in numbers:
            raise ValueError(f"there is no number {name!r}; known: {', '.join(numbers)}")
        return f"<!-- number {name} -->{numbers[name]}<!-- end -->"

    return re.sub(r"<!-- number (\S+) -->.*?<!-- end -->", replacement, text, flags=re.DOTALL)
