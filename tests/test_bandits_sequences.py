"""Sequence bandits: only the sequence level has the target of the bandit over completions."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pessimism as ps
from bandits.sequences import (
    SequenceBandit,
    SequenceTree,
    population_update,
    random_sequences,
    run_to_convergence,
)

TINY = random_sequences(2, 1)


def distance(first, second):
    return np.abs(first - second).sum() / 2


@given(vocabulary=st.integers(2, 4), longest=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_completions_are_all_sequences_and_their_probabilities_products(vocabulary, longest, seed):
    world = random_sequences(vocabulary, longest, seed)
    tree, conditional = world.tree, np.exp(world.logits)
    conditional /= conditional.sum(axis=-1, keepdims=True)
    texts = {tuple(row[here]) for row, here in zip(tree.token, tree.present, strict=True)}
    words = range(1, vocabulary)
    ended = {(*w, 0) for size in range(longest) for w in itertools.product(words, repeat=size)}
    assert texts == ended | set(itertools.product(words, repeat=longest))
    assert len(texts) == tree.completions
    policy = tree.policy(world.logits)
    assert policy.sum() == pytest.approx(1)
    for arm in range(tree.completions):
        steps = zip(tree.node[arm], tree.token[arm], tree.present[arm], strict=True)
        assert policy[arm] == pytest.approx(np.prod([conditional[n, t] for n, t, here in steps if here]))
    np.testing.assert_allclose(world.bandit.behavior, policy)


def test_one_prefix_has_one_node():
    tree = SequenceTree(3, 4)
    before = {}
    for token, node, present in zip(tree.token, tree.node, tree.present, strict=True):
        for position in range(present.sum()):
            before.setdefault(int(node[position]), set()).add(tuple(token[:position]))
    assert len(before) == tree.prefixes
    assert all(len(prefix) == 1 for prefix in before.values())


@pytest.mark.parametrize("level", ["sequence", "token", "sequence mean"])
@pytest.mark.parametrize("name", ["shifted_mean", "grpo", "asymre"])
def test_the_update_is_the_gradient_of_its_surrogate(level, name):
    """Autodiff of E_mu[sum of c times the log-ratio that c is a function of], with c held fixed."""
    world, algorithm = random_sequences(3, 3), ps.algorithm(name)
    tree, bandit = world.tree, world.bandit
    start = np.random.default_rng(0).normal(size=world.logits.shape)
    theta = torch.tensor(start, requires_grad=True)
    present = torch.tensor(tree.present)

    def tokens(logits):
        return torch.log_softmax(logits, dim=-1)[tree.node, tree.token] * present

    log_ratio = tokens(theta) - tokens(torch.tensor(world.logits))
    advantage = torch.tensor(algorithm.advantage(bandit.reward, behavior=bandit.behavior))
    if level == "token":
        advantage = advantage[:, None].expand(log_ratio.shape)
    else:
        log_ratio = log_ratio.sum(dim=-1) / (torch.tensor(tree.length) if level == "sequence mean" else 1)
    term = algorithm.coefficient(log_ratio.detach(), advantage) * log_ratio
    term = (term * present).sum(dim=-1) if level == "token" else term
    (torch.tensor(bandit.behavior) * term).sum().backward()
    assert theta.grad is not None
    np.testing.assert_allclose(population_update(world, algorithm, level)(start), theta.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "values"), [("shifted_mean", {"beta": 0.3}), ("dro", {"beta": 0.3}), ("tpo", {}), ("awr", {"beta": 0.5})]
)
def test_sequence_level_reaches_the_target_over_completions(seed, name, values):
    world, algorithm = random_sequences(3, 3, seed), ps.algorithm(name, **values)
    reached = run_to_convergence(world, algorithm)
    assert reached.converged
    assert distance(reached.policy, ps.induced_target(world.bandit, algorithm).policy) < 1e-7


@pytest.mark.parametrize("level", ["token", "sequence mean"])
def test_other_levels_end_elsewhere(level):
    algorithm = ps.algorithm("shifted_mean", beta=0.3)
    for seed in range(3):
        world = random_sequences(3, 3, seed)
        reached = run_to_convergence(world, algorithm, level)
        assert reached.converged
        assert distance(reached.policy, ps.induced_target(world.bandit, algorithm).policy) > 5e-3


def test_levels_agree_where_every_completion_is_one_token():
    world, algorithm = random_sequences(4, 1), ps.algorithm("dro", beta=0.3)
    ends = [run_to_convergence(world, algorithm, level).policy for level in ("sequence", "token", "sequence mean")]
    np.testing.assert_allclose(ends, np.tile(ps.induced_target(world.bandit, algorithm).policy, (3, 1)), atol=1e-7)


def test_a_target_that_drops_arms_depends_on_the_parametrisation():
    """AsymRE over a tree projects at every prefix, by what all its continuations add up to; over completions, once."""
    world, algorithm = random_sequences(3, 3), ps.algorithm("asymre", shift=-0.3)
    tree, bandit = world.tree, world.bandit
    reached = run_to_convergence(world, algorithm)
    gain = bandit.behavior * (bandit.reward - bandit.behavior @ bandit.reward + 0.3)
    below = np.zeros_like(world.logits)  # sum of mu A over the continuations of every prefix and token
    np.add.at(below, (tree.node[tree.present], tree.token[tree.present]), np.repeat(gain, tree.length))
    conditional = np.zeros_like(below)
    for node, gains in enumerate(below):
        if gains.sum() > 0:
            tau = max((np.sort(gains)[-keep:].sum() - gains.sum()) / keep for keep in range(1, len(gains) + 1))
            conditional[node] = np.maximum(gains - tau, 0) / gains.sum()
    wanted = np.where(tree.present, conditional[tree.node, tree.token], 1.0).prod(axis=-1)
    np.testing.assert_allclose(reached.policy, wanted, atol=1e-6)
    assert distance(reached.policy, ps.induced_target(bandit, algorithm).policy) > 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SequenceTree(1, 3), "vocabulary is 1; it must be a whole number >= 2"),
        (lambda: SequenceTree(3, 0), "longest is 0; it must be a whole number >= 1"),
        (lambda: SequenceTree(10, 5), "vocabulary 10, longest 5 make 66430 completions; at most 5000"),
        (
            lambda: SequenceBandit(TINY.tree, np.zeros((1, 3)), np.zeros(2)),
            r"logits has shape \(1, 3\); it must be \(1, 2\)",
        ),
        (lambda: SequenceBandit(TINY.tree, np.zeros((1, 2)), np.array([0, np.nan])), r"reward\[1\] is nan"),
        (lambda: population_update(TINY, ps.algorithm("dro"), "word"), "level is 'word'; it must be one of"),
        (lambda: population_update(TINY, ps.algorithm("tpo"), "token"), "'tpo' compares the completions of a group"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
