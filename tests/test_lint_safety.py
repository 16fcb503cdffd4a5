"""Files from strangers: whatever is in one, lint ends soon, in bounded memory, with a report or one line."""

import os
import time

import pytest

from pessimism.lint import lint
from pessimism.lint.command import lint_command
from pessimism.shell.terminal import new_app, run_app

KEY = "actor_rollout_ref.rollout.n"


def bases(folder):
    for index in range(6):
        names = [f"b{other}" for other in range(6) if other != index] * 6
        (folder / f"b{index}.yaml").write_text(f"defaults: [{', '.join(names)}]\nalgorithm: {{adv_estimator: grpo}}\n")
    return folder / "b0.yaml"


def wide_bases(folder):
    for index in range(8):
        following = ", ".join([f"w{index + 1}"] * 30) if index < 7 else ""
        (folder / f"w{index}.yaml").write_text(f"defaults: [{following}]\nalgorithm: {{adv_estimator: grpo}}\n")
    return folder / "w0.yaml"


def pipe(folder):
    os.mkfifo(folder / "pipe.yaml")
    return folder / "pipe.yaml"


def device(folder):
    (folder / "zero.yaml").symlink_to("/dev/zero")
    return folder / "zero.yaml"


def written(name, content):
    def write(folder):
        path = folder / name
        path.write_text(content)
        return path

    return write


DIGITS = "9" * 400
HOSTILE = {
    "doubling": (written("x.sh", "X=a\n" + "X=$X$X\n" * 30 + f"run {KEY}=$X"), "a word expands to more than 64 KiB"),
    "doubling in defaults": (
        written("x.sh", "X=a\n" + "X=${Y:-$X$X}\n" * 30 + f"run {KEY}=$X"),
        "a word expands to more than 64 KiB",
    ),
    "doubling arrays": (written("x.sh", "A=(a)\n" + 'A+=("${A[@]}")\n' * 40 + f"run {KEY}=1"), "more than"),
    "many large words": (
        written("x.sh", f"X={'a' * 60_000}\n" + "Y=$X\n" * 100 + f"run {KEY}=1"),
        "more than 1024 KiB",
    ),
    "a function that calls itself": (written("x.sh", "f() { f; f; }\nf\nrun a.b=1"), "cannot tell"),
    "nested functions": (
        written("x.sh", "".join(f"f{i}() {{ {f'f{i + 1}; ' * 9} }}\n" for i in range(9)) + f"f0\nrun {KEY}=1"),
        "more than 20,000 steps",
    ),
    "nested shells": (written("x.sh", 'X="true"\n' + "X=\"bash -c '$X'\"\n" * 20 + "eval $X\n"), ""),
    "deep substitution": (written("x.sh", "run a.b=" + "${A:-" * 300 + "1" + "}" * 300), "nested more than 50 deep"),
    "bases that list each other": (bases, "builds on itself"),
    "bases without a circle": (wide_bases, "builds on more than 20 files"),
    "dotted parts": (written("x.sh", "run " + ".".join("a" * 20_000) + "=1"), "has more than 50 parts"),
    "longer dotted words": (written("x.sh", "run " + ".".join("a" * 50_000) + "=1"), "more than 64 KiB"),
    "dotted parts in TOML": (written("x.toml", ".".join("a" * 50_000) + " = 1"), "nested more than 50 deep"),
    "dotted words": (written("x.sh", ("run " + ".".join("a" * 20_000) + "\n") * 2 + "run a=1\n"), "no word"),
    "tables": (written("x.toml", "".join(f"[[t{index}]]\n" for index in range(20_000))), "cannot tell"),
    "pipe": (pipe, "not a regular file"),
    "device": (device, "not a regular file"),
    "long whole number": (written("x.yaml", f"num_generations: {DIGITS}\nloss_type: grpo\n"), "it must be a number"),
    "long whole number as a float": (written("x.yaml", f"beta: {DIGITS}\nloss_type: grpo\n"), "beta is 9"),
    "longer than Python converts": (written("x.yaml", f"beta: {DIGITS * 20}\nloss_type: grpo\n"), "is no int of YAML"),
    "a truth value that is none": (written("x.yaml", "loss_type: grpo\nbeta: !!bool x\n"), "line 2: 'x' is no bool of"),
    "a time that is none": (written("x.yaml", "beta: !!timestamp x\n"), "is no timestamp of YAML"),
    "a whole number that is none": (written("x.yaml", "beta: !!int x\n"), "is no int of YAML"),
    "deep Python": (written("x.py", "a = " + "(" * 5_000 + ")" * 5_000), "not Python"),
    "long sum in Python": (written("x.py", "GRPOConfig(beta=" + "1+" * 20_000 + "1)"), ""),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_in_one_line_with_status_2(kind, tmp_path, capsys):
    write, message = HOSTILE[kind]
    path = write(tmp_path)
    app = new_app("lint")
    app.command()(lint_command)
    started = time.process_time()
    status = run_app(app, "pessimism lint", [str(path)])
    told = capsys.readouterr().err
    assert status == 2
    assert message in told
    assert len(told.splitlines()) <= 3  # a long path is wrapped
    assert len(told) < 1000
    assert time.process_time() - started < 5


def test_overrides_are_bounded_too(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("loss_type: grpo\n")
    with pytest.raises(ValueError, match="more than 50 parts"):
        lint(path, [".".join("a" * 50_000) + "=1"])
