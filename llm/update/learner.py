"""What is trained, and how: a model, its optimizer, one step of it, and copies of its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
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
from .batch import make_batch
from .half_moments import HalfMomentsAdamW
from .loss import Step, accumulate
from .models import load_model
from .policy import check_model, token_values

Snapshot = dict[str, Tensor]
"""Copies of everything that is trained, by name."""


class RunError(RuntimeError):
    """The run cannot go on from here; from its last checkpoint it can."""


@dataclass(frozen=True)
class Learner:
    """What is trained, and how."""

    config: Config
    algorithm: ps.Algorithm
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    optimizer: torch.optim.Optimizer

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


def make_learner(config: Config) -> Learner:
    """Load what a configuration names.

    Raises:
        ValueError: something is missing or does not fit.
    """
    algorithm = config.objective.make()
    check_level(algorithm)
    check_group_size(algorithm, config.rollout.group_size)
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(config.deterministic)
    model, tokenizer = load_model(config.model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
    check_model(model)
    return Learner(config, algorithm, model, tokenizer, make_optimizer(model, config.optimizer))


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
    config = learner.config
    task = config.task
    kept = with_spread(groups) if task.equal_groups == "dropped" else groups
    batch = make_batch(kept, learner.algorithm, leave_out_cut=task.cut_off == "masked")
    learner.optimizer.zero_grad(set_to_none=True)
    result = accumulate(
        learner.model,
        batch,
        learner.algorithm,
        config.optimizer.tokens_per_pass,
        config.rollout.temperature,
        learner.precision,
    )
    norm = torch.nn.utils.clip_grad_norm_(learner.trained.values(), config.optimizer.clip_norm)
    if not math.isfinite(norm):
        raise RunError(
            f"step {step + 1}: the gradient is {norm:g} (largest log-ratio {np.abs(result.log_ratio).max():.3g}); "
            "the weights were left as they were"
        )
    for group in learner.optimizer.param_groups:
        group["lr"] = learning_rate(step, config.optimizer)
    learner.optimizer.step()
    return result, float(norm)


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

    @torch.no_grad()
    def log_probs(prompt: Sequence[int], completion: np.ndarray) -> np.ndarray:
        training = learner.model.training
        learner.model.eval()
        device = learner.model.device
        sequence = torch.tensor([[*prompt, *completion.tolist()]], device=device)
        predicting = torch.arange(len(prompt) - 1, sequence.shape[1] - 1, device=device)
        temperature = learner.config.rollout.temperature
        labels = sequence[0, len(prompt) :]
        values = token_values(learner.model, sequence[:, :-1], predicting, labels, temperature, learner.precision)
        learner.model.train(training)
        return values.log_probs.cpu().numpy()

    return log_probs


def snapshot(learner: Learner) -> Snapshot:
    """Copies of what is trained, on the CPU."""
    return {name: parameter.detach().to("cpu", copy=True) for name, parameter in learner.trained.items()}


@torch.no_grad()
def load_snapshot(learner: Learner, values: Snapshot) -> None:
    """Set what is trained."""
    for name, parameter in learner.trained.items():
        parameter.copy_(values[name])


@contextmanager
def swapped(learner: Learner, values: Snapshot) -> Iterator[None]:
    """The model with other values of what is trained, and after that with its own again."""
    own = snapshot(learner)
    load_snapshot(learner, values)
    try:
        yield
    finally:
        load_snapshot(learner, own)
