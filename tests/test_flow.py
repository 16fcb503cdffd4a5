"""The flow against closed limits, against scipy's integrators, and against exact event-driven sliding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import log_softmax, wrightomega

from pessimism.solve.flow import softmax_flow
from pessimism.solve.flow_field import Field, linear_solver, velocity_of

EPSILON = 0.2


def clipped(log_ratio, advantage):
    """PPO: no gradient once the ratio has moved by more than EPSILON the way the advantage points."""
    ratio = np.exp(log_ratio)
    inside = np.where(advantage > 0, ratio <= 1 + EPSILON, ratio >= 1 - EPSILON)
    return ratio * advantage * inside


def clip_kinks(advantage):
    return np.where(advantage > 0, np.log1p(EPSILON), np.log1p(-EPSILON))[..., None]


def regression(beta):
    return lambda log_ratio, advantage: advantage - beta * log_ratio


def random_problem(seed, rows, arms, concentration=1.0):
    rng = np.random.default_rng(seed)
    behavior = rng.dirichlet(np.full(arms, concentration), rows)
    reward = rng.normal(size=(rows, arms))
    return behavior, reward - (behavior * reward).sum(-1, keepdims=True)


def reference_path(coefficient, behavior, advantage, times, start=None, on_policy=False):
    """The same differential equation by scipy's implicit Runge-Kutta, on plain logits."""

    def velocity(_, theta):
        policy = np.exp(log_softmax(theta))
        weighted = (policy if on_policy else behavior) * coefficient(np.log(policy / behavior), advantage)
        return weighted - policy * weighted.sum()

    begin = np.log(behavior if start is None else start)
    path = solve_ivp(velocity, (0.0, times[-1]), begin, "Radau", t_eval=times, rtol=1e-10, atol=1e-12)
    return np.exp(log_softmax(path.y.T, axis=-1))


# --- the vector field ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_policy", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
def test_the_linear_solver_inverts_the_finite_difference_jacobian(on_policy, coupled):
    behavior, advantage = random_problem(0, 1, 4)

    def armwise(log_ratio, gain):
        return gain - 0.5 * np.sinh(log_ratio)

    def group(log_ratio, gain, behavior):
        error = armwise(log_ratio, gain)
        return error - (behavior * error).sum(-1, keepdims=True) + 0.1 * np.exp(log_ratio)

    field = Field(
        coefficient=group if coupled else armwise,
        behavior=behavior,
        advantage=advantage,
        log_anchor=np.log(behavior),
        alive=behavior > 0,
        knots=None,
        band=1e-5,
        coupled=coupled,
        takes_behavior=coupled,
        on_policy=on_policy,
    )
    logits = np.log(behavior) + np.array([[0.3, -0.2, 0.5, 0.1]])
    log_policy = log_softmax(logits, axis=-1)
    _, policy, weighted = velocity_of(field, log_policy)

    def velocity(theta):
        return velocity_of(field, log_softmax(theta, axis=-1))[0][0]

    small = 1e-5
    jacobian = np.stack(
        [(velocity(logits + small * e) - velocity(logits - small * e)) / (2 * small) for e in np.eye(4)], axis=1
    )
    step, right = 0.7, np.array([0.4, -1.0, 0.2, 0.9])
    solved = linear_solver(field, log_policy, policy, weighted, np.array([step]))(right[None])[0]
    expected = np.linalg.solve(np.eye(4) / step - jacobian, right)
    np.testing.assert_allclose(solved, expected - policy[0] @ expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("on_policy", [False, True])
def test_the_path_agrees_with_scipy(on_policy):
    behavior, advantage = random_problem(1, 1, 4)
    flow = softmax_flow(regression(0.7), behavior[0], advantage[0], on_policy=on_policy, keep=12)
    assert flow.times is not None
    assert flow.policies is not None
    assert flow.times[0] == 0
    assert (np.diff(flow.times) >= 0).all()  # one step may be nearest to two of the times
    np.testing.assert_allclose(flow.policies[0], behavior[0], rtol=1e-14)
    times, places = np.unique(flow.times, return_index=True)
    expected = reference_path(regression(0.7), behavior[0], advantage[0], times, on_policy=on_policy)
    np.testing.assert_allclose(flow.policies[places], expected, atol=2e-5)


def test_a_tighter_tolerance_follows_the_path_more_closely():
    behavior, advantage = random_problem(2, 1, 5)

    def error(rtol):
        flow = softmax_flow(regression(0.3), behavior[0], advantage[0], t_max=3.0, rtol=rtol, atol=rtol * 1e-3)
        return np.abs(flow.policy - reference_path(regression(0.3), behavior[0], advantage[0], [3.0])[0]).max()

    assert error(1e-9) < 0.05 * error(1e-4)
    assert error(1e-9) < 1e-8


# --- limits known in closed form --------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.floats(0.05, 20.0))
def test_regression_ends_at_the_lambert_policy(seed, arms, beta):
    behavior, advantage = random_problem(seed, 3, arms)
    flow = softmax_flow(regression(beta), behavior, advantage + 0.3 * beta, t_max=1e30)
    assert flow.converged.all()
    for weight, gain, policy in zip(behavior, advantage / beta + 0.3, flow.policy, strict=True):

        def ratio(log_kappa, gain=gain):
            return wrightomega(gain + log_kappa) / np.exp(log_kappa)

        log_kappa = brentq(lambda value, w=weight, f=ratio: w @ f(value) - 1.0, -20.0, 20.0, xtol=1e-14)
        np.testing.assert_allclose(policy, weight * ratio(log_kappa), atol=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_group_mean_reinforce_collapses_on_the_largest_weighted_advantage(seed, arms):
    behavior, advantage = random_problem(seed, 4, arms)
    flow = softmax_flow(lambda log_ratio, gain: gain, behavior, advantage)
    weighted = behavior * advantage
    gap = np.diff(np.sort(weighted, axis=-1)[:, -2:], axis=-1)[:, 0]
    clear = gap > 1e-6
    assert flow.converged[clear].all()
    np.testing.assert_array_equal(flow.policy.argmax(-1)[clear], weighted.argmax(-1)[clear])
    np.testing.assert_allclose(flow.policy.max(-1)[clear], 1.0, atol=1e-7)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.floats(0.05, 2.0))
def test_reinforce_below_the_mean_ends_at_the_water_level(seed, arms, offset):
    """AsymRE (arXiv 2506.20520, Theorem 4.2): pi = [mu A - tau]_+ / E A."""
    behavior, advantage = random_problem(seed, 3, arms)
    flow = softmax_flow(lambda log_ratio, gain: gain, behavior, advantage + offset)
    weighted = np.sort(behavior * (advantage + offset), axis=-1)[:, ::-1]
    count = np.arange(1, arms + 1)
    levels = (weighted.cumsum(-1) - offset) / count
    size = (weighted > levels).sum(-1)
    level = np.take_along_axis(levels, size[:, None] - 1, axis=-1)
    expected = np.maximum(behavior * (advantage + offset) - level, 0.0) / offset
    np.testing.assert_allclose(flow.policy, expected, atol=1e-5)


def test_importance_weights_make_it_greedy_and_the_distance_left_is_the_residual():
    behavior, advantage = random_problem(3, 20, 5)
    flow = softmax_flow(lambda log_ratio, gain: np.exp(log_ratio) * gain, behavior, advantage)
    assert flow.converged.all()
    left = 1.0 - flow.policy[np.arange(20), advantage.argmax(-1)]
    assert (left < 2.0 * flow.residual).all()


def test_on_policy_flow_ends_at_the_gibbs_policy():
    behavior, advantage = random_problem(4, 10, 4)
    flow = softmax_flow(regression(0.5), behavior, advantage, on_policy=True)
    gibbs = behavior * np.exp(advantage / 0.5)
    np.testing.assert_allclose(flow.policy, gibbs / gibbs.sum(-1, keepdims=True), atol=1e-7)


def test_a_coupled_coefficient_and_its_weights():
    def centered(log_ratio, gain, behavior):
        error = gain - 0.5 * log_ratio
        return error - (behavior * error).sum(-1, keepdims=True)

    behavior, advantage = random_problem(5, 10, 4)
    flow = softmax_flow(centered, behavior, advantage, coupled=True)
    gibbs = behavior * np.exp(advantage / 0.5)
    assert flow.converged.all()
    np.testing.assert_allclose(flow.policy, gibbs / gibbs.sum(-1, keepdims=True), atol=1e-6)


def test_an_armwise_coefficient_may_take_its_weight():
    behavior, advantage = random_problem(6, 5, 3)
    plain = softmax_flow(regression(0.5), behavior, advantage)
    given_weights = softmax_flow(
        lambda log_ratio, gain, behavior: gain - 0.5 * log_ratio + 0.0 * behavior,
        behavior,
        advantage,
        takes_behavior=True,
    )
    np.testing.assert_array_equal(given_weights.policy, plain.policy)
    tilted = softmax_flow(
        lambda log_ratio, gain, behavior: 1.0 / behavior - np.exp(log_ratio), behavior, advantage, takes_behavior=True
    )  # mu c = 1 - pi = lambda pi on every arm: uniform
    np.testing.assert_allclose(tilted.policy, 1.0 / 3.0, atol=1e-7)


def test_a_rare_arm_is_waited_for():
    """The limit lives on an arm of probability 1e-60; short of its time scale nothing may be called converged."""
    behavior = np.array([0.5, 0.5 - 1e-60, 1e-60])
    advantage = np.array([0.0, 0.0, 100.0])
    target = behavior * np.exp(advantage / 0.5)

    def weights_only(log_ratio, gain):
        return np.exp((gain - 100.0) / 0.5)

    short = softmax_flow(weights_only, behavior, advantage, t_max=10.0)
    long = softmax_flow(weights_only, behavior, advantage, t_max=1e90)
    assert not short.converged
    assert long.converged
    np.testing.assert_allclose(long.policy, target / target.sum(), atol=1e-6)


def test_anchor_apart_from_the_data():
    behavior, reference = np.array([0.2, 0.5, 0.3]), np.array([0.5, 0.25, 0.25])
    advantage = np.array([1.0, 0.2, 0.5])
    flow = softmax_flow(regression(0.5), behavior, advantage, reference=reference)
    normalizer = (behavior * (advantage - 0.5 * flow.log_ratio)).sum()
    kappa = normalizer * reference / (0.5 * behavior)
    np.testing.assert_allclose(flow.policy, reference * wrightomega(advantage / 0.5 + np.log(kappa)) / kappa, atol=1e-7)
    np.testing.assert_allclose(flow.policy, reference * np.exp(flow.log_ratio), rtol=1e-12)


def test_an_arm_without_data_starved_by_a_positive_normalizer():
    behavior, reference = np.array([0.6, 0.4, 0.0]), np.array([0.3, 0.3, 0.4])
    advantage = np.array([2.0, 1.5, 9.0])
    untouched = softmax_flow(regression(0.5), behavior, advantage, reference=reference)
    assert untouched.policy[2] == 0.0
    assert untouched.log_ratio[2] == -np.inf
    starved = softmax_flow(regression(0.5), behavior, advantage, reference=reference, start=reference)
    assert starved.policy[2] < 1e-7
    np.testing.assert_allclose(starved.policy[:2], untouched.policy[:2], atol=1e-6)


def test_arms_of_probability_zero_change_nothing():
    behavior, advantage = np.array([0.5, 0.3, 0.2]), np.array([-0.2, -0.2, 0.8])
    plain = softmax_flow(regression(0.5), behavior, advantage)
    padded = softmax_flow(regression(0.5), [0.5, 0.0, 0.3, 0.2], [-0.2, 1e3, -0.2, 0.8])
    np.testing.assert_allclose(padded.policy, np.insert(plain.policy, 1, 0.0), rtol=1e-12)
    assert padded.log_ratio[1] == 0.0


def test_rows_do_not_see_each_other():
    behavior, advantage = random_problem(7, 6, 4)
    behavior, advantage = behavior.reshape(2, 3, 4), advantage.reshape(2, 3, 4)
    batch = softmax_flow(clipped, behavior, advantage, kinks=clip_kinks)
    assert batch.policy.shape == (2, 3, 4)
    assert batch.time.shape == batch.residual.shape == batch.converged.shape == (2, 3)
    alone = softmax_flow(clipped, behavior[1, 2], advantage[1, 2], kinks=clip_kinks)
    np.testing.assert_allclose(batch.policy[1, 2], alone.policy, rtol=1e-9)
    assert alone.time.shape == ()


# --- sliding along kinks ----------------------------------------------------------------------------------------------


SLACK = 1e-9  # how far past an event scipy goes before it counts, against firing twice


def sliding_limit(behavior, advantage):
    """Filippov solution of the clipped flow by events: every arm is free, held on its kink, or past it.

    Held arms have d log pi/dt = 0, which fixes the share of their jump that acts (a linear system); an arm lets go
    when that share would leave [0, 1]. scipy integrates between events.
    """
    kink = clip_kinks(advantage)[:, 0]
    beyond = np.sign(advantage)  # the side of the kink without gradient
    full = behavior * np.exp(kink) * advantage  # mu c on the kink at share 1
    state, mode = np.log(behavior), ["free"] * len(behavior)

    def weighted(now):
        held = [arm for arm, kind in enumerate(mode) if kind == "held"]
        policy = np.exp(now)
        force = np.where(np.array(mode) == "free", policy * advantage, 0.0)
        # From mu c to d log pi/dt: the logits move by (I - pi 1^T) mu c, and normalization takes their mean off.
        project = np.eye(len(policy)) - np.outer(policy, np.ones_like(policy))
        project -= policy @ project
        force[held] = np.linalg.lstsq(project[:, held][held], -(project @ force)[held], rcond=None)[0]
        return force, project @ force

    def events_of(arm):
        def passed(_, now):
            return beyond[arm] * (kink[arm] - now[arm] + np.log(behavior[arm])) + SLACK

        def returned(_, now):
            return -beyond[arm] * (kink[arm] - now[arm] + np.log(behavior[arm])) + SLACK

        def released(_, now):
            return weighted(now)[0][arm] / full[arm] + SLACK

        def overrun(_, now):
            return 1.0 - weighted(now)[0][arm] / full[arm] + SLACK

        return {"free": [(passed, arm)], "past": [(returned, arm)], "held": [(released, arm), (overrun, arm)]}[
            mode[arm]
        ]

    def still(_, now):
        return np.abs(weighted(now)[1]).max() - 1e-8

    for _ in range(60):
        if still(0, state) <= 0:
            return np.exp(state)
        events = [(still, -1)] + [event for arm in range(len(behavior)) for event in events_of(arm)]
        functions = [function for function, _ in events]
        for function in functions:
            function.terminal, function.direction = True, -1.0
        path = solve_ivp(
            lambda _, now: weighted(now)[1], (0, 1e6), state, "LSODA", rtol=1e-10, atol=1e-12, events=functions
        )
        state = log_softmax(path.y[:, -1])
        if path.status == 0 or len(path.t_events[0]):
            return np.exp(state)
        function, arm = next(event for event, times in zip(events, path.t_events, strict=True) if len(times))
        if mode[arm] == "held":
            mode[arm] = "past" if function.__name__ == "released" else "free"
        else:
            pushes = {}
            for trial in ("free", "past"):
                mode[arm] = trial
                pushes[trial] = beyond[arm] * weighted(state)[1][arm]
            mode[arm] = "past" if pushes["past"] > 0 else "held" if pushes["free"] > 0 else "free"
        # Step clear of the event just handled: onto the kink, or to the side the arm goes on at.
        side = {"held": 0.0, "past": 2.0, "free": -2.0}[mode[arm]]
        state[arm] = np.log(behavior[arm]) + kink[arm] + beyond[arm] * side * SLACK
    raise AssertionError("too many events")


def test_two_clipped_arms_stop_at_the_first_kink():
    """mu = (.5, .5), A = (1, -1): at pi = (.6, .4) both ratios are at their kinks, 1.2 and .8."""
    flow = softmax_flow(clipped, [0.5, 0.5], [1.0, -1.0], kinks=clip_kinks)
    assert flow.converged
    np.testing.assert_allclose(flow.policy, [0.6, 0.4], atol=2e-5)


def test_three_clipped_arms_stop_where_the_normalizer_vanishes():
    """One good arm rises to ratio 1.2 and leaves the bad two, equal in advantage, to share the loss like mu."""
    behavior, advantage = np.array([0.5, 0.3, 0.2]), np.array([-0.2, -0.2, 0.8])
    flow = softmax_flow(clipped, behavior, advantage, kinks=clip_kinks, band=1e-6)
    exact = sliding_limit(behavior, advantage)
    np.testing.assert_allclose(exact, [0.4, 0.24, 0.36], atol=1e-6)
    np.testing.assert_allclose(flow.policy, exact, atol=5e-6)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("arms", [2, 3, 4])
def test_sliding_agrees_with_event_driven_integration(seed, arms):
    behavior, advantage = random_problem(100 + seed, 1, arms)
    flow = softmax_flow(clipped, behavior[0], advantage[0], kinks=clip_kinks)
    np.testing.assert_allclose(flow.policy, sliding_limit(behavior[0], advantage[0]), atol=5e-5)


def test_the_error_of_the_band_is_of_its_order():
    behavior, advantage = random_problem(8, 1, 4)
    limits = [
        softmax_flow(clipped, behavior[0], advantage[0], kinks=clip_kinks, band=band).policy for band in (1e-3, 1e-4)
    ]
    exact = sliding_limit(behavior[0], advantage[0])
    assert np.abs(limits[0] - exact).max() < 2e-3
    assert np.abs(limits[1] - exact).max() < 2e-4


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"behavior": [0.7, 0.7]}, "behavior sums to 1.4"),
        ({"advantage": [0.0, np.nan]}, r"advantage\[1\]"),
        ({"advantage": [0.0, 1.0, 2.0]}, "share their last axis"),
        ({"reference": [1.0, 0.0]}, r"reference\[1\] is 0"),
        ({"start": [1.0, 0.0]}, r"start\[1\]"),
        ({"coefficient": lambda x, a: np.where(a > 0, np.nan, a)}, r"coefficient\[1\] is nan"),
        ({"coefficient": lambda x, a: a[..., :1]}, "shape"),
        ({"t_max": 0.0}, "t_max"),
        ({"rtol": -1.0}, "rtol"),
        ({"kinks": lambda a: a}, "kinks must return shape"),
        ({"kinks": lambda a: np.stack([a, a + 1e-9], -1)}, r"kinks\[0, 0, 0\]"),
        ({"kinks": clip_kinks, "coupled": True}, "coupled"),
    ],
)
def test_bad_input_is_refused_by_name(options, message):
    arguments = {"coefficient": regression(1.0), "behavior": [0.5, 0.5], "advantage": [-1.0, 1.0]} | options
    with pytest.raises(ValueError, match=message):
        softmax_flow(arguments.pop("coefficient"), arguments.pop("behavior"), arguments.pop("advantage"), **arguments)


def test_the_row_of_a_bad_coefficient_is_named():
    def broken(log_ratio, advantage):
        return np.where(advantage == 3.0, np.inf, advantage)

    with pytest.raises(ValueError, match=r"coefficient\[1, 0, 2\] is inf"):
        softmax_flow(broken, np.full((2, 2, 3), 1 / 3), np.where(np.arange(12).reshape(2, 2, 3) == 8, 3.0, 1.0))
