"""Groups held as counts give what the core package gives for the same groups written out sample by sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pessimism as ps
from bandits.batches import Batch
from bandits.groups import count_advantage, works_by_weights
from bandits.simulate import logit_gradient
from pessimism import baselines

RULES = {
    "none": baselines.none(),
    "constant": baselines.constant(0.3),
    "mean": baselines.mean(),
    "shifted mean": baselines.shifted_mean(-0.2),
    "leave one out": baselines.leave_one_out(),
    "log mean exp": baselines.log_mean_exp(0.5),
    "leave-one-out log mean exp": baselines.leave_one_out_log_mean_exp(0.5),
    "log sum exp": baselines.log_sum_exp(0.5, group_size=4),
    "standardized": baselines.standardized(1e-4),
    "quantile": baselines.quantile(0.4),
    "user's, of rewards": ps.algorithm("dro", baseline=lambda reward, behavior: np.median(reward, axis=-1)).baseline,
    "user's, of both": ps.algorithm(
        "dro",
        baseline=lambda reward, behavior: (
            reward.mean(axis=-1) if behavior is None else (behavior * reward).sum(axis=-1)
        ),
    ).baseline,
}

REWARDS = st.lists(st.floats(-2, 2).map(lambda r: round(r, 3)), min_size=4, max_size=4)
COUNTS = st.lists(st.integers(0, 3), min_size=4, max_size=4).filter(lambda n: sum(n) >= 2)


@pytest.mark.parametrize("name", RULES)
@given(reward=REWARDS, counts=COUNTS)
def test_counts_give_each_sample_its_advantage(name, reward, counts):
    rewards, times = np.array(reward), np.array(counts)
    samples = np.repeat(np.arange(4), times)
    wanted = ps.Algorithm(lambda x, a: a, baseline=RULES[name]).advantage(rewards[samples])
    got = count_advantage(RULES[name], rewards, times, works_by_weights(RULES[name]))
    np.testing.assert_allclose(got[samples], wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(got[times == 0], 0.0)


@pytest.mark.parametrize("name", RULES)
@given(reward=REWARDS, mass=st.lists(st.floats(0.01, 1), min_size=4, max_size=4), absent=st.integers(-1, 3))
def test_double_precision_gives_what_the_exact_route_gives(name, reward, mass, absent):
    behavior, reference = np.array(mass), np.array(mass[::-1])
    if absent >= 0:
        behavior[absent] = 0
    behavior, reference = behavior / behavior.sum(), reference / reference.sum()
    rules = [RULES[name]]
    if name == "log mean exp":
        rules.append(baselines.log_mean_exp(0.5, measure="reference"))
    for rule in rules:
        wanted = rule.exact(np.array(reward), behavior, reference).advantage
        got = rule.weighted(np.array(reward), behavior, reference=reference)
        assert got.dtype == np.float64
        played = behavior > 0
        scale = np.abs(wanted[played]).max() + 1  # a standardized advantage is as far off as its scale is large
        np.testing.assert_allclose(got[played], wanted[played], rtol=1e-9, atol=1e-9 * scale)


def test_only_rules_that_look_at_single_samples_are_written_out():
    assert [name for name, rule in RULES.items() if not works_by_weights(rule)] == [
        "leave-one-out log mean exp",
        "user's, of rewards",
    ]


def test_rows_of_a_batch_are_separate_groups():
    reward = np.array([[0.0, 1.0, 2.0], [5.0, 1.0, -1.0]])
    counts = np.array([[1, 1, 2], [0, 3, 1]])
    rule = baselines.leave_one_out_log_mean_exp(0.7)
    both = count_advantage(rule, reward, counts, False)
    for row in range(2):
        np.testing.assert_array_equal(both[row], count_advantage(rule, reward[row], counts[row], False))


@pytest.mark.parametrize("name", sorted(ps.catalogue()))
def test_samples_and_counts_push_the_logits_alike(name):
    """For every objective, coupled ones included: n equal samples are one outcome of weight n/G."""
    algorithm = ps.algorithm(name)
    generator = np.random.default_rng(1)
    behavior = generator.dirichlet(np.ones(5), size=1)
    policy = 0.9 * behavior + 0.1 * generator.dirichlet(np.ones(5), size=1)
    reward, counts = np.array([[0.0, 1.0, 0.25, 1.0, 0.5]]), np.array([[3, 0, 1, 2, 2]])
    samples = np.repeat(np.arange(5), counts[0])[None, None, :]

    def taken(weights, probability):
        return algorithm.weights(weights if algorithm.coupled else probability).get("behavior")

    drawn = np.full(samples.shape, 1 / 8)
    by_sample = Batch(
        samples,  # one row: the index of an arm is the arm
        drawn,
        algorithm.baseline.group(reward.take(samples)),
        np.log(behavior).take(samples),
        taken(drawn, behavior.take(samples)),
    )
    weights = counts[:, None] / 8
    advantage = count_advantage(
        algorithm.baseline, reward[:, None], counts[:, None], works_by_weights(algorithm.baseline)
    )
    by_count = Batch(None, weights, advantage, np.log(behavior)[:, None], taken(weights, behavior[:, None]))
    first, second = (logit_gradient(algorithm, batch, np.log(policy), policy) for batch in (by_sample, by_count))
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-12)
    assert abs(first).max() > 0
