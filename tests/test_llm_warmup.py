"""The warm-up learns a task, leaves a whole folder or none, and repeats itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForCausalLM

from llm import config
from llm.run.warmup import IGNORED, Size, WarmUp, batch, imitation_loss, warm_up
from llm.samples import Prompt
from llm.update.models import build_model, build_tokenizer, load_model

TASK = config.Task(name="countdown24", options={"digits": 2})
SIZE = Size(width=32, layers=1, heads=1, context=32)


def settings(**options):
    chosen: dict[str, Any] = {"task": TASK, "model": SIZE, "steps": 40, "every": 20, "warmup_steps": 5}
    return WarmUp.model_validate(chosen | {"batch": 64, "prompts": 32, "samples": 4} | options)


LEARNING = settings(
    task=config.Task(name="countdown24", options={"digits": 3}),
    model=Size(width=64, layers=2, heads=1, context=32),
    steps=100,
    every=50,
    batch=128,
    learning_rate=1e-2,
    prompts=128,
)


@pytest.fixture(scope="module")
def warmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("warm") / "model"
    seen = []
    records = warm_up(LEARNING, folder, seen.append)
    assert seen == records
    return folder, records


def test_it_learns(warmed):
    _, records = warmed
    assert [record["step"] for record in records] == [50, 100]
    assert records[1]["well_formed"] > 0.9
    assert records[1]["pass@1_low"] > 0
    assert records[1]["loss"] < records[0]["loss"] < np.log(18)


def test_the_folder_is_a_model_with_its_record(warmed):
    folder, records = warmed
    model, tokenizer = load_model(config.Model(path=str(folder)))
    assert model.config.hidden_size == 64
    assert len(tokenizer) == 18
    record = json.loads((folder / "warmup.json").read_text("utf-8"))
    assert record["evaluations"] == records
    assert WarmUp.model_validate(record["settings"]) == LEARNING
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_same_settings_give_the_same_weights_and_another_seed_others(tmp_path):
    state = torch.get_rng_state()
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        warm_up(settings(steps=10, seed=seed), tmp_path / name)
    assert torch.equal(torch.get_rng_state(), state)
    one, same, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "same", "other"))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_it_stops_at_its_target(tmp_path):
    records = warm_up(settings(target=0.0), tmp_path / "model")
    assert [record["step"] for record in records] == [20]


def test_an_interrupted_warm_up_leaves_nothing(tmp_path):
    def interrupt(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        warm_up(settings(), tmp_path / "model", interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": config.Task(name="enumerable")}, "cannot draw correct answers"),
        ({"model": Size(width=32, layers=1, heads=1, context=8)}, "do not fit the 8 positions"),
        ({"task": config.Task(name="countdown24", options={"digits": 0})}, "task.options.digits"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        warm_up(settings(**options), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_touched(tmp_path):
    with pytest.raises(ValueError, match="exists already"):
        warm_up(settings(), tmp_path)
    assert list(Path(tmp_path).iterdir()) == []


def test_the_loss_is_that_of_the_answers_one_by_one():
    tokenizer = build_tokenizer("01+=:")
    model = build_model(tokenizer, 32, 1, 1, seed=1).eval()
    prompts = [Prompt(text, text, {}) for text in ("0:", "0+1:", "1+0=")]
    answers = ["1", "10+1", "0"]
    tokens, labels = batch(tokenizer, prompts, answers)
    total, count = 0.0, 0
    for prompt, answer, row, label in zip(prompts, answers, tokens.tolist(), labels.tolist(), strict=True):
        text = [*tokenizer.encode(prompt.text + answer), 5]
        assert row[: len(text)] == text
        wanted = [IGNORED] * len(prompt.text) + text[len(prompt.text) :]
        assert label == wanted + [IGNORED] * (len(label) - len(wanted))
        log_probs = functional.log_softmax(model(input_ids=torch.tensor([text])).logits[0], dim=-1)
        for place in range(len(prompt.text), len(text)):
            total -= log_probs[place - 1, text[place]].item()
            count += 1
    assert imitation_loss(model, tokens, labels).item() == pytest.approx(total / count, rel=1e-5)
    own = AutoModelForCausalLM.from_config(model.config).train()
    own.load_state_dict(model.state_dict())
    assert own(input_ids=tokens, labels=labels).loss.item() == pytest.approx(total / count, rel=1e-5)
