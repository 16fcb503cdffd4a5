"""Speed and memory of `pessimism audit`, `python -m benchmarks.bench_audit [--rows N]`: whole commands on logs on disk.

Every line is one process from start to end: reading, grouping, targets, totals, the table. Machines differ, so that
the unit is a plain group-by of polars' streaming engine over the same file in the same run (mean, deviation and count
of the reward per group, start included): ratios are of the least processor time of three runs each, and of the least
time on the clock. "second objective" is what one more objective adds, as a share of the first one's processor time.

Reading is polars' (``scan_parquet``, ``scan_csv``, ``read_ndjson`` block by block). Grouping is not: measured in
November 2026 with polars 2.1.0 on 10^7 rows of Parquet (2 cores, other work running),
``group_by(...).agg(all columns)`` took 1,488 MiB on rows in order and 1,579 MiB on rows in any order, ``sort`` 1,070
MiB, where the audit may take 1,024. So groups are runs of equal keys, or, for rows in any order, come from partitions
that polars' ``sink_ipc`` writes.
A row group of Parquet is decoded whole: lists of tokens need as much memory as the largest row group (1.7 GiB where
it holds 800 MB of them; pyarrow's reader, used before, needed 1.2 GiB).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pessimism.shell.terminal import new_table, show

SIZE = 8
CHUNK = 1 << 16
ALGORITHM = "oapl:beta1=1,beta2=0.5"
SECOND = "oapl:beta1=1,beta2=0.25"


def pieces(rows: int, binary: bool) -> Iterator[pa.Table]:
    """A log of groups of eight, with everything that can be logged but text."""
    random = np.random.default_rng(0)
    for first in range(0, rows // SIZE, CHUNK):
        count = min(CHUNK, rows // SIZE - first)
        shape = (count, SIZE)
        solved = random.random(shape) < random.beta(0.5, 0.5, (count, 1))
        log_prob = -random.gamma(4.0, 30.0, shape)
        version = np.repeat(np.arange(first, first + count) // 1000, SIZE)
        ids = pa.array([f"prompt-{index}" for index in range(first, first + count)])
        yield pa.table(
            {
                "group": ids.take(pa.array(np.repeat(np.arange(count), SIZE))),
                "reward": (solved.astype(float) if binary else random.normal(size=shape)).ravel(),
                "log_prob": log_prob.ravel(),
                "current_log_prob": np.minimum(log_prob + 0.1 * random.normal(size=shape), 0.0).ravel(),
                "version": version,
                "step": version + np.repeat(random.integers(0, 4, count), SIZE),
                "length": random.integers(10, 500, count * SIZE),
            }
        )


def written(path: Path, tables: Iterator[pa.Table]) -> Path:
    """The log as a file of the format that the suffix says."""
    if path.suffix == ".jsonl":
        with path.open("wb") as file:
            for table in tables:
                file.write(table.to_pandas().to_json(orient="records", lines=True, double_precision=15).encode())
        return path
    first = next(tables)
    make = pq.ParquetWriter if path.suffix == ".parquet" else pa_csv.CSVWriter
    with make(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
    return path


def shuffled(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, with no group together."""
    whole = pa.concat_tables(tables)
    yield whole.take(pa.array(np.random.default_rng(1).permutation(len(whole))))


PLAIN = """
import sys
import polars as pl
scan = {"parquet": pl.scan_parquet, "csv": pl.scan_csv, "jsonl": pl.scan_ndjson}[sys.argv[1].rpartition(".")[2]]
reward = pl.col("reward")
scan(sys.argv[1]).group_by("group").agg(reward.mean(), reward.std().alias("std"), pl.len()).collect(engine="streaming")
"""


def plain(path: Path) -> list[str]:
    """The command that is the unit."""
    return [sys.executable, "-c", PLAIN, str(path)]


def audit(path: Path, *algorithms: str) -> list[str]:
    """The command that audits for these algorithms."""
    chosen = [part for name in algorithms for part in ("--algorithm", name)]
    return [sys.executable, "-m", "pessimism", "audit", str(path), *chosen, "--json", "-"]


def least(command: list[str]) -> np.ndarray:
    """Least seconds on the clock and of processor time, and peak memory in MiB, of three runs."""
    runs = np.array([run(command) for _ in range(3)])
    return np.array([*runs[:, :2].min(axis=0), runs[:, 2].max()])


def run(command: list[str]) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of processor time and peak memory in MiB of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the Parquet logs; the others have a fifth")
    rows = parser.parse_args().rows
    few = rows // 5
    table = new_table(
        "log",
        ">rows",
        ">processor time / group-by",
        ">clock / group-by",
        ">goal",
        ">second objective",
        ">peak MiB",
        ">load",
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, suffix, count, binary, scatter, goal in (
            ("Parquet, rewards 0 or 1", ".parquet", rows, True, False, 4),
            ("Parquet, continuous rewards", ".parquet", rows, False, False, 8),
            ("Parquet, rows in any order", ".parquet", few, True, True, 5),
            ("CSV", ".csv", few, True, False, 4),
            ("JSON lines", ".jsonl", few, True, False, 2),
        ):
            tables = pieces(count, binary)
            path = written(Path(folder) / f"log{suffix}", shuffled(tables) if scatter else tables)
            unit, one, two = (
                least(part) for part in (plain(path), audit(path, ALGORITHM), audit(path, ALGORITHM, SECOND))
            )
            path.unlink()
            cells = (
                f"{count:,}",
                f"{one[1] / unit[1]:.1f}",
                f"{one[0] / unit[0]:.1f}",
                f"{goal}",
                f"{two[1] / one[1] - 1:.0%}",
                f"{one[2]:,.0f}",
                f"{os.getloadavg()[0]:.1f}",
            )
            table.add_row(name, *cells)
    show(table)


if __name__ == "__main__":
    main()
