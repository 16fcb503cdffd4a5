"""What ``train --dry-run`` shows: what a run would do, and what it would take of the card that it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table

from pessimism.shell.terminal import new_table

from ..config import Config
from ..run.plan import plan
from ..run.prepare import warm_up_settings
from .output import size


def plan_screen(config: Config) -> Iterator[RenderableType]:
    """Schedule, samples and data of a run.

    Raises:
        ValueError: a task or a warm-up that cannot be made, or groups that are too small for the objective.
    """
    if config.warmup is not None:
        warm_up_settings(config)
    found = plan(config)
    lag = config.lag
    table = Table.grid(padding=(0, 3, 0, 0))
    each = f", each for {lag.epochs:,} steps" if lag.epochs > 1 else ""
    for label, value in (
        ("objective", config.objective.described()),
        ("model", config.model.path + ("" if Path(config.model.path).exists() else ", which is not on this disk")),
        ("hardware", _hardware(config)),
        ("task", f"{config.task.name}: {found.train:,} problems to train on, {found.held_out:,} held out"),
        ("steps", f"{config.steps:,} in {found.windows:,} windows of {lag.sync_every:,}"),
        ("batches per window", f"{found.batches_per_window:,}{each}"),
        ("largest lag", f"{found.largest_lag:,} steps"),
        ("samples per step", f"{found.samples_per_step:,} ({config.rollout.prompts} x {config.rollout.group_size})"),
        ("samples in all", f"{found.samples:,}, at most {found.tokens:,} tokens"),
        ("buffer on disk", f"at most about {size(found.buffer_bytes)}, and the prompts' texts"),
    ):
        table.add_row(label, value)
    yield table
    yield "nothing was loaded or written"


def memory_screen(config: Config) -> Iterator[RenderableType]:
    """What a run would take of its card, of the disk and of the host, and the time of a step; nothing without a card.

    Raises:
        ValueError: the shapes of its model are not known.
    """
    if config.hardware.card is None:
        return
    from ..fit import table as fit

    found = fit.account(config)
    trainer, engine = found.trainer, found.engine
    rows = new_table("on the card", ">memory", "how much of what")
    frozen = "" if trainer.trained == trainer.parameters else f", of which {trainer.trained / 1e6:,.0f} M are trained"
    for label, memory, note in (
        ("weights", trainer.weights, f"{trainer.parameters / 1e9:.2f} B parameters{frozen}"),
        ("gradients", trainer.gradients, "of what is trained, float32"),
        ("moments", trainer.moments, "of AdamW"),
        ("activations", trainer.activations, f"a pass of {config.optimizer.tokens_per_pass:,} tokens; the largest of:"),
        *((f"  peak, {phase}", peak, "trainer in all") for phase, peak in trainer.peaks.items()),
        ("  head alone", trainer.head, "log-probabilities over the vocabulary, forward and backward"),
        ("allowance", found.allowance, f"CUDA {size(fit.CONTEXT)}, and {fit.PIECES:.0%} of the peak in pieces"),
        ("engine", engine.share, f"weights {size(engine.weights)}, {engine.sequences:.1f} whole completions of cache"),
        ("in all", found.total, f"of {size(found.card.memory)} on {config.hardware.count} x {found.name}"),
    ):
        rows.add_row(label, size(memory), note)
    yield rows
    yield "fits" if found.fits else "DOES NOT FIT"
    rest = Table.grid(padding=(0, 3, 0, 0))
    for label, value in (
        ("checkpoint on disk", f"{size(found.checkpoint)}; while one is written up to {size(found.checkpoints)}"),
        ("memory of the host", f"about {size(found.host)}, beside Python, libraries and data"),
        ("time of a step", f"update {found.update:,.0f} s, sampling {found.sampling:,.0f} s at full length"),
        ("", f"(at {fit.REACHED_FLOPS:.0%} of the card's FLOP/s and {fit.REACHED_BANDWIDTH:.0%} of its bandwidth)"),
    ):
        rest.add_row(label, value)
    yield rest


def cluster_screen(config: Config, nodes: int, gpus: int) -> Iterator[RenderableType]:
    """What a run would need of some machines with cards of the kind that it names, by arithmetic.

    Raises:
        ValueError: it names no card, or the shapes of its model are not known.
    """
    from ..fit.cards import CARDS
    from ..fit.cluster import needs

    if config.hardware.card is None:
        raise ValueError("--nodes and --gpus need hardware.card, the kind of card that the machines have")
    found, cards = needs(config, CARDS[config.hardware.card]), nodes * gpus
    split = found.split(cards)
    rows = Table.grid(padding=(0, 3, 0, 0))
    rows.add_row("machines", f"{nodes:,} with {gpus:,} x {config.hardware.card}")
    rows.add_row("cards to train", f"at least {found.train:,}, {size(found.held(found.train))} used of each")
    rows.add_row("cards to sample", f"{found.serve:,} for each model")
    if split is None:
        rows.add_row(
            "in all", f"{cards:,} cards are TOO FEW for both; at least {found.train + found.serve:,} are needed"
        )
    else:
        step = found.step(*split)
        rows.add_row("shortest step", f"{step:,.0f} s, {split[0]:,} cards to train and {split[1]:,} to sample")
        rows.add_row("the run", f"{step * found.steps / 3600:,.1f} hours without evaluation and syncs, at full length")
    rows.add_row("shared disk", f"up to {size(found.disk)}")
    yield rows
    yield "arithmetic; no run on several GPUs has tested it"


def _hardware(config: Config) -> str:
    import torch

    if not config.hardware.gpu:
        return "any"
    return "a GPU" + ("" if torch.cuda.is_available() else ", which is not here")
