"""From prompts to judged groups: what a batch holds, what its completions are worth, what is refused at the start."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from llm.config import Model, Rollout
from llm.sample.engines.base import EngineError
from llm.sample.engines.local import LocalEngine
from llm.sample.engines.process import ProcessEngine
from llm.sample.rollout import (
    Rollouts,
    check_group_size,
    engine_settings,
    prompt_indices,
    request_seeds,
    start_engine,
    stop_tokens,
    tokenize,
)
from llm.samples import Prompt
from llm.update.models import build_model, build_tokenizer

PROMPTS = [Prompt(f"sum/{i}", f"{i}+{i}", {"answer": str(2 * i)}) for i in range(5)]
TOKENIZER = build_tokenizer("0123456789+")
MODEL = build_model(TOKENIZER, width=32, layers=1, heads=1, context=16)
TOKENS = tokenize(TOKENIZER, PROMPTS)
STOP = stop_tokens(MODEL.generation_config, TOKENIZER)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    MODEL.save_pretrained(folder)
    rollout = Rollout(engine="transformers", place="colocated", max_tokens=8)
    chosen = engine_settings(Model(path=str(folder)), rollout, PROMPTS, TOKENS, STOP, positions=16)
    started = start_engine(chosen, rollout)
    assert isinstance(started, LocalEngine)
    return started


def rollouts(engine, **changed) -> Rollouts:
    parts: dict[str, Any] = {
        "engine": engine,
        "prompts": PROMPTS,
        "tokens": TOKENS,
        "reward": lambda prompt, text: float(text.startswith(prompt.problem["answer"])),
        "decode": lambda tokens: TOKENIZER.decode(tokens, skip_special_tokens=True),
        "size": 3,
        "group_size": 4,
        "seed": 0,
    }
    return Rollouts(**(parts | changed))


def plain(groups) -> list[Any]:
    return [
        (group.prompt.id, group.rewards.tolist(), [sample.tokens.tolist() for sample in group.completions])
        for group in groups
    ]


# What a batch holds


@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 4), (5, 2), (7, 7), (5, 12), (100, 32)])
def test_every_pass_holds_every_prompt_once(count, size):
    row = np.concatenate([prompt_indices(count, size, batch, seed=3) for batch in range(2 * count)])
    passes = row.reshape(-1, count)
    assert len(passes) == 2 * size
    assert (np.sort(passes, axis=1) == np.arange(count)).all()


def test_passes_and_seeds_shuffle_differently():
    orders = {tuple(prompt_indices(50, 50, batch, seed).tolist()) for batch in range(4) for seed in range(4)}
    assert len(orders) == 16


def test_the_first_place_is_fair():
    first = Counter(int(prompt_indices(4, 1, 0, seed)[0]) for seed in range(800))
    assert all(150 < first[prompt] < 250 for prompt in range(4))


def test_request_seeds_differ_between_places_batches_and_runs():
    seeds = [value for seed in range(5) for batch in range(50) for value in request_seeds(8, batch, seed)]
    assert len(set(seeds)) == 5 * 50 * 8
    assert request_seeds(8, 3, 0)[:2] == request_seeds(2, 3, 0)


def test_a_batch_is_the_same_however_often_and_in_whatever_order_it_is_drawn(engine):
    source = rollouts(engine)
    waiting = [source.draw(batch, 0) for batch in (2, 0, 2)]
    again, first, twice = (plain(groups()) for groups in waiting)
    assert again == twice
    assert first == plain(rollouts(engine).draw(0, 0)())
    assert first != plain(rollouts(engine, seed=1).draw(0, 0)())


def test_a_group_carries_what_it_came_from(engine):
    groups = rollouts(engine).draw(4, 0)()
    assert [group.prompt for group in groups] == [PROMPTS[i] for i in prompt_indices(5, 3, 4, 0)]
    for group in groups:
        assert group.tokens == TOKENS[PROMPTS.index(group.prompt)]
        assert (group.version, group.batch) == (0, 4)
        assert len(group.completions) == 4
        assert group.rewards.dtype == np.float64


def test_rewards_are_of_the_decoded_text_without_the_end(engine):
    seen = []

    def reward(prompt, text):
        seen.append((prompt.id, text))
        return len(seen)

    groups = rollouts(engine, reward=reward).draw(0, 0)()
    assert [value for group in groups for value in group.rewards] == list(range(1, 13))
    told = iter(seen)
    for group in groups:
        for sample in group.completions:
            kept = [token for token in sample.tokens.tolist() if token < 11]
            assert next(told) == (group.prompt.id, "".join("0123456789+"[token] for token in kept))


def test_an_empty_completion_is_a_sample(engine):
    """The end token alone: one token, no text, judged as the empty text."""
    groups = rollouts(engine, size=40, reward=lambda prompt, text: float(text == "")).draw(0, 0)()
    samples = [
        (sample, reward) for group in groups for sample, reward in zip(group.completions, group.rewards, strict=True)
    ]
    empty = [sample for sample, reward in samples if reward == 1 and sample.finished and len(sample.tokens) == 1]
    assert empty
    assert all(sample.tokens.tolist() == [TOKENIZER.eos_token_id] and sample.log_probs[0] < 0 for sample in empty)


def test_a_group_of_one_is_a_group(engine):
    groups = rollouts(engine, group_size=1).draw(0, 0)()
    assert [len(group.completions) for group in groups] == [1, 1, 1]


def test_a_batch_for_other_weights_is_refused(engine):
    with pytest.raises(EngineError, match=r"batch 2 is for the weights of step 20; the engine's saw 0"):
        rollouts(engine).draw(2, 20)


# What is refused at the start


def test_a_prompt_without_tokens_is_named():
    with pytest.raises(ValueError, match="prompt sum/9: the text '' has no tokens"):
        tokenize(TOKENIZER, [*PROMPTS, Prompt("sum/9", "", {})])


def test_a_prompt_too_long_for_the_model_is_named():
    long = Prompt("sum/long", "1" * 9, {})
    tokens = tokenize(TOKENIZER, [*PROMPTS, long])
    with pytest.raises(ValueError, match=r"prompt sum/long has 9 tokens; with rollout.max_tokens = 8 .* 16 positions"):
        engine_settings(Model(path="m"), Rollout(max_tokens=8), [*PROMPTS, long], tokens, STOP, positions=16)
    assert engine_settings(Model(path="m"), Rollout(max_tokens=7), [*PROMPTS, long], tokens, STOP, 16).context == 16


def test_options_reach_the_engine_and_biasing_ones_do_not():
    rollout = Rollout.model_construct(**{**Rollout().model_dump(), "options": {"max_num_seqs": 3}})
    assert engine_settings(Model(path="m"), rollout, PROMPTS, TOKENS, STOP, 512).options == {"max_num_seqs": 3}
    biased = Rollout.model_construct(**{**Rollout().model_dump(), "options": {"top_p": 0.9}})
    with pytest.raises(ValueError, match="top_p changes the distribution"):
        engine_settings(Model(path="m"), biased, PROMPTS, TOKENS, STOP, 512)


def test_the_configuration_refuses_biasing_options_too():
    with pytest.raises(ValueError, match=r"top_p changes the distribution .* every log-ratio would be biased"):
        Rollout(options={"top_p": 0.9})


def test_settings_are_those_of_the_configuration():
    rollout = Rollout(engine="vllm", temperature=0.7, max_tokens=5)
    chosen = engine_settings(Model(path="m", dtype="bfloat16"), rollout, PROMPTS, TOKENS, (3, 4), 512)
    found = (chosen.kind, chosen.model, chosen.dtype, chosen.temperature, chosen.max_tokens, chosen.context)
    assert found == ("vllm", "m", "bfloat16", 0.7, 5, 8)
    assert chosen.stop_tokens == (3, 4)


@pytest.mark.parametrize(
    ("of_the_model", "of_the_tokenizer", "expected"),
    [(11, 11, (11,)), ([151645, 151643], 151645, (151643, 151645)), (None, 7, (7,)), (5, None, (5,)), (None, None, ())],
)
def test_stop_tokens_are_the_models_and_the_tokenizers(of_the_model, of_the_tokenizer, expected):
    tokenizer: Any = SimpleNamespace(eos_token_id=of_the_tokenizer)
    assert stop_tokens(SimpleNamespace(eos_token_id=of_the_model), tokenizer) == expected


def test_an_engine_beside_training_is_a_process(engine, tmp_path):
    MODEL.save_pretrained(tmp_path)
    rollout = Rollout(engine="transformers", place="process", max_tokens=8, timeout=7.0, restarts=2)
    chosen = engine_settings(Model(path=str(tmp_path)), rollout, PROMPTS, TOKENS, STOP, 16)
    beside = start_engine(chosen, rollout)
    try:
        assert isinstance(beside, ProcessEngine)
        assert plain(rollouts(beside).draw(1, 0)()) == plain(rollouts(engine).draw(1, 0)())
    finally:
        beside.close()


@pytest.mark.parametrize("name", ["rloo", "grpo", "pmd_mean", "tpo", "rebel", "pairwise_regression", "dpo"])
def test_objectives_that_compare_refuse_a_group_of_one(name):
    check_group_size(ps.algorithm(name), 2)
    with pytest.raises(ValueError, match=r"rollout\.group_size is 1: .* at least 2"):
        check_group_size(ps.algorithm(name), 1)


@pytest.mark.parametrize("name", ["oapl", "opmd", "shifted_mean", "asymre", "is_regression", "ppo"])
def test_objectives_that_do_not_take_a_group_of_one(name):
    check_group_size(ps.algorithm(name), 1)
