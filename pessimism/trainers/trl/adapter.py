"""TRL: a GRPO trainer and its config that take any objective of the catalogue.

>>> config = Config(output_dir="run", objective="oapl", objective_parameters={"beta1": 1.0, "beta2": 0.001}, bf16=False)
>>> config.algorithm.name
'oapl'

Generation, reward functions, logging and distribution stay TRL's. Advantages come from the objective's baseline, the
loss from its coefficient, and log-ratios are measured from the policy that sampled: with vLLM by its own
log-probabilities, without it by those of the model at generation. Written against TRL 1.16.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

from array_api_compat import array_namespace
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from ...algorithm import Algorithm
from ...solve.simplex import Array
from ..tokens import (
    SEQUENCE_MEAN,
    SEQUENCE_SUM,
    TOKEN_MEAN,
    check_aggregation,
    coefficients,
    normalizer,
    surrogate,
    usual_aggregation,
)
from ..tokens import objective as from_settings

__all__ = ["Config", "Trainer"]

# Settings of GRPO's own objective, which this trainer does not run.
REPLACED = (
    "beta",
    "delta",
    "entropy_coef",
    "epsilon",
    "epsilon_high",
    "importance_sampling_level",
    "loss_type",
    "multi_objective_aggregation",
    "off_policy_mask_threshold",
    "sapo_temperature_neg",
    "sapo_temperature_pos",
    "scale_rewards",
    "top_entropy_quantile",
    "use_adaptive_entropy",
    "use_bias_correction_kl",
    "vespo_k_neg",
    "vespo_k_pos",
    "vespo_lambda_neg",
    "vespo_lambda_pos",
    "vllm_importance_sampling_clip_max",
    "vllm_importance_sampling_clip_min",
    "vllm_importance_sampling_mode",
)
# What truncates or bends the sampled distribution, and the value that leaves it alone. vLLM and transformers then give
# log-probabilities of different distributions, and errors add up over a sequence.
UNTRUNCATED = {"top_p": (1.0,), "top_k": (0, -1, None), "min_p": (None, 0.0), "repetition_penalty": (1.0,)}
AGGREGATIONS = (SEQUENCE_SUM, SEQUENCE_MEAN, TOKEN_MEAN)
# What the model takes besides tokens, for prompts with images.
MODEL_INPUTS = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)


@dataclass
class Config(GRPOConfig):
    """GRPOConfig with an objective in place of GRPO's.

    Args:
        objective: name of a catalogue entry.
        objective_parameters: its parameters; a JSON object where a command line passes text.
        objective_level: one of :data:`pessimism.levels.LEVELS`, to replace the entry's.
        aggregation: how tokens are averaged: "seq-mean-token-sum", "seq-mean-token-mean" or "token-mean". Default: the
            second where the level averages over a completion's tokens, else the first.

    Raises:
        ValueError: an unknown objective or parameter, an aggregation that changes the objective, a setting of GRPO's
            own objective, or one that truncates sampling.
    """

    objective: str = field(default="oapl", metadata={"help": "Name of a catalogue entry."})
    objective_parameters: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Its parameters, as JSON."}
    )
    objective_level: str | None = field(default=None, metadata={"help": "Level, to replace the entry's."})
    aggregation: str | None = field(default=None, metadata={"help": "How tokens are averaged."})
    vllm_importance_sampling_correction: bool = field(
        default=False, metadata={"help": "Must stay False: the log-ratio is measured from vLLM's own probabilities."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.objective_parameters, str):
            self.objective_parameters = _parsed(self.objective_parameters)
        defaults = {setting.name: setting.default for setting in fields(GRPOConfig)}
        for name in REPLACED:
            if getattr(self, name) != defaults[name]:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it belongs to GRPO's objective, not to this")
        if self.vllm_importance_sampling_correction:
            raise ValueError("vllm_importance_sampling_correction is True; the objective has its own weights")
        further: Any = self.generation_kwargs or {}
        for name, allowed in UNTRUNCATED.items():
            value = further.get(name, getattr(self, name))
            if value not in allowed:
                whole = "log-ratios are measured from the whole distribution"
                raise ValueError(f"{name} is {value!r}; it must be {allowed[0]!r}: {whole}")
        algorithm = self.algorithm
        if self.aggregation is None:
            self.aggregation = usual_aggregation(algorithm)
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(f"aggregation is {self.aggregation!r}; it must be one of {', '.join(AGGREGATIONS)}")
        check_aggregation(algorithm, self.aggregation, "aggregation")
        size: Any = self.num_generations
        whole_groups = self.steps_per_generation == 1 and self.per_device_train_batch_size % size == 0
        if algorithm.coupled and not whole_groups:
            raise ValueError(
                f"{algorithm.name} compares the completions of a group, which must stay together: set "
                "steps_per_generation=1 and per_device_train_batch_size to a multiple of num_generations"
            )

    @property
    def algorithm(self) -> Algorithm:
        """The catalogue's algorithm that the settings name."""
        parameters: Any = self.objective_parameters or {}
        settings: dict[str, Any] = {**parameters, "name": self.objective}
        return from_settings(settings | ({"level": self.objective_level} if self.objective_level else {}))


class Trainer(GRPOTrainer):
    """TRL's GRPOTrainer with the loss and the advantages of :class:`Config`'s objective.

    A completion without any reward, or with a token whose log-probability the sampler did not give, is left out; the
    share of those that were is logged as ``pessimism/left_out``. ``pessimism/normalizer`` is the mean coefficient and
    ``pessimism/log_ratio`` the mean log-ratio of completions.
    """

    args: Config

    def __init__(self, model: Any, reward_funcs: Any = None, args: Config | None = None, **others: Any) -> None:
        super().__init__(model, reward_funcs, args=Config() if args is None else args, **others)
        self.algorithm = self.args.algorithm

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Array:
        self._rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        return self._rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        size: Any = self.num_generations if self._mode == "train" else self.num_generations_eval
        advantages, counted = _advantages(self.algorithm, self._rewards, self.reward_weights, size)
        logged = self._logs["advantages"]
        for _ in range(min(len(logged), len(advantages))):
            logged.pop()
        logged.extend(advantages.tolist())

        first = self.accelerator.process_index * len(inputs)
        mine = slice(first, first + len(inputs))
        xp = array_namespace(advantages)
        mask = output["completion_mask"] * output.get("tool_mask", 1)
        behavior = output.pop("sampling_per_token_logps", None)
        known = counted[mine]
        if behavior is not None:
            known = known & ~xp.any(xp.isnan(behavior) & (mask > 0), axis=-1)
            output["behavior_log_probs"] = xp.where(xp.isnan(behavior), xp.zeros_like(behavior), behavior)
        elif "old_per_token_logps" in output:
            output["behavior_log_probs"] = output["old_per_token_logps"]
        output.pop("old_per_token_logps", None)
        output["advantages"] = advantages[mine]
        output["loss_mask"] = mask * xp.astype(known, mask.dtype)[:, None]
        output["group"] = xp.arange(first, first + len(inputs), device=mask.device) // size
        self._log("left_out", 1 - xp.mean(xp.astype(known, advantages.dtype)))
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Array:
        xp = array_namespace(inputs["completion_ids"])
        log_probs, entropies, aux_loss = self._get_per_token_logps_and_entropies(
            model,
            xp.concat([inputs["prompt_ids"], inputs["completion_ids"]], axis=1),
            xp.concat([inputs["prompt_mask"], inputs["completion_mask"]], axis=1),
            inputs["completion_ids"].shape[1],
            compute_entropy=True,
            compute_aux_loss=self.aux_loss_enabled,
            **{name: inputs.get(name) for name in MODEL_INPUTS},
        )
        mask = inputs["loss_mask"]
        # Absent where no step lies between generation and loss: the policy that is trained is the one that sampled.
        behavior = inputs.get("behavior_log_probs", log_probs.detach())
        coefficient = coefficients(
            self.algorithm, log_probs, behavior, inputs["advantages"], mask, group=inputs["group"]
        )
        losses = surrogate(self.algorithm, log_probs, coefficient, mask)
        loss = self._aggregated(losses, mask, inputs["num_items_in_batch"])
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * aux_loss / self._accumulation
        self._log("normalizer", normalizer(coefficient, mask))
        self._log("log_ratio", xp.sum((log_probs.detach() - behavior) * mask) / mask.shape[0])
        self._metrics[self._mode]["entropy"].append(self._token_mean(entropies.detach(), mask))
        return loss

    def _aggregated(self, losses: Array, mask: Array, items: Array) -> Array:
        """The loss of a micro-batch, so that those of an optimizer step add up (losses are 0 where masked)."""
        xp = array_namespace(losses)
        if self.args.aggregation == TOKEN_MEAN:  # `items` are the tokens of all processes and steps of a generation
            total = xp.clip(items, 1, None) / self.accelerator.num_processes
            steps: Any = self.args.steps_per_generation if self._mode == "train" else 1
            return xp.sum(losses) / (total * self._accumulation / steps)
        per_completion = xp.sum(losses, axis=-1)
        if self.args.aggregation == SEQUENCE_MEAN:
            per_completion = per_completion / xp.clip(xp.sum(mask, axis=-1), 1, None)
        return xp.mean(per_completion) / self._accumulation

    @property
    def _mode(self) -> str:
        model: Any = self.model
        return "train" if model.training else "eval"

    @property
    def _accumulation(self) -> int:
        return self.current_gradient_accumulation_steps if self._mode == "train" else 1

    def _log(self, name: str, value: Array) -> None:
        gathered: Any = self.accelerator.gather(value)
        self._metrics[self._mode][f"pessimism/{name}"].append(float(gathered.mean()))

    def _token_mean(self, values: Array, mask: Array) -> float:
        xp = array_namespace(values)
        sums = xp.stack([xp.sum(values * mask), xp.astype(xp.sum(mask), values.dtype)])
        total, count = self.accelerator.reduce(sums, reduction="sum")
        return float(total / xp.clip(count, 1, None))


def _parsed(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ValueError(f"objective_parameters is {text!r}; it must be a JSON object")
    return parsed


def _advantages(algorithm: Algorithm, rewards: Array, weights: Array, size: int) -> tuple[Array, Array]:
    """Advantages (N,) of N completions in groups of ``size``, and which of them count (N,).

    One without any reward does not, nor does the only one of a group that has one.

    Args:
        algorithm: its baseline is taken over a group's completions that count.
        rewards: (N, functions), NaN where a function gave none.
        weights: (functions,).
        size: completions of a group, N a multiple.
    """
    xp = array_namespace(rewards)
    missing = xp.isnan(rewards)
    reward = xp.sum(xp.where(missing, xp.zeros_like(rewards), rewards) * weights.to(rewards.device), axis=-1)
    reward, counted = xp.reshape(reward, (-1, size)), xp.reshape(~xp.all(missing, axis=-1), (-1, size))
    whole = xp.all(counted, axis=-1)
    advantages = xp.zeros_like(reward)
    if bool(xp.any(whole)):
        advantages[whole] = algorithm.advantage(reward[whole])
    for group in xp.nonzero(~whole)[0].tolist():
        rows = counted[group]
        if int(xp.sum(rows)) > 1:
            advantages[group, rows] = algorithm.advantage(reward[group, rows])
        else:
            counted[group] = False
    return xp.reshape(advantages, (-1,)), xp.reshape(counted, (-1,))
