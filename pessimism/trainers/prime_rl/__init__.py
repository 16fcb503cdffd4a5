"""prime-rl: configuration, losses, logs and adapter."""

from __future__ import annotations

from ..document import Document
from ..trainer import Trainer
from .config import VERSION, read_prime_rl
from .rules import WORDINGS


def _recognizes(document: Document) -> bool:
    return document.suffix == ".toml"


TRAINER = Trainer("prime-rl", VERSION, _recognizes, {"prime-rl": read_prime_rl}, (), WORDINGS)
