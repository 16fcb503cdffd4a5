"""Small models and random groups for the tests of llm's batches, losses and policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import Qwen3Config

from llm.samples import Completion, Group, Prompt
from llm.update.models import seeded

VOCABULARY = 11


def tiny_model(tied: bool = True, dtype: torch.dtype = torch.float32) -> Any:
    """Two layers of Qwen3 with weights so large that its policy is far from uniform."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        initializer_range=0.2,
        pad_token_id=None,
    )
    model = seeded(config, 0)
    torch.nn.Module.to(model, dtype)
    return model


def random_group(generator: np.random.Generator, size: int, longest: int = 12, spread: float = 0.3) -> Group:
    """A group of random tokens whose behavior log-probabilities lie around those of a uniform policy."""
    completions = []
    for _ in range(size):
        length = int(generator.integers(1, longest + 1))
        tokens = generator.integers(0, VOCABULARY, length).astype(np.int32)
        log_probs = (-np.log(VOCABULARY) - spread * generator.random(length)).astype(np.float32)
        completions.append(Completion(tokens, log_probs, True))
    prompt = tuple(generator.integers(0, VOCABULARY, generator.integers(1, 5)).tolist())
    name = str(generator.integers(1000))
    return Group(Prompt(name, "", {}), prompt, tuple(completions), generator.random(size), version=0, batch=0)


def random_groups(count: int = 4, size: int = 5, seed: int = 0, **options: float) -> list[Group]:
    """Some groups of equal size."""
    generator = np.random.default_rng(seed)
    return [random_group(generator, size, **options) for _ in range(count)]  # type: ignore[arg-type]


def gradient(model: torch.nn.Module) -> torch.Tensor:
    """All gradients of a model in one vector; they are cleared."""
    values = [
        torch.zeros_like(parameter).flatten() if parameter.grad is None else parameter.grad.flatten()
        for parameter in model.parameters()
    ]
    model.zero_grad()
    return torch.cat(values)
