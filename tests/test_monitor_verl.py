"""The verl monitor in the installed verl: its own advantages, comparison of log-probabilities and logger."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest
import torch

import pessimism as ps

core = pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl is not installed")
protocol = pytest.importorskip("verl")
tracking = pytest.importorskip("verl.utils.tracking")
debug = pytest.importorskip("verl.utils.debug.metrics")
MODULE = "pessimism.trainers.verl.monitor"

REWARDS = np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])


@pytest.fixture
def monitor(monkeypatch):
    """The module, imported as verl imports it; what it puts into verl is taken out again."""
    for owner, name in (
        (core, "compute_grpo_outcome_advantage"),
        (core, "get_adv_estimator_fn"),
        (debug, "calculate_debug_metrics"),
        (tracking.Tracking, "log"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setenv("PESSIMISM_OBJECTIVE", "oapl:beta1=1,beta2=0.5")
    return importlib.import_module(MODULE)


def rows(tokens: int = 6):
    """Rewards on the last token, with the prompts of each completion; one row of padding, alone in its group."""
    reward = torch.zeros(13, tokens)
    reward[:12, -1] = torch.tensor(REWARDS).flatten()
    index = np.array([f"prompt {number // 4}" for number in range(12)] + ["padding"], dtype=object)
    return {"token_level_rewards": reward, "response_mask": torch.ones(13, tokens), "index": index}


def batch(shift: float, tokens: int = 6):
    """What verl compares: the engine's log-probabilities, and the trainer's, which differ by ``shift`` per token."""
    engine = -torch.rand(12, tokens, generator=torch.Generator().manual_seed(0)) - 0.5
    tensors = {
        "rollout_log_probs": engine,
        "old_log_probs": engine + shift,
        "response_mask": torch.ones(12, tokens, dtype=torch.int64),
        "responses": torch.ones(12, tokens, dtype=torch.int64),
    }
    return protocol.DataProto.from_dict(tensors=tensors)


def test_a_step_of_verl_is_told_to_its_logger(monitor, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(tmp_path / "log.jsonl"))
    logger = tracking.Tracking("project", "run", ["file"])
    logger.log({"val/score": 0.5}, step=0)  # verl validates before it trains
    plain = core.ADV_ESTIMATOR_REGISTRY["rloo"](**rows(), config=None)
    watched = core.get_adv_estimator_fn("rloo")(**rows(), config=None)
    torch.testing.assert_close(watched, plain)
    theirs = debug.calculate_debug_metrics(batch(-0.4))
    logger.log({"actor/loss": 1.0, **theirs}, step=1)
    logger.finish()
    first, second = (json.loads(line)["data"] for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert first == {"val/score": 0.5}
    assert second["training/rollout_probs_diff_valid"] == 1
    comparison = ps.compare_group(REWARDS[:2], "oapl:beta1=1,beta2=0.5")
    assert second["pessimism/without_signal"] == pytest.approx(1 / 3)
    assert second["pessimism/kl_gap"] == pytest.approx(np.mean(comparison.gaps["kl"]))
    assert second["pessimism/shift"] == pytest.approx(-0.4 * 6, rel=1e-5)
    assert "step 1: shift at lag 0: trainer and sampler differ by -2.4 nats per completion" in caplog.text


def test_grpo_past_the_registry_is_seen_and_left_as_it_is(monitor):
    found = core.compute_grpo_outcome_advantage(**rows())
    torch.testing.assert_close(found, core.compute_grpo_outcome_advantage.__wrapped__(**rows()))
    numbers = monitor.WATCH.told(3)
    assert numbers["pessimism/positive"] == 1.0
    assert monitor.WATCH.told(4) == {}


def test_the_adapter_s_objective_is_taken_from_the_config(monitor, monkeypatch):
    monkeypatch.delenv("PESSIMISM_OBJECTIVE")
    seen = monitor.Watch()
    seen.see_log_probs(batch(0.0))  # nothing is known yet
    seen.see_rewards(rows() | {"config": {"objective": {"name": "shifted_mean", "beta": 0.2}}})
    assert str(seen.monitor.algorithm) == str(ps.algorithm("shifted_mean", beta=0.2))
    with pytest.raises(ValueError, match="PESSIMISM_OBJECTIVE is not set; it says what the run optimizes"):
        monitor.Watch().see_rewards(rows())
