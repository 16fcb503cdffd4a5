"""What a configuration needs of a cluster: cards to train on and to sample on, hours, disk.

Arithmetic, from :mod:`llm.fit.memory` and the assumptions of :mod:`llm.fit.table`; no run on several GPUs tested it.
FSDP2 leaves on each of W cards 1/W of weights, gradients and moments, and gathers a layer at a time, the next one while
the last is used. What a pass holds besides is not shared. Updates take 1/W of the time; what the cards tell each other
takes none. Samples are drawn beside the updates by other cards, one or several of them with a model together.
Evaluation, syncs and the wait for a window's longest completion are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..config import Config
from ..run.checkpoint import KEPT
from ..run.plan import BYTES_PER_TOKEN
from .architectures import architecture
from .cards import Card
from .memory import Memory, measure, measure_layers
from .table import CONTEXT, PIECES, checkpoint_bytes, engine_memory, sampling_seconds, update_seconds

GATHERED = 2
"""Layers whose weights are whole at a time."""

SERVING = (1, 2, 4, 8)
"""Cards that one model may be sampled on."""

LARGEST = 1024
"""Cards that are tried at most."""


@dataclass(frozen=True)
class Needs:
    """What a run needs of cards of one kind. Bytes and seconds; completions of full length.

    Attributes:
        steps: of the run.
        memory: of the trainer, alone.
        layer: the largest layer's weights and gradients.
        train: cards to train on, the fewest (a power of two) on which it fits.
        update: of one step on one card, if it fitted.
        drawing: of one step's batch from one model, by the number of cards that it is on.
        disk: checkpoints that are there at once, the buffer, and two versions of the weights for the servers.
    """

    steps: int
    memory: Memory
    layer: int
    train: int
    update: float
    drawing: Mapping[int, float]
    disk: int

    @property
    def serve(self) -> int:
        """Cards that hold one model and a completion, the fewest."""
        return min(self.drawing)

    def held(self, ranks: int) -> int:
        """What each of some cards holds at most in training, the allowance included."""
        return held(self.memory, self.layer, ranks)

    def step(self, train: int, sample: int) -> float:
        """Seconds of a step with so many cards of each."""
        drawn = (time / (sample // size) for size, time in self.drawing.items() if size <= sample)
        return max(self.update / train, min(drawn))

    def split(self, cards: int) -> tuple[int, int] | None:
        """Cards to train on and to sample on, of so many, with the shortest step; None if they are too few."""
        possible = range(self.train, cards - self.serve + 1)
        if not possible:
            return None
        best = min(possible, key=lambda train: (self.step(train, cards - train), train))
        return best, cards - best


def needs(config: Config, card: Card) -> Needs:
    """What a configuration needs.

    Raises:
        ValueError: the shapes of its model are not known, or a pass does not fit a card, however many there are.
    """
    described = architecture(config)
    memory, layer = measure(config, described), _layer(config)
    rollout = config.rollout.model_copy(update={"engine": "vllm", "options": {}})
    alone = config.model_copy(update={"rollout": rollout})
    engines = {size: engine_memory(alone, described, memory, together(card, size)) for size in SERVING}
    times = {
        size: sampling_seconds(config, engine, together(card, size))
        for size, engine in engines.items()
        if engine.sequences >= 1
    }
    if not times:
        raise ValueError(f"rollout.max_tokens = {rollout.max_tokens}: {SERVING[-1]} cards do not hold a model and one")
    batches = -(-config.steps // config.lag.epochs)
    tokens = batches * rollout.prompts * rollout.group_size * rollout.max_tokens
    return Needs(
        steps=config.steps,
        memory=memory,
        layer=layer,
        train=_fewest(config, memory, layer, card),
        update=update_seconds(config, described, memory, card),
        drawing=times,
        disk=(KEPT + 1) * checkpoint_bytes(config, memory) + BYTES_PER_TOKEN * tokens + 2 * engines[1].weights,
    )


def held(memory: Memory, layer: int, ranks: int) -> int:
    """What each of some ranks holds at most, the allowance included.

    Args:
        memory: of a process alone.
        layer: bytes of the largest layer's weights and gradients.
        ranks: how many share it.
    """
    states = memory.weights + memory.gradients + memory.moments
    gathered = GATHERED * layer if ranks > 1 else 0
    peak = memory.peak - states + math.ceil(states / ranks) + gathered
    return peak + CONTEXT + int(PIECES * peak)


def together(card: Card, number: int) -> Card:
    """Some cards that hold one model by tensor parallelism, taken for one."""
    return Card(number * card.memory, number * card.flops, number * card.bandwidth)


def _layer(config: Config) -> int:
    fewer, more = (measure_layers(config, architecture(config), layers) for layers in (1, 2))
    return more.weights - fewer.weights + more.gradients - fewer.gradients


def _fewest(config: Config, memory: Memory, layer: int, card: Card) -> int:
    ranks = 1
    while held(memory, layer, ranks) > card.memory:
        ranks *= 2
        if ranks > LARGEST:
            raise ValueError(
                f"optimizer.tokens_per_pass = {config.optimizer.tokens_per_pass}: what such a pass holds does not fit "
                f"the card, on up to {LARGEST} ranks"
            )
    return ranks
