"""The generated instances: what they promise, and what they refuse."""

import numpy as np
import pytest

from bandits.instances import huge, noisy_sparse, sparse, tpo_multi_context, tpo_single_context


def test_sparse_rewards_exactly_as_many_arms_as_asked():
    for rewarded in (1, 7, 40):
        bandit = sparse(arms=40, rewarded=rewarded)
        assert sorted(bandit.reward) == [0.0] * (40 - rewarded) + [1.0] * rewarded


def test_sparse_without_spread_is_uniform_and_with_it_is_not():
    np.testing.assert_allclose(sparse(spread=0.0).behavior, 0.01)
    assert np.log(sparse(arms=5000, spread=2.0).behavior).std() == pytest.approx(2.0, rel=0.05)


def test_sparse_seed_moves_the_rewarded_arms():
    assert len({int(sparse(seed=seed).reward.argmax()) for seed in range(10)}) > 5


def test_huge_behavior_falls_off_as_one_over_the_rank():
    behavior = huge(arms=50).behavior
    np.testing.assert_allclose(behavior[0] / behavior, np.arange(1, 51), rtol=1e-12)


def test_noisy_rewards_keep_the_order_of_the_true_ones():
    np.testing.assert_array_equal(noisy_sparse().reward > 0.5, sparse(rewarded=10).reward == 1)


def test_tpo_tasks_reward_the_first_arm_of_every_context():
    single, multi = tpo_single_context(), tpo_multi_context(runs=3)
    np.testing.assert_array_equal(np.flatnonzero(single.reward), [0])
    assert multi.batch_shape == (3, 100)
    np.testing.assert_array_equal(multi.reward.argmax(axis=-1), 0)
    assert multi.reward.sum() == 300
    logits = np.log(multi.behavior)
    assert (logits - logits.mean(axis=-1, keepdims=True)).std() == pytest.approx(np.sqrt(0.9), rel=0.05)
    assert not np.array_equal(multi.behavior[0], multi.behavior[1])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: sparse(rewarded=0), "rewarded"),
        (lambda: sparse(arms=3, rewarded=4), "rewarded"),
        (lambda: sparse(spread=-1.0), "spread"),
        (lambda: sparse(seed=-1), "seed"),
        (lambda: huge(arms=0), "arms"),
        (lambda: huge(share=1.1), "share"),
        (lambda: huge(seed=-1), "seed"),
        (lambda: tpo_single_context(arms=0), "arms"),
        (lambda: tpo_multi_context(contexts=0), "contexts"),
        (lambda: tpo_multi_context(seed=-1), "seed"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: must"):
        call()
