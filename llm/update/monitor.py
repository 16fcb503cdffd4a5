"""Monitor of a run: how far the groups' targets are from the nominal ones, and alerts in words.

The numbers depend on the step alone, so that a resumed run writes the same ones down; alerts are said, and not written.
"""

from __future__ import annotations

import numpy as np

import pessimism as ps
from pessimism.monitor import ALERTS, Bounds, Monitor, negative_alert

from .loss import Step
from .metrics import has_targets, regimes

TARGETS = ("target_kl", "nominal_kl", "kl_gap", "target_value_change", "saturated", "moved")
"""Numbers of a :class:`pessimism.monitor.Monitor` that no other metric of a step tells."""


class StepMonitor:
    """Called after every step; the same alert is said once in ``bounds.repeat`` steps."""

    def __init__(self, algorithm: ps.Algorithm, bounds: Bounds | None = None) -> None:
        self.algorithm = algorithm
        self.bounds = Bounds() if bounds is None else bounds
        self._said: dict[str, int] = {}

    def __call__(self, number: int, step: Step, lag: int) -> dict[str, float]:
        """Numbers of a step under ``monitor/``, and its alerts to the logger of ``pessimism.monitor``.

        Targets are those of groups outside the negative regime, as in ``llm.update.metrics``.

        Args:
            number: steps done.
            step: what the update saw.
            lag: updates since its samples were drawn.
        """
        monitor = Monitor(self.algorithm, self.bounds, share=None)
        batch, alerts = step.batch, []
        reward = batch.reward.reshape(batch.groups, -1)
        if has_targets(self.algorithm):
            sign = regimes(step, self.algorithm)
            with_signal = np.ptp(reward, axis=1) > 0
            if (sign >= 0).any():
                monitor.see_groups(reward[sign >= 0])
            negative = float((sign < 0)[with_signal].mean()) if with_signal.any() else 0.0
            if negative > self.bounds.negative:
                alerts.append(negative_alert(negative))
        behavior = np.concatenate(batch.behavior_log_probs).astype(np.float64)
        high = (reward > reward.mean(axis=1, keepdims=True)).reshape(-1)
        monitor.see_packed(behavior, behavior + step.token_log_ratio, batch.length, lag, high)
        told = monitor.step()
        self._say(number, [*alerts, *told.alerts])
        return {f"monitor/{name}": told.numbers[name] for name in TARGETS if name in told.numbers}

    def _say(self, number: int, alerts: list[str]) -> None:
        for text in alerts:
            kind = text.split()[0]
            if number - self._said.get(kind, -self.bounds.repeat) >= self.bounds.repeat:
                self._said[kind] = number
                ALERTS.warning("step %d: %s", number, text)
