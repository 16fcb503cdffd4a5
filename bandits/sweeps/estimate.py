"""How long a cell will take: a small part of it, timed here and now, and scaled up."""

from __future__ import annotations

import time
from dataclasses import replace

from ..simulate import BLOCK, simulate
from .grid import Cell

STEPS = 20
"""Optimizer steps that are timed, at most and at least, in one window or several."""


def estimate(cell: Cell) -> float:
    """Seconds that the cell takes on one core of this machine, roughly: within a factor of two, as a rule.

    Windows of at most `STEPS` steps are timed on one block of runs. What a window costs is told apart from what a
    record costs (the last window always leaves one), as cells have very different numbers of both.
    """
    bandit, algorithm = cell.bandit.build(), cell.algorithm.build()
    settings = cell.settings
    lag = min(settings.lag, STEPS)
    parts = min(settings.minibatches, lag)
    groups = settings.groups // settings.minibatches * parts
    seeds = min(cell.seeds, max(1, BLOCK // bandit.behavior.size))

    def seconds(syncs: int) -> float:
        short = replace(settings, syncs=syncs, lag=lag, groups=groups, minibatches=parts, record_every=syncs)
        start = time.perf_counter()
        simulate(bandit, algorithm, short, range(seeds))
        return time.perf_counter() - start

    more = -(-STEPS // lag)
    seconds(1)  # the first call also loads code
    one = min(seconds(1), seconds(1))
    window = max(min(seconds(1 + more), seconds(1 + more)) - one, 0.0) / more
    record = max(one - window, 0.0)
    windows = settings.syncs * settings.lag / lag
    return cell.seeds / seeds * (windows * window + settings.records * record)
