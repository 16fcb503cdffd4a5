"""An engine in this process. The process's own random state is none of its business and stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ...samples import Completion, Request
from .base import ENGINE, Answers, EngineError, Settings, check_requests, random_state_kept

if TYPE_CHECKING:
    import torch


class Backend(Protocol):
    """What differs between inference libraries."""

    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take new weights and forget what was computed with the old ones."""
        ...

    def sample(self, requests: Sequence[Request]) -> Answers:
        """Completions of requests that have been checked."""
        ...

    def close(self) -> None:
        """Let go of memory."""
        ...


def backend(settings: Settings, progress: Callable[[], None] = lambda: None) -> Backend:
    """Start an inference library.

    Args:
        settings: for it.
        progress: called at every decoding step, so that a slow engine can be told from a hung one.

    Raises:
        EngineError: the model or an option is not what the library takes.
    """
    if settings.kind == "vllm":
        from .vllm import Vllm

        return Vllm(settings, progress)
    from .transformers import Transformers

    return Transformers(settings, progress)


class LocalEngine:
    """An :class:`~llm.sample.engines.base.Engine` that samples where and when its answers are called for."""

    def __init__(self, settings: Settings, progress: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        with random_state_kept():
            self._backend = backend(settings, progress)
        self._version = 0

    @property
    def version(self) -> int:
        return self._version

    def sync(self, weights: Mapping[str, torch.Tensor], version: int) -> None:
        with random_state_kept():
            self._backend.load(weights)
        self._version = version

    def submit(self, requests: Sequence[Request]) -> Callable[[], Answers]:
        check_requests(requests, self._settings)
        return partial(self._answer, tuple(requests), self._version)

    def generate(self, requests: Sequence[Request]) -> Answers:
        return self.submit(requests)()

    def ask_each(self, request: Request) -> dict[str, list[Completion]]:
        return {ENGINE: self.generate([request])[0]}

    def close(self) -> None:
        self._backend.close()

    def _answer(self, requests: Sequence[Request], version: int) -> Answers:
        if version != self._version:
            raise EngineError(
                f"requests submitted at version {version} were called for at version {self._version}; "
                "an engine in the same process samples only when asked to"
            )
        with random_state_kept():
            return self._backend.sample(requests)
