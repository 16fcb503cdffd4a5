"""What a sweep is: bandits, algorithms and settings by name, and every combination of them a cell."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

import pessimism as ps
from pessimism.shell import is_object_name, load_object, near
from pessimism.studies import digest

from ..instances import INSTANCES
from ..settings import Settings
from ..trajectory import Trajectory

MEASURES = tuple(item.name for item in fields(Trajectory) if item.name not in ("sync", "policy", "diverged"))
"""What can be kept of a trajectory's records, one column each."""

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class BanditSpec:
    """A bandit by name: one of `bandits.instances`, or a function or object of yours as ``module:name``.

    Attributes:
        name: its name.
        parameters: what its function is called with.
        draws: how many independent draws of it, made with ``seed`` = 0, 1, ..., run side by side as separate worlds;
            None for the one bandit that the function returns.

    >>> bandit("sparse", draws=3, arms=20).build().batch_shape
    (3, 1)
    """

    name: str
    parameters: Parameters = field(default_factory=dict)
    draws: int | None = None

    def build(self) -> ps.Bandit:
        """The bandit. With ``draws``: batch shape (draws, contexts).

        Raises:
            ValueError: an unknown name or parameter, a value out of range, draws of a bandit that takes no seed.
        """
        if self.draws is None:
            return self._one()
        if not isinstance(self.draws, int) or self.draws < 1:
            raise ValueError(f"draws is {self.draws!r}; it must be a whole number >= 1")
        if "seed" in self.parameters:
            raise ValueError(f"bandit {self.name!r} has draws and a seed; draws are made with seeds 0, 1, ...")
        return _side_by_side([self._one(seed=seed) for seed in range(self.draws)])

    def _one(self, **more: object) -> ps.Bandit:
        parameters = {**self.parameters, **more}
        if is_object_name(self.name):
            return load_object(self.name, ps.Bandit, **parameters)
        if self.name not in INSTANCES:
            raise ValueError(f"unknown bandit {self.name!r}; {near(self.name, INSTANCES)}")
        instance = INSTANCES[self.name]
        try:
            inspect.signature(instance).bind(**parameters)
        except TypeError as error:
            raise ValueError(f"bandit {self.name}{inspect.signature(instance)}: {error}") from None
        return instance(**parameters)

    def __str__(self) -> str:
        more = {} if self.draws is None else {"draws": self.draws}
        return _call(self.name, {**self.parameters, **more})


@dataclass(frozen=True)
class AlgorithmSpec:
    """An algorithm by name: one of the catalogue, or an ``Algorithm`` of yours as ``module:name``.

    Attributes:
        name: its name.
        parameters: what ``pessimism.algorithm`` (or your function) is called with.
        baseline_of: another algorithm whose baseline it gets, e.g. the one whose twin it is; None: its own.

    >>> shifted = algorithm("shifted_mean", beta=0.5)
    >>> print(algorithm("is_regression", baseline_of=shifted, beta=0.5).build().baseline.formula)
    V = E r - 0.5
    """

    name: str
    parameters: Parameters = field(default_factory=dict)
    baseline_of: AlgorithmSpec | None = None

    def build(self) -> ps.Algorithm:
        """The algorithm.

        Raises:
            ValueError: an unknown name or parameter, or a value out of range.
        """
        if is_object_name(self.name):
            made = load_object(self.name, ps.Algorithm, **self.parameters)
        else:
            made = ps.algorithm(self.name, **self.parameters)
        return made if self.baseline_of is None else replace(made, baseline=self.baseline_of.build().baseline)

    @property
    def names(self) -> list[str]:
        """Its name, and that of the algorithm whose baseline it gets."""
        return [self.name] if self.baseline_of is None else [self.name, *self.baseline_of.names]

    def __str__(self) -> str:
        more = {} if self.baseline_of is None else {"baseline_of": self.baseline_of}
        return _call(self.name, {**self.parameters, **more})


def bandit(name: str, *, draws: int | None = None, **parameters: object) -> BanditSpec:
    """A :class:`BanditSpec` with its parameters as keywords."""
    return BanditSpec(name, parameters, draws)


def algorithm(name: str, *, baseline_of: AlgorithmSpec | None = None, **parameters: object) -> AlgorithmSpec:
    """An :class:`AlgorithmSpec` with its parameters as keywords."""
    return AlgorithmSpec(name, parameters, baseline_of)


@dataclass(frozen=True)
class Cell:
    """One bandit, algorithm and settings with its seeds 0, ..., seeds - 1: what is computed and kept as a whole."""

    bandit: BanditSpec
    algorithm: AlgorithmSpec
    settings: Settings
    seeds: int
    measures: tuple[str, ...] = MEASURES

    def key(self, provenance: str) -> str:
        """Name of the cell's results: a hash of everything that determines its numbers.

        Args:
            provenance: what determines them besides the cell, see :func:`bandits.sweeps.provenance.provenance`.
        """
        return digest([provenance, asdict(self)])

    def described(self) -> dict[str, str]:
        """The cell in words: its bandit, its algorithm, its seeds and the settings that are not the default."""
        found = {item.name: (getattr(self.settings, item.name), item.default) for item in fields(Settings)}
        changed = {name: str(value) for name, (value, default) in found.items() if value != default}
        return {"bandit": str(self.bandit), "algorithm": str(self.algorithm), **changed, "seeds": str(self.seeds)}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.described().items())


@dataclass(frozen=True)
class Sweep:
    """A grid: every bandit with every algorithm under every variation of the settings.

    Attributes:
        name: lower-case letters, digits, ``_``, ``-`` and ``.``; results are filed under it.
        shows: what one learns from it, in a sentence.
        bandits, algorithms: by name.
        settings: what all cells have in common.
        variations: one cell each: fields of `Settings` and the values that replace the common ones. Write them as a
            list, or make them with :func:`product`.
        seeds: runs per cell (and world).
        measures: the trajectory's columns to keep.

    >>> lags = product(lag=[1, 9])
    >>> sweep = Sweep("demo", "Lag.", [bandit("three_arm")], [algorithm("reinforce")], variations=lags)
    >>> [cell.settings.lag for cell in sweep.cells()]
    [1, 9]
    """

    name: str
    shows: str
    bandits: Sequence[BanditSpec]
    algorithms: Sequence[AlgorithmSpec]
    settings: Settings = Settings()  # noqa: RUF009 - a frozen value
    variations: Sequence[Parameters] = ({},)
    seeds: int = 1
    measures: Sequence[str] = MEASURES

    def cells(self) -> list[Cell]:
        """The cells, in the order in which their rows are kept; all of them checked.

        Raises:
            ValueError: an axis without values, an unknown bandit, algorithm, parameter, setting or measure, an
                impossible setting, or two cells that are the same. The message names the cell.
        """
        self._check()
        cells = [
            Cell(bandit, algorithm, self._settings(bandit, algorithm, variation), self.seeds, tuple(self.measures))
            for bandit, algorithm, variation in itertools.product(self.bandits, self.algorithms, self.variations)
        ]
        seen: dict[str, Cell] = {}
        for cell in cells:
            if seen.setdefault(cell.key(""), cell) is not cell:
                raise ValueError(f"sweep {self.name}: two cells are the same: {cell}")
        return cells

    def with_seeds(self, seeds: int) -> Sweep:
        """The same sweep with another number of runs per cell."""
        return replace(self, seeds=seeds)

    def _check(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"sweep name {self.name!r}: it must be made of a-z, 0-9, _, - and .")
        for axis in ("bandits", "algorithms", "variations", "measures"):
            if not getattr(self, axis):
                raise ValueError(f"sweep {self.name}: {axis} is empty; it must have at least one value")
        if not isinstance(self.seeds, int) or isinstance(self.seeds, bool) or self.seeds < 1:
            raise ValueError(f"sweep {self.name}: seeds is {self.seeds!r}; it must be a whole number >= 1")
        for measure in self.measures:
            if measure not in MEASURES:
                raise ValueError(f"sweep {self.name}: unknown measure {measure!r}; {near(measure, MEASURES)}")
        for spec in (*self.bandits, *self.algorithms):
            try:
                spec.build()
            except ValueError as error:
                raise ValueError(f"sweep {self.name}, {spec}: {error}") from None

    def _settings(self, bandit: BanditSpec, algorithm: AlgorithmSpec, variation: Parameters) -> Settings:
        known = [item.name for item in fields(Settings)]
        for name in variation:
            if name not in known:
                raise ValueError(f"sweep {self.name}: unknown setting {name!r}; {near(name, known)}")
        try:
            return replace(self.settings, **variation)
        except ValueError as error:
            place = f"{bandit}, {algorithm}, {_listed(variation)}"
            raise ValueError(f"sweep {self.name}, cell {place}: {error}") from None


def product(**axes: Sequence[object]) -> list[Parameters]:
    """Variations of settings: every combination of the axes' values, the last axis fastest.

    Raises:
        ValueError: an axis without values.

    >>> product(lag=[1, 10], group_size=[8])
    [{'lag': 1, 'group_size': 8}, {'lag': 10, 'group_size': 8}]
    """
    for name, values in axes.items():
        if not values:
            raise ValueError(f"axis {name} is empty; it must have at least one value")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _side_by_side(bandits: Sequence[ps.Bandit]) -> ps.Bandit:
    def stacked(arrays: list[np.ndarray]) -> np.ndarray:
        stack = np.stack(arrays)
        return stack[:, None] if stack.ndim == 2 else stack  # the last batch axis is that of the contexts

    references = [bandit.reference for bandit in bandits if bandit.reference is not None]
    return ps.Bandit(
        stacked([bandit.behavior for bandit in bandits]),
        stacked([bandit.reward for bandit in bandits]),
        stacked(references) if references else None,
    )


def _call(name: str, arguments: Mapping[str, object]) -> str:
    return f"{name}({_listed(arguments)})" if arguments else name


def _listed(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items())
