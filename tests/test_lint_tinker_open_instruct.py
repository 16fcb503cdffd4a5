"""Readers of open-instruct's GRPO, of Tinker cookbook's reinforcement learning and of TRL's online DPO."""

from __future__ import annotations

import numpy as np
import pytest

from pessimism.lint import lint, lint_all

MASON = "python mason.py --cluster ai2/x --gpus 8 -- source configs/setup.sh \\&\\& python open_instruct/grpo_fast.py "
NEW = "--use_rho_correction true --num_samples_per_prompt_rollout 8 "
RECIPE = "python -m tinker_cookbook.recipes.math_rl.train env=math group_size=16 groups_per_batch=64 "


def read(tmp_path, text, name="run.sh"):
    path = tmp_path / name
    path.write_text(text + "\n")
    return lint(path)


def rules(report):
    return {one.rule.id for one in report.findings}


@pytest.mark.parametrize(
    ("words", "entry", "parameters", "scaling"),
    [
        ("", "dr_grpo", {"low": 0.2, "high": 0.272}, ""),
        ("--advantage_normalization_type standard", "grpo", {"high": 0.272}, "group std"),
        ("--loss_fn cispo --clip_higher 3", "cispo", {"cap": 4.0}, ""),
        ("--kl_estimator kl3", "grpo", {"high": 0.2}, "group std"),
    ],
)
def test_open_instructs_objective(tmp_path, words, entry, parameters, scaling):
    new = NEW if "kl_estimator" not in words else "--num_samples_per_prompt_rollout 8 "
    settings = read(tmp_path, MASON + new + words).settings
    assert settings.trainer == "open-instruct"
    assert settings.objective.entry == entry
    assert settings.parameters.items() >= parameters.items()
    assert settings.scaling == scaling
    assert settings.group_size == 8


@pytest.mark.parametrize("loss", ["dapo", "cispo"])
def test_open_instructs_losses_have_these_coefficients(tmp_path, loss):
    """The derivatives of compute_grpo_loss (commit e6c3044) by the log-probability, taken numerically."""
    made = read(tmp_path, MASON + NEW + f"--loss_fn {loss}").settings.objective.algorithm
    assert made is not None
    log_ratio, advantage = np.random.default_rng(0).normal(size=(2, 1_000))
    log_ratio = log_ratio / 3

    def published(moved, fixed):
        ratio = np.exp(moved)
        if loss == "cispo":
            return -advantage * np.minimum(np.exp(fixed), 1.272) * moved
        return np.maximum(-advantage * ratio, -advantage * np.clip(ratio, 0.8, 1.272))

    step = 1e-6
    slope = (published(log_ratio + step, log_ratio) - published(log_ratio - step, log_ratio)) / (2 * step)
    away = np.min(np.abs(np.exp(log_ratio)[:, None] - np.array([0.8, 1.272])), axis=1) > 1e-4
    np.testing.assert_allclose(made.coefficient(log_ratio, advantage)[away], -slope[away], atol=1e-6)


def test_open_instructs_correction_lag_and_penalty(tmp_path):
    settings = read(
        tmp_path,
        MASON + NEW + "--rho_mask_upper_bound 2 --rho_mask_lower_bound 0.5 --rho_mask_sequence_level true --beta 0.01 "
        "--num_mini_batches 4 --async_steps 2 --kl_estimator 1",
    ).settings
    assert (settings.correction.kind, settings.correction.level) == ("mask", "sequence mean")
    assert (settings.correction.low, settings.correction.bound) == (0.5, 2.0)
    assert (settings.lag.steps, settings.lag.bound, settings.lag.ratio_is_one) == (4, 2, False)
    assert settings.penalty is not None
    assert (settings.penalty.coefficient, settings.penalty.estimator) == (0.01, "k2")
    own = read(tmp_path, MASON + NEW.replace("true", "false") + "--use_vllm_logprobs true --beta 0").settings
    assert own.penalty is None
    assert own.correction.kind == "not needed"
    assert not own.lag.ratio_is_one


def test_a_default_that_changed_is_not_taken_where_the_release_is_not_told(tmp_path):
    report = read(tmp_path, MASON + "--num_samples_per_prompt_rollout 8")
    assert "advantage_normalization_type" in report.settings.objective.unknown
    assert "changed in March 2026" in " ".join(one.message for one in report.findings)
    with pytest.raises(ValueError, match="kl_estimator is 7; it must be 0 to 3"):
        read(tmp_path, MASON + NEW + "--kl_estimator 7")
    with pytest.raises(ValueError, match="did you mean centered"):
        read(tmp_path, MASON + NEW + "--advantage_normalization_type centerd")


@pytest.mark.parametrize("program", ["finetune.py", "dpo_tune_cache.py", "ppo_fast.py"])
def test_open_instructs_other_programs_are_named(tmp_path, program):
    with pytest.raises(ValueError, match="open-instruct's programs other than grpo"):
        read(tmp_path, f"python open_instruct/{program} --beta 0.1")


@pytest.mark.parametrize(
    ("words", "entry", "parameters"),
    [
        ("", "reinforce", {}),
        ("loss_fn=ppo", "dr_grpo", {"low": 0.2, "high": 0.2}),
        ("loss_fn=cispo", "cispo", {"cap": 4.0}),
        ("loss_fn=cispo loss_fn_config.clip_low_threshold=0.5", "verl.cispo", {"low": 0.5, "high": 3.0}),
        ("num_substeps=2", "", {}),
        ("loss_fn=pop", "", {}),
    ],
)
def test_tinkers_losses(tmp_path, words, entry, parameters):
    settings = read(tmp_path, RECIPE + words).settings
    assert settings.trainer == "tinker"
    assert settings.objective.entry == entry
    assert {name: pytest.approx(value) for name, value in parameters.items()}.items() <= settings.parameters.items()
    assert settings.group_size == 16


def test_tinkers_config_in_python(tmp_path):
    text = """from tinker_cookbook.rl import train
config = train.Config(model_name="m", dataset_builder=build(), learning_rate=1e-5, max_tokens=256, loss_fn="ppo",
                      num_substeps=4, kl_penalty_coef=0.1)
blueprint = chz.Blueprint(train.Config).apply({"dataset_builder": build(), "max_tokens": 256, "loss_fn": "cispo"})
"""
    path = tmp_path / "train.py"
    path.write_text(text)
    first, second = lint_all(path)
    assert first.settings.objective.loss == "ppo"
    assert first.settings.lag.steps == 4
    assert first.settings.group_size is None
    assert first.settings.penalty is not None
    assert first.settings.penalty.place == "advantage"
    assert second.settings.objective.entry == "cispo"
    assert second.settings.document.lines["loss_fn"] == 4


def test_tinkers_staleness_and_what_is_no_reinforcement_learning(tmp_path):
    report = read(tmp_path, RECIPE + "max_steps_off_policy=3")
    assert report.settings.lag.bound == 3
    assert "biased-drop" in rules(report)
    other = read(tmp_path, "python -m tinker_cookbook.recipes.chat_sl.train model_name=m batch_size=4")
    assert other.settings.untrained == "supervised fine-tuning"
    with pytest.raises(ValueError, match="Tinker cookbook's other programs"):
        read(tmp_path, "python -m tinker_cookbook.eval.run model_name=m batch_size=4")


def test_online_dpo_is_read_without_a_claim_about_its_target(tmp_path):
    report = read(tmp_path, "args = OnlineDPOConfig(beta=[0.1, 0.2], top_p=0.9)", "train.py")
    assert report.settings.kind == "OnlineDPOConfig"
    assert report.settings.group_size == 2
    assert "beta = 0.1, 0.2" in report.settings.baseline
    assert rules(report) == {"cannot-tell"}
    report = read(tmp_path, "args = OnlineDPOConfig(loss_type='sigmod')", "train.py")
    assert "did you mean sigmoid" in report.settings.objective.unknown


def test_what_tinkers_arguments_hold_is_not_guessed(tmp_path):
    call = "config = train.Config(dataset_builder=build(), max_tokens=256, num_substeps=1, async_config={})"
    assert not read(tmp_path, call.format("None"), "train.py").settings.objective.unknown
    report = read(tmp_path, call.format("made"), "train.py")
    assert "whether it is 1" in report.settings.objective.unknown
    assert "no-lag-bound" not in rules(report)
    report = read(tmp_path, call.format("None").replace("substeps=1", "substeps=given.n"), "train.py")
    assert "whether it is 1" in report.settings.objective.unknown


def test_no_default_is_taken_where_a_mapping_is_unpacked(tmp_path):
    report = read(tmp_path, "args = GRPOConfig(**given)", "train.py")
    assert "**given" in report.settings.objective.unknown
    assert rules(report) == {"cannot-tell", "unresolved"}
    report = read(tmp_path, "args = GRPOConfig(loss_type='grpo', num_generations=4, **given)", "train.py")
    assert report.settings.objective.entry == "grpo"
    assert report.settings.group_size == 4


LAUNCHER = """
parser.add_argument("--advantage-estimator gae")
def execute(args):
    flags = (
        "--advantage-estimator grpo --n-samples-per-prompt 8 "
        f"--rollout-batch-size 32 --rollout-max-response-len {args.length} "
        "--global-batch-size 256 --eps-clip-high 0.28 "
    )
    return "--lr 1e-6 " if args.small else "--lr 2e-6 "
"""


def test_a_program_that_starts_a_trainer_by_its_texts(tmp_path):
    settings = read(tmp_path, LAUNCHER, "run.py").settings
    assert settings.trainer == "slime"
    assert settings.objective.entry == "grpo"
    assert settings.clip is not None
    assert settings.clip.high == 0.28
    assert settings.group_size == 8
    assert settings.length is None
    assert settings.document.find("lr") == (True, "${lr}")
    assert settings.document.lines["eps_clip_high"] == 5
    with pytest.raises(ValueError, match="no call of a class"):
        read(tmp_path, "text = '--a 1 --b 2'", "run.py")
