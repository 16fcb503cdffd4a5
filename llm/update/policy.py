"""Log-probabilities of completion tokens, without ever holding the logits of a whole batch.

The policy is softmax(logits / temperature). Only positions that predict a completion token go through the head, a chunk
of them at a time; the backward pass computes a chunk's softmax anew, unless there is only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK_LOGITS = {"cpu": 2**22, "cuda": 2**28}
"""Logits held at a time. Fewer make matrix products inefficient; more fall out of a processor's cache, or off a card.

With a vocabulary of 152k, 2**22 logits are 27 positions: on a card every chunk would read the whole head, and read and
write its whole gradient, for so few. 2**28 are 1,766 positions, in 1.1 GB of float32.
"""

READ = "read_weights"
"""Method of a model that is spread over ranks: calls a function with the model and more arguments as a forward."""


@dataclass(frozen=True)
class TokenValues:
    """What the policy says of N completion tokens.

    Attributes:
        log_probs: (N,) float32, nats; differentiable.
        entropies: (N,) float32, nats, of the distributions that the tokens were chosen from; no gradient.
    """

    log_probs: Tensor
    entropies: Tensor


def token_values(
    model: PreTrainedModel,
    input_ids: Tensor,
    predicting: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    precision: torch.dtype = torch.float32,
    chunk_logits: int | None = None,
) -> TokenValues:
    r"""$\log\pi(y_t | y_{<t})$ and the entropy of $\pi(\cdot | y_{<t})$, $\pi$ = softmax(logits / temperature).

    Args:
        model: a causal language model that passed :func:`check_model`.
        input_ids: (R, L), rows padded on the right with any token. No mask is needed: causal attention never looks
            ahead, so that padding reaches nothing that is read.
        predicting: (N,) positions in the flattened (R * L,) input whose next token is asked for.
        labels: (N,) those next tokens.
        temperature: > 0.
        precision: what matrix products are computed in: float32, or bfloat16 (weights stay as they are). Softmax and
            logarithm are float32 in both.
        chunk_logits: logits held at a time; None: as suits the device.
    """
    return block_values(model, [(input_ids, predicting)], labels, temperature, precision, chunk_logits)


def block_values(
    model: PreTrainedModel,
    blocks: Sequence[tuple[Tensor, Tensor]],
    labels: Tensor,
    temperature: float = 1.0,
    precision: torch.dtype = torch.float32,
    chunk_logits: int | None = None,
) -> TokenValues:
    """The same of several blocks (input_ids, predicting) at once, whose labels follow each other.

    All that reads weights happens here. Of a model that is spread over ranks it must be one of its forwards, which
    gather the weights, so such a model has a method of the name :data:`READ`, see :mod:`llm.update.shard`.
    """
    read = getattr(model, READ, None)
    arguments = (blocks, labels, temperature, precision, chunk_logits)
    return TokenValues(*(_read(model, *arguments) if read is None else read(_read, *arguments)))


def _read(
    model: PreTrainedModel,
    blocks: Sequence[tuple[Tensor, Tensor]],
    labels: Tensor,
    temperature: float,
    precision: torch.dtype,
    chunk_logits: int | None,
) -> tuple[Tensor, Tensor]:
    hidden = [hidden_states(model, *block, precision) for block in blocks]
    values = head_values(model, torch.cat(hidden), labels, temperature, chunk_logits)
    return values.log_probs, values.entropies


def hidden_states(
    model: PreTrainedModel, input_ids: Tensor, predicting: Tensor, precision: torch.dtype = torch.float32
) -> Tensor:
    """What the model's head is to read, (N, H); arguments as in :func:`token_values`."""
    # Each weight is used once, so that keeping its bfloat16 copy would only cost memory: a half of the weights' own.
    half = precision == torch.bfloat16
    with torch.autocast(input_ids.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
        # The decoder is the model without its head.
        hidden = model.get_decoder()(input_ids=input_ids, use_cache=False).last_hidden_state
    chosen = hidden.flatten(0, 1).index_select(0, predicting)
    return chosen.to(precision) if precision == torch.bfloat16 else chosen


def head_values(
    model: PreTrainedModel,
    hidden: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    chunk_logits: int | None = None,
) -> TokenValues:
    """From hidden states (N, H) to what the policy says of the labels (N,); arguments as in :func:`token_values`."""
    head: Any = model.get_output_embeddings()
    held = CHUNK_LOGITS.get(hidden.device.type, CHUNK_LOGITS["cpu"]) if chunk_logits is None else chunk_logits
    rows = max(1, held // head.weight.shape[0])
    log_probs, entropies = _HeadLogProbs.apply(hidden, head.weight, head.bias, labels, temperature, rows)  # type: ignore[misc]
    return TokenValues(log_probs, entropies)


@torch.no_grad()
def check_model(model: PreTrainedModel) -> None:
    """Make sure that a model's logits are its head's output, and its head's input what its decoder returns.

    Raises:
        ValueError: they are not (logits are capped in Gemma 2, scaled in Cohere), or the head is no plain linear layer.
    """
    head: Any = model.get_output_embeddings()
    name = type(model).__name__
    if not isinstance(head, torch.nn.Linear):
        raise ValueError(f"the head of {name} is a {type(head).__name__}; it must be a plain torch.nn.Linear")
    seen: list[Tensor] = []

    def amplify(_: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen.extend((inputs[0], 1e3 * output))  # so large that a cap would show
        return seen[-1]

    training = model.training
    model.eval()  # dropout would make two passes differ
    input_ids = torch.arange(3, device=head.weight.device)[None] % head.weight.shape[0]
    hook = head.register_forward_hook(amplify)
    try:
        logits = model(input_ids=input_ids, use_cache=False).logits
    finally:
        hook.remove()
    hidden = model.get_decoder()(input_ids=input_ids, use_cache=False).last_hidden_state
    model.train(training)
    if not torch.allclose(hidden, seen[0], rtol=1e-3, atol=1e-3):
        raise ValueError(f"the head of {name} does not read its decoder's output; such models are not supported")
    if not torch.equal(logits.float(), seen[1].float()):
        raise ValueError(f"{name} caps or scales the logits of its head; such models are not supported")


class _HeadLogProbs(torch.autograd.Function):
    """Head, softmax and choice of label in one, chunk by chunk.

    From hidden (N, H), weight (V, H), bias (V,) or None and labels (N,): log-probabilities (N,) and entropies (N,).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, temperature: float, rows: int
    ) -> tuple[Tensor, Tensor]:
        product = weight.to(hidden.dtype)
        log_probs, entropies = [], []
        probabilities = None
        for part, label in zip(hidden.split(rows), labels.split(rows), strict=True):
            log_policy = functional.log_softmax(_logits(part, product, bias, temperature), dim=-1)
            probabilities = log_policy.exp()
            log_probs.append(log_policy.gather(1, label[:, None])[:, 0])
            entropies.append(-torch.linalg.vecdot(probabilities, log_policy))
        kept = probabilities if len(log_probs) == 1 else None  # with one chunk nothing need be computed twice
        ctx.save_for_backward(hidden, weight, bias, labels, kept)
        ctx.temperature, ctx.rows = temperature, rows
        found = torch.cat(log_probs), torch.cat(entropies)
        ctx.mark_non_differentiable(found[1])
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, labels, kept = ctx.saved_tensors
        product = weight.to(hidden.dtype)
        pulls = gradients[0] / ctx.temperature
        parts = zip(hidden.split(ctx.rows), labels.split(ctx.rows), pulls.split(ctx.rows), strict=True)
        to_hidden = []
        accumulator = torch.promote_types(weight.dtype, torch.float32)
        to_weight = torch.zeros_like(weight, dtype=accumulator) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(bias, dtype=accumulator) if ctx.needs_input_grad[2] else None
        for part, label, pull in parts:
            if kept is None:
                to_logits = functional.softmax(_logits(part, product, bias, ctx.temperature), dim=-1)
                to_logits.mul_(-pull[:, None])
            else:
                to_logits = kept * -pull[:, None]
            to_logits.scatter_add_(1, label[:, None], pull[:, None])
            if to_bias is not None:
                to_bias += to_logits.sum(dim=0)
            to_logits = to_logits.to(product.dtype)
            to_hidden.append(to_logits @ product)
            if to_weight is not None:
                _add_product(to_weight, to_logits.T, part)
        return (
            torch.cat(to_hidden),
            None if to_weight is None else to_weight.to(weight.dtype),
            None if to_bias is None else to_bias.to(bias.dtype),
            None,
            None,
            None,
        )


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    """(n, V), at least float32, divided by the temperature."""
    logits = functional.linear(hidden, weight, None if bias is None else bias.to(weight.dtype))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits if temperature == 1 else logits.div_(temperature)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, without a temporary where the types allow."""
    if total.dtype == right.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
