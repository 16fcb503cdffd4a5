"""What is trained, and how: a model, its optimizer, one step of it, and copies of its weights.

Where several ranks train one model, each function that needs all of them first tells the others to call it too
(``ranks.tell``), so that whoever calls it on the leading rank need not know of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import pessimism as ps
from pessimism.levels import check_level

from ..config import Config, Optimizer
from ..sample.rollout import check_group_size
from ..samples import Group
from .batch import Batch, make_batch
from .half_moments import HalfMomentsAdamW
from .loss import Step, accumulate
from .models import EngineWeights, load_model
from .policy import check_model, token_values
from .ranks import ALONE, Ranks
from .shard import check_sharded, own, shard, spread_like, whole

Snapshot = dict[str, Tensor]
"""Copies of everything that is trained, by name."""


class RunError(RuntimeError):
    """The run cannot go on from here; from its last checkpoint it can."""


@dataclass(frozen=True)
class Learner:
    """What is trained, and how; on several ranks, what this one has of it."""

    config: Config
    algorithm: ps.Algorithm
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    optimizer: torch.optim.Optimizer
    ranks: Ranks = ALONE

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """Parameters that take gradients, by name."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @property
    def precision(self) -> torch.dtype:
        """Of matrix products; the weights themselves are float32, as small steps would be lost in bfloat16."""
        return getattr(torch, self.config.model.dtype)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens."""
        return str(self.tokenizer.decode(np.asarray(tokens), skip_special_tokens=True))


def make_learner(config: Config, ranks: Ranks = ALONE) -> Learner:
    """Load what a configuration names; all ranks at the same time.

    Raises:
        ValueError: something is missing or does not fit.
    """
    if ranks.size > 1:
        check_sharded(config)
    algorithm = config.objective.make()
    check_level(algorithm)
    check_group_size(algorithm, config.rollout.group_size)
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(config.deterministic)
    model, tokenizer = load_model(config.model)
    if ranks.size > 1:
        check_model(model)
        shard(model, ranks)
    else:
        model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
        check_model(model)
    return Learner(config, algorithm, model, tokenizer, make_optimizer(model, config.optimizer), ranks)


def make_optimizer(model: PreTrainedModel, settings: Optimizer) -> torch.optim.Optimizer:
    """AdamW on what is trained. Fused: the default on GPUs holds another copy of the gradients during a step."""
    kind: Any = HalfMomentsAdamW if settings.moments == "bfloat16" else partial(torch.optim.AdamW, fused=True)
    return kind(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )


def update(learner: Learner, groups: Sequence[Group], step: int) -> tuple[Step, float]:
    """One optimizer step on one batch; what it saw, and the gradient's norm before clipping.

    Raises:
        RunError: the gradient is not finite. The weights are then as they were.
    """
    task = learner.config.task
    kept = with_spread(groups) if task.equal_groups == "dropped" else groups
    batch = make_batch(kept, learner.algorithm, leave_out_cut=task.cut_off == "masked")
    return descend(learner, batch, step)


def descend(learner: Learner, batch: Batch, step: int) -> tuple[Step, float]:
    """One optimizer step, as :func:`update`, on a batch that every rank has."""
    config = learner.config
    learner.ranks.tell("descend", {"step": step}, **batch.arrays())
    learner.optimizer.zero_grad(set_to_none=True)
    result = accumulate(
        learner.model,
        batch,
        learner.algorithm,
        config.optimizer.tokens_per_pass,
        config.rollout.temperature,
        learner.precision,
        learner.ranks,
    )
    norm = clip(learner, config.optimizer.clip_norm)
    if not math.isfinite(norm):
        raise RunError(
            f"step {step + 1}: the gradient is {norm:g} (largest log-ratio {np.abs(result.log_ratio).max():.3g}); "
            "the weights were left as they were"
        )
    for group in learner.optimizer.param_groups:
        group["lr"] = learning_rate(step, config.optimizer)
    learner.optimizer.step()
    return result, norm


@torch.no_grad()
def clip(learner: Learner, largest: float) -> float:
    """Shorten the gradient to a norm, where it is longer; the norm that it had.

    Squares are summed in float64 and the norm is rounded to float32, which the gradient is in, so that it hardly
    depends on how the weights are spread over ranks.
    """
    slopes = [own(parameter.grad) for parameter in learner.trained.values() if parameter.grad is not None]
    squares = [float(torch.linalg.vector_norm(one, dtype=torch.float64)) ** 2 for one in slopes]
    norm = float(np.float32(np.sqrt(learner.ranks.sum(np.array(math.fsum(squares))))))
    if math.isfinite(norm) and norm > largest:
        for one in slopes:
            one.mul_(largest / norm)
    return norm


def with_spread(groups: Sequence[Group]) -> Sequence[Group]:
    """The groups whose rewards are not all equal; all groups where there is none of those."""
    return [group for group in groups if np.ptp(group.rewards) > 0] or groups


def learning_rate(step: int, optimizer: Optimizer) -> float:
    """Linear warm-up from 1/warmup_steps of the rate to all of it.

    >>> [learning_rate(step, Optimizer(learning_rate=4.0, warmup_steps=4)) for step in range(6)]
    [1.0, 2.0, 3.0, 4.0, 4.0, 4.0]
    """
    share = min(1.0, (step + 1) / optimizer.warmup_steps) if optimizer.warmup_steps else 1.0
    return share * optimizer.learning_rate


def trainer_log_probs(learner: Learner) -> Callable[[Sequence[int], np.ndarray], np.ndarray]:
    """(prompt tokens, completion tokens (T,)) -> their log-probabilities (T,) under the trainer's policy."""
    return partial(log_probs, learner)


@torch.no_grad()
def log_probs(learner: Learner, prompt: Sequence[int], completion: np.ndarray) -> np.ndarray:
    """Log-probabilities (T,) of a completion's tokens (T,) under the trainer's policy, nats."""
    learner.ranks.tell("log_probs", prompt=np.array(prompt), completion=completion)
    training = learner.model.training
    learner.model.eval()
    device = own(next(learner.model.parameters())).device
    sequence = torch.tensor([[*prompt, *completion.tolist()]], device=device)
    predicting = torch.arange(len(prompt) - 1, sequence.shape[1] - 1, device=device)
    temperature = learner.config.rollout.temperature
    labels = sequence[0, len(prompt) :]
    values = token_values(learner.model, sequence[:, :-1], predicting, labels, temperature, learner.precision)
    learner.model.train(training)
    return values.log_probs.cpu().numpy()


def snapshot(learner: Learner) -> Snapshot:
    """Copies of what is trained, on the CPU of the leading rank."""
    learner.ranks.tell("snapshot")
    found = ((name, whole(parameter.detach())) for name, parameter in learner.trained.items())
    return {name: value.to("cpu", copy=True) for name, value in found if learner.ranks.leads}


@torch.no_grad()
def load_snapshot(learner: Learner, values: Snapshot) -> None:
    """Set what is trained; the values need be on the leading rank only."""
    learner.ranks.tell("load_snapshot")
    for name, parameter in learner.trained.items():
        parameter.copy_(spread_like(values.get(name), parameter))


def frozen(learner: Learner) -> Snapshot:
    """What is not trained of the model, whole, on the leading rank; copies where it is spread."""
    learner.ranks.tell("frozen")
    fixed = {name: one.detach() for name, one in learner.model.named_parameters() if not one.requires_grad}
    if learner.ranks.size == 1:
        return fixed
    found = ((name, whole(one)) for name, one in fixed.items())
    return {name: one.to("cpu", copy=True) for name, one in found if learner.ranks.leads}


Moments = dict[str, Tensor]
"""What the optimizer keeps of each parameter, by "INDEX.NAME", the index counting what is trained."""


def moments(learner: Learner) -> Moments:
    """Copies of what the optimizer keeps, on the CPU of the leading rank."""
    learner.ranks.tell("moments")
    found = (
        (f"{index}.{name}", whole(torch.as_tensor(value)))
        for index, values in learner.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    )
    return {name: value.to("cpu", copy=True) for name, value in found if learner.ranks.leads}


def load_moments(learner: Learner, values: Moments) -> None:
    """Set what the optimizer keeps; the values need be on the leading rank only."""
    small = {name: float(value) for name, value in values.items() if value.ndim == 0}
    learner.ranks.tell("load_moments", {"names": list(values), "small": small})
    set_moments(learner, list(values), small, values)


def set_moments(learner: Learner, names: Sequence[str], small: Mapping[str, float], values: Moments) -> None:
    """:func:`load_moments` on one rank: all names, the numbers among the values, and the others where it leads."""
    parameters = list(learner.trained.values())
    found: dict[int, dict[str, Any]] = {}
    for name in names:
        index, _, kind = name.partition(".")
        like = parameters[int(index)]
        value = torch.tensor(small[name]) if name in small else spread_like(values.get(name), like)
        found.setdefault(int(index), {})[kind] = value
    learner.optimizer.load_state_dict(learner.optimizer.state_dict() | {"state": found})


def engine_weights(learner: Learner) -> Mapping[str, Tensor]:
    """What an engine needs to run the policy, see :class:`~llm.update.models.EngineWeights`.

    Of a model that is spread over ranks, all weights are in the leading rank's memory at once, in the engine's type.
    """
    if learner.ranks.size == 1:
        return EngineWeights(learner.model)
    learner.ranks.tell("engine_weights")
    found = ((name, whole(weight)) for name, weight in EngineWeights(learner.model).items())
    return {name: _for_engine(weight, learner.precision) for name, weight in found if learner.ranks.leads}


def _for_engine(weight: Tensor, precision: torch.dtype) -> Tensor:
    return weight.to("cpu", precision if weight.is_floating_point() else weight.dtype, copy=True)


@contextmanager
def swapped(learner: Learner, values: Snapshot) -> Iterator[None]:
    """The model with other values of what is trained, and after that with its own again."""
    own = snapshot(learner)
    load_snapshot(learner, values)
    try:
        yield
    finally:
        load_snapshot(learner, own)
