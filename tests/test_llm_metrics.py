"""What a step tells, against what must be true of policies whose place is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import pessimism as ps
from llm.update.batch import Batch
from llm.update.loss import Step
from llm.update.metrics import describe, ratio_numbers
from llm.update.monitor import StepMonitor

POSITIVE = [
    ("oapl", {"beta1": 1.0, "beta2": 0.2}),
    ("pmd_mean", {"tau": 0.2}),
    ("shifted_mean", {"beta": 0.2}),
]
RATIOS = arrays(np.float64, st.integers(1, 50), elements=st.floats(-5, 5))


def step_at(log_ratio, reward, algorithm, behavior=None, answers=None):
    """A step whose samples, one token each, have these log-ratios (B, G).

    ``behavior`` (B, G) are the probabilities that they were sampled with, 1/G if left out, ``answers`` their tokens,
    all different if left out.
    """
    groups, size = reward.shape
    advantage = algorithm.advantage(reward)
    weight = np.full(reward.shape, 1 / size)
    behavior = weight if behavior is None else behavior
    answers = np.tile(np.arange(size), (groups, 1)) if answers is None else answers
    tokens = tuple(np.array([1, answer], dtype=np.int32) for answer in answers.ravel())
    log_probs = tuple(np.array([value]) for value in np.log(behavior).ravel())
    batch = Batch(
        tokens, log_probs, np.ones(reward.size, int), np.repeat(np.arange(groups), size),
        reward.ravel(), advantage.ravel(), weight.ravel(),
    )  # fmt: skip
    taken = {"behavior": weight} if algorithm.coupled else {}
    coefficient = algorithm.coefficient(log_ratio, advantage, **taken)
    flat = log_ratio.ravel()
    return Step(batch, flat, coefficient.ravel(), flat, np.ones(flat.size), passes=1, padded_tokens=flat.size)


def rewards(seed, groups=40, size=8):
    return np.random.default_rng(seed).integers(0, 2, (groups, size)).astype(float)


@pytest.mark.parametrize(("name", "parameters"), POSITIVE)
def test_a_policy_at_its_target_follows_the_theory_exactly(name, parameters):
    algorithm = ps.algorithm(name, **parameters)
    reward = rewards(0)
    numbers = describe(step_at(ps.group_target(reward, algorithm).log_ratio, reward, algorithm), algorithm)
    for key in ("theory/slope", "theory/r2", "theory/equation_r2", "theory/sampled_mass"):
        assert numbers[key] == pytest.approx(1, abs=1e-9)
    assert numbers["theory/equation_r2_without"] < 0.999
    assert numbers["target/negative"] == 0


@pytest.mark.parametrize(("name", "parameters"), POSITIVE)
def test_where_training_on_the_groups_alone_ends_the_equation_explains_everything(name, parameters):
    """Groups with completions that were sampled twice; claims of `bandits` prove where they end."""
    algorithm = ps.algorithm(name, **parameters)
    generator = np.random.default_rng(0)
    answers = generator.integers(0, 8, (40, 8))
    share = np.stack([np.bincount(row, minlength=9) for row in answers]) / 8  # the ninth is never sampled
    world = generator.dirichlet(np.ones(9), 40)
    world[::2, :8] *= 1e-3
    world[:, 8] = 1 - world[:, :8].sum(axis=1)
    worth = generator.integers(0, 2, world.shape).astype(float)
    behavior, reward = (np.take_along_axis(values, answers, axis=1) for values in (world, worth))
    advantage = np.zeros_like(world)
    np.put_along_axis(advantage, answers, algorithm.advantage(reward), axis=1)

    assert algorithm.beta is not None
    claimed = np.where(share > 0, world * np.exp(advantage / algorithm.beta), 0.0)
    bound = claimed.sum(axis=1) > 1
    assert 0.2 < bound.mean() < 0.8
    anchored = ps.Bandit(share, advantage, world)
    full = ps.induced_target(anchored, ps.algorithm("dro", beta=algorithm.beta, baseline=0.0)).policy
    policy = np.where(bound[:, None], full, claimed)
    log_ratio = np.log(np.take_along_axis(policy, answers, axis=1) / behavior)
    numbers = describe(step_at(log_ratio, reward, algorithm, behavior, answers), algorithm)
    assert numbers["target/bound"] == bound.mean()
    assert numbers["theory/sampled_mass"] == pytest.approx(policy.sum(axis=1).mean())
    assert numbers["theory/equation_r2"] == pytest.approx(1)
    assert numbers["theory/equation_r2_without"] < 0.999


def test_half_way_to_the_target_is_half_the_slope():
    algorithm = ps.algorithm("shifted_mean", beta=0.2)
    reward = rewards(1)
    half = ps.group_target(reward, algorithm).log_ratio / 2
    numbers = describe(step_at(half, reward, algorithm), algorithm)
    assert numbers["theory/slope"] == pytest.approx(0.5)
    assert numbers["theory/r2"] == pytest.approx(1)
    shifted = describe(step_at(half - 3.0, reward, algorithm), algorithm)  # mass went to what nobody sampled
    assert shifted["theory/slope"] == pytest.approx(0.5)


def test_on_policy_nothing_is_off():
    algorithm = ps.algorithm("shifted_mean", beta=0.2)
    reward = rewards(2)
    numbers = describe(step_at(np.zeros_like(reward), reward, algorithm), algorithm)
    for level in ("sequence", "token"):
        assert numbers[f"kl/k1_{level}"] == numbers[f"kl/k3_{level}"] == numbers[f"ratio/chi2_{level}"] == 0
        assert numbers[f"ratio/ess_{level}"] == pytest.approx(1)
    assert numbers["reward/mean"] == reward.mean() == numbers["reward/pass_rate"]
    assert numbers["target/positive"] == 1


def test_regimes_are_counted_group_by_group():
    reward = np.array([[0.0] * 4, [1.0] * 4, [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    for name, parameters, shares in (
        ("pmd_mean", {"tau": 0.2}, (0.5, 0.5, 0)),
        ("oapl.single_beta", {"beta": 0.2}, (0, 1, 0)),
        ("oapl.missing_log_g", {"beta1": 1.0, "beta2": 0.2}, (0, 0, 1)),
    ):
        algorithm = ps.algorithm(name, **parameters)
        numbers = describe(step_at(np.zeros_like(reward), reward, algorithm), algorithm)
        found = tuple(numbers[f"target/{regime}"] for regime in ("positive", "boundary", "negative"))
        assert found == pytest.approx(shares)
        assert numbers["reward/groups_without_signal"] == 0.5


def test_objectives_without_closed_form_say_nothing_of_targets():
    algorithm = ps.algorithm("grpo")
    reward = rewards(3)
    numbers = describe(step_at(np.zeros_like(reward), reward, algorithm), algorithm)
    assert not any(key.startswith(("target/", "theory/")) for key in numbers)


@given(RATIOS)
def test_ratio_numbers_are_in_range(log_ratio):
    numbers = ratio_numbers(log_ratio)
    assert 1 / len(log_ratio) - 1e-9 <= numbers["ratio/ess"] <= 1 + 1e-9
    assert numbers["kl/k3"] >= -1e-12
    ratio = np.exp(log_ratio)
    assert numbers["ratio/ess"] == pytest.approx(ratio.sum() ** 2 / (len(ratio) * (ratio**2).sum()), rel=1e-9)


def test_overflow_is_infinite_and_no_error():
    numbers = ratio_numbers(np.array([0.0, 2000.0]))
    assert numbers["ratio/max"] == np.inf
    assert numbers["ratio/ess"] == pytest.approx(0.5)
    assert numbers["kl/k1"] == -1000


def test_the_monitor_tells_the_gap_to_the_nominal_target_and_how_much_was_moved():
    algorithm, reward = ps.algorithm("oapl", beta1=1.0, beta2=0.2), rewards(1)
    comparison = ps.compare_group(reward, algorithm)
    log_ratio = 0.1 * comparison.induced.log_ratio
    numbers = StepMonitor(algorithm)(1, step_at(log_ratio, reward, algorithm), 1)
    signal = np.ptp(reward, axis=1) > 0
    for name, wanted in (("target_kl", comparison.induced_metrics.kl), ("nominal_kl", comparison.nominal_metrics.kl)):
        assert numbers[f"monitor/{name}"] == pytest.approx(wanted[signal].mean())
    assert numbers["monitor/kl_gap"] > 0
    k3 = np.mean(np.exp(log_ratio) - 1 - log_ratio)
    assert numbers["monitor/moved"] == pytest.approx(k3 / numbers["monitor/target_kl"])


def test_the_monitor_says_an_alert_once_and_its_numbers_do_not_depend_on_what_it_saw(caplog):
    algorithm, reward = ps.algorithm("shifted_mean", beta=1.0, delta=-2.0), rewards(2)
    monitor = StepMonitor(algorithm)
    step = step_at(np.zeros(reward.shape), reward, algorithm)
    first, again = (monitor(number, step, 1) for number in (1, 2))
    assert first == again == StepMonitor(algorithm)(9, step, 1)
    assert [record.message.split(":")[0] for record in caplog.records] == ["step 1", "step 9"]
    assert "negative regime on 100.0%" in caplog.text


def test_an_engine_that_disagrees_raises_an_alert_at_lag_0_only(caplog):
    algorithm, reward = ps.algorithm("grpo"), rewards(3)
    step = step_at(np.full(reward.shape, -0.4) + 1e-3 * reward, reward, algorithm)
    assert StepMonitor(algorithm)(1, step, 2) == {}
    assert "shift" not in caplog.text
    StepMonitor(algorithm)(1, step, 0)
    assert "shift at lag 0: trainer and sampler differ by -0.399" in caplog.text
