"""Figures of the core, each a ratio within this run or in its own unit: `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import bench_lambert, bench_targets


def main() -> None:
    """The solver alone, whole targets, then accuracy."""
    rows, arms = 100_000, 64
    solver = [
        (
            f"solve_lambert ({rows}, {arms}), beta {row['beta']}, {row['case']}: passes of wrightomega",
            f"{row['passes of wrightomega']:.2f}",
            "<= 2",
        )
        for row in bench_lambert.speed(rows, arms, (0.5,))
    ]
    peak = bench_lambert.memory(rows, arms)
    solver.append((f"solve_lambert ({rows}, {arms}): peak memory / input", f"{peak:.1f}", "<= 6"))
    bench_targets.show(solver)
    bench_targets.main()


if __name__ == "__main__":
    main()
