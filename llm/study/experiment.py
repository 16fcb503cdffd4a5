"""Is it the pessimism? Dose, weight and lag crossed on a language model: docs/experiment.md has plan and results.

Runs are :mod:`llm.study.sweep`'s; what differs is how they are kept. The results are one small file in the repository,
and the models that the runs start from lie beside it, so that another machine goes on where this one stopped.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pessimism as ps
from pessimism.shell import write_whole
from pessimism.studies import digest, kept, on_cores, sha256

from ..config import Config, checked, set_value
from ..run.watch import METRICS, Watcher, read
from .sweep import Cell, Job, Quiet, Variant, compute

DATA = Path(__file__).parents[2] / "paper_figures" / "data"
RESULTS = DATA / "experiment_language_model.parquet"
MODELS = Path("runs/warm")

BETA, GROUP_SIZE, STEPS = 0.1, 8, 400
TASK = {"name": "running_sums", "options": {"digits": 4, "held_out": 0.3}}
WARMUP: Mapping[str, Any] = {"steps": 3000, "every": 25, "target": 0.2, "prompts": 256, "samples": 8}
WARM_STARTS, SEEDS = 2, 12

DOSES = (0.0, 1.0, 2.0)
WEIGHTS = {"1": (0.0, math.inf), "min(ρ, 2)": (1.0, 2.0), "ρ": (1.0, math.inf)}
LAGS = (100, 400)

BASE: Mapping[str, Any] = {
    "name": "experiment",
    "steps": STEPS,
    "checkpoint_every": STEPS,
    "model": {"path": ""},
    "task": TASK,
    "objective": {"algorithm": "shifted_mean"},
    "rollout": {
        "engine": "transformers",
        "place": "colocated",
        "prompts": 16,
        "group_size": GROUP_SIZE,
        "max_tokens": 9,
        "options": {"batch_size": 512},
    },
    "optimizer": {"learning_rate": 5e-4, "clip_norm": 1.0, "warmup_steps": 20},
    "evaluation": {"every": STEPS, "before": False, "prompts": 256, "samples": 16},
}


def member(dose: float, weight: str) -> Variant:
    """A cell of the residual family."""
    power, cap = WEIGHTS[weight]
    parameters = {"beta": BETA, "delta": 1.0, "dose": dose, "power": power, "cap": cap, "group_size": GROUP_SIZE}
    return Variant(f"residual {dose:g} {weight}", "residual_regression.weighted", parameters)


def residual_missing_log_g() -> ps.Algorithm:
    """OAPL without its - beta1 log G as a residual: the same expected update, a centered coefficient at ratio one."""
    return ps.residual(ps.algorithm("oapl.missing_log_g", **MISSING), group_size=GROUP_SIZE)


MISSING = {"beta1": 1.0, "beta2": BETA}

TARGET_OR_NOISE = (
    Variant("missing_log_g", "oapl.missing_log_g", MISSING),
    Variant("missing_log_g, residual", f"{__name__}:residual_missing_log_g"),
)
"""Both at L = 1. They carry a factor 2 beta in their loss: a smaller step, which Adam makes good."""

TARGET_OR_NOISE_SEEDS = 3

SLOW = 1.25e-4
"""A quarter of the rate."""

SLOW_CELLS = tuple((dose, weight) for dose in (0.0, 1.0) for weight in ("1", "ρ"))


def block(warm: int, seed: int) -> Iterator[Cell]:
    """The cells that share a warm start, prompts and sampling keys. At L = 1 dose and weight make no difference."""
    yield _cell(warm, seed, member(1.0, "1"), 1)
    if seed < TARGET_OR_NOISE_SEEDS:
        for variant in TARGET_OR_NOISE:
            yield _cell(warm, seed, variant, 1)
    for lag in LAGS:
        for dose in DOSES:
            for weight in WEIGHTS:
                yield _cell(warm, seed, member(dose, weight), lag)


def slow_block(warm: int, seed: int) -> Iterator[Cell]:
    """Four cells of a block at a quarter of the rate: the addition to the plan."""
    for lag in LAGS:
        for dose, weight in SLOW_CELLS:
            variant = replace(member(dose, weight), label=f"slow, {member(dose, weight).label}")
            yield _cell(warm, seed, variant, lag, (f"optimizer.learning_rate={SLOW}",))


def _cell(warm: int, seed: int, variant: Variant, lag: int, overrides: Iterable[str] = ()) -> Cell:
    table: dict[str, Any] = {
        **{name: dict(value) if isinstance(value, Mapping) else value for name, value in BASE.items()},
        "name": f"warm start {warm}, seed {seed}: {variant.label}, L = {lag}",
        "seed": seed,
        "model": {"path": str(MODELS / f"running_sums-{warm}")},
        "objective": {"algorithm": variant.algorithm, "parameters": dict(variant.parameters)},
        "lag": {"sync_every": lag},
    }
    for override in overrides:
        set_value(table, override)
    return Cell(f"warm start {warm}", variant, checked(Config, table, "the experiment"))


def run(
    path: Path,
    blocks: int = WARM_STARTS * SEEDS,
    jobs: int = 1,
    slow: bool = False,
    finished: kept.Finished = lambda done, count, total: None,
) -> dict[str, str]:
    """Compute what a file lacks of the first blocks; what failed, by key. Interrupted at any moment, it goes on.

    Warm starts are innermost, so that two blocks have one seed of each. ``slow``: :func:`slow_block` instead.

    Raises:
        ValueError: the file was computed by code that gives other numbers, or cannot be written.
    """
    pairs = [(warm, seed) for seed in range(SEEDS) for warm in range(WARM_STARTS)][:blocks]
    weights = {warm: make_start(warm) for warm in sorted({warm for warm, _ in pairs})}
    settled = kept.settled(path.with_suffix(".json"), probe(), tolerance=1e-3)
    folder = Path("results/llm") / path.stem
    cells = slow_block if slow else block
    wanted = [Job(cell, digest([settled, weights[warm]]), folder) for warm, seed in pairs for cell in cells(warm, seed)]
    return kept.complete(path, {job.key: job for job in wanted}, on_cores(compute, jobs), finished)


def make_start(warm: int) -> str:
    """Make the model of a warm start where it is not there, from its stored weights; the digest of those.

    Where there are none, it is warmed up, and its weights are stored.
    """
    stored, folder = DATA / f"experiment_warm_start_{warm}.safetensors", MODELS / f"running_sums-{warm}"
    if not stored.exists():
        from ..run.warmup import WarmUp, warm_up

        shutil.rmtree(folder, ignore_errors=True)
        warm_up(checked(WarmUp, {"task": TASK, "seed": warm, **WARMUP}, "warmup"), folder)
        write_whole(stored, (folder / "model.safetensors").read_bytes())
        shutil.copy(folder / "warmup.json", stored.with_suffix(".json"))
    content = stored.read_bytes()
    if not folder.exists() or (folder / "model.safetensors").read_bytes() != content:
        _unpack(content, folder)
    return sha256(content)


def _unpack(content: bytes, folder: Path) -> None:
    """The folder of a model with these weights; it appears whole or not at all."""
    from safetensors.torch import load

    from .. import tasks
    from ..run.warmup import Size
    from ..update.models import build_model, build_tokenizer

    symbols = tasks.load(TASK["name"], TASK["options"]).symbols
    assert symbols is not None
    tokenizer = build_tokenizer(symbols)
    model = build_model(tokenizer, **Size().model_dump())
    model.load_state_dict(load(content), strict=False)  # the head is tied to the embedding
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        tokenizer.save_pretrained(scratch)
        model.save_pretrained(scratch)
        write_whole(Path(scratch) / "model.safetensors", content)
        shutil.copytree(scratch, folder)


def probe() -> dict[str, float]:
    """Numbers of the third step of short runs of the kinds of objectives, from the first warm start."""
    from ..run.train import opened, train

    wanted = (member(1.0, "1"), member(0.0, "min(ρ, 2)"), member(2.0, "ρ"), TARGET_OR_NOISE[1])
    numbers = {}
    for variant in wanted:
        config = _cell(0, 0, variant, 3, ("steps=3", "rollout.prompts=2", "evaluation.every=0")).config
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            with opened(place), Watcher(place, Quiet()) as watcher:
                train(config, place, watcher)
            last = read(place / METRICS)[-1]
        for name in ("gradient/norm", "kl/k3_sequence", "policy/entropy", "reward/mean"):
            numbers[f"{variant.label}: {name}"] = float(last[name])
    return numbers
