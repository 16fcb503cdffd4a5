"""Which runs there are: worlds, optimizers, cells. Plain data; docs/experiment.md says why these."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from types import MappingProxyType

import numpy as np

import pessimism as ps
from pessimism.objectives.residual import residual_coefficient

from ..instances import sparse
from ..noise import GaussianNoise, Noise
from ..sequences import SequenceTree, random_sequences
from ..settings import Optimizer, Settings

BETA = 0.1
DELTA = 1.0
GROUP_SIZE = 8
STEPS = 1200
RECORDS = 3
"""Records of a run, at equal steps whatever the lag."""

INSTANCES = 16
"""Of a batch, one run each."""

BLOCK = 2
"""Instances whose means are kept together: the replicate of the analysis."""

DOSES = (0.0, 0.5, 1.0, 2.0)
WEIGHTS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"1": (0.0, math.inf), "min(ρ, 2)": (1.0, 2.0), "ρ": (1.0, math.inf)}
)
"""Name of h -> power and cap."""

LAGS = (1, 20, 100, 400)
OFFSETS = (-2.0, -0.5, 0.5, 2.0)

RATES: Mapping[Optimizer, tuple[float, ...]] = MappingProxyType(
    {"sgd": (0.5, 2.0, 8.0, 32.0), "adam": (0.003, 0.012, 0.05, 0.2), "normalized": (0.01, 0.04, 0.16, 0.64)}
)

LANDMARKS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "shifted_mean": {"beta": BETA},
        "oapl": {"beta1": 1.0, "beta2": BETA},
        "centered_regression": {"beta": BETA},
        "grpo": {},
    }
)


@dataclass(frozen=True)
class World:
    """Instances of one kind.

    Attributes:
        make: seed -> one instance.
        noise: of the observed rewards.
        tree: of the completions, where arms are those.
    """

    make: Callable[[int], ps.Bandit]
    noise: Noise | None = None
    tree: Callable[[], SequenceTree] | None = None

    def instances(self, batch: int) -> ps.Bandit:
        """Those of a batch, side by side: batch shape (INSTANCES, 1)."""
        made = [self.make(batch * INSTANCES + number) for number in range(INSTANCES)]
        return ps.Bandit(np.stack([b.behavior for b in made])[:, None], np.stack([b.reward for b in made])[:, None])


def binary(seed: int) -> ps.Bandit:
    """A hundred arms, ten rewarded."""
    return sparse(arms=100, rewarded=10, seed=seed)


def graded(seed: int) -> ps.Bandit:
    """The behavior policy of `binary`, rewards uniform on [0, 1]."""
    return ps.Bandit(binary(seed).behavior, np.random.default_rng([seed, 1]).uniform(size=100))


def many_arms(seed: int) -> ps.Bandit:
    """A thousand arms, thirty rewarded."""
    return sparse(arms=1000, rewarded=30, seed=seed)


def sequences(seed: int) -> ps.Bandit:
    """121 completions, with a reward of its own each."""
    return random_sequences(vocabulary=4, longest=4, seed=seed).bandit


@cache
def completions() -> SequenceTree:
    """Of `sequences`."""
    return SequenceTree(vocabulary=4, longest=4)


WORLDS: Mapping[str, World] = MappingProxyType(
    {
        "binary": World(binary),
        "noise 1": World(binary, GaussianNoise(1.0)),
        "graded": World(graded),
        "noise .3": World(binary, GaussianNoise(0.3)),
        "many arms": World(many_arms),
        "sequences": World(sequences, tree=completions),
    }
)

ORDER: tuple[tuple[str, Optimizer], ...] = (
    ("binary", "sgd"),
    ("noise 1", "sgd"),
    ("graded", "sgd"),
    ("binary", "adam"),
    ("noise 1", "adam"),
    ("graded", "adam"),
    ("binary", "normalized"),
    ("noise .3", "sgd"),
    ("noise .3", "adam"),
    ("many arms", "sgd"),
    ("sequences", "sgd"),
    ("sequences", "adam"),
)
"""Worlds with the optimizers that they are trained with, what tells most first."""

OFFSET_WORLDS = ("binary",)
LANDMARK_WORLDS = ("binary", "noise 1")


@dataclass(frozen=True)
class Cell:
    """One member of the residual family: dose, name of the weight, offset; or a landmark by its name."""

    objective: str = "residual"
    dose: float = 1.0
    weight: str = "1"
    offset: float = 0.0


@dataclass(frozen=True)
class Group:
    """Cells that are trained one way in one world on the instances of one batch, with the same random numbers.

    They run side by side in one simulation: a residual group, or one landmark.
    """

    world: str
    optimizer: Optimizer
    rate: float
    lag: int
    batch: int
    cells: tuple[Cell, ...]

    def settings(self) -> Settings:
        """A fresh group of samples in every step."""
        return Settings(
            syncs=STEPS // self.lag,
            lag=self.lag,
            learning_rate=self.rate,
            group_size=GROUP_SIZE,
            groups=self.lag,
            minibatches=self.lag,
            optimizer=self.optimizer,
            noise=WORLDS[self.world].noise,
            record_every=max(1, STEPS // self.lag // RECORDS),
            targets=False,
        )


def side_by_side(cells: Sequence[Cell], rows: int) -> ps.Algorithm:
    r"""One algorithm for flat batches in which every cell has so many rows, cell by cell.

    For a residual cell $h(\rho)(c - \hat\lambda - s\hat\lambda(\rho - 1)) + o\rho$ with c of the shifted mean; the last
    term changes no expected update, as $E_\mu[\rho\nabla\log\pi] = 0$, and is noise alone.

    Raises:
        ValueError: a landmark that is not alone.
    """
    if any(cell.objective != "residual" for cell in cells):
        if len(cells) > 1:
            raise ValueError(f"{cells[0].objective} and another objective cannot run side by side")
        return ps.algorithm(cells[0].objective, **LANDMARKS[cells[0].objective])

    def column(values: Iterable[float]) -> np.ndarray:
        return np.repeat(np.array(list(values)), rows)[:, None, None]

    power, cap = (column(WEIGHTS[cell.weight][place] for cell in cells) for place in (0, 1))
    offset, dose = column(cell.offset for cell in cells), column(cell.dose for cell in cells)
    plain = ps.algorithm("residual_regression", beta=BETA, delta=DELTA, group_size=GROUP_SIZE)
    base = ps.algorithm("shifted_mean", beta=BETA, delta=DELTA)
    error = partial(
        residual_coefficient,
        base=base.coefficient, restoring=BETA, power=0.0, cap=math.inf, dose=dose, group_size=GROUP_SIZE,  # type: ignore[arg-type]
    )  # fmt: skip

    def coefficient(log_ratio: np.ndarray, advantage: np.ndarray, *, behavior: np.ndarray | None = None) -> np.ndarray:
        weight = np.exp(power * np.minimum(log_ratio, np.log(cap)))
        return weight * error(log_ratio, advantage) + offset * np.exp(log_ratio)  # samples of a group count alike

    return replace(plain, coefficient=coefficient, name="residual cells", induced=None, nominal=None)


def groups(batch: int) -> Iterator[Group]:
    """All of a batch. Pairs of world and optimizer are outermost, so that a stop within a batch leaves whole ones.

    Landmarks, which are not compiled and take as long as all the rest, are last.
    """
    for world, optimizer in ORDER:
        for lag, rate in product(LAGS, RATES[optimizer]):
            yield Group(world, optimizer, rate, lag, batch, tuple(_residual_cells(world, optimizer, lag)))
    for world, optimizer in ORDER:
        if world in LANDMARK_WORLDS and optimizer != "normalized":
            for lag, rate, name in product(LAGS, RATES[optimizer], LANDMARKS):
                yield Group(world, optimizer, rate, lag, batch, (Cell(name),))


def _residual_cells(world: str, optimizer: Optimizer, lag: int) -> Iterator[Cell]:
    """At lag 1 there is no ratio but one: dose and weight make no difference."""
    if lag == 1:
        yield Cell()
    else:
        yield from (Cell(dose=dose, weight=weight) for dose in DOSES for weight in WEIGHTS)
    if world in OFFSET_WORLDS and optimizer != "normalized":
        doses = (1.0,) if lag == 1 else (0.0, 1.0)
        yield from (Cell(dose=dose, offset=offset) for dose in doses for offset in OFFSETS)
