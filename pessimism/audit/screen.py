"""An audit on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..shell.terminal import new_table
from .groups import shown_id
from .report import AlgorithmAudit, Audit
from .statistics import REGIMES

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN_BINS = 12
SHOWN_TOP = 5
NAMES = {
    "baseline": "baseline V",
    "normalizer": "normalizer",
    "kl": "KL(pi|mu), nats",
    "nominal_kl": "  of the nominal target",
    "kl_gap": "  gap, nominal - induced",
    "kl_share": "KL / log G",
    "entropy_change": "entropy change, nats",
    "nominal_entropy_change": "  of the nominal target",
    "value_change": "value change",
    "nominal_value_change": "  of the nominal target",
    "largest_log_ratio": "largest log-ratio, nats",
    "nominal_largest_log_ratio": "  of the nominal target",
    "drive": "drive of the update",
}
LOGGED = {"reward": "mean reward", "length": "mean length", "realized_kl": "estimated KL(mu|current), nats"}
COLUMNS = ("5%", "25%", "50%", "75%", "95%")


def screens(audit: Audit) -> list[RenderableType]:
    """Everything that is printed, top to bottom."""
    parts: list[RenderableType] = [*log_lines(audit)]
    if audit.ratios is not None:
        for title in ("lag", "length"):
            if len(audit.ratios[f"by_{title}"]) > 1:
                headers, rows = ratio_rows(title, audit.ratios[f"by_{title}"])
                parts += ["", _filled(headers, rows)]
    for algorithm in audit.algorithms:
        parts += ["", algorithm.name, algorithm.verdict, "", _regimes(algorithm, audit), "", _statistics(algorithm)]
        for title, bins in (("version", algorithm.by_version), ("lag", algorithm.by_lag)):
            if len(bins) > 1:
                parts += ["", _drift(title, bins)]
        if algorithm.realized is not None:
            parts += ["", *_realized(algorithm.realized)]
        if algorithm.top:
            parts += ["", *_top(algorithm)]
    return parts


def log_lines(audit: Audit) -> list[str]:
    """What the log holds, line by line."""
    layouts = sorted({file["layout"] for file in audit.files if file["layout"]})
    files = audit.files[0]["path"] if len(audit.files) == 1 else f"{len(audit.files)} files"
    sizes = ", ".join(f"{size} ({count:,})" for size, count in list(audit.sizes.items())[:6])
    more = f" and {len(audit.sizes) - 6} other sizes" if len(audit.sizes) > 6 else ""
    lines = [
        f"{files}{': ' + ', '.join(layouts) if layouts else ''}",
        f"{audit.rows:,} samples in {audit.groups:,} groups; samples (groups): {sizes}{more}",
        f"no signal, rewards all equal: {audit.silent:,} groups ({audit.silent / audit.groups:.1%})",
    ]
    for name, values in audit.quantiles.items():
        lines.append(
            f"{LOGGED[name]}: median {cell(values['50%'])}, from {cell(values['0%'])} to {cell(values['100%'])}"
        )
    lines += audit.warnings
    for reason, found in audit.skipped.items():
        groups = f"{found['groups']:,} group{'s' * (found['groups'] > 1)}"
        lines.append(f"left out: {groups}, {found['rows']:,} sample{'s' * (found['rows'] > 1)}: {reason}")
        lines += [f"  {example}" for example in found["examples"][:2]]
    repeated = [file for file in audit.files if file["repeats"]]
    if repeated:
        more = f" and {len(repeated) - 1} more" if len(repeated) > 1 else ""
        lines.append(f"left out: {repeated[0]['path']}{more}: the same batch as {repeated[0]['repeats']}, logged again")
    if audit.share < 1:
        lines.append(f"these are {audit.share:g} of the log's groups, drawn at random")
    if audit.sampled < audit.groups:
        lines.append(f"quantiles are those of {audit.sampled:,} groups drawn at random")
    return lines


def ratio_rows(title: str, bins: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of distances by lag or length; headers of numbers begin with ">"."""
    tokens = "token" in bins[0]
    headers = [title, ">samples", ">ESS", ">chi2", ">k1, nats", ">k2", ">k3"]
    headers += [">ESS, tokens", ">k3, tokens", ">outside .8-1.2"] if tokens else []
    rows = []
    for part in bins[:: max(1, math.ceil(len(bins) / SHOWN_BINS))]:
        sequence, token = part["sequence"], part.get("token")
        cells = [f"{part['samples']:,}", f"{sequence['ess']:.1%}"]
        cells += [cell(sequence[name]) for name in ("chi2", "k1", "k2", "k3")]
        if token is not None:
            cells += [f"{token['ess']:.1%}", cell(token["k3"]), f"{token['outside']:.1%}"]
        rows.append([_span(part), *cells])
    return headers, rows


def _span(part: dict[str, Any]) -> str:
    low, high = part["from"], part["to"]
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def _filled(headers: list[str], rows: list[list[str]]) -> RenderableType:
    table = new_table(*headers)
    for row in rows:
        table.add_row(*row)
    return table


def _regimes(algorithm: AlgorithmAudit, audit: Audit) -> RenderableType:
    table = new_table("", "", ">groups", ">share", ">of those with signal")
    speaking = max(sum(algorithm.regimes_with_signal.values()), 1)
    for title, counts in (("regime", algorithm.regimes), ("target", algorithm.kinds), ("found by", algorithm.methods)):
        for index, (name, count) in enumerate(counts.items()):
            shown = f"{algorithm.regimes_with_signal.get(name, 0) / speaking:.1%}" if title == "regime" else ""
            table.add_row("" if index else title, name, f"{count:,}", f"{count / audit.groups:.1%}", shown)
    return table


def _statistics(algorithm: AlgorithmAudit) -> RenderableType:
    table = new_table("per group with signal", *(f">{level}" for level in COLUMNS))
    for name, words in NAMES.items():
        table.add_row(words, *(cell(algorithm.quantiles[name][level]) for level in COLUMNS))
    return table


def drift_rows(title: str, bins: list[dict[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of at most a dozen bins; headers of numbers begin with ">"."""
    regimes = [name for name in REGIMES if any(row[name] for row in bins)]
    realized = [name for name in ("realized_kl",) if not math.isnan(bins[0][name])]
    rows = []
    step = max(1, math.ceil(len(bins) / SHOWN_BINS))
    for first in range(0, len(bins), step):
        part = bins[first : first + step]
        total = {name: sum(row[name] for row in part) for name in part[0]}
        low, high, count = part[0]["from"], part[-1]["to"], total["groups"]
        rows.append(
            [
                f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}",
                f"{count:,.0f}",
                *(f"{total[name] / count:.1%}" for name in (*regimes, "no signal")),
                *(cell(total[name] / count) for name in ("reward", "kl", "value_change", *realized)),
            ]
        )
    shares = [f">{'no regime' if name == 'none' else name}" for name in regimes]
    headers = [title, ">groups", *shares, ">no signal", ">reward", ">KL", ">value change"]
    return [*headers, *(">KL so far" for _ in realized)], rows


def _drift(title: str, bins: list[dict[str, float]]) -> RenderableType:
    return _filled(*drift_rows(title, bins))


def _realized(realized: dict[str, Any]) -> list[RenderableType]:
    table = new_table("realized on predicted log-ratio", ">samples", ">slope", ">intercept", ">R2")
    for name in ("all samples", "within groups"):
        fit = realized[name]
        intercept = cell(fit["intercept"]) if name == "all samples" else ""
        table.add_row(name, f"{fit['samples']:,}", cell(fit["slope"]), intercept, cell(fit["r2"]))
    lost = realized["predicted to lose all mass"]
    return [table, f"left out: {lost:,} samples that the target gives nothing"] if lost else [table]


def _top(algorithm: AlgorithmAudit) -> list[RenderableType]:
    table = new_table("drives the update most", ">drive", ">samples", ">reward", "regime", ">KL", "where")
    for row in algorithm.top[:SHOWN_TOP]:
        cells = (cell(row["value"]), f"{row['size']}", cell(row["reward"]), row["regime"], cell(row["kl"]))
        table.add_row(shown_id(row["group"], 40), *cells, row["where"])
    shares = ", ".join(
        f"the strongest {share} of the groups make up {value:.0%}" for share, value in algorithm.drive_shares.items()
    )
    return [table, f"of the summed drive, {shares}"] if shares else [table]


def cell(value: float) -> str:
    """A number as tables show it."""
    if abs(value) < 1e-12:
        return "0"  # rounding
    if math.isfinite(value) and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.2e}"
    return f"{value:,.4g}" if math.isfinite(value) else str(value).replace("nan", "-")
