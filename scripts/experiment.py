"""Every table of docs/experiment.md, from the stored runs. `python -m scripts.findings` writes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from bandits.experiment.design import DOSES, INSTANCES, LANDMARKS, OFFSETS, ORDER, RATES, WORLDS
from paper_figures import experiment, experiment_deployed, experiment_variance
from paper_figures.contrasts import LONG, WEIGHTS, Crossing, Effect, contrasts, effect, pairs, rank_correlation, trend
from paper_figures.experiment import main_optimizers
from paper_figures.experiment_dose import NAMES

from .documents import ROOT, grid
from .formats import holm, number, probability

PAGE = ROOT / "docs" / "experiment.md"
BOUND = 0.02
"""Of equivalence in value and pass@1."""

FRESH = (20,)
LEVEL = 0.05
REFUTING = ("nominal, h = 1", "Lambert, h = min(ρ, 2)", "Lambert, h = ρ")

MEASURES = {"value": "value", "entropy": "entropy", "collapsed": "share collapsed"}
KINDS = {"tuned": experiment.tuned, "equal": experiment.equal_rate}


def tables() -> dict[str, str]:
    """Name -> Markdown of every generated part."""
    return {
        "runs": runs(),
        "judgment": judgment(),
        "contrasts": contrast_table(),
        "pairs": pair_table(),
        "worlds": world_table(),
        "trend": trend_table(),
        "variance": variance_table(),
        "explicit": explicit_table(),
        "offset": offset_table(),
        "landmarks": landmark_table(),
        "deployed": deployed_table(),
        "deployed_extremes": extremes_table(),
    }


def runs() -> str:
    """What the file holds, and what the design has."""
    table, there = experiment.bandits(), experiment.trained()
    rows = []
    for optimizer in RATES:
        cells = []
        for world in WORLDS:
            here = table.filter(world=world, optimizer=optimizer, objective="residual")
            batches = here["batch"].n_unique()
            cells.append(str(batches) if (world, optimizer) in ORDER else "")
        rows.append([NAMES[optimizer], *cells])
    total = len(table) * 2
    said = (
        f"{total:,} runs of 1,200 steps are stored, of {len(there)} of {len(ORDER)} pairs of world and optimizer. "
        f"Batches of {INSTANCES} instances, each with the whole crossing at four rates:"
    )
    return said + "\n\n" + grid(["", *WORLDS], rows)


def judgment() -> str:
    """The plan's conditions for a refutation, one column for every optimizer and way of choosing rates."""
    columns, rows = [], {}
    for optimizer in main_optimizers():
        for kind, table in KINDS.items():
            columns.append(f"{NAMES[optimizer]}, {kind}")
            value = experiment.over_worlds(table(), optimizer, "value")
            compared = {name: effect(of) for name, of in pairs(value).items()}
            collapsed = contrasts(experiment.over_worlds(table(), optimizer, "collapsed"))
            ways = [trend(value, weight, lag) for weight in WEIGHTS for lag in LONG]
            rises, falls = (sum(way == sign and p < LEVEL for way, p in ways) for sign in (1, -1))
            cells = {f"{name}, less Lambert, h = 1": said(compared[name]) for name in REFUTING}
            cells["value over the doses, weights × L = 100, 400"] = f"rises in {rises}, falls in {falls} of {len(ways)}"
            cells |= {f"{name} → share collapsed": told(effect(collapsed[name])) for name in ("dose", "weight")}
            for name, cell in cells.items():
                rows.setdefault(name, []).append(cell)
    return grid(["", *columns], [[name, *cells] for name, cells in rows.items()])


def said(found: Effect) -> str:
    """A difference of values with its verdict."""
    return f"{told(found)}: {verdict(found)}"


def contrast_table() -> str:
    """The three contrasts of the plan, adjusted by Holm's rule, for both ways of choosing rates."""
    rows = []
    for optimizer in main_optimizers():
        for kind, table in KINDS.items():
            found = {measure: contrasts(experiment.over_worlds(table(), optimizer, measure)) for measure in MEASURES}
            effects = {measure: {name: effect(of) for name, of in each.items()} for measure, each in found.items()}
            adjusted = {
                measure: dict(zip(each, holm(np.array([one.p for one in each.values()])), strict=True))
                for measure, each in effects.items()
            }
            for name in effects["value"]:
                cells = [f"{told(effects[m][name])} / {probability(adjusted[m][name])}" for m in MEASURES]
                rows.append([f"{NAMES[optimizer]}, {kind}", name, *cells])
    return grid(["rates", "contrast", *MEASURES.values()], rows)


def pair_table() -> str:
    """What other cells have more than ratio-free Lambert, and whether they are equivalent to it in value."""
    rows = []
    for optimizer in main_optimizers():
        for kind, table in KINDS.items():
            each = {m: pairs(experiment.over_worlds(table(), optimizer, m)) for m in MEASURES}
            for name in each["value"]:
                effects = {m: effect(each[m][name]) for m in MEASURES}
                rows.append(
                    [f"{NAMES[optimizer]}, {kind}", name, *map(told, effects.values()), verdict(effects["value"])]
                )
    return grid(["rates", "cell", *MEASURES.values(), "value"], rows)


def verdict(found: Effect, bound: float = BOUND) -> str:
    """What the two one-sided tests and the interval say of a difference.

    >>> verdict(Effect(0.0, 0.01, 0.9, -0.008, 0.008, 9)), verdict(Effect(-0.5, 0.1, 0.0, -0.58, -0.42, 9))
    ('equivalent', 'worse by more than .02')
    """
    if found.equivalent(bound):
        return "equivalent"
    if found.mean + found.half < -bound:
        return f"worse by more than {number(bound, 2)}"
    if found.mean - found.half > bound:
        return f"better by more than {number(bound, 2)}"
    return "open"


def world_table() -> str:
    """Contrasts of value world by world, tuned and at equal rates."""
    rows = []
    for world, optimizer in experiment.trained():
        cells = []
        for table in KINDS.values():
            found = contrasts(experiment.crossing(table(), world, optimizer, "value"))
            cells += [told(effect(found[name])) for name in ("dose", "weight")]
        rows.append([world, NAMES[optimizer], *cells])
    return grid(["world", "optimizer", "dose, tuned", "weight, tuned", "dose, equal", "weight, equal"], rows)


def trend_table() -> str:
    """Page's test over the doses, and rank correlations with measured conservatism, at tuned rates."""
    rows = []
    for optimizer in main_optimizers():
        found = {
            name: experiment.over_worlds(experiment.tuned(), optimizer, name)
            for name in ("value", "entropy", "conservatism", "kl")
        }
        for lag in found["value"].lags:
            for weight in WEIGHTS:
                cells = []
                for measure in ("value", "entropy"):
                    way, p = trend(found[measure], weight, lag)
                    by = [correlation(found[measure], found[name], weight, lag) for name in ("conservatism", "kl")]
                    cells.append(f"{'rises' if way > 0 else 'falls'}, {probability(p)} / " + " / ".join(by))
                rows.append([NAMES[optimizer], str(lag), weight, *cells])
    return grid(["optimizer", "L", "h", "value", "entropy"], rows)


def correlation(outcome: Crossing, measured: Crossing, weight: str, lag: int) -> str:
    """Mean over blocks with half its interval."""
    place = WEIGHTS.index(weight), outcome.lags.index(lag)
    return told(effect(rank_correlation(outcome.values[:, :, *place], measured.values[:, :, *place])), digits=2)


def variance_table() -> str:
    """Shares of the sum of squares, those of the figure."""
    table = experiment_variance.compute(experiment_variance.FIGURE.settings)
    factors = table["factor"].unique(maintain_order=True).to_list()
    rows = []
    for (optimizer, rate, measure), cell in table.group_by("optimizer", "rate", "measure", maintain_order=True):
        shares = [number(share, 2) for share in cell["share"]]
        rows.append([f"{NAMES[str(optimizer)]}, {rate}", MEASURES[str(measure)], *shares])
    return grid(["rates", "outcome", *factors], rows)


def explicit_table() -> str:
    """Explicit pessimism in weighted objectives on fresh data: every dose at L = 20, mean over worlds and rates."""
    rows = []
    for optimizer in main_optimizers():
        found = {name: experiment.over_worlds(experiment.equal_rate(), optimizer, name) for name in MEASURES}
        for weight in WEIGHTS[1:]:
            cells = [
                " / ".join(number(each.at(dose, weight, FRESH).mean()) for each in found.values()) for dose in DOSES
            ]
            rows.append([NAMES[optimizer], weight, *cells])
    return grid(["optimizer", "h", *(f"s = {dose:g}" for dose in DOSES)], rows)


def offset_table() -> str:
    """What noise alone does: ratio-free Lambert with o rho added, mean over all rates."""
    table = experiment.equal_rate().filter(objective="residual", weight="1", dose=1.0, world="binary")
    offsets = sorted([*OFFSETS, 0.0])
    rows = []
    for optimizer in main_optimizers():
        for lag in table["lag"].unique().sort():
            cells = []
            for offset in offsets:
                cell = table.filter(optimizer=optimizer, lag=lag, offset=offset)
                cells.append(" / ".join(number(cell[name].to_numpy().mean()) for name in MEASURES))
            rows.append([NAMES[optimizer], str(lag), *cells])
    return grid(["optimizer", "L", *(f"o = {number(offset, 1, sign=offset != 0)}" for offset in offsets)], rows)


def landmark_table() -> str:
    """Landmarks beside two cells of the family, tuned: value, entropy, share collapsed."""
    table = experiment.tuned().filter(offset=0.0)
    rows = []
    for world, optimizer in experiment.trained():
        here = table.filter(world=world, optimizer=optimizer)
        if here.filter(pl.col("objective").is_in(list(LANDMARKS))).is_empty():
            continue
        for label, wanted in _compared():
            cells = [
                " / ".join(number(here.filter(lag=lag, **wanted)[name].to_numpy().mean()) for name in MEASURES)
                for lag in experiment.STALE
            ]
            rows.append([f"{world}, {NAMES[optimizer]}", label, *cells])
    return grid(["", "objective", *(f"L = {lag}" for lag in experiment.STALE)], rows)


CONSERVATISM = {"movement": "movement", "implicit_gap": "implicit gap", "offset": "(offset)"}
DEPLOYED_OUTCOMES = {"stability": "share not collapsed", "value": "value", "tuned": "value, tuned"}


def deployed_table() -> str:
    """Rank correlations over deployed objectives, their intervals, and how many cases there are."""
    rows = []
    for kind in ("published", "matched"):
        for optimizer in main_optimizers():
            for name, title in CONSERVATISM.items():
                if kind == "matched" and name != "implicit_gap":
                    continue  # the same movement for all; the offset is of published parameters
                found = [experiment_deployed.correlation(kind, optimizer, name, each) for each in DEPLOYED_OUTCOMES]
                cells = [f"{number(c.mean, 2, sign=True)} ({interval(c)})" for c in found]
                rows.append([f"{kind}, {NAMES[optimizer]}", str(found[0].entries), title, *cells])
    batches = experiment_deployed.runs()["batch"].n_unique()
    said = f"Batches of {INSTANCES} instances: {batches}."
    missing = experiment_deployed.left_out()
    if len(missing):
        each = sorted({f"`{row['entry']}` ({row['kind']}, {row['world']})" for row in missing.rows(named=True)})
        said += f" No run of {', '.join(each)}."
    return said + "\n\n" + grid(["settings", "entries", "conservatism", *DEPLOYED_OUTCOMES.values()], rows)


def interval(found: experiment_deployed.Correlation) -> str:
    """Its ends."""
    return " to ".join(number(end, 2, sign=True) for end in (found.low, found.high))


def extremes_table(most: int = 5) -> str:
    """The published objectives that collapse least and most, and where they lie by conservatism."""
    table = experiment_deployed.outcomes().filter(pl.col("lag").is_in(LONG), kind="published")
    means = table.group_by("entry").agg(pl.col("movement", "implicit_gap", "offset", "collapsed", "value").mean())
    ordered = means.sort("collapsed", "value", "entry", descending=[False, True, False])
    rows = [
        [
            f"`{row['entry']}`",
            *(number(row[name]) for name in ("movement", "implicit_gap", "offset", "collapsed", "value")),
        ]
        for row in (*ordered.head(most).rows(named=True), *ordered.tail(most).rows(named=True))
    ]
    return grid(["objective", "movement, nats", "implicit gap, nats", "offset", "share collapsed", "value"], rows)


def _compared() -> Iterator[tuple[str, dict[str, object]]]:
    yield "residual, nominal", {"objective": "residual", "dose": 0.0, "weight": "1"}
    yield "residual, Lambert", {"objective": "residual", "dose": 1.0, "weight": "1"}
    for name in LANDMARKS:
        yield name, {"objective": name}


def told(found: Effect, digits: int = 3) -> str:
    """A mean with half its interval.

    >>> told(Effect(-0.25, 0.0625, 0.0, -0.3, -0.2, 9))
    '-.250 ± .062'
    """
    half = "" if np.isnan(found.half) else f" ± {number(found.half, digits)}"
    return number(found.mean, digits, sign=True) + half
