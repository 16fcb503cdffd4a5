"""Runs an answer in isolation and says how it ended. Nothing expected goes in; what came out is compared here."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Literal

from .isolation import Isolation, NoIsolationError
from .launcher import CANNOT
from .limits import Limits

PIECE = 1 << 16
RESTARTS = 3
"""How often a run is begun again whose isolation was not made; then something is wrong with the machine."""

End = Literal["ended", "failed", "time", "output"]

Told = tuple[int | Literal["time", "output"], bytes, bytes]
"""Exit status, or the limit at which a process was ended; what it printed, and what its launcher said."""


@dataclass(frozen=True)
class Ran:
    """What a run came to.

    Attributes:
        end: "ended" by itself with status 0; "failed" with another status or by a signal, as limits of the kernel end
            it; "time" and "output": ended from outside at that limit.
        output: what it printed, up to the limit.
    """

    end: End
    output: bytes


def run_program(isolation: Isolation, code: str, given: str, limits: Limits) -> Ran:
    """Run a program with a text on its standard input."""
    return _run(isolation, {"code": code, "input": given}, limits)


def call_function(
    isolation: Isolation, code: str, function: str, calls: Sequence[Sequence[Any]], limits: Limits
) -> list[Any]:
    """Call a function, or a method of ``Solution``, that some code defines.

    Args:
        isolation: where.
        code: the text.
        function: its name.
        calls: arguments of each call, plain JSON values.
        limits: of all calls together.

    Returns:
        What the calls gave, plain JSON values: as many as ended before the first that failed.
    """
    ran = _run(isolation, {"code": code, "function": function, "calls": calls}, limits)
    values = []
    for line in ran.output.split(b"\n")[:-1][: len(calls)]:
        try:
            values.append(json.loads(line)["value"])
        except (ValueError, KeyError, TypeError, RecursionError):  # the code may have written there itself
            break
    return values


def _run(isolation: Isolation, asked: Mapping[str, Any], limits: Limits) -> Ran:
    request = json.dumps({**asked, "limits": limits.model_dump()}).encode()
    for _ in range(RESTARTS):
        status, output, said = _once(isolation.command(limits), request, limits)
        if status != CANNOT:
            break
    else:
        raise NoIsolationError(f"{isolation.kind}: {' '.join(said.decode(errors='replace').split()) or 'not started'}")
    if isinstance(status, str):
        return Ran(status, output)
    return Ran("ended" if status == 0 else "failed", output)


def _once(command: Sequence[str], request: bytes, limits: Limits) -> Told:
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", "")},
        cwd="/",
        start_new_session=True,
    )
    try:
        return _exchange(process, request, limits)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            with suppress(BrokenPipeError):
                _there(stream).close()


def _exchange(process: subprocess.Popen[bytes], request: bytes, limits: Limits) -> Told:
    """Write the request and read both outputs at once, as neither side may wait for the other."""
    until = time.monotonic() + limits.seconds
    left = memoryview(request)
    read = {"output": b"", "said": b""}
    with selectors.DefaultSelector() as ready:
        for stream in (process.stdin, process.stdout, process.stderr):
            os.set_blocking(_there(stream).fileno(), False)
        ready.register(_there(process.stdin), selectors.EVENT_WRITE)
        ready.register(_there(process.stdout), selectors.EVENT_READ, "output")
        ready.register(_there(process.stderr), selectors.EVENT_READ, "said")
        open_outputs = 2
        while open_outputs:
            remaining = until - time.monotonic()
            if remaining <= 0:
                return "time", read["output"], read["said"]
            for key, _ in ready.select(remaining):
                if key.data is None:
                    try:
                        left = left[os.write(key.fd, left[:PIECE]) :]
                    except BrokenPipeError:
                        left = left[:0]
                    if not left:
                        ready.unregister(key.fileobj)
                        _there(process.stdin).close()
                    continue
                piece = os.read(key.fd, PIECE)
                if not piece:
                    ready.unregister(key.fileobj)
                    open_outputs -= 1
                elif key.data == "output":
                    read["output"] += piece
                    if len(read["output"]) > limits.output:
                        return "output", read["output"][: limits.output], read["said"]
                else:
                    read["said"] = (read["said"] + piece)[-PIECE:]
        try:
            status = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return "time", read["output"], read["said"]
    return status, read["output"], read["said"]


def _there(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # all three are pipes
    return stream
