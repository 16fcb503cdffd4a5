"""The run, top to bottom: sync, sample, update, evaluate, write down, checkpoint; and go on from where it stopped.

Every ``sync_every`` steps the engine takes the trainer's weights; until the next sync all data come from those. A step
follows the objective's update on one batch, however old that is. Nothing here knows one objective from another.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import pessimism as ps
from pessimism.levels import check_level
from pessimism.studies.lock import held

from . import checkpoint, evaluate, tasks
from .batch import check_room, make_batch
from .buffer import Buffer
from .checkpoint import Checkpoint
from .config import Config
from .engines.base import Engine, check_probe, probe
from .loss import Step, accumulate
from .metrics import describe, log_ratio_pairs
from .models import engine_weights, load_model
from .policy import check_model, token_values
from .rollout import Rollouts, check_group_size, engine_settings, start_engine, stop_tokens, tokenize
from .samples import Group, Prompt, Request
from .schedule import learning_rate, place
from .source import Source
from .tasks import Task
from .tasks.noise import erring
from .watch import Watcher, cut_back

CHECKPOINTS, BUFFER = "checkpoints", "buffer"
PARTS = ("model", "optimizer", "random")
"""What every checkpoint holds; one inside a window also holds the weights that its data come from ("behavior")."""

CHANGEABLE = ("name", "steps", "checkpoint_every", "watch", "rollout.place", "rollout.timeout", "rollout.restarts")
"""What may differ in the configuration that a run goes on with."""

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


def train(config: Config, folder: Path, watcher: Watcher) -> int:
    """Run, or go on from the folder's last checkpoint, until all steps are done or a signal asks to stop.

    Args:
        config: of the run.
        folder: where it lives: buffer, checkpoints and what the watcher writes.
        watcher: takes the numbers of every step.

    Returns:
        Optimizer steps done: fewer than ``config.steps`` if SIGTERM or SIGINT came.

    Raises:
        ValueError: a configuration or a checkpoint that does not work.
        EngineError: sampling failed for good, or engine and trainer disagree after a sync.
        RunError: the gradient is not finite.
    """
    learner = make_learner(config)
    task = tasks.load(config.task.name, config.task.options, learner.tokenizer)
    found = checkpoint.load(folder / CHECKPOINTS)
    began_with = origin(learner, task)
    behavior, step = (None, 0) if found is None else restore(learner, found, began_with)
    buffer = Buffer(folder / BUFFER)
    buffer.set_aside((step // config.lag.sync_every + 1) * config.lag.batches if found else 0)
    held_out = evaluate.choose(task.held_out, config.evaluation.prompts) if config.evaluation.every else []
    prompts = [*task.train, *held_out]
    tokens = tokenize(learner.tokenizer, prompts)
    longest = max(map(len, tokens[: len(task.train)]))
    together = config.rollout.group_size if learner.algorithm.coupled else 1
    check_room(longest, config.rollout.max_tokens, config.optimizer.tokens_per_pass, together)
    questions, unseen = tokens[: len(task.train)], tokens[len(task.train) :]
    with closing(start(learner, prompts, tokens)) as engine, asked_to_stop() as stop:
        size = config.rollout
        reward = erring(task.reward, config.task.false_positive, config.task.false_negative)
        rollouts = Rollouts(
            engine, task.train, questions, reward, learner.decode, size.prompts, size.group_size, config.seed
        )
        source = Source(rollouts.draw, buffer, config.lag, config.steps)
        request = probe(questions, size.max_tokens)
        if behavior is not None:
            with swapped(learner, behavior):
                sync(learner, engine, place(step, config.lag).version, request)
        while step < config.steps and not stop():
            clock = [time.perf_counter()]
            here = place(step, config.lag)
            numbers: dict[str, float] = {"lag/steps": here.lag, "lag/version": here.version}
            if here.syncs:
                numbers["sync/probe_gap"] = sync(learner, engine, here.version, request)
                behavior = snapshot(learner) if config.lag.sync_every > 1 else None
            clock.append(time.perf_counter())
            groups = source.take(step)
            clock.append(time.perf_counter())
            result, norm = update(learner, groups, step)
            clock.append(time.perf_counter())
            numbers |= describe(result, learner.algorithm) | {"gradient/norm": norm}
            step += 1
            if _due(step, config.evaluation.every, config.steps):
                source.drain()
                engine.sync(engine_weights(learner.model), step)
                numbers |= evaluated(learner, engine, task, held_out, unseen)
                if behavior is not None and not place(step, config.lag).syncs:
                    with swapped(learner, behavior):
                        engine.sync(engine_weights(learner.model), here.version)
            if here.lag > 0 and place(step, config.lag).syncs:
                watcher.keep_pairs(step, log_ratio_pairs(result, learner.algorithm))
            timing = _timing(clock, int(result.batch.length.sum()))
            timing["engine/restarts"] = getattr(engine, "restarted", 0)
            timing["judge/failures"] = sum(task.failures().values())
            watcher.record(step, numbers, timing)
            if stop() or _due(step, config.checkpoint_every, config.steps):
                kept = {"origin": began_with, "written": watcher.written()}
                checkpoint.save(folder / CHECKPOINTS, state(learner, step, behavior, kept))
    return step


# --- the parts ------------------------------------------------------------------------------------------------------


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
    settings = config.optimizer
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )
    return Learner(config, algorithm, model, tokenizer, optimizer)


def sync(learner: Learner, engine: Engine, version: int, request: Request) -> float:
    """Give the engine the trainer's weights, and make sure that it has them; the largest gap found, nats per token."""
    engine.sync(engine_weights(learner.model), version)
    return check_probe(engine, request, trainer_log_probs(learner), learner.config.rollout.probe_tolerance)


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


def update(learner: Learner, groups: Sequence[Group], step: int) -> tuple[Step, float]:
    """One optimizer step on one batch; what it saw, and the gradient's norm before clipping.

    Raises:
        RunError: the gradient is not finite. The weights are then as they were.
    """
    config = learner.config
    batch = make_batch(groups, learner.algorithm)
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


def evaluated(
    learner: Learner, engine: Engine, task: Task, prompts: Sequence[Prompt], tokens: Sequence[tuple[int, ...]]
) -> dict[str, float]:
    """Numbers of the engine's policy on held-out prompts."""
    requests = evaluate.ask(tokens, learner.config.evaluation.samples, learner.config.seed)
    judged = evaluate.judge(task, prompts, engine.generate(requests), learner.decode)
    numbers = {f"evaluation/{name}": value for name, value in evaluate.summarize(judged).numbers().items()}
    for part, evaluation in evaluate.by_part(judged).items():
        numbers |= {f"evaluation/{part}/{name}": value for name, value in evaluation.numbers().items()}
    return numbers


def origin(learner: Learner, task: Task) -> dict[str, str]:
    """Digests of what a run reads again whenever it goes on: the task's problems, and what is not trained of the model.

    Of the model: frozen weights, the tokenizer's vocabulary, the tokens that end a completion.
    """
    problems = [(prompt.id, prompt.text, prompt.problem) for prompt in (*task.train, *task.held_out)]
    read = [learner.tokenizer.get_vocab(), stop_tokens(learner.model.generation_config, learner.tokenizer)]
    frozen = {name: value for name, value in learner.model.named_parameters() if not value.requires_grad}
    return {
        "task": _digest(problems),
        "model.path": _digest([*read, checkpoint.fingerprint(frozen)]),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def state(learner: Learner, step: int, behavior: Snapshot | None, kept: Mapping[str, Any]) -> Checkpoint:
    """Everything that the run needs to go on, bit for bit; ``kept`` is what the caller wants to find again."""
    moments = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in learner.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    tensors = {"model": snapshot(learner), "optimizer": moments, "random": {"cpu": torch.get_rng_state()}}
    if torch.cuda.is_available():
        tensors["random"]["cuda"] = torch.cuda.get_rng_state()
    if behavior is not None and not place(step, learner.config.lag).syncs:
        tensors["behavior"] = behavior
    return Checkpoint(step, tensors, {"config": learner.config.model_dump(mode="json"), **kept})


def restore(learner: Learner, found: Checkpoint, began_with: Mapping[str, str]) -> tuple[Snapshot | None, int]:
    """Put a checkpoint's state into model and optimizer; its behavior weights, if its window goes on, and its step.

    Args:
        learner: freshly made.
        found: the checkpoint.
        began_with: see :func:`origin`.

    Raises:
        ValueError: it is of a run with another configuration, other problems or another model, or lacks a part.
    """
    _check_same(learner.config, found)
    _check_parts(learner, found)
    for name, digest in began_with.items():
        if found.state.get("origin", {}).get(name) != digest:
            raise ValueError(
                f"{name}: what is there now is not what the run began with, by its checkpoint of step {found.step}; "
                "put that back, or start in a new folder"
            )
    load_snapshot(learner, found.tensors["model"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in found.tensors["optimizer"].items():
        index, _, kind = name.partition(".")
        moments.setdefault(int(index), {})[kind] = value
    learner.optimizer.load_state_dict(learner.optimizer.state_dict() | {"state": moments})
    torch.set_rng_state(found.tensors["random"]["cpu"])
    if "cuda" in found.tensors["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(found.tensors["random"]["cuda"])
    return found.tensors.get("behavior"), found.step


def snapshot(learner: Learner) -> Snapshot:
    """Copies of what is trained, on the CPU."""
    return {name: parameter.detach().cpu().clone() for name, parameter in learner.trained.items()}


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


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT came. The first is only noted, so that the step can end; a second one acts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(number, before[number])  # type: ignore[index]

    for number in before:
        signal.signal(number, note)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(learner: Learner, prompts: Sequence[Prompt], tokens: Sequence[tuple[int, ...]]) -> Engine:
    """The engine of a run, for prompts with these tokens. Close it when done.

    Raises:
        ValueError: a prompt that is too long for the model, or an option that would bias the log-ratios.
        EngineError: it does not start.
    """
    config, model = learner.config, learner.model
    stop = stop_tokens(model.generation_config, learner.tokenizer)
    positions = model.config.max_position_embeddings
    settings = engine_settings(config.model, config.rollout, prompts, tokens, stop, positions)
    return start_engine(settings, config.rollout)


def _check_parts(learner: Learner, found: Checkpoint) -> None:
    inside = not place(found.step, learner.config.lag).syncs
    for part in (*PARTS, *(["behavior"] if inside else [])):
        if part not in found.tensors:
            raise ValueError(f"the checkpoint of step {found.step} lacks the part {part!r}; start in a new folder")
    shapes = {name: parameter.shape for name, parameter in learner.trained.items()}
    for part in {"model", "behavior"} & found.tensors.keys():
        if {name: tensor.shape for name, tensor in found.tensors[part].items()} != shapes:
            raise ValueError(
                f"the weights in the checkpoint of step {found.step} are not those of {learner.config.model.path}; "
                "put the model back that the run began with, or start in a new folder"
            )


def _check_same(config: Config, found: Checkpoint) -> None:
    ours, theirs = (dict(_flat(values)) for values in (config.model_dump(mode="json"), found.state.get("config", {})))
    differing = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    changed = [name for name in differing if not name.startswith(CHANGEABLE)]
    if changed:
        raise ValueError(
            f"the checkpoint of step {found.step} is of a run with another {', '.join(changed)}; "
            "start in a new folder, or go on with the same configuration"
        )


def _flat(values: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{outer}{name}.")
        else:
            yield outer + name, value


def _due(step: int, every: int, steps: int) -> bool:
    return every > 0 and (step % every == 0 or step == steps)


def _timing(clock: Sequence[float], tokens: int) -> dict[str, float]:
    """Seconds of a step's parts, and completion tokens trained on per second."""
    synced, waited, updated = np.diff(clock).tolist()
    return {
        "time/sync": synced,
        "time/wait": waited,
        "time/update": updated,
        "time/tokens_per_second": tokens / (clock[-1] - clock[0]),
    }


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Hold a run's folder, with its metrics cut back to its last checkpoint; the step of that, 0 if there is none.

    Raises:
        ValueError: another process holds it, or a file is damaged.
    """
    with held(folder):
        step, kept = checkpoint.load_state(folder / CHECKPOINTS) or (0, {})
        cut_back(folder, kept.get("written", {}))
        yield step
