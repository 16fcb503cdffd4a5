"""Weights in a folder, for samplers that are processes of their own, on this machine or on others that see its disk.

A folder for each sync, ``step-000050``: safetensors files and a sealed list of their digests. It has another name while
it is written, so that it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pessimism.studies import seal, unseal

if TYPE_CHECKING:
    import torch

MANIFEST = "weights.json"
HEAD = "lm_head.weight"
BYTES_PER_FILE = 2**31
"""Weights are collected up to this size before they are written, so that no second model is ever in memory."""


def write_weights(
    folder: Path, weights: Mapping[str, torch.Tensor], version: int, dtype: torch.dtype, per_file: int = BYTES_PER_FILE
) -> Path:
    """Write weights as ``folder/step-NNNNNN``; what was there of that name is replaced, and older ones go.

    Args:
        folder: where samplers look for them, such as ``/dev/shm`` on one machine or a shared disk.
        weights: asked for one at a time; by the names of transformers, the head included where it is tied.
        version: optimizer steps that they have seen.
        dtype: that floating-point weights are written in.
        per_file: bytes in a file, at least one weight.

    Raises:
        ValueError: the head is missing, or there is no room.
    """
    from safetensors.torch import save_file

    if HEAD not in weights:
        raise ValueError(f"the weights lack {HEAD}; without it a server keeps its old head and says nothing")
    target, unfinished = folder / f"step-{version:06d}", folder / f".unfinished-{version:06d}"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        for number, part in enumerate(_parts(weights, dtype, per_file)):
            save_file(part, unfinished / f"part-{number:05d}.safetensors", metadata={"format": "pt"})
        digests = {path.name: _digest(path) for path in sorted(unfinished.iterdir())}
        (unfinished / MANIFEST).write_bytes(seal({"version": version, "files": digests}))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(unfinished, target)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ValueError(f"{target}: the weights could not be written: {error.strerror or error}") from None
    for old in folder.glob("step-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    return target


def check_weights(folder: Path) -> int:
    """The version of the weights in a folder of :func:`write_weights`.

    Raises:
        ValueError: they are not what was written: half of them, changed, or another model's.
    """
    try:
        found = unseal((folder / MANIFEST).read_bytes())
        digests = {path.name: _digest(path) for path in sorted(folder.glob("*.safetensors"))}
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: holds no whole weights: {error}") from None
    if digests != found["files"]:
        raise ValueError(f"{folder}: its files are not those that were written")
    return int(found["version"])


def _parts(weights: Mapping[str, torch.Tensor], dtype: torch.dtype, limit: int) -> Iterator[dict[str, torch.Tensor]]:
    part: dict[str, torch.Tensor] = {}
    size = 0
    for name, weight in weights.items():
        kind = dtype if weight.is_floating_point() else weight.dtype
        given = weight.detach().to("cpu", kind, copy=True).contiguous()  # tied weights are written twice
        if part and size + given.nbytes > limit:
            yield part
            part, size = {}, 0
        part[name] = given
        size += given.nbytes
    yield part


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
