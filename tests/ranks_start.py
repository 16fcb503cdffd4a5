"""Several ranks without torchrun: processes forked from one that has imported everything once."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def started(function: Callable[..., None], size: int, *arguments: Any) -> Sequence[BaseProcess]:
    """Ranks that call a function of a module; join them, or kill them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["llm.run.follow", "llm.run.train", "llm_batches"])
    port = free_port()
    ranks = [context.Process(target=_rank, args=(rank, size, port, function, arguments)) for rank in range(size)]
    with pytest.MonkeyPatch.context() as patch:  # what the server begins with, if it is started now
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "tests"))))
        for rank in ranks:
            rank.start()
    return ranks


def _rank(rank: int, size: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    function(*arguments)


def finish(ranks: Sequence[BaseProcess], seconds: float = 120.0) -> list[int | None]:
    """Exit statuses of ranks that end by themselves; None of one that did not."""
    for rank in ranks:
        rank.join(seconds)
    statuses = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()
        rank.join()
    return statuses
