"""The problem: a behavior policy and rewards over K arms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .display import brief, brief_html
from .solve.numbers import as_float64, rounding_of
from .solve.simplex import as_policy, check_finite, check_policy, first_index, log

LARGEST_REWARD = 1e305
"""Rewards larger in size are refused."""


@dataclass(frozen=True, eq=False)
class Bandit:
    r"""A (batch of) one-step decision problem(s): data from $\mu$ = ``behavior``, reward $r$ for every arm.

    For language models an arm is a whole completion and one row is one prompt.

    Args:
        behavior: $\mu$, shape (..., K): the policy that generated the data. Arms of probability 0 are allowed.
        reward: $r$, shape (..., K), in any unit; temperatures are in the same unit.
        reference: $\pi_{ref}$, shape (..., K), or None: the anchor of the log-ratio where it is not the behavior
            policy (a frozen reference model). It must be positive wherever the behavior policy is.
        proximal: shape (..., K), or None: the policy that log-ratios are measured from where a trainer recomputes the
            "old" log-probabilities (decoupled PPO): clipping is then around it, while the data are from the behavior
            policy. It must be positive wherever the behavior policy is.

    The leading (batch) shapes are broadcast against each other. Arrays are held as float64 and read-only.

    Raises:
        ValueError: what are no real numbers (text, complex numbers, dates, masked entries), NaN or infinite entries,
            rewards beyond 1e305 in size, negative probabilities, rows that do not sum to one within 1e-9,
            shapes that do not match, no arm at all. Nothing is renormalized, except policies held in float32, float16
            or bfloat16 (numpy arrays, or torch tensors, gradients or not) that sum to one as nearly as that type can
            say: these are divided by their sum in double precision.

    >>> bandit = Bandit(behavior=[0.5, 0.3, 0.2], reward=[0, 0, 1])
    >>> bandit.arms, bandit.batch_shape
    (3, ())
    >>> Bandit(behavior=[0.5, 0.5], reward=[0, float("nan")])
    Traceback (most recent call last):
    ...
    ValueError: reward[1] is nan; every entry must be a finite number
    """

    behavior: np.ndarray
    reward: np.ndarray
    reference: np.ndarray | None = None
    proximal: np.ndarray | None = None

    def __init__(
        self,
        behavior: ArrayLike,
        reward: ArrayLike,
        reference: ArrayLike | None = None,
        proximal: ArrayLike | None = None,
    ) -> None:
        given = {"behavior": behavior, "reward": reward}
        others = {"reference": reference, "proximal": proximal}
        given |= {name: policy for name, policy in others.items() if policy is not None}
        arrays = {name: _as_rows(name, value) for name, value in given.items()}
        for name in set(arrays) - {"reward"}:
            arrays[name] = as_policy(name, arrays[name], rounding_of(given[name]))
        _check_arms(arrays)
        check_policy("behavior", arrays["behavior"])
        check_finite("reward", arrays["reward"])
        _check_size(arrays["reward"])
        for name in set(others) & set(arrays):
            check_policy(name, arrays[name])
        shape = _common_shape(arrays)
        for name, array in arrays.items():
            view = np.broadcast_to(array, shape)
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        for name in others:
            if name not in arrays:
                object.__setattr__(self, name, None)
                continue
            uncovered = (self.behavior > 0) & (arrays[name] == 0)
            if uncovered.any():
                index = ", ".join(map(str, first_index(uncovered)))
                raise ValueError(f"{name}[{index}] is 0 where behavior is positive; the log-ratio is undefined there")

    @property
    def arms(self) -> int:
        """Number of arms K."""
        return self.behavior.shape[-1]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the batch: everything but the last axis."""
        return self.behavior.shape[:-1]

    @property
    def anchor(self) -> np.ndarray:
        """The policy from which log-ratios are measured: the reference if there is one, else the behavior policy."""
        return self.behavior if self.reference is None else self.reference

    @cached_property
    def log_behavior(self) -> np.ndarray:
        """log of the behavior policy (..., K); -inf on arms it never plays."""
        return log(self.behavior)

    def __len__(self) -> int:
        """Bandits along the first axis of the batch; one bandit alone has none (its ``arms`` are its arms)."""
        if not self.batch_shape:
            raise TypeError("this is one bandit, not a batch; .arms is the number of its arms")
        return self.batch_shape[0]

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: Any) -> Bandit:
        """The bandit, or the batch, at an index of the batch's axes.

        >>> Bandit([[0.5, 0.5], [0.2, 0.8]], [0, 1])[1]
        Bandit(behavior=[0.2, 0.8], reward=[0., 1.])
        """
        rows = batch_rows(self.batch_shape, index, "bandit")
        others = (None if policy is None else policy[rows] for policy in (self.reference, self.proximal))
        return Bandit(self.behavior[rows], self.reward[rows], *others)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies are made and checked as any other bandit is, so that their arrays are read-only too."""
        return Bandit, (self.behavior, self.reward, self.reference, self.proximal)

    def _contents(self) -> dict[str, Any]:
        if self.batch_shape:
            others = {"reference": self.reference, "proximal policy": self.proximal}
            given = "".join(f", {name} given" for name, policy in others.items() if policy is not None)
            return {"batch": f"{self.arms} arms, batch shape {self.batch_shape}{given}"}
        named = {"behavior": self.behavior, "reward": self.reward, "reference": self.reference}
        return named | ({} if self.proximal is None else {"proximal": self.proximal})

    def __repr__(self) -> str:
        return f"Bandit({self._contents()['batch']})" if self.batch_shape else brief(self)

    _repr_html_ = brief_html


def batch_rows(shape: tuple[int, ...], index: Any, what: str) -> Any:
    """The index, if it is one of a batch's axes; the arms, on the axis behind them, cannot be indexed with it.

    Raises:
        TypeError: there is no batch.
        IndexError: an index beyond it, or with more axes than it has.
    """
    if not shape:
        raise TypeError(f"this is one {what}, not a batch; its arrays are indexed by arm")
    np.empty(shape, bool)[index]
    return index


def _as_rows(name: str, value: ArrayLike) -> np.ndarray:
    array = as_float64(name, value).copy()  # what was validated cannot change
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; it must be (..., K) with at least one arm and one row")
    return array


def _check_size(reward: np.ndarray) -> None:
    large = np.abs(reward) > LARGEST_REWARD
    if large.any():
        index = first_index(large)
        place = ", ".join(map(str, index))
        raise ValueError(
            f"reward[{place}] is {reward[index]:g}; rewards beyond {LARGEST_REWARD:g} in size have differences that "
            "leave floating point"
        )


def _check_arms(arrays: dict[str, np.ndarray]) -> None:
    arms = {name: array.shape[-1] for name, array in arrays.items()}
    if len(set(arms.values())) > 1:
        raise ValueError(
            "the number of arms (last axis) differs: " + ", ".join(f"{n} has {k}" for n, k in arms.items())
        )


def _common_shape(arrays: dict[str, np.ndarray]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"batch shapes do not broadcast: {shapes}") from None
