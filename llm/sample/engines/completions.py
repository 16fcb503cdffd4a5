"""What the trainer asks one vLLM server: which model it has, to load weights, and for a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from ...samples import Completion, Request
from .base import Settings, completion, sample_seeds, token_limit


class ServerError(Exception):
    """One server cannot be used now."""


async def check_model(client: httpx.AsyncClient, url: str, context: int) -> None:
    """Make sure that a server is there and takes sequences of so many tokens."""
    answer = await client.get(f"{url}/v1/models", timeout=30.0)
    answer.raise_for_status()
    try:
        length = _json(answer)["data"][0].get("max_model_len")
    except (LookupError, AttributeError, TypeError):
        raise ServerError("it names no model") from None
    if length is not None and length < context:
        raise ServerError(f"its --max-model-len is {length}; it must be at least {context}")


async def load_weights(client: httpx.AsyncClient, url: str, path: Path) -> None:
    """Have a server load weights and forget what it computed with others."""
    await _post(client, url, "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(path)}})
    if not (await _post(client, url, "/reset_prefix_cache", {})).get("success", True):
        raise ServerError("it did not forget what it had computed with other weights")


def bodies(request: Request, settings: Settings) -> list[dict[str, Any]]:
    """One request of vLLM's completions for each sample."""
    common = {
        "prompt": list(request.tokens),
        "max_tokens": token_limit(request, settings),
        "temperature": settings.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "logprobs": 0,
        "return_token_ids": True,
        "stop_token_ids": list(settings.stop_tokens),
        "ignore_eos": True,  # the stop tokens say it all
    }
    return [{**common, "seed": seed} for seed in sample_seeds(request)]


async def ask(client: httpx.AsyncClient, url: str, body: Mapping[str, Any]) -> Completion:
    """One sample.

    Raises:
        ServerError: the answer is not one.
        EngineError: a log-probability is not finite.
    """
    found = await _post(client, url, "/v1/completions", body)
    try:
        choice = found["choices"][0]
        tokens, log_probs = choice["token_ids"], choice["logprobs"]["token_logprobs"]
        finished = choice["finish_reason"] == "stop"
        whole = 0 < len(tokens) == len(log_probs)
    except (LookupError, TypeError):
        whole = False
    if not whole:
        raise ServerError("its answer lacks token_ids or token_logprobs; vLLM has both from version 0.10.2 on")
    return completion(tokens, log_probs, finished)


async def _post(client: httpx.AsyncClient, url: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    answer = await client.post(url + path, json=body)
    if answer.status_code == 404 and path == "/collective_rpc":
        raise ServerError("it cannot load weights; start it with VLLM_SERVER_DEV_MODE=1")
    if answer.is_error:
        raise ServerError(f"{path}: status {answer.status_code}: {' '.join(answer.text.split())[:200]}")
    return _json(answer) if answer.content else {}


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError as error:
        raise ServerError(f"its answer is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ServerError("its answer is no JSON object")
    return found


def said(error: Exception) -> str:
    """What went wrong with a server."""
    return f"{type(error).__name__}: {error}" if isinstance(error, httpx.HTTPError) else str(error)


def compare(expected: Sequence[Completion], found: Sequence[Completion], tolerance: float) -> None:
    """Refuse a server that answers the probe's seeds otherwise than the servers that the trainer has checked.

    The trainer has other weights by now, so tokens and log-probabilities are compared with those of a checked server,
    up to the first token that differs: rounding may tip a draw, and after that the two are about different texts.
    """
    common = [
        int(np.argmin(np.append(one.tokens[:length] == other.tokens[:length], False)))
        for one, other in zip(expected, found, strict=True)
        for length in [min(len(one.tokens), len(other.tokens))]
    ]
    if not any(common):
        raise ServerError("it answers the probe with other tokens than the servers that were checked")
    gap = max(
        float(np.abs(one.log_probs[:length] - other.log_probs[:length]).max())
        for one, other, length in zip(expected, found, common, strict=True)
        if length
    )
    if not gap <= tolerance:
        raise ServerError(f"its log-probabilities on the probe are {gap:.2g} nats from those of the others")
