"""Comparisons as a terminal table, as HTML and as plain data."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compare import Comparison, Metrics
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


SIDE_BY_SIDE = {
    "value": "value E r",
    "kl": "KL, nats",
    "entropy": "entropy",
    "ess": "ess",
    "max_ratio": "max ratio",
}
"""Metrics of several objectives and their headers: KL(pi|mu), entropy in nats, effective sample size, largest ratio."""


def side_by_side(comparisons: Sequence[Comparison]) -> list[str]:
    """Several objectives on one bandit, as lines: for each its name, its induced and its nominal target.

    >>> from pessimism.bandit import Bandit
    >>> from pessimism.compare import compare
    >>> bandit = Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> print("\\n".join(side_by_side([compare(bandit, text) for text in ("kimi_k15:tau=1", "kimi_k15:tau=.5")])))
                value E r   KL, nats    entropy        ess  max ratio normalizer
    behavior       0.2000     0.0000     1.0297     1.0000     1.0000
    kimi_k15(tau=1)
      induced      0.3833     0.0888     1.0736     0.8265     1.9163     0.0781
      nominal      0.4046     0.1092     1.0687     0.7926     2.0230     0.0954
    kimi_k15(tau=0.5)
      induced      0.5322     0.2698     1.0006     0.5918     2.6609     0.1167
      nominal      0.6488     0.4744     0.8805     0.4427     3.2439     0.2116
    """

    def line(label: str, cells: Sequence[str]) -> str:
        return f"{label:<10}" + "".join(f"{cell:>11}" for cell in cells)

    def numbers(metrics: Metrics) -> list[str]:
        return [_cell(getattr(metrics, name)) for name in SIDE_BY_SIDE]

    lines = [line("", [*SIDE_BY_SIDE.values(), "normalizer"])]
    lines.append(line("behavior", numbers(comparisons[0].behavior_metrics)))
    for comparison in comparisons:
        lines.append(title(comparison, "mean over {} rows"))
        for policy, metrics in (("induced", comparison.induced_metrics), ("nominal", comparison.nominal_metrics)):
            lines.append(line(f"  {policy}", [*numbers(metrics), _cell(getattr(comparison, policy).normalizer)]))
    return lines


def verdicts(comparisons: Sequence[Comparison]) -> list[str]:
    """A line for each objective: its verdict."""
    return [f"{comparison.algorithm}: {verdict(comparison)}" for comparison in comparisons]


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
