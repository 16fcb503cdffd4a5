"""The report of a run: one page that needs nothing else, no network either."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

import pessimism as ps
from pessimism.shell import write_whole

from ..config import Config, flat
from ..run import runs
from ..run.buffer import Buffer
from ..run.watch import METRICS, PAIRS, TIMING, salvage
from ..samples import Group
from .charts import CHARTS, Chart, draw, draw_pairs
from .verdict import MEANINGS, verdict

PAGE, BUFFER, RESULT = "report.html", "buffer", "evaluation.json"
GROUPS_SHOWN, COMPLETIONS_SHOWN, CHARACTERS_SHOWN = 3, 4, 600
EVALUATIONS_SHOWN = 12
AVERAGED = 20
"""Steps that the numbers of the head are means of, where one step is a small sample."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 24px 20px 60px; background: #fcfcfa; color: #22211f;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 36px 0 12px; border-bottom: 1px solid #dddcd6; padding-bottom: 4px; }
p { margin: 0 0 8px; }
.quiet { color: #66655f; }
.facts { display: flex; flex-wrap: wrap; gap: 10px; margin: 18px 0 0; }
.fact { border: 1px solid #dddcd6; border-radius: 6px; padding: 8px 14px; background: #fff; }
.fact b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; }
.fact span { color: #66655f; font-size: 13px; }
.damage { border-left: 4px solid #b2182b; background: #fff; padding: 8px 14px; margin: 18px 0 0; }
.one { max-width: 580px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 22px 26px; }
figure { margin: 0; min-width: 0; }
figure h3 { font-size: 15px; margin: 0 0 4px; }
figure img { width: 100%; height: auto; display: block; }
figcaption { color: #66655f; font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 18px 4px 0; border-bottom: 1px solid #ecebe6; vertical-align: top; }
th { font-weight: 600; color: #45443f; }
table.numbers td, th, .samples td + td { white-space: nowrap; }
.settings { columns: 2 420px; column-gap: 40px; font-size: 13px; }
.settings div { display: flex; justify-content: space-between; gap: 16px; border-bottom: 1px solid #ecebe6; }
.settings span { overflow-wrap: anywhere; text-align: right; }
.versions td { overflow-wrap: anywhere; }
.verdict { font-size: 17px; margin: 12px 0 0; }
details { margin: 0 0 12px; } summary { cursor: pointer; color: #45443f; }
dt { font-weight: 600; } dd { margin: 0 0 6px 18px; color: #45443f; }
.prompt, .samples td:first-child { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px;
  font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
.prompt { margin: 18px 0 4px; font-weight: 600; }
table.samples { width: 100%; margin-bottom: 14px; }
table.samples td:first-child { width: 60%; }
"""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a run. What is damaged of its files is left out and listed there.

    Returns:
        Its path.

    Raises:
        ValueError: no run lives there, or it has done no step that can be read.
    """
    config = runs.read_config(folder)
    damage: list[str] = []
    records = _records(folder, damage)
    pairs = _object(folder / PAIRS, ("step", "predicted", "realized"), damage)
    found = _object(folder / RESULT, ("step", "prompts", "samples", "parts"), damage)
    sections = [
        _section("Held-out evaluation", [*_evaluations(records), *_examined(found)]),
        _section("While it trained", _charts(records, pairs)),
        _section("Completions", _completions(Buffer(folder / BUFFER), config, damage)),
        _section("Configuration", _configuration(config)),
        _section("Versions", _versions(_lines(folder / runs.STARTS, damage))),
    ]
    parts = [_head(config, records), *_damage(damage), *sections]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(config.name)}</title><style>{STYLE}</style></head>\n<body>\n{''.join(parts)}</body></html>\n"
    )
    path = folder / PAGE
    write_whole(path, page.encode())
    return path


def _records(folder: Path, damage: list[str]) -> list[dict[str, Any]]:
    """Numbers and timings of every step."""
    records = {record["step"]: record for record in _lines(folder / METRICS, damage)}
    for timing in _lines(folder / TIMING, damage):
        records.setdefault(timing["step"], {}).update(timing)
    if not records:
        raise ValueError(f"{folder}: the run has done no step yet")
    return [records[step] for step in sorted(records)]


def _lines(path: Path, damage: list[str]) -> list[dict[str, Any]]:
    """The sound records of a file; damaged ones are noted."""
    if not path.exists():
        return []
    records, damaged = salvage(path)
    if damaged:
        damage.append(f"{path.name}: {len(damaged)} lines, the first is line {damaged[0]}")
    return records


def _object(path: Path, keys: Sequence[str], damage: list[str]) -> dict[str, Any] | None:
    """The JSON object in a file, None if there is none; a damaged one is noted."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        if all(key in found for key in keys):
            return found
    except (ValueError, TypeError, RecursionError):
        pass
    damage.append(path.name)
    return None


def _damage(damage: Sequence[str]) -> Iterator[str]:
    if damage:
        listed = "".join(f"<li>{escape(one)}</li>" for one in damage)
        yield f'<div class="damage"><p>Damaged, and left out of this page:</p><ul>{listed}</ul></div>'


# --- the parts ------------------------------------------------------------------------------------------------------


def _head(config: Config, records: Sequence[Mapping[str, Any]]) -> str:
    last, latest = records[-1], records[-AVERAGED:]
    evaluated = [record for record in records if record.get("evaluation/pass@1") is not None]
    facts = [(f"{last['step']:,} of {config.steps:,}", "optimizer steps")]
    if evaluated:
        first, now = evaluated[0]["evaluation/pass@1"], evaluated[-1]["evaluation/pass@1"]
        began = "before training" if evaluated[0]["step"] == 0 else f"at step {evaluated[0]['step']}"
        facts += [(f"{now:.1%}", f"held-out pass@1, from {first:.1%} {began}")]
    facts += [
        (_told(_mean(latest, "reward/pass_rate"), ".1%"), f"pass rate in training, last {len(latest)} steps"),
        (_told(_mean(latest, "policy/entropy")), f"entropy, nats per token, last {len(latest)} steps"),
        (f"{max(record.get('lag/steps') or 0 for record in records):,.0f}", "largest lag, steps"),
        (_told(_median(records, "time/tokens_per_second"), ",.0f"), "tokens/s trained on, median"),
    ]
    boxes = "".join(
        f'<div class="fact"><b>{escape(value)}</b><span>{escape(label)}</span></div>' for value, label in facts
    )
    return (
        f"<h1>{escape(config.name)}</h1><p>{escape(config.objective.described())} on {escape(config.task.name)}, "
        f"{escape(config.model.path)}</p>"
        f'<p class="quiet">{escape(_described(config))}</p>'
        f'<p class="verdict">{escape(verdict(records, config.steps))}</p>'
        f'<div class="facts">{boxes}</div>'
    )


def _described(config: Config) -> str:
    entry = ps.catalogue().get(config.objective.algorithm)
    if entry is None:
        return "an objective that is not of the catalogue"
    return f"{entry.title}; gradient coefficient {entry.coefficient}"


def _evaluations(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    found = [record for record in records if record.get("evaluation/reward") is not None]
    if not found:
        yield "<p>There was none.</p>"
        return
    names = [name.removeprefix("evaluation/") for name in found[-1] if name.startswith("evaluation/")]
    ks = _ks(names)
    chart = Chart("", "share", {f"pass@{k}": f"evaluation/pass@{k}" for k in {ks[0]: 0, ks[-1]: 0}})
    yield _figure(
        "Held-out pass@k", draw(chart, found, []), "Shaded: 95% bootstrap intervals over prompts.", alone=True
    )
    shown = found if len(found) <= EVALUATIONS_SHOWN else [*found[:1], *found[1 - EVALUATIONS_SHOWN :]]
    header = ["step", "mean reward", *(f"pass@{k}" for k in ks), "tokens", "cut off", "nats/token"]
    yield _table(header, [_evaluation(str(record["step"]), record, "evaluation/", ks) for record in shown])
    left_out = len(found) - len(shown)
    dropped = f" {left_out} evaluations between the first and the last ones are left out." if left_out else ""
    yield (
        f'<p class="quiet">{found[-1]["evaluation/prompts"]:.0f} prompts, {found[-1]["evaluation/samples"]:.0f} '
        f"completions each.{dropped}</p>"
    )
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in MEANINGS.items())
    yield f"<details><summary>What the columns are</summary><dl>{listed}</dl></details>"
    parts = sorted({name.rpartition("/")[0] for name in names if name.endswith("/reward")})
    if parts:
        rows = [_evaluation(part, found[-1], f"evaluation/{part}/", ks) for part in parts]
        yield _table(["part, last evaluation", *header[1:]], rows)


def _examined(found: Mapping[str, Any] | None) -> Iterator[str]:
    """What the command ``eval`` found last."""
    if found is None:
        return
    ks = _ks(found)
    header = [
        f"eval, step {found['step']}",
        "mean reward",
        *(f"pass@{k}" for k in ks),
        "tokens",
        "cut off",
        "nats/token",
    ]
    yield _table(header, [_evaluation(name, one, "", ks) for name, one in (("all", found), *found["parts"].items())])
    yield f'<p class="quiet">{found["prompts"]} prompts, {found["samples"]} completions each.</p>'


def _ks(names: Iterable[str]) -> list[int]:
    found = (name.removeprefix("pass@") for name in names)
    return sorted(int(k) for k in found if k.isdigit())


def _evaluation(label: str, record: Mapping[str, Any], prefix: str, ks: Iterable[int]) -> list[str]:
    estimates = [
        f"{_told(record.get(prefix + name), '.3f')} "
        f"[{_told(record.get(f'{prefix}{name}_low'), '.3f')}, {_told(record.get(f'{prefix}{name}_high'), '.3f')}]"
        for name in ("reward", *(f"pass@{k}" for k in ks))
    ]
    length, cut, entropy = (record.get(prefix + name) for name in ("length", "cut", "entropy"))
    return [label, *estimates, _told(length, ".1f"), _told(cut, ".1%"), _told(entropy, ".3f")]


def _charts(records: Sequence[Mapping[str, Any]], pairs: Mapping[str, Any] | None) -> Iterator[str]:
    syncs = [record["step"] - 1 for record in records if record.get("lag/steps") == 0 and record["step"] > 1]
    yield '<div class="charts">'
    for chart in CHARTS:
        yield _figure(chart.title, draw(chart, records, syncs), chart.note)
    if pairs is not None:
        yield _figure(
            "Theory against practice: every completion",
            draw_pairs(pairs["predicted"], pairs["realized"]),
            f"Step {pairs['step']}, the last one before a sync: groups whose induced target is unique.",
        )
    yield "</div>"
    if 0 < len(syncs) <= 40:
        yield '<p class="quiet">Grey vertical lines: weight syncs.</p>'


def _completions(buffer: Buffer, config: Config, damage: list[str]) -> Iterator[str]:
    number, drawn_last = _last_batch(buffer, damage)
    if not drawn_last:
        yield "<p>The run kept none.</p>"
        return
    decode, source = _decoder(config.model.path)
    groups = sorted(drawn_last, key=lambda group: np.ptp(group.rewards) == 0)
    caption = f"From batch {number}, the last one that was drawn; groups with different rewards first.{source}"
    yield f'<p class="quiet">{escape(caption)}</p>'
    for group in groups[:GROUPS_SHOWN]:
        rows: dict[str, list[str]] = {}
        drawn: Counter[str] = Counter()
        for completion, reward in zip(group.completions, group.rewards, strict=True):
            text = decode(completion.tokens.tolist())
            drawn[text] += 1
            length = f"{len(completion.tokens)}" + ("" if completion.finished else ", cut off")
            rows[text] = [f"{reward:.3g}", length, f"{completion.log_probs.sum(dtype=float):.2f}"]
        shown = [[_cut(text), str(drawn[text]), *row] for text, row in rows.items()]
        yield f'<p class="prompt">{escape(_cut(group.prompt.text))}</p>'
        header = ["completion", "drawn", "reward", "tokens", "log-probability, nats"]
        yield _table(header, shown[:COMPLETIONS_SHOWN], "samples")


def _last_batch(buffer: Buffer, damage: list[str]) -> tuple[int, list[Group]]:
    """The last batch that can be read."""
    for number in reversed(buffer.batches()):
        try:
            return number, buffer.load(number)
        except ValueError:
            damage.append(buffer.path(number).name)
    return 0, []


def _decoder(path: str) -> tuple[Callable[[Sequence[int]], str], str]:
    """Token ids -> text, as far as the tokenizer can be had, and what to say if it cannot."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception:  # from_pretrained raises whatever its readers raise; the report is worth having without it
        return lambda tokens: " ".join(map(str, tokens)), f" Token ids, because there is no tokenizer at {path}."
    return lambda tokens: str(tokenizer.decode(list(tokens))), ""


def _configuration(config: Config) -> Iterator[str]:
    rows = [
        f"<div>{escape(name)}<span>{'-' if value is None else escape(str(value))}</span></div>"
        for name, value in flat(config.model_dump())
    ]
    yield f'<div class="settings">{"".join(rows)}</div>'


def _versions(starts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not starts:
        yield "<p>They were not written down.</p>"
        return
    names = dict.fromkeys(name for start in starts for name in start if name != "step")
    header = ["started at step", *(str(start.get("step", "-")) for start in starts)]
    rows = [[name, *(str(start.get(name, "-")) for start in starts)] for name in names]
    yield _table(header, rows, "versions")


# --- HTML -----------------------------------------------------------------------------------------------------------


def _section(title: str, parts: Iterable[str]) -> str:
    return f"<h2>{escape(title)}</h2>\n{''.join(parts)}\n"


def _figure(title: str, svg: str | None, note: str, alone: bool = False) -> str:
    if svg is None:
        return ""
    source = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    caption = f"<figcaption>{escape(note)}</figcaption>" if note else ""
    whole = f'<figure><h3>{escape(title)}</h3><img src="{source}" alt="{escape(title)}">{caption}</figure>\n'
    return f'<div class="one">{whole}</div>' if alone else whole


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "numbers") -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>\n'
    )


def _told(value: float | None, form: str = ".3g") -> str:
    return "-" if value is None else format(value, form)


def _mean(records: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [record[name] for record in records if record.get(name) is not None]
    return sum(values) / len(values) if values else None


def _median(records: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = sorted(record[name] for record in records if record.get(name) is not None)
    return values[len(values) // 2] if values else None


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]} ..."
