"""With learning rate zero nothing may move: does the machinery of a run hold still, and would it tell if it did not?

The engine's idea of the policy and the trainer's differ by rounding only; every ratio that training sees is therefore
one, within what the configuration allows, as long as the weights are the same.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from .. import tasks
from ..config import Config, Lag
from ..run.checkpoint import fingerprint
from ..run.engine import start, sync
from ..sample import evaluate
from ..sample.engines.base import Engine, probe
from ..sample.rollout import Rollouts, tokenize
from ..samples import Request
from ..update.learner import Learner, make_learner, snapshot, swapped, trainer_log_probs, update
from ..update.loss import Step

SYNCS = 3
MOVE = 0.05
"""By how much of itself each weight is moved, to see that a sync is no empty ceremony."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        found: as measured, in words.
        allowed: likewise.
        holds: the verdict.
    """

    name: str
    found: str
    allowed: str
    holds: bool


def selftest(config: Config) -> list[Check]:
    """Sync, sample and update three times with learning rate zero, then once with weights that did move.

    Args:
        config: any; its learning rate is not used, and every step is preceded by a sync.

    Returns:
        What was checked; all of it should hold.

    Raises:
        ValueError: a configuration that does not work.
        EngineError: sampling failed. (Engine and trainer that disagree are a check that does not hold.)
        RunError: the gradient is not finite.
    """
    still = config.model_copy(
        update={
            "optimizer": config.optimizer.model_copy(update={"learning_rate": 0.0}),
            "lag": Lag(),
            "steps": SYNCS,
            # What the probe finds is judged below; here it must not end the test.
            "rollout": config.rollout.model_copy(update={"probe_tolerance": np.finfo(float).max}),
        }
    )
    learner = make_learner(still)
    task = tasks.load(config.task.name, config.task.options, learner.tokenizer)
    questions = evaluate.choose(task.train, SYNCS * config.rollout.prompts)
    tokens = tokenize(learner.tokenizer, questions)
    request = probe(tokens, config.rollout.max_tokens)
    with closing(start(learner, questions, tokens)) as engine:
        size = config.rollout
        rollouts = Rollouts(
            engine, questions, tokens, task.reward, learner.decode, size.prompts, size.group_size, config.seed
        )
        before = fingerprint(snapshot(learner))
        gaps, steps, probes = [], [], []
        for step in range(SYNCS):
            gaps.append(sync(learner, engine, step, request))
            probes.append(engine.generate([request])[0])
            steps.append(update(learner, rollouts.draw(step, step)(), step)[0])
        after = fingerprint(snapshot(learner))
        repeated = all(
            np.array_equal(one.tokens, other.tokens)
            for later in probes[1:]
            for one, other in zip(probes[0], later, strict=True)
        )
        moved = _moved(learner, engine, request)
    tolerance = config.rollout.probe_tolerance
    return [
        _within("largest gap between engine and trainer after a sync, nats/token", max(gaps), tolerance),
        _within("largest |log-ratio| of a token in training", _largest(steps), tolerance),
        _within("|KL(μ‖π)| per token, from log-ratios (k1)", abs(float(np.mean(_log_ratios(steps)))), tolerance),
        Check("weights after three updates", after[:12], before[:12], after == before),
        Check("same seeds, same weights, same completions", "yes" if repeated else "no", "yes", repeated),
        *moved_checks(*moved, tolerance),
    ]


def moved_checks(found: float, old: float, tolerance: float) -> list[Check]:
    """What a sync of other weights must show.

    Args:
        found: largest gap of the engine, after the sync, from the trainer with those weights.
        old: the same from the trainer without them.
        tolerance: largest gap allowed.
    """
    return [
        _within(f"the same gap when all weights moved by {MOVE:.0%}", found, tolerance),
        Check(
            "and from the weights before, which the probe must tell", f"{old:.2g}", f"> {tolerance:g}", old > tolerance
        ),
    ]


def _moved(learner: Learner, engine: Engine, request: Request) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    other = {
        name: value * (1 + MOVE * torch.randn(value.shape, generator=generator).to(value.dtype))
        for name, value in snapshot(learner).items()
    }
    with swapped(learner, other):
        found = sync(learner, engine, SYNCS, request)
    trainer = trainer_log_probs(learner)
    samples = engine.generate([request])[0]
    return found, max(float(np.abs(one.log_probs - trainer(request.tokens, one.tokens)).max()) for one in samples)


def _within(name: str, found: float, tolerance: float) -> Check:
    return Check(name, f"{found:.2g}", f"<= {tolerance:g}", found <= tolerance)


def _log_ratios(steps: list[Step]) -> np.ndarray:
    return np.concatenate([step.token_log_ratio for step in steps])


def _largest(steps: list[Step]) -> float:
    return float(np.abs(_log_ratios(steps)).max())
