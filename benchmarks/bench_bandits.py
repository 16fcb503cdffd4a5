"""Speed of the simulation, `python -m benchmarks.bench_bandits`: lagged runs, and TPO's two bandits against JAX.

Against JAX each figure is the CPU time of one thread, the least of several repetitions in which both take turns, so
that other work on the machine hurts as little as it can. Compiling is not counted. JAX returns the error after every
step, this package a whole record, but of the last step only; the last table says what a record costs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table

import pessimism as ps
from bandits.instances import sparse, tpo_multi_context
from bandits.published import (
    MULTI_CONTEXT,
    MULTI_CONTEXT_METHODS,
    SINGLE_CONTEXT,
    SINGLE_CONTEXT_METHODS,
    run_multi_context,
    run_single_context,
)
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

Calls = dict[str, Callable[[], object]]


def run(settings: Settings, seeds: range) -> None:
    """Runs of a log-ratio regression on a bandit where every tenth arm is rewarded."""
    simulate(sparse(arms=ARMS, rewarded=ARMS // 10), ps.algorithm("shifted_mean", beta=0.2), settings, seeds)


def wall_seconds(settings: Settings, runs: int, workers: int) -> float:
    """Wall-clock time of ``runs`` runs shared out to processes that are already there."""
    parts = [range(runs * part // (4 * workers), runs * (part + 1) // (4 * workers)) for part in range(4 * workers)]
    with Parallel(n_jobs=workers) as pool:
        pool(delayed(run)(replace(settings, syncs=1), range(1)) for _ in range(workers))
        started = time.perf_counter()
        pool(delayed(run)(settings, part) for part in parts)
        return time.perf_counter() - started


def peak_megabytes(syncs: int) -> float:
    """Most memory that 1000 runs hold at once when 5 of ``syncs`` syncs are recorded."""
    settings = Settings(syncs=syncs, lag=2, group_size=8, record_every=syncs // 5)
    tracemalloc.start()
    run(settings, range(1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def lagged(runs: int, console: Console) -> None:
    """10,000 lagged runs."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    table = Table(title=f"{runs:,} lagged runs, K = {ARMS}, G = 8, 15 syncs of 100 steps")
    for column in ("", f"seconds on {workers} cores", "goal"):
        table.add_column(column)
    for name, settings in CASES.items():
        table.add_row(name, f"{wall_seconds(settings, runs, workers):.1f}", "< 120")
    console.print(table)
    few, many = peak_megabytes(10), peak_megabytes(200)
    console.print(f"peak memory of 1,000 runs with 5 records: {few:.1f} MB for 10 syncs, {many:.1f} MB for 200\n")


def grids(console: Console) -> None:
    """What settings one after the other cost, against one call of the same size: all that stacking could save."""
    table = Table("seeds", "10 settings one by one, s", "one call of ten times the seeds, s", "ratio")
    settings = replace(CASES["one group a window"], syncs=3, record_every=3)
    for seeds in (4, 32, 128, 512):
        calls: Calls = {
            "loop": lambda seeds=seeds: [run(settings, range(seeds)) for _ in range(10)],
            "once": lambda seeds=seeds: run(settings, range(10 * seeds)),
        }
        least = cpu_seconds(calls, 3)
        ratio = f"{least['loop'] / least['once']:.2f}"
        table.add_row(f"{seeds}", f"{least['loop']:.3f}", f"{least['once']:.3f}", ratio)
    console.print(table)


def cpu_seconds(calls: Calls, repeats: int) -> dict[str, float]:
    """The least CPU time of each call, in turns."""
    least = dict.fromkeys(calls, np.inf)
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.process_time()
            call()
            least[name] = min(least[name], time.process_time() - started)
    return least


def against_jax(repeats: int, console: Console) -> None:
    """Both of TPO's bandits."""
    if importlib.util.find_spec("jax") is None:
        console.print("jax is not installed: nothing to compare with (pip install jax)")
        return
    if hasattr(os, "sched_setaffinity"):  # before JAX counts the cores
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from benchmarks import bench_jax

    columns = ("method", "JAX", "compile s", "JAX s", "ours s", "JAX / ours", "goal", "final error, JAX", "ours")
    single = Table(*columns, title="TPO's single-context bandit: 100 seeds x 150 steps, K = B = 100")
    plan = replace(SINGLE_CONTEXT, record_every=SINGLE_CONTEXT.syncs)
    for method in SINGLE_CONTEXT_METHODS:
        scans = {
            f"{draws}, {dtype}": bench_jax.single_context_scan(method, draws, dtype, 100)
            for draws in bench_jax.DRAWS
            for dtype in ("float64", "float32")
        }
        ours = float(1 - run_single_context(method, 100, plan).value[-1].mean())
        own = lambda method=method: run_single_context(method, 100, plan)  # noqa: E731
        rows(single, method, scans, own, ours, repeats, ">= 10")
    console.print(single)

    multi = Table(*columns, title="TPO's multi-context bandit: 100 runs x 1000 exact steps, N = 100, K = 10")
    plan = replace(MULTI_CONTEXT, record_every=MULTI_CONTEXT.syncs)
    logits = np.log(tpo_multi_context(100).behavior)
    for method in MULTI_CONTEXT_METHODS:
        scans = {dtype: bench_jax.multi_context_scan(method, logits, dtype) for dtype in ("float64", "float32")}
        ours = float(1 - run_multi_context(method, 100, plan).value[-1].mean())
        own = lambda method=method: run_multi_context(method, 100, plan)  # noqa: E731
        rows(multi, method, scans, own, ours, repeats, ">= 1")
    console.print(multi)
    records(console)


def records(console: Console) -> None:
    """What a record costs, in steps of the multi-context bandit."""
    plan = replace(MULTI_CONTEXT, syncs=100)
    calls: Calls = {
        every: lambda every=every: run_multi_context("policy gradient", 100, replace(plan, record_every=int(every)))
        for every in ("100", "10")
    }
    least = cpu_seconds(calls, 3)
    record = (least["10"] - least["100"]) / 9
    console.print(
        f"a record of 100 runs of 100 contexts costs {1000 * record:.1f} ms, a step {10 * least['100']:.1f} ms"
    )


def rows(
    table: Table,
    method: str,
    scans: dict[str, tuple[float, Callable[[], object], float]],
    own: Callable[[], object],
    error: float,
    repeats: int,
    goal: str,
) -> None:
    """One row for each of a method's JAX scans."""
    least = cpu_seconds({"ours": own} | {name: scan[1] for name, scan in scans.items()}, repeats)
    for name, (compiling, _, final) in scans.items():
        ratio = f"{least[name] / least['ours']:.2f}"
        figures = (f"{compiling:.1f}", f"{least[name]:.3f}", f"{least['ours']:.3f}", ratio)
        table.add_row(method, name, *figures, goal, f"{final:.2e}", f"{error:.2e}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"lagged runs per case (default {RUNS}; 0: none)")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions against JAX (default 3; 0: none)")
    options = parser.parse_args()
    console = Console(width=120)
    if options.runs:
        lagged(options.runs, console)
        grids(console)
    if options.repeats:
        against_jax(options.repeats, console)


if __name__ == "__main__":
    main()
