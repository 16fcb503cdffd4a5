"""What every Lambert target is computed with: phi(x) = e^x - 1 - x, its two inverses, and sums over arms.

With kappa < 0 and v = |kappa| e^x, the stationarity condition x + kappa e^x = a reads phi(log v) = -1 - a - log|kappa|:
the W_0 branch is the negative inverse of phi and the W_-1 branch the positive one. Working with phi keeps both branches
accurate at the point where they meet (v = 1), where Lambert's W itself loses half of its digits. Derived here.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import wrightomega

from .simplex import expm1_minus

Array = NDArray[np.float64]

_HALLEY_STEPS = 3
_BLOCK = 512


def inner(left: Array, right: Array) -> Array:
    """Sum of left right over the last axis, both (..., K): in blocks, whose sums numpy adds pairwise.

    A running sum over many arms rounds each addition at the size of the whole, and equal arms round alike: at
    K = 2^17 that cost 900 machine epsilons.
    """
    cut = left.shape[-1] // _BLOCK * _BLOCK
    rest = np.vecdot(left[..., cut:], right[..., cut:])
    if not cut:
        return rest
    blocks = (*left.shape[:-1], -1, _BLOCK)
    return np.vecdot(left[..., :cut].reshape(blocks), right[..., :cut].reshape(blocks)).sum(axis=-1) + rest


def excess(log_ratio: ArrayLike) -> Array:
    """phi(x) = e^x - 1 - x >= 0 of anything like an array: :func:`pessimism.solve.simplex.expm1_minus` in float64.

    >>> print(round(float(excess(1e-8)) / 0.5e-16, 12))
    1.000000003333
    """
    return expm1_minus(np.asarray(log_ratio, dtype=np.float64))


def inverse_excess(value: ArrayLike, positive: bool, steps: int = _HALLEY_STEPS) -> Array:
    """The root l of phi(l) = value with l <= 0, or with l >= 0 when `positive`, elementwise for value >= 0.

    In Lambert's terms l = log(-W_0(-e^(-1-value))), or log(-W_-1(-e^(-1-value))) when `positive`. Each of the `steps`
    Halley iterations triples the correct digits of a start that is right to 5%: three reach rounding. Derived here.

    >>> bool(abs(float(inverse_excess(excess(-3.0), positive=False)) + 3.0) < 1e-14)
    True
    >>> bool(abs(float(inverse_excess(excess(700.0), positive=True)) - 700.0) < 1e-12)
    True
    """
    target = np.asarray(value, dtype=np.float64)
    p = np.sqrt(2.0 * target)
    if positive:
        root = np.log1p(p + target * 2.0 / 3.0)
        large = np.log1p(target + np.log1p(target))
        root = np.where(target > 20.0, large, root)
    else:
        root = np.expm1(-p - target / 3.0) - target
    for _ in range(steps):
        slope = np.expm1(root)
        # Newton's step; both vanish at the double root 0, which is then exact
        step = np.divide(excess(root) - target, slope, out=np.zeros_like(root), where=slope != 0.0)
        # Halley's correction, with phi'' / phi' = e^root / expm1(root)
        with np.errstate(over="ignore"):  # e^-root overflows far down the negative side, where the bend is 0
            bend = np.divide(step, -np.expm1(-root), out=np.zeros_like(root), where=slope != 0.0)
        root = root - step / (1.0 - 0.5 * bend)
    return root


def own_solution(advantage: Array, kappa: Array, coverage: Array | None) -> Array:
    """x + kappa h e^x = a arm by arm, by scipy's Wright omega: for arms without mass, and for the bracketed method."""
    h = np.ones(()) if coverage is None else coverage
    with np.errstate(all="ignore"):  # logarithms of zero, of branches that are not taken
        log_kappa = np.log(h * np.abs(kappa[..., None]))
        omega = wrightomega(advantage + log_kappa)
        above = np.where(omega > 1.0, np.log(omega) - log_kappa, advantage - omega)
        if (kappa > 0.0).all():
            return np.where(log_kappa == -np.inf, advantage, above)
        gap = -1.0 - log_kappa - advantage
        below = np.where(
            gap > 0.0, advantage + np.exp(inverse_excess(np.maximum(gap, 0.0), positive=False)), -log_kappa
        )
        return np.where(h * kappa[..., None] == 0.0, advantage, np.where(kappa[..., None] > 0.0, above, below))
