"""Evaluate a model as it is on disk: one that a configuration names, or a run's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .. import tasks
from ..config import Config
from ..run import checkpoint
from ..run.engine import start, sync
from ..run.state import check_weights
from ..run.train import CHECKPOINTS
from ..sample import evaluate
from ..sample.engines.base import probe
from ..sample.evaluate import Evaluation
from ..sample.rollout import tokenize
from ..update.learner import load_snapshot, make_learner


@dataclass(frozen=True)
class Examined:
    """What an evaluation found.

    Attributes:
        step: optimizer steps that the weights had seen; 0 for those of ``model.path``.
        whole: over all held-out prompts.
        parts: the same for each part of the task, where it has parts.
        unjudged: answers that could not be judged, by reason.
    """

    step: int
    whole: Evaluation
    parts: Mapping[str, Evaluation]
    unjudged: Mapping[str, int]


def examine(config: Config, folder: Path | None = None, step: int | None = None) -> Examined:
    """Sample held-out prompts as ``config.evaluation`` says and judge the answers.

    Args:
        config: model, task, rollout settings, seed.
        folder: of a run whose checkpoint is taken, instead of the model's own weights.
        step: which checkpoint, the latest if None.

    Raises:
        ValueError: a configuration that does not work, or no such checkpoint.
        EngineError: sampling failed, or engine and trainer disagree.
    """
    learner = make_learner(config)
    task = tasks.load(config.task.name, config.task.options, learner.tokenizer, config.task.judges)
    seen = 0
    if folder is not None:
        kept = checkpoint.steps(folder / CHECKPOINTS)
        if step is not None and step not in kept:
            raise ValueError(f"{folder}: has no checkpoint of step {step}; there are {kept}")
        found = checkpoint.load(folder / CHECKPOINTS, step)
        if found is None:
            raise ValueError(f"{folder}: has no checkpoint yet")
        check_weights(learner, found)
        load_snapshot(learner, found.tensors["model"])
        seen = found.step
    prompts = evaluate.choose(task.held_out, config.evaluation.prompts)
    tokens = tokenize(learner.tokenizer, prompts)
    with closing(start(learner, prompts, tokens)) as engine:
        sync(learner, engine, seen, probe(tokens, config.rollout.max_tokens))
        answers = engine.generate(evaluate.ask(tokens, config.evaluation.samples, config.seed))
    judged = evaluate.judge(task, prompts, answers, learner.decode, config.task.judges)
    return Examined(seen, evaluate.summarize(judged), evaluate.by_part(judged), dict(task.failures()))
