"""The claims hold at small size, and the verifier itself is tested: it fails where the package is made wrong."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism import baseline_rules, targets
from pessimism.claims import CLAIMS, Case, Claim, known_claims, verify
from pessimism.claims import families as instance_families
from pessimism.claims.case import NOT_APPLICABLE
from pessimism.claims.falsify import falsify
from pessimism.claims.symbolic import is_positive, is_zero
from pessimism.objectives.regression import lambert_target

SLOW = ("objective.policy", "objective.fixed_point", "objective.flow", "negative.minima")
QUICK: dict[str, Any] = {"instances": 60, "examples": 8}


def core_claims(*names: str) -> list[Claim]:
    return [CLAIMS[name] for name in names]


def few_arms(claim: Claim) -> Claim:
    """The claim without its proof and without instances of 100,000 arms: `make verify` tries both."""
    families = tuple(family for family in claim.families if family is not instance_families.MANY_ARMS)
    assert families or not claim.families
    return replace(claim, proof=None, families=families)


def failed(claims: list[Claim], **options) -> set[str]:
    return {outcome.claim.id for outcome in verify(claims, **(QUICK | options)) if not outcome.ok}


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_comes_out_as_stated(name):
    claim = CLAIMS[name]
    # One example: the search draws constants that hypothesis finds in whatever modules are loaded, so longer searches
    # differ between test orders. They belong to `make verify`, where the modules are always the same.
    options: dict[str, Any] = {"instances": 20 if name in SLOW else 60, "examples": 1}
    (outcome,) = verify([few_arms(claim)], **options)
    assert outcome.error == ""
    assert outcome.ok, f"{outcome.verdict}: {outcome.worst:.2e} > {claim.tolerance:.0e} at {outcome.counterexample}"
    assert outcome.verdict == ("refuted" if claim.refuted else "holds")
    assert outcome.instances > 0
    assert (outcome.counterexample is not None) == claim.refuted


@pytest.mark.parametrize("name", [name for name, claim in CLAIMS.items() if claim.proof is not None])
def test_every_proof_proves(name):
    proof = CLAIMS[name].proof
    assert proof is not None
    assert proof() is True
    assert CLAIMS[name].proves


def test_wrong_statements_do_not_prove():
    import sympy as sp

    beta, lam, rho = sp.symbols("beta lambda rho", positive=True)
    real = sp.Symbol("real", real=True)
    assert is_zero(1 / (beta + lam * rho) - 1 / (lam * rho + beta))
    assert not is_zero(1 / (beta + lam * rho) - 1 / (beta - lam * rho))
    assert is_positive(1 / beta - 1 / (beta + lam * rho))
    assert not is_positive(1 / (beta + lam * rho) - 1 / beta)
    assert not is_positive(real)


def test_ids_are_their_keys_and_name_a_topic():
    assert all(name == claim.id and len(name.split(".")) == 2 for name, claim in CLAIMS.items())
    assert all(claim.statement.endswith(".") and claim.source for claim in CLAIMS.values())


def test_refuted_claims_carry_small_counterexamples():
    refuted = [claim for claim in CLAIMS.values() if claim.refuted]
    assert {"conservatism.entropy", "reinforce.best_arm", "negative.global_minimum"} <= {claim.id for claim in refuted}
    for outcome in verify(refuted, instances=1, examples=1):
        assert outcome.counterexample is not None
        assert outcome.counterexample.size == 1
        assert outcome.counterexample.bandit.arms <= 4
        # An independent look: the statement is violated on that instance alone.
        assert outcome.claim.violations(outcome.counterexample)[0] > outcome.claim.tolerance


def test_the_entropy_counterexample_is_one():
    (outcome,) = verify([CLAIMS["conservatism.entropy"]], instances=1)
    assert outcome.counterexample is not None
    bandit = outcome.counterexample.bandit
    comparison = ps.compare(bandit, ps.algorithm("kimi_k15", tau=outcome.counterexample.beta))
    assert comparison.induced_metrics.entropy[0] < comparison.nominal_metrics.entropy[0]


# --- the verifier fails where the package is wrong ------------------------------------------------------------------


def test_the_nominal_target_in_place_of_the_lambert_one_is_noticed(monkeypatch):
    monkeypatch.setattr(targets, "induced_target", targets.nominal_target)
    noticed = {
        "regression.equation",
        "regression.normalizer",
        "regimes.sign",
        "explicit.stationary",
        "mean.normalizer",
        "shifted.bound",
        "cql.fixed_point",
        "dial.limit",
        "negative.persists",
        "anchored.uncovered",
        "asymre.theorem_4_2",
        "topr.target",
        "cispo.target",
        "sequences.target",
        "values.reference",
    }
    # What is only an inequality, or about the nominal target itself, must still hold.
    kept = {"nominal.gibbs", "conservatism.value", "groups.jensen"}
    assert failed([few_arms(CLAIMS[name]) for name in sorted(noticed | kept)]) == noticed


def test_a_lambert_target_that_turns_rewards_round_is_noticed():
    right = lambert_target

    def turned(bandit, moments, **options):
        level = moments.mean[..., None]
        moved = replace(moments, advantage=level - moments.deviation, deviation=-moments.deviation)
        return right(bandit, moved, **options)

    chosen = replace(ps.algorithm("shifted_mean", beta=1.0), induced=lambda b, m: turned(b, m, beta=1.0))
    wrong = {outcome.claim.id for outcome in verify(algorithm=chosen, **QUICK) if not outcome.ok}
    assert {"objective.fixed_point", "objective.flow"} <= wrong


def test_a_sign_error_in_a_baseline_is_noticed(monkeypatch):
    def turned(statistics, *, beta):
        offset, scale = right(statistics, beta=beta)
        return -offset, scale

    right = baseline_rules.log_mean_exp_rule
    monkeypatch.setattr(baseline_rules, "log_mean_exp_rule", turned)
    wrong = failed(core_claims("regimes.boundary", "decoupled.soft_value", "decoupled.regimes", "groups.boundary"))
    assert wrong == {"regimes.boundary", "decoupled.soft_value", "decoupled.regimes", "groups.boundary"}


def test_a_scale_error_in_a_coefficient_is_noticed():
    right = ps.algorithm("awr", beta=1.0)
    wrong = replace(right, coefficient=lambda x, a: right.coefficient(x, 1.01 * a))
    found = {outcome.claim.id: outcome for outcome in verify(algorithm=wrong, **QUICK)}
    assert found["objective.fixed_point"].verdict == "FAILS"
    assert found["objective.contract"].verdict == "holds"


# --- a user's own objective -----------------------------------------------------------------------------------------


def test_a_users_objective_is_checked():
    cubic = ps.Algorithm(lambda x, a: a - 0.5 * x - x**3, baseline=ps.baselines.constant(0.25), name="cubic")
    outcomes = verify(algorithm=cubic, **QUICK)
    assert [outcome.claim.id for outcome in outcomes] == [name for name in CLAIMS if name.startswith("objective.")]
    assert all(outcome.ok for outcome in outcomes), [(o.claim.id, o.worst, o.error) for o in outcomes if not o.ok]
    assert all("cubic" in outcome.claim.statement for outcome in outcomes)


def test_a_users_objective_with_nan_fails_without_a_traceback():
    broken = ps.Algorithm(lambda x, a: np.where(x > 0.1, np.nan, a - x), name="broken")
    outcomes = verify(algorithm=broken, **QUICK)
    assert not outcomes[0].ok
    assert all(outcome.verdict in ("holds", "FAILS") for outcome in outcomes)


def test_claims_that_are_not_about_an_algorithm_are_refused():
    with pytest.raises(ValueError, match=r"those that are: objective\.contract"):
        verify([CLAIMS["regimes.sign"]], algorithm=ps.algorithm("oapl"))


# --- the machinery --------------------------------------------------------------------------------------------------


def claim_of(check, **fields) -> Claim:
    return Claim("test.claim", "A test.", "here", (instance_families.RANDOM,), check, 1e-9, **fields)


def test_a_wrong_claim_fails_with_its_worst_instance():
    claim = claim_of(lambda case: case.bandit.behavior.max(axis=-1))
    (outcome,) = verify([claim], instances=100, examples=5)
    assert (outcome.verdict, outcome.worst) == ("FAILS", 1.0)
    assert outcome.counterexample is not None
    assert outcome.counterexample.bandit.arms == 1  # as small as it can be
    assert claim.violations(outcome.counterexample) == [outcome.violation]


def test_nan_fails_and_is_what_is_shown():
    def check(case: Case) -> np.ndarray:
        found = np.full(case.size, 5.0)
        found[-1] = np.nan
        return found

    (outcome,) = verify([claim_of(check)], instances=20, examples=2)
    assert outcome.verdict == "FAILS"
    assert np.isnan(outcome.worst)
    assert outcome.counterexample is not None


def test_a_check_that_raises_fails_and_the_rest_goes_on():
    def check(case: Case) -> np.ndarray:
        raise ZeroDivisionError("on purpose")

    first, second = verify([claim_of(check), CLAIMS["awr.target"]], instances=20, examples=2)
    assert (first.verdict, first.error) == ("FAILS", "ZeroDivisionError: on purpose")
    assert second.ok


def test_a_refuted_claim_whose_check_raises_is_not_refuted():
    def check(case: Case) -> np.ndarray:
        if case.size == 1:  # the counterexample alone
            raise ZeroDivisionError("on purpose")
        return np.ones(case.size)

    search = partial(iter, [Case("two", ps.Bandit([[0.5, 0.5]] * 2, [[0.0, 1.0]] * 2), 1.0)])
    (outcome,) = verify([claim_of(check, refuted=True, search=search)], instances=20)
    assert (outcome.verdict, outcome.error) == ("NOT REFUTED", "ZeroDivisionError: on purpose")


def test_a_claim_tried_on_nothing_fails():
    (outcome,) = verify([claim_of(lambda case: np.full(case.size, NOT_APPLICABLE))], instances=20, examples=2)
    assert (outcome.verdict, outcome.instances) == ("FAILS", 0)


def test_a_check_of_the_wrong_shape_is_an_error():
    (outcome,) = verify([claim_of(lambda case: np.zeros(case.size + 1))], instances=20, examples=2)
    assert "check returned shape" in outcome.error


def test_a_refuted_claim_that_cannot_be_refuted_is_an_error():
    claim = claim_of(
        lambda case: np.zeros(case.size),
        refuted=True,
        search=lambda: iter([Case("one", ps.Bandit([[0.5, 0.5]], [[0.0, 1.0]]), 1.0)]),
    )
    (outcome,) = verify([claim], instances=20)
    assert (outcome.verdict, outcome.ok) == ("NOT REFUTED", False)


def test_an_unconfirmed_counterexample_does_not_count():
    claim = replace(CLAIMS["reinforce.best_arm"], confirm=lambda case: False)
    (outcome,) = verify([claim], instances=1)
    assert outcome.verdict == "NOT REFUTED"


def test_a_false_proof_is_not_ok():
    (outcome,) = verify([claim_of(lambda case: np.zeros(case.size), proof=lambda: False)], instances=20, examples=2)
    assert outcome.proof is False
    assert not outcome.ok


def test_the_falsifier_climbs_to_a_violation_on_a_thin_set():
    """The range of rewards against beta in a band that no family comes near."""

    def check(case: Case) -> np.ndarray:
        place = np.log10(np.maximum(np.ptp(case.bandit.reward, axis=-1), 1e-30) / case.beta)
        return np.exp(-((place - 3.3) ** 2) * 20)

    planted = replace(claim_of(check, falsify=False), families=instance_families.MODERATE, tolerance=0.2)
    (outcome,) = verify([planted])
    assert outcome.verdict == "holds"
    assert falsify(planted, seed=0, examples=600).exceeds(planted.tolerance)


def test_the_same_seed_gives_the_same_outcomes():
    names = ("regression.equation", "anchored.equation", "groups.jensen", "explicit.maximum")
    one, other, third = (verify(core_claims(*names), seed=seed, **QUICK) for seed in (3, 3, 4))
    assert [(o.worst, o.instances) for o in one] == [(o.worst, o.instances) for o in other]
    assert [o.worst for o in one] != [o.worst for o in third]


def test_extra_bandits_are_tried():
    bandit = ps.Bandit(np.full((30, 3), 1 / 3), np.tile([0.0, 0.5, 1.0], (30, 1)))
    anchored = ps.Bandit([0.5, 0.5], [0.0, 1.0], [0.2, 0.8])
    names = ("regression.equation", "anchored.equation")
    plain = verify(core_claims(*names), **QUICK)
    more = verify(core_claims(*names), extra_bandits=[bandit, anchored], **QUICK)
    assert [after.instances - before.instances for before, after in zip(plain, more, strict=True)] == [90, 3]
    assert all(outcome.ok for outcome in more)


def test_processes_give_the_same_outcomes():
    own = claim_of(lambda case: np.zeros(case.size))
    claims = [CLAIMS["awr.target"], own, CLAIMS["conservatism.entropy"]]
    bandit = ps.Bandit([[0.5, 0.5]], [[0.0, 1.0]])
    seen = []
    many = verify(claims, extra_bandits=[bandit], workers=2, progress=lambda *step: seen.append(step), **QUICK)
    one = verify(claims, extra_bandits=[bandit], **QUICK)
    assert [(o.claim.id, o.verdict, o.instances, o.proof) for o in many] == [
        (o.claim.id, o.verdict, o.instances, o.proof) for o in one
    ]
    assert str(many[2].counterexample) == str(one[2].counterexample)
    assert seen[-1] == (3, 3, "")


def test_processes_find_the_same_residuals_to_the_last_bit():
    """In a fresh process: Hypothesis tries numbers that stand in loaded modules, and tests load more than workers."""
    script = """if True:
        from pessimism.claims import CLAIMS, verify

        claims = [CLAIMS["awr.target"], CLAIMS["mean.normalizer"], CLAIMS["conservatism.entropy"]]
        one, many = (verify(claims, instances=200, workers=workers) for workers in (1, 2))
        assert all(outcome.worst > 0 for outcome in one)
        assert [outcome.worst for outcome in one] == [outcome.worst for outcome in many]
    """
    subprocess.run([sys.executable, "-c", script], check=True)


MORE = """
import subprocess
import sys
from dataclasses import replace
from pessimism.claims import CLAIMS

mine = (replace(CLAIMS["awr.target"], id="my.claim"),)
same = (CLAIMS["awr.target"],)
other = ("my.claim",)
single = CLAIMS["awr.target"]

def made():
    return [replace(CLAIMS["awr.target"], id="made.claim")]
"""


@pytest.fixture
def more(tmp_path, monkeypatch):
    """A module of claims, of a name that no other test has: what was loaded from a place is kept."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"more_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MORE)
    return name


def test_claims_of_other_places_join_in_worker_processes_too(more):
    """From a tuple, and from a function that makes them."""
    places, names = [f"{more}:mine", f"{more}:made"], ["my.claim", "made.claim"]
    known = known_claims(places)
    assert known.keys() - CLAIMS.keys() == set(names)
    assert all(known_claims(places)[name] is known[name] for name in names)
    outcomes = verify([known[name] for name in [*names, "awr.target"]], workers=2, places=places, **QUICK)
    assert [(outcome.claim.id, outcome.verdict) for outcome in outcomes] == [
        (name, "holds") for name in [*names, "awr.target"]
    ]


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("same", "there is a claim 'awr.target' already"),
        ("other", r"other\[0\] is of type str; it must be of type Claim"),
        ("single", "is of type Claim; it must be of type Sequence"),
        ("none", "has no 'none'"),
    ],
)
def test_places_without_claims_are_told_of(more, attribute, message):
    with pytest.raises(ValueError, match=f"{more}:{attribute}.*{message}|{more}:{message}"):
        known_claims([f"{more}:{attribute}"])


def test_progress_counts_to_the_end():
    seen = []
    verify(core_claims("awr.target", "roirl.target"), progress=lambda *step: seen.append(step), **QUICK)
    assert seen == [(0, 2, "awr.target"), (1, 2, "roirl.target"), (2, 2, "")]


@pytest.mark.parametrize(
    "family", [*instance_families.PLAIN, *instance_families.SMALL, *instance_families.ANCHORED], ids=lambda f: f.name
)
def test_families_are_deterministic_and_as_large_as_asked(family):
    one, other = list(family.cases(7, 200)), list(family.cases(7, 200))
    for a, b in zip(one, other, strict=True):
        assert (a.beta, a.ratio, a.offset, a.seed) == (b.beta, b.ratio, b.offset, b.seed)
        np.testing.assert_array_equal(a.bandit.reward, b.bandit.reward)
    if family is not instance_families.MANY_ARMS:
        assert sum(case.size for case in one) >= round(family.share * 200)


def test_families_reach_the_extremes():
    rare = np.concatenate([case.bandit.behavior.ravel() for case in instance_families.RARE_ARMS.cases(0, 300)])
    assert 0 < rare.min() < 1e-290
    ranges = [
        case.beta / np.ptp(case.bandit.reward)
        for family in (instance_families.TINY_BETA, instance_families.HUGE_BETA)
        for case in family.cases(0, 300)
    ]
    assert min(ranges) < 1e-6
    assert max(ranges) > 1e5
    (many,) = instance_families.MANY_ARMS.cases(0, 300)
    assert many.bandit.arms == 100_000


def test_outcomes_as_plain_values():
    import json

    (outcome,) = verify([CLAIMS["conservatism.entropy"]], instances=1)
    plain = json.loads(json.dumps(outcome.to_dict()))
    assert plain["id"] == "conservatism.entropy"
    assert plain["counterexample"]["arms"] == 2
    assert len(plain["counterexample"]["behavior"]) == 2


def test_claims_of_ones_own_are_not_dropped_beside_an_algorithm():
    own = replace(CLAIMS["regression.normalizer"], id="mine.normalizer")
    outcomes = verify([own, CLAIMS["objective.contract"]], algorithm=ps.algorithm("dro"), instances=20, examples=2)
    assert [outcome.claim.id for outcome in outcomes] == ["mine.normalizer", "objective.contract"]
    assert "'dro'" in outcomes[1].claim.statement
