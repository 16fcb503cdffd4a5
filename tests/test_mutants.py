"""The tool that judges mutants, on a project of two functions."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts.mutants import Mutant, differing, equivalent, share

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


def never_tried(x):
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
file = "pessimism/small.py"
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


def run(project: Path, *options: str) -> tuple[int, str, list[Mutant]]:
    """Status and output of the command, and the verdicts so far."""
    command = [sys.executable, "-m", "scripts.mutants", "--root", str(project), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    kept = project / "mutants" / "verdicts.jsonl"
    assert kept.exists(), done.stdout + done.stderr
    lines = kept.read_text("utf-8").splitlines()
    return done.returncode, done.stdout + done.stderr, [Mutant(**json.loads(line)) for line in lines]


def test_every_mutant_is_judged(project: Path) -> None:
    """What changes the result dies, what never ends is stopped, what no test runs is said, what is listed is left."""
    status, output, verdicts = run(project)
    found = {(mutant.before, mutant.after): mutant for mutant in verdicts}
    assert found["result += value", "result = value"].killer == "tests/test_small.py::test_total"
    assert found["start -= 1", "start += 1"].status == "timeout"
    assert found["while start > 0:", "while start > 1:"].status == "killed"
    assert {mutant.status for mutant in verdicts if mutant.function == "never_tried"} == {"not run"}
    assert ("while start > 0:", "while start >= 0:") not in found
    assert re.search(r"\| all \| .* \| 1 \| \d", output)
    assert "never_tried" in output
    assert status == 1

    status, output, again = run(project, "--keep", "all")
    assert again == verdicts
    assert "| all |" in output

    (project / "tests" / "test_more.py").write_text(
        "from pessimism.small import never_tried\ndef test_it():\n    assert never_tried(1) == 2\n", "utf-8"
    )
    status, output, last = run(project, "--keep", "killed")
    assert {mutant.function for mutant in last[len(verdicts) :]} == {"never_tried"}
    assert {mutant.status for mutant in last[len(verdicts) :]} == {"killed"}
    assert status == 0, output


def test_a_test_that_fails_by_itself_stops_the_run(project: Path) -> None:
    wrong = project / "tests" / "test_wrong.py"
    wrong.write_text("def test_wrong():\n    assert False\n", "utf-8")
    status, output, _ = run(project)
    wrong.unlink()
    assert status != 0
    assert "a test fails without a mutant: tests/test_wrong.py::test_wrong" in output


def test_what_differs_and_how_many_are_killed() -> None:
    assert differing("def f():\n    a\n    b\n    c", "def f():\n    a\n    d\n    c") == ("b", "d")
    assert share(Counter({"killed": 8, "timeout": 1, "survived": 1, "equivalent": 5})) == 0.9


def test_the_list_of_equivalent_mutants_must_be_current() -> None:
    mutant = Mutant("m.x_f__mutmut_1", "m.py", "f", "", "return 1", "return 2")
    row = {"file": "m.py", "function": "f", "before": "return 1", "after": "return 2", "reason": "-"}
    assert equivalent([mutant], {"mutant": [row]}) == {mutant.name}
    assert equivalent([mutant], {"mutant": [row | {"file": "other.py"}]}) == set()
    with pytest.raises(ValueError, match="no mutant makes"):
        equivalent([mutant], {"mutant": [row | {"after": "return 3"}]})


@pytest.mark.parametrize(
    ("after", "follows"),
    [("f(g(-1), h(-2))", True), ("f(g(-2), h(-1))", True), ("f(g(-2), h(-2))", False), ("f(g(-1), k(-1))", False)],
)
def test_a_rule_is_about_one_place(after: str, follows: bool) -> None:
    mutant = Mutant("m.x_f__mutmut_1", "m.py", "f", "", "f(g(-1), h(-1))", after)
    rule = {"before": "(-1)", "after": "(-2)", "reason": "-"}
    assert equivalent([mutant], {"rule": [rule]}) == ({mutant.name} if follows else set())
    assert equivalent([mutant], {"rule": [rule | {"file": "other*"}]}) == set()
