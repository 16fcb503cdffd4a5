"""Misalignment as TPO's source measures it, its order between methods, and the table of published results."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cosine

import pessimism as ps
from bandits import side_by_side
from bandits.batches import draw_batch
from bandits.instances import tpo_multi_context, tpo_single_context
from bandits.misalignment import misalignment, misalignments
from bandits.published import MULTI_CONTEXT, MULTI_CONTEXT_METHODS, SINGLE_CONTEXT, SINGLE_CONTEXT_METHODS
from bandits.settings import Settings
from bandits.simulate import simulate

VECTORS = st.lists(st.floats(-5, 5).filter(lambda x: abs(x) > 1e-3), min_size=3, max_size=3).map(np.array)


@given(VECTORS, VECTORS)
def test_misalignment_is_one_minus_the_cosine(update, oracle):
    assert misalignment(update, oracle) == pytest.approx(cosine(update, oracle), abs=1e-12)


@given(VECTORS, VECTORS, st.floats(1e-12, 10))
def test_what_public_code_adds_to_squared_lengths_is_added(update, oracle, added):
    lengths = np.sqrt((update @ update + added) * (oracle @ oracle + added))
    assert misalignment(update, oracle, added) == pytest.approx(1 - update @ oracle / lengths, abs=1e-12)


def test_small_angles_keep_their_digits_and_no_update_counts_as_a_right_angle():
    oracle = np.array([3.0, 4.0])
    turned = oracle + 1e-9 * np.array([-4.0, 3.0])
    assert misalignment(turned, oracle) == pytest.approx(0.5e-18, rel=1e-6)
    assert misalignment(np.zeros(2), oracle) == 1


def test_the_first_update_is_compared_at_the_policy_that_it_starts_from():
    """Seed by seed, against a step that is taken: with a plain step of one the logits move by the update itself."""
    bandit = ps.Bandit([0.2, 0.3, 0.5], [1, 0, 0])
    algorithm = ps.algorithm("rloo")
    plan = Settings(syncs=1, group_size=5, learning_rate=1.0)
    found = misalignments(bandit, algorithm, plan, 6, draw_batch)
    moved = np.log(simulate(bandit, algorithm, plan, range(6)).policy) - bandit.log_behavior
    update = moved - moved.mean(axis=-1, keepdims=True)  # logits are known up to a constant; updates sum to zero
    for seed in range(6):
        wanted = cosine(update[seed], bandit.reward - bandit.behavior) if np.abs(update[seed]).max() > 1e-9 else 1.0
        assert found[0, seed] == pytest.approx(wanted, abs=1e-9)


def test_contexts_of_a_problem_are_one_vector_and_problems_are_apart(monkeypatch):
    bandit = tpo_multi_context(runs=3, contexts=4, arms=5)
    algorithm, draw = MULTI_CONTEXT_METHODS["policy gradient"]
    together = misalignments(bandit, algorithm, replace(MULTI_CONTEXT, syncs=3), 2, draw)
    assert together.shape == (3, 2, 3)
    for problem in range(3):
        alone = ps.Bandit(bandit.behavior[problem], bandit.reward[problem])
        one = misalignments(alone, algorithm, replace(MULTI_CONTEXT, syncs=3), 1, draw)
        np.testing.assert_allclose(together[:, 1, problem], one[:, 0], rtol=1e-12)
    first = [(bandit.behavior[0, n, 0] * (bandit.reward[0, n] - bandit.behavior[0, n])) for n in range(4)]
    oracle = bandit.reward[0] - bandit.behavior[0]
    assert together[0, 0, 0] == pytest.approx(cosine(np.concatenate(first), oracle.reshape(-1)))


def test_blocks_of_seeds_do_not_show(monkeypatch):
    import bandits.simulate as module

    algorithm, draw = SINGLE_CONTEXT_METHODS["tpo"]
    bandit, plan = tpo_single_context(10), replace(SINGLE_CONTEXT, syncs=4, group_size=20)
    whole = misalignments(bandit, algorithm, plan, 7, draw)
    monkeypatch.setattr(module, "BLOCK", 30)  # three seeds, three seeds, one
    np.testing.assert_array_equal(misalignments(bandit, algorithm, plan, 7, draw), whole)


def test_order_of_misalignments_with_a_single_context():
    """Source's figure 2 (b): halfway TPO < DG < GRPO < PG; at the end TPO < DG < PG < GRPO."""
    plan = replace(SINGLE_CONTEXT, record_every=150)
    means = {
        method: misalignments(tpo_single_context(), algorithm, plan, 100, draw).mean(axis=1)
        for method, (algorithm, draw) in SINGLE_CONTEXT_METHODS.items()
    }

    def order(step):
        return sorted(means, key=lambda method: means[method][step])

    assert order(50) == ["tpo", "delightful", "grpo", "policy gradient"]
    assert order(100) == ["tpo", "delightful", "policy gradient", "grpo"]


def test_the_source_s_last_misalignment_of_tpo_is_what_its_code_adds():
    """At an error e the oracle's squared length is about e^2: 1e-12 beside it is 1e-12/e^2 of misalignment, 4e-4."""
    algorithm, draw = SINGLE_CONTEXT_METHODS["tpo"]
    plan = replace(SINGLE_CONTEXT, record_every=150)
    added, true = (misalignments(tpo_single_context(), algorithm, plan, 60, draw, a)[-1] for a in (1e-12, 0.0))
    assert added.mean() == pytest.approx(4.5e-4, rel=0.2)
    assert true.max() < 1e-10


def test_order_of_misalignments_with_many_contexts():
    """Source's figure 3 (b), from the first step up to step 500: CE < TPO < GRPO < DG < PG."""
    plan = replace(MULTI_CONTEXT, syncs=300, record_every=300)
    means = {
        method: misalignments(tpo_multi_context(4), algorithm, plan, 1, draw).mean(axis=(1, 2))
        for method, (algorithm, draw) in MULTI_CONTEXT_METHODS.items()
    }
    for step in (0, 299):
        assert sorted(means, key=lambda method: means[method][step]) == list(MULTI_CONTEXT_METHODS)
    assert means["tpo"][0] == pytest.approx(5.2e-2, rel=0.1)
    assert means["policy gradient"][0] == pytest.approx(2.7e-1, rel=0.1)


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_every_method_and_prints(capsys, monkeypatch):
    monkeypatch.setattr(side_by_side, "asymre", lambda: iter([side_by_side.Row("limit", "0", "1e-9")]))
    monkeypatch.setattr(side_by_side, "SINGLE_CONTEXT", replace(SINGLE_CONTEXT, syncs=150))
    monkeypatch.setattr(side_by_side, "MULTI_CONTEXT", replace(MULTI_CONTEXT, syncs=1000))
    monkeypatch.setattr("sys.argv", ["side_by_side", "--seeds", "3", "--runs", "2"])
    side_by_side.main()
    printed = capsys.readouterr().out
    for method in SINGLE_CONTEXT_METHODS:
        assert f"single context: {method}" in printed
    for method in MULTI_CONTEXT_METHODS:
        assert f"multi-context: {method}" in printed
    assert "arm 2 in 10 runs" in printed


def test_one_run_has_no_standard_error(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["side_by_side", "--runs", "1"])
    with pytest.raises(SystemExit, match="2"):
        side_by_side.main()
    assert "--seeds and --runs must be at least 2" in capsys.readouterr().err
