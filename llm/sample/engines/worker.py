"""The process of an engine: `python -m llm.sample.engines.worker SOCKET WEIGHTS`, two descriptors from the trainer."""

from __future__ import annotations

import ctypes
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import BinaryIO, cast

from .base import EngineError
from .local import LocalEngine
from .wire import answers_to_arrays, read_weights, receive, requests_from_json, send, settings_from_json

BEAT_SECONDS = 1.0
PR_SET_PDEATHSIG = 1


def die_with_parent(by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the one that started it ends, whatever either is doing.

    Linux only. Elsewhere the closed socket tells an engine, at the next decoding step.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)


def heart(stream: BinaryIO) -> Callable[[], None]:
    """A function that tells the trainer, at most every second, that work is going on."""
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > BEAT_SECONDS:
            last = now
            send(stream, {"kind": "beat"})

    return beat


def serve(stream: BinaryIO, weights: int) -> None:
    """Answer until the trainer closes the connection.

    An EngineError is an answer, because asking again would not help. Any other exception ends the process: nobody
    knows what state it leaves the engine in.
    """
    try:
        message, _ = receive(stream)
        engine = LocalEngine(settings_from_json(message["settings"]), heart(stream))
        send(stream, {"kind": "ready"})
        while True:
            message, _ = receive(stream)
            if message["kind"] == "sync":
                engine.sync(dict(read_weights(weights, message["layout"])), message["version"])
                send(stream, {"kind": "synced", "version": engine.version})
            else:
                answers = engine.generate(requests_from_json(message["requests"]))
                send(stream, {"kind": "answers"}, answers_to_arrays(answers))
    except EngineError as error:
        send(stream, {"kind": "error", "error": str(error)})
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


if __name__ == "__main__":
    die_with_parent()
    connection = socket.socket(fileno=int(sys.argv[1]))
    serve(cast(BinaryIO, connection.makefile("rwb")), int(sys.argv[2]))
