"""Calls into a scorer's own process, which may die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]


class JudgeError(RuntimeError):
    """A call that has no result; ``reason`` is what to count it under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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
        """The result of a call; 0 where there is none, counted in ``failures`` under its reason."""
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
            RuntimeError: the process does not start.
        """
        call = {"function": function, "arguments": arguments}
        line = json.dumps(call).encode() + b"\n"
        with self._lock:
            if self._process is None:
                self._process = _start(self._module)
                weakref.finalize(self, _end, self._process)
            try:
                _stream(self._process.stdin).write(line)
                _stream(self._process.stdin).flush()
                answer = _stream(self._process.stdout).readline()
            except BrokenPipeError:
                answer = b""
            if not answer:
                _end(self._process)
                self._process = None
                raise JudgeError("crash", f"{self._module} ended in the middle of a call")
        told = json.loads(answer)
        if "error" in told:
            raise JudgeError("error", f"{self._module}: {told['error']}")
        if "died" in told:
            raise JudgeError(told["died"], f"{self._module}: {function} was ended by {told['died']}")
        return told["result"]


def _start(module: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYTHONHASHSEED": "0",  # some problem generators go through sets
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", module], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
        )
        if not _stream(process.stdout).readline():
            _end(process)
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"{module} does not start: {''.join(last) or f'exit status {process.returncode}'}")
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
