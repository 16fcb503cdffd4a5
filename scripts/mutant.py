"""A mutant: one changed function of a source, and what became of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

KILLED, LEFT = ("killed", "timeout"), ("survived", "not run")
STATUSES = (*KILLED, *LEFT, "equivalent")


@dataclass(frozen=True)
class Mutant:
    """A change of one function and what became of it.

    ``source`` is a digest of the function, ``change`` one of the function and of what is changed in it: neither
    depends on the file that the function stands in, its comments or its docstring. ``before`` and ``after`` are the
    lines that differ. ``status`` is "killed", "timeout" (as good as killed), "survived", "not run" (no fast test runs
    the function) or "equivalent".
    """

    name: str
    file: str
    function: str
    source: str
    change: str
    before: str
    after: str
    status: str = ""
    killer: str = ""
    seconds: float = 0.0


def digest(*texts: str) -> str:
    """Twelve characters that stand for these texts, in this order."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def share(counts: Counter[str]) -> float:
    """Killed mutants out of those that are not equivalent.

    >>> share(Counter(killed=8, timeout=1, survived=1, equivalent=5))
    0.9
    """
    return sum(counts[status] for status in KILLED) / max(1, counts.total() - counts["equivalent"])


def table(mutants: Iterable[Mutant]) -> str:
    """Counts by file, and the share killed of those that are not equivalent, as Markdown."""
    mutants = list(mutants)
    rows = [["file", "mutants", *STATUSES, "killed of the others"], ["---"] * (len(STATUSES) + 3)]
    for file in [*sorted({mutant.file for mutant in mutants}), "all"]:
        counts = Counter(mutant.status for mutant in mutants if file in (mutant.file, "all"))
        rows.append([file, str(counts.total()), *(str(counts[status]) for status in STATUSES), f"{share(counts):.1%}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
