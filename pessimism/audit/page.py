"""An audit as one page that needs nothing else: no network, no scripts, everything from the log escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from ..shell.printable import printable
from .pictures import pictures
from .report import AlgorithmAudit, Audit
from .screen import COLUMNS, NAMES, cell, drift_rows, log_lines

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c;
  background: #fff; overflow-wrap: anywhere; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1.5rem; }
.verdict { background: #f3f6f8; border-left: 4px solid #1b4f72; padding: .75rem 1rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figure svg { width: 100%; height: auto; } figcaption { font-size: .875rem; color: #555; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; font-size: .875rem; }
th, td { padding: .2rem .75rem .2rem 0; text-align: left; vertical-align: top; max-width: 24rem;
  overflow-wrap: break-word; }
th { border-bottom: 1px solid #999; font-weight: 600; } td.n, th.n { text-align: right; white-space: nowrap; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
LONGEST_ID = 200


def page(audit: Audit) -> str:
    """The whole page, without characters that steer a terminal or the reading order."""
    lines = "".join(f"<li>{html.escape(line.strip())}</li>" for line in log_lines(audit))
    contents = "".join(f'<li><a href="#a{i}">{html.escape(a.name)}</a></li>' for i, a in enumerate(audit.algorithms))
    parts = "".join(_section(index, algorithm, audit) for index, algorithm in enumerate(audit.algorithms))
    return printable(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Audit of rollouts</title><style>{STYLE}</style></head><body>"
        f"<h1>Audit of rollouts</h1><ul>{lines}</ul>"
        + (f"<nav><ul>{contents}</ul></nav>" if len(audit.algorithms) > 1 else "")
        + f"{parts}</body></html>\n"
    )


def _section(index: int, algorithm: AlgorithmAudit, audit: Audit) -> str:
    shown = "".join(
        f'<figure role="img" aria-label="{html.escape(caption)}">{svg}<figcaption>{html.escape(caption)}</figcaption>'
        "</figure>"
        for caption, svg in pictures(algorithm)
    )
    return (
        f'<h2 id="a{index}">{html.escape(algorithm.name)}</h2>'
        f"<p>Baseline {html.escape(algorithm.baseline)}; log-ratio per {html.escape(algorithm.level)}.</p>"
        f'<p class="verdict">{html.escape(algorithm.verdict)}</p><div class="pictures">{shown}</div>'
        + _counts(algorithm, audit)
        + _statistics(algorithm)
        + "".join(_drift(title, bins) for title, bins in _drifts(algorithm) if len(bins) > 1)
        + _realized(algorithm)
        + _top(algorithm)
    )


def _counts(algorithm: AlgorithmAudit, audit: Audit) -> str:
    kinds = (("regime", algorithm.regimes), ("target", algorithm.kinds), ("found by", algorithm.methods))
    rows = [
        [title, name, f"{count:,}", f"{count / audit.groups:.1%}"]
        for title, counts in kinds
        for name, count in counts.items()
    ]
    return _table(["", "", ">groups", ">share"], rows)


def _statistics(algorithm: AlgorithmAudit) -> str:
    rows = [[words, *(cell(algorithm.quantiles[name][level]) for level in COLUMNS)] for name, words in NAMES.items()]
    return _table(["per group with signal", *(f">{level}" for level in COLUMNS)], rows)


def _drifts(algorithm: AlgorithmAudit) -> Sequence[tuple[str, list[dict[str, float]]]]:
    return (("version", algorithm.by_version), ("lag", algorithm.by_lag))


def _drift(title: str, bins: list[dict[str, float]]) -> str:
    headers, rows = drift_rows(title, bins)
    return _table(headers, rows)


def _realized(algorithm: AlgorithmAudit) -> str:
    if algorithm.realized is None:
        return ""
    rows = [
        [name, f"{fit['samples']:,}", cell(fit["slope"]), cell(fit["r2"])]
        for name in ("all samples", "within groups")
        for fit in [algorithm.realized[name]]
    ]
    return _table(["realized on predicted log-ratio", ">samples", ">slope", ">R2"], rows)


def _top(algorithm: AlgorithmAudit) -> str:
    rows = [
        [
            row["group"] if len(row["group"]) <= LONGEST_ID else row["group"][:LONGEST_ID] + "...",
            cell(row["value"]),
            str(row["size"]),
            cell(row["reward"]),
            row["regime"],
            cell(row["kl"]),
            row["where"],
        ]
        for row in algorithm.top
    ]
    return _table(["drives the update most", ">drive", ">samples", ">reward", "regime", ">KL", "where"], rows)


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns whose header begins with ">" are numbers."""
    marks = [' class="n"' if header.startswith(">") else "" for header in headers]
    head = _cells("th", marks, [header.lstrip(">") for header in headers])
    body = "".join(f"<tr>{_cells('td', marks, row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>' if body else ""


def _cells(tag: str, marks: Sequence[str], texts: Sequence[str]) -> str:
    return "".join(f"<{tag}{mark}>{html.escape(text)}</{tag}>" for mark, text in zip(marks, texts, strict=True))
