"""What users run into, part by part: asynchronous recipes, KL twice and in the reward, and what was once missed."""

from __future__ import annotations

import pytest

from pessimism.lint import lint

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
MAIN = f"python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo {ROLLOUT}.n=8"
SKYRL = "python -m skyrl_train.entrypoints.main_base trainer.algorithm.advantage_estimator=grpo"
TRL = "num_generations: 8\nmax_completion_length: 1024\nscale_rewards: group\n"
AREAL = "gconfig: {n_samples: 8}\n"
SLIME = "python train.py --rollout-batch-size 32 --rollout-max-response-len 8192 --n-samples-per-prompt 8 "


def report(tmp_path, text, suffix=".sh"):
    path = tmp_path / f"run{suffix}"
    path.write_text(text + "\n")
    return lint(path)


def rules(made):
    return {one.rule.id for one in made.findings}


# --- asynchronous recipes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["data.train_batch_size=0", ""])
def test_verls_fully_asynchronous_trainer_with_its_own_defaults(tmp_path, size):
    """A batch of 0 is right there, and old log-probabilities are the sampler's by default."""
    made = report(
        tmp_path,
        "python -m verl.experimental.fully_async_policy.fully_async_main algorithm.adv_estimator=grpo "
        f"{ROLLOUT}.n=8 {size}",
    )
    assert made.settings.lag.asynchronous
    assert made.settings.correction.kind == "not needed"
    assert not rules(made) & {"mini-batch-larger", "stale-uncorrected", "ratio-is-one", "uncorrected-sampler"}


@pytest.mark.parametrize("mode", ["", "algorithm.rollout_correction.bypass_mode=true"])
def test_verls_one_step_off_trainer_is_one_version_behind(tmp_path, mode):
    made = report(
        tmp_path,
        "python -m verl.experimental.one_step_off_policy.main_ppo algorithm.adv_estimator=grpo "
        f"{ROLLOUT}.n=8 data.train_batch_size=64 {ACTOR}.ppo_mini_batch_size=64 {mode}",
    )
    assert made.settings.lag.bound == 1
    assert not rules(made) & {"ratio-is-one", "stale-uncorrected"}  # its old log-probabilities are the sampler's
    assert "stale-data" in rules(made)


def test_the_older_recipe_one_step_off_takes_the_ratio_to_its_own_probabilities(tmp_path):
    made = report(
        tmp_path, f"python3 -m recipe.one_step_off_policy.main_ppo algorithm.adv_estimator=grpo {ROLLOUT}.n=8"
    )
    assert "stale-uncorrected" in rules(made)


def test_skyrls_pipelined_trainer_is_one_version_behind(tmp_path):
    made = report(tmp_path, SKYRL.replace("skyrl_train.entrypoints.main_base", "examples.train.async.main_async"))
    assert (made.settings.lag.asynchronous, made.settings.lag.bound) == (True, 1)


def test_trls_asynchronous_trainer(tmp_path):
    made = report(tmp_path, "args = AsyncGRPOConfig(num_generations=8, max_staleness=3)", ".py")
    assert (made.settings.lag.asynchronous, made.settings.lag.bound) == (True, 3)
    assert "stale-data" in rules(made)


@pytest.mark.parametrize("bound", [0, 4])
def test_prime_rls_and_areals_staleness(tmp_path, bound):
    prime = report(tmp_path, f"[orchestrator]\ngroup_size = 8\nmax_off_policy_steps = {bound}\n[trainer]", ".toml")
    areal = report(tmp_path, f"{AREAL}actor: {{}}\nrollout: {{max_head_offpolicyness: {bound}}}", ".yaml")
    for made in (prime, areal):
        assert (made.settings.lag.asynchronous, made.settings.lag.bound) == (bound > 0, bound)
        assert ("stale-data" in rules(made)) is (bound > 0)


# --- KL twice, KL in the reward -------------------------------------------------------------------------------------


def test_verl_applies_both_penalties(tmp_path):
    made = report(tmp_path, f"{MAIN} algorithm.use_kl_in_reward=True {ACTOR}.use_kl_loss=True")
    (finding,) = (one for one in made.findings if one.rule.id == "kl-twice")
    assert "both are applied" in finding.message
    assert "kl-unused" not in rules(made)


@pytest.mark.parametrize("coefficient", [0.1, 0.02])
def test_the_exponent_of_a_penalty_in_the_reward_is_the_reward_over_it(tmp_path, coefficient):
    """Divided by the group's spread as the reward is, so that only the difference of rewards, 1, counts."""
    words = f"{MAIN} algorithm.use_kl_in_reward=True algorithm.kl_ctrl.kl_coef={coefficient}"
    (finding,) = (one for one in report(tmp_path, words).findings if one.rule.id == "kl-too-small")
    assert f"e^{1 / coefficient:.0f} times" in finding.message


def test_a_penalty_after_the_advantages_scaling_is_held_against_the_scaled_one(tmp_path):
    words = f"{MAIN} {ACTOR}.use_kl_loss=True {ACTOR}.kl_loss_coef=0.1"
    (finding,) = (one for one in report(tmp_path, words).findings if one.rule.id == "kl-too-small")
    assert "e^17 times" in finding.message  # sqrt(3), the largest spread over a group's std, over 0.1


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("slime", SLIME + "--advantage-estimator ppo --kl-coef 0.1", "advantage"),
        ("slime", SLIME + "--advantage-estimator grpo --kl-coef 0.1", None),
        ("slime", SLIME + "--use-kl-loss --kl-loss-coef 0.1", "loss"),
        ("skyrl", f"{SKYRL} trainer.algorithm.use_kl_loss=false trainer.algorithm.use_kl_in_reward=true", "reward"),
        ("ms-swift", "swift rlhf --rlhf_type grpo --kl_in_reward true --beta 0.1", "reward"),
        ("openrlhf", "python -m openrlhf.cli.train_ppo_ray --init_kl_coef 0.1 --n_samples_per_prompt 4", "advantage"),
        ("openrlhf", "python -m openrlhf.cli.train_ppo_ray --init_kl_coef 0.1 --use_kl_loss --kl_estimator k3", "loss"),
    ],
)
def test_each_trainer_applies_its_penalty_in_its_own_place(tmp_path, name, text, place):
    settings = report(tmp_path, text).settings
    assert settings.trainer == name
    assert (settings.penalty.place if settings.penalty else None) == place


# --- what was missed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        (TRL + "use_vllm: true", ".yaml"),
        ("swift rlhf --rlhf_type grpo --use_vllm true --num_generations 8", ".sh"),
        (f"{MAIN} data.train_batch_size=64 {ACTOR}.ppo_mini_batch_size=64 {ROLLOUT}.name=vllm", ".sh"),
    ],
)
def test_the_ratio_is_one_with_vllm_where_old_probabilities_are_the_trainers(tmp_path, text, suffix):
    assert "ratio-is-one" in rules(report(tmp_path, text, suffix))


@pytest.mark.parametrize(("scale", "told"), [("group", True), ("batch", True), ("none", False)])
def test_half_a_dr_grpo(tmp_path, scale, told):
    text = TRL.replace("group", f"'{scale}'") + "loss_type: dr_grpo\nnum_iterations: 2"
    assert ("dr-grpo-std" in rules(report(tmp_path, text, ".yaml"))) is told


@pytest.mark.parametrize("size", [512, 1024])
@pytest.mark.parametrize(
    "text",
    [
        f"{MAIN} data.train_batch_size=512 {ACTOR}.ppo_mini_batch_size=",
        f"{SKYRL} trainer.train_batch_size=512 trainer.policy_mini_batch_size=",
        "python -m verl.trainer.main worker.actor.loss_type=default worker.rollout.n=8 data.rollout_batch_size=512 "
        "worker.actor.global_batch_size=",
    ],
)
def test_a_mini_batch_that_is_larger_than_the_batch(tmp_path, text, size):
    assert ("mini-batch-larger" in rules(report(tmp_path, f"{text}{size}"))) is (size > 512)


def test_a_clip_that_is_written_to_be_off(tmp_path):
    settings = report(tmp_path, f"{MAIN} {ACTOR}.clip_ratio_low=1 {ACTOR}.clip_ratio_high=10").settings
    assert settings.objective.entry == "ppo_dual_clip"
    assert any("no lower bound" in remark for remark in settings.objective.remarks)


@pytest.mark.parametrize("temperature", [0, 1e-4, 0.2, 1.0])
def test_a_temperature_that_makes_all_completions_equal(tmp_path, temperature):
    texts = {
        ".yaml": f"{TRL}temperature: {temperature}",
        ".sh": f"python -m openrlhf.cli.train_ppo_ray --n_samples_per_prompt 8 --temperature {temperature}",
    }
    for suffix, text in texts.items():
        found = [one for one in report(tmp_path, text, suffix).findings if one.rule.id == "temperature-mismatch"]
        assert bool(found) is (temperature < 0.05), suffix
        assert not found or "the same" in found[0].message


def test_prime_rls_ratio_is_unbounded_under_a_mask_on_probabilities(tmp_path):
    made = report(tmp_path, "[orchestrator]\ngroup_size = 8\nmax_off_policy_steps = 4\n[trainer]", ".toml")
    assert "unbounded-ratio" in rules(made)
    on_policy = report(tmp_path, "[orchestrator]\ngroup_size = 8\nmax_off_policy_steps = 0\n[trainer]", ".toml")
    assert "unbounded-ratio" not in rules(on_policy)


# Thresholds on the wrong scale, and shares that one cap for sums leaves out, are in test_lint_corrections.py.
