"""prime-rl: a custom loss by import path, and group advantages.

    [trainer.loss]
    type = "custom"
    import_path = "pessimism.trainers.prime_rl.adapter.loss"

    [trainer.loss.kwargs]
    name = "oapl"
    beta1 = 1.0
    beta2 = 0.001

prime-rl's own advantages are rewards minus their group's mean. An objective with another baseline needs its own:

* up to 0.6.0 by import path as well: ``[orchestrator.advantage]`` with
  ``pessimism.trainers.prime_rl.adapter.advantage``;
* from 0.7.0, whose orchestrator has no setting for it, by starting the orchestrator from a few lines that put
  :func:`algorithm_class` where its "grpo" is (``examples/prime_rl/orchestrator.py``).

prime-rl is not on PyPI; written against its releases 0.6.0, 0.7.0 and 0.8.0, and its main branch at commit 559b447.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ...levels import RULES
from ...solve.simplex import Array
from ..tokens import coefficients, normalizer, objective, refuse_coupled, surrogate

__all__ = ["advantage", "algorithm_class", "loss"]


def loss(inputs: Any, **settings: Any) -> Any:
    """The objective's loss of one sequence, summed over its tokens, in prime-rl's ``LossOutputs``.

    prime-rl then divides the sum over sequences by the number of tokens that are trained on.

    Args:
        inputs: its ``LossInputs``, tensors (T,); ``inference_logprobs`` are the behavior policy's.
        **settings: ``name``, parameters and, where wanted, ``level``.

    Raises:
        ValueError: an unknown objective or parameter, or a coupled one.
    """
    from prime_rl.trainer.rl.loss import LossOutputs

    value, metrics = loss_and_metrics(inputs, settings)
    return LossOutputs(loss=value, metrics=metrics)


def loss_and_metrics(inputs: Any, settings: Mapping[str, Any]) -> tuple[Array, dict[str, Array]]:
    """What :func:`loss` puts into prime-rl's type."""
    algorithm = objective(settings)
    refuse_coupled(algorithm, "prime-rl")
    log_prob, mask = inputs.trainer_logprobs[None], inputs.loss_mask[None]
    xp = array_namespace(log_prob)
    coefficient = coefficients(algorithm, log_prob, inputs.inference_logprobs[None], inputs.advantages[None], mask)
    losses = surrogate(algorithm, log_prob, coefficient, mask)[0]
    if RULES[algorithm.level].averaged:
        losses = losses / max(1, int(xp.sum(xp.astype(mask, xp.int64))))
    weights = getattr(inputs, "loss_weights", None)  # since 0.7.0
    if weights is not None:
        losses = losses * weights
    return xp.sum(losses), {"normalizer": normalizer(coefficient, mask)}


def advantage(inputs: Any, **settings: Any) -> Any:
    """Advantages of one group by the objective's baseline, in the ``AdvantageOutputs`` of prime-rl up to 0.6.0.

    Args:
        inputs: its ``AdvantageInputs``: ``rollouts`` with a ``reward`` each.
        **settings: ``name`` and parameters, as for the loss.
    """
    from prime_rl.orchestrator.advantage import AdvantageOutputs

    return AdvantageOutputs(advantages=group_advantages([r["reward"] for r in inputs.rollouts], settings))


def algorithm_class(settings: Mapping[str, Any]) -> type:
    """The ``Algorithm`` of prime-rl from 0.7.0 whose advantages come from the objective's baseline.

    Args:
        settings: ``name`` and parameters, as for the loss.

    Raises:
        ValueError: an unknown objective or parameter; when it is set up, a length penalty, which would be ignored.
    """
    from prime_rl.orchestrator.algo.base import Algorithm

    objective(settings)

    class GroupBaseline(Algorithm):
        def __init__(self, config: Any, policy_pool: Any) -> None:
            if getattr(config, "length_penalty", None) is not None:
                raise ValueError(
                    "orchestrator.algo.length_penalty is set; leave it out: the baseline has no length penalty"
                )
            super().__init__(config, policy_pool)

        async def score_group(self, group: list[Any]) -> None:
            scored = members(group)
            advantages = group_advantages([reward for reward, _ in scored], settings) if scored else []
            for value, (_, assign) in zip(advantages, scored, strict=True):
                assign(value)

    return GroupBaseline


def members(group: Sequence[Any]) -> list[tuple[float, Callable[[float], None]]]:
    """The reward of every member of a group, and what gives it its advantage."""
    if all(hasattr(member, "assign_advantages") for member in group):  # rollouts, in 0.7.0 and 0.8.0
        return [(member.reward, member.assign_advantages) for member in group]
    from prime_rl.orchestrator.algo.base import iter_trainable_traces
    from prime_rl.orchestrator.algo.routing import assign_advantages

    traces = [trace for _, trace in iter_trainable_traces(group)]  # of episodes, since
    return [(trace.reward, partial(assign_advantages, trace)) for trace in traces]


def group_advantages(rewards: Sequence[float], settings: Mapping[str, Any]) -> list[float]:
    """Advantages of one group's rewards.

    >>> group_advantages([0.0, 1.0], {"name": "shifted_mean", "beta": 0.5})
    [0.0, 1.0]
    """
    return objective(settings).advantage(np.asarray(rewards, dtype=np.float64)).tolist()
