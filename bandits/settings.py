"""How a simulated run is trained: lag, groups, reuse of data, optimizer, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from .noise import GaussianNoise, Noise

__all__ = ["OPTIMIZERS", "Optimizer", "Settings"]

Optimizer = Literal["sgd", "normalized", "adam"]
"""What takes a step: plain gradients, gradients divided by their norm, or Adam."""

OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "normalized", "adam")
"""Every optimizer, by name."""


@dataclass(frozen=True)
class Settings:
    r"""Settings of a lagged run.

    Once per sync the behavior policy becomes the current one and draws the data of the window: ``groups`` groups of
    ``group_size`` samples in every context, split into ``minibatches`` equal parts that the window's ``lag`` optimizer
    steps take in turn. So groups = minibatches = lag is fresh data in every step, and groups = minibatches = 1 one
    group used ``lag`` times.

    Attributes:
        syncs: number of windows, >= 1.
        lag: optimizer steps between syncs, >= 1; 1 is on-policy.
        learning_rate: multiplies the update $E_\mu[c\,\nabla\log\pi]$, > 0. (The published loss's own constant factor,
            ``Algorithm.scale``, is left out.)
        group_size: samples in a group, >= 1; None for exact gradients.
        groups: groups drawn per context and sync; 1 with exact gradients.
        minibatches: parts of the data that steps take in turn, at most ``lag``, and a divisor of ``groups``.
        replay: number of latest behavior policies whose data are in use, >= 1; 1 is the current one only.
        optimizer: "sgd", "normalized" (steps of length ``learning_rate`` over all contexts of a run together) or
            "adam" (PyTorch's defaults; its moments live through syncs).
        clip_norm: longest gradient of a run, over all its contexts; longer ones are shortened to it before the
            optimizer sees them. None: none is. (Clipping of ratios is part of an algorithm, as in "ppo".)
        noise: of the observed rewards, or None. Gaussian noise needs samples.
        record_every: syncs per record; the last sync is always recorded.
        targets: whether to record the distances to the induced and nominal targets, which is cheap only for
            algorithms that have them in closed form.

    Raises:
        ValueError: a setting out of range, or a combination that is impossible.

    >>> Settings(lag=10, minibatches=5, groups=5, group_size=8).epochs
    2.0
    >>> Settings(lag=0)
    Traceback (most recent call last):
    ...
    ValueError: lag is 0; it must be a whole number >= 1
    """

    syncs: int = 1
    lag: int = 1
    learning_rate: float = 0.1
    group_size: int | None = None
    groups: int = 1
    minibatches: int = 1
    replay: int = 1
    optimizer: Optimizer = "sgd"
    clip_norm: float | None = None
    noise: Noise | None = None
    record_every: int = 1
    targets: bool = True

    def __post_init__(self) -> None:
        for name in ("syncs", "lag", "groups", "minibatches", "replay", "record_every"):
            _check_count(name, getattr(self, name))
        if self.group_size is not None:
            _check_count("group_size", self.group_size, " (or None for exact gradients)")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be a finite number > 0")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}; it must be one of {', '.join(OPTIMIZERS)}")
        if self.clip_norm is not None:
            self._check_clip_norm(self.clip_norm)
        if self.group_size is None and self.groups > 1:
            raise ValueError(f"groups is {self.groups}, but exact gradients (group_size None) have one group only")
        if self.group_size is None and isinstance(self.noise, GaussianNoise):
            raise ValueError("noise is Gaussian, but exact gradients (group_size None) draw no samples to put it on")
        if self.groups % self.minibatches:
            raise ValueError(f"minibatches is {self.minibatches}; it must divide groups, which is {self.groups}")
        if self.minibatches > self.lag:
            raise ValueError(f"minibatches is {self.minibatches}, but lag leaves only {self.lag} steps to use them in")

    def _check_clip_norm(self, longest: float) -> None:
        if not (math.isfinite(longest) and longest > 0):
            raise ValueError(f"clip_norm is {longest}; it must be a finite number > 0 (or None for no clipping)")
        if self.optimizer == "normalized":
            raise ValueError(f"clip_norm is {longest}, but normalized steps have one length whatever the gradient's")

    @property
    def epochs(self) -> float:
        """How often a window passes through its own data."""
        return self.lag / self.minibatches

    @property
    def records(self) -> int:
        """Number of records of a run."""
        return -(-self.syncs // self.record_every)

    def is_recorded(self, sync: int) -> bool:
        """Whether the state after this sync's window (counted from 1) is recorded."""
        return sync % self.record_every == 0 or sync == self.syncs


def _check_count(name: str, value: object, otherwise: str = "") -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number >= 1{otherwise}")
