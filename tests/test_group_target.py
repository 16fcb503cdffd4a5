"""Targets of sampled groups: the same mathematics as a bandit's, with the advantages that a trainer gives samples."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import pessimism as ps

REWARDS = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 8)), elements=st.floats(-2, 2, width=32))
REGRESSIONS = [
    ("opmd", {"tau": 0.5}),
    ("pmd_mean", {"tau": 0.5}),
    ("pmd_partition", {"tau": 0.5}),
    ("oapl", {"beta1": 1.0, "beta2": 0.5}),
    ("oapl.single_beta", {"beta": 0.5}),
    ("shifted_mean", {"beta": 0.5}),
    ("dro", {"beta": 0.5}),
]


def uniform(rewards):
    return ps.Bandit(np.full(rewards.shape, 1 / rewards.shape[-1]), rewards)


@pytest.mark.parametrize("name", ["shifted_mean", "oapl", "oapl.single_beta", "is_regression", "asymre", "awr"])
@given(rewards=REWARDS)
def test_where_a_sample_is_an_arm_a_group_is_a_bandit(name, rewards):
    algorithm = ps.algorithm(name)
    group, bandit = ps.group_target(rewards, algorithm), ps.induced_target(uniform(rewards), algorithm)
    np.testing.assert_allclose(group.policy, bandit.policy, atol=1e-7)


@pytest.mark.parametrize(("name", "parameters"), REGRESSIONS)
@given(rewards=REWARDS)
def test_a_group_stops_where_its_own_update_is_zero(name, parameters, rewards):
    algorithm = ps.algorithm(name, **parameters)
    advantage = algorithm.advantage(rewards)
    assume((ps.regression_regime(advantage, uniform(rewards).behavior, algorithm.beta or 0.0) >= 0).all())
    target = ps.group_target(rewards, algorithm)
    ratio = np.exp(target.log_ratio)
    np.testing.assert_allclose(ratio.mean(axis=-1), 1, rtol=1e-9)
    coefficient = algorithm.coefficient(target.log_ratio, advantage)
    scale = 1 + np.abs(advantage).max()
    np.testing.assert_allclose(coefficient, coefficient.mean(axis=-1, keepdims=True) * ratio, atol=1e-9 * scale)


@pytest.mark.parametrize(("name", "parameters"), REGRESSIONS)
@given(rewards=REWARDS)
def test_the_sign_without_a_solution_is_that_of_the_solution(name, parameters, rewards):
    algorithm = ps.algorithm(name, **parameters)
    sign = ps.regression_regime(algorithm.advantage(rewards), uniform(rewards).behavior, algorithm.beta or 0.0)
    assume((sign >= 0).all())  # negative rows take long, and there the sign is tested on bandits
    normalizer = np.asarray(ps.group_target(rewards, algorithm).normalizer)
    scale = 1 + np.ptp(rewards)
    assert (np.where(np.abs(normalizer) < 1e-8 * scale, 0, np.sign(normalizer)) * (1 - sign) <= 0).all()
    assert (np.abs(normalizer[sign == 0]) < 1e-7 * scale).all()


def test_a_missing_log_g_makes_a_group_negative():
    algorithm = ps.algorithm("oapl.missing_log_g", beta1=1.0, beta2=0.5)
    rewards = np.array([0.0, 0.0, 1.0, 1.0])
    assert ps.regression_regime(algorithm.advantage(rewards), np.full(4, 0.25), 0.5) == -1
    assert ps.group_target(rewards, algorithm).regime == "negative"


@pytest.mark.parametrize("rewards", [[], [[]], [np.nan, 1.0]])
def test_bad_groups_are_refused(rewards):
    with pytest.raises(ValueError, match=r"reward|arm|size|sample"):
        ps.group_target(rewards, ps.algorithm("opmd"))
