"""Coefficients: each is the derivative of its published loss, keeps the array type, and knows where it stops.

Everything parametrised over the catalogue is inherited by a new entry as soon as it is listed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import pessimism as ps
from pessimism.objectives.clip import clipped, two_side
from pessimism.objectives.entry import Parameter
from pessimism.objectives.masked import binary_divergence, inside_total_variation, masked_weight
from pessimism.objectives.policy_gradient import balanced
from pessimism.objectives.ratio import truncated
from pessimism.objectives.rec import one_side, ring
from pessimism.objectives.trust_region import trust_region, trust_region_distance
from pessimism.objectives.value import confidence_width, lower_confidence
from pessimism.objectives.variants import masked_truncated
from published_losses import NEED_PROBABILITIES, PUBLISHED_LOSSES, Group

NAMES = list(ps.catalogue())
COUPLED = [name for name in NAMES if ps.algorithm(name).coupled]
TAKE_BEHAVIOR = [name for name in NAMES if ps.algorithm(name).takes_behavior]
ARM_WISE = [name for name in NAMES if name not in COUPLED]
SPREADS = (1e-4, 0.05, 0.5, 2.0)  # of log-ratios: inside the narrowest clip range up to far outside the widest


def other_value(parameter: Parameter) -> float:
    """A value that is allowed and is not the default, so that a parameter that is ignored or swapped shows."""
    if math.isinf(parameter.default):
        return 2.5
    candidates = (parameter.default * 1.7 + 0.013, parameter.default * 0.61 + 0.007)
    for value in candidates:
        try:
            return parameter.check("", "", value)
        except ValueError:
            continue
    raise AssertionError(f"no other value for {parameter}")


def settings_of(name: str) -> list[dict[str, float]]:
    """The published defaults, and every parameter moved."""
    parameters = ps.catalogue()[name].parameters
    moved = {key: other_value(parameter) for key, parameter in parameters.items()}
    return [{}, moved] if moved else [{}]


def random_group(
    rng: np.random.Generator, name: str, arms: int = 6, spread: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log-ratio, advantage and log-probability of each sample."""
    log_ratio = spread * rng.normal(size=arms)
    advantage = rng.normal(size=arms)
    if name == "ls":  # rewards of logarithmic smoothing are >= 0
        advantage = np.abs(advantage)
    return log_ratio, advantage, np.log(rng.dirichlet(np.ones(arms)))


def call(algorithm: ps.Algorithm, log_ratio, advantage, behavior=None):
    """The coefficient, with the weights where it looks at them."""
    if algorithm.takes_behavior:
        return algorithm.coefficient(log_ratio, advantage, behavior=behavior)
    return algorithm.coefficient(log_ratio, advantage)


def test_every_entry_has_a_published_loss() -> None:
    missing = sorted(set(NAMES) - set(PUBLISHED_LOSSES))
    assert not missing, (
        f"no published loss for {missing}: write it as its source does and add it to PUBLISHED_LOSSES in "
        "tests/published_losses.py"
    )
    unknown = sorted(set(PUBLISHED_LOSSES) - set(NAMES))
    assert not unknown, f"PUBLISHED_LOSSES in tests/published_losses.py has {unknown}, which the catalogue lacks"


@pytest.mark.parametrize("sampled", [False, True], ids=["policy", "samples"])
@pytest.mark.parametrize("name", NAMES)
def test_coefficient_is_the_derivative_of_the_published_loss(name: str, sampled: bool) -> None:
    """scale * c(y) = -(1/w(y)) d loss / d log pi(y), the loss differentiated by torch."""
    rng = np.random.default_rng(7)
    for parameters in settings_of(name):
        algorithm = ps.algorithm(name, **parameters)
        for spread in SPREADS * 5:
            log_ratio, advantage, log_behavior = random_group(rng, name, spread=spread)
            behavior = np.exp(log_behavior)
            weights = np.full(len(behavior), 1 / len(behavior)) if sampled else behavior
            log_policy = torch.tensor(log_ratio + log_behavior, requires_grad=True)
            group = Group(log_policy, torch.tensor(log_behavior), torch.tensor(advantage), torch.tensor(weights))
            loss = PUBLISHED_LOSSES[name](group, **algorithm.parameters)
            (gradient,) = torch.autograd.grad(loss, log_policy)
            expected = -gradient.numpy() / weights

            given_weights = behavior if not sampled or name in NEED_PROBABILITIES else None
            # The log-ratio that the loss saw: rounding of log pi must not decide on which side of a kink it falls.
            seen = log_policy.detach().numpy() - log_behavior
            found = algorithm.scale * call(algorithm, seen, advantage, given_weights)
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_torch_agrees_with_numpy_and_types_are_kept(name: str) -> None:
    rng = np.random.default_rng(3)
    algorithm = ps.algorithm(name)
    log_ratio, advantage, log_behavior = (
        np.stack(part) for part in zip(*(random_group(rng, name) for _ in range(4)), strict=True)
    )
    behavior = np.exp(log_behavior)
    for kind in (np.float64, np.float32):
        arrays = [values.astype(kind) for values in (log_ratio, advantage, behavior)]
        by_numpy = call(algorithm, *arrays)
        by_torch = call(algorithm, *(torch.tensor(values) for values in arrays))
        assert isinstance(by_numpy, np.ndarray)
        assert isinstance(by_torch, torch.Tensor)
        assert by_numpy.dtype == kind
        assert by_torch.dtype == torch.tensor(arrays[0]).dtype
        assert by_numpy.shape == tuple(by_torch.shape) == log_ratio.shape
        tolerance = 1e-12 if kind is np.float64 else 2e-4
        np.testing.assert_allclose(by_torch.numpy(), by_numpy, rtol=tolerance, atol=tolerance * np.abs(by_numpy).max())


@pytest.mark.parametrize("name", NAMES)
def test_autograd_reaches_the_log_ratio_through_the_coefficient(name: str) -> None:
    """Derivative by torch = central difference in numpy, where the coefficient is smooth."""
    rng = np.random.default_rng(11)
    algorithm = ps.algorithm(name)
    log_ratio, advantage, log_behavior = random_group(rng, name, spread=0.01)
    behavior = np.exp(log_behavior)
    tensor = torch.tensor(log_ratio, requires_grad=True)
    value = call(algorithm, tensor, torch.tensor(advantage), torch.tensor(behavior))
    (gradient,) = torch.autograd.grad(value.sum() + 0 * tensor.sum(), tensor)
    step = 1e-6
    for arm in range(len(log_ratio)):
        bump = step * (np.arange(len(log_ratio)) == arm)
        above, below = (call(algorithm, log_ratio + sign * bump, advantage, behavior).sum() for sign in (1, -1))
        if abs(above - below) < 0.1 * np.abs(advantage).max():  # no jump of a mask between the two
            assert gradient[arm].item() == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_see_each_other(name: str) -> None:
    rng = np.random.default_rng(5)
    algorithm = ps.algorithm(name)
    rows = [random_group(rng, name, spread=spread) for spread in SPREADS]
    log_ratio, advantage, log_behavior = (np.stack(part) for part in zip(*rows, strict=True))
    behavior = np.exp(log_behavior)
    together = call(algorithm, log_ratio, advantage, behavior)
    for row in range(len(rows)):
        alone = call(algorithm, log_ratio[row], advantage[row], behavior[row])
        np.testing.assert_allclose(together[row], alone, rtol=1e-13, atol=1e-13)
    deeper = call(algorithm, log_ratio[:, None], advantage[:, None], behavior[:, None])
    np.testing.assert_array_equal(deeper[:, 0], together)


@pytest.mark.parametrize("name", ARM_WISE)
def test_an_arm_wise_coefficient_ignores_the_rest_of_its_group(name: str) -> None:
    rng = np.random.default_rng(6)
    algorithm = ps.algorithm(name)
    group = (*random_group(rng, name)[:2], rng.dirichlet(np.ones(6)))
    together = call(algorithm, *group)
    alone = np.array([call(algorithm, *(values[i : i + 1] for values in group))[0] for i in range(6)])
    np.testing.assert_allclose(alone, together, rtol=1e-14)


@pytest.mark.parametrize("name", TAKE_BEHAVIOR)
def test_a_coupled_coefficient_takes_equal_weights_by_default(name: str) -> None:
    rng = np.random.default_rng(8)
    algorithm = ps.algorithm(name)
    log_ratio, advantage, _ = random_group(rng, name, arms=5)
    if name in NEED_PROBABILITIES:
        with pytest.raises(ValueError, match=r"^behavior is None; "):
            algorithm.coefficient(log_ratio, advantage)
        return
    by_default = algorithm.coefficient(log_ratio, advantage)
    np.testing.assert_allclose(
        by_default, algorithm.coefficient(log_ratio, advantage, behavior=np.full(5, 0.2)), rtol=1e-12, atol=1e-14
    )
    unequal = algorithm.coefficient(log_ratio, advantage, behavior=np.array([0.6, 0.1, 0.1, 0.1, 0.1]))
    assert np.abs(unequal - by_default).max() > 1e-3, "the weights make no difference"


@pytest.mark.parametrize("name", COUPLED)
def test_a_sample_drawn_twice_counts_as_an_arm_of_twice_the_weight(name: str) -> None:
    rng = np.random.default_rng(9)
    algorithm = ps.algorithm(name)
    log_ratio, advantage, _ = random_group(rng, name, arms=4)
    repeated = np.array([0, 0, 1, 2, 3])
    by_samples = algorithm.coefficient(log_ratio[repeated], advantage[repeated])
    by_weights = algorithm.coefficient(log_ratio, advantage, behavior=np.array([0.4, 0.2, 0.2, 0.2]))
    np.testing.assert_allclose(by_samples, by_weights[repeated], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", COUPLED)
def test_an_arm_without_weight_moves_no_other(name: str) -> None:
    rng = np.random.default_rng(10)
    algorithm = ps.algorithm(name)
    log_ratio, advantage, log_behavior = random_group(rng, name, arms=4)
    behavior = np.exp(log_behavior)
    base = algorithm.coefficient(log_ratio, advantage, behavior=behavior)
    wider = algorithm.coefficient(
        np.append(log_ratio, 0.3), np.append(advantage, 5000.0), behavior=np.append(behavior, 0.0)
    )
    np.testing.assert_allclose(wider[:4], base, rtol=1e-12, atol=1e-13)
    assert np.isfinite(wider).all()


# The coefficient of these is bounded for every log-ratio; a sequence's log-ratio in float32 passes 88 easily.
BOUNDED = [name for name in NAMES if ps.catalogue()[name].bounded != "none"]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", BOUNDED)
def test_a_ratio_that_overflows_is_no_nan(name: str, kind: torch.dtype) -> None:
    algorithm = ps.algorithm(name)
    log_ratio = torch.tensor([1e4, 1e4, 1e4, -1e4, -1e4, -1e4], dtype=kind)
    advantage = torch.tensor([1.0, 0.5, 0.0, 1.0, 0.5, 0.0], dtype=kind)
    signs = [1.0] if name == "ls" else [1.0, -1.0]
    weights = algorithm.weights(torch.full((6,), 1 / 6, dtype=kind)) if name in NEED_PROBABILITIES else {}
    for sign in signs:
        value = algorithm.coefficient(log_ratio, sign * advantage, **weights)
        # PPO proper lets a negative advantage push an ever larger ratio down: infinite, and rightly so.
        assert not torch.isnan(value[advantage > 0]).any(), f"{name}: {value}"
        if sign > 0 or ps.catalogue()[name].bounded == "all":
            assert torch.isfinite(value).all(), f"{name}: {value}"


# --- conventions at the edges of a range: the edge itself still counts. Bounds are powers of two, so exp(log) is exact.


def at(*ratios: float) -> np.ndarray:
    return np.log(np.array(ratios))


def test_one_side_clip_edges() -> None:
    found = clipped(at(2, 2.01, 0.25, 0.01), np.ones(4), low=0.5, high=1.0)
    np.testing.assert_allclose(found, [2, 0, 0.25, 0.01])
    found = clipped(at(0.5, 0.49, 4, 400), -np.ones(4), low=0.5, high=1.0)
    np.testing.assert_allclose(found, [-0.5, 0, -4, -400])
    found = clipped(at(0.5, 0.49, 4, 4.01), -np.ones(4), low=0.5, high=1.0, cap=4.0)
    np.testing.assert_allclose(found, [-0.5, 0, -4, 0])
    found = one_side(at(2, 2.01, 0.25), np.full(3, 3.0), low=0.5, high=1.0)
    np.testing.assert_allclose(found, [3, 0, 3])
    found = one_side(at(0.5, 0.49, 64), np.full(3, -3.0), low=0.5, high=1.0)
    np.testing.assert_allclose(found, [-3, 0, -3])


def test_two_side_and_ring_edges() -> None:
    ratios = at(0.5, 0.49, 2, 2.01)
    np.testing.assert_allclose(two_side(ratios, np.full(4, 3.0), low=0.5, high=1.0), [1.5, 0, 6, 0])
    np.testing.assert_allclose(two_side(ratios, np.full(4, -3.0), low=0.5, high=1.0), [-1.5, 0, -6, 0])
    bounds = {"low": 0.5, "high": 1.0, "low_outer": 0.75, "high_outer": 3.0}
    ratios = at(0.25, 0.26, 0.5, 2, 2.01, 3.99, 4, 5)
    np.testing.assert_allclose(ring(ratios, np.full(8, 3.0), **bounds), [3, 0, 3, 3, 0, 0, 0, 0])
    np.testing.assert_allclose(ring(ratios, np.full(8, -3.0), **bounds), [0, 0, -3, -3, 0, 0, -3, -3])


def test_truncation_is_continuous_at_its_bounds() -> None:
    found = truncated(at(0.25, 0.5, 1, 2, 4), np.full(5, -3.0), low=0.5, high=2.0)
    np.testing.assert_allclose(found, [-1.5, -1.5, -3, -6, -6])
    found = masked_truncated(at(0.25, 2, 2.01), np.full(3, 3.0), low=0.5, high=4.0, mask_low=0.5, mask_high=1.0)
    np.testing.assert_allclose(found, [1.5, 6, 0])
    found = masked_truncated(at(0.49, 0.5, 8), np.full(3, -3.0), low=0.25, high=4.0, mask_low=0.5, mask_high=1.0)
    np.testing.assert_allclose(found, [0, -1.5, -12])


def test_total_variation_mask_edges() -> None:
    behavior = np.array([0.25, 0.25, 0.25, 0.25])
    settings = {"inside": inside_total_variation, "low": 0.125, "high": 0.25, "behavior": behavior}
    found = masked_weight(at(2, 2.01, 1, 0.25), np.ones(4), **settings)
    np.testing.assert_allclose(found, [2, 0, 1, 0.25])
    found = masked_weight(at(0.5, 0.49, 1, 9), -np.ones(4), **settings)
    np.testing.assert_allclose(found, [-0.5, 0, -1, -9])


def test_binary_divergence_against_its_definition() -> None:
    behavior, policy = np.array([0.25, 0.5, 0.9, 1.0]), np.array([0.5, 0.125, 0.95, 1.0])
    found = binary_divergence(np.log(policy / behavior), behavior)
    rest = np.where(
        behavior < 1,
        (1 - behavior) * np.log((1 - np.where(behavior < 1, behavior, 0)) / (1 - np.where(behavior < 1, policy, 0))),
        0.0,
    )
    np.testing.assert_allclose(found, behavior * np.log(behavior / policy) + rest, atol=1e-15)


def test_red_drop_keeps_everything_unless_negatives_are_in_surplus() -> None:
    advantage = np.array([1.0, 1.0, 0.0, -2.0])
    np.testing.assert_array_equal(balanced(np.zeros(4), advantage), advantage)
    surplus = np.array([1.0, -2.0, -2.0, -2.0])
    np.testing.assert_allclose(balanced(np.zeros(4), surplus), [1, -2 / 3, -2 / 3, -2 / 3])
    np.testing.assert_allclose(  # an advantage of exactly zero is on the positives' side
        balanced(np.zeros(4), np.array([0.0, 1.0, -1.0, -1.0])), [0, 1, -1, -1]
    )
    np.testing.assert_allclose(balanced(np.zeros(3), np.full(3, -1.0)), np.zeros(3))


def test_lower_confidence_width() -> None:
    behavior = np.array([0.25, 0.04, 0.0, 0.71])
    width = confidence_width(behavior, bonus=3.0, samples=100.0)
    np.testing.assert_allclose(width, [3 / 5, 3 / 2, 0, 3 / math.sqrt(71)])
    found = lower_confidence(at(1, 2, 1, 1), np.ones(4), bonus=3.0, samples=100.0, behavior=behavior)
    np.testing.assert_allclose(found, [0.4, -1, 1, 1 - 3 / math.sqrt(71)])


# --- TRPO's inner problem ---------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10_000),
    arms=st.integers(2, 6),
    log_delta=st.floats(-12, 3),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_trust_region_is_used_up(seed: int, arms: int, log_delta: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    behavior, advantage = rng.dirichlet(np.ones(arms)), scale * rng.normal(size=arms)
    delta = math.exp(log_delta)
    distance = trust_region_distance(advantage, delta=delta, behavior=behavior)
    level = distance + advantage
    assert (level - advantage.max() > -1e-9 * np.abs(advantage).max()).all()
    np.testing.assert_allclose(level, np.broadcast_to(level[0], arms), rtol=1e-9)
    log_ratio = -np.log(distance)
    log_ratio -= np.log(behavior @ np.exp(log_ratio))
    assert -behavior @ log_ratio == pytest.approx(delta, rel=1e-5)


def test_trust_region_against_slsqp() -> None:
    behavior, advantage, delta = np.array([0.5, 0.3, 0.2]), np.array([-0.2, 0.1, 0.35]), 0.05
    ratio = 1 / trust_region_distance(advantage, delta=delta, behavior=behavior)
    policy = behavior * ratio / (behavior @ ratio)
    best = minimize(
        lambda p: -p @ advantage,
        behavior,
        bounds=[(1e-9, 1)] * 3,
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "ineq", "fun": lambda p: delta - behavior @ np.log(behavior / p)},
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(policy, best.x, atol=2e-6)


def test_trust_region_with_equal_advantages_or_one_arm_stays() -> None:
    for advantage in (np.full(3, 2.0), np.zeros(3)):
        value = trust_region(np.zeros(3), advantage, delta=0.1)
        assert np.isfinite(value).all()
        np.testing.assert_allclose(value, np.broadcast_to(value[0], 3), rtol=1e-12)
    assert np.isfinite(trust_region(np.zeros(1), np.ones(1), delta=0.1)).all()


@pytest.mark.parametrize("name", ps.catalogue())
def test_coefficients_are_finite_at_an_advantage_of_zero(name: str) -> None:
    """A group without signal, and one sample without it among others: no rate or weight is divided by it."""
    made = ps.algorithm(name)
    weights = made.weights(np.full(3, 1 / 3))
    assert np.isfinite(made.coefficient(np.array([-0.7, 0.0, 0.4]), np.zeros(3), **weights)).all()
    assert np.isfinite(made.coefficient(np.array([-0.7, 0.0, 0.4]), np.array([-1.0, 0.0, 1.0]), **weights)).all()


WAYS = [(name, way) for name in ps.catalogue() for way in {False, ps.algorithm(name).takes_behavior}]
NEED_BEHAVIOR = {(name, False) for name in NEED_PROBABILITIES}
"""What raises without the behavior policy's probabilities."""


@pytest.mark.parametrize(("name", "weighted"), [way for way in WAYS if way not in NEED_BEHAVIOR])
def test_coefficients_of_a_batch_are_those_of_its_groups(name: str, weighted: bool) -> None:
    rng = np.random.default_rng(5)
    shape = (2, 3, 4)
    log_ratio, advantage, behavior = rng.normal(size=shape), rng.normal(size=shape), rng.dirichlet(np.ones(4), (2, 3))
    made = ps.algorithm(name)
    whole = made.coefficient(log_ratio, advantage, **({"behavior": behavior} if weighted else {}))
    for row in np.ndindex(2, 3):
        weights = {"behavior": behavior[row]} if weighted else {}
        alone = made.coefficient(log_ratio[row], advantage[row], **weights)
        np.testing.assert_allclose(np.broadcast_to(whole, shape)[row], alone, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", [name for name in ps.catalogue() if ps.algorithm(name).kinks is not None])
def test_kinks_are_where_coefficients_jump_or_bend(name: str) -> None:
    """Each of an entry's kinks, for advantages of one sign at least: values or slopes on its two sides differ."""
    made = ps.algorithm(name)
    assert made.kinks is not None
    behavior, advantage = np.full(6, 1 / 6), np.array([-2.0, -1.0, -0.3, 0.3, 1.0, 2.0])
    weights = made.weights(behavior)
    kinks = made.kinks(advantage, **weights)
    assert kinks.shape[:-1] == (6,)
    assert np.isfinite(kinks).any()
    for place in (column for column in kinks.T if np.isfinite(column).any()):
        broken = []
        for arm in np.flatnonzero(np.isfinite(place)):
            at = np.zeros(6)

            def value(shift: float, arm: int = arm, at: np.ndarray = at, place: np.ndarray = place) -> float:
                moved = np.where(np.arange(6) == arm, place[arm] + shift, at)
                return float(np.broadcast_to(made.coefficient(moved, advantage, **weights), (6,))[arm])

            below, above = value(-1e-6), value(1e-6)
            slopes = (below - value(-2e-6)) / 1e-6, (value(2e-6) - above) / 1e-6
            broken.append(abs(above - below) > 1e-3 or abs(slopes[1] - slopes[0]) > 1e-3)
        assert any(broken), place


@pytest.mark.parametrize("name", [name for name in ps.catalogue() if ps.algorithm(name).carries_ratio])
def test_what_carries_the_ratio_says_what_it_is_on_policy(name: str) -> None:
    """Without it the nominal update would weigh data from the policy itself by a ratio once more."""
    made = ps.algorithm(name)
    assert made.on_policy is not None
    assert np.isfinite(made.on_policy(np.array([-0.2, 0.0, 0.2]), np.array([-1.0, 0.0, 1.0]))).all()
