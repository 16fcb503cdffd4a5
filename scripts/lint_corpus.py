"""Lint over a folder of repositories: what is read, what is refused and why, what is found, and how long it takes.

    python -m scripts.lint_corpus DIR [--lines FILE]
    python -m scripts.lint_corpus DIR --sample 40 --seed 0

DIR holds one folder per repository, named ``owner+name`` and fetched by whoever runs this; nothing of them is executed.
``--lines`` keeps one JSON line per file. Exit status 1: a traceback.

``--sample`` draws files to be judged by hand, and lints these only. Whoever has the same commits draws the same files,
whatever lint says of them: of the files that name a setting of reinforcement learning (``SPEAKS``), each content once,
every repository offers the ``--most`` that come first by the SHA-256 of seed, repository and path, and of all that are
offered the first N in that order are drawn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
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

SPEAKS = re.compile(
    rb"adv(?:antage)?[_-]estimator|actor_rollout_ref|algorithm_type|rlhf_type|num_generations|n[_-]samples[_-]per_prompt"
    rb"|n-samples-per-prompt|num_samples_per_prompt|rollouts_per_example|repeat_times|n_samples:|group_size\s*[=:]"
    rb"|(?:GRPO|RLOO|PPO|OnlineDPO)Config\(|ratio_clip|clip_ratio|eps[_-]clip"
)
"""What a file must hold to be drawn: a setting of how completions are sampled or weighted, in a trainer's words."""

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


@dataclass(frozen=True)
class Drawn:
    """A file of a sample: where it is, at which commit."""

    repository: str
    commit: str
    path: str


def draw(root: Path, count: int, seed: int, most: int) -> list[Drawn]:
    """Files drawn at random, as the module says."""
    offered: list[tuple[str, Drawn]] = []
    seen: set[bytes] = set()
    for folder in _repositories(root):
        commit = commit_of(folder)
        paths = [str(path.relative_to(folder)) for path in candidates(folder)]
        own = sorted((place_of(seed, folder.name, path), path) for path in paths)
        kept: list[tuple[str, Drawn]] = []
        for place, path in own:
            content = (folder / path).read_bytes()
            if len(kept) == most:
                break
            if SPEAKS.search(content) and content not in seen:
                seen.add(content)
                kept.append((place, Drawn(folder.name, commit, path)))
        offered += kept
    return [one for _, one in sorted(offered, key=lambda pair: pair[0])[:count]]


def place_of(seed: object, repository: str, path: str) -> str:
    """Where a file stands in the order of a draw."""
    return hashlib.sha256(f"{seed} {repository} {path}".encode()).hexdigest()


def _repositories(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir())


def told(outcome: Outcome) -> list[str]:
    """What lint said of a file, for whoever judges it."""
    lines = [f"{outcome.repository}/{outcome.path}"]
    if outcome.refused:
        lines.append(f"   refused: {outcome.refused}")
    for reading in outcome.readings:
        entry = reading.entry or f"cannot tell: {reading.unknown}"
        lines.append(f"   {reading.version}, {reading.kind}: {reading.loss}, {entry}; group {reading.group_size}")
        lines += [f"     {severity} {rule}: {message}" for severity, rule, message in reading.findings]
    return lines


def examine_all(root: Path, jobs: int) -> tuple[list[Outcome], dict[str, str]]:
    """Every outcome, in order, and the commit of every repository."""
    folders = _repositories(root)
    files = [(folder.name, str(path.relative_to(folder))) for folder in folders for path in candidates(folder)]
    with ProcessPoolExecutor(jobs) as pool:
        names, paths = [name for name, _ in files], [path for _, path in files]
        outcomes = list(pool.map(examine, [str(root)] * len(files), names, paths, chunksize=16))
    return outcomes, {folder.name: commit_of(folder) for folder in folders}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run lint over a folder of repositories, and tabulate what it says.")
    parser.add_argument("folder", type=Path, help="one folder per repository")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes; default 2")
    parser.add_argument("--sample", type=int, default=0, help="draw this many files for judging by hand, lint no other")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw; default 0")
    parser.add_argument("--most", type=int, default=4, help="how many files a repository offers; default 4")
    parser.add_argument("--lines", type=Path, help="a file that gets one JSON line per file")
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is no folder")
    if given.sample:
        return _judge(given.folder, draw(given.folder, given.sample, given.seed, given.most))
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
    return int(any(one.broken for one in outcomes))


def _judge(root: Path, sample: Sequence[Drawn]) -> int:
    """Print what lint says of each file of a sample."""
    broken = False
    for number, one in enumerate(sample, start=1):
        outcome = examine(str(root), one.repository, one.path)
        broken |= bool(outcome.broken)
        print("\n".join([f"{number}. [{one.commit}]", *told(outcome), outcome.broken]))
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
