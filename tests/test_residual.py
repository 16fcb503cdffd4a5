"""The residual family: targets by minimization, groups that do not fill the simplex, estimates of lambda, stability."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize
from scipy.special import log_softmax

import pessimism as ps
from pessimism.claims.residual import prove_mean_ratio, prove_zero_mean

RNG = np.random.default_rng(4)
WEIGHTS = [(0.0, math.inf), (1.0, math.inf), (1.0, 2.0), (0.5, math.inf)]
REWARDS = {
    "graded": RNG.normal(size=5),
    "binary": np.array([1.0, 0.0, 0.0, 1.0, 0.0]),
    "tied": np.array([0.5, 0.5, 0.0, 1.0, 1.0]),
    "rounded": np.array([0.3, 0.1 + 0.2, 0.3, 1.0, 1.0 + 1e-15]),
}


def minimizer(bandit: ps.Bandit, beta: float, delta: float, dose: float) -> np.ndarray:
    """argmin over the simplex of (Var(e) + dose (E e)^2)/2 beta, e = A - beta l: whose descent is h = 1."""
    mu, center = bandit.behavior, bandit.behavior @ bandit.reward

    def loss(logits: np.ndarray) -> float:
        log_ratio = log_softmax(logits) - np.log(mu)
        error = bandit.reward - center + delta * beta - beta * log_ratio
        mean = mu @ error
        return float((mu @ (error - mean) ** 2 + dose * mean**2) / (2 * beta))

    found = minimize(loss, np.log(mu), method="BFGS", options={"gtol": 1e-10, "maxiter": 2000})
    return np.exp(log_softmax(found.x))


@pytest.mark.parametrize("dose", [0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("rewards", REWARDS)
def test_the_target_at_a_dose_minimizes_a_mixture_of_two_regressions(rewards: str, dose: float) -> None:
    bandit = ps.Bandit([0.3, 0.25, 0.2, 0.15, 0.1], REWARDS[rewards])
    for delta in (0.0, 1.0):
        made = ps.algorithm("residual_regression", beta=0.4, delta=delta, dose=dose)
        target = ps.induced_target(bandit, made)
        assert target.method == "closed form"
        assert target.unique
        np.testing.assert_allclose(target.policy, minimizer(bandit, 0.4, delta, dose), atol=2e-6)


@pytest.mark.parametrize("dose", [0.0, 0.5, 1.0, 2.0])
def test_equal_rewards_move_nothing(dose: float) -> None:
    behavior = np.array([64, 51, 27, 31, 5]) / 178
    for delta in (0.0, 1.0):
        made = ps.algorithm("residual_regression", dose=dose, delta=delta)
        np.testing.assert_allclose(
            ps.induced_target(ps.Bandit(behavior, np.ones(5)), made).policy, behavior, rtol=1e-12
        )


def frozen_group_end(chosen: ps.Algorithm, coverage: float) -> np.ndarray:
    """Ratios (8,) at the end of training on one group of 8 of 40 arms that hold that share of the probability."""
    behavior = np.concatenate([np.full(8, coverage / 8), np.full(32, (1 - coverage) / 32)])
    reward = np.array([1.0, 1, 0, 0, 0, 0, 0, 0])
    advantage = chosen.advantage(reward)

    def velocity(_: float, logits: np.ndarray) -> np.ndarray:
        log_policy = log_softmax(logits)
        log_ratio = log_policy[:8] - np.log(behavior[:8])
        value = chosen.coefficient(log_ratio, advantage, **chosen.weights(np.full(8, 1 / 8)))
        pull = np.concatenate([value / 8, np.zeros(32)])
        return pull - np.exp(log_policy) * pull.sum()

    flow = solve_ivp(velocity, (0, 3e4), np.log(behavior), method="LSODA", rtol=1e-9, atol=1e-11)
    return np.exp(log_softmax(flow.y[:, -1])[:8] - np.log(behavior[:8]))


@pytest.mark.parametrize("coverage", [0.2, 0.05])
def test_a_frozen_group_ends_at_its_group_target_however_little_it_covers(coverage: float) -> None:
    reward = np.array([1.0, 1, 0, 0, 0, 0, 0, 0])
    plain = ps.algorithm("shifted_mean", beta=0.5)
    expected = np.exp(ps.group_target(reward, plain).log_ratio)
    for power, cap in WEIGHTS[:3]:
        made = ps.algorithm("residual_regression.weighted", beta=0.5, power=power, cap=cap)
        np.testing.assert_allclose(np.exp(ps.group_target(reward, made).log_ratio), expected, rtol=1e-9)
        found = frozen_group_end(made, coverage)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert found.mean() == pytest.approx(1.0, abs=1e-4)
    leaking = frozen_group_end(plain, coverage)
    np.testing.assert_allclose(leaking, np.exp(plain.advantage(reward) / 0.5), rtol=1e-3)  # e^(A/beta): lambda is lost
    assert leaking.mean() > 2


def test_a_sample_left_out_makes_lambda_unbiased_and_moves_the_end_of_a_frozen_group() -> None:
    """Both cannot be had at once: only the group's own average forces its mean ratio to one."""
    behavior, log_ratio = np.array([0.5, 0.3, 0.2]), np.array([0.3, -0.4, 0.5])
    log_ratio = log_ratio - np.log(behavior @ np.exp(log_ratio))
    wanted = 0.5 + 0.5 * (behavior @ -log_ratio)  # delta beta + beta KL(mu|pi), at beta = .5, delta = 1

    def expected(group_size: float) -> np.ndarray:
        """E[lambda-hat_1 | first sample] (3,), over all groups of 2, advantages delta beta (equal rewards)."""
        made = ps.algorithm("residual_regression", beta=0.5, group_size=group_size)
        total = np.zeros(3)
        for first, second in itertools.product(range(3), repeat=2):
            x = log_ratio[[first, second]]
            value = made.coefficient(x, np.full(2, 0.5))
            total[first] += behavior[second] * (0.5 - 0.5 * x[0] - value[0]) / math.exp(x[0])
        return total

    np.testing.assert_allclose(expected(2.0), wanted, rtol=1e-12)
    assert np.abs(expected(math.inf) - wanted).max() > 0.01
    left_out = ps.algorithm("residual_regression", beta=0.5, group_size=8)
    assert abs(frozen_group_end(left_out, 0.2).mean() - 1) > 1e-3


@pytest.mark.parametrize(("power", "cap"), WEIGHTS)
def test_all_members_take_the_same_step_at_the_start_on_every_sample(power: float, cap: float) -> None:
    reward = RNG.normal(size=(20, 8))
    centered = reward - reward.mean(axis=-1, keepdims=True)
    for dose, size in itertools.product((0.0, 0.5, 2.0), (8, math.inf)):
        settings = {"power": power, "cap": cap, "dose": dose, "group_size": size}
        made = ps.algorithm("residual_regression.weighted", delta=0.7, **settings)
        found = made.coefficient(np.zeros_like(reward), made.advantage(reward))
        np.testing.assert_allclose(found, centered, atol=1e-14)


def test_any_arm_wise_objective_has_a_residual_form_with_its_own_target() -> None:
    bandit = ps.Bandit([0.4, 0.35, 0.25], [0.0, 0.5, 1.0])
    for plain in (ps.algorithm("asymre", shift=-2.0), ps.algorithm("cql", alpha=0.5, beta=0.3), ps.algorithm("awr")):
        expected = ps.gradient_flow(bandit, plain).policy
        for power, cap in WEIGHTS:
            made = ps.residual(plain, power=power, cap=cap)
            np.testing.assert_allclose(ps.induced_target(bandit, made).policy, expected, atol=1e-5)
            np.testing.assert_allclose(ps.gradient_flow(bandit, made).policy, expected, atol=1e-5)


def test_a_target_that_drops_arms_is_kept_without_a_weight_only() -> None:
    """c = A, V below the mean: one arm is lost, and its residual does not vanish; the weight then matters."""
    bandit = ps.Bandit([0.4, 0.35, 0.25], [0.0, 0.5, 1.0])
    plain = ps.algorithm("asymre", shift=-0.4)
    target = ps.induced_target(bandit, plain)
    assert target.kind == "sparse"
    same = ps.residual(plain)
    np.testing.assert_allclose(ps.induced_target(bandit, same).policy, target.policy, rtol=1e-12)
    np.testing.assert_allclose(ps.gradient_flow(bandit, same).policy, target.policy, atol=1e-4)
    assert ps.induced_target(bandit, ps.residual(plain, power=1.0)).method != "closed form"


def test_the_negative_regime_stays_negative_and_keeps_several_ends() -> None:
    """theory: with V beyond V* the residual's interior stationary points are the regression's, one per branch."""
    bandit = ps.Bandit(
        [0.118, 0.273, 0.0989, 0.0211, 0.4890], [0.914, -0.02, -1.249, -0.314, 0.054]
    )  # five local minima at V = V* + 3
    value = 0.7 * math.log(bandit.behavior @ np.exp(bandit.reward / 0.7))
    plain = ps.algorithm("dro", beta=0.7, baseline=value + 3)
    points = ps.stationary_points(bandit, plain)
    assert len(points) == 5
    made = ps.residual(plain, power=1.0, cap=2.0)
    for point in points:
        value_there = made.coefficient(
            point.log_ratio, made.advantage(bandit.reward, bandit.behavior), behavior=bandit.behavior
        )
        np.testing.assert_allclose(value_there, 0, atol=1e-9)
    assert not ps.induced_target(bandit, ps.residual(plain, dose=0.5)).unique


def test_a_full_weight_can_make_a_target_unstable_with_the_baseline_above_the_mean() -> None:
    """mu = (.55, .44, .01), r = (0, 4, 6), beta = 1, V = V* - .02: positive regime, and the flow spirals away."""
    bandit = ps.Bandit([0.55, 0.44, 0.01], [0.0, 4.0, 6.0])
    value = math.log(bandit.behavior @ np.exp(bandit.reward))
    plain = ps.algorithm("dro", beta=1.0, baseline=value - 0.02)
    target = ps.induced_target(bandit, plain)
    assert target.regime == "positive"

    def excursion(chosen: ps.Algorithm) -> float:
        """Largest distance in the last tenth of the time, from a push of 1e-3."""
        advantage = chosen.advantage(bandit.reward, bandit.behavior)

        def velocity(_: float, logits: np.ndarray) -> np.ndarray:
            log_policy = log_softmax(logits)
            pull = bandit.behavior * chosen.coefficient(
                log_policy - bandit.log_behavior, advantage, **chosen.weights(bandit.behavior)
            )
            return pull - np.exp(log_policy) * pull.sum()

        start = target.log_policy + np.array([1e-3, 0, 0])
        late = np.linspace(1800, 2000, 201)
        flow = solve_ivp(velocity, (0, 2000), start, method="LSODA", rtol=1e-9, atol=1e-12, t_eval=late)
        return float(np.abs(log_softmax(flow.y, axis=0) - target.log_policy[:, None]).max())

    assert excursion(ps.residual(plain, power=1.0)) > 0.1
    assert excursion(ps.residual(plain, power=1.0, cap=2.0)) < 1e-3
    assert excursion(ps.residual(plain)) < 1e-3
    below_the_mean = ps.algorithm("residual_regression.weighted", beta=1.0, delta=0.0, power=1.0, cap=math.inf)
    flow = ps.gradient_flow(bandit, below_the_mean)
    np.testing.assert_allclose(flow.policy, ps.induced_target(bandit, below_the_mean).policy, atol=1e-6)


def test_a_residual_form_keeps_what_its_coefficient_does_not_change() -> None:
    """Level, baseline, nominal target and parameters are the algorithm's; the weight's and the dose's join them."""
    for plain in (ps.algorithm("oapl", beta1=1.0, beta2=0.5), ps.algorithm("awr", beta=0.5)):
        made = ps.residual(plain, power=1.0, cap=3.0, dose=0.5, restoring=0.25)
        assert (made.level, made.baseline, made.scale) == (plain.level, plain.baseline, plain.scale)
        own = {"power": 1.0, "cap": 3.0, "dose": 0.5, "group_size": math.inf, "restoring": 0.25}
        assert dict(made.parameters) == {**plain.parameters, **own}
        assert made.name == f"residual of {plain.name}"
        assert (made.coupled, made.takes_behavior, made.anchor) == (True, True, "behavior")
        bandit = ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.4, 1.0])
        one, other = (ps.nominal_target(bandit, of) for of in (plain, made))
        np.testing.assert_allclose(other.policy, one.policy, rtol=1e-12)
    own_rule = ps.Algorithm(lambda log_ratio, advantage: advantage - 0.5 * log_ratio, plain.baseline)
    nominal = ps.nominal_target(bandit, ps.residual(own_rule))
    np.testing.assert_allclose(nominal.policy, ps.nominal_target(bandit, own_rule).policy, atol=1e-7)


def test_what_has_no_residual_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^'pairwise_regression' looks at the behavior policy or at other arms"):
        ps.residual(ps.algorithm("pairwise_regression"))
    with pytest.raises(ValueError, match=r"^the coefficient of 'ppo' jumps"):
        ps.residual(ps.algorithm("ppo"))
    with pytest.raises(ValueError, match=r"^residual: dose is -1; it must be a finite number >= 0"):
        ps.residual(ps.algorithm("dro"), dose=-1)
    with pytest.raises(ValueError, match=r"^residual: group_size is 1; it must be a number > 1"):
        ps.residual(ps.algorithm("dro"), group_size=1)


def test_the_proofs_prove() -> None:
    assert prove_zero_mean()
    assert prove_mean_ratio()
