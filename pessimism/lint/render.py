"""A report as text, as JSON, and as annotations of GitHub Actions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..objectives.catalogue import catalogue
from ..trainers.rule import SEVERITIES
from ..trainers.settings import Settings
from .findings import Finding
from .linter import Report

if TYPE_CHECKING:
    from rich.console import RenderableType

STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold"}
GITHUB_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
LEVELS = {
    "token": "per token",
    "sequence": "per completion (summed log-ratio)",
    "sequence mean": "per completion (averaged log-ratio)",
    "sequence mean times length": "per completion (averaged log-ratio), times its length",
    "token vector": "per token, clipped, then averaged over the completion",
}
AGGREGATIONS = {
    "token": "mean over the tokens of the batch",
    "token sum": "sum over the tokens of the batch",
    "sequence mean": "mean over the tokens of a completion, then over completions",
    "sequence sum": "sum over the tokens of a completion, mean over completions",
    "constant": "sum over tokens, divided by a constant length",
}


def text(report: Report) -> list[RenderableType]:
    """What the terminal shows: the objective, its targets on reference groups, the findings."""
    from rich.padding import Padding

    settings = report.settings
    parts: list[RenderableType] = [f"{settings.document.path}: read as {settings.version}, {settings.kind}", ""]
    parts.append(Padding(_facts(settings), (0, 0, 0, 2)))
    if report.groups:
        parts += [
            "",
            "  Where it drives a group of completions: the probability of one that passes (reward 1, else 0)",
            "",
        ]
        parts += [Padding(_targets(report), (0, 0, 0, 2)), "", Padding(f"On these groups: {report.verdict}", (0, 2))]
    for finding in report.findings:
        parts += ["", *_finding(finding)]
    return [*parts, "", summary([report])]


def summary(reports: Sequence[Report]) -> str:
    """How many findings there are of each severity.

    >>> summary([])
    'no findings'
    """
    found = [finding.rule.severity for report in reports for finding in report.findings]
    counts = [(found.count(severity), severity) for severity in reversed(SEVERITIES)]
    words = [f"{count} {severity}{'s' * (count > 1)}" for count, severity in counts if count]
    return ", ".join(words) or "no findings"


def json_value(report: Report) -> dict[str, Any]:
    """The report as plain data."""
    settings = report.settings
    made = settings.objective.algorithm
    return {
        "file": settings.document.path,
        "trainer": settings.trainer,
        "version": settings.version,
        "configuration": settings.kind,
        "objective": {
            "loss": settings.objective.loss,
            "entry": settings.objective.entry or None,
            "parameters": dict(settings.parameters),
            "unknown": settings.objective.unknown or None,
            "remarks": list(settings.objective.remarks),
        },
        "baseline": settings.baseline,
        "baseline_formula": None if made is None else made.baseline.formula,
        "scaling": settings.scaling or None,
        "level": None if made is None else made.level,
        "aggregation": settings.aggregation or None,
        "group_size": settings.group_size,
        "clip": None if settings.clip is None else asdict(settings.clip),
        "penalty": None if settings.penalty is None else asdict(settings.penalty),
        "sampling": asdict(settings.sampling),
        "lag": asdict(settings.lag),
        "correction": asdict(settings.correction),
        "verdict": report.verdict or None,
        "reference_groups": [asdict(group) for group in report.groups],
        "findings": [
            {
                "rule": finding.rule.id,
                "severity": finding.rule.severity,
                "key": finding.key,
                "line": finding.line,
                "message": finding.message,
                "reason": finding.rule.reason,
                "source": finding.rule.source,
                "fix": finding.rule.fix,
            }
            for finding in report.findings
        ],
    }


def github(report: Report) -> Iterator[str]:
    """One workflow command per finding; GitHub shows them at the line of the file."""
    for finding in report.findings:
        place = {
            "file": report.settings.document.path,
            "line": finding.line or 1,
            "title": f"pessimism {finding.rule.id}",
        }
        where = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in place.items())
        message = f"{finding.key}: {finding.message}. {finding.rule.reason} {finding.rule.fix}"
        yield f"::{GITHUB_LEVELS[finding.rule.severity]} {where}::{_escaped(message)}"


def _escaped(value: str, also: str = "") -> str:
    """What a workflow command takes literally; without it a file name could write commands of its own."""
    for character in "%\r\n" + also:
        value = value.replace(character, f"%{ord(character):02X}")
    return value


# --- parts ----------------------------------------------------------------------------------------------------------


def _facts(settings: Settings) -> Any:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(settings):
        table.add_row(name, value)
    return table


def _lines(settings: Settings) -> Iterator[tuple[str, str]]:
    objective, made = settings.objective, settings.objective.algorithm
    yield "loss", objective.loss
    if made is None:
        yield "objective", f"cannot tell: {objective.unknown}"
    else:
        entry = catalogue()[objective.entry]
        given = ", ".join(
            f"{name}={value if isinstance(value, str) else format(value, 'g')}"
            for name, value in made.parameters.items()
        )
        yield "objective", f"{objective.entry}({given}): {entry.title}; {entry.source}"
        yield "coefficient", entry.coefficient
    yield "baseline", settings.baseline
    if made is not None:
        yield "ratio", LEVELS[made.level] if objective.uses_log_ratio else "none"
    if settings.aggregation:
        yield "average", AGGREGATIONS.get(settings.aggregation, settings.aggregation)
    if settings.group_size is not None:
        yield "group", f"{settings.group_size} completion{'s' * (settings.group_size != 1)} of a prompt"
    if settings.penalty is not None:
        penalty = settings.penalty
        yield (
            "KL penalty",
            f"{penalty.coefficient:g}, {penalty.estimator}, in the {penalty.place}, to a reference policy",
        )
    yield "data", _data(settings)
    for remark in _remarks(settings):
        yield "note", remark


def _remarks(settings: Settings) -> Iterator[str]:
    yield from settings.objective.remarks
    if settings.penalty is not None and not settings.objective.penalized and settings.objective.algorithm:
        yield "the KL penalty is left out of the targets below"


def _data(settings: Settings) -> str:
    lag = settings.lag
    steps = "an unknown number of steps" if lag.steps is None else f"{lag.steps:g} step{'s' * (lag.steps != 1)}"
    age = ""
    if lag.asynchronous:
        age = ", without a bound on their age" if math.isinf(lag.bound) else f", up to {lag.bound:g} versions old"
    return f"{steps} on the samples of one policy{age}"


def _targets(report: Report) -> Any:
    from ..shell.terminal import new_table

    regimes = any(group.regime is not None for group in report.groups)
    headers = (">passing", ">behavior", ">induced", ">nominal", ">largest ratio: passing", ">failing")
    table = new_table(*headers, *(["regime"] if regimes else []), "kind")
    for group in report.groups:
        table.add_row(
            f"{group.passing} of {group.group_size}",
            f"{group.passing / group.group_size:.4f}",
            f"{group.induced:.4f}",
            f"{group.nominal:.4f}",
            f"{group.ratio_pass:.3g}",
            f"{group.ratio_fail:.3g}",
            *([group.regime or "-"] if regimes else []),
            group.kind,
        )
    return table


def _finding(finding: Finding) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    rule = finding.rule
    indented = (0, 0, 0, 2)
    place = finding.key if finding.line is None else f"{finding.key}, line {finding.line}"
    return [
        Padding(
            Text.assemble((rule.severity, STYLES[rule.severity]), f" {rule.id} ({place}): {finding.message}"), indented
        ),
        *(Padding(line, (0, 0, 0, 4)) for line in (rule.reason, f"fix: {rule.fix}", f"source: {rule.source}")),
    ]
