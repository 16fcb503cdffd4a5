"""The whole account of one card: trainer, engine, disk, the host's memory, and the time of a step.

Memory of the trainer is measured (:mod:`llm.fit.memory`). The rest is arithmetic from shapes, and the shares of a
card's peak speeds that programs reach in practice are assumptions, named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig

from ..config import Config
from ..run.checkpoint import KEPT
from .architectures import architecture
from .cards import CARDS, GIB, Card
from .memory import Memory, measure

CONTEXT = int(0.6 * GIB)
"""What CUDA, its libraries and their work spaces take of the card in the trainer's process. An allowance."""

PIECES = 0.04
"""Share of the trainer's peak that its allocator cannot use because it lies in pieces. An allowance."""

VLLM_SHARE = 0.9
"""Of the card, that vLLM takes where ``gpu_memory_utilization`` says nothing."""

PROMPT = 1024
"""Tokens of the longest prompt, for this account; the data are not read."""

REACHED_FLOPS, REACHED_BANDWIDTH = 0.4, 0.6
"""Shares of the data sheet's speeds that training and sampling reach. Assumptions."""


@dataclass(frozen=True)
class Engine:
    """What the engine takes of the card, in bytes.

    Attributes:
        share: all that it may take.
        weights: of it, for the model.
        cache: of it, for keys and values.
        sequences: how many completions of full length that cache holds.
        per_token: keys and values of one token.
    """

    share: int
    weights: int
    cache: int
    sequences: float
    per_token: int


@dataclass(frozen=True)
class Account:
    """A configuration on the card that it names. Bytes and seconds.

    Attributes:
        card: what it names, and ``name`` how.
        trainer, engine: what they take.
        allowance: what is not measured, see :mod:`llm.fit.memory`.
        checkpoint: one, on disk; ``checkpoints`` are all that are there at once.
        host: memory outside the card.
        update, sampling: time of one step's update, and of drawing one step's batch, with completions of full length.
    """

    name: str
    card: Card
    trainer: Memory
    engine: Engine
    allowance: int
    checkpoint: int
    checkpoints: int
    host: int
    update: float
    sampling: float

    @property
    def total(self) -> int:
        """What is taken of the card at most."""
        return self.trainer.peak + self.allowance + self.engine.share

    @property
    def fits(self) -> bool:
        """Whether trainer and engine fit on the card together, and the engine can hold the model and one completion."""
        return self.total <= self.card.memory and self.engine.sequences >= 1


def account(config: Config) -> Account:
    """What a configuration takes on the card that it names.

    Raises:
        ValueError: it names none, or the shapes of its model are not known.
    """
    if config.hardware.card is None:
        raise ValueError("hardware.card names no card, so there is nothing to compare memory with")
    card, described = CARDS[config.hardware.card], architecture(config)
    trainer = measure(config, described)
    engine = engine_memory(config, described, trainer, card)
    base = trainer.parameters if config.model.lora is None else trainer.parameters - trainer.trained
    checkpoint = checkpoint_bytes(config, trainer)
    return Account(
        name=config.hardware.card,
        card=card,
        trainer=trainer,
        engine=engine,
        allowance=CONTEXT + int(PIECES * trainer.peak),
        checkpoint=checkpoint,
        checkpoints=(KEPT + 1) * checkpoint,
        host=checkpoint + _itemsize(config) * base,
        update=update_seconds(config, described, trainer, card),
        sampling=sampling_seconds(config, engine, card),
    )


def checkpoint_bytes(config: Config, trainer: Memory) -> int:
    """A checkpoint: what is trained in float32, its moments, and the window's behavior weights if data get old."""
    trained = 4 * trainer.trained
    return trained + trainer.moments + (trained if config.lag.sync_every > 1 else 0)


def engine_memory(config: Config, described: PreTrainedConfig, trainer: Memory, card: Card) -> Engine:
    """The engine's part of the card: a share of it for vLLM, what it needs for the transformers engine."""
    parameters = trainer.parameters if config.model.lora is None else trainer.parameters - trainer.trained
    weights = _itemsize(config) * parameters
    heads = described.num_key_value_heads
    size = getattr(described, "head_dim", None) or described.hidden_size // described.num_attention_heads
    per_token = 2 * described.num_hidden_layers * heads * size * _itemsize(config)
    longest = (PROMPT + config.rollout.max_tokens) * per_token
    options: Mapping[str, Any] = config.rollout.options
    if config.rollout.engine == "vllm":
        share = int(options.get("gpu_memory_utilization", VLLM_SHARE) * card.memory)
        cache = share - weights - CONTEXT - GIB  # and what a step of it needs, about as much again
    else:
        cache = options.get("batch_size", 64) * longest
        share = weights + cache + CONTEXT
    return Engine(share, weights, cache, cache / longest, per_token)


def update_seconds(config: Config, described: PreTrainedConfig, trainer: Memory, card: Card) -> float:
    """A step's update, if every completion has full length.

    Every weight of a matrix takes 2 operations per token forward, 2 for the gradient of its input, 2 more for its own
    gradient where it is trained, and 2 where the forward pass is done anew. Attention takes 4 per pair of tokens, layer
    and unit of width forward, half of the pairs being masked, and twice that backward.
    """
    rollout = config.rollout
    again = 2 if config.model.gradient_checkpointing else 0
    per_weight = (4 if config.model.lora is not None else 6) + again
    length = rollout.max_tokens
    size = getattr(described, "head_dim", None) or described.hidden_size // described.num_attention_heads
    width = described.num_attention_heads * size
    attention = described.num_hidden_layers * width * length / 2 * 4 * (3 + again / 2)
    tokens = rollout.prompts * rollout.group_size * length
    return tokens * (per_weight * trainer.parameters + attention) / (REACHED_FLOPS * card.flops)


def sampling_seconds(config: Config, engine: Engine, card: Card) -> float:
    """Drawing a step's batch, if every completion has full length: every decoding step reads the weights and the keys
    and values of all sequences that are sampled at once, half as long as they get on average."""
    rollout = config.rollout
    samples = rollout.prompts * rollout.group_size
    at_once = max(1.0, min(float(samples), 2 * engine.sequences))
    read = engine.weights + at_once * engine.per_token * (PROMPT + rollout.max_tokens / 2)
    return samples * rollout.max_tokens / at_once * read / (REACHED_BANDWIDTH * card.bandwidth)


def _itemsize(config: Config) -> int:
    return getattr(torch, config.model.dtype).itemsize
