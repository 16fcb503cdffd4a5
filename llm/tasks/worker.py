"""The other side of :mod:`llm.tasks.judge`: runs scorers in a process that may be killed at any moment.

Scorers parse what a model wrote, and parsers can be made to run forever, to eat all memory or to crash. So a
supervisor reads calls and hands them, one by one, to a child that it forked. Judging has a limit (:func:`limited`)
that the kernel holds the child to whatever it is doing; where it dies, the supervisor answers in its place and forks
another, which costs a millisecond because the imports are done.

Calls and answers are lines of JSON. Processor time rather than time, because rewards should not depend on how busy the
machine is.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

Functions = Mapping[str, Callable[..., Any]]

MEMORY = 4 << 30  # bytes of address space


def serve(functions: Functions) -> None:
    """Answer calls from standard input until it ends."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # libraries print; that must not end up among the answers
        os.dup2(nowhere, stream)
    _write(answers, _line({"ready": True}))
    child = None
    for call in calls:
        if child is None or child.exit_code(wait=False) is not None:
            child = _fork(functions, (calls, answers))
        _write(answers, child.ask(call))


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """The kernel ends this process when what happens here takes so much processor time, or 30 times that in all."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 30 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


@dataclass
class _Child:
    """A process that answers calls."""

    process: int
    calls: BinaryIO
    answers: BinaryIO
    ended: int | None = None

    def ask(self, call: bytes) -> bytes:
        """The answer to a call, or what the child died of instead."""
        with suppress(BrokenPipeError):  # it has died, and its answers have ended
            _write(self.calls, call)
        answer = self.answers.readline()
        if answer.endswith(b"\n"):
            return answer
        ended = self.exit_code(wait=True) or 0
        died = signal.Signals(-ended).name if ended < 0 else "exit"
        return _line({"died": died})

    def exit_code(self, wait: bool) -> int | None:
        """Of the process, negative for a signal; None while it lives."""
        if self.ended is None:
            process, status = os.waitpid(self.process, 0 if wait else os.WNOHANG)
            self.ended = os.waitstatus_to_exitcode(status) if process else None
        return self.ended


def _fork(functions: Functions, supervisors: tuple[BinaryIO, BinaryIO]) -> _Child:
    (call_end, call_start), (answer_end, answer_start) = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        # What the supervisor alone may hold is closed here, or the end of one process would not be seen by the others.
        for number in (call_start, answer_end, *(stream.fileno() for stream in supervisors)):
            os.close(number)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        with os.fdopen(call_end, "rb") as calls, os.fdopen(answer_start, "wb") as answers:
            for call in calls:
                _write(answers, _line(_answer(functions, json.loads(call))))
        os._exit(0)
    os.close(call_end)
    os.close(answer_start)
    return _Child(process, os.fdopen(call_start, "wb"), os.fdopen(answer_end, "rb"))


def _answer(functions: Functions, call: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"result": functions[call["function"]](*call["arguments"])}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _write(stream: BinaryIO, line: bytes) -> None:
    stream.write(line)
    stream.flush()
