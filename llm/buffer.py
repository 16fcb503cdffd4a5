"""Sampled data on disk: one Parquet file per batch, written whole, never changed.

A killed run therefore leaves complete batches or none, and any tool that reads Parquet reads them: one row per
completion, with its group, version, reward and log-probabilities.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pessimism.shell.files import write_whole

from .samples import Completion, Group, Prompt

SCHEMA = pa.schema(
    [
        ("batch", pa.int64()),
        ("version", pa.int64()),
        ("group", pa.string()),
        ("sample", pa.int32()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("problem", pa.string()),
        ("prompt_tokens", pa.list_(pa.int32())),
        ("tokens", pa.list_(pa.int32())),
        ("log_probs", pa.list_(pa.float32())),
        ("log_prob", pa.float64()),
        ("length", pa.int32()),
        ("finished", pa.bool_()),
        ("reward", pa.float64()),
    ]
)


class Buffer:
    """The batches of a run in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def path(self, batch: int) -> Path:
        """Where a batch is or would be."""
        return self.folder / f"batch-{batch:06d}.parquet"

    def has(self, batch: int) -> bool:
        """Whether a batch is there."""
        return self.path(batch).exists()

    def append(self, groups: Sequence[Group]) -> None:
        """Write the groups of one batch.

        Raises:
            ValueError: no groups, groups of several batches, a batch that is there already, or no space.
        """
        numbers = {group.batch for group in groups}
        if len(numbers) != 1:
            raise ValueError(f"groups are of the batches {sorted(numbers)}; they must be of exactly one")
        path = self.path(numbers.pop())
        if path.exists():
            raise ValueError(f"{path}: is there already; a batch is written once")
        rows = [row for index, group in enumerate(groups) for row in _rows(index, group)]
        content = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), content)
        write_whole(path, content.getvalue())

    def load(self, batch: int) -> list[Group]:
        """The groups of a batch, as they were appended.

        Raises:
            ValueError: no such batch, or a damaged file.
        """
        path = self.path(batch)
        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise ValueError(f"{path}: there is no such batch") from None
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{path}: damaged, or no Parquet ({error}); delete it to draw it again") from None
        if not table.schema.equals(SCHEMA):
            raise ValueError(f"{path}: its columns are not those of a batch; delete it to draw it again")
        found: dict[str, list[dict[str, Any]]] = {}
        for row in table.to_pylist():
            found.setdefault(row["group"], []).append(row)
        return [_group(rows) for rows in found.values()]

    def set_aside(self, first: int) -> list[Path]:
        """Rename the batches from number ``first`` on, which were drawn by weights that no checkpoint kept.

        Returns:
            Their new paths; nothing is deleted.
        """
        moved = []
        for path in sorted(self.folder.glob("batch-*.parquet")):
            if int(path.stem.removeprefix("batch-")) < first:
                continue
            taken = len(list(self.folder.glob(f"{path.stem}.superseded-*")))
            moved.append(path.rename(path.with_suffix(f".superseded-{taken}")))
        return moved


def _rows(index: int, group: Group) -> list[dict[str, Any]]:
    shared = {
        "batch": group.batch,
        "version": group.version,
        "group": f"{group.batch}/{index}",
        "prompt_id": group.prompt.id,
        "prompt": group.prompt.text,
        "problem": json.dumps(dict(group.prompt.problem), sort_keys=True),
        "prompt_tokens": list(group.tokens),
    }
    return [
        shared
        | {
            "sample": sample,
            "tokens": completion.tokens,
            "log_probs": completion.log_probs,
            "log_prob": float(completion.log_probs.sum(dtype=np.float64)),
            "length": len(completion.tokens),
            "finished": completion.finished,
            "reward": float(reward),
        }
        for sample, (completion, reward) in enumerate(zip(group.completions, group.rewards, strict=True))
    ]


def _group(rows: list[dict[str, Any]]) -> Group:
    first = rows[0]
    completions = tuple(
        Completion(np.array(row["tokens"], np.int32), np.array(row["log_probs"], np.float32), row["finished"])
        for row in rows
    )
    return Group(
        Prompt(first["prompt_id"], first["prompt"], json.loads(first["problem"])),
        tuple(first["prompt_tokens"]),
        completions,
        np.array([row["reward"] for row in rows]),
        first["version"],
        first["batch"],
    )
