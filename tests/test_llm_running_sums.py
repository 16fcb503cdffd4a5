"""Running sums: right answers are right by another route, wrong ones are not."""

import re

import numpy as np
import pytest

from llm.tasks import load
from llm.tasks.running_sums import judge

OPTIONS = [{}, {"digits": 3}, {"problems": 4, "size": 100}]


def worth(digits: str, answer: str) -> bool:
    """Whether an answer is right, read off pair by pair."""
    steps = re.findall(r"(\d)(\d)", answer, re.ASCII)
    if "".join(map("".join, steps)) != answer or sorted(digit for digit, _ in steps) != sorted(digits):
        return False
    return all(int(told) == sum(int(digit) for digit, _ in steps[: at + 1]) % 10 for at, (_, told) in enumerate(steps))


@pytest.mark.parametrize("options", OPTIONS)
def test_drawn_answers_are_right_and_as_long_as_promised(options):
    task = load("running_sums", options)
    assert task.draw is not None
    assert task.max_tokens is not None
    prompts = task.train[:50]
    for prompt, answer in zip(prompts, task.draw(prompts, np.random.default_rng(0)), strict=True):
        assert task.reward(prompt, answer) == 1
        assert len(answer) + 1 == task.max_tokens
        assert set(prompt.text + answer) <= set(task.symbols or "")
        assert all(worth(d, a) for d, a in zip(prompt.problem["parts"], answer.split(":"), strict=True))
        assert task.reward(prompt, answer[:-1]) == task.reward(prompt, answer + ":") == 0


@pytest.mark.parametrize("options", OPTIONS)
def test_no_prompt_is_in_both_parts(options):
    task = load("running_sums", options)
    train, held_out = ({prompt.id for prompt in part} for part in (task.train, task.held_out))
    assert train
    assert held_out
    assert not train & held_out
    digits = [{part for prompt in each for part in prompt.problem["parts"]} for each in (task.train, task.held_out)]
    assert not digits[0] & digits[1]


def test_the_judge_agrees_with_another_route_near_right_answers():
    generator = np.random.default_rng(0)
    task = load("running_sums", {"digits": 4})
    assert task.draw is not None
    agreed = {True: 0, False: 0}
    for _ in range(300):
        prompt = task.train[int(generator.integers(len(task.train)))]
        answer = list(task.draw([prompt], generator)[0])
        if generator.random() < 0.7:
            answer[generator.integers(len(answer))] = "0123456789:²"[generator.integers(12)]
        digits, text = prompt.problem["parts"][0], "".join(answer)
        assert (judge(digits, text)["solved"] == 1) == worth(digits, text)
        agreed[worth(digits, text)] += 1
    assert min(agreed.values()) > 50


def test_orders_of_the_digits_are_drawn_alike():
    task = load("running_sums", {"digits": 3})
    prompt = next(p for p in task.train if len(set(p.problem["parts"][0])) == 3)
    assert task.draw is not None
    answers = task.draw([prompt] * 600, np.random.default_rng(0))
    counts = [answers.count(answer) for answer in set(answers)]
    assert len(counts) == 6
    assert max(counts) < 2 * min(counts)
