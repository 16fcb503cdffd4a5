"""The update of any objective on a language model. No mathematics of its own: the coefficient is the catalogue's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

import pessimism as ps
from pessimism.levels import check_level, token_coefficients, token_weight

from .batch import Batch, Block, Pass, cut, make_pass, share
from .policy import TokenValues, block_values, token_values
from .ranks import ALONE, Ranks


@dataclass(frozen=True, eq=False)
class Step:
    r"""What one update saw, before the optimizer moved. Samples and their tokens are in the batch's order.

    Attributes:
        batch: the n samples.
        log_ratio: (n,) $\ell$, summed over a completion's tokens, nats.
        coefficient: (n,) c of every sample; at token level the mean over its tokens.
        token_log_ratio: (N,) of every completion token, nats.
        token_entropy: (N,) of the policy at every completion token, nats.
        passes: how many backward passes it took.
        padded_tokens: input tokens that went through the model, padding included.
    """

    batch: Batch
    log_ratio: np.ndarray
    coefficient: np.ndarray
    token_log_ratio: np.ndarray
    token_entropy: np.ndarray
    passes: int
    padded_tokens: int


def accumulate(
    model: PreTrainedModel,
    batch: Batch,
    algorithm: ps.Algorithm,
    tokens_per_pass: int,
    temperature: float = 1.0,
    precision: torch.dtype = torch.float32,
    ranks: Ranks = ALONE,
) -> Step:
    r"""Add to the parameters' gradients what descends the objective's loss on a batch.

    The update is $\frac{1}{B}\sum_{groups}\sum_i w_i\sum_t c_{it}\,\nabla\log\pi(y_{it})$; its negative, times the
    algorithm's scale, is added. The level says what a token's $c_{it}$ is, see :mod:`pessimism.levels`.

    Every rank adds what the groups of its share count in the whole batch. All have the whole batch, and get the same
    numbers of it.

    Raises:
        ValueError: see :func:`~llm.update.batch.cut` and :func:`pessimism.levels.token_coefficients`.
    """
    check_level(algorithm)
    device = next(model.parameters()).device
    seen: list[tuple[Pass, Tensor, Tensor, Tensor]] = []
    for blocks, at_once in _passes(batch, algorithm, tokens_per_pass, ranks):
        part = make_pass(batch, blocks, device)
        found: list[tuple[Tensor, Tensor]] = []

        def pull(log_probs: Tensor, part: Pass = part, found: list[tuple[Tensor, Tensor]] = found) -> Tensor:
            log_ratio = log_probs.double() - part.behavior_log_probs
            if not len(part.samples):
                return log_ratio
            coefficient = coefficients(algorithm, log_ratio, part)
            found.append((log_ratio, coefficient))
            return -algorithm.scale / batch.groups * weighted(algorithm, coefficient, part)

        backward = backward_at_once if at_once else backward_by_blocks
        entropies = backward(model, part, pull, temperature, precision)
        seen += [(part, *one, entropies) for one in found]
    return _step(batch, seen, ranks)


def _passes(
    batch: Batch, algorithm: ps.Algorithm, tokens_per_pass: int, ranks: Ranks
) -> list[tuple[list[np.ndarray], bool]]:
    """This rank's passes: their blocks, and whether the graphs of all of them are held at once.

    Weights are gathered from all ranks whenever a block goes through the model, so all ranks have as many passes of as
    many blocks: where one has fewer, it has empty ones.
    """
    mine = share(batch, ranks.size)[ranks.rank]
    found = cut(batch, tokens_per_pass, algorithm.coupled, mine) if len(mine) else []
    shapes = np.zeros((int(ranks.largest(np.array(len(found)))), 2), np.int64)
    length = np.array([len(tokens) - 1 for tokens in batch.tokens])
    for at, blocks in enumerate(found):
        padded = sum(len(block) * length[block].max() for block in blocks)
        shapes[at] = len(blocks), padded > tokens_per_pass
    none = np.empty(0, np.int64)
    passes = [*found, *([] for _ in shapes[len(found) :])]
    return [
        ([*blocks, *[none] * (count - len(blocks))], not larger)
        for blocks, (count, larger) in zip(passes, ranks.largest(shapes).tolist(), strict=True)
    ]


Pull = Callable[[Tensor], Tensor]
"""From the log-probabilities (N,) of a pass's tokens, without gradient, to what each one's gradient counts, (N,)."""


def backward_at_once(
    model: PreTrainedModel,
    part: Pass,
    pull: Pull,
    temperature: float = 1.0,
    precision: torch.dtype = torch.float32,
    chunk_logits: int | None = None,
) -> Tensor:
    """Add a pass's gradient, with the graphs of all its blocks held until the pull is known; the entropies (N,)."""
    blocks = [(block.input_ids, block.predicting) for block in part.blocks]
    values = block_values(model, blocks, part.labels, temperature, precision, chunk_logits)
    values.log_probs.backward(pull(values.log_probs.detach()).to(values.log_probs.dtype))
    return values.entropies


def backward_by_blocks(
    model: PreTrainedModel, part: Pass, pull: Pull, temperature: float = 1.0, precision: torch.dtype = torch.float32
) -> Tensor:
    """The same gradient with one block's graph held at a time, for a third more arithmetic; the entropies (N,).

    What the gradients count follows from the log-probabilities alone, so all blocks are seen once without gradients
    and then once more, each with its own. Dropout leaves out the same in both.
    """
    labels = part.labels.split([len(block.predicting) for block in part.blocks])
    device = part.labels.device
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        first = [_values(model, *one, temperature, precision) for one in zip(part.blocks, labels, strict=True)]
        counts = pull(torch.cat([values.log_probs for values in first]))
    for block, label, count in zip(part.blocks, labels, counts.split([len(one) for one in labels]), strict=True):
        values = _values(model, block, label, temperature, precision)
        values.log_probs.backward(count.to(values.log_probs.dtype))
    return torch.cat([values.entropies for values in first])


def _values(
    model: PreTrainedModel, block: Block, labels: Tensor, temperature: float, precision: torch.dtype
) -> TokenValues:
    return token_values(model, block.input_ids, block.predicting, labels, temperature, precision)


def coefficients(algorithm: ps.Algorithm, token_log_ratio: Tensor, part: Pass) -> Tensor:
    """c of every completion token (N,) of a pass, from their log-ratios (N,); no gradient."""
    return token_coefficients(
        algorithm,
        token_log_ratio,
        part.advantage,
        part.tokens,
        behavior_log_prob=part.behavior_log_probs,
        weight=part.weight,
        group=part.group,
    )


def weighted(algorithm: ps.Algorithm, coefficient: Tensor, part: Pass) -> Tensor:
    """What each token's gradient counts in its group, (N,): its coefficient, times the sample's weight and share."""
    counts = part.weight if part.counted is None else part.weight * part.counted
    return part.tokens.spread(counts * token_weight(algorithm.level, part.tokens)) * coefficient


def _step(batch: Batch, seen: list[tuple[Pass, Tensor, Tensor, Tensor]], ranks: Ranks) -> Step:
    """What all ranks saw: each sample was seen by one of them, and is zero on the others."""
    per_sample = np.zeros((2, len(batch.length)))
    ends = np.cumsum(batch.length)
    per_token = np.zeros((2, ends[-1]))
    for part, log_ratio, coefficient, entropy in seen:
        sums = part.tokens.sum(log_ratio), part.tokens.sum(coefficient) / part.length
        per_sample[:, part.samples] = torch.stack(sums).cpu().numpy()
        length = batch.length[part.samples]
        first = np.repeat(ends[part.samples] - length - (np.cumsum(length) - length), length)
        place = first + np.arange(len(first))
        per_token[:, place] = torch.stack([log_ratio, entropy.double()]).cpu().numpy()
    done = len(seen), sum(part.padded_tokens for part, *_ in seen)
    passes, padded = ranks.sum(np.array(done)).astype(int).tolist()
    return Step(batch, *ranks.sum(per_sample), *ranks.sum(per_token), passes=passes, padded_tokens=padded)
