"""The processes that train one model together: who they are, what they tell each other, what each of them holds.

``torchrun`` starts them. Rank 0 leads: it samples, judges, writes and decides, as a process alone does. The others
follow: they wait to be told what to call, and call it with the same arguments at the same time. Messages are JSON and
arrays over gloo; weights and gradients are torch's to move (FSDP2, :mod:`llm.update.shard`).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ..sample.engines.wire import receive, send

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT = timedelta(days=30)
"""How long a follower waits to be told something: sampling a batch or writing a checkpoint may take hours. A rank that
ends is noticed at once by the others, whose connections to it close, and by torchrun."""

END = "end"


class LostRankError(RuntimeError):
    """Another rank has ended, so that this one cannot go on. One line that says so."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: of this one, from 0; 0 leads.
        size: how many there are; 1 is a process alone, which none of the methods below delays.
        messages: the gloo group that messages go over.
    """

    rank: int = 0
    size: int = 1
    messages: Any = field(default=None, repr=False)

    @property
    def leads(self) -> bool:
        """Whether this is the rank that decides."""
        return self.rank == 0

    def tell(self, call: str, values: Mapping[str, Any] | None = None, **arrays: np.ndarray) -> None:
        """Of the leading rank: have the others call what it is about to call. Of the others, which were told: nothing.

        Args:
            call: a name of ``llm.run.follow.CALLS``, or :data:`END`.
            values: what JSON holds.
            arrays: what it does not.
        """
        if self.size == 1 or not self.leads:
            return
        content = io.BytesIO()
        send(content, {"call": call, **(values or {})}, arrays)
        with _lost_ranks_told(self):
            self._broadcast(torch.tensor([content.tell()]))
            self._broadcast(torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8))

    def listen(self) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
        """Of the other ranks: the next call, its values and its arrays.

        Raises:
            LostRankError: the leading rank has ended.
        """
        with _lost_ranks_told(self):
            size = self._broadcast(torch.zeros(1, dtype=torch.int64))
            content = self._broadcast(torch.zeros(int(size), dtype=torch.uint8))
        values, arrays = receive(io.BytesIO(content.numpy().tobytes()))
        return values.pop("call"), values, arrays

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over ranks of arrays of one shape, float64, the same on every rank."""
        return self._reduced(np.asarray(values, np.float64), dist.ReduceOp.SUM)

    def largest(self, values: np.ndarray) -> np.ndarray:
        """The largest of each number over ranks, int64, the same on every rank."""
        return self._reduced(np.asarray(values, np.int64), dist.ReduceOp.MAX)

    def meet(self) -> None:
        """Wait until every rank is here."""
        self.largest(np.zeros(1))

    def check_same(self, content: bytes, what: str) -> None:
        """Refuse what is not the same on every rank.

        Raises:
            ValueError: it is not; the message begins with ``what``.
        """
        digest = np.frombuffer(hashlib.sha256(content).digest(), np.int32).astype(np.int64)
        if not np.array_equal(self.largest(digest), -self.largest(-digest)):
            raise ValueError(f"{what} is not the same on every rank; start all of them with the same")

    def _broadcast(self, tensor: Tensor) -> Tensor:
        dist.broadcast(tensor, src=0, group=self.messages)
        return tensor

    def _reduced(self, values: np.ndarray, operation: Any) -> np.ndarray:
        if self.size == 1:
            return values
        tensor = torch.from_numpy(np.array(values))
        with _lost_ranks_told(self):
            dist.all_reduce(tensor, operation, group=self.messages)
        return tensor.numpy()


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that torchrun has started, or this process alone; left again at the end.

    Raises:
        LostRankError: another rank does not come, or has ended.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with _lost_ranks_told(Ranks(rank, size)):
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "cpu:gloo")
        messages = dist.new_group(backend="gloo", timeout=WAIT)
    ranks = Ranks(rank, size, messages)
    with _lost_ranks_told(ranks):
        yield ranks
    dist.destroy_process_group()  # not after a failure: it would wait for ranks that have ended


@contextmanager
def _lost_ranks_told(ranks: Ranks) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or "gloo" in str(error)
        if lost and not isinstance(error, LostRankError):
            reason = re.sub(r"^\[\S+\] ", "", str(error)).partition(". ")[0]
            raise LostRankError(
                f"rank {ranks.rank} of {ranks.size}: another rank has ended, or the network to it ({reason}); "
                "start all of them again with --resume"
            ) from error
        raise
