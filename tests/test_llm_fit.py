"""Whether every configuration fits the card it names, and whether the count that says so is right."""

import gc
import re

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config

from llm import cli
from llm.cli import CONFIGS
from llm.config import Lora, load
from llm.fit import cluster, table
from llm.fit.architectures import KNOWN, architecture
from llm.fit.memory import Held, extended, measure_layers
from llm.update.learner import make_optimizer
from llm.update.models import prepare
from llm.update.policy import CHUNK_LOGITS, token_values
from llm_configs import described

ON_A_CARD = sorted(path.stem for path in CONFIGS.glob("*.toml") if "gpu = true" in path.read_text("utf-8"))

PUBLISHED = {  # billions of parameters, as the model cards say
    "Qwen/Qwen3-4B-Thinking-2507": 4.0,
    "Qwen/Qwen2.5-3B-Instruct": 3.09,
    "Qwen/Qwen2.5-7B": 7.61,
    "Qwen/Qwen2.5-32B": 32.5,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": 14.8,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03,
}


def small(**changes):
    shapes = Qwen2Config(
        vocab_size=1000,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = {"path": "m", "dtype": "bfloat16", "gradient_checkpointing": True, **changes}
    return described(model=model, optimizer={"tokens_per_pass": 256}), shapes


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_have_the_published_number_of_parameters(name):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**KNOWN[name]))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e9 == pytest.approx(PUBLISHED[name], rel=0.01)
    assert KNOWN.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", ON_A_CARD)
def test_every_configuration_fits_the_card_that_it_names(name):
    config = load(CONFIGS / f"{name}.toml")
    found = table.account(config)
    assert found.total <= found.card.memory, (name, found)
    assert found.engine.sequences >= 1
    assert found.engine.cache > 0
    assert config.optimizer.tokens_per_pass >= config.rollout.max_tokens
    assert found.trainer.peak > found.trainer.weights + found.trainer.gradients + found.trainer.moments


def test_what_does_not_fit_is_told(capsys):
    no_data = "task.options.train={data='x.csv'}"
    assert cli.main(["train", "rec_gsm8k", "hardware.card='RTX4090-24GB'", no_data, "--dry-run"]) == 2
    assert "DOES NOT FIT" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"lora": Lora(rank=4)}, {"gradient_checkpointing": False}])
def test_memory_is_a_straight_line_in_the_number_of_layers(changes):
    config, shapes = small(**changes)
    two, three, six = (measure_layers(config, shapes, layers) for layers in (2, 3, 6))
    assert extended(two, three, 3) == six
    assert six.peak > three.peak


def test_the_count_is_that_of_torchs_own_tracker():
    """The same passes under MemTracker, which sorts storages by what they are for; here only their sum counts."""
    config, shapes = small()
    found = measure_layers(config, shapes, 2)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = AutoModelForCausalLM.from_config(shapes, dtype=torch.float32)
        prepare(model, config.model)
        optimizer = make_optimizer(model, config.optimizer)
        tracker = MemTracker()
        tracker.track_external(model, optimizer)
        with tracker:
            for _ in range(2):
                tracker.reset_mod_stats()
                row = torch.zeros(256, dtype=torch.long)
                values = token_values(model, row[None], row, row, 1.0, torch.bfloat16, CHUNK_LOGITS["cuda"])
                values.log_probs.backward(torch.zeros(256))
                del values
                optimizer.step()
        (peak,) = tracker.get_tracker_snapshot("peak").values()
    assert found.peak == pytest.approx(peak["Total"], rel=0.02)


def test_a_storage_counts_once_and_as_long_as_it_lives():
    with FakeTensorMode(), Held() as held:
        first = torch.empty(1000)
        view = first[10:]
        second = torch.empty(1)
        assert held.now == 4096 + 512
        del first, second
        gc.collect()
        assert held.now == 4096
        assert float(view.numel()) == 990
        del view
        gc.collect()
        assert (held.now, held.forget(), held.most) == (0, 4096 + 512, 0)


def test_gradients_and_moments_are_those_of_what_is_trained():
    config, shapes = small()
    full = measure_layers(config, shapes, 2)
    assert full.parameters == full.trained
    assert full.gradients == pytest.approx(4 * full.trained, rel=0.05)
    assert full.moments == pytest.approx(8 * full.trained, rel=0.05)
    config, shapes = small(lora=Lora(rank=4))
    adapted = measure_layers(config, shapes, 2)
    frozen = adapted.parameters - adapted.trained
    assert adapted.weights == pytest.approx(2 * frozen + 4 * adapted.trained, rel=0.05)
    assert adapted.gradients < full.gradients / 3
    largest = 64 * 128  # of one merged weight: its adapters' product, the sum, the rounded copy
    assert adapted.peaks["sync"] - adapted.weights - adapted.gradients - adapted.moments <= 12 * largest + 4096


def test_moments_in_bfloat16_are_half_as_large():
    config, shapes = small()
    halved = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"moments": "bfloat16"})})
    full, half = (measure_layers(one, shapes, 2) for one in (config, halved))
    assert half.moments == pytest.approx(full.moments / 2, rel=0.05)
    assert half.peak < full.peak


def test_shapes_that_are_nowhere_are_not_looked_for_on_the_network():
    with pytest.raises(ValueError, match=r"^model\.path: the shapes of m are not known without its folder"):
        architecture(described())


def test_cards_share_the_trainer_and_its_time():
    config, shapes = small()
    memory = measure_layers(config, shapes, 2)
    states = memory.weights + memory.gradients + memory.moments
    found = [cluster.held(memory, 0, ranks) for ranks in (1, 2, 4)]
    assert found[0] == memory.peak + table.CONTEXT + int(table.PIECES * memory.peak)
    assert found[0] - found[1] == pytest.approx((1 + table.PIECES) * states / 2, abs=2)
    assert found[1] - found[2] == pytest.approx((1 + table.PIECES) * states / 4, abs=2)
    needs = cluster.Needs(10, memory, 0, train=2, update=8.0, drawing={2: 12.0, 4: 5.0}, disk=0)
    steps = {train: max(8 / train, min([12 / ((8 - train) // 2)] + [5.0] * (train <= 4))) for train in range(2, 7)}
    best = min(steps, key=lambda train: steps[train])
    assert needs.split(8) == (best, 8 - best)
    assert needs.step(best, 8 - best) == steps[best]
    assert needs.split(3) is None


def test_a_dry_run_for_several_machines(capsys):
    assert cli.main(["train", "rec_gsm8k", "--dry-run", "--nodes", "2", "--gpus", "4"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 with 4 x H100-80GB" in printed
    ((train, sample),) = re.findall(r"(\d) cards to train and (\d) to sample", printed)
    assert int(train) + int(sample) == 8
    assert cli.main(["train", "rec_gsm8k", "--nodes", "2"]) == 2
    assert "--nodes goes with --dry-run" in capsys.readouterr().err
    assert cli.main(["train", "tiny_cpu", "--dry-run", "--nodes", "2"]) == 2
    assert "hardware.card" in capsys.readouterr().err
