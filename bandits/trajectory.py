"""What is recorded of a run, sync by sync."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

import pessimism as ps
from pessimism.divergences import chi_squared, entropy, kl, reverse_kl
from pessimism.simplex import expectation

SUPPORT = 1e-6
"""Arms with less probability than this are not counted as support."""


@dataclass(frozen=True)
class Trajectory:
    r"""Recorded syncs of lagged learning. Arrays are (records, seeds, ...), with ... the bandit's batch shape.

    A record holds the policy $\pi$ at the end of a window, seen from the policy $\mu$ that the window started from.

    Attributes:
        sync: (records,), number of the window, from 1.
        value: $E_\pi r$, true rewards.
        entropy: $H(\pi)$, nats.
        kl, reverse_kl: $\mathrm{KL}(\pi\|\mu)$ and $\mathrm{KL}(\mu\|\pi)$, nats.
        chi2: $E_\mu(\rho - 1)^2$.
        ess: $1/E_\mu\rho^2$, effective sample size as a share of the samples.
        max_ratio: $\max\rho$.
        support: number of arms with $\pi > 10^{-6}$.
        normalizer: $\lambda = E[c]$ at $\pi$, averaged over the groups of the window.
        positive, boundary, negative: share of those groups in each regime; NaN for objectives without regimes.
        induced_distance, nominal_distance: total variation between $\pi$ and $\mu$'s target; None if not asked for.
        policy: (seeds, ..., K), at the end.
    """

    sync: np.ndarray
    value: np.ndarray
    entropy: np.ndarray
    kl: np.ndarray
    reverse_kl: np.ndarray
    chi2: np.ndarray
    ess: np.ndarray
    max_ratio: np.ndarray
    support: np.ndarray
    normalizer: np.ndarray
    positive: np.ndarray
    boundary: np.ndarray
    negative: np.ndarray
    induced_distance: np.ndarray | None
    nominal_distance: np.ndarray | None
    policy: np.ndarray

    def __repr__(self) -> str:
        runs, *contexts, arms = self.policy.shape
        return f"Trajectory({len(self.sync)} records, {runs} seeds, batch shape {tuple(contexts)}, {arms} arms)"


Record = dict[str, np.ndarray]
"""Some of a trajectory's arrays, for one record."""


def describe(bandit: ps.Bandit, policy: np.ndarray, log_policy: np.ndarray) -> Record:
    """How a policy (R, K) looks from the behavior policy of a bandit with batch shape (R,)."""
    played = bandit.behavior > 0
    log_ratio = np.where(played, log_policy - np.where(played, bandit.log_behavior, 0.0), -np.inf)
    with np.errstate(over="ignore"):
        chi2 = chi_squared(log_ratio, bandit.behavior)
        max_ratio = np.exp(log_ratio.max(axis=-1))
    return {
        "value": expectation(policy, bandit.reward),
        "entropy": entropy(policy),
        "kl": kl(log_ratio, bandit.behavior),
        "reverse_kl": reverse_kl(log_ratio, bandit.behavior),
        "chi2": chi2,
        "ess": 1 / (1 + chi2),
        "max_ratio": max_ratio,
        "support": (policy > SUPPORT).sum(axis=-1),
    }


def total_variation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Half the sum of absolute differences over the last axis."""
    return np.abs(first - second).sum(axis=-1) / 2


def join_records(records: Sequence[Record], sync: Sequence[int], policy: np.ndarray) -> Trajectory:
    """A trajectory from its records, whose arrays are (seeds, ...) each; distances may be missing."""
    names = {field.name for field in fields(Trajectory)} - {"sync", "policy"}
    arrays = {name: np.stack([record[name] for record in records]) for name in names if name in records[0]}
    missing = dict.fromkeys(names - set(arrays))
    return Trajectory(sync=np.array(sync), policy=policy, **arrays, **missing)  # type: ignore[arg-type]


def join_seeds(parts: Sequence[Trajectory]) -> Trajectory:
    """Trajectories of different seeds as one."""
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Trajectory)}
    sync = columns.pop("sync")[0]
    policy = np.concatenate(columns.pop("policy"))
    joined = {name: None if c[0] is None else np.concatenate(c, axis=1) for name, c in columns.items()}
    return Trajectory(sync=sync, policy=policy, **joined)  # type: ignore[arg-type]
