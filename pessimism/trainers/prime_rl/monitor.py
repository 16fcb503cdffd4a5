"""Monitor for prime-rl: groups where the orchestrator scores them, tokens where the trainer computes a custom loss.

In the lines that start the orchestrator (0.7.0 and later), around whatever class gives advantages:

    ALGORITHM_CLASSES["grpo"] = watch(ALGORITHM_CLASSES["grpo"], "ppo")

The numbers of the groups since the last log go, under ``pessimism/``, to prime-rl's own monitor. In the trainer:

    [trainer.loss]
    type = "custom"
    import_path = "pessimism.trainers.prime_rl.monitor.loss"

with the ``kwargs`` of ``pessimism.trainers.prime_rl.adapter.loss``, or with ``watched = "module.function"``, a custom
loss of one's own, and its arguments. The loss is that of the one watched; prime-rl's built-in losses are not custom
ones and cannot be watched so. prime-rl averages metrics over the sequences of all ranks, so that what is told of a
sequence is what has a meaning on average; see :func:`sequence_metrics`.

prime-rl is not on PyPI: written against its main branch as published, tested on its recorded interface, not in a run.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from array_api_compat import array_namespace

from ...algorithm import Algorithm
from ...audit.token_sums import CLIP
from ...monitor import Monitor
from ...solve.simplex import Array
from . import adapter

__all__ = ["loss", "sequence_metrics", "watch"]


def loss(inputs: Any, *, watched: str | None = None, **settings: Any) -> Any:
    """A custom loss as it is, with the distances of the sequence among its metrics.

    Args:
        inputs: prime-rl's ``LossInputs``.
        watched: the custom loss, ``module.function``; that of the adapter where None.
        **settings: its arguments.

    Raises:
        ValueError: ``watched`` names no function.
    """
    found = _custom(watched)(inputs, **settings)
    metrics = sequence_metrics(inputs.trainer_logprobs, inputs.inference_logprobs, inputs.loss_mask)
    return type(found)(loss=found.loss, metrics={**found.metrics, **metrics})


def _custom(path: str | None) -> Any:
    if path is None:
        return adapter.loss
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"watched is {path!r}; it must name a function as module.function ({error})") from None


def sequence_metrics(current: Array, behavior: Array, mask: Array) -> dict[str, Array]:
    r"""What one sequence adds to means over sequences, with $\ell$ its summed log-ratio and $\rho = e^\ell$.

    ``k1`` $= -\ell$ and ``k3`` $= \rho - 1 - \ell$, whose means estimate $\mathrm{KL}(\mu\|\pi)$ in nats; ``ratio`` and
    ``ratio_square``, of whose means the effective sample size is ``ratio``^2 / ``ratio_square``; ``outside``, the share
    of its tokens with a ratio outside .8 to 1.2. All are 0 where no token is trained on.

    Args:
        current, behavior: (T,) log-probabilities, nats.
        mask: (T,) true for the tokens that are trained on.
    """
    xp = array_namespace(current)
    if hasattr(current, "detach"):
        current = current.detach()
    counted = xp.astype(mask, current.dtype)
    each = (current - behavior) * counted
    x, count = xp.sum(each), xp.sum(counted)
    some = xp.astype(count > 0, current.dtype)
    ratio, ratios = xp.exp(x), xp.exp(each)
    outside = xp.astype((ratios < CLIP[0]) | (ratios > CLIP[1]), current.dtype)
    found = {
        "k1": -x,
        "k3": ratio - 1 - x,
        "ratio": ratio * some,
        "ratio_square": ratio * ratio * some,
        "outside": xp.sum(outside * counted) / xp.clip(count, 1, None),
    }
    return {f"pessimism/{name}": value for name, value in found.items()}


def watch(algorithm: type, objective: Algorithm | str) -> type:
    """The class that gives advantages, watched: groups are seen after it has scored them, and left as they are.

    Args:
        algorithm: prime-rl's ``Algorithm``, or the adapter's.
        objective: what the trainer optimizes.
    """
    seen = _Orchestrator(Monitor(objective))

    class Watched(algorithm):
        async def score_group(self, group: list[Any]) -> None:
            await super().score_group(group)
            seen.see(group)

    Watched.__name__ = Watched.__qualname__ = algorithm.__name__
    return Watched


class _Orchestrator:
    """Groups since the last log, and prime-rl's monitor, whose next log tells them."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.alerts: list[tuple[int, str]] = []
        self.logs = 0
        self._groups: list[list[float]] = []
        self._attached = False

    def see(self, group: Sequence[Any]) -> None:
        self._attach()
        rewards = [reward for reward, _ in adapter.members(group)]
        if len(rewards) > 1:
            self._groups.append(rewards)

    def _attach(self) -> None:
        if self._attached:
            return
        from prime_rl.utils.monitor import get_monitor

        theirs = get_monitor()
        log = theirs.log

        def logged(metrics: Mapping[str, Any], *others: Any, **options: Any) -> Any:
            return log({**metrics, **self.told()}, *others, **options)

        theirs.log = logged
        self._attached = True

    def told(self) -> dict[str, float]:
        """Of the groups of the commonest size since the last call."""
        groups, self._groups = self._groups, []
        if not groups:
            return {}
        self.logs += 1
        self.monitor.see_groups_of_any_size(groups)
        return self.monitor.report(self.logs, self.alerts)
