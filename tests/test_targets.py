"""Targets: reference values, kinked objectives against a simulation, faces and collapses, users' own objectives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

import pessimism as ps

ONE = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
TWO = ps.Bandit([0.118, 0.273, 0.0989, 0.0211, 0.489], [0.914, -0.02, -1.249, -0.314, 0.054])

REFERENCE = [  # theory section 5
    (ONE, "dro", {"beta": 0.5}, 0.116749163205, [0.2923834191821, 0.1754300515092, 0.5321865293087]),
    (ONE, "shifted_mean", {"beta": 0.5}, 0.5343833529296, [0.3931597454774, 0.2358958472864, 0.3709444072362]),
    (ONE, "oapl", {"beta1": 1.0, "beta2": 0.5}, 0.05821358291964, [0.2606369879785, 0.1563821927871, 0.5829808192344]),
    (TWO, "dro", {"beta": 0.7}, 0.1183655924692,
     [0.2885444220026, 0.2304623817443, 0.0161849999711, 0.01223816684398, 0.452570029438]),
    (TWO, "shifted_mean", {"beta": 0.7}, 0.7452242269288,
     [0.1982624594648, 0.2610651129743, 0.03203710243259, 0.0162022168842, 0.4924331082441]),
    (TWO, "oapl", {"beta1": 2.0, "beta2": 0.7}, 0.07167089252685,
     [0.3066722367284, 0.2241489144922, 0.01502543267655, 0.01169795073671, 0.4424554653661]),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(REFERENCE)))
def test_reference_values(case: int) -> None:
    bandit, name, parameters, normalizer, policy = REFERENCE[case]
    target = ps.induced_target(bandit, ps.algorithm(name, **parameters))
    assert target.normalizer == pytest.approx(normalizer, rel=2e-12)
    np.testing.assert_allclose(target.policy, policy, rtol=2e-12)
    assert (target.regime, target.kind, target.method, target.unique) == ("positive", "interior", "closed form", True)
    assert target.support.all()


# --- regimes ----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), beta=st.sampled_from([0.05, 0.5, 5.0]), offset=st.floats(-3, 0.9))
def test_regimes_by_the_baseline(seed: int, beta: float, offset: float) -> None:
    """V below, at and above the soft value V* = beta log E exp(r/beta); lambda = E A + beta KL(mu|pi)."""
    rng = np.random.default_rng(seed)
    bandit = ps.Bandit(rng.dirichlet(np.ones(5)), rng.normal(size=5))
    top = bandit.reward.max()
    soft = top + beta * np.log(bandit.behavior @ np.exp((bandit.reward - top) / beta))
    if abs(offset) < 1e-3:
        offset = 0.01
    made = ps.algorithm("dro", beta=beta, baseline=soft + offset * beta)
    target = ps.induced_target(bandit, made)
    assert target.regime == ("positive" if offset < 0 else "negative")
    assert np.sign(target.normalizer) == -np.sign(offset)
    divergence = -bandit.behavior @ target.log_ratio
    mean = bandit.behavior @ bandit.reward - soft - offset * beta
    assert target.normalizer == pytest.approx(mean + beta * divergence, rel=1e-8, abs=1e-9 * (abs(mean) + beta))
    assert target.unique == (offset < 0)
    nominal = ps.nominal_target(bandit, made)
    np.testing.assert_allclose(nominal.policy, bandit.behavior * np.exp((bandit.reward - soft) / beta), rtol=1e-9)
    assert nominal.normalizer == pytest.approx(-offset * beta, rel=1e-9)


def test_the_boundary_is_recognized() -> None:
    rng = np.random.default_rng(0)
    bandit = ps.Bandit(rng.dirichlet(np.ones(6), size=50), rng.normal(size=(50, 6)))
    for name in ("opmd", "pmd_partition", "oapl.single_beta"):
        key = next(iter(ps.catalogue()[name].parameters))
        made = ps.algorithm(name, **{key: 0.3})
        target = ps.induced_target(bandit, made)
        assert set(target.regime) == {"boundary"}
        np.testing.assert_allclose(target.policy, ps.nominal_target(bandit, made).policy, rtol=1e-9)


def test_far_beyond_the_boundary_the_limit_depends_on_the_start() -> None:
    """theory 2.11: five local minima at V = V* + 3; the reported one is the flow's, and not called unique."""
    soft = 0.7 * math.log(TWO.behavior @ np.exp(TWO.reward / 0.7))
    made = ps.algorithm("dro", beta=0.7, baseline=soft + 3.0)
    target = ps.induced_target(TWO, made)
    assert (target.regime, target.unique) == ("negative", False)
    flow = ps.gradient_flow(TWO, made)
    np.testing.assert_allclose(target.policy, flow.policy, atol=1e-5)
    points = ps.stationary_points(TWO, made)
    assert len(points) == 5
    assert min(np.abs(point.policy - target.policy).max() for point in points) < 1e-9
    assert points[0].policy.argmax() == 3
    assert points[0].policy[3] == pytest.approx(0.986, abs=1e-3)


# --- anchored elsewhere -----------------------------------------------------------------------------------------------


def test_a_reference_as_anchor() -> None:
    """beta log(pi/ref) + lambda pi/mu = A (theory 2.15), by scipy's scalar root finder arm by arm."""
    behavior, reference, reward = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5]), np.array([0.0, 0.5, 1.0])
    beta = 0.5
    made = ps.algorithm("dro", beta=beta)
    target = ps.induced_target(ps.Bandit(behavior, reward, reference), made)
    advantage = reward - behavior @ reward

    def policy(normalizer: float) -> np.ndarray:
        return np.array(
            [
                brentq(
                    lambda p, y=y: beta * np.log(p / reference[y]) + normalizer * p / behavior[y] - advantage[y],
                    1e-9,
                    9,
                )
                for y in range(3)
            ]
        )

    normalizer = float(brentq(lambda value: policy(value).sum() - 1, 1e-6, 10.0, xtol=1e-14))  # type: ignore[arg-type]
    assert target.normalizer == pytest.approx(normalizer, rel=1e-9)
    np.testing.assert_allclose(target.policy, policy(normalizer), rtol=1e-9)
    np.testing.assert_allclose(target.log_ratio, np.log(target.policy / reference), rtol=1e-9)
    flow = ps.gradient_flow(ps.Bandit(behavior, reward, reference), made)
    np.testing.assert_allclose(flow.policy, target.policy, atol=1e-6)


def test_arms_that_only_the_reference_plays() -> None:
    """Nothing while lambda > 0; at lambda = 0 they share what is left, and say so."""
    behavior, reference = np.array([0.6, 0.4, 0.0, 0.0]), np.array([0.3, 0.3, 0.3, 0.1])
    reward = np.array([0.0, 1.0, 5.0, 9.0])
    positive = ps.induced_target(ps.Bandit(behavior, reward, reference), ps.algorithm("shifted_mean", beta=0.5))
    assert positive.regime == "positive"
    np.testing.assert_array_equal(positive.policy[2:], 0.0)
    assert positive.kind == "sparse"
    assert positive.policy.sum() == pytest.approx(1)
    made = ps.algorithm("dro", beta=0.5, baseline=2.0)
    open_end = ps.induced_target(ps.Bandit(behavior, reward, reference), made)
    covered = reference[:2] * np.exp((reward[:2] - 2.0) / 0.5)
    np.testing.assert_allclose(open_end.policy[:2], covered, rtol=1e-12)
    np.testing.assert_allclose(open_end.policy[2:] / (1 - covered.sum()), [0.75, 0.25], rtol=1e-12)
    assert (open_end.kind, open_end.unique, open_end.normalizer) == ("face", False, 0.0)


# --- degenerate targets are reported as such --------------------------------------------------------------------------


def test_at_the_boundary_arms_that_only_the_reference_plays_share_what_is_left() -> None:
    """A baseline that counts them by construction still leaves their division open: it is not the Gibbs policy."""
    behavior, reference = np.array([0.6, 0.4, 0.0, 0.0]), np.array([0.3, 0.3, 0.3, 0.1])
    reward, beta = np.array([0.0, 1.0, 2.0, 3.0]), 0.5
    target = ps.induced_target(
        ps.Bandit(behavior, reward, reference), ps.algorithm("a_star_po", beta1=beta, beta2=beta)
    )
    gibbs = reference * np.exp(reward / beta) / (reference @ np.exp(reward / beta))
    np.testing.assert_allclose(target.policy[:2], gibbs[:2], rtol=1e-9)
    np.testing.assert_allclose(target.policy[2:], (1 - gibbs[:2].sum()) * np.array([0.75, 0.25]), rtol=1e-9)
    assert (target.normalizer, target.regime, target.unique) == (0.0, "boundary", False)


def test_of_ties_the_more_probable_arm_takes_all() -> None:
    """It used to be said that they share in proportion to mu, which is stationary and not where the flow goes."""
    bandit = ps.Bandit([0.2, 0.3, 0.5], [1.0, 1.0, 0.0])
    nominal = ps.nominal_target(bandit, ps.algorithm("reinforce"))
    capped = ps.induced_target(bandit, ps.algorithm("verl.tis", cap=9.0))
    for target in (nominal, capped):
        np.testing.assert_array_equal(target.policy, [0.0, 1.0, 0.0])
        assert (target.kind, target.unique, target.rate) == ("vertex", True, 0.5)
        assert target.face.tolist() == [True, True, False]
    tight = ps.induced_target(bandit, ps.algorithm("verl.tis", cap=2.5))
    np.testing.assert_allclose(tight.policy, [0.25, 0.75, 0.0])
    assert (tight.kind, tight.unique, tight.rate) == ("sparse", True, 0.0)
    room = ps.induced_target(bandit, ps.algorithm("verl.tis", cap=1.5))  # all winners fit below the cap: no face
    np.testing.assert_allclose(room.policy, [0.4, 0.6, 0.0])
    assert not room.face.any()
    equal = ps.nominal_target(ps.Bandit([0.3, 0.3, 0.2, 0.2], [1.0, 1.0, 1.0, 0.0]), ps.algorithm("reinforce"))
    np.testing.assert_array_equal(equal.policy, [0.5, 0.5, 0.0, 0.0])
    assert equal.rate == pytest.approx(1 / 3)
    still = ps.nominal_target(ps.Bandit([0.2, 0.8], [1.0, 1.0]), ps.algorithm("reinforce"))
    np.testing.assert_array_equal(still.policy, [0.2, 0.8])
    assert (still.kind, still.unique, still.face.tolist()) == ("face", False, [True, True])


def test_rewards_that_differ_by_rounding_do_not_tie() -> None:
    bandit = ps.Bandit([0.5, 0.3, 0.2], [1.0, np.nextafter(1.0, 2.0), 0.0])
    target = ps.nominal_target(bandit, ps.algorithm("reinforce"))
    np.testing.assert_array_equal(target.policy, [0.0, 1.0, 0.0])
    assert not target.face.any()


@pytest.mark.parametrize("name", ["reinforce", "topr", "cispo", "ls", "grpo.no_ratio"])
def test_no_signal_leaves_every_policy_a_target(name: str) -> None:
    bandit = ps.Bandit([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.5]])
    target = ps.induced_target(bandit, ps.algorithm(name))
    assert (target.kind[0], bool(target.unique[0])) == ("face", False)
    np.testing.assert_allclose(target.policy[0], [0.2, 0.3, 0.5])
    assert target.normalizer[0] == 0
    assert target.kind[1] != "face"


def test_a_face_has_the_played_arms_only() -> None:
    target = ps.induced_target(ps.Bandit([0.4, 0.6, 0.0], [0.0, 0.0, 0.0]), ps.algorithm("reinforce"))
    assert (target.kind, target.face.tolist(), target.support.tolist()) == ("face", *[[True, True, False]] * 2)


def test_collapse_and_projection() -> None:
    collapse = ps.induced_target(ONE, ps.algorithm("reinforce"))
    assert (collapse.kind, collapse.regime, collapse.normalizer) == ("vertex", "boundary", 0.0)
    assert collapse.support.tolist() == [False, False, True]
    assert collapse.log_policy[0] == -math.inf
    projection = ps.induced_target(ONE, ps.algorithm("asymre", shift=-0.1))
    # A = (-.1, -.1, .9), mu A = (-.05, -.03, .18), E A = .1: tau = .08 and all mass stays on the last arm
    assert (projection.kind, projection.regime) == ("vertex", "positive")
    wide = ps.induced_target(ONE, ps.algorithm("asymre", shift=-1.0))
    np.testing.assert_allclose(wide.policy, [0.5 * 0.8, 0.3 * 0.8, 0.2 * 1.8])
    assert (wide.kind, wide.normalizer) == ("interior", pytest.approx(1.0))


def test_a_positive_shift_runs_to_a_vertex_numerically() -> None:
    target = ps.induced_target(TWO, ps.algorithm("asymre", shift=0.5))
    assert (target.kind, target.regime, target.unique, target.method) == ("vertex", "negative", False, "flow")
    assert target.policy.max() == pytest.approx(1.0, abs=1e-5)


def test_targets_of_a_batch_may_take_different_routes() -> None:
    """One row in closed form, one beyond the principal branch: same array, each row said how."""
    rewards = np.stack([TWO.reward, TWO.reward])
    baselines = {"v": np.array([-1.0, 3.0])}
    made = ps.algorithm("dro", beta=0.7, baseline=lambda reward, behavior: baselines["v"][: len(reward)])
    target = ps.induced_target(ps.Bandit(np.stack([TWO.behavior] * 2), rewards), made)
    assert target.method[0] == "closed form"
    assert target.method[1] != "closed form"
    assert target.regime.tolist() == ["positive", "negative"]
    assert target.unique.tolist() == [True, False]
    for row, value in enumerate(baselines["v"]):
        single = ps.induced_target(TWO, ps.algorithm("dro", beta=0.7, baseline=float(value)))
        np.testing.assert_allclose(target.policy[row], single.policy, atol=1e-9)
        assert target.normalizer[row] == pytest.approx(single.normalizer, rel=1e-9)


def test_what_a_target_prints() -> None:
    shown = repr(ps.induced_target(ONE, ps.algorithm("shifted_mean", beta=0.5)))
    assert shown == (
        "Target([0.39316  0.235896 0.370944], normalizer=0.534383, regime=positive, interior, closed form)"
    )
    batch = ps.induced_target(ps.Bandit([ONE.behavior] * 2, ONE.reward), ps.algorithm("dro"))
    assert repr(batch) == "Target(batch shape (2,), 3 arms)"


# --- kinked objectives: a plain simulation, and what must hold at a limit ---------------------------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def euler(made: ps.Algorithm, bandit: ps.Bandit, steps: int, size: float) -> np.ndarray:
    """The softmax update itself on a batch, step by small step: no solver, no knowledge of kinks."""
    advantage = made.baseline.exact(bandit.reward, bandit.behavior).advantage
    seen, weights = bandit.behavior > 0, made.weights(bandit.behavior)
    start, logits = np.where(seen, bandit.log_behavior, 0.0), bandit.log_behavior
    for _ in range(steps):
        policy = softmax(logits)
        log_ratio = np.log(policy, out=start.copy(), where=seen) - start
        weighted = bandit.behavior * made.coefficient(log_ratio, advantage, **weights)
        logits = logits + size * (weighted - policy * weighted.sum(axis=-1, keepdims=True))
    return softmax(logits)


KINKED = [
    "ppo", "ppo_dual_clip", "dapo", "rec_oneside_nois", "rec_oneside_is", "rec_twoside", "rec_ring", "grpo",
    "prime_rl.default", "prime_rl.ipo", "dppo_tv", "dppo_kl", "kimi_k25", "verl.icepop",
]  # fmt: skip


@pytest.mark.parametrize("name", KINKED)
def test_kinked_targets_against_a_plain_simulation(name: str) -> None:
    three = [0.25, 0.4, 0.35, 0.0, 0.0], [1.0, 0.2, -0.5, 0.0, 0.0]
    both = ps.Bandit(np.stack([TWO.behavior, three[0]]), np.stack([TWO.reward, three[1]]))
    # DPPO's masks leave the rare arms of the other bandit alone, which then fall for longer than Euler steps can go.
    bandit, size = (both[1:], 2e-2) if name.startswith("dppo") else (both, 5e-3)
    entry = ps.catalogue()[name]
    made = ps.algorithm(name, **(entry.examples | ({"tau": 0.1} if "tau" in entry.parameters else {})))
    target = ps.induced_target(bandit, made)
    # Euler steps overshoot a clip by a step and chatter there; slow arms are still on their way like 1/t.
    np.testing.assert_allclose(euler(made, bandit, 20_000, size), target.policy, atol=2e-2)


@pytest.mark.parametrize("name", ["ppo", "dapo", "rec_oneside_nois", "rec_oneside_is", "gspo"])
def test_at_a_limit_every_arm_is_clipped_held_or_balanced(name: str) -> None:
    """Filippov's condition: with mu c - pi lambda = 0 on every arm that keeps mass, where an arm at its clip may take

    any coefficient between 0 (beyond the clip) and its own value (short of it), and lambda is the sum of mu c.
    """
    rng = np.random.default_rng(35)
    bandit = ps.Bandit(rng.dirichlet(np.full(4, 2.0), size=12), rng.normal(size=(12, 4)))
    made = ps.algorithm(name)
    target = ps.induced_target(bandit, made)
    assert set(target.kind) <= {"path-dependent", "vertex"}
    assert not target.unique.any()
    advantage = made.advantage(bandit.reward, bandit.behavior)
    limits = [np.log1p(made.parameters["high"]), np.log1p(-made.parameters["low"])]
    clip = np.where(advantage >= 0, *limits)
    held = np.abs(target.log_ratio - clip) < 1e-5
    short = np.where(advantage >= 0, clip - 1e-3, clip + 1e-3)
    full = bandit.behavior * made.coefficient(np.where(held, short, target.log_ratio), advantage)
    for row in range(len(target.policy)):
        # Free arms demand lambda = mu c / pi; those at their clip take any with pi lambda between 0 and mu c.
        keeps, at_clip = target.policy[row] > 1e-6, held[row]
        demanded = full[row][keeps & ~at_clip] / target.policy[row][keeps & ~at_clip]
        normalizer = demanded[0] if demanded.size else target.normalizer[row]
        np.testing.assert_allclose(demanded, normalizer, atol=1e-5)
        share = normalizer * target.policy[row][at_clip]
        assert (share >= np.minimum(0, full[row][at_clip]) * 1.01 - 1e-6).all()
        assert (share <= np.maximum(0, full[row][at_clip]) * 1.01 + 1e-6).all()


def test_ppo_on_two_arms_by_hand() -> None:
    """mu = (.5, .5), A = (.5, -.5): the first arm rises to 1.2, which leaves the second at .8, its own clip."""
    target = ps.induced_target(ps.Bandit([0.5, 0.5], [1.0, 0.0]), ps.algorithm("ppo"))
    np.testing.assert_allclose(target.policy, [0.6, 0.4], atol=1e-5)
    uneven = ps.induced_target(ps.Bandit([0.5, 0.5], [1.0, 0.0]), ps.algorithm("ppo", low=0.2, high=0.1))
    np.testing.assert_allclose(uneven.policy, [0.6, 0.4], atol=1e-5)  # the second arm goes on to its own clip
    assert uneven.method == "flow"


# --- users' own objectives --------------------------------------------------------------------------------------------


def cubic(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
    return advantage - 0.5 * log_ratio**3


OWN = {
    "cubic": ps.Algorithm(cubic),
    "cubic, constant baseline": ps.Algorithm(cubic, baseline=-0.5),  # type: ignore[arg-type]
    "sinh": ps.Algorithm(lambda log_ratio, advantage: advantage - np.sinh(log_ratio), baseline=lambda r, mu: -1.0),  # type: ignore[arg-type]
    "chi-squared": ps.Algorithm(lambda log_ratio, advantage: advantage - 3 * np.expm1(log_ratio), baseline=-0.5),  # type: ignore[arg-type]
    "weighted": ps.Algorithm(
        lambda log_ratio, advantage: np.exp(log_ratio) * (advantage - 0.5 * log_ratio),
        on_policy=lambda log_ratio, advantage: advantage - 0.5 * log_ratio,
        anchor="behavior",
    ),
    "coupled": ps.Algorithm(
        lambda log_ratio, advantage, behavior: (
            (advantage - 0.5 * log_ratio) - (behavior * (advantage - 0.5 * log_ratio)).sum(axis=-1, keepdims=True)
        ),
        coupled=True,
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_a_user_s_objective_gets_everything(name: str) -> None:
    made = OWN[name]
    comparison = ps.compare(TWO, made)
    target = comparison.induced
    assert target.method == "fixed point"
    assert target.kind == "interior"
    advantage = made.advantage(TWO.reward, TWO.behavior)
    value = made.coefficient(target.log_ratio, advantage, **made.weights(TWO.behavior))
    np.testing.assert_allclose(value, target.normalizer * np.exp(target.log_ratio), atol=1e-10)
    np.testing.assert_allclose(ps.gradient_flow(TWO, made).policy, target.policy, atol=1e-6)
    assert comparison.nominal.policy.sum() == pytest.approx(1)
    assert comparison.verdict
    if name in ("weighted", "coupled"):
        np.testing.assert_allclose(target.policy, comparison.nominal.policy, atol=1e-9)
        gibbs = TWO.behavior * np.exp(TWO.reward / 0.5)
        np.testing.assert_allclose(target.policy, gibbs / gibbs.sum(), atol=1e-9)
        assert target.regime is None
    else:
        assert target.regime in ("positive", "negative")
        assert comparison.induced_metrics.kl < comparison.nominal_metrics.kl


def test_the_nominal_target_of_a_user_s_regression_solves_c_equal_constant() -> None:
    """c = A - .5 l^3 on its own data stops where A - .5 l^3 is the same for every arm."""
    target = ps.nominal_target(TWO, OWN["cubic"])
    value = cubic(target.log_ratio, OWN["cubic"].advantage(TWO.reward, TWO.behavior))
    np.testing.assert_allclose(value, value[0], atol=1e-8)
    assert target.normalizer == pytest.approx(value[0], abs=1e-8)


def test_a_coefficient_without_log_ratio_claims_the_best_arm() -> None:
    """c = g(A): on its own data the most rewarded arm by g wins, ties and all."""
    made = ps.Algorithm(lambda log_ratio, advantage: np.round(advantage, 1) + 0 * log_ratio)
    target = ps.nominal_target(ps.Bandit([0.25, 0.25, 0.5], [1.0, 1.01, 0.0]), made)
    assert (target.kind, target.unique, target.face.tolist()) == ("sparse", True, [True, True, False])
    np.testing.assert_allclose(target.policy, [0.5, 0.5, 0.0])
    ratio_free = ps.induced_target(ps.Bandit([0.25, 0.25, 0.5], [1.0, 2.0, 0.0]), made)
    assert ratio_free.method == "flow"
    assert ratio_free.kind == "vertex"


def widened(bandit: ps.Bandit) -> ps.Bandit:
    """The same bandit with an arm that is never played and would be the best."""
    return ps.Bandit(np.append(bandit.behavior, 0.0), np.append(bandit.reward, 7.0))


@pytest.mark.parametrize("name", OWN)
def test_a_user_s_objective_does_not_mind_unplayed_arms(name: str) -> None:
    for function in (ps.induced_target, ps.nominal_target):
        base, wider = function(TWO, OWN[name]), function(widened(TWO), OWN[name])
        np.testing.assert_allclose(wider.policy[:5], base.policy, atol=1e-8)
        assert wider.policy[5] == 0
        assert (wider.method, wider.kind, wider.regime) == (base.method, base.kind, base.regime)


def test_regimes_of_numeric_targets() -> None:
    """By the sign of the normalizer, here of c = A - sinh l under baselines around its boundary."""

    def regime(baseline: float) -> str:
        made = ps.Algorithm(lambda x, a: a - np.sinh(x), baseline=baseline)  # type: ignore[arg-type]
        return ps.induced_target(TWO, made).regime

    def excess(baseline: float) -> float:  # at lambda = 0, sinh l = r - V on every arm
        return float(TWO.behavior @ np.exp(np.arcsinh(TWO.reward - baseline)) - 1)

    boundary = float(brentq(excess, -2, 2, xtol=1e-15))  # type: ignore[arg-type]
    assert [regime(boundary - 0.05), regime(boundary), regime(boundary + 0.05)] == ["positive", "boundary", "negative"]


def test_beyond_the_boundary_numeric_routes_end_where_the_flow_does() -> None:
    """The first fixed point that a solver meets may be one that the flow leaves: it must not be reported."""
    soft = 0.7 * math.log(TWO.behavior @ np.exp(TWO.reward / 0.7))
    for offset in (0.1, 0.5, 1.0, 3.0):
        own = ps.Algorithm(lambda x, a: a - 0.7 * x, baseline=soft + offset)  # type: ignore[arg-type]
        listed = ps.algorithm("dro", beta=0.7, baseline=soft + offset)
        flow = ps.gradient_flow(TWO, own)
        for bandit in (TWO, widened(TWO)):
            for made in (own, listed):
                target = ps.induced_target(bandit, made)
                np.testing.assert_allclose(target.policy[:5], flow.policy, atol=1e-5)
                assert target.regime == "negative"


def test_how_nominal_targets_are_found() -> None:
    assert ps.nominal_target(TWO, OWN["cubic"]).method == "fixed point"
    assert ps.nominal_target(TWO, OWN["coupled"]).method in ("fixed point", "flow")
    assert ps.nominal_target(TWO, ps.algorithm("dro")).method == "closed form"
    sparse = ps.Algorithm(lambda x, a: a - 0.01 * np.expm1(x))  # on its own data a few arms lose everything
    target = ps.nominal_target(TWO, sparse)
    assert target.method == "flow"
    assert target.kind in ("sparse", "vertex")
    only = ps.nominal_target(TWO, ps.Algorithm(lambda x, a: a - 0.5 * x, on_policy=lambda x, a: a))
    assert (only.kind, only.policy.argmax()) == ("vertex", 0)
    assert only.normalizer == pytest.approx(TWO.reward[0] - TWO.behavior @ TWO.reward)


def test_what_longer_targets_print() -> None:
    rng = np.random.default_rng(0)
    many = ps.Bandit(rng.dirichlet(np.ones(40)), rng.normal(size=40))
    assert "..." in repr(ps.induced_target(many, ps.algorithm("dro")))
    batch = ps.induced_target(ps.Bandit(np.full((2, 3, 4), 0.25), rng.normal(size=4)), ps.algorithm("dro"))
    assert repr(batch) == "Target(batch shape (2, 3), 4 arms)"
