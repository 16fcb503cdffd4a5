"""Random completions on which the adapters and the trainers' own losses must pull the same way."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import pessimism as ps
from pessimism.levels import PaddedTokens

AVERAGED = ("sequence mean", "token vector")
"""Levels at which a completion's loss is the mean over its tokens."""

ROWS, LONGEST = 1200, 6
"""So many completions of at most so many tokens: more than a thousand draws, whatever the level."""


@dataclass(frozen=True)
class Draws:
    """ROWS completions; ``log_prob`` is the leaf that losses are differentiated by."""

    log_prob: Tensor  # (B, T)
    behavior: Tensor  # (B, T)
    advantage: Tensor  # (B,)
    mask: Tensor  # (B, T) bool

    @property
    def log_ratio(self) -> Tensor:
        return (self.log_prob - self.behavior).detach()

    @property
    def length(self) -> Tensor:
        return self.mask.sum(-1)

    @property
    def advantages(self) -> Tensor:
        """(B, T), as trainers carry them: 0 where masked."""
        return self.advantage[:, None] * self.mask


def draws(kind: torch.dtype = torch.float32, widest: float = 2.0, rows: int = ROWS) -> Draws:
    """Log-ratios of tokens from nearly none to +-``widest``, advantages of both signs, 0 among them."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=kind)

    width = torch.tensor([0.02, 0.3, widest])[torch.randint(3, (rows, 1), generator=generator)]
    behavior = -0.01 - 3 * uniform(rows, LONGEST)
    log_prob = torch.clamp(behavior + width * (2 * uniform(rows, LONGEST) - 1), max=-1e-3)
    advantage = torch.randn(rows, generator=generator, dtype=kind)
    advantage[:20] = 0.0
    length = torch.randint(1, LONGEST + 1, (rows, 1), generator=generator)
    return Draws(log_prob.requires_grad_(), behavior, advantage, torch.arange(LONGEST) < length)


def pull(data: Draws, loss: Tensor) -> Tensor:
    """Minus the derivative of a loss by every token's log-probability, (B, T)."""
    (gradient,) = torch.autograd.grad(loss, data.log_prob)
    return -gradient


def catalogue_pull(algorithm: ps.Algorithm, data: Draws) -> Tensor:
    """Scale times c of every token, written here from the levels' definition and not by the adapters."""
    behavior, advantage, log_ratio = data.behavior, data.advantages, data.log_ratio * data.mask
    if algorithm.level not in ("token", "token vector"):
        log_ratio = log_ratio.sum(-1, keepdim=True).expand(data.mask.shape)
        behavior = (behavior * data.mask).sum(-1, keepdim=True).expand(data.mask.shape)
        advantage = data.advantage[:, None].expand(data.mask.shape)
    if algorithm.level in ("sequence mean", "sequence mean times length"):
        log_ratio = log_ratio / data.length[:, None]
    taken: dict[str, Any] = {"behavior": behavior.exp()} if algorithm.takes_behavior else {}
    if algorithm.level == "token vector":
        taken["tokens"] = PaddedTokens(data.mask)
    return algorithm.scale * algorithm.coefficient(log_ratio, advantage, **taken) * data.mask


def worst(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative where values exceed 1."""
    return float(((found - expected).abs() / expected.abs().clamp(min=1)).max())


def check_agreement(found: Tensor, algorithm: ps.Algorithm, data: Draws) -> None:
    """A peer's pull is the catalogue's, to 1e-6 in float32 and 1e-12 in float64, on draws of which many pull."""
    expected = catalogue_pull(algorithm, data)
    assert int((expected.abs() > 1e-3).sum()) > 1000
    assert worst(found, expected) <= (1e-6 if found.dtype == torch.float32 else 1e-12)


def single_objectives() -> list[str]:
    """Every entry whose coefficient looks at one completion at a time."""
    return [name for name, entry in ps.catalogue().items() if not entry.algorithm().coupled]


def valid(name: str, data: Draws) -> Draws:
    """The draws with advantages that the objective allows."""
    return replace(data, advantage=data.advantage.abs()) if name == "ls" else data


def as_workers_see(data: Draws, **numbers: object) -> tuple[dict[str, Tensor], Any]:
    """What verl's engine hands to a loss: log-probabilities of prompt and completion, unpadded, and a batch of them.

    Every prompt has one token; a model's output at a position is about the next token, and the last is about none.
    """
    utils = importlib.import_module("verl.utils.tensordict_utils")
    lengths = data.length.tolist()

    def nested(values: Tensor) -> Tensor:
        rows = [row[:length] for row, length in zip(values, lengths, strict=True)]
        return torch.nested.as_nested_tensor(rows, layout=torch.jagged)

    log_probs = [
        torch.cat([row[:length], row.new_zeros(1)]) for row, length in zip(data.log_prob, lengths, strict=True)
    ]
    tokens = torch.ones_like(data.mask, dtype=torch.int64)
    batch = utils.get_tensordict(
        {
            "prompts": torch.nested.as_nested_tensor([tokens[0, :1]] * len(lengths), layout=torch.jagged),
            "responses": nested(tokens),
            "response_mask": nested(tokens),
            "old_log_probs": nested(data.behavior),
            "advantages": nested(data.advantages),
        },
        non_tensor_dict=numbers,
    )
    return {"log_probs": torch.cat(log_probs)}, batch
