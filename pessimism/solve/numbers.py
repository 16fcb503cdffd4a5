"""Input arrays: real numbers of any numeric type to float64, or one ValueError that says what they are instead."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

WORDS = {"c": "complex numbers", "M": "dates", "m": "time differences", "U": "text", "S": "bytes", "V": "records"}
"""Kinds of numpy arrays that hold no real numbers, although numpy converts most of them without an error."""


def as_float64(name: str, value: object) -> np.ndarray:
    """The real numbers in ``value`` (a number, nested lists, a numpy array, a torch tensor) as a float64 array.

    Tensors are taken from any device and out of any gradient's graph. The array may share memory with ``value``.

    Raises:
        ValueError: ragged lists, masked entries, complex numbers, dates, text, and integers beyond the floats.

    >>> as_float64("reward", [0, 1])
    array([0., 1.])
    >>> as_float64("reward", np.array([0, 1j]))
    Traceback (most recent call last):
    ...
    ValueError: reward is not an array of numbers of one shape: it holds complex numbers
    """
    try:
        given = _as_numpy(value)
        _check_kind(given)
        plain = given.astype(np.float64, copy=False)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} is not an array of numbers of one shape: {error}") from None
    _check_mask(name, plain)
    return np.asarray(plain)


def rounding_of(value: Any) -> float:
    """The rounding unit of what an array or a tensor is held in, float64's for anything else.

    >>> rounding_of(np.ones(2, np.float32)) == 2.0**-23, rounding_of([0.5, 0.5]) == 2.0**-52
    (True, True)
    """
    kind = str(getattr(value, "dtype", "")).rpartition(".")[2]
    return {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}.get(kind, 2.0**-52)


def check_real(name: str, array: Any) -> None:
    """Raise a ValueError unless a numpy array or a torch tensor holds real numbers, every one of them there.

    >>> check_real("reward", np.ma.array([0.0, 1.0], mask=[False, True]))
    Traceback (most recent call last):
    ...
    ValueError: reward[1] is masked; every entry must be a finite number
    """
    if not isinstance(array, np.ndarray):
        array = np.empty(0, np.complex128 if "complex" in str(array.dtype) else np.float64)
    try:
        _check_kind(array)
    except ValueError as error:
        raise ValueError(f"{name} is not an array of numbers of one shape: {error}") from None
    _check_mask(name, array)


def _as_numpy(value: Any) -> np.ndarray:
    """A numpy array of whatever type; of a tensor in float64, as numpy has no bfloat16."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        return tensor.numpy() if "complex" in str(tensor.dtype) else tensor.double().numpy()
    if isinstance(value, np.ndarray):
        return value
    with warnings.catch_warnings():  # of tensors in a list, which numpy warns about before it refuses them
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.asarray(value)


def _check_kind(array: np.ndarray) -> None:
    if array.dtype.kind in WORDS:
        raise ValueError(f"it holds {WORDS[array.dtype.kind]}")
    if array.dtype.kind == "O":
        words = [entry for entry in array.flat if isinstance(entry, (str, bytes))]
        if words:
            raise ValueError(f"it holds text, {words[0]!r}")


def _check_mask(name: str, array: np.ndarray) -> None:
    if np.ma.is_masked(array):
        index = ", ".join(str(int(i)) for i in np.argwhere(np.ma.getmaskarray(array))[0])
        raise ValueError(f"{name}[{index}] is masked; every entry must be a finite number")
