"""verl: a policy loss and an advantage estimator named "pessimism", registered when this module is imported.

verl imports the modules that the environment variable ``VERL_USE_EXTERNAL_MODULES`` lists wherever it runs; Ray must
hand it to every process (``docs/adapters.md`` has a whole config):

    algorithm:
      adv_estimator: pessimism
      objective: {name: oapl, beta1: 1.0, beta2: 0.001}
      rollout_correction: {bypass_mode: true}   # the log-probabilities of the policy that sampled
    actor_rollout_ref.actor:
      loss_agg_mode: seq-mean-token-sum
      policy_loss:
        _target_: pessimism.trainers.verl.adapter.PolicyLoss
        loss_mode: pessimism
        objective: ${algorithm.objective}

Written against verl 0.9.1.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from verl.trainer.ppo.core_algos import agg_loss, register_adv_est, register_policy_loss
from verl.workers.config import PolicyLossConfig

from ...algorithm import Algorithm
from ...solve.simplex import Array
from ..tokens import check_aggregation, coefficients, normalizer, objective, refuse_coupled, surrogate

__all__ = ["PolicyLoss", "advantage", "policy_loss"]

NAME = "pessimism"


@dataclass
class PolicyLoss(PolicyLossConfig):
    """verl's settings of a policy loss, with the objective: ``name``, parameters and, where wanted, ``level``."""

    objective: Any = field(default_factory=dict)


@register_policy_loss(NAME)
def policy_loss(
    old_log_prob: Array,
    log_prob: Array,
    advantages: Array,
    response_mask: Array,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: Array | None = None,
) -> tuple[Array, dict[str, float]]:
    """The objective's loss of a micro-batch, all tensors (B, T), with verl's aggregation and scale.

    ``old_log_prob`` must be the behavior policy's own: ``algorithm.rollout_correction.bypass_mode: true``.

    Raises:
        ValueError: no objective in ``config.policy_loss``, an aggregation that changes the objective, importance
            weights on top of it, or a coupled objective.
    """
    algorithm = _objective(config.policy_loss.get("objective"), "actor_rollout_ref.actor.policy_loss.objective")
    refuse_coupled(algorithm, "verl")
    check_aggregation(algorithm, loss_agg_mode, "actor_rollout_ref.actor.loss_agg_mode")
    if rollout_is_weights is not None:
        raise ValueError(
            "algorithm.rollout_correction adds importance weights; the objective has its own: set rollout_is: null and "
            "bypass_mode: true"
        )
    coefficient = coefficients(algorithm, log_prob, old_log_prob, advantages, response_mask)
    losses = surrogate(algorithm, log_prob, coefficient, response_mask)
    loss = agg_loss(loss_mat=losses, loss_mask=response_mask, loss_agg_mode=loss_agg_mode, **config.global_batch_info)
    return loss, _metrics(log_prob, old_log_prob, response_mask, coefficient)


@register_adv_est(NAME)
def advantage(
    token_level_rewards: Array,
    response_mask: Array,
    index: np.ndarray,
    config: Any = None,
    **_: Any,
) -> tuple[Array, Array]:
    """Advantages by the objective's baseline, and returns (the same), both (B, T).

    Args:
        token_level_rewards: (B, T); their sum is a completion's reward.
        response_mask: (B, T).
        index: (B,) the prompt of each completion; those of one prompt are its group.
        config: verl's ``algorithm`` config with ``objective``.
        _: what verl hands to some of its estimators (``reward_baselines``), unused here.

    Raises:
        ValueError: no objective, log-probabilities that are not the sampling engine's, or a group that the baseline
            cannot be taken from (the message names the prompt).
    """
    settings: Any = {} if config is None else config
    algorithm = _objective(settings.get("objective"), "algorithm.objective")
    # The loss, on a worker, cannot see where its old log-probabilities come from.
    if not (settings.get("rollout_correction") or {}).get("bypass_mode"):
        raise ValueError(
            "algorithm.rollout_correction.bypass_mode is not true; without it verl recomputes what the policy that "
            "sampled says"
        )
    xp = array_namespace(token_level_rewards)
    reward = xp.sum(xp.astype(token_level_rewards, xp.float64), axis=-1)
    advantages = xp.zeros_like(reward)
    trained = xp.any(xp.astype(response_mask, xp.bool), axis=-1)
    for prompt, rows in _groups(index).items():
        if not xp.any(trained[rows]):  # verl pads batches with groups of one row that has no tokens to train on
            continue
        try:
            advantages[rows] = algorithm.advantage(reward[rows])
        except ValueError as error:
            raise ValueError(f"prompt {prompt!r}: {error}") from None
    spread = xp.astype(advantages, token_level_rewards.dtype)[:, None] * response_mask
    return spread, spread


def _objective(settings: Mapping[str, Any] | None, where: str) -> Algorithm:
    if not settings:
        raise ValueError(f"{where} is missing; it says which catalogue entry to run, such as {{name: oapl}}")
    try:
        return objective(settings)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _groups(index: np.ndarray) -> dict[Hashable, list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for row, prompt in enumerate(index.tolist()):
        groups.setdefault(prompt, []).append(row)
    return groups


def _metrics(log_prob: Array, old_log_prob: Array, mask: Array, coefficient: Array) -> dict[str, float]:
    xp = array_namespace(log_prob)
    keep = xp.astype(mask, xp.bool)
    difference = xp.where(keep, old_log_prob - log_prob.detach(), 0 * log_prob.detach())
    tokens = xp.sum(xp.astype(keep, difference.dtype))
    return {
        "actor/ppo_kl": float(xp.sum(difference) / xp.where(tokens > 0, tokens, xp.ones_like(tokens))),
        "actor/normalizer": float(normalizer(coefficient, mask)),
    }
