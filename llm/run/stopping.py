"""How a run is asked to stop: SIGTERM and SIGINT, heard at once while it waits, else when its step is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


class Stopped(BaseException):
    """A signal came while the run waited. Not an Exception, so that nothing in between takes it for a failure."""


@dataclass
class Stop:
    """Whether a signal came.

    Attributes:
        asked: whether one did.
    """

    asked: bool = False
    _waiting: bool = False

    @contextmanager
    def heard_at_once(self) -> Iterator[None]:
        """A part of the run that may end anywhere, because it changes nothing that a checkpoint holds.

        Raises:
            Stopped: a signal came, before or inside.
        """
        self._waiting = True
        try:
            if self.asked:
                raise Stopped
            yield
        finally:
            self._waiting = False

    def note(self) -> None:
        """A signal has come."""
        self.asked = True
        if self._waiting:
            self._waiting = False
            raise Stopped


@contextmanager
def asked_to_stop() -> Iterator[Stop]:
    """Listen to SIGTERM and SIGINT, of which the first is noted and a second one acts at once.

    Only the main thread can: elsewhere nothing is ever asked.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: Any) -> None:
        signal.signal(number, before[number])  # type: ignore[index]
        stop.note()

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
