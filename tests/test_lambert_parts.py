"""The parts of the Lambert solver one by one: sums, scalar functions, starts, and how many steps are taken."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy.special import lambertw

from pessimism.solve import lambert, lambert_newton
from pessimism.solve import lambert_regimes as regimes
from pessimism.solve.lambert import critical_offset, solve_fixed_kappa, solve_lambert
from pessimism.solve.lambert_functions import excess, inner, inverse_excess, own_solution
from pessimism.solve.lambert_minima import regression_minima
from pessimism.solve.lambert_newton import Rows

mp.mp.dps = 50


@pytest.mark.parametrize("arms", [1, 511, 512, 513, 1024, 1500])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_sums_over_arms_against_exact_ones(arms: int, batch: tuple[int, ...]) -> None:
    rng = np.random.default_rng(arms)
    left, right = rng.normal(size=(*batch, arms)), rng.normal(size=(*batch, arms))
    found = inner(left, right)
    assert found.shape == batch
    for row in np.ndindex(batch):
        terms = [Fraction(float(a)) * Fraction(float(b)) for a, b in zip(left[row], right[row], strict=True)]
        assert found[row] == pytest.approx(float(sum(terms)), abs=1e-15 * float(sum(map(abs, terms))))


def test_many_equal_terms_round_as_little_as_few() -> None:
    weight, value = np.full(2**17, 2.0**-17), np.full(2**17, 1 / 3)
    value[: 2**16] = 1e5
    assert inner(weight, value) == pytest.approx(5e4 + 1 / 6, rel=1e-15)


@pytest.mark.parametrize("value", [1e-30, 1e-9, 0.5, 3, 20, 25.0, 700])
def test_the_inverses_of_phi_take_any_number(value: float) -> None:
    for positive in (False, True):
        root = float(inverse_excess(value, positive=positive))
        assert (root > 0) == positive
        x = mp.mpf(root)
        # a few roundings of the root move phi by phi'(x) |x| eps
        assert abs(mp.expm1(x) - x - value) <= 8 * 2.3e-16 * (abs(x * mp.expm1(x)) + mp.mpf(value))
    assert inverse_excess([0, 1], positive=True).dtype == np.float64
    assert inverse_excess([0, 1], positive=False)[0] == 0.0
    assert float(excess(1)) == pytest.approx(math.e - 2, rel=1e-15)
    assert excess([0, 1]).dtype == np.float64


@pytest.mark.parametrize("kappa", [1e-12, 0.3, 1.0, 5.0, 1e6, -1e-12, -0.1, 0.0])
def test_own_equations_of_arms_against_lambert_w(kappa: float) -> None:
    """x + kappa h e^x = a, by scipy's W; beyond the branch's end, the point where it ends."""
    advantage = np.array([[-3.0, -0.5, 0.0, 0.7], [1.0, 2.0, -40.0, 0.1]])
    for coverage in (None, np.array([[0.5, 2.0, 1.0, 3.0], [1.0, 0.1, 1.0, 0.0]])):
        found = own_solution(advantage, np.array([kappa, kappa]), coverage)
        pull = kappa * (np.ones((2, 4)) if coverage is None else coverage)
        exact = np.where(pull == 0, advantage, advantage - lambertw(pull * np.exp(advantage)).real)
        ended = -pull * np.exp(advantage + 1.0) > 1.0
        exact = np.where(ended, -np.log(np.where(ended, -pull, 1.0)), exact)
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9)
    mixed = own_solution(advantage, np.array([0.5, -0.05]), None)
    np.testing.assert_allclose(mixed[0], own_solution(advantage[:1], np.array([0.5]), None)[0])
    np.testing.assert_allclose(mixed[1], own_solution(advantage[1:], np.array([-0.05]), None)[0])


def test_critical_offsets_of_a_batch_against_lambert_w() -> None:
    """With an arm that is never played and would be the best, and weights that do not sum to one."""
    rng = np.random.default_rng(0)
    behavior = rng.dirichlet(np.ones(4), size=(2, 3))
    behavior[..., 1] = 0.0
    score = rng.normal(size=(2, 3, 4)) * 2
    score[..., 1] = 9.0
    weight = behavior / behavior.sum(axis=-1, keepdims=True)
    nominal = score - np.log((weight * np.exp(score)).sum(axis=-1, keepdims=True))
    top = np.where(behavior > 0, nominal, -np.inf).max(axis=-1, keepdims=True)
    v = -lambertw(-np.exp(np.where(behavior > 0, nominal - top, 0.0) - 1.0 - 1e-14)).real  # -1/e rounds out of W
    expected = np.log((weight * np.exp(nominal + v)).sum(axis=-1))
    np.testing.assert_allclose(critical_offset(behavior, nominal), expected, rtol=1e-6)
    np.testing.assert_allclose(critical_offset(3.0 * behavior, nominal), expected, rtol=1e-6)
    assert critical_offset([1, 1], [0, 0]) == 1.0
    one = critical_offset([0.25, 0.75], [0.0, 0.0])
    assert one == 1.0
    assert one.shape == ()


# --- a given kappa --------------------------------------------------------------------------------------------------


def fixed_instances() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mu that sums to anything, an arm that is never played and is the best, kappa over six decades."""
    rng = np.random.default_rng(5)
    behavior = rng.dirichlet(np.ones(6), size=300) * 10.0 ** rng.uniform(-3, 3, (300, 1))
    behavior[:, 2] = np.where(rng.uniform(size=300) < 0.5, 0.0, behavior[:, 2])
    advantage = rng.normal(size=(300, 6)) * 10.0 ** rng.uniform(-2, 1.5, (300, 1)) + rng.normal(size=(300, 1)) * 50
    advantage[:, 2] += 20.0
    return behavior, advantage, 10.0 ** rng.uniform(-3, 3, 300)


def test_a_fixed_kappa_is_reached_by_newton_s_method_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight steps, and no row left to a search: what a start or a step costs is speed, which no value would show."""

    def search(*given: Any) -> None:
        raise AssertionError("Newton's method left rows to a search")

    behavior, advantage, kappa = fixed_instances()
    monkeypatch.setattr(lambert, "bracketed_root", search)
    monkeypatch.setattr(lambert, "SHIFT_STEPS", 8)
    x, shift = solve_fixed_kappa(behavior, advantage, kappa)
    np.testing.assert_allclose(x + kappa[:, None] * np.exp(x), advantage - shift[:, None], rtol=1e-11, atol=1e-10)
    played = behavior > 0
    mass = (behavior * np.exp(np.where(played, x, -np.inf))).sum(axis=-1) / behavior.sum(axis=-1)
    np.testing.assert_allclose(mass, 1.0, rtol=1e-11)


def test_a_fixed_kappa_by_search_alone_for_every_mass(monkeypatch: pytest.MonkeyPatch) -> None:
    behavior, advantage, kappa = fixed_instances()
    x, shift = solve_fixed_kappa(behavior, advantage, kappa)
    monkeypatch.setattr(lambert, "SHIFT_STEPS", 0)
    again, at = solve_fixed_kappa(behavior, advantage, kappa)
    np.testing.assert_allclose(at, shift, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(again, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kappa", [1e-300, 1e-9, 1.0, 1e9, 1e30])
def test_a_fixed_kappa_far_out_is_silent(kappa: float) -> None:
    """Rewards of 10^4 temperatures, an arm of probability 10^-100: no warning where a user would see it."""
    for advantage in ([0.0, 1.0, -1.0], [0.0, 1e4, -1e4], [0.0, 0.0, 0.0], [-700.0, 0.0, 700.0]):
        for behavior in ([0.5, 0.3, 0.2], [1e-100, 0.5, 0.5]):
            x, _ = solve_fixed_kappa(behavior, advantage, kappa)
            with np.errstate(all="ignore"):
                mass = np.dot(behavior, np.exp(x)) / np.sum(behavior)
            assert mass == pytest.approx(1.0, rel=1e-8) or not np.isfinite(x).all()


# --- Newton on all log-ratios ---------------------------------------------------------------------------------------


def problem(
    rows: int, arms: int, scale: float, mean: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    behavior = rng.dirichlet(np.ones(arms), size=rows)
    deviation = rng.normal(size=(rows, arms)) * scale
    deviation -= (behavior * deviation).sum(axis=-1, keepdims=True)
    return behavior, deviation + mean, deviation, np.full(rows, mean)


@pytest.mark.parametrize(("scale", "centered"), [(0.1, {True}), (30.0, {False}), (0.6, {True, False})])
def test_small_deviations_are_solved_relative_to_their_mean(
    scale: float, centered: set[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows whose deviation has norm 1 at most, and no others; never with a coverage."""
    seen: list[tuple[bool, bool]] = []
    step = lambert_newton._step

    def record(rows: Any, x: Any, kappa: Any, form: bool, precise: bool, work: Any) -> Any:
        norms = np.sqrt((rows.deviation**2).sum(axis=-1))
        assert ((norms <= 1.0) == form).all() or rows.coverage is not None
        assert type(form) is bool
        seen.append((form, precise))
        return step(rows, x, kappa, form, precise, work)

    monkeypatch.setattr(lambert_newton, "_step", record)
    given = problem(200, 4, scale, 1.0)
    solve_lambert(*given)
    assert {form for form, _ in seen} == centered
    assert {precise for _, precise in seen} == {False, True}  # the last step keeps the digits of the surplus
    seen.clear()
    solve_lambert(*given, np.full((200, 4), 1.5))
    assert {form for form, _ in seen} == {False}


def test_a_block_goes_on_without_its_last_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """After four steps an eighth of the rows may be left; they are then solved alone, and the others are done."""
    sizes: list[int] = []
    step, slow = lambert_newton._step, 3.25

    def record(rows: Any, x: Any, kappa: Any, form: bool, precise: bool, work: Any) -> Any:
        sizes.append(len(kappa))
        kappa, length = step(rows, x, kappa, form, precise, work)
        hard = rows.mean == slow
        wait = 10 if len(kappa) > 20 else 2
        return kappa, np.where(hard & (len(sizes) % 100 < wait), 1.0, length)

    monkeypatch.setattr(lambert_newton, "_step", record)
    behavior, _, deviation, mean = problem(64, 4, 5.0, 3.0)
    for hard, expected in ((7, [64] * 5 + [7] * 6), (0, [64] * 5)):
        sizes.clear()
        mean[:] = 3.0
        mean[:hard] = slow
        found = solve_lambert(behavior, deviation + mean[:, None], deviation, mean)
        assert sizes[: len(expected)][:5] == expected[:5]
        assert set(sizes[5:]) <= {hard}
        assert (len(sizes) > 5) == (hard > 0)
        residual = found.log_ratio + found.kappa[:, None] * np.exp(found.log_ratio) - deviation - mean[:, None]
        np.testing.assert_allclose(residual, 0.0, atol=1e-12)
    # eight of 64 are no longer a few: the block goes on with all of them
    sizes.clear()
    mean[:] = 3.0
    mean[:8] = slow
    solve_lambert(behavior, deviation + mean[:, None], deviation, mean)
    assert set(sizes) == {64}
    assert len(sizes) > 5


# --- minima of the regression ---------------------------------------------------------------------------------------


def test_minima_are_of_any_numbers_and_of_weights_of_any_sum() -> None:
    one = regression_minima([0.5, 0.5], [0.0, 0.0], 2.0)
    other = regression_minima([1, 1], [0, 0], 2.0)
    assert [point.arm for point in one] == [point.arm for point in other] == [0, 1]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.log_ratio, b.log_ratio, rtol=1e-13)
        assert a.loss_over_beta == pytest.approx(b.loss_over_beta, rel=1e-13)
    with pytest.raises(ValueError, match="must be 1"):
        regression_minima([0.5, 0.5], [1.1e-6, 1.1e-6], 2.0)
    assert regression_minima([0.5, 0.5], [0.9e-6, 0.9e-6], 2.0)


def test_only_the_arms_that_are_asked_for_are_looked_for() -> None:
    behavior = np.array([0.118, 0.0, 0.4, 0.45, 0.032])
    score = np.array([1.3, 9.0, 0.0, 0.1, -0.4])
    nominal = score - np.log(behavior @ np.exp(score))
    every = regression_minima(behavior, nominal, 4.0)
    arms = [point.arm for point in every]
    assert sorted(arm for arm in arms if arm is not None) == [0, 2, 3, 4]
    for arm in (0, 2, 4):
        (found,) = [point for point in regression_minima(behavior, nominal, 4.0, arms=(arm,)) if point.arm is not None]
        assert found.arm == arm
        np.testing.assert_allclose(found.log_ratio, every[arms.index(arm)].log_ratio, rtol=1e-12)
    assert [point.arm for point in regression_minima(behavior, nominal, 4.0, arms=(1,)) if point.arm is not None] == []
    for point in every:
        # every arm, played or not, solves its own equation; those that are played sum to one
        residual = point.log_ratio + point.kappa * np.exp(point.log_ratio) - nominal + 4.0
        np.testing.assert_allclose(residual[behavior > 0], 0.0, atol=1e-9)
        assert behavior @ np.exp(np.where(behavior > 0, point.log_ratio, 0.0)) == pytest.approx(1.0)
        loss = 0.5 * behavior @ np.where(behavior > 0, nominal - 4.0 - point.log_ratio, 0.0) ** 2
        assert point.loss_over_beta == pytest.approx(loss, rel=1e-8)


# --- starts and searches of each regime -----------------------------------------------------------------------------


def prepared(mean: float, spread: float, anchored: bool, seed: int = 3) -> tuple[Rows, regimes._Nominal, np.ndarray]:
    """Rows of mass 3 (or anchored at a reference of which a tenth is not covered), and their exact kappa."""
    rng = np.random.default_rng(seed)
    rows, arms = 40, 5
    behavior = 3.0 * rng.dirichlet(np.ones(arms), size=rows)
    deviation = rng.normal(size=(rows, arms)) * spread
    coverage, missing = None, np.zeros(rows)
    if anchored:
        reference = 2.7 * rng.dirichlet(np.ones(arms), size=rows)
        coverage, missing = reference / behavior, np.full(rows, 0.3)
    weight = behavior if coverage is None else behavior * coverage
    deviation -= (weight * deviation).sum(axis=-1, keepdims=True) / weight.sum(axis=-1, keepdims=True)
    made = lambert._prepare(0, behavior, deviation + mean, deviation, np.full(rows, mean), missing, coverage)
    kappa = solve_lambert(behavior, deviation + mean, deviation, np.full(rows, mean), coverage, missing).kappa
    return made, regimes._nominal(made), np.asarray(kappa)


def surplus(rows: Rows, kappa: np.ndarray) -> np.ndarray:
    """E[e^x] - 1 of the solutions of every arm's own equation at this kappa, relative to the whole mass."""
    pull = kappa[:, None] * (1.0 if rows.coverage is None else rows.coverage)
    x = rows.advantage - lambertw(pull * np.exp(rows.advantage)).real
    return ((rows.weight * np.expm1(x)).sum(axis=-1) - rows.uncovered) / rows.total


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize(("mean", "spread"), [(1.0, 0.3), (0.5, 3.0), (5.0, 1.0)])
def test_kappa_starts_from_a_lower_bound_that_is_close(mean: float, spread: float, anchored: bool) -> None:
    rows, nominal, kappa = prepared(mean, spread, anchored)
    assert (np.abs(surplus(rows, kappa)) < 1e-9).all()
    low = regimes._lower_bound(rows, nominal)
    assert (low <= kappa * (1 + 1e-12)).all()
    assert (low > 0.2 * kappa).all()
    assert np.median(low / kappa) > 0.6
    gain, mass = np.array([0.2, 0.5]), np.array([3.0, 2.0])
    np.testing.assert_allclose(
        regimes._jensen_bound(gain, np.array([1.0, 0.0]), mass), [0.2 / 3 + np.log(1 / 3) / 3, 0.25], rtol=1e-14
    )


@pytest.mark.parametrize("anchored", [False, True])
def test_log_ratios_start_within_2e_4_of_their_own_equation(anchored: bool) -> None:
    for mean, spread in ((1.0, 0.3), (0.5, 3.0), (5.0, 1.0), (0.3, 40.0)):
        rows, nominal, kappa = prepared(mean, spread, anchored)
        rough = regimes._rough_log_ratio(rows, nominal, kappa)
        exact = own_solution(rows.advantage, kappa, rows.coverage)
        np.testing.assert_allclose(rough, exact, atol=2e-4)


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize(("mean", "spread"), [(1.0, 0.3), (0.5, 3.0), (5.0, 1.0)])
def test_a_search_in_kappa_alone_ends_next_to_the_solution(
    mean: float, spread: float, anchored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Newton polishes it, which is then told to keep the digits of the surplus; else the bracketed search."""
    rows, nominal, kappa = prepared(mean, spread, anchored)
    seen: list[tuple[np.ndarray, np.ndarray, bool]] = []
    newton = regimes.newton

    def record(rows: Any, x: Any, start: Any, tolerance: Any, precise: bool = False) -> Any:
        seen.append((x.copy(), start.copy(), precise))
        return newton(rows, x, start, tolerance, precise)

    monkeypatch.setattr(regimes, "newton", record)
    found = regimes._solve_in_kappa_alone(rows, nominal, regimes._lower_bound(rows, nominal))
    ((x, start, precise),) = seen
    np.testing.assert_allclose(start, kappa, rtol=1e-6)
    np.testing.assert_allclose(x, own_solution(rows.advantage, start, rows.coverage), rtol=1e-13)
    assert precise is True
    np.testing.assert_allclose(found.kappa, kappa, rtol=1e-12)

    def half(rows: Any, x: Any, start: Any, tolerance: Any, precise: bool = False) -> Any:
        solved, converged = newton(rows, x, start, tolerance, precise)
        solved.kappa[::2] = -1.0  # what does not converge is not to be used
        return solved, converged & (np.arange(len(start)) % 2 == 1)

    def bracketed(rows: Rows, nominal: regimes._Nominal) -> Any:
        return newton(rows, own_solution(rows.advantage, kappa[::2], rows.coverage), kappa[::2], 1e-5)[0]

    monkeypatch.setattr(regimes, "newton", half)
    monkeypatch.setattr(regimes, "_solve_bracketed", bracketed)
    again = regimes._solve_in_kappa_alone(rows, nominal, regimes._lower_bound(rows, nominal))
    np.testing.assert_allclose(again.kappa, kappa, rtol=1e-12)


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize(("mean", "spread"), [(1.0, 0.3), (0.5, 3.0), (5.0, 1.0)])
def test_a_bracketed_search_needs_no_newton(
    mean: float, spread: float, anchored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, nominal, kappa = prepared(mean, spread, anchored)
    seen: list[bool] = []
    newton = regimes.newton

    def partly(rows: Any, x: Any, start: Any, tolerance: Any, precise: bool = False) -> Any:
        seen.append(precise)
        solved, _ = newton(rows, x, start, tolerance, precise)
        solved.kappa[::2] = -1.0
        return solved, np.arange(len(start)) % 2 == 1

    monkeypatch.setattr(regimes, "newton", partly)
    found = regimes._solve_bracketed(rows, nominal)
    assert seen == [True]
    np.testing.assert_allclose(found.kappa[1::2], kappa[1::2], rtol=1e-12)
    np.testing.assert_allclose(found.kappa[::2], kappa[::2], rtol=1e-10)
    np.testing.assert_allclose(
        found.log_ratio, own_solution(rows.advantage, kappa, rows.coverage), rtol=1e-9, atol=1e-10
    )
    assert found.exists.all()
    assert (found.error_scale >= np.abs(found.kappa) * 0.01).all()


@pytest.mark.parametrize("anchored", [False, True])
def test_near_the_boundary_rows_that_newton_leaves_go_to_the_regime_of_their_sign(
    anchored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, nominal, _ = prepared(0.0, 0.02, anchored)
    taken: dict[str, list[float]] = {"positive": [], "negative": []}
    newton = regimes.newton

    def partly(rows: Any, x: Any, start: Any, tolerance: Any, precise: bool = False) -> Any:
        solved, _ = newton(rows, x, start, tolerance, precise)
        return solved, np.arange(len(start)) % 3 == 0

    def take(name: str) -> Any:
        def solve(rows: Rows, nominal: regimes._Nominal) -> Any:
            taken[name] += nominal.log_partition.tolist()
            whole = newton(rows, rows.advantage - nominal.kappa[:, None], nominal.kappa, 1e-5)[0]
            return whole

        return solve

    moved = replace(nominal, log_partition=np.where(np.arange(40) % 2 == 0, 1.0, -1.0) * (1 + np.arange(40)))
    monkeypatch.setattr(regimes, "newton", partly)
    monkeypatch.setattr(regimes, "_solve_bracketed", take("positive"))
    monkeypatch.setattr(regimes, "_solve_negative", take("negative"))
    found = regimes._solve_boundary(rows, moved)
    left = moved.log_partition[np.arange(40) % 3 != 0]
    assert taken == {"positive": left[left > 0].tolist(), "negative": left[left <= 0].tolist()}
    assert np.isfinite(found.kappa).all()


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_terms_of_the_fold_against_their_definition(spread: float, anchored: bool) -> None:
    """log v_i, and T(v) = log E_mu[e^(a + v_i)] with its slope: exactly, and roughly to 1e-6."""
    _, nominal, _ = prepared(-0.4, spread, anchored)
    top = nominal.advantage.max(axis=-1, keepdims=True)

    def parts(at: float) -> np.ndarray:
        return -lambertw(-at * np.exp(-at) * np.exp(nominal.advantage - top)).real

    def slack_at(at: float) -> np.ndarray:
        return np.log((nominal.behavior * np.exp(nominal.advantage + parts(at))).sum(axis=-1) / nominal.mass)

    for value in (0.2, 0.7, 0.97):
        v = np.full(40, value)
        log_part, slack = regimes._fold_terms(nominal, v)
        np.testing.assert_allclose(np.exp(log_part), parts(value), rtol=1e-9)
        np.testing.assert_allclose(slack, slack_at(value), rtol=1e-9, atol=1e-11)
        part, rough, slope = regimes._rough_fold_terms(nominal, v)
        np.testing.assert_allclose(part, parts(value), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(rough, slack_at(value), atol=2e-6)
        np.testing.assert_allclose(slope, (slack_at(value + 1e-6) - slack_at(value - 1e-6)) / 2e-6, atol=1e-4)
