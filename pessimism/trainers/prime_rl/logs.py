"""prime-rl's logs: episodes of rollouts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from ...audit import lines
from ...audit.layout import Layout
from ...audit.nested import canonical_table, summed
from ...audit.rows import NO_NUMBER

EPISODES = "prime-rl episodes (prime-rl 0.8, verifiers 0.4)"
STEP_FOLDER = re.compile(r"step_(\d+)")


def episode_tables(path: Path, file: int, size: int) -> Iterator[tuple[pl.DataFrame, float]]:
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
            yield canonical_table(rows, file, step), done / size


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
        "log_prob": summed(node["logprobs"] for node in sampled) if sampled else None,
        "current_log_prob": summed(trained) if trained and all(part is not None for part in trained) else None,
        "length": float(sum(len(node["logprobs"]) for node in sampled)),
    }


LAYOUTS = (
    Layout(EPISODES, frozenset({"traces", "task", "env"}), tables=episode_tables),
    Layout(
        "prime-rl token exports (0.8)",
        frozenset({"token_ids", "inference_logprobs", "trainer_logprobs", "loss_mask"}),
        refusal="they hold neither rewards nor groups; audit rollouts/step_*/train/effective/traces.jsonl instead",
    ),
)
