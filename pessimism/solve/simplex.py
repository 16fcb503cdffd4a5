"""Safe primitives on the simplex and in log space, for numpy and torch arrays alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

Array = Any
"""A numpy array or a torch tensor: what ``array_api_compat.array_namespace`` accepts."""

SUM_TOLERANCE = 1e-9
"""How far the sum of a policy may lie from one before it is refused."""

_SERIES_RADIUS, _SERIES_DEGREE, _WIDE_SERIES_DEGREE = 0.25, 13, 19
"""Where expm1(x) - x is summed as a series, and its last power in double and in extended precision."""


def expm1_minus(x: Array) -> Array:
    r"""$\varphi(x) = e^x - 1 - x \ge 0$, to a few rounding errors relative at every x.

    It is the integrand of the divergence $\mathrm{KL}(\mu\|\pi) = E_\mu[\varphi(\log \pi/\mu)]$, and what a
    log-mean-exp exceeds the mean by. For small x the difference cancels, so its series is summed there.

    Args:
        x: any shape, numpy or torch.

    Returns:
        Array of the same shape and type.

    >>> import numpy as np
    >>> float(expm1_minus(np.array(1e-9)))
    5.000000001666667e-19
    """
    xp = array_namespace(x)
    small = xp.abs(x) < _SERIES_RADIUS
    with np.errstate(over="ignore"):  # e^x beyond the largest float is correctly infinite
        value = xp.expm1(x) - x
    if not bool(xp.any(small)):
        return value
    near = xp.where(small, x, xp.zeros_like(x))
    series = xp.ones_like(x)
    for degree in range(_SERIES_DEGREE if xp.finfo(x.dtype).eps > 1e-18 else _WIDE_SERIES_DEGREE, 2, -1):
        series *= near
        series /= degree
        series += 1
    series *= 0.5 * near * near
    return xp.where(small, series, value)


def log(p: np.ndarray) -> np.ndarray:
    """Natural logarithm with log 0 = -inf and no warning."""
    with np.errstate(divide="ignore"):
        return np.log(p)


def expectation(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    r"""$\sum_y w(y)\,v(y)$ over the last axis, where arms of weight 0 count for nothing, whatever their value.

    Args:
        weights: (..., K), nonnegative.
        values: (..., K); may be infinite or NaN where the weight is 0.

    Returns:
        (...), pairwise summation (error grows like log K).

    >>> import numpy as np
    >>> float(expectation(np.array([0.5, 0.5, 0.0]), np.array([1.0, 3.0, -np.inf])))
    2.0
    """
    with np.errstate(invalid="ignore"):
        product = weights * values
    return np.where(weights == 0, 0.0, product).sum(axis=-1)


def log_expectation_exp(weights: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    r"""$\log \sum_y w(y)\,e^{z(y)}$ over the last axis without overflow; arms of weight 0 are ignored.

    Accurate also where the result is close to 0: if all |z| <= 1/2 it is log1p of the mean of expm1.

    >>> import numpy as np
    >>> float(log_expectation_exp(np.array([0.5, 0.5]), np.array([1000.0, 1000.0])))
    1000.0
    """
    exponents = np.where(weights == 0, -np.inf, exponents)
    top = exponents.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    small = np.abs(np.where(weights == 0, 0.0, exponents)).max(axis=-1) <= 0.5
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        shifted = top[..., 0] + np.log(expectation(weights, np.exp(exponents - top)))
        centered = np.log1p(expectation(weights, np.expm1(exponents)))
    return np.where(small, centered, shifted)


def plain(values: Any) -> Any:
    """A 0-d array or numpy scalar as a Python value; anything else as it is."""
    return values.item() if np.ndim(values) == 0 and hasattr(values, "item") else values


def any_arm(mask: np.ndarray) -> np.ndarray:
    """Whether any arm of each row is true: (..., K) -> (...)."""
    return np.asarray(mask.any(axis=-1))


def first_index(mask: np.ndarray) -> tuple[int, ...]:
    """Index of the first true element of a mask, as plain integers, for error messages."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape))


def check_finite(name: str, values: np.ndarray) -> None:
    """Raise a ValueError that names the first element of ``values`` that is NaN or infinite."""
    bad = ~np.isfinite(values)
    if bad.any():
        index = first_index(bad)
        raise ValueError(f"{name}[{_place(index)}] is {values[index]}; every entry must be a finite number")


def check_policy(name: str, policy: np.ndarray) -> None:
    """Raise a ValueError unless every row of ``policy`` (..., K) is a probability vector.

    Rows must be finite, nonnegative and sum to one within 1e-9; nothing is renormalized.

    >>> import numpy as np
    >>> check_policy("behavior", np.array([0.7, 0.7]))
    Traceback (most recent call last):
    ...
    ValueError: behavior sums to 1.4; each row must sum to 1 within 1e-09 (divide by the sum if that is meant)
    """
    check_finite(name, policy)
    if (policy < 0).any():
        index = first_index(policy < 0)
        raise ValueError(f"{name}[{_place(index)}] is {policy[index]:g}; probabilities must be >= 0")
    total = policy.sum(axis=-1)
    off = np.abs(total - 1) > SUM_TOLERANCE
    if off.any():
        index = first_index(np.atleast_1d(off))
        row = f"{name}[{_place(index)}]" if total.ndim else name
        value = np.atleast_1d(total)[index]
        raise ValueError(
            f"{row} sums to {value:.12g}; each row must sum to 1 within {SUM_TOLERANCE:g} "
            "(divide by the sum if that is meant)"
        )


def as_policy(name: str, values: np.ndarray, rounding: float) -> np.ndarray:
    """A policy (..., K) in double precision from one that was held with a coarser ``rounding`` unit.

    Rows of a coarser type that sum to one as nearly as that type can say are divided by their sum. What it can say: one
    unit for entries that were rounded to it, and a few units of single precision for every doubling of K, as a softmax
    adds up. Double precision is taken as it is.

    >>> import numpy as np
    >>> as_policy("behavior", np.float64(np.float32([0.1, 0.9])), 2.0**-23).sum() == 1
    np.True_
    """
    total = values.sum(axis=-1, keepdims=True)
    allowed = rounding + 4 * 2.0**-23 * (1 + np.log2(values.shape[-1]))
    if rounding < 1e-12 or not (np.abs(total - 1) <= allowed).all():
        return values
    return values / total


def _place(index: tuple[int, ...]) -> str:
    return ", ".join(str(i) for i in index)
