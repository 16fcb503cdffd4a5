"""Calls into a scorer's own process, which may die.

An answer that cannot be judged is worth 0; an answer that was not judged for a reason of ours is judged again. What the
kernel does to a process that goes beyond its limits, and a crash inside a parser, come of the answer. A process that
somebody else ended, or that was stopped until its time was up, does not.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

ATTEMPTS = 3
"""How often an answer is judged whose scorer was ended from outside, before that is taken to come of the answer."""

PATIENCE = 600.0
"""Seconds after which a supervisor that says nothing is ended. It holds its child to shorter limits, so that only one
that was itself stopped, or a machine that stands still, takes so long."""

OURS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGALRM")
"""Signals that an answer does not cause. (SIGKILL may: the kernel ends what takes the machine's last memory.)"""

NAMES = {"SIGPROF": "timeout", "SIGALRM": "timeout"}
"""What two signals are counted as: the limits on processor time and on time."""

ROOT = Path(__file__).resolve().parents[2]


class JudgeError(RuntimeError):
    """A call that has no result; ``reason`` is what to count it under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ScorerError(RuntimeError):
    """The scorer's process does not start, or does not stay alive. One line that says why."""


class Judge:
    """A scorer in a process of its own, started at the first call and ended with this object or its parent.

    Args:
        module: one that serves its functions when run, through :func:`llm.tasks.worker.serve`.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.failures: Counter[str] = Counter()

    def process_id(self) -> int | None:
        """Of the scorer's process; None before the first call."""
        return None if self._process is None else self._process.pid

    def score(self, function: str, *arguments: Any) -> float:
        """The result of a call; 0 where the answer leads to none, counted in ``failures`` under the reason.

        Raises:
            ScorerError: the process does not start, or its supervisor was ended several times in a row.
        """
        try:
            return float(self.call(function, *arguments))
        except JudgeError as error:
            self.failures[error.reason] += 1
            return 0.0

    def call(self, function: str, *arguments: Any) -> Any:
        """The result of a call.

        Args:
            function: a name that the module serves.
            arguments: plain JSON values.

        Raises:
            JudgeError: it took too long, needed too much memory, raised or crashed.
            ScorerError: the process does not start, or its supervisor was ended several times in a row.
        """
        line = json.dumps({"function": function, "arguments": arguments}).encode() + b"\n"
        with self._lock:
            reply = self._persist(line)
        if "error" in reply:
            raise JudgeError("error", f"{self._module}: {reply['error']}")
        if "died" in reply:
            reason = NAMES.get(reply["died"], str(reply["died"]))
            raise JudgeError(reason, f"{self._module}: {function} was ended by {reason}")
        return reply["result"]

    def _persist(self, line: bytes) -> dict[str, Any]:
        """The answer to a call, asked again where the process was ended from outside."""
        reply: dict[str, Any] | None = None
        for _ in range(ATTEMPTS):
            answer = self._ask(line)
            reply = json.loads(answer) if answer.endswith(b"\n") else None
            if reply is not None and reply.get("died") not in OURS:
                return reply
        if reply is None:
            raise ScorerError(f"{self._module} was ended {ATTEMPTS} times in the middle of a call; is memory short?")
        return reply

    def _ask(self, line: bytes) -> bytes:
        """One line for another; nothing, or a part, if the process ends first."""
        if self._process is None:
            self._process = _start(self._module)
            weakref.finalize(self, _end, self._process)
        answer = b""
        try:
            _stream(self._process.stdin).write(line)
            _stream(self._process.stdin).flush()
            if select.select([_stream(self._process.stdout)], [], [], PATIENCE)[0]:
                answer = _stream(self._process.stdout).readline()
        except BrokenPipeError:
            pass
        finally:
            if not answer.endswith(b"\n"):  # also when interrupted: the next call must not get this one's answer
                _end(self._process)
                self._process = None
        return answer


class Judges:
    """Several scorers of one kind, for calls from several threads: each call takes one that is free.

    Args:
        module: see :class:`Judge`.
        count: of them, at least one. They start when they are first needed.
    """

    def __init__(self, module: str, count: int = 1) -> None:
        self._judges = [Judge(module) for _ in range(count)]
        self._free: queue.LifoQueue[Judge] = queue.LifoQueue()  # so that no more are started than are needed
        for judge in self._judges:
            self._free.put(judge)

    @property
    def failures(self) -> Counter[str]:
        """Of all of them."""
        return sum((judge.failures for judge in self._judges), Counter())

    def score(self, function: str, *arguments: Any) -> float:
        """See :meth:`Judge.score`."""
        with self._one() as judge:
            return judge.score(function, *arguments)

    def call(self, function: str, *arguments: Any) -> Any:
        """See :meth:`Judge.call`."""
        with self._one() as judge:
            return judge.call(function, *arguments)

    @contextmanager
    def _one(self) -> Iterator[Judge]:
        judge = self._free.get()
        try:
            yield judge
        finally:
            self._free.put(judge)


def _start(module: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYTHONHASHSEED": "0",  # some problem generators go through sets
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # Ctrl-C is for the trainer
        )
        if not _stream(process.stdout).readline():
            _end(process)
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise ScorerError(f"{module} does not start: {''.join(last) or f'exit status {process.returncode}'}")
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    with suppress(BrokenPipeError):  # a call that was never read
        _stream(process.stdin).close()
    _stream(process.stdout).close()
    process.wait()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # both are pipes
    return stream
