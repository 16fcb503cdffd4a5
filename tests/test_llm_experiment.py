"""The experiment on a language model: its cells are the plan's, a stored warm start is unpacked as it was."""

import json
import math

import numpy as np

from llm.study import experiment


def test_a_block_has_the_plan_s_cells_with_equal_data():
    cells = list(experiment.block(0, 0))
    assert len(cells) == 1 + len(experiment.TARGET_OR_NOISE) + 9 * len(experiment.LAGS)
    assert len(list(experiment.block(1, experiment.TARGET_OR_NOISE_SEEDS))) == 19
    assert len({cell.key("") for cell in cells}) == len(cells)
    for cell in cells:
        assert cell.config.lag.epochs == 1
        assert cell.config.steps % cell.config.lag.sync_every == 0
        assert (cell.config.seed, cell.config.steps) == (0, experiment.STEPS)
        assert cell.config.rollout.group_size == experiment.GROUP_SIZE


def test_the_residual_of_missing_log_g_is_centered_at_ratio_one():
    reward = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    made = experiment.residual_missing_log_g()
    found = made.coefficient(np.zeros(8), made.advantage(reward))
    np.testing.assert_allclose(found, reward - reward.mean(), atol=1e-12)
    plain = experiment.TARGET_OR_NOISE[0]
    import pessimism as ps

    there = ps.algorithm(plain.algorithm, **plain.parameters)
    assert there.coefficient(np.zeros(8), there.advantage(reward)).mean() < -1


def test_members_are_the_family_s():
    members = {weight: experiment.member(1.0, weight).parameters for weight in experiment.WEIGHTS}
    assert members["1"]["power"] == 0
    assert members["ρ"]["cap"] == math.inf


def test_a_stored_warm_start_is_unpacked_as_it_was(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import save
    from transformers import AutoModelForCausalLM

    from llm.run.warmup import Size
    from llm.tasks.running_sums import SYMBOLS
    from llm.update.models import build_model, build_tokenizer

    made = build_model(build_tokenizer(SYMBOLS), **Size().model_dump(), seed=5)
    weights = {name: value for name, value in made.state_dict().items() if name != "lm_head.weight"}
    monkeypatch.setattr(experiment, "DATA", tmp_path)
    monkeypatch.setattr(experiment, "MODELS", tmp_path / "warm")
    (tmp_path / "experiment_warm_start_0.safetensors").write_bytes(save(weights, {"format": "pt"}))
    first = experiment.make_start(0)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "warm" / "running_sums-0")
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, made.state_dict()[name])
    assert experiment.make_start(0) == first
    assert json.loads((tmp_path / "warm" / "running_sums-0" / "config.json").read_text("utf-8"))["hidden_size"] == 64
