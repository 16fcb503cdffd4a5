"""Rollouts that torch saved, read without running code: by ``torch.load(weights_only=True)``.

Trainers write such files to look at rollouts later: an object with a list of samples.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ..extras import need
from .frames import frame_of

MOST_VALUES = 1 << 25
"""Values that a file may hold, each counted as often as it occurs: a small file can repeat one without end."""

SCALARS = (bool, int, float, str, type(None))

LARGEST = 1 << 30
"""Bytes that its parts may take in memory."""


def saved_frame(path: Path) -> pl.DataFrame:
    """The records in a file of torch as a frame.

    Raises:
        ValueError: torch is not installed, the file holds something else than plain values and tensors, is damaged or
            too large, or no list of records is in it.
    """
    need("files of torch", "torch")
    import torch

    try:
        with zipfile.ZipFile(path) as parts:
            asked = sum(part.file_size for part in parts.infolist())
    except (zipfile.BadZipFile, OSError):
        raise ValueError("not a file of torch.save (since 1.6), damaged or cut off") from None
    if asked > LARGEST:
        raise ValueError(f"asks for {asked:.3g} bytes of memory; at most {LARGEST:.3g} are read")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever bytes can make a reader of such files raise
        reason = str(error).split("WeightsUnpickler error:")[-1].strip().split("\n")[0][:200]
        if "GLOBAL" not in reason and "Unsupported" not in reason:
            raise ValueError(f"not a file of torch.save, damaged or cut off ({reason})") from None
        raise ValueError(
            f"holds more than plain values and tensors, which would run code when it is read ({reason}); save lists, "
            "dicts, numbers and text only, or load it where you trust it and give pessimism.audit the list of records"
        ) from None
    try:
        if _values(found, {}) > MOST_VALUES:
            raise ValueError(f"holds more than {MOST_VALUES:,} values; is this a log of rollouts?")
        frame = frame_of(_records(_plain(found)))
    except RecursionError:
        raise ValueError("holds values inside each other too deeply") from None
    if frame is None:
        raise ValueError("no records in it")
    return frame


def _plain(value: Any) -> Any:
    """The value with tensors as numbers or lists."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to_dense().tolist() if value.is_sparse else value.detach().tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return list(value) if _is_flat(value) else [_plain(part) for part in value]
    return value if isinstance(value, SCALARS) else str(value)


def _values(value: Any, known: dict[int, int]) -> int:
    """How many values there are, as often as they occur; ``known`` holds the counts of objects seen before."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.numel()
    if not isinstance(value, Mapping | list | tuple):
        return 1
    if id(value) not in known:
        parts = value.values() if isinstance(value, Mapping) else value
        flat = not isinstance(value, Mapping) and _is_flat(value)
        known[id(value)] = len(value) if flat else sum(_values(part, known) for part in parts)
    return known[id(value)]


def _is_flat(value: list[Any] | tuple[Any, ...]) -> bool:
    """Whether nothing is inside, as in the tokens that make up most of a log."""
    return all(type(part) in SCALARS for part in value)


def _records(found: Any) -> list[dict[str, Any]] | dict[str, list[Any]]:
    """The list of records, by itself or in an object, or the object of lists of one length, a column each."""
    if _is_records(found):
        return found
    if isinstance(found, dict):
        inside = [value for value in found.values() if _is_records(value)]
        if len(inside) == 1:
            return inside[0]
        columns = {name: value for name, value in found.items() if isinstance(value, list)}
        if columns and len({len(column) for column in columns.values()}) == 1:
            return columns
        held = ", ".join(f"{name} ({type(value).__name__})" for name, value in list(found.items())[:8])
        raise ValueError(f"no list of records in it, nor lists of one length; it holds {held or 'nothing'}")
    raise ValueError(f"no list of records in it, but a {type(found).__name__}")


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, dict) for part in value)
