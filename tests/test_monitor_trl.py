"""The TRL monitor in real runs: every step logged, and nothing of the run changed."""

from __future__ import annotations

import warnings

import pytest

import pessimism as ps

pytest.importorskip("trl")
with warnings.catch_warnings():  # of TRL about vLLM's version, and of what vLLM imports
    warnings.simplefilter("ignore")
    import trl_run
    from pessimism.trainers.trl.monitor import watch

pytestmark = pytest.mark.filterwarnings("ignore:TRL currently supports vLLM versions:UserWarning")


def test_a_trl_run_is_watched_and_left_as_it_is(tmp_path):
    """Two runs of one seed, one of them watched: the same losses; every step logged, to TensorBoard too."""
    settings = {"objective": "shifted_mean", "objective_parameters": {"beta": 0.1}, "max_steps": 4}
    losses = []
    for name, watched in (("plain", False), ("watched", True)):
        trainer = trl_run.make_trainer(tmp_path / name, steps_per_generation=2, report_to=["tensorboard"], **settings)
        callback = watch(trainer) if watched else None
        trainer.train()
        losses.append(trl_run.logged(trainer, "loss"))
        if callback is not None:
            assert callback.monitor.algorithm.name == "shifted_mean"
            for number in ("positive", "target_kl", "kl_gap", "ess_sequence", "ess_token", "lag", "overhead"):
                assert len(trl_run.logged(trainer, f"pessimism/{number}")) == 4
            assert trl_run.logged(trainer, "pessimism/lag") == [0.0, 1.0, 0.0, 1.0]
            assert max(map(abs, trl_run.logged(trainer, "pessimism/shift"))) < 1e-4
            events = b"".join(path.read_bytes() for path in (tmp_path / name).rglob("events*"))
            assert b"pessimism/ess_sequence" in events
    assert losses[0] == losses[1]


def test_a_plain_grpo_trainer_says_what_it_optimizes(tmp_path):
    trainer = trl_run.make_plain(tmp_path, max_steps=2, steps_per_generation=2, beta=0.0)
    callback = watch(trainer)
    assert callback.monitor.algorithm.name in ps.catalogue()
    trainer.train()
    assert len(trl_run.logged(trainer, "pessimism/target_kl")) == 2
    assert 0 < callback.share < 1
