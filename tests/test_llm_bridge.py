"""The central test: a transformer ends at the target of the bandit over its completions."""

import numpy as np
import pytest
import torch

import pessimism as ps
from bandits.sequences import SequenceBandit, SequenceTree, run_to_convergence
from llm import cli
from llm.check import bridge
from llm.check.bridge import CLOSE, Draws, draw_groups, make_world, merged, objectives, reach
from llm.update.batch import make_batch
from llm.update.loss import accumulate
from llm_batches import gradient

WORLD = make_world()
OBJECTIVES = objectives()
NOMINAL = ("opmd", "is_regression", "pairwise_regression", "centered_regression", "rebel", "awr", "oapl.single_beta")
ELSEWHERE = ("kimi_k15", "pmd_mean", "a_star_po", "oapl", "shifted_mean", "dro", "qrpo", "oapl.missing_log_g")


def made(name):
    return ps.algorithm(name, **OBJECTIVES[name])


def test_no_regression_at_sequence_level_is_left_out():
    entries = ps.catalogue().values()
    regressions = {e.name for e in entries if e.family == "regression" and e.level == "sequence"}
    assert regressions <= set(OBJECTIVES)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_exact_data_lead_to_the_induced_target(name):
    result = reach(made(name), WORLD)
    assert result.to_induced <= CLOSE
    if name in ELSEWHERE:
        assert result.to_nominal > CLOSE
    if name in NOMINAL:
        assert result.to_nominal <= CLOSE
    assert result.holds


@pytest.mark.parametrize("name", ["opmd", "oapl", "shifted_mean", "is_regression"])
def test_sampled_data_lead_to_the_induced_target(name):
    result = reach(made(name), WORLD, Draws())
    assert result.to_induced <= CLOSE
    assert (result.to_nominal > CLOSE) is (name in ELSEWHERE)


@pytest.mark.parametrize("name", ["verl.dro", "opmd.rec"])
def test_token_level_ends_where_the_flow_on_a_tree_ends_and_not_at_the_target_over_completions(name):
    algorithm = ps.algorithm(name)
    world = make_world(prompts=1)
    result = reach(algorithm, world)
    tree = SequenceTree(3, 3)
    start = np.empty((tree.prefixes, 3))
    for arm, row in enumerate(world.log_probs[0]):
        start[tree.node[arm][tree.present[arm]], tree.token[arm][tree.present[arm]]] = row
    tabular = run_to_convergence(SequenceBandit(tree, start, world.reward[0]), algorithm)
    assert np.abs(result.policy[0] - tabular.policy).sum() / 2 <= CLOSE
    assert result.to_induced > CLOSE


def test_worlds_are_policies_and_seeds_differ():
    behavior = WORLD.bandit.behavior
    assert behavior.shape == (2, 15)
    assert behavior.min() > 1e-4
    assert not np.allclose(behavior, make_world(seed=1).bandit.behavior)
    np.testing.assert_array_equal(behavior, make_world().bandit.behavior)


def test_draws_follow_the_behavior_policy():
    groups = draw_groups(WORLD, Draws(group_size=20_000), np.random.default_rng(0))
    for prompt, group in enumerate(groups):
        texts = [tuple(completion.tokens.tolist()) for completion in group.completions]
        share = [texts.count(tuple(completion.tolist())) / len(texts) for completion in WORLD.completions]
        np.testing.assert_allclose(share, WORLD.bandit.behavior[prompt], atol=0.012)


@pytest.mark.parametrize("name", ["pmd_mean", "tpo"])
def test_equal_completions_count_as_much_together_as_apart(name):
    model, algorithm = make_world(seed=3).model, made(name)
    apart = make_batch(draw_groups(WORLD, Draws(64, groups=2), np.random.default_rng(0)), algorithm)
    together = merged(apart)
    assert len(together.length) <= 4 * 15 < len(apart.length) == 4 * 64
    gradients = []
    for batch in (apart, together):
        accumulate(model, batch, algorithm, tokens_per_pass=10_000)
        gradients.append(gradient(model))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_an_objective_of_ones_own_crosses_the_bridge(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "import pessimism as ps\n\n\n"
        "def cautious():\n"
        "    return ps.Algorithm(lambda log_ratio, advantage: advantage - 0.4 * log_ratio - 0.2, level='sequence')\n"
    )
    assert cli.main(["bridge", f"{tmp_path / 'mine.py'}:cautious"]) == 0
    told = capsys.readouterr().out
    assert told.count("holds") == 2


def test_the_command_tells_a_run_that_holds_from_one_that_does_not(monkeypatch, capsys):
    assert cli.main(["bridge", "oapl"]) == 0
    told = capsys.readouterr().out
    assert told.count("holds") == 2
    assert "2 runs, 0 fail" in told
    monkeypatch.setattr(bridge, "reach", lambda algorithm, world, draws, steps: reach(algorithm, world, steps=1))
    assert cli.main(["bridge", "oapl"]) == 1
    assert capsys.readouterr().out.count("FAILS") == 2
    assert cli.main(["bridge", "nowhere.py:mine"]) == 2
    assert "there is no file nowhere.py" in capsys.readouterr().err
    assert cli.main(["bridge", "opal"]) == 2
    assert "did you mean oapl" in capsys.readouterr().err
