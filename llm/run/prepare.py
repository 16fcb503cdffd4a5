"""The small base model that a configuration starts from, made if it is not there yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Config, checked
from .warmup import WarmUp, warm_up


def warm_up_settings(config: Config) -> WarmUp:
    """The table [warmup], on the run's task unless it names another.

    Raises:
        ValueError: an unknown key, or a value that is not allowed.
    """
    task = config.task.model_dump(include={"name", "options"})
    return checked(WarmUp, {"task": task, **(config.warmup or {})}, "warmup")


def make_model(config: Config) -> None:
    """Make the model of a configuration that says how, if it is not there yet, and print how it goes."""
    if config.warmup is None or Path(config.model.path).exists():
        return
    settings = warm_up_settings(config)
    print(f"making {config.model.path}: at most {settings.steps} steps of imitation", flush=True)

    def told(record: Mapping[str, Any]) -> None:
        print(
            f"warm-up step {record['step']}/{settings.steps}  loss {record['loss']:.3f}  "
            f"pass@1 {record['pass@1']:.1%}  {record['seconds']:.0f} s",
            flush=True,
        )

    warm_up(settings, config.model.path, told)
