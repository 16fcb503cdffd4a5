"""The table of docs/theory/guarantees.md: where the ideal recursion of every catalogue entry goes, and how fast.

python -m scripts.recursions            rewrite the table (minutes)
python -m scripts.recursions --check    change nothing; status 1 if it is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

import pessimism as ps

from .documents import ROOT, markdown, refresh

PAGE = ROOT / "docs" / "theory" / "guarantees.md"
BANDITS, SYNCS, SEED = 8, 20, 0
REWARDS = (0.0, 0.3, 0.6, 1.0)
TEMPERATURES = {"beta": 0.5, "tau": 0.5, "beta2": 0.5, "beta1": 1.0, "eta": 2.0}
"""Temperatures of regression and preference losses, so that rates are visible: published ones end in one sync."""

NEAR, LOST, SEEN = 0.01, 1e-9, 1e-5
"""A gap in value that counts as none, a probability that counts as lost, and a mass above the error of the flow."""


@dataclass(frozen=True)
class Course:
    """What became of the bandits: gap in value and probability of the best arm, (syncs + 1, bandits) each."""

    gap: np.ndarray
    best: np.ndarray

    @property
    def cells(self) -> list[str]:
        """Bandits that end on the best arm, that have lost it, median syncs to get near, and the last factor."""
        near = self.gap <= NEAR
        first = np.where(near.any(axis=0), near.argmax(axis=0), len(near))
        middle = float(np.median(first))
        lost = (self.best[-1] < LOST).sum()
        return [f"{near[-1].sum()}", f"{lost}", f"{middle:g}" if middle < len(near) else "–", self._factor()]

    def _factor(self) -> str:
        """Median of the last factors by which a sync shrank the other arms' mass while that was above ``SEEN``."""
        other = 1 - self.best
        ends = self.gap[-1] <= NEAR
        last = [np.flatnonzero(column > SEEN)[-1] for column in other.T[ends]]
        found = [column[at] / column[at - 1] for column, at in zip(other.T[ends], last, strict=True) if at > 0]
        if not len(last):
            return "–"
        return f"{np.median(found):.2g}" if 2 * len(found) > len(last) else "at once"


def world() -> ps.Bandit:
    """Bandits of four arms: behavior uniform on the simplex, four distinct rewards in random order."""
    generator = np.random.default_rng(SEED)
    behavior = generator.dirichlet(np.ones(len(REWARDS)), size=BANDITS)
    return ps.Bandit(behavior, generator.permuted(np.tile(REWARDS, (BANDITS, 1)), axis=1))


def chosen(entry: ps.Entry) -> ps.Algorithm:
    """The entry with published settings, but the temperatures of this page for regressions and preferences."""
    warm = entry.family in ("regression", "preference") or entry.name in ("awr", "cql")
    given = {name: value for name, value in TEMPERATURES.items() if warm and name in entry.parameters}
    return ps.algorithm(entry.name, **given)


def course(name: str) -> Course:
    """The ideal recursion of one entry; a policy that sums to one but for rounding is divided by its sum."""
    current, algorithm = world(), chosen(ps.catalogue()[name])
    top = current.reward == max(REWARDS)
    gap, best = [], []
    for sync in range(SYNCS + 1):
        if sync:
            policy = ps.induced_target(current, algorithm).policy
            current = ps.Bandit(policy / policy.sum(axis=-1, keepdims=True), current.reward)
        gap.append(max(REWARDS) - (current.behavior * current.reward).sum(axis=-1))
        best.append(np.where(top, current.behavior, 0.0).sum(axis=-1))
    return Course(np.array(gap), np.array(best))


def table(names: Sequence[str]) -> str:
    """Markdown, one row an entry."""
    with ProcessPoolExecutor(2) as pool:
        rows = {name: found.cells for name, found in zip(names, pool.map(course, names), strict=True)}
    return markdown(["end at the best arm", "lost it", "syncs to a gap of .01", "last factor"], rows)


def main() -> int:
    """Rewrite or check the page; return the exit status."""
    return refresh(PAGE, lambda: {"recursions": table(list(ps.catalogue()))}, "python -m scripts.recursions", __doc__)


if __name__ == "__main__":
    sys.exit(main())
