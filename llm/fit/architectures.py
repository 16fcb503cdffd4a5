"""What a model consists of, known without its weights: from its folder, or from the shapes that are written down here.

The shapes are those of each model's ``config.json`` on the Hugging Face hub. They stand here so that memory can be
worked out without a network; ``tests/test_llm_fit.py`` compares their parameter counts with the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from .. import tasks
from ..config import Config
from ..run.warmup import WarmUp
from ..update.models import build_tokenizer, described_model


def _qwen2(width: int, inner: int, layers: int, heads: int, shared: int, vocabulary: int, tied: bool) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 131072,
    }


QWEN3_4B = {
    "model_type": "qwen3",
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 262144,
}
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131072,
}
KNOWN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "Qwen/Qwen3-4B-Thinking-2507": QWEN3_4B,
        "Qwen/Qwen2.5-3B-Instruct": _qwen2(2048, 11008, 36, 16, 2, 151936, True),
        "Qwen/Qwen2.5-7B": _qwen2(3584, 18944, 28, 28, 4, 152064, False),
        "Qwen/Qwen2.5-32B": _qwen2(5120, 27648, 64, 40, 8, 152064, False),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": _qwen2(5120, 13824, 48, 40, 8, 152064, False),
        "meta-llama/Llama-3.1-8B-Instruct": LLAMA_8B,
    }
)


def architecture(config: Config) -> PreTrainedConfig:
    """The shapes of a configuration's model: of its folder, of the warm-up that is to make it, or as written down here.

    Raises:
        ValueError: there is none of the three; nothing is downloaded.
    """
    path = config.model.path
    if (Path(path) / "config.json").is_file():
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    if config.warmup is not None:
        task = config.task.model_dump(include={"name", "options"})
        settings = WarmUp.model_validate({"task": task, **config.warmup})
        symbols = tasks.load(settings.task.name, settings.task.options).symbols or ""
        return described_model(build_tokenizer(symbols), **settings.model.model_dump())
    if path in KNOWN:
        return AutoConfig.for_model(**KNOWN[path])
    raise ValueError(f"model.path: the shapes of {path} are not known without its folder; nothing is downloaded here")
