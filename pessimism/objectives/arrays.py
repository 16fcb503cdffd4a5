"""Array functions that several coefficients share: averages over a group, minima."""

from __future__ import annotations

import math

from array_api_compat import array_namespace

from ..solve.simplex import Array


def average(values: Array, behavior: Array | None) -> Array:
    """E_w over the group, kept as (..., 1); equal weights where none are given."""
    xp = array_namespace(values)
    if behavior is None:
        return xp.mean(values, axis=-1, keepdims=True)
    return finite_average(xp.where(behavior > 0, values, xp.zeros_like(values)), behavior)


def finite_average(values: Array, behavior: Array | None) -> Array:
    """:func:`average` of values that are finite also where the weight is 0; elsewhere the group's average is NaN."""
    xp = array_namespace(values)
    if behavior is None:
        return xp.mean(values, axis=-1, keepdims=True)
    if values.shape[-1] == 1:  # one number for the whole group
        return values
    return xp.sum(behavior * values, axis=-1, keepdims=True) / xp.sum(behavior, axis=-1, keepdims=True)


def at_most(xp: object, values: Array, bound: float) -> Array:
    """min(values, bound), with no work where the bound is infinite."""
    return values if bound == math.inf else xp.where(values > bound, bound, values)  # type: ignore[attr-defined]
