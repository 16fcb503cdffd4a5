"""What two ranks compute beside what one process does, as JSON; each rank calls `main`.

Rank 0 does every step three times: on both ranks, alone with the same passes, and alone with passes of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm.config import Config
from llm.run.follow import obey
from llm.update import learner as update
from llm.update.learner import Learner, make_learner
from llm.update.loss import accumulate
from llm.update.models import EngineWeights
from llm.update.ranks import END, Ranks, joined
from llm_batches import random_groups

STEPS = 3
COUPLED = {"algorithm": "pairwise_regression"}
VARIANTS: dict[str, tuple[int, dict[str, Any]]] = {
    "whole weights": (5, {}),
    "many passes": (5, {"optimizer": {"tokens_per_pass": 20, "learning_rate": 1e-2}}),
    "coupled": (4, {"objective": COUPLED}),
    "coupled, block by block": (3, {"objective": COUPLED, "optimizer": {"tokens_per_pass": 20, "learning_rate": 1e-2}}),
    "fewer groups than ranks": (1, {}),
    "adapters": (4, {"lora": {"rank": 4}}),
    "adapters beside bfloat16": (4, {"lora": {"rank": 4}, "dtype": "bfloat16"}),
    "bfloat16": (4, {"dtype": "bfloat16"}),
    "checkpointing": (4, {"gradient_checkpointing": True}),
}
"""Groups in a batch, and what is changed in the configuration; not in a table of it: in [model]."""


@dataclass(frozen=True)
class Emulated(Ranks):
    """One of two ranks that is told nothing and waits for nobody."""

    size: int = 2

    def tell(self, call: str, values: Any = None, **arrays: np.ndarray) -> None:
        pass

    def _reduced(self, values: np.ndarray, operation: Any) -> np.ndarray:
        return values


def configured(model: str, changes: dict[str, Any]) -> Config:
    tables = {name: changes[name] for name in ("objective", "optimizer") if name in changes}
    described = {
        "name": "facts",
        "steps": STEPS,
        "deterministic": True,
        "model": {"path": model} | {name: value for name, value in changes.items() if name not in tables},
        "task": {"name": "countdown24"},
        "objective": {"algorithm": "shifted_mean", "parameters": {"beta": 0.1}},
        "rollout": {"engine": "transformers", "group_size": 4, "max_tokens": 17},
        "optimizer": {"learning_rate": 1e-2, "clip_norm": 0.5},
    }
    return Config.model_validate(described | tables)


def step_in_parts(learner: Learner, groups: list[Any], step: int) -> float:
    """One process, with the passes of two ranks one after the other; what `update` does with them."""
    batch = update.make_batch(groups, learner.algorithm)
    learner.optimizer.zero_grad(set_to_none=True)
    limit = learner.config.optimizer.tokens_per_pass
    for rank in range(2):
        accumulate(
            learner.model, batch, learner.algorithm, limit, precision=learner.precision, ranks=Emulated(rank=rank)
        )
    norm = update.clip(learner, learner.config.optimizer.clip_norm)
    learner.optimizer.step()
    return norm


def gap(one: Any, other: Any) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def facts(spread: Learner, count: int) -> dict[str, Any]:
    parts, alone = make_learner(spread.config), make_learner(spread.config)
    norms: dict[str, list[float]] = {"ranks": [], "parts": [], "alone": []}
    log_ratios = 0.0
    for step in range(STEPS):
        groups = random_groups(count, 4, seed=step)
        seen, norm = update.update(spread, groups, step)
        own, own_norm = update.update(alone, groups, step)
        norms["ranks"].append(norm)
        norms["parts"].append(step_in_parts(parts, groups, step))
        norms["alone"].append(own_norm)
        log_ratios = max(log_ratios, float(np.abs(seen.log_ratio - own.log_ratio).max()))
    whole, kept = update.snapshot(spread), update.moments(spread)
    given = {name: weight.clone() for name, weight in update.engine_weights(spread).items()}
    expected = {name: weight.to(given[name].dtype) for name, weight in EngineWeights(parts.model).items()}
    prompt, completion = (1, 2, 3), np.array([4, 5, 6], np.int32)
    probes = [update.log_probs(one, prompt, completion) for one in (spread, parts)]
    # What was gathered goes on in one process, and comes back.
    update.load_snapshot(alone, whole)
    update.load_moments(alone, kept)
    back = gap(update.snapshot(alone), whole), gap(update.moments(alone), kept)
    other = {name: torch.randn_like(value) for name, value in whole.items()}
    update.load_snapshot(spread, other)
    spread_gap = gap(update.snapshot(spread), other)
    update.load_moments(spread, {name: 2 * value for name, value in kept.items()})
    doubled = gap(update.moments(spread), {name: 2 * value for name, value in kept.items()})
    return {
        "norms": norms,
        "gap to equal passes": gap(whole, update.snapshot(parts)),
        "moments' gap to equal passes": gap(kept, update.moments(parts)),
        "moved": gap(whole, update.snapshot(make_learner(spread.config))),
        "log-ratios": log_ratios,
        "engine": gap(given, expected),
        "probe": float(np.abs(probes[0] - probes[1]).max()),
        "set": max(*back, spread_gap, doubled),
        "held": sum(parameter.to_local().numel() for parameter in spread.model.parameters()),  # type: ignore[operator]
        "of": sum(parameter.numel() for parameter in spread.model.parameters()),
    }


def main(model: str, out: Path) -> None:
    found = {}
    with joined() as ranks:
        for name, (count, changes) in VARIANTS.items():
            learner = make_learner(configured(model, changes), ranks)
            if ranks.leads:
                found[name] = facts(learner, count)
                ranks.tell(END)
            else:
                obey(learner)
        if ranks.leads:
            out.write_text(json.dumps(found))
