"""An engine in a process of its own, so that it samples while the trainer trains, and may crash or hang."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import numpy as np

from ...samples import Completion, Request
from .base import ENGINE, Answers, EngineError, Settings, check_requests
from .wire import Weights, answers_from_arrays, receive, requests_to_json, send, settings_to_json

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[3]
LAST_LINES = 5
EXIT_SECONDS = 10.0
CLOSED = "the engine was closed before it answered"

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class WorkerDied(Exception):
    """The process ended, or was ended because it said nothing for too long."""


class Worker:
    """One process, from its start to its end. The first thing to ask it is to start.

    Args:
        weights: descriptor of the shared weights.
    """

    def __init__(self, weights: int) -> None:
        ours, theirs = socket.socketpair()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "llm.sample.engines.worker", str(theirs.fileno()), str(weights)],
                env=os.environ | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=(theirs.fileno(), weights),
                start_new_session=True,  # Ctrl-C is the trainer's to handle
            )
        self._socket = ours
        self._stream = cast(BinaryIO, ours.makefile("rwb"))
        self.identity = self._process.pid
        self.syncs = 0

    def ask(self, question: Mapping[str, Any], timeout: float) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Send a message and wait for its answer.

        Args:
            question: the message.
            timeout: seconds of silence after which the process is taken to hang.

        Raises:
            WorkerDied: there is none.
            EngineError: the answer is that it cannot be done.
        """
        self._socket.settimeout(timeout)
        try:
            send(self._stream, question)
            message, arrays = receive(self._stream)
            while message["kind"] == "beat":
                message, arrays = receive(self._stream)
        except TimeoutError:
            raise WorkerDied(f"said nothing for {timeout:g} s") from None
        except (EOFError, OSError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_SECONDS)
            raise WorkerDied(f"ended with {_status(self._process.poll())}") from None
        if message["kind"] == "error":
            raise EngineError(message["error"])
        return message, arrays

    def last_output(self) -> str:
        """The end of what it printed, on one line."""
        self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - 4096))
        lines = self._output.read().decode(errors="replace").splitlines()
        return " | ".join([line.strip() for line in lines if line.strip()][-LAST_LINES:]) or "(nothing)"

    def kill(self) -> None:
        """End the process and its group, even when it is stopped."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """Kill it and let go of everything that belonged to it."""
        self.kill()
        with suppress(OSError):  # what was still to be written has no reader
            self._stream.close()
        self._socket.close()
        self._output.close()


def _status(code: int | None) -> str:
    if code is None:
        return "its connection closed"
    return f"exit status {code}" if code >= 0 else signal.Signals(-code).name


def _wait(answers: Future[Answers]) -> Answers:
    try:
        return answers.result()
    except CancelledError:
        raise EngineError(CLOSED) from None


class ProcessEngine:
    """An :class:`~llm.sample.engines.base.Engine` in a process beside this one.

    One thread speaks to the process, about one thing at a time and in the order asked. When the process ends or hangs,
    the thread starts another with the latest weights and asks again what was not answered: nothing is lost, and since
    an answer counts only when it is complete, nothing is doubled. The process ends with this one, however this one
    ends. Close the engine when done, or the interpreter waits for what was submitted.

    Args:
        settings: for the engine.
        timeout: seconds of silence after which it is taken to hang.
        restarts: how often to start again for the sake of one question.
        start_timeout: seconds that loading the model may take.
    """

    def __init__(
        self, settings: Settings, timeout: float = 600.0, restarts: int = 3, start_timeout: float = 1800.0
    ) -> None:
        self._settings = settings
        self._timeout = timeout
        self._restarts = restarts
        self._start_timeout = start_timeout
        self._weights = Weights()
        self._layout: list[Any] = []
        self._syncs = 0  # weights written so far; a worker that has seen fewer is behind
        self._version = 0
        self._worker: Worker | None = None
        self._closing = False
        self.restarted = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._begun = self._thread.submit(self._begin)

    @property
    def version(self) -> int:
        return self._version

    @property
    def identity(self) -> int | None:
        """Process id, None while there is no process."""
        worker = self._worker  # the thread may put another in its place
        return None if worker is None else worker.identity

    def sync(self, weights: Mapping[str, torch.Tensor], version: int) -> None:
        self._thread.submit(self._sync, weights, version).result()

    def submit(self, requests: Sequence[Request]) -> Callable[[], Answers]:
        check_requests(requests, self._settings)
        return partial(_wait, self._thread.submit(self._answer, tuple(requests)))

    def generate(self, requests: Sequence[Request]) -> Answers:
        return self.submit(requests)()

    def ask_each(self, request: Request) -> dict[str, list[Completion]]:
        return {ENGINE: self.generate([request])[0]}

    def close(self) -> None:
        self._closing = True
        if (worker := self._worker) is not None:
            worker.kill()  # whoever waits for its answer learns that it ended
        self._thread.shutdown(cancel_futures=True)
        self._drop()
        self._weights.close()

    # What follows runs on the thread.

    def _begin(self) -> None:
        """Start for the first time. What fails now would fail again."""
        try:
            self._ready()
        except WorkerDied as death:
            raise EngineError(f"the engine {death} before it had started; its last words: {self._drop()}") from None

    def _sync(self, weights: Mapping[str, torch.Tensor], version: int) -> None:
        import torch

        try:
            self._layout = self._weights.write(weights, getattr(torch, self._settings.dtype))
        except OSError as error:
            raise EngineError(f"no room to hand the weights to the engine: {error.strerror}") from None
        self._syncs += 1
        self._version = version
        self._persist(lambda worker: None)

    def _answer(self, requests: Sequence[Request]) -> Answers:
        question = {"kind": "generate", "requests": requests_to_json(requests)}
        _, arrays = self._persist(lambda worker: worker.ask(question, self._timeout))
        return answers_from_arrays(arrays, requests)

    def _persist(self, act: Callable[[Worker], Answer]) -> Answer:
        """Do something with a worker that has the latest weights, with another one if that fails."""
        self._begun.result()
        deaths = 0
        while True:
            try:
                return act(self._ready())
            except EngineError:
                self._drop()
                raise
            except WorkerDied as death:
                words = self._drop()
                deaths += 1
                if self._closing:
                    raise EngineError(CLOSED) from None
                if deaths > self._restarts:
                    raise EngineError(
                        f"the engine {death}; restarted {self._restarts} times to no avail; its last words: {words}"
                    ) from None
                self.restarted += 1
                log.warning("the engine %s; starting another (%d of %d)", death, deaths, self._restarts)

    def _ready(self) -> Worker:
        """The worker, started and synced if need be."""
        worker = self._worker
        if worker is None:
            self._worker = worker = Worker(self._weights.descriptor)
            if self._closing:
                raise WorkerDied("was closed")
            worker.ask({"kind": "start", "settings": settings_to_json(self._settings)}, self._start_timeout)
        if worker.syncs < self._syncs:
            news = {"kind": "sync", "layout": self._layout, "version": self._version}
            message, _ = worker.ask(news, self._timeout)
            if message["version"] != self._version:
                raise EngineError(f"the engine has version {message['version']} after a sync to {self._version}")
            worker.syncs = self._syncs
        return worker

    def _drop(self) -> str:
        """End the worker, if there is one: the end of what it printed."""
        worker, self._worker = self._worker, None
        if worker is None:
            return "(nothing)"
        worker.kill()
        words = worker.last_output()
        worker.close()
        return words
