"""NeMo-RL, SkyRL, OpenRLHF and slime: what each configuration is, by the trainer's own rules, and what it is told."""

import math
from pathlib import Path

import numpy as np
import pytest

from pessimism.lint import READERS, lint, lint_all
from pessimism.lint.linter import trainer_of
from pessimism.trainers.command_line import read_command
from pessimism.trainers.document import Document, read_document
from pessimism.trainers.hydra import apply
from pessimism.trainers.settings import Settings
from pessimism.trainers.shell import commands

SLIME = {"rollout_batch_size": 32, "num_rollout": 100, "n_samples_per_prompt": 8, "rollout_max_response_len": 4096}
NEMO = {"policy": {}, "loss_fn": {}, "grpo": {}}


def settings(trainer: str, *overrides: str) -> Settings:
    values: dict = {"nemo-rl": NEMO, "slime": SLIME}.get(trainer, {})
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for override in overrides:
        key, _, text = override.partition("=")
        apply(values, {}, key, text)
    return READERS[trainer](Document("run.sh", values))


LOSS, GRPO, ALGORITHM = "loss_fn", "grpo", "trainer.algorithm"
LOO = "leave-one-out standardized"
STD = "standardized"

# trainer, overrides -> entry, what its parameters must be, baseline, level
ENTRIES = [
    ("nemo-rl", (), "grpo", {"low": 0.2, "high": 0.2}, LOO, "token"),
    ("nemo-rl", (f"{GRPO}.use_leave_one_out_baseline=false",), "grpo", {}, STD, "token"),
    ("nemo-rl", (f"{GRPO}.normalize_rewards=false",), "ppo", {}, "leave one out", "token"),
    ("nemo-rl", (f"{GRPO}.adv_estimator.normalize_rewards=false",), "ppo", {}, "leave one out", "token"),
    (
        "nemo-rl",
        (f"{GRPO}.normalize_rewards=false", f"{GRPO}.use_leave_one_out_baseline=false"),
        "dr_grpo",
        {},
        "mean",
        "token",
    ),
    ("nemo-rl", (f"{GRPO}.adv_estimator.name=reinforce_plus_plus",), "ppo", {}, "mean", "token"),
    (
        "nemo-rl",
        (f"{LOSS}.ratio_clip_max=0.28", f"{LOSS}.ratio_clip_c=3"),
        "ppo_dual_clip",
        {"high": 0.28, "cap": 3},
        LOO,
        "token",
    ),
    (
        "nemo-rl",
        (f"{LOSS}.use_cispo=true", f"{LOSS}.ratio_clip_min=1", f"{LOSS}.ratio_clip_max=4"),
        "cispo",
        {"cap": 5},
        LOO,
        "token",
    ),
    ("nemo-rl", (f"{LOSS}.use_cispo=true",), "verl.cispo", {"low": 0.2, "high": 0.2}, LOO, "token"),
    (
        "nemo-rl",
        (f"{LOSS}.sequence_level_importance_ratios=true", f"{LOSS}.token_level_loss=false"),
        "gspo",
        {},
        LOO,
        "sequence mean",
    ),
    ("nemo-rl", (f"{LOSS}.disable_ppo_ratio=true",), "grpo.no_ratio", {}, LOO, "token"),
    (
        "nemo-rl",
        (
            f"{LOSS}.force_on_policy_ratio=true",
            f"{LOSS}.use_importance_sampling_correction=true",
            f"{LOSS}.truncated_importance_sampling_type=tis",
            f"{LOSS}.truncated_importance_sampling_ratio=2",
        ),
        "verl.tis",
        {"cap": 2},
        LOO,
        "token",
    ),
    ("skyrl", (), "grpo", {"low": 0.2, "high": 0.2}, STD, "token"),
    ("skyrl", (f"{ALGORITHM}.policy_loss_type=dual_clip",), "ppo_dual_clip", {"cap": 3.0}, STD, "token"),
    ("skyrl", (f"{ALGORITHM}.ppo_loss_type=dual_clip",), "ppo_dual_clip", {"cap": 3.0}, STD, "token"),
    ("skyrl", (f"{ALGORITHM}.grpo_norm_by_std=false",), "dr_grpo", {}, "mean", "token"),
    ("skyrl", (f"{ALGORITHM}.advantage_estimator=rloo",), "ppo", {}, "leave one out", "token"),
    ("skyrl", (f"{ALGORITHM}.advantage_estimator=gae",), "ppo", {}, "mean", "token"),
    ("skyrl", (f"{ALGORITHM}.policy_loss_type=gspo",), "gspo", {}, STD, "sequence mean"),
    ("skyrl", (f"{ALGORITHM}.policy_loss_type=cispo",), "cispo", {"cap": 5.0}, STD, "token"),
    ("skyrl", (f"{ALGORITHM}.policy_loss_type=sapo",), "sapo", {"tau_negative": 1.05}, STD, "token"),
    ("skyrl", (f"{ALGORITHM}.policy_loss_type=rollout_is",), "verl.icepop", {"low": 0.8, "high": 1.2}, STD, "token"),
    ("skyrl", (f"{ALGORITHM}.policy_loss_type=dppo",), "dppo_tv", {"low": 0.2, "cap": math.inf}, STD, "token"),
    ("openrlhf", (), "ppo", {"low": 0.2, "high": 0.2}, "mean", "token"),
    ("openrlhf", ("advantage_estimator=group_norm",), "grpo", {}, STD, "token"),
    (
        "openrlhf",
        ("algo.advantage.estimator=group_norm", "actor.dual_clip=3"),
        "ppo_dual_clip",
        {"cap": 3},
        STD,
        "token",
    ),
    ("openrlhf", ("advantage_estimator=dr_grpo",), "dr_grpo", {}, "mean", "token"),
    (
        "openrlhf",
        ("advantage_estimator=rloo", "eps_clip_low_high=[0.2, 0.28]"),
        "ppo",
        {"high": 0.28},
        "leave one out",
        "token",
    ),
    ("openrlhf", ("algo.advantage.estimator=reinforce_baseline",), "ppo", {}, "mean", "token"),
    (
        "openrlhf",
        ("actor.policy_loss_type=gspo", "algo.advantage.estimator=rloo"),
        "gspo",
        {},
        "leave one out",
        "sequence mean",
    ),
    ("slime", (), "grpo", {"low": 0.2, "high": 0.2}, STD, "token"),
    ("slime", ("eps_clip=0.1", "eps_clip_c=3"), "ppo_dual_clip", {"low": 0.1, "high": 0.1, "cap": 3}, STD, "token"),
    ("slime", ("disable_grpo_std_normalization=true",), "dr_grpo", {}, "mean", "token"),
    ("slime", ("disable_rewards_normalization=true",), "ppo", {}, "none", "token"),
    (
        "slime",
        ("advantage_estimator=gspo", "eps_clip=3e-4", "eps_clip_high=4e-4"),
        "gspo",
        {"high": 4e-4},
        STD,
        "sequence mean",
    ),
    ("slime", ("advantage_estimator=cispo", "eps_clip=1", "eps_clip_high=4"), "cispo", {"cap": 5}, STD, "token"),
    ("slime", ("advantage_estimator=ppo",), "ppo", {}, "mean", "token"),
    (
        "slime",
        ("advantage_estimator=reinforce_plus_plus_baseline", "normalize_advantages=true"),
        "ppo",
        {},
        "mean",
        "token",
    ),
    ("slime", ("advantage_estimator=reinforce_plus_plus",), "ppo", {}, "none", "token"),
]


@pytest.mark.parametrize(("trainer", "overrides", "entry", "parameters", "baseline", "level"), ENTRIES)
def test_which_objective_it_is(trainer, overrides, entry, parameters, baseline, level):
    found = settings(trainer, *overrides)
    assert found.objective.unknown == ""
    made = found.objective.algorithm
    assert made is not None
    assert found.objective.entry == entry
    assert {name: made.parameters[name] for name in parameters} == parameters
    assert (made.baseline.name, made.level) == (baseline, level)


UNKNOWN = [
    ("nemo-rl", (f"{GRPO}.adv_estimator.name=gpro",), "did you mean grpo"),
    ("nemo-rl", (f"{GRPO}.adv_estimator.name=gdpo",), "several rewards"),
    (
        "nemo-rl",
        (f"{GRPO}.adv_estimator.name=reinforce_plus_plus", f"{GRPO}.adv_estimator.minus_baseline=false"),
        "mean of the batch",
    ),
    (
        "nemo-rl",
        (f"{LOSS}.disable_ppo_ratio=true", f"{LOSS}.use_importance_sampling_correction=true"),
        "without a bound",
    ),
    ("skyrl", (f"{ALGORITHM}.policy_loss_type=regulr",), "did you mean regular"),
    ("skyrl", (f"{ALGORITHM}.advantage_estimator=mine",), "advantage_estimator is 'mine'"),
    ("skyrl", (f"{ALGORITHM}.policy_loss_type=kl_cov",), "not in the catalogue"),
    ("openrlhf", ("advantage_estimator=reinforce",), "mean of the batch"),
    ("openrlhf", ("advantage_estimator=grpo",), "known estimators"),
    ("slime", ("custom_loss_function_path=mine.loss",), "mine.loss"),
    ("slime", ("advantage_estimator=reinforce_plus_plus", "normalize_advantages=true"), "mean of the batch"),
]


@pytest.mark.parametrize(("trainer", "overrides", "why"), UNKNOWN)
def test_what_is_not_known_is_told(trainer, overrides, why):
    found = settings(trainer, *overrides).objective
    assert why in found.unknown
    assert found.algorithm is None


@pytest.mark.parametrize(
    ("trainer", "overrides", "steps", "bound"),
    [
        ("nemo-rl", (), 1, None),
        ("nemo-rl", ("policy.train_global_batch_size=128",), 4, None),
        ("nemo-rl", (f"{GRPO}.async_grpo={{enabled: true, max_trajectory_age_steps: 2}}",), 1, 2),
        ("skyrl", (), 4, None),
        ("skyrl", ("trainer.policy_mini_batch_size=1024", "trainer.update_epochs_per_batch=2"), 2, None),
        ("skyrl", ("trainer.fully_async.enabled=true",), 1, 4),
        ("openrlhf", (), 8, None),
        ("openrlhf", ("n_samples_per_prompt=4", "train_batch_size=1024", "async_train=true"), 4, 1),
        ("slime", ("global_batch_size=256",), 1, None),
        ("slime", ("global_batch_size=64",), 4, None),
        ("slime", ("num_steps_per_rollout=2",), 2, None),
        ("slime", (), None, None),
        ("slime", ("num_steps_per_rollout=1", "rollout_function_path=fully_async_rollout.generate"), 1, math.inf),
    ],
)
def test_how_old_data_can_be(trainer, overrides, steps, bound):
    lag = settings(trainer, *overrides).lag
    assert lag.steps == steps
    assert lag.asynchronous == (bound is not None)
    assert bound is None or lag.bound == bound


@pytest.mark.parametrize(
    ("trainer", "overrides", "penalty"),
    [
        ("nemo-rl", (), (0.01, "k3 with the score's gradient", "loss")),
        ("nemo-rl", (f"{LOSS}.use_kl_in_reward=true",), (0.01, "k3", "reward")),
        ("nemo-rl", (f"{LOSS}.reference_policy_kl_penalty=0",), None),
        ("skyrl", (), (1e-3, "k3", "loss")),
        ("skyrl", (f"{ALGORITHM}.use_kl_loss=false",), None),
        ("openrlhf", (), (0.01, "k1", "advantage")),
        ("openrlhf", ("use_kl_loss=true", "kl_estimator=k3", "init_kl_coef=1e-3"), (1e-3, "k3", "loss")),
        ("openrlhf", ("init_kl_coef=0",), None),
        ("slime", ("use_kl_loss=true", "kl_loss_coef=0.00"), None),
        ("slime", ("use_kl_loss=true", "kl_loss_coef=0.01", "kl_loss_type=low_var_kl"), (0.01, "k3", "loss")),
        ("slime", ("kl_coef=0.01",), None),
        ("slime", ("kl_coef=0.01", "advantage_estimator=ppo"), (0.01, "k1", "advantage")),
    ],
)
def test_penalties(trainer, overrides, penalty):
    found = settings(trainer, *overrides).penalty
    assert penalty == (None if found is None else (found.coefficient, found.estimator, found.place))


@pytest.mark.parametrize(
    ("trainer", "overrides", "kind", "level", "bound"),
    [
        ("nemo-rl", (), "none", "token", math.inf),
        ("nemo-rl", (f"{LOSS}.use_importance_sampling_correction=true",), "truncate", "token", math.inf),
        ("skyrl", (f"{ALGORITHM}.off_policy_correction.tis_ratio_type=token",), "truncate", "token", 2.0),
        (
            "skyrl",
            (f"{ALGORITHM}.off_policy_correction.sequence_mask_metric=geometric",),
            "mask",
            "sequence mean",
            1.01,
        ),
        ("skyrl", (f"{ALGORITHM}.policy_loss_type=rollout_is",), "not needed", "token", math.inf),
        ("openrlhf", ("enable_vllm_is_correction=true",), "truncate", "token", 5.0),
        ("slime", ("use_tis=true",), "truncate", "token", 2.0),
        ("slime", ("use_rollout_logprobs=true",), "not needed", "token", math.inf),
        ("slime", ("use_tis=true", "custom_tis_function_path=mine.mis"), "own code", "token", math.inf),
    ],
)
def test_corrections(trainer, overrides, kind, level, bound):
    found = settings(trainer, *overrides).correction
    assert (found.kind, found.level, found.bound) == (kind, level, bound)


STARTS = [
    ("python -m openrlhf.cli.train_ppo_ray --eps_clip_low_high 0.2 0.28 --advantage_estimator rloo", "openrlhf"),
    ("deepspeed --module openrlhf.cli.train_sft --max_len 2048", "openrlhf"),
    ("ray job submit -- python3 train.py $A --rollout-batch-size 8 --actor-num-gpus-per-node 8", "slime"),
    ("python3 train_async.py --rollout-batch-size 8 --n-samples-per-prompt 8 --rollout-max-response-len 99", "slime"),
    ("uv run examples/run_grpo.py grpo.num_prompts_per_step=8 cluster.num_nodes=1", "nemo-rl"),
    ("python -m skyrl.train.entrypoints.main_base trainer.algorithm.gamma=1 generator.batched=true", "skyrl"),
]


@pytest.mark.parametrize(("line", "trainer"), STARTS)
def test_the_trainer_is_told_by_what_is_started(line, trainer):
    found = read_command(commands(line)[0])
    assert trainer_of(Document("run.sh", found.values, {}, ".sh", entry=found.entry)) == trainer


@pytest.mark.parametrize(
    "values",
    [
        {"loss_type": "sft_loss", "a": 1, "b": 2, "c": 3},  # one name that TRL has too
        {"trainer": {"policy": {"model": "x"}}},
        {"policy": {"type": "act"}, "steps": 3},  # a robot's
    ],
)
def test_one_name_in_common_makes_no_trainer(values):
    with pytest.raises(ValueError, match="no configuration of"):
        trainer_of(Document("run.yaml", values, {}, ".yaml"))


def test_a_pair_of_bounds_is_two_numbers_however_written():
    clip = settings("openrlhf", "actor.eps_clip_low_high=[3e-4, 4e-4]").clip  # texts, for YAML 1.1
    assert clip is not None
    assert (clip.low, clip.high) == (3e-4, 4e-4)
    for wrong in ("0.2", "[0.2]", "[a, b]", "[0.1, 0.2, 0.3]"):
        with pytest.raises(ValueError, match="must be two numbers"):
            settings("openrlhf", f"eps_clip_low_high={wrong}")


def test_a_class_of_the_same_name_is_not_trls():
    values = {"num_prompts_per_step": 1, "num_generations_per_prompt": 2, "max_num_steps": 3}  # NeMo-RL's GRPOConfig
    with pytest.raises(ValueError, match="no configuration of"):
        trainer_of(Document("run.py", values, {}, ".py", entry="GRPOConfig"))
    assert trainer_of(Document("run.py", {"beta": 0.1}, {}, ".py", entry="GRPOConfig")) == "trl"


def test_several_numbers_after_a_flag_are_a_list():
    found = read_command(commands("x.py --range 0.2 0.28 --one 3 --names a b --neg -1 -2")[0])
    assert found.values == {"range": [0.2, 0.28], "one": 3, "names": "a", "neg": [-1, -2]}


def test_nemo_rl_builds_on_a_file_above(tmp_path: Path):
    base = tmp_path / "configs" / "grpo.yaml"
    own = tmp_path / "configs" / "recipes" / "llm" / "run.yaml"
    own.parent.mkdir(parents=True)
    base.write_text("grpo: {num_generations_per_prompt: 4}\nloss_fn: {}\npolicy: {train_global_batch_size: 8}\n")
    own.write_text("defaults: ../../grpo.yaml\ngrpo: {num_prompts_per_step: 4}\n")
    report = lint(own)
    assert report.settings.trainer == "nemo-rl"
    assert (report.settings.group_size, report.settings.lag.steps) == (4, 2)
    own.write_text("defaults: ../../../../../../../etc/grpo.yaml\npolicy: {}\nloss_fn: {}\n")
    assert read_document(own).missing == ("../../../../../../../etc/grpo.yaml",)
    own.write_text("defaults: run.yaml\npolicy: {}\nloss_fn: {}\n")
    with pytest.raises(ValueError, match=r"run\.yaml builds on itself"):
        read_document(own)


def test_nothing_rests_on_a_file_that_is_not_there(tmp_path: Path):
    path = tmp_path / "run.sh"
    path.write_text("uv run examples/run_grpo.py --config $CONFIG grpo.num_prompts_per_step=8 cluster.num_nodes=1\n")
    found = lint(path).settings
    assert "is not next to it" in found.objective.unknown
    assert (found.group_size, found.lag.steps) == (None, None)


def test_a_plugin_among_the_flags_is_not_what_is_started():
    found = read_command(commands("megatron rlhf --rlhf_type grpo --plugins a/plugin.py --num_generations 8")[0])
    assert found.values["rlhf_type"] == "grpo"
    assert trainer_of(Document("run.sh", found.values, {}, ".sh", entry=found.entry)) == "ms-swift"


def test_a_script_that_serves_a_model_trains_nothing(tmp_path: Path):
    path = tmp_path / "run.sh"
    path.write_text(
        "python -m openrlhf.cli.serve_rm --max_len 8 &\npython -m openrlhf.cli.train_ppo_ray --init_kl_coef 1e-3\n"
    )
    assert [report.settings.trainer for report in lint_all(path)] == ["openrlhf"]


def test_the_only_pass_of_a_group_counts_one_in_nemo_rl_however_rare():
    made = settings("nemo-rl").objective.algorithm
    assert made is not None
    for size in (4, 16, 64):
        reward = np.zeros(size)
        reward[0] = 1
        assert made.advantage(reward)[0] == 1.0


def test_a_shift_that_no_gradient_sees_is_no_regime(tmp_path: Path):
    """Advantages over the others' spread do not sum to 0, which matters only for data of another policy."""
    path = tmp_path / "run.yaml"
    text = "grpo: {num_generations_per_prompt: 4, num_prompts_per_step: 8}\n"
    text += "policy: {train_global_batch_size: %d}\nloss_fn: {disable_ppo_ratio: true}\n"
    path.write_text(text % 32)
    assert "negative-regime" not in {one.rule.id for one in lint(path).findings}
    path.write_text(text % 8)
    assert "negative-regime" in {one.rule.id for one in lint(path).findings}


@pytest.mark.parametrize(
    ("trainer", "overrides", "why"),
    [
        ("slime", ("loss_type=sft_loss",), "sft_loss"),
        ("nemo-rl", (f"{GRPO}.adv_estimator.name=opd",), "teacher"),
        ("skyrl", (f"{ALGORITHM}.policy_loss_type=cross_entropy",), "cross-entropy"),
    ],
)
def test_nothing_is_trained_on_a_reward(trainer, overrides, why):
    assert why in settings(trainer, *overrides).untrained
