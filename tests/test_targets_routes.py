"""Which route finds a target, and that what it returns satisfies the equations: numeric and mixed batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest

import pessimism as ps
from pessimism.numeric_targets import SAME_BASIN

BEHAVIOR = np.array([[0.5, 0.3, 0.2, 0.0], [0.118, 0.4, 0.45, 0.032], [0.25, 0.25, 0.25, 0.25]])
REWARD = np.array([[0.0, 0.2, 1.0, 9.0], [0.914, -0.02, 0.05, -0.3], [0.1, 0.2, 0.3, 0.4]])


@pytest.mark.parametrize("beta", [0.7, 0.25])
def test_beyond_the_fold_the_flow_s_own_minimum_is_given_exactly(beta: float) -> None:
    bandit = ps.Bandit(BEHAVIOR, REWARD)
    soft = beta * np.log((BEHAVIOR * np.exp(np.where(BEHAVIOR > 0, REWARD, 0) / beta)).sum(axis=-1))
    algorithm = ps.algorithm("shifted_mean", beta=beta, baseline=lambda reward, behavior: soft + 3)
    target = ps.induced_target(bandit, algorithm)
    assert set(target.method) == {"fixed point"}
    assert set(target.kind) == {"interior"}
    assert set(target.regime) == {"negative"}
    assert not target.unique.any()
    flow = ps.gradient_flow(bandit, algorithm)
    for row in range(3):
        played = BEHAVIOR[row] > 0
        advantage = REWARD[row] - soft[row] - 3
        x, normalizer = target.log_ratio[row][played], target.normalizer[row]
        np.testing.assert_allclose(beta * x + normalizer * np.exp(x), advantage[played], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(target.policy[row].sum(), 1.0, atol=1e-11)
        np.testing.assert_allclose(target.policy[row], flow.policy[row], atol=1e-6)
        # It is one of the minima, and the one in whose basin the behavior policy lies.
        one = ps.algorithm("shifted_mean", beta=beta, baseline=float(soft[row] + 3))
        points = ps.stationary_points(ps.Bandit(BEHAVIOR[row], REWARD[row]), one)
        distances = [np.abs(point.policy - flow.policy[row]).sum() / 2 for point in points]
        assert len(points) > 1
        assert min(distances) < SAME_BASIN < sorted(distances)[1]
        np.testing.assert_allclose(target.policy[row], points[int(np.argmin(distances))].policy, atol=1e-10)


def test_rows_on_and_beyond_the_principal_branch_share_a_batch() -> None:
    bandit = ps.Bandit(BEHAVIOR, REWARD)
    beta = 0.5
    soft = beta * np.log((BEHAVIOR * np.exp(np.where(BEHAVIOR > 0, REWARD, 0) / beta)).sum(axis=-1))
    offset = np.array([-1.0, 2.0, 0.0])
    algorithm = ps.algorithm("shifted_mean", beta=beta, baseline=lambda reward, behavior: soft + offset)
    target = ps.induced_target(bandit, algorithm)
    assert list(target.method) == ["closed form", "fixed point", "closed form"]
    assert list(target.regime) == ["positive", "negative", "boundary"]
    assert list(target.unique) == [True, False, True]
    for row in range(3):
        alone = ps.induced_target(
            ps.Bandit(BEHAVIOR[row], REWARD[row]),
            ps.algorithm("shifted_mean", beta=beta, baseline=float(soft[row] + offset[row])),
        )
        np.testing.assert_allclose(target.policy[row], alone.policy, rtol=1e-9, atol=1e-12)
        assert (target.method[row], target.kind[row]) == (alone.method, alone.kind)


def cubic(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
    return advantage - 0.4 * log_ratio - 0.1 * log_ratio**3


def test_the_nominal_target_of_a_smooth_objective_makes_its_coefficient_constant() -> None:
    bandit = ps.Bandit(BEHAVIOR[1:], REWARD[1:])
    target = ps.nominal_target(bandit, ps.Algorithm(cubic))
    assert set(target.method) == {"fixed point"}
    assert set(target.kind) == {"interior"}
    assert target.regime is None
    advantage = REWARD[1:] - (BEHAVIOR[1:] * REWARD[1:]).sum(axis=-1, keepdims=True)
    constant = cubic(target.log_ratio, advantage)
    np.testing.assert_allclose(constant, np.broadcast_to(target.normalizer[:, None], constant.shape), atol=1e-9)


def test_the_nominal_target_is_measured_from_the_reference() -> None:
    reference = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    behavior, reward = BEHAVIOR[1:], REWARD[1:]
    target = ps.nominal_target(ps.Bandit(behavior, reward, reference), ps.Algorithm(cubic))
    advantage = reward - (behavior * reward).sum(axis=-1, keepdims=True)
    constant = cubic(np.log(target.policy / reference), advantage)
    np.testing.assert_allclose(constant, np.broadcast_to(target.normalizer[:, None], constant.shape), atol=1e-9)


def saturating(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
    return advantage * (1 + 0.1 * np.tanh(log_ratio))


def test_a_nominal_target_at_a_vertex_comes_from_the_on_policy_flow() -> None:
    bandit = ps.Bandit(BEHAVIOR[1:], REWARD[1:])
    target = ps.nominal_target(bandit, ps.Algorithm(saturating))
    assert set(target.method) == {"flow"}
    assert set(target.kind) == {"vertex"}
    np.testing.assert_array_equal(target.policy.argmax(axis=-1), REWARD[1:].argmax(axis=-1))
    np.testing.assert_array_equal(target.support.sum(axis=-1), [1, 1])
    best = np.take_along_axis(target.log_ratio, target.policy.argmax(axis=-1)[:, None], axis=-1)[:, 0]
    advantage = REWARD[1:].max(axis=-1) - (BEHAVIOR[1:] * REWARD[1:]).sum(axis=-1)
    np.testing.assert_allclose(target.normalizer, saturating(best, advantage), rtol=1e-5)


def test_a_nominal_vertex_is_the_best_arm_although_the_update_itself_goes_elsewhere() -> None:
    bandit = ps.Bandit([0.3, 0.6, 0.1], [0.0, 0.8, 1.0])  # mu A is greatest on arm 1, the reward on arm 2
    algorithm = ps.Algorithm(saturating)
    assert int(ps.induced_target(bandit, algorithm).policy.argmax()) == 1
    assert int(ps.nominal_target(bandit, algorithm).policy.argmax()) == 2


@pytest.mark.parametrize("name", ["sapo", "vespo"])
def test_an_arm_that_runs_to_zero_is_not_taken_for_a_fixed_point(name: str) -> None:
    target = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.0, 1.0]), ps.algorithm(name))
    assert (target.method, target.kind) == ("flow", "vertex")
    np.testing.assert_array_equal(target.support, [False, False, True])


def test_an_unstable_fixed_point_is_not_a_target() -> None:
    # Here c rises faster with l than the ratio does: next to the behavior policy lies a point that repels the flow.
    repelled = ps.Algorithm(lambda log_ratio, advantage: advantage + np.tanh(2 * log_ratio))
    target = ps.induced_target(ps.Bandit([0.5, 0.5], [0.0, 0.1]), repelled)
    assert target.method == "flow"
    assert target.policy.max() > 0.99


def test_kinks_that_depend_on_the_behavior_policy_reach_the_flow() -> None:
    bandit, algorithm = ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.0, 1.0]), ps.algorithm("prime_rl.default")
    np.testing.assert_allclose(
        ps.gradient_flow(bandit, algorithm).policy, ps.induced_target(bandit, algorithm).policy, atol=1e-9
    )
    np.testing.assert_allclose(ps.induced_target(bandit, algorithm).policy, [0.3, 0.1, 0.6], atol=1e-3)


@pytest.mark.parametrize("function", [ps.induced_target, ps.nominal_target])
def test_a_flow_that_still_moves_is_reported(function, monkeypatch: pytest.MonkeyPatch) -> None:
    from pessimism import numeric_targets

    full = numeric_targets.softmax_flow

    def short(*arguments, **options):
        return full(*arguments, **options, t_max=1.0)

    monkeypatch.setattr(numeric_targets, "softmax_flow", short)
    target = function(ps.Bandit([0.3, 0.6, 0.1], [0.0, 0.8, 1.0]), ps.Algorithm(saturating))
    assert (target.kind, target.method) == ("not converged", "flow")
    assert ps.compare(ps.Bandit([0.3, 0.6, 0.1], [0.0, 0.8, 1.0]), ps.Algorithm(saturating)).verdict.startswith(
        "not converged"
    )


def centered(log_ratio: np.ndarray, advantage: np.ndarray, behavior: np.ndarray | None = None) -> np.ndarray:
    assert behavior is not None
    error = advantage - 0.5 * log_ratio
    return error - (behavior * error).sum(axis=-1, keepdims=True) / behavior.sum(axis=-1, keepdims=True)


def test_a_coupled_objective_s_nominal_target_weighs_its_group_by_the_policy() -> None:
    bandit = ps.Bandit(BEHAVIOR[1:], REWARD[1:])
    target = ps.nominal_target(bandit, ps.Algorithm(centered, coupled=True))
    gibbs = BEHAVIOR[1:] * np.exp(REWARD[1:] / 0.5)
    np.testing.assert_allclose(target.policy, gibbs / gibbs.sum(axis=-1, keepdims=True), atol=1e-6)
    assert set(target.method) == {"flow"}
    np.testing.assert_allclose(target.normalizer, 0, atol=1e-9)


def own_weight(log_ratio: np.ndarray, advantage: np.ndarray, behavior: np.ndarray | None = None) -> np.ndarray:
    assert behavior is not None
    return advantage - (0.2 + behavior) * log_ratio


def test_an_arm_wise_coefficient_may_look_at_its_own_probability() -> None:
    bandit = ps.Bandit(BEHAVIOR[1:], REWARD[1:])
    algorithm = ps.Algorithm(own_weight, takes_behavior=True)
    target = ps.induced_target(bandit, algorithm)
    advantage = REWARD[1:] - (BEHAVIOR[1:] * REWARD[1:]).sum(axis=-1, keepdims=True)
    residual = own_weight(target.log_ratio, advantage, BEHAVIOR[1:]) - target.normalizer[:, None] * np.exp(
        target.log_ratio
    )
    np.testing.assert_allclose(residual, 0, atol=1e-10)
    assert set(target.method) == {"fixed point"}
    np.testing.assert_allclose(ps.gradient_flow(bandit, algorithm).policy, target.policy, atol=1e-6)
    assert np.isfinite(ps.nominal_target(bandit, algorithm).policy).all()


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_coefficient_that_sees_the_log_ratio_on_one_side_only_is_not_taken_for_greedy(side: float) -> None:
    def one_sided(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
        return advantage - 2 * side * np.maximum(side * log_ratio, 0)

    target = ps.nominal_target(ps.Bandit([0.5, 0.5], [0.0, 0.3]), ps.Algorithm(one_sided))
    assert target.method != "closed form"


def test_greedy_follows_the_on_policy_coefficient_not_the_reward() -> None:
    contrary = ps.Algorithm(lambda log_ratio, advantage: -advantage)
    target = ps.nominal_target(ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.2, 1.0]), contrary)
    np.testing.assert_array_equal(target.policy, [1.0, 0.0, 0.0])
    assert (target.kind, target.method, target.unique) == ("vertex", "closed form", True)
    assert target.normalizer == pytest.approx(0.26)


@pytest.mark.parametrize(
    ("baseline", "regime"), [(-0.5, "positive"), (0.5, "boundary"), (0.5 + 1e-7, "negative"), (0.5 - 1e-7, "positive")]
)
def test_numeric_regimes_resolve_small_normalizers(baseline: float, regime: str) -> None:
    # With equal rewards the target is mu and lambda = r - V: no solver stands between V and the regime.
    algorithm = ps.Algorithm(lambda log_ratio, advantage: advantage - 0.3 * np.sinh(log_ratio), baseline=baseline)
    target = ps.induced_target(ps.Bandit([0.5, 0.5], [0.5, 0.5]), algorithm)
    assert (target.regime, target.method) == (regime, "fixed point")
    assert target.normalizer == pytest.approx(0.5 - baseline, abs=1e-12)


def test_a_flow_without_time_says_that_it_has_not_converged() -> None:
    flow = ps.gradient_flow(ps.Bandit([0.5, 0.5], [0.0, 1.0]), ps.algorithm("dro", beta=0.5), t_max=0.1)
    assert not flow.converged
    assert float(flow.time) == pytest.approx(0.1)


MIXED = ps.Bandit(
    [[[0.4, 0.3, 0.2, 0.1], [0.3, 0.3, 0.4, 0.0]], [[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]],
    [[[0.3, 0.2, 1.1, 0.6], [1.0, 1.0, 0.0, 2.0]], [[0.7, 0.7, 0.7, 0.7], [0.0, 1.0, 1.0, 0.0]]],
)
"""Two leading axes: distinct rewards; a tie below an arm that is never played; no signal; a tie of two and two."""


@pytest.mark.parametrize("which", [ps.induced_target, ps.nominal_target])
@pytest.mark.parametrize("name", [name for name in ps.catalogue() if ps.algorithm(name).induced is not None])
def test_targets_of_a_batch_are_those_of_its_rows(name: str, which: Callable) -> None:
    """Every field, in shape, type and value, whichever route each row takes."""
    made = ps.algorithm(name)
    check_rows(which, MIXED, made)


@pytest.mark.parametrize("name", ["reinforce", "topr", "cispo", "verl.tis"])
def test_rows_without_a_closed_form_leave_the_others_as_they_are(name: str) -> None:
    """Beside a row without any advantage and one of ties, one whose advantages are all negative goes to the flow."""
    bandit = ps.Bandit(
        [[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.2, 0.3, 0.5]],
        [[0.7, 0.7, 0.7], [0.1, 0.3, 0.2], [1.0, 1.0, 0.0], [0.7, 0.7, 0.7]],
    )
    made = replace(ps.algorithm(name), baseline=ps.baselines.constant(0.7))
    target = check_rows(ps.induced_target, bandit, made)
    assert [kind == "face" for kind in target.kind] == [True, False, False, True]
    assert [method == "closed form" for method in target.method] == [True, False, True, True]


def check_rows(which: Callable, bandit: ps.Bandit, made: ps.Algorithm) -> ps.Target:
    """The target of a batch, every field of which must be that of its rows, in shape, type and value."""
    whole = which(bandit, made)
    for row in np.ndindex(bandit.batch_shape):
        alone = which(ps.Bandit(bandit.behavior[row], bandit.reward[row]), made)
        tolerance = 1e-12 if alone.method == "closed form" else 1e-6
        for field in fields(alone):
            one, batch = getattr(alone, field.name), getattr(whole, field.name)
            if one is None:
                assert batch is None, field.name
            elif np.asarray(one).dtype.kind == "f":
                assert np.asarray(batch).dtype == np.float64, field.name
                np.testing.assert_allclose(batch[row], one, rtol=tolerance, atol=tolerance, err_msg=field.name)
            else:
                np.testing.assert_array_equal(batch[row], one, err_msg=field.name)
    return whole
