"""What an engine is, what it refuses to do, and how it is checked after each weight sync."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from ...samples import Completion, Request

if TYPE_CHECKING:
    import torch

Answers = list[list[Completion]]
"""Completions of each request, in the order of the requests."""

ENGINE = "the engine"
"""What an engine is called in messages where there is one."""

CUTS = (
    "changes the distribution that completions are drawn from; log-probabilities are of softmax(logits / temperature), "
    "so that every log-ratio would be biased"
)
OWN = "is set by the run itself"
ONE_PROCESS = "spreads the model over several processes; weights are synced into one"
REFUSED = {
    **dict.fromkeys(
        (
            *("top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "min_tokens", "bad_words"),
            *("repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "allowed_token_ids"),
            *("logits_processors", "logits_processor", "logits_processor_pattern", "structured_outputs"),
            *("generation_config", "override_generation_config"),
        ),
        CUTS,
    ),
    **dict.fromkeys(
        (
            "model",
            "dtype",
            "load_format",
            "seed",
            "max_model_len",
            "logprobs_mode",
            "skip_tokenizer_init",
            "trust_remote_code",
        ),
        OWN,
    ),
    **dict.fromkeys(
        (
            *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "distributed_executor_backend"),
            *("prefill_context_parallel_size", "decode_context_parallel_size"),
        ),
        ONE_PROCESS,
    ),
    "temperature": "is rollout.temperature, which trainer and engine share",
    "max_tokens": "is rollout.max_tokens",
    "stop": "ends completions by their text; engines see tokens only",
    "use_beam_search": "does not sample from the policy",
    "speculative_config": "samples by another route, whose log-probabilities nobody has checked",
    "quantization": "makes the engine another policy than the trainer's",
}
"""Options no engine takes, each with the reason."""


class EngineError(RuntimeError):
    """The engine cannot go on, and asking again would not help. One line that says why."""


@dataclass(frozen=True)
class Settings:
    """What an engine is started with; plain JSON values only.

    Attributes:
        kind: which engine.
        model: folder or hub name, as from_pretrained takes it.
        temperature: of the sampling distribution softmax(logits / temperature), > 0.
        max_tokens: longest completion, in tokens.
        context: longest prompt plus ``max_tokens``.
        stop_tokens: ids that end a completion; none if every completion has ``max_tokens`` tokens.
        dtype: of weights and activations; log-probabilities are float32 in either case.
        options: what else the engine takes. vLLM: arguments of its ``LLM``. transformers: ``batch_size`` (sequences
            at once, default 64) and ``device``.

    Raises:
        ValueError: a value out of range, or an option that would bias the log-ratios.
    """

    kind: Literal["vllm", "transformers"]
    model: str
    temperature: float
    max_tokens: int
    context: int
    stop_tokens: tuple[int, ...] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature is {self.temperature}; it must be a positive number")
        if not 1 <= self.max_tokens < self.context:
            raise ValueError(
                f"max_tokens is {self.max_tokens}; it must be at least 1 and leave room for a prompt "
                f"in the {self.context} tokens of context"
            )
        check_options(self.options)


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what would make the sampling distribution another than softmax(logits / temperature).

    Raises:
        ValueError: the first such option, with the reason.

    >>> check_options({"top_p": 0.9})
    Traceback (most recent call last):
        ...
    ValueError: top_p changes the distribution that completions are drawn from; log-probabilities are of
    softmax(logits / temperature), so that every log-ratio would be biased
    """
    for name in options:
        if name in REFUSED:
            raise ValueError(f"{name} {REFUSED[name]}")


class Engine(Protocol):
    """Samples completions from the policy softmax(logits / temperature) and says how probable each token was.

    What it answers depends on weights, settings and the list of requests only, never on when it is asked.
    """

    @property
    def version(self) -> int:
        """Optimizer steps that its weights have seen; 0 for the weights it was started with."""
        ...

    def sync(self, weights: Mapping[str, torch.Tensor], version: int) -> None:
        """Take new weights. Requests submitted before are answered with the old ones.

        Args:
            weights: the whole state dict, by the names of transformers, ``lm_head.weight`` included where it is tied.
            version: optimizer steps that they have seen.
        """
        ...

    def submit(self, requests: Sequence[Request]) -> Callable[[], Answers]:
        """Ask for completions; calling what is returned waits for them.

        Raises:
            ValueError: a request that cannot be answered.
        """
        ...

    def generate(self, requests: Sequence[Request]) -> Answers:
        """Ask for completions and wait for them."""
        ...

    def ask_each(self, request: Request) -> dict[str, list[Completion]]:
        """What everything that samples answers to one request, by what it is called in messages."""
        ...

    def close(self) -> None:
        """Let go of memory and processes."""
        ...


def check_requests(requests: Sequence[Request], settings: Settings) -> None:
    """Refuse requests before any of them is begun.

    Raises:
        ValueError: which request, and what is wrong with it.
    """
    for index, request in enumerate(requests):
        limit = token_limit(request, settings)
        if not request.tokens:
            raise ValueError(f"request {index}: the prompt has no tokens; it must have at least one")
        if request.samples < 1:
            raise ValueError(f"request {index}: {request.samples} samples asked for; it must be at least one")
        if request.seed < 0:
            raise ValueError(f"request {index}: the seed is {request.seed}; it must not be negative")
        if not 1 <= limit <= settings.max_tokens:
            raise ValueError(f"request {index}: max_tokens is {limit}; it must be from 1 to {settings.max_tokens}")
        if len(request.tokens) + limit > settings.context:
            raise ValueError(
                f"request {index}: {len(request.tokens)} prompt tokens and {limit} of completion; "
                f"together they must not exceed {settings.context}"
            )


def token_limit(request: Request, settings: Settings) -> int:
    """Longest completion of a request, in tokens."""
    return settings.max_tokens if request.max_tokens is None else request.max_tokens


def sample_seeds(request: Request) -> list[int]:
    """A seed for each sample of a request, in 32 bits because torch's generator on the CPU takes no more.

    Neighboring request seeds share no sample seed, as they would if samples counted up from the request's seed.

    >>> sample_seeds(Request(tokens=(5,), samples=3, seed=0))
    [2968811710, 3677149159, 745650761]
    """
    return np.random.SeedSequence(request.seed).generate_state(request.samples).tolist()


def completion(tokens: Sequence[int], log_probs: Sequence[float], finished: bool) -> Completion:
    """A completion of what an engine sampled.

    Raises:
        EngineError: a log-probability is not finite, as weights that are not finite make it.
    """
    found = np.asarray(log_probs, np.float32)
    if not np.isfinite(found).all():
        raise EngineError("sampled a token whose log-probability is not finite: the weights have diverged")
    return Completion(np.asarray(tokens, np.int32), found, finished)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave the random state of Python, numpy and torch as it was: vLLM seeds all three and draws from them."""
    import torch

    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is what vLLM seeds
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def probe(prompts: Sequence[Sequence[int]], max_tokens: int) -> Request:
    """What to ask after each sync: a few short completions of the longest prompt.

    The longest, because an engine reuses what it computed for long prompts and must forget that at a sync.
    """
    longest = max(prompts, key=len)
    return Request(tokens=tuple(longest), samples=4, seed=0, max_tokens=min(max_tokens, 16))


def check_probe(
    engine: Engine,
    request: Request,
    trainer: Callable[[Sequence[int], np.ndarray], np.ndarray],
    tolerance: float,
) -> float:
    """Compare the engine's log-probabilities of what it samples with the trainer's.

    Catches a sync that did not happen, weights that were left out, a stale cache, another temperature, a wrong dtype.

    Args:
        engine: just synced.
        request: the same after every sync, as :func:`probe` makes it.
        trainer: (prompt tokens, completion tokens (T,)) -> log-probabilities (T,) of the completion tokens under the
            trainer's softmax(logits / temperature), nats.
        tolerance: largest gap allowed, nats per token.

    Returns:
        The largest gap.

    Raises:
        EngineError: a larger one.
    """
    each = engine.ask_each(request)
    return max(probe_gap(name, engine.version, request, found, trainer, tolerance) for name, found in each.items())


def probe_gap(
    name: str,
    version: int,
    request: Request,
    answers: Sequence[Completion],
    trainer: Callable[[Sequence[int], np.ndarray], np.ndarray],
    tolerance: float,
) -> float:
    """:func:`check_probe` of what an engine of that name with weights of this version has answered."""
    gaps = [np.abs(sample.log_probs - trainer(request.tokens, sample.tokens)) for sample in answers]
    gap = float(np.max(np.concatenate(gaps)))
    if not gap <= tolerance:
        raise EngineError(
            f"weights of step {version}: {name} and trainer disagree by up to {gap:.2g} nats on a token of the "
            f"probe, more than the {tolerance:g} allowed; {name} does not sample from the trainer's policy"
        )
    return gap
