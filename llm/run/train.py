"""The run, top to bottom: sync, sample, update, evaluate, write down, checkpoint; and go on from where it stopped.

Every ``sync_every`` steps the engine takes the trainer's weights; until the next sync all data come from those. A step
follows the objective's update on one batch, however old that is. Nothing here knows one objective from another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pessimism.studies import held

from .. import tasks
from ..config import Config
from ..sample import evaluate
from ..sample.engines.base import Engine, probe, random_state_kept
from ..sample.rollout import Rollouts, tokenize
from ..samples import Prompt, Request
from ..tasks import Task
from ..tasks.shaping import shaped
from ..update.batch import check_room
from ..update.learner import Learner, Snapshot, engine_weights, make_learner, snapshot, swapped, update
from ..update.metrics import describe, drawn, log_ratio_pairs, mismatch
from ..update.monitor import StepMonitor
from ..update.ranks import ALONE, END, Ranks
from . import checkpoint
from .buffer import Buffer
from .engine import start, sync
from .schedule import place
from .source import DEPTH, Source
from .state import origin, restore, state
from .stopping import Stop, Stopped, asked_to_stop
from .watch import Watcher, cut_back

CHECKPOINTS, BUFFER = "checkpoints", "buffer"

Numbers = dict[str, float]


def train(config: Config, folder: Path, watcher: Watcher, ranks: Ranks = ALONE) -> int:
    """Run, or go on from the folder's last checkpoint, until all steps are done or a signal asks to stop.

    Of several ranks, the leading one; the others are in :func:`llm.run.follow.follow`.

    Args:
        config: of the run.
        folder: where it lives: buffer, checkpoints and what the watcher writes.
        watcher: takes the numbers of every step.
        ranks: that train together.

    Returns:
        Optimizer steps done: fewer than ``config.steps`` if SIGTERM or SIGINT came.

    Raises:
        ValueError: a configuration or a checkpoint that does not work.
        EngineError: sampling failed for good, or engine and trainer disagree after a sync.
        ScorerError: answers cannot be judged.
        RunError: the gradient is not finite.
    """
    learner = make_learner(config, ranks)
    task = tasks.load(config.task.name, config.task.options, learner.tokenizer, config.task.judges)
    held_out = evaluate.choose(task.held_out, config.evaluation.prompts) if config.evaluation.every else []
    prompts = [*task.train, *held_out]
    tokens = tokenize(learner.tokenizer, prompts)
    questions, unseen = tokens[: len(task.train)], tokens[len(task.train) :]
    check_room(max(map(len, questions)), config.rollout.max_tokens, config.optimizer.tokens_per_pass)
    began_with = origin(learner, task)
    found = checkpoint.load(folder / CHECKPOINTS)
    first = config.evaluation.every > 0 and config.evaluation.before
    saved, behavior, owed = None, None, {} if first else None  # of the policy that it starts from
    if found is not None:
        saved, behavior, owed = found.step, restore(learner, found, began_with), found.state.get("owed")
    del found  # as large as model and optimizer together
    buffer = Buffer(folder / BUFFER)
    buffer.set_aside(0 if saved is None else (saved // config.lag.sync_every + 1) * config.lag.batches)
    with closing(start(learner, prompts, tokens)) as engine, asked_to_stop() as stop:
        size = config.rollout
        reward = shaped(task.reward, config.task, size.max_tokens)
        rollouts = Rollouts(
            engine,
            task.train,
            questions,
            reward,
            learner.decode,
            size.prompts,
            size.group_size,
            config.seed,
            config.task.judges,
        )
        # Servers get all batches of a window at once, so that none waits for the longest completion of another.
        depth = DEPTH if size.weights is None else config.lag.batches
        run = Run(
            learner=learner,
            engine=engine,
            source=Source(rollouts.draw, buffer, config.lag, config.steps, depth),
            task=task,
            held_out=held_out,
            unseen=unseen,
            request=probe(questions, size.max_tokens),
            watcher=watcher,
            monitor=StepMonitor(learner.algorithm),
            checkpoints=folder / CHECKPOINTS,
            began_with=began_with,
            stop=stop,
            step=saved or 0,
            behavior=behavior,
            owed=owed,
            saved=saved,
        )
        done = run.go()
    ranks.tell(END)
    return done


@dataclass
class Run:
    """A run as it stands.

    Attributes:
        learner, engine, source, task, held_out, unseen, request, watcher, monitor: what it consists of.
        checkpoints: their folder.
        began_with: see :func:`llm.run.state.origin`.
        stop: whether it is asked to stop.
        step: optimizer steps done.
        behavior: the weights that the window's data come from, where they are not the trainer's.
        owed: numbers of the last step that are not written down yet, because its evaluation is not done; None: nothing.
        saved: step of the last checkpoint.
    """

    learner: Learner
    engine: Engine
    source: Source
    task: Task
    held_out: Sequence[Prompt]
    unseen: Sequence[tuple[int, ...]]
    request: Request
    watcher: Watcher
    monitor: StepMonitor
    checkpoints: Path
    began_with: dict[str, str]
    stop: Stop
    step: int
    behavior: Snapshot | None
    owed: Numbers | None
    saved: int | None

    def go(self) -> int:
        """Do what is left of the run; the steps that are done then."""
        steps = self.learner.config.steps
        try:
            self._sync_behavior()
            while self.step < steps or self.owed is not None:
                timing = self._step() if self.owed is None else {}
                self._write_down(timing)
                due = self.step > 0 and _due(self.step, self.learner.config.checkpoint_every, steps)
                if self.stop.asked or due:
                    self._save()
                if self.stop.asked:
                    break
        except Stopped:
            self._save()
        return self.step

    def _step(self) -> Numbers:
        """One optimizer step; its timing. Its numbers are owed from then on."""
        clock = [time.perf_counter()]
        here = place(self.step, self.learner.config.lag)
        numbers: Numbers = {"lag/steps": here.lag, "lag/version": here.version}
        if here.syncs:
            numbers["sync/probe_gap"] = sync(self.learner, self.engine, here.version, self.request, self._waiting)
            self.behavior = snapshot(self.learner) if self.learner.config.lag.sync_every > 1 else None
        clock.append(time.perf_counter())
        with self._waiting():
            groups = self.source.take(self.step)
        clock.append(time.perf_counter())
        result, norm = update(self.learner, groups, self.step)
        clock.append(time.perf_counter())
        self.step += 1
        self.owed = numbers | describe(result, self.learner.algorithm) | drawn(groups) | {"gradient/norm": norm}
        self.owed |= self.monitor(self.step, result, here.lag)
        if here.lag == 0:
            self.owed |= mismatch(result)
        if here.lag > 0 and place(self.step, self.learner.config.lag).syncs:
            self.watcher.keep_pairs(self.step, log_ratio_pairs(result, self.learner.algorithm))
        return _timing(clock, int(result.batch.length.sum()))

    def _write_down(self, timing: Numbers) -> None:
        """Evaluate if it is time to, and write down what is owed."""
        config, numbers = self.learner.config, self.owed or {}
        if _due(self.step, config.evaluation.every, config.steps):
            numbers = numbers | self._evaluated()
        timing["engine/restarts"] = getattr(self.engine, "restarted", 0)
        timing["judge/failures"] = sum(self.task.failures().values())
        self.owed = None
        self.watcher.record(self.step, numbers, timing)

    def _evaluated(self) -> Numbers:
        """Numbers of the policy on held-out prompts."""
        with self._waiting():
            self.source.drain()
        weights = engine_weights(self.learner)
        with self._waiting():
            self.engine.sync(weights, self.step)
            found = evaluated(self.learner, self.engine, self.task, self.held_out, self.unseen)
        self._sync_behavior()
        return found

    def _sync_behavior(self) -> None:
        """Give the engine the weights that the rest of the window's data come from."""
        here = place(self.step, self.learner.config.lag)
        if self.behavior is not None and not here.syncs:
            with swapped(self.learner, self.behavior):
                sync(self.learner, self.engine, here.version, self.request, self._waiting)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        with random_state_kept(), self.stop.heard_at_once():
            yield

    def _save(self) -> None:
        """Write a checkpoint, unless there is one of this step."""
        if self.saved != self.step:
            kept: dict[str, Any] = {
                "origin": self.began_with,
                "written": self.watcher.written(),
                "owed": self.owed,
            }
            checkpoint.save(self.checkpoints, state(self.learner, self.step, self.behavior, kept))
            self.saved = self.step


# --- the parts ------------------------------------------------------------------------------------------------------


def evaluated(
    learner: Learner, engine: Engine, task: Task, prompts: Sequence[Prompt], tokens: Sequence[tuple[int, ...]]
) -> Numbers:
    """Numbers of the engine's policy on held-out prompts."""
    requests = evaluate.ask(tokens, learner.config.evaluation.samples, learner.config.seed)
    answers = engine.generate(requests)
    judged = evaluate.judge(task, prompts, answers, learner.decode, learner.config.task.judges)
    numbers = {f"evaluation/{name}": value for name, value in evaluate.summarize(judged).numbers().items()}
    for part, evaluation in evaluate.by_part(judged).items():
        numbers |= {f"evaluation/{part}/{name}": value for name, value in evaluation.numbers().items()}
    return numbers


def _due(step: int, every: int, steps: int) -> bool:
    return every > 0 and (step % every == 0 or step == steps)


def _timing(clock: Sequence[float], tokens: int) -> Numbers:
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
