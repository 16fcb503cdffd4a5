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
