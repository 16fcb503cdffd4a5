"""Every group of an audit as a row of a Parquet file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .groups import Groups
from .measure import STATISTICS, TABLES, Measured


class GroupTable:
    """Writes groups as they go by; the file appears when it is finished, whole or not at all.

    One row per group and algorithm: ``algorithm``, ``group``, ``file`` (its number, from 0) and ``place`` of its first
    sample, ``size``, ``version`` and ``step`` where logged, ``mean_reward``, the statistics, ``regime``, ``kind`` and
    ``method`` in words, and two lists with a number for every sample, in the order of the log: ``reward`` and
    ``log_ratio``, the one that the induced target would have.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self.names = path, list(names)
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        self._writer: pq.ParquetWriter | None = None

    def restart(self) -> GroupTable:
        """Forget what was written: a pass begins."""
        self._close()
        return self

    def __call__(self, groups: Groups, measured: Sequence[Measured]) -> None:
        for name, part in zip(self.names, measured, strict=True):
            table = pa.table(self._columns(name, groups, part))
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._temporary, table.schema)
            self._writer.write_table(table)

    def _columns(self, name: str, groups: Groups, measured: Measured) -> dict[str, pa.Array]:
        first, count = groups.start[:-1], len(groups)
        offsets = pa.array(groups.start.astype(np.int32))
        plain = {
            "algorithm": _words([name], np.zeros(count, np.int8)),
            "group": pa.array(groups.names(np.arange(count)), pa.large_string()),
            "file": pa.array(groups.column("file")[first]),
            "place": pa.array(groups.column("place")[first]),
            "size": pa.array(groups.size),
        }
        logged = {
            role: pa.array(values[first]) for role in ("version", "step") if (values := groups.get(role)) is not None
        }
        found = {"mean_reward": measured.mean} | {name: measured.statistic(name) for name in STATISTICS}
        codes = {name: _words(table, getattr(measured.solved, name)) for name, table in TABLES.items()}
        lists = {
            name: pa.ListArray.from_arrays(offsets, pa.array(values))
            for name, values in (("reward", groups.column("reward")), ("log_ratio", measured.solved.log_ratio))
        }
        return plain | logged | {name: pa.array(values) for name, values in found.items()} | codes | lists

    def finish(self) -> None:
        """Put the file in its place."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            os.replace(self._temporary, self.path)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> GroupTable:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()


def _words(table: Sequence[str], codes: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(table, pa.string()))
