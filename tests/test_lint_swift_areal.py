"""ms-swift, AReaL and EasyR1: what each configuration is, by the trainer's own rules, and what it is told."""

import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from pessimism.lint import READERS, lint, lint_all
from pessimism.trainers.document import Document
from pessimism.trainers.hydra import apply
from pessimism.trainers.settings import Settings

STARTS = {
    "ms-swift": {"rlhf_type": "grpo", "reward_funcs": "accuracy"},
    "easyr1": {"worker": {"rollout": {"n": 4}}},
    "areal": {"gconfig": {"n_samples": 8}, "actor": {"reward_norm": {"mean_level": "group", "std_level": "group"}}},
}
CENTERED = "actor.reward_norm={mean_level: group, std_level: null}"


def settings(trainer: str, *overrides: str) -> Settings:
    values = deepcopy(STARTS[trainer])
    for override in overrides:
        key, _, text = override.partition("=")
        apply(values, {}, key, text)
    return READERS[trainer](Document("run.sh", values))


# trainer, overrides -> entry, what its parameters must be, rewards -> advantages by the trainer's formula, level
G = np.array([0.0, 0.0, 0.0, 1.0])


def by_std(epsilon):
    return (G - G.mean()) / (G.std(ddof=1) + epsilon)


LEFT_OUT = (G * 4 - G.sum()) / 3
ENTRIES = [
    ("ms-swift", (), "grpo", {"low": 0.2, "high": 0.2}, by_std(1e-4), "token"),
    ("ms-swift", ("loss_type=dapo", "epsilon_high=0.28"), "dapo", {"high": 0.28}, by_std(1e-4), "token"),
    ("ms-swift", ("loss_type=dr_grpo", "scale_rewards=none"), "dr_grpo", {}, G - G.mean(), "token"),
    ("ms-swift", ("scale_rewards=false",), "dr_grpo", {}, G - G.mean(), "token"),
    ("ms-swift", ("delta=3",), "ppo_dual_clip", {"cap": 3}, by_std(1e-4), "token"),
    ("ms-swift", ("loss_type=[grpo]",), "grpo", {}, by_std(1e-4), "token"),
    ("ms-swift", ("importance_sampling_level=sequence",), "gspo", {}, by_std(1e-4), "sequence mean"),
    ("ms-swift", ("importance_sampling_level=sequence_token",), "gspo", {}, by_std(1e-4), "sequence mean"),
    ("ms-swift", ("advantage_estimator=rloo",), "ppo", {}, LEFT_OUT, "token"),
    ("ms-swift", ("advantage_estimator=reinforce_plus_plus",), "ppo", {}, G - G.mean(), "token"),
    ("ms-swift", ("loss_type=cispo", "epsilon_high=5"), "cispo", {"cap": 5}, by_std(1e-4), "token"),
    (
        "ms-swift",
        ("loss_type=sapo", "tau_neg=2"),
        "sapo",
        {"tau_positive": 1.0, "tau_negative": 2},
        by_std(1e-4),
        "token",
    ),
    ("easyr1", (), "ppo_dual_clip", {"low": 0.2, "high": 0.3, "cap": 3.0}, by_std(1e-6), "token"),
    ("easyr1", ("worker.actor.loss_type=gspo_token",), "gspo", {"high": 0.3}, by_std(1e-6), "sequence mean"),
    ("easyr1", ("worker.actor.loss_type=cispo", "worker.actor.clip_ratio_low=0"), "verl.cispo", {}, None, "token"),
    ("easyr1", ("worker.actor.loss_type=sapo",), "sapo", {"tau_negative": 1.05}, by_std(1e-6), "token"),
    ("easyr1", ("algorithm.adv_estimator=rloo",), "ppo_dual_clip", {}, LEFT_OUT, "token"),
    ("areal", (), "grpo", {"low": 0.2, "high": 0.2}, by_std(1e-5), "token"),
    ("areal", ("actor.eps_clip=0.4", "actor.eps_clip_higher=0.5"), "grpo", {"low": 0.4, "high": 0.5}, None, "token"),
    ("areal", ("actor.c_clip=3",), "ppo_dual_clip", {"cap": 3}, by_std(1e-5), "token"),
    ("areal", (CENTERED,), "dr_grpo", {}, G - G.mean(), "token"),
    ("areal", (CENTERED, "actor.reward_norm.mean_leave1out=true"), "ppo", {}, LEFT_OUT, "token"),
    ("areal", ("actor.importance_sampling_level=sequence",), "gspo", {}, by_std(1e-5), "sequence mean"),
    ("areal", ("actor.use_sapo_loss=true",), "sapo", {"tau_negative": 1.05}, by_std(1e-5), "token"),
    ("areal", ("actor.reward_norm=null",), "ppo", {}, G, "token"),
    ("areal", ("actor.reward_norm.std_level=batch",), "ppo", {}, G - G.mean(), "token"),
]


@pytest.mark.parametrize(("trainer", "overrides", "entry", "parameters", "advantage", "level"), ENTRIES)
def test_the_objective_is_the_trainers(trainer, overrides, entry, parameters, advantage, level):
    found = settings(trainer, *overrides).objective
    assert found.algorithm is not None, found.unknown
    assert (found.entry, found.algorithm.level) == (entry, level)
    assert {name: found.algorithm.parameters[name] for name in parameters} == parameters
    if advantage is not None:
        np.testing.assert_allclose(found.algorithm.advantage(G), advantage, rtol=1e-12)


@pytest.mark.parametrize(
    ("trainer", "overrides", "why"),
    [
        ("ms-swift", ("loss_type=fipo",), "weighted by how later tokens moved"),
        ("ms-swift", ("loss_type=real",), "contrastive"),
        ("ms-swift", ("loss_type=grop",), "grpo?"),
        ("ms-swift", ("loss_type=luspo",), "known losses"),
        ("ms-swift", ("advantage_estimator=rlo",), "rloo?"),
        ("ms-swift", ("scale_rewards=gdpo",), "several rewards"),
        ("ms-swift", ("advantage_estimator=rloo", "scale_rewards=group"), "group's std"),
        ("ms-swift", ("rlhf_type=ppo",), "only ms-swift's grpo is read"),
        ("easyr1", ("algorithm.adv_estimator=remax",), "greedy completion"),
        ("easyr1", ("algorithm.adv_estimator=grp",), "grpo?"),
        ("easyr1", ("worker.actor.loss_type=dro",), "known losses"),
        ("areal", ("actor.reward_norm.mean_level=batch",), "mean of the batch"),
        ("areal", ("actor.reward_norm=null", "actor.adv_norm={mean_level: batch}"), "tokens of the batch"),
        ("areal", ("actor.importance_sampling_level=seq",), "levels"),
    ],
)
def test_what_is_no_entry_is_said_to_be_none(trainer, overrides, why):
    found = settings(trainer, *overrides).objective
    assert found.entry == ""
    assert why in found.unknown


@pytest.mark.parametrize(
    ("trainer", "overrides", "steps", "is_one", "bound"),
    [
        ("ms-swift", (), 1, True, 0),
        ("ms-swift", ("gradient_accumulation_steps=8",), 1, True, 0),
        ("ms-swift", ("steps_per_generation=4",), 4, False, 0),
        ("ms-swift", ("num_iterations=2",), 2, False, 0),
        ("ms-swift", ("async_generate=true",), 1, True, 1),
        ("easyr1", (), 2, False, 0),
        ("easyr1", ("data.rollout_batch_size=256",), 1, True, 0),
        ("areal", (), 4, False, 0),
        ("areal", ("actor.ppo_n_minibatches=1",), 1, False, 0),
        ("areal", ("actor.ppo_n_minibatches=1", "actor.recompute_logprob=true"), 1, True, 0),
        ("areal", ("actor.ppo_n_minibatches=1", "actor.use_decoupled_loss=true"), 1, True, 0),
        ("areal", ("rollout.max_head_offpolicyness=4",), 4, False, 4),
    ],
)
def test_how_old_the_data_are(trainer, overrides, steps, is_one, bound):
    lag = settings(trainer, *overrides).lag
    assert (lag.steps, lag.ratio_is_one, lag.bound, lag.asynchronous) == (steps, is_one, bound, bound > 0)


REJECTION = ("actor.use_decoupled_loss=true", "actor.rejection_sampling={metric: ratio}")


@pytest.mark.parametrize(
    ("trainer", "overrides", "kind", "level", "bound"),
    [
        ("ms-swift", (), "not needed", "token", math.inf),
        ("ms-swift", ("use_vllm=true",), "none", "token", math.inf),
        ("ms-swift", ("rollout_importance_sampling_mode=token_mask",), "mask", "token", 2),
        (
            "ms-swift",
            ("rollout_importance_sampling_mode=sequence_truncate", "rollout_importance_sampling_threshold=3"),
            "truncate",
            "sequence mean",
            3,
        ),
        ("areal", (), "not needed", "token", math.inf),
        ("areal", ("actor.recompute_logprob=true",), "none", "token", math.inf),
        ("areal", REJECTION[:1], "none", "token", math.inf),
        ("areal", REJECTION, "mask", "token", 5),
        ("areal", (*REJECTION, "actor.rejection_sampling.action=clamp"), "truncate", "token", 5),
        ("areal", (*REJECTION, "actor.rejection_sampling.level=sequence"), "mask", "sequence mean", 5),
        (
            "areal",
            (*REJECTION, "actor.rejection_sampling={level: sequence, agg: sum, upper: 2}"),
            "mask",
            "sequence",
            2,
        ),
    ],
)
def test_what_is_done_about_the_samplers_probabilities(trainer, overrides, kind, level, bound):
    correction = settings(trainer, *overrides).correction
    assert (correction.kind, correction.level, correction.bound) == (kind, level, bound)


def test_where_the_penalty_is_and_that_its_default_is_the_trainers():
    found = settings("ms-swift").penalty
    assert found is not None
    assert (found.coefficient, found.estimator, found.place) == (0.04, "k3", "loss")
    found = settings("ms-swift", "advantage_estimator=rloo", "beta=0.1").penalty
    assert found is not None
    assert (found.coefficient, found.estimator, found.place) == (0.1, "k1", "reward")
    assert settings("ms-swift", "beta=0").penalty is None
    assert settings("areal").penalty is None
    assert any("without ref" in remark for remark in settings("areal").objective.remarks)
    found = settings("easyr1").penalty
    assert found is not None
    assert (found.coefficient, found.estimator, found.place) == (1e-3, "k1", "reward")
    found = settings("easyr1", "algorithm={use_kl_loss: true, kl_penalty: low_var_kl}").penalty
    assert found is not None
    assert (found.estimator, found.place) == ("k3", "loss")
    assert settings("easyr1", "algorithm.disable_kl=true").penalty is None
    found = settings("areal", "ref={path: x}", "actor.kl_estimator=k2").penalty
    assert found is not None
    assert (found.coefficient, found.estimator, found.place) == (0.1, "k2", "advantage")


@pytest.mark.parametrize(
    ("overrides", "temperature", "trained_at", "top_k"),
    [
        ((), 1, 1, 0),
        (("gconfig.greedy=true",), 0, 1, 0),
        (("gconfig.temperature=0.6",), 0.6, 1, 0),
        (("gconfig.temperature=0.6", "actor.temperature=${gconfig.temperature}", "gconfig.top_k=50"), 0.6, 0.6, 50),
        (("gconfig.top_k=100000000",), 1, 1, 0),
    ],
)
def test_areal_trains_at_a_temperature_of_its_own(overrides, temperature, trained_at, top_k):
    sampling = settings("areal", *overrides).sampling
    assert (sampling.temperature, sampling.trained_at, sampling.top_k) == (temperature, trained_at, top_k)


@pytest.mark.parametrize("kind", ["dpo", "kto", "gkd", "rm"])
def test_ms_swift_without_a_reward_trains_on_none(kind, tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text(f"rlhf_type: {kind}\nbeta: 0.1\ntop_p: 0.9\nloss_type: sigmoid\n")
    report = lint(path)
    assert report.settings.version.startswith("ms-swift")
    assert [finding.rule.id for finding in report.findings] == ["nothing-trained"]


def test_a_teacher_alone_is_no_reward():
    assert "teacher" in settings("ms-swift", "reward_funcs=[x]", "teacher_model=big").objective.remarks[0]
    teacher = READERS["ms-swift"](Document("run.sh", {"rlhf_type": "grpo", "teacher_model": "big"}))
    assert "teacher" in teacher.untrained


def test_a_script_of_ms_swift_is_read_with_the_prompt_that_it_holds(tmp_path: Path):
    """The server before it trains nothing; a prompt is free text, which may be no YAML."""
    path = tmp_path / "run.sh"
    path.write_text(
        "swift rollout --model m &\n"
        'swift rlhf --rlhf_type grpo --system "Think first: then answer, {so}" --num_generations 6 \\\n'
        "  --rollout_importance_sampling_mode sequence_mask --top_p 0.9\n"
    )
    (report,) = lint_all(path)
    assert (report.settings.group_size, report.settings.sampling.top_p) == (6, 0.9)
    assert report.settings.document.values["system"] == "Think first: then answer, {so}"
    assert {finding.rule.id: finding.line for finding in report.findings}["truncated-sampling"] == 3


def test_other_files_of_both_are_refused_by_name(tmp_path: Path):
    for text, name in [("swift sft --model m\n", "ms-swift"), ("python -m areal.launcher.local x.py --a 1\n", "AReaL")]:
        path = tmp_path / "run.sh"
        path.write_text(text)
        with pytest.raises(ValueError, match=f"this is for {name}"):
            lint(path)


def test_a_script_of_easyr1_builds_on_the_file_that_it_names(tmp_path: Path):
    """Its path is one from the folder in which the script is started, which lies above the script's."""
    examples = tmp_path / "examples"
    examples.mkdir()
    (examples / "base.yaml").write_text("worker: {rollout: {n: 6}, actor: {global_batch_size: 64}}\n")
    path = examples / "run.sh"
    path.write_text("python3 -m verl.trainer.main config=examples/base.yaml data.rollout_batch_size=64\n")
    found = lint(path).settings
    assert (found.trainer, found.group_size, found.lag.ratio_is_one) == ("easyr1", 6, True)
    path.write_text("python3 -m verl.trainer.main config=examples/gone.yaml worker.actor.clip_ratio_high=0.25\n")
    report = lint(path)
    assert (report.settings.group_size, report.settings.lag.steps) == (None, None)
    assert "gone.yaml, which it builds on" in report.settings.objective.unknown
    assert {"group-of-one", "clip-range-level"} & {finding.rule.id for finding in report.findings} == set()


def test_areals_m2po_is_its_clip_under_the_mask_of_second_moments():
    plain, masked = settings("areal").objective, settings("areal", "actor.m2_threshold=0.04").objective
    assert masked.entry == plain.entry
    assert masked.loss == "ppo with m2po"
    assert masked.algorithm is not None
    assert plain.algorithm is not None
    assert masked.algorithm.parameters["mask"] == "second_moment(budget=0.04, of=all)"
    advantage = np.array([1.0, 1.0, -1.0, -1.0])
    log_ratio = np.log(np.array([0.95, 1.05, 1.1, 3.0]))
    given = dict(behavior=np.full(4, 0.25))
    kept = masked.algorithm.coefficient(log_ratio, advantage, **given)
    np.testing.assert_allclose(kept[:3], plain.algorithm.coefficient(log_ratio, advantage)[:3])
    assert kept[3] == 0  # its squared log-ratio, 1.2, is beyond what the budget of the mean allows
    assert settings("areal", "actor.m2_threshold=0.04").trainer == "areal"
