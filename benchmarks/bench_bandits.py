"""Time of 10,000 lagged runs: 100 arms, groups of 8, 15 syncs of 100 steps. `python -m benchmarks.bench_bandits`."""

from __future__ import annotations

import argparse
import time

import pessimism as ps
from bandits.instances import sparse
from bandits.settings import Settings
from bandits.simulate import simulate

ARMS, RUNS = 100, 10_000

CASES = {
    "one group a window": Settings(syncs=15, lag=100, group_size=8, learning_rate=1.0),
    "one group a window, Adam": Settings(syncs=15, lag=100, group_size=8, learning_rate=0.03, optimizer="adam"),
    "a fresh group every step": Settings(
        syncs=15, lag=100, group_size=8, groups=100, minibatches=100, learning_rate=1.0
    ),
}


def seconds(settings: Settings, runs: int) -> float:
    """Wall-clock time of ``runs`` runs of a log-ratio regression on a bandit where every tenth arm is rewarded."""
    bandit = sparse(arms=ARMS, rewarded=ARMS // 10)
    started = time.perf_counter()
    simulate(bandit, ps.algorithm("shifted_mean", beta=0.2), settings, range(runs))
    return time.perf_counter() - started


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs per case (default {RUNS})")
    runs = parser.parse_args().runs
    for name, settings in CASES.items():
        print(f"{name:26s} {runs} runs in {seconds(settings, runs):6.1f} s")


if __name__ == "__main__":
    main()
