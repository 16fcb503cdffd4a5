"""What the trainer's process and the engine's say to each other: JSON with arrays behind it, and shared weights."""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ...samples import Completion, Request
from .base import Answers, Settings

if TYPE_CHECKING:
    import torch

LENGTH = struct.Struct("<Q")
ALIGNMENT = 64  # bytes, so that tensors can be viewed where they lie


def send(stream: BinaryIO, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Write a message: the length of a JSON object, the object, and the bytes of the arrays that it lists."""
    found = arrays or {}
    listed = [[name, array.dtype.str, list(array.shape)] for name, array in found.items()]
    text = json.dumps({**message, "arrays": listed}).encode()
    stream.write(LENGTH.pack(len(text)) + text)
    for array in found.values():
        stream.write(np.ascontiguousarray(array).tobytes())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a message: (object, arrays by name).

    Raises:
        EOFError: the other side is gone.

    >>> import io
    >>> pipe = io.BytesIO()
    >>> send(pipe, {"kind": "hello"}, {"lengths": np.array([2, 3])})
    >>> _ = pipe.seek(0)
    >>> receive(pipe)
    ({'kind': 'hello'}, {'lengths': array([2, 3])})
    """
    (length,) = LENGTH.unpack(_exactly(stream, LENGTH.size))
    message = json.loads(_exactly(stream, length))
    arrays = {}
    for name, kind, shape in message.pop("arrays"):
        dtype = np.dtype(kind)
        content = _exactly(stream, dtype.itemsize * math.prod(shape))
        arrays[name] = np.frombuffer(content, dtype).reshape(shape).copy()  # writable, as an engine's own are
    return message, arrays


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError("the other side is gone")
    return content


def settings_to_json(settings: Settings) -> dict[str, Any]:
    """As :func:`settings_from_json` reads it."""
    return asdict(settings)


def settings_from_json(found: Mapping[str, Any]) -> Settings:
    """What :func:`settings_to_json` wrote."""
    return Settings(**{**found, "stop_tokens": tuple(found["stop_tokens"])})


def requests_to_json(requests: Sequence[Request]) -> list[Any]:
    """As :func:`requests_from_json` reads it."""
    return [[list(request.tokens), request.samples, request.seed, request.max_tokens] for request in requests]


def requests_from_json(found: Sequence[Any]) -> list[Request]:
    """What :func:`requests_to_json` wrote."""
    return [Request(tuple(tokens), samples, seed, limit) for tokens, samples, seed, limit in found]


def answers_to_arrays(answers: Answers) -> dict[str, np.ndarray]:
    """Completions end to end: tokens and log_probs (sum of lengths,), lengths and finished (samples,)."""
    samples = [sample for group in answers for sample in group]
    return {
        "tokens": np.concatenate([np.empty(0, np.int32), *(sample.tokens for sample in samples)]),
        "log_probs": np.concatenate([np.empty(0, np.float32), *(sample.log_probs for sample in samples)]),
        "lengths": np.array([len(sample.tokens) for sample in samples], np.int64),
        "finished": np.array([sample.finished for sample in samples], bool),
    }


def answers_from_arrays(arrays: Mapping[str, np.ndarray], requests: Sequence[Request]) -> Answers:
    """What :func:`answers_to_arrays` took apart, sorted to the requests again."""
    tokens, log_probs, lengths = (arrays[name] for name in ("tokens", "log_probs", "lengths"))
    ends = np.cumsum(lengths)
    samples = iter(
        [
            Completion(tokens[start:end], log_probs[start:end], finished)
            for start, end, finished in zip(ends - lengths, ends, arrays["finished"].tolist(), strict=True)
        ]
    )
    return [[next(samples) for _ in range(request.samples)] for request in requests]


class Weights:
    """Weights in memory that two processes see. It has no name, so that nothing is left behind however they end."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("weights")
        else:
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())

    def write(self, weights: Mapping[str, torch.Tensor], dtype: torch.dtype | None = None) -> list[Any]:
        """Copy the weights in, one after the other, tied ones once.

        Args:
            weights: asked for one at a time and let go again.
            dtype: that floating-point weights are handed over in, where it is not their own.

        Returns:
            (name, dtype, shape, offset in bytes) of each, for :func:`read_weights`.

        Raises:
            OSError: no memory left.
        """
        layout: list[Any] = []
        written: dict[tuple[Any, ...], tuple[int, weakref.ref[torch.Tensor]]] = {}
        size = 0
        for name, weight in weights.items():
            identity = (weight.data_ptr(), weight.dtype, weight.shape, weight.stride())
            at, source = written.get(identity, (0, None))
            if source is None or source() is None:  # the address of a weight that is gone says nothing
                at = -(-size // ALIGNMENT) * ALIGNMENT
                given = weight.detach().to(dtype if weight.is_floating_point() else None)
                kind = str(given.dtype).removeprefix("torch.")
                size = at + self._put(given.cpu(), at)
                written[identity] = at, weakref.ref(weight)
            layout.append([name, kind, list(weight.shape), at])
        os.ftruncate(self.descriptor, max(size, 1))
        return layout

    def _put(self, weight: torch.Tensor, at: int) -> int:
        """Write a tensor's bytes; how many. Memory that is not there is an error here, not a signal later."""
        import torch

        content = memoryview(weight.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        done = 0
        while done < len(content):  # the kernel takes two gigabytes at a time
            done += os.pwrite(self.descriptor, content[done:], at + done)
        return len(content)

    def close(self) -> None:
        """Let go of the memory; a process that still looks at it keeps it."""
        os.close(self.descriptor)


def read_weights(descriptor: int, layout: Sequence[Any]) -> list[tuple[str, torch.Tensor]]:
    """Weights where they lie in shared memory; valid until the next ones are written."""
    import torch

    memory = mmap.mmap(descriptor, 0)
    return [
        (
            name,
            torch.frombuffer(memory, dtype=getattr(torch, kind), count=math.prod(shape), offset=offset).reshape(shape),
        )
        for name, kind, shape, offset in layout
    ]
