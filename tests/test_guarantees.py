"""Confidence bounds, trust regions and rates, by other routes: optimizers, root finders, enumeration, limits."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import lambertw
from scipy.stats import binom, chi2

import pessimism as ps
from bandits.claims import CLAIMS as DYNAMICS
from bandits.recursion import gap_bounds, ideal_recursion
from pessimism import guarantees
from pessimism.claims import CLAIMS, verify
from pessimism.guarantees import confidence_width, lcb, prescribe, step_bounds
from pessimism.solve.divergences import chi_squared, kl
from pessimism.solve.lambert import critical_offset
from scripts import recursions

REWARDS = {
    "varied": [0.3, -1.2, 0.8, 0.1],
    "ties": [0.5, 0.5, -0.5, 0.0],
    "binary": [0.0, 1.0, 0.0, 1.0],
    "equal": [0.7, 0.7, 0.7, 0.7],
    "offset": [1e6, 1e6 + 1, 1e6, 1e6 + 0.5],
}
BEHAVIOR = np.array([0.4, 0.1, 0.2, 0.3])
TABLE = {claim.id: claim for claim in (*CLAIMS.values(), *DYNAMICS)}


def optimum(reward, shares, behavior, beta: float, width: float) -> np.ndarray:
    """The maximizer of E r - width sqrt(sum pi^2/w) - beta KL(pi|mu), by BFGS in the logits of the sampled arms."""
    seen = np.asarray(shares) > 0
    r, w, mu = (np.asarray(v, float)[seen] for v in (reward, shares, behavior))
    r = r - r.max()

    def loss(logits):
        log_policy = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        policy = np.exp(log_policy)
        spread = np.sqrt((policy**2 / w).sum())
        inner = r - beta * (log_policy - np.log(mu)) - beta
        slope = inner - width * policy / w / spread
        value = policy @ (r - beta * (log_policy - np.log(mu))) - width * spread
        return -value, -policy * (slope - policy @ slope)

    found = minimize(loss, np.log(w), jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 2000})
    policy = np.zeros(len(seen))
    policy[seen] = np.exp(found.x - found.x.max()) / np.exp(found.x - found.x.max()).sum()
    return policy


# --- lower confidence bound -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", REWARDS.values(), ids=REWARDS)
@pytest.mark.parametrize("noise", [0.05, 1.0, 20.0])
def test_an_optimizer_finds_the_same_policy(reward, noise):
    for counts in (None, [7, 0, 2, 11]):
        samples = 20 if counts is None else None
        found = lcb(ps.Bandit(BEHAVIOR, reward), 0.5, noise, samples=samples, counts=counts, alpha=0.1)
        shares = BEHAVIOR if counts is None else np.array(counts) / 20
        np.testing.assert_allclose(found.policy, optimum(reward, shares, BEHAVIOR, 0.5, found.width), atol=2e-6)


@pytest.mark.parametrize("reward", REWARDS.values(), ids=REWARDS)
def test_shift_and_normalizer_are_those_of_a_shifted_mean(reward):
    bandit = ps.Bandit(BEHAVIOR, reward)
    found = lcb(bandit, 0.5, noise=1.0, samples=200)
    target = ps.induced_target(bandit, ps.algorithm("shifted_mean", beta=0.5, delta=found.shift / 0.5))
    np.testing.assert_allclose(target.policy, found.policy, atol=1e-9)
    assert target.normalizer == pytest.approx(found.normalizer, rel=1e-9)
    spread = np.sqrt(1 + chi_squared(target.log_ratio, BEHAVIOR))
    assert found.normalizer == pytest.approx(found.width / spread, rel=1e-12)
    assert found.bound == pytest.approx(found.policy @ np.array(reward) - found.width * spread, rel=1e-12)


def test_equal_rewards_leave_the_behavior_policy_and_a_shift_of_the_width():
    found = lcb(ps.Bandit(BEHAVIOR, REWARDS["equal"]), 0.5, noise=1.0, samples=50)
    np.testing.assert_allclose(found.policy, BEHAVIOR, rtol=1e-14)
    assert found.normalizer == pytest.approx(found.width, rel=1e-14)
    assert found.shift == pytest.approx(found.width, rel=1e-14)


def test_an_exact_verifier_justifies_no_pessimism():
    bandit = ps.Bandit(BEHAVIOR, REWARDS["binary"])
    found = lcb(bandit, 0.5, noise=0.0, samples=10)
    np.testing.assert_allclose(
        found.policy, ps.nominal_target(bandit, ps.algorithm("opmd", tau=0.5)).policy, rtol=1e-12
    )
    assert (found.normalizer, found.width) == (0.0, 0.0)
    assert ps.induced_target(bandit, ps.algorithm("dro", beta=0.5, baseline=found.baseline)).normalizer == (
        pytest.approx(0.0, abs=1e-15)
    )


def test_what_was_not_sampled_gets_nothing_and_its_estimate_is_not_read():
    one, other = (
        lcb(ps.Bandit(BEHAVIOR, [0.3, guess, 0.8, 0.1]), 0.5, noise=0.3, counts=[7, 0, 2, 11]) for guess in (0.0, 1e9)
    )
    assert one.policy[1] == 0.0
    np.testing.assert_array_equal(one.policy, other.policy)
    assert one.bound == other.bound
    assert one.policy.sum() == pytest.approx(1.0, abs=1e-14)


def test_more_samples_mean_less_pessimism_and_four_times_as_many_half_the_width():
    bandit = ps.Bandit(BEHAVIOR, REWARDS["varied"])
    found = [lcb(bandit, 0.5, noise=1.0, samples=n) for n in (10, 40, 160, 640)]
    assert all(a.normalizer > b.normalizer and a.bound < b.bound for a, b in pairwise(found))
    np.testing.assert_allclose([a.width / b.width for a, b in pairwise(found)], 2.0, rtol=1e-14)


def test_units_of_reward_change_nothing_and_batches_are_their_rows():
    bandit = ps.Bandit(BEHAVIOR, [REWARDS["varied"], REWARDS["binary"]])
    found = lcb(bandit, 0.5, noise=[1.0, 0.5], samples=[50, 70])
    scaled = lcb(ps.Bandit(BEHAVIOR, 1e6 * bandit.reward), 0.5e6, noise=[1e6, 0.5e6], samples=[50, 70])
    np.testing.assert_allclose(scaled.policy, found.policy, rtol=1e-12)
    np.testing.assert_allclose(scaled.normalizer, 1e6 * found.normalizer, rtol=1e-12)
    for row, (noise, samples) in enumerate([(1.0, 50), (0.5, 70)]):
        alone = lcb(ps.Bandit(BEHAVIOR, bandit.reward[row]), 0.5, noise=noise, samples=samples)
        np.testing.assert_allclose(found.policy[row], alone.policy, rtol=1e-13)
        assert isinstance(alone.normalizer, float)


def test_expected_counts_and_counts_that_meet_them_agree():
    bandit = ps.Bandit(BEHAVIOR, REWARDS["varied"])
    one, other = lcb(bandit, 0.5, noise=1.0, samples=20), lcb(bandit, 0.5, noise=1.0, counts=20 * BEHAVIOR)
    np.testing.assert_allclose(one.policy, other.policy, rtol=1e-12)
    assert one.shift == pytest.approx(other.shift, rel=1e-12)


@pytest.mark.parametrize("epsilon", [0.2, 0.5])
def test_counts_are_rarely_far_below_their_expectation(epsilon):
    """P(n <= (1 - e) N mu) <= exp(-e^2 N mu/2): what turns random counts into expected ones in the documentation."""
    for samples, chance in product((20, 200, 2000), (0.01, 0.1, 0.5)):
        expected = samples * chance
        assert binom.cdf(np.floor((1 - epsilon) * expected), samples, chance) <= np.exp(-(epsilon**2) * expected / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": None}, "give one of samples"),
        ({"counts": [1, 1, 1, 1]}, "give one of samples"),
        ({"noise": -1.0}, "noise is -1; it must be finite and at least 0"),
        ({"noise": [0.0, np.nan, 0.0, 0.0]}, r"noise\[1\] is nan"),
        ({"samples": 0}, "samples is 0"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": 1.0}, "alpha is 1.0"),
        ({"beta": 0.0}, "beta is 0.0"),
        ({"samples": None, "counts": [1, 0.5, 1, 1]}, r"counts\[1\] is 0.5; counts are whole numbers"),
        ({"samples": None, "counts": [1, -1, 1, 1]}, r"^counts\[1\] is -1; it must be finite and at least 0"),
        ({"samples": None, "counts": [0, 0, 0, 0]}, "a row without samples"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"beta": 0.5, "noise": 1.0, "samples": 20} | change
    with pytest.raises(ValueError, match=message):
        lcb(ps.Bandit(BEHAVIOR, REWARDS["varied"]), **given)


def test_one_sample_of_an_arm_that_is_never_played_is_refused():
    with pytest.raises(ValueError, match=r"counts\[2\] is 1; behavior is 0 there"):
        lcb(ps.Bandit([0.5, 0.5, 0.0], [0.0, 1.0, 0.0]), 0.5, noise=1.0, counts=[1, 1, 1])


def test_references_and_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="leave the reference out"):
        lcb(ps.Bandit([0.5, 0.5], [0, 1], [0.4, 0.6]), 0.5, 1.0, samples=5)
    with pytest.raises(ValueError, match=r"counts\[1\] is 2; behavior is 0 there"):
        lcb(ps.Bandit([1.0, 0.0], [0, 1]), 0.5, 1.0, counts=[3, 2])


# --- trust region ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", REWARDS.values(), ids=REWARDS)
@pytest.mark.parametrize("nats", [1e-4, 0.05, 2.0])
def test_a_root_finder_finds_the_same_exact_shift(reward, nats):
    bandit, beta = ps.Bandit(BEHAVIOR, reward), 0.5
    found = prescribe(reward, nats=nats, beta=beta, behavior=BEHAVIOR)
    mean = float(BEHAVIOR @ bandit.reward)

    def reached(shift: float) -> float:
        chosen = ps.algorithm("dro", beta=beta, baseline=mean - shift)
        return float(kl(ps.induced_target(bandit, chosen).log_ratio, BEHAVIOR))

    assert reached(found.shift) <= nats * (1 + 1e-9) or found.shift == 0
    nominal = ps.nominal_target(bandit, ps.algorithm("opmd", tau=beta))
    most = float(kl(nominal.log_ratio, BEHAVIOR))
    assert found.binding == (most > nats)
    if found.binding:
        soft = float(np.log(BEHAVIOR @ np.exp((bandit.reward - mean) / beta)) * beta)
        root = brentq(lambda shift: reached(shift) - nats, -soft, found.shift + 1.0, xtol=1e-13)
        assert found.exact_shift == pytest.approx(root, rel=1e-8, abs=1e-8)
        assert found.exact_shift <= found.shift
        assert found.nats <= nats
    else:
        assert found.nats <= most + 1e-15
        assert reached(found.exact_shift) == pytest.approx(most, abs=1e-9)


def test_the_standard_deviation_alone_gives_the_same_shift():
    reward = np.array(REWARDS["varied"])
    one, other = prescribe(reward, nats=0.1, beta=0.5), prescribe(sd=reward.std(), nats=0.1, beta=0.5)
    assert one.shift == pytest.approx(other.shift, rel=1e-14)
    assert other.exact_shift is None
    assert other.nats is None


@pytest.mark.parametrize("sd", [0.5, [0.5, 0.0, 2.0]])
def test_without_rewards_the_shift_of_groups_is_chernoffs(sd):
    """beta log(1/p)/G holds for all rewards; a standard deviation does not give the range that Hoeffding's needs."""
    found = prescribe(sd=sd, nats=0.1, beta=0.2, group_size=8, failure=0.01)
    np.testing.assert_allclose(found.group_shift, np.full(np.shape(sd), 0.2 * np.log(100) / 8), rtol=1e-14)
    np.testing.assert_allclose(found.delta, np.asarray(sd) / np.sqrt(np.expm1(0.1)) / 0.2, rtol=1e-14)
    assert (found.nats, found.exact_shift, found.exact_delta, found.binding) == (None, None, None, None)


def test_equal_rewards_need_no_shift():
    found = prescribe([0.1] * 7, nats=0.1, beta=0.5, group_size=7)
    assert (found.shift, found.exact_shift, found.nats, found.binding, found.group_shift) == (0, 0, 0, False, 0)
    assert prescribe([3.0], nats=0.1, beta=0.5).shift == 0


def test_prescriptions_of_a_batch_are_those_of_its_rows():
    rewards = np.random.default_rng(0).integers(2, size=(6, 8)).astype(float)
    batch = prescribe(rewards, nats=0.05, beta=0.1)
    for row, reward in enumerate(rewards):
        alone = prescribe(reward, nats=0.05, beta=0.1)
        assert batch.exact_shift[row] == pytest.approx(alone.exact_shift, rel=1e-12)
        assert batch.nats[row] == pytest.approx(alone.nats, rel=1e-12)


def test_the_bound_on_chi_squared_is_attained_as_beta_vanishes():
    shift, reward = 2.0, np.array(REWARDS["varied"])
    mean = BEHAVIOR @ reward
    sd = np.sqrt(BEHAVIOR @ (reward - mean) ** 2)
    target = ps.induced_target(
        ps.Bandit(BEHAVIOR, reward), ps.algorithm("dro", beta=1e-7, baseline=float(mean - shift))
    )
    bound, _, gain = step_bounds(sd, shift)
    assert chi_squared(target.log_ratio, BEHAVIOR) == pytest.approx(bound, rel=1e-6)
    assert target.policy @ reward - mean == pytest.approx(gain, rel=1e-6)


def test_the_bound_on_kl_is_attained_by_a_policy_on_one_arm():
    chi, divergence = (f(np.log([1e-300, 1 / 0.2]), np.array([0.8, 0.2])) for f in (chi_squared, kl))
    assert divergence == pytest.approx(np.log1p(chi), rel=1e-12)


def test_chernoffs_shift_cannot_be_less_for_all_rewards():
    """One rare arm of reward 1: all of G samples hit it with probability mu^G, which approaches e^(-G delta)."""
    delta, group, beta = 0.7, 6, 1e-4
    chance = np.exp(-delta - 1e-3)
    soft = 1 + beta * np.log(chance + (1 - chance) * np.exp(-1 / beta))
    assert soft + delta * beta < 1  # so that a mean of 1 is above it
    assert chance**group == pytest.approx(np.exp(-group * delta), rel=1e-2)


@pytest.mark.parametrize("failure", [0.3, 0.05])
def test_groups_are_negative_as_rarely_as_was_asked(failure):
    for chance, beta, size in product((0.02, 0.3, 0.8), (0.05, 0.5, 5.0), (4, 16)):
        asked = prescribe([0, 1], behavior=[1 - chance, chance], nats=1.0, beta=beta, group_size=size, failure=failure)
        soft = beta * np.log(1 - chance + chance * np.exp(1 / beta))
        wins = np.arange(size + 1)
        negative = wins / size - asked.group_shift > soft + 1e-12
        assert binom.pmf(wins[negative], size, chance).sum() <= failure


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": None}, "give one of reward and sd"),
        ({"sd": 1.0}, "give one of reward and sd"),
        ({"reward": None, "sd": 1.0, "behavior": [1.0]}, "give the rewards too"),
        ({"nats": 0.0}, "nats is 0.0"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"group_size": 2.5}, "group_size is 2.5"),
        ({"group_size": 4, "failure": 1.0}, "failure is 1.0"),
        ({"reward": None, "sd": -1.0}, "sd is -1"),
    ],
)
def test_bad_prescriptions_are_named(change, message):
    given = {"reward": [0, 1], "nats": 0.1, "beta": 0.5} | change
    with pytest.raises(ValueError, match=message):
        prescribe(**given)


# --- rate and leak --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", REWARDS.values(), ids=REWARDS)
@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_the_recursion_stays_below_its_bound_and_below_the_simple_ones(reward, delta):
    bandit, beta, syncs = ps.Bandit(BEHAVIOR, reward), 0.4, 12
    chosen = ps.algorithm("shifted_mean", beta=beta, delta=delta) if delta else ps.algorithm("kimi_k15", tau=beta)
    reached = bandit.reward.max() - ideal_recursion(bandit, chosen, syncs).policy[0] @ bandit.reward
    bounds = gap_bounds(bandit, beta, delta, syncs)
    assert reached <= bounds[-1] + 1e-9
    best = BEHAVIOR[bandit.reward == bandit.reward.max()].sum()
    first = bandit.reward.max() - BEHAVIOR @ bandit.reward
    unit = beta * (1 + delta) + first
    assert (bounds <= -unit * np.log(best) / np.arange(1, syncs + 1) + 1e-12).all()
    # What was there before: (beta_eff log(1/mu*) + r* - E r)/n with beta_eff = beta + R/log(1 + R/(R + delta beta)).
    spread = np.ptp(bandit.reward)
    effective = beta + (spread / np.log1p(spread / (spread + delta * beta)) if spread else 0.0)
    assert (bounds <= (-effective * np.log(best) + first) / np.arange(1, syncs + 1) + 1e-12).all()


def test_arms_that_are_never_played_and_equal_rewards_have_no_gap():
    assert (gap_bounds(ps.Bandit([0.5, 0.5, 0.0], [1, 1, 9]), 0.5, 1.0, 3) == 0).all()


@pytest.mark.parametrize("change", [{"beta": 0.0}, {"delta": -1.0}, {"syncs": 0}])
def test_bad_rates_are_refused(change):
    given = {"beta": 0.5, "delta": 1.0, "syncs": 3} | change
    with pytest.raises(ValueError, match=next(iter(change))):
        gap_bounds(ps.Bandit([0.5, 0.5], [0, 1]), **given)


def test_the_lowest_minimum_leaves_the_principal_one_inside_the_critical_offset():
    behavior, reward, offset = np.array([0.5, 0.4999, 1e-4]), np.array([1.0, 0.0, 0.0]), 0.0833
    soft = np.log(behavior @ np.exp(reward))
    assert offset < critical_offset(behavior, reward - soft)
    points = ps.stationary_points(
        ps.Bandit(behavior, reward), ps.algorithm("dro", beta=1.0, baseline=float(soft + offset))
    )
    advantage = reward - soft - offset

    def loss(policy: np.ndarray) -> float:  # relative to the behavior policy's
        return float(behavior @ ((np.log(policy / behavior) - advantage) ** 2 - advantage**2)) / 2

    principal = next(point for point in points if point.rare_arm is None)
    assert points[0].rare_arm == 2
    assert loss(points[0].policy) < loss(principal.policy)
    assert loss(principal.policy) == pytest.approx(principal.loss, abs=1e-12)
    assert points[0].policy[2] == pytest.approx(1 - np.exp(-offset), abs=0.02)
    assert points[0].policy[2] > 500 * behavior[2]


# --- the table of recursions ----------------------------------------------------------------------------------------

FAST = ("reinforce", "asymre", "opmd", "kimi_k15", "shifted_mean", "awr", "cispo", "pevi", "dpo")


@pytest.mark.parametrize("name", FAST)
def test_the_page_says_what_the_recursion_does(name):
    row = f"| {name} | {' | '.join(recursions.course(name).cells)} |"
    assert row in recursions.PAGE.read_text("utf-8").splitlines()


def test_the_page_has_a_row_for_every_entry():
    rows = [line.split(" | ")[0] for line in recursions.PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    assert rows[1:] == [f"| {name}" for name in ps.catalogue()]


@pytest.mark.parametrize(("name", "delta"), [("opmd", 0.0), ("kimi_k15", 0.0), ("shifted_mean", 1.0)])
def test_last_factors_are_those_of_the_theory(name, delta):
    gap = (recursions.REWARDS[-1] - recursions.REWARDS[-2]) / recursions.TEMPERATURES["beta"]
    wanted = lambertw(delta * np.exp(delta - gap)).real / delta if delta else np.exp(-gap)
    assert float(recursions.course(name).cells[-1]) == pytest.approx(wanted, abs=0.01)


# --- the verifier notices ------------------------------------------------------------------------------------------


def failing(*names: str) -> set[str]:
    chosen = [replace(TABLE[name], proof=None) for name in names]
    return {o.claim.id for o in verify(chosen, instances=100, examples=1) if not o.ok}


def test_a_width_that_is_too_small_is_noticed(monkeypatch):
    right = guarantees.confidence_width
    from pessimism.claims import confidence

    monkeypatch.setattr(confidence, "confidence_width", lambda *given: 0.7 * right(*given))
    assert failing("lcb.tail") == {"lcb.tail"}
    assert (confidence_width(1, 1, 5, 0.1) * 0.7) ** 2 < chi2.isf(0.1, 5)


def test_a_baseline_that_is_off_is_noticed(monkeypatch):
    from pessimism.claims import confidence

    right = guarantees.lcb

    def off(*given, **options):
        found = right(*given, **options)
        return replace(found, baseline=np.asarray(found.baseline) + 1e-6 * np.abs(given[0].reward).max())

    monkeypatch.setattr(confidence, "lcb", off)
    assert failing("lcb.regression") == {"lcb.regression"}


def test_a_penalty_of_half_the_width_is_noticed(monkeypatch):
    right = guarantees._on_path
    monkeypatch.setattr(guarantees, "_on_path", lambda shares, scaled, strength: right(shares, scaled, strength / 2))
    assert failing("lcb.maximizer", "lcb.event") == {"lcb.maximizer"}


def test_a_shift_that_is_too_small_is_noticed(monkeypatch):
    from pessimism.claims import trust_region

    right = guarantees.prescribe

    def less(*given, **options):
        found = right(*given, **options)
        return replace(found, shift=0.1 * np.asarray(found.shift), exact_shift=0.9 * np.asarray(found.exact_shift))

    monkeypatch.setattr(trust_region, "prescribe", less)
    assert failing("trust_region.prescription") == {"trust_region.prescription"}


def test_the_nominal_target_in_place_of_the_induced_one_is_noticed(monkeypatch):
    from pessimism import targets

    monkeypatch.setattr(targets, "induced_target", targets.nominal_target)
    names = ("lcb.regression", "trust_region.bounds", "trust_region.prescription")
    assert failing(*names) == set(names)


def test_a_recursion_that_lags_is_noticed(monkeypatch):
    right = ps.induced_target

    def slow(bandit: ps.Bandit, chosen: ps.Algorithm):
        return right(ps.Bandit(bandit.behavior, 0.05 * bandit.reward), chosen)

    monkeypatch.setattr(ps, "induced_target", slow)
    assert failing("rate.tilt", "rate.gap") == {"rate.tilt", "rate.gap"}
