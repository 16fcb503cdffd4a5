"""prime-rl: configuration, losses, logs and adapter."""

from __future__ import annotations

from ..document import Document
from ..trainer import Trainer
from .config import VERSION, read_prime_rl
from .rules import RULES, WORDINGS

SECTIONS = ("orchestrator", "trainer", "train", "loss", "inference", "max_steps", "max_off_policy_steps")
"""Keys of its files that other TOML files hardly have."""


def _recognizes(document: Document) -> bool:
    return document.suffix == ".toml" and document.has(*SECTIONS)


TRAINER = Trainer("prime-rl", VERSION, _recognizes, {"prime-rl": read_prime_rl}, RULES, WORDINGS, keys="prime_rl")
