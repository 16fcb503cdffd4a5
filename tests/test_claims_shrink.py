"""Counterexamples: they shrink, still refute, and are run again by the program that is printed."""

import runpy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pessimism as ps
from pessimism.claims import CLAIMS, Case, Claim, claim, claim_about, known_claims, verify
from pessimism.claims.families import RANDOM, SMALL, TIES
from pessimism.claims.shrink import shrink
from pessimism.views.outcomes import Replay

MODULE = """
import numpy as np
from pessimism.claims import claim, claim_about, claims_in
from pessimism.claims.families import TIES
import pessimism as ps


@claim_about("kimi_k15", "mine.value", "my own", (TIES,), 1e-9)
def value_is_bounded(case, algorithm):
    '''The target gains at most a tenth of the largest reward.'''
    gain = ps.induced_target(case.bandit, algorithm).policy - case.bandit.behavior
    largest = np.abs(case.bandit.reward).max(axis=-1)
    return (gain * case.bandit.reward).sum(axis=-1) - 0.1 * largest


CLAIMS = claims_in(vars())
"""


def largest_share(case: Case) -> np.ndarray:
    """No arm has more than half of the mass, where there are two or more."""
    applies = (case.bandit.behavior > 0).sum(axis=-1) > 1
    return np.where(applies, case.bandit.behavior.max(axis=-1) - 0.5, -np.inf)


SHARE = claim("test.share", "here", SMALL, 1e-9)(largest_share)


@given(st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=7), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_a_shrunk_counterexample_still_refutes_and_is_no_larger(weights, seed):
    behavior = np.array(weights) / np.sum(weights)
    reward = np.random.default_rng(seed).normal(size=len(weights))
    case = Case("drawn", ps.Bandit([behavior], [reward]), beta=0.7313)
    found, violation = shrink(SHARE, case)
    assert violation == SHARE.violations(found)[0]
    if SHARE.violations(case)[0] > SHARE.tolerance:
        assert violation > SHARE.tolerance
        assert found.bandit.arms == 2
        assert found.bandit.reward.tolist() == [[0, 0]]
        assert found.beta == 1.0
    else:
        assert found is case


def test_nan_shrinks_and_stays_nan():
    sick = replace(SHARE, check=lambda case: np.full(case.size, np.nan))
    found, violation = shrink(sick, Case("x", ps.Bandit([[0.25, 0.75]], [[3.0, 1.0]]), beta=2.0))
    assert np.isnan(violation)
    assert found.bandit.arms == 1


def test_a_reference_is_kept_a_policy():
    check = replace(SHARE, check=lambda case: np.ones(case.size))
    bandit = ps.Bandit([[0.2, 0.3, 0.5]], [[0.0, 1.0, 2.0]], [[0.1, 0.1, 0.8]])
    found, _ = shrink(check, Case("x", bandit, beta=2.0))
    assert found.bandit.arms == 1
    assert found.bandit.reference is not None
    assert found.bandit.reference.tolist() == [[1.0]]


def test_what_fails_only_among_others_stays_as_it_is():
    alone = replace(SHARE, check=lambda case: np.full(case.size, float(case.size > 1)))
    (outcome,) = verify([alone], instances=10, examples=1)
    assert outcome.verdict == "FAILS"
    assert outcome.violation == 0.0


@pytest.mark.parametrize("algorithm", [None, "asymre:shift=-.5"])
def test_the_printed_program_finds_the_same_violation(tmp_path, monkeypatch, capsys, algorithm):
    (tmp_path / "replayed.py").write_text(MODULE)
    place = f"{tmp_path / 'replayed.py'}:CLAIMS"
    chosen = [claim for name, claim in known_claims([place]).items() if name.startswith("mine.")]
    (outcome,) = verify(chosen, algorithm=algorithm, instances=30, examples=2, places=[place])
    assert outcome.verdict == "FAILS"
    assert outcome.counterexample is not None
    assert outcome.violation > outcome.claim.tolerance
    program = tmp_path / "program.py"
    program.write_text(Replay(algorithm, (place,)).program(outcome.claim, outcome.counterexample))
    runpy.run_path(str(program))
    printed = capsys.readouterr().out
    assert printed == f"{np.array([outcome.violation])} allowed: {outcome.claim.tolerance}\n"


def test_a_claim_about_a_given_algorithm_is_about_it():
    def name_length(case, algorithm):
        """Names are shorter than nine letters."""
        return np.full(case.size, len(algorithm.name) / 8 - 1)

    one = claim_about("kimi_k15", "mine.name", "my own", (TIES,), 1e-9)(name_length)
    assert verify([one], instances=5, examples=1)[0].verdict == "holds"
    (outcome,) = verify([one], algorithm="shifted_mean", instances=5, examples=1)
    assert outcome.verdict == "FAILS"
    assert outcome.claim.algorithm is not None
    assert outcome.claim.algorithm.name == "shifted_mean"
    with pytest.raises(ValueError, match="its check takes no algorithm"):
        SHARE.about(ps.algorithm("oapl"))


def test_claims_of_the_catalogue_try_every_algorithm_on_one_instance_alone():
    seen = []
    entries = [ps.Algorithm(lambda x, a: a - x, name=str(number)) for number in range(40)]
    from pessimism.claims.generic import _over

    def judge(bandit, chosen):
        seen.append(chosen.name)
        return np.zeros(len(bandit.behavior))

    case = Case("x", ps.Bandit([[0.5, 0.5]], [[0.0, 1.0]]), beta=1.0)
    _over(lambda: entries, judge, replace(case, alone=True))
    assert len(set(seen)) == 40


def test_tsallis_regression_is_not_blamed_for_where_its_flow_stops():
    """c = A - b (rho^(1-q) - 1)/(1-q), q = b = 1/2: no fixed point is found here, and a flow rests to fewer digits."""

    def coefficient(log_ratio, advantage):
        return advantage - 0.5 * np.expm1(0.5 * log_ratio) / 0.5

    tsallis = ps.Algorithm(coefficient, name="tsallis")
    claim = known_claims(algorithm=tsallis)["objective.fixed_point"]
    instance = Case("small", ps.Bandit([[0.0502283912249368, 0.9497716087750632]], [[0.0, 1.0]]), beta=1.0)
    assert claim.violations(instance)[0] <= claim.tolerance
    # The claim mixes in a tenth of the uniform policy before it follows a flow.
    mixed = ps.Bandit(0.9 * instance.bandit.behavior + 0.05, instance.bandit.reward)
    found = ps.induced_target(mixed, tsallis)
    assert (found.method[0], found.kind[0]) == ("flow", "interior")


def test_a_target_that_is_off_by_a_millionth_still_fails(monkeypatch):
    from pessimism import targets

    right = targets.induced_target

    def wrong(bandit, algorithm):
        found = right(bandit, algorithm)
        x = found.log_ratio + 1e-6 * (bandit.reward - bandit.reward.mean(axis=-1, keepdims=True))
        policy = bandit.behavior * np.exp(x)
        return replace(found, log_ratio=x, policy=policy / policy.sum(axis=-1, keepdims=True))

    monkeypatch.setattr(targets, "induced_target", wrong)
    linear = ps.Algorithm(lambda x, a: a - 0.5 * x, name="linear")
    (outcome,) = verify([CLAIMS["objective.fixed_point"]], algorithm=linear, instances=60, examples=2)
    assert outcome.verdict == "FAILS"


def test_families_are_public():
    made: Claim = claim("test.family", "here", (RANDOM,), 1.0)(largest_share)
    assert verify([made], instances=10, examples=1)[0].instances > 0
