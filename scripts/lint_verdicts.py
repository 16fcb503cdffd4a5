"""Verdicts on lint, by hand: public configurations that nobody had looked at, and whether lint was right on them.

    python -m scripts.lint_verdicts

``lint_verdicts.csv`` has one file a line, without its content: which sample it is of, where it is, whether lint was
right when the file was drawn (``found``) and after the faults that its sample showed were mended (``mended``), and why.
Every sample is of other repositories, drawn after the faults of those before it were mended. "Right": the objective,
group and penalty are those of the trainer's code, or it is rightly said that they cannot be told; no diagnosis is
wrong, no alarm false; a file that is refused is refused with what it is.

The first three samples were drawn by a script that is lost: at most 5 files of a repository (8 in the third), of those
that lint reads and those that it refuses although they speak of reinforcement learning. Later ones can be drawn again:
``lint_samples.csv`` has the repositories of each, with commit, seed, number of files and how many a repository offered.
Fetch them into one folder, each named ``owner+name``, and run ``python -m scripts.lint_corpus DIR --sample FILES --seed
SEED --most MOST``. All samples were judged by one person.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from scripts.lint_corpus import table

PLACE = Path(__file__).with_suffix(".csv")
SAMPLES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")

OPINIONS = ("right", "wrong")


@dataclass(frozen=True)
class Verdict:
    """A line of the table; see the module."""

    sample: str
    repository: str
    commit: str
    path: str
    found: str
    mended: str
    why: str


def verdicts(path: Path = PLACE) -> list[Verdict]:
    """Every verdict.

    Raises:
        ValueError: the head or a line has other columns than a verdict, or an opinion is not one of ``OPINIONS``.
    """
    names = [field.name for field in fields(Verdict)]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    for number, row in enumerate(rows, start=2):
        if list(row) != names or None in row.values():
            raise ValueError(f"{path.name}, line {number}: the columns must be {', '.join(names)}")
        if not {row["found"], row["mended"]} <= set(OPINIONS):
            raise ValueError(f"{path.name}, line {number}: found and mended must be {' or '.join(OPINIONS)}")
    return [Verdict(**row) for row in rows]


def summary(given: Sequence[Verdict]) -> Iterator[str]:
    """Tables: how often lint was right, by sample, and what was wrong, by kind."""
    counts = []
    for sample in SAMPLES:
        own = [one for one in given if one.sample == sample]
        right = [sum(getattr(one, column) == "right" for one in own) for column in ("found", "mended")]
        repositories = len({one.repository for one in own})
        counts.append((sample, len(own), repositories, *(f"{number} ({number / len(own):.0%})" for number in right)))
    yield from table(counts, "sample", "files", "repositories", "right when drawn", "right when mended")
    kinds = Counter((one.sample, one.why, one.mended) for one in given if one.found == "wrong")
    rows = [(sample, count, why, mended) for (sample, why, mended), count in kinds.most_common()]
    yield from table(sorted(rows, key=lambda row: row[0]), "sample", "files", "what was wrong", "now")


if __name__ == "__main__":
    print("\n".join(summary(verdicts())))
