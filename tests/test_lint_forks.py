"""Keys and programs that look like verl's and are another's, slips of the pen, and what is checked without a flow."""

import json
from pathlib import Path

import numpy as np
import pytest

import pessimism as ps
from pessimism.lint import lint, lint_all
from pessimism.reference_groups import group_outlines, reference_groups
from pessimism.trainers.keys import unknown_keys
from pessimism.trainers.shared import capped, group_mean

MAIN = "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo"


def script(folder: Path, text: str) -> Path:
    path = folder / "run.sh"
    path.write_text(f"{text}\n")
    return path


@pytest.mark.parametrize(
    ("words", "group"),
    [
        ("env.env_name=shop env.rollout.n=6", 6),
        ("data.n_samples=7", 7),
        ("es_manager.train.group_size=16 es_manager.train.env_groups=8", 16),
        ("actor_rollout_ref.rollout.n_agent=5", 5),
        ("actor_rollout_ref.rollout.n_agent=5 actor_rollout_ref.rollout.n=2", 10),
        ("actor_rollout_ref.rollout.n=3", 3),
    ],
)
def test_forks_that_repeat_prompts_by_a_key_of_their_own(tmp_path, words, group):
    report = lint(script(tmp_path, f"{MAIN} {words}"))
    assert report.settings.group_size == group
    assert "group-of-one" not in {finding.rule.id for finding in report.findings}


def test_one_completion_of_a_fork_is_still_one(tmp_path):
    findings = lint(script(tmp_path, f"{MAIN} env.rollout.n=1")).findings
    assert {finding.rule.id: finding.key for finding in findings}["group-of-one"] == "env.rollout.n"


@pytest.mark.parametrize(
    "command",
    [
        "python -m recipe.prime.main_prime algorithm.adv_estimator=rloo actor_rollout_ref.rollout.n=4",
        f"{MAIN.replace('grpo', 'rloo')} reward_model.rm_type=prime",
        f"{MAIN.replace('grpo', 'rloo')} reward_model.model.rm_type=prime",
    ],
)
def test_prime_is_no_rloo(tmp_path, command):
    settings = lint(script(tmp_path, command)).settings
    assert settings.objective.entry == ""
    assert "PRIME" in settings.objective.unknown
    assert not settings.needs_group


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("python -m verl.trainer.main_generation data.n_samples=1 rollout.top_p=0.9", "generated"),
        ("python -m verl.trainer.main_generation_server data.n_samples=1 rollout.top_p=0.9", "generated"),
        ("torchrun --nproc 8 -m verl.trainer.fsdp_sft_trainer optim.lr=1e-4 model.lora=1", "supervised"),
        ("python -m verl.trainer.main_eval data.path=x", "judged"),
        ("python -m verl.model_merger merge --backend fsdp", "converted"),
    ],
)
def test_programs_of_verl_that_train_on_no_reward(tmp_path, command, what):
    """Their keys are their own: none is unknown, and none says anything about a loss."""
    report = lint(script(tmp_path, command))
    assert what in report.settings.untrained
    assert [finding.rule.id for finding in report.findings] == ["nothing-trained"]


def test_training_beside_generation_is_read(tmp_path):
    reports = lint_all(script(tmp_path, f"python -m verl.trainer.main_generation a.b=1\n{MAIN} data.n_samples=4"))
    assert [bool(report.settings.untrained) for report in reports] == [True, False]


KNOWN = frozenset({"ref.profiler.steps", "ref.profiler.ranks", "max_length", "n_gpus", "loss_mode", "num_generations"})


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        ({"losss_mode": 1}, "loss_mode"),
        ({"lossmode": 1}, "loss_mode"),
        ({"num_generation": 1}, "num_generations"),
        ({"n_gpuss": 1}, "n_gpus"),
        ({"min_length": 1}, ""),
        ({"n_env_gpus": 1}, ""),
        ({"loss_mode_lower": 1}, ""),
        ({"ref": {"profile": {"use": True}}}, ""),
        ({"ref": {"profile": {"steps": 1}}}, "ref.profiler"),
    ],
)
def test_a_slip_of_the_pen_changes_letters_of_one_word(values, meant):
    assert list(unknown_keys(values, KNOWN).values()) == [meant]


def test_a_file_of_misspelt_keys_is_told_to_be_trls(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("loss_type: dapo\nnum_itertions: 2\nepsilon_hihg: 0.28\n")
    report = lint(path)
    assert report.settings.trainer == "trl"
    told = {finding.key: finding.rule.id for finding in report.findings if finding.rule.severity == "error"}
    assert told == {"num_itertions": "misspelt-key", "epsilon_hihg": "misspelt-key"}
    path.write_text("loss_type: dapo\nhidden: 2\nlayers: 3\n")
    with pytest.raises(ValueError, match="no configuration of"):
        lint(path)


def test_a_mini_batch_of_the_whole_batch_has_a_ratio_of_one(tmp_path):
    words = (
        f"{MAIN} actor_rollout_ref.rollout.n=8 data.train_batch_size=64 actor_rollout_ref.actor.ppo_mini_batch_size="
    )
    rules = [{one.rule.id for one in lint(script(tmp_path, f"{words}{size}")).findings} for size in (64, 32)]
    assert ["ratio-is-one" in found for found in rules] == [True, False]
    samplers = lint(script(tmp_path, f"{words}64 algorithm.rollout_correction.bypass_mode=true"))
    assert not samplers.settings.lag.ratio_is_one


def test_a_lower_bound_of_nothing_keeps_ratios_from_falling_below_one():
    found = capped("cispo", group_mean(), 0.0, 4.0)
    assert found.entry == "verl.cispo"
    assert found.algorithm is not None
    ratio = np.array([0.2, 0.9, 3.0, 8.0])
    np.testing.assert_allclose(found.algorithm.coefficient(np.log(ratio), np.ones(4)), [1, 1, 3, 5])


@pytest.mark.parametrize("name", ["grpo", "asymre", "oapl", "oapl.missing_log_g", "dpo", "verl.dro", "cispo"])
def test_outlines_are_the_groups_without_their_targets(name):
    algorithm = ps.algorithm(name)
    full = reference_groups(algorithm, 4)
    outlines = group_outlines(algorithm, 4)
    assert [(one.group_size, one.passing, one.regime, one.advantages) for one in outlines] == [
        (one.group_size, one.passing, one.regime, one.advantages) for one in full
    ]


BRANCH = """
DEVICE=${DEVICE:-$(detect)}
ROLLOUT=(actor_rollout_ref.rollout.n=5 actor_rollout_ref.rollout.top_p=1.0)
case "$DEVICE" in
    npu) ROLLOUT+=(%s) ;;
esac
python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo "${ROLLOUT[@]}" "$@"
"""


def test_what_all_branches_leave_of_an_array_is_known(tmp_path):
    report = lint(script(tmp_path, BRANCH % "actor_rollout_ref.rollout.gpu_memory_utilization=0.5"))
    assert report.settings.group_size == 5
    assert {finding.rule.id for finding in report.findings} & {"unresolved", "group-of-one"} == set()


def test_a_key_that_one_branch_sets_is_not_known(tmp_path):
    report = lint(script(tmp_path, BRANCH % "actor_rollout_ref.rollout.n=8"))
    assert report.settings.group_size is None
    assert {finding.key for finding in report.findings if finding.rule.id == "unresolved"} == {
        "actor_rollout_ref.rollout.n"
    }


@pytest.mark.parametrize("words", ["$EXTRA", "${EXTRA}", '"${EXTRA[@]}"'])
def test_no_error_rests_on_a_default_that_an_unknown_word_may_replace(tmp_path, words):
    report = lint(script(tmp_path, f"{MAIN} {words}"))
    assert report.settings.group_size is None
    assert not report.reaches("warning")
    given = lint(script(tmp_path, f"{MAIN} actor_rollout_ref.rollout.n=1 actor_rollout_ref.rollout.top_p=0.9 {words}"))
    assert {"group-of-one", "truncated-sampling"} <= {finding.rule.id for finding in given.findings}


def test_cells_of_a_notebook_that_are_no_python_hide_no_configuration(tmp_path):
    """Shell cells, magics, commands over several lines and inside a branch; the line after them is Python again."""
    cells = [
        '%%bash\ncurl -sL "x" | awk -F. \'{print 007"."$2; exit}\'\n',
        "%%capture\nimport os\nif os:\n    !pip install -q \\\n        'a>=1' \\\n        b\n    x = 1\n",
        "files = !ls -l 08\n%pip install c\n",
        "config = GRPOConfig(num_generations=1 + 3 - 0, loss_type='grpo', top_p=0.9)\n",
    ]
    path = tmp_path / "run.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]}))
    report = lint(path)
    assert report.settings.sampling.top_p == 0.9
    assert "truncated-sampling" in {finding.rule.id for finding in report.findings}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("loss_type: dpo_norm\nbeta: 5\nlearning_rate: 1.0e-6\nuse_lora: false\n", False),
        ("loss_type: sigmoid\nbeta: 0.1\nlearning_rate: 1.0e-6\n", False),
        ("loss_type: dapp\nbeta: 0.1\nlearning_rate: 1.0e-6\n", True),
        ("loss_type: mine\nnum_generations: 8\n", True),
    ],
)
def test_a_loss_of_another_trainer_is_not_grpos(tmp_path, text, read):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert bool(lint_all(path, only_known=True)) is read


@pytest.mark.parametrize(("value", "told"), [("0.2", False), ("2e-1", False), ("0.3", True)])
def test_a_clip_at_the_value_that_is_used_anyway_changes_nothing(tmp_path, value, told):
    report = lint(script(tmp_path, f"{MAIN} actor_rollout_ref.actor.clip_ratio={value}"))
    assert ("clip-ratio-ignored" in {finding.rule.id for finding in report.findings}) is told


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[orchestrator.algo]\ntype = "opd"\n', "distillation from a teacher"),
        ('[trainer.loss]\ntype = "default"\n[orchestrator.algo]\ntype = "sft"\n', "cross-entropy"),
        ('max_steps = 3\n[data]\nname = "x"\n', "supervised fine-tuning"),
    ],
)
def test_runs_of_prime_rl_without_a_reward_are_told_so(tmp_path, text, what):
    path = tmp_path / "run.toml"
    path.write_text(text)
    report = lint(path)
    assert what in report.settings.untrained
    assert {finding.rule.id for finding in report.findings} == {"nothing-trained"}


OLD_PRIME_RL = """[orchestrator]
batch_size = 256
rollouts_per_example = 16
[[orchestrator.env]]
id = "math"
[orchestrator.sampling]
max_tokens = 1024
[trainer.loss]
"""


@pytest.mark.parametrize(
    ("loss", "entry", "told"),
    [
        ("", "", "whose default loss changed"),
        ("kl_tau = 0.01", "", "whose default loss changed"),
        ("token_mask_high = 5.0", "verl.icepop", ""),
        ("mask_ratio_low = 0.25", "verl.icepop", ""),
        ("mask_ratio_low = 0.25\nkl_tau = 0.1", "", "KL term"),
        ("ipo_mask_low = 0.1\nipo_mask_high = 0.1", "prime_rl.ipo", ""),
        ("ipo_mask_low = 0.1", "", "two bounds"),
        ("ratio_type = 'sequence'", "", "ratio of completions"),
        ("dppo_mask_low = 0.2", "", "whose default loss changed"),
    ],
)
def test_older_prime_rl_is_not_read_by_the_defaults_of_today(tmp_path, loss, entry, told):
    path = tmp_path / "rl.toml"
    path.write_text(OLD_PRIME_RL + loss)
    report = lint(path)
    settings = report.settings
    assert settings.version == "prime-rl before 0.6.0"
    assert settings.group_size == 16
    assert settings.objective.entry == entry
    assert told in settings.objective.unknown
    assert "unknown-key" not in {one.rule.id for one in report.findings}


def test_older_prime_rls_mask_is_the_coefficient_of_its_loss(tmp_path):
    """Its loss is -(ratio A) over the tokens whose ratio is inside the bounds (commit 7e2f027), taken apart here."""
    path = tmp_path / "rl.toml"
    path.write_text(OLD_PRIME_RL + "token_mask_low = 0.5\ntoken_mask_high = 3.0")
    made = lint(path).settings.objective.algorithm
    assert made is not None
    log_ratio, advantage = np.random.default_rng(1).normal(size=(2, 200, 4))
    ratio = np.exp(log_ratio)
    expected = np.where((ratio >= 0.5) & (ratio <= 3.0), ratio * advantage, 0.0)
    np.testing.assert_allclose(made.coefficient(log_ratio, advantage), expected, rtol=1e-12)


@pytest.mark.parametrize(("kept", "steps"), [("", 4), ("actor_rollout_ref.rollout.rollout_filter_ratio=0.25", 1)])
def test_ragens_batch_is_what_its_environments_give_and_it_keeps(tmp_path, kept, steps):
    own = "es_manager.train.group_size=16 es_manager.train.env_groups=8 actor_rollout_ref.actor.ppo_mini_batch_size=32"
    assert lint(script(tmp_path, f"{MAIN} {own} {kept}")).settings.lag.steps == steps


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('model = "m"\nrollouts_per_example = 8\n[[env]]\nid = "e"\n', "Prime Intellect's hosted training"),
        ("[agent]\nname = 'a'\n[workflow]\nname = 'w'\n[algorithm]\nadv_estimator = 'grpo'\n", "rLLM"),
        ("[adv]\nestimator = 'gae'\n[rollout]\nmax_turns = 1\n", "RL2"),
    ],
)
def test_files_of_what_is_not_read_are_named(tmp_path, text, name):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=name):
        lint(path)


def test_no_alarm_is_raised_by_a_default_of_the_sampler(tmp_path):
    """TRL up to 0.17 sampled with top_k = 50 by default; which release a file is for, few files tell."""
    path = tmp_path / "run.yaml"
    text = "num_generations: 8\nmax_prompt_length: 512\nevaluation_strategy: steps\nloss_type: bnpo\n"
    path.write_text(text)
    assert "truncated-sampling" not in {one.rule.id for one in lint(path).findings}
    path.write_text(text + "top_k: 50\n")
    assert "truncated-sampling" in {one.rule.id for one in lint(path).findings}


def test_nemo_rls_asynchronous_ppo_has_a_lag(tmp_path):
    path = tmp_path / "ppo.yaml"
    text = "policy: {train_global_batch_size: 64}\nloss_fn: {}\nppo:\n  num_prompts_per_step: 64\n"
    path.write_text(f"{text}  num_generations_per_prompt: 1\n  async_ppo: {{enabled: true}}\n")
    lag = lint(path).settings.lag
    assert (lag.asynchronous, lag.bound) == (True, 1)


def test_a_program_of_its_own_with_some_of_trls_names_is_not_trls(tmp_path):
    path = tmp_path / "config.json"
    own = {"num_generations": 4, "max_completion_length": 256, "learning_rate": 1e-6, "temperature": 1.0}
    path.write_text(json.dumps(own))
    assert lint(path).settings.trainer == "trl"
    path.write_text(json.dumps(own | {"clip_eps": 0.2}))
    with pytest.raises(ValueError, match="no configuration of"):
        lint(path)


def test_hydras_default_in_a_package_of_its_own(tmp_path):
    (tmp_path / "own.yaml").write_text("adv_estimator: rloo\n")
    path = tmp_path / "run.yaml"
    path.write_text("defaults: [own@algorithm, _self_]\nactor_rollout_ref: {rollout: {n: 4}}\n")
    settings = lint(path).settings
    assert settings.group_size == 4
    assert "leave one out" in settings.baseline
