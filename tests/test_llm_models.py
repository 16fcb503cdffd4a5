"""Models and tokenizers made here are what transformers loads; adapters leave the policy alone until trained."""

import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm import config
from llm.tasks.countdown import SYMBOLS
from llm.update.models import EngineWeights, add_adapters, build_model, build_tokenizer, load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tokenizer = build_tokenizer(SYMBOLS)
    tokenizer.save_pretrained(path)
    build_model(tokenizer, width=32, layers=2, heads=1, context=64, seed=3).save_pretrained(path)
    return path


def logits(model, ids):
    model.eval()
    with torch.no_grad():
        return model(input_ids=ids).logits


# Tokenizer


@given(st.text(alphabet=SYMBOLS))
def test_one_token_per_character_and_back(text):
    tokenizer = build_tokenizer(SYMBOLS)
    ids = tokenizer.encode(text)
    assert ids == [SYMBOLS.index(character) for character in text]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    end, padding = len(SYMBOLS), len(SYMBOLS) + 1
    assert tokenizer.decode([*ids, end, padding], skip_special_tokens=True) == text
    assert [tokenizer.convert_tokens_to_ids(token) for token in ("<end>", "<pad>")] == [end, padding]


def test_spaces_and_line_ends_are_characters_too():
    tokenizer = build_tokenizer("ab \n,.")
    text = " a , b.\n\n a "
    assert len(tokenizer.encode(text)) == len(text)
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


def test_the_saved_tokenizer_is_the_same_one(folder):
    loaded, made = AutoTokenizer.from_pretrained(folder), build_tokenizer(SYMBOLS)
    text = "1234>56:1+2=03"
    assert loaded.encode(text) == made.encode(text) == loaded(text, add_special_tokens=False)["input_ids"]
    assert (loaded.eos_token, loaded.pad_token, len(loaded)) == ("<end>", "<pad>", 18)
    assert loaded.decode(loaded.encode(text), skip_special_tokens=True) == text


@pytest.mark.parametrize("symbols", ["", "aba"])
def test_symbols_must_differ(symbols):
    with pytest.raises(ValueError, match="every character once"):
        build_tokenizer(symbols)


# Made models


def test_a_model_depends_on_its_seed_and_touches_no_global_state():
    tokenizer = build_tokenizer("ab")
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    one, same, other = (build_model(tokenizer, 32, 1, 1, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_a_model_is_saved_and_loaded_unchanged(folder):
    made = build_model(build_tokenizer(SYMBOLS), width=32, layers=2, heads=1, context=64, seed=3)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(18)[None]
    assert torch.equal(logits(made, ids), logits(loaded, ids))
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert (loaded.generation_config.eos_token_id, loaded.config.max_position_embeddings) == (16, 64)


def test_other_head_sizes_are_refused():
    with pytest.raises(ValueError, match="head_dim is 16; it must be 32 or 64"):
        build_model(build_tokenizer("a"), 32, 1, 2, head_dim=16)


# Loading


def test_load_model_offline(folder):
    model, tokenizer = load_model(config.Model(path=str(folder)))
    assert model.training
    assert model.dtype == torch.float32
    assert tokenizer.eos_token == "<end>"
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert load_model(config.Model(path=str(folder), dtype="bfloat16"))[0].dtype == torch.float32  # of the weights


@pytest.mark.parametrize("options", [{"gradient_checkpointing": True}, {"lora": config.Lora(rank=2)}])
def test_options_leave_the_policy_alone_and_gradients_flow(folder, options):
    plain, _ = load_model(config.Model(path=str(folder)))
    model, _ = load_model(config.Model(path=str(folder), **options))
    ids = torch.arange(16)[None]
    assert torch.equal(logits(plain, ids), logits(model, ids))
    model.train()
    plain.train()
    for one in (plain, model):
        one(input_ids=ids, use_cache=False).logits.square().mean().backward()
    if "lora" in options:
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert trained
        assert all(".lora_" in name for name in trained)
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())
        assert all(gradient is None for name, gradient in gradients.items() if name not in trained)
    else:
        assert model.is_gradient_checkpointing
        for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad)


def test_engine_weights_are_the_trained_policy(folder):
    model, _ = load_model(config.Model(path=str(folder), lora=config.Lora(rank=2, targets=("q_proj", "down_proj"))))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    engine = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(16)[None]
    assert not torch.allclose(logits(engine, ids), logits(model, ids), atol=0.1)
    weights = EngineWeights(model)
    assert set(weights) == set(engine.state_dict())
    engine.load_state_dict(weights)
    torch.testing.assert_close(logits(engine, ids), logits(model, ids), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_only_adapters_are_float32_beside_frozen_bfloat16(folder):
    model, _ = load_model(config.Model(path=str(folder), lora=config.Lora(rank=2), dtype="bfloat16"))
    kinds = {parameter.requires_grad: parameter.dtype for parameter in model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    assert len({(p.requires_grad, p.dtype) for p in model.parameters()}) == 2


def test_merged_weights_are_made_one_at_a_time_and_rounded_once(folder):
    model, _ = load_model(config.Model(path=str(folder), lora=config.Lora(rank=2), dtype="bfloat16"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    weights = EngineWeights(model)
    merged = [name for name in weights if weights[name] is not weights[name]]
    assert {name.split(".")[-2] for name in merged} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    }
    for name in merged:
        layer: Any = model.get_submodule(name.removesuffix(".weight"))
        up, down = layer.lora_B["default"].weight.double(), layer.lora_A["default"].weight.double()
        exact = layer.base_layer.weight.double() + layer.scaling["default"] * up @ down
        assert (weights[name].double() - exact).abs().max() <= 2.0**-8 * exact.abs().max()
        assert weights[name].dtype == torch.bfloat16


def test_engine_weights_of_a_plain_model_are_its_own(folder):
    model, _ = load_model(config.Model(path=str(folder)))
    weights = EngineWeights(model)
    assert weights["lm_head.weight"].data_ptr() == model.get_parameter("model.embed_tokens.weight").data_ptr()
    assert set(weights) - {"lm_head.weight"} == set(load_file(folder / "model.safetensors"))


def test_adapters_for_layers_that_do_not_exist_are_refused(folder):
    model, _ = load_model(config.Model(path=str(folder)))
    with pytest.raises(ValueError, match=r"^model\.lora: ") as caught:
        add_adapters(model, config.Lora(targets=("no_such_layer",)))
    assert "\n" not in str(caught.value)


def copy_without(folder, path, left_out):
    path.mkdir()
    for file in folder.iterdir():
        if file.name not in left_out:
            (path / file.name).write_bytes(file.read_bytes())
    return path


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ({"config.json"}, "holds no model configuration (config.json)"),
        ({"model.safetensors"}, "holds no safetensors weights (*.safetensors)"),
        ({"tokenizer.json", "tokenizer_config.json"}, "holds no tokenizer (tokenizer.json or"),
    ],
)
def test_what_is_missing_is_named_in_one_line(folder, tmp_path, left_out, message):
    path = copy_without(folder, tmp_path / "model", left_out)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_model(config.Model(path=str(path)))
    assert "\n" not in str(caught.value)


def test_broken_weights_and_missing_folders_get_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    path = copy_without(folder, tmp_path / "model", {"model.safetensors"})
    (path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    for place, message in ((path, "no model from"), (tmp_path / "nothing", "there is no such folder, and no model")):
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            load_model(config.Model(path=str(place)))
        assert "\n" not in str(caught.value)


def test_a_tokenizer_larger_than_the_model_is_refused(folder, tmp_path):
    path = copy_without(folder, tmp_path / "model", set())
    build_tokenizer(SYMBOLS + "abc").save_pretrained(path)
    with pytest.raises(ValueError, match="has 21 tokens, its model only 18"):
        load_model(config.Model(path=str(path)))


def test_code_that_comes_with_a_model_is_not_run(folder, tmp_path):
    path = copy_without(folder, tmp_path / "model", set())
    described = json.loads((path / "config.json").read_text("utf-8"))
    described |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (path / "config.json").write_text(json.dumps(described), "utf-8")
    (path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", "utf-8")
    with pytest.raises(ValueError, match="no model from"):
        load_model(config.Model(path=str(path)))
    assert not (tmp_path / "ran").exists()
