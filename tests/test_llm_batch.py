"""Batches and passes: nothing lost, nothing moved, and the cheapest cut."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pessimism as ps
from llm.samples import Completion
from llm.update.batch import _cheapest, cut, make_batch, make_pass
from llm_batches import random_groups

DRO = ps.algorithm("dro")
CPU = torch.device("cpu")


def uneven_batch(seed=0):
    return make_batch(random_groups(4, 5, seed), DRO)


def padded(batch, blocks):
    return sum(len(block) * max(len(batch.tokens[sample]) - 1 for sample in block) for block in blocks)


def samples_of(blocks):
    return np.concatenate(blocks)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limit", [16, 40, 100, 10_000])
def test_every_sample_is_in_one_pass_and_no_pass_exceeds_its_limit(seed, limit):
    batch = uneven_batch(seed)
    passes = cut(batch, limit, whole_groups=False)
    assert sorted(np.concatenate([samples_of(blocks) for blocks in passes])) == list(range(20))
    assert all(len(blocks) == 1 and padded(batch, blocks) <= limit for blocks in passes)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limit", [64, 100, 200, 10_000])
def test_groups_stay_together_where_they_must(seed, limit):
    batch = uneven_batch(seed)
    passes = cut(batch, limit, whole_groups=True)
    assert sorted(np.concatenate([samples_of(blocks) for blocks in passes])) == list(range(20))
    assert all(padded(batch, blocks) <= limit for blocks in passes)
    groups = [set(batch.group[samples_of(blocks)]) for blocks in passes]
    assert sum(map(len, groups)) == 4
    assert len(passes) == 1 or limit < 10_000


@pytest.mark.parametrize("seed", range(3))
def test_a_group_that_is_too_large_for_a_pass_has_one_of_its_own_in_blocks_that_are_not(seed):
    batch, limit = uneven_batch(seed), 16
    passes = cut(batch, limit, whole_groups=True)
    assert sorted(np.concatenate([samples_of(blocks) for blocks in passes])) == list(range(20))
    larger = [blocks for blocks in passes if padded(batch, blocks) > limit]
    assert larger
    assert all(len(set(batch.group[samples_of(blocks)])) == 1 for blocks in larger)
    assert all(padded(batch, [block]) <= limit for blocks in passes for block in blocks)


def test_a_group_that_only_just_fits_is_not_padded():
    batch = make_batch(random_groups(1, 5), DRO)
    tokens = sum(len(sequence) - 1 for sequence in batch.tokens)
    (blocks,) = cut(batch, tokens, whole_groups=True)
    assert padded(batch, blocks) == tokens
    assert len(blocks) == len({len(sequence) for sequence in batch.tokens})


@given(st.lists(st.integers(1, 900), min_size=1, max_size=8), st.integers(900, 6000), st.sampled_from([0, 64, 512]))
@settings(max_examples=60)
def test_no_cut_is_cheaper(lengths, limit, overhead):
    lengths = np.sort(lengths)

    def cost(bounds):
        tokens = [(last - first) * lengths[last - 1] for first, last in bounds]
        return sum(tokens) + overhead * len(tokens) if max(tokens) <= limit else np.inf

    inner = range(1, len(lengths))
    choices = [c for size in range(len(lengths)) for c in itertools.combinations(inner, size)]
    every = [list(itertools.pairwise([0, *choice, len(lengths)])) for choice in choices]
    assert cost(_cheapest(lengths, limit, overhead)) == min(map(cost, every))


def test_equal_lengths_need_no_more_passes_than_the_limit_asks_for():
    completion = Completion(np.arange(9, dtype=np.int32), np.zeros(9, np.float32), True)
    group = replace(random_groups(1, 5)[0], tokens=(1, 2), completions=(completion,) * 5)
    batch = make_batch([group] * 8, DRO)
    assert [len(samples_of(blocks)) for blocks in cut(batch, 400, whole_groups=False)] == [40]
    assert len(cut(batch, 200, whole_groups=False)) == 2


@pytest.mark.parametrize("whole_groups", [False, True])
def test_tensors_of_a_pass_are_what_a_loop_over_its_samples_finds(whole_groups):
    batch = uneven_batch()
    for blocks in cut(batch, 90, whole_groups):
        part = make_pass(batch, blocks, CPU)
        at = first = 0
        for samples, block in zip(blocks, part.blocks, strict=True):
            inside = 0
            for row, sample in enumerate(samples):
                tokens, length = batch.tokens[sample], batch.length[sample]
                for position in range(len(tokens) - length, len(tokens)):
                    place = int(block.predicting[inside])
                    assert place // block.input_ids.shape[1] == row == int(part.row[at]) - first
                    seen = block.input_ids.flatten()[row * block.input_ids.shape[1] : place + 1]
                    assert seen.tolist() == tokens[:position].tolist()
                    assert int(part.labels[at]) == tokens[position]
                    own = batch.behavior_log_probs[sample][position - len(tokens) + length]
                    assert float(part.behavior_log_probs[at]) == float(own)
                    at, inside = at + 1, inside + 1
            assert inside == len(block.predicting)
            first += len(samples)
        assert at == len(part.row) == len(part.labels) == len(part.behavior_log_probs)
        samples = samples_of(blocks)
        np.testing.assert_array_equal(part.samples, samples)
        np.testing.assert_array_equal(part.group, batch.group[samples])
        np.testing.assert_array_equal(part.advantage, batch.advantage[samples])
        np.testing.assert_array_equal(part.weight, batch.weight[samples])
        np.testing.assert_array_equal(part.length, batch.length[samples])


def test_samples_count_alike_in_sampled_groups_and_by_their_probability_in_exact_ones():
    algorithm = ps.algorithm("pmd_mean")  # leaves one out of groups of samples only
    groups = random_groups(3, 4)
    sampled = make_batch(groups, algorithm)
    np.testing.assert_array_equal(sampled.weight, np.full(12, 0.25))
    rewards = np.concatenate([group.rewards for group in groups]).reshape(3, 4)
    others = (rewards.sum(axis=1, keepdims=True) - rewards) / 3
    np.testing.assert_allclose(sampled.advantage, (rewards - others).ravel())
    weights = np.random.default_rng(0).dirichlet(np.ones(4), 3)
    exact = make_batch(groups, algorithm, list(weights))
    np.testing.assert_array_equal(exact.weight, weights.ravel())
    np.testing.assert_allclose(exact.advantage, (rewards - (weights * rewards).sum(axis=1, keepdims=True)).ravel())


def one(**changes):
    return [replace(random_groups(1, 3)[0], **changes)]


EMPTY = Completion(np.array([], dtype=np.int32), np.array([], dtype=np.float32), False)
SHORT = Completion(np.array([1, 2], dtype=np.int32), np.array([-1.0], dtype=np.float32), True)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "groups is empty; a batch needs at least one"),
        (one(tokens=()), "prompt '850' has no tokens; the first completion token must be"),
        (one(rewards=np.zeros(2)), "prompt '850' has 3 completions and 2 rewards"),
        (one(completions=(), rewards=np.zeros(0)), "prompt '850' has 0 completions and 0 rewards"),
        (one(completions=(EMPTY,) * 3), "prompt '850', completion 0 has 0 tokens and 0 log-probabilities"),
        (one(completions=(SHORT,) * 3), "prompt '850', completion 0 has 2 tokens and 1 log-probabilities"),
        (one(rewards=np.array([0, np.nan, 1])), r"prompt '850': reward\[1\] is nan; every entry must be a finite"),
    ],
)
def test_bad_groups_get_one_line_that_names_the_prompt(groups, message):
    with pytest.raises(ValueError, match=f"^{message.replace('850', '[0-9]+')}"):
        make_batch(groups, DRO)


def test_a_group_too_small_for_its_baseline_is_named():
    groups = random_groups(1, 1)
    with pytest.raises(ValueError, match=r"^prompt '[0-9]+': a leave-one-out baseline needs groups of at least 2"):
        make_batch(groups, ps.algorithm("rloo"))


@pytest.mark.parametrize("whole", [False, True])
def test_what_fits_no_pass_is_refused(whole):
    with pytest.raises(ValueError, match=r"^tokens_per_pass is 5, but a sample has \d+ tokens$"):
        cut(uneven_batch(), 5, whole)
