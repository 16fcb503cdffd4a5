"""Logs whose rows are not on the surface: prime-rl's episodes and Trinity-RFT's experience database."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from . import lines
from .fields import DATABASE, EPISODES
from .rows import NO_NUMBER

ROWS_AT_ONCE = 4096
STEP_FOLDER = re.compile(r"step_(\d+)")
SERIALIZED = b"TRXP\x01"
FLOAT_TYPES = {"F32": np.float32, "F64": np.float64}


def episode_tables(path: Path, file: int, size: int) -> Iterator[tuple[pa.Table, float]]:
    """Rows of ``rollouts/step_N/train/effective/traces.jsonl``: one per trainable trace that ended well.

    A line is an episode: ``group.id``, ``run.work.policy.start`` (the version) and traces with named, weighted rewards
    and the log-probabilities of the sampled tokens of every message. The step is that of the folder.

    Raises:
        ValueError: a line that is no such episode.
    """
    folder = next((match for part in path.resolve().parts if (match := STEP_FOLDER.fullmatch(part))), None)
    step = int(folder[1]) if folder else NO_NUMBER
    for line, block, done in lines.blocks(path):
        rows: list[dict[str, Any]] = []
        for number, record in lines.records(path, line, block):
            try:
                rows += _traces(record, number)
            except (KeyError, TypeError, AttributeError, IndexError) as error:
                raise ValueError(
                    f"{path}, line {number}: not one of {EPISODES}: {type(error).__name__} {error}"
                ) from None
        if rows:
            yield _table(rows, file, step), done / size


def _traces(episode: dict[str, Any], number: int) -> list[dict[str, Any]]:
    policy = ((episode.get("run") or {}).get("work") or {}).get("policy") or {}
    shared = {
        "key0": None if episode.get("group") is None else str(episode["group"]["id"]),
        "version": policy.get("start", NO_NUMBER),
        "place": number,
    }
    return [
        shared | _trace(trace) for trace in episode["traces"] if trace["agent"].get("trainable", True) and trace["ok"]
    ]


def _trace(trace: dict[str, Any]) -> dict[str, Any]:
    sampled = [node for node in trace["nodes"] if node.get("logprobs")]
    trained = [node.get("trainer_logprobs") for node in sampled]
    return {
        "reward": float(sum(r["score"] * r.get("weight", 1.0) for r in trace["rewards"].values() if r is not None)),
        "log_prob": _sum(node["logprobs"] for node in sampled) if sampled else None,
        "current_log_prob": _sum(trained) if trained and all(part is not None for part in trained) else None,
        "length": float(sum(len(node["logprobs"]) for node in sampled)),
    }


def _sum(parts: Any) -> float:
    """Sum over messages; a token more probable than certain makes the sum so too."""
    values = [math.nan if value is None else float(value) for part in parts for value in part]
    return max(sum(values), max(values)) if values and max(values) > 0 else math.fsum(values)


def _table(rows: list[dict[str, Any]], file: int, step: int) -> pa.Table:
    floats = {
        name: np.array([math.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
        for name in ("reward", "log_prob", "current_log_prob", "length")
    }
    for name in ("log_prob", "current_log_prob"):
        if np.isnan(floats[name]).all():  # these files have none
            del floats[name]
    versions = {"version": [row["version"] for row in rows], "step": [step] * len(rows)}
    return pa.table(
        {"key0": pa.array([row["key0"] for row in rows], pa.large_string())}
        | {name: pa.array(values) for name, values in floats.items()}
        | {name: pa.array(values, pa.int64()) for name, values in versions.items() if set(values) != {NO_NUMBER}}
        | {
            "file": pa.array([file] * len(rows), pa.int32()),
            "place": pa.array([row["place"] for row in rows], pa.int64()),
        }
    )


def database_tables(path: Path, file: int) -> Iterator[tuple[pa.Table, float]]:
    """Rows of Trinity-RFT's SQLite database of experiences (``explorer_output.db``), in the order of their ids.

    Its tables hold task, version and reward; the log-probabilities come from the serialized experience, of which only
    the safetensors part is read (the rest is a pickle, and is left alone). Task numbers begin anew in every batch and
    the batch is not in the table, so a group is a run of rows of one task and version.

    Raises:
        ValueError: not such a database.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
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
                yield _table(found, file, NO_NUMBER), done / total
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
        "log_prob": None if log_probs is None else _sum([log_probs.tolist()]),
        "current_log_prob": None,
        "length": None if log_probs is None else float(log_probs.size),
        "place": place,
    }


def _log_probs(path: Path, place: int, blob: bytes) -> np.ndarray | None:
    """The tensor ``0:logprobs`` of a serialized experience; None where there is none, or all of it is a pickle."""
    if not blob.startswith(SERIALIZED):
        return None
    try:
        skipped, length = struct.unpack_from("<QQ", blob, len(SERIALIZED))
        start = len(SERIALIZED) + 16 + skipped
        tensors = memoryview(blob)[start : start + length]
        (header,) = struct.unpack_from("<Q", tensors)
        entry = json.loads(bytes(tensors[8 : 8 + header])).get("0:logprobs")
        if entry is None:
            return None
        first, last = entry["data_offsets"]
        data = tensors[8 + header + first : 8 + header + last]
        if len(data) != last - first:
            raise ValueError("cut off")
        return np.frombuffer(data, FLOAT_TYPES[entry["dtype"]]).astype(np.float64)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}, row {place}: its experience is damaged ({type(error).__name__})") from None
