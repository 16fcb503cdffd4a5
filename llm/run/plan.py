"""What a run would do, worked out before anything is loaded: its schedule, its data and what they take on disk."""

from __future__ import annotations

from dataclasses import dataclass

from .. import tasks
from ..config import Config
from ..sample.rollout import check_group_size

BYTES_PER_TOKEN = 8  # an int32 and a float32, before Parquet compresses them


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        train, held_out: problems of the task.
        windows: weight syncs.
        batches_per_window: different batches drawn between two syncs.
        largest_lag: age of the oldest data that a step trains on, in optimizer steps.
        samples_per_step: completions that a step trains on.
        batches: drawn over the whole run.
        samples: likewise.
        tokens: of completions, at most.
        buffer_bytes: their tokens and log-probabilities on disk, at most.
    """

    train: int
    held_out: int
    windows: int
    batches_per_window: int
    largest_lag: int
    samples_per_step: int
    batches: int
    samples: int
    tokens: int
    buffer_bytes: int


def plan(config: Config) -> Plan:
    """Load the task, make the objective, lay out the schedule; no weights are needed.

    Raises:
        ValueError: a task that cannot be loaded, or groups that are too small for the objective.
    """
    check_group_size(config.objective.make(), config.rollout.group_size)
    task = tasks.load(config.task.name, config.task.options)
    lag, rollout = config.lag, config.rollout
    whole, rest = divmod(config.steps, lag.sync_every)
    batches = whole * lag.batches + min(rest, lag.batches)
    per_step = rollout.prompts * rollout.group_size
    tokens = batches * per_step * rollout.max_tokens
    return Plan(
        train=len(task.train),
        held_out=len(task.held_out),
        windows=whole + (rest > 0),
        batches_per_window=lag.batches,
        largest_lag=min(lag.sync_every, config.steps) - 1,
        samples_per_step=per_step,
        batches=batches,
        samples=batches * per_step,
        tokens=tokens,
        buffer_bytes=tokens * BYTES_PER_TOKEN,
    )
