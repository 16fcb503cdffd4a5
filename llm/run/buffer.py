"""Sampled data on disk: one Parquet file per batch, written whole, never changed.

A killed run therefore leaves complete batches or none, and any tool that reads Parquet reads them: one row per
completion, with its group, version, reward and log-probabilities. The file's metadata hold a digest of its groups,
because Parquet itself does not notice every changed bit.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pessimism.shell import write_whole

from ..samples import Completion, Group, Prompt

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

NAME = re.compile(r"batch-(\d{6,})\.parquet")
DIGEST = b"sha256"
"""Key of the digest in the file's metadata."""


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
        content = io.BytesIO()
        pq.write_table(_table(groups), content)
        write_whole(path, content.getvalue())

    def load(self, batch: int) -> list[Group]:
        """The groups of a batch, as they were appended.

        Raises:
            ValueError: no such batch, or a damaged file.
        """
        path = self.path(batch)
        try:
            return _groups(pq.read_table(path), batch)
        except FileNotFoundError:
            raise ValueError(f"{path}: there is no such batch") from None
        except (OSError, ValueError, TypeError, LookupError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: damaged, or no Parquet ({reason}); delete it to draw it again") from None

    def batches(self) -> list[int]:
        """Numbers of the batches that are there, in order; files of other names are none."""
        names = (NAME.fullmatch(path.name) for path in self.folder.glob("batch-*"))
        return sorted(int(name[1]) for name in names if name)

    def set_aside(self, first: int) -> list[Path]:
        """Rename the batches from number ``first`` on, which were drawn by weights that no checkpoint kept.

        Returns:
            Their new paths; nothing is deleted.
        """
        moved = []
        for path in (self.path(batch) for batch in self.batches() if batch >= first):
            taken = len(list(self.folder.glob(f"{path.stem}.superseded-*")))
            moved.append(path.rename(path.with_suffix(f".superseded-{taken}")))
        return moved


def _table(groups: Sequence[Group]) -> pa.Table:
    """A row for every completion."""
    samples = [completion for group in groups for completion in group.completions]
    counts = [len(group.completions) for group in groups]
    log_probs = [sample.log_probs for sample in samples]

    def repeated(values: Sequence[Any]) -> list[Any]:
        return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]

    columns = {
        "batch": repeated([group.batch for group in groups]),
        "version": repeated([group.version for group in groups]),
        "group": repeated([f"{group.batch}/{index}" for index, group in enumerate(groups)]),
        "sample": [sample for count in counts for sample in range(count)],
        "prompt_id": repeated([group.prompt.id for group in groups]),
        "prompt": repeated([group.prompt.text for group in groups]),
        "problem": repeated([json.dumps(dict(group.prompt.problem), sort_keys=True) for group in groups]),
        "prompt_tokens": _lists(repeated([np.array(group.tokens, np.int32) for group in groups])),
        "tokens": _lists([sample.tokens for sample in samples]),
        "log_probs": _lists(log_probs),
        "log_prob": [float(values.sum(dtype=np.float64)) for values in log_probs],
        "length": [len(sample.tokens) for sample in samples],
        "finished": [bool(sample.finished) for sample in samples],
        "reward": np.concatenate([group.rewards for group in groups]),
    }
    return pa.table(columns, SCHEMA.with_metadata({DIGEST: _digest(groups)}))


def _lists(arrays: Sequence[np.ndarray]) -> pa.ListArray:
    ends = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(arrays)))


def _groups(table: pa.Table, batch: int) -> list[Group]:
    """The groups in a table; a ValueError if they are not what was written for this batch."""
    if not table.schema.equals(SCHEMA):
        raise ValueError("its columns are not those of a batch")
    names = table["group"].to_pylist()
    starts = [row for row, name in enumerate(names) if row == 0 or name != names[row - 1]]
    completions = _completions(table)
    rewards = table["reward"].to_numpy().astype(np.float64)
    groups = [
        _group(table.slice(start, 1).to_pylist()[0], completions[start:end], rewards[start:end])
        for start, end in zip(starts, [*starts[1:], len(names)], strict=True)
    ]
    if _digest(groups) != (table.schema.metadata or {}).get(DIGEST, b"").decode(errors="replace"):
        raise ValueError("its content is not what was written")
    if groups[0].batch != batch:
        raise ValueError(f"it holds batch {groups[0].batch}")
    return groups


def _completions(table: pa.Table) -> tuple[Completion, ...]:
    parts = zip(_arrays(table["tokens"]), _arrays(table["log_probs"]), table["finished"].to_pylist(), strict=True)
    return tuple(Completion(tokens, log_probs, finished) for tokens, log_probs, finished in parts)


def _arrays(column: pa.ChunkedArray) -> list[np.ndarray]:
    """One array for each list of a column, in memory of their own."""
    lists = column.combine_chunks()
    return np.split(lists.flatten().to_numpy().copy(), np.cumsum(lists.value_lengths().to_numpy())[:-1])


def _group(row: dict[str, Any], completions: tuple[Completion, ...], rewards: np.ndarray) -> Group:
    """A group, from its first row and what its rows hold."""
    prompt = Prompt(row["prompt_id"], row["prompt"], json.loads(row["problem"]))
    return Group(prompt, tuple(row["prompt_tokens"]), completions, rewards, row["version"], row["batch"])


def _digest(groups: Sequence[Group]) -> str:
    """Of everything that :meth:`Buffer.load` gives back."""
    found = hashlib.sha256()
    for group in groups:
        prompt = [group.prompt.id, group.prompt.text, dict(group.prompt.problem)]
        samples = [(len(completion.tokens), bool(completion.finished)) for completion in group.completions]
        described = [group.batch, group.version, prompt, list(group.tokens), samples]
        found.update(json.dumps(described, sort_keys=True).encode())
        found.update(group.rewards.astype("<f8").tobytes())
        for completion in group.completions:
            found.update(completion.tokens.astype("<i4").tobytes() + completion.log_probs.astype("<f4").tobytes())
    return found.hexdigest()
