"""Monitor for verl: the numbers of every step in what verl logs, and alerts in words, its objective left as it is.

verl imports the modules that ``VERL_USE_EXTERNAL_MODULES`` lists wherever it runs, and importing this one is all:

    ray_kwargs.ray_init.runtime_env.env_vars:
      VERL_USE_EXTERNAL_MODULES: pessimism.trainers.verl.monitor
      PESSIMISM_OBJECTIVE: ppo_dual_clip     # what the run optimizes; with the adapter its config says so

Rewards are seen where verl takes advantages by group, in the driver's process. Log-probabilities are those that verl
compares itself: the engine's, with ``rollout.calculate_log_probs: true``, and the trainer's before the update, so that
all of them are of lag 0 as verl counts. With ``bypass_mode`` verl has none of the trainer's there, and groups alone are
watched. Written against verl 0.9.1.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from verl.trainer.ppo import core_algos
from verl.utils import tracking
from verl.utils.debug import metrics as debug_metrics

from ...algorithm import Algorithm
from ...monitor import Monitor
from ..tokens import objective

__all__ = ["OBJECTIVE", "Watch", "watch"]

OBJECTIVE = "PESSIMISM_OBJECTIVE"
"""The environment variable that names the objective."""


class Watch:
    """What one process of verl has shown since it last logged."""

    def __init__(self) -> None:
        self.monitor: Monitor | None = None
        self.alerts: list[tuple[int, str]] = []
        self._seen = False

    def see_rewards(self, values: dict[str, Any]) -> None:
        """What an advantage estimator was called with; one that is not told the groups shows nothing.

        Groups of the commonest size are watched: verl pads batches with others.
        """
        rewards, index = values.get("token_level_rewards"), values.get("index")
        if rewards is None or index is None:
            return
        totals = rewards.detach().double().sum(dim=-1).cpu().numpy()
        groups: dict[Any, list[float]] = {}
        for prompt, total in zip(np.asarray(index).tolist(), totals.tolist(), strict=True):
            groups.setdefault(prompt, []).append(total)
        if any(len(group) > 1 for group in groups.values()):
            self._of(values).see_groups_of_any_size(list(groups.values()))
            self._seen = True

    def see_log_probs(self, data: Any) -> None:
        """A batch with the engine's and the trainer's log-probabilities of the same tokens."""
        batch = data.batch if hasattr(data, "batch") else data
        names = ("rollout_log_probs", "old_log_probs", "response_mask")
        if self.monitor is not None or os.environ.get(OBJECTIVE):
            found = [batch[name].detach().float().cpu().numpy() for name in names if name in batch]
            if len(found) == len(names):
                self._of({}).see_tokens(*found)
                self._seen = True

    def told(self, step: int) -> dict[str, float]:
        """The numbers since the last call, under ``pessimism/``; alerts go to the logger ``pessimism.monitor``."""
        if self.monitor is None or not self._seen:
            return {}
        self._seen = False
        return self.monitor.report(step, self.alerts)

    def _of(self, values: dict[str, Any]) -> Monitor:
        if self.monitor is None:
            self.monitor = Monitor(_objective(values.get("config")))
        return self.monitor


def _objective(config: Any) -> Algorithm | str:
    named = os.environ.get(OBJECTIVE)
    if named:
        return named
    settings = config.get("objective") if config is not None and hasattr(config, "get") else None
    if not settings:
        raise ValueError(f"{OBJECTIVE} is not set; it says what the run optimizes, such as {OBJECTIVE}=ppo_dual_clip")
    return objective(settings)


def watch() -> Watch:
    """Watch every advantage, comparison of log-probabilities and log of this process from now on."""
    seen = Watch()
    original = core_algos.compute_grpo_outcome_advantage  # which verl calls past its registry
    core_algos.compute_grpo_outcome_advantage = _after_estimator(original, seen)
    find = core_algos.get_adv_estimator_fn
    compare, log = debug_metrics.calculate_debug_metrics, tracking.Tracking.log

    @wraps(find)
    def found(name: Any) -> Any:
        return _after_estimator(find(name), seen)

    @wraps(compare)
    def compared(data: Any) -> Any:
        seen.see_log_probs(data)
        return compare(data)

    @wraps(log)
    def logged(self: Any, data: Any, step: Any, *others: Any, **options: Any) -> Any:
        return log(self, {**data, **seen.told(step)}, step, *others, **options)

    core_algos.get_adv_estimator_fn = found
    debug_metrics.calculate_debug_metrics, tracking.Tracking.log = compared, logged
    return seen


def _after_estimator(estimator: Callable[..., Any], seen: Watch) -> Callable[..., Any]:
    @wraps(estimator)
    def watched(*arguments: Any, **options: Any) -> Any:
        seen.see_rewards(dict(zip(POSITIONS, arguments, strict=False)) | options)
        return estimator(*arguments, **options)

    return watched


POSITIONS = ("token_level_rewards", "response_mask", "index")
"""The first arguments of verl's estimators of groups, by place."""

WATCH = watch()
"""Of this process."""
