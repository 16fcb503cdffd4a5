"""The named instances: each is a valid bandit, and each shows what its docstring says of it."""

import numpy as np
import pytest

import pessimism as ps
from bandits.instances import INSTANCES, asymre_100, digits, five_arm, rec_counterexample, three_arm


@pytest.fixture(scope="module")
def digits_bandit() -> ps.Bandit:
    return digits()


@pytest.mark.parametrize("name", INSTANCES)
def test_every_instance_is_a_repeatable_bandit(name):
    first, second = INSTANCES[name](), INSTANCES[name]()
    assert isinstance(first, ps.Bandit)
    assert first.reward.shape == first.behavior.shape
    assert (first.behavior > 0).all()
    np.testing.assert_allclose(first.behavior.sum(axis=-1), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(first.behavior, second.behavior)
    np.testing.assert_array_equal(first.reward, second.reward)


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        INSTANCES["mine"] = three_arm  # type: ignore[index]


def test_group_mean_reinforce_prefers_the_wrong_arm_of_the_rec_counterexample():
    bandit = rec_counterexample()
    advantage = bandit.reward - bandit.behavior @ bandit.reward
    assert np.argmax(bandit.behavior * advantage) != np.argmax(bandit.reward)


def test_the_rarest_of_the_five_arms_is_worse_than_average():
    bandit = five_arm()
    assert bandit.reward[bandit.behavior.argmin()] < bandit.behavior @ bandit.reward


def test_asymre_behavior_is_a_softmax_of_slope_one_tenth():
    bandit = asymre_100()
    np.testing.assert_allclose(np.diff(np.log(bandit.behavior)), 0.1, rtol=1e-12)


def test_asymre_seed_draws_the_rewards_and_leaves_the_behavior():
    first, second = asymre_100(seed=1), asymre_100(seed=2)
    assert not np.array_equal(first.reward, second.reward)
    np.testing.assert_array_equal(first.behavior, second.behavior)
    assert first.reward.min() >= 0
    assert first.reward.max() < 1


def test_digits_reward_is_the_one_hot_label(digits_bandit):
    from sklearn.datasets import load_digits

    labels = load_digits(return_X_y=True)[1]
    np.testing.assert_array_equal(digits_bandit.reward.argmax(axis=-1), labels)
    np.testing.assert_array_equal(digits_bandit.reward.sum(axis=-1), 1.0)
    assert digits_bandit.reward.shape == (1797, 10)


def test_digits_behavior_has_learned_every_class_but_not_perfectly(digits_bandit):
    chosen = digits_bandit.behavior.argmax(axis=-1)
    correct = chosen == digits_bandit.reward.argmax(axis=-1)
    assert 0.8 < correct.mean() < 1.0
    assert np.unique(chosen).size == 10


def test_digits_temperature_divides_the_logits(digits_bandit):
    def centered_logits(bandit):
        log_behavior = np.log(bandit.behavior)
        return log_behavior - log_behavior.mean(axis=-1, keepdims=True)

    cooler = digits(temperature=0.5)
    np.testing.assert_allclose(centered_logits(cooler), 2 * centered_logits(digits_bandit), rtol=0, atol=1e-9)


def test_digits_with_more_labels_logs_a_better_policy(digits_bandit):
    def value(bandit):
        return (bandit.behavior * bandit.reward).sum(axis=-1).mean()

    assert value(digits(fraction=0.3)) > value(digits_bandit) + 0.05


def test_digits_seed_picks_the_images_shown(digits_bandit):
    assert not np.array_equal(digits(seed=1).behavior, digits_bandit.behavior)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"fraction": 0.0}, "fraction"),
        ({"fraction": 9 / 1797}, "fraction"),
        ({"fraction": 1.0}, "fraction"),
        ({"fraction": float("nan")}, "fraction"),
        ({"seed": -1}, "seed"),
    ],
)
def test_digits_names_the_argument_it_refuses(arguments, name):
    with pytest.raises(ValueError, match=rf"^{name}: must"):
        digits(**arguments)


def test_digits_accepts_the_smallest_fraction_its_message_allows():
    assert np.isfinite(digits(fraction=10 / 1797).behavior).all()


def test_asymre_refuses_a_negative_seed():
    with pytest.raises(ValueError, match=r"^seed: must"):
        asymre_100(seed=-1)
