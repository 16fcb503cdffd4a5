"""Levels: every one is the derivative of a loss on its own log-ratio, in every layout and array type."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.levels import (
    LEVELS,
    RULES,
    Level,
    PackedTokens,
    PaddedTokens,
    check_level,
    completion_mean,
    token_coefficients,
    token_weight,
)
from published_losses import TOKEN_LOSSES, Completions

BETA = 0.7
LENGTHS = np.array([3, 1, 4, 2, 1])
PRESENT = np.arange(4) < LENGTHS[:, None]
ROW = np.repeat(np.arange(5), LENGTHS)


def draws(seed):
    rng = np.random.default_rng(seed)
    return np.where(PRESENT, rng.normal(size=PRESENT.shape), 0.0), rng.choice([-1.0, 0.0, 0.5], size=5)


def squared_mean(log_ratio, advantage, tokens=None):
    """The coefficient of A times the squared mean log-ratio of a completion."""
    return 2 * advantage * completion_mean(log_ratio, tokens)


def surrogate(level, log_ratio, advantage):
    """A loss of one completion's token log-ratios (T,) whose derivative the update is, written out."""

    def parabola(x):
        return advantage * x - BETA * x**2 / 2

    total, length = log_ratio.sum(), len(log_ratio)
    return {
        "sequence": lambda: parabola(total),
        "token": lambda: sum(parabola(x) for x in log_ratio),
        "sequence mean": lambda: parabola(total / length),
        "sequence mean times length": lambda: length * parabola(total / length),
        "token vector": lambda: advantage * (total / length) ** 2,
    }[level]()


def algorithm_at(level):
    if level == "token vector":
        return ps.Algorithm(squared_mean, level=level)
    return replace(ps.algorithm("dro", beta=BETA), level=level)


def pulls(algorithm, log_ratio, advantage, tokens):
    """w c of every token."""
    values = token_coefficients(algorithm, log_ratio, advantage, tokens)
    return tokens.spread(token_weight(algorithm.level, tokens)) * values


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("level", LEVELS)
def test_the_update_is_the_derivative_of_the_level_s_loss(level, seed):
    log_ratio, advantage = draws(seed)
    leaf = torch.tensor(log_ratio, requires_grad=True)
    total = torch.stack([surrogate(level, leaf[i, : LENGTHS[i]], advantage[i]) for i in range(5)]).sum()
    (expected,) = torch.autograd.grad(total, leaf)
    found = pulls(algorithm_at(level), log_ratio, advantage, PaddedTokens(PRESENT))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-14)


@pytest.mark.parametrize("wide", [0.001, 0.1, 1.0])
@pytest.mark.parametrize("name", TOKEN_LOSSES)
def test_the_update_descends_the_published_loss_of_tokens(name, wide):
    """Its minus derivative by every token's log-probability, on completions of one to four tokens."""
    algorithm = ps.algorithm(name)
    log_ratio, advantage = draws(3)
    behavior = torch.tensor(np.where(PRESENT, -1.5, 0.0))
    leaf = (behavior + wide * torch.tensor(log_ratio)).requires_grad_()
    batch = Completions(leaf, behavior, torch.tensor(advantage), torch.tensor(PRESENT))
    (gradient,) = torch.autograd.grad(TOKEN_LOSSES[name](batch, **algorithm.parameters).sum(), leaf)
    found = algorithm.scale * pulls(algorithm, wide * log_ratio, advantage, PaddedTokens(PRESENT))
    np.testing.assert_allclose(found, -gradient.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("level", LEVELS)
def test_layouts_and_array_types_agree(level):
    log_ratio, advantage = draws(0)
    algorithm = algorithm_at(level)
    padded = pulls(algorithm, log_ratio, advantage, PaddedTokens(PRESENT))
    packed = pulls(algorithm, log_ratio[PRESENT], advantage, PackedTokens(ROW, LENGTHS.astype(float)))
    np.testing.assert_allclose(packed, padded[PRESENT], rtol=1e-14)
    ours = [torch.tensor(values) for values in (log_ratio, advantage, PRESENT, ROW, LENGTHS.astype(float))]
    in_torch = pulls(algorithm, ours[0], ours[1], PaddedTokens(ours[2]))
    assert isinstance(in_torch, torch.Tensor)
    np.testing.assert_allclose(in_torch.numpy(), padded, rtol=1e-14)
    in_torch = pulls(algorithm, ours[0][ours[2]], ours[1], PackedTokens(ours[3], ours[4]))
    np.testing.assert_allclose(in_torch.numpy(), packed, rtol=1e-14)


@pytest.mark.parametrize("level", LEVELS)
def test_one_token_completions_have_one_level(level):
    log_ratio, advantage = np.random.default_rng(1).normal(size=(2, 6))
    algorithm = algorithm_at(level)
    found = pulls(algorithm, log_ratio[:, None], advantage, PaddedTokens(np.ones((6, 1), dtype=bool)))[:, 0]
    np.testing.assert_allclose(found, algorithm.coefficient(log_ratio, advantage), rtol=1e-14)


def test_completions_without_tokens_pull_nothing():
    tokens = PaddedTokens(np.zeros((2, 3), dtype=bool))
    assert tokens.length.tolist() == [1.0, 1.0]
    for level in LEVELS:
        assert not pulls(algorithm_at(level), np.zeros((2, 3)), np.ones(2), tokens).any()


def test_advantages_of_tokens_are_used_where_the_level_looks_at_tokens():
    log_ratio, advantage = draws(0)
    of_tokens = np.where(PRESENT, np.arange(4.0), 0.0)
    found = token_coefficients(
        algorithm_at("token"), log_ratio, advantage, PaddedTokens(PRESENT), token_advantage=of_tokens
    )
    np.testing.assert_allclose(found, np.where(PRESENT, of_tokens - BETA * log_ratio, 0.0))


def test_coupled_coefficients_compare_a_group_and_leave_the_others_out():
    log_ratio, advantage = draws(2)
    tokens, chosen = PaddedTokens(PRESENT), ps.algorithm("centered_regression", beta=BETA)
    group = np.array([4, 7, 4, -1, 7])
    found = token_coefficients(chosen, log_ratio, advantage, tokens, group=group)
    error = advantage - BETA * log_ratio.sum(axis=-1)
    wanted = np.array([error[0] - error[2], error[1] - error[4], error[2] - error[0], 0, error[4] - error[1]]) / 2
    np.testing.assert_allclose(found, np.where(PRESENT, wanted[:, None], 0.0), atol=1e-15)
    weight = np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    found = token_coefficients(chosen, log_ratio, advantage, tokens, weight=weight)
    np.testing.assert_allclose(found, np.where(PRESENT, (error - weight @ error)[:, None], 0.0), atol=1e-15)


def test_probabilities_are_those_of_what_the_level_looks_at():
    log_ratio, advantage = draws(0)
    behavior = np.where(PRESENT, -0.3, 0.0)

    def probability(log_ratio, advantage, behavior):
        return behavior + 0 * log_ratio

    levels: tuple[tuple[Level, Any], ...] = (("sequence", np.exp(-0.3 * LENGTHS)[:, None]), ("token", np.exp(-0.3)))
    for level, wanted in levels:
        chosen = ps.Algorithm(probability, level=level, takes_behavior=True)
        found = token_coefficients(chosen, log_ratio, advantage, PaddedTokens(PRESENT), behavior_log_prob=behavior)
        np.testing.assert_allclose(found, np.where(PRESENT, wanted, 0.0))


def test_every_coupled_entry_is_refused_below_the_completion():
    for name in ps.catalogue():
        algorithm = ps.algorithm(name)
        for level, rule in RULES.items():
            if level == "token vector":
                continue
            placed = replace(algorithm, level=level)
            if algorithm.coupled and not rule.of_completions:
                with pytest.raises(ValueError, match=f"^'{name}' compares the completions of a group, so its level"):
                    check_level(placed)
            else:
                check_level(placed)


def test_what_cannot_be_told_is_refused():
    log_ratio, advantage = draws(0)
    tokens = PaddedTokens(PRESENT)
    with pytest.raises(ValueError, match=r"^level is 'token vector', but the coefficient takes no tokens="):
        replace(ps.algorithm("dro"), level="token vector")
    with pytest.raises(ValueError, match=r"^'pevi' takes probabilities; it needs behavior_log_prob"):
        token_coefficients(ps.algorithm("pevi"), log_ratio, advantage, tokens)
    rare = np.where(PRESENT, -800.0, 0.0)
    with pytest.raises(ValueError, match=r"^a completion's behavior probability underflows"):
        token_coefficients(ps.algorithm("pevi"), log_ratio, advantage, tokens, behavior_log_prob=rare)
