"""Lint over a folder of repositories: what is read, what is refused and why, what is found, and how long it takes.

    python -m scripts.lint_corpus DIR [--sample 100 --seed 0] [--lines FILE]

DIR holds one folder per repository, fetched by whoever runs this; nothing of them is executed. ``--sample`` draws
files at random, to be judged by hand; ``--lines`` keeps one JSON line per file. Exit status 1: a traceback.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from pessimism.lint import lint_all
from pessimism.trainers.document import PYTHON, SUFFIXES

CONFIG_CALL = re.compile(rb"(?:Config|Arguments|Args)\(")
"""What a Python file must hold to be counted; all others have no configuration to be read."""

SKIPPED = {".git", "node_modules", ".venv", "site-packages"}
REFUSALS = (
    ("another framework, by name", r"this is for (.*?), which is not read"),
    ("told to be none's", r"no configuration of "),
    ("no settings in it", r"no word of the script|no call of a class|no suffix|file is empty"),
    ("a value of the wrong kind", r"it must be|is (?:given|missing)|which has no keys"),
    ("not of its format", r"not (?:YAML|JSON|TOML|Python|a shell script|UTF-8|a Jupyter)|appears twice|is no plain"),
    ("too large", r"larger than|more than|too (?:large|long)"),
)
"""Kinds of refusals, each by a pattern of its messages, the first that fits."""


@dataclass(frozen=True)
class Reading:
    """One configuration of a file, as lint reads it."""

    trainer: str
    version: str
    kind: str
    loss: str
    entry: str
    unknown: str
    group_size: int | None
    findings: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Outcome:
    """What lint made of one file: readings, or why it was refused, or a traceback; with seconds of processor time."""

    repository: str
    path: str
    readings: tuple[Reading, ...] = ()
    refused: str = ""
    broken: str = ""
    seconds: float = 0.0

    @property
    def refusal(self) -> str:
        """Which kind of refusal it is; "" where the file was read."""
        if not self.refused:
            return ""
        return next((kind for kind, pattern in REFUSALS if re.search(pattern, self.refused)), "another reason")


def candidates(folder: Path) -> Iterator[Path]:
    """The files of a repository that may be configurations, in order: by suffix, and Python that makes a Config."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or SKIPPED & set(path.relative_to(folder).parts):
            continue
        if not path.is_file() or path.is_symlink():
            continue
        if path.suffix.lower() in PYTHON and not CONFIG_CALL.search(path.read_bytes()):
            continue
        yield path


def examine(root: str, repository: str, path: str) -> Outcome:
    """Lint one file; whatever is raised is told."""
    start = time.process_time()
    readings, refused, broken = (), "", ""
    try:
        readings = tuple(_readings(str(Path(root, repository, path))))
    except ValueError as error:
        refused = str(error).replace(f"{root}/{repository}/", "")
    except Exception:  # whatever it is, it is what is looked for
        broken = traceback.format_exc()
    return Outcome(repository, path, readings, refused, broken, time.process_time() - start)


def _readings(path: str) -> Iterator[Reading]:
    for report in lint_all(path):
        settings = report.settings
        found = tuple((one.rule.severity, one.rule.id, one.message) for one in report.findings)
        made = settings.objective
        yield Reading(
            settings.trainer,
            settings.version,
            settings.kind,
            made.loss,
            made.entry,
            made.unknown,
            settings.group_size,
            found,
        )


def commit_of(folder: Path) -> str:
    """The commit that a repository's folder is at; "not known" where git cannot tell."""
    if not (folder / ".git").exists():
        return "not known"
    done = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip()[:12] or "not known"


def table(rows: Iterable[Sequence[object]], *headers: str) -> list[str]:
    """Lines of a Markdown table."""
    return [
        f"| {' | '.join(headers)} |",
        f"|{'---|' * len(headers)}",
        *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows),
        "",
    ]


def summary(outcomes: Sequence[Outcome], commits: dict[str, str]) -> list[str]:
    """The tables: repositories, trainers, rules, refusals, times."""
    read = [one for one in outcomes if one.readings]
    readings = [reading for one in read for reading in one.readings]
    seconds = sorted(one.seconds for one in outcomes)
    lines = [
        f"{len(outcomes)} files of {len(commits)} repositories; {len(read)} read ({len(readings)} configurations), "
        f"{sum(bool(one.refused) for one in outcomes)} refused, {sum(bool(one.broken) for one in outcomes)} tracebacks",
        "",
    ]
    if seconds:
        late = seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
        lines += [
            f"processor time per file: median {median(seconds):.3f} s, 99 of 100 within {late:.3f} s, "
            f"longest {seconds[-1]:.3f} s",
            "",
        ]
    lines += table(_by_repository(outcomes, commits), "repository", "commit", "files", "read", "as")
    lines += table(
        _by_trainer(readings), "trainer", "configurations", "objective told", "error", "warning", "no finding"
    )
    rules = Counter((rule, severity, one.trainer) for one in readings for severity, rule, _ in _once(one.findings))
    lines += table(
        [(*key, count) for key, count in sorted(rules.items())], "rule", "severity", "trainer", "configurations"
    )
    refusals = Counter((one.refusal, _named(one.refused)) for one in outcomes if one.refused)
    lines += table([(*key, count) for key, count in refusals.most_common()], "refused as", "named", "files")
    return lines


def _once(findings: Iterable[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    return {(severity, rule, "") for severity, rule, _ in findings}


def _named(refused: str) -> str:
    match = re.search(REFUSALS[0][1], refused)
    return "" if match is None else match[1]


def _by_repository(outcomes: Sequence[Outcome], commits: dict[str, str]) -> Iterator[tuple[object, ...]]:
    for repository, commit in commits.items():
        own = [one for one in outcomes if one.repository == repository]
        kinds = Counter(reading.trainer for one in own for reading in one.readings)
        shown = ", ".join(f"{name} {count}" for name, count in kinds.most_common())
        yield repository, commit, len(own), sum(bool(one.readings) for one in own), shown


def _by_trainer(readings: Sequence[Reading]) -> Iterator[tuple[object, ...]]:
    for trainer in sorted({one.trainer for one in readings}):
        own = [one for one in readings if one.trainer == trainer]
        severities = [{severity for severity, _, _ in one.findings} for one in own]
        yield (
            trainer,
            len(own),
            sum(bool(one.entry) for one in own),
            sum("error" in found for found in severities),
            sum("warning" in found for found in severities),
            sum(not found for found in severities),
        )


def drawn(outcomes: Sequence[Outcome], count: int, seed: int) -> list[str]:
    """Files drawn at random, without those that hold no settings, with what lint said of each."""
    speaking = [
        one for one in outcomes if one.readings or one.refusal not in ("no settings in it", "told to be none's")
    ]
    chosen = random.Random(seed).sample(speaking, min(count, len(speaking)))
    lines: list[str] = []
    for number, one in enumerate(chosen, start=1):
        lines.append(f"{number}. {one.repository}/{one.path}")
        if one.refused:
            lines.append(f"   refused: {one.refused}")
        for reading in one.readings:
            told = reading.entry or f"cannot tell: {reading.unknown}"
            lines.append(f"   {reading.version}, {reading.kind}: {reading.loss}, {told}; group {reading.group_size}")
            lines += [f"     {severity} {rule}: {message}" for severity, rule, message in reading.findings]
    return lines


def examine_all(root: Path, jobs: int) -> tuple[list[Outcome], dict[str, str]]:
    """Every outcome, in order, and the commit of every repository."""
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    files = [(folder.name, str(path.relative_to(folder))) for folder in folders for path in candidates(folder)]
    with ProcessPoolExecutor(jobs) as pool:
        names, paths = [name for name, _ in files], [path for _, path in files]
        outcomes = list(pool.map(examine, [str(root)] * len(files), names, paths, chunksize=16))
    return outcomes, {folder.name: commit_of(folder) for folder in folders}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run lint over a folder of repositories, and tabulate what it says.")
    parser.add_argument("folder", type=Path, help="one folder per repository")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes; default 2")
    parser.add_argument("--sample", type=int, default=0, help="how many files to draw for judging by hand; default 0")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw; default 0")
    parser.add_argument("--lines", type=Path, help="a file that gets one JSON line per file")
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is no folder")
    outcomes, commits = examine_all(given.folder, given.jobs)
    if not outcomes:
        parser.error(
            f"{given.folder} holds no file with one of the suffixes {', '.join(SUFFIXES)} in a repository's folder"
        )
    if given.lines is not None:
        given.lines.write_text("".join(json.dumps(asdict(one)) + "\n" for one in outcomes), "utf-8")
    print("\n".join(summary(outcomes, commits)))
    for one in outcomes:
        if one.broken:
            print(f"{one.repository}/{one.path}\n{one.broken}")
    if given.sample:
        print("\n".join(drawn(outcomes, given.sample, given.seed)))
    return int(any(one.broken for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
