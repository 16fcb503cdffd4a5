"""Every table of docs/language_models.md, from the runs that are stored beside the figures.

python -m scripts.findings            rewrite the tables
python -m scripts.findings --check    change nothing; status 1 if one is out of date
"""

from __future__ import annotations

import argparse
import sys

import polars as pl

from paper_figures import language_model_lag, language_model_settings
from paper_figures.swept import interval

from .readme import ROOT, with_part

PAGE = ROOT / "docs" / "language_models.md"
COMPARED = ("pmd_mean", "oapl", "is_regression", "asymre", "grpo", "rec_oneside_nois")
"""Objectives that are compared with the shifted mean."""


def main() -> int:
    """Rewrite or check the page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    before = after = PAGE.read_text("utf-8")
    for name, content in tables().items():
        after = with_part(after, name, content)
    if options.check:
        if before != after:
            print(f"{PAGE}: out of date; run python -m scripts.findings", file=sys.stderr)
        return int(before != after)
    PAGE.write_text(after, "utf-8")
    return 0


def tables() -> dict[str, str]:
    """Name -> Markdown of every generated part."""
    lag = language_model_lag.compute(language_model_lag.Settings())
    settings = language_model_settings.compute(language_model_settings.Settings())
    found = {
        "lag": table(lag.with_columns(setting=pl.format("L = {}", "lag")).sort("lag", maintain_order=True), "pass@1")
    }
    for panel in language_model_settings.PANELS:
        found[panel] = table(settings.filter(pl.col("panel") == panel), "reward")
    parts = {"differences": differences(), "distance": distance(), "spread": spread(), "equation": equation()}
    return found | parts


def table(runs: pl.DataFrame, first: str) -> str:
    """One row for every objective, one column for every setting: the first measure, pass@8 and entropy.

    Args:
        runs: columns objective, setting, measure, seeds, mean and half, in the order of rows and columns.
        first: the measure that is given with half of its interval's width, where there are three seeds.
    """
    settings = runs["setting"].unique(maintain_order=True).to_list()
    rows = [f"| objective | {' | '.join(settings)} |", "|---" * (len(settings) + 1) + "|"]
    for objective in runs["objective"].unique(maintain_order=True):
        own = runs.filter(pl.col("objective") == objective)
        cells = [cell(own.filter(pl.col("setting") == setting), first) for setting in settings]
        rows.append(f"| {objective} | {' | '.join(cells)} |")
    return "\n".join(rows)


def differences() -> str:
    """What objectives have less or more than the shifted mean, seed by seed: means and halves of 95% intervals."""
    runs = pl.read_parquet(language_model_lag.DATA).filter("last", pl.col("sync_every") > 1).sort("seed")
    lags = runs["sync_every"].unique().sort().to_list()
    rows = [f"| objective | {' | '.join(f'L = {lag}' for lag in lags)} |", "|---" * (len(lags) + 1) + "|"]
    for objective in COMPARED:
        cells = []
        for lag in lags:
            own, other = (
                runs.filter(pl.col("sync_every") == lag, pl.col("variant") == name)
                for name in (objective, "shifted_mean")
            )
            found = [
                interval((own[name] - other[name]).to_numpy())
                for name in ("evaluation/pass@1", "evaluation/pass@8", "evaluation/entropy")
            ]
            cells.append(" / ".join(f"{signed(float(mean))} ± {number(float(half))}" for mean, half in found))
        rows.append(f"| {objective} | {' | '.join(cells)} |")
    return "\n".join(rows)


def spread() -> str:
    """How much a run's reward depends on its seed, of the objectives that do not collapse."""
    runs = pl.read_parquet(language_model_lag.DATA).filter(
        "last", pl.col("sync_every") == 100, pl.col("variant").is_in((*COMPARED, "shifted_mean"))
    )
    variance = runs.group_by("variant").agg(pl.col("evaluation/reward").var())["evaluation/reward"].to_numpy().mean()
    deviation, pair = variance**0.5, 1.96 * (2 * variance) ** 0.5
    return (
        f"A run's reward varies with its seed by {number(deviation)} (standard deviation, pooled over the objectives\n"
        f"that do not collapse at L = 100): between two single runs a difference below {number(pair)} says nothing."
    )


def signed(value: float) -> str:
    """Three digits with their sign, as in -.250."""
    return ("-" if value < 0 else "+") + number(abs(value))


def distance() -> str:
    """KL(mu|pi) at the end of the last window by objective and lag, mean over seeds; nothing is lost at L = 1."""
    runs = pl.read_parquet(language_model_lag.DATA).filter("last", pl.col("sync_every") > 1)
    lags = runs["sync_every"].unique().sort().to_list()
    rows = [f"| objective | {' | '.join(f'L = {lag}' for lag in lags)} |", "|---" * (len(lags) + 1) + "|"]
    for objective in runs["variant"].unique(maintain_order=True):
        own = runs.filter(pl.col("variant") == objective)
        cells = [f"{own.filter(pl.col('sync_every') == lag)['kl/k1_sequence'].mean():.2f}" for lag in lags]
        rows.append(f"| {objective} | {' | '.join(cells)} |")
    return "\n".join(rows)


EQUATION = {
    "with λπ/w": "theory/equation_r2",
    "without": "theory/equation_r2_without",
    "mass of the samples": "theory/sampled_mass",
    "groups that would overfill it": "target/bound",
    "reward on held-out prompts": "evaluation/reward",
}


def equation() -> str:
    """How well the target's equation holds where groups were trained to the end: lowest and highest over seeds."""
    runs = pl.read_parquet(language_model_settings.path("identity")).filter("last")
    rows = [f"| objective | {' | '.join(EQUATION)} |", "|---" * (len(EQUATION) + 1) + "|"]
    for objective in runs["variant"].unique(maintain_order=True):
        own = runs.filter(pl.col("variant") == objective)
        bounds = [f"{_four(own[name].min())} to {_four(own[name].max())}" for name in EQUATION.values()]
        rows.append(f"| {objective} | {' | '.join(bounds)} |")
    return "\n".join(rows)


def _four(value: object) -> str:
    return f"{value:.4f}".removeprefix("0")


def cell(runs: pl.DataFrame, first: str) -> str:
    """What a table says of one objective in one setting.

    >>> row = {"measure": ["reward", "pass@8", "entropy"], "mean": [0.25, 0.5, 0.125], "half": [0.0625, None, None]}
    >>> cell(pl.DataFrame(row | {"seeds": [3, 3, 3]}), "reward")
    '.250 ± .062 / .500 / .125'
    """
    if runs.is_empty():
        return ""
    means = {row["measure"]: row for row in runs.iter_rows(named=True)}
    half = means[first]["half"]
    shown = [number(means[name]["mean"]) for name in (first, "pass@8", "entropy")]
    if half is not None:
        shown[0] += f" ± {number(half)}"
    return " / ".join(shown)


def number(value: float) -> str:
    """Three digits, as in .250."""
    return f"{value:.3f}".removeprefix("0")


if __name__ == "__main__":
    sys.exit(main())
