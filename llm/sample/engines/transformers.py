"""The reference engine: plain sampling with transformers, on any device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from ...samples import Completion, Request
from .base import Answers, EngineError, Settings, completion, sample_seeds, token_limit

OPTIONS = ("batch_size", "device")


@dataclass(frozen=True)
class _Row:
    """One sample to draw: which request it belongs to, its prompt, its seed, its longest length."""

    request: int
    tokens: tuple[int, ...]
    seed: int
    limit: int


class Transformers:
    """Samples batches of sequences, every sequence with random numbers of its own.

    A sample depends on its batch only through the rounding of matrix products.
    """

    def __init__(self, settings: Settings, progress: Callable[[], None]) -> None:
        unknown = [name for name in settings.options if name not in OPTIONS]
        if unknown:
            raise EngineError(f"{unknown[0]!r} is no option of the transformers engine; it takes {', '.join(OPTIONS)}")
        self._batch_size = settings.options.get("batch_size", 64)
        if not isinstance(self._batch_size, int) or self._batch_size < 1:
            raise EngineError(f"batch_size is {self._batch_size!r}; it must be a whole number, at least 1")
        device = settings.options.get("device", "cuda" if torch.cuda.is_available() else "cpu")
        try:
            model = AutoModelForCausalLM.from_pretrained(
                settings.model, dtype=getattr(torch, settings.dtype), use_safetensors=True
            )
            self._model = model.to(device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise EngineError(f"{settings.model}: {error}") from error
        self._settings = settings
        self._progress = progress

    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        own = self._model.state_dict()
        if differing := sorted(own.keys() ^ weights.keys()):
            raise EngineError(f"the weights do not fit the model: only one of the two has {', '.join(differing[:5])}")
        for name, weight in weights.items():  # one at a time, as adapters may be merged only now
            if weight.shape != own[name].shape:
                raise EngineError(
                    f"the weights do not fit the model: {name} is {tuple(weight.shape)}, not {tuple(own[name].shape)}"
                )
            own[name].copy_(weight)

    def sample(self, requests: Sequence[Request]) -> Answers:
        rows = [
            _Row(index, request.tokens, seed, token_limit(request, self._settings))
            for index, request in enumerate(requests)
            for seed in sample_seeds(request)
        ]
        answers: Answers = [[] for _ in requests]
        for start in range(0, len(rows), self._batch_size):
            batch = rows[start : start + self._batch_size]
            for row, sample in zip(batch, self._batch(batch), strict=True):
                answers[row.request].append(sample)
        return answers

    def close(self) -> None:
        del self._model

    @torch.inference_mode()
    def _batch(self, rows: Sequence[_Row]) -> list[Completion]:
        """Sample one completion per row."""
        device = self._model.device
        count, longest = len(rows), max(row.limit for row in rows)
        stop = torch.tensor(self._settings.stop_tokens, dtype=torch.long, device=device)
        limits = torch.tensor([row.limit for row in rows], device=device)
        uniforms = torch.from_numpy(np.stack([np.random.default_rng(row.seed).random(longest) for row in rows]))
        uniforms = uniforms.to(device)
        tokens = torch.zeros(count, longest, dtype=torch.long, device=device)
        log_probs = torch.zeros(count, longest, device=device)
        lengths = torch.zeros(count, dtype=torch.long, device=device)
        finished = torch.zeros(count, dtype=torch.bool, device=device)

        here = torch.arange(count, device=device)  # rows still being sampled
        logits, cache, mask = self._prefill(rows)
        for step in range(longest):
            self._progress()
            log_policy = torch.log_softmax(logits.float() / self._settings.temperature, dim=-1)
            drawn = draw(log_policy, uniforms[here, step])
            tokens[here, step] = drawn
            log_probs[here, step] = log_policy.gather(-1, drawn[:, None])[:, 0]
            lengths[here] = step + 1
            finished[here] = torch.isin(drawn, stop)
            on = torch.nonzero(~finished[here] & (limits[here] > step + 1))[:, 0]
            if len(on) == 0:
                break
            if len(on) < len(here):
                cache.batch_select_indices(on)
                here, mask, drawn = here[on], mask[on], drawn[on]
            mask = torch.cat([mask, mask.new_ones(len(here), 1)], dim=-1)
            logits = self._model(
                input_ids=drawn[:, None],
                attention_mask=mask,
                position_ids=mask.sum(-1, keepdim=True) - 1,
                past_key_values=cache,
            ).logits[:, -1]

        parts = (lengths.tolist(), finished.tolist(), tokens.cpu().numpy(), log_probs.cpu().numpy())
        return [
            completion(row_tokens[:length], row_log_probs[:length], ended)
            for length, ended, row_tokens, row_log_probs in zip(*parts, strict=True)
        ]

    def _prefill(self, rows: Sequence[_Row]) -> tuple[torch.Tensor, DynamicCache, torch.Tensor]:
        """Logits (rows, V) after each row's prompt, the cache and the mask (rows, longest prompt).

        Prompts are padded on the left; one that several rows share is read once.
        """
        prompts = {row.tokens: None for row in rows}
        place = {prompt: index for index, prompt in enumerate(prompts)}
        width = max(map(len, prompts))
        device = self._model.device
        tokens = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        cache = DynamicCache(config=self._model.config)
        logits = self._model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
        which = torch.tensor([place[row.tokens] for row in rows], device=device)
        cache.batch_select_indices(which)
        return logits[which], cache, mask[which]


def draw(log_policy: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Where a uniform number falls among the cumulated probabilities.

    Args:
        log_policy: (N, V), normalized.
        uniform: (N,), float64 in [0, 1).

    Returns:
        (N,) tokens, none of probability zero.

    >>> draw(torch.tensor([[0.25, 0.0, 0.75]]).log().expand(3, 3), torch.tensor([0.2, 0.3, 0.999]).double())
    tensor([0, 2, 2])
    """
    cumulated = log_policy.double().exp().cumsum(-1)
    # The sum is one up to rounding; scaling by it keeps the last token's share right.
    falls = torch.searchsorted(cumulated, uniform[:, None] * cumulated[:, -1:], right=True)[:, 0]
    return falls.clamp(max=log_policy.shape[-1] - 1)
