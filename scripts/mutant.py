"""A mutant: one changed function of a source, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A change of one function and what became of it.

    ``before`` and ``after`` are the lines that differ, ``source`` is a digest of the function. ``status`` is "killed",
    "timeout" (as good as killed), "survived", "not run" (no fast test runs the function) or "equivalent".
    """

    name: str
    file: str
    function: str
    source: str
    before: str
    after: str
    status: str = ""
    killer: str = ""
    seconds: float = 0.0

    @property
    def change(self) -> tuple[str, str, str, str, str]:
        """What stays the same from one run to the next, where the name's number does not."""
        return self.file, self.function, self.source, self.before, self.after
