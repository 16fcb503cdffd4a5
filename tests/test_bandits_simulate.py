"""The simulation does what its settings say, checked against autodiff, torch's optimizer, loops and exact targets."""

import tracemalloc
from dataclasses import fields, replace

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bandits.simulate as module
import pessimism as ps
from bandits.batches import draw_batch, make_task, minibatches
from bandits.instances import sparse
from bandits.noise import GaussianNoise, VerifierNoise, observed
from bandits.recursion import ideal_recursion
from bandits.settings import Settings
from bandits.simulate import logit_gradient, simulate, simulate_grid
from bandits.trajectory import describe

SMALL = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
REGRESSION = ps.algorithm("shifted_mean", beta=0.5)
ONE = Settings()


@st.composite
def small_bandits(draw):
    arms = draw(st.integers(2, 5))
    weights = np.array(draw(st.lists(st.floats(0.3, 1.0), min_size=arms, max_size=arms)))
    reward = draw(st.lists(st.floats(0, 1).map(lambda r: round(r, 2)), min_size=arms, max_size=arms))
    return ps.Bandit(weights / weights.sum(), reward)


def assert_same(first, second, **tolerance):
    for field in fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if a is None:
            assert b is None
        else:
            np.testing.assert_allclose(a, b, err_msg=field.name, **tolerance)


# --- exact gradients --------------------------------------------------------------------------------------------------


@given(bandit=small_bandits(), beta=st.floats(0.3, 1.0), name=st.sampled_from(["shifted_mean", "dro", "rebel", "awr"]))
@settings(max_examples=15)
def test_one_long_window_with_exact_gradients_ends_at_the_induced_target(bandit, beta, name):
    algorithm = ps.algorithm("rebel", eta=1 / beta) if name == "rebel" else ps.algorithm(name, beta=beta)
    run = simulate(bandit, algorithm, Settings(lag=4000, learning_rate=0.5))
    np.testing.assert_allclose(run.policy[0], ps.induced_target(bandit, algorithm).policy, atol=1e-7)
    assert run.induced_distance is not None
    assert run.induced_distance.max() < 1e-7


def test_an_objective_may_be_given_as_text():
    text, algorithm, settings = "shifted_mean:beta=.5", REGRESSION, replace(ONE, lag=3)
    found, wanted = (simulate(SMALL, each, settings).policy for each in (text, algorithm))
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(ideal_recursion(SMALL, text, 2).policy, ideal_recursion(SMALL, algorithm, 2).policy)
    grid = simulate_grid(SMALL, {"here": (text, settings)})
    np.testing.assert_array_equal(grid["here"].policy, wanted)
    with pytest.raises(ValueError, match="did you mean shifted_mean"):
        simulate(SMALL, "shifted_men", settings)
    with pytest.raises(ValueError, match="the arguments are swapped"):
        simulate(text, SMALL, settings)  # type: ignore[arg-type]


def test_the_induced_target_is_not_the_nominal_one_here():
    run = simulate(SMALL, REGRESSION, Settings(lag=2000))
    assert run.nominal_distance is not None
    assert run.nominal_distance.item() > 0.1


def test_a_normalizer_and_regime_at_the_end_are_those_of_the_target():
    for name, values in {
        "oapl": {"beta1": 1.0, "beta2": 0.5},
        "oapl.single_beta": {},
        "shifted_mean": {"beta": 0.5},
    }.items():
        algorithm = ps.algorithm(name, **values)
        target = ps.induced_target(SMALL, algorithm)
        run = simulate(SMALL, algorithm, Settings(lag=4000, learning_rate=0.3))
        assert run.normalizer.item() == pytest.approx(target.normalizer, abs=1e-8)
        assert getattr(run, target.regime).item() == 1.0
        assert run.positive.item() + run.boundary.item() + run.negative.item() == 1.0


def test_a_baseline_above_the_soft_value_is_the_negative_regime():
    run = simulate(SMALL, ps.algorithm("oapl", beta1=0.4, beta2=0.5), Settings(lag=2000))
    assert run.negative.item() == 1.0


def test_two_windows_are_one_after_the_other_and_follow_the_recursion():
    plan = Settings(lag=3000)
    both = simulate(SMALL, REGRESSION, replace(plan, syncs=2))
    first = simulate(SMALL, REGRESSION, plan)
    second = simulate(ps.Bandit(first.policy[0], SMALL.reward), REGRESSION, plan)
    np.testing.assert_allclose(both.policy, second.policy, rtol=1e-10)
    ideal = ideal_recursion(SMALL, REGRESSION, 2)
    np.testing.assert_allclose(both.policy, ideal.policy, atol=1e-8)
    for name in ("value", "entropy", "kl", "reverse_kl", "chi2", "ess", "max_ratio", "support", "normalizer"):
        np.testing.assert_allclose(getattr(both, name), getattr(ideal, name), atol=1e-6, err_msg=name)


def test_a_reference_anchors_the_log_ratio_while_the_behavior_policy_moves():
    bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0.3, 1], reference=[0.2, 0.5, 0.3])
    algorithm = ps.algorithm("dro", beta=0.5)
    run = simulate(bandit, algorithm, Settings(syncs=3, lag=4000, learning_rate=0.3))
    np.testing.assert_allclose(run.policy[0], ideal_recursion(bandit, algorithm, 3).policy[0], atol=1e-7)


@pytest.mark.parametrize("size", [None, 2, 50])
def test_a_reference_anchors_the_first_step_of_a_window_too(size):
    """On data from the policy itself the log-ratio to a reference is not 0."""
    bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0.3, 1], reference=[0.2, 0.5, 0.3])
    algorithm = ps.algorithm("dro", beta=0.5)
    plan = Settings(learning_rate=1.0, group_size=size, targets=False)
    assert bandit.reference is not None
    batch = draw_batch(
        make_task(ps.Bandit(bandit.behavior[None], bandit.reward[None], bandit.reference[None]), algorithm, plan),
        bandit.behavior[None],
        [np.random.default_rng(3)],
    )
    arms = np.arange(3) if batch.arms is None else batch.arms[0, 0]
    values = batch.advantage[0, 0] - 0.5 * np.log(bandit.behavior / bandit.reference)[arms]
    update = np.zeros(3)
    np.add.at(update, arms, batch.weights[0, 0] * values)
    update -= update.sum() * bandit.behavior
    wanted = bandit.behavior * np.exp(update)
    run = simulate(bandit, algorithm, plan, seeds=[3])
    np.testing.assert_allclose(run.policy[0], wanted / wanted.sum(), rtol=1e-12)


def test_arms_that_nobody_plays_stay_unplayed():
    bandit = ps.Bandit([0.6, 0.4, 0.0], [0, 1, 5])
    for name, plan in {
        "shifted_mean": Settings(lag=50),
        "tpo": Settings(lag=50),
        "dpo": Settings(lag=50, optimizer="adam"),
        "dro": Settings(syncs=2, lag=50, group_size=6),
        "ppo": Settings(syncs=2, lag=50, group_size=2, groups=3),
    }.items():
        run = simulate(bandit, ps.algorithm(name), plan)
        assert run.policy[0, 2] == 0
        assert run.policy[0].sum() == pytest.approx(1)
        assert np.isfinite(run.kl).all()


# --- the update against autodiff, the optimizers against torch --------------------------------------------------------


def surrogate_gradient(algorithm, batch, logits):
    """Autodiff of the groups' average of sum_i w_i c_i log pi(y_i), with c held fixed."""
    theta = torch.tensor(logits, requires_grad=True)
    log_policy = torch.log_softmax(theta, dim=-1)
    rows, arms = logits.shape
    shape = batch.advantage.shape
    index = np.broadcast_to(np.arange(arms), shape) if batch.arms is None else batch.arms // rows
    chosen = log_policy[torch.arange(rows)[:, None, None], torch.tensor(np.array(index))]
    tensors = {"behavior": torch.tensor(np.array(batch.behavior))} if batch.behavior is not None else {}
    with torch.no_grad():
        log_ratio = chosen - torch.tensor(np.array(batch.log_anchor))
        values = algorithm.coefficient(log_ratio, torch.tensor(np.array(batch.advantage)), **tensors)
    weights = torch.tensor(np.array(batch.weights))
    (weights * values * chosen).sum().div(shape[1]).backward()
    assert theta.grad is not None
    return theta.grad.numpy()


@pytest.mark.parametrize("name", ["shifted_mean", "grpo", "tpo", "pevi", "prime_rl.default", "dpo", "trpo", "red_drop"])
@pytest.mark.parametrize(
    "plan",
    [
        Settings(),
        Settings(group_size=2, groups=3),
        Settings(group_size=9, groups=2),
        Settings(noise=VerifierNoise(0.2, 0.1)),
        Settings(group_size=12, groups=2, noise=VerifierNoise(0.2, 0.1)),
        Settings(group_size=4, groups=2, noise=VerifierNoise(0.2, 0.1)),
        Settings(group_size=9, noise=GaussianNoise(0.3)),
    ],
    ids=["exact", "samples", "counts", "exact verdicts", "counted verdicts", "sampled verdicts", "gaussian"],
)
def test_the_update_is_the_gradient_of_its_surrogate(name, plan):
    generator = np.random.default_rng(3)
    behavior, logits = generator.dirichlet(np.ones(4), size=3), generator.normal(size=(3, 4))
    bandit = ps.Bandit(behavior, np.array([0, 1, 1, 0]))
    algorithm = ps.algorithm(name)
    batch = draw_batch(make_task(bandit, algorithm, plan), behavior, [np.random.default_rng(5)])
    log_policy = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    got = logit_gradient(algorithm, batch, log_policy, np.exp(log_policy))
    np.testing.assert_allclose(got, surrogate_gradient(algorithm, batch, logits), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_optimizers_are_those_of_torch(optimizer):
    plan = Settings(syncs=3, lag=40, learning_rate=0.05, optimizer=optimizer)
    theta = torch.tensor(np.log(SMALL.behavior), requires_grad=True)
    make = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    stepper = make([theta], lr=plan.learning_rate)
    for _ in range(plan.syncs):
        behavior = torch.softmax(theta, dim=-1).detach()
        advantage = torch.tensor(REGRESSION.advantage(SMALL.reward, behavior=behavior.numpy()))
        for _ in range(plan.lag):
            log_policy = torch.log_softmax(theta, dim=-1)
            values = REGRESSION.coefficient(log_policy.detach() - torch.log(behavior), advantage)
            stepper.zero_grad()
            (-(behavior * values * log_policy).sum()).backward()
            stepper.step()
    wanted = torch.softmax(theta, dim=-1).detach().numpy()
    np.testing.assert_allclose(simulate(SMALL, REGRESSION, plan).policy[0], wanted, rtol=0, atol=1e-10)


def test_a_normalized_step_has_its_length_over_all_contexts_of_a_run():
    bandit = ps.Bandit([[0.5, 0.5], [0.9, 0.1]], [[0, 1], [0, 1]])
    run = simulate(bandit, ps.algorithm("reinforce"), Settings(optimizer="normalized", learning_rate=0.1))
    change = np.log(run.policy[0]) - np.log(bandit.behavior)
    change -= change.mean(axis=-1, keepdims=True)  # logits are known up to a constant; gradients sum to zero
    assert np.sqrt((change**2).sum()) == pytest.approx(0.1)


@pytest.mark.parametrize(("optimizer", "longest"), [("sgd", 0.05), ("adam", 0.05), ("sgd", 100.0)])
def test_gradients_are_clipped_by_the_norm_of_their_run_as_in_torch(optimizer, longest):
    generator = np.random.default_rng(0)
    bandit = ps.Bandit(generator.dirichlet(np.ones(3), size=(2, 4)), generator.uniform(size=(2, 4, 3)))
    plan = Settings(lag=20, optimizer=optimizer, clip_norm=longest)
    run = simulate(bandit, REGRESSION, plan, seeds=[0, 1])
    for problem in range(2):
        theta = torch.tensor(bandit.log_behavior[problem], requires_grad=True)
        stepper = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]([theta], lr=plan.learning_rate)
        behavior = torch.tensor(bandit.behavior[problem])
        advantage = torch.tensor(REGRESSION.advantage(bandit.reward[problem], behavior=bandit.behavior[problem]))
        for _ in range(plan.lag):
            log_policy = torch.log_softmax(theta, dim=-1)
            values = REGRESSION.coefficient(log_policy.detach() - torch.log(behavior), advantage)
            stepper.zero_grad()
            (-(behavior * values * log_policy).sum()).backward()
            torch.nn.utils.clip_grad_norm_([theta], longest)
            stepper.step()
        wanted = torch.softmax(theta, dim=-1).detach().numpy()
        for seed in range(2):  # torch divides by the norm plus 1e-6
            np.testing.assert_allclose(run.policy[seed, problem], wanted, rtol=1e-4)
    unclipped = simulate(bandit, REGRESSION, replace(plan, clip_norm=None), seeds=[0, 1])
    assert np.allclose(unclipped.policy, run.policy) == (longest == 100.0)


# --- data: groups, mini-batches, replay, noise ------------------------------------------------------------------------


def by_hand(bandit, algorithm, plan, seed, windows):
    """SGD from the public pieces, one window after the other; ``windows[k]`` says which versions' data are used."""
    rows = ps.Bandit(bandit.behavior[None], bandit.reward[None])
    task, generators = make_task(rows, algorithm, plan), [np.random.default_rng(seed)]
    logits, data = np.log(rows.behavior), []
    policy = rows.behavior
    for versions in windows:
        data.append(draw_batch(task, policy, generators))
        for step in range(plan.lag):
            parts = [minibatches([data[v]], plan.minibatches)[step % plan.minibatches] for v in versions]
            logits = logits + plan.learning_rate * np.mean(
                [logit_gradient(algorithm, part, np.log(policy), policy) for part in parts], axis=0
            )
            policy = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return policy


@pytest.mark.parametrize("size", [None, 2, 8])
def test_replay_uses_the_latest_versions_alike(size):
    plan = Settings(syncs=3, lag=5, group_size=size, replay=2)
    run = simulate(SMALL, REGRESSION, plan, seeds=[4])
    np.testing.assert_allclose(run.policy[0], by_hand(SMALL, REGRESSION, plan, 4, [[0], [0, 1], [1, 2]])[0], rtol=1e-10)


@pytest.mark.parametrize("size", [2, 8])
def test_minibatches_take_turns(size):
    plan = Settings(syncs=2, lag=7, group_size=size, groups=6, minibatches=3)
    run = simulate(SMALL, REGRESSION, plan, seeds=[4])
    np.testing.assert_allclose(run.policy[0], by_hand(SMALL, REGRESSION, plan, 4, [[0], [1]])[0], rtol=1e-10)
    parts = minibatches([draw_batch(make_task(ps.Bandit(SMALL.behavior[None], SMALL.reward[None]), REGRESSION, plan),
                                    SMALL.behavior[None], [np.random.default_rng(4)])], 3)  # fmt: skip
    assert [part.weights.shape[1] for part in parts] == [2, 2, 2]


@pytest.mark.parametrize("size", [3, 400])
@pytest.mark.parametrize(
    "noise", [None, VerifierNoise(0.2, 0.3), GaussianNoise(0.5)], ids=["none", "verifier", "gaussian"]
)
def test_draws_follow_the_behavior_policy_and_the_noise(size, noise):
    behavior, reward = np.array([[0.5, 0.2, 0.2, 0.1]]), np.array([[0.0, 1.0, 0.0, 1.0]])
    bandit = ps.Bandit(behavior, reward)
    plain = ps.algorithm("reinforce", baseline=0.0)  # its advantage is the observed reward
    plan = Settings(group_size=size, groups=40_000 // size, noise=noise)
    batch = draw_batch(make_task(bandit, plain, plan), behavior, [np.random.default_rng(0)])
    np.testing.assert_allclose(batch.weights.sum(axis=-1), 1)
    share, told = np.zeros((1, 4)), np.zeros((1, 4))
    share = batch.to_arms(batch.weights / batch.weights.shape[1], share)
    told = batch.to_arms(batch.weights * batch.advantage / batch.weights.shape[1], told)
    np.testing.assert_allclose(share, behavior, atol=5 * 0.5 / 40_000**0.5)
    np.testing.assert_allclose(told, behavior * observed(bandit, noise).reward, atol=5 * 0.75 / 40_000**0.5)
    if noise is None:
        np.testing.assert_allclose(told, share * reward, atol=1e-12)
    elif isinstance(noise, VerifierNoise):
        assert set(np.unique(batch.advantage[batch.weights > 0])) == {0.0, 1.0}
    else:
        assert (batch.advantage - batch.of_slots(reward)).std() == pytest.approx(0.5, rel=0.02)


def test_counted_groups_carry_the_advantages_of_their_samples():
    bandit, algorithm = ps.Bandit([[0.5, 0.3, 0.2]], [[0.0, 0.4, 1.0]]), ps.algorithm("rloo")
    plan = Settings(group_size=7, groups=20)
    batch = draw_batch(make_task(bandit, algorithm, plan), bandit.behavior, [np.random.default_rng(1)])
    for weights, advantage in zip(batch.weights[0], batch.advantage[0], strict=True):
        samples = np.repeat(np.arange(3), np.rint(7 * weights).astype(int))
        np.testing.assert_allclose(advantage[samples], algorithm.advantage(bandit.reward[0, samples]), atol=1e-12)


@pytest.mark.parametrize("size", [None, 2, 9])
def test_coefficients_see_group_weights_if_coupled_and_else_the_probability_of_the_arm(size):
    behavior = np.array([[0.5, 0.3, 0.2]])
    bandit, plan = ps.Bandit(behavior, [[0.0, 0.4, 1.0]]), Settings(group_size=size)

    def seen(name):
        task = make_task(bandit, ps.algorithm(name), plan)
        return draw_batch(task, behavior, [np.random.default_rng(1)])

    coupled, armwise = seen("tpo"), seen("pevi")
    assert coupled.behavior is not None
    np.testing.assert_array_equal(coupled.behavior, coupled.weights)
    assert armwise.behavior is not None
    np.testing.assert_array_equal(armwise.behavior, np.broadcast_to(armwise.of_slots(behavior), armwise.weights.shape))
    assert seen("dro").behavior is None


def test_distances_are_to_the_targets_of_the_rewards_that_are_observed_on_average():
    run = simulate(SMALL, REGRESSION, Settings(lag=4000, noise=VerifierNoise(0.2, 0.3)))
    assert run.induced_distance is not None
    assert run.induced_distance.item() < 1e-8


def test_records_describe_the_policy_as_textbooks_do():
    generator = np.random.default_rng(0)
    behavior, policy = generator.dirichlet(np.ones(5), size=(2, 3))
    bandit = ps.Bandit(behavior, generator.uniform(size=(3, 5)))
    record, ratio = describe(bandit, policy, np.log(policy)), policy / behavior
    wanted = {
        "value": (policy * bandit.reward).sum(axis=-1),
        "entropy": scipy.stats.entropy(policy, axis=-1),
        "kl": scipy.stats.entropy(policy, behavior, axis=-1),
        "reverse_kl": scipy.stats.entropy(behavior, policy, axis=-1),
        "chi2": ((policy - behavior) ** 2 / behavior).sum(axis=-1),
        "ess": 1 / (behavior * ratio**2).sum(axis=-1),
        "max_ratio": ratio.max(axis=-1),
        "support": [5, 5, 5],
    }
    assert record.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(record[name], values, rtol=1e-12, err_msg=name)
    vertex = describe(bandit, np.eye(5)[:3], np.log(np.maximum(np.eye(5)[:3], 1e-300)))
    assert vertex["support"].tolist() == [1, 1, 1]


def test_exact_gradients_average_over_verdicts():
    """A log-mean-exp of verdicts is not that of expected rewards: the population is one of verdicts."""
    noise, algorithm = VerifierNoise(0.1, 0.2), ps.algorithm("oapl", beta1=0.2, beta2=0.5)
    run = simulate(SMALL, algorithm, Settings(lag=4000, noise=noise, learning_rate=0.3))
    passes = observed(SMALL, noise).reward
    soft_value = 0.2 * np.log((SMALL.behavior * (1 - passes + passes * np.exp(1 / 0.2))).sum())
    wanted = ps.induced_target(
        ps.Bandit(SMALL.behavior, passes), ps.algorithm("dro", beta=0.5, baseline=float(soft_value))
    )
    np.testing.assert_allclose(run.policy[0], wanted.policy, atol=1e-7)


def test_verdicts_do_not_depend_on_who_plays():
    """A baseline that averages over the reference policy sees its arms with the same errors."""
    noise, algorithm = VerifierNoise(0.1, 0.2), ps.algorithm("a_star_po", beta1=0.2, beta2=0.5)
    bandit = ps.Bandit(SMALL.behavior, SMALL.reward, reference=[0.2, 0.2, 0.6])
    assert bandit.reference is not None
    run = simulate(bandit, algorithm, Settings(lag=4000, noise=noise, learning_rate=0.3))
    passes = observed(SMALL, noise).reward
    soft_value = 0.2 * np.log((bandit.reference * (1 - passes + passes * np.exp(1 / 0.2))).sum())
    seen = ps.Bandit(bandit.behavior, passes, bandit.reference)
    wanted = ps.induced_target(seen, ps.algorithm("dro", beta=0.5, baseline=float(soft_value)))
    np.testing.assert_allclose(run.policy[0], wanted.policy, atol=1e-7)


def test_value_is_counted_in_true_rewards():
    run = simulate(SMALL, REGRESSION, Settings(lag=10, noise=VerifierNoise(0.3, 0.3)))
    assert run.value.item() == pytest.approx(float(run.policy[0] @ SMALL.reward))


def test_sampled_regimes_are_those_of_each_groups_own_bandit():
    bandit, algorithm = sparse(arms=6, rewarded=3), ps.algorithm("oapl", beta1=1.0, beta2=0.5)
    plan = Settings(group_size=8, groups=50, targets=False)
    run = simulate(bandit, algorithm, plan, seeds=[2])
    rows = ps.Bandit(bandit.behavior[None], bandit.reward[None])
    batch = draw_batch(make_task(rows, algorithm, plan), rows.behavior, [np.random.default_rng(2)])
    regimes = ps.induced_target(ps.Bandit(batch.weights[0], bandit.reward), algorithm).regime
    assert run.positive.item() == pytest.approx(np.mean(regimes == "positive"))
    assert run.boundary.item() == pytest.approx(np.mean(regimes == "boundary"))
    assert 0 < run.boundary.item() < 1  # groups of equal rewards carry no pessimism


# --- vectorisation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 12])
def test_seeds_together_are_seeds_one_by_one(size, monkeypatch):
    bandit = sparse(arms=10, rewarded=3)
    plan = Settings(syncs=3, lag=6, group_size=size, groups=2, minibatches=2, replay=2, record_every=2)
    monkeypatch.setattr(module, "BLOCK", 40)  # blocks of four seeds
    together = simulate(bandit, REGRESSION, plan, seeds=range(9))
    assert together.sync.tolist() == [2, 3]
    for seed in range(9):
        alone = simulate(bandit, REGRESSION, plan, seeds=[seed])
        np.testing.assert_array_equal(together.policy[seed], alone.policy[0])
        np.testing.assert_allclose(together.value[:, seed], alone.value[:, 0], rtol=1e-14)
    assert len({policy.tobytes() for policy in together.policy}) == 9
    assert_same(together, simulate(bandit, REGRESSION, plan, seeds=range(9)), rtol=0)


@pytest.mark.parametrize("name", ["shifted_mean", "grpo", "tpo", "dpo"])
@pytest.mark.parametrize("optimizer", ["sgd", "normalized", "adam"])
@pytest.mark.parametrize("size", [None, 4, 30])
def test_a_run_is_the_same_to_the_last_bit_in_any_company(name, optimizer, size):
    plan = Settings(syncs=2, lag=3, group_size=size, optimizer=optimizer, targets=False)
    bandit = sparse(arms=17, rewarded=3)
    company = simulate(bandit, ps.algorithm(name), plan, seeds=range(11)).policy
    for seeds in ([5], [5, 2], [7, 1, 5]):
        policy = simulate(bandit, ps.algorithm(name), plan, seeds=seeds).policy
        np.testing.assert_array_equal(policy, company[seeds])


def test_a_grid_is_its_cells():
    cells = {"short": (REGRESSION, Settings(lag=3)), "long": (ps.algorithm("tpo"), Settings(syncs=2, lag=5))}
    grid = simulate_grid(SMALL, cells, seeds=(seed for seed in (3, 4)))
    assert list(grid) == ["short", "long"]
    for name, (algorithm, plan) in cells.items():
        assert_same(grid[name], simulate(SMALL, algorithm, plan, seeds=[3, 4]), rtol=0)


def test_memory_does_not_grow_with_the_steps_of_a_run():
    def peak(syncs):
        tracemalloc.start()
        simulate(
            sparse(), REGRESSION, Settings(syncs=syncs, group_size=8, record_every=syncs, targets=False), range(40)
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(60) < 1.1 * peak(6)


def test_a_batch_of_bandits_is_its_rows():
    generator = np.random.default_rng(0)
    bandit = ps.Bandit(generator.dirichlet(np.ones(4), size=(2, 3)), generator.uniform(size=(2, 3, 4)))
    plan = Settings(syncs=2, lag=20, optimizer="adam")
    run = simulate(bandit, REGRESSION, plan, seeds=[0, 1])
    assert run.value.shape == (2, 2, 2, 3)
    for index in np.ndindex(2, 3):
        alone = simulate(ps.Bandit(bandit.behavior[index], bandit.reward[index]), REGRESSION, plan)
        np.testing.assert_allclose(run.policy[(1, *index)], alone.policy[0], rtol=1e-12)


def test_a_linear_policy_with_one_feature_per_context_is_tabular():
    generator = np.random.default_rng(0)
    bandit = ps.Bandit(generator.dirichlet(np.ones(4), size=3), generator.uniform(size=(3, 4)))
    plan = Settings(syncs=2, lag=30, group_size=5, learning_rate=0.1)
    table = simulate(bandit, REGRESSION, plan, seeds=range(3))
    average = replace(plan, learning_rate=0.3)  # the linear objective is the mean over three contexts
    assert_same(table, simulate(bandit, REGRESSION, average, seeds=range(3), features=np.eye(3)), rtol=1e-9, atol=1e-12)


def test_a_linear_policy_shares_what_contexts_share():
    bandit = ps.Bandit(np.full((4, 3), 1 / 3), np.tile([0.0, 0.0, 1.0], (4, 1)))
    constant = simulate(bandit, REGRESSION, Settings(lag=2000, learning_rate=0.3), features=np.ones((4, 1)))
    np.testing.assert_allclose(constant.policy[0], ps.induced_target(bandit, REGRESSION).policy, atol=1e-8)
    np.testing.assert_array_equal(constant.policy[0, 0], constant.policy[0, 3])


# --- runs that diverge ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_that_diverges_is_nan_from_there_on_and_the_others_do_not_notice(optimizer):
    """Two problems side by side; the rewards of one grow its log-ratios beyond all bounds."""
    generator = np.random.default_rng(0)
    reward = np.array([[0.0, 0.5, 1.0], [0.0, 0.0, 1e305]])[:, None]
    bandit = ps.Bandit(generator.dirichlet(np.ones(3), size=(2, 1)), reward)
    explode = ps.Algorithm(lambda log_ratio, advantage: advantage * 1e4 + 0 * log_ratio, baseline=0.0)
    plan = Settings(syncs=5, lag=2, group_size=4, optimizer=optimizer, targets=False)
    run = simulate(bandit, explode, plan, seeds=range(6))
    assert (run.diverged[:, 1] > 0).any()
    assert (run.diverged[:, 0] == 0).all()
    for seed in range(6):
        alone = simulate(ps.Bandit(bandit.behavior[0], reward[0]), explode, plan, seeds=[seed])
        assert np.isfinite(alone.value).all()
        when = int(run.diverged[seed, 1, 0]) or plan.syncs + 1
        for name in ("value", "entropy", "kl", "support", "normalizer"):
            array = getattr(run, name)[:, seed]
            assert np.isfinite(array[:, 0]).all(), name
            assert np.isnan(array[when - 1 :, 1]).all(), name
        assert np.isfinite(run.value[: when - 1, seed, 1]).all()
        assert np.isnan(run.policy[seed, 1]).all() == (when <= plan.syncs)
        assert run.policy[seed, 0].sum() == pytest.approx(1)


def test_a_lone_run_that_diverges_says_when():
    run = simulate(SMALL, REGRESSION, Settings(syncs=2, lag=5000, learning_rate=1e3), seeds=[7])
    assert run.diverged.tolist() == [1]
    assert np.isnan(run.value).all()
    assert np.isnan(run.policy).all()
    assert simulate(SMALL, REGRESSION, ONE).diverged.tolist() == [0]


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lag": 0}, "lag is 0; it must be a whole number >= 1"),
        ({"lag": 2.5}, "lag is 2.5; it must be a whole number >= 1"),
        ({"syncs": -1}, "syncs is -1; it must be a whole number >= 1"),
        ({"replay": True}, "replay is True; it must be a whole number >= 1"),
        ({"group_size": 0}, r"group_size is 0; it must be a whole number >= 1 \(or None for exact gradients\)"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a finite number > 0"),
        ({"optimizer": "lion"}, "optimizer is 'lion'; it must be one of sgd, normalized, adam"),
        ({"groups": 2}, r"groups is 2, but exact gradients \(group_size None\) have one group only"),
        ({"groups": 4, "group_size": 2, "minibatches": 3, "lag": 9}, "minibatches is 3; it must divide groups"),
        ({"groups": 4, "group_size": 2, "minibatches": 4, "lag": 3}, "minibatches is 4, but lag leaves only 3 steps"),
        ({"noise": GaussianNoise(0.1)}, "noise is Gaussian, but exact gradients"),
        ({"clip_norm": 0.0}, r"clip_norm is 0.0; it must be a finite number > 0 \(or None for no clipping\)"),
        ({"clip_norm": 1.0, "optimizer": "normalized"}, "clip_norm is 1.0, but normalized steps have one length"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Settings(**values)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate(SMALL, REGRESSION, ONE, seeds=[]), "seeds is empty"),
        (lambda: simulate(SMALL, REGRESSION, ONE, seeds=[0, -3]), r"seeds\[1\] is -3"),
        (
            lambda: simulate(SMALL, REGRESSION, ONE, features=np.ones((2, 2))),
            r"features has shape \(2, 2\); it must be \(1, d\)",
        ),
        (lambda: simulate(SMALL, REGRESSION, ONE, features=[[np.inf]]), r"features\[0, 0\] is inf"),
        (
            lambda: simulate(SMALL, ps.algorithm("rloo"), Settings(group_size=1)),
            "a leave-one-out baseline needs groups",
        ),
        (
            lambda: simulate(ps.Bandit([0.5, 0.5], [0, 1], reference=[0.5, 0.5]), ps.algorithm("ppo"), Settings()),
            "the bandit has a reference, but 'ppo' measures",
        ),
        (
            lambda: simulate(ps.Bandit([0.5, 0.5], [0, 0.5]), REGRESSION, Settings(noise=VerifierNoise(0.1))),
            r"reward\[0, 1\] is 0.5; verifier noise needs rewards of 0 or 1",
        ),
        (
            lambda: simulate(SMALL, ps.Algorithm(lambda x, a: a.sum()), Settings()),
            r"the coefficient of 'custom' returned shape \(\) for arguments of shape \(2, 1, 3\)",
        ),
        (lambda: VerifierNoise(false_positive=1.5), "false_positive is 1.5; it must be a probability"),
        (lambda: GaussianNoise(-1.0), "deviation is -1.0; it must be a finite number >= 0"),
        (lambda: ideal_recursion(SMALL, REGRESSION, 0), "syncs is 0; it must be a whole number >= 1"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        call()
    assert "\n" not in str(caught.value)
