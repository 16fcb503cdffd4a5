"""The claims about dynamics: they come out as stated, in worker processes too, and notice what is made wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from bandits import simulate
from bandits.claims import CLAIMS, completions, groups, recursion, support
from bandits.sequences import SequenceBandit, SequenceTree, run_to_convergence
from pessimism import targets
from pessimism.claims import CLAIMS as PACKAGE
from pessimism.claims import Case, verify
from pessimism.claims.families import MODERATE, SMALL

PLACE = "bandits.claims:CLAIMS"
TABLE = {claim.id: claim for claim in CLAIMS}
QUICK: dict[str, Any] = {"instances": 40, "examples": 1}


def failed(*names: str) -> set[str]:
    chosen = [replace(TABLE[name], proof=None) for name in names]
    return {outcome.claim.id for outcome in verify(chosen, **QUICK) if not outcome.ok}


@pytest.mark.parametrize("name", TABLE)
def test_every_claim_comes_out_as_stated(name):
    (outcome,) = verify([TABLE[name]], **QUICK)
    assert outcome.error == ""
    assert outcome.ok, f"{outcome.verdict}: {outcome.worst:.2e} > {outcome.claim.tolerance:.0e}"
    assert outcome.verdict == ("refuted" if outcome.claim.refuted else "holds")
    assert outcome.proof is (True if outcome.claim.proof else None)
    assert (outcome.counterexample is not None) == outcome.claim.refuted


def test_ids_are_new_and_name_a_topic():
    assert len(TABLE) == len(CLAIMS)
    assert not TABLE.keys() & PACKAGE.keys()
    assert all(len(claim.id.split(".")) == 2 and claim.statement.endswith(".") and claim.source for claim in CLAIMS)
    assert all(bool(claim.proof) == bool(claim.proves) for claim in CLAIMS)


def test_counterexamples_are_small():
    for outcome in verify([claim for claim in CLAIMS if claim.refuted], **QUICK):
        assert outcome.counterexample is not None
        assert outcome.counterexample.size == 1
        assert outcome.counterexample.bandit.arms <= 3


# --- through the verifier -------------------------------------------------------------------------------------------


def test_worker_processes_find_them():
    chosen = [TABLE["lag.first_step"], PACKAGE["awr.target"], TABLE["lag.grpo_best_arm"]]
    many = verify(chosen, workers=2, places=[PLACE], **QUICK)
    one = verify(chosen, **QUICK)
    assert [(o.claim.id, o.verdict, o.worst, o.instances) for o in many] == [
        (o.claim.id, o.verdict, o.worst, o.instances) for o in one
    ]


def test_the_command_line_finds_them():
    command = [
        "-m",
        "pessimism",
        "verify",
        "--claims",
        PLACE,
        "--claim",
        "lag.first_step",
        "--claim",
        "awr.*",
        "--json",
    ]
    root = Path(__file__).resolve().parent.parent
    finished = subprocess.run([sys.executable, *command], cwd=root, capture_output=True, text=True, check=True)
    found = json.loads(finished.stdout)["claims"]
    assert [(outcome["id"], outcome["verdict"]) for outcome in found] == [
        ("awr.target", "holds"),
        ("lag.first_step", "holds"),
    ]


# --- what is made wrong is noticed ----------------------------------------------------------------------------------


def test_the_nominal_target_in_place_of_the_induced_one_is_noticed(monkeypatch):
    monkeypatch.setattr(ps, "induced_target", targets.nominal_target)
    names = ("recursion.gain", "recursion.shifted_mean", "recursion.last_rate", "asymre.keeps_all", "lag.windows")
    assert failed(*names, "completions.target", "leakage.bound") == {*names, "completions.target", "leakage.bound"}


def test_a_recursion_that_overshoots_is_noticed(monkeypatch):
    """The nominal target at half the temperature: ahead of pi*_k."""

    def overshooting(bandit: ps.Bandit, chosen: ps.Algorithm) -> ps.Target:
        return targets.nominal_target(ps.Bandit(bandit.behavior, 2 * bandit.reward, bandit.reference), chosen)

    monkeypatch.setattr(ps, "induced_target", overshooting)
    names = ("recursion.boundary", "recursion.behind_nominal")
    assert failed(*names) == {*names}


def change_steps(monkeypatch, gradient) -> None:
    """Let the simulator's optimizer climb ``gradient(parameters, gradient)``."""
    right = simulate.make_optimizer

    def made(*given):
        climb = right(*given)
        return lambda parameters, slope: climb(parameters, gradient(parameters, slope))

    monkeypatch.setattr(simulate, "make_optimizer", made)


def test_a_longer_step_is_noticed(monkeypatch):
    change_steps(monkeypatch, lambda parameters, gradient: 1.0001 * gradient)
    assert failed("lag.frozen_reinforce") == {"lag.frozen_reinforce"}


def test_a_gradient_that_drifts_is_noticed(monkeypatch):
    """Logits that decay, as under weight decay."""
    change_steps(monkeypatch, lambda parameters, gradient: gradient - 0.001 * parameters)
    names = ("lag.windows", "lag.twins", "lag.negative_within", "leakage.free", "leakage.centered")
    assert failed(*names) == {*names}


def test_a_baseline_that_looks_at_its_own_sample_is_noticed(monkeypatch):
    right = groups.count_advantage
    monkeypatch.setattr(groups, "count_advantage", lambda rule, *given: right(ps.baselines.mean(), *given))
    names = ("updates.independent_baseline", "updates.leave_one_out", "updates.soft_value")
    assert failed(*names) == {*names}


def test_a_wrong_level_is_noticed(monkeypatch):
    right = completions.population_update
    monkeypatch.setattr(completions, "population_update", lambda world, chosen, level: right(world, chosen, "token"))
    assert failed("completions.target", "completions.length") == {"completions.target", "completions.length"}


# --- the pieces, by other routes ------------------------------------------------------------------------------------


def cases(family_count: int = 30) -> list[Case]:
    return [case for family in (*SMALL, *MODERATE) for case in family.cases(3, family_count)]


def test_groups_are_all_there_with_their_probabilities():
    behavior = np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])
    counts = groups.all_groups(3, 4)
    probability = groups.group_probability(behavior, counts)
    np.testing.assert_allclose(probability.sum(axis=-1), 1, rtol=1e-14)
    direct = np.zeros_like(probability)
    for draws in product(range(3), repeat=4):
        index = int(np.flatnonzero((counts == np.bincount(draws, minlength=3)).all(axis=-1))[0])
        direct[:, index] += behavior[:, list(draws)].prod(axis=-1)
    np.testing.assert_allclose(probability, direct, rtol=1e-13)


def test_the_expected_update_is_the_average_of_drawn_groups():
    bandit = ps.Bandit([[0.5, 0.3, 0.2]], [[0.0, 0.4, 1.0]])
    policy, chosen = np.array([[0.3, 0.3, 0.4]]), ps.algorithm("grpo.no_ratio")
    expected = groups.expected_update(bandit, chosen, policy, 3)
    generator = np.random.default_rng(0)
    drawn = generator.choice(3, size=(200_000, 3), p=bandit.behavior[0])
    advantage = chosen.advantage(bandit.reward[0][drawn])
    pulls = (advantage[..., None] * (np.eye(3)[drawn] - policy[0])).mean(axis=1)
    error = pulls.std(axis=0) / np.sqrt(len(pulls))
    assert np.all(np.abs(expected[0] - pulls.mean(axis=0)) < 5 * error)


def test_the_population_update_is_the_gradient_of_the_loss():
    bandit = ps.Bandit([[0.5, 0.3, 0.2]], [[0.0, 0.4, 1.0]])
    logits, beta, chosen = np.array([0.2, -0.3, 0.5]), 0.7, ps.algorithm("kimi_k15", tau=0.7)
    advantage = bandit.reward[0] - bandit.behavior[0] @ bandit.reward[0]

    def objective(at: np.ndarray) -> float:
        log_ratio = at - np.log(np.exp(at).sum()) - np.log(bandit.behavior[0])
        return -float(bandit.behavior[0] @ (beta * log_ratio - advantage) ** 2) / (2 * beta)

    step = 1e-6 * np.eye(3)
    slopes = [(objective(logits + d) - objective(logits - d)) / 2e-6 for d in step]
    policy = np.exp(logits)[None] / np.exp(logits).sum()
    np.testing.assert_allclose(support.population_update(bandit, chosen, policy)[0], slopes, atol=1e-8)


def test_the_target_of_divided_log_ratios_is_where_their_flow_ends():
    generator = np.random.default_rng(1)
    tree = SequenceTree(2, 3)
    chosen = ps.algorithm("shifted_mean", beta=0.5)
    world = SequenceBandit(tree, generator.normal(size=(tree.prefixes, 2)), generator.uniform(size=tree.completions))
    stacked = ps.Bandit(world.bandit.behavior[None], world.bandit.reward[None])
    policy, normalizer = completions.length_target(stacked, tree.length, chosen)
    assert normalizer[0] > 0
    np.testing.assert_allclose(policy[0], run_to_convergence(world, chosen, "sequence mean").policy, atol=1e-7)


def test_logits_of_a_policy_give_it_back():
    tree = SequenceTree(3, 3)
    policy = np.random.default_rng(2).dirichlet(np.ones(tree.completions))
    np.testing.assert_allclose(tree.policy(completions.logits_of(tree, policy)), policy, rtol=1e-13)


def test_a_tilt_has_the_value_asked_for_and_the_most_entropy():
    bandit = ps.Bandit(np.full((1, 4), 0.25), [[0.0, 0.2, 0.7, 1.0]])
    tilt = recursion.tilt_of_value(bandit, np.array([0.8]))
    assert tilt[0] @ bandit.reward[0] == pytest.approx(0.8, abs=1e-12)
    generator = np.random.default_rng(3)
    for _ in range(200):
        # Moves that keep sum and value: rivals of the same value.
        move = generator.normal(size=4)
        basis = np.linalg.qr(np.stack([np.ones(4), bandit.reward[0]], axis=1))[0]
        move -= basis @ (basis.T @ move)
        rival = tilt + 0.05 * move
        if rival.min() > 0:
            assert recursion.entropy_of(rival)[0] < recursion.entropy_of(tilt)[0]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.family)
def test_playable_instances_are_playable(case):
    made = support.playable(case)
    seen = case.bandit.behavior > 0
    np.testing.assert_array_equal(made.bandit.behavior > 0, seen)
    assert made.bandit.behavior[seen].min() >= 0.099 / made.bandit.arms
    spread = np.ptp(np.where(seen, made.bandit.reward, 0.0), axis=-1)
    assert np.all((np.abs(spread - 1) < 1e-12) | (spread == 0))
    assert 0.5 <= made.beta <= 4.0
