"""Monitor for TRL: every step of a GRPOTrainer watched, its objective left as it is. Written against TRL 1.16.

``watch(trainer)`` before ``trainer.train()``; the numbers go, under ``pessimism/``, to whatever the trainer reports to.
Every process watches its own completions, and what the main one saw is reported; rewards are those of all.
"""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback

from ...algorithm import Algorithm
from ...monitor import Bounds, Monitor
from ..document import Document
from .config import read_trl

__all__ = ["MonitorCallback", "watch"]


class MonitorCallback(TrainerCallback):
    """Collects what a trainer computes anyway, and reports it after every optimizer step.

    Rewards come from ``_calculate_rewards``, log-probabilities of the policy being trained from the pass that the loss
    makes, those of the sampler from the batch: ``sampling_per_token_logps`` with vLLM, else ``old_per_token_logps``,
    which the trainer computed itself. Where a batch has neither, the policy that is trained is the one that sampled.

    Attributes:
        monitor: what makes numbers of them.
        alerts: (step, text) of all that were raised.
        seconds: time taken so far.
    """

    def __init__(self, trainer: Any, monitor: Monitor) -> None:
        self.monitor = monitor
        self.alerts: list[tuple[int, str]] = []
        self.seconds = 0.0
        self._trainer, self._last = trainer, None
        self._generated_at = 0
        self._began = time.perf_counter()
        self._entropy: list[float] = []
        self._wrap("_calculate_rewards", self._see_rewards)
        self._wrap("_get_per_token_logps_and_entropies", self._see_pass)
        self._wrap("_compute_loss", self._see_loss)

    @property
    def share(self) -> float:
        """Time that the monitor has taken, as a share of the time since it began."""
        return self.seconds / max(time.perf_counter() - self._began, 1e-9)

    def _wrap(self, name: str, see: Any) -> None:
        original = getattr(self._trainer, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            found = original(*arguments, **options)
            started = time.perf_counter()
            see(found, arguments)
            self.seconds += time.perf_counter() - started
            return found

        setattr(self._trainer, name, wrapped)

    def _see_rewards(self, rewards: Any, arguments: Any) -> None:
        """Rewards (N, functions) of all processes, NaN where a function gave none."""
        if not self._trainer.model.training:
            return
        self._generated_at = self._trainer.state.global_step
        weighted = rewards.detach().float() * self._trainer.reward_weights.to(rewards.device)
        total = weighted.nansum(dim=1)
        total[rewards.isnan().all(dim=1)] = float("nan")
        self.monitor.see_groups(total.reshape(-1, self._trainer.num_generations).cpu().numpy())

    def _see_pass(self, found: Any, arguments: Any) -> None:
        if found[0].requires_grad:
            self._last = found[0].detach(), found[1].detach() if found[1] is not None else None

    def _see_loss(self, found: Any, arguments: Any) -> None:
        last, self._last = self._last, None
        if last is None or not self._trainer.model.training:
            return
        inputs = arguments[1]
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        current, entropies = last
        behavior = next((part for name in BEHAVIOR if (part := inputs.get(name)) is not None), current)
        advantages = inputs["advantages"]
        high = (advantages if advantages.dim() == 1 else advantages[:, 0]) > 0
        lag = self._trainer.state.global_step - self._generated_at
        arrays = (part.detach().float().cpu().numpy() for part in (behavior, current, mask))
        said = self._trainer.use_vllm or inputs.get("sampling_per_token_logps") is not None
        self.monitor.see_tokens(*arrays, lag=lag, high=high.cpu().numpy(), sampled=said)
        if entropies is not None:
            self._entropy.append(float((entropies * mask).sum() / max(len(mask), 1)))

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Time is told as a share of what passes from here on."""
        self.seconds, self._began = 0.0, time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Report the step."""
        started = time.perf_counter()
        entropy, self._entropy = self._entropy, []
        told = self.monitor.step(sum(entropy) / len(entropy) if entropy else None)
        metrics = self._trainer._metrics["train"]
        numbers = told.reported(state.global_step, self.alerts)
        for name, value in {**numbers, "pessimism/overhead": self.share}.items():
            metrics[name].append(value)
        self.seconds += time.perf_counter() - started


BEHAVIOR = ("behavior_log_probs", "sampling_per_token_logps", "old_per_token_logps")
"""Where a batch holds the sampler's log-probabilities, the truest first."""


def watch(trainer: Any, objective: Algorithm | str | None = None, bounds: Bounds | None = None) -> MonitorCallback:
    """Watch a GRPOTrainer, or the adapter's, from now on.

    Args:
        trainer: before ``train()``.
        objective: what it optimizes; None to read that off its configuration.
        bounds: of alerts.

    Raises:
        ValueError: the configuration's objective is not one that is known; say which.
    """
    chosen = _objective(trainer) if objective is None else objective
    callback = MonitorCallback(trainer, Monitor(chosen, bounds))
    trainer.add_callback(callback)
    return callback


def _objective(trainer: Any) -> Algorithm:
    own = getattr(trainer, "algorithm", None)
    if isinstance(own, Algorithm):
        return own
    found = read_trl(Document("GRPOConfig", trainer.args.to_dict())).objective
    if found.algorithm is None:
        raise ValueError(f"cannot tell what the trainer optimizes ({found.unknown}); name it with objective=...")
    return found.algorithm
