"""From groups of completions to tensors: a batch, and the passes that it is cut into.

Completions go through the model in blocks of similar length, padded on the right to the longest one. A pass is one
block, or several that must be seen before any gradient is known: the coefficients of a coupled objective need whole
groups, however uneven. A group with more tokens than may be held at once still is one pass: its blocks are seen twice,
see :mod:`llm.update.loss`. Gradients of the passes add up to the batch's, as what a sample counts is fixed before the
cut.

Packing completions into one row under a block-diagonal mask pads nothing, but was slower on CPUs, where attention then
works on the whole row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import pessimism as ps
from pessimism.levels import PackedTokens

from ..samples import Group

BLOCK_OVERHEAD = 256
"""What one more block costs, in tokens: its fixed work, seen as padding that would cost as much."""

ROOM = 0.8
"""Share of a pass that whole groups fill with tokens; the rest is left for padding."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The n samples of one optimizer step.

    Attributes:
        tokens: n arrays, prompt and completion of every sample.
        behavior_log_probs: n arrays, log-probability of every completion token under the policy that sampled it, nats.
        length: (n,) completion tokens.
        group: (n,) which group a sample belongs to, 0 to groups - 1, ascending.
        reward, advantage: (n,).
        weight: (n,) of a sample within its group; sums to one in each.
        counted: (n,) 0 for a sample that is left out of the gradient, though not of baselines; else 1. None: all count.
    """

    tokens: tuple[np.ndarray, ...]
    behavior_log_probs: tuple[np.ndarray, ...]
    length: np.ndarray
    group: np.ndarray
    reward: np.ndarray
    advantage: np.ndarray
    weight: np.ndarray
    counted: np.ndarray | None = None

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.group[-1]) + 1

    def arrays(self) -> dict[str, np.ndarray]:
        """As :func:`batch_from` reads it: samples of unequal length end to end."""
        one_a_sample = {name: getattr(self, name) for name in ("length", "group", "reward", "advantage", "weight")}
        counted = {} if self.counted is None else {"counted": self.counted}
        ends = {
            "tokens": np.concatenate(self.tokens),
            "behavior_log_probs": np.concatenate(self.behavior_log_probs),
            "sizes": np.array([len(tokens) for tokens in self.tokens]),
        }
        return one_a_sample | counted | ends


def batch_from(arrays: Mapping[str, np.ndarray]) -> Batch:
    """What :meth:`Batch.arrays` took apart."""
    rest = dict(arrays)
    tokens = np.split(rest.pop("tokens"), np.cumsum(rest.pop("sizes"))[:-1])
    behavior = np.split(rest.pop("behavior_log_probs"), np.cumsum(rest["length"])[:-1])
    return Batch(tuple(tokens), tuple(behavior), **rest)


@dataclass(frozen=True, eq=False)
class Block:
    """Some samples side by side.

    Attributes:
        input_ids: (r, L), padded on the right; a row's last token predicts nothing and is left out.
        predicting: (n,) positions in the flattened (r * L,) input that predict completion tokens, row by row.
    """

    input_ids: Tensor
    predicting: Tensor


@dataclass(frozen=True, eq=False)
class Pass:
    """R samples whose gradient is taken at once, N completion tokens in all. Tensors are on the model's device.

    Attributes:
        samples: (R,) their indices in the batch, block by block.
        blocks: what goes through the model.
        group: (R,) see :class:`Batch`.
        labels: (N,) completion tokens, in the order of the blocks' ``predicting``.
        row: (N,) the sample of each, 0 to R - 1.
        behavior_log_probs: (N,) float64.
        length, advantage, weight: (R,) float64, see :class:`Batch`.
        counted: likewise, or None.
    """

    samples: np.ndarray
    blocks: tuple[Block, ...]
    group: np.ndarray
    labels: Tensor
    row: Tensor
    behavior_log_probs: Tensor
    length: Tensor
    advantage: Tensor
    weight: Tensor
    counted: Tensor | None = None

    @property
    def padded_tokens(self) -> int:
        """Input tokens that go through the model, padding included."""
        return sum(block.input_ids.numel() for block in self.blocks)

    @property
    def tokens(self) -> PackedTokens:
        """Which of the N tokens belongs to which sample."""
        return PackedTokens(self.row, self.length)


def make_batch(
    groups: Sequence[Group],
    algorithm: ps.Algorithm,
    weights: Sequence[np.ndarray] | None = None,
    leave_out_cut: bool = False,
) -> Batch:
    """The samples of some groups with their advantages.

    Args:
        groups: at least one.
        algorithm: its baseline makes the advantages.
        weights: (G,) for every group: its completions are not draws but *all* there are, with these probabilities, and
            baselines take exact expectations. None: sampled groups, each sample counts 1/G.
        leave_out_cut: whether completions that were cut off are left out of the gradient.

    Raises:
        ValueError: no groups, an empty completion, numbers that do not match, a reward that is not finite, or a group
            too small for the baseline; names the prompt.
    """
    if not groups:
        raise ValueError("groups is empty; a batch needs at least one")
    for group in groups:
        _check(group)
    given = [None] * len(groups) if weights is None else weights
    advantages = [_advantage(group, algorithm, own) for group, own in zip(groups, given, strict=True)]
    sizes = [len(group.completions) for group in groups]
    completions = [completion for group in groups for completion in group.completions]
    prompts = [group.tokens for group in groups for _ in group.completions]
    shares = [np.full(size, 1 / size) for size in sizes] if weights is None else weights
    return Batch(
        tuple(np.concatenate([prompt, c.tokens]) for prompt, c in zip(prompts, completions, strict=True)),
        tuple(completion.log_probs for completion in completions),
        np.array([len(completion.tokens) for completion in completions]),
        np.repeat(np.arange(len(groups)), sizes),
        np.concatenate([group.rewards for group in groups]).astype(np.float64),
        np.concatenate(advantages),
        np.concatenate(shares),
        np.array([float(completion.finished) for completion in completions]) if leave_out_cut else None,
    )


def cut(
    batch: Batch, tokens_per_pass: int, whole_groups: bool, samples: np.ndarray | None = None
) -> list[list[np.ndarray]]:
    """Which samples go into which pass, and side by side in which block, so that little is padded.

    Args:
        tokens_per_pass: most tokens that are held at once, padding included.
        whole_groups: whether a group's samples must share a pass (coupled objectives).
        samples: those that are to be cut, whole groups; None: all.

    Returns:
        The blocks of every pass as indices of samples; no block has more tokens than may be held, and no pass but one
        of a single group that is larger. Without ``whole_groups`` a pass is one block, and the longest come first, so
        that too little memory shows at once.

    Raises:
        ValueError: a sample has more tokens than may be held.
    """
    length = np.array([len(tokens) - 1 for tokens in batch.tokens])
    if length.max() > tokens_per_pass:
        raise ValueError(f"tokens_per_pass is {tokens_per_pass}, but a sample has {length.max()} tokens")
    chosen = np.arange(len(length)) if samples is None else samples
    if not whole_groups:
        return [[block] for block in _blocks(length, chosen, tokens_per_pass)]
    names, place = np.unique(batch.group[chosen], return_inverse=True)
    units = np.bincount(place, length[chosen], minlength=len(names)).astype(int)
    passes = []
    for groups in _filled(units, int(ROOM * tokens_per_pass)):
        held = chosen[np.isin(place, groups)]
        if units[groups].sum() > tokens_per_pass:  # seen block by block, so that padding costs time only
            passes.append(_blocks(length, held, tokens_per_pass))
            continue
        for overhead in (BLOCK_OVERHEAD, BLOCK_OVERHEAD // 8, 0):  # without overhead nothing is padded
            blocks = _blocks(length, held, tokens_per_pass, overhead)
            if sum(len(block) * length[block].max() for block in blocks) <= tokens_per_pass:
                break
        passes.append(blocks)
    return passes


def share(batch: Batch, ranks: int) -> list[np.ndarray]:
    """Which samples of a batch each rank takes: whole groups, with about as many tokens.

    Groups are given out from the largest to the smallest, each to the rank with the fewest tokens so far.

    Returns:
        For every rank its samples, ascending; none where there are fewer groups than ranks.
    """
    length = np.array([len(tokens) - 1 for tokens in batch.tokens])
    units = np.bincount(batch.group, length, minlength=batch.groups)
    load, holder = np.zeros(ranks), np.zeros(batch.groups, int)
    for group in np.argsort(-units, kind="stable").tolist():
        holder[group] = np.argmin(load)
        load[holder[group]] += units[group]
    return [np.flatnonzero(holder[batch.group] == rank) for rank in range(ranks)]


def check_room(prompt: int, max_tokens: int, tokens_per_pass: int) -> None:
    """Refuse settings under which :func:`cut` could fail in the middle of a run.

    Args:
        prompt: tokens of the longest one.
        max_tokens: of a completion.
        tokens_per_pass: most tokens that are held at once.

    Raises:
        ValueError: the longest sample would not fit.
    """
    needed = prompt + max_tokens - 1
    if needed > tokens_per_pass:
        raise ValueError(
            f"optimizer.tokens_per_pass is {tokens_per_pass}, but a sample may have {needed} tokens "
            f"(prompts up to {prompt}, rollout.max_tokens {max_tokens}); it must be at least that"
        )


def make_pass(batch: Batch, blocks: Sequence[np.ndarray], device: torch.device) -> Pass:
    """Tensors of some samples of a batch, in the blocks that :func:`cut` made.

    A block of no samples goes through the model as one token that counts nothing: where other ranks have one more.
    """
    samples = np.concatenate(blocks)
    length = batch.length[samples]
    behavior = _joined([batch.behavior_log_probs[sample] for sample in samples])
    labels = _joined([batch.tokens[sample][-size:] for sample, size in zip(samples, length, strict=True)])

    def tensor(values: np.ndarray, kind: torch.dtype = torch.float64) -> Tensor:
        return torch.as_tensor(values, dtype=kind).to(device)

    return Pass(
        samples,
        tuple(_block(batch, block, device) for block in blocks),
        batch.group[samples],
        tensor(labels, torch.int64),
        tensor(np.repeat(np.arange(len(samples)), length), torch.int64),
        tensor(behavior),
        tensor(length),
        tensor(batch.advantage[samples]),
        tensor(batch.weight[samples]),
        None if batch.counted is None else tensor(batch.counted[samples]),
    )


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0)


def _block(batch: Batch, samples: np.ndarray, device: torch.device) -> Block:
    if not len(samples):
        none = torch.zeros(0, dtype=torch.int64, device=device)
        return Block(torch.zeros(1, 1, dtype=torch.int64, device=device), none)
    tokens = [batch.tokens[sample] for sample in samples]
    length = batch.length[samples]
    inputs = np.array([len(sequence) - 1 for sequence in tokens])
    longest = int(inputs.max())
    padded = np.zeros((len(samples), longest), dtype=np.int64)
    padded[np.arange(longest) < inputs[:, None]] = np.concatenate([sequence[:-1] for sequence in tokens])
    # Completion tokens sit at the end of a sequence; each is predicted from the position before it.
    ends = np.cumsum(length)
    within = np.arange(ends[-1]) - np.repeat(ends - length, length)
    predicting = np.repeat(np.arange(len(samples)) * longest + inputs - length, length) + within
    return Block(*(torch.as_tensor(values, dtype=torch.int64).to(device) for values in (padded, predicting)))


def _filled(units: np.ndarray, room: int) -> list[list[int]]:
    """Consecutive units in runs of at most so many tokens each; a unit that is larger has its own."""
    runs: list[list[int]] = [[]]
    for unit, tokens in enumerate(units.tolist()):
        if runs[-1] and units[runs[-1]].sum() + tokens > room:
            runs.append([])
        runs[-1].append(unit)
    return runs


def _blocks(length: np.ndarray, samples: np.ndarray, limit: int, overhead: int = BLOCK_OVERHEAD) -> list[np.ndarray]:
    """Samples in blocks of neighbors by length, longest first; the cut that costs least."""
    ordered = samples[np.argsort(length[samples], kind="stable")]
    return [ordered[first:last] for first, last in reversed(_cheapest(length[ordered], limit, overhead))]


def _cheapest(length: np.ndarray, limit: int, overhead: int) -> list[tuple[int, int]]:
    """Bounds of runs of ascending lengths, each within the limit when padded, with the least padding and overhead.

    By dynamic programming: the best cut of the first n ends in some run, before which the cut is best too.
    """
    cost, before = np.zeros(len(length) + 1), np.zeros(len(length) + 1, dtype=int)
    rows = np.arange(len(length), 0, -1)
    for last in range(1, len(cost)):
        longest = int(length[last - 1])
        first = max(0, last - limit // longest)
        choices = cost[first:last] + rows[len(length) - last + first :] * longest
        best = int(np.argmin(choices))
        cost[last], before[last] = choices[best] + overhead, first + best
    bounds = []
    last = len(length)
    while last:
        bounds.append((int(before[last]), last))
        last = int(before[last])
    return bounds[::-1]


def _advantage(group: Group, algorithm: ps.Algorithm, weights: np.ndarray | None) -> np.ndarray:
    try:
        return algorithm.advantage(np.asarray(group.rewards, dtype=np.float64), behavior=weights)
    except ValueError as error:
        raise ValueError(f"prompt {group.prompt.id!r}: {error}") from None


def _check(group: Group) -> None:
    name = f"prompt {group.prompt.id!r}"
    if not group.tokens:
        raise ValueError(f"{name} has no tokens; the first completion token must be predicted from something")
    if len(group.rewards) != len(group.completions) or not group.completions:
        raise ValueError(f"{name} has {len(group.completions)} completions and {len(group.rewards)} rewards")
    for at, completion in enumerate(group.completions):
        if len(completion.tokens) == 0 or len(completion.log_probs) != len(completion.tokens):
            raise ValueError(
                f"{name}, completion {at} has {len(completion.tokens)} tokens and {len(completion.log_probs)} "
                "log-probabilities; it needs as many, and at least one"
            )
