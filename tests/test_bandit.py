"""Bandits, and bad input at every door of the Python interface: argument, first offending index, what is allowed."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import pessimism as ps

NAN, INF = float("nan"), float("inf")


def test_arrays_are_validated_once_and_held_read_only() -> None:
    reward = np.array([0, 1, 2], dtype=np.int64)
    bandit = ps.Bandit([0.2, 0.3, 0.5], reward)
    assert bandit.behavior.dtype == bandit.reward.dtype == np.float64
    assert (bandit.arms, bandit.batch_shape, bandit.reference) == (3, (), None)
    for array in (bandit.behavior, bandit.reward):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    assert reward.flags.writeable
    assert repr(bandit) == "Bandit(behavior=[0.2, 0.3, 0.5], reward=[0., 1., 2.])"


def test_changing_the_input_afterwards_does_not_change_the_bandit() -> None:
    behavior, reward = np.array([0.5, 0.5]), np.array([0.0, 1.0])
    bandit = ps.Bandit(behavior, reward)
    behavior[:] = [2.0, -1.0]
    reward[:] = NAN
    np.testing.assert_array_equal(bandit.behavior, [0.5, 0.5])
    np.testing.assert_array_equal(bandit.reward, [0.0, 1.0])
    assert behavior.flags.writeable


def test_batch_shapes_broadcast() -> None:
    bandit = ps.Bandit(np.full((4, 1, 2), 0.5), np.zeros((3, 2)), [0.25, 0.75])
    assert bandit.batch_shape == (4, 3)
    assert bandit.behavior.shape == bandit.reward.shape == bandit.log_behavior.shape == (4, 3, 2)
    assert bandit.reference is not None
    assert bandit.reference.shape == (4, 3, 2)
    assert bandit.anchor is bandit.reference
    assert "reference given" in repr(bandit)


def test_zero_probability_arms_and_the_tolerance_of_sums() -> None:
    bandit = ps.Bandit([0.0, 1.0], [5.0, 1.0], [0.0, 1.0])
    np.testing.assert_array_equal(bandit.log_behavior, [-INF, 0.0])
    assert bandit.anchor is bandit.reference
    ps.Bandit([0.5, 0.5 + 9e-10], [0, 1])
    ps.Bandit([0.0, 1.0], [0.0, 1.0], [0.5, 0.5])  # the reference may play more than the data show
    assert ps.Bandit([1.0], [3.0]).arms == 1


BAD_BANDITS = {
    "nan reward": (([0.5, 0.5], [0, NAN]), "reward[1] is nan; every entry must be a finite number"),
    "infinite reward": (([0.5, 0.5], [[0, 1], [-INF, 0]]), "reward[1, 0] is -inf; every entry must be a finite number"),
    "nan policy": (([0.5, NAN, 0.5], [0, 0, 0]), "behavior[1] is nan; every entry must be a finite number"),
    "infinite policy": (([INF, 0.5], [0, 0]), "behavior[0] is inf; every entry must be a finite number"),
    "negative": (([[0.5, 0.5], [1.5, -0.5]], [0, 0]), "behavior[1, 1] is -0.5; probabilities must be >= 0"),
    "unnormalized": (([0.5, 0.6], [0, 0]), "behavior sums to 1.1; each row must sum to 1 within 1e-09"),
    "barely unnormalized": (([0.5, 0.5 + 1.1e-9], [0, 0]), "each row must sum to 1 within 1e-09"),
    "unnormalized row": (
        ([[0.5, 0.5], [0.5, 0.5], [0.4, 0.5]], [0, 0]),
        "behavior[2] sums to 0.9; each row must sum to 1 within 1e-09 (divide by the sum if that is meant)",
    ),
    "all zero": (([0.0, 0.0], [0, 0]), "behavior sums to 0; each row must sum to 1"),
    "arms": (([0.5, 0.5], [0, 0, 0]), "the number of arms (last axis) differs: behavior has 2, reward has 3"),
    "reference arms": (([0.5, 0.5], [0, 0], [1.0]), "behavior has 2, reward has 2, reference has 1"),
    "batch": (
        (np.full((2, 2), 0.5), np.zeros((3, 2))),
        "batch shapes do not broadcast: behavior (2, 2), reward (3, 2)",
    ),
    "scalar": ((1.0, [0.0]), "behavior has shape (); it must be (..., K) with at least one arm and one row"),
    "empty": (([], []), "behavior has shape (0,); it must be (..., K) with at least one arm and one row"),
    "no rows": ((np.zeros((0, 2)), [0, 0]), "behavior has shape (0, 2); it must be (..., K)"),
    "ragged": (([0.5, 0.5], [[0, 1], [2]]), "reward is not an array of numbers of one shape"),
    "words": ((["a", "b"], [0, 1]), "behavior is not an array of numbers of one shape"),
    "none": (([0.5, 0.5], None), "reward"),
    "complex": (([0.5, 0.5], [1j, 0]), "reward is not an array of numbers of one shape"),
    "bad reference": (([0.5, 0.5], [0, 0], [0.5, 0.6]), "reference sums to 1.1; each row must sum to 1 within 1e-09"),
    "negative reference": (([0.5, 0.5], [0, 0], [1.5, -0.5]), "reference[1] is -0.5; probabilities must be >= 0"),
    "uncovered": (
        ([[0.5, 0.5], [0.5, 0.5]], [0, 0], [[0.5, 0.5], [0.0, 1.0]]),
        "reference[1, 0] is 0 where behavior is positive; the log-ratio is undefined there",
    ),
}


@pytest.mark.parametrize("name", BAD_BANDITS)
def test_bad_bandits(name: str) -> None:
    arguments, message = BAD_BANDITS[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        ps.Bandit(*arguments)


# --- algorithms -------------------------------------------------------------------------------------------------------


def test_unknown_names_and_parameters_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown algorithm 'oaple'; did you mean oapl") as caught:
        ps.algorithm("oaple")
    assert len(str(caught.value)) < 100  # of 64 names it tells where they are listed
    with pytest.raises(ValueError, match="unknown algorithm 'zzzzzz'; `pessimism catalogue` lists them all"):
        ps.algorithm("zzzzzz")
    with pytest.raises(
        ValueError,
        match="no parameter 'beta'; did you mean beta2 or beta1",
    ):
        ps.algorithm("oapl", beta=1.0)
    with pytest.raises(ValueError, match="reinforce has no parameter 'x'; known parameters: baseline"):
        ps.algorithm("reinforce", x=1.0)


@pytest.mark.parametrize("name", ps.catalogue())
def test_every_parameter_of_every_entry_is_checked(name: str) -> None:
    """NaN, infinities, words, booleans and what lies at or beyond the bounds: refused with what is allowed."""
    for key, parameter in ps.catalogue()[name].parameters.items():
        bad: list[object] = [NAN, -INF, "1", True, np.array([1.0, 2.0])]
        if key != "kl":  # also a part of every algorithm, where None stands for "none given"
            bad.append(None)
        if not parameter.infinite:
            bad.append(INF)
        for bound, beyond in ((parameter.low, -1.0), (parameter.high, 1.0)):
            if np.isfinite(bound):
                bad.append(bound + beyond)
                bad.extend([] if parameter.closed else [bound])
        for value in bad:
            with pytest.raises(ValueError, match=re.escape(f"{name}: {key} is ")) as caught:
                ps.algorithm(name, **{key: value})
            assert parameter.allowed in str(caught.value)
        accepted = (
            [parameter.default, int(parameter.default)] if parameter.default in (1, 2, 3) else [parameter.default]
        )
        accepted += [parameter.low] * (parameter.closed and parameter.low > -INF)
        accepted += [INF] * parameter.infinite
        accepted += [np.float64(parameter.default)]
        for value in accepted:
            assert ps.algorithm(name, **{key: value}).parameters[key] == value


def test_allowed_values_in_words() -> None:
    from pessimism.objectives.entry import Parameter, fraction, nonnegative, positive, real

    assert positive(1.0, "").allowed == "a finite number > 0"
    assert positive(1.0, "", infinite=True).allowed == "a number > 0"
    assert nonnegative(1.0, "").allowed == "a finite number >= 0"
    assert fraction(0.5, "").allowed == "a finite number > 0 and < 1"
    assert real(1.0, "").allowed == "a finite number"
    assert Parameter(2.0, "", low=1.0, high=3.0, closed=True).allowed == "a finite number >= 1 and <= 3"


def test_rings_must_lie_outside_each_other() -> None:
    with pytest.raises(ValueError, match=r"rec_ring: low_outer, high_outer are 0\.1, 2; they must not lie inside"):
        ps.algorithm("rec_ring", low=0.2, low_outer=0.1)
    with pytest.raises(ValueError, match=r"rec_ring: low_outer, high_outer are 0\.6, 2; they must not lie inside"):
        ps.algorithm("rec_ring", high=3.0)
    ps.algorithm("rec_ring", low=0.6, high=2.0)


def test_a_user_s_algorithm_is_checked_too() -> None:
    with pytest.raises(ValueError, match="coefficient is 3; it must be a function of"):
        ps.Algorithm(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level is 'word'; it must be one of sequence, token, sequence mean"):
        ps.Algorithm(lambda log_ratio, advantage: advantage, level="word")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="anchor is 'x'; it must be one of reference, behavior"):
        ps.Algorithm(lambda log_ratio, advantage: advantage, anchor="x")  # type: ignore[arg-type]


# --- advantages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ps.catalogue())
def test_rewards_that_are_not_finite_are_refused(name: str) -> None:
    algorithm = ps.algorithm(name)
    for bad in (NAN, INF, -INF):
        reward = np.array([[0.0, 1.0, 0.5], [0.0, 0.5, bad]])
        for value in (reward, torch.tensor(reward)):
            with pytest.raises(ValueError, match=r"reward\[1, 2\] is .*every entry must be a finite number"):
                algorithm.advantage(value)
            with pytest.raises(ValueError, match=r"reward\[1, 2\] is .*every entry must be a finite number"):
                algorithm.advantage(value, np.full(3, 1 / 3))


def test_policies_and_groups_given_to_advantage_are_checked() -> None:
    algorithm = ps.algorithm("oapl")
    with pytest.raises(ValueError, match=r"behavior sums to 1\.1"):
        algorithm.advantage(np.zeros(2), np.array([0.5, 0.6]))
    with pytest.raises(ValueError, match="the number of arms"):
        algorithm.advantage(np.zeros(3), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="a group must hold at least one sample"):
        algorithm.advantage(np.zeros((4, 0)))
    for name in ("rloo", "pmd_mean", "pmd_partition", "grpo", "tpo"):
        with pytest.raises(ValueError, match="at least 2 samples; got 1"):
            ps.algorithm(name).advantage(np.zeros((4, 1)))


@pytest.mark.parametrize("name", ["prime_rl.default", "pevi"])
def test_coefficients_that_need_the_policy_say_so(name: str) -> None:
    with pytest.raises(ValueError, match=r"^behavior is None; "):
        ps.algorithm(name).coefficient(np.zeros(2), np.ones(2))


# --- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in ps.catalogue() if ps.algorithm(n).anchor == "behavior"])
def test_importance_ratios_cannot_be_measured_from_a_reference(name: str) -> None:
    bandit = ps.Bandit([0.5, 0.5], [0.0, 1.0], [0.25, 0.75])
    for function in (ps.induced_target, ps.nominal_target, ps.gradient_flow, ps.compare):
        with pytest.raises(
            ValueError, match=f"'{name}' measures its log-ratio from the behavior policy; leave the reference out"
        ):
            function(bandit, ps.algorithm(name))


def test_logarithmic_smoothing_needs_nonnegative_rewards() -> None:
    for function in (ps.induced_target, ps.compare):
        with pytest.raises(ValueError, match=r"reward\[1, 0\] is -1; logarithmic smoothing needs rewards >= 0"):
            function(ps.Bandit([0.5, 0.5], [[0.0, 1.0], [-1.0, 1.0]]), ps.algorithm("ls"))
    ps.induced_target(ps.Bandit([0.0, 0.5, 0.5], [-1.0, 0.0, 1.0]), ps.algorithm("ls"))


def test_weights_that_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the weight of arm \[1\] overflows"):
        ps.induced_target(ps.Bandit([0.5, 0.5], [0.0, 1.0]), ps.algorithm("red_weight", temperature=1e-4))


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_coefficient_that_is_not_finite_is_refused(value: float) -> None:
    broken = ps.Algorithm(lambda log_ratio, advantage: advantage + value * (advantage > 0))
    bandit = ps.Bandit([0.5, 0.5], [0.0, 1.0])
    for function in (ps.induced_target, ps.gradient_flow, ps.compare):
        with pytest.raises(ValueError, match="coefficient"):
            function(bandit, broken)


def test_a_coefficient_of_the_wrong_shape_is_refused() -> None:
    broken = ps.Algorithm(lambda log_ratio, advantage: advantage[..., :1])
    with pytest.raises(ValueError, match="coefficient must return the shape of its input"):
        ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [0.0, 1.0, 2.0]), broken)
