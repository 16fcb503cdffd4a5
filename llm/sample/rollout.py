"""From prompts to judged groups: which prompts a batch holds, with which seeds, and what their completions are worth.

What a batch holds depends on its number, the run's seed and the weights only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pessimism as ps

from .. import config
from ..samples import Answer, Completion, Group, Prompt, Request
from .engines.base import Answers, Engine, EngineError, Settings
from .engines.local import LocalEngine
from .engines.process import ProcessEngine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# First words of spawn keys, so that the streams of one run never meet.
ORDER, SAMPLES = 0, 1


@dataclass(frozen=True)
class Rollouts:
    """The batches of a run.

    Attributes:
        engine: where completions come from.
        prompts: the problems to draw from.
        tokens: of each problem's text.
        reward: (prompt, answer) -> reward.
        decode: token ids -> text without special tokens.
        size: prompts in a batch.
        group_size: completions of each.
        seed: of the run.
        judges: answers judged at a time.
    """

    engine: Engine
    prompts: Sequence[Prompt]
    tokens: Sequence[tuple[int, ...]]
    reward: Callable[[Prompt, Answer], float]
    decode: Callable[[Sequence[int]], str]
    size: int
    group_size: int
    seed: int
    judges: int = 1

    def draw(self, batch: int, version: int) -> Callable[[], list[Group]]:
        """Ask the engine for a batch; calling what is returned waits for it to be sampled and judged.

        Where the engine samples beside the trainer, answers are judged beside it too, as soon as they are there.

        Args:
            batch: its number, counted from 0 over the run.
            version: that the engine's weights must have.

        Raises:
            EngineError: they have another.
        """
        if self.engine.version != version:
            raise EngineError(
                f"batch {batch} is for the weights of step {version}; the engine's saw {self.engine.version}"
            )
        chosen = prompt_indices(len(self.prompts), self.size, batch, self.seed).tolist()
        seeds = request_seeds(self.size, batch, self.seed)
        requests = [
            Request(self.tokens[index], self.group_size, seed) for index, seed in zip(chosen, seeds, strict=True)
        ]
        judge = partial(self._judge, chosen, self.engine.submit(requests), version, batch)
        if isinstance(self.engine, LocalEngine):  # samples where it is waited for
            return judge
        thread = ThreadPoolExecutor(1, thread_name_prefix="judge")
        judged = thread.submit(judge)
        thread.shutdown(wait=False)  # once it is done
        return judged.result

    def _judge(self, chosen: Iterable[int], answers: Callable[[], Answers], version: int, batch: int) -> list[Group]:
        found = list(zip((self.prompts[index] for index in chosen), answers(), strict=True))
        rewards = judge_all(self.reward, found, self.decode, self.judges)
        return [
            Group(prompt, self.tokens[index], tuple(completions), np.array(row, np.float64), version, batch)
            for index, (prompt, completions), row in zip(chosen, found, rewards, strict=True)
        ]


def judge_all(
    reward: Callable[[Prompt, Answer], Any],
    answers: Sequence[tuple[Prompt, Sequence[Completion]]],
    decode: Callable[[Sequence[int]], str],
    at_a_time: int = 1,
) -> list[list[Any]]:
    """What a function says of every completion of every prompt, in their order."""
    judged = [
        (prompt, Answer(decode(tokens := sample.tokens.tolist()), tuple(tokens), sample.finished))
        for prompt, completions in answers
        for sample in completions
    ]
    if at_a_time == 1:
        values = iter([reward(*one) for one in judged])
    else:
        with ThreadPoolExecutor(at_a_time) as pool:
            values = iter(list(pool.map(lambda one: reward(*one), judged)))
    return [list(islice(values, len(completions))) for _, completions in answers]


def prompt_indices(count: int, size: int, batch: int, seed: int) -> np.ndarray:
    """Which prompts a batch holds: the batches cut an endless row of passes, each pass every prompt once, shuffled.

    Returns:
        (size,) positions in the list of ``count`` prompts. Only a batch that spans two passes can hold a prompt twice.

    >>> two_passes = np.concatenate([prompt_indices(5, 2, batch, seed=0) for batch in range(5)])
    >>> sorted(two_passes[:5].tolist()), sorted(two_passes[5:].tolist())
    ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    """
    passes, positions = np.divmod(np.arange(batch * size, (batch + 1) * size), count)
    orders = {
        number: np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(ORDER, number))).permutation(count)
        for number in set(passes.tolist())
    }
    return np.array([orders[number][position] for number, position in zip(passes.tolist(), positions, strict=True)])


def request_seeds(size: int, batch: int, seed: int) -> list[int]:
    """A seed for each prompt of a batch, by its place in it.

    >>> request_seeds(2, batch=0, seed=0) == request_seeds(2, batch=1, seed=0)
    False
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(SAMPLES, batch))
    return sequence.generate_state(size, np.uint64).tolist()


def tokenize(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    """Tokens of each prompt's text, as it stands: what a chat template adds is part of the text already.

    Raises:
        ValueError: a text that has none.
    """
    found = tokenizer([prompt.text for prompt in prompts], add_special_tokens=False)["input_ids"]
    for prompt, tokens in zip(prompts, found, strict=True):
        if not tokens:
            raise ValueError(f"prompt {prompt.id}: the text {prompt.text!r} has no tokens; it must have at least one")
    return [tuple(tokens) for tokens in found]


def stop_tokens(generation_config: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that end a completion: the model's end-of-sequence ids (``model.generation_config``) and the tokenizer's."""
    found = generation_config.eos_token_id
    ids: list[Any] = [*(found if isinstance(found, list) else [found]), tokenizer.eos_token_id]
    return tuple(sorted({identity for identity in ids if identity is not None}))


def engine_settings(
    model: config.Model,
    rollout: config.Rollout,
    prompts: Sequence[Prompt],
    tokens: Sequence[Sequence[int]],
    stop: tuple[int, ...],
    positions: int,
) -> Settings:
    """What the engine of a run is started with.

    Args:
        model, rollout: of the run's configuration.
        prompts: every prompt that will ever be asked, held-out ones included.
        tokens: of each.
        stop: see :func:`stop_tokens`.
        positions: longest sequence that the model takes, prompt and completion.

    Raises:
        ValueError: a prompt that is too long for the model, or an option that would bias the log-ratios.
    """
    for prompt, text in zip(prompts, tokens, strict=True):
        if len(text) + rollout.max_tokens > positions:
            raise ValueError(
                f"prompt {prompt.id} has {len(text)} tokens; with rollout.max_tokens = {rollout.max_tokens} for the "
                f"completion they do not fit the {positions} positions of {model.path}"
            )
    return Settings(
        kind=rollout.engine,
        model=model.path,
        temperature=rollout.temperature,
        max_tokens=rollout.max_tokens,
        context=max(map(len, tokens)) + rollout.max_tokens,
        stop_tokens=stop,
        dtype=model.dtype,
        options=rollout.options,
    )


def start_engine(settings: Settings, rollout: config.Rollout) -> Engine:
    """The engine of a run, where ``rollout.place`` says. Close it when done.

    Raises:
        EngineError: it does not start.
    """
    if rollout.weights is not None:
        from .engines.servers import Servers

        listed = partial(listed_servers, rollout.servers)
        return Servers(settings, listed, Path(rollout.weights), rollout.probe_tolerance, rollout.timeout)
    if rollout.place == "colocated":
        return LocalEngine(settings)
    return ProcessEngine(settings, rollout.timeout, rollout.restarts)


def listed_servers(servers: Sequence[str] | str) -> list[str]:
    """The URLs of a list, or those that stand in a file now, one in each line.

    Raises:
        OSError: the file cannot be read.
    """
    if not isinstance(servers, str):
        return list(servers)
    return [line.strip() for line in Path(servers).read_text("utf-8").splitlines() if line.strip()]


def check_group_size(algorithm: ps.Algorithm, group_size: int) -> None:
    """Refuse groups too small for an objective.

    Raises:
        ValueError: it compares the samples of a group with each other, and there are too few.

    >>> check_group_size(ps.algorithm("opmd"), 1)
    >>> check_group_size(ps.algorithm("rloo"), 1)
    Traceback (most recent call last):
        ...
    ValueError: rollout.group_size is 1: a leave-one-out baseline needs groups of at least 2 samples; got 1
    """
    if group_size == 1 and algorithm.coupled:
        raise ValueError(
            f"rollout.group_size is 1: {algorithm.name} compares the samples of a group; it needs at least 2"
        )
    try:
        algorithm.advantage(np.zeros(group_size))
    except ValueError as error:
        raise ValueError(f"rollout.group_size is {group_size}: {error}") from None
