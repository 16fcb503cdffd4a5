"""Judging what a model wrote: right answers are found, and no text can run, hang or crash anything."""

import gc
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.tasks import load
from llm.tasks.final_answers import final_answer
from llm.tasks.judge import Judge, JudgeError, ScorerError
from llm.tasks.mathematics import problem
from llm.tasks.reasoning_scorer import arithmetic

MARK = "a_model_was_here"
RUNS = [  # texts that leave a file behind if anything runs them
    f"__import__('os').mknod('{MARK}')",
    f"[__import__('os').mknod('{MARK}')]",
    f"[[__import__('os').mknod('{MARK}')]]",
    f"exec(\"import os; os.mknod('{MARK}')\")",
    f"[x for x in [__import__('pathlib').Path('{MARK}').touch()]]",
]
ODD = ["", " ", "\x00", "\ud800", "\U0001f600" * 50, "a" * 100_000, "(" * 5000, "{" * 5000, "9**9**9", "1/0", "[" * 900]


@pytest.fixture(scope="module")
def math():
    return Judge("llm.tasks.math_scorer")


@pytest.fixture(scope="module")
def reasoning():
    return Judge("llm.tasks.reasoning_scorer")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Where the answer stands


@given(st.text(alphabet="ab{}\\ \n", max_size=40))
def test_balanced_braces_are_what_the_box_holds(inside):
    depths = [1 + inside[:i].count("{") - inside[:i].count("}") for i in range(len(inside) + 1)]
    expected = inside[: depths.index(0) - 1].strip() or None if 0 in depths else None
    assert final_answer("so \\boxed{" + inside) == expected
    if 0 not in depths and depths[-1] == 1:
        assert final_answer("so \\boxed{" + inside + "} and more") == (inside.strip() or None)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{1} then \\boxed{2}", "2"),
        ("<think>\\boxed{3}</think> no box", None),
        ("<think>\\boxed{3}</think>\\boxed{4}", "4"),
        ("#### 7\nmore", "7"),
        ("Answer: 5\n\nAnswer: $6$", "$6$"),
        ("\\boxed{1} #### 2", "1"),
        ("\\boxed{}", None),
        ("\\boxed{" + "1" * 1001 + "}", None),
        ("\\boxed{1", None),
        ("12", None),
    ],
)
def test_the_final_answer(text, answer):
    assert final_answer(text) == answer


# Mathematics


@pytest.mark.parametrize(
    ("gold", "text", "reward"),
    [
        ("42", "It is \\boxed{42}.", 1),
        ("42", "It is \\boxed{43}.", 0),
        ("42", "It is 42.", 0),
        ("\\frac{1}{2}", "\\boxed{0.5}", 1),
        ("1/2", "\\boxed{\\dfrac12}", 1),
        ("1,234", "#### 1234", 1),
        ("x^2 + 1", "\\boxed{1 + x^2}", 1),
        ("x^2 + 1", "\\boxed{1 + x^3}", 0),
        ("(1, 2)", "\\boxed{(1,2)}", 1),
        ("(1, 2)", "\\boxed{(2,1)}", 0),
        ("\\sqrt{8}", "\\boxed{2\\sqrt{2}}", 1),
        ("\\text{east}", "\\boxed{\\text{east}}", 1),
        ("0", "", 0),
    ],
)
def test_mathematics_is_compared_as_mathematics(math, gold, text, reward):
    assert math.score("equal", gold, text, 5.0) == reward


def test_hostile_mathematics_is_worth_nothing_and_runs_nothing(math, elsewhere):
    before = math.failures.total()
    for inside in [*RUNS, *ODD, "\\frac{1}{" * 100 + "2" + "}" * 100, "\\sqrt" * 400]:
        for text in ("\\boxed{" + inside + "}", "#### " + inside):
            assert math.score("equal", "5", text, 0.3) == 0, text[:50]
    assert list(elsewhere.iterdir()) == []
    assert math.score("equal", "5", "\\boxed{5}", 5.0) == 1
    assert math.failures.total() >= before


def test_what_takes_too_long_is_counted_and_ended(math):
    before = math.failures["timeout"]
    assert math.score("equal", "5", "\\boxed{9^{9^{9}}}", 0.2) == 0
    assert math.failures["timeout"] == before + 1
    assert math.score("equal", "5", "\\boxed{5}", 5.0) == 1


@pytest.mark.parametrize(
    "rows",
    [
        [{"question": f"{i} + 1?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"} for i in range(60)],  # GSM8K
        [{"problem": f"{i} + 1?", "answer": f"{i + 1}", "solution": "adding"} for i in range(60)],  # DeepScaleR
        [{"problem": f"{i} + 1?", "solution": f"so \\boxed{{{i + 1}}}", "level": "1"} for i in range(60)],  # MATH
        [{"question": f"{i} + 1?", "answer": i + 1} for i in range(60)],  # AIME 2025
        [
            {
                "prompt": [{"role": "user", "content": f"{i} + 1?"}],
                "reward_model": {"ground_truth": str(i + 1), "style": "rule"},
                "data_source": "math_dapo",
            }
            for i in range(60)
        ],  # DAPO-Math
    ],
    ids=["gsm8k", "deepscaler", "math", "aime", "dapo"],
)
def test_every_schema(rows, tmp_path, math, monkeypatch):
    monkeypatch.setattr("llm.tasks.mathematics.Judges", lambda module, count: math)  # one process for all
    polars.DataFrame(rows).write_parquet(path := tmp_path / "rows.parquet")
    task = load("math", {"train": {"data": str(path)}, "held_out": 0.2, "instruction": "Box it."})
    assert len(task.train) + len(task.held_out) == 60
    assert {prompt.text for prompt in task.train}.isdisjoint({prompt.text for prompt in task.held_out})
    for prompt in (*task.train[:1], *task.held_out[:1]):
        asked = int(re.findall(r"\d+", prompt.text)[0])
        assert prompt.text.startswith(f"{asked} + 1?")
        assert ("Box it." in prompt.text) == ("prompt" not in rows[0])
        assert prompt.problem == {"answer": str(asked + 1)} | ({"part": "1"} if "level" in rows[0] else {})
        assert task.reward(prompt, f"Hence \\boxed{{{asked + 1}}}") == 1
        assert task.reward(prompt, f"Hence \\boxed{{{asked}}}") == 0
    polars.DataFrame(rows).write_ndjson(lines := tmp_path / "rows.jsonl")
    again = load("math", {"train": {"data": str(lines)}, "held_out": 0.2, "instruction": "Box it."})
    assert (again.train, again.held_out) == (task.train, task.held_out)


def test_folders_of_data_sets(tmp_path):
    import datasets

    rows = [{"question": f"{i}?", "answer": str(i)} for i in range(50)]
    parts = {"train": datasets.Dataset.from_list(rows), "test": datasets.Dataset.from_list(rows[:5])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")  # type: ignore[arg-type]
    polars.DataFrame(rows).write_parquet(tmp_path / "rows" / "train.parquet", mkdir=True)
    polars.DataFrame(rows[:5]).write_parquet(tmp_path / "rows" / "test.parquet")
    for folder in ("saved", "rows"):
        source = {"data": str(tmp_path / folder)}
        task = load("math", {"train": source, "held_out": source | {"split": "test"}, "instruction": ""})
        assert [prompt.text for prompt in task.held_out] == ["0?", "1?", "2?", "3?", "4?"]
        assert len(task.train) == 45


def write(path: Path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_held_out_problems_of_another_source_are_not_trained_on(tmp_path):
    rows = [{"question": f"{i}?", "answer": str(i)} for i in (0, 1, 2, 2, 3)]
    train, test = write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", rows[3:])
    task = load("math", {"train": {"data": train}, "held_out": {"data": test}, "instruction": ""})
    assert [prompt.text for prompt in task.train] == ["0?", "1?"]
    assert [prompt.text for prompt in task.held_out] == ["2?", "3?"]
    small = load("math", {"train": {"data": train, "size": 1}, "held_out": {"data": test}, "instruction": ""})
    assert [prompt.text for prompt in small.train] == ["0?"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "1 + 1"}, "has the columns text; it must have"),
        ({"question": "1?", "answer": None}, "the answer is None"),
        ({"question": "1?", "answer": " "}, "the answer is empty"),
        ({"problem": "1?", "solution": "it is one"}, "has no \\boxed{} answer"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        problem(row, "")
    data = write(tmp_path / "rows.jsonl", [row])
    with pytest.raises(ValueError, match="rows.jsonl: row 0: .*" + re.escape(message)):
        load("math", {"train": {"data": data}})


def test_data_that_cannot_be_read_get_one_line(tmp_path):
    broken = tmp_path / "rows.jsonl"
    broken.write_text("{", "utf-8")
    for source in ({"data": str(broken)}, {"data": str(tmp_path / "rows.csv")}, {"data": str(broken), "split": "test"}):
        with pytest.raises(ValueError, match=re.escape(source["data"])) as caught:
            load("math", {"train": source})
        assert "\n" not in str(caught.value)


class Chat:
    """A tokenizer with a chat template."""

    chat_template = "<{role}>{content}"

    def apply_chat_template(self, conversation, *, tokenize, add_generation_prompt, **options):
        assert not tokenize
        assert add_generation_prompt
        return "".join(f"<{one['role']}>{one['content']}" for one in conversation) + f"<assistant>{options}"


def test_a_chat_template_is_applied(tmp_path):
    data = write(tmp_path / "rows.jsonl", [{"question": f"{i}?", "answer": "1"} for i in range(50)])
    options = {"train": {"data": data}, "instruction": "", "template": {"enable_thinking": False}}
    task = load("math", options, Chat())
    assert re.fullmatch(r"<user>\d+\?<assistant>\{'enable_thinking': False\}", task.train[0].text)
    with pytest.raises(ValueError, match="no chat template"):
        load("math", options)


# reasoning-gym


def combined(left, operation, right):
    """Text and value of an operation; the value is None where something is divided by zero."""
    text = f"({left[0]} {operation} {right[0]})"
    if None in (left[1], right[1]) or (operation == "/" and right[1] == 0):
        return text, None
    by = {"+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__}
    return text, by[operation](left[1], right[1])


NUMBERS = st.integers(0, 99).map(lambda number: (str(number), Fraction(number)))
EXPRESSIONS = st.recursive(NUMBERS, lambda inner: st.builds(combined, inner, st.sampled_from("+-*/"), inner))


@given(EXPRESSIONS)
def test_arithmetic_is_exact(expression):
    text, value = expression
    if value is None:
        with pytest.raises(ZeroDivisionError):
            arithmetic(text)
    elif len(text) <= 1000:
        assert arithmetic(text) == value
        assert arithmetic(f"-{text}") == -value


@pytest.mark.parametrize(
    "text", [*RUNS, "2**3", "x", "1.5", "True", "1 < 2", "'a'", "1,2", "1 if 1 else 2", "+1", "1" * 1001]
)
def test_nothing_but_arithmetic_is_evaluated(text, elsewhere):
    with pytest.raises((ValueError, SyntaxError)):
        arithmetic(text)
    assert list(elsewhere.iterdir()) == []


def test_a_reasoning_gym_task_by_name(reasoning, monkeypatch):
    monkeypatch.setattr("llm.tasks.reasoning.Judges", lambda module, count: reasoning)  # one process for all
    options = {"dataset": "chain_sum", "size": 200, "seed": 7, "config": {"min_terms": 2, "max_terms": 3}}
    task = load("reasoning_gym", options)
    assert len(task.held_out) == pytest.approx(20, abs=12)
    assert {prompt.text for prompt in task.train}.isdisjoint({prompt.text for prompt in task.held_out})
    for prompt in (*task.train[:3], *task.held_out[:3]):
        value = arithmetic(re.search(r"[\d+ -]+(?= =)", prompt.text)[0])  # type: ignore[index]
        assert task.reward(prompt, f"<think>?</think>I say <answer>{value}</answer>") == 1
        assert task.reward(prompt, str(value)) == 1
        assert task.reward(prompt, str(value + 1)) < 1
    again = load("reasoning_gym", options)
    assert (again.train, again.held_out) == (task.train, task.held_out)
    assert load("reasoning_gym", options | {"seed": 8}).train != task.train


@pytest.mark.parametrize(
    "name", ["countdown", "puzzle24", "n_queens", "spiral_matrix", "string_insertion", "binary_matrix"]
)
def test_scorers_that_evaluate_answers_run_none(name, reasoning, elsewhere):
    data = {"name": name, "size": 2, "seed": 1, "config": {}}
    assert len(reasoning.call("problems", data)) == 2
    for text in (*RUNS, *ODD):
        assert reasoning.score("score", data, 0, text, 2.0) <= 0.05, text[:50]
    assert list(elsewhere.iterdir()) == []


def test_expressions_still_count_where_the_answer_is_one(reasoning):
    data = {"name": "countdown", "size": 10, "seed": 1, "config": {"min_numbers": 2, "max_numbers": 2}}
    for index, question in enumerate(reasoning.call("problems", data)):
        numbers = re.findall(r"\d+", question)[:3]  # two to use and the target, in either order
        answers = {
            f"({a} {operation} {b})": reached
            for a, b, reached in itertools.permutations(numbers)
            for operation in "+-*/"
            if arithmetic(f"({a} {operation} {b}) - {reached}") == 0
        }
        scores = {answer: reasoning.score("score", data, index, answer, 2.0) for answer in answers}
        assert max(scores.values()) == 1
        wrong = next(answer for answer, score in scores.items() if score == 1).replace(")", " + 1)")
        assert reasoning.score("score", data, index, wrong, 2.0) <= 0.05


def test_literals_still_count_where_the_scorer_takes_them(reasoning):
    data = {"name": "spiral_matrix", "size": 1, "seed": 1, "config": {}}
    (question,) = reasoning.call("problems", data)
    rows = [row.split() for row in question.strip().splitlines()]
    grid = rows[-len(rows[-1]) :]
    spiral = []
    while grid:
        spiral += grid[0]
        grid = [list(column) for column in zip(*grid[1:], strict=True)][::-1]
    assert reasoning.score("score", data, 0, " ".join(spiral), 2.0) == 1
    assert reasoning.score("score", data, 0, f"[{', '.join(spiral)}]", 2.0) == pytest.approx(0.1)
    assert reasoning.score("score", data, 0, " ".join(spiral[::-1]), 2.0) == 0


REFUSED = (
    "simple_integration",
    "intermediate_integration",
    "polynomial_multiplication",
    "composite",
    "game_of_life_halting",
)


@pytest.mark.parametrize("name", REFUSED)
def test_data_sets_that_cannot_be_judged_safely_are_refused(name):
    with pytest.raises(ValueError, match="task.options.dataset: .*" + name) as caught:
        load("reasoning_gym", {"dataset": name, "size": 20})
    assert "\n" not in str(caught.value)


def test_data_sets_and_configurations_that_do_not_exist_are_refused(reasoning, monkeypatch):
    monkeypatch.setattr("llm.tasks.reasoning.Judges", lambda module, count: reasoning)
    with pytest.raises(ValueError, match="no_such_set"):
        load("reasoning_gym", {"dataset": "no_such_set", "size": 20})
    with pytest.raises(ValueError, match="no_such_key"):
        load("reasoning_gym", {"dataset": "chain_sum", "size": 20, "config": {"no_such_key": 1}})


def test_every_module_that_evaluates_text_is_known():
    """In the installed version of reasoning-gym; a new one may evaluate more."""
    code = """
        import ast, importlib.util, pathlib
        root = pathlib.Path(importlib.util.find_spec("reasoning_gym").origin).parent
        for path in root.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and (
                    ast.unparse(node.func) in {"eval", "exec", "compile", "__import__"}
                    or ast.unparse(node.func).split(".")[-1] in {"sympify", "parse_expr"}
                ):
                    print(path.stem)
        """
    found = run(textwrap.dedent(code)).split()
    judged = {"binary_matrix", "spiral_matrix", "string_insertion", "n_queens", "countdown", "puzzle24"}
    refused = {"simple_integration", "intermediate_integration", "polynomial_multiplication"}
    own = {"bitwise_arithmetic", "number_sorting"}  # the scorer evaluates the problem's text
    made = {"basic_arithmetic", "generators_00_49", "generators_50_99", "codeio"}  # when problems are made
    other = {"propositional_logic"}  # a function of its own with the same name
    assert set(found) <= judged | refused | own | made | other


def run(code: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]).stdout


def test_a_scorer_that_tries_to_run_a_string_is_stopped():
    code = """
from llm.tasks.reasoning_scorer import _make_safe, nothing_run
_make_safe()
eval("1 + 1")
try:
    with nothing_run():
        import wave  # code of a module may run
        eval("print('ran')")
except RuntimeError as error:
    print(error)
eval("1 + 1")
"""
    assert run(code) == "the scorer tried to run a string as code\n"


# The process


def test_an_error_says_what_happened(math):
    with pytest.raises(JudgeError, match="TypeError") as caught:
        math.call("equal", 1, 2, 3, 4)
    assert caught.value.reason == "error"


def test_killed_scorers_are_replaced_and_the_answer_judged_again():
    judge = Judge("llm.tasks.math_scorer")
    assert judge.score("equal", "5", "\\boxed{5}", 5.0) == 1
    supervisor = judge.process_id()
    assert supervisor is not None
    for _ in range(3):  # killed while nothing is asked: the next answer is the right one
        (child,) = children(supervisor)
        os.kill(child, signal.SIGKILL)
        while ") Z " not in Path(f"/proc/{child}/stat").read_text():
            time.sleep(0.01)
        assert [judge.score("equal", "5", f"\\boxed{{{number}}}", 5.0) for number in (6, 5, 6, 5)] == [0, 1, 0, 1]
    (child,) = children(supervisor)
    os.kill(child, signal.SIGSTOP)  # killed while it is asked: another one answers
    threading.Timer(0.5, os.kill, (child, signal.SIGKILL)).start()
    assert judge.score("equal", "5", "\\boxed{5}", 5.0) == 1
    assert judge.failures == {}
    assert [judge.score("equal", "5", f"\\boxed{{{number}}}", 5.0) for number in (6, 5, 6, 5)] == [0, 1, 0, 1]
    assert judge.process_id() == supervisor
    os.kill(supervisor, signal.SIGKILL)
    assert judge.score("equal", "5", "\\boxed{5}", 5.0) == 1
    assert judge.failures == {}
    assert judge.process_id() != supervisor


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_signals_from_outside_change_no_reward(number):
    judge = Judge("llm.tasks.math_scorer")
    right = ("equal", "5", "\\boxed{5}", 5.0)
    assert judge.score(*right) == 1
    supervisor = judge.process_id()
    assert supervisor is not None
    for process in (supervisor, children(supervisor)[0]):
        with suppress(ProcessLookupError):  # the child may have ended with its supervisor
            os.kill(process, number)
    assert judge.score(*right) == 1
    assert judge.failures == {}


def test_the_scorer_is_in_no_terminals_process_group():
    judge = Judge("llm.tasks.math_scorer")
    judge.score("equal", "5", "\\boxed{5}", 5.0)
    supervisor = judge.process_id()
    assert supervisor is not None
    groups = {os.getpgid(process) for process in (supervisor, *children(supervisor))}
    assert os.getpgrp() not in groups


def test_an_answer_that_ends_its_scorer_every_time_is_worth_nothing():
    judge = Judge("tests.llm_scorer")
    assert judge.score("die", "SIGKILL") == 0
    assert judge.score("die", "SIGSEGV") == 0
    assert judge.failures == {"SIGKILL": 1, "SIGSEGV": 1}
    assert judge.score("tell", 0.5) == 0.5


def test_a_supervisor_that_is_ended_every_time_is_no_answers_fault():
    judge = Judge("tests.llm_scorer")
    with pytest.raises(ScorerError, match="ended 3 times in the middle of a call"):
        judge.score("die_with_supervisor")
    assert judge.failures == {}


def test_an_interrupted_call_leaves_no_answer_to_the_next_one():
    judge = Judge("tests.llm_scorer")
    assert judge.score("tell", 0.25) == 0.25

    def interrupt(*arguments):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            judge.call("tell_late", 1.0, 0.75)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert judge.call("tell", 0.5) == 0.5


def test_no_process_stays_behind():
    judge = Judge("llm.tasks.math_scorer")
    assert judge.process_id() is None  # started when needed
    judge.score("equal", "5", "\\boxed{5}", 5.0)
    supervisor = judge.process_id()
    assert supervisor is not None
    (child,) = children(supervisor)
    del judge
    gc.collect()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in (supervisor, child)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{supervisor}").exists()
    assert not Path(f"/proc/{child}").exists()


def test_a_scorer_that_does_not_start_says_why():
    with pytest.raises(RuntimeError, match=r"no_scorer does not start: .*No module named"):
        Judge("llm.tasks.no_scorer").call("equal")


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        if parent == pid:
            found.append(int(entry.name))
    return found
