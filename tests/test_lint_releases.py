"""Files for older releases: verl up to 0.3.0 and TRL's GRPOConfig before 1.0 did other things where nothing is set."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pessimism.lint import lint
from pessimism.trainers.releases import Release, fitting, releases

ACTOR = "actor_rollout_ref.actor"
MAIN = f"python3 -m verl.trainer.main_ppo {ACTOR}.ppo_mini_batch_size=64 data.train_batch_size=128"
OLD_KEY = f"{ACTOR}.fsdp_config.grad_offload=False"
SWITCH = "algorithm:\n  use_kl_in_reward: False\n"


def script(folder, words, name="examples/grpo/run.sh"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{words}\n")
    return path


def copy_of_verl(folder, text):
    path = folder / "verl" / "trainer" / "config" / "ppo_trainer.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def rules(report):
    return {finding.rule.id for finding in report.findings}


@pytest.mark.parametrize("told_by", ["key", "copy"])
@pytest.mark.parametrize(
    ("loss", "place", "coefficient", "estimator"), [(False, "reward", 0.002, "k1"), (True, "loss", 0.003, "k3")]
)
def test_old_verl_penalizes_the_reward_unless_the_loss_is_penalized(
    tmp_path, told_by, loss, place, coefficient, estimator
):
    words = f"{MAIN} algorithm.kl_ctrl.kl_coef=0.002 {ACTOR}.use_kl_loss={loss} {ACTOR}.kl_loss_coef=0.003"
    if told_by == "copy":
        copy_of_verl(tmp_path, "algorithm:\n  kl_ctrl:\n    kl_coef: 0.001\n")
    report = lint(script(tmp_path, f"{words} {OLD_KEY if told_by == 'key' else ''}"))
    penalty = report.settings.penalty
    assert penalty is not None
    assert (penalty.place, penalty.coefficient, penalty.estimator) == (place, coefficient, estimator)
    assert not rules(report) & {"kl-twice", "dual-clip", "unresolved", "unknown-key"}
    assert ("kl-unused" in rules(report)) is (not loss)  # then kl_loss_coef is without effect
    assert report.settings.clip is not None
    assert report.settings.clip.cap == float("inf")
    assert report.settings.version in ("verl 0.2.0.post2", "verl 0.3.0.post1", "verl 0.2.0.post2 to 0.3.0.post1")


def test_old_verl_has_one_clip_range_that_acts(tmp_path):
    report = lint(script(tmp_path, f"{MAIN} {ACTOR}.clip_ratio=0.3 {OLD_KEY}"))
    assert report.settings.clip is not None
    assert (report.settings.clip.low, report.settings.clip.high) == (0.3, 0.3)
    assert "clip-ratio-ignored" not in rules(report)
    assert "clip-ratio-ignored" in rules(
        lint(script(tmp_path, f"{MAIN} {ACTOR}.clip_ratio=0.3 {ACTOR}.clip_ratio_c=3"))
    )


@pytest.mark.parametrize("text", [SWITCH, "\ndefaults:\n  - actor@actor_rollout_ref.actor: dp_actor\n"])
def test_a_newer_copy_of_verl_is_newer(tmp_path, text):
    copy_of_verl(tmp_path, text)
    report = lint(script(tmp_path, f"{MAIN} algorithm.kl_ctrl.kl_coef=0.002"))
    assert report.settings.penalty is None
    assert report.settings.version == "verl 0.9.1"
    assert "kl-unused" in rules(report)


def test_where_both_may_be_meant_the_penalty_is_open(tmp_path):
    report = lint(script(tmp_path, f"{MAIN} algorithm.kl_ctrl.kl_coef=0.002"))
    assert "kl-unused" not in rules(report)
    told = [finding.message for finding in report.findings if finding.key == "algorithm.kl_ctrl.kl_coef"]
    assert len(told) == 1
    assert "up to verl 0.3.0" in told[0]


def test_a_key_of_other_releases_is_told_with_them(tmp_path):
    words = f"{MAIN} algorithm.rollout_correction.bypass_mode=true {OLD_KEY}"
    told = {one.key: one.message for one in lint(script(tmp_path, words)).findings if one.rule.id == "unknown-key"}
    assert "(other releases have it: up to 0.2.0.post2)" in told[OLD_KEY.partition("=")[0]]


def trl(folder, text):
    path = folder / "run.yaml"
    path.write_text(f"num_generations: 8\n{text}")
    return lint(path)


@pytest.mark.parametrize(
    ("text", "release", "penalty", "average"),
    [
        ("use_vllm: true\nvllm_device: auto\n", "0.14.0 to 0.17.0", 0.04, ""),
        ("vllm_device: auto\nmask_truncated_completions: true\n", "0.17.0", 0.04, "token"),
        ("vllm_device: auto\nloss_type: dr_grpo\n", "0.17.0", 0.04, "constant"),
        ("vespo_k_pos: 2\n", "1.16.0", None, "token"),
    ],
)
def test_grpo_config_has_the_defaults_of_its_release(tmp_path, text, release, penalty, average):
    report = trl(tmp_path, text)
    assert report.settings.version == f"trl {release}"
    assert (None if report.settings.penalty is None else report.settings.penalty.coefficient) == penalty
    assert report.settings.aggregation == average
    assert "sequence-mask" not in rules(report)  # there was no correction yet


def test_a_default_that_changed_between_the_releases_that_fit_is_told_and_nothing_rests_on_it(tmp_path):
    report = trl(tmp_path, "use_vllm: true\noverwrite_output_dir: true\nmax_prompt_length: 512\n")
    told = {finding.key for finding in report.findings if finding.rule.id == "unresolved"}
    assert {"beta", "vllm_importance_sampling_correction"} <= told
    assert not rules(report) & {"sequence-mask", "truncated-sampling", "temperature-mismatch"}
    given = trl(tmp_path, "overwrite_output_dir: true\nmax_prompt_length: 512\nbeta: 0.1\ntop_p: 0.9\n")
    assert "beta" not in {finding.key for finding in given.findings if finding.rule.id == "unresolved"}
    assert "truncated-sampling" in rules(given)


def test_the_release_that_a_repository_installs_decides(tmp_path):
    (tmp_path / "setup.py").write_text('deps = ["torch", "trl==0.15.1"]\n')
    path = script(tmp_path, "accelerate launch grpo.py --num_generations 8 --max_completion_length 9 --temperature 1.2")
    report = lint(path)
    assert report.settings.version == "trl 0.14.0"
    assert report.settings.clip is None
    assert report.settings.sampling.trained_at == 1.0  # up to 0.15 the loss did not divide by the temperature
    assert "temperature-mismatch" in rules(report)


@pytest.mark.parametrize("folder", ["verl", "trl", "openrlhf"])
def test_releases_are_in_order_and_share_most_keys(folder):
    known = releases(folder, "999")
    assert [one.order for one in known] == sorted(one.order for one in known)
    for before, after in pairwise(known):
        assert before.keys
        if (folder, after.number) != ("openrlhf", "999"):  # OpenRLHF 0.11 gave every flag another name
            assert len(before.keys & after.keys) > 0.2 * len(before.keys)


def test_a_file_of_strange_keys_fits_the_newest():
    known = tuple(Release(str(number), frozenset({"a", f"only{number}"})) for number in range(3))
    assert fitting({"strange": 1, "a": 2}, known).read_as == "2"
    assert fitting({"strange": 1, "only1": 2}, known).words("x") == "x 1"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (f"python3 -m recipe.sppo.main_sppo {ACTOR}.ppo_mini_batch_size=8", "SPPO"),
        (f"python3 -m verl.trainer.main_ppo {ACTOR}.dpo_beta=0.1 {ACTOR}.ppo_mini_batch_size=8", "SPIN"),
        (f"python3 -m my.copy.verl.trainer.main_ppo {ACTOR}.ppo_mini_batch_size=8", "algorithm.adv_estimator"),
        (f"python3 -m verl.trainer.main_ppo {ACTOR}.ppo_epochs=1 reward_model.model.beta_train=0.05", "PRIME"),
    ],
)
def test_a_program_of_its_own_is_not_taken_for_verls_ppo(tmp_path, words, told):
    report = lint(script(tmp_path, words))
    assert report.settings.objective.algorithm is None
    assert told in report.settings.objective.unknown
    assert (
        "group-of-one" not in rules(lint(script(tmp_path, f"{words} algorithm.adv_estimator=grpo")))
        or "my" not in words
    )


def test_no_error_rests_on_the_group_size_of_another_program(tmp_path):
    own, verls = (
        rules(lint(script(tmp_path, f"python3 -m {name} {ACTOR}.ppo_epochs=1 algorithm.adv_estimator=grpo")))
        for name in ("my.main_ppo", "verl.trainer.main_ppo")
    )
    assert ("group-of-one" in own, "group-of-one" in verls) == (False, True)


def test_one_step_off_is_asynchronous(tmp_path):
    words = (
        f"python3 -m verl.experimental.one_step_off_policy.main_ppo algorithm.adv_estimator=grpo {ACTOR}.ppo_epochs=1"
    )
    lag = lint(script(tmp_path, words)).settings.lag
    assert (lag.asynchronous, lag.bound, lag.ratio_is_one) == (True, 1, False)


def test_many_strange_keys_are_a_forks_and_one_like_the_trainers_is_its_own(tmp_path):
    strange = " ".join(f"--own_{letter} 1" for letter in "abcdef")
    base = (
        "python -m openrlhf.cli.train_ppo_ray --n_samples_per_prompt 8 --advantage_estimator rloo --val_temperature 0.6"
    )
    assert "misspelt-key" in rules(lint(script(tmp_path, base)))
    forked = lint(script(tmp_path, f"{base} {strange}"))
    assert "misspelt-key" not in rules(forked)
    assert "val_temperature" in {finding.key for finding in forked.findings if finding.rule.id == "unknown-key"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("python main.py --critic_type drgrpo --num_ppo_epochs 1", "oat"),
        ("trl vllm-serve --model x --num_generations 8", "TRL's commands other than grpo and rloo"),
        ("llamafactory-cli train --stage ppo --num_generations 8", "LLaMA-Factory"),
    ],
)
def test_programs_that_are_not_read_are_named(tmp_path, words, named):
    with pytest.raises(ValueError, match=f"this is for {named}, which is not read"):
        lint(script(tmp_path, words))


def test_a_call_that_sets_nothing_is_no_configuration(tmp_path):
    path = tmp_path / "trainer.py"
    path.write_text('args = GRPOConfig(f"{name}-GRPO")\n')
    with pytest.raises(ValueError, match="no call of a class that ends in Config or Arguments has a keyword"):
        lint(path)


def test_the_decoupled_loss_of_older_areal_weighs_by_the_sampler(tmp_path):
    path = tmp_path / "run.yaml"
    text = "gconfig: {n_samples: 8}\nrollout: {max_head_offpolicyness: 2}\nactor: {use_decoupled_loss: true"
    path.write_text(f"{text}, behave_imp_weight_cap: 5.0}}\n")
    older = lint(path)
    assert (older.settings.correction.kind, older.settings.correction.bound) == ("mask", 5.0)
    path.write_text(f"{text}}}\n")
    assert [("stale-uncorrected" in rules(one)) for one in (older, lint(path))] == [False, True]


def test_a_copy_of_old_verl_with_two_bounds_has_them(tmp_path):
    words = f"{MAIN} {OLD_KEY} +{ACTOR}.clip_ratio_high=0.27 actor_rollout_ref.rollout.val_temperature=1"
    copy_of_verl(tmp_path, "algorithm:\n  kl_ctrl:\n    kl_coef: 0.001\n")
    clip = lint(script(tmp_path, words)).settings.clip
    assert clip is not None
    assert (clip.low, clip.high, clip.cap) == (0.2, 0.27, float("inf"))


@pytest.mark.parametrize("there", [True, False])
def test_a_base_in_a_folder_that_a_variable_names_is_looked_for_above_or_told(tmp_path, there):
    if there:
        (tmp_path / "examples").mkdir()
        (tmp_path / "examples" / "run.yaml").write_text("worker:\n  rollout:\n    n: 6\n")
    words = "python -m verl.trainer.main config=$HOME_OF_IT/examples/run.yaml worker.actor.global_batch_size=8"
    report = lint(script(tmp_path, words))
    assert report.settings.group_size == (6 if there else None)
    assert "group-of-one" not in rules(report)
    assert ("unresolved" in rules(report)) is not there
