"""Divergences and safe primitives against 50-digit arithmetic and against each other."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pessimism.solve import simplex
from pessimism.solve.divergences import DIVERGENCES, chi_squared, entropy, kl, reverse_kl

mp.mp.dps = 50

# f(rho), written from the definitions; no constant or linear term, so that small values can be compared.
GENERATORS = {
    "kl": lambda p: p * mp.log(p) - p + 1,
    "reverse_kl": lambda p: -mp.log(p) + p - 1,
    "chi2": lambda p: (p - 1) ** 2,
    "hellinger": lambda p: (mp.sqrt(p) - 1) ** 2,
    "total_variation": lambda p: abs(p - 1) / 2,
    "jensen_shannon": lambda p: (p * mp.log(2 * p / (1 + p)) + mp.log(2 / (1 + p))) / 2,
    "neyman": lambda p: (p - 1) ** 2 / p,
}
LOG_RATIOS = [-40.0, -31.0, -29.5, -5.0, -0.7, -0.3, -1e-3, -1e-9, 1e-9, 1e-3, 0.3, 0.7, 3.0, 40.0]


def test_every_divergence_has_a_definition_here() -> None:
    assert set(GENERATORS) == set(DIVERGENCES), "add the new divergence's definition to GENERATORS"
    assert all(name == divergence.name for name, divergence in DIVERGENCES.items())


@pytest.mark.parametrize("name", DIVERGENCES)
def test_generators_and_derivatives_against_mpmath(name: str) -> None:
    divergence = DIVERGENCES[name]
    for x in LOG_RATIOS:
        expected = GENERATORS[name](mp.exp(mp.mpf(x)))
        found = float(divergence.generator(np.array(x)))
        # Jensen-Shannon is a difference of logarithms: of second order near 1, and there absolutely accurate only.
        absolute = 1e-16 if name == "jensen_shannon" else 0.0
        assert found == pytest.approx(float(expected), rel=2e-14, abs=absolute), x
        slope = mp.diff(GENERATORS[name], mp.exp(mp.mpf(x)), h=mp.exp(mp.mpf(x)) * mp.mpf(10) ** -20)
        assert float(divergence.derivative(np.array(x))) == pytest.approx(float(slope), rel=1e-13, abs=1e-16), x
    assert divergence.generator(np.array(0.0)) == 0
    assert divergence.derivative(np.array(0.0)) == 0


@pytest.mark.parametrize("name", DIVERGENCES)
def test_values_on_policies(name: str) -> None:
    rng = np.random.default_rng(0)
    behavior, policy = rng.dirichlet(np.ones(6), size=3), rng.dirichlet(np.ones(6), size=3)
    found = DIVERGENCES[name](np.log(policy / behavior), behavior)
    assert found.shape == (3,)
    for row in range(3):
        terms = [
            mp.mpf(m) * GENERATORS[name](mp.mpf(p) / mp.mpf(m)) for p, m in zip(policy[row], behavior[row], strict=True)
        ]
        assert found[row] == pytest.approx(float(mp.fsum(terms)), rel=1e-12)
    padded = DIVERGENCES[name](np.append(np.log(policy / behavior), np.full((3, 1), -np.inf), axis=-1),
                               np.append(behavior, np.zeros((3, 1)), axis=-1))  # fmt: skip
    np.testing.assert_allclose(padded, found, rtol=1e-13)


def test_named_functions_are_the_table_s() -> None:
    behavior, log_ratio = np.array([0.5, 0.5]), np.log([1.5, 0.5])
    assert kl(log_ratio, behavior) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert reverse_kl(log_ratio, behavior) == pytest.approx(-0.5 * math.log(0.75))
    assert chi_squared(log_ratio, behavior) == pytest.approx(0.25)


def test_lost_arms() -> None:
    """An arm that lost all its mass: finite where the generator is finite at 0, infinite elsewhere."""
    behavior, log_ratio = np.array([0.5, 0.5]), np.array([math.log(2), -np.inf])
    expected = {
        "kl": math.log(2),
        "reverse_kl": math.inf,
        "chi2": 1.0,
        "hellinger": 2 - math.sqrt(2),
        "total_variation": 0.5,
        "jensen_shannon": float(GENERATORS["jensen_shannon"](mp.mpf(2)) / 2 + mp.log(2) / 4),
        "neyman": math.inf,
    }
    for name, value in expected.items():
        assert DIVERGENCES[name](log_ratio, behavior) == pytest.approx(value, rel=1e-14), name


@given(seed=st.integers(0, 10_000))
def test_order_of_divergences(seed: int) -> None:
    """0 <= TV^2 <= KL/2 (Pinsker), KL <= log(1 + chi2), Hellinger <= KL, Jensen-Shannon <= log 2."""
    rng = np.random.default_rng(seed)
    behavior, policy = rng.dirichlet(np.full(5, 0.3)) + 1e-12, rng.dirichlet(np.full(5, 0.3)) + 1e-12
    behavior, policy = behavior / behavior.sum(), policy / policy.sum()
    value = {name: float(d(np.log(policy / behavior), behavior)) for name, d in DIVERGENCES.items()}
    assert all(v >= 0 for v in value.values())
    slack = 1 + 1e-9
    assert 2 * value["total_variation"] ** 2 <= slack * value["kl"]
    assert value["kl"] <= slack * math.log1p(value["chi2"])
    assert value["hellinger"] <= slack * value["kl"]
    assert value["jensen_shannon"] <= slack * math.log(2)
    swapped = {name: float(d(np.log(behavior / policy), policy)) for name, d in DIVERGENCES.items()}
    assert value["reverse_kl"] == pytest.approx(swapped["kl"], rel=1e-9, abs=1e-14)
    assert value["neyman"] == pytest.approx(swapped["chi2"], rel=1e-9)
    for name in ("hellinger", "total_variation", "jensen_shannon"):
        assert value[name] == pytest.approx(swapped[name], rel=1e-9, abs=1e-14)


def test_entropy() -> None:
    assert entropy(np.full(8, 0.125)) == pytest.approx(math.log(8))
    np.testing.assert_allclose(entropy(np.array([[1.0, 0.0], [0.25, 0.75]])), [0.0, 0.5623351446188083])


# --- pessimism.solve.simplex ----------------------------------------------------------------------------------------


def exact_expm1_minus(x: float) -> float:
    with mp.workdps(700):  # e^x - 1 - x cancels twice the digits of x
        return float(mp.expm1(mp.mpf(x)) - mp.mpf(x))


@given(x=st.floats(-700, 700))
def test_expm1_minus(x: float) -> None:
    expected = exact_expm1_minus(x)
    assert float(simplex.expm1_minus(np.array(x))) == pytest.approx(expected, rel=4e-15, abs=1e-300)
    single = simplex.expm1_minus(torch.tensor(x, dtype=torch.float32))
    assert single.dtype == torch.float32
    if abs(x) < 80:
        rounded = exact_expm1_minus(float(np.float32(x)))
        assert float(single) == pytest.approx(rounded, rel=1e-5, abs=1e-30)


@given(
    seed=st.integers(0, 1000), size=st.sampled_from([1e-12, 1e-3, 0.4, 3.0, 400.0]), shift=st.sampled_from([0.0, 1e3])
)
def test_log_expectation_exp(seed: int, size: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    weights, z = rng.dirichlet(np.ones(5)), shift + size * rng.normal(size=5)
    expected = mp.log(mp.fsum(mp.mpf(w) * mp.exp(mp.mpf(v)) for w, v in zip(weights, z, strict=True)))
    found = float(simplex.log_expectation_exp(weights, z))
    assert found == pytest.approx(float(expected), rel=1e-13, abs=1e-15 * max(1.0, abs(shift)))
    if size < 0.1 and shift == 0:  # relative accuracy near zero, up to what the rounding of the weights' sum leaves
        assert found == pytest.approx(float(expected), rel=1e-9, abs=4e-16)
    padded = simplex.log_expectation_exp(np.append(weights, 0.0), np.append(z, 1e6))
    assert float(padded) == pytest.approx(found, rel=1e-14, abs=1e-16)


def test_log_and_expectation() -> None:
    assert simplex.log(np.array([0.0, 1.0])).tolist() == [-math.inf, 0.0]
    weights = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
    values = np.array([[1.0, 3.0, np.nan], [np.inf, 4.0, 0.0]])
    assert simplex.expectation(weights, values).tolist() == [2.0, 1.0]
    assert simplex.expectation(np.array([0.5, 0.5]), np.array([-np.inf, 1.0])) == -math.inf
