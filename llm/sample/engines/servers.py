"""Any number of vLLM servers, on this machine or others, as one engine.

Each sample is a request of its own with its own seed, so that it does not matter which server answers it: servers take
samples from one queue as fast as they answer. One that fails or says nothing for too long is dropped, its samples go
back to the queue, and it is asked again from time to time. It is taken in, as is a new one, once it has loaded the
weights of now from their folder and answered the probe as the others did.

The servers are vLLM's own (``vllm serve``), with ``VLLM_SERVER_DEV_MODE=1``, which lets the trainer have them load
weights. Whoever reaches such a server can have it run its methods, so it belongs into a private network.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from ...samples import Completion, Request
from ..weights import write_weights
from .base import Answers, EngineError, Settings, check_requests
from .completions import ServerError, ask, bodies, check_model, compare, load_weights, said

if TYPE_CHECKING:
    import torch

IN_FLIGHT = 256
"""Samples that one server works on at a time; vLLM's own default."""

AGAIN_SECONDS = 5.0
"""How long a server that was dropped is left alone."""

Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Server:
    """One server as the trainer sees it.

    Attributes:
        url: where it listens.
        alive: whether it has the weights of now and takes samples.
        tried: whether it has been tried since the last sync.
        reason: why it is not alive.
        running: samples that it works on.
        broken: set to have it load weights anew, or to drop it.
        failure: why it is dropped.
    """

    url: str
    alive: bool = False
    tried: bool = False
    reason: str = "was not asked yet"
    running: set[asyncio.Task[None]] = field(default_factory=set)
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None

    def fail(self, error: Exception) -> None:
        """Drop it."""
        self.alive, self.failure = False, error
        self.broken.set()


@dataclass(frozen=True, eq=False)
class Job:
    """One sample to draw."""

    body: Mapping[str, Any]
    answer: asyncio.Future[Completion]


class Servers:
    """An :class:`~llm.sample.engines.base.Engine` of vLLM servers. Close it when done; the servers go on.

    Args:
        settings: what the servers must have been started with; what a request can say, it says.
        urls: asked for the servers at each sync and every few seconds, so that the list may change.
        weights: folder that the trainer writes weights to and the servers read them from, by the same path.
        tolerance: largest gap, in nats per token, between a server that is taken in later and the others.
        timeout: seconds without an answer after which a server is dropped, and seconds without any server after which
            the engine gives up.
        again: seconds after which a server that was dropped is tried again.
    """

    def __init__(
        self,
        settings: Settings,
        urls: Callable[[], Sequence[str]],
        weights: Path,
        tolerance: float = 1e-3,
        timeout: float = 600.0,
        again: float = AGAIN_SECONDS,
    ) -> None:
        self._settings, self._urls, self._folder = settings, urls, weights.resolve()
        self._tolerance = tolerance
        self._timeout, self._again = timeout, again
        self._version = 0
        self._path: Path | None = None
        self._servers: dict[str, Server] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reference: tuple[Request, list[Completion]] | None = None
        self._open = 0  # samples that were asked for and not answered
        self._dark_since = time.monotonic()
        self.restarted = 0
        key = os.environ.get("VLLM_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(timeout, connect=30.0), headers=headers, limits=limits)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="servers", daemon=True)
        self._thread.start()
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._start(self._watched())
        self._start(self._dispatched())

    @property
    def version(self) -> int:
        return self._version

    def alive(self) -> list[str]:
        """Servers that take samples now."""
        return [server.url for server in self._servers.values() if server.alive]

    def sync(self, weights: Mapping[str, torch.Tensor], version: int) -> None:
        import torch

        self._wait(self._quiet())
        try:
            path = write_weights(self._folder, weights, version, getattr(torch, self._settings.dtype))
        except ValueError as error:
            raise EngineError(str(error)) from None
        self._wait(self._taken_in(path, version))

    def submit(self, requests: Sequence[Request]) -> Callable[[], Answers]:
        check_requests(requests, self._settings)
        return partial(self._result, self._start(self._sampled(tuple(requests))))

    def generate(self, requests: Sequence[Request]) -> Answers:
        return self.submit(requests)()

    def ask_each(self, request: Request) -> dict[str, list[Completion]]:
        """What every server answers to one request; from now on, what a server must answer to be taken in.

        Raises:
            EngineError: there is no server.
        """
        check_requests([request], self._settings)
        return self._wait(self._asked_each(request))

    def close(self) -> None:
        async def stopped() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.aclose()

        self._wait(stopped())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- between the two threads ---------------------------------------------------------------------------------

    def _start(self, coroutine: Coroutine[Any, Any, Result]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return self._start(coroutine).result()

    def _result(self, future: Any) -> Answers:
        return future.result()

    # --- what follows runs on the loop's thread --------------------------------------------------------------------

    async def _watched(self) -> None:
        """Keep a task for every server of the list; give up where there has been none for too long."""
        wanted: dict[str, None] = {}  # in the order of the list
        while True:
            try:
                wanted = dict.fromkeys(url.rstrip("/") for url in self._urls())
            except OSError as error:
                log.warning("the list of servers cannot be read (%s); it stays as it was", error)
            for url in self._tasks.keys() - wanted.keys():
                log.warning("%s: is no longer in the list", url)
                self._tasks.pop(url).cancel()
                self._servers.pop(url)
            for url in [url for url in wanted if url not in self._tasks]:
                self._servers[url] = Server(url)
                self._tasks[url] = asyncio.create_task(self._kept(self._servers[url]))
            await asyncio.sleep(min(self._again, 1.0))

    async def _kept(self, server: Server) -> None:
        """Take a server in, feed it until it fails, leave it alone for a while, and again."""
        while True:
            try:
                server.broken.clear()
                server.failure = None
                if self._path is None:  # nothing is sampled before the first sync
                    await check_model(self._client, server.url, self._settings.context)
                    server.tried = True
                    await server.broken.wait()
                    continue
                path = self._path
                await self._bring(server, path)
                if path is not self._path:  # a sync came meanwhile
                    continue
                server.alive = server.tried = True
                log.info("%s: takes samples", server.url)
                await self._fed(server)
            except (httpx.HTTPError, ServerError) as error:
                if error is server.failure:  # it had been taken in
                    self._dark_since = time.monotonic()
                    self.restarted += 1
                server.alive, server.tried = False, True
                server.reason = said(error)
                log.warning("%s: dropped: %s", server.url, server.reason)
                with suppress(TimeoutError):
                    await asyncio.wait_for(server.broken.wait(), self._again)

    async def _fed(self, server: Server) -> None:
        """Wait until a server fails or is to load other weights; all that it worked on then goes back to the queue."""
        try:
            await server.broken.wait()
        finally:
            server.alive = False
            running = list(server.running)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if server.failure is not None:
            raise server.failure

    async def _dispatched(self) -> None:
        """Give each sample to the server that works on the fewest."""
        while True:
            job = await self._jobs.get()
            while not (free := [one for one in self._servers.values() if one.alive and len(one.running) < IN_FLIGHT]):
                await asyncio.sleep(0.01)
            server = min(free, key=lambda one: len(one.running))
            task = asyncio.create_task(self._answered(server, job))
            server.running.add(task)
            task.add_done_callback(server.running.discard)

    async def _answered(self, server: Server, job: Job) -> None:
        try:
            job.answer.set_result(await ask(self._client, server.url, job.body))
        except EngineError as error:
            job.answer.set_exception(error)
        except (httpx.HTTPError, ServerError) as error:
            self._jobs.put_nowait(job)
            server.fail(error)
        except asyncio.CancelledError:
            self._jobs.put_nowait(job)
            raise

    async def _bring(self, server: Server, path: Path) -> None:
        """Have a server load weights, and compare it with the others where they have answered the probe."""
        await check_model(self._client, server.url, self._settings.context)
        await load_weights(self._client, server.url, path)
        seen = None
        while self._reference is not seen:
            seen = self._reference
            assert seen is not None
            compare(seen[1], await self._samples(server, seen[0]), self._tolerance)

    async def _quiet(self) -> None:
        while self._open:
            await asyncio.sleep(0.01)

    async def _taken_in(self, path: Path, version: int) -> None:
        """Give all servers weights; done when each has taken them or has failed, and one has taken them."""
        self._path, self._version, self._reference = path, version, None
        self._dark_since = time.monotonic()
        for server in self._servers.values():
            server.alive = server.tried = False
            server.broken.set()
        while not (self._servers and all(server.tried for server in self._servers.values()) and self.alive()):
            await asyncio.sleep(0.01)
            self._check_light()

    def _check_light(self) -> None:
        if not self.alive() and time.monotonic() - self._dark_since > self._timeout:
            told = "; ".join(f"{server.url}: {server.reason}" for server in self._servers.values())
            raise EngineError(f"no server has been there for {self._timeout:g} s: {told or 'the list is empty'}")

    async def _sampled(self, requests: Sequence[Request]) -> Answers:
        asked = [body for request in requests for body in bodies(request, self._settings)]
        jobs = [Job(body, self._loop.create_future()) for body in asked]
        self._open += len(jobs)
        try:
            for job in jobs:
                self._jobs.put_nowait(job)
            waiting = {job.answer for job in jobs}
            while waiting:
                done, waiting = await asyncio.wait(waiting, timeout=1.0, return_when=asyncio.FIRST_EXCEPTION)
                for one in done:
                    one.result()
                self._check_light()
        finally:
            self._open -= len(jobs)
        answers = iter([job.answer.result() for job in jobs])
        return [list(islice(answers, request.samples)) for request in requests]

    async def _asked_each(self, request: Request) -> dict[str, list[Completion]]:
        found: dict[str, list[Completion]] = {}
        while missing := [one for one in self._servers.values() if one.alive and one.url not in found]:
            for server in missing:
                try:
                    found[server.url] = await self._samples(server, request)
                except (httpx.HTTPError, ServerError) as error:
                    server.fail(error)
        if not found:
            raise EngineError("no server answered the probe")
        self._reference = request, next(iter(found.values()))
        return found

    async def _samples(self, server: Server, request: Request) -> list[Completion]:
        found = (ask(self._client, server.url, body) for body in bodies(request, self._settings))
        return list(await asyncio.gather(*found))
