"""Tasks: problems are what they say, rewards agree with arithmetic done another way, nothing is in both parts."""

import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from llm.samples import Prompt
from llm.tasks import NAMES, load
from llm.tasks.countdown import judge
from llm.tasks.countdown_answers import all_answers, draw_long, random_problems
from llm.tasks.enumerable import completions
from llm.tasks.task import is_held_out

VARIANTS = [{}, {"digits": 3}, {"problems": 3, "size": 200}, {"digits": 9, "size": 200}]


def countdown(**options):
    return load("countdown24", options)


def worth(digits: str, target: int, answer: str) -> bool:
    """Whether an answer is right, by Python's own arithmetic on its regular parts."""
    steps = re.findall(r"(.)(.)=(..)", answer[1:])
    if answer != answer[:1] + "".join(f"{o}{d}={r}" for o, d, r in steps) or not answer[:1].isascii():
        return False
    value, used = int(answer[0]) if answer[:1].isdigit() else -1, answer[:1]
    for operation, digit, result in steps:
        if operation not in "+-*" or not (digit + result).isascii() or not (digit + result).isdigit():
            return False
        value = {"+": value + int(digit), "-": value - int(digit), "*": value * int(digit)}[operation]
        if value != int(result):
            return False
        used += digit
    return sorted(used) == sorted(digits) and value == target and len(used) == len(digits)


@pytest.mark.parametrize("options", VARIANTS)
def test_drawn_answers_are_right_and_as_long_as_promised(options):
    task = countdown(**options)
    generator = np.random.default_rng(0)
    prompts = [task.train[i] for i in generator.integers(len(task.train), size=100)]
    assert task.draw is not None
    for prompt, answer in zip(prompts, task.draw(prompts, generator), strict=True):
        for (digits, target), part in zip(prompt.problem["parts"], answer.split(":"), strict=True):
            assert worth(digits, target, part)
        assert task.reward(prompt, answer) == 1
        assert len(answer) + 1 == task.max_tokens
        assert set(prompt.text + answer) <= set(task.symbols or "")


@pytest.mark.parametrize("options", VARIANTS)
def test_no_prompt_is_in_both_parts_and_ids_are_unique(options):
    task = countdown(**options)
    train, held_out = ({prompt.id for prompt in part} for part in (task.train, task.held_out))
    assert not train & held_out
    assert not {prompt.text for prompt in task.train} & {prompt.text for prompt in task.held_out}
    parts = [
        {(digits, target) for prompt in part for digits, target in prompt.problem["parts"]}
        for part in (task.train, task.held_out)
    ]
    assert not parts[0] & parts[1]
    assert len(train) + len(held_out) == len(task.train) + len(task.held_out)
    json.dumps([dict(prompt.problem) for prompt in task.train])


@pytest.mark.parametrize("options", VARIANTS)
def test_the_same_options_give_the_same_prompts(options):
    one, other = countdown(**options), countdown(**options)
    assert one.train == other.train
    assert one.held_out == other.held_out


def test_a_tenth_is_held_out():
    task = countdown()
    share = len(task.held_out) / (len(task.train) + len(task.held_out))
    assert share == pytest.approx(0.1, abs=0.01)
    assert len(countdown(held_out=0.5).held_out) > 4 * len(task.held_out)


def test_the_list_of_answers_is_complete():
    """Three digits, enumerated another way: by evaluating every string of the right form in Python."""
    found = Counter()
    for digits in itertools.product("123456789", repeat=3):
        for first, second in itertools.product("+-*", repeat=2):
            inner = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
            one = inner[first](int(digits[0]), int(digits[1]))
            two = inner[second](one, int(digits[2]))
            if 0 <= one < 100 and 0 <= two < 100:
                found["".join(sorted(digits)), two] += 1
    assert {problem: count for problem, (_, count) in all_answers(3).problems.items()} == dict(found)


@pytest.mark.parametrize("draw", [all_answers(3).draw, draw_long], ids=["listed", "by dynamic programming"])
def test_answers_are_drawn_uniformly(draw):
    # All 6 orders of "236" are among the 8 drawn ones often, not always; for "222" there is a single order.
    for problem in (("222", 8), ("222", 6)):
        answers = Counter(draw([problem] * 3000, np.random.default_rng(1)))
        assert len(answers) == all_answers(3).problems[problem][1]
        assert chisquare(list(answers.values())).pvalue > 1e-3
    answers = Counter(draw([("236", 36)] * 6000, np.random.default_rng(1)))
    assert len(answers) == all_answers(3).problems["236", 36][1] > 3
    if draw is not draw_long:
        assert chisquare(list(answers.values())).pvalue > 1e-3


def test_random_problems_can_be_solved():
    problems = random_problems(4, np.random.default_rng(0), 300)
    assert {problem for problem in problems} <= set(all_answers(4).problems)
    assert len(set(problems)) > 250


def test_one_mistake_of_each_kind_is_seen():
    right = "2+2=04*3=12*4=48"
    assert judge("2234", 48, right)["solved"] == 1
    assert judge("2234", 47, right) | {"target_right": 1.0, "solved": 1.0} == judge("2234", 48, right)
    assert judge("2235", 48, right)["digits_right"] == 0
    wrong_step = judge("2234", 48, "2+2=05*3=12*4=48")
    assert (wrong_step["steps_right"], wrong_step["solved"]) == (1 / 3, 0)
    for malformed in (
        "",
        right[:-1],
        right + "+",
        right.replace("*", "x"),
        right + "+1=49",
        " " + right,
        "²" + right[1:],
    ):
        assert set(judge("2234", 48, malformed).values()) == {0.0}


@given(st.text(alphabet="0123456789+-*=:", max_size=18) | st.just("2+2=04*3=12*4=48") | st.text(max_size=20))
def test_the_reward_agrees_with_python_arithmetic_on_any_text(answer):
    assert judge("2234", 48, answer)["solved"] == worth("2234", 48, answer)


@given(
    st.sampled_from([("1234", 24), ("2234", 48), ("9999", 36)]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 15),
    st.sampled_from("0123456789+-*="),
)
def test_the_reward_agrees_with_python_arithmetic_near_right_answers(problem, seed, place, symbol):
    (answer,) = all_answers(4).draw([problem], np.random.default_rng(seed))
    changed = answer[:place] + symbol + answer[place + 1 :]
    digits, target = problem
    assert judge(digits, target, changed)["solved"] == worth(digits, target, changed)


def test_several_problems_are_worth_their_share_or_all():
    share, everything = (countdown(problems=2, size=50, reward=rule) for rule in ("share", "all"))
    prompt = share.train[0]
    assert share.draw is not None
    first, second = share.draw([prompt], np.random.default_rng(0))[0].split(":")
    half = f"{first}:{second[:-1]}{9 - int(second[-1])}"
    assert [share.reward(prompt, text) for text in (f"{first}:{second}", half, first)] == [1, 0.5, 0.5]
    assert [everything.reward(prompt, text) for text in (f"{first}:{second}", half, first)] == [1, 0, 0]
    assert share.reward(prompt, f"{first}:{second}:{first}") == 0


@given(st.text(), st.floats(0.01, 0.99))
def test_what_is_held_out_stays_so_when_more_is_held_out(text, share):
    assert is_held_out(text, share) <= is_held_out(text, (1 + share) / 2)


def test_every_completion_of_the_enumerable_task_has_its_reward():
    task = load("enumerable", {"symbols": "abc", "length": 2, "seed": 3})
    texts = completions("abc", 2)
    assert len(texts) == len(set(texts)) == 1 + 3 + 9
    rewards = np.array([[task.reward(prompt, text) for text in texts] for prompt in task.train])
    assert len(np.unique(rewards)) == rewards.size
    again = load("enumerable", {"symbols": "abc", "length": 2, "seed": 3})
    assert again.reward(again.train[1], "ab") == task.reward(task.train[1], "ab")
    given_ones = load("enumerable", {"symbols": "a", "length": 1, "rewards": {"": 0.5, "a": 2.0}})
    assert given_ones.reward(given_ones.train[0], "a") == 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("countdown", {}, "task.name is 'countdown'; it must be one of code, countdown24"),
        ("countdown24", {"digit": 4}, "task.options.digit: Extra inputs"),
        ("countdown24", {"digits": 1}, "task.options.digits: "),
        ("enumerable", {"symbols": "aa"}, "each may stand there once"),
        ("enumerable", {"symbols": "a", "length": 1, "rewards": {"a": 1.0}}, "rewards: '' is missing"),
        ("enumerable", {"symbols": "a", "length": 1, "rewards": {"a": 1, "": 0, "b": 0}}, "'b' is no completion"),
        ("math", {}, "task.options.train: Field required"),
    ],
)
def test_wrong_options_get_one_line(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load(name, options)
    assert "\n" not in str(caught.value)


def test_names_are_loadable():
    known = {"code", "countdown24", "enumerable", "expressions", "math", "reasoning_gym", "running_sums"}
    assert set(NAMES) == known
    assert isinstance(load("enumerable", {}).train[0], Prompt)
