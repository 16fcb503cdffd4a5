"""An audit as one page that needs nothing else: no network, no scripts, everything from the log escaped.

First one table that compares the objectives, then advice, then details of each objective, closed until they are opened.
"""

from __future__ import annotations

import datetime
import hashlib
import html
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..shell.printable import printable
from .pictures import pictures
from .report import AlgorithmAudit, Audit
from .screen import COLUMNS, NAMES, cell, drift_rows, log_lines, ratio_rows

if TYPE_CHECKING:
    from ..advice.advice import Advice

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --page: #fff; --quiet: #595959; --line: #c8c8c8; --card: #f1f5f8;
  --mark: #1b4f72; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --page: #17191b; --quiet: #a8a8a8; --line: #4a4d50;
  --card: #23282c; --mark: #7fb3d5; } }
body { font: 16px/1.45 system-ui, sans-serif; margin: 1rem 1.5rem; color: var(--ink); background: var(--page);
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 1.5rem 0 .25rem; }
a { color: var(--mark); } p, ul { margin: .4rem 0; } ul { padding-left: 1.2rem; }
.quiet, figcaption, footer { color: var(--quiet); font-size: .875rem; }
.verdict { background: var(--card); border-left: 4px solid var(--mark); padding: .4rem .75rem; font-size: .9375rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: .5rem 1.5rem;
  align-items: start; }
figure { margin: 0; overflow-x: auto; max-width: 36rem; }
figure svg { width: 100%; min-width: 24rem; height: auto; display: block; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .4rem 0; font-size: .875rem; }
th, td { padding: .12rem .9rem .12rem 0; text-align: left; vertical-align: top; max-width: 24rem;
  overflow-wrap: break-word; }
th { border-bottom: 1px solid var(--line); font-weight: 600; } td.n, th.n { text-align: right; white-space: nowrap; }
tbody tr:nth-child(even) { background: var(--card); }
.pictures td, .pictures th { padding-right: .6rem; font-size: .8125rem; }
details { margin: .4rem 0; } summary { cursor: pointer; color: var(--mark); } dt { font-weight: 600; } dd { margin: 0; }
footer { border-top: 1px solid var(--line); margin-top: 1.5rem; padding-top: .5rem; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
LONGEST_ID = 200
LISTED = 8
"""Sentences about the log that are shown at once, and files whose digests are."""

GLOSSARY = {
    "group": "the completions sampled for one prompt; it has signal where their rewards differ",
    "behavior policy": "the policy that sampled, mu",
    "nominal target": "the policy that the objective claims to drive toward",
    "induced target": "the policy that it does drive toward: training on the group alone ends there",
    "normalizer": "the mean coefficient at the induced target; its sign is the regime",
    "positive regime": "more conservative than nominal, and one target only",
    "negative regime": "more aggressive than nominal, with several targets possible",
    "KL": "how far a target is from equal weights on the group's samples, nats; at most log of their number",
    "saturated": "both targets put all mass on what is rewarded most, so that the regime makes no difference",
    "leaves mass": "the samples at log-ratios A/beta do not add up to one: the rest goes to what nobody sampled",
    "ESS": "effective sample size, the share of the samples that importance weights leave",
    "drive": "standard deviation of the first update's coefficients within a group",
}


def page(audit: Audit, advice: Advice | None = None, command: str = "") -> str:
    """The whole page, without characters that steer a terminal or the reading order.

    Args:
        audit: what it tells.
        advice: what the same log says of other settings, where it was asked.
        command: that made it.
    """
    parts = "".join(_section(index, algorithm, audit) for index, algorithm in enumerate(audit.algorithms))
    return printable(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Audit of rollouts</title><style>{STYLE}</style></head><body>"
        f"<h1>Audit of rollouts</h1>{_log(audit)}{_comparison(audit)}{_advice(advice)}{parts}"
        f"{_distances(audit)}{_glossary()}{_footer(audit, command)}</body></html>\n"
    )


def _log(audit: Audit) -> str:
    lines = [f"<li>{html.escape(line.strip())}</li>" for line in log_lines(audit)]
    rest = "".join(lines[LISTED:])
    more = f"<details><summary>{len(lines) - LISTED} more lines</summary><ul>{rest}</ul></details>" if rest else ""
    return f'<ul class="quiet">{"".join(lines[:LISTED])}</ul>{more}'


def _comparison(audit: Audit) -> str:
    """The objectives side by side, on the same groups."""
    regimes = [name for name in ("positive", "boundary", "negative", "none") if _any(audit, name)]
    headers = ["objective", *(f">{'no regime' if name == 'none' else name}" for name in regimes), ">saturated"]
    headers += [">KL, nats", ">nominal", ">gap", ">reward change", ">nominal", ">entropy change", ">leaves mass"]
    rows = []
    for algorithm in audit.algorithms:
        targets, means = algorithm.targets, algorithm.means
        speaking = max(sum(algorithm.regimes_with_signal.values()), 1)
        claimed = targets["mean nominal_value"] - targets["mean value"] + means["value_change"]
        leakage = algorithm.leakage
        cells = [f"{algorithm.regimes_with_signal.get(name, 0) / speaking:.1%}" for name in regimes]
        cells += [f"{targets['saturated share']:.1%}", cell(targets["mean kl"]), cell(targets["mean nominal_kl"])]
        cells += [cell(targets["mean nominal_kl"] - targets["mean kl"]), cell(means["value_change"]), cell(claimed)]
        cells += [cell(means["entropy_change"]), f"{leakage['open'] / leakage['groups']:.0%}" if leakage else "-"]
        rows.append([algorithm.name, *cells])
    told = (
        "Regimes and leaving mass: shares of the groups with signal. The others are means over all groups, of the "
        "target that the objective induces and of the one that it claims (nominal)."
    )
    return f'<h2>Objectives on these groups</h2>{_table(headers, rows)}<p class="quiet">{told}</p>'


def _any(audit: Audit, regime: str) -> bool:
    return any(algorithm.regimes_with_signal.get(regime) for algorithm in audit.algorithms)


def _advice(advice: Advice | None) -> str:
    if advice is None:
        return ""
    headers = ["setting", ">KL", ">ESS", ">largest ratio", ">reward change", ">entropy change", ">positive", "fails"]
    rows = [
        [
            row.setting or row.family,
            *(cell(value) for value in (row.kl, row.ess, row.max_ratio, row.value_change, row.entropy_change)),
            f"{row.regimes['positive']:.0%}" if "positive" in row.regimes else "-",
            row.fails,
        ]
        for row in advice.rows
    ]
    words = [*advice.reasons, *advice.lag, *advice.warnings]
    first, *others = (f"<p>{html.escape(sentence)}</p>" for sentence in words)
    more = f"<details><summary>Ranges, lag and warnings</summary>{''.join(others)}</details>" if others else ""
    return f"<h2>Settings that move as far</h2><p>{html.escape(advice.asked)}</p>{_table(headers, rows)}{first}{more}"


def _section(index: int, algorithm: AlgorithmAudit, audit: Audit) -> str:
    figures = [
        f'<figure role="img" aria-label="{html.escape(caption)}">{svg}<figcaption>{html.escape(caption)}</figcaption>'
        "</figure>"
        for caption, svg in pictures(algorithm)
    ]
    last = [] if algorithm.realized is None else figures[-1:]  # realized log-ratios
    shown, inside = "".join(figures[: len(figures) - len(last)]), "".join(last)
    details = "".join(
        (
            f"<p>Baseline {html.escape(algorithm.baseline)}; log-ratio per {html.escape(algorithm.level)}.</p>",
            _counts(algorithm, audit),
            _statistics(algorithm),
            *(_drift(title, bins) for title, bins in _drifts(algorithm) if len(bins) > 1),
            _realized(algorithm),
            inside,
            _top(algorithm),
        )
    )
    return (
        f'<h2 id="a{index}">{html.escape(algorithm.name)}</h2>'
        f'<p class="verdict">{html.escape(algorithm.verdict)}</p>'
        f'<div class="pictures">{_passes(algorithm)}{shown}</div>'
        f"<details><summary>All numbers</summary>{details}</details>"
    )


def _passes(algorithm: AlgorithmAudit) -> str:
    """Groups of 0/1 rewards of the commonest size: one row for each number of passes."""
    if not algorithm.by_passes:
        return ""
    counts: dict[int, int] = {}
    for row in algorithm.by_passes:
        counts[row["size"]] = counts.get(row["size"], 0) + row["groups"]
    size = max(counts, key=lambda one: counts[one])
    headers = ["passes", ">groups", "regime", ">KL", ">nominal", ">reward", ">drive"]
    rows = [
        [
            f"{row['passes']} of {size}",
            f"{row['groups']:,}",
            "" if row["passes"] in (0, size) or row["regime"] == "none" else row["regime"],
            *(cell(row[name]) for name in ("kl", "nominal_kl", "value_change", "drive")),
        ]
        for row in algorithm.by_passes
        if row["size"] == size
    ]
    if len(rows) > MOST_PASSES:
        rows = rows[:: -(-len(rows) // MOST_PASSES)]
    return f"<div>{_table(headers, rows)}</div>"


MOST_PASSES = 10
"""Rows of a table by passes; of larger groups some numbers of passes are shown."""


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
    """The groups that drive the update most; those of equal drive, size and reward as one row."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in algorithm.top:
        key = (cell(row["value"]), str(row["size"]), cell(row["reward"]), row["regime"], cell(row["kl"]))
        alike.setdefault(key, []).append(row)
    rows = []
    for key, members in alike.items():
        first = members[0]
        name = first["group"] if len(first["group"]) <= LONGEST_ID else first["group"][:LONGEST_ID] + "..."
        more = f" and {len(members) - 1} more like it" if len(members) > 1 else ""
        rows.append([name + more, *key, first["where"]])
    return _table(["drives the update most", ">drive", ">samples", ">reward", "regime", ">KL", "where"], rows)


def _distances(audit: Audit) -> str:
    """How far the policy being trained is from the one that sampled."""
    if audit.ratios is None:
        return ""
    titles = [title for title in ("lag", "length") if len(audit.ratios[f"by_{title}"]) > 1]
    tables = "".join(_table(*ratio_rows(title, audit.ratios[f"by_{title}"])) for title in titles)
    return f"<details><summary>Distances by {' and '.join(titles)}</summary>{tables}</details>" if titles else ""


def _glossary() -> str:
    words = "".join(f"<dt>{html.escape(word)}</dt><dd>{html.escape(told)}</dd>" for word, told in GLOSSARY.items())
    return f"<details><summary>What the words mean</summary><dl>{words}</dl></details>"


def _footer(audit: Audit, command: str) -> str:
    made = f"Made on {datetime.datetime.now(datetime.UTC).date().isoformat()} by pessimism {version('pessimism')}"
    told = f"{made}: <code>{html.escape(command)}</code>" if command else made
    digests = [(file["path"], digest(Path(file["path"]))) for file in audit.files[:LISTED]]
    lines = "".join(
        f"<li>{html.escape(path)}: SHA-256 <code>{found}</code></li>" for path, found in digests if found is not None
    )
    more = f"<li>and {len(audit.files) - LISTED} more files</li>" if len(audit.files) > LISTED else ""
    return f"<footer>{told}<ul>{lines}{more}</ul></footer>"


def digest(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal digits, None of what is no regular file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns whose header begins with ">" are numbers."""
    marks = [' class="n"' if header.startswith(">") else "" for header in headers]
    head = _cells("th", marks, [header.lstrip(">") for header in headers])
    body = "".join(f"<tr>{_cells('td', marks, row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>' if body else ""


def _cells(tag: str, marks: Sequence[str], texts: Sequence[str]) -> str:
    return "".join(f"<{tag}{mark}>{html.escape(text)}</{tag}>" for mark, text in zip(marks, texts, strict=True))
