"""Where the trainer takes its batches from: the buffer, or an engine that draws ahead of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .buffer import Buffer
from .config import Lag
from .samples import Group
from .schedule import ahead, place

Draw = Callable[[int, int], Callable[[], Sequence[Group]]]
"""(batch, version) -> what waits for the batch's groups, drawn by the weights of that version."""

DEPTH = 2
"""Batches asked for before they are needed: an engine beside the trainer always has one more to draw."""


class Source:
    """The batches of a run, each drawn once and kept.

    What a batch holds depends on its number and the weights of its window only, so a run may stop anywhere.
    """

    def __init__(self, draw: Draw, buffer: Buffer, lag: Lag, steps: int) -> None:
        self._draw, self._buffer, self._lag, self._steps = draw, buffer, lag, steps
        self._waiting: dict[int, Callable[[], Sequence[Group]]] = {}

    def take(self, step: int) -> list[Group]:
        """The groups that a step trains on. The engine must hold the weights of the step's window.

        Always as the buffer has them, also those that were just drawn: a resumed run then sees the same.
        """
        here = place(step, self._lag)
        self._ask(step)
        if not self._buffer.has(here.batch):
            self._collect(here.batch)
            self._ask(step)
        return self._buffer.load(here.batch)

    def drain(self) -> None:
        """Wait for what was asked for: before the engine gets other weights."""
        for batch in list(self._waiting):
            self._collect(batch)

    def _ask(self, step: int) -> None:
        version = place(step, self._lag).version
        for batch in ahead(step, self._lag, self._steps):
            if len(self._waiting) >= DEPTH:
                return
            if batch not in self._waiting and not self._buffer.has(batch):
                self._waiting[batch] = self._draw(batch, version)

    def _collect(self, batch: int) -> None:
        self._buffer.append(self._waiting[batch]())
        del self._waiting[batch]
