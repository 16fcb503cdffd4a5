"""The TRL monitor in real runs: every step told to every tracker, alerts in words, and nothing of the run changed."""

from __future__ import annotations

import importlib
import json
import sqlite3
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import pessimism as ps

pytest.importorskip("trl")
with warnings.catch_warnings():  # of TRL about vLLM's version, and of what vLLM imports
    warnings.simplefilter("ignore")
    import trl_run
    from pessimism.trainers.trl.monitor import watch

pytestmark = [
    pytest.mark.filterwarnings("ignore:TRL currently supports vLLM versions:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),
]

OAPL = {"objective": "oapl", "objective_parameters": {"beta1": 1.0, "beta2": 0.5}}


def test_a_run_is_watched_and_left_as_it_is(tmp_path, capsys):
    """Two runs of one seed, one of them watched: the same losses; every step told, to TensorBoard and the console."""
    losses = []
    for name, watched in (("plain", False), ("watched", True)):
        trainer = trl_run.make_trainer(
            tmp_path / name, steps_per_generation=2, report_to=["tensorboard"], disable_tqdm=True, max_steps=4, **OAPL
        )
        callback = watch(trainer) if watched else None
        trainer.train()
        losses.append(trl_run.logged(trainer, "loss"))
        if callback is not None:
            assert str(callback.monitor.algorithm) == str(ps.algorithm("oapl", beta1=1.0, beta2=0.5))
            for number in ("positive", "target_kl", "kl_gap", "ess_sequence", "ess_token", "overhead", "alerts"):
                assert len(trl_run.logged(trainer, f"pessimism/{number}")) == 4, number
            assert trl_run.logged(trainer, "pessimism/lag") == [0.0, 1.0, 0.0, 1.0]
            # No shift is told where the trainer computed both log-probabilities itself.
            assert trl_run.logged(trainer, "pessimism/shift") == []
            events = b"".join(path.read_bytes() for path in (tmp_path / name).rglob("events*"))
            assert b"pessimism/ess_sequence" in events
            assert "pessimism/kl_gap" in capsys.readouterr().out
    assert losses[0] == losses[1]


def test_numbers_are_those_of_what_trl_logged(tmp_path):
    """Rewards as TRL keeps them for its tables of completions, targets by `compare_group`."""
    trainer = trl_run.make_trainer(tmp_path, steps_per_generation=1, max_steps=1, **OAPL)
    watch(trainer)
    trainer.train()
    rewards = np.array(list(trainer._logs["rewards"]["sevens"])).reshape(-1, 8)
    differs = np.ptp(rewards, axis=1) > 0
    [silent] = trl_run.logged(trainer, "pessimism/without_signal")
    assert silent == pytest.approx(1 - differs.mean())
    found = ps.compare_group(rewards[differs], trainer.algorithm)
    [target], [gap] = (trl_run.logged(trainer, f"pessimism/{name}") for name in ("target_kl", "kl_gap"))
    assert target == pytest.approx(np.mean(found.induced_metrics.kl))
    assert gap == pytest.approx(np.mean(found.gaps["kl"]))


def test_a_plain_grpo_trainer_says_what_it_optimizes(tmp_path, caplog):
    """TRL's own trainer, and alerts in words: a learning rate so large that a step leaves the sampler behind."""
    trainer = trl_run.make_plain(tmp_path, max_steps=4, steps_per_generation=2, beta=0.0, learning_rate=0.3)
    callback = watch(trainer)
    assert callback.monitor.algorithm.name in ps.catalogue()
    trainer.train()
    assert len(trl_run.logged(trainer, "pessimism/ess_sequence")) == 4
    assert trl_run.logged(trainer, "pessimism/ess_sequence")[1] < 0.3
    [(step, text)] = [(step, text) for step, text in callback.alerts if text.startswith("effective sample size")]
    assert f"step {step}: {text}" in caplog.text
    assert "below 30%" in text
    assert 0 < callback.share < 1


def test_sampler_and_trainer_that_disagree_are_told(tmp_path):
    """A sampler's own log-probabilities, as vLLM would report them, made here from a temperature of .6."""
    trainer = trl_run.make_trainer(tmp_path, steps_per_generation=1, max_steps=1, max_completion_length=40, **OAPL)
    callback = watch(trainer)
    made = trainer._generate_and_score_completions

    def sampled(inputs):
        output = made(inputs)
        with torch.no_grad():
            tokens = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
            mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
            length = output["completion_ids"].shape[1]
            scored = trainer._get_per_token_logps_and_entropies(trainer.model, tokens, mask, length)[0]
        return output | {"behavior_log_probs": 0.6 * scored, "sampling_per_token_logps": 0.6 * scored}

    trainer._generate_and_score_completions = sampled
    trainer.train()
    [text] = [text for _, text in callback.alerts if text.startswith("shift at lag 0")]
    assert "candidates: temperature: one side's log-probabilities are a multiple of the other's, by 1.67" in text


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_trackers_get_the_numbers(tracker, tmp_path, monkeypatch):
    """W&B without a network, and trackio on this machine: what they have written down."""
    pytest.importorskip(tracker, reason=f"{tracker} is in .venv-peers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    if tracker == "trackio":
        monkeypatch.setattr(importlib.import_module("trackio.sqlite_storage"), "TRACKIO_DIR", tmp_path / "trackio")
    trainer = trl_run.make_trainer(
        tmp_path, steps_per_generation=1, max_steps=2, report_to=[tracker], run_name="tiny", **OAPL
    )
    watch(trainer)
    trainer.train()
    assert len(trl_run.logged(trainer, "pessimism/kl_gap")) == 2
    if tracker == "wandb":
        importlib.import_module("wandb").finish()
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*.wandb"))
        assert kept.count(b"train/pessimism/kl_gap") >= 2
    else:  # the trainer's callback has finished it
        [database] = (tmp_path / "trackio").rglob("*.db")
        assert sum("pessimism/kl_gap" in text for text in tracked(database)) == 2


def tracked(path: Path) -> list[str]:
    """The metrics that trackio's database holds, as JSON, a step's each."""
    with sqlite3.connect(path) as database:
        return [json.dumps(json.loads(text)) for (text,) in database.execute("select metrics from metrics")]
