"""How much memory a training step takes on a card, measured without one: the trainer's own code on fake tensors.

A fake tensor has a shape, a type and a device, but no numbers. Forward pass, head, backward pass, optimizer step and
weight sync of :mod:`llm.update` run on them, and every storage that is made or let go is counted. The layers of a
decoder are alike, so each phase's peak is a straight line in their number, which models of two and three layers give.

What is not seen: the work space inside a kernel, what CUDA itself takes, and what the allocator cannot use because it
lies in pieces. :mod:`llm.fit.table` adds an allowance for these. Fake tensors here are on the CPU, where attention is
the same function with the same inputs and outputs to keep as on a card.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ..config import Config
from ..update.batch import Block, Pass
from ..update.learner import make_optimizer
from ..update.loss import backward_at_once
from ..update.models import EngineWeights, prepare, stored_precision
from ..update.policy import CHUNK_LOGITS, head_values

ROUNDING = 512
"""Bytes that CUDA's caching allocator rounds every storage up to."""

FEW = (2, 3)
"""Layers of the models that are measured."""


@dataclass(frozen=True)
class Memory:
    """What a trainer holds, in bytes.

    Attributes:
        parameters: number of parameters; not bytes.
        trained: number of those that are trained.
        weights: of the model, adapters included.
        gradients: of what is trained.
        moments: of the optimizer.
        head: what the head needs at most for one pass, beside its inputs.
        peaks: the most that is held in all, by phase: forward, head, backward, optimizer, sync.
    """

    parameters: int
    trained: int
    weights: int
    gradients: int
    moments: int
    head: int
    peaks: Mapping[str, int]

    @property
    def peak(self) -> int:
        """The most that is held at all."""
        return max(self.peaks.values())

    @property
    def activations(self) -> int:
        """What forward and backward hold beside weights, gradients and moments."""
        most = max(self.peaks[phase] for phase in ("forward", "head", "backward"))
        return most - self.weights - self.gradients - self.moments


class Held(TorchDispatchMode):
    """Counts the bytes of storages that live, among those that it sees.

    Attributes:
        now: bytes that are held.
        most: the most that were held since the last :meth:`forget`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, weakref.finalize[Any, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.see(result)
        return result

    def see(self, values: Any) -> None:
        """Count the tensors among some values, and inside containers, if they are not yet counted."""
        for value in tree_iter(values):
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            if (key := storage._cdata) in self._known:
                continue
            size = -(-storage.nbytes() // ROUNDING) * ROUNDING
            self._known[key] = weakref.finalize(storage, self._gone, key, size)
            self.now += size
            self.most = max(self.most, self.now)

    def forget(self) -> int:
        """The most that was held since the last time; counting starts anew from what is held now."""
        most, self.most = self.most, self.now
        return most

    def _gone(self, key: int, size: int) -> None:
        del self._known[key]
        self.now -= size


def measure(config: Config, described: PreTrainedConfig) -> Memory:
    """The memory of a configuration's trainer.

    Args:
        config: says what is trained, in which precision, with how many tokens at once.
        described: shapes of the model.
    """
    count = int(described.num_hidden_layers)
    if count <= FEW[-1]:
        return measure_layers(config, described, count)
    fewer, more = (measure_layers(config, described, layers) for layers in FEW)
    return extended(fewer, more, count - FEW[-1])


def extended(fewer: Memory, more: Memory, layers: int) -> Memory:
    """What a model with some more layers than the larger of two takes; those two differ by one layer."""

    def line(first: int, second: int) -> int:
        return second + layers * (second - first)

    return Memory(
        **{
            name: line(getattr(fewer, name), getattr(more, name))
            for name in ("parameters", "trained", "weights", "gradients", "moments", "head")
        },
        peaks={name: line(fewer.peaks[name], peak) for name, peak in more.peaks.items()},
    )


def measure_layers(config: Config, described: PreTrainedConfig, layers: int) -> Memory:
    """The memory of a trainer whose model has so many layers, every one of them run."""
    shapes = copy.deepcopy(described)
    shapes.num_hidden_layers = layers
    with suppress(AttributeError):  # one kind of attention per layer, where a model has several
        shapes.layer_types = (shapes.layer_types * layers)[:layers]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shapes, dtype=stored_precision(config.model))
        prepare(model, config.model)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _put_on_cpu(model)
        return _measured(config, model)


def _put_on_cpu(model: PreTrainedModel) -> None:
    """Give a model without storage tensors of a CPU, tied ones once. (Adapters cannot be put beside fake ones.)"""
    made: dict[Tensor, Tensor] = {}
    for module in model.modules():
        tables: tuple[Any, ...] = (module._parameters, module._buffers)
        for table in tables:
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if tensor not in made:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    trained = isinstance(tensor, torch.nn.Parameter)
                    made[tensor] = torch.nn.Parameter(empty, tensor.requires_grad) if trained else empty
                table[name] = made[tensor]


def _measured(config: Config, model: PreTrainedModel) -> Memory:
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    with Held() as held:
        held.see([*parameters, *model.buffers()])
        weights = held.now
        optimizer = make_optimizer(model, config.optimizer)
        held.forget()
        _pass(config, model, held)
        optimizer.step()  # from now on there are gradients and moments, as in every pass but the very first
        held.forget()
        peaks = _pass(config, model, held)
        gradients = _bytes(parameter.grad for parameter in trained)
        kept = (value for values in optimizer.state.values() for value in values.values())
        moments = _bytes(value for value in kept if isinstance(value, Tensor))
        torch.nn.utils.clip_grad_norm_(trained, config.optimizer.clip_norm)
        optimizer.step()
        peaks["optimizer"] = held.forget()
        for _ in EngineWeights(model).values():
            pass
        peaks["sync"] = held.forget()
        head = _head(config, model, held)
    counts = [sum(parameter.numel() for parameter in some) for some in (parameters, trained)]
    return Memory(counts[0], counts[1], weights, gradients, moments, head, peaks)


def _pass(config: Config, model: PreTrainedModel, held: Held) -> dict[str, int]:
    """The peaks of a pass that is as full as the configuration allows, in one row where every position predicts."""
    peaks: dict[str, int] = {}

    def body_done(*_: Any) -> None:
        peaks["forward"] = held.forget()

    def head_done(log_probs: Tensor) -> Tensor:
        peaks["head"] = held.forget()
        return log_probs

    part = _full_pass(config.optimizer.tokens_per_pass)
    precision = getattr(torch, config.model.dtype)
    hook = model.get_decoder().register_forward_hook(body_done)
    backward_at_once(model, part, head_done, precision=precision, chunk_logits=CHUNK_LOGITS["cuda"])
    hook.remove()
    peaks["backward"] = held.forget()
    return peaks


def _full_pass(tokens: int) -> Pass:
    row = torch.zeros(tokens, dtype=torch.int64)
    values, one = torch.zeros(tokens, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    block = Block(torch.zeros(1, tokens, dtype=torch.int64), row)
    return Pass(np.zeros(1, int), (block,), np.zeros(1, int), row, row, values, one, one, one)


def _head(config: Config, model: PreTrainedModel, held: Held) -> int:
    """The most that the head holds for one pass beside its inputs."""
    layer: Any = model.get_output_embeddings()
    weight = layer.weight
    tokens = config.optimizer.tokens_per_pass
    hidden = torch.zeros(tokens, weight.shape[1], dtype=getattr(torch, config.model.dtype), requires_grad=True)
    before = held.now
    held.forget()
    values = head_values(model, hidden, torch.zeros(tokens, dtype=torch.int64), chunk_logits=CHUNK_LOGITS["cuda"])
    values.log_probs.backward(torch.zeros(tokens))
    return held.forget() - before


def _bytes(tensors: Iterable[Tensor | None]) -> int:
    """Of some tensors, each storage once and rounded as it is when held."""
    found = {one.untyped_storage()._cdata: one.untyped_storage().nbytes() for one in tensors if one is not None}
    return sum(-(-size // ROUNDING) * ROUNDING for size in found.values())
