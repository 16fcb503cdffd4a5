"""Writing an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..config import Config
from ..run.whole import whole_folder
from . import prime_rl, trl, verl
from .said import LAUNCH, Exported, Machines

TRAINERS: Mapping[str, Callable[[Config, Path, Machines], Exported]] = {
    "verl": verl.export,
    "trl": trl.export,
    "prime-rl": prime_rl.export,
}
"""Trainers that a configuration can be written for."""


def write(config: Config, trainer: str, folder: Path, machines: Machines) -> tuple[str, ...]:
    """Write a configuration as another trainer's files.

    Args:
        config: the run.
        trainer: one of :data:`TRAINERS`.
        folder: to make; it must not exist.
        machines: that the trainer is to run on.

    Returns:
        What that trainer does otherwise or leaves out, one sentence each.

    Raises:
        ValueError: the trainer cannot say it, or the folder exists or cannot be made.
    """
    if folder.exists():
        raise ValueError(f"{folder}: exists already")
    made = TRAINERS[trainer](config, folder.absolute(), machines)
    with whole_folder(folder) as unfinished:
        for name, text in made.files.items():
            (unfinished / name).write_text(text, "utf-8")
        if LAUNCH in made.files:
            (unfinished / LAUNCH).chmod(0o755)
    return made.notes
