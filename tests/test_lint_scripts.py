"""Shell scripts that source or start other scripts."""

from __future__ import annotations

import pytest

from pessimism.lint import lint, lint_all

BASE = """python3 -m verl.trainer.main_ppo \\
    algorithm.adv_estimator=grpo \\
    data.train_batch_size=64 actor_rollout_ref.actor.ppo_mini_batch_size=${MINI:-64} \\
    actor_rollout_ref.rollout.n=${GROUP} "$@"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "base.sh").write_text(BASE)
    return tmp_path


@pytest.mark.parametrize(
    "start",
    [
        "GROUP=8 bash scripts/base.sh actor_rollout_ref.rollout.top_p=0.9",
        'export GROUP=8\nbash "${ROOT}/scripts/base.sh" actor_rollout_ref.rollout.top_p=0.9',
        'GROUP=8\nHERE=$(dirname "$0")\nsource $HERE/scripts/base.sh actor_rollout_ref.rollout.top_p=0.9',
        "GROUP=8 MINI=16 /workspace/somewhere/scripts/base.sh actor_rollout_ref.rollout.top_p=0.9",
    ],
)
def test_a_script_that_is_started_is_followed(folder, start):
    path = folder / "run.sh"
    path.write_text(f"set -e\n{start}\n")
    report = lint(path)
    assert report.settings.group_size == 8
    assert report.settings.scaling == "group std"
    assert report.settings.lag.steps == (4 if "MINI" in start else 1)
    (finding,) = (one for one in report.findings if one.rule.id == "truncated-sampling")
    assert finding.line == start.count("\n") + 2  # where it is started, in the file that is checked


def test_variables_of_a_started_script_stay_its_own(folder):
    (folder / "scripts" / "sets.sh").write_text("GROUP=2\n")
    (folder / "run.sh").write_text("GROUP=8\nbash scripts/sets.sh\nbash scripts/base.sh\n")
    assert lint(folder / "run.sh").settings.group_size == 8
    (folder / "run.sh").write_text("GROUP=8\nsource scripts/sets.sh\nbash scripts/base.sh\n")
    assert lint(folder / "run.sh").settings.group_size == 2


def test_no_default_is_taken_where_the_script_is_not_at_hand(folder):
    path = folder / "run.sh"
    path.write_text("bash elsewhere/other.sh actor_rollout_ref.rollout.temperature=0.9 trainer.save_freq=5\n")
    report = lint(path)
    assert report.settings.group_size is None
    assert "other.sh, which it builds on, is not at hand" in report.settings.objective.unknown
    assert {one.rule.id for one in report.findings} <= {"cannot-tell", "unresolved", "unknown-key"}
    path.write_text("bash elsewhere/other.sh algorithm.adv_estimator=rloo actor_rollout_ref.rollout.n=4\n")
    report = lint(path)
    assert report.settings.group_size == 4
    assert not report.settings.objective.unknown


@pytest.mark.parametrize("text", ["bash scripts/loop.sh a.b=1\n", "source scripts/loop.sh\n", "if\n"])
def test_scripts_that_start_themselves_or_are_broken_end(folder, text):
    (folder / "scripts" / "loop.sh").write_text(text)
    (folder / "run.sh").write_text("GROUP=4\nbash scripts/loop.sh\nbash scripts/base.sh\n")
    assert [one.settings.group_size for one in lint_all(folder / "run.sh")] == [4]


def test_unknown_keys_are_one_finding(tmp_path):
    path = tmp_path / "run.sh"
    own = " ".join(f"my_section{place}.x={place}" for place in range(9))
    path.write_text(f"python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo {own}\n")
    told = [one for one in lint(path).findings if one.rule.id == "unknown-key"]
    assert len(told) == 1
    assert told[0].message.startswith("my_section0, my_section1, ")
    assert "and 3 others are no keys of" in told[0].message


COMMON = """#!/bin/bash
SCRIPT_DIR=$( cd -- "$( dirname -- "${BASH_SOURCE[0]}" )" &> /dev/null && pwd)
PROJECT_ROOT=$(realpath $SCRIPT_DIR/../..)
EXP_NAME=$(basename $0 .sh)
CONFIG_PATH=$(echo $SCRIPT_DIR/${EXP_NAME}.yaml | sed 's#tests/suite#configs#')
"""
STARTS = """SCRIPT_DIR=$( cd -- "$( dirname -- "${BASH_SOURCE[0]}" )" &> /dev/null && pwd)
source $SCRIPT_DIR/common.env
cd $PROJECT_ROOT
uv run examples/run_grpo.py --config $CONFIG_PATH grpo.max_num_steps=5
"""


def test_a_configuration_whose_path_a_sourced_script_makes_is_found(tmp_path):
    """As NeMo-RL's own test suites start their recipes."""
    suite, configs = tmp_path / "tests" / "suite", tmp_path / "configs"
    suite.mkdir(parents=True)
    configs.mkdir()
    (suite / "common.env").write_text(COMMON)
    (suite / "dapo.sh").write_text(STARTS)
    (configs / "dapo.yaml").write_text(
        "grpo: {num_generations_per_prompt: 6}\nloss_fn: {ratio_clip_max: 0.28}\npolicy: {}\n"
    )
    settings = lint(suite / "dapo.sh").settings
    assert settings.trainer == "nemo-rl"
    assert settings.group_size == 6
    assert settings.clip is not None
    assert settings.clip.high == 0.28
    (configs / "dapo.yaml").unlink()
    assert lint(suite / "dapo.sh").settings.group_size is None


@pytest.mark.parametrize(
    ("made", "known"),
    [
        ("$(basename /a/b/4.txt .txt)", True),
        ("$(echo 7 | sed 's/7/4/')", True),
        ("$(echo 7 | sed 's/[0-9]/4/')", False),
        ("$(cat size.txt)", False),
        ("$(basename $UNKNOWN)", False),
        ("$(cd 4 && ls)", False),
    ],
)
def test_what_a_program_prints_is_known_only_where_it_cuts_texts(tmp_path, made, known):
    path = tmp_path / "run.sh"
    path.write_text(
        f"N={made}\npython3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=$N\n"
    )
    assert lint(path).settings.group_size == (4 if known else None)
