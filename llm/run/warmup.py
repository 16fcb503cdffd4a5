"""Supervised warm-up: makes a small base model that solves a task now and then, where learning by reward starts.

It imitates correct answers drawn uniformly among all correct ones, so that the base model has no taste of its own.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pessimism.studies import held

from .. import config, tasks
from ..sample import evaluate
from ..sample.engines.local import LocalEngine
from ..sample.rollout import engine_settings, stop_tokens, tokenize
from ..samples import Prompt
from ..update.models import EngineWeights, build_model, build_tokenizer

RECORD = "warmup.json"
IGNORED = -100  # the label that cross_entropy leaves out


class Size(config.Part):
    """Of the model that is made."""

    width: config.Count = 64
    layers: config.Count = 2
    heads: config.Count = 2
    head_dim: Literal[32, 64] = 32
    context: config.Count = Field(default=512, description="longest sequence, in tokens")


class WarmUp(config.Part):
    """What to imitate, with what, for how long."""

    task: config.Task
    seed: Annotated[int, Field(ge=0)] = 0
    model: Size = Size()
    steps: config.Count = Field(default=3000, description="at most; the learning rate falls to zero over them")
    target: float | None = Field(default=None, description="stop at this pass@1 on held-out prompts")
    batch: config.Count = 128
    learning_rate: config.Positive = 5e-3
    warmup_steps: config.Count = 100
    clip_norm: config.Positive = 1.0
    every: config.Count = Field(default=250, description="steps between evaluations")
    device: str | None = Field(default=None, description="as torch names it; left out: a GPU where there is one")
    prompts: config.Count = Field(default=512, description="held-out prompts of an evaluation")
    samples: config.Count = Field(default=8, description="completions of each")


def warm_up(
    settings: WarmUp, folder: str | Path, progress: Callable[[Mapping[str, Any]], None] = lambda record: None
) -> list[dict[str, Any]]:
    """Make a model, let it imitate correct answers, save it with its tokenizer.

    The same settings make the same weights, on the same machine and number of threads. Muon for the matrices between
    layers, AdamW for the rest (in one comparison on countdown24, 800 steps of 128 answers: .22 nats per token, against
    .26 with AdamW for all).

    Args:
        settings: what to do.
        folder: to make; it must not exist. It appears complete or not at all, with the evaluations in ``warmup.json``.
        progress: called with each evaluation.

    Returns:
        The evaluations.

    Raises:
        ValueError: the folder exists, another process is making it, or the task has no alphabet or cannot draw answers.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder}: exists already")
    scratch = folder.parent / f".making-{folder.name}"
    with held(scratch):
        try:
            return _warm_up(settings, folder, scratch / "model", progress)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _device(settings: WarmUp) -> str:
    return settings.device or ("cuda" if torch.cuda.is_available() else "cpu")


def _warm_up(
    settings: WarmUp, folder: Path, unfinished: Path, progress: Callable[[Mapping[str, Any]], None]
) -> list[dict[str, Any]]:
    task = tasks.load(settings.task.name, settings.task.options)
    if task.symbols is None or task.draw is None or task.max_tokens is None:
        raise ValueError(f"task.name: {settings.task.name!r} cannot draw correct answers to imitate")
    tokenizer = build_tokenizer(task.symbols)
    model = build_model(tokenizer, **settings.model.model_dump(), seed=settings.seed)
    model.to(torch.device(_device(settings)))  # pyright: ignore[reportArgumentType] # transformers hides torch's signature
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    tokenizer.save_pretrained(unfinished)
    model.save_pretrained(unfinished)
    records = _imitate(settings, task, task.draw, tokenizer, model, str(unfinished), progress)
    model.save_pretrained(unfinished)
    record = {"settings": settings.model_dump(mode="json"), "evaluations": records}
    (unfinished / RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    os.rename(unfinished, folder)
    return records


def _imitate(
    settings: WarmUp,
    task: tasks.Task,
    draw: Callable[[Sequence[Prompt], np.random.Generator], list[str]],
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    folder: str,
    progress: Callable[[Mapping[str, Any]], None],
) -> list[dict[str, Any]]:
    examine = examiner(settings, task, tokenizer, model, folder)
    optimizers = _optimizers(model, settings)
    generator = np.random.default_rng(settings.seed)
    records, began = [], time.monotonic()
    for step in range(1, settings.steps + 1):
        chosen = [task.train[i] for i in generator.integers(len(task.train), size=settings.batch)]
        tokens, labels = batch(tokenizer, chosen, draw(chosen, generator))
        loss = imitation_loss(model, tokens.to(_device(settings)), labels.to(_device(settings)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        for optimizer, rate in optimizers:
            optimizer.step()
            optimizer.zero_grad()
            rate.step()
        if step % settings.every == 0 or step == settings.steps:
            found = {"step": step, "seconds": time.monotonic() - began, "loss": loss.item()}
            records.append(found | examine(step))
            progress(records[-1])
            if settings.target is not None and records[-1]["pass@1"] >= settings.target:
                break
    return records


def _optimizers(
    model: PreTrainedModel, settings: WarmUp
) -> list[tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]]:
    tables = {id(weight) for weight in model.get_input_embeddings().parameters()}  # the head is tied to it
    inner = [weight for weight in model.parameters() if weight.ndim == 2 and id(weight) not in tables]
    rest = [weight for weight in model.parameters() if weight.ndim != 2 or id(weight) in tables]
    rate = settings.learning_rate

    def share(step: int) -> float:
        rising = min(1.0, (step + 1) / settings.warmup_steps)
        return rising * (1 + math.cos(math.pi * min(1.0, step / settings.steps))) / 2

    optimizers = [
        torch.optim.Muon(inner, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    return [(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)) for optimizer in optimizers]


def batch(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], answers: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, T) of prompt, answer and end of sequence, padded on the right, and labels (B, T): the same, but
    ``IGNORED`` where there is prompt or padding."""
    asked = tokenize(tokenizer, prompts)
    answered = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    end = tokenizer.convert_tokens_to_ids(str(tokenizer.eos_token))
    rows = [[*prompt, *answer, end] for prompt, answer in zip(asked, answered, strict=True)]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [end] * (width - len(row)) for row in rows])
    labels = torch.tensor(
        [
            [IGNORED] * len(prompt) + row[len(prompt) :] + [IGNORED] * (width - len(row))
            for prompt, row in zip(asked, rows, strict=True)
        ]
    )
    return tokens, labels


def imitation_loss(model: PreTrainedModel, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the labeled tokens, nats."""
    head: Any = model.get_output_embeddings()
    hidden = model.get_decoder()(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
    wanted = labels[:, 1:]
    kept = wanted != IGNORED
    return functional.cross_entropy(head(hidden[kept]), wanted[kept])


def examiner(
    settings: WarmUp, task: tasks.Task, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, folder: str
) -> Callable[[int], dict[str, Any]]:
    """What evaluates the model as it is, on held-out prompts that stay the same.

    Args:
        settings: of the warm-up.
        task: to be solved.
        tokenizer: of the model.
        model: as it will be when it is evaluated.
        folder: where its shape and first weights are saved.

    Returns:
        Number of the step -> numbers of an :class:`llm.sample.evaluate.Evaluation`.

    Raises:
        ValueError: prompts and answers do not fit the model's context.
    """
    engine = LocalEngine(
        engine_settings(
            config.Model(path=folder),
            config.Rollout(
                engine="transformers",
                place="colocated",
                max_tokens=task.max_tokens or 1,
                options={"batch_size": 1024, "device": _device(settings)},
            ),
            everything := (*task.train, *task.held_out),
            tokenize(tokenizer, everything),
            stop_tokens(model.generation_config, tokenizer),
            settings.model.context,
        )
    )
    prompts = evaluate.choose(task.held_out, settings.prompts)
    requests = evaluate.ask(tokenize(tokenizer, prompts), settings.samples, seed=0)

    def decode(tokens: Sequence[int]) -> str:
        return str(tokenizer.decode(list(tokens), skip_special_tokens=True))

    def examine(step: int) -> dict[str, Any]:
        engine.sync(EngineWeights(model), step)
        judged = evaluate.judge(task, prompts, engine.generate(requests), decode)
        return evaluate.summarize(judged).numbers()

    return examine
