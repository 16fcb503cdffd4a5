"""Trinity-RFT: a policy loss and an advantage that its registries find by their dotted path.

    algorithm:
      algorithm_type: grpo
      advantage_fn: pessimism.trainers.trinity.adapter.Advantage
      advantage_fn_args: {objective: {name: oapl, beta1: 1.0, beta2: 0.001}}
      policy_loss_fn: pessimism.trainers.trinity.adapter.PolicyLoss
      policy_loss_fn_args: {objective: {name: oapl, beta1: 1.0, beta2: 0.001}, loss_agg_mode: seq-mean-token-sum}
      loss_agg_mode: seq-mean-token-sum   # Trinity-RFT puts this one into the arguments above
      kl_loss_fn: none

Its ``old_logprob`` are the rollout engine's own while ``algorithm.bypass_old_logprobs`` is true, which is its default.
Written against Trinity-RFT 0.6.0.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from array_api_compat import array_namespace
from trinity.algorithm.advantage_fn import GroupAdvantage
from trinity.algorithm.policy_loss_fn import PolicyLossFn
from trinity.algorithm.utils import aggregate_loss
from trinity.common.experience import Experience, group_by

from ...algorithm import Algorithm
from ...solve.simplex import Array
from ..tokens import SEQUENCE_SUM, check_aggregation, coefficients, normalizer, objective, refuse_coupled, surrogate

__all__ = ["Advantage", "PolicyLoss"]

# An objective must be named: what Trinity-RFT takes where a config has no arguments says so when it is made.
_UNNAMED: dict[str, Any] = {}


class PolicyLoss(PolicyLossFn):
    """The loss of an objective of the catalogue.

    Args:
        backend: Trinity-RFT's trainer, which decides what it calls tensors.
        objective: ``name``, parameters and, where wanted, ``level``.
        loss_agg_mode: how tokens are averaged.

    Raises:
        ValueError: an unknown objective or parameter, a coupled one, or an aggregation that changes the objective.
    """

    def __init__(
        self,
        backend: str = "verl",
        objective: Mapping[str, Any] = _UNNAMED,
        loss_agg_mode: str = SEQUENCE_SUM,
    ) -> None:
        super().__init__(backend=backend)
        self.objective = dict(objective)  # not the algorithm, whose functions Ray would have to send to the workers
        self.loss_agg_mode = loss_agg_mode
        algorithm = _objective(self.objective, "policy_loss_fn_args")
        refuse_coupled(algorithm, "Trinity-RFT")
        check_aggregation(algorithm, loss_agg_mode, "algorithm.loss_agg_mode")

    def __call__(
        self, logprob: Array, old_logprob: Array, action_mask: Array, advantages: Array, **kwargs: Any
    ) -> tuple[Array, dict[str, float]]:
        """The loss of a batch, all tensors (B, T), and its metrics; (T,) is one completion, as Trinity's Tinker path
        gives it."""
        if logprob.ndim == 1:
            logprob, old_logprob, action_mask, advantages = (
                tensor[None] for tensor in (logprob, old_logprob, action_mask, advantages)
            )
        algorithm = objective(self.objective)
        coefficient = coefficients(algorithm, logprob, old_logprob, advantages, action_mask)
        losses = surrogate(algorithm, logprob, coefficient, action_mask)
        loss = aggregate_loss(losses, action_mask, loss_agg_mode=self.loss_agg_mode)
        return loss, {"pg_loss": float(loss.detach()), "normalizer": float(normalizer(coefficient, action_mask))}

    @classmethod
    def default_args(cls) -> dict[str, Any]:
        """What Trinity-RFT passes where a config has no ``policy_loss_fn_args``."""
        return {"objective": {}, "loss_agg_mode": SEQUENCE_SUM}


class Advantage(GroupAdvantage):
    """Advantages by an objective's baseline, over the experiences of one task.

    Args:
        objective: ``name`` and parameters, as for the loss.

    Raises:
        ValueError: an unknown objective or parameter.
    """

    def __init__(self, objective: Mapping[str, Any] = _UNNAMED) -> None:
        self.objective = dict(objective)
        _objective(self.objective, "advantage_fn_args")

    def group_experiences(self, exps: list[Experience]) -> dict[str, list[Experience]]:
        """Experiences of the same task."""
        return group_by(exps, id_type="task")

    def calculate_group_advantage(
        self, group_id: str, exps: list[Experience]
    ) -> tuple[list[Experience], dict[str, float]]:
        """Write ``advantages`` and ``returns`` of every experience of a group, per token.

        Raises:
            ValueError: a reward that is not finite, or a group too small for the baseline; names the task.
        """
        # An array of the type of the masks, made without importing it.
        mask = exps[0].action_mask
        xp = array_namespace(mask)
        reward = xp.asarray([float(exp.reward) for exp in exps], dtype=xp.float64)
        try:
            advantages = objective(self.objective).advantage(reward)
        except ValueError as error:
            raise ValueError(f"task {group_id!r}: {error}") from None
        for exp, advantage in zip(exps, xp.astype(advantages, xp.float32), strict=True):
            exp.advantages = advantage * exp.action_mask
            exp.returns = exp.advantages.clone()
        return exps, {"reward_mean": float(xp.mean(reward)), "baseline": float(xp.mean(reward - advantages))}

    @classmethod
    def default_args(cls) -> dict[str, Any]:
        """What Trinity-RFT passes where a config has no ``advantage_fn_args``."""
        return {"objective": {}}


def _objective(settings: Mapping[str, Any], where: str) -> Algorithm:
    try:
        return objective(settings)
    except ValueError as error:
        raise ValueError(f"algorithm.{where}.objective: {error}") from None
