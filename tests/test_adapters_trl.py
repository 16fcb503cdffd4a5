"""The TRL adapter: TRL's own losses and advantages against the catalogue's, and runs of the trainer on a tiny model."""

import doctest
import json
import os
import re
import subprocess
import sys
import warnings
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import pessimism as ps
import trl_run
from adapter_draws import (
    AVERAGED,
    LONGEST,
    ROWS,
    catalogue_pull,
    check_agreement,
    draws,
    pull,
    single_objectives,
    valid,
    worst,
)

with warnings.catch_warnings():  # of TRL about vLLM's version, and of what vLLM imports
    warnings.simplefilter("ignore")
    from trl.scripts.utils import TrlParser
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    from pessimism.trainers.trl import adapter

pytestmark = pytest.mark.filterwarnings("ignore:TRL currently supports vLLM versions:UserWarning")

ROOT = Path(__file__).resolve().parent.parent
PROMPT = torch.ones(ROWS, 1, dtype=torch.int64)


class Alone:
    """What a trainer asks of its accelerator, in one process."""

    num_processes = 1
    process_index = 0

    def gather(self, values):
        return values

    def reduce(self, values, reduction):
        return values


def without_model(kind, data, config, **attributes):
    """A trainer of that class whose model says ``data.log_prob``, so that only its loss is its own."""
    made = object.__new__(kind)
    made.__dict__.update(
        args=config,
        model=SimpleNamespace(training=True),
        accelerator=Alone(),
        aux_loss_enabled=False,
        current_gradient_accumulation_steps=1,
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *_, **__: (data.log_prob, torch.ones_like(data.behavior), None),
        **attributes,
    )
    return made


def inputs(data):
    tokens = torch.ones_like(data.mask, dtype=torch.int64)
    return {
        "prompt_ids": PROMPT,
        "prompt_mask": PROMPT,
        "completion_ids": tokens,
        "completion_mask": data.mask.long(),
        "advantages": data.advantage,
        "num_items_in_batch": data.mask.sum(),
    }


def own(data, **settings):
    """The pull per token of TRL's loss with these settings of its config, without its averaging."""
    config = GRPOConfig(output_dir="unused", bf16=False, use_cpu=True, steps_per_generation=1, **settings)
    trainer = without_model(
        GRPOTrainer,
        data,
        config,
        loss_type=config.loss_type,
        importance_sampling_level=config.importance_sampling_level,
        epsilon_low=config.epsilon,
        epsilon_high=config.epsilon if config.epsilon_high is None else config.epsilon_high,
        beta=config.beta,
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        max_completion_length=LONGEST,
        _entropy_bonus_enabled=False,
    )
    found = pull(data, trainer._compute_loss(None, inputs(data) | {"old_per_token_logps": data.behavior}))
    if config.loss_type in ("grpo", "sapo"):
        return found * ROWS * data.length[:, None]
    return found * (ROWS * LONGEST if config.loss_type == "dr_grpo" else data.length.sum())


def a_star(data):
    """The pull of TRL's experimental A*-PO: the mean over completions of a squared error."""
    from trl.experimental.a2po.a2po_trainer import A2POTrainer

    trainer = without_model(
        A2POTrainer,
        data,
        SimpleNamespace(beta2=ps.algorithm("a_star_po").parameters["beta2"]),
        _get_sequence_logps=lambda *_: (data.log_prob * data.mask).sum(-1),
    )
    known = {
        "ref_logps": (data.behavior * data.mask).sum(-1),
        "rewards": data.advantage + 0.5,
        "v_star": torch.full_like(data.advantage, 0.5),
    }
    model: Any = None
    loss = trainer.compute_loss(model, known | dict.fromkeys(("input_ids", "attention_mask", "logits_to_keep")))
    return pull(data, loss) * ROWS


PEERS = {
    "grpo": lambda data: own(data, loss_type="grpo"),
    "dapo": lambda data: own(data, loss_type="dapo", epsilon_high=0.28),
    "dr_grpo": lambda data: own(data, loss_type="dr_grpo", scale_rewards="none"),
    "gspo": lambda data: own(
        data, loss_type="grpo", importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4
    ),
    "trl.cispo": lambda data: own(data, loss_type="cispo"),
    "sapo": lambda data: own(data, loss_type="sapo"),
    "vespo": lambda data: own(data, loss_type="vespo"),
    "a_star_po": a_star,
}
# torch's derivative of a sigmoid y is y (1 - y): where SAPO's gate is nearly open, float32 loses digits of 1 - y.
# VESPO's weights are powers of the ratio of whole completions, whose log-ratios add up rounding.
ROUNDS = {"sapo": 0.8, "vespo": 0.8}
# TRL keeps SAPO's temperatures in float32, whatever the loss is in.
PARAMETERS = {"sapo": {"tau_negative": float(torch.tensor(1.05))}}


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PEERS)
def test_the_catalogue_pulls_as_trl_does(name, kind, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    data = draws(kind, ROUNDS.get(name, 2.0) if kind == torch.float32 else 2.0)
    check_agreement(PEERS[name](data), ps.algorithm(name, **PARAMETERS.get(name, {})), data)


def config(**settings):
    return adapter.Config(output_dir="unused", bf16=False, use_cpu=True, **settings)


def ours(data, name, accumulation: Any = 1, num_items_in_batch: Any = None, **settings: Any):
    """The pull per token of the adapter's loss."""
    made = config(objective=name, **{"steps_per_generation": 1, "per_device_train_batch_size": 8} | settings)
    trainer = without_model(adapter.Trainer, data, made, algorithm=made.algorithm)
    trainer.current_gradient_accumulation_steps = accumulation
    batch = inputs(data) | {
        "behavior_log_probs": data.behavior,
        "loss_mask": data.mask.long(),
        "group": torch.arange(ROWS) // 8,
    }
    if num_items_in_batch is not None:
        batch["num_items_in_batch"] = torch.tensor(num_items_in_batch)
    return pull(data, trainer._compute_loss(None, batch))


@pytest.mark.parametrize("name", single_objectives())
def test_any_objective_pulls_as_the_catalogue_says(name):
    data = valid(name, draws(torch.float64))
    algorithm = ps.algorithm(name)
    found = ours(data, name) * ROWS * (data.length[:, None] if algorithm.level in AVERAGED else 1)
    assert worst(found, catalogue_pull(algorithm, data)) < 1e-12


@pytest.mark.parametrize("name", sorted(set(ps.catalogue()) - set(single_objectives())))
def test_coupled_objectives_see_their_groups(name):
    data = draws(torch.float64)
    algorithm = ps.algorithm(name)
    log_ratio, advantage = (data.log_ratio * data.mask).sum(-1).reshape(-1, 8), data.advantage.reshape(-1, 8)
    expected = algorithm.scale * algorithm.coefficient(log_ratio, advantage).flatten()[:, None] * data.mask
    assert worst(ours(data, name) * ROWS, expected) < 1e-12


def test_levels_and_averages():
    data = draws(torch.float64)
    expected = catalogue_pull(replace(ps.algorithm("oapl"), level="token"), data)
    settings = {"objective_level": "token"}
    assert worst(ours(data, "oapl", **settings) * ROWS, expected) < 1e-12
    found = ours(data, "oapl", aggregation="seq-mean-token-mean", **settings)
    assert worst(found * ROWS * data.length[:, None], expected) < 1e-12
    found = ours(data, "oapl", aggregation="token-mean", **settings)
    assert worst(found * data.length.sum(), expected) < 1e-12


def test_micro_batches_of_a_step_add_up():
    """Four micro-batches to a step count a quarter each; over tokens, their share of a generation's tokens."""
    data = draws(torch.float64)
    whole = ours(data, "shifted_mean")
    assert worst(4 * ours(data, "shifted_mean", accumulation=4), whole) < 1e-12
    settings = {"objective_level": "token", "aggregation": "token-mean"}
    once = ours(data, "shifted_mean", **settings) * data.length.sum()
    found = ours(data, "shifted_mean", 2, 8000, **settings, steps_per_generation=4)
    assert worst(found * 4000, once) < 1e-12  # two of the four micro-batches that hold 8,000 tokens make a step


def test_averages_over_tokens_are_trl_s():
    data = draws()
    theirs = PEERS["dapo"](data) / data.length.sum()
    found = ours(data, "dapo", aggregation="token-mean")
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"objective": "oapal"}, "unknown algorithm 'oapal'; did you mean oapl"),
        ({"objective_parameters": {"beta": 1.0}}, "oapl has no parameter 'beta'"),
        ({"objective_parameters": "{beta1: 1}"}, "objective_parameters is '{beta1: 1}'; it must be a JSON object"),
        ({"objective_level": "word"}, "level is 'word'"),
        ({"objective": "tpo", "objective_level": "token"}, "tpo: level is 'token'; it compares the completions"),
        ({"aggregation": "token-mean"}, "aggregation is 'token-mean'; oapl at the sequence level needs"),
        ({"aggregation": "sum"}, "aggregation is 'sum'; it must be one of seq-mean-token-sum"),
        ({"epsilon": 0.1}, "epsilon is 0.1; it belongs to GRPO's objective"),
        ({"loss_type": "grpo"}, "loss_type is 'grpo'; it belongs to GRPO's objective"),
        ({"beta": 0.04}, "beta is 0.04; it belongs to GRPO's objective"),
        ({"scale_rewards": "none"}, "scale_rewards is 'none'; it belongs to GRPO's objective"),
        ({"vllm_importance_sampling_correction": True}, "vllm_importance_sampling_correction is True"),
        ({"top_p": 0.9}, "top_p is 0.9; it must be 1.0"),
        ({"top_k": 50}, "top_k is 50; it must be 0"),
        ({"generation_kwargs": {"top_k": 20}}, "top_k is 20; it must be 0"),
        ({"generation_kwargs": '{"top_p": 0.5}'}, "top_p is 0.5; it must be 1.0"),
        ({"min_p": 0.1}, "min_p is 0.1; it must be None"),
        ({"repetition_penalty": 1.1}, "repetition_penalty is 1.1; it must be 1.0"),
        (
            {"objective": "tpo", "gradient_accumulation_steps": 2},
            "which must stay together: set steps_per_generation=1",
        ),
    ],
)
def test_a_config_that_cannot_be_right_is_refused(settings, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        config(**settings)


def test_a_config_from_a_command_line():
    made = config(objective="shifted_mean", objective_parameters='{"beta": 0.2}', objective_level="token")
    assert (made.algorithm.parameters["beta"], made.algorithm.level) == (0.2, "token")
    assert made.aggregation == "seq-mean-token-sum"
    assert config(objective="gspo").aggregation == "seq-mean-token-mean"


def test_the_example_s_config():
    arguments = ["--config", str(ROOT / "examples" / "trl" / "oapl.yaml"), "--use_cpu", "true", "--bf16", "false"]
    parser: Any = TrlParser
    (made,) = parser(adapter.Config).parse_args_and_config(arguments)
    assert (made.algorithm.name, made.algorithm.parameters) == ("oapl", ps.algorithm("oapl").parameters)
    assert (made.aggregation, made.steps_per_generation) == ("seq-mean-token-sum", 50)


def test_the_docstring_s_example():
    assert doctest.testmod(adapter).failed == 0
    assert doctest.testmod(adapter).attempted == 2


def test_advantages_come_from_the_baseline_and_skip_what_has_no_reward():
    nan = float("nan")
    rewards = torch.tensor(
        [[0.0, 1.0], [1.0, nan], [nan, nan], [2.0, 0.0], [0.5, 0.0], [nan, nan], [nan, nan], [1.0, 1.0]]
    )
    advantages, counted = adapter._advantages(ps.algorithm("rloo"), rewards, torch.tensor([1.0, 2.0]), 4)
    assert counted.tolist() == [True, True, False, True, True, False, False, True]
    assert advantages.tolist() == pytest.approx([0.5, -1.0, 0.0, 0.5, -2.5, 0.0, 0.0, 2.5])
    advantages, counted = adapter._advantages(ps.algorithm("rloo"), rewards, torch.tensor([1.0, 2.0]), 2)
    assert counted.tolist() == [True, True, False, False, False, False, False, False]
    assert advantages.tolist() == [1.0, -1.0, 0, 0, 0, 0, 0, 0]


def check_lag(log_ratio, generations, tolerance):
    """Log-ratios are none at the first of a generation's steps, and not at the others."""
    first = [abs(value) for step, value in enumerate(log_ratio) if step % generations == 0]
    later = [abs(value) for step, value in enumerate(log_ratio) if step % generations]
    assert max(first) < tolerance
    assert sum(later) / len(later) > 20 * tolerance


def test_a_run_without_vllm(tmp_path):
    trainer = trl_run.make_trainer(
        tmp_path,
        objective="oapl",
        objective_parameters={"beta1": 1.0, "beta2": 0.1},
        max_steps=24,
        steps_per_generation=4,
    )
    trainer.train()
    check_lag(trl_run.logged(trainer, "pessimism/log_ratio"), 4, 1e-5)
    reward = trl_run.logged(trainer, "reward")
    assert len(reward) == 6
    assert reward[-1] > reward[0] + 0.2
    assert set(trl_run.logged(trainer, "pessimism/left_out")) == {0.0}
    # The completions that TRL logs show the advantages that were used.
    rewards = torch.tensor(list(trainer._logs["rewards"]["sevens"])).reshape(-1, 8)
    expected = trainer.algorithm.advantage(rewards).flatten()
    torch.testing.assert_close(torch.tensor(list(trainer._logs["advantages"])), expected, rtol=1e-5, atol=1e-6)


def test_a_run_on_policy_of_an_objective_that_compares_a_group(tmp_path):
    trainer = trl_run.make_trainer(tmp_path, objective="tpo", steps_per_generation=1, max_steps=12)
    trainer.train()
    assert trl_run.logged(trainer, "pessimism/log_ratio") == [0.0] * 12
    reward = trl_run.logged(trainer, "reward")
    assert reward[-1] > reward[0] + 0.1


def test_a_run_that_evaluates(tmp_path):
    trainer = trl_run.make_trainer(
        tmp_path, objective="gspo", per_device_eval_batch_size=16, num_generations_eval=4, max_steps=1
    )
    metrics = trainer.evaluate(trainer.train_dataset.select(range(8)))
    assert metrics["eval_pessimism/left_out"] == 0.0


def test_a_run_with_vllm(tmp_path):
    """Behavior log-probabilities are vLLM's own: it runs in half precision here, which shows in the log-ratio."""
    pytest.importorskip("vllm")
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "TORCH_COMPILE_DISABLE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_PLUGINS": "",  # Trinity-RFT's, where it is installed, wants an older vLLM
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(ROOT / "tests" / "trl_run.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    check_lag(facts["log_ratio"], 4, 3e-3)
    assert all(value != 0 for value in facts["log_ratio"])
    assert facts["reward"][-1] > facts["reward"][0] + 0.2
    assert set(facts["left_out"]) == {0.0}
