"""Input that is ordinary somewhere: half precision, tensors with gradients, masked, dated, huge and tiny numbers."""

from __future__ import annotations

import warnings
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy.special import softmax

import pessimism as ps
from pessimism import baselines


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- types of numbers -------------------------------------------------------------------------------------------------

HALF = [(np.float16, None), (None, torch.float16), (None, torch.bfloat16)]


@pytest.mark.parametrize(("numpy_type", "torch_type"), HALF)
@pytest.mark.parametrize("name", ["grpo", "tpo", "dro", "oapl", "pmd_partition", "qrpo"])
def test_half_precision_is_computed_in_double(name: str, numpy_type: type, torch_type: torch.dtype) -> None:
    """1000 squared is beyond float16, whose variance was infinite and whose advantage therefore 0."""
    rewards = [1000.0, 0.0, 0.0, 0.0]
    expected = ps.algorithm(name).advantage(np.array(rewards))
    given = np.array(rewards, numpy_type) if numpy_type else torch.tensor(rewards, dtype=torch_type)
    found = ps.algorithm(name).advantage(given)
    assert found.dtype == given.dtype
    as_double = found.astype(float) if numpy_type else found.double().numpy()
    np.testing.assert_allclose(as_double, expected, rtol=2.0**-7)
    both = ps.algorithm(name).advantage(given, np.full(4, 0.25))
    assert both.dtype == given.dtype


def test_integers_and_booleans_become_the_default_float_type() -> None:
    for values in (np.array([0, 0, 1]), np.array([False, False, True])):
        assert baselines.mean().group(values).dtype == np.float64
    for values in (torch.tensor([0, 0, 1]), torch.tensor([False, False, True])):
        found = ps.algorithm("dro").advantage(values)
        assert found.dtype == torch.get_default_dtype()
        np.testing.assert_allclose(found.numpy(), [-1 / 3, -1 / 3, 2 / 3], rtol=1e-6)
        assert ps.algorithm("dro").advantage(values, [0.5, 0.3, 0.2]).dtype == torch.get_default_dtype()


def test_lists_fractions_and_tensors_are_the_numbers_they_hold() -> None:
    expected = ps.group_target([0.0, 0.0, 1.0], ps.algorithm("dro")).policy
    for values in (
        [Fraction(0), Fraction(0), Fraction(1)],
        torch.tensor([0.0, 0.0, 1.0], requires_grad=True),
        torch.tensor([0, 0, 1], dtype=torch.bfloat16),
        np.array([False, False, True]),
    ):
        np.testing.assert_array_equal(ps.group_target(values, ps.algorithm("dro")).policy, expected)  # type: ignore[arg-type]
    grown = ps.Bandit(torch.tensor([0.5, 0.25, 0.25], requires_grad=True), [0, 0, 1])
    np.testing.assert_array_equal(grown.behavior, [0.5, 0.25, 0.25])
    np.testing.assert_allclose(ps.algorithm("dro").advantage([0.0, 1.0]), [-0.5, 0.5])


def test_gradients_pass_through_the_advantages_of_a_group() -> None:
    rewards = torch.tensor([0.0, 0.5, 1.0], requires_grad=True, dtype=torch.float64)
    ps.algorithm("dro").advantage(rewards)[0].backward()
    assert rewards.grad is not None
    np.testing.assert_allclose(rewards.grad.numpy(), [2 / 3, -1 / 3, -1 / 3])


REFUSED = {
    "masked": (np.ma.array([0, 0, 1.0], mask=[0, 0, 1]), r"^reward\[2\] is masked"),
    "complex": (np.array([0, 0, 1j]), "^reward .* it holds complex numbers$"),
    "complex tensor": (torch.tensor([0, 0, 1j]), "^reward .* it holds complex numbers$"),
    "dates": (np.array([0, 0, 1], "datetime64[s]"), "^reward .* it holds dates$"),
    "time differences": (np.array([0, 0, 1], "timedelta64[s]"), "^reward .* it holds time differences$"),
    "text": (["0", "0", "1"], "^reward .* it holds text$"),
    "some text": (np.array([0, 0.5, "1"], dtype=object), "^reward .* it holds text, '1'$"),
    "beyond the floats": ([0, 0, 10**400], "^reward is not an array of numbers"),
    "a scalar": (1.0, r"^reward has shape \(\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_real_numbers_is_refused(name: str) -> None:
    values, message = REFUSED[name]
    algorithm = ps.algorithm("dro")
    for function in (
        lambda: ps.Bandit([0.5, 0.3, 0.2], values),
        lambda: ps.group_target(values, algorithm),
        lambda: algorithm.advantage(values),
    ):
        with pytest.raises(ValueError, match=message):
            function()


def test_nothing_masked_is_nothing_missing() -> None:
    np.testing.assert_array_equal(ps.Bandit([0.5, 0.5], np.ma.array([0.0, 1.0])).reward, [0.0, 1.0])


def test_numbers_too_large_or_small_for_products_are_refused() -> None:
    for name, parameter, value in (("cispo", "cap", 5e-324), ("ls", "t", 1e308), ("dro", "beta", 1e-101)):
        with pytest.raises(ValueError, match=f"^{name}: {parameter} is .* leave floating point in products$"):
            ps.algorithm(name, **{parameter: value})
    with pytest.raises(ValueError, match=r"^cispo: cap is 1000"):
        ps.algorithm("cispo", cap=10**400)
    with pytest.raises(ValueError, match=r"value is 1000.*finite"):
        baselines.constant(10**400)
    with pytest.raises(ValueError, match=r"^reward\[0\] is -1e\+308; rewards beyond 1e\+305"):
        ps.Bandit([0.5, 0.5], [-1e308, 1e308])
    for name, given in (("cispo", {"cap": 1e-100}), ("ls", {"t": 1e100})):
        target = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.5, 1.0]), ps.algorithm(name, **given))
        assert target.policy.sum() == pytest.approx(1)
    wide = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [-1e300, 0.0, 1e300]), ps.algorithm("trpo"))
    plain = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [-1.0, 0.0, 1.0]), ps.algorithm("trpo"))
    np.testing.assert_allclose(wide.policy, plain.policy, rtol=1e-12)


# --- rewards far apart, or far from 0 ---------------------------------------------------------------------------------

BOUNDARY = {"opmd": "tau", "pmd_partition": "tau", "oapl.single_beta": "beta", "dpo": "beta", "rebel": "eta"}
LINKED = ("chi_po", "cql")


@pytest.mark.parametrize("name", [*BOUNDARY, *LINKED])
@pytest.mark.parametrize("offset", [1e10, 1e12, -1e10])
def test_an_offset_of_all_rewards_changes_no_target(name: str, offset: float) -> None:
    behavior, base = [0.5, 0.3, 0.2], np.array([0.0, 0.5, 1.0])
    algorithm = ps.algorithm(name)
    expected = ps.induced_target(ps.Bandit(behavior, base), algorithm)
    moved = ps.induced_target(ps.Bandit(behavior, base + offset), algorithm)
    np.testing.assert_allclose(moved.policy, expected.policy, rtol=1e-13)
    assert moved.policy.sum() == pytest.approx(1, abs=1e-15)
    if name in LINKED:
        assert moved.normalizer == pytest.approx(expected.normalizer, rel=1e-12)


@pytest.mark.parametrize("name", [*BOUNDARY, *LINKED])
def test_rewards_enormous_against_the_temperature_leave_a_policy(name: str) -> None:
    target = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.0, 1e160]), ps.algorithm(name))
    np.testing.assert_allclose(target.policy, [0, 0, 1], atol=1e-15)
    tied = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [1e160, 0.0, 1e160]), ps.algorithm(name))
    assert tied.policy[1] == 0
    assert tied.policy.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("name", BOUNDARY)
def test_an_outlier_does_not_blur_the_best_arms(name: str) -> None:
    """Beside a reward of -1e20, a difference of 1 is below the last digit of every deviation from the mean."""
    target = ps.induced_target(
        ps.Bandit([0.5, 0.3, 0.2], [1.0, 0.0, -1e20]), ps.algorithm(name, **{BOUNDARY[name]: 1.0})
    )
    expected = np.array([0.5, 0.3]) * softmax(np.array([1.0, 0.0]))
    np.testing.assert_allclose(target.policy[:2], expected / expected.sum(), rtol=1e-15)


def test_denormal_rewards_are_rewards() -> None:
    target = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [5e-324, 0.0, 5e-324]), ps.algorithm("roirl"))
    np.testing.assert_allclose(target.policy, [5 / 7, 0, 2 / 7], rtol=1e-15)


# --- a reference's quantiles, one arm, unstable rest, hot regressions -------------------------------------------------


def test_quantiles_are_under_the_reference() -> None:
    """F = .6, .8, 1 under the reference; the target from its equation, in 30 digits."""
    behavior, reference, beta = [0.1, 0.1, 0.8], [0.6, 0.2, 0.2], mp.mpf(1) / 2
    target = ps.induced_target(ps.Bandit(behavior, [0, 1, 2], reference), ps.algorithm("qrpo", beta=0.5))
    value = beta * mp.log(beta * mp.expm1(1 / beta))
    advantage = [mp.mpf(f) - value for f in ("0.6", "0.8", "1.0")]

    def policy(normalizer) -> list:
        shares = []
        for mu, ref, a in zip(behavior, reference, advantage, strict=True):
            kappa = normalizer * ref / mu / beta
            shares.append(ref * mp.lambertw(kappa * mp.exp(a / beta)).real / kappa)
        return shares

    normalizer = mp.findroot(lambda x: mp.fsum(policy(x)) - 1, (mp.mpf("0.01"), mp.mpf("0.2")), solver="anderson")
    assert target.normalizer == pytest.approx(float(normalizer), rel=1e-12)
    np.testing.assert_allclose(target.policy, [float(p) for p in policy(normalizer)], rtol=1e-12)
    assert target.regime == "positive"
    weighted = baselines.quantile(0.5).weighted(
        np.array([0.0, 1, 2]), np.array(behavior), reference=np.array(reference)
    )
    np.testing.assert_allclose(weighted, [0.1, 0.3, 0.5], rtol=1e-14)


@pytest.mark.parametrize("name", ["dro", "asymre", "reinforce", "cispo", "ppo", "ls"])
def test_one_arm_has_one_policy(name: str) -> None:
    target = ps.induced_target(ps.Bandit([1.0], [0.5]), ps.algorithm(name, baseline=1.0 if name != "ls" else None))
    assert (target.policy.tolist(), target.unique, target.kind != "face") == ([1.0], True, True)


@pytest.mark.parametrize(
    ("excess", "kind"), [(0.5, "interior"), (0.99, "interior"), (1.01, "unstable"), (3.0, "unstable")]
)
def test_equal_rewards_rest_stably_up_to_one_temperature_above_them(excess: float, kind: str) -> None:
    """At pi = mu the flow's linearisation is -mu (beta - (V - V*)): simulated from a push, it returns or leaves."""
    beta, behavior = 0.4, np.array([0.5, 0.3, 0.2])
    bandit = ps.Bandit(behavior, [1.0, 1.0, 1.0])
    algorithm = ps.algorithm("dro", beta=beta, baseline=1.0 + excess * beta)
    target = ps.induced_target(bandit, algorithm)
    assert (target.kind, target.regime) == (kind, "negative")
    np.testing.assert_allclose(target.policy, behavior, rtol=1e-12)
    logits = np.log(behavior) + 1e-3 * np.array([1.0, -2.0, 0.5])
    start = np.abs(softmax(logits) - behavior).max()
    for _ in range(20_000):
        policy = softmax(logits)
        pull = behavior * (-excess * beta - beta * np.log(policy / behavior))
        logits = logits + 0.5 * (pull - policy * pull.sum())
    moved = np.abs(softmax(logits) - behavior).max()
    assert moved > 2 * start if kind == "unstable" else moved < 0.9 * start
    assert ("unstable" in ps.compare(bandit, algorithm).verdict) == (kind == "unstable")


@pytest.mark.parametrize("name", ["oapl.missing_log_g", "asymre"])
def test_entries_that_rest_unstably_say_so(name: str) -> None:
    given = {"shift": 0.5} if name == "asymre" else {}
    target = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [1.0, 1.0, 1.0]), ps.algorithm(name, **given))
    assert (target.kind, target.unique, target.regime) == ("unstable", False, "negative")
    carried = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [1.0, 1.0, 1.0]), ps.algorithm("verl.tis", baseline=0.5))
    assert carried.kind != "unstable"  # c = rho A: every policy on the arms is as good


@pytest.mark.parametrize("beta", [1e-3, 1.0, 1e5, 1e7])
def test_the_sign_without_a_solution_keeps_its_digits_at_large_temperatures(beta: float) -> None:
    bandit = ps.Bandit([0.5, 0.5], [0.0, 1.0])
    algorithm = ps.algorithm("dro", beta=beta)
    advantage = algorithm.advantage(bandit.reward, bandit.behavior)
    assert ps.regression_regime(advantage, bandit.behavior, beta) == 1
    assert ps.induced_target(bandit, algorithm).regime == "positive"


def test_the_sign_without_a_solution_knows_what_rounding_hides() -> None:
    boundary = np.float32([0.1, 0.3, 0.7])  # type: ignore[arg-type]
    value = np.float32(np.log(np.mean(np.exp(boundary.astype(float)))))
    assert ps.regression_regime(boundary - value, np.full(3, 1 / 3), 1.0) == 0
    shifted = 1e6 + np.array([0.1, 0.3, 0.7])
    value = 1e6 + np.log(np.mean(np.exp(np.array([0.1, 0.3, 0.7]))))
    assert ps.regression_regime(shifted - value, np.full(3, 1 / 3), 1.0, size=1e6) == 0


def test_a_user_s_own_mean_is_the_mean_to_rounding() -> None:
    """V computed in double precision, on rewards far from 0: the boundary, not a spurious regime."""

    def own(reward: np.ndarray, behavior: np.ndarray | None) -> np.ndarray:
        return reward.mean(axis=-1) if behavior is None else (behavior * reward).sum(axis=-1)

    rewards = np.array([1e6 + 0.3, 1e6 + 0.1, 1e6 + 0.3])
    algorithm = ps.algorithm("reinforce", baseline=own)
    for target in (
        ps.group_target(rewards, algorithm),
        ps.induced_target(ps.Bandit(np.full(3, 1 / 3), rewards), algorithm),
    ):
        assert target.regime == "boundary"
        np.testing.assert_allclose(target.policy, [0.5, 0, 0.5], atol=1e-12)


@pytest.mark.parametrize("name", ["ppo", "dapo", "rec_oneside_nois", "verl.icepop"])
def test_many_arms_that_meet_a_clip_converge(name: str) -> None:
    """Every arm split into 250 equal ones: the update's path is the same, 250 times slower, and so is its limit."""
    behavior, reward = np.array([0.1, 0.4, 0.3, 0.2]), np.array([1.0, 0.4, -0.3, 0.1])
    few = ps.induced_target(ps.Bandit(behavior, reward), ps.algorithm(name))
    many = ps.induced_target(ps.Bandit(np.repeat(behavior / 250, 250), np.repeat(reward, 250)), ps.algorithm(name))
    assert many.kind != "not converged"
    np.testing.assert_allclose(many.policy.reshape(4, 250).sum(axis=-1), few.policy, atol=2e-2)
