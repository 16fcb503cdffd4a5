"""An evaluation as a table, for the whole task and each of its parts."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from pessimism.shell.terminal import new_table

from .examine import Examined


def evaluation_screen(found: Examined) -> Iterator[RenderableType]:
    """Reward, pass@k, lengths and entropy, with intervals; then what the table is of."""
    whole = found.whole
    table = new_table("", ">mean reward", *(f">pass@{k}" for k in whole.pass_at), ">tokens", ">cut off", ">nats/token")
    for label, one in (("all", whole), *found.parts.items()):
        estimates = [
            f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
            for estimate in (one.reward, *one.pass_at.values())
        ]
        table.add_row(label, *estimates, f"{one.length:.1f}", f"{one.cut:.1%}", f"{one.entropy:.3f}")
    yield table
    counts = f"{whole.prompts} held-out problems, {whole.samples} completions each; in brackets 95% intervals"
    unjudged = "".join(f"; {count} answers not judged: {reason}" for reason, count in found.unjudged.items())
    yield f"weights of step {found.step}: {counts}{unjudged}"
