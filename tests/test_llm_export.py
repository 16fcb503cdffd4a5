"""A run's policy as a Hugging Face folder: the same policy, with a card."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from llm import cli
from llm.config import load
from llm.run import checkpoint
from llm.update.models import load_model
from test_llm_cli import CONFIG


@pytest.fixture(scope="module", params=["all weights", "adapters"])
def run(request, countdown_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    text = CONFIG.format(model=countdown_model)
    if request.param == "adapters":
        text = text.replace(" }\ntask", ", lora = { rank = 2 } }\ntask", 1)
    (folder / "tiny.toml").write_text(text, "utf-8")
    assert cli.main(["train", str(folder / "tiny.toml"), "--out", str(folder / "run"), "steps=2"]) == 0
    return folder / "run"


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(16)[None]).logits


def test_the_folder_holds_the_policy_of_the_checkpoint(run, tmp_path, capsys):
    out = tmp_path / "policy"
    assert cli.main(["export", str(run), "--to", str(out)]) == 0
    assert "the policy of step 2" in capsys.readouterr().out
    config = load(run / "config.toml")
    trainer, tokenizer = load_model(config.model)
    found = checkpoint.load(run / "checkpoints")
    assert found is not None
    before = logits(trainer)
    with torch.no_grad():
        for name, value in found.tensors["model"].items():
            trainer.get_parameter(name).copy_(value)
    exported = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(logits(exported), logits(trainer), atol=1e-5, rtol=1e-5)
    assert not torch.equal(before, logits(exported))
    assert AutoTokenizer.from_pretrained(out).get_vocab() == tokenizer.get_vocab()
    settings = GenerationConfig.from_pretrained(out)
    assert (settings.do_sample, settings.top_p, settings.top_k, settings.temperature) == (True, 1.0, 0, 1.0)
    card = (out / "README.md").read_text("utf-8")
    digest = checkpoint.fingerprint(exported.state_dict())
    for part in (
        "shifted_mean(beta=0.1, delta=1)",
        "every 2 steps",
        digest,
        "evaluation/reward",
        json.dumps(config.model.path),
    ):
        assert part in card
    assert not (tmp_path / ".making-policy").exists()


def test_other_types_and_steps(run, tmp_path):
    out = tmp_path / "half"
    assert cli.main(["export", str(run), "--to", str(out), "--dtype", "bfloat16", "--step", "2"]) == 0
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16


def test_what_cannot_be_exported_is_told_in_one_line(run, tmp_path, capsys):
    for arguments, message in (
        ([str(run), "--to", str(tmp_path)], "exists already"),
        ([str(run), "--to", str(tmp_path / "a"), "--step", "7"], "has no checkpoint of step 7; there are [2]"),
        ([str(tmp_path), "--to", str(tmp_path / "a")], "is no folder of a run"),
    ):
        assert cli.main(["export", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
