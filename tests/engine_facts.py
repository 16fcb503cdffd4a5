"""What an engine does, measured with a real one: `python tests/engine_facts.py vllm|transformers FOLDER`.

Writes FOLDER/facts.json for test_llm_engines.py to judge. It is a program of its own because vLLM takes seconds to
start, warns at import and changes its process.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from llm.sample.engines.base import EngineError, Settings, check_probe
from llm.sample.engines.local import LocalEngine
from llm.sample.engines.process import ProcessEngine
from llm.samples import Completion, Request
from llm.update.models import build_model, build_tokenizer

TEMPERATURE = 1.3
TOLERANCE = 1e-4
STOP = 10  # the end-of-sequence token of ten digits
BLOCK = 128  # tokens that vLLM keeps together on a CPU
PROMPT = (3, 1, 4)
PAIRS = 3000

REQUESTS = [Request(tuple(range(1 + i % 7)), 4, seed=i) for i in range(12)] + [Request((7,), 3, seed=99, max_tokens=5)]
LONG = Request((3, 1, 4, 1, 5, 9) * 22, 4, seed=0, max_tokens=16)  # over a block, so that it is kept
CROWD = [Request(tuple((i + j) % 10 for j in range(120)), 2, seed=i) for i in range(20)]  # more blocks than there are


def tiny_model(seed: int = 0) -> PreTrainedModel:
    """A Qwen3-architecture model over ten digits whose next-token distributions are neither flat nor sharp."""
    model = build_model(build_tokenizer("0123456789"), width=64, layers=2, heads=2, head_dim=32, context=256, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.dim() > 1 else 1 + seed / 8)
    return model.eval()


def settings(kind: str, folder: Path) -> Settings:
    small_cache = {"kv_cache_memory_bytes": 4 << 20, "max_num_seqs": 32}
    options = small_cache if kind == "vllm" else {"batch_size": 16}
    return Settings(kind, str(folder / "model"), TEMPERATURE, 32, 256, (STOP,), options=options)  # type: ignore[arg-type]


def log_policy(model: PreTrainedModel, tokens: Sequence[int], temperature: float = TEMPERATURE) -> torch.Tensor:
    """log softmax(logits / temperature) after each token, (T, V), by a plain forward pass."""
    with torch.no_grad():
        logits = model(torch.tensor([list(tokens)], device=model.device)).logits[0]
    return torch.log_softmax(logits.float() / temperature, -1)


def scorer(
    model: PreTrainedModel, temperature: float = TEMPERATURE
) -> Callable[[Sequence[int], np.ndarray], np.ndarray]:
    """What a trainer says about completion tokens."""

    def score(prompt: Sequence[int], completion: np.ndarray) -> np.ndarray:
        rows = log_policy(model, [*prompt, *completion.tolist()], temperature)[len(prompt) - 1 : -1]
        return rows[torch.arange(len(completion)), torch.from_numpy(completion).long()].cpu().numpy()

    return score


def plain(answers: list[list[Completion]]) -> list[Any]:
    """Tokens and log-probabilities, bit for bit."""
    return [[[sample.tokens.tolist(), sample.log_probs.tolist()] for sample in group] for group in answers]


def tokens_of(answers: list[list[Completion]]) -> list[Any]:
    return [[sample.tokens.tolist() for sample in group] for group in answers]


def gap(answers: list[list[Completion]], requests: Sequence[Request], model: PreTrainedModel) -> float:
    """Largest difference of a log-probability from the model's own, nats."""
    score = scorer(model)
    return max(
        float(np.abs(sample.log_probs - score(request.tokens, sample.tokens)).max())
        for request, group in zip(requests, answers, strict=True)
        for sample in group
    )


def complaint(action: Callable[[], Any]) -> str:
    """What an EngineError says; empty if there is none."""
    try:
        action()
    except EngineError as error:
        return str(error)
    return ""


def random_states() -> list[Any]:
    state = np.random.get_state()  # noqa: NPY002
    return [hash(random.getstate()), hash(str(state)), torch.get_rng_state().tolist()]


def sampling_facts(engine: LocalEngine, model: PreTrainedModel) -> dict[str, Any]:
    answers = engine.generate(REQUESTS)
    crowd = engine.generate(CROWD)
    many = engine.generate([Request(PROMPT, PAIRS, seed=5, max_tokens=2)])[0]
    neighbors = engine.generate([Request(PROMPT, 8, seed=seed) for seed in range(8)])
    return {
        "gap": gap(answers, REQUESTS, model),
        "again": plain(engine.generate(REQUESTS)) == plain(answers),
        "alone": [tokens_of(engine.generate([request]))[0] for request in REQUESTS] == tokens_of(answers),
        "tokens": tokens_of(answers),
        "finished": [[sample.finished for sample in group] for group in answers],
        "crowd_gap": gap(crowd, CROWD, model),
        "crowd_alone": [tokens_of(engine.generate([request]))[0] for request in CROWD] == tokens_of(crowd),
        "pairs": sorted(Counter(str(sample.tokens.tolist()) for sample in many).items()),
        "neighbors": tokens_of(neighbors),
    }


def pair_probabilities(model: PreTrainedModel) -> dict[str, float]:
    """Of every completion of PROMPT cut off at two tokens."""
    first = log_policy(model, PROMPT)[-1].exp()
    found = {str([STOP]): float(first[STOP])}
    for token in set(range(len(first))) - {STOP}:
        second = log_policy(model, (*PROMPT, token))[-1].exp()
        found.update({str([token, other]): float(first[token] * second[other]) for other in range(len(second))})
    return found


def probe_facts(engine: LocalEngine, old: PreTrainedModel, new: PreTrainedModel) -> dict[str, Any]:
    """How a right sync passes the probe, and each way to get it wrong does not."""

    def probe(model: PreTrainedModel, temperature: float = TEMPERATURE) -> str:
        return complaint(lambda: check_probe(engine, LONG, scorer(model, temperature), TOLERANCE))

    facts: dict[str, Any] = {"before": probe(old), "no_sync": probe(new), "temperature": probe(old, 1.0)}
    first = plain(engine.generate(REQUESTS))
    engine.sync(new.state_dict(), 7)
    facts |= {"synced": probe(new), "version": engine.version}
    facts["synced_gap"] = gap(engine.generate(REQUESTS), REQUESTS, new)
    facts["moved"] = plain(engine.generate(REQUESTS)) != first
    headless = {name: weight for name, weight in old.state_dict().items() if name != "lm_head.weight"}
    facts["headless"] = complaint(lambda: engine.sync(headless, 8))
    # By now the weights may be of any kind; a whole sync sets them right.
    engine.sync(old.state_dict(), 9)
    facts["restored"] = plain(engine.generate(REQUESTS)) == first
    half = tiny_model()
    half.bfloat16()
    facts["dtype"] = probe(half)
    return facts


def vllm_facts(engine: LocalEngine, old: PreTrainedModel, new: PreTrainedModel) -> dict[str, Any]:
    """What vLLM's own reload does when it is used wrongly, and that the probe or the engine says so."""
    llm: Any = engine._backend._llm  # type: ignore[attr-defined]

    def reload(weights: dict[str, torch.Tensor]) -> None:
        llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})

    def probe() -> str:
        return complaint(lambda: check_probe(engine, LONG, scorer(new), TOLERANCE))

    engine.generate([LONG])
    reload(new.state_dict())
    facts = {"stale_cache": probe()}
    engine.sync(old.state_dict(), 20)
    reload({name: weight for name, weight in new.state_dict().items() if name != "lm_head.weight"})
    llm.reset_prefix_cache()
    facts["tied_head"] = probe()
    engine.sync(old.state_dict(), 21)
    whole = llm.collective_rpc
    llm.collective_rpc = lambda *arguments, **keywords: None
    facts["silent_sync"] = complaint(lambda: engine.sync(new.state_dict(), 22))
    llm.collective_rpc = whole
    return facts


def process_facts(chosen: Settings, new: PreTrainedModel, expected: list[Any]) -> dict[str, Any]:
    """The same engine in its own process, and what becomes of questions when it is killed."""
    engine = ProcessEngine(chosen, timeout=60.0)
    try:
        engine.sync(new.state_dict(), 7)
        facts = {"same": plain(engine.generate(REQUESTS)) == expected, "version": engine.version}
        waiting = [engine.submit(REQUESTS) for _ in range(4)]
        first = waiting[0]()
        assert engine.identity is not None
        os.kill(engine.identity, signal.SIGKILL)
        facts["after_kill"] = [plain(answers()) == expected for answers in waiting]
        facts["first"] = plain(first) == expected
        facts["restarted"] = engine.restarted
    finally:
        engine.close()
    return facts


def main(kind: str, folder: Path) -> None:
    old, new = tiny_model(), tiny_model(seed=1)
    old.save_pretrained(folder / "model")
    chosen = settings(kind, folder)
    facts: dict[str, Any] = {
        "unknown_option": complaint(lambda: LocalEngine(replace(chosen, options={"no_such_option": 1})))
    }
    before = random_states()
    engine = LocalEngine(chosen)
    facts["probe"] = probe_facts(engine, old, new)
    facts["sampling"] = sampling_facts(engine, old)
    facts["exact_pairs"] = pair_probabilities(old)
    if kind == "vllm":
        facts["vllm"] = vllm_facts(engine, old, new)
    engine.sync(new.state_dict(), 7)
    expected = plain(engine.generate(REQUESTS))
    facts["random_state_kept"] = random_states() == before
    engine.sync({name: torch.full_like(weight, torch.nan) for name, weight in new.state_dict().items()}, 8)
    facts["diverged"] = complaint(lambda: engine.generate(REQUESTS))
    engine.close()
    facts["process"] = process_facts(chosen, new, expected)
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
