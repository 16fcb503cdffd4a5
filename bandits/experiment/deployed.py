"""Conservatism against stability, over the objectives of the catalogue in bandits; see docs/experiment.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import pessimism as ps
from pessimism.studies import Done, kept

from ..noise import VerifierNoise
from ..settings import Optimizer
from ..simulate import simulate
from .compute import Job, complete, done, endings
from .design import GROUP_SIZE, LAGS, RATES, WORLDS, Group

TRIED = ("binary", "noise 1", "graded")
OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "adam")
STALE = tuple(lag for lag in LAGS if lag > 1)

MOVEMENT = 0.3
"""Mean KL of the induced targets from the groups that they start at, nats, of matched settings."""

GROUPS = 24
"""With signal, on which conservatism is measured."""


@dataclass(frozen=True)
class Case:
    """An objective in a world, with its published parameters or at matched movement, on the instances of one batch."""

    entry: str
    kind: str
    world: str
    batch: int


def cases(batch: int) -> Iterator[Case]:
    """All of a batch: of the matched kind those with a parameter that draws the target to the behavior policy."""
    for world in TRIED:
        for name in ps.catalogue():
            yield Case(name, "published", world, batch)
            if anchor(name) is not None:
                yield Case(name, "matched", world, batch)


def anchor(name: str) -> str | None:
    """The parameter that draws an entry's target to the behavior policy as it grows, or None."""
    return next((key for key, parameter in ps.catalogue()[name].parameters.items() if parameter.anchors), None)


def run(
    path: Path,
    batches: Sequence[int],
    jobs: int | None = None,
    finished: kept.Finished = lambda done, count, total: None,
) -> dict[str, str]:
    """Compute what a file lacks of these batches; what failed, by key.

    Raises:
        ValueError: the file was computed by code that gives other numbers, or cannot be written.
    """
    parts = (case for batch in batches for case in cases(batch))
    return complete(path, probe(), parts, compute, jobs, finished)


def compute(job: Job) -> Done:
    """The rows of a case."""
    return done(job, lambda: rows(job.part))


def rows(case: Case) -> pl.DataFrame:
    r"""A row for every optimizer, rate, lag and half of the instances; a single one with the reason where none can be.

    Columns: those of the case; ``reason``, "" or why there is no run; ``setting``, the value of the open parameter of a
    matched objective, else null; ``movement``, mean $\mathrm{KL}(\pi\|\mu)$ of the induced targets, nats, and
    ``implicit_gap``, that of the stated targets less it; ``optimizer``, ``rate``, ``lag``, ``half``; ``value`` at the
    end, 0 for a run that left floating point; ``entropy`` in nats; ``collapsed``, the share of runs that end below the
    value they began with or left floating point.
    """
    try:
        found = settle(case.entry, case.kind, case.world)
        numbers = {name: getattr(found, name) for name in ("setting", "movement", "implicit_gap")}
        runs = [{**asdict(case), "reason": "", **numbers, **each} for each in _trained(case, found.algorithm)]
    except ValueError as error:
        runs = [{**asdict(case), "reason": str(error)}]
    return pl.DataFrame(runs, schema=SCHEMA)


SCHEMA = {
    "entry": pl.String,
    "kind": pl.String,
    "world": pl.String,
    "batch": pl.Int32,
    "reason": pl.String,
    "setting": pl.Float64,
    "movement": pl.Float64,
    "implicit_gap": pl.Float64,
    "optimizer": pl.String,
    "rate": pl.Float64,
    "lag": pl.Int32,
    "half": pl.Int32,
    "value": pl.Float64,
    "entropy": pl.Float64,
    "collapsed": pl.Float64,
}


@dataclass(frozen=True)
class Settled:
    """An objective with its parameters, and what is measured of it before training.

    Attributes:
        algorithm: the objective.
        setting: the value of the parameter that was looked for, or None.
        movement: mean KL of the induced targets from the groups, nats.
        implicit_gap: that of the stated targets, less it.
    """

    algorithm: ps.Algorithm
    setting: float | None
    movement: float
    implicit_gap: float


@cache
def settle(entry: str, kind: str, world: str) -> Settled:
    """What a case trains with.

    Raises:
        ValueError: it cannot be matched, or has no targets on groups.
    """
    rewards, setting, algorithm = sampled(world), None, published(entry)
    if kind == "matched":
        given = ",".join(f"{name}={value}" for name, value in {anchor(entry): "?", **_sizes(entry)}.items())
        row = ps.advise(log_of(rewards), kl=MOVEMENT, objectives=[f"{entry}:{given}"]).rows[0]
        if row.value is None:
            raise ValueError(row.fails)
        setting = row.value
        algorithm = ps.algorithm(entry, **{str(anchor(entry)): setting}, **_sizes(entry))
    distinct, counts = np.unique(np.sort(rewards, axis=-1), axis=0, return_counts=True)
    found = ps.compare_group(distinct, algorithm)
    induced, stated = (np.average(each.kl, weights=counts) for each in (found.induced_metrics, found.stated_metrics))
    return Settled(algorithm, setting, float(induced), float(stated - induced))


def published(entry: str) -> ps.Algorithm:
    """An objective with its default parameters, and with the size of groups where it has that for a parameter."""
    return ps.algorithm(entry, **_sizes(entry))


def _sizes(entry: str) -> dict[str, int]:
    return {"group_size": GROUP_SIZE} if "group_size" in ps.catalogue()[entry].parameters else {}


def log_of(rewards: np.ndarray) -> pl.DataFrame:
    """Groups (n, G) as a log of rollouts."""
    prompts = np.repeat(np.arange(len(rewards)), rewards.shape[-1])
    return pl.DataFrame({"prompt": prompts, "reward": rewards.ravel()})


def _trained(case: Case, algorithm: ps.Algorithm) -> Iterator[dict[str, Any]]:
    bandit = WORLDS[case.world].instances(case.batch)
    start = (bandit.behavior * bandit.reward).sum(axis=-1)[:, 0]
    for optimizer, lag in product(OPTIMIZERS, STALE):
        for rate in RATES[optimizer]:
            settings = Group(case.world, optimizer, rate, lag, case.batch, ()).settings()
            found = simulate(bandit, algorithm, settings, [case.batch])
            measures = endings(found.value[-1, 0, :, 0], found.entropy[-1, 0, :, 0], start)
            for half in (0, 1):
                means = {name: float(each[half::2].mean()) for name, each in measures.items()}
                yield {"optimizer": optimizer, "rate": rate, "lag": lag, "half": half, **means}


@cache
def sampled(world: str) -> np.ndarray:
    """(GROUPS, GROUP_SIZE) rewards as observed, drawn from the behavior policies of a world's first batch.

    Groups whose rewards all agree are left out.
    """
    generator, bandit, noise = np.random.default_rng(0), WORLDS[world].instances(0), WORLDS[world].noise
    assert not isinstance(noise, VerifierNoise)
    groups: list[np.ndarray] = []
    number = 0
    while len(groups) < GROUPS:
        place = number % len(bandit.behavior), 0
        arms = generator.choice(bandit.arms, GROUP_SIZE, p=bandit.behavior[place])
        added = 0.0 if noise is None else noise.deviation * generator.standard_normal(GROUP_SIZE)
        rewards = bandit.reward[place][arms] + added
        groups += [rewards] if np.ptp(rewards) > 0 else []
        number += 1
    return np.stack(groups)


PROBED = ("shifted_mean", "grpo")


def probe() -> dict[str, float]:
    """Conservatism and outcomes of two objectives of different kinds in one world."""
    numbers = {}
    for name in PROBED:
        table = rows(Case(name, "published", "binary", 0)).filter(lag=400)
        for measure in ("movement", "implicit_gap", "value"):
            numbers[f"{name}: {measure}"] = float(table[measure].to_numpy().mean())
    return numbers
