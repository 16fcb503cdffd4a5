"""Claims about shifts and scales of the rewards."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from .case import Case
from .claim import claim, claims_in
from .families import MODERATE
from .support import HERE, SOLVED, Array, combined, induced, over_arms, pessimistic, relative
from .symbolic import is_zero, positive_symbols, real_symbols


def _equivariance_shift_proof() -> bool:
    """Mean and soft value move with the rewards: r - V is unchanged, two arms."""
    import sympy as sp

    beta, mu, shift = positive_symbols("beta mu a")
    one, two = real_symbols("one two")

    def soft(r1: Any, r2: Any) -> Any:
        return beta * sp.log(mu * sp.exp(r1 / beta) + (1 - mu) * sp.exp(r2 / beta))

    def mean(r1: Any, r2: Any) -> Any:
        return mu * r1 + (1 - mu) * r2

    moved = sp.exp((soft(one + shift, two + shift) - soft(one, two)) / beta)
    return is_zero(moved - sp.exp(shift / beta)) and is_zero(mean(one + shift, two + shift) - mean(one, two) - shift)


@claim(
    "equivariance.shift",
    HERE,
    MODERATE,
    SOLVED,
    proof=_equivariance_shift_proof,
    proves="baselines move with the rewards, for two arms",
)
def shift_equivariance(case: Case) -> Array:
    """Adding a constant to all rewards leaves targets unchanged for relative baselines.

    Check: r -> r + a leaves targets and lambda unchanged for relative baselines; on rewards that add without
    rounding.
    """
    seen, found = case.bandit.behavior > 0, []
    unit = 2.0 ** np.ceil(np.log2(np.maximum(np.abs(case.bandit.reward).max(), 1e-300)))
    grid = unit * 2.0**-26
    bandit = case.with_reward(np.round(case.bandit.reward / grid) * grid).bandit
    shift = 8 * unit
    moved = Bandit(bandit.behavior, bandit.reward + shift)
    for chosen in [*pessimistic(case), algorithm("opmd", tau=case.beta)]:
        before, after = induced(bandit, chosen), induced(moved, chosen)
        difference = np.where(seen, after.log_ratio - before.log_ratio, 0.0)
        scale = 1 + shift / case.beta
        found.append(over_arms(np.abs(difference) / scale, seen))
        change = np.asarray(after.normalizer) - np.asarray(before.normalizer)
        found.append(relative(change, np.abs(np.asarray(before.normalizer)), shift, case.beta))
    return combined(*found)


def _equivariance_scale_proof() -> bool:
    """Scaling reward, beta, V and lambda by s multiplies the target's equation by s."""
    import sympy as sp

    s, beta, lam, rho = positive_symbols("s beta lambda rho")
    reward, baseline = real_symbols("r V")

    def _equation_proof(scale: Any) -> Any:
        return scale * beta * sp.log(rho) + scale * lam * rho - (scale * reward - scale * baseline)

    return is_zero(_equation_proof(s) - s * _equation_proof(1))


@claim("equivariance.scale", HERE, MODERATE, SOLVED, proof=_equivariance_scale_proof, proves="the equation")
def scale_equivariance(case: Case) -> Array:
    """Scaling rewards, temperatures and baseline together leaves the target and scales lambda.

    Check: (r, beta, V) -> (s r, s beta, s V) leaves the target and takes lambda to s lambda; s a power of two is
    exact.
    """
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    for factor in (2.0**-20, 2.0**9):
        moved = Case("", Bandit(bandit.behavior, factor * bandit.reward), factor * case.beta, case.ratio, case.offset)
        for one, other in zip(pessimistic(case), pessimistic(moved), strict=True):
            before, after = induced(bandit, one), induced(moved.bandit, other)
            difference = np.where(seen, after.log_ratio - before.log_ratio, 0.0)
            found.append(over_arms(np.abs(difference) / (1 + np.abs(np.where(seen, before.log_ratio, 0.0))), seen))
            normalizers = np.asarray(before.normalizer), np.asarray(after.normalizer) / factor
            found.append(relative(normalizers[1] - normalizers[0], np.abs(normalizers[0]), case.beta))
    return combined(*found)


CLAIMS = claims_in(vars())
