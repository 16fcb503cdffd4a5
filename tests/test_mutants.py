"""The tool that judges mutants, on a project of two functions."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.mutant import Mutant, share
from scripts.mutant_verdicts import Verdicts
from scripts.mutants import differing, equivalent

ROOT = Path(__file__).resolve().parent.parent
SOURCE = '''
def total(values):
    """Sum of the values."""
    result = 0
    for value in values:
        result += value
    return result


def count_down(start):
    while start > 0:
        start -= 1
    return start


class Trial:
    def never_tried(self, x):
        return x + 1
'''
TESTS = """
from pessimism.small import count_down, total

def test_total():
    assert total([1, 2]) == 3

def test_count_down():
    assert count_down(3) == 0
"""
SETTINGS = """
[tool.mutmut]
source_paths = ["pessimism"]
only_mutate = ["pessimism/*.py"]
pytest_add_cli_args_test_selection = ["tests"]
[tool.pytest.ini_options]
pythonpath = ["."]
"""
SAME = """
[[mutant]]
function = "count_down"
before = "while start > 0:"
after = "while start >= 0:"
reason = "none: the test of the tool says so"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    texts = {"pessimism/__init__.py": "", "pessimism/small.py": SOURCE, "tests/test_small.py": TESTS}
    for name, text in (texts | {"pyproject.toml": SETTINGS, "scripts/equivalent_mutants.toml": SAME}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def run(project: Path, *options: str) -> tuple[int, str, dict[str, dict[str, Any]]]:
    """Status and output of the command, and the stored verdicts by function."""
    command = [sys.executable, "-m", "scripts.mutants", "--root", str(project), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    kept = project / "scripts" / "mutant_verdicts.jsonl"
    assert kept.exists(), done.stdout + done.stderr
    assert not (project / "mutants" / "verdicts.jsonl").exists()
    rows = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
    return done.returncode, done.stdout + done.stderr, {row["function"]: row for row in rows}


def test_every_mutant_is_judged(project: Path) -> None:
    """What changes the result dies, what never ends is stopped, what no test runs is said, what is listed is left."""
    status, output, verdicts = run(project)
    assert set(verdicts["total"]["killed"]) == {"tests/test_small.py::test_total"}
    assert len(verdicts["total"]["killed"]["tests/test_small.py::test_total"]) >= 3
    assert not {"survived", "not run"} & set(verdicts["total"])
    assert len(verdicts["count_down"]["timeout"]) == 2, "start += 1, start = 1"
    assert set(verdicts["count_down"]["killed"]) == {"tests/test_small.py::test_count_down"}
    assert set(verdicts["Trial.never_tried"]) == {"function", "source", "not run"}
    assert "never_tried__mutmut_1\n  - return x + 1\n  + return x - 1" in output
    assert re.search(r"\| all \| .* \| 1 \| \d", output)
    assert status == 1

    status, output, again = run(project, "--keep", "all")
    assert again == verdicts
    assert "| all |" in output
    assert "mutmut_1\n" in output.partition("| file")[0]

    (project / "tests" / "test_more.py").write_text(
        "from pessimism.small import Trial\ndef test_it():\n    assert Trial().never_tried(1) == 2\n", "utf-8"
    )
    status, output, last = run(project, "--keep", "killed")
    assert set(last["Trial.never_tried"]["killed"]) == {"tests/test_more.py::test_it"}
    assert {name: last[name] for name in ("total", "count_down")} == {
        name: verdicts[name] for name in ("total", "count_down")
    }
    assert "count_down" not in output.partition("| file")[0]
    assert status == 0, output

    moved = SOURCE.replace("result += value", "result = result + value")
    (project / "pessimism" / "small.py").write_text(
        "from pessimism.other import total as total\n# Two more.\n" + SOURCE[SOURCE.index("def count") :], "utf-8"
    )
    (project / "pessimism" / "other.py").write_text(SOURCE[: SOURCE.index("def count")], "utf-8")
    status, output, _ = run(project, "--table")
    assert status == 0, output
    assert "pessimism/other.py" in output, "verdicts go with a function that moves"
    (project / "pessimism" / "other.py").write_text(moved[: moved.index("def count")], "utf-8")
    status, output, _ = run(project, "--table")
    assert status == 1
    assert re.search(r"[1-9] of \d+ mutants have no verdict", output), "and end with a function that changes"


def test_verdicts_are_stored_by_change(tmp_path: Path) -> None:
    """The journal is newer than what is stored, a mutant that is made no more goes, and no name of a file is kept."""
    verdicts = Verdicts(tmp_path / "stored.jsonl", tmp_path / "journal.jsonl")
    one, two, gone = (Mutant(name, "m.py", "f", "s", name, "a", "b") for name in ("one", "two", "gone"))
    for mutant in (replace(one, status="survived"), replace(two, status="not run"), replace(gone, status="timeout")):
        verdicts.add(mutant)
    verdicts.settle([one, two, gone])
    verdicts.add(replace(one, status="killed", killer="t"))
    assert verdicts.read() == {"one": ("killed", "t"), "two": ("not run", ""), "gone": ("timeout", "")}
    verdicts.settle([one, two])
    assert not verdicts.journal.exists()
    assert verdicts.read() == {"one": ("killed", "t"), "two": ("not run", "")}
    assert "m.py" not in verdicts.stored.read_text("utf-8")


def test_a_test_that_fails_by_itself_stops_the_run(project: Path) -> None:
    wrong = project / "tests" / "test_wrong.py"
    wrong.write_text("def test_wrong():\n    assert False\n", "utf-8")
    command = [sys.executable, "-m", "scripts.mutants", "--root", str(project)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    wrong.unlink()
    status, output = done.returncode, done.stdout + done.stderr
    assert status != 0
    assert "a test fails without a mutant:\ntests/test_wrong.py::test_wrong" in output


def test_what_differs_and_how_many_are_killed() -> None:
    assert differing("def f():\n    a\n    b\n    c", "def f():\n    a\n    d\n    c") == ("b", "d")
    assert share(Counter({"killed": 8, "timeout": 1, "survived": 1, "equivalent": 5})) == 0.9


def test_the_list_of_equivalent_mutants_must_be_current() -> None:
    mutant = Mutant("m.x_f__mutmut_1", "m.py", "f", "", "", "return 1", "return 2")
    row = {"function": "f", "before": "return 1", "after": "return 2", "reason": "-"}
    assert equivalent([mutant], {"mutant": [row]}) == {mutant.name}
    with pytest.raises(ValueError, match="no mutant makes"):
        equivalent([mutant], {"mutant": [row | {"after": "return 3"}]})


@pytest.mark.parametrize(
    ("after", "follows"),
    [("f(g(-1), h(-2))", True), ("f(g(-2), h(-1))", True), ("f(g(-2), h(-2))", False), ("f(g(-1), k(-1))", False)],
)
def test_a_rule_is_about_one_place(after: str, follows: bool) -> None:
    mutant = Mutant("m.x_f__mutmut_1", "m.py", "f", "", "", "f(g(-1), h(-1))", after)
    rule = {"before": "(-1)", "after": "(-2)", "reason": "-"}
    assert equivalent([mutant], {"rule": [rule]}) == ({mutant.name} if follows else set())
    assert equivalent([mutant], {"rule": [rule | {"file": "other*"}]}) == set()
