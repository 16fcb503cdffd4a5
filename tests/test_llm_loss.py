"""The update on a language model against the same update written out by hand, sample by sample."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

import pessimism as ps
from bandits.sequences import SequenceBandit, SequenceTree, population_update
from llm.check.bridge import END, exact_batch, make_world
from llm.update import loss
from llm.update.batch import cut, make_batch
from llm.update.loss import accumulate
from llm_batches import gradient, random_groups, tiny_model
from pessimism.levels import LEVELS, PaddedTokens

NAMES = [name for name, entry in ps.catalogue().items()]
LARGE = 10_000


def by_hand(model, groups, algorithm, temperature=1.0):
    """Loss of a batch from whole logits, one completion at a time; its gradient is the update's negative."""
    total = torch.zeros(())
    for group in groups:
        token_log_probs, token_log_ratios, behaviors = [], [], []
        for completion in group.completions:
            tokens = torch.tensor([[*group.tokens, *completion.tokens.tolist()]])
            logits = model(input_ids=tokens, use_cache=False).logits[0, len(group.tokens) - 1 : -1] / temperature
            log_probs = logits.log_softmax(-1).gather(1, tokens[0, len(group.tokens) :, None])[:, 0]
            token_log_probs.append(log_probs)
            token_log_ratios.append(log_probs.detach().double().numpy() - completion.log_probs)
            behaviors.append(np.exp(completion.log_probs.astype(float)))
        advantage = algorithm.advantage(group.rewards)
        size = len(group.completions)
        lengths = np.array([len(values) for values in token_log_ratios])
        sums = np.array([values.sum() for values in token_log_ratios])
        whole = np.array([values.prod() for values in behaviors])
        for i in range(size):
            if algorithm.level == "token":
                taken = {"behavior": behaviors[i]} if algorithm.takes_behavior else {}
                pull = algorithm.coefficient(token_log_ratios[i], np.full(lengths[i], advantage[i]), **taken)
            elif algorithm.level == "token vector":
                alone = PaddedTokens(np.ones(lengths[i], dtype=bool))
                pull = algorithm.coefficient(token_log_ratios[i], np.full(lengths[i], advantage[i]), tokens=alone)
                pull = pull / lengths[i]
            else:
                per_length = algorithm.level.startswith("sequence mean")
                taken = {}
                if algorithm.takes_behavior:
                    taken = {"behavior": np.full(size, 1 / size) if algorithm.coupled else whole}
                log_ratio = sums / lengths if per_length else sums
                value = algorithm.coefficient(log_ratio, advantage, **taken)[i]
                pull = np.full(lengths[i], value / lengths[i] if algorithm.level == "sequence mean" else value)
            total = total - algorithm.scale / len(groups) / size * (torch.tensor(pull) * token_log_probs[i]).sum()
    return total


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_takes_the_step_that_it_is(name):
    model, algorithm = tiny_model(), ps.algorithm(name)
    groups = random_groups(3, 4, longest=6, spread=0.1)
    by_hand(model, groups, algorithm, temperature=0.8).backward()
    expected = gradient(model)
    assert expected.abs().max() > 0
    step = accumulate(model, make_batch(groups, algorithm), algorithm, tokens_per_pass=50, temperature=0.8)
    torch.testing.assert_close(gradient(model), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert step.passes > 1


@pytest.mark.parametrize("name", ["shifted_mean", "tpo", "gspo", "grpo"])
def test_the_cut_into_passes_leaves_the_gradient(name):
    model, algorithm = tiny_model(), ps.algorithm(name)
    batch = make_batch(random_groups(6, 4), algorithm)
    found = []
    for tokens in (64, 150, LARGE):
        step = accumulate(model, batch, algorithm, tokens)
        found.append((step.passes, gradient(model)))
    assert found[0][0] > found[1][0] > found[2][0] == 1
    for _, values in found[:2]:
        torch.testing.assert_close(values, found[2][1], rtol=1e-4, atol=1e-5)


COUPLED = [name for name in NAMES if ps.algorithm(name).coupled]


@pytest.mark.parametrize(("name", "dropout"), [*((name, 0.0) for name in COUPLED), ("tpo", 0.5)])
def test_a_group_seen_twice_block_by_block_has_the_gradient_of_one_seen_at_once(name, dropout, monkeypatch):
    """Also with dropout: what the coefficients were made from is what is differentiated."""
    algorithm = ps.algorithm(name)
    batch = make_batch(random_groups(3, 6), algorithm)
    passes = cut(batch, 16, whole_groups=True)
    found = []
    for at_once in (True, False):
        model = tiny_model()
        for layer in model.model.layers:
            layer.self_attn.attention_dropout = dropout
        if at_once:  # the same blocks, and so the same random numbers, with all graphs held
            monkeypatch.setattr(loss, "backward_by_blocks", loss.backward_at_once)
        torch.manual_seed(0)
        step = accumulate(model.train(), batch, algorithm, tokens_per_pass=16)
        monkeypatch.undo()
        found.append((step, gradient(model)))
    (one, at_once), (other, by_blocks) = found
    assert len(passes) == one.passes == other.passes == 3
    assert max(len(blocks) for blocks in passes) > 1
    np.testing.assert_allclose(one.coefficient, other.coefficient, rtol=1e-5, atol=1e-6)  # of float32 logits
    torch.testing.assert_close(by_blocks, at_once, rtol=1e-4, atol=1e-6 * float(at_once.abs().max()))


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "token vector"])
@pytest.mark.parametrize("name", ["shifted_mean", "asymre", "is_regression"])
def test_exact_data_give_the_population_update_of_sequence_bandits(level, name):
    """Both are chained through the same transformer: its gradient must be that of the update on its logits."""
    world = make_world(prompts=1)
    algorithm = replace(ps.algorithm(name), level=level)
    tree = SequenceTree(3, 3)
    ours = [tuple(completion.tolist()) for completion in world.completions]
    assert ours == [tuple(row[here]) for row, here in zip(tree.token, tree.present, strict=True)]
    start = np.full((tree.prefixes, 3), np.nan)
    for arm, row in enumerate(world.log_probs[0]):
        start[tree.node[arm][tree.present[arm]], tree.token[arm][tree.present[arm]]] = row
    update = population_update(SequenceBandit(tree, start, world.reward[0]), algorithm)

    model = world.model
    with torch.no_grad():  # away from the behavior policy
        for parameter in model.parameters():
            parameter.mul_(1.1)
    prefixes: dict[int, tuple[int, ...]] = {}
    for arm, text in enumerate(ours):
        for position in range(len(text)):
            prefixes[tree.node[arm, position]] = (END, 1, *text[:position])
    logits = torch.stack([model(torch.tensor([prefixes[node]])).logits[0, -1] for node in range(tree.prefixes)])
    moved = update(log_softmax(logits.detach().double().numpy(), axis=-1))
    logits.backward(torch.tensor(-moved, dtype=torch.float32))
    expected = gradient(model)
    accumulate(model, exact_batch(world, algorithm), algorithm, LARGE)
    torch.testing.assert_close(gradient(model), expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_oapl_descends_its_published_loss():
    """The mean over samples of (beta2 l - (r - beta1 log mean e^{r/beta1}))^2."""
    model, groups = tiny_model(), random_groups(3, 4)
    loss = torch.zeros(())
    for group in groups:
        value = 0.7 * np.log(np.exp(group.rewards / 0.7).mean())
        for completion, reward in zip(group.completions, group.rewards, strict=True):
            tokens = torch.tensor([[*group.tokens, *completion.tokens.tolist()]])
            log_policy = model(input_ids=tokens).logits[0, len(group.tokens) - 1 : -1].log_softmax(-1)
            log_probs = log_policy.gather(1, tokens[0, len(group.tokens) :, None])[:, 0]
            log_ratio = (log_probs - torch.tensor(completion.log_probs)).sum()
            loss = loss + (0.3 * log_ratio - (reward - value)) ** 2 / 12
    loss.backward()
    expected = gradient(model)
    algorithm = ps.algorithm("oapl", beta1=0.7, beta2=0.3)
    accumulate(model, make_batch(groups, algorithm), algorithm, LARGE)
    torch.testing.assert_close(gradient(model), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "per_token"), [("shifted_mean", False), ("grpo", True), ("gspo", False)])
def test_what_a_step_saw_is_in_the_batch_s_order(name, per_token):
    model, algorithm = tiny_model(), ps.algorithm(name)
    groups = random_groups(5, 3)
    step = accumulate(model, make_batch(groups, algorithm), algorithm, tokens_per_pass=40)
    assert step.passes > 1
    at = sample = 0
    for group in groups:
        advantages = algorithm.advantage(group.rewards)
        for advantage, completion in zip(advantages, group.completions, strict=True):
            tokens = torch.tensor([[*group.tokens, *completion.tokens.tolist()]])
            policy = torch.distributions.Categorical(logits=model(tokens).logits[0, len(group.tokens) - 1 : -1])
            log_ratio = policy.log_prob(tokens[0, len(group.tokens) :]).detach().numpy() - completion.log_probs
            here = slice(at, at := at + len(log_ratio))
            np.testing.assert_allclose(step.token_log_ratio[here], log_ratio, atol=1e-5)
            np.testing.assert_allclose(step.token_entropy[here], policy.entropy().detach(), atol=1e-5)
            np.testing.assert_allclose(step.log_ratio[sample], log_ratio.sum(), atol=1e-5)
            seen = log_ratio if per_token else log_ratio.sum(keepdims=True)
            seen = seen / len(log_ratio) if algorithm.level == "sequence mean" else seen
            wanted = algorithm.coefficient(seen, np.full(seen.shape, advantage)).mean()
            np.testing.assert_allclose(step.coefficient[sample], wanted, rtol=1e-4, atol=1e-6)
            sample += 1
    assert at == len(step.token_log_ratio)
    assert step.padded_tokens >= sum(len(tokens) - 1 for tokens in step.batch.tokens)


def test_gradients_add_to_what_is_there():
    model, algorithm = tiny_model(), ps.algorithm("dro")
    batch = make_batch(random_groups(), algorithm)
    accumulate(model, batch, algorithm, LARGE)
    accumulate(model, batch, algorithm, LARGE)
    twice = gradient(model)
    accumulate(model, batch, algorithm, LARGE)
    torch.testing.assert_close(twice, 2 * gradient(model))


def test_a_coupled_objective_below_the_sequence_is_refused():
    algorithm = replace(ps.algorithm("tpo"), level="token")
    with pytest.raises(ValueError, match=r"^'tpo' compares the completions of a group, so its level"):
        accumulate(tiny_model(), make_batch(random_groups(), algorithm), algorithm, LARGE)


def test_an_underflowing_behavior_probability_is_refused():
    algorithm = ps.algorithm("pevi")
    batch = make_batch(random_groups(), algorithm)
    rare = tuple(np.full_like(values, -800.0) for values in batch.behavior_log_probs)
    with pytest.raises(ValueError, match=r"^a completion's behavior probability underflows"):
        accumulate(tiny_model(), replace(batch, behavior_log_probs=rare), algorithm, LARGE)
