"""Trinity-RFT's logs: experiences, exported or in its database."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...audit.layout import Columns, Layout
from ...audit.nested import canonical_table, summed
from ...audit.rows import NO_NUMBER

DATABASE = "Trinity-RFT experience database (0.6)"
ROWS_AT_ONCE = 4096
SERIALIZED = b"TRXP\x01"
NUMBER_TYPES = {
    "F32": np.float32,
    "F64": np.float64,
    "BOOL": np.bool_,
    "I64": np.int64,
    "I32": np.int32,
    "U8": np.uint8,
}


def database_tables(path: Path, file: int, size: int) -> Iterator[tuple[pl.DataFrame, float]]:
    """Rows of Trinity-RFT's SQLite database of experiences (``explorer_output.db``), in the order of their ids.

    Its tables hold task, version and reward; the log-probabilities come from the serialized experience, of which only
    the safetensors part is read (the rest is a pickle, and is left alone). Task numbers begin anew in every batch and
    the batch is not in the table, so a group is a run of rows of one task and version.

    Raises:
        ValueError: not such a database.
    """
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        ) as connection:
            table = _experience_table(path, connection)
            total = connection.execute(f'select count(*) from "{table}_meta"').fetchone()[0]
            rows = connection.execute(
                f'select m.id, m.task_id, m.model_version, m.reward, b.experience_bytes from "{table}_meta" m '
                f'left join "{table}_blob" b on b.id = m.id order by m.id'
            )
            done, run, last = 0, 0, None
            while part := rows.fetchmany(ROWS_AT_ONCE):
                found = []
                for place, task, version, reward, blob in part:
                    run += (task, version) != last
                    last = (task, version)
                    found.append(_experience(path, place, f"{version}/{task}/{run}", version, reward, blob))
                done += len(part)
                yield canonical_table(found, file, NO_NUMBER), done / total
    except sqlite3.Error as error:
        raise ValueError(f"{path}: not a {DATABASE}, or damaged ({error})") from None


def _experience_table(path: Path, connection: sqlite3.Connection) -> str:
    names = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    found = sorted(name[:-5] for name in names if name.endswith("_meta") and f"{name[:-5]}_blob" in names)
    if "pipeline_input" in found:
        return "pipeline_input"
    if len(found) != 1:
        raise ValueError(f"{path}: not a {DATABASE}: its tables are {', '.join(sorted(names)) or 'none'}")
    return found[0].replace('"', '""')


def _experience(
    path: Path, place: int, key: str, version: int | None, reward: float | None, blob: bytes | None
) -> dict[str, Any]:
    log_probs = None if blob is None else _log_probs(path, place, blob)
    return {
        "key0": key,
        "version": NO_NUMBER if version is None else version,
        "reward": reward,
        "log_prob": None if log_probs is None else summed([log_probs.tolist()]),
        "current_log_prob": None,
        "length": None if log_probs is None else float(log_probs.size),
        "place": place,
    }


def _log_probs(path: Path, place: int, blob: bytes) -> np.ndarray | None:
    """The tensor ``0:logprobs`` of a serialized experience; None where there is none, or all of it is a pickle.

    Where there is an ``0:action_mask``, the tokens of the policy only.
    """
    if not blob.startswith(SERIALIZED):
        return None
    try:
        skipped, length = struct.unpack_from("<QQ", blob, len(SERIALIZED))
        start = len(SERIALIZED) + 16 + skipped
        tensors = memoryview(blob)[start : start + length]
        (header,) = struct.unpack_from("<Q", tensors)
        entries = json.loads(bytes(tensors[8 : 8 + header]))
        if entries.get("0:logprobs") is None:
            return None
        log_probs = _tensor(tensors[8 + header :], entries["0:logprobs"]).astype(np.float64)
        mask = entries.get("0:action_mask")
        if mask is None:
            return log_probs
        own = _tensor(tensors[8 + header :], mask).astype(bool)
        if own.shape != log_probs.shape:
            raise ValueError(f"{own.size} values in its action_mask, {log_probs.size} log-probabilities")
        return log_probs[own]
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}, row {place}: its experience is damaged ({type(error).__name__})") from None


def _tensor(data: memoryview, entry: dict[str, Any]) -> np.ndarray:
    first, last = entry["data_offsets"]
    part = data[first:last]
    if len(part) != last - first:
        raise ValueError("cut off")
    return np.frombuffer(part, NUMBER_TYPES[entry["dtype"]])


LAYOUTS = (
    Layout(
        "Trinity-RFT experiences (0.6)",
        frozenset({"eid", "info", "reward"}),
        Columns(
            group=("eid.batch", "eid.task"),
            reward=((1.0, "reward"),),
            version="info.model_version",
            length="response_length",
        ),
    ),
    Layout(DATABASE, frozenset(), tables=database_tables, suffixes=(".db", ".sqlite"), unit="row"),
)
