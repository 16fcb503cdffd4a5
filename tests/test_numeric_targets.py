"""The parts of the numeric routes one by one: what is tried, what it is told, what is taken for a target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism import numeric_targets as numeric
from pessimism.solve.fixed_point import FixedPoint
from pessimism.solve.simplex import log_expectation_exp

BEHAVIOR = np.array([[0.5, 0.3, 0.2, 0.0], [0.25, 0.25, 0.25, 0.25]])
REWARD = np.array([[0.0, 0.2, 1.0, 9.0], [0.1, 0.2, 0.3, 0.4]])


def regression(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
    return advantage - 0.5 * log_ratio


# --- rows without any signal ----------------------------------------------------------------------------------------


def resting(behavior: Any, advantage: Any, slope: float, **fields: Any) -> list[bool]:
    made = ps.Algorithm(lambda log_ratio, advantage: advantage + slope * log_ratio, **fields)
    behavior, advantage = np.atleast_2d(behavior), np.atleast_2d(np.asarray(advantage, dtype=float))
    return numeric._rests_unstably(ps.Bandit(behavior, advantage), advantage, made).tolist()


@pytest.mark.parametrize(
    ("slope", "leaves"), [(0.8, True), (0.71, True), (0.69, False), (0.7, False), (0.7000005, False), (-5.0, False)]
)
def test_equal_advantages_rest_unstably_where_the_slope_exceeds_the_normalizer(slope: float, leaves: bool) -> None:
    assert resting([0.5, 0.5], [0.7, 0.7], slope) == [leaves]
    assert resting([0.5, 0.5, 0.0], [0.7, 0.7, 9.0], slope) == [leaves]
    assert resting([0.5, 0.5, 0.0], [0.7, 0.7, -9.0], slope) == [leaves]


def test_a_negative_normalizer_rests_unstably_where_the_regression_is_weaker() -> None:
    """V > V* + beta: lambda = -0.7 < -beta. Where nothing pulls, nothing leaves."""
    assert resting([0.5, 0.5], [0.0, 0.0], 0.0) == [False]
    assert resting([0.5, 0.5], [-0.7, -0.7], -0.5) == [True]
    assert resting([0.5, 0.5], [-0.7, -0.7], -0.9) == [False]
    assert resting([0.2, 0.3, 0.5], [-3e5] * 3, -2e5) == [True]
    assert resting([0.2, 0.3, 0.5], [-3e-5] * 3, -2e-5) == [True]


def test_what_is_told_apart_moves_and_one_arm_has_nowhere_to_go() -> None:
    assert resting([0.5, 0.5], [0.7, 0.6], 5.0) == [False]
    assert resting([1.0, 0.0], [0.7, 0.7], 5.0) == [False]
    assert resting([0.4, 0.3, 0.3], [0.7, 0.7, 0.7], 5.0) == [True]
    batch = resting(
        [[0.5, 0.5, 0.0], [0.5, 0.3, 0.2], [0.0, 1.0, 0.0]], [[0.7, 0.7, 1.0], [0.7, 0.7, 0.6], [0.7] * 3], 5.0
    )
    assert batch == [True, False, False]
    assert resting([[0.5, 0.5], [0.5, 0.5]], [[0.7, 0.7], [9.0, 9.0]], 5.0) == [True, False]


def test_references_and_coupled_coefficients_are_left_to_the_flow() -> None:
    advantage = np.array([[0.7, 0.7]])
    pushed = ps.Algorithm(lambda log_ratio, advantage: advantage + 5 * log_ratio)
    anchored = ps.Bandit([[0.5, 0.5]], advantage, [[0.4, 0.6]])
    assert numeric._rests_unstably(anchored, advantage, pushed).tolist() == [False]
    coupled = ps.Algorithm(lambda log_ratio, advantage, behavior=None: advantage + 5 * log_ratio, coupled=True)
    assert numeric._rests_unstably(ps.Bandit([[0.5, 0.5]], advantage), advantage, coupled).tolist() == [False]


def test_a_coefficient_may_take_the_probability_of_its_arm() -> None:
    def weighted(log_ratio: np.ndarray, advantage: np.ndarray, behavior: np.ndarray | None = None) -> np.ndarray:
        assert behavior is not None
        return advantage + np.where(behavior > 0.4, 5.0, -5.0) * log_ratio

    made = ps.Algorithm(weighted, takes_behavior=True)
    advantage = np.full((2, 3), 0.7)
    bandit = ps.Bandit([[0.5, 0.5, 0.0], [0.5, 0.3, 0.2]], advantage)
    assert numeric._rests_unstably(bandit, advantage, made).tolist() == [True, False]
    np.testing.assert_allclose(numeric._start_scale(bandit, -advantage, made), 0.7)


# --- fixed points ---------------------------------------------------------------------------------------------------


def point(log_ratio: Any, normalizer: Any, converged: Any = True, stable: Any = True) -> FixedPoint:
    log_ratio = np.atleast_2d(np.asarray(log_ratio, dtype=float))
    shape = log_ratio.shape[:-1]
    flags = [np.broadcast_to(np.asarray(flag), shape) for flag in (converged, stable)]
    return FixedPoint(
        log_ratio, np.broadcast_to(np.asarray(normalizer, dtype=float), shape), flags[0],
        None if stable is None else flags[1], np.zeros(shape), 1,
    )  # fmt: skip


def test_a_fixed_point_is_one_only_if_every_arm_is_in_balance_and_it_attracts() -> None:
    bandit = ps.Bandit(BEHAVIOR[1:], REWARD[1:])
    target = ps.induced_target(bandit, ps.algorithm("dro", beta=0.5))
    advantage, made = REWARD[1:] - REWARD[1:].mean(), ps.Algorithm(regression)
    exact = (target.log_ratio, target.normalizer)
    assert numeric._is_fixed(point(*exact), bandit, advantage, made).tolist() == [True]
    assert numeric._is_fixed(point(*exact, stable=None), bandit, advantage, made).tolist() == [True]
    assert numeric._is_fixed(point(*exact, converged=False), bandit, advantage, made).tolist() == [False]
    assert numeric._is_fixed(point(*exact, converged=False, stable=None), bandit, advantage, made).tolist() == [False]
    assert numeric._is_fixed(point(*exact, stable=False), bandit, advantage, made).tolist() == [False]
    for error, fixed in ((1e-10, True), (1e-7, False)):
        moved = target.log_ratio + np.array([0.0, 0.0, error, 0.0])
        assert numeric._is_fixed(point(moved, target.normalizer), bandit, advantage, made).tolist() == [fixed]
        assert numeric._is_fixed(
            point(target.log_ratio, target.normalizer + error), bandit, advantage, made
        ).tolist() == [fixed]


def test_the_balance_of_a_rare_arm_is_relative_to_its_own_ratio() -> None:
    """c = 1e-12 against lambda rho = 2e-12 at a ratio of 1e-11: no balance, however small both are beside E|c|."""
    bandit = ps.Bandit([[0.5, 0.5]], [[1.0, 0.0]])
    advantage = np.array([[1.0, 0.0]])

    def given(value: float) -> ps.Algorithm:
        return ps.Algorithm(lambda log_ratio, advantage: np.where(advantage > 0, 0.5 * np.exp(log_ratio), value))

    rare = point([[np.log(2.0), np.log(1e-11)]], [0.5])
    assert numeric._is_fixed(rare, bandit, advantage, given(0.5e-11)).tolist() == [True]
    assert numeric._is_fixed(rare, bandit, advantage, given(1e-11)).tolist() == [False]
    assert numeric._is_fixed(rare, bandit, advantage, given(0.5e-11 - 1.15e-19)).tolist() == [True]


def test_an_arm_that_is_never_played_need_not_be_in_balance_and_rows_do_not_see_each_other() -> None:
    bandit = ps.Bandit([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3]], np.zeros((2, 3)))
    advantage = np.array([[0.0, 0.0, 7.0], [0.0, 0.0, 7.0]])
    found = numeric._is_fixed(point(np.zeros((2, 3)), [0.0, 0.0]), bandit, advantage, ps.Algorithm(regression))
    assert found.tolist() == [True, False]


# --- wide bandits with jumps ----------------------------------------------------------------------------------------


def options(arms: int, places: list[float] | None, takes_behavior: bool = False) -> dict[str, float]:
    def kinks(advantage: np.ndarray, behavior: np.ndarray | None = None) -> np.ndarray:
        assert (behavior is not None) == takes_behavior
        assert advantage.shape == (1, arms)
        return np.broadcast_to(np.array(places), (1, arms, len(places or [])))

    made = ps.Algorithm(
        lambda log_ratio, advantage, behavior=None: advantage,
        kinks=None if places is None else kinks,
        takes_behavior=takes_behavior,
    )
    bandit = ps.Bandit(np.full((1, arms), 1 / arms), np.zeros((1, arms)))
    return numeric._wide_options(bandit, np.zeros((1, arms)), made)


@pytest.mark.parametrize("takes_behavior", [False, True])
def test_jumps_of_many_arms_become_ramps(takes_behavior: bool) -> None:
    """1% of a log-ratio, a twentieth of the way to the nearest jump, never less than the default."""
    assert options(65, None) == options(64, [0.1]) == options(2, [0.1]) == {}
    for places, band in [
        ([0.18, -0.22], 0.18 / 20),
        ([-0.08, 0.5], 0.08 / 20),
        ([0.0, np.nan, np.inf, 0.04], 0.04 / 20),
        ([0.5], 1e-2),
        ([1e-7], 1e-5),
        ([np.nan, 0.0], 1e-2),
        ([1.5], 1e-2),
    ]:
        found = options(65, places, takes_behavior)
        assert found == {"band": pytest.approx(band, rel=1e-15), "rtol": pytest.approx(band / 10, rel=1e-15)}


def test_kinks_are_given_the_behavior_policy_where_they_ask_for_it() -> None:
    def kinks(advantage: np.ndarray, behavior: np.ndarray) -> np.ndarray:
        return (advantage + behavior)[..., None]

    made = ps.Algorithm(lambda log_ratio, advantage, behavior=None: advantage, kinks=kinks, takes_behavior=True)
    bound = numeric.bound_kinks(made, np.array([0.5, 0.5]))
    assert bound is not None
    assert bound(np.array([1.0, 2.0])).tolist() == [[1.5], [2.5]]
    assert numeric.bound_kinks(replace(made, kinks=None), np.array([0.5, 0.5])) is None


def test_rows_keep_their_reference() -> None:
    bandit = ps.Bandit(
        BEHAVIOR[:, :3] / BEHAVIOR[:, :3].sum(-1, keepdims=True), REWARD[:, :3], [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]
    )
    rows = numeric.flat_rows(bandit, np.array([False, True]))
    assert rows.reference is not None
    np.testing.assert_array_equal(rows.reference, [[0.1, 0.1, 0.8]])
    np.testing.assert_array_equal(rows.reward, REWARD[1:, :3])
    assert numeric.flat_rows(ps.Bandit(BEHAVIOR, REWARD), np.array([True, True])).reference is None


# --- beyond the principal branch ------------------------------------------------------------------------------------


@dataclass
class Found:
    """Arrays that _move_to_minima changes in place."""

    log_ratio: np.ndarray
    method: np.ndarray
    kind: np.ndarray


def moved(behavior: np.ndarray, reward: np.ndarray, start: np.ndarray, beta: float, above: float) -> Found:
    """One of two rows, the other left as it is, after it went from ``start`` to a minimum; V lies ``above`` V*."""
    soft = beta * float(log_expectation_exp(behavior, reward / beta))
    advantage = np.stack([reward, reward - soft - above])
    found = Found(np.stack([start, start]), np.array(["flow"] * 2, dtype="<U11"), np.array(["was"] * 2, dtype="<U14"))
    bandit = ps.Bandit(np.stack([behavior] * 2), np.stack([reward] * 2))
    numeric._move_to_minima(found.log_ratio, found.method, found.kind, np.array([1]), bandit, advantage, beta)
    np.testing.assert_array_equal(found.log_ratio[0], start)
    assert (found.method[0], found.kind[0]) == ("flow", "was")
    return found


def test_a_flow_close_to_a_minimum_is_moved_onto_it() -> None:
    behavior, reward, beta, above = np.array([0.118, 0.4, 0.45, 0.032]), np.array([0.914, -0.02, 0.05, -0.3]), 0.7, 3.0
    soft = beta * float(log_expectation_exp(behavior, reward / beta))
    points = ps.stationary_points(ps.Bandit(behavior, reward), ps.algorithm("dro", beta=beta, baseline=soft + above))
    assert len(points) > 2
    for one in points:
        shaken = one.policy * np.exp(np.array([0.01, -0.01, 0.01, -0.01]))
        start = np.log(shaken / shaken.sum() / behavior)
        found = moved(behavior, reward, start, beta, above)
        np.testing.assert_allclose(behavior * np.exp(found.log_ratio[1]), one.policy, atol=1e-10)
        assert (found.method[1], found.kind[1]) == ("fixed point", "")


def test_a_flow_that_is_far_from_every_minimum_stays_where_it_is() -> None:
    behavior, reward = np.array([0.118, 0.4, 0.45, 0.032]), np.array([0.914, -0.02, 0.05, -0.3])
    found = moved(behavior, reward, np.zeros(4), 0.7, 3.0)
    np.testing.assert_array_equal(found.log_ratio[1], 0.0)
    assert (found.method[1], found.kind[1]) == ("flow", "was")


def test_an_arm_that_is_never_played_is_no_candidate_for_the_second_branch() -> None:
    behavior, reward, beta, above = np.array([0.3, 0.7, 0.0]), np.array([0.2, 0.0, 0.1]), 0.5, 1.5
    soft = beta * float(log_expectation_exp(behavior, reward / beta))
    point_, *_ = ps.stationary_points(
        ps.Bandit(behavior, reward), ps.algorithm("dro", beta=beta, baseline=soft + above)
    )
    start = np.where(
        behavior > 0, np.log(np.where(behavior > 0, point_.policy / np.where(behavior > 0, behavior, 1), 1)), 50.0
    )
    found = moved(behavior, reward, start, beta, above)
    assert found.method[1] == "fixed point"
    np.testing.assert_allclose(behavior * np.exp(found.log_ratio[1]), point_.policy, atol=1e-10)


# --- what the solvers are told --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flown:
    log_ratio: np.ndarray
    converged: np.ndarray
    policy: np.ndarray
    time: np.ndarray
    residual: np.ndarray
    scale: np.ndarray


class Recorder:
    """Stands in for the flow: keeps what it is given and says where it stopped."""

    def __init__(self, converged: bool = True):
        self.converged, self.calls = converged, []

    def __call__(self, coefficient: Any, behavior: Any, advantage: Any, **options: Any) -> Flown:
        self.calls.append((coefficient, behavior, advantage, options))
        rows = len(behavior)
        policy = options.get("reference", behavior)
        zeros = np.zeros(np.shape(behavior))
        return Flown(zeros, np.full(rows, self.converged), policy, *(np.full(rows, value) for value in (1e6, 1.0, 2.0)))


def jumping(log_ratio: np.ndarray, advantage: np.ndarray, behavior: np.ndarray | None = None) -> np.ndarray:
    assert behavior is not None
    return np.where(log_ratio < 0.2, advantage, 0.0)


@pytest.mark.parametrize("converged", [True, False])
def test_a_flow_along_jumps_is_told_all_about_them(converged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Recorder(converged)
    monkeypatch.setattr(numeric, "softmax_flow", flow)
    arms = 70
    behavior, reference = np.full((2, arms), 1 / arms), np.random.default_rng(0).dirichlet(np.ones(arms), 2)
    advantage = np.random.default_rng(1).normal(size=(2, arms))

    def kinks(advantage: np.ndarray, behavior: np.ndarray) -> np.ndarray:
        return np.full((*advantage.shape, 1), 0.1) + 0 * behavior[..., None]

    made = ps.Algorithm(jumping, kinks=kinks, takes_behavior=True, beta=0.5)
    found = numeric.solve_induced(ps.Bandit(behavior, advantage, reference), advantage, made)
    (coefficient, weights, gain, options), *later = flow.calls
    assert coefficient is jumping
    np.testing.assert_array_equal(weights, behavior)
    np.testing.assert_array_equal(gain, advantage)
    np.testing.assert_array_equal(options.pop("reference"), reference)
    np.testing.assert_array_equal(options.pop("kinks")(advantage), np.full((2, arms, 1), 0.1))
    wanted = {"coupled": False, "takes_behavior": True, "band": 0.005, "rtol": 0.0005, "t_max": 1e6}
    assert options == pytest.approx(wanted)
    stages = [(more["elapsed"], more["t_max"], *more["scale"]) for *_, more in later]
    assert stages == ([] if converged else [(1e6, 1e9, 2.0, 2.0), (1e9, 1e12, 2.0, 2.0)])
    assert all((more["start"] == reference).all() for *_, more in later)
    assert set(found.method) == {"flow"}
    assert set(found.kind) == {"path-dependent" if converged else "not converged"}
    np.testing.assert_allclose(found.normalizer, (behavior * advantage).sum(axis=-1), atol=1e-15)
    np.testing.assert_allclose(found.scale, np.abs(behavior * advantage).sum(axis=-1), atol=1e-15)


def test_fixed_points_are_looked_for_from_the_reference_with_what_the_coefficient_takes() -> None:
    reference = np.array([[0.4, 0.3, 0.2, 0.1]])
    bandit = ps.Bandit(BEHAVIOR[1:], REWARD[1:], reference)
    advantage = REWARD[1:] - REWARD[1:].mean()

    def own(log_ratio: np.ndarray, advantage: np.ndarray, behavior: np.ndarray | None = None) -> np.ndarray:
        assert behavior is not None
        return advantage - (0.2 + behavior) * log_ratio

    found = numeric.solve_induced(bandit, advantage, ps.Algorithm(own, takes_behavior=True))
    assert (found.method.tolist(), found.kind.tolist()) == (["fixed point"], [""])
    pull = found.normalizer[:, None] * reference * np.exp(found.log_ratio) / BEHAVIOR[1:]
    np.testing.assert_allclose(own(found.log_ratio, advantage, BEHAVIOR[1:]), pull, atol=1e-9)
    np.testing.assert_allclose((reference * np.exp(found.log_ratio)).sum(axis=-1), 1.0, atol=1e-12)


def test_rows_rest_are_solved_or_flow_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal advantages below -beta rest unstably, a regression has a fixed point, beyond the fold there is the flow."""
    flow = Recorder()
    monkeypatch.setattr(numeric, "softmax_flow", flow)
    behavior = np.array([[0.25, 0.25, 0.25, 0.25], [0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]])
    advantage = np.array([[-3.0] * 4, [0.1, 0.2, 0.3, -0.4], [-3.1, -3.0, -2.9, -3.2]])
    bandit = ps.Bandit(behavior, advantage)
    for beta in (None, 0.5):
        flow.calls.clear()
        found = numeric.solve_induced(bandit, advantage, ps.Algorithm(regression, beta=beta))
        assert found.method.tolist() == ["fixed point", "fixed point", "flow"]
        assert found.kind.tolist() == ["unstable", "", ""]
        np.testing.assert_array_equal(found.log_ratio[0], 0.0)
        np.testing.assert_array_equal(found.log_ratio[2], 0.0)  # the flow stood far from every minimum
        residual = regression(found.log_ratio[1], advantage[1]) - found.normalizer[1] * np.exp(found.log_ratio[1])
        np.testing.assert_allclose(residual, 0.0, atol=1e-10)
        (call,) = flow.calls
        np.testing.assert_array_equal(call[2], advantage[2:])
        assert call[3] == {"reference": None, "kinks": None, "coupled": False, "takes_behavior": False}


def test_only_regressions_from_the_behavior_policy_are_moved_to_their_minima(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(numeric, "softmax_flow", Recorder())
    monkeypatch.setattr(numeric, "_move_to_minima", lambda *given: calls.append(given))
    none = point(np.zeros((1, 4)), 0.0, converged=False)
    monkeypatch.setattr(numeric, "solve_fixed_point", lambda *given, **options: none)
    advantage = np.array([[-3.1, -3.0, -2.9, -3.2]])
    behavior, reference = np.array([[0.4, 0.3, 0.2, 0.1]]), np.array([[0.1, 0.2, 0.3, 0.4]])
    numeric.solve_induced(ps.Bandit(behavior, advantage), advantage, ps.Algorithm(regression))
    numeric.solve_induced(ps.Bandit(behavior, advantage, reference), advantage, ps.Algorithm(regression, beta=0.5))
    assert not calls
    bandit = ps.Bandit(behavior, advantage)
    found = numeric.solve_induced(bandit, advantage, ps.Algorithm(regression, beta=0.5))
    ((log_ratio, method, kind, rows, given, gain, beta),) = calls
    assert log_ratio is found.log_ratio
    assert method is found.method
    assert kind is found.kind
    assert (rows.tolist(), beta) == ([0], 0.5)
    assert given is bandit
    assert gain is advantage


@pytest.mark.parametrize("converged", [True, False])
def test_a_nominal_flow_is_on_policy_and_from_the_anchor(converged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Recorder(converged)
    monkeypatch.setattr(numeric, "softmax_flow", flow)
    none = point(np.zeros((2, 4)), [0.0, 0.0], converged=False)
    monkeypatch.setattr(numeric, "solve_fixed_point", lambda *given, **options: none)
    reference = np.array([[0.4, 0.3, 0.2, 0.1]] * 2)
    advantage = REWARD.copy()
    advantage[0, 3] = 0.0

    def saturating(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
        return advantage * (1 + 0.1 * np.tanh(log_ratio))

    made = ps.Algorithm(saturating)
    found = numeric.solve_nominal(ps.Bandit(BEHAVIOR, REWARD, reference), advantage, saturating, made)
    ((coefficient, anchor, gain, options),) = flow.calls
    assert coefficient is saturating
    np.testing.assert_array_equal(anchor, reference)
    np.testing.assert_array_equal(gain, advantage)
    assert options == {"on_policy": True, "coupled": False, "takes_behavior": False}
    assert found.method.tolist() == ["flow", "flow"]
    assert found.kind.tolist() == [""] * 2 if converged else ["not converged"] * 2
    assert found.kind.dtype == np.dtype("<U14")
    np.testing.assert_allclose(found.normalizer, (reference * advantage).sum(axis=-1))
    np.testing.assert_array_equal(found.scale, 1.0)


def test_a_nominal_flow_couples_only_what_is_coupled_on_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Recorder()
    monkeypatch.setattr(numeric, "softmax_flow", flow)

    def coupled(log_ratio: np.ndarray, advantage: np.ndarray, behavior: np.ndarray | None = None) -> np.ndarray:
        assert behavior is not None
        return advantage - log_ratio

    bandit = ps.Bandit(BEHAVIOR[1:], REWARD[1:])
    made = ps.Algorithm(coupled, coupled=True)
    numeric.solve_nominal(bandit, REWARD[1:], coupled, made)
    assert flow.calls.pop()[3] == {"on_policy": True, "coupled": True, "takes_behavior": True}

    def on_policy(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
        return advantage * (1 + 0.1 * np.tanh(log_ratio))

    numeric.solve_nominal(bandit, REWARD[1:], on_policy, replace(made, on_policy=on_policy))
    assert flow.calls.pop()[3] == {"on_policy": True, "coupled": False, "takes_behavior": False}
    plain = ps.Algorithm(on_policy)
    numeric.solve_nominal(bandit, REWARD[1:], on_policy, plain)
    assert flow.calls.pop()[3] == {"on_policy": True, "coupled": False, "takes_behavior": False}
