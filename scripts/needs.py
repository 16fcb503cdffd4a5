"""What each published setting needs of a cluster, in docs/training_on_many_gpus.md: arithmetic, see llm.fit.cluster.

python -m scripts.needs            rewrite the table: minutes
python -m scripts.needs --check    change nothing; status 1 if it is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from llm.cli import CONFIGS
from llm.config import Config, load
from llm.fit.architectures import KNOWN
from llm.fit.cards import CARDS
from llm.fit.cluster import needs
from llm.show.output import size

from .documents import ROOT, grid, refresh

PAGE = ROOT / "docs" / "training_on_many_gpus.md"
CARD = "H100-80GB"
NODES = (8, 16, 64)
"""Cards of the last columns."""


def settings() -> Iterator[tuple[str, Config]]:
    """Published settings as shipped and, where adapters are trained, with all weights, as their sources do."""
    for path in sorted(CONFIGS.glob("*.toml")):
        config = load(path)
        if config.model.path not in KNOWN:
            continue
        yield "all weights" if config.model.lora is None else "adapters", config
        if config.model.lora is not None:
            yield "all weights", config.model_copy(update={"model": config.model.model_copy(update={"lora": None})})


def row(kind: str, config: Config) -> list[str]:
    """A line of the table."""
    found = needs(config, CARDS[CARD])
    cells = [config.name, kind, str(found.train), size(found.held(found.train)), str(found.serve), size(found.disk)]
    for cards in NODES:
        split = found.split(cards)
        hours = "" if split is None else f"{found.step(*split) * found.steps / 3600:,.1f}"
        cells.append("too few" if split is None else f"{split[0]} + {split[1]}: {hours} h")
    return cells


def tables() -> dict[str, str]:
    """The generated part of the page."""
    columns = ["setting", "trained", "cards to train, at least", "used of each", "to sample, at least", "disk"]
    columns += [f"{cards} cards" for cards in NODES]
    return {"needs": grid(columns, [row(*one) for one in settings()])}


if __name__ == "__main__":
    sys.exit(refresh(PAGE, tables, "python -m scripts.needs", __doc__))
