"""Monitor for Trinity-RFT: groups in its experience pipeline, tokens where its trainer compares log-probabilities.

    data_processor:
      experience_pipeline:
        operators:
          - name: pessimism.trainers.trinity.monitor.Watch
            args: {objective: {name: ppo_dual_clip}}

The operator changes no experience; its numbers appear as ``experience_pipeline/pessimism/...`` in whatever Trinity-RFT
monitors with. For tokens, a file in a folder of plugins (``TRINITY_PLUGIN_DIRS``) with

    from pessimism.trainers.trinity.monitor import watch_trainer
    watch_trainer({"name": "ppo_dual_clip"})

adds ``pessimism/...`` to the trainer's metrics where it compares the engine's log-probabilities with its own, which it
does with ``algorithm.bypass_old_logprobs: false`` only; otherwise it has none of its own before the update.
Written against Trinity-RFT 0.6.0; tested on its pipeline's operators and verl's comparison, not in a whole run.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from itertools import count
from typing import Any

from trinity.buffer.operators import ExperienceOperator
from trinity.common.experience import Experience, group_by

from ...monitor import Monitor
from ..tokens import objective as read_objective

__all__ = ["Watch", "watch_trainer"]


class Watch(ExperienceOperator):
    """Groups of every explorer step: the experiences of a task, the last step of each of its runs.

    Args:
        objective: ``name`` and parameters of what the run optimizes, as for the adapter.

    Raises:
        ValueError: an unknown objective or parameter.
    """

    def __init__(self, objective: Mapping[str, Any]) -> None:
        self.monitor = Monitor(read_objective(objective))
        self.alerts: list[tuple[int, str]] = []
        self.steps = 0

    def process(self, exps: list[Experience]) -> tuple[list[Experience], dict[str, float]]:
        """The experiences as they are, and the numbers of their groups."""
        groups = [_rewards(group) for group in group_by(exps, id_type="task").values()]
        if not any(len(group) > 1 for group in groups):
            return exps, {}
        self.steps += 1
        self.monitor.see_groups_of_any_size(groups)
        return exps, self.monitor.report(self.steps, self.alerts)


def _rewards(group: list[Experience]) -> list[float]:
    """One reward of every run, that of its last step; where a workflow numbers no runs, every experience is one."""
    numbered = len({(exp.eid.run, exp.eid.step) for exp in group}) > 1
    last: dict[Any, Experience] = {}
    for place, exp in enumerate(group):
        run = exp.eid.run if numbered else place
        if exp.reward is not None and (run not in last or exp.eid.step >= last[run].eid.step):
            last[run] = exp
    return [float(exp.reward) for exp in last.values() if exp.reward is not None]


def watch_trainer(objective: Mapping[str, Any]) -> Monitor:
    """Add the distances of tokens to what verl's comparison returns in this process, from now on."""
    from verl.utils.debug import metrics

    monitor, compare = Monitor(read_objective(objective)), metrics.calculate_debug_metrics
    alerts: list[tuple[int, str]] = []
    steps = count(1)

    @wraps(compare)
    def compared(data: Any) -> Any:
        found = compare(data)
        names = ("rollout_log_probs", "old_log_probs", "response_mask")
        if all(name in data.batch for name in names):
            monitor.see_tokens(*(data.batch[name].detach().float().cpu().numpy() for name in names))
            found = {**found, **monitor.step().reported(next(steps), alerts)}
        return found

    metrics.calculate_debug_metrics = compared
    return monitor
