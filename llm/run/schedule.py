"""When weights are synced, which batch a step uses and how old it is: pure arithmetic, the same in every mode."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import Lag


@dataclass(frozen=True)
class Place:
    """Where an optimizer step stands.

    Attributes:
        step: counted from 0 over the run.
        window: counted from 0; the steps between two syncs.
        version: first step of the window, which is also how many steps the sampling weights had seen.
        batch: number of the step's batch, counted from 0 over the run.
        lag: age of the data in optimizer steps.
    """

    step: int
    window: int
    version: int
    batch: int
    lag: int

    @property
    def syncs(self) -> bool:
        """Whether weights are synced before this step."""
        return self.lag == 0


def place(step: int, lag: Lag) -> Place:
    """Where a step stands: a window's steps take its batches in turn.

    >>> [place(step, Lag(sync_every=4, epochs=2)).batch for step in range(8)]
    [0, 1, 0, 1, 2, 3, 2, 3]
    >>> place(7, Lag(sync_every=4)).lag
    3
    """
    window, age = divmod(step, lag.sync_every)
    batch = window * lag.batches + age % lag.batches
    return Place(step, window, window * lag.sync_every, batch, age)


def ahead(step: int, lag: Lag, steps: int) -> list[int]:
    """Numbers of the batches that the rest of the step's window will need for the first time, in order.

    Args:
        step: the next step.
        lag: the schedule.
        steps: of the whole run; what it never reaches is not listed.

    >>> ahead(1, Lag(sync_every=4), steps=3)
    [1, 2]
    >>> ahead(6, Lag(sync_every=4, epochs=2), steps=100)
    []
    """
    here = place(step, lag)
    end = min(here.version + lag.batches, steps)
    return [place(later, lag).batch for later in range(step, end)]
