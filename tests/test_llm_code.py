"""Programming problems as data sets write them, and answers to them judged on tests."""

import base64
import json
import struct
import zlib
from collections import Counter

import pytest

from llm import tasks
from llm.samples import Answer
from llm.tasks.code import extract, passed, same_output
from llm.tasks.code_rows import pickled_text, read_problem
from llm.tasks.sandbox.choose import isolation
from llm.tasks.sandbox.isolation import NoIsolationError
from llm.tasks.sandbox.limits import Limits

CASES = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
CALLS = [{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}]


@pytest.fixture(scope="module")
def where():
    try:
        return isolation()
    except NoIsolationError as error:
        pytest.skip(str(error))


def pickled(text: str) -> bytes:
    """A pickle of a text: protocol, text, stop."""
    content = text.encode()
    return b"\x80\x04X" + struct.pack("<I", len(content)) + content + b"."


def packed(tests) -> str:
    """As LiveCodeBench packs its private tests."""
    return base64.b64encode(zlib.compress(pickled(json.dumps(tests)))).decode()


@pytest.mark.parametrize(
    ("row", "function", "tests"),
    [
        (
            {"question_content": "Add.", "public_test_cases": json.dumps(CASES), "private_test_cases": packed(CASES)},
            None,
            (("1 2\n", "3\n"),) * 2,
        ),
        (
            {
                "question_content": "Add.",
                "public_test_cases": json.dumps(CALLS),
                "private_test_cases": json.dumps(CALLS),
                "starter_code": "class Solution:",
                "metadata": json.dumps({"func_name": "add"}),
            },
            "add",
            (([[1, 2], 3], 6),) * 2,
        ),
        (
            {"problem": "Add.", "tests": json.dumps([{"type": "stdin_stdout", "input": "1", "output": "2"}])},
            None,
            (("1", "2"),),
        ),
        (
            {"problem": "Add.", "tests": json.dumps([CALLS[0] | {"metadata": {"func_name": "add"}}])},
            "add",
            (([[1, 2], 3], 6),),
        ),
        ({"question": "Add.", "input_output": json.dumps({"inputs": ["1"], "outputs": ["2"]})}, None, (("1", "2"),)),
        (
            {"question": "Add.", "input_output": json.dumps({"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]})},
            "add",
            (([1, 2], [3]),),
        ),
    ],
)
def test_rows_are_read_as_data_sets_write_them(row, function, tests):
    found = read_problem(row)
    assert (found.function, found.tests) == (function, tests)
    assert found.question.startswith("Add.")
    assert ("class Solution:" in found.question) == ("starter_code" in row)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "?"}, "has the columns text; it must have"),
        ({"problem": "?", "tests": "[]"}, "has no tests"),
        ({"problem": "?", "tests": "{}"}, "tests must be a list"),
        ({"problem": "?", "tests": "no JSON"}, "neither JSON nor compressed JSON"),
        ({"question_content": "?", "public_test_cases": "{}"}, "must be a list"),
    ],
)
def test_rows_of_another_form_are_refused(row, message):
    with pytest.raises(ValueError, match=message):
        read_problem(row)


NO_TEXTS = {
    "a call": b"cbuiltins\nexit\n(tR.",
    "a list": b"\x80\x04]X\x01\x00\x00\x00aa.",
    "bytes": b"\x80\x04C\x01a.",
    "a number": b"\x80\x04K\x01.",
}


@pytest.mark.parametrize("what", NO_TEXTS)
def test_nothing_is_unpickled(what):
    assert pickled_text(pickled("x" * 70000)) == "x" * 70000
    with pytest.raises(ValueError, match="the pickle holds"):
        pickled_text(NO_TEXTS[what])


def test_the_last_block_after_the_thinking_counts():
    assert extract("?", "```python\na\n```\nno:\n```py\nb\n```") == "b\n"
    assert extract("?", "```\nc\n```") == "c\n"
    assert extract("?", "print(1)") is None
    assert extract("? <think>", "```python\na\n```") is None


def test_outputs_are_compared_as_judges_of_contests_do():
    assert same_output("1\n2\n\n", "1\n2")
    assert same_output("1.0", "1")
    assert not same_output("1\n2", "1")
    assert not same_output("yes", "Yes")
    assert not same_output("nan", "nam")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print(sum(map(int, input().split())))", 1.0),
        ("a, b = map(int, input().split())\nprint(a + abs(b))", 0.5),
        ("print(3)", 0.5),
        ("import os; os.fork()", 0.0),
    ],
)
def test_programs_are_worth_the_tests_they_pass(where, code, expected):
    problem = {"function": None, "tests": [["1 2", "3"], ["1 -2", "-1"]], "wrapped": False}
    assert passed(where, code, problem, Limits(cpu=2), False, Counter()) == expected


def test_functions_are_worth_the_calls_that_come_out_right(where):
    problem = {"function": "add", "tests": [[[1, 2], 3], [[2, 2], 4]], "wrapped": False}
    assert passed(where, "def add(a, b): return a + b", problem, Limits(), True, Counter()) == 1
    assert passed(where, "def add(a, b): return 3", problem, Limits(), True, Counter()) == 0.5
    wrapped = {"function": "add", "tests": [[[1, 2], [3]]], "wrapped": True}
    assert passed(where, "def add(a, b): return a + b", wrapped, Limits(), True, Counter()) == 1


def test_a_task_from_a_file_judges_whole_answers(where, tmp_path):
    rows = [{"problem": f"Print {n}.", "tests": json.dumps([{"input": "", "output": str(n)}])} for n in range(4)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    task = tasks.load("code", {"train": {"data": str(path), "size": 3}, "held_out": 0.5})
    prompt = [*task.train, *task.held_out][0]
    ((_, expected),) = prompt.problem["tests"]
    assert task.reward(prompt, Answer(f"So:\n```python\nprint({expected})\n```")) == 1
    assert task.reward(prompt, Answer("So:\n```python\nprint('x')\n```")) == 0
    assert task.reward(prompt, Answer("no code")) == 0


def test_where_code_cannot_be_kept_in_the_task_does_not_load(tmp_path, monkeypatch):
    import llm.tasks.code as code

    def nothing(kind, image):
        raise NoIsolationError("code cannot be isolated here, so it is not run: no way")

    monkeypatch.setattr(code, "isolation", nothing)
    path = tmp_path / "rows.jsonl"
    rows = [{"problem": f"Print {n}.", "tests": json.dumps([{"input": "", "output": str(n)}])} for n in range(9)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    with pytest.raises(ValueError, match="so it is not run: no way"):
        tasks.load("code", {"train": {"data": str(path)}, "held_out": 0.3})


def test_expressions_are_judged_by_running_them(where):
    task = tasks.load("expressions", {})
    prompt = next(prompt for prompt in task.train if prompt.text == "2=7;5=13:")
    for text, worth in (("2*x+3", 1), ("x+x+3", 1), ("3+2*x", 1), ("2*x-3", 0), ("7", 0), ("x", 0), ("x=", 0), ("", 0)):
        assert task.reward(prompt, Answer(text)) == worth, text
    assert not {prompt.text for prompt in task.train} & {prompt.text for prompt in task.held_out}
