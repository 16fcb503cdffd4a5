"""Where the numbers of a run go: metrics.jsonl always, the terminal, and TensorBoard, W&B or trackio where asked for.

metrics.jsonl holds what the run computed, timing.jsonl what clocks said, so that the first is the same, byte for byte,
however often a deterministic run was stopped and resumed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypedDict

import numpy as np

from pessimism.shell import write_whole
from pessimism.studies import sha256

from ..config import Config

Numbers = Mapping[str, float]
"""Name -> value; "/" groups names."""

METRICS, TIMING, PAIRS = "metrics.jsonl", "timing.jsonl", "log_ratios.json"


class Written(TypedDict):
    """How much of a file was written, and its digest."""

    bytes: int
    sha256: str


class Tracker(Protocol):
    """What else takes numbers."""

    def __call__(self, step: int, numbers: Numbers) -> None:
        """Take the numbers of a step."""
        ...


class Screen(Protocol):
    """What shows a run while it goes on."""

    def update(self, step: int, numbers: Numbers, timing: Numbers) -> None:
        """Show a step's numbers."""
        ...


class Watcher:
    """Takes the numbers of every step. A context manager: leaving it closes files and trackers.

    Attributes:
        folder: of the run.
        screen: what shows it.
        recorded: steps taken so far.
    """

    def __init__(self, folder: Path, screen: Screen, trackers: Mapping[str, Tracker] | None = None) -> None:
        self.folder = folder
        self.screen = screen
        self.recorded = 0
        self._trackers = dict(trackers or {})
        self._files = {name: (folder / name).open("ab", buffering=0) for name in (METRICS, TIMING)}
        contents = {name: (folder / name).read_bytes() for name in self._files}
        self._sizes = {name: len(content) for name, content in contents.items()}
        self._digests = {name: hashlib.sha256(content) for name, content in contents.items()}

    def record(self, step: int, numbers: Numbers, timing: Numbers) -> None:
        """Write a step's numbers down at once.

        Args:
            step: optimizer steps done.
            numbers: what was computed; a number that is not finite is written as null.
            timing: what was measured by clocks.
        """
        for name, values in ((METRICS, numbers), (TIMING, timing)):
            self._append(name, _line(step, values))
        for tracker in self._trackers.values():
            tracker(step, {**numbers, **timing})
        self.screen.update(step, numbers, timing)
        self.recorded += 1

    def _append(self, name: str, line: str) -> None:
        rest = line.encode()
        self._sizes[name] += len(rest)
        self._digests[name].update(rest)
        try:
            while rest:  # a disk that is almost full takes a part, and fails at the next
                rest = rest[self._files[name].write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder / name)) from None

    def written(self) -> dict[str, Written]:
        """What both files hold now, as :func:`cut_back` takes it."""
        return {name: Written(bytes=self._sizes[name], sha256=self._digests[name].hexdigest()) for name in self._files}

    def keep_pairs(self, step: int, pairs: np.ndarray) -> None:
        """Keep what theory predicts and what was found, of the last step of the latest window.

        Args:
            step: optimizer steps done.
            pairs: (2, n) predicted and realized log-ratios, nats.
        """
        predicted, realized = pairs.tolist()
        content = json.dumps({"step": step, "predicted": predicted, "realized": realized})
        write_whole(self.folder / PAIRS, content.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        for tracker in self._trackers.values():
            close: Callable[[], Any] | None = getattr(tracker, "close", None)
            if close is not None:
                close()


def cut_back(folder: Path, written: Mapping[str, Written]) -> None:
    """Drop what was written after a checkpoint: a run that goes on from there writes it again.

    Args:
        folder: of the run.
        written: what :meth:`Watcher.written` said at the checkpoint; empty where there is none.

    Raises:
        ValueError: what was written before it is no longer there, or is not what was written.
    """
    for name in (METRICS, TIMING):
        path = folder / name
        content = path.read_bytes() if path.exists() else b""
        expected = written.get(name, Written(bytes=0, sha256=sha256(b"")))
        kept = content[: expected["bytes"]]
        if sha256(kept) != expected["sha256"]:
            raise ValueError(
                f"{path}: is not what the run had written by its last checkpoint (damaged, cut off or edited since); "
                "put a copy of it back, or start in a new folder"
            )
        if kept != content:
            write_whole(path, kept)


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a file with one in each line.

    Raises:
        ValueError: a line is damaged.
    """
    records, damaged = salvage(path)
    if damaged:
        raise ValueError(f"{path}: line {damaged[0]} is damaged")
    return records


def salvage(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """The sound records of a file with one in each line, and the numbers of damaged lines.

    A last line that is only half written is neither: what writes it may be at work.
    """
    records, damaged = [], []
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record["step"], int):
                raise TypeError
            records.append(record)
        except (ValueError, KeyError, TypeError, RecursionError):
            if number < len(lines) or line.endswith(b"\n"):
                damaged.append(number)
    return records, damaged


def _line(step: int, values: Numbers) -> str:
    numbers = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
    return json.dumps({"step": step} | numbers) + "\n"


def trackers(config: Config, folder: Path, step: int = 0) -> dict[str, Tracker]:
    """The trackers that a configuration asks for.

    Args:
        config: of the run.
        folder: of the run.
        step: that it goes on from. TensorBoard drops what was written after it; W&B and trackio begin a new run.

    Raises:
        ValueError: one is not installed, or does not start.
    """
    watch = config.watch
    found: dict[str, Tracker] = {}
    if watch.tensorboard:
        found["tensorboard"] = _TensorBoard(folder / "tensorboard", step)
    for name in ("wandb", "trackio"):
        project = getattr(watch, name)
        if project is not None:
            found[name] = _Logged(name, project, config, folder)
    return found


def _library(option: str, package: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        whole = error.name in (None, package, module)
        reason = "is not installed" if whole else f"cannot be imported: {error}"
        raise ValueError(f"watch.{option}: the package {package!r} {reason}") from None


class _TensorBoard:
    def __init__(self, folder: Path, step: int) -> None:
        library = _library("tensorboard", "tensorboard", "torch.utils.tensorboard")
        self._writer = library.SummaryWriter(str(folder), purge_step=step + 1)

    def __call__(self, step: int, numbers: Numbers) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Logged:
    """Weights & Biases, or trackio, which has the same interface."""

    def __init__(self, module: str, project: str, config: Config, folder: Path) -> None:
        options = {"dir": str(folder)} if module == "wandb" else {}
        library = _library(module, module, module)
        try:
            self._run = library.init(
                project=project, name=config.name, config=config.model_dump(mode="json"), **options
            )
        except Exception as error:  # no key, no network, a name that is not allowed: each library has its own kinds
            raise ValueError(f"watch.{module}: {str(error).partition(chr(10))[0]}") from error

    def __call__(self, step: int, numbers: Numbers) -> None:
        self._run.log({name: value for name, value in numbers.items() if math.isfinite(value)}, step=step)

    def close(self) -> None:
        self._run.finish()
