"""Which objective a configuration is: every loss name of every trainer, and the defaults that trainers fill in."""

from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest

import pessimism as ps
from pessimism import baselines
from pessimism.lint import READERS
from pessimism.lint.linter import trainer_of
from pessimism.trainers.document import Document, read_document
from pessimism.trainers.prime_rl.config import ALGORITHMS, OTHER_ADVANTAGES, WITHOUT_REWARD
from pessimism.trainers.prime_rl.config import LOSSES as PRIME_RL_LOSSES
from pessimism.trainers.settings import Settings
from pessimism.trainers.trinity.config import TYPES
from pessimism.trainers.trinity.losses import NOT_IN_CATALOGUE as TRINITY_OTHERS
from pessimism.trainers.trl.config import LOSSES as TRL_LOSSES
from pessimism.trainers.verl.config import LOSSES as VERL_LOSSES
from pessimism.trainers.verl.config import NOT_IN_CATALOGUE as VERL_OTHERS

DATA = Path(__file__).parent / "data" / "lint"
ACTOR = "actor_rollout_ref.actor"
MODE = f"{ACTOR}.policy_loss.loss_mode"
CORRECTION = "algorithm.rollout_correction"
LOSS = "algorithm.policy_loss_fn_args"
ADVANTAGE = "algorithm.advantage_fn_args"
TYPE = "algorithm.algorithm_type"
STD = "standardized"


def settings(name: str, *overrides: str) -> Settings:
    document = read_document(DATA / name, overrides)
    return READERS[trainer_of(document)](document)


# overrides -> entry, what its parameters must be, baseline, level
TRL = [
    ((), "dapo", {"low": 0.2, "high": 0.28}, STD, "token"),
    (("loss_type=grpo",), "grpo", {"low": 0.2, "high": 0.28}, STD, "token"),
    (("loss_type=bnpo",), "grpo", {"low": 0.2}, STD, "token"),
    (("loss_type=dr_grpo",), "grpo", {"low": 0.2}, STD, "token"),
    (("loss_type=dr_grpo", "scale_rewards=none"), "dr_grpo", {"low": 0.2}, "mean", "token"),
    (("loss_type=grpo", "scale_rewards=False"), "dr_grpo", {}, "mean", "token"),
    (("loss_type=grpo", "scale_rewards=batch"), "dr_grpo", {}, "mean", "token"),
    (("delta=4",), "ppo_dual_clip", {"low": 0.2, "high": 0.28, "cap": 4.0}, STD, "token"),
    (("importance_sampling_level=sequence",), "gspo", {"low": 0.2, "high": 0.28}, STD, "sequence mean"),
    (("loss_type=luspo", "importance_sampling_level=sequence"), "luspo", {}, STD, "sequence mean times length"),
    (("loss_type=cispo",), "trl.cispo", {"epsilon_high": 0.28}, STD, "token"),
    (("loss_type=cispo", "epsilon_high=null"), "trl.cispo", {"epsilon_high": 0.2}, STD, "token"),
    (("loss_type=cispo", "epsilon_high=5.0"), "cispo", {"cap": 5.0}, STD, "token"),
    (("loss_type=sapo",), "sapo", {"tau_positive": 1.0, "tau_negative": 1.05}, STD, "token"),
    (("loss_type=sapo", "sapo_temperature_neg=1.5"), "sapo", {"tau_negative": 1.5}, STD, "token"),
    (
        ("loss_type=vespo",),
        "vespo",
        {"k_positive": 2.0, "lambda_positive": 3.0, "k_negative": 3.0, "lambda_negative": 2.0},
        STD,
        "sequence",
    ),
]
VERL = [
    ((), "ppo_dual_clip", {"low": 0.2, "high": 0.2, "cap": 3.0}, STD, "token"),
    (("algorithm.norm_adv_by_std_in_grpo=False",), "ppo_dual_clip", {}, "mean", "token"),
    (("algorithm.adv_estimator=grpo_vectorized",), "ppo_dual_clip", {}, STD, "token"),
    (("algorithm.adv_estimator=rloo",), "ppo_dual_clip", {}, "leave one out", "token"),
    (("algorithm.adv_estimator=rloo_vectorized",), "ppo_dual_clip", {}, "leave one out", "token"),
    (("algorithm.adv_estimator=gae",), "ppo_dual_clip", {}, "mean", "token"),
    (("algorithm.adv_estimator=reinforce_plus_plus_baseline",), "ppo_dual_clip", {}, "mean", "token"),
    (("algorithm.adv_estimator=opo",), "ppo_dual_clip", {}, "mean", "token"),
    (("algorithm.adv_estimator=gpg",), "ppo_dual_clip", {}, "mean", "token"),
    ((f"{ACTOR}.clip_ratio=0.3",), "ppo_dual_clip", {"low": 0.2, "high": 0.2}, STD, "token"),
    ((f"{ACTOR}.clip_ratio=0.3", f"{ACTOR}.clip_ratio_high=null"), "ppo_dual_clip", {"high": 0.3}, STD, "token"),
    ((f"{MODE}=gspo",), "gspo", {"low": 0.2}, STD, "sequence mean"),
    ((f"{MODE}=sapo", f"{ACTOR}.tau_neg=2"), "sapo", {"tau_positive": 1.0, "tau_negative": 2.0}, STD, "token"),
    ((f"{MODE}=gpg",), "grpo.no_ratio", {}, STD, "token"),
    ((f"{MODE}=gpg", "algorithm.adv_estimator=gpg"), "reinforce", {}, "mean", "token"),
    ((f"{MODE}=cispo",), "verl.cispo", {"low": 0.2, "high": 0.2}, STD, "token"),
    ((f"{MODE}=cispo", f"{ACTOR}.clip_ratio_low=10"), "cispo", {"cap": 1.2}, STD, "token"),
    ((f"{MODE}=dro", f"{ACTOR}.policy_loss.dro_beta=0.3"), "verl.dro", {"beta": 0.3}, STD, "token"),
    (
        (f"{MODE}=dppo_tv", f"{ACTOR}.clip_ratio_low=0.15"),
        "dppo_tv",
        {"low": 0.15, "high": 0.2, "cap": 3},
        STD,
        "token",
    ),
    ((f"{MODE}=dppo_kl", f"{ACTOR}.clip_ratio_high=0.05"), "dppo_kl", {"low": 0.2, "high": 0.05}, STD, "token"),
    ((f"{MODE}=geo_mean",), "gmpo", {"low": 0.2, "high": 0.2}, STD, "token vector"),
    ((f"{CORRECTION}.bypass_mode=true",), "ppo_dual_clip", {}, STD, "token"),
    (
        (f"{CORRECTION}.bypass_mode=true", f"{CORRECTION}.loss_type=reinforce"),
        "verl.tis",
        {"cap": 2.0},
        STD,
        "token",
    ),
    (
        (
            f"{CORRECTION}.bypass_mode=true",
            f"{CORRECTION}.loss_type=reinforce",
            f"{CORRECTION}.rollout_is=sequence",
            f"{CORRECTION}.rollout_is_threshold='0.5_5.0'",
        ),
        "verl.icepop",
        {"low": 0.5, "high": 5.0},
        STD,
        "sequence",
    ),
    (
        (
            f"{CORRECTION}.bypass_mode=true",
            f"{CORRECTION}.loss_type=reinforce",
            f"{CORRECTION}.rollout_is=null",
            "algorithm.norm_adv_by_std_in_grpo=false",
        ),
        "reinforce",
        {},
        "mean",
        "token",
    ),
]
PRIME_RL = [
    ((), "prime_rl.default", {"low": 0.2, "high": 0.2, "tau": 1e-3}, "mean", "token"),
    (("trainer.loss.adv_tau=2.0", "trainer.loss.kl_tau=0.01"), "prime_rl.default", {"tau": 0.005}, "mean", "token"),
    (("trainer.loss.dppo_mask_high=0.3",), "prime_rl.default", {"low": 0.2, "high": 0.3}, "mean", "token"),
    (("orchestrator.algo.type=echo",), "prime_rl.default", {}, "mean", "token"),
    (("orchestrator.algo.type=max_rl",), "prime_rl.default", {}, "mean normalized", "token"),
    (("trainer.loss.kl_tau=0.0",), "prime_rl.default", {"tau": 0.0}, "mean", "token"),
    (("trainer.loss.type=ipo",), "prime_rl.ipo", {"threshold": 0.1, "tau": 1e-3}, "mean", "token"),
]
TRINITY = [
    ((f"{TYPE}=ppo",), "ppo_dual_clip", {"low": 0.2, "high": 0.2, "cap": 3.0}, "mean", "token"),
    ((f"{TYPE}=grpo",), "ppo_dual_clip", {}, STD, "token"),
    ((f"{TYPE}=grpo_verl",), "ppo_dual_clip", {}, STD, "token"),
    ((f"{TYPE}=dapo", f"{LOSS}.clip_range_low=0.2", f"{LOSS}.clip_range_high=0.28"), "ppo_dual_clip", {}, STD, "token"),
    ((f"{TYPE}=grpo", f"{ADVANTAGE}.std_cal_level=batch"), "ppo_dual_clip", {}, "mean", "token"),
    ((f"{TYPE}=grpo", f"{LOSS}.clip_range=0.1"), "ppo_dual_clip", {"low": 0.1, "high": 0.1}, STD, "token"),
    (
        (f"{TYPE}=grpo", f"{LOSS}.fallback_to_policy_gradient=true", f"{LOSS}.clip_range=0.2"),
        "grpo.no_ratio",
        {},
        STD,
        "token",
    ),
    ((f"{TYPE}=rloo",), "ppo_dual_clip", {}, "leave one out", "token"),
    ((f"{TYPE}=opmd",), "trinity.opmd", {"tau": 1.0, "kl": 0.0}, "mean", "token"),
    ((f"{TYPE}=opmd", "algorithm.kl_loss_fn=null"), "trinity.opmd", {"tau": 1.0, "kl": 0.001}, "mean", "token"),
    ((f"{TYPE}=opmd", "algorithm.kl_loss_fn=k3"), "trinity.opmd", {"kl": 0.0}, "mean", "token"),
    ((f"{TYPE}=opmd", f"{ADVANTAGE}.opmd_baseline=logavgexp"), "trinity.opmd", {}, "log mean exp", "token"),
    ((f"{TYPE}=asymre",), "asymre", {"shift": -0.1}, "shifted mean", "sequence"),
    ((f"{TYPE}=topr",), "topr", {}, "none", "token"),
    ((f"{TYPE}=topr", "algorithm.advantage_fn=grpo"), "topr", {}, STD, "token"),
    ((f"{TYPE}=cispo",), "trinity.cispo", {"high": 0.28}, STD, "token"),
    ((f"{TYPE}=cispo", f"{LOSS}.enable_mask_clip=true"), "trinity.cispo_masked", {"high": 0.28}, STD, "token"),
    ((f"{TYPE}=cispo", f"{LOSS}.clip_range_low=0.3"), "verl.cispo", {"low": 0.3, "high": 0.28}, STD, "token"),
    ((f"{TYPE}=gspo",), "gspo", {"low": 3e-4, "high": 4e-4}, STD, "sequence mean"),
    ((f"{TYPE}=sapo",), "trinity.sapo", {"tau_positive": 1.0, "tau_negative": 1.05}, STD, "token"),
    ((f"{TYPE}=dpo", f"{LOSS}.beta=0.2"), "dpo", {"beta": 0.2}, None, "sequence"),
]
REC = [
    ((), "rec_oneside_nois", {"low": 0.2, "high": 0.2}, "mean", "token"),
    ((f"{LOSS}.weight=importance_sampling",), "rec_oneside_is", {}, "mean", "token"),
    ((f"{LOSS}.clip_mode=two-side", f"{LOSS}.weight=importance_sampling"), "rec_twoside", {}, "mean", "token"),
    ((f"{LOSS}.clip_mode=ring",), "rec_ring", {"low_outer": 0.4, "high_outer": 0.4}, "mean", "token"),
    (
        (f"{LOSS}.clip_mode=ring", f"{LOSS}.epsilon_low_prime=0.6", f"{LOSS}.epsilon_high_prime=2"),
        "rec_ring",
        {"low_outer": 0.6, "high_outer": 2.0},
        "mean",
        "token",
    ),
    (
        (f"{LOSS}.clip_mode=gspo-one-side", f"{LOSS}.weight=gspo_importance_sampling"),
        "rec_gspo_is",
        {"low": 0.2},
        "mean",
        "sequence mean",
    ),
    ((f"{LOSS}.clip_mode=gspo-one-side",), "rec_gspo_nois", {"low": 0.2}, "mean", "sequence mean"),
    ((f"{LOSS}.clip_mode=none",), "reinforce", {}, "mean", "token"),
    ((f"{LOSS}.clip_mode=none", f"{ADVANTAGE}.std_normalize=true"), "grpo.no_ratio", {}, STD, "token"),
    (
        (f"{LOSS}.clip_mode=none", f"{LOSS}.weight=advantage", f"{LOSS}.temp=2"),
        "red_weight",
        {"temperature": 2.0},
        "mean",
        "token",
    ),
    ((f"{LOSS}.clip_mode=none", f"{ADVANTAGE}.drop=balance"), "red_drop", {}, "mean", "token"),
    (
        (f"{LOSS}.clip_mode=none", f"{LOSS}.regularizer=k2", f"{LOSS}.regularizer_coef=0.1"),
        "opmd.rec",
        {"tau": 0.1},
        "mean",
        "token",
    ),
    (
        (f"{LOSS}.clip_mode=none", f"{LOSS}.regularizer=forward-kl", f"{LOSS}.regularizer_coef=0.1"),
        "asymre",
        {"shift": -0.1},
        "shifted mean",
        "token",
    ),
]
CASES = [
    *(("trl_grpo.yaml", *case) for case in TRL),
    *(("verl_grpo.sh", *case) for case in VERL),
    *(("prime_rl.toml", *case) for case in PRIME_RL),
    *(("trinity_grpo.yaml", *case) for case in TRINITY),
    *(("trinity_rec.yaml", *case) for case in REC),
    ("trl_rloo.yaml", (), "ppo", {"low": 0.2, "high": 0.2}, "leave one out", "sequence"),
    ("trl_a2po.yaml", (), "a_star_po", {"beta1": 0.5, "beta2": 1e-3}, "log mean exp", "sequence"),
    ("trl_async.json", (), "grpo", {"low": 0.2, "high": 0.2}, STD, "token"),
    ("axolotl_grpo.yaml", (), "dr_grpo", {"low": 0.2, "high": 0.2}, "mean", "token"),
    ("axolotl_grpo.yaml", ("trl.loss_type=cispo", "trl.epsilon_high=5"), "cispo", {"cap": 5.0}, "mean", "token"),
    ("trl_adapter.yaml", (), "oapl", {"beta1": 1.0, "beta2": 1e-3}, "log mean exp", "sequence"),
    ("trl_adapter.yaml", ("objective_level=token",), "oapl", {}, "log mean exp", "token"),
]


@pytest.mark.parametrize(("name", "overrides", "entry", "parameters", "baseline", "level"), CASES)
def test_a_configuration_is_recognized(name, overrides, entry, parameters, baseline, level):
    found = settings(name, *overrides).objective
    assert found.unknown == ""
    assert found.entry == entry
    assert found.algorithm is not None
    assert {name: found.algorithm.parameters[name] for name in parameters} == pytest.approx(parameters)
    assert found.algorithm.level == level
    if baseline is not None:
        assert found.algorithm.baseline.name == baseline


UNKNOWN = [
    ("axolotl_grpo.yaml", ("rl=kto",), "only Axolotl's grpo"),
    ("trl_grpo.yaml", ("loss_type=dapoo",), "did you mean dapo"),
    ("trl_grpo.yaml", ("importance_sampling_level=turn",), "known levels: token, sequence"),
    ("trl_grpo.yaml", ("scale_rewards=prompt",), "known scales: group, batch, none"),
    ("trl_grpo.yaml", ("epsilon=1.5",), "low is 1.5"),
    ("trl_adapter.yaml", ("objective=oapll",), "did you mean oapl"),
    ("trl_adapter.yaml", ("objective_parameters.beta3=1",), "no parameter 'beta3'"),
    ("trl_adapter.yaml", ("objective_parameters.beta1=big",), "beta1 is 'big'"),
    ("verl_grpo.sh", (f"{MODE}=vanila",), "did you mean vanilla"),
    ("verl_grpo.sh", (f"{MODE}=dro",), "dro_beta is None"),
    ("verl_grpo.sh", ("algorithm.adv_estimator=grppo",), "did you mean grpo"),
    ("verl_grpo.sh", ("algorithm.adv_estimator=remax",), "reward of the greedy completion"),
    *(("verl_grpo.sh", (f"{MODE}={loss}",), "not in the catalogue") for loss in VERL_OTHERS),
    ("prime_rl.toml", ("trainer.loss.type=custom", "trainer.loss.import_path=mine.loss"), "mine.loss"),
    ("prime_rl.toml", ("trainer.loss.type=dppo",), "known losses: default, ipo, custom"),
    ("prime_rl.toml", ("trainer.loss.adv_tau=0",), "adv_tau is 0"),
    *(("prime_rl.toml", (f"orchestrator.algo.type={kind}",), "not in the cat") for kind in OTHER_ADVANTAGES),
    *(("prime_rl.toml", (f"orchestrator.algo.type={kind}",), "not a policy opt") for kind in WITHOUT_REWARD),
    ("prime_rl.toml", ("orchestrator.algo.type=gpro",), "did you mean grpo"),
    ("trinity_grpo.yaml", (f"{TYPE}=grpoo",), "did you mean grpo"),
    ("trinity_grpo.yaml", (f"{LOSS}.clip_ratio_c=4",), "without clip_range"),
    ("trinity_grpo.yaml", (f"{TYPE}=gspo", f"{LOSS}.loss_agg_mode=token-mean"), "without clip_range"),
    ("trinity_grpo.yaml", (f"{TYPE}=reinforceplusplus",), "mean of the batch"),
    ("trinity_grpo.yaml", ("algorithm.advantage_fn=mine",), "advantage_fn is 'mine'"),
    ("trinity_grpo.yaml", (f"{TYPE}=topr", f"{LOSS}.advantage_threshold=0.5"), "advantage_threshold"),
    ("trinity_grpo.yaml", (f"{TYPE}=dpo", f"{LOSS}.label_smoothing=0.1"), "label smoothing"),
    *(("trinity_grpo.yaml", (f"algorithm.policy_loss_fn={loss}",), words) for loss, words in TRINITY_OTHERS.items()),
    ("trinity_rec.yaml", (f"{LOSS}.clip_mode=two-side",), "not in the catalogue"),
]


@pytest.mark.parametrize(("name", "overrides", "why"), UNKNOWN)
def test_what_is_not_known_is_told(name, overrides, why):
    found = settings(name, *overrides).objective
    assert why in found.unknown
    assert found.algorithm is None
    assert found.uses_log_ratio


def test_every_name_that_a_trainer_has_is_tried():
    tried = {override.partition("=")[2] for case in (*CASES, *UNKNOWN) for override in case[1]}
    in_the_files = {"dapo", "vanilla", "default", "grpo"}
    names = {*TRL_LOSSES, *VERL_LOSSES, *VERL_OTHERS, *PRIME_RL_LOSSES, *ALGORITHMS, *TRINITY_OTHERS}
    assert names - tried <= in_the_files


@pytest.mark.parametrize("kind", TYPES)
def test_every_algorithm_type_of_trinity_is_recognized_or_told(kind):
    found = settings("trinity_grpo.yaml", f"{TYPE}={kind}")
    assert bool(found.objective.entry) != bool(found.objective.unknown)
    assert "did you mean" not in found.objective.unknown


# --- the trainer's own defaults ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trl_config():
    return pytest.importorskip("trl").GRPOConfig


def test_defaults_are_those_of_the_installed_trl(trl_config):
    default = {
        field.name: field.default if field.default is not MISSING else None
        for field in fields(trl_config)
        if field.init
    }
    found = READERS["trl"](Document("empty.yaml", {}))
    assert found.objective.loss == default["loss_type"]
    assert found.group_size == default["num_generations"]
    assert found.clip is not None
    assert found.clip.low == default["epsilon"]
    assert default["epsilon_high"] is None
    assert found.clip.high == found.clip.low
    assert default["delta"] is None
    assert np.isinf(found.clip.cap)
    assert default["scale_rewards"] == "group"
    assert found.scaling == "group std"
    assert default["beta"] == 0
    assert found.penalty is None
    assert default["num_iterations"] == 1
    assert default["vllm_importance_sampling_mode"] == "sequence_mask"
    assert not default["use_vllm"]
    assert found.sampling.temperature == default["temperature"]
    assert found.sampling.top_p == default["top_p"]
    assert found.sampling.top_k == default["top_k"]
    assert found.sampling.repetition_penalty == default["repetition_penalty"]
    with_vllm = READERS["trl"](Document("vllm.yaml", {"use_vllm": True})).correction
    assert (with_vllm.kind, with_vllm.level) == ("mask", "sequence")
    assert with_vllm.bound == default["vllm_importance_sampling_clip_max"]
    for loss, names in {
        "sapo": ("sapo_temperature_pos", "sapo_temperature_neg"),
        "vespo": ("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"),
    }.items():
        made = READERS["trl"](Document("loss.yaml", {"loss_type": loss})).objective.algorithm
        assert made is not None
        assert [value for name, value in made.parameters.items() if name != "epsilon"] == [default[n] for n in names]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"gradient_accumulation_steps": 4},
        {"gradient_accumulation_steps": 4, "steps_per_generation": 8},
        {"gradient_accumulation_steps": 4, "steps_per_generation": 2},
        {"gradient_accumulation_steps": 2, "num_iterations": 3},
        {"gradient_accumulation_steps": 3, "steps_per_generation": 6, "num_iterations": 2},
    ],
)
def test_steps_per_batch_are_those_of_the_installed_trl(trl_config, given, tmp_path):
    config = trl_config(str(tmp_path), per_device_train_batch_size=8, use_cpu=True, bf16=False, report_to=[], **given)
    passes = config.steps_per_generation * config.num_iterations  # its trainer generates again after so many
    lag = READERS["trl"](Document("steps.yaml", given)).lag
    assert lag.steps == max(1, passes / config.gradient_accumulation_steps)
    assert lag.ratio_is_one == (config.gradient_accumulation_steps % passes == 0)


@pytest.mark.parametrize(
    ("name", "overrides", "steps", "bound"),
    [
        ("verl_grpo.sh", (), 1, None),
        ("verl_grpo.sh", ("data.train_batch_size=1024",), 4, None),
        ("verl_grpo.sh", ("data.train_batch_size=1024", f"{ACTOR}.ppo_epochs=2"), 8, None),
        ("verl_async.yaml", (), 1, 4),
        ("verl_async.yaml", ("trainer.v1.sampler.max_off_policy_threshold=null",), 1, np.inf),
        ("verl_async.yaml", ("trainer.v1.trainer_mode=sync",), 1, None),
        ("verl_async.yaml", ("async_training={staleness_threshold: 0.5}",), 4, 1),
        ("prime_rl.toml", (), 1, 2),
        ("prime_rl_orchestrator.toml", (), 1, 8),
        ("trl_async.json", ("weight_sync_steps=3",), 3, 4),
        ("trinity_grpo.yaml", ("synchronizer.sync_interval=10",), 10, None),
        ("trinity_grpo.yaml", ("mode=train",), 1, np.inf),
        ("trinity_grpo.yaml", ("synchronizer.sync_style=trainer_driven",), 1, np.inf),
        ("trinity_grpo.yaml", ("synchronizer.sync_offset=2",), 1, 2),
    ],
)
def test_how_old_data_can_be(name, overrides, steps, bound):
    lag = settings(name, *overrides).lag
    assert lag.steps == steps
    assert lag.asynchronous == (bound is not None)
    assert bound is None or lag.bound == bound


def test_values_are_resolved_within_the_file():
    assert settings("verl_async.yaml").lag.steps == 1  # ppo_mini_batch_size: ${data.train_batch_size}
    assert settings("verl_grpo.sh").group_size == 8  # rollouts=${ROLLOUTS:-8}
    selected = settings("verl_async.yaml", "actor_rollout_ref.rollout.n=${oc.select:data.missing,4}")
    assert selected.group_size == 4
    outside = settings("verl_async.yaml", "actor_rollout_ref.rollout.n=${oc.env:N}")
    assert [(value.key, value.why) for value in outside.unresolved] == [
        ("actor_rollout_ref.rollout.n", "${oc.env:N} leads out of the file")
    ]
    circle = settings(
        "verl_async.yaml", "data.a=${data.b}", "data.b=${data.a}", "actor_rollout_ref.rollout.n=${data.a}"
    )
    assert [value.key for value in circle.unresolved] == ["actor_rollout_ref.rollout.n"]


def test_what_one_source_sets_wins_in_prime_rl():
    assert settings("prime_rl_orchestrator.toml").group_size == 8


@pytest.mark.parametrize(
    ("values", "suffix", "trainer"),
    [
        ({"loss_type": "grpo"}, ".yaml", "trl"),
        ({"num_value_samples": 8}, ".json", "trl"),
        ({"actor_rollout_ref": {}}, ".yaml", "verl"),
        ({"defaults": ["ppo_megatron_trainer", "_self_"]}, ".yaml", "verl"),
        ({"algorithm": {"adv_estimator": "grpo"}}, ".sh", "verl"),
        ({"max_steps": 1}, ".toml", "prime-rl"),
        ({"algorithm": {"algorithm_type": "grpo"}}, ".yaml", "trinity"),
        ({"synchronizer": {}}, ".yaml", "trinity"),
        ({"rl": "grpo", "trl": {"beta": 0.1}}, ".yaml", "axolotl"),
    ],
)
def test_the_trainer_is_told_by_the_keys(values, suffix, trainer):
    assert trainer_of(Document(f"run{suffix}", values, {}, suffix)) == trainer


def test_the_adapter_of_prime_rl_gets_the_orchestrators_baseline():
    custom = ("trainer.loss.type=custom", "trainer.loss.import_path=pessimism.trainers.prime_rl.adapter.loss")
    found = settings("prime_rl.toml", *custom, "trainer.loss.kwargs={name: oapl, beta1: 1, beta2: 0.5}").objective
    assert found.algorithm is not None
    assert found.replaced_baseline == ps.algorithm("oapl", beta1=1, beta2=0.5).baseline.formula
    assert found.algorithm.baseline.formula == baselines.mean().formula


def test_the_trainers_file_of_prime_rl_says_nothing_about_groups():
    alone = READERS["prime-rl"](Document("train.toml", {"loss": {"dppo_mask_high": 0.4}, "optim": {"lr": 1e-6}}))
    assert alone.objective.entry == "prime_rl.default"
    assert alone.parameters["high"] == 0.4
    assert alone.group_size is None
    other = READERS["prime-rl"](Document("sft.toml", {"data": {"name": "x"}}))
    assert "no section is one of prime-rl's RL" in other.objective.unknown
    assert other.group_size is None


def test_the_orchestrators_file_of_prime_rl_says_nothing_about_the_loss():
    found = settings("prime_rl_orchestrator.toml")
    assert [value.key for value in found.unresolved] == ["trainer"]
    assert settings("prime_rl.toml").unresolved == ()
