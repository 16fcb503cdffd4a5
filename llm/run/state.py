"""What a run needs to go on: made into a checkpoint, checked and put back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..config import Config
from ..sample.rollout import stop_tokens
from ..tasks import Task
from ..update.learner import Learner, Snapshot, frozen, load_moments, load_snapshot, moments, snapshot
from .checkpoint import Checkpoint, fingerprint
from .schedule import place

CHANGEABLE = (
    *("name", "steps", "checkpoint_every", "watch", "hardware"),
    *("rollout.place", "rollout.timeout", "rollout.restarts", "rollout.options", "rollout.probe_tolerance"),
    *("rollout.servers", "rollout.weights"),
    *("model.gradient_checkpointing", "model.compile", "optimizer.tokens_per_pass", "evaluation", "task.judges"),
)
"""What may differ in the configuration that a run goes on with: what leaves the mathematics as it is. (Rounding may
differ, as sums are then taken in another order.)"""

PARTS = ("model", "optimizer", "random")
"""What every checkpoint holds; one inside a window also holds the weights that its data come from ("behavior")."""


def state(learner: Learner, step: int, behavior: Snapshot | None, kept: Mapping[str, Any]) -> Checkpoint:
    """Everything that the run needs to go on, bit for bit; ``kept`` is what the caller wants to find again."""
    tensors = {"model": snapshot(learner), "optimizer": moments(learner), "random": {"cpu": torch.get_rng_state()}}
    if torch.cuda.is_available():
        tensors["random"]["cuda"] = torch.cuda.get_rng_state()
    if behavior is not None and not place(step, learner.config.lag).syncs:
        tensors["behavior"] = behavior
    return Checkpoint(step, tensors, {"config": learner.config.model_dump(mode="json"), **kept})


def restore(learner: Learner, found: Checkpoint, began_with: Mapping[str, str]) -> Snapshot | None:
    """Put a checkpoint's state into model and optimizer; its behavior weights, if its window goes on.

    Args:
        learner: freshly made.
        found: the checkpoint.
        began_with: see :func:`origin`.

    Raises:
        ValueError: it is of a run with another configuration, other problems or another model, or lacks a part.
    """
    _check_same(learner.config, found)
    _check_parts(learner, found)
    _check_origin(began_with, found)
    load_snapshot(learner, found.tensors["model"])
    load_moments(learner, found.tensors["optimizer"])
    torch.set_rng_state(found.tensors["random"]["cpu"])
    if "cuda" in found.tensors["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(found.tensors["random"]["cuda"])
    return found.tensors.get("behavior")


def origin(learner: Learner, task: Task) -> dict[str, str]:
    """Digests of what a run reads again whenever it goes on: the task's problems, and what is not trained of the model.

    Of the model: frozen weights, the tokenizer's vocabulary, the tokens that end a completion.
    """
    problems = [(prompt.id, prompt.text, prompt.problem) for prompt in (*task.train, *task.held_out)]
    read = [learner.tokenizer.get_vocab(), stop_tokens(learner.model.generation_config, learner.tokenizer)]
    return {"task": _digest(problems), "model.path": _digest([*read, fingerprint(frozen(learner))])}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _check_origin(began_with: Mapping[str, str], found: Checkpoint) -> None:
    for name, digest in began_with.items():
        if found.state.get("origin", {}).get(name) != digest:
            raise ValueError(
                f"{name}: what is there now is not what the run began with, by its checkpoint of step {found.step}; "
                "put that back, or start in a new folder"
            )


def _check_parts(learner: Learner, found: Checkpoint) -> None:
    inside = not place(found.step, learner.config.lag).syncs
    for part in (*PARTS, *(["behavior"] if inside else [])):
        if part not in found.tensors:
            raise ValueError(f"the checkpoint of step {found.step} lacks the part {part!r}; start in a new folder")
    for part in {"model", "behavior"} & found.tensors.keys():
        check_weights(learner, found, part)


def check_weights(learner: Learner, found: Checkpoint, part: str = "model") -> None:
    """Refuse weights of another model.

    Raises:
        ValueError: their names or shapes are not those of what is trained.
    """
    shapes = {name: parameter.shape for name, parameter in learner.trained.items()}
    if {name: tensor.shape for name, tensor in found.tensors.get(part, {}).items()} != shapes:
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
