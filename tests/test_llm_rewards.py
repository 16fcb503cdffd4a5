"""What training makes of rewards: cut-off answers, long ones, thoughts that did not end, groups without spread."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import pessimism as ps
from llm import config
from llm.sample.rollout import judge_all
from llm.samples import Answer, Completion, Group, Prompt
from llm.tasks.final_answers import after_thinking
from llm.tasks.judge import Judges
from llm.tasks.shaping import length_penalty, shaped
from llm.update.batch import make_batch
from llm.update.learner import with_spread
from llm.update.loss import Step, accumulate
from llm.update.metrics import drawn, mismatch
from llm_batches import gradient, random_groups, tiny_model

PROMPT = Prompt("p", "1 + 1 = ?", {})


def task(**changes):
    return config.Task(name="math", **changes)


def test_an_answer_is_its_text_and_knows_more():
    answer = Answer("two", (5, 6), finished=False)
    assert answer == "two"
    assert (answer.tokens, answer.finished, len(answer.tokens)) == ((5, 6), False, 2)
    assert Answer("two").finished


@pytest.mark.parametrize(("cut_off", "expected"), [("judged", 1.0), ("wrong", 0.0), ("masked", 1.0)])
def test_answers_that_were_cut_off_are_worth_what_the_run_says(cut_off, expected):
    reward = shaped(lambda prompt, answer: 1.0, task(cut_off=cut_off), max_tokens=10)
    assert reward(PROMPT, Answer("2", (1,), finished=False)) == expected
    assert reward(PROMPT, Answer("2", (1,), finished=True)) == 1.0


def test_the_soft_limit_is_dapos():
    """arXiv 2503.14476, equation 13, with its own numbers: L = 20480, C = 4096."""
    longest, cache = 20480, 4096
    for length in (1, 16384, 16385, 18432, 20480):
        published = 0.0 if length <= longest - cache else ((longest - cache) - length) / cache
        assert length_penalty(length, longest, cache) == -published
    reward = shaped(lambda prompt, answer: 1.0, task(soft_limit=4, soft_penalty=0.5), max_tokens=10)
    assert [reward(PROMPT, Answer("", (0,) * length)) for length in (6, 8, 10)] == [1.0, 0.75, 0.5]
    with pytest.raises(ValueError, match=r"^task\.soft_limit is 10; it must be below rollout\.max_tokens, 10$"):
        shaped(lambda prompt, answer: 1.0, task(soft_limit=10), max_tokens=10)


@pytest.mark.parametrize(
    ("prompt", "text", "said"),
    [
        ("?", "\\boxed{42}", "\\boxed{42}"),
        ("?", "<think>\\boxed{41}</think>\\boxed{42}", "\\boxed{42}"),
        ("?", "<think>\\boxed{42}. Wait", None),
        ("? <think>\n", "\\boxed{42}. Wait", None),
        ("? <think>\n", "so</think>\\boxed{42}", "\\boxed{42}"),
        ("? <think>\n", "so</think>\\boxed{42}<think>or", None),
    ],
)
def test_thoughts_that_did_not_end_are_no_answer(prompt, text, said):
    assert after_thinking(prompt, text) == said


def test_masked_completions_count_in_baselines_and_have_no_gradient():
    algorithm = ps.algorithm("shifted_mean")
    (group,) = random_groups(1, 4)
    cut = Completion(group.completions[0].tokens, group.completions[0].log_probs, False)
    masked = Group(group.prompt, group.tokens, (cut, *group.completions[1:]), group.rewards, 0, 0)
    kept, left_out = (make_batch([masked], algorithm, leave_out_cut=flag) for flag in (False, True))
    assert np.array_equal(kept.advantage, left_out.advantage)
    found = []
    for batch in (kept, left_out):
        model = tiny_model()
        accumulate(model, batch, algorithm, tokens_per_pass=1000)
        found.append(gradient(model))
    alone = tiny_model()
    only = make_batch([masked], algorithm)
    object.__setattr__(only, "counted", np.array([1.0, 0, 0, 0]))
    accumulate(alone, only, algorithm, tokens_per_pass=1000)
    torch.testing.assert_close(found[0] - found[1], gradient(alone), rtol=1e-3, atol=1e-6)
    assert gradient(alone).abs().max() == 0  # cleared


def test_groups_without_spread_are_dropped_unless_there_are_no_others():
    groups = random_groups(3, 4)
    flat = [Group(g.prompt, g.tokens, g.completions, np.ones(4), 0, 0) for g in groups]
    assert with_spread([groups[0], flat[1], groups[2]]) == [groups[0], groups[2]]
    assert with_spread(flat) == flat
    numbers = drawn([groups[0], flat[1]])
    assert numbers["reward/groups_without_signal"] == 0.5
    assert numbers["reward/mean"] == pytest.approx((groups[0].rewards.mean() + 1) / 2)
    assert numbers["completion/cut_off"] == 0


def test_mismatch_tells_noise_from_bias():
    """Log-ratios that are all equal add up in proportion to the length, independent ones as its root."""
    generator = np.random.default_rng(0)
    lengths = np.repeat([16, 64, 256, 1024], 200)
    algorithm = ps.algorithm("shifted_mean")
    batch = replace(make_batch(random_groups(1, 2), algorithm), length=lengths)
    for draw, growth in ((lambda n: np.full(n, 0.01), 1.0), (lambda n: generator.normal(0, 0.01, n), 0.5)):
        tokens = [draw(length) for length in lengths]
        sums = np.array([values.sum() for values in tokens])
        every = np.concatenate(tokens)
        step = Step(batch, sums, sums, every, every, passes=1, padded_tokens=0)
        found = mismatch(step)
        assert found["mismatch/growth"] == pytest.approx(growth, abs=0.05)
        assert found["mismatch/size"] == pytest.approx(np.abs(every).mean())
    alike = replace(step, batch=replace(batch, length=np.full(800, 5)))
    assert np.isnan(mismatch(alike)["mismatch/growth"])


def test_answers_are_judged_side_by_side_and_stay_in_order():
    busy, most, lock = 0, 0, threading.Lock()

    def slow(prompt, answer):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.05)
        with lock:
            busy -= 1
        return (prompt.id, str(answer), answer.finished)

    completions = [Completion(np.array([n]), np.zeros(1, np.float32), n % 2 == 0) for n in range(6)]
    prompts = [Prompt(name, "", {}) for name in "ab"]
    answers = [(prompts[0], completions[:2]), (prompts[1], completions[2:])]
    alone, together = (judge_all(slow, answers, lambda tokens: str(tokens[0]), count) for count in (1, 4))
    assert (
        alone
        == together
        == [
            [("a", "0", True), ("a", "1", False)],
            [("b", "2", True), ("b", "3", False), ("b", "4", True), ("b", "5", False)],
        ]
    )
    assert most == 4


def test_judges_of_a_pool_share_the_calls_and_their_failures_add_up():
    judges = Judges("llm_scorer", 3)
    for judge, count in zip(judges._judges, (1, 0, 2), strict=True):
        judge.failures["timeout"] += count
    assert judges.failures == {"timeout": 3}
    with judges._one() as first, judges._one() as second:
        assert first is not second
