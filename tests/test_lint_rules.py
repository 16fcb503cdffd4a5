"""Every lint rule has configurations that it speaks about and ones that it does not, in the form trainers take them."""

import re
from pathlib import Path

import numpy as np
import pytest

import pessimism as ps
from pessimism import reference_groups
from pessimism.lint import RULES, lint, linter
from pessimism.trainers.trainer import trainers

DATA = Path(__file__).parent / "data" / "lint"
ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
CORRECTION = "algorithm.rollout_correction"
LOSS = "algorithm.policy_loss_fn_args"
ADVANTAGE = "algorithm.advantage_fn_args"
VERL_OAPL = f"{ACTOR}.policy_loss.objective={{name: oapl, beta1: 1, beta2: 0.001}}"
VERL_ADAPTER = (f"{ACTOR}.policy_loss.loss_mode=pessimism", f"{ACTOR}.loss_agg_mode=seq-mean-token-sum", VERL_OAPL)
CUSTOM = ("trainer.loss.type=custom", "trainer.loss.import_path=pessimism.trainers.prime_rl.adapter.loss")

KL_TWICE = [f"{ACTOR}.use_kl_loss=True", "algorithm.use_kl_in_reward=True"]

# rule, file, overrides that it speaks about, key that it names, overrides that it does not speak about
CASES = [
    (
        "gradient-clip-ignored",
        "verl_grpo.sh",
        [f"{ACTOR}.grad_clip=1e-3"],
        f"{ACTOR}.grad_clip",
        [f"{ACTOR}.optim.clip_grad=1e-3"],
    ),
    ("cispo-cap", "trl_grpo.yaml", ["loss_type=cispo"], "epsilon_high", ["loss_type=cispo", "epsilon_high=5.0"]),
    (
        "cispo-lower-bound",
        "verl_grpo.sh",
        [f"{ACTOR}.policy_loss.loss_mode=cispo"],
        f"{ACTOR}.clip_ratio_low",
        [f"{ACTOR}.policy_loss.loss_mode=cispo", f"{ACTOR}.clip_ratio_low=10"],
    ),
    (
        "cispo-lower-bound",
        "trinity_grpo.yaml",
        ["algorithm.algorithm_type=cispo", f"{LOSS}.clip_range_low=0.2"],
        f"{LOSS}.clip_range_low",
        ["algorithm.algorithm_type=cispo", f"{LOSS}.clip_range_high=0.28"],
    ),
    (
        "cispo-mask",
        "trinity_grpo.yaml",
        ["algorithm.algorithm_type=cispo", f"{LOSS}.enable_mask_clip=true"],
        f"{LOSS}.enable_mask_clip",
        ["algorithm.algorithm_type=cispo", f"{LOSS}.enable_mask_clip=false"],
    ),
    (
        "sapo-stopped-gate",
        "trinity_grpo.yaml",
        ["algorithm.algorithm_type=sapo"],
        "algorithm.algorithm_type",
        [],
    ),
    (
        "token-level",
        "trinity_grpo.yaml",
        ["algorithm.algorithm_type=topr"],
        "algorithm.algorithm_type",
        ["algorithm.algorithm_type=gspo"],
    ),
    (
        "token-level",
        "verl_grpo.sh",
        [f"{ACTOR}.policy_loss.loss_mode=dro", f"{ACTOR}.policy_loss.dro_beta=0.1"],
        f"{ACTOR}.policy_loss.loss_mode",
        [f"{ACTOR}.policy_loss.loss_mode=gpg"],
    ),
    (
        "luspo-level",
        "trl_grpo.yaml",
        ["loss_type=luspo"],
        "importance_sampling_level",
        ["loss_type=luspo", "importance_sampling_level=sequence"],
    ),
    (
        "gspo-aggregation",
        "verl_grpo.sh",
        [f"{ACTOR}.policy_loss.loss_mode=gspo"],
        f"{ACTOR}.loss_agg_mode",
        [f"{ACTOR}.policy_loss.loss_mode=gspo", f"{ACTOR}.loss_agg_mode=seq-mean-token-mean"],
    ),
    (
        "gspo-aggregation",
        "trinity_grpo.yaml",
        ["algorithm.algorithm_type=gspo"],
        "algorithm.loss_agg_mode",
        ["algorithm.algorithm_type=gspo", "algorithm.loss_agg_mode=seq-mean-token-mean"],
    ),
    (
        "loss-agg-mode-ignored",
        "trinity_grpo.yaml",
        ["algorithm.algorithm_type=cispo", f"{LOSS}.loss_agg_mode=seq-mean-token-mean"],
        f"{LOSS}.loss_agg_mode",
        [
            "algorithm.algorithm_type=cispo",
            f"{LOSS}.loss_agg_mode=seq-mean-token-mean",
            "algorithm.loss_agg_mode=seq-mean-token-mean",
        ],
    ),
    (
        "clip-range-level",
        "trl_grpo.yaml",
        ["importance_sampling_level=sequence", "num_iterations=2"],
        "epsilon_high",
        ["importance_sampling_level=sequence", "num_iterations=2", "epsilon=3e-4", "epsilon_high=4e-4"],
    ),
    (
        "clip-range-level",
        "trl_grpo.yaml",
        ["epsilon=3e-4", "epsilon_high=4e-4", "num_iterations=2"],
        "epsilon_high",
        [],
    ),
    (
        "clip-range-level",
        "trl_rloo.yaml",
        ["num_iterations=4"],
        "epsilon_high",
        ["num_iterations=1"],
    ),
    (
        "clip-ratio-ignored",
        "verl_grpo.sh",
        [f"{ACTOR}.clip_ratio=0.3"],
        f"{ACTOR}.clip_ratio",
        [f"{ACTOR}.clip_ratio=0.3", f"{ACTOR}.clip_ratio_low=0.3", f"{ACTOR}.clip_ratio_high=0.3"],
    ),
    ("dual-clip", "verl_grpo.sh", [f"{ACTOR}.clip_ratio_c=10", f"{ACTOR}.ppo_epochs=2"], f"{ACTOR}.clip_ratio_c", []),
    ("dual-clip", "trl_grpo.yaml", ["delta=4", "num_iterations=2"], "delta", ["delta=4"]),
    ("length-bias", "trl_grpo.yaml", ["loss_type=grpo"], "loss_type", ["loss_type=dr_grpo"]),
    (
        "opmd-temperature",
        "trinity_grpo.yaml",
        ["algorithm.algorithm_type=opmd", f"{LOSS}.tau=4"],
        f"{LOSS}.tau",
        ["algorithm.algorithm_type=asymre"],
    ),
    (
        "log-sum-exp-baseline",
        "trl_adapter.yaml",
        ["objective=oapl.missing_log_g"],
        "objective",
        [],
    ),
    ("negative-regime", "trl_adapter.yaml", ["objective=oapl.missing_log_g"], "objective", []),
    ("negative-regime", "trl_a2po.yaml", ["beta2=1.0"], "beta1", ["beta2=0.1"]),
    (
        "dead-prefix",
        "verl_grpo.sh",
        [f"{ACTOR}.policy_loss.loss_mode=dro", f"{ACTOR}.policy_loss.dro_beta=0.1"],
        f"{ACTOR}.policy_loss.loss_mode",
        [f"{ACTOR}.policy_loss.loss_mode=dro", f"{ACTOR}.policy_loss.dro_beta=4"],
    ),
    (
        "dead-prefix",  # the largest pass rate of a reference group is 7/8, and beta is twice the coefficient
        "trinity_rec.yaml",
        [f"{LOSS}.clip_mode=none", f"{LOSS}.regularizer=k2", f"{LOSS}.regularizer_coef=0.43"],
        "algorithm.algorithm_type",
        [f"{LOSS}.clip_mode=none", f"{LOSS}.regularizer=k2", f"{LOSS}.regularizer_coef=0.44"],
    ),
    ("beta-order", "trl_a2po.yaml", ["beta2=0.5"], "beta2", ["beta2=0.4"]),
    ("beta-order", "trl_adapter.yaml", ["objective_parameters.beta2=1.5"], "objective_parameters.beta2", []),
    (
        "asymre-shift",
        "trinity_grpo.yaml",
        ["algorithm.algorithm_type=asymre", f"{ADVANTAGE}.baseline_shift=0.0"],
        f"{ADVANTAGE}.baseline_shift",
        ["algorithm.algorithm_type=asymre"],
    ),
    (
        "collapse",
        "trinity_rec.yaml",
        [f"{LOSS}.clip_mode=none"],
        "algorithm.algorithm_type",
        [f"{LOSS}.clip_mode=none", "synchronizer.sync_interval=1"],
    ),
    (
        "collapse",
        "verl_grpo.sh",
        [f"{ACTOR}.policy_loss.loss_mode=gpg", f"{ACTOR}.ppo_mini_batch_size=64"],
        f"{ACTOR}.policy_loss.loss_mode",
        [f"{ACTOR}.policy_loss.loss_mode=gpg"],
    ),
    (
        "foreign-baseline",
        "verl_grpo.sh",
        [*VERL_ADAPTER],
        "algorithm.adv_estimator",
        [
            *VERL_ADAPTER,
            "algorithm.adv_estimator=pessimism",
            "algorithm.objective={name: oapl, beta1: 1, beta2: 0.001}",
        ],
    ),
    (
        "foreign-baseline",
        "prime_rl.toml",
        [*CUSTOM, "trainer.loss.kwargs={name: oapl, beta1: 1, beta2: 0.001}"],
        "orchestrator.algo.type",
        [*CUSTOM, "trainer.loss.kwargs={name: kimi_k15, tau: 0.1}"],
    ),
    (
        "dr-grpo-std",
        "trl_grpo.yaml",
        ["loss_type=dr_grpo"],
        "scale_rewards",
        ["loss_type=dr_grpo", "scale_rewards=false"],
    ),
    ("std-with-beta", "trl_grpo.yaml", ["beta=1.0"], "scale_rewards", ["beta=1.0", "scale_rewards=none"]),
    (
        "std-with-beta",
        "trinity_grpo.yaml",
        ["algorithm.kl_loss_fn=k2", "algorithm.kl_loss_fn_args.kl_coef=1"],
        "algorithm.advantage_fn",
        ["algorithm.kl_loss_fn=k2"],
    ),
    ("kl-too-small", "trl_grpo.yaml", ["beta=0.001"], "beta", ["beta=1.0"]),
    (
        "kl-k1-in-loss",
        "verl_grpo.sh",
        [f"{ACTOR}.use_kl_loss=True", f"{ACTOR}.kl_loss_type=kl"],
        f"{ACTOR}.kl_loss_type",
        [f"{ACTOR}.use_kl_loss=True", f"{ACTOR}.kl_loss_type=low_var_kl"],
    ),
    (
        "kl-k1-in-loss",
        "trinity_grpo.yaml",
        ["algorithm.kl_loss_fn=k1"],
        "algorithm.kl_loss_fn",
        ["algorithm.kl_penalty_fn=k1"],
    ),
    (
        "kl-unused",
        "verl_grpo.sh",
        [f"{ACTOR}.kl_loss_coef=0.01"],
        f"{ACTOR}.kl_loss_coef",
        [f"{ACTOR}.kl_loss_coef=0.01", f"{ACTOR}.use_kl_loss=True"],
    ),
    (
        "kl-unused",
        "verl_grpo.sh",
        ["algorithm.kl_ctrl.kl_coef=0.01"],
        "algorithm.kl_ctrl.kl_coef",
        ["algorithm.kl_ctrl.kl_coef=0.01", "algorithm.use_kl_in_reward=True"],
    ),
    (
        "kl-unused",
        "verl_grpo.sh",
        [f"{ACTOR}.kl_loss_coef=0.5"],
        f"{ACTOR}.kl_loss_coef",
        [f"{ACTOR}.kl_loss_coef=0.0"],
    ),
    ("kl-unused", "verl_grpo.sh", [f"{ACTOR}.kl_loss_coef=2"], f"{ACTOR}.kl_loss_coef", [f"{ACTOR}.kl_loss_coef=1e-3"]),
    (
        "kl-unused",
        "verl_grpo.sh",
        ["algorithm.kl_ctrl.kl_coef=0.5"],
        "algorithm.kl_ctrl.kl_coef",
        [*KL_TWICE, "algorithm.kl_ctrl.kl_coef=0.5", f"{ACTOR}.kl_loss_coef=0.2"],
    ),
    ("kl-twice", "verl_grpo.sh", KL_TWICE, "algorithm.use_kl_in_reward", KL_TWICE[:1]),
    (
        "mini-batch-larger",
        "verl_grpo.sh",
        [f"{ACTOR}.ppo_mini_batch_size=4096"],
        f"{ACTOR}.ppo_mini_batch_size",
        [f"{ACTOR}.ppo_mini_batch_size=4096", f"{ACTOR}.use_dynamic_bsz=true"],
    ),
    (
        "gradient-clip-ignored",
        "verl_grpo.sh",
        [f"{ACTOR}.grad_clip=0.5"],
        f"{ACTOR}.grad_clip",
        [f"{ACTOR}.grad_clip=1.0"],
    ),
    (
        "unbounded-ratio",
        "prime_rl.toml",
        [],
        "trainer.loss.type",
        ["orchestrator.max_off_policy_steps=0"],
    ),
    ("misspelt-key", "verl_grpo.sh", [f"{ACTOR}.policy_loss.losss_mode=gspo"], f"{ACTOR}.policy_loss.losss_mode", []),
    ("misspelt-key", "trl_grpo.yaml", ["scale_reward=none"], "scale_reward", ["scale_rewards=none"]),
    ("unknown-key", "verl_grpo.sh", [f"{ROLLOUT}.n_agent=5"], f"{ROLLOUT}.n_agent", [f"{ROLLOUT}.n=5"]),
    ("unknown-key", "trinity_grpo.yaml", ["my_section={a: 1}"], "my_section", []),
    ("nothing-trained", "verl_grpo.sh", ["trainer.val_only=true"], "trainer.val_only", ["trainer.val_only=false"]),
    (
        "nothing-trained",
        "verl_grpo.sh",
        ["distillation={enabled: true, distillation_loss: {use_task_rewards: false}}"],
        "distillation.enabled",
        ["distillation.enabled=true"],
    ),
    ("nothing-trained", "trinity_grpo.yaml", ["mode=bench"], "mode", ["mode=train"]),
    (
        "dr-grpo-std",
        "verl_grpo.sh",
        [f"{ACTOR}.loss_agg_mode=seq-mean-token-sum-norm"],
        "algorithm.norm_adv_by_std_in_grpo",
        [f"{ACTOR}.loss_agg_mode=seq-mean-token-sum-norm", "algorithm.norm_adv_by_std_in_grpo=false"],
    ),
    ("truncated-sampling", "trl_grpo.yaml", ["top_p=0.95"], "top_p", ["top_p=1.0"]),
    (
        "truncated-sampling",
        "trl_grpo.yaml",
        ["generation_kwargs={min_p: 0.1}"],
        "generation_kwargs.min_p",
        ["generation_kwargs={seed: 1}"],
    ),
    ("truncated-sampling", "trl_grpo.yaml", ["generation_kwargs='{\"top_p\": 0.9}'"], "generation_kwargs.top_p", []),
    ("truncated-sampling", "axolotl_grpo.yaml", ["trl.top_p=0.9"], "trl.top_p", []),
    ("truncated-sampling", "verl_grpo.sh", [f"{ROLLOUT}.top_k=20"], f"{ROLLOUT}.top_k", [f"{ROLLOUT}.top_k=-1"]),
    (
        "truncated-sampling",
        "prime_rl.toml",
        ["orchestrator.train.sampling.extra_body={top_k: 50}"],
        "orchestrator.train.sampling.extra_body.top_k",
        ["orchestrator.train.sampling.extra_body={top_k: -1}"],
    ),
    (
        "truncated-sampling",
        "trinity_grpo.yaml",
        ["model.top_p=0.9"],
        "model.top_p",
        ["model.top_p=0.9", "buffer.explorer_input.taskset.rollout_args.top_p=1.0"],
    ),
    (
        "temperature-mismatch",
        "trl_grpo.yaml",
        ["generation_kwargs={temperature: 0.6}"],
        "generation_kwargs.temperature",
        ["temperature=0.6"],
    ),
    (
        "temperature-mismatch",
        "prime_rl.toml",
        ["orchestrator.train.sampling.extra_body={temperature: 0.8}"],
        "orchestrator.train.sampling.extra_body.temperature",
        ["orchestrator.train.sampling.temperature=0.8"],
    ),
    ("temperature-mismatch", "verl_grpo.sh", [f"{ROLLOUT}.temperature=0"], f"{ROLLOUT}.temperature", []),
    (
        "group-of-one",
        "verl_grpo.sh",
        [f"{ROLLOUT}.n=1"],
        f"{ROLLOUT}.n",
        [f"{ROLLOUT}.n=1", "algorithm.adv_estimator=gae"],
    ),
    ("group-of-one", "prime_rl.toml", ["orchestrator.group_size=null"], "orchestrator.group_size", []),
    (
        "group-of-one",
        "trinity_grpo.yaml",
        ["algorithm.repeat_times=1"],
        "algorithm.repeat_times",
        ["algorithm.repeat_times=1", "algorithm.advantage_fn=reinforce"],
    ),
    ("steps-per-batch", "trl_grpo.yaml", ["num_iterations=2"], "num_iterations", []),
    (
        "steps-per-batch",
        "trl_grpo.yaml",
        ["steps_per_generation=16"],
        "steps_per_generation",
        ["steps_per_generation=4"],
    ),
    ("steps-per-batch", "trl_grpo.yaml", ["generation_batch_size=64"], "num_iterations", []),
    ("steps-per-batch", "verl_grpo.sh", [f"{ACTOR}.ppo_mini_batch_size=64"], f"{ACTOR}.ppo_mini_batch_size", []),
    ("steps-per-batch", "verl_grpo.sh", [f"{ACTOR}.ppo_epochs=2"], f"{ACTOR}.ppo_mini_batch_size", []),
    (
        "steps-per-batch",
        "trinity_grpo.yaml",
        ["synchronizer.sync_interval=4"],
        "synchronizer.sync_interval",
        [],
    ),
    ("ratio-is-one", "trl_grpo.yaml", ["use_vllm=true"], "num_iterations", ["num_iterations=2"]),
    ("ratio-is-one", "trl_grpo.yaml", ["use_vllm=false"], "num_iterations", ["use_vllm=false", "num_iterations=2"]),
    (
        "no-lag-bound",
        "verl_async.yaml",
        ["trainer.v1.sampler.max_off_policy_threshold=null"],
        "trainer.v1.sampler.max_off_policy_threshold",
        [],
    ),
    (
        "no-lag-bound",
        "trinity_grpo.yaml",
        ["synchronizer.sync_style=explorer_driven"],
        "synchronizer.sync_style",
        [
            "synchronizer.sync_style=explorer_driven",
            "algorithm.sample_strategy=staleness_control",
            "algorithm.sample_strategy_args.max_staleness=2",
        ],
    ),
    ("stale-data", "prime_rl.toml", [], "orchestrator.max_off_policy_steps", ["orchestrator.max_off_policy_steps=0"]),
    ("stale-data", "trl_async.json", [], "max_staleness", ["max_staleness=0"]),
    (
        "stale-data",
        "trinity_grpo.yaml",
        ["synchronizer.sync_offset=1"],
        "synchronizer.sync_offset",
        ["synchronizer.sync_offset=0"],
    ),
    (
        "biased-drop",
        "verl_async.yaml",
        ["trainer.v1.sampler.max_off_policy_strategy=drop"],
        "trainer.v1.sampler.max_off_policy_threshold",
        [],
    ),
    ("biased-drop", "trl_grpo.yaml", ["mask_truncated_completions=true"], "mask_truncated_completions", []),
    ("biased-drop", "trl_a2po.yaml", ["filter_all_incorrect=true"], "filter_all_incorrect", []),
    (
        "biased-drop",
        "trinity_grpo.yaml",
        ["synchronizer.sync_style=trainer_driven", "explorer.over_rollout.ratio=0.2"],
        "explorer.over_rollout.ratio",
        ["synchronizer.sync_style=trainer_driven"],
    ),
    (
        "sequence-mask",
        "trl_grpo.yaml",
        ["vllm_importance_sampling_mode=sequence_mask"],
        "vllm_importance_sampling_mode",
        ["vllm_importance_sampling_mode=null", "use_vllm=false"],
    ),
    (
        "sequence-mask",
        "verl_grpo.sh",
        [f"{CORRECTION}.rollout_rs=seq_sum_k1", f"{CORRECTION}.rollout_rs_threshold=0.5_2.0"],
        f"{CORRECTION}.rollout_rs",
        [f"{CORRECTION}.rollout_rs=token_k1", f"{CORRECTION}.rollout_rs_threshold=0.5_2.0"],
    ),
    (
        "mixed-levels",
        "trl_grpo.yaml",
        ["importance_sampling_level=sequence", "vllm_importance_sampling_mode=sequence_truncate"],
        "vllm_importance_sampling_mode",
        ["importance_sampling_level=sequence"],
    ),
    (
        "uncorrected-sampler",
        "trl_grpo.yaml",
        ["vllm_importance_sampling_correction=false"],
        "vllm_importance_sampling_correction",
        [],
    ),
    ("uncorrected-sampler", "verl_grpo.sh", [f"{CORRECTION}.rollout_is=null"], f"{CORRECTION}.rollout_is", []),
    (
        "correction-scale",
        "verl_grpo.sh",
        [f"{CORRECTION}.rollout_rs=seq_mean_k1", f"{CORRECTION}.rollout_rs_threshold=2.0"],
        f"{CORRECTION}.rollout_rs_threshold",
        [f"{CORRECTION}.rollout_rs=seq_mean_k1", f"{CORRECTION}.rollout_rs_threshold=0.999_1.001"],
    ),
    (
        "off-policy-mask-scale",
        "trl_grpo.yaml",
        ["off_policy_mask_threshold=1e-4"],
        "off_policy_mask_threshold",
        ["off_policy_mask_threshold=0.02"],
    ),
    (
        "stale-uncorrected",
        "verl_async.yaml",
        [f"{CORRECTION}.bypass_mode=false"],
        f"{CORRECTION}.rollout_is",
        [f"{CORRECTION}.bypass_mode=false", f"{CORRECTION}.rollout_is=token"],
    ),
    ("cannot-tell", "trl_grpo.yaml", ["loss_type=my_loss"], "loss_type", []),
    ("unresolved", "verl_grpo.sh", [f"{ACTOR}.ppo_epochs=${{oc.env:EPOCHS}}"], f"{ACTOR}.ppo_epochs", []),
]


@pytest.fixture(autouse=True, scope="module")
def few_groups():
    """Targets take most of the time: here they are those of two group sizes, and the linter forgets them afterward."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_groups, "SIZES", (4,))
        _forget()
        yield
    _forget()


def _forget():
    for remembered in (linter._targets, linter._outlines):
        remembered.cache_clear()


def found(name: str, overrides: list[str], rule: str):
    return [finding for finding in lint(DATA / name, overrides).findings if finding.rule.id == rule]


@pytest.mark.parametrize(("rule", "name", "wrong", "key", "right"), CASES, ids=lambda value: str(value)[:40])
def test_a_rule_speaks_where_it_applies_and_is_silent_where_not(rule, name, wrong, key, right):
    (finding,) = found(name, wrong, rule)
    assert finding.key == key
    assert finding.message
    assert found(name, right, rule) == []


def test_every_rule_is_tried_on_every_kind_of_case():
    assert {case[0] for case in CASES} == {rule.id for rule in RULES}


def test_rules_have_distinct_names_and_complete_texts():
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.reason.endswith("."), rule.id
        assert rule.fix.endswith("."), rule.id
        assert rule.source, rule.id


def test_wordings_are_of_general_rules():
    general = {rule.id for rule in linter.GENERAL}
    for trainer in trainers():
        assert set(trainer.wordings) <= general, trainer.name
        assert all(wording.source or wording.fix for wording in trainer.wordings.values()), trainer.name


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.iterdir()))
def test_the_example_configurations_have_nothing_to_warn_about(name):
    report = lint(DATA / name)
    assert not report.reaches("warning"), [finding.message for finding in report.findings]
    assert report.groups


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("trl/oapl.yaml", "oapl"),
        ("verl/oapl.yaml", "oapl"),
        ("verl/two_nodes.yaml", "shifted_mean"),
        ("prime_rl/oapl.toml", "oapl"),
        ("trinity/oapl.yaml", "oapl"),
    ],
)
def test_the_examples_of_the_adapters_are_what_they_say(name, entry):
    report = lint(DATA.parent.parent.parent / "examples" / name)
    assert report.settings.objective.entry == entry
    assert report.settings.objective.replaced_baseline == ""
    assert {group.regime for group in report.groups} == {"positive"}
    assert not report.reaches("warning"), [finding.message for finding in report.findings]


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("verl_grpo.sh", ["trainer.val_only=true", f"{ROLLOUT}.top_p=0.9", f"{ROLLOUT}.n=1"]),
        ("trinity_grpo.yaml", ["mode=explore", "model.top_p=0.9", "synchronizer.sync_interval=4"]),
    ],
)
def test_rules_about_rewards_are_silent_where_nothing_is_trained_on_one(name, overrides):
    report = lint(DATA / name, overrides)
    assert [finding.rule.id for finding in report.findings] == ["nothing-trained"]
    assert report.groups == ()


@pytest.mark.parametrize("coefficient", [0.02, 0.001])
def test_a_penalty_that_never_binds_gets_one_finding(coefficient):
    """In the loss and in the reward, where it is divided by the group's spread as the reward is: e^(1/coefficient)."""
    for overrides in (
        [f"{ACTOR}.use_kl_loss=True", f"{ACTOR}.kl_loss_coef={coefficient}"],
        ["algorithm.use_kl_in_reward=True", f"algorithm.kl_ctrl.kl_coef={coefficient}"],
    ):
        told = [one for one in lint(DATA / "verl_grpo.sh", overrides).findings if one.rule.id in ABOUT_A_PENALTY]
        assert [one.rule.id for one in told] == ["kl-too-small"]
    assert f"e^{1 / coefficient:.0f} times" in told[0].message


ABOUT_A_PENALTY = ("kl-too-small", "std-with-beta")


def test_a_lower_bound_of_one_or_more_is_none():
    """PPO's own formula with an open lower bound, by direct evaluation."""
    report = lint(DATA / "verl_grpo.sh", [f"{ACTOR}.clip_ratio_low=1.0", f"{ACTOR}.clip_ratio_high=10"])
    made = report.settings.objective.algorithm
    assert made is not None
    log_ratio = np.log([1e-6, 0.5, 2.0, 10.9, 11.1])
    ratio = np.exp(log_ratio)
    assert made.coefficient(log_ratio, np.ones(5)) == pytest.approx(np.where(ratio < 11, ratio, 0))
    assert made.coefficient(log_ratio, -np.ones(5)) == pytest.approx(-np.where(ratio < 3, ratio, 0))


def test_the_fully_asynchronous_recipe_has_no_batch_size(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(
        "python -m verl.experimental.fully_async_policy.fully_async_main data.train_batch_size=0 "
        f"algorithm.adv_estimator=grpo {ROLLOUT}.n=8 async_training.staleness_threshold=0.5\n"
    )
    found = lint(path).settings
    assert (found.lag.asynchronous, found.lag.steps, found.lag.bound) == (True, 4, 1)
    assert found.correction.kind == "not needed"


def test_no_finding_rests_on_a_default_that_an_unknown_key_may_replace(tmp_path):
    path = tmp_path / "fork.sh"
    start = "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo"
    path.write_text(f"{start} {ROLLOUT}.n_agent=5\n")
    assert {"unknown-key"} <= {one.rule.id for one in lint(path).findings}
    assert "group-of-one" not in {one.rule.id for one in lint(path).findings}
    path.write_text(f"{start} {ROLLOUT}.n=8 {ACTOR}.loss_mode=kl_cov\n")
    report = lint(path)
    assert report.settings.objective.algorithm is None
    assert [one.rule.id for one in report.findings if one.rule.severity == "warning"] == ["cannot-tell"]


def test_findings_name_the_line_of_the_key():
    (finding,) = found("prime_rl.toml", [], "stale-data")
    lines = (DATA / "prime_rl.toml").read_text().splitlines()
    assert finding.line is not None
    assert lines[finding.line - 1] == "max_off_policy_steps = 2"


def test_the_most_severe_come_first():
    report = lint(DATA / "trl_grpo.yaml", ["loss_type=cispo", "beta=1", "top_p=0.9", "num_iterations=2"])
    order = [finding.rule.severity for finding in report.findings]
    assert order == sorted(order, key=["error", "warning", "note"].index)
    assert set(order) == {"error", "warning", "note"}


def test_the_sampled_temperature_can_differ_between_task_sets():
    sets = "[{rollout_args: {temperature: 1.0}}, {rollout_args: {temperature: 0.7}}]"
    overrides = ["buffer.explorer_input={}", f"buffer.explorer_input.tasksets={sets}"]
    (finding,) = found("trinity_grpo.yaml", overrides, "temperature-mismatch")
    assert "0.7" in finding.message


# --- what rules say, checked by another route -------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["group", "none"])
def test_a_penalty_is_called_too_small_where_its_gibbs_target_forgets_failures(scale):
    """The policy that the penalty alone aims at, on the group of least advantage: exp(A/beta) by direct evaluation."""
    said = []
    for beta in np.geomspace(0.01, 3, 25):
        finding = found("trl_grpo.yaml", [f"beta={beta}", f"scale_rewards={scale}"], "kl-too-small")
        gaps = []
        for size in (4, 8):
            for passing in range(1, size):
                reward = np.repeat([0.0, 1.0], [size - passing, passing])
                if min(passing, size - passing) >= 1 and passing / size in (0.125, 0.25, 0.5, 0.75, 0.875):
                    gaps.append(1 / (reward.std(ddof=1) + 1e-4) if scale == "group" else 1.0)
        weight = np.exp(-min(gaps) / beta)
        failing = 7 * weight / (1 + 7 * weight)  # one of eight passes
        if not 0.9e-3 < failing < 1.1e-3:
            assert bool(finding) == (failing < 1e-3), beta
            said.append(bool(finding))
    assert set(said) == {True, False}


def test_the_worth_of_a_temperature_is_the_spread_of_the_group():
    (finding,) = found("trl_grpo.yaml", ["beta=1"], "std-with-beta")
    rare, even = np.repeat([0.0, 1.0], [7, 1]).std(ddof=1), np.repeat([0.0, 1.0], [2, 2]).std(ddof=1)
    said = [float(number) for number in re.findall(r"(0\.\d+)", finding.message)]
    assert said[0] == pytest.approx(rare, abs=5e-3)
    assert said[1] <= even + 5e-3
    assert "1 of 8 pass" in finding.message


def test_the_gates_weights_are_those_that_the_rule_quotes():
    (rule,) = [rule for rule in RULES if rule.id == "sapo-stopped-gate"]
    log_ratio = np.log([1.0, 2.0, 4.0])
    for name in ("sapo", "trinity.sapo"):
        weights = ps.algorithm(name).coefficient(log_ratio, np.ones(3))
        words = [f"{weight:.1f}" for weight in weights]
        assert any(joined in rule.reason for joined in (f"{words[0]}, {words[1]} and {words[2]}", ", ".join(words))), (
            words
        )


def test_the_shifted_baseline_of_a_forward_kl_is_asymres():
    """REINFORCE with coef * log pi added to the objective: -(A + coef) log pi, term by term."""
    reward = np.array([0.0, 0.0, 1.0, 1.0, 0.5])
    loss = "algorithm.policy_loss_fn_args"
    report = lint(
        DATA / "trinity_rec.yaml",
        [f"{loss}.clip_mode=none", f"{loss}.regularizer=forward-kl", f"{loss}.regularizer_coef=0.25"],
    )
    made = report.settings.objective.algorithm
    assert made is not None
    np.testing.assert_allclose(made.advantage(reward), reward - reward.mean() + 0.25, atol=1e-12)


def test_what_bounds_the_age_of_samples_is_named_in_trinity():
    strategy = ["algorithm.sample_strategy=staleness_control", "algorithm.sample_strategy_args.max_staleness=3"]
    (finding,) = found("trinity_grpo.yaml", ["mode=train", *strategy], "stale-data")
    assert finding.key == "algorithm.sample_strategy_args.max_staleness"
    (finding,) = found("trinity_grpo.yaml", ["mode=train"], "no-lag-bound")
    assert finding.key == "mode"
