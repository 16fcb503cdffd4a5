"""The Trinity-RFT adapter in the installed Trinity-RFT: its registries, its own losses and advantages."""

import copy
import re
from dataclasses import replace

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

trinity = pytest.importorskip("trinity.algorithm", reason="trinity-rft is not installed")
common = pytest.importorskip("trinity.common.experience")
adapter = pytest.importorskip("pessimism.trainers.trinity.adapter")

LOSS = "pessimism.trainers.trinity.adapter.PolicyLoss"
ADVANTAGE = "pessimism.trainers.trinity.adapter.Advantage"
TOKEN_SUM = "seq-mean-token-sum"
SEQUENCE_MEAN = "seq-mean-token-mean"
SMALL = 1e-8  # what Trinity-RFT adds to numbers of tokens


def run(name, data, **arguments):
    """A registered loss of a batch, called as Trinity-RFT's verl trainer does."""
    made = trinity.POLICY_LOSS_FN.get(name)(backend="verl", **arguments)
    inputs = {"old_log_probs": data.behavior, "response_mask": data.mask, "advantages": data.advantages}
    assert set(made.select_keys) <= set(inputs)
    return made(logprob=data.log_prob, **inputs)


def own(name, data, **arguments):
    """Its pull per token; rec has no choice of mode and takes the mean over tokens."""
    if name == "rec":
        return pull(data, run(name, data, **arguments)[0]) * (data.length.sum() + SMALL)
    return pull(data, run(name, data, loss_agg_mode=TOKEN_SUM, **arguments)[0]) * ROWS


def penalized(data, tau, kl):
    """OPMD with its penalty to a reference, which is the behavior policy here."""
    penalty = trinity.KL_FN.get("k2")(kl_coef=kl)
    loss, _ = penalty.calculate_kl_loss(data.log_prob, data.behavior, data.mask, TOKEN_SUM)
    return own("opmd", data, tau=tau) + pull(data, loss) * ROWS


PEERS = {
    "ppo_dual_clip": ("token", lambda data: own("ppo", data, clip_range=0.2)),
    "gspo": ("sequence mean", lambda data: own("gspo", data, clip_range_low=3e-4, clip_range_high=4e-4)),
    "topr": ("token", lambda data: own("topr", data)),
    "trinity.cispo": ("token", lambda data: own("cispo", data)),
    "trinity.cispo_masked": ("token", lambda data: own("cispo", data, enable_mask_clip=True)),
    "trinity.sapo": ("token", lambda data: own("sapo", data)),
    "trinity.opmd": ("token", lambda data: penalized(data, 1.0, 1e-3)),
    "rec_oneside_nois": ("token", lambda data: own("rec", data, clip_mode="one-side")),
    "rec_oneside_is": ("token", lambda data: own("rec", data, clip_mode="one-side", weight="importance_sampling")),
    "rec_twoside": ("token", lambda data: own("rec", data, clip_mode="two-side", weight="importance_sampling")),
    "rec_ring": (
        "token",
        lambda data: own("rec", data, clip_mode="ring", epsilon_low_prime=0.6, epsilon_high_prime=2.0),
    ),
    "red_weight": ("token", lambda data: own("rec", data, weight="advantage")),
    "opmd.rec": ("token", lambda data: own("rec", data, regularizer="k2", regularizer_coef=0.1)),
}


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PEERS)
def test_the_catalogue_pulls_as_trinity_does(name, kind):
    level, peer = PEERS[name]
    data = draws(kind)
    algorithm = replace(ps.algorithm(name), level=level)
    check_agreement(peer(data), algorithm, data)


def test_trinity_s_defaults_are_the_catalogue_s():
    """The entries that name Trinity-RFT are what its defaults run."""
    cispo = trinity.POLICY_LOSS_FN.get("cispo").default_args()
    assert not cispo["enable_mask_clip"]
    assert (cispo["clip_range_low"], cispo["clip_range_high"]) == (
        1.0,
        ps.algorithm("trinity.cispo").parameters["high"],
    )
    sapo = trinity.POLICY_LOSS_FN.get("sapo").default_args()
    assert sapo["tau_pos"] == ps.algorithm("trinity.sapo").parameters["tau_positive"]
    assert sapo["tau_neg"] == ps.algorithm("trinity.sapo").parameters["tau_negative"]
    rec = trinity.POLICY_LOSS_FN.get("rec").default_args()
    ring = ps.algorithm("rec_ring").parameters
    assert (rec["epsilon_low"], rec["epsilon_high"]) == (ring["low"], ring["high"])
    assert (rec["epsilon_low_prime"], rec["epsilon_high_prime"]) == (ring["low_outer"], ring["high_outer"])
    assert trinity.POLICY_LOSS_FN.get("opmd").default_args()["tau"] == ps.algorithm("trinity.opmd").parameters["tau"]
    assert trinity.KL_FN.get("k2").default_args()["kl_coef"] == ps.algorithm("trinity.opmd").parameters["kl"]


def ours(name, data, aggregation="seq-mean-token-sum", **parameters):
    return run(LOSS, data, objective={"name": name, **parameters}, loss_agg_mode=aggregation)


@pytest.mark.parametrize("name", single_objectives())
def test_any_objective_pulls_as_the_catalogue_says(name):
    data = valid(name, draws(torch.float64))
    algorithm = ps.algorithm(name)
    if algorithm.level in AVERAGED:
        found = pull(data, ours(name, data, SEQUENCE_MEAN)[0]) * ROWS * (data.length[:, None] + SMALL)
    else:
        found = pull(data, ours(name, data)[0]) * ROWS
    assert worst(found, catalogue_pull(algorithm, data)) < 1e-12


def test_one_completion_may_come_without_a_batch():
    """As Trinity's Tinker path hands it over: (T,), which once became (T, T)."""
    data = draws(torch.float64)
    made = trinity.POLICY_LOSS_FN.get(LOSS)(backend="verl", objective={"name": "oapl"}, loss_agg_mode=TOKEN_SUM)
    one = {"old_logprob": data.behavior[0], "action_mask": data.mask[0], "advantages": data.advantages[0]}
    batch = {name: tensor[None] for name, tensor in one.items()}
    call = adapter.PolicyLoss.__call__
    found = call(made, logprob=data.log_prob[0], **one)
    assert found[0].shape == ()
    torch.testing.assert_close(found, call(made, logprob=data.log_prob[:1], **batch))


def test_a_worker_of_trinity_runs_it():
    """Its step from a model's output to a loss, from a config, on tensors as verl's engine lays them out."""
    conf = pytest.importorskip("trinity.common.config")
    losses = pytest.importorskip("trinity.trainer.verl.losses")
    data = draws(torch.float64)
    config = conf.AlgorithmConfig(
        policy_loss_fn=LOSS,
        policy_loss_fn_args={"objective": {"name": "shifted_mean"}, "loss_agg_mode": TOKEN_SUM},
        kl_loss_fn="none",
        kl_loss_fn_args={},
        entropy_loss_fn="none",
        entropy_loss_fn_args={"entropy_coef": 0.0},
        loss_agg_mode=TOKEN_SUM,
    )
    loss, metrics = losses.build_trinity_loss(config)(*as_workers_see(data))
    assert worst(pull(data, loss) * ROWS, catalogue_pull(ps.algorithm("shifted_mean"), data)) < 1e-12
    assert {"actor/pg_loss", "actor/normalizer"} <= set(metrics)


def test_metrics():
    data = draws()
    loss, metrics = ours("reinforce", data)
    assert metrics["pg_loss"] == float(loss.detach())
    assert metrics["normalizer"] == pytest.approx(float(data.advantage.mean()), rel=1e-5)


def test_a_loss_travels_to_workers():
    """Ray sends the loss object that the trainer made."""
    made = trinity.POLICY_LOSS_FN.get(LOSS)(backend="verl", objective={"name": "oapl", "beta2": 0.1})
    data = draws()
    sent = copy.deepcopy(made)  # which asks of an object what serialization does
    inputs = {"old_log_probs": data.behavior, "response_mask": data.mask, "advantages": data.advantages}
    assert torch.equal(sent(logprob=data.log_prob, **inputs)[0], made(logprob=data.log_prob, **inputs)[0])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: trinity.POLICY_LOSS_FN.get(LOSS)(**trinity.POLICY_LOSS_FN.get(LOSS).default_args()), "has no name"),
        (lambda: trinity.ADVANTAGE_FN.get(ADVANTAGE)(objective={"name": "oapl", "beta": 1.0}), "no parameter 'beta'"),
        (lambda: adapter.PolicyLoss(objective={"name": "tpo"}), "Trinity-RFT's loss does not see groups"),
        (
            lambda: adapter.PolicyLoss(objective={"name": "oapl"}, loss_agg_mode="token-mean"),
            "needs seq-mean-token-sum",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_when_it_is_made(make, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        make()


def experiences(reward, task):
    made = [
        common.Experience(tokens=torch.arange(5), prompt_length=2, logprobs=torch.zeros(3), reward=value)
        for value in reward
    ]
    for experience, name in zip(made, task, strict=True):
        experience.eid.task = name
        experience.action_mask = torch.tensor([True, False, True])
    return made


@pytest.mark.parametrize(
    ("name", "arguments", "objective"),
    [
        ("grpo", {}, {"name": "grpo", "epsilon": 1e-6}),
        ("opmd", {}, {"name": "reinforce"}),
        ("opmd", {"opmd_baseline": "logavgexp", "tau": 0.7}, {"name": "opmd", "tau": 0.7}),
        ("opmd", {"opmd_baseline": "logavgexp", "tau": 1.0}, {"name": "oapl", "beta1": 1.0}),
        ("asymre", {}, {"name": "asymre"}),
        ("rec", {}, {"name": "rec_twoside"}),
    ],
)
def test_advantages_are_trinity_s_where_the_baseline_is(name, arguments, objective):
    reward = torch.randn(40, generator=torch.Generator().manual_seed(0)).tolist()
    task = [row % 5 for row in range(40)]
    found = []
    for registered, chosen in ((name, arguments), (ADVANTAGE, {"objective": objective})):
        made = trinity.ADVANTAGE_FN.get(registered)
        assert not made.compute_in_trainer()
        results, _ = made(**made.default_args() | chosen).process(experiences(reward, task))
        assert all(torch.equal(experience.advantages, experience.returns) for experience in results)
        found.append(torch.stack([experience.advantages for experience in results]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)
    assert bool((found[1][:, 1] == 0).all())


def test_the_advantage_s_metrics_and_errors():
    made = trinity.ADVANTAGE_FN.get(ADVANTAGE)(objective={"name": "shifted_mean", "beta": 0.5})
    results, metrics = made(experiences([0.0, 1.0], [3, 3]))
    assert [experience.advantages.tolist() for experience in results] == [[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]]
    assert metrics["group_advantages/reward_mean/mean"] == 0.5
    assert metrics["group_advantages/baseline/mean"] == 0.0
    with pytest.raises(ValueError, match=r"task '/3': reward\[1\] is nan"):
        made(experiences([0.0, float("nan")], [3, 3]))


def test_red_drop_is_not_quite_trinity_s():
    """The catalogue's note: the mean is taken over all samples there, over those that are kept in Trinity-RFT."""
    reward = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    algorithm = ps.algorithm("red_drop")
    advantage = algorithm.advantage(torch.tensor(reward))
    assert float(algorithm.coefficient(0 * advantage, advantage).sum()) == pytest.approx(1.0)
    results, _ = trinity.ADVANTAGE_FN.get("rec")(drop="balance").process(experiences(reward, [0] * 8))
    kept = torch.stack([experience.advantages[0] for experience in results])
    assert sorted(kept.tolist()) == [-0.5, -0.5, 0, 0, 0, 0, 0.5, 0.5]
