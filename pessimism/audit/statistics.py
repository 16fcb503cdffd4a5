"""What an algorithm does to sampled groups: baseline, normalizer, regime and induced target, for many groups at once.

Nothing is derived here: targets, advantages and coefficients are the package's own, on groups whose samples weigh 1/G.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from threading import Lock
from typing import Any

import numpy as np

from ..algorithm import Algorithm
from ..compare import compare_group
from ..objectives.catalogue import catalogue
from ..standing import Standing

REGIMES = ("positive", "boundary", "negative", "none")
"""Regimes by code; "none" where the sign of the normalizer means nothing (objectives that carry a ratio)."""

KINDS = ("interior", "sparse", "vertex", "face", "path-dependent", "unstable", "not converged")
METHODS = ("closed form", "fixed point", "flow")

LOOKED_AT = 256
"""Groups by which it is judged whether there are many alike."""

_ODD = np.random.default_rng(0).integers(0, 2**63, 4096, dtype=np.uint64) | np.uint64(1)


@dataclass(frozen=True)
class Solved:
    r"""Groups of one size G under one algorithm; (n,) each unless said otherwise.

    Attributes:
        baseline: V, in units of reward; the average over samples where it differs between them, NaN for objectives
            that replace rewards by ranks.
        normalizer: $\hat\lambda = E[c]$ at the induced target.
        regime, kind, method: codes into ``REGIMES``, ``KINDS`` and ``METHODS``.
        kl: $\mathrm{KL}(\pi^\dagger\|\hat\mu)$ of the induced target from equal weights on the group's own
            samples, nats: at most log G, and not the divergence between policies over completions.
        entropy_change: $H(\pi^\dagger) - \log G$, nats.
        value_change: $E_{\pi^\dagger} r$ minus the mean reward.
        drive: standard deviation of the first update's coefficients $c(0, A)$ within the group: 0 where it moves
            probability from none of the samples to another.
        standing: where the induced target lies between equal weights and the nominal target.
        log_ratio: (n, G), $\log\pi^\dagger/\hat\mu$ of every sample.
    """

    baseline: np.ndarray
    normalizer: np.ndarray
    regime: np.ndarray
    kind: np.ndarray
    method: np.ndarray
    kl: np.ndarray
    entropy_change: np.ndarray
    value_change: np.ndarray
    drive: np.ndarray
    standing: Standing
    log_ratio: np.ndarray

    def take(self, rows: np.ndarray) -> Solved:
        """These rows."""
        parts: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        taken: dict[str, Any] = {
            name: part.take(rows) if isinstance(part, Standing) else part[rows] for name, part in parts.items()
        }
        return Solved(**taken)


def solve(reward: np.ndarray, algorithm: Algorithm) -> Solved:
    """The groups ``reward`` (n, G), each by itself.

    Raises:
        ValueError: rewards that this objective does not take, as :func:`pessimism.group_target` says.

    >>> import pessimism as ps
    >>> solved = solve(np.array([[0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]), ps.algorithm("oapl", beta1=1, beta2=0.5))
    >>> [REGIMES[code] for code in solved.regime], solved.log_ratio[0].round(4)
    (['positive', 'boundary'], array([-0.7721, -0.7721, -0.7721,  0.9608]))
    """
    size = reward.shape[-1]
    comparison = compare_group(reward, algorithm)
    target, standing = comparison.induced, Standing.of(comparison)
    advantage = algorithm.advantage(reward)
    weights = np.full(reward.shape, 1 / size)
    mean = by_sample(reward).mean(axis=0)
    start = algorithm.coefficient(np.zeros_like(advantage), advantage, **algorithm.weights(weights))
    return Solved(
        baseline=_baseline(reward, mean, advantage, algorithm),
        normalizer=np.asarray(target.normalizer, dtype=np.float64),
        regime=_codes(np.full(len(reward), "none") if target.regime is None else target.regime, REGIMES),
        kind=_codes(target.kind, KINDS),
        method=_codes(target.method, METHODS),
        kl=standing.kl,
        entropy_change=standing.entropy - np.log(size),
        value_change=by_sample(target.policy * (reward - mean[:, None])).sum(axis=0),
        drive=by_sample(np.broadcast_to(start, reward.shape)).std(axis=0),
        standing=standing,
        log_ratio=target.log_ratio,
    )


class Solver:
    """:func:`solve` with memory: groups with the same rewards in another order have the same target, solved once.

    That is exact for any rewards, and what makes objectives without a closed form bearable on binary ones.
    """

    def __init__(self, algorithm: Algorithm, capacity: int = 1 << 16) -> None:
        self.algorithm = algorithm
        self.capacity = capacity
        self._known: dict[int, dict[bytes, int]] = {}
        self._solved: dict[int, Solved] = {}
        self._lock = Lock()
        # A user's own coefficient may raise anything.
        self.refusals = ValueError if algorithm.name in catalogue() else Exception

    def __call__(self, reward: np.ndarray) -> Solved:
        """As :func:`solve`; several threads may call at once."""
        if self.algorithm.induced is not None:
            few = np.sort(reward[:LOOKED_AT], axis=-1)
            if len(distinct_rows(few)[0]) > len(few) // 2:
                return solve(reward, self.algorithm)  # hardly anything to share
        order = np.argsort(reward, axis=-1, kind="stable")
        ranked = np.take_along_axis(reward, order, axis=-1)
        first, inverse = distinct_rows(ranked)
        rows = ranked[first]
        with self._lock:
            found = self._remembered(rows) if len(first) <= self.capacity else solve(rows, self.algorithm)
        result = found.take(inverse)
        log_ratio = np.empty_like(reward)
        np.put_along_axis(log_ratio, order, result.log_ratio, axis=-1)
        winner = log_ratio.argmax(axis=-1)  # in the order of the log
        return replace(result, log_ratio=log_ratio, standing=replace(result.standing, winner=winner))

    def _remembered(self, rows: np.ndarray) -> Solved:
        size = rows.shape[-1]
        known = self._known.setdefault(size, {})
        if len(known) + len(rows) > self.capacity:
            known.clear()
            self._solved.pop(size, None)
        keys = [row.tobytes() for row in rows]
        new = [index for index, key in enumerate(keys) if key not in known]
        if new:
            fresh = solve(rows[new], self.algorithm)
            old = self._solved.get(size)
            self._solved[size] = fresh if old is None else _joined(old, fresh)
            known |= {keys[index]: len(known) + place for place, index in enumerate(new)}
        return self._solved[size].take(np.array([known[key] for key in keys]))


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the distinct rows of (n, G) floats, and for every row the place of its like among them.

    >>> first, inverse = distinct_rows(np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 1.0]]))
    >>> sorted(first.tolist()), bool(inverse[0] == inverse[2] != inverse[1])
    ([0, 1], True)
    """
    rows = np.ascontiguousarray(rows + 0.0)  # -0.0 and 0.0 are the same reward
    odd = np.resize(_ODD, rows.shape[-1])
    bits = rows.view(np.uint64)
    with np.errstate(over="ignore"):
        mark = (((bits ^ (bits >> np.uint64(29))) * odd) >> np.uint64(7)).sum(axis=-1, dtype=np.uint64)
    _, first, inverse = np.unique(mark, return_index=True, return_inverse=True)
    if not (rows == rows[first][inverse]).all():  # two rows of the same mark
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def by_sample(values: np.ndarray) -> np.ndarray:
    """(n, G) as (G, n): over a short last axis numpy reduces many times slower than over the first."""
    return np.ascontiguousarray(values.T)


def _baseline(reward: np.ndarray, mean: np.ndarray, advantage: np.ndarray, algorithm: Algorithm) -> np.ndarray:
    """V of A = scale (r - V), whatever the rule, from what it did to these rewards."""
    if algorithm.baseline.transform is not None:
        return np.full(len(reward), np.nan)
    spread, advantages = np.ptp(by_sample(reward), axis=0), by_sample(advantage)
    some = spread > 0
    scale = np.where(some, np.ptp(advantages, axis=0) / np.where(some, spread, 1.0), 1.0)
    return mean - advantages.mean(axis=0) / np.where(scale > 0, scale, 1.0)


def _codes(names: object, table: tuple[str, ...]) -> np.ndarray:
    values = np.asarray(names)
    codes = np.full(values.shape, -1, dtype=np.int8)
    for code, name in enumerate(table):
        codes[values == name] = code
    if (codes < 0).any():
        raise ValueError(f"unknown name {values[codes < 0][0]!r}; known: {', '.join(table)}")
    return codes


def _joined(first: Solved, second: Solved) -> Solved:
    pairs = {each.name: (getattr(first, each.name), getattr(second, each.name)) for each in fields(first)}
    joined: dict[str, Any] = {
        name: one.joined(two) if isinstance(one, Standing) else np.concatenate([one, two])
        for name, (one, two) in pairs.items()
    }
    return Solved(**joined)
