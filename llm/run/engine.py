"""The engine of a run: started for its model and prompts, given the trainer's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from ..sample.engines.base import Engine, probe_gap
from ..sample.rollout import engine_settings, start_engine, stop_tokens
from ..samples import Prompt, Request
from ..update.learner import Learner, engine_weights, trainer_log_probs


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


def sync(
    learner: Learner,
    engine: Engine,
    version: int,
    request: Request,
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> float:
    """Give the engine the trainer's weights, and make sure that it has them; the largest gap found, nats per token.

    Args:
        learner: whose weights they are.
        engine: that takes them.
        version: optimizer steps that they have seen.
        request: see :func:`~llm.sample.engines.base.probe`.
        waiting: entered while the engine works and the trainer waits.
    """
    weights, trainer = engine_weights(learner), trainer_log_probs(learner)
    with waiting():
        engine.sync(weights, version)
        each = engine.ask_each(request)
    tolerance = learner.config.rollout.probe_tolerance
    return max(probe_gap(name, version, request, answers, trainer, tolerance) for name, answers in each.items())
