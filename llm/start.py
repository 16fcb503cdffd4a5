"""What the commands do around a run: on which ranks, with which hardware, and what is said when it cannot go on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pessimism.shell.terminal import console_on

from .config import Config, to_toml
from .run import runs
from .sample.engines.worker import die_with_parent

if TYPE_CHECKING:
    from .update.ranks import Ranks


class FailedError(RuntimeError):
    """What went wrong after a run had begun to work."""


def ranks_started() -> int:
    """How many processes torchrun has started for this run; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process is alone, or the one of several that reads and writes the run's folder."""
    return ranks_started() == 1 or os.environ.get("RANK") == "0"


def again() -> str:
    """What a command line of this run begins with."""
    if ranks_started() == 1:
        return "python"
    machines = os.environ.get("GROUP_WORLD_SIZE", "1")
    several = "" if machines == "1" else f" --nnodes {machines}"
    return f"torchrun{several} --nproc-per-node {os.environ['LOCAL_WORLD_SIZE']}"


def train(config: Config, folder: Path, fresh: bool) -> int | None:
    """Train, on all ranks that torchrun has started or in this process; the steps done, None where another rank leads.

    Raises:
        ValueError: the configuration does not work, or differs between ranks.
        FailedError: a run that had begun to work could not go on.
    """
    from .update.ranks import LostRankError, joined

    if "TORCHELASTIC_RUN_ID" in os.environ:  # a torchrun that is killed would leave ranks that wait for each other
        die_with_parent(signal.SIGTERM)
    try:
        with joined() as ranks:
            if ranks.size > 1:
                ranks.check_same(to_toml(config).encode(), "the configuration")
            if ranks.leads:
                make_model(config)
            ranks.meet()  # the model is there now
            if ranks.leads:
                return _run(config, folder, fresh, ranks)
            from .run.follow import follow

            with told_failures(config):
                follow(config, ranks)
            return None
    except LostRankError as error:
        raise FailedError(str(error)) from error


def _run(config: Config, folder: Path, fresh: bool, ranks: Ranks) -> int:
    """Train, with everything that watches; the steps that are done."""
    from .run.train import opened
    from .run.train import train as run_steps
    from .run.watch import Watcher, trackers
    from .show.screen import screen

    with opened(folder) as step:
        runs.note_start(folder, config, step, fresh)
        console = console_on(sys.stdout)
        with screen(config, console) as shown, Watcher(folder, shown, trackers(config, folder, step)) as watcher:
            try:
                with told_failures(config):
                    return run_steps(config, folder, watcher, ranks)
            except (ValueError, OSError) as error:
                if not watcher.recorded:
                    raise
                raise FailedError(_reason(error)) from error
            finally:
                if watcher.recorded and not fresh:  # only now is it sure that the run takes this configuration
                    runs.keep_config(folder, config)


def _reason(error: Exception) -> str:
    """What happened; of the system's own errors (no space left) with what they happened to, where that is known."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error)


@contextmanager
def told_failures(config: Config) -> Iterator[None]:
    """What a run says when it cannot go on, apart from what is a bug."""
    import torch

    from .tasks.judge import ScorerError
    from .update.learner import RunError

    try:
        yield
    except (RunError, ScorerError) as error:
        raise FailedError(str(error)) from error
    except torch.OutOfMemoryError as error:
        advice = f"optimizer.tokens_per_pass below {config.optimizer.tokens_per_pass} needs less, also with --resume"
        raise FailedError(f"out of GPU memory; {advice}: {str(error).partition('. ')[0]}") from error


def check_hardware(config: Config) -> None:
    """Refuse a machine that a configuration is not for.

    Raises:
        ValueError: there is no GPU, and it says that there must be one.
    """
    import torch

    if config.hardware.gpu and not torch.cuda.is_available():
        raise ValueError(
            f"{config.name} is for a GPU, and there is none here; hardware.gpu=false tries it nevertheless"
        )


def make_model(config: Config) -> None:
    """Make the model of a configuration that says how, if it is not there yet."""
    if config.warmup is not None:  # else torch need not be imported yet
        from .run.prepare import make_model as make

        make(config)
