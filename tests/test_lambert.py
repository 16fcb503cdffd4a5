"""Lambert-tempered solutions against 50-digit mpmath, and the identities that any solution has."""

import itertools
from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax

import mpmath_reference as reference
from pessimism.solve import lambert, lambert_newton
from pessimism.solve import lambert_regimes as regimes
from pessimism.solve.lambert import critical_offset, solve_fixed_kappa, solve_lambert
from pessimism.solve.lambert_functions import excess, inverse_excess, own_solution

EPSILON = np.finfo(float).eps


def random_behavior(rng: np.random.Generator, arms: int) -> np.ndarray:
    """Flat, spread, spread down to 1e-300, or with an arm of zero mass."""
    kind = rng.integers(4)
    if kind == 0:
        mass = np.ones(arms)
    elif kind == 1:
        mass = rng.dirichlet(np.full(arms, 0.3)) + 1e-300
    else:
        mass = np.exp(np.where(np.arange(arms) == rng.integers(arms), 0.0, rng.uniform(-690.0, 0.0, arms)))
    if kind == 3 and arms > 2:
        mass[np.argmin(mass)] = 0.0
    return mass / mass.sum()


def random_reward(rng: np.random.Generator, arms: int) -> np.ndarray:
    """Normal, binary (ties), or heavy-tailed at a random scale."""
    kind = rng.integers(3)
    if kind == 0:
        return rng.normal(size=arms)
    if kind == 1:
        return rng.integers(0, 2, arms).astype(float)
    return rng.exponential(size=arms) ** 2 * 10.0 ** rng.uniform(-3.0, 3.0)


def check_against_reference(problem: reference.Regression, solution, slack: float = 20.0) -> None:
    """x to 1e-12 max(1, |x|), kappa to 1e-12 or ten condition numbers; x also moves with kappa's own rounding."""
    x, kappa = reference.solve(problem, solution.log_ratio, float(solution.kappa))
    condition = reference.condition(problem, x, kappa)
    with mp.workdps(problem.digits):
        error = abs(mp.mpf(float(solution.kappa)) - kappa)
        assert error <= max(1e-12 * abs(kappa), 10.0 * condition * EPSILON)
        assert error <= slack * EPSILON * float(solution.error_scale) + EPSILON * abs(kappa)
        drift = 10.0 * EPSILON * float(solution.error_scale)
        for arm, h, exact in zip(problem.arms, problem.coverage, x, strict=True):
            moved = drift * h * mp.exp(exact) / (1 + kappa * h * mp.exp(exact))
            assert abs(mp.mpf(float(solution.log_ratio[arm])) - exact) <= 1e-12 * max(1, abs(exact)) + moved


def solve_problem(problem: reference.Regression, arms: int, with_coverage: bool = False):
    advantage, deviation, mean = reference.as_floats(problem, arms)
    behavior, coverage = np.zeros(arms), np.ones(arms)
    behavior[problem.arms] = [float(w / h) for w, h in zip(problem.weight, problem.coverage, strict=True)]
    coverage[problem.arms] = [float(h) for h in problem.coverage]
    if not with_coverage:
        return solve_lambert(behavior, advantage, deviation, mean)
    return solve_lambert(behavior, advantage, deviation, mean, coverage, float(problem.uncovered))


RULES = [
    ("mean", lambda beta, reward: None),
    ("shifted_mean", lambda beta, reward: None),
    ("log_mean_exp", lambda beta, reward: 2.0 * beta),
    ("log_mean_exp", lambda beta, reward: 1e4 * beta),
    ("constant", lambda beta, reward: float(reward.min() - np.ptp(reward))),
]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(("rule", "parameter"), RULES)
def test_positive_regime_agrees_with_mpmath(seed: int, rule: str, parameter) -> None:
    rng = np.random.default_rng(seed)
    arms = int(rng.choice([1, 2, 3, 8, 20]))
    behavior, reward = random_behavior(rng, arms), random_reward(rng, arms)
    beta = (np.ptp(reward) or 1.0) * 10.0 ** rng.uniform(-6.0, 6.0)
    problem = reference.regression(behavior, reward, beta, rule, parameter(beta, reward))
    solution = solve_problem(problem, arms)
    assert solution.exists
    check_against_reference(problem, solution)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("fraction", [1e-9, 1e-3, 0.3, 0.9, 0.999, 1.0 - 1e-7])
def test_negative_regime_agrees_with_mpmath(seed: int, fraction: float) -> None:
    rng = np.random.default_rng(1000 + seed)
    arms = int(rng.choice([2, 3, 8, 20]))
    behavior, reward = rng.dirichlet(np.ones(arms)), random_reward(rng, arms)
    beta = (np.ptp(reward) or 1.0) * 10.0 ** rng.uniform(-6.0, 6.0)
    zero = reference.regression(behavior, reward, beta, "constant", 0.0)
    boundary, room = reference.log_partition(zero), reference.critical_offset(zero)
    problem = reference.regression(behavior, reward, beta, "constant", float((boundary + fraction * room) * beta))
    offset = -reference.log_partition(problem)
    solution = solve_problem(problem, arms)
    if offset > room * (1 + 1e-9):  # rounding of the baseline, for tiny offsets
        assert not solution.exists
    elif offset < room * (1 - 1e-9):
        assert solution.exists
        check_against_reference(problem, solution)
        assert np.all(solution.kappa * np.exp(solution.log_ratio[problem.arms]) > -1.0 - 1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_boundary_agrees_with_mpmath(seed: int) -> None:
    rng = np.random.default_rng(2000 + seed)
    arms = int(rng.choice([2, 5, 20]))
    behavior, reward = rng.dirichlet(np.ones(arms)), rng.normal(size=arms)
    beta = 10.0 ** rng.uniform(-6.0, 6.0)
    for temperature in (beta, beta * (1 + 1e-9), beta * (1 - 1e-9)):
        problem = reference.regression(behavior, reward, beta, "log_mean_exp", temperature)
        solution = solve_problem(problem, arms)
        assert solution.exists
        assert abs(solution.kappa) <= 1e-6 * (1.0 + abs(problem.mean))
        if temperature != beta:
            check_against_reference(problem, solution)
        else:
            assert abs(solution.kappa) <= 10.0 * EPSILON * solution.error_scale
            np.testing.assert_allclose(
                solution.log_ratio, [float(a) for a in problem.advantage], rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("rule", ["mean", "shifted_mean"])
def test_reference_policy_agrees_with_mpmath(seed: int, rule: str) -> None:
    rng = np.random.default_rng(3000 + seed)
    arms = int(rng.choice([2, 4, 15]))
    behavior, anchor, reward = rng.dirichlet(np.ones(arms)), rng.dirichlet(np.ones(arms)), rng.normal(size=arms)
    if seed % 2:
        behavior[0] = 0.0
        behavior /= behavior.sum()
    beta = 10.0 ** rng.uniform(-3.0, 6.0)
    problem = reference.regression(behavior, reward, beta, rule, None, anchor)
    solution = solve_problem(problem, arms, with_coverage=True)
    with mp.workdps(problem.digits):
        surplus = mp.fsum(w * mp.expm1(a) for w, a in zip(problem.weight, problem.advantage, strict=True))
    if problem.uncovered > 0 and surplus < problem.uncovered:
        assert solution.kappa == 0.0
        np.testing.assert_array_equal(solution.log_ratio[problem.arms], [float(a) for a in problem.advantage])
    elif solution.exists:
        check_against_reference(problem, solution)
    else:
        assert surplus < 0  # only the negative regime ends


def test_a_hundred_thousand_arms_agree_with_mpmath() -> None:
    """2^17 arms of five kinds: the reference merges equal arms, whose masses add up exactly."""
    kind_mass = np.array([0.5, 0.25, 0.125, 0.125 * (1.0 - 2.0**-40), 0.125 * 2.0**-40])
    kind_reward = np.array([0.0, 0.3, 0.7, 1.0, 5.0])
    count = np.array([2**16, 2**15, 2**14, 2**13, 2**13])
    for beta in (1e-6, 1e-2, 1.0, 1e6):
        for rule in ("mean", "shifted_mean"):
            problem = reference.regression(kind_mass, kind_reward, beta, rule)
            advantage, deviation, mean = reference.as_floats(problem, 5)
            weight, a, s = (np.repeat(v, count) for v in (kind_mass / count, advantage, deviation))
            solution = solve_lambert(weight, a, s, mean)
            one_of_each = solution.log_ratio[np.cumsum(count) - 1]
            merged = replace(solution, log_ratio=one_of_each)
            check_against_reference(problem, merged)


REFERENCE_TABLE = [  # theory.md 5: (instance, rule, parameter): lambda, then pi
    (1, "mean", None, "0.116749163205 0.2923834191821 0.1754300515092 0.5321865293087"),
    (1, "shifted_mean", None, "0.5343833529296 0.3931597454774 0.2358958472864 0.3709444072362"),
    (1, "log_mean_exp", 1.0, "0.05821358291964 0.2606369879785 0.1563821927871 0.5829808192344"),
    (
        2,
        "mean",
        None,
        "0.1183655924692 0.2885444220026 0.2304623817443 0.0161849999711 0.01223816684398 0.452570029438",
    ),
    (
        *(2, "shifted_mean", None),
        "0.7452242269288 0.1982624594648 0.2610651129743 0.03203710243259 0.0162022168842 0.4924331082441",
    ),
    (
        *(2, "log_mean_exp", 2.0),
        "0.07167089252685 0.3066722367284 0.2241489144922 0.01502543267655 0.01169795073671 0.4424554653661",
    ),
]
INSTANCES = {
    1: (0.5, (0.5, 0.3, 0.2), (0.0, 0.0, 1.0)),
    2: (0.7, (0.118, 0.273, 0.0989, 0.0211, 0.489), (0.914, -0.02, -1.249, -0.314, 0.054)),
}


@pytest.mark.parametrize(("instance", "rule", "parameter", "values"), REFERENCE_TABLE)
def test_reference_values_of_theory(instance: int, rule: str, parameter, values: str) -> None:
    normalizer, *policy = (float(value) for value in values.split())
    beta, behavior, reward = INSTANCES[instance]
    solution = solve_problem(reference.regression(behavior, reward, beta, rule, parameter), len(behavior))
    assert solution.kappa * beta == pytest.approx(normalizer, rel=1e-12)
    np.testing.assert_allclose(np.array(behavior) * np.exp(solution.log_ratio), policy, rtol=1e-12)


def centered(behavior: np.ndarray, advantage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(deviation, mean); the deviation as a mean of differences, which keeps the digits of a nearly certain arm."""
    weight = behavior / behavior.sum(-1, keepdims=True)
    difference = advantage[..., :, None] - advantage[..., None, :]
    return (difference * weight[..., None, :]).sum(-1), (weight * advantage).sum(-1)


def test_solution_minimizes_the_loss() -> None:
    """An independent route: the regression loss over softmax logits, minimized by scipy."""
    rng = np.random.default_rng(5)
    behavior, advantage = rng.dirichlet(np.ones(6)), rng.normal(size=6)

    def loss(logits: np.ndarray) -> float:
        return float(behavior @ (log_softmax(logits) - np.log(behavior) - advantage) ** 2)

    found = minimize(loss, np.log(behavior), tol=1e-14)
    deviation, mean = centered(behavior, advantage)
    solution = solve_lambert(behavior, advantage, deviation, mean)
    np.testing.assert_allclose(behavior * np.exp(solution.log_ratio), np.exp(log_softmax(found.x)), atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.floats(-6.0, 6.0), st.floats(-3.0, 3.0))
@settings(max_examples=150, deadline=None)
def test_residuals_and_normalizer_identity(seed: int, arms: int, log_beta: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    behavior, reward = random_behavior(rng, arms), rng.normal(size=arms)
    deviation, _ = centered(behavior, reward / 10.0**log_beta)
    solution = solve_lambert(behavior, deviation + offset, deviation, offset)
    if not solution.exists:
        assert offset < 0.0
        return
    x, kappa, live = solution.log_ratio, solution.kappa, behavior > 0.0
    ratio = np.exp(x[live])
    assert behavior[live] @ ratio == pytest.approx(1.0, abs=1e-11)
    size = np.abs(x[live]) + np.abs(kappa) * ratio + np.abs(deviation[live]) + abs(offset)
    assert np.all(np.abs(x[live] + kappa * ratio - deviation[live] - offset) <= 1e-11 * (1.0 + size))
    assert kappa == pytest.approx(
        offset + behavior[live] @ excess(x[live]), abs=1e-11 * (1 + float(solution.error_scale))
    )


def test_arms_without_mass_change_nothing() -> None:
    rng = np.random.default_rng(7)
    behavior, deviation = rng.dirichlet(np.ones(5)), rng.normal(size=5)
    deviation -= behavior @ deviation
    for offset in (1.0, 0.0, -0.3):
        plain = solve_lambert(behavior, deviation + offset, deviation, offset)
        wide = np.concatenate([[1e6], deviation, [-1e6]])
        padded = solve_lambert(np.concatenate([[0.0], behavior, [0.0]]), wide + offset, wide, offset)
        np.testing.assert_allclose(padded.log_ratio[1:-1], plain.log_ratio, rtol=1e-14, atol=1e-15)
        assert padded.kappa == pytest.approx(float(plain.kappa), rel=1e-13)
        assert np.isfinite(padded.log_ratio).all()
        if offset >= 0.0:
            own = padded.log_ratio[[0, -1]]
            np.testing.assert_allclose(own + padded.kappa * np.exp(own), wide[[0, -1]] + offset, rtol=1e-9)


def test_coverage_of_a_batch_and_of_arms_without_mass() -> None:
    """Every arm, played or not, solves its own equation with its own coverage; two leading axes equal their rows."""
    rng = np.random.default_rng(17)
    anchor = rng.dirichlet(np.ones(5), size=(2, 3))
    behavior = np.where(np.arange(5) == 1, 0.0, rng.dirichlet(np.ones(5), size=(2, 3)))
    coverage = np.where(behavior > 0, anchor / np.where(behavior > 0, behavior, 1.0), 3.0)
    played = behavior * coverage
    deviation, _ = centered(played / played.sum(axis=-1, keepdims=True), rng.normal(size=behavior.shape))
    uncovered = np.where(behavior > 0, 0.0, anchor).sum(axis=-1)
    found = solve_lambert(behavior, deviation + 1.5, deviation, np.full((2, 3), 1.5), coverage, uncovered)
    assert (found.kappa > 0).all()
    equation = found.log_ratio + found.kappa[..., None] * coverage * np.exp(found.log_ratio)
    np.testing.assert_allclose(equation, deviation + 1.5, rtol=1e-13, atol=1e-13)
    for row in np.ndindex(2, 3):
        given = (behavior[row], deviation[row] + 1.5, deviation[row], 1.5, coverage[row], uncovered[row])
        alone = solve_lambert(*given)
        np.testing.assert_allclose(found.log_ratio[row], alone.log_ratio, rtol=1e-13, atol=1e-15)


def test_float32_is_computed_in_float64() -> None:
    rng = np.random.default_rng(19)
    behavior = rng.dirichlet(np.ones(4)).astype(np.float32)
    advantage, deviation = (rng.normal(size=4).astype(np.float32) for _ in range(2))
    for rest in (deviation, np.float32(0.3)), (advantage, np.float32(0.0)):
        arguments = (behavior, advantage, *rest)
        narrow, wide = solve_lambert(*arguments), solve_lambert(*(np.float64(value) for value in arguments))
        np.testing.assert_array_equal(narrow.log_ratio, wide.log_ratio)
        assert narrow.kappa == wide.kappa
    for narrow, wide in zip(
        solve_fixed_kappa(behavior, advantage, np.float32(0.7)),
        solve_fixed_kappa(np.float64(behavior), np.float64(advantage), float(np.float32(0.7))),
        strict=True,
    ):
        np.testing.assert_array_equal(narrow, wide)
    np.testing.assert_array_equal(
        critical_offset(behavior, advantage), critical_offset(np.float64(behavior), np.float64(advantage))
    )


def test_batches_equal_their_rows() -> None:
    """Mixed regimes and scales in one batch of two leading axes, larger than one block, shuffled."""
    rng = np.random.default_rng(11)
    behavior = rng.dirichlet(np.ones(40), size=(60, 20))
    deviation, _ = centered(behavior, rng.normal(size=behavior.shape) * 10.0 ** rng.uniform(-4, 4, (60, 20, 1)))
    mean = rng.choice([0.0, 1.0, -0.1, -0.5, -3.0], (60, 20))
    batch = solve_lambert(behavior, deviation + mean[..., None], deviation, mean)
    assert batch.log_ratio.shape == behavior.shape
    assert batch.kappa.shape == batch.exists.shape == batch.error_scale.shape == (60, 20)
    assert 0 < np.count_nonzero(~batch.exists) < batch.exists.size
    for _ in range(40):
        i, j = rng.integers(60), rng.integers(20)
        row = solve_lambert(behavior[i, j], deviation[i, j] + mean[i, j], deviation[i, j], mean[i, j])
        assert row.exists == batch.exists[i, j]
        np.testing.assert_allclose(row.log_ratio, batch.log_ratio[i, j], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(row.kappa, batch.kappa[i, j], rtol=1e-11)


def test_fallbacks_agree_with_newton(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Newton declared a failure, the bracketed searches alone reach the same solutions."""
    rng = np.random.default_rng(13)
    behavior = rng.dirichlet(np.ones(6), size=200)
    deviation, _ = centered(behavior, rng.normal(size=behavior.shape) * 10.0 ** rng.uniform(-1, 2, (200, 1)))
    mean = rng.choice([0.0, 1.0, 30.0, -0.1, -0.5, -3.0], 200)
    arguments = (behavior, deviation + mean[:, None], deviation, mean)
    expected = solve_lambert(*arguments)
    newton = regimes.newton

    def failing(*inputs, **options):
        solution, converged = newton(*inputs, **options)
        return solution, np.zeros_like(converged)

    monkeypatch.setattr(regimes, "newton", failing)
    found = solve_lambert(*arguments)
    np.testing.assert_array_equal(found.exists, expected.exists)
    assert {True, False} == set((expected.kappa[expected.exists] > 0.0).tolist())
    np.testing.assert_allclose(found.log_ratio, expected.log_ratio, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(found.kappa, expected.kappa, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("mean", [0.0, 0.01, 1.0, 30.0, -0.05, -0.2])
@pytest.mark.parametrize("arms", [3, 8, 30])
def test_starts_are_so_close_that_four_steps_are_enough(
    mean: float, arms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is left to a search: what a start costs is speed, which no value would show."""

    def search(*rows: object) -> None:
        raise AssertionError("Newton's method left rows to a search")

    monkeypatch.setattr(lambert_newton, "MAXIMUM_STEPS", 4)
    for name in ("_solve_in_kappa_alone", "_solve_bracketed", "_solve_fold"):
        monkeypatch.setattr(regimes, name, search)
    rng = np.random.default_rng(arms)
    behavior = rng.dirichlet(np.ones(arms), size=300)
    deviation, _ = centered(behavior, rng.normal(size=behavior.shape) * 10.0 ** rng.uniform(-2, 2, (300, 1)))
    solve_lambert(behavior, deviation + mean, deviation, np.full(300, mean))


def test_a_fixed_kappa_is_found_by_brackets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a step of Newton's every row is left to the search, and where one step settles some, to its own."""
    rng = np.random.default_rng(23)
    behavior, score = rng.dirichlet(np.ones(5), size=30), rng.normal(size=(30, 5)) * 10.0 ** rng.uniform(-1, 1, (30, 1))
    kappa = 10.0 ** rng.uniform(-3, 3, 30)
    score[::3] = 0.5  # settled by the first step
    x, shift = solve_fixed_kappa(behavior, score, kappa)
    for steps in (0, 1):
        monkeypatch.setattr(lambert, "SHIFT_STEPS", steps)
        again, at = solve_fixed_kappa(behavior, score, kappa)
        np.testing.assert_allclose(again, x, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(at, shift, rtol=1e-10, atol=1e-11)


def test_special_rows() -> None:
    one = solve_lambert([1.0], [-5.0], [0.0], -5.0)
    assert one.exists
    assert (one.log_ratio[0], float(one.kappa)) == (0.0, -5.0)
    constant = solve_lambert([0.25, 0.75], [2.0, 2.0], [0.0, 0.0], 2.0)
    np.testing.assert_allclose(constant.log_ratio, [0.0, 0.0], atol=1e-16)
    assert constant.kappa == pytest.approx(2.0, rel=1e-15)
    assert solve_lambert([0.25, 0.75], [-0.9, -0.9], [0.0, 0.0], -0.9).kappa == pytest.approx(-0.9, rel=1e-14)
    assert constant.exists.dtype == bool
    beyond = solve_lambert([0.25, 0.75], [-1.1, -1.1], [0.0, 0.0], -1.1)
    assert not beyond.exists
    assert np.isnan(beyond.log_ratio).all()
    assert np.isnan(beyond.kappa)


@given(st.integers(0, 2**32 - 1), st.integers(2, 10), st.floats(-2.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_negative_solutions_end_at_the_critical_offset(seed: int, arms: int, log_scale: float) -> None:
    rng = np.random.default_rng(seed)
    behavior, score = rng.dirichlet(np.ones(arms)), rng.normal(size=arms) * 10.0**log_scale
    nominal = score - np.log(behavior @ np.exp(score))
    room = float(critical_offset(behavior, nominal))
    assert 0.0 < room <= 1.0 + 1e-12
    problem = reference.regression(behavior, score, 1.0, "constant", 0.0)
    assert room == pytest.approx(float(reference.critical_offset(problem)), rel=1e-11)
    deviation, mean = centered(behavior, nominal)
    for factor, exists in ((1.0 - 1e-6, True), (1.0 + 1e-6, False)):
        offset = room * factor
        solution = solve_lambert(behavior, nominal - offset, deviation, mean - offset)
        assert solution.exists == exists or room < 1e-8


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.floats(-4.0, 4.0), st.floats(-4.0, 4.0))
@settings(max_examples=150, deadline=None)
def test_fixed_kappa(seed: int, arms: int, log_scale: float, log_kappa: float) -> None:
    rng = np.random.default_rng(seed)
    behavior, advantage = random_behavior(rng, arms), rng.normal(size=arms) * 10.0**log_scale
    kappa = 10.0**log_kappa
    x, shift = solve_fixed_kappa(behavior, advantage, kappa)
    live = behavior > 0.0
    assert behavior[live] @ np.exp(x[live]) == pytest.approx(1.0, abs=1e-10)
    size = np.abs(x) + kappa * np.exp(np.minimum(x, 700.0)) + np.abs(advantage) + abs(shift)
    assert np.all(np.abs(x + kappa * np.exp(x) - advantage + shift) <= 1e-12 * size)
    # the same target, as the regression whose baseline is `shift`
    deviation, mean = centered(behavior, advantage)
    again = solve_lambert(behavior, advantage - shift, deviation, mean - shift)
    assert again.kappa == pytest.approx(kappa, rel=1e-9, abs=1e-11 * (1.0 + float(again.error_scale)))


def test_excess_and_its_inverses_agree_with_mpmath() -> None:
    for x in np.concatenate([np.geomspace(1e-12, 700.0, 60), -np.geomspace(1e-12, 1e6, 60), [0.25, -0.25]]):
        with mp.workdps(60):
            exact = mp.expm1(mp.mpf(float(x))) - mp.mpf(float(x))
            assert abs(mp.mpf(float(excess(x))) - exact) <= 1e-15 * exact
    for value in np.geomspace(1e-20, 1e6, 80):
        with mp.workdps(60):
            z = -mp.exp(-1 - mp.mpf(float(value)))
            for branch, positive in ((0, False), (-1, True)):
                exact = mp.log(-mp.re(mp.lambertw(z, branch))) if value > 1e-18 else None
                root = mp.mpf(float(inverse_excess(value, positive)))
                residual = mp.expm1(root) - root - mp.mpf(float(value))
                assert abs(residual / mp.expm1(root)) <= 4 * EPSILON * abs(root)
                assert exact is None or (root > 0) == (exact > 0)
    assert inverse_excess(0.0, positive=False) == 0.0
    assert inverse_excess(0.0, positive=True) == 0.0


def test_own_equations_on_both_sides_of_the_branch_point() -> None:
    """x + kappa h e^x = a on the W_0 branch; beyond it, where it ends, -log|kappa h|; a where kappa h is 0."""
    advantage, coverage = np.linspace(-40.0, 40.0, 9), np.array([0.0, 1e-3, 1.0, 0.5, 2.0, 1.0, 0.0, 7.0, 1.0])
    for kappa, h in itertools.product((-2.0, -0.5, 0.0, 0.3, 4.0), (None, coverage)):
        strength = kappa * (np.ones(9) if h is None else h)
        x = own_solution(advantage[None], np.array([kappa]), h)[0]
        with np.errstate(divide="ignore"):
            end = -np.log(np.abs(strength))
        ended = (strength < 0) & (advantage >= end - 1)
        np.testing.assert_allclose(x[ended], end[ended], rtol=1e-14)
        left = (x + strength * np.exp(np.where(ended, 0.0, x)) - advantage)[~ended]
        np.testing.assert_allclose(left, 0.0, atol=1e-12)
        assert (x[~ended] <= end[~ended]).all() or kappa >= 0
        np.testing.assert_array_equal(x[strength == 0], advantage[strength == 0])


@pytest.mark.parametrize("roots", [np.geomspace(1e-6, 600.0, 400), -np.geomspace(1e-6, 1e5, 400)])
def test_each_step_to_an_inverse_triples_the_digits_of_a_start_right_to_five_percent(roots: np.ndarray) -> None:
    errors = [np.abs(inverse_excess(excess(roots), bool(roots[0] > 0), steps=steps) / roots - 1) for steps in range(4)]
    assert (errors[0] < 0.05).all()
    for error, less in itertools.pairwise(
        errors
    ):  # far out phi is e^x, and Halley's error the cube of the absolute one over 12
        assert (less <= error**3 * np.maximum(2, roots**2 / 6) + 4 * EPSILON).all()
    assert (errors[3] <= 4 * EPSILON).all()


@pytest.mark.filterwarnings("error")
def test_extreme_rows_do_not_warn() -> None:
    behavior = np.array([[1.0, 1e-300, 0.0], [0.5, 0.5, 0.0]])
    reward = np.array([[0.0, 1.0, 5.0], [0.0, 1.0, 5.0]])
    for scale in (1e-6, 1.0, 1e6):
        deviation, _ = centered(behavior, reward * scale)
        for mean in (0.0, 1e6, -1e-3, -10.0):
            solve_lambert(behavior, deviation + mean, deviation, mean)
        solve_fixed_kappa(behavior, reward * scale, 1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], [], 0.0), "behavior: needs at least one arm"),
        (([0.5, 0.5], [0.0, np.inf], [0.0, 0.0], 0.0), r"advantage: must be finite, got inf at index \(1,\)"),
        (([0.5, 0.5], [0.0, 0.0], [0.0, 0.0], np.nan), r"mean: must be finite, got nan at index \(\)"),
        (([[0.5, 0.5], [0.0, 0.0]], [0.0, 0.0], [0.0, 0.0], 0.0), "behavior: row 1 of the batch has no arm with mass"),
    ],
)
def test_bad_input(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve_lambert(*arguments)


@pytest.mark.parametrize("name", ["behavior", "advantage", "deviation", "mean", "coverage", "uncovered"])
def test_what_is_not_finite_is_named(name: str) -> None:
    arguments = dict.fromkeys(["behavior", "advantage", "deviation", "coverage"], np.ones((2, 3)))
    arguments |= {"mean": np.zeros(2), "uncovered": np.zeros(2)}
    wrong = arguments[name].copy()
    wrong[1, ...] = [np.nan, 0.0, -np.inf][: wrong[1, ...].size] if wrong.ndim > 1 else np.nan
    with pytest.raises(ValueError, match=rf"^{name}: must be finite, got nan at index \(1,( 0)?\)$"):
        solve_lambert(**arguments | {name: wrong})


def test_each_argument_may_bring_the_batch() -> None:
    """Rows that share everything else: behaviors of equal mean, offsets, and one deviation written twice."""
    mu, s = np.array([[0.25, 0.5, 0.25], [0.4, 0.2, 0.4]]), np.array([-1.0, 0.0, 1.0])
    offset = np.array([0.5, 2.0])
    for batch, rows in [
        (solve_lambert(mu, s, s, 0.0), [(mu[row], s, s, 0.0) for row in range(2)]),
        (solve_lambert(mu[0], s + offset[:, None], s, offset), [(mu[0], s + m, s, m) for m in offset]),
        (solve_lambert(mu[0], s, np.stack([s, s]), 0.0), [(mu[0], s, s, 0.0)] * 2),
    ]:
        assert batch.log_ratio.shape == (2, 3)
        for row, arguments in enumerate(rows):
            alone = solve_lambert(*arguments)
            np.testing.assert_allclose(batch.log_ratio[row], alone.log_ratio, rtol=1e-14, atol=1e-15)
            assert batch.kappa[row] == pytest.approx(float(alone.kappa), rel=1e-13)


def test_fixed_kappa_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"kappa: must be positive, got 0.0 at index \(1,\)"):
        solve_fixed_kappa([[0.5, 0.5]] * 2, [0.0, 1.0], [1.0, 0.0])
