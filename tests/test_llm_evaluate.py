"""pass@k against enumeration of subsets, intervals against their own coverage, the rest against sums by hand."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.sample.evaluate import ask, bootstrap, by_part, choose, judge, pass_at_k, powers, summarize
from llm.samples import Completion, Prompt
from llm.tasks import Task, load


@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_passing_one(samples, data):
    passed = data.draw(st.integers(0, samples))
    k = data.draw(st.integers(1, samples))
    flags = [index < passed for index in range(samples)]
    subsets = list(itertools.combinations(flags, k))
    assert pass_at_k(np.array(passed), samples, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-14)


@given(st.integers(1, 1024), st.data())
def test_pass_at_k_of_many_samples_is_exact(samples, data):
    passed, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, min(samples, 256)))
    exact = 1 - Fraction(math.comb(samples - passed, k), math.comb(samples, k))
    assert float(pass_at_k(np.array(passed), samples, k)) == pytest.approx(float(exact), rel=1e-12, abs=1e-300)


def test_pass_at_k_is_unbiased():
    generator = np.random.default_rng(0)
    passed = generator.binomial(16, 0.1, size=200_000)
    for k in (1, 4, 16):
        expected = 1 - 0.9**k
        assert pass_at_k(passed, 16, k).mean() == pytest.approx(expected, abs=4e-3)


def test_pass_at_k_grows_with_k_and_refuses_what_cannot_be():
    counts = np.arange(9)
    table = np.stack([pass_at_k(counts, 8, k) for k in range(1, 9)])
    assert (np.diff(table, axis=0) >= 0).all()
    np.testing.assert_allclose(table[0], counts / 8)
    for k in (0, 9):
        with pytest.raises(ValueError, match="must be from 1 to 8"):
            pass_at_k(counts, 8, k)
    with pytest.raises(ValueError, match="from 0 to the 8 samples; got 0 to 9"):
        pass_at_k(np.arange(10), 8, 1)


def test_intervals_cover_the_mean_about_as_often_as_they_say():
    generator = np.random.default_rng(0)
    values = generator.exponential(size=(150, 80))
    estimates = [bootstrap(row[None], seed)[0] for seed, row in enumerate(values)]
    covered = [estimate.low <= 1 <= estimate.high for estimate in estimates]
    assert np.mean(covered) == pytest.approx(0.93, abs=0.05)  # percentile intervals of skewed means fall a bit short


def test_intervals_are_those_of_the_normal_for_many_prompts():
    values = np.random.default_rng(1).normal(3, 2, size=(2, 2000))
    for row, estimate in zip(values, bootstrap(values), strict=True):
        error = 1.96 * row.std() / math.sqrt(2000)
        assert estimate.value == pytest.approx(row.mean())
        assert (estimate.low, estimate.high) == pytest.approx((row.mean() - error, row.mean() + error), abs=0.1 * error)
    assert bootstrap(values) == bootstrap(values)


def test_one_prompt_has_an_interval_of_no_width():
    (estimate,) = bootstrap(np.array([[0.25]]))
    assert (estimate.value, estimate.low, estimate.high) == (0.25, 0.25, 0.25)


@given(st.integers(1, 300))
def test_powers_end_with_all_samples(samples):
    ks = powers(samples)
    assert ks[0] == 1
    assert ks[-1] == samples
    assert all(later == 2 * k for k, later in itertools.pairwise(ks[:-1]))


def completion(tokens, log_probs, finished=True):
    return Completion(np.array(tokens, np.int32), np.array(log_probs, np.float32), finished)


PROMPTS = [Prompt(str(i), str(i), {"part": part}) for i, part in enumerate("abab")]
ANSWERS = [
    [completion([1, 9], [-1.0, -0.5]), completion([0, 0, 0], [-1.0, -1.0, -1.0], finished=False)],
    [completion([1, 9], [-0.5, -0.5]), completion([1, 9], [-0.5, -0.5])],
    [completion([9], [-2.0]), completion([9], [-2.0])],
    [completion([0, 9], [0.0, 0.0]), completion([1, 9], [-1.0, 0.0])],
]


@pytest.fixture
def judged():
    task = Task(
        "test",
        PROMPTS,
        PROMPTS,
        reward=lambda prompt, text: 1.0 if text == "1" else 0.5 * (text == "000"),
        measures=lambda prompt, text: {"empty": float(text == "")},
    )
    decode = lambda ids: "".join(str(one) for one in ids if one != 9)  # noqa: E731
    return judge(task, PROMPTS, ANSWERS, decode)


def test_a_summary_adds_up(judged):
    found = summarize(judged)
    assert (found.prompts, found.samples) == (4, 2)
    assert found.reward.value == pytest.approx((1.5 + 2 + 0 + 1) / 8)
    assert found.pass_at[1].value == pytest.approx(4 / 8)
    assert found.pass_at[2].value == pytest.approx(3 / 4)
    assert found.length == pytest.approx(15 / 8)
    assert found.cut == pytest.approx(1 / 8)
    surprise = [1.5, 3, 1, 1, 2, 2, 0, 1]
    assert found.sequence_entropy == pytest.approx(sum(surprise) / 8)
    assert found.entropy == pytest.approx(sum(surprise) / 15)
    assert found.measures == {"empty": pytest.approx(2 / 8)}
    assert summarize(judged, passing=0.5).pass_at[1].value == pytest.approx(5 / 8)
    numbers = found.numbers()
    assert numbers["pass@2"] == found.pass_at[2].value
    assert numbers["pass@2_low"] <= numbers["pass@2"] <= numbers["pass@2_high"]
    assert all(isinstance(value, int | float) for value in numbers.values())


def test_parts_are_summaries_of_their_prompts(judged):
    parts = by_part(judged)
    assert set(parts) == {"a", "b"}
    assert parts["a"].reward.value == pytest.approx(1.5 / 4)
    assert parts["b"].pass_at[2].value == 1
    assert (parts["a"].length, parts["b"].length) == (pytest.approx(7 / 4), pytest.approx(8 / 4))


def test_uneven_or_missing_answers_are_refused():
    task = load("enumerable", {})
    for prompts, answers in (([], []), (PROMPTS[:2], [ANSWERS[0], ANSWERS[1][:1]]), (PROMPTS[:1], [[]])):
        with pytest.raises(ValueError, match="all need the same number"):
            judge(task, prompts, answers, str)


def test_the_same_prompts_are_chosen_and_requests_differ():
    prompts = [Prompt(str(i), str(i), {}) for i in range(50)]
    assert choose(prompts, 10) == choose(prompts, 10)
    assert choose(prompts, 5) == choose(prompts, 10)[:5]
    assert sorted(choose(prompts, 99), key=lambda prompt: int(prompt.id)) == prompts
    requests = ask([(1,), (2,), (3,)], 4, seed=5)
    assert requests == ask([(1,), (2,), (3,)], 4, seed=5)
    assert len({request.seed for request in requests} | {request.seed for request in ask([(1,)], 4, seed=6)}) == 4
    assert [(request.tokens, request.samples) for request in requests] == [((1,), 4), ((2,), 4), ((3,), 4)]
