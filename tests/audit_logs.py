"""Logs of rollouts for the tests of the audit, written as their trainers write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

import pessimism as ps
from pessimism.algorithm import Algorithm
from pessimism.audit.groups import Groups
from pessimism.audit.measure import Measured
from pessimism.audit.report import Audit
from pessimism.audit.run import audit, read_groups


def table(reward: np.ndarray, **columns: Any) -> pa.Table:
    """Groups (n, G) of rewards, row after row."""
    groups, size = reward.shape
    keys = np.repeat([f"g{index}" for index in range(groups)], size)
    return pa.table({"group": keys, "reward": reward.ravel()} | {name: np.ravel(c) for name, c in columns.items()})


def parquet(path: Path, log: pa.Table) -> Path:
    pq.write_table(log, path)
    return path


def json_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def per_group(path: Path, algorithm: Algorithm, **options: Any) -> dict[str, dict[str, Any]]:
    """What the audit says of every group, by the group's id."""
    found: dict[str, dict[str, Any]] = {}

    def keep(groups: Groups, measured: Sequence[Measured]) -> None:
        solved = measured[0].solved
        for index, name in enumerate(groups.names(np.arange(len(groups)))):
            rows = slice(groups.start[index], groups.start[index + 1])
            assert name not in found
            found[name] = {
                "reward": groups.column("reward")[rows],
                "log_ratio": solved.log_ratio[rows],
                **{part: getattr(solved, part)[index] for part in ("baseline", "normalizer", "regime", "kl")},
            }

    audit([path], [algorithm], keep=lambda: keep, **options)
    return found


OAPL = ps.algorithm("oapl", beta1=1, beta2=0.5)


def of(path: Path | list[Path], **options: Any) -> Audit:
    return audit([path] if isinstance(path, Path) else path, [OAPL], **options)


def groups_of(path: Path, column: str = "reward", **columns: str) -> dict[str, list[float]]:
    """Group id -> the values of its samples in that column, sorted."""
    return {
        name: sorted(groups.column(column)[groups.start[index] : groups.start[index + 1]].tolist())
        for groups in read_groups([path], columns)
        for index, name in enumerate(groups.names(np.arange(len(groups))))
    }


def log(groups: int = 40, size: int = 4, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    reward = (random.random((groups, size)) < 0.4).astype(float)
    log_prob = -20 * random.random((groups, size)) - 1
    return table(
        reward,
        log_prob=log_prob,
        current_log_prob=log_prob - 0.5 * random.random((groups, size)),
        version=np.repeat(np.arange(groups) // 8, size),
        length=random.integers(1, 90, (groups, size)),
    )


def expected(rows: pa.Table) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for group, reward in zip(rows["group"].to_pylist(), rows["reward"].to_pylist(), strict=True):
        found.setdefault(group, []).append(reward)
    return {name: sorted(values) for name, values in found.items()}


def write(rows: pa.Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        return parquet(path, rows)
    if path.suffix == ".csv":
        pa_csv.write_csv(rows, path)
        return path
    return json_lines(path, rows.to_pylist())
