"""Where the trainer takes its batches from: an engine that draws ahead of it, or the buffer that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..config import Lag
from ..samples import Group
from .buffer import Buffer
from .schedule import Place, ahead, place

Draw = Callable[[int, int], Callable[[], Sequence[Group]]]
"""(batch, version) -> what waits for the batch's groups, drawn by the weights of that version."""

DEPTH = 2
"""Batches asked for at a time: an engine beside the trainer always has one more to draw."""


class Source:
    """The batches of a run, each drawn once and kept.

    What a batch holds depends on its number and the weights of its window only, so a run may stop anywhere. ``depth``:
    batches asked for before they are needed.
    """

    def __init__(self, draw: Draw, buffer: Buffer, lag: Lag, steps: int, depth: int = DEPTH) -> None:
        self._draw, self._buffer, self._lag, self._steps, self._depth = draw, buffer, lag, steps, depth
        self._waiting: dict[int, Callable[[], Sequence[Group]]] = {}

    def take(self, step: int) -> list[Group]:
        """The groups that a step trains on. The engine must hold the weights of the step's window.

        Those just drawn are handed on as they are and kept beside it; the buffer gives back the same, bit for bit.

        Raises:
            ValueError: the buffer's file is damaged, or of other weights.
        """
        here = place(step, self._lag)
        self._ask(step)
        if self._buffer.has(here.batch):
            return self._kept(here)
        if here.batch not in self._waiting:  # drawn earlier in the window, damaged since and deleted
            self._waiting[here.batch] = self._draw(here.batch, here.version)
        groups = self._collect(here.batch)
        self._ask(step)
        return groups

    def drain(self) -> None:
        """Wait for what was asked for: before the engine gets other weights."""
        for batch in list(self._waiting):
            self._collect(batch)

    def _ask(self, step: int) -> None:
        version = place(step, self._lag).version
        for batch in ahead(step, self._lag, self._steps):
            if len(self._waiting) >= self._depth:
                return
            if batch not in self._waiting and not self._buffer.has(batch):
                self._waiting[batch] = self._draw(batch, version)

    def _collect(self, batch: int) -> list[Group]:
        groups = list(self._waiting[batch]())
        self._buffer.append(groups)
        del self._waiting[batch]
        return groups

    def _kept(self, here: Place) -> list[Group]:
        groups = self._buffer.load(here.batch)
        for version in {group.version for group in groups} - {here.version}:
            raise ValueError(
                f"{self._buffer.path(here.batch)}: was drawn by the weights of step {version}, not of {here.version}; "
                "delete it to draw it again"
            )
        return groups
