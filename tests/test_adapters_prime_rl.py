"""The prime-rl adapter against its recorded interface: prime-rl is not on PyPI, so its types are written down here.

They are those of ``prime_rl.trainer.rl.loss`` in 0.6.0 and 0.8.0, of ``prime_rl.orchestrator.advantage`` in 0.6.0, and
of ``prime_rl.orchestrator.algo`` in 0.8.0 and on its main branch at commit 559b447.
"""

import asyncio
import importlib
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor

import pessimism as ps
from adapter_draws import AVERAGED, catalogue_pull, draws, pull, single_objectives, valid, worst
from pessimism.trainers.prime_rl import adapter


@dataclass
class LossInputs:
    """0.8.0; 0.6.0 has no ``loss_weights`` and calls ``ref_logprobs`` ``teacher_logprobs``."""

    trainer_logprobs: Tensor
    inference_logprobs: Tensor
    ref_logprobs: Tensor | None
    advantages: Tensor
    loss_mask: Tensor
    loss_weights: Tensor | None = field(default=None)


@dataclass
class LossOutputs:
    loss: Tensor
    metrics: dict[str, Tensor]


@dataclass
class AdvantageOutputs:
    advantages: list[float]


class Algorithm:
    def __init__(self, config, policy_pool):
        self.policy_pool = policy_pool
        self.connected_pools = []

    async def score_group(self, episodes):
        raise NotImplementedError


def iter_trainable_traces(episodes):
    for episode in episodes:
        for trace in episode.traces:
            if not trace.has_error:
                yield episode, trace


def assign_advantages(trace, values):
    trace.advantages = values


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    """The modules that the adapter imports when it is called."""
    contents = {
        "prime_rl": {},
        "prime_rl.trainer": {},
        "prime_rl.trainer.rl": {},
        "prime_rl.trainer.rl.loss": {"LossOutputs": LossOutputs},
        "prime_rl.orchestrator": {},
        "prime_rl.orchestrator.advantage": {"AdvantageOutputs": AdvantageOutputs},
        "prime_rl.orchestrator.algo": {},
        "prime_rl.orchestrator.algo.base": {
            "Algorithm": Algorithm,
            "iter_trainable_traces": iter_trainable_traces,
        },
        "prime_rl.orchestrator.algo.routing": {"assign_advantages": assign_advantages},
    }
    for name, content in contents.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


def imported(path):
    """As prime-rl finds what ``import_path`` names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def sequences(data):
    for row in range(len(data.mask)):
        yield LossInputs(data.log_prob[row], data.behavior[row], None, data.advantages[row], data.mask[row])


def run(data, **settings):
    """The sum over sequences, which prime-rl divides by its tokens."""
    loss = imported("pessimism.trainers.prime_rl.adapter.loss")
    outputs = [loss(inputs, **settings) for inputs in sequences(data)]
    assert all(isinstance(output, LossOutputs) for output in outputs)
    assert all(value.ndim == 0 for output in outputs for value in output.metrics.values())
    return torch.stack([output.loss for output in outputs]).sum()


@pytest.mark.parametrize("name", single_objectives())
def test_any_objective_pulls_as_the_catalogue_says(name):
    data = valid(name, draws(torch.float64, rows=60))
    algorithm = ps.algorithm(name)
    found = pull(data, run(data, name=name)) * (data.length[:, None] if algorithm.level in AVERAGED else 1)
    assert worst(found, catalogue_pull(algorithm, data)) < 1e-12


def test_the_level_can_be_replaced_and_tokens_weighted():
    data = draws(torch.float64, rows=3)
    inputs = next(sequences(data))
    once = imported("pessimism.trainers.prime_rl.adapter.loss")(inputs, name="oapl", level="token").loss
    inputs.loss_weights = torch.full_like(inputs.advantages, 3.0)
    weighted = imported("pessimism.trainers.prime_rl.adapter.loss")(inputs, name="oapl", level="token").loss
    torch.testing.assert_close(weighted, 3 * once)
    # In 0.6.0 there are no weights.
    before = SimpleNamespace(**{name: value for name, value in vars(inputs).items() if name != "loss_weights"})
    torch.testing.assert_close(adapter.loss(before, name="oapl", level="token").loss, once)


def test_a_sequence_without_trained_tokens_pulls_nothing():
    data = draws(rows=1)
    inputs = next(sequences(data))
    inputs.loss_mask = torch.zeros_like(inputs.loss_mask)
    for name in ("oapl", "gspo", "grpo"):
        assert bool((pull(data, adapter.loss(inputs, name=name).loss) == 0).all())


def test_what_cannot_be_right_is_refused():
    inputs = next(sequences(draws(rows=1)))
    with pytest.raises(ValueError, match="tpo compares the completions of a group, and prime-rl's loss"):
        adapter.loss(inputs, name="tpo")
    with pytest.raises(ValueError, match="the objective has no name"):
        adapter.loss(inputs, beta1=1.0)
    with pytest.raises(ValueError, match="oapl has no parameter 'beta'"):
        adapter.loss(inputs, name="oapl", beta=1.0)


def test_the_custom_advantage_of_0_6():
    rollouts = [{"reward": value} for value in (0.0, 0.0, 1.0)]
    outputs = imported("pessimism.trainers.prime_rl.adapter.advantage")(SimpleNamespace(rollouts=rollouts), name="rloo")
    assert outputs == AdvantageOutputs(advantages=[-0.5, -0.5, 1.0])


class Rollout:
    def __init__(self, reward):
        self.reward = reward

    def assign_advantages(self, advantages):
        self.advantages = advantages


def test_the_algorithm_of_0_7_and_0_8():
    made = adapter.algorithm_class({"name": "shifted_mean", "beta": 0.5})
    assert issubclass(made, Algorithm)
    algorithm = made(SimpleNamespace(length_penalty=None), "pool")
    assert algorithm.policy_pool == "pool"
    group = [Rollout(0.0), Rollout(1.0)]
    asyncio.run(algorithm.score_group(group))
    assert [rollout.advantages for rollout in group] == [0.0, 1.0]
    with pytest.raises(ValueError, match="length_penalty is set"):
        made(SimpleNamespace(length_penalty=0.1), "pool")
    with pytest.raises(ValueError, match="unknown algorithm 'oapal'"):
        adapter.algorithm_class({"name": "oapal"})


def test_the_algorithm_since():
    traces = [SimpleNamespace(reward=value, has_error=value > 5) for value in (0.0, 9.0, 1.0)]
    algorithm = adapter.algorithm_class({"name": "shifted_mean", "beta": 0.5})(SimpleNamespace(), "pool")
    asyncio.run(algorithm.score_group([SimpleNamespace(traces=traces[:2]), SimpleNamespace(traces=traces[2:])]))
    assert [trace.advantages for trace in traces if not trace.has_error] == [0.0, 1.0]
    asyncio.run(algorithm.score_group([SimpleNamespace(traces=[traces[1]])]))  # all failed: nothing to score
