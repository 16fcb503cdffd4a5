"""Comparisons as a terminal table, as HTML and as plain data."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compare import Comparison
from ..verdict import verdict

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_ARMS = 12
HEADERS = ("behavior", "induced", "nominal", "implicit", "explicit")
"""Implicit is stated minus induced, explicit nominal minus stated: together nominal minus induced."""
METRIC_NAMES = {
    "value": "value E r",
    "kl": "KL(pi|mu), nats",
    "reverse_kl": "KL(mu|pi), nats",
    "chi2": "chi-squared",
    "entropy": "entropy, nats",
    "ess": "effective sample size",
    "max_ratio": "largest ratio",
    "effective_temperature": "effective temperature",
}


def comparison_table(comparison: Comparison) -> Table:
    """The comparison as a rich table; a batch shows the mean over its rows."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Text, not str: rich would read brackets in a user's name as markup.
    table = Table(
        title=Text(title(comparison, "mean over {} rows"), style="bold"),
        caption=Text(verdict(comparison)),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for header in HEADERS:
        table.add_column(header, justify="right")
    for label, values in _rows(comparison):
        table.add_row(label, *values)
    return table


def title(comparison: Comparison, rows: str = "{} rows") -> str:
    """The algorithm with its parameters; for a batch also its size, in the words of ``rows``."""
    name, shape = str(comparison.algorithm), comparison.bandit.batch_shape
    return f"{name}, {rows.format(int(np.prod(shape, dtype=int)))}" if shape else name


def comparison_html(comparison: Comparison) -> str:
    """The comparison as an HTML table, every string escaped."""
    head = "".join(f"<th>{name}</th>" for name in ("", *HEADERS))
    body = "".join(
        f"<tr><th>{html.escape(label)}</th>" + "".join(f"<td>{html.escape(value)}</td>" for value in values) + "</tr>"
        for label, values in _rows(comparison)
    )
    title = html.escape(comparison.algorithm.name)
    return (
        f"<table><caption>{title}: {html.escape(verdict(comparison))}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def comparison_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain Python values; infinities stay infinities."""
    return {
        "algorithm": comparison.algorithm.name,
        "parameters": dict(comparison.algorithm.parameters),
        "baseline": comparison.algorithm.baseline.formula,
        "level": comparison.algorithm.level,
        "verdict": verdict(comparison),
        "regime": _listed(comparison.regime),
        "distance": _listed(comparison.distance),
        "behavior": {"policy": _listed(comparison.bandit.behavior), **comparison.behavior_metrics.to_dict()},
        "induced": {**comparison.induced.to_dict(), **comparison.induced_metrics.to_dict()},
        "nominal": {**comparison.nominal.to_dict(), **comparison.nominal_metrics.to_dict()},
        "stated": {**comparison.stated.to_dict(), **comparison.stated_metrics.to_dict()},
        "gaps": {name: _listed(value) for name, value in comparison.gaps.items()},
        "implicit_gaps": {name: _listed(value) for name, value in comparison.implicit_gaps.items()},
        "explicit_gaps": {name: _listed(value) for name, value in comparison.explicit_gaps.items()},
        "implicit_distance": _listed(comparison.implicit_distance),
    }


def _rows(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Label and the five cells of every line of the table."""
    columns = (comparison.behavior_metrics, comparison.induced_metrics, comparison.nominal_metrics)
    explicit = comparison.explicit_gaps
    rows = [
        (METRIC_NAMES[name], [*(_cell(getattr(column, name)) for column in columns), _cell(gap), _cell(explicit[name])])
        for name, gap in comparison.implicit_gaps.items()
    ]
    targets = (comparison.induced, comparison.nominal)
    rows.append(("normalizer", ["", *(_cell(target.normalizer) for target in targets), "", ""]))
    for label, attribute in (("regime", "regime"), ("kind", "kind"), ("method", "method")):
        rows.append((label, ["", *(_words(getattr(target, attribute)) for target in targets), "", ""]))
    if comparison.induced.policy.ndim == 1:
        policies = (comparison.bandit.behavior, comparison.induced.policy, comparison.nominal.policy)
        shown = np.argsort(-np.max(policies, axis=0), kind="stable")[:SHOWN_ARMS]
        for arm in np.sort(shown):
            cells = [_cell(policy[arm]) for policy in policies]
            stated = comparison.stated.policy[arm]
            rows.append(
                (
                    f"pi({arm}), r = {comparison.bandit.reward[arm]:g}",
                    [*cells, _cell(stated - policies[1][arm]), _cell(policies[2][arm] - stated)],
                )
            )
        if comparison.bandit.arms > SHOWN_ARMS:
            rows.append((f"... {comparison.bandit.arms - SHOWN_ARMS} more arms", [""] * 5))
    return rows


def _cell(value: Any) -> str:
    mean = float(np.mean(value))
    if math.isfinite(mean) and mean != 0 and (abs(mean) >= 1e5 or abs(mean) < 1e-4):
        return f"{mean:.3e}"
    return f"{mean:.4f}" if math.isfinite(mean) else str(mean)


def _words(value: Any) -> str:
    if value is None:
        return "-"
    names, counts = np.unique(np.asarray(value), return_counts=True)
    if len(names) == 1:
        return str(names[0])
    return ", ".join(f"{name} {count / counts.sum():.0%}" for name, count in zip(names, counts, strict=True))


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
