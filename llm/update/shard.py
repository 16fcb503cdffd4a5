"""A model spread over ranks by torch's FSDP2, every rank with its share of each weight.

A step is the same whether one process does it or N ranks do: a rank adds the gradient of the groups that are its share
(:func:`llm.update.batch.share`), each counted as in the whole batch, FSDP2 sums the gradients over ranks, and every
rank moves its share of the weights.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from ..config import Config
from .policy import READ
from .ranks import Ranks


def check_sharded(config: Config) -> None:
    """Refuse what does not work on several ranks.

    Raises:
        ValueError: the option, and why.
    """
    lora = config.model.lora
    refused = {
        "model.compile": (config.model.compile, "is not supported together with FSDP2 here"),
        "model.lora.dropout": (lora is not None and lora.dropout > 0, "draws other numbers on every rank"),
        "optimizer.moments": (config.optimizer.moments != "float32", "rounds by other random numbers on every rank"),
    }
    for name, (given, reason) in refused.items():
        if given:
            raise ValueError(f"{name} {reason}; leave it out, or train in one process")


def shard(model: PreTrainedModel, ranks: Ranks) -> None:
    """Spread a model over the ranks, in place: layer by layer, what is left (embedding, norm, head) as one more part.

    Parameters become DTensors, on the GPU where there is one. Weights are gathered as they are, in float32 where they
    are trained; ``model.dtype`` is what matrix products are computed in, as in one process.

    Args:
        model: the same on every rank, in the memory of the CPU.
        ranks: all of them.

    Raises:
        ValueError: the model differs between ranks, or has no list of layers.
    """
    ranks.check_same(_digest(model.state_dict().values()), f"model.path: the model in {model.name_or_path}")
    layers = getattr(model.get_decoder(), "layers", None)
    if not isinstance(layers, torch.nn.ModuleList):
        raise ValueError(f"model.path: {type(model).__name__} has no list of layers; it cannot be spread over ranks")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (ranks.size,))
    # What is not resharded after a forward would be found by other names than DTensors until the next backward.
    for part in (*layers, model):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)  # the sum over ranks, not the mean
            part.set_force_sum_reduction_for_comms(True)
    setattr(model, READ, types.MethodType(_read, model))
    register_fsdp_forward_method(model, READ)


def _read(model: PreTrainedModel, reader: Any, *arguments: Any) -> Any:
    return reader(model, *arguments)


def _digest(tensors: Iterable[Tensor]) -> bytes:
    """Sums of the bits of each tensor: exact, so the same on every kind of processor."""
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = (tensor.detach().contiguous().view(-1).view(kinds[tensor.element_size()]) for tensor in tensors)
    return json.dumps([int(one.sum(dtype=torch.int64)) for one in bits]).encode()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, which every rank must ask for at the same time; one that is not spread is returned as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def spread_like(value: Tensor | None, like: Tensor) -> Tensor:
    """The leading rank's tensor, spread over the ranks as another one is; the others give None."""
    if not isinstance(like, DTensor):
        assert value is not None
        return value
    device = like.to_local().device
    given = torch.empty(like.shape, dtype=like.dtype, device=device) if value is None else value.to(device, like.dtype)
    return distribute_tensor(given, like.device_mesh, like.placements, src_data_rank=0)
