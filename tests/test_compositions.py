"""Corrections, masks and KL terms on top of an objective: coefficients, targets, tokens, text, three policies."""

from __future__ import annotations

import copy
import itertools
from typing import Literal

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism import corrections, masks, penalties
from pessimism.compose import composed
from pessimism.levels import PackedTokens, PaddedTokens, token_coefficients
from pessimism.shell.objects import algorithm_of
from test_catalogue import check_target

TWO = ps.Bandit([[0.5, 0.3, 0.2], [0.25, 0.4, 0.35]], [[0.0, 0.0, 1.0], [1.0, 0.2, -0.5]])
ONE = ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.0, 1.0])

LOSSES = ("reinforce", "grpo.no_ratio", "grpo", "ppo_dual_clip", "cispo", "shifted_mean", "topr", "sapo")
CORRECTIONS = (
    None,
    corrections.truncate(2.0),
    corrections.truncate(2.0, low=0.5),
    corrections.truncate(2.0, level="sequence"),
    corrections.mask(3.0, level="sequence"),
    corrections.mask(5.0, low=0.5),
    corrections.mask(1.05, low=0.95, level="geometric"),
    corrections.reject(2.0, low=0.5),
    corrections.reject(0.2, on="k1"),
    corrections.reject(0.05, on="k2", level="sequence"),
    corrections.reject(0.05, on="k3", level="geometric"),
    corrections.reject(0.1, on="k3", level="largest"),
)
MASKS = (None, masks.sign("positive"), masks.off_policy(0.5), masks.probability(0.2, 0.2))
KL = (None, penalties.k1(0.1), penalties.k2(0.1), penalties.unbiased(0.1))
GRID = list(itertools.product(LOSSES, CORRECTIONS, MASKS, KL))
"""The whole grid; ``benchmarks/bench_compositions.py`` solves all of it."""


def made(name: str, correction: object, mask: object, kl: object) -> ps.Algorithm:
    return ps.algorithm(name, correction=correction, mask=mask, kl=kl)


# --- coefficients -----------------------------------------------------------------------------------------------------


def published(ratio: torch.Tensor, each: corrections.Correction) -> torch.Tensor:
    """The weight of an arm as trainers write it."""
    log_ratio = ratio.log()
    statistic = {
        "ratio": ratio,
        "k1": -log_ratio,
        "k2": 0.5 * log_ratio**2,
        "k3": ratio - 1 - log_ratio,
    }[each.on]
    if each.kind == "truncate":
        return ratio.clamp(min=max(each.low, 0.0), max=each.cap)
    keep = ((statistic <= each.cap) & (statistic >= each.low)).double()
    return keep * ratio if each.kind == "mask" else keep


def kl_loss(log_policy: torch.Tensor, log_behavior: torch.Tensor, log_other: torch.Tensor, term) -> torch.Tensor:
    """The KL term as it stands in losses, differentiated by torch."""
    distance = log_policy - log_other
    k3 = torch.exp(-distance) + distance - 1
    values = {
        "k1": distance,
        "k2": distance**2 / 2,
        "k3": k3,
        "unbiased": torch.exp(log_policy - log_behavior) * k3,
    }
    return term.coefficient * values[term.estimator]


def test_a_composed_coefficient_is_the_derivative_of_the_composed_loss() -> None:
    rng = np.random.default_rng(3)
    terms = [None, *(make(0.3, to=to) for make in penalties.MAKERS.values() for to in ("behavior", "reference"))]
    for name, correction, term in itertools.product(("reinforce", "ppo", "dro"), CORRECTIONS, terms):
        behavior, other = rng.dirichlet(np.ones(6), size=2)
        advantage, log_ratio = rng.normal(size=6), 0.8 * rng.normal(size=6)
        log_policy = torch.tensor(log_ratio + np.log(behavior), requires_grad=True)
        ratio = torch.exp(log_policy - torch.tensor(np.log(behavior)))
        gain = torch.tensor(advantage)
        losses = {
            "reinforce": -gain * log_policy,
            "ppo": -torch.minimum(ratio * gain, ratio.clamp(0.8, 1.2) * gain),
            "dro": -(gain * log_policy - 0.05 * ratio.log() ** 2),
        }
        loss = losses[name]
        if correction is not None:
            loss = loss * published(ratio, correction).detach()
        if term is not None:
            known = {"behavior": behavior, "reference": other}[term.to]
            loss = loss + kl_loss(log_policy, torch.tensor(np.log(behavior)), torch.tensor(np.log(known)), term)
        (gradient,) = torch.autograd.grad(loss.sum(), log_policy)
        algorithm = ps.algorithm(name, correction=correction, kl=term)
        taken = {} if algorithm.composition is None else {"reference": np.log(other / behavior)}
        found = algorithm.coefficient(log_policy.detach().numpy() - np.log(behavior), advantage, **taken)
        np.testing.assert_allclose(algorithm.scale * found, -gradient.numpy(), rtol=1e-9, atol=1e-12)


def test_masks_leave_out_what_they_say() -> None:
    log_ratio = np.log(np.array([0.4, 0.9, 1.0, 1.5, 3.0]))
    advantage = np.array([-1.0, 1.0, -1.0, 1.0, -1.0])

    def kept(mask: masks.Mask, weights: np.ndarray | None = None) -> list[bool]:
        return mask.keep(log_ratio, advantage, tokens=None, behavior=weights).tolist()

    assert kept(masks.sign("positive")) == [False, True, False, True, False]
    assert kept(masks.off_policy(0.5)) == [False, True, True, True, True]  # log 2.5 > 0.5, and A < 0
    equal = np.full(5, 0.2)
    # Probabilities moved by -.12, -.02, 0, .1, .4 with these advantages.
    assert kept(masks.probability(0.11, 0.05), equal) == [False, True, True, False, True]
    assert kept(masks.probability(0.11, 0.2, "both"), equal) == [False, True, True, True, False]
    assert kept(masks.rank(0.45)) == [False, True, True, True, False]  # two of five are less than 45%
    assert kept(masks.rank(0.39)) == [True, True, True, True, False]
    # Harmful: .4 with A < 0 and 1.5 with A > 0: squares .8396 and .1644 over two.
    assert kept(masks.second_moment(0.1)) == [False, True, True, True, True]
    assert kept(masks.second_moment(0.08)) == [False, True, True, False, True]
    assert kept(masks.second_moment(0.51)) == [True] * 5
    assert kept(masks.second_moment(0.1, "all")) == [False, True, True, True, False]
    unequal = np.array([0.02, 0.2, 0.2, 0.28, 0.3])
    assert kept(masks.rank(0.33), unequal) == [False, True, True, True, False]


def clip_of_bapo(ratio: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Which samples of equal weight BAPO's code trains on: bounds are raised until gains contribute as much."""

    def contributions(low: float, high: float) -> tuple[float, float]:
        effective = np.where(gain >= 0, np.minimum(ratio, high), np.maximum(ratio, low)) * gain
        return effective.clip(0).sum(), -effective.clip(None, 0).sum()

    low, high = 0.6, 1.2
    while contributions(low, high)[0] < contributions(low, high)[1] and low < 0.9:
        low = min(low + 0.05, 0.9)
    while contributions(low, high)[0] < contributions(low, high)[1] and high < 3.0:
        high = min(high + 0.05, 3.0)
    return np.where(gain >= 0, ratio <= high, (ratio >= low) & (ratio <= 3.0))


def clip_of_m2po(log_ratio: np.ndarray, gain: np.ndarray, budget: float) -> np.ndarray:
    """Which samples M2PO's code trains on: harmful ones up to the last whose capped squares fit the budget."""
    harmful = log_ratio * gain > 0
    squares = np.sort(log_ratio[harmful] ** 2)
    fits = [square for square in squares if np.minimum(squares, square).mean() <= budget]
    return ~harmful | (log_ratio**2 <= max(fits, default=-1.0))


def mask_of_areal(log_ratio: np.ndarray, budget: float) -> np.ndarray:
    """Which samples AReaL trains on: the largest squares are dropped until the mean of the rest is below."""
    squares = log_ratio**2
    kept = np.ones(len(squares), dtype=bool)
    while kept.any() and squares[kept].mean() > budget:
        kept &= squares < squares[kept].max()
    return kept


def test_masks_with_searched_bounds_are_those_of_public_code() -> None:
    rng = np.random.default_rng(9)
    searched = 0
    for _ in range(60):
        log_ratio, gain = 0.6 * rng.normal(size=8), rng.normal(size=8) - 0.3
        gain[0] = 0.0
        taken = {"tokens": None, "behavior": np.full(8, 1 / 8)}
        wanted = clip_of_bapo(np.exp(log_ratio), gain)
        searched += bool((wanted != np.where(gain >= 0, log_ratio <= np.log(1.2), log_ratio >= np.log(0.6))).any())
        np.testing.assert_array_equal(masks.balance().keep(log_ratio, gain, **taken), wanted)
        for budget in (0.04, 0.3, 5.0):
            found = masks.second_moment(budget, "bounds").keep(log_ratio, gain, **taken)
            np.testing.assert_array_equal(found, clip_of_m2po(log_ratio, gain, budget))
            found = masks.second_moment(budget, "all").keep(log_ratio, gain, **taken)
            np.testing.assert_array_equal(found, mask_of_areal(log_ratio, budget))
    assert searched > 20


def test_bapo_of_one_group_is_ppo_with_its_first_bounds() -> None:
    """With a mean baseline gains make up more than half as soon as the policy moves, so nothing is searched."""
    bapo = ps.algorithm("grpo.no_ratio", correction="truncate(cap=3)", mask="balance")
    assert str(bapo).endswith("mask=balance)")
    found = ps.induced_target(TWO, bapo)
    check_target(found, TWO)
    assert set(found.kind) == {"path-dependent"}
    expected = ps.induced_target(TWO, "ppo_dual_clip:low=.4,high=.2")
    np.testing.assert_allclose(found.policy, expected.policy, atol=0.01)
    with pytest.raises(ValueError, match=r"jumps where no single log-ratio says"):
        ps.gradient_flow(TWO, bapo)


def test_the_three_forms_of_m2po_hold_the_policy_at_different_places() -> None:
    """Of two arms the loser moves further and is left out first; then the winner rises until its square is too much.

    The paper's mean is over both, AReaL's over what is left; in the code's the loser counts as much as the winner.
    """
    forms: tuple[tuple[Literal["harmful", "all", "bounds"], float], ...] = (
        ("harmful", 0.08),
        ("all", 0.04),
        ("bounds", 0.04),
    )
    for of, square in forms:
        held = ps.algorithm("reinforce", mask=masks.second_moment(0.04, of))
        found = ps.induced_target(ps.Bandit([0.5, 0.5], [0.0, 1.0]), held)
        assert found.kind == "path-dependent"
        assert found.log_ratio[1] == pytest.approx(square**0.5, abs=0.01)


def test_masks_of_a_batch_of_tokens_are_those_of_its_tokens_in_any_layout() -> None:
    rng = np.random.default_rng(4)
    length = np.array([3, 1, 4])
    present = np.arange(4) < length[:, None]
    log_ratio, advantage = rng.normal(size=(3, 4)), np.array([1.0, -1.0, 0.5])
    spread = np.repeat(advantage, length)
    flat = log_ratio[present]
    packed = PackedTokens(np.repeat(np.arange(3), length), length.astype(float))
    for mask in (
        *(masks.rank(0.3), masks.off_policy(0.1), masks.balance()),
        *(masks.second_moment(0.2, of) for of in ("harmful", "all", "bounds")),
    ):
        padded = mask.keep(log_ratio, advantage[:, None] + 0 * log_ratio, tokens=PaddedTokens(present), behavior=None)
        other = mask.keep(flat, spread, tokens=packed, behavior=None)
        np.testing.assert_array_equal(padded[present], other)
        if mask.coupled:
            np.testing.assert_array_equal(other, mask.keep(flat, spread, tokens=None, behavior=None))


def test_tokens_of_a_composition_against_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    length = np.array([3, 1, 5, 2])
    present = np.arange(5) < length[:, None]
    log_ratio, advantage = 0.4 * rng.normal(size=(4, 5)), rng.normal(size=4)
    behavior = -rng.exponential(size=(4, 5))
    gathered = {"token": lambda v: v, "sequence": np.sum, "geometric": np.mean, "largest": np.max}
    tokens = PaddedTokens(present)
    for name, correction, kl in itertools.product(("reinforce", "grpo", "gspo", "dro"), CORRECTIONS[1:], KL):
        algorithm = ps.algorithm(name, correction=correction, kl=kl)
        found = token_coefficients(algorithm, log_ratio, advantage, tokens, behavior_log_prob=behavior)
        base = token_coefficients(ps.algorithm(name), log_ratio, advantage, tokens, behavior_log_prob=behavior)
        for row in range(4):
            seen = log_ratio[row, : length[row]]
            whole = gathered[correction.level]
            ratio = np.exp(whole(seen))
            k = {"ratio": ratio, "k1": -whole(seen)} if correction.level != "largest" else {}
            k |= {"k2": whole(seen**2 / 2), "k3": whole(np.exp(seen) - 1 - seen)}
            inside = (k[correction.on] <= correction.cap) & (k[correction.on] >= correction.low)
            weight = {
                "truncate": np.clip(ratio, max(correction.low, 0), correction.cap),
                "mask": ratio * inside,
                "reject": 1.0 * inside,
            }[correction.kind]
            expected = weight * base[row, : length[row]]
            if kl is not None:
                expected = expected + kl.pull(seen, seen) / algorithm.scale
            np.testing.assert_allclose(found[row, : length[row]], expected, rtol=1e-12, atol=1e-14)
        assert (found[~present] == 0).all()
        packed = PackedTokens(torch.tensor(np.repeat(np.arange(4), length)), torch.tensor(length, dtype=torch.float64))
        by_torch = token_coefficients(
            algorithm,
            torch.tensor(log_ratio[present]),
            torch.tensor(advantage),
            packed,
            behavior_log_prob=torch.tensor(behavior[present]),
        )
        np.testing.assert_allclose(by_torch.numpy(), found[present], rtol=1e-12, atol=1e-14)


def test_tokens_with_a_proximal_policy_are_decoupled() -> None:
    rng = np.random.default_rng(6)
    tokens = PaddedTokens(np.ones((2, 3), bool))
    behavior, proximal, current = -rng.exponential(size=(3, 2, 3))
    advantage = np.array([1.0, -1.0])
    algorithm = ps.algorithm("ppo", correction=corrections.truncate(2.0, pair="proximal"))
    found = token_coefficients(
        algorithm, current - behavior, advantage, tokens, behavior_log_prob=behavior, proximal_log_prob=proximal
    )
    inner = ps.algorithm("ppo").coefficient(current - proximal, advantage[:, None] + np.zeros((2, 3)))
    np.testing.assert_allclose(found, np.minimum(np.exp(proximal - behavior), 2.0) * inner, rtol=1e-12)


# --- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", np.random.default_rng(0).choice(len(GRID), size=12, replace=False).tolist())
def test_compositions_have_targets(index: int) -> None:
    algorithm = made(*GRID[index])
    for target in (ps.induced_target(ONE, algorithm), ps.nominal_target(ONE, algorithm)):
        check_target(target, ONE)


def test_compositions_that_have_an_entry_are_that_entry() -> None:
    pairs = (
        ("verl.tis", ps.algorithm("reinforce", correction=corrections.truncate(2.0))),
        ("verl.icepop", ps.algorithm("reinforce", correction=corrections.mask(5.0, low=0.5))),
        ("kimi_k15:tau=.5", ps.algorithm("reinforce", kl=penalties.k2(0.5))),
    )
    for text, algorithm in pairs:
        x, a = np.random.default_rng(1).normal(size=(2, 50))
        np.testing.assert_allclose(algorithm.coefficient(x, a), algorithm_of(text).coefficient(x, a), rtol=1e-12)
        for target in (ps.induced_target, ps.nominal_target):
            np.testing.assert_allclose(target(ONE, algorithm).policy, target(ONE, text).policy, atol=2e-6)


def test_k1_in_the_loss_moves_the_baseline_and_nothing_else() -> None:
    shifted = ps.algorithm("asymre", shift=0.2)
    np.testing.assert_allclose(
        ps.algorithm("reinforce", kl=penalties.k1(0.2)).coefficient(np.zeros(3), np.array([0.0, 1.0, -1.0])),
        shifted.coefficient(np.zeros(3), np.array([0.0, 1.0, -1.0]) - 0.2),
    )


def test_the_unbiased_term_alone_is_nominal_toward_a_reference() -> None:
    """On its own data the update stops where the regularized objective is largest: pi_ref exp(r / coefficient)."""
    reference = np.array([0.2, 0.2, 0.6])
    bandit = ps.Bandit(ONE.behavior, [0.3, 0.0, 1.0], reference=reference)
    gibbs = reference * np.exp(bandit.reward / 0.5)
    for term in ("unbiased", "k2"):
        algorithm = ps.algorithm("reinforce", kl=f"{term}(coefficient=.5, to=reference)")
        found = ps.nominal_target(bandit, algorithm)
        np.testing.assert_allclose(found.policy, gibbs / gibbs.sum(), atol=1e-8)


def test_a_kl_term_in_the_reward_shifts_it_by_the_sampler_s_distance() -> None:
    reference = np.array([0.2, 0.2, 0.6])
    bandit = ps.Bandit(ONE.behavior, ONE.reward, reference=reference)
    shifted = ps.Bandit(ONE.behavior, ONE.reward - 0.3 * np.log(ONE.behavior / reference))
    algorithm = ps.algorithm("dro", beta=0.5, kl=penalties.k1(0.3, to="reference", place="reward"))
    found, expected = ps.induced_target(bandit, algorithm), ps.induced_target(shifted, "dro:beta=.5")
    np.testing.assert_allclose(found.policy, expected.policy, atol=1e-9)


def test_an_exact_weight_to_the_sampler_makes_the_proximal_policy_the_sampler() -> None:
    """Decoupled PPO with the whole weight: PPO on data of the proximal policy (the baseline held)."""
    proximal = np.array([0.4, 0.35, 0.25])
    bandit = ps.Bandit(ONE.behavior, ONE.reward, proximal=proximal)
    decoupled = ps.algorithm("ppo", baseline=0.25, correction=corrections.truncate(1e6, pair="proximal"))
    found = ps.induced_target(bandit, decoupled)
    expected = ps.induced_target(ps.Bandit(proximal, ONE.reward), ps.algorithm("ppo", baseline=0.25))
    start = ps.gradient_flow(ps.Bandit(proximal, ONE.reward), ps.algorithm("ppo", baseline=0.25), start=ONE.behavior)
    assert found.kind == "path-dependent"
    # The flow starts at the sampler, not at the proximal policy: compare with PPO's flow from there.
    np.testing.assert_allclose(found.policy, start.policy, atol=1e-4)
    assert np.abs(found.policy - expected.policy).max() < 0.2


def test_without_a_weight_the_clip_is_around_a_policy_that_never_sampled() -> None:
    proximal = np.array([0.4, 0.35, 0.25])
    bandit = ps.Bandit([ONE.behavior] * 2, ONE.reward, proximal=proximal)
    found = ps.induced_target(bandit, "ppo")
    check_target(found, bandit)
    np.testing.assert_allclose(found.policy[0], found.policy[1])
    comparison = ps.compare(bandit, "ppo")
    np.testing.assert_array_equal(comparison.induced.policy, found.policy)
    np.testing.assert_allclose(comparison.nominal.policy, [[0.0, 0.0, 1.0]] * 2)
    check_target(comparison.stated, bandit)
    plain = ps.induced_target(ps.Bandit(ONE.behavior, ONE.reward), "ppo")
    assert np.abs(found.policy[0] - plain.policy).max() > 0.01


# --- text, copies, errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(0, len(GRID), 61))
def test_what_an_algorithm_prints_can_be_read(index: int) -> None:
    algorithm = made(*GRID[index])
    again = algorithm_of(str(algorithm))
    assert str(again) == str(algorithm)
    copied = copy.deepcopy(algorithm)
    x, a = np.random.default_rng(2).normal(size=(2, 5))
    weights = algorithm.weights(np.full(5, 0.2))
    for other in (again, copied):
        np.testing.assert_array_equal(other.coefficient(x, a, **weights), algorithm.coefficient(x, a, **weights))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"correction": "truncat(cap=2)"}, r"unknown correction 'truncat'; did you mean truncate\? known"),
        ({"correction": "truncate"}, r"correction truncate: missing 1 required positional argument: 'cap'"),
        ({"correction": "truncate(2)"}, r"correction truncate: '2' is not of the form key=value"),
        ({"correction": "truncate(cap=2, cap=3)"}, r"cap is given twice"),
        ({"correction": "truncate(cap=-1)"}, r"truncate: cap is -1; it must be > 0"),
        ({"correction": "truncate(cap=nan)"}, r"truncate: cap is nan; it must be a number"),
        ({"correction": "mask(cap=2, low=3)"}, r"mask: low is 3, which is not below cap = 2"),
        ({"correction": "mask(cap=2, level=word)"}, r"mask: level is 'word'; it must be one of token, sequence"),
        ({"correction": "reject(cap=1, low=.1, on=k3)"}, r"reject: low is 0.1; k3 has an upper bound only"),
        ({"correction": 2.0}, r"correction is 2.0; make it with one of ps.corrections.truncate"),
        ({"correction": "truncate(cap=2"}, r"correction is 'truncate\(cap=2'; write it as truncate\(key=value"),
        ({"mask": "sign(of=up)"}, r"sign: of is 'up'; it must be positive or negative"),
        ({"mask": "second_moment(budget=1, of=none)"}, r"of is 'none'; it must be one of harmful, all, bounds"),
        (
            {"mask": "balance(low=.95)"},
            r"balance: low, low_last, high, high_last are 0.95, 0.9, 1.2, 3.0; they must be",
        ),
        ({"mask": "balance(step=0)"}, r"balance: step is 0.0; it must be a finite number > 0"),
        ({"mask": "balance(share=1)"}, r"balance: share is 1.0; it must be a number > 0 and < 1"),
        ({"mask": "balance(cap=1)"}, r"balance: cap is 1.0; it must be a number > 1"),
        ({"mask": "rank(share=1)"}, r"rank: share is 1.0; it must be a number > 0 and < 1"),
        ({"mask": "off_policy(delta=0)"}, r"off_policy: delta is 0.0; it must be a finite number > 0"),
        ({"kl": "k3(coefficient=0)"}, r"k3: coefficient is 0.0; it must be a finite number > 0"),
        ({"kl": "k3(coefficient=1, place=reward)"}, r"in the reward the sampler is compared with itself"),
        ({"kl": "k1(coefficient=1)*k2(coefficient=1)"}, r"kl is '.*'; make one with ps.penalties.k1"),
    ],
)
def test_bad_parts_are_told(parts: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.algorithm("grpo", **parts)


def test_policies_that_lack_are_told() -> None:
    with pytest.raises(ValueError, match=r"give the bandit its proximal="):
        ps.induced_target(ONE, "ppo:correction=truncate(cap=2, pair=proximal)")
    with pytest.raises(ValueError, match=r"give the bandit its reference="):
        ps.induced_target(ONE, "ppo:kl=k3(coefficient=.1, to=reference)")
    with pytest.raises(ValueError, match=r"proximal\[1\] is 0 where behavior is positive"):
        ps.Bandit([0.5, 0.5], [0, 1], proximal=[1.0, 0.0])
    with pytest.raises(ValueError, match=r"compares samples and dppo_tv looks at single probabilities"):
        ps.algorithm("dppo_tv", mask="rank(share=.1)")
    algorithm = ps.algorithm("ppo", mask="sign")
    with pytest.raises(ValueError, match=r"is composed already"):
        composed(algorithm, mask="sign")


def test_jumps_are_where_weights_jump() -> None:
    for each in filter(None, CORRECTIONS):
        for place in each.jumps():
            around = np.array([place - 1e-9, place + 1e-9])
            below, above = each.weight(around)
            assert (below == 0) != (above == 0), each
