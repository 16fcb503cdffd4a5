"""The Trinity-RFT monitor in the installed Trinity-RFT: its operators, its experiences, and verl's comparison."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch

import pessimism as ps

operators = pytest.importorskip("trinity.buffer.operators.experience_operator", reason="trinity-rft is not installed")
common = pytest.importorskip("trinity.common.experience")
config = pytest.importorskip("trinity.common.config")
debug = pytest.importorskip("verl.utils.debug.metrics")
protocol = pytest.importorskip("verl")
monitor = pytest.importorskip("pessimism.trainers.trinity.monitor")

REWARDS = [[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
OBJECTIVE = {"name": "oapl", "beta1": 1.0, "beta2": 0.5}


def experience(task, run, step, reward):
    return common.Experience(
        eid=common.EID(batch=3, task=task, run=run, step=step),
        tokens=torch.arange(5),
        prompt_length=2,
        logprobs=torch.tensor([-0.5, -0.6, -0.7]),
        reward=reward,
    )


@pytest.fixture
def operator():
    """Made as Trinity-RFT makes what a config names by its dotted path."""
    named = config.OperatorConfig(name="pessimism.trainers.trinity.monitor.Watch", args={"objective": OBJECTIVE})
    [found] = operators.create_operators([named])
    return found


def test_groups_of_an_explorer_step_are_told_by_its_pipeline(operator):
    exps = [experience(t, run, 0, r) for t, rewards in enumerate(REWARDS) for run, r in enumerate(rewards)]
    exps.append(experience(9, 0, 0, 1.0))  # a task with one run left
    given = list(exps)
    found, metrics = asyncio.run(operator.process(exps))
    assert found == given
    comparison = ps.compare_group(REWARDS[:2], "oapl:beta1=1,beta2=0.5")
    assert metrics["pessimism/without_signal"] == pytest.approx(1 / 3)
    assert metrics["pessimism/target_kl"] == pytest.approx(np.mean(comparison.induced_metrics.kl))
    assert all(isinstance(value, float) for value in metrics.values())


def test_a_run_of_several_steps_counts_once_with_its_last_reward(operator):
    exps = [experience(0, run, step, 0.5 * step + run % 2) for run in range(4) for step in (1, 0)]
    _, metrics = asyncio.run(operator.process(exps))
    wanted = ps.compare_group([[0.5, 1.5, 0.5, 1.5]], "oapl:beta1=1,beta2=0.5")
    assert metrics["pessimism/target_kl"] == pytest.approx(float(wanted.induced_metrics.kl[0]))


def test_runs_that_a_workflow_does_not_number_count_each(operator):
    _, metrics = asyncio.run(operator.process([experience(0, 0, 0, reward) for reward in REWARDS[0]]))
    wanted = ps.compare_group(REWARDS[:1], "oapl:beta1=1,beta2=0.5")
    assert metrics["pessimism/target_kl"] == pytest.approx(float(wanted.induced_metrics.kl[0]))


def test_nothing_is_said_where_there_are_no_groups(operator):
    exps = [experience(task, 0, 0, 1.0) for task in range(3)]
    assert asyncio.run(operator.process(exps)) == (exps, {})
    assert asyncio.run(operator.process([])) == ([], {})


def test_the_trainers_comparison_tells_of_tokens_too(monkeypatch, caplog):
    monkeypatch.setattr(debug, "calculate_debug_metrics", debug.calculate_debug_metrics)
    engine = -torch.rand(12, 6, generator=torch.Generator().manual_seed(0)) - 0.5
    tensors = {"rollout_log_probs": engine, "old_log_probs": engine - 0.4}
    tensors |= {name: torch.ones(12, 6, dtype=torch.int64) for name in ("response_mask", "responses")}
    batch = protocol.DataProto.from_dict(tensors=tensors)
    own = debug.calculate_debug_metrics(batch)
    monitor.watch_trainer(OBJECTIVE)
    found = debug.calculate_debug_metrics(batch)
    assert own.items() <= found.items()
    assert found["pessimism/shift"] == pytest.approx(-2.4, rel=1e-5)
    assert found["pessimism/k1"] == pytest.approx(2.4, rel=1e-5)
    assert "step 1: shift at lag 0" in caplog.text


def test_an_objective_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="unknown algorithm 'nobody'"):
        monitor.Watch({"name": "nobody"})
