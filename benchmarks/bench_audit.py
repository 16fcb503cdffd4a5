"""Speed and memory of `pessimism audit`, `python -m benchmarks.bench_audit [--rows N]`: whole commands on logs on disk.

Every line is one process from start to end: reading, grouping, targets, totals, the table. Wall-clock time depends on
what else the machine does: time is the least of three runs, that of the processor stands beside it, and the load.
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


def run(path: Path) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of processor time and peak memory in MiB of one audit."""
    command = [sys.executable, "-m", "pessimism", "audit", str(path), "--algorithm", ALGORITHM, "--json", "-"]
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
    table = new_table("log", ">rows", ">rows/s", ">rows/s of processor time", ">peak MiB", ">load")
    with tempfile.TemporaryDirectory() as folder:
        for name, suffix, count, binary, scatter in (
            ("Parquet, rewards 0 or 1", ".parquet", rows, True, False),
            ("Parquet, continuous rewards", ".parquet", rows, False, False),
            ("Parquet, rows in any order", ".parquet", few, True, True),
            ("CSV", ".csv", few, True, False),
            ("JSON lines", ".jsonl", few, True, False),
        ):
            tables = pieces(count, binary)
            path = written(Path(folder) / f"log{suffix}", shuffled(tables) if scatter else tables)
            runs = [run(path) for _ in range(3)]
            wall, processor = (min(part[index] for part in runs) for index in (0, 1))
            memory, load = max(part[2] for part in runs), os.getloadavg()[0]
            path.unlink()
            cells = (f"{count:,}", f"{count / wall:,.0f}", f"{count / processor:,.0f}", f"{memory:,.0f}", f"{load:.1f}")
            table.add_row(name, *cells)
    show(table)


if __name__ == "__main__":
    main()
