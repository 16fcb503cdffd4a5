"""Where cells are computed: on the cores of this machine, or on a Ray cluster. The numbers do not depend on it."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Done:
    """What came of a job, which has a ``key``: its rows as the bytes of a Parquet file, or what went wrong."""

    job: Any
    content: bytes | None
    failure: str | None
    seconds: float


Compute = Callable[[Any], Done]
"""Computes a job; what its code raises is in the result, so that one cell does not end a study."""

Backend = Callable[[Sequence[Any]], Generator[Done]]
"""Computes jobs and yields what came of each, in whatever order they finish; every job exactly once. Closing it ends
what is under way."""


class BackendLostError(Exception):
    """The machinery that computes cells came to an end before they were done. What was finished is kept."""


RETRIES = 5
"""How often Ray starts a cell again whose machine was lost. A cell that takes its worker down every time then fails."""


def on_cores(compute: Compute, jobs: int | None = None) -> Backend:
    """Cells side by side in processes of their own (joblib's loky).

    Args:
        compute: what computes a cell.
        jobs: how many at a time; None: as many as there are cores. 1 computes in this process.

    Raises:
        ValueError: jobs < 1.
        BackendLostError: when run: a worker process was killed.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    count = joblib.cpu_count() if jobs is None else _checked_jobs(jobs)

    def run(todo: Sequence[Any]) -> Generator[Done]:
        if not todo:
            return
        attend = {"initializer": _attend, "initargs": (os.getpid(),)}
        with joblib.parallel_config("loky", inner_max_num_threads=1, **attend):
            # A batch of several cells would come back, and be kept, only as a whole.
            parallel: Any = joblib.Parallel(count, return_as="generator_unordered", batch_size=1)  # type: ignore[arg-type]
            try:
                yield from parallel(joblib.delayed(compute)(job) for job in todo)
            except TerminatedWorkerError:
                raise BackendLostError(
                    "a worker process was killed, perhaps for lack of memory (fewer --jobs need less); finished cells "
                    "are kept, the same command computes the others"
                ) from None

    return run


def _attend(parent: int) -> None:
    """In a worker: leave Ctrl-C, which reaches every process of a terminal, to the parent; end when that is gone.

    (Workers of joblib whose parent was killed may wait for good for a lock that it held.)
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


def on_ray(compute: Compute, packages: Sequence[str], address: str | None = None, jobs: int | None = None) -> Backend:
    """Cells as Ray tasks, which Ray starts again elsewhere when a node dies.

    Ray's own joblib backend is not used: its pool of actors ends with ActorDiedError when a node does, and hands
    results over all together, so that nothing could be kept before (seen with Ray 2.60, joblib 1.6).

    Our packages travel along; Python and the libraries must be on the nodes.

    Args:
        compute: what computes a cell.
        packages: folders of the packages that it needs.
        address: the cluster's, "host:port"; None: what RAY_ADDRESS says, else one is started here for the duration.
        jobs: how many cells at a time; None: as many as the cluster has cores for.

    Raises:
        ValueError: jobs < 1. When run: Ray is not installed, or nothing answers at the address.
        BackendLostError: when run: the cluster is lost.
    """
    most = None if jobs is None else _checked_jobs(jobs)

    def run(todo: Sequence[Any]) -> Generator[Done]:
        if not todo:
            return
        with _cluster(address, packages) as ray:
            task = ray.remote(num_cpus=1, max_retries=RETRIES)(compute)
            waiting = list(reversed(todo))
            running: dict[Any, Any] = {}
            while waiting or running:
                while waiting and (most is None or len(running) < most):
                    job = waiting.pop()
                    running[task.remote(job)] = job
                finished, _ = ray.wait(list(running), num_returns=1)
                for reference in finished:
                    yield _result(ray, reference, running.pop(reference))

    return run


def _result(ray: Any, reference: Any, job: Any) -> Done:
    try:
        return ray.get(reference)
    except ray.exceptions.RaySystemError:
        raise
    except ray.exceptions.RayError as error:  # what the cell itself raises is in its result
        return Done(job, None, f"lost {RETRIES + 1} times: {type(error).__name__}", 0.0)


@contextmanager
def _cluster(address: str | None, packages: Sequence[str]) -> Iterator[Any]:
    """Ray, connected, and disconnected at the end unless it was connected before."""
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise ValueError("Ray is not installed: pip install ray, or leave --backend ray out") from None
    if ray.is_initialized():
        yield ray
        return
    where = address or os.environ.get("RAY_ADDRESS") or "local"  # Ray's own search finds clusters long dead
    _check_answers(where)
    try:
        ray.init(
            address=where,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"py_modules": [*packages], "env_vars": {"OMP_NUM_THREADS": "1"}},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(f"Ray, address {where}: {error}") from None
    try:
        yield ray
    except ray.exceptions.RaySystemError as error:
        raise BackendLostError(
            f"the Ray cluster is lost ({error}); finished cells are kept, the same command computes the others"
        ) from None
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Whether something listens at "host:port"; Ray itself would try for minutes."""
    if address == "local":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError(f"the Ray cluster's address is {address!r}; it must be host:port")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"no Ray cluster answers at {address} ({error})") from None


def _checked_jobs(jobs: int) -> int:
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; it must be at least 1")
    return jobs
