"""Every table of docs/language_models.md and docs/experiment.md, from the runs that are stored beside the figures.

python -m scripts.findings            rewrite the tables
python -m scripts.findings --check    change nothing; status 1 if one is out of date
"""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
from scipy.stats import t

from paper_figures import language_model_lag, language_model_settings
from paper_figures.swept import interval

from . import experiment, experiment_model
from .documents import ROOT, markdown, refresh
from .formats import holm, number, probability

PAGE = ROOT / "docs" / "language_models.md"
EQUATION = {
    "with λπ/w": "theory/equation_r2",
    "without": "theory/equation_r2_without",
    "mass of the samples": "theory/sampled_mass",
    "groups that would overfill it": "target/bound",
    "reward on held-out prompts": "evaluation/reward",
}

COMPARED = ("pmd_mean", "oapl", "is_regression", "asymre", "grpo", "rec_oneside_nois")
"""Objectives that are compared with the shifted mean."""


def main() -> int:
    """Rewrite or check the pages; return the exit status."""
    pages = ((PAGE, tables), (experiment.PAGE, experiment.tables), (experiment.PAGE, experiment_model.tables))
    return max([refresh(page, made, "python -m scripts.findings", __doc__) for page, made in pages])


def tables() -> dict[str, str]:
    """Name -> Markdown of every generated part."""
    lag = language_model_lag.compute(language_model_lag.Settings())
    settings = language_model_settings.compute(language_model_settings.Settings())
    found = {
        "lag": table(lag.with_columns(setting=pl.format("L = {}", "lag")).sort("lag", maintain_order=True), "pass@1")
    }
    for panel in language_model_settings.PANELS:
        found[panel] = table(settings.filter(pl.col("panel") == panel), "reward")
    parts = {
        "differences": differences(),
        "pooled": pooled(),
        "distance": distance(),
        "spread": spread(),
        "equation": equation(),
    }
    return found | parts


def table(runs: pl.DataFrame, first: str) -> str:
    """One row for every objective, one column for every setting: the first measure, pass@8 and entropy.

    Args:
        runs: columns objective, setting, measure, mean and half, in the order of rows and columns.
        first: the measure that is given with half of its interval's width, where there are three seeds.
    """
    settings = runs["setting"].unique(maintain_order=True).to_list()
    rows = {
        objective: [cell(runs.filter(objective=objective, setting=setting), first) for setting in settings]
        for objective in runs["objective"].unique(maintain_order=True)
    }
    return markdown(settings, rows)


def cell(runs: pl.DataFrame, first: str) -> str:
    """What a table says of one objective in one setting.

    >>> row = {"measure": ["reward", "pass@8", "entropy"], "mean": [0.25, 0.5, 0.125], "half": [0.0625, None, None]}
    >>> cell(pl.DataFrame(row), "reward")
    '.250 ± .062 / .500 / .125'
    """
    found = {row["measure"]: row for row in runs.iter_rows(named=True)}
    half = found[first]["half"]
    shown = [number(found[name]["mean"]) for name in (first, "pass@8", "entropy")]
    if half is not None:
        shown[0] += f" ± {number(half)}"
    return " / ".join(shown)


def differences() -> str:
    """What objectives have less or more than the shifted mean, seed by seed: means and halves of 95% intervals."""
    runs = last_rows("lag").filter(pl.col("sync_every") > 1).sort("seed")
    lags = runs["sync_every"].unique().sort().to_list()

    def difference(objective: str, lag: int, name: str) -> str:
        own, other = (runs.filter(sync_every=lag, variant=variant)[name] for variant in (objective, "shifted_mean"))
        mean, half = interval((own - other).to_numpy())
        return f"{number(float(mean), sign=True)} ± {number(float(half))}"

    names = ("evaluation/pass@1", "evaluation/pass@8", "evaluation/entropy")
    rows = {
        objective: [" / ".join(difference(objective, lag, name) for name in names) for lag in lags]
        for objective in COMPARED
    }
    return markdown([f"L = {lag}" for lag in lags], rows)


def pooled() -> str:
    """Differences of pass@1 from the shifted mean, and p-values by one standard deviation for all, Holm-adjusted."""
    runs = last_rows("lag").filter(pl.col("variant").is_in((*COMPARED, "shifted_mean")))
    cells = runs.group_by("variant", "sync_every").agg(pl.col("evaluation/pass@1"))
    values = {(name, lag): np.array(found) for name, lag, found in cells.iter_rows()}
    degrees = sum(len(found) - 1 for found in values.values())
    deviation = (sum(((found - found.mean()) ** 2).sum() for found in values.values()) / degrees) ** 0.5
    lags = sorted({lag for _, lag in values} - {1})
    places = [(name, lag) for name in COMPARED for lag in lags]
    pairs = [(values[name, lag], values["shifted_mean", lag]) for name, lag in places]
    gaps = np.array([own.mean() - other.mean() for own, other in pairs])
    errors = deviation * np.array([(1 / len(own) + 1 / len(other)) ** 0.5 for own, other in pairs])
    adjusted = dict(zip(places, holm(2 * t.sf(np.abs(gaps / errors), degrees)), strict=True))
    difference = dict(zip(places, gaps, strict=True))
    rows = {
        name: [f"{number(difference[name, lag], sign=True)} / {probability(adjusted[name, lag])}" for lag in lags]
        for name in COMPARED
    }
    said = f"Pooled standard deviation {number(deviation, digits=4)} with {degrees} degrees of freedom; difference / p:"
    return said + "\n\n" + markdown([f"L = {lag}" for lag in lags], rows)


def distance() -> str:
    """KL(mu|pi) at the end of the last window by objective and lag, mean over seeds; it is nothing at L = 1."""
    runs = last_rows("lag").filter(pl.col("sync_every") > 1)
    lags = runs["sync_every"].unique().sort().to_list()
    rows = {
        objective: [f"{runs.filter(variant=objective, sync_every=lag)['kl/k1_sequence'].mean():.2f}" for lag in lags]
        for objective in runs["variant"].unique(maintain_order=True)
    }
    return markdown([f"L = {lag}" for lag in lags], rows)


def spread() -> str:
    """How much a run's reward depends on its seed, of the objectives that do not collapse."""
    runs = last_rows("lag").filter(pl.col("variant").is_in((*COMPARED, "shifted_mean")), sync_every=100)
    variance = runs.group_by("variant").agg(pl.col("evaluation/reward").var())["evaluation/reward"].to_numpy().mean()
    deviation, pair = variance**0.5, 1.96 * (2 * variance) ** 0.5
    return (
        f"A run's reward varies with its seed by {number(deviation)} (standard deviation, pooled over the objectives\n"
        f"that do not collapse at L = 100): between two single runs a difference below {number(pair)} says nothing."
    )


def equation() -> str:
    """How well the target's equation holds where groups were trained to the end: lowest and highest over seeds."""
    runs = last_rows("identity")

    def bounds(objective: str, name: str) -> str:
        values = runs.filter(variant=objective)[name].to_numpy()
        return f"{number(values.min(), digits=4)} to {number(values.max(), digits=4)}"

    objectives = runs["variant"].unique(maintain_order=True)
    rows = {objective: [bounds(objective, name) for name in EQUATION.values()] for objective in objectives}
    return markdown(list(EQUATION), rows)


def last_rows(study: str) -> pl.DataFrame:
    """What the stored runs of a study were at their end."""
    return pl.read_parquet(language_model_settings.path(study)).filter("last")


if __name__ == "__main__":
    sys.exit(main())
