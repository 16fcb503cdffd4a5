"""Regimes of prefixes: soft values in 50 digits, and where the flow of a per-token regression takes a bad prefix."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pessimism as ps
from bandits.sequences import BAD_PREFIX, bad_prefix, next_token, run_to_convergence
from pessimism.prefixes import has_prefix_regimes

REWARDS = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.1 + 0.2, 0.3, 1.0]), min_size=2, max_size=4)


@given(REWARDS, st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]), st.sampled_from([1e-3, 0.1, 1.0, 1e3]))
@settings(max_examples=80, deadline=None)
def test_soft_values_and_signs_agree_with_fifty_digits(value, baseline, beta):
    behavior = np.full(len(value), 1 / len(value))
    found = ps.prefix_regimes(behavior, value, baseline, beta)
    with mp.workdps(50):
        weights = [mp.mpf(p) for p in behavior]
        soft = mp.mpf(beta) * mp.log(
            mp.fsum(w * mp.e ** (mp.mpf(v) / mp.mpf(beta)) for w, v in zip(weights, value, strict=True))
            / mp.fsum(weights)
        )
        exact = float(mp.sign(soft - mp.mpf(baseline)))
        apart = abs(float(soft - mp.mpf(baseline)))
    assert found.soft_value == pytest.approx(float(soft), rel=1e-13, abs=1e-15)
    if apart > 1e-14:
        assert found.regime == {1.0: "positive", -1.0: "negative"}[exact]


@pytest.mark.parametrize("worth", [0.0, 0.1 + 0.2, 1.0, 1e6, -7.3])
def test_a_prefix_whose_continuations_are_worth_the_same_has_that_soft_value(worth):
    for behavior in ([0.3, 0.7], [1 / 3, 1 / 3, 1 / 3], [0.1, 0.2, 0.3, 0.4]):
        found = ps.prefix_regimes(behavior, np.full(len(behavior), worth), worth, beta=0.1)
        assert found.soft_value == worth
        assert found.regime == "boundary"


def test_tokens_that_are_never_played_do_not_count():
    assert ps.prefix_regimes([0.5, 0.5, 0.0], [0, 0, 9], 0.1, 1.0).regime == "negative"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.5], [0, 1], 0.0, 0.0), "beta is 0.0; it must be a finite number > 0"),
        (([0.5, 0.5], [0, 1], np.nan, 1.0), "baseline is nan; every entry must be a finite number"),
        (([0.5, 0.6], [0, 1], 0.0, 1.0), "behavior"),
        (([0.5, 0.5], [0, np.inf], 0.0, 1.0), r"reward\[1\] is inf"),
    ],
)
def test_bad_input_gets_one_clear_line(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ps.prefix_regimes(*arguments)


def after_bad_prefix(reached):
    return next_token(reached.logits, BAD_PREFIX)


def test_a_bad_prefix_runs_to_a_vertex_although_the_bandit_s_regime_is_positive():
    """Its best token takes all for the small lead of .02; a baseline at or below 0 leaves it near the data."""
    world, beta = bad_prefix([0.3, 0.5, 0.2], [0.02, 0, 0]), 0.05
    mean = ps.algorithm("verl.dro", beta=beta)
    value = float(world.bandit.behavior @ world.reward)
    assert ps.induced_target(world.bandit, mean).regime == "positive"
    assert ps.prefix_regimes([0.3, 0.5, 0.2], [0.02, 0, 0], value, beta).regime == "negative"
    reached = run_to_convergence(world, mean)
    assert after_bad_prefix(reached).max() > 0.98
    low = ps.algorithm("verl.dro", beta=beta, baseline=-0.01)
    assert ps.prefix_regimes([0.3, 0.5, 0.2], [0.02, 0, 0], -0.01, beta).regime == "positive"
    assert np.abs(after_bad_prefix(run_to_convergence(world, low)) - [0.3, 0.5, 0.2]).max() < 0.1


@pytest.mark.parametrize(("above", "stays"), [(0.8, True), (1.25, False)])
def test_a_dead_prefix_loses_stability_one_temperature_above_its_reward(above, stays):
    beta, start = 0.2, [0.3, 0.5, 0.2]
    world = bad_prefix(start, [0, 0, 1e-9])  # a push: equal rewards would leave it at rest
    reached = run_to_convergence(world, ps.algorithm("verl.dro", beta=beta, baseline=above * beta))
    assert (np.abs(after_bad_prefix(reached) - start).max() < 1e-6) == stays


def test_only_regressions_per_token_have_regimes_of_prefixes():
    found = {name for name in ps.catalogue() if has_prefix_regimes(ps.algorithm(name))}
    assert found == {"opmd.rec", "trinity.opmd", "verl.dro"}


def test_verdicts_say_so():
    bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    words = "(positive regime of one-token arms; per token every prefix has its own)"
    assert words in ps.compare(bandit, ps.algorithm("verl.dro", beta=0.5)).verdict
    assert "(positive regime)" in ps.compare(bandit, ps.algorithm("dro", beta=0.5)).verdict
