"""Checkpoints: a folder of safetensors files and a sealed manifest with their digests, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pessimism.studies import seal, unseal

Tensors = Mapping[str, torch.Tensor]

MANIFEST = "manifest.json"
NAME = re.compile(r"step-(\d{6,})")
KEPT = 2
"""Latest checkpoints that are kept; one would not do if the newest turned out to be damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run goes on from.

    Attributes:
        step: optimizer steps done.
        tensors: name of a part -> its tensors.
        state: everything else, plain JSON values.
    """

    step: int
    tensors: dict[str, dict[str, torch.Tensor]]
    state: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint as ``folder/step-NNNNNN`` and drop all but the latest ones.

    Raises:
        ValueError: it cannot be written (no space, no permission); earlier checkpoints are as they were.
    """
    target = folder / f"step-{checkpoint.step:06d}"
    unfinished = folder / f".unfinished-{checkpoint.step:06d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for part, tensors in checkpoint.tensors.items():
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished / _file(part))
        hashes = {_file(part): _hash(unfinished / _file(part)) for part in checkpoint.tensors}
        manifest = {"step": checkpoint.step, "files": hashes, "state": checkpoint.state}
        (unfinished / MANIFEST).write_bytes(seal(manifest))
        for path in (*unfinished.iterdir(), unfinished):
            _flush(path)
        shutil.rmtree(target, ignore_errors=True)  # of an earlier attempt at the same step
        os.replace(unfinished, target)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(f"{target}: the checkpoint could not be written: {reason}") from None
    for old in steps(folder)[:-KEPT]:
        shutil.rmtree(folder / f"step-{old:06d}")
    return target


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, in order; folders of other names are none."""
    return sorted(step for path in folder.glob("step-*") if (step := _step(path)) is not None)


def _step(path: Path) -> int | None:
    name = NAME.fullmatch(path.name)
    return None if name is None else int(name[1])


def load(folder: Path, step: int | None = None) -> Checkpoint | None:
    """The checkpoint of a step, the latest if None; None if there is none at all.

    Raises:
        ValueError: the checkpoint is damaged; the message names the file and an earlier one that could be used.
    """
    found = steps(folder)
    if not found:
        return None
    with _damage_told(folder, found[-1] if step is None else step) as path:
        manifest = _manifest(path)
        tensors = {_part(name): _tensors(path / name, digest) for name, digest in manifest["files"].items()}
    return Checkpoint(manifest["step"], tensors, manifest["state"])


def load_state(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """Step and state of the latest checkpoint, without its tensors; None if there is none.

    Raises:
        ValueError: its manifest is damaged.
    """
    found = steps(folder)
    if not found:
        return None
    with _damage_told(folder, found[-1]) as path:
        manifest = _manifest(path)
    return manifest["step"], manifest["state"]


@contextmanager
def _damage_told(folder: Path, step: int) -> Iterator[Path]:
    path = folder / f"step-{step:06d}"
    try:
        yield path
    except (OSError, ValueError, SafetensorError) as error:
        earlier = [number for number in steps(folder) if number < step]
        advice = f"delete it to go on from step {earlier[-1]}" if earlier else "there is no earlier one"
        raise ValueError(f"{path}: the checkpoint is damaged ({error}); {advice}") from None


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = unseal((path / MANIFEST).read_bytes())
    except ValueError as error:
        raise ValueError(f"{MANIFEST}: {error}") from None
    whole = isinstance(manifest.get("files"), dict) and isinstance(manifest.get("state"), dict)
    if not whole or manifest.get("step") != _step(path):
        raise ValueError(f"{MANIFEST} is not of the checkpoint {path.name}")
    return manifest


def _tensors(path: Path, expected: str) -> dict[str, torch.Tensor]:
    if _hash(path) != expected:
        raise ValueError(f"{path.name} is not what was written")
    return load_file(path)


def fingerprint(tensors: Tensors) -> str:
    """A hash of names, types, shapes and values: equal weights, equal fingerprints."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _file(part: str) -> str:
    return f"{part}.safetensors"


def _part(file: str) -> str:
    return file.removesuffix(".safetensors")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Onto the disk: without it a crash of the machine could leave the folder's new name on empty files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
