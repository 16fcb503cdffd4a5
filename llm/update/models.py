"""Models and tokenizers: small ones made here, any other through ``from_pretrained``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from .. import config

Loaded = TypeVar("Loaded")

END = "<end>"
PADDING = "<pad>"
NEEDED = {
    "model configuration": ("config.json",),
    "safetensors weights": ("*.safetensors",),
    # Without one, transformers makes an empty tokenizer and says nothing.
    "tokenizer": ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json"),
}
"""What the folder of a model must hold: one file of each."""


def build_tokenizer(symbols: str) -> PreTrainedTokenizerFast:
    """One token per character, then the end-of-sequence and the padding token.

    >>> tokenizer = build_tokenizer("01+")
    >>> tokenizer.encode("1+0"), tokenizer.decode([1, 2, 0, 3], skip_special_tokens=True)
    ([1, 2, 0], '1+0')

    Raises:
        ValueError: no symbols, or one twice.
    """
    if not symbols or len(set(symbols)) != len(symbols):
        raise ValueError(f"symbols is {symbols!r}; it must hold every character once")
    vocabulary = {token: i for i, token in enumerate((*symbols, END, PADDING))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))  # type: ignore[call-arg]
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PADDING, clean_up_tokenization_spaces=False
    )


def build_model(
    tokenizer: PreTrainedTokenizerBase,
    width: int,
    layers: int,
    heads: int,
    head_dim: int = 32,
    context: int = 512,
    seed: int = 0,
) -> Qwen3ForCausalLM:
    """A randomly initialized Qwen3-architecture model with tied embeddings, in float32.

    The weights depend on ``seed`` alone, and torch's global random state stays as it was: a builder that resets it
    makes all "seeds" of an experiment the same run.

    Args:
        tokenizer: what it reads.
        width: of the residual stream.
        layers: transformer blocks.
        heads: query heads, and key-value heads too.
        head_dim: 32 or 64: vLLM has no CPU attention for others.
        context: longest sequence, prompt and completion, in tokens.
        seed: of the initial weights.

    Raises:
        ValueError: another head_dim.
    """
    return seeded(described_model(tokenizer, width, layers, heads, head_dim, context), seed)


def described_model(
    tokenizer: PreTrainedTokenizerBase, width: int, layers: int, heads: int, head_dim: int = 32, context: int = 512
) -> Qwen3Config:
    """Shapes of the model that :func:`build_model` makes; the same arguments and errors."""
    if head_dim not in (32, 64):
        raise ValueError(f"head_dim is {head_dim}; it must be 32 or 64, which vLLM can serve without a GPU")
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=head_dim,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=_token_id(tokenizer, tokenizer.eos_token),
        pad_token_id=_token_id(tokenizer, tokenizer.pad_token),
    )


def seeded(described: Qwen3Config, seed: int) -> Qwen3ForCausalLM:
    """A randomly initialized model whose weights depend on the seed alone; torch's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(described)


def _token_id(tokenizer: PreTrainedTokenizerBase, token: object) -> int:
    found = tokenizer.convert_tokens_to_ids(str(token))
    assert isinstance(found, int)  # of one token
    return found


def load_model(described: config.Model) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model and its tokenizer from a folder or the hub, ready to be trained.

    Weights are read from safetensors only, and no code that comes with a model is run. What is trained is float32
    whatever ``dtype`` says, which is what matrix products are computed in: steps of 1e-6 would be lost in bfloat16.
    Frozen weights beside adapters take no steps, so they are kept in ``dtype``.

    Args:
        described: where it is and how to train it. With ``lora``, only the adapters that are added can be trained.

    Returns:
        The model in training mode, and its tokenizer.

    Raises:
        ValueError: something is missing there or cannot be used. One line that says what.
    """
    path, folder = described.path, Path(described.path)
    if folder.exists():
        for what, names in NEEDED.items():
            if not any(any(folder.glob(name)) for name in names):
                raise ValueError(f"model.path: the folder {path} holds no {what} ({' or '.join(names)})")
    model = _loaded(
        path,
        "model",
        lambda: AutoModelForCausalLM.from_pretrained(
            path, dtype=stored_precision(described), use_safetensors=True, trust_remote_code=False
        ),
    )
    tokenizer = _loaded(path, "tokenizer", lambda: AutoTokenizer.from_pretrained(path, trust_remote_code=False))
    rows = next(model.get_input_embeddings().parameters()).shape[0]
    if len(tokenizer) > rows:
        raise ValueError(f"model.path: the tokenizer in {path} has {len(tokenizer)} tokens, its model only {rows}")
    if tokenizer.eos_token is None:
        raise ValueError(f"model.path: the tokenizer in {path} has no end-of-sequence token")
    prepare(model, described)
    if described.compile:
        model.get_decoder().compile()
    return model, tokenizer


def stored_precision(described: config.Model) -> torch.dtype:
    """In which the weights that a model is loaded with are kept; adapters are float32 in any case."""
    return torch.float32 if described.lora is None else getattr(torch, described.dtype)


def prepare(model: PreTrainedModel, described: config.Model) -> None:
    """Make a loaded model ready to be trained, in place: adapters, checkpointing, training mode."""
    if described.lora is not None:
        add_adapters(model, described.lora)
    if described.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()


def _loaded(path: str, what: str, load: Callable[[], Loaded]) -> Loaded:
    try:
        return load()
    except Exception as error:  # from_pretrained raises whatever its readers raise
        where = "" if Path(path).exists() else "there is no such folder, and "
        raise ValueError(f"model.path: {where}no {what} from {path!r}: {' '.join(str(error).split())[:300]}") from error


def add_adapters(model: PreTrainedModel, lora: config.Lora) -> None:
    """Put low-rank adapters beside linear layers, in place, and freeze everything else."""
    import peft

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    try:
        adapters = peft.LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType] # need not be whole
            lora_dropout=lora.dropout,
            target_modules=targets,
        )
        peft.inject_adapter_in_model(adapters, model)
    except ValueError as error:
        raise ValueError(f"model.lora: {' '.join(str(error).split())[:300]}") from None
    for parameter in model.parameters():
        if parameter.requires_grad:  # peft gives adapters the type of the layer beside them
            parameter.data = parameter.data.float()


class EngineWeights(Mapping[str, torch.Tensor]):
    """What an engine needs to run the same policy: the whole state dict under the names of the model without adapters.

    Adapters are merged into a copy of a weight when that weight is asked for, and nothing holds on to it: one weight
    more than the model's own is alive at a time, not a second model. The model's own weights stay as they are, because
    merging and taking apart again would change them a little each time.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        state = model.state_dict()
        self._state = {name.replace(".base_layer.", "."): state[name] for name in state if ".lora_" not in name}
        self._adapted = {
            f"{outer}.weight": outer
            for outer, inner, last in (name.rpartition(".base_layer.") for name in state)
            if inner and last == "weight"
        }

    @torch.no_grad()
    def __getitem__(self, name: str) -> torch.Tensor:
        weight = self._state[name]
        if name not in self._adapted:
            return weight
        layer: Any = self._model.get_submodule(self._adapted[name])
        return (weight + layer.get_delta_weight("default")).to(weight.dtype)  # added in the wider type, rounded once

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)
