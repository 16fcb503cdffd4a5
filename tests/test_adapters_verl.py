"""The verl adapter in the installed verl: its registries, its own losses and advantages, its config."""

import importlib
import itertools
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from adapter_draws import (
    AVERAGED,
    ROWS,
    as_workers_see,
    catalogue_pull,
    check_agreement,
    draws,
    pull,
    single_objectives,
    valid,
    worst,
)
from pessimism.levels import PaddedTokens

core = pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl is not installed")
adapter = pytest.importorskip("pessimism.trainers.verl.adapter")
omegaconf = pytest.importorskip("omegaconf")
settings = pytest.importorskip("verl.workers.config")

EXAMPLES = Path(__file__).parent.parent / "examples" / "verl"
SEQUENCE_MEAN = "seq-mean-token-mean"


def actor(**chosen):
    return settings.ActorConfig(strategy="fsdp", rollout_n=8, ppo_micro_batch_size_per_gpu=1, **chosen)


def run(mode, data, config, aggregation="token-sum", weights=None):
    """The loss and metrics of a registered policy loss, called as verl's workers do."""
    return core.get_policy_loss_fn(mode)(
        old_log_prob=data.behavior,
        log_prob=data.log_prob,
        advantages=data.advantages,
        response_mask=data.mask,
        loss_agg_mode=aggregation,
        config=config,
        rollout_is_weights=weights,
    )


def own(mode, data, **chosen):
    return pull(data, run(mode, data, actor(**chosen))[0])


def corrected(data, threshold):
    """verl's rollout correction, without a clip."""
    correction = {"loss_type": "reinforce", "rollout_is": "token", "rollout_is_threshold": threshold}
    return own("bypass_mode", data, policy_loss=settings.PolicyLossConfig(rollout_correction=correction))


def ours(name, data, aggregation="token-sum", **parameters):
    config = actor(policy_loss=adapter.PolicyLoss(loss_mode="pessimism", objective={"name": name, **parameters}))
    return run("pessimism", data, config, aggregation)


PEERS = {
    "reinforce": lambda data: own("gpg", data),
    "ppo_dual_clip": lambda data: own("vanilla", data),
    "gspo": lambda data: own("gspo", data, clip_ratio_low=3e-4, clip_ratio_high=4e-4),
    "sapo": lambda data: own("sapo", data) * ROWS * data.length[:, None],  # always the mean of means
    "verl.cispo": lambda data: own("cispo", data),
    "verl.dro": lambda data: own("dro", data, policy_loss=settings.PolicyLossConfig(dro_beta=0.1)),
    "dppo_tv": lambda data: own("dppo_tv", data, clip_ratio_low=0.15, clip_ratio_high=0.15, clip_ratio_c=10.0),
    "gmpo": lambda data: own("geo_mean", data, clip_ratio_low=0.4, clip_ratio_high=0.4) * ROWS * data.length[:, None],
    "verl.tis": lambda data: corrected(data, 2.0),
    "verl.icepop": lambda data: corrected(data, "0.5_5.0"),
}
# torch's derivative of a sigmoid y is y (1 - y): where SAPO's gate is nearly open, float32 loses digits of 1 - y.
ROUNDS = {"sapo": 0.8}


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PEERS)
def test_the_catalogue_pulls_as_verl_does(name, kind):
    data = draws(kind, ROUNDS.get(name, 2.0) if kind == torch.float32 else 2.0)
    check_agreement(PEERS[name](data), ps.algorithm(name), data)


@pytest.mark.parametrize("name", single_objectives())
def test_any_objective_pulls_as_the_catalogue_says(name):
    data = valid(name, draws(torch.float64))
    algorithm = ps.algorithm(name)
    if algorithm.level in AVERAGED:
        found = pull(data, ours(name, data, SEQUENCE_MEAN)[0]) * ROWS * data.length[:, None]
    else:
        found = pull(data, ours(name, data)[0])
    assert worst(found, catalogue_pull(algorithm, data)) < 1e-12


@pytest.mark.parametrize("level", ["token", "sequence", "sequence mean"])
def test_the_level_can_be_replaced(level):
    data = draws(torch.float64)
    aggregation = SEQUENCE_MEAN if level == "sequence mean" else "seq-mean-token-sum"
    found = pull(data, ours("shifted_mean", data, aggregation, level=level)[0]) * ROWS
    if level == "sequence mean":
        found = found * data.length[:, None]
    assert worst(found, catalogue_pull(replace(ps.algorithm("shifted_mean"), level=level), data)) < 1e-12


@pytest.mark.parametrize("aggregation", ["token-mean", SEQUENCE_MEAN, "seq-mean-token-sum", "token-sum"])
def test_tokens_are_averaged_as_verl_averages_its_own(aggregation):
    data = draws()
    config = actor(policy_loss=adapter.PolicyLoss(objective={"name": "ppo_dual_clip"}))
    # What verl knows of the other workers' shares of a batch.
    config.global_batch_info.update(dp_size=2, batch_num_tokens=12_345, global_batch_size=3000)
    mine, theirs = (pull(data, run(mode, data, config, aggregation)[0]) for mode in ("pessimism", "vanilla"))
    assert float(theirs.abs().max()) > 1e-5
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-12)


def test_a_worker_of_verl_runs_it():
    """verl's own step from a model's output to a loss, on tensors as its engine lays them out."""
    losses = importlib.import_module("verl.workers.utils.losses")
    data = draws(torch.float64)
    config = actor(
        policy_loss=adapter.PolicyLoss(loss_mode="pessimism", objective={"name": "shifted_mean"}),
        loss_agg_mode="seq-mean-token-sum",
    )
    output, batch = as_workers_see(data, dp_size=1, batch_num_tokens=None, global_batch_size=2 * ROWS)
    loss, metrics = losses.ppo_loss(config, output, batch)
    assert worst(pull(data, loss) * 2 * ROWS, catalogue_pull(ps.algorithm("shifted_mean"), data)) < 1e-12
    assert set(metrics) == {"actor/normalizer", "actor/ppo_kl", "actor/pg_loss"}


def test_metrics_are_verl_s_and_the_mean_coefficient():
    data = draws()
    _, metrics = ours("ppo_dual_clip", data)
    _, theirs = run("vanilla", data, actor())
    assert metrics["actor/ppo_kl"] == pytest.approx(theirs["actor/ppo_kl"], rel=1e-5)
    _, metrics = ours("reinforce", data)
    assert metrics["actor/normalizer"] == pytest.approx(float(data.advantage.mean()), rel=1e-5)


def test_padding_may_hold_anything():
    data = draws()
    expected = pull(data, ours("oapl", data)[0])
    spoiled = replace(data, behavior=torch.where(data.mask, data.behavior, torch.nan))
    with torch.no_grad():
        spoiled.log_prob[~data.mask] = -torch.inf
    torch.testing.assert_close(pull(spoiled, ours("oapl", spoiled)[0]), expected)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda data: ours("tpo", data),
            "tpo compares the completions of a group, and verl's loss does not see groups",
        ),
        (lambda data: ours("oapl", data, "token-mean"), "actor.loss_agg_mode is 'token-mean'; oapl at the sequence"),
        (lambda data: ours("gspo", data, "token-mean"), "gspo at the sequence mean level needs seq-mean-token-mean"),
        (lambda data: ours("oapal", data), "policy_loss.objective: unknown algorithm 'oapal'"),
        (lambda data: ours("oapl", data, beta=1.0), "policy_loss.objective: oapl has no parameter 'beta'"),
        (lambda data: ours("oapl", data, level="word"), "level is 'word'; it must be one of sequence, token"),
        (lambda data: ours("oapl", data, beta1=[1.0]), "the objective's beta1 is [1.0]; it must be a number"),
        (lambda data: run("pessimism", data, actor()), "policy_loss.objective is missing"),
        (
            lambda data: run(
                "pessimism",
                data,
                actor(policy_loss=adapter.PolicyLoss(objective={"name": "oapl"})),
                "token-sum",
                weights=torch.ones_like(data.behavior),
            ),
            "set rollout_is: null and bypass_mode: true",
        ),
        (
            lambda data: ours("oapl", replace(data, behavior=torch.full_like(data.behavior, torch.nan))),
            "a log-probability that is not finite",
        ),
        (
            lambda data: ours("pevi", replace(data, behavior=torch.full_like(data.behavior, -500.0))),
            "a completion's behavior probability underflows",
        ),
    ],
)
def test_what_cannot_be_right_is_refused(call, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        call(draws())


def test_advantages_that_change_within_a_completion_need_tokens():
    data = draws()
    config = actor(policy_loss=adapter.PolicyLoss(objective={"name": "oapl"}))
    advantages = data.advantages + 0.1 * torch.arange(data.mask.shape[1])
    with pytest.raises(ValueError, match="advantages change within a completion; set level: token"):
        adapter.policy_loss(data.behavior, data.log_prob, advantages, data.mask, "token-sum", config)


def estimate(estimator, reward, index, length=4, config=None):
    """Advantages (N,) of a registered estimator, called as verl's trainer does, on rewards at the last token."""
    tokens = torch.zeros(len(reward), length)
    tokens[:, -1] = reward
    mask = torch.ones(len(reward), length)
    mask[:, 0] = 0
    found, returns = core.get_adv_estimator_fn(estimator)(
        token_level_rewards=tokens, response_mask=mask, config=config, index=np.array(index, dtype=object)
    )
    assert torch.equal(found, returns)
    assert bool((found[:, 0] == 0).all())
    assert bool((found[:, 1:] == found[:, 1:2]).all())
    return found[:, 1]


def algorithm_config(objective, bypass_mode=True):
    correction = {"bypass_mode": bypass_mode}
    return omegaconf.OmegaConf.create({"objective": objective, "rollout_correction": correction})


@pytest.mark.parametrize(
    ("estimator", "objective"),
    [
        ("grpo", {"name": "grpo", "epsilon": 1e-6}),
        ("rloo", {"name": "rloo"}),
        ("grpo_vectorized", {"name": "grpo", "epsilon": 1e-6}),
    ],
)
def test_advantages_are_verl_s_where_the_baseline_is(estimator, objective):
    generator = torch.Generator().manual_seed(0)
    index = [f"prompt {row % 37}" for row in range(250)]
    reward = torch.randn(250, generator=generator)
    mine = estimate("pessimism", reward, index, config=algorithm_config(objective))
    torch.testing.assert_close(mine, estimate(estimator, reward, index), rtol=1e-5, atol=1e-6)


def test_an_advantage_that_cannot_be_taken_names_the_prompt():
    config = algorithm_config({"name": "grpo"})
    with pytest.raises(ValueError, match="prompt 'b': a standardized baseline needs groups of at least 2 samples"):
        estimate("pessimism", torch.ones(3), ["a", "a", "b"], config=config)
    with pytest.raises(ValueError, match=r"algorithm.objective is missing"):
        estimate("pessimism", torch.ones(3), ["a", "a", "b"])
    config = algorithm_config({"name": "grpo"}, bypass_mode=False)
    with pytest.raises(ValueError, match=r"algorithm.rollout_correction.bypass_mode is not true"):
        estimate("pessimism", torch.ones(3), ["a", "a", "a"], config=config)


LEVELS: dict[str, Any] = {"token": "token", "seq_sum": "sequence", "seq_mean": "geometric", "seq_max": "largest"}


def test_corrections_are_verl_s_rollout_correction():
    """All its importance weights and rejections, on 1,000 draws of completions."""
    helper = importlib.import_module("verl.trainer.ppo.rollout_corr_helper")
    generator = torch.Generator().manual_seed(5)
    log_ratio = 0.3 * torch.randn(1000, 7, generator=generator, dtype=torch.float64)
    length = torch.randint(1, 8, (1000,), generator=generator)
    mask = torch.arange(7) < length[:, None]
    tokens = PaddedTokens(mask)
    for level, threshold in itertools.product(("token", "sequence"), (1.2, "0.8_1.3")):
        theirs, _ = helper.compute_rollout_correction_weights(log_ratio, mask.double(), level, threshold)
        low, cap = (0.8, 1.3) if isinstance(threshold, str) else (-math.inf, threshold)
        kind = ps.corrections.truncate if low == -math.inf else ps.corrections.mask
        ours = kind(cap, low=low, level=level).weight(log_ratio, tokens)
        torch.testing.assert_close(ours[mask], theirs[mask], rtol=1e-12, atol=0)
    for option in sorted(helper.SUPPORTED_ROLLOUT_RS_OPTIONS):
        place, _, on = option.rpartition("_")
        theirs, _ = helper.compute_rollout_rejection_mask(
            log_ratio, mask.double(), option, "0.8_1.3" if on == "k1" else 0.05
        )
        low, cap = (math.log(0.8), math.log(1.3)) if on == "k1" else (-math.inf, 0.05)
        ours = ps.corrections.reject(cap, low=low, level=LEVELS[place], on=on).weight(log_ratio, tokens)
        assert 0 < float(ours[mask].mean()) < 1, option
        torch.testing.assert_close(ours[mask], theirs[mask], rtol=0, atol=0)


def test_rows_that_verl_pads_a_batch_with_are_no_group():
    config = algorithm_config({"name": "rloo"})
    reward, mask = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), torch.tensor([[1, 1], [1, 0], [0, 0]])
    index = np.array(["a", "a", "pad of its own"], dtype=object)
    found, _ = core.get_adv_estimator_fn("pessimism")(
        token_level_rewards=reward, response_mask=mask, config=config, index=index
    )
    assert found.tolist() == [[1, 1], [-1, 0], [0, 0]]
