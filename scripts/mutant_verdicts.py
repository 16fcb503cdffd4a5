"""Verdicts on mutants, kept from one run to the next and from one machine to another.

``scripts/mutant_verdicts.jsonl`` is in the repository: one line for each function, which holds a digest of its source,
then the digests of its killed mutants by the test that killed them, and those of the others by their status.
``mutants/verdicts.jsonl`` is what a run adds to it, a line for each mutant, until the run ends.

A verdict belongs to a change (a digest of the function's code and of the lines that differ), wherever the function
stands. It goes when the function's code changes, because no mutant makes that change any more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from .mutant import KILLED, LEFT, Mutant

Verdict = tuple[str, str]
"""Status and killer."""


@dataclass(frozen=True)
class Verdicts:
    """Two files: the verdicts of earlier runs, and the journal of the run that goes on or was stopped."""

    stored: Path
    journal: Path

    def read(self) -> dict[str, Verdict]:
        """Verdicts by change; those of the journal are the newer ones."""
        known: dict[str, Verdict] = {}
        for row in _rows(self.stored):
            known |= dict.fromkeys(row.get("timeout", ()), ("timeout", ""))
            known |= {change: ("killed", test) for test, changes in row.get("killed", {}).items() for change in changes}
            known |= {change: (status, "") for status in LEFT for change in row.get(status, ())}
        return known | {row["change"]: (row["status"], row["killer"]) for row in _rows(self.journal)}

    def add(self, mutant: Mutant) -> None:
        """Adds a verdict to the journal."""
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(mutant), ensure_ascii=False) + "\n")

    def settle(self, mutants: Iterable[Mutant]) -> None:
        """Moves the journal to the stored verdicts, of which only those on ``mutants`` stay."""
        known = self.read()
        judged = sorted((one for one in mutants if one.change in known), key=lambda one: (one.function, one.source))
        lines = []
        for (function, source), group in groupby(judged, key=lambda one: (one.function, one.source)):
            verdicts = {mutant.change: known[mutant.change] for mutant in group}
            lines.append(json.dumps({"function": function, "source": source, **_by_verdict(verdicts)}) + "\n")
        # Not pessimism.shell.files.write_whole: the package under test must not be imported before its mutants are.
        temporary = self.stored.with_suffix(".tmp")
        temporary.write_text("".join(lines), "utf-8")
        os.replace(temporary, self.stored)
        self.journal.unlink(missing_ok=True)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def _by_verdict(verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    killers = sorted({killer for status, killer in verdicts.values() if status == "killed"})
    killed = {killer: _changes(verdicts, ("killed", killer)) for killer in killers}
    others = {status: _changes(verdicts, (status, "")) for status in (*KILLED[1:], *LEFT)}
    return {key: value for key, value in {"killed": killed, **others}.items() if value}


def _changes(verdicts: Mapping[str, Verdict], verdict: Verdict) -> list[str]:
    return sorted(change for change, found in verdicts.items() if found == verdict)
