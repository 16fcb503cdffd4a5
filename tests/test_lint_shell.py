"""Shell scripts are followed as bash would, up to what only a run can tell; bash itself is the reference."""

import subprocess

import pytest

from pessimism.lint import lint, lint_all
from pessimism.trainers.document import read_documents
from pessimism.trainers.shell import commands

START = "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo"
GROUP = "actor_rollout_ref.rollout.n"

# Scripts that print the words of `show`, one a line; all of them need no argument and no variable of the environment.
SAME_AS_BASH = [
    "show a=${A:-${B:-16}} b=${C-x} c=${D:+set}",
    "N=${N:=8}\nshow $N ${N:-3} ${N:+yes}",
    ": ${M:=4}\nshow $M",
    "n=7\nshow $((n / 2)) $((n * -4)) $(( (n + 1) % 3 )) $((n>2)) $((-n / 2))",
    'A=(a.b=1 "c d=2")\nA+=(e.f=3)\nshow "${A[@]}" x',
    'OPTS="a=1 b=2"\nshow $OPTS "$OPTS" c="$OPTS"',
    "OPTS='a=1'\nOPTS+=' b=2'\nshow $OPTS",
    'show one \\\n  two\\\nthree \'fo ur\' "fi \\"ve" si\\ x',
    'f() { show "$@" last=$1 $#; }\nf one "two three"',
    "if [ 3 -gt 2 ]; then N=1; else N=2; fi\nshow $N",
    "if [[ -z '' ]]; then N=1; elif true; then N=3; else N=2; fi\nshow $N",
    'N=8\nwhile [ $# -gt 0 ]; do N="$1"; shift; done\nshow $N ${1:-5} "$@"',
    "[ -n x ] && N=1\n[ -n '' ] || M=2\nshow $N $M",
    "case small in big) N=1;; sm*|small) N=2;; *) N=3;; esac\nshow $N",
    'bash -c "show in side \\$((1 + 1))"',
    "for word in only; do show $word; done",
    "export A=1 B=2\nlocal_name=$A$B\nshow ${local_name}",
    "bash <<'EOF'\nshow here $((1 + 1))\nEOF",
    "# a comment with 'quotes\nshow end",
]


@pytest.mark.parametrize("script", SAME_AS_BASH)
def test_words_are_those_that_bash_makes(script):
    whole = f"show() {{ printf '%s\\n' \"$@\"; }}\nexport -f show\n{script}"
    told = subprocess.run(
        ["bash", "-c", whole], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    shown = [words for words in commands(script) if words[0].text == "show"]
    assert [word.text for words in shown for word in words[1:]] == told.stdout.splitlines()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("N=$(nproc)", "${computed}"),
        ("if [ -f file ]; then N=4; else N=8; fi", "${N}"),
        ("if [ -f file ]; then N=4; fi", "${N}"),
        ("for N in 2 4 8; do true; done", "${N}"),
        ("N=4\nwhile read line; do N=8; done", "${N}"),
        ("N=$1", "$1"),
        ('case "$1" in fast) N=4;; *) N=8;; esac', "${N}"),
        ("N=$((UNSET * 2))", "${computed}"),
        ("", "$N"),
    ],
)
def test_what_only_a_run_can_tell_is_unknown_and_never_a_default(script, why, tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(f"{script}\n{START} {GROUP}=$N\n")
    report = lint(path)
    assert [(value.key, value.why) for value in report.settings.unresolved] == [(GROUP, f"{why} leads out of the file")]
    assert "group-of-one" not in [finding.rule.id for finding in report.findings]


def test_branches_that_agree_are_known():
    both = commands("if [ -f file ]; then N=4; else N=4; fi\nshow $N")
    assert [word.text for word in both[-1]] == ["show", "4"]


def test_keys_have_the_line_in_which_they_are_written(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(
        f'ARGS=(\n  {GROUP}=8\n)\nOPTS="algorithm.adv_estimator=rloo"\n{START} \\\n  data.seed=1 "${{ARGS[@]}}" $OPTS\n'
    )
    (found,) = read_documents(path)
    assert found.lines == {"algorithm.adv_estimator": 4, "data.seed": 6, GROUP: 2}


def test_every_run_of_a_script_has_its_own_report(tmp_path):
    path = tmp_path / "run.slurm"
    path.write_text(
        f"python prepare.py --out data\n{START} {GROUP}=8\nray job submit --no-wait -- {START} {GROUP}=16\n"
    )
    assert [report.settings.group_size for report in lint_all(path)] == [8, 16]
    with pytest.raises(ValueError, match="it holds 2 configurations"):
        lint(path)


def test_a_script_may_end_in_a_backslash(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(f"{START} \\\n  {GROUP}=8 \\")
    assert lint(path).settings.group_size == 8


def test_a_script_is_told_by_its_first_line_where_it_has_no_suffix(tmp_path):
    path = tmp_path / "run"
    path.write_text(f"#!/usr/bin/env bash\n{START} {GROUP}=8\n")
    assert lint(path).settings.group_size == 8
    path.write_text(f"{START} {GROUP}=8\n")
    with pytest.raises(ValueError, match=r"no suffix, and no #!"):
        lint(path)


def test_flags_are_read_as_trls(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(
        "accelerate launch --num_processes 8 train.py --num_generations=4 --beta 0.5 --use-vllm --top_k -1\n"
    )
    found = lint(path).settings
    assert (found.kind, found.group_size, found.correction.kind) == ("GRPOConfig", 4, "mask")
    assert found.penalty is not None
    assert found.penalty.coefficient == 0.5
    assert found.sampling.changes == ()


def test_a_command_builds_on_the_file_that_it_names(tmp_path):
    (tmp_path / "base.yaml").write_text("num_generations: 16\nbeta: 0.5\n")
    path = tmp_path / "run.sh"
    path.write_text("trl grpo --config base.yaml --beta 0\n")
    found = lint(path).settings
    assert (found.group_size, found.penalty) == (16, None)


PYTHON = """
from trl import GRPOConfig, GRPOTrainer
SIZE = 4
size = 1
size = 2
args = GRPOConfig(
    output_dir="o", num_generations=SIZE,
    top_k=size,
    beta=float("0.1"), epsilon=-1 * 0.2, loss_type="cispo", epsilon_high=5.0, **more,
)
"""


@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_arguments_of_a_config_class_are_read_and_nothing_is_run(suffix, tmp_path):
    import json

    path = tmp_path / f"train{suffix}"
    cells = [{"cell_type": "code", "source": ["%pip install trl\n", PYTHON]}, {"cell_type": "markdown", "source": []}]
    path.write_text(PYTHON if suffix == ".py" else json.dumps({"cells": cells}))
    found = lint(path).settings
    assert (found.kind, found.group_size, found.objective.entry) == ("GRPOConfig", 4, "cispo")
    assert {value.key for value in found.unresolved} == {"**more", "top_k", "beta", "epsilon"}


def test_the_class_decides_which_configuration_of_trl_it_is(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(
        "import trl\nargs = trl.RLOOConfig(num_generations=4, learning_rate=1e-6)\npeft = LoraConfig(r=8)\n"
    )
    assert lint(path).settings.kind == "RLOOConfig"
    path.write_text("args = SFTConfig(max_length=4)\n")
    with pytest.raises(ValueError, match="this is for TRL's supervised fine-tuning, which is not read"):
        lint(path)
