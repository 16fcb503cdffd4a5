"""Claims about training with three policies: what the proximal one makes of PPO's clip, at the ages that decide."""

from __future__ import annotations

from typing import Literal

import pessimism as ps
from pessimism.claims import Case, claim, claims_in
from pessimism.claims.families import SMALL
from pessimism.claims.support import HERE, combined
from pessimism.solve import total_variation

from ..three_policies import Ages, Mode, train
from .support import Array, playable

STEPS, RATE = 12, 2.0
"""Optimizer steps of a run, and their size: some clips act."""

SAME = 1e-12
"""Two runs of a dozen steps of the same arithmetic, in another order."""


def _end(
    bandit: ps.Bandit,
    algorithm: ps.Algorithm | str,
    proximal: Literal["none", "kept", "interpolated"],
    ages: tuple[int, int],
) -> Array:
    """Where exact steps end, (n, K), with a sampler and a proximal policy of these ages."""
    found = train(bandit, Mode(algorithm, proximal), Ages(STEPS, *ages, learning_rate=RATE, record_every=STEPS))
    return found.policy


@claim("three.whole_weight", HERE, SMALL, SAME, falsify=False)
def whole_weight(case: Case) -> Array:
    """Decoupled PPO with the whole weight and a fixed baseline trains as on data of the proximal policy, at any lag.

    Check: Decoupled PPO without a cap, and with a fixed baseline: where it ends does not depend on how old data are.
    """
    bandit = playable(case).bandit
    decoupled = ps.algorithm("ppo", baseline=-0.4, correction="truncate(cap=inf, pair=proximal)")
    ends = [_end(bandit, decoupled, "kept", (lag, 4)) for lag in (4, 8, STEPS)]
    on_proximal = _end(bandit, ps.algorithm("ppo", baseline=-0.4), "none", (4, 4))
    return combined(*(total_variation(end, on_proximal) for end in ends))


@claim("three.recomputed", HERE, SMALL, SAME, falsify=False)
def recomputed(case: Case) -> Array:
    """With log-probabilities recomputed at every step PPO is REINFORCE on stale data: no ratio, and no clip ever acts.

    Check: PPO around a proximal policy renewed at every step ends where REINFORCE on the same stale data does.
    """
    bandit = playable(case).bandit
    found = [
        total_variation(_end(bandit, "ppo", "kept", (lag, 1)), _end(bandit, "reinforce", "none", (lag, 1)))
        for lag in (1, 5, STEPS)
    ]
    return combined(*found)


@claim("three.fresh", HERE, SMALL, SAME, falsify=False)
def fresh(case: Case) -> Array:
    """With a proximal policy renewed at every step decoupled PPO, and A-3PO, are truncated importance sampling.

    Check: Decoupled PPO and A-3PO, proximal policy renewed at every step, end where truncated ratios (cap 1.3) do.
    """
    bandit, found = playable(case).bandit, []
    for lag in (5, STEPS):
        truncated = _end(bandit, "verl.tis:cap=1.3", "none", (lag, 1))
        for proximal in ("kept", "interpolated"):
            end = _end(bandit, "ppo:correction=truncate(cap=1.3, pair=proximal)", proximal, (lag, 1))
            found.append(total_variation(end, truncated))
    return combined(*found)


CLAIMS = claims_in(vars())
