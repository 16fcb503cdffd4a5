"""A run's policy as a folder that ``from_pretrained`` and ``vllm serve`` load, with a card on how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from ..config import Config, to_toml
from ..sample.rollout import stop_tokens
from ..update.models import EngineWeights, load_model
from . import checkpoint, runs, watch
from .checkpoint import Checkpoint, fingerprint
from .train import CHECKPOINTS
from .whole import whole_folder

CARD = "README.md"


def export(run: Path, folder: Path, step: int | None = None, dtype: str | None = None) -> int:
    """Write the policy of a run's checkpoint, adapters merged, with tokenizer, generation settings and a model card.

    Args:
        run: folder of the run.
        folder: to make; it must not exist. It appears complete or not at all.
        step: which checkpoint, the latest if None.
        dtype: of the weights, as torch names it; the run's ``model.dtype`` if None.

    Returns:
        The checkpoint's step.

    Raises:
        ValueError: no such run or checkpoint, a folder that exists, or weights of another model.
    """
    config = runs.read_config(run)
    if folder.exists():
        raise ValueError(f"{folder}: exists already")
    kept = checkpoint.steps(run / CHECKPOINTS)
    if step is not None and step not in kept:
        raise ValueError(f"{run}: has no checkpoint of step {step}; there are {kept}")
    found = checkpoint.load(run / CHECKPOINTS, step)
    if found is None:
        raise ValueError(f"{run}: has no checkpoint yet")
    model, tokenizer = load_model(config.model)
    _put(model, found, config)
    wanted = getattr(torch, dtype or config.model.dtype)
    policy = _merged(model, config, wanted)
    policy.generation_config = GenerationConfig(
        do_sample=True,
        temperature=config.rollout.temperature,
        top_p=1.0,
        top_k=0,
        max_new_tokens=config.rollout.max_tokens,
        eos_token_id=list(stop_tokens(model.generation_config, tokenizer)),
        pad_token_id=tokenizer.pad_token_id,
    )
    with whole_folder(folder) as unfinished:
        policy.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        digest = fingerprint(policy.state_dict())
        (unfinished / CARD).write_text(model_card(config, found, _last(run, found.step), digest, str(wanted)), "utf-8")
    return found.step


@torch.no_grad()
def _put(model: PreTrainedModel, found: Checkpoint, config: Config) -> None:
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    saved = found.tensors["model"]
    if {name: one.shape for name, one in trained.items()} != {name: one.shape for name, one in saved.items()}:
        raise ValueError(
            f"the weights in the checkpoint of step {found.step} are not those of {config.model.path}; put the model "
            "back that the run began with"
        )
    for name, parameter in trained.items():
        parameter.copy_(saved[name])


@torch.no_grad()
def _merged(model: PreTrainedModel, config: Config, dtype: torch.dtype) -> PreTrainedModel:
    """The same policy without adapters."""
    if config.model.lora is None:
        return torch.nn.Module.to(model, dtype)  # type: ignore[return-value]
    plain = AutoModelForCausalLM.from_pretrained(config.model.path, dtype=dtype, use_safetensors=True)
    own = plain.state_dict()
    for name, weight in EngineWeights(model).items():
        own[name].copy_(weight)
    return plain


def _last(run: Path, step: int) -> Mapping[str, Any]:
    """The last numbers of each kind that were written down up to a step."""
    path = run / watch.METRICS
    found: dict[str, Any] = {}
    for record in watch.read(path) if path.exists() else []:
        if record["step"] <= step:
            found |= record
    return found


def model_card(config: Config, found: Checkpoint, numbers: Mapping[str, Any], digest: str, dtype: str) -> str:
    """What stands in the folder's README: objective, lag, last numbers, digests, versions, configuration."""
    shown = {
        name: value
        for name, value in numbers.items()
        if name.startswith(("evaluation/", "reward/", "kl/", "lag/")) and isinstance(value, (int, float))
    }
    rows = "\n".join(f"| {name} | {value:.6g} |" for name, value in sorted(shown.items()))
    began = "\n".join(f"* `{name}`: `{value}`" for name, value in found.state.get("origin", {}).items())
    versions = ", ".join(f"{name} {version}" for name, version in runs.versions().items())
    kind = "merged low-rank adapters" if config.model.lora is not None else "all weights"
    return f"""---
base_model: {json.dumps(config.model.path)}
library_name: transformers
pipeline_tag: text-generation
tags: [reinforcement-learning, off-policy, pessimism]
---

# {config.name}, step {found.step}

`{config.model.path}` ({kind} trained), {dtype.removeprefix("torch.")}, by the run `{config.name}`.

* objective: `{config.objective.described()}`
* lag: weights synced every {config.lag.sync_every} steps, so data up to {config.lag.sync_every - 1} steps old
* task: `{config.task.name}`, {config.rollout.prompts} prompts with {config.rollout.group_size} completions a step
* policy: softmax(logits / {config.rollout.temperature:g}), no top-p, top-k or penalty; `generation_config.json` says so

## Numbers

The last ones that the run wrote down up to this step, on its own problems:

| | |
|---|---|
{rows}

## Digests

* weights in this folder (names, types, shapes, values; sha256): `{digest}`
{began}

Exported with {versions}.

## Configuration

```toml
{to_toml(config)}```
"""
