"""Logs of frameworks whose configurations are not read."""

from __future__ import annotations

from ..audit.layout import Columns, Layout

LAYOUTS = (
    Layout(
        "ms-swift completions",
        frozenset({"step", "prompt", "completion", "advantages"}),
        Columns(group=("step", "prompt"), step="step", in_runs=True),
        other_numbers=frozenset({"step", "advantages"}),
    ),
    Layout(
        "slime samples",
        frozenset({"group_index", "index", "response_length", "reward"}),
        Columns(
            group=("group_index",),
            reward=((1.0, "reward"),),
            log_prob="rollout_log_probs",
            version="weight_versions",
            optional=("log_prob", "version"),
        ),
    ),
    Layout(
        "AReaL trajectories",
        frozenset({"task_id", "sample_idx", "seqlen", "prompt_len", "head_version", "reward"}),
        Columns(group=("task_id",), reward=((1.0, "reward"),), version="head_version"),
    ),
    Layout(
        "SkyRL dumps of evaluations",
        frozenset({"input_prompt", "output_response", "score"}),
        Columns(group=("input_prompt",), reward=((1.0, "score"),)),
    ),
)
