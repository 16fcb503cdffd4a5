"""The prime-rl monitor against its recorded interface, which test_adapters_prime_rl.py writes down: not in a run."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.trainers.prime_rl import monitor

GROUPS = [[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]


@dataclass
class LossOutputs:
    loss: torch.Tensor
    metrics: dict[str, torch.Tensor]


class Theirs:
    """prime-rl's monitor: one object per process, told numbers step by step."""

    def __init__(self):
        self.logged = []

    def log(self, metrics, step=None):
        self.logged.append((step, metrics))


class Algorithm:
    """Gives every rollout its reward minus the mean of the group."""

    def __init__(self, config, policy_pool):
        self.policy_pool = policy_pool

    async def score_group(self, group):
        mean = np.mean([rollout.reward for rollout in group])
        for rollout in group:
            rollout.assign_advantages(rollout.reward - mean)


@pytest.fixture
def theirs(monkeypatch):
    found = Theirs()
    contents = {
        "prime_rl": {},
        "prime_rl.trainer": {},
        "prime_rl.trainer.rl": {},
        "prime_rl.trainer.rl.loss": {"LossOutputs": LossOutputs},
        "prime_rl.utils": {},
        "prime_rl.utils.monitor": {"get_monitor": lambda: found},
        "their_losses": {"plain": plain},
    }
    for name, content in contents.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return found


def plain(inputs, *, scale=1.0):
    value = -(scale * inputs.advantages * inputs.trainer_logprobs * inputs.loss_mask).sum()
    return LossOutputs(loss=value, metrics={"theirs": value.detach()})


def rollouts(rewards):
    made = []
    for reward in rewards:
        rollout = SimpleNamespace(reward=reward, advantage=None)
        rollout.assign_advantages = lambda value, rollout=rollout: setattr(rollout, "advantage", value)
        made.append(rollout)
    return made


def test_groups_are_told_to_prime_rls_own_monitor(theirs):
    watched = monitor.watch(Algorithm, "oapl:beta1=1,beta2=0.5")(None, "pool")
    assert type(watched).__name__ == "Algorithm"
    groups = [rollouts(rewards) for rewards in GROUPS]
    for group in groups:
        asyncio.run(watched.score_group(group))
    assert [rollout.advantage for rollout in groups[0]] == [-0.25, -0.25, -0.25, 0.75]
    theirs.log({"reward/mean": 0.5}, step=7)
    theirs.log({"perf": 1.0}, step=7)
    (step, first), (_, second) = theirs.logged
    assert step == 7
    assert second == {"perf": 1.0}  # nothing new since
    comparison = ps.compare_group(GROUPS[:2], "oapl:beta1=1,beta2=0.5")
    assert first["reward/mean"] == 0.5
    assert first["pessimism/without_signal"] == pytest.approx(1 / 3)
    assert first["pessimism/target_kl"] == pytest.approx(np.mean(comparison.induced_metrics.kl))


def test_a_negative_regime_raises_an_alert(theirs, caplog):
    watched = monitor.watch(Algorithm, "shifted_mean:beta=1,delta=-2")(None, None)
    asyncio.run(watched.score_group(rollouts(GROUPS[0])))
    theirs.log({})
    assert "negative regime on 100.0%" in caplog.text


def inputs(rows=6, tokens=9, seed=0):
    random = torch.Generator().manual_seed(seed)
    behavior = -torch.rand(rows, tokens, generator=random, dtype=torch.float64) - 0.2
    current = behavior + 0.3 * torch.randn(rows, tokens, generator=random, dtype=torch.float64)
    mask = torch.rand(rows, tokens, generator=random) < 0.7
    mask[0] = False
    for row in range(rows):
        yield SimpleNamespace(
            trainer_logprobs=current[row].clone().requires_grad_(),
            inference_logprobs=behavior[row],
            advantages=torch.ones(tokens, dtype=torch.float64),
            loss_mask=mask[row],
        )


@pytest.mark.parametrize("settings", [{"watched": "their_losses.plain", "scale": 2.0}, {"name": "oapl", "beta2": 0.5}])
def test_a_loss_is_left_as_it_is_and_means_over_sequences_say_how_far(theirs, settings):
    mean, found = {}, []
    for one in inputs():
        output = monitor.loss(one, **settings)
        unwatched = {name: value for name, value in settings.items() if name != "watched"}
        own = plain(one, **unwatched) if "watched" in settings else monitor.adapter.loss(one, **unwatched)
        torch.testing.assert_close(output.loss, own.loss)
        assert output.metrics.keys() > own.metrics.keys()
        assert not any(value.requires_grad for name, value in output.metrics.items() if name.startswith("pessimism/"))
        found.append(output.metrics)
    for name in ("k1", "k3", "ratio", "ratio_square", "outside"):
        mean[name] = float(torch.stack([metrics[f"pessimism/{name}"] for metrics in found]).mean())
    rows = [one for one in inputs() if bool(one.loss_mask.any())]
    each = [(one.trainer_logprobs - one.inference_logprobs)[one.loss_mask].detach().numpy() for one in rows]
    x = np.array([row.sum() for row in each])
    share = len(x) / 6  # the sequence without tokens adds nothing
    assert mean["k1"] == pytest.approx(-x.mean() * share)
    assert mean["k3"] == pytest.approx(np.mean(np.exp(x) - 1 - x) * share)
    assert mean["ratio"] ** 2 / mean["ratio_square"] == pytest.approx(
        np.exp(x).mean() ** 2 / np.exp(2 * x).mean() * share
    )
    out = [np.mean((np.exp(row) < 0.8) | (np.exp(row) > 1.2)) for row in each]
    assert mean["outside"] == pytest.approx(np.mean(out) * share)


@pytest.mark.parametrize("path", ["nowhere.at_all", "plain", "their_losses.other"])
def test_a_loss_that_is_not_there_is_named(theirs, path):
    with pytest.raises(ValueError, match=r"watched is .*it must name a function"):
        monitor.loss(next(inputs()), watched=path)
