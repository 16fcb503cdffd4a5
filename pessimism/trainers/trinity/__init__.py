"""Trinity-RFT: configuration, losses, logs and adapter."""

from __future__ import annotations

from ..document import Document
from ..trainer import Trainer
from .config import VERSION, read_trinity
from .rules import RULES, WORDINGS


def _recognizes(document: Document) -> bool:
    return document.has("algorithm.algorithm_type", "synchronizer", "buffer")


TRAINER = Trainer("Trinity-RFT", VERSION, _recognizes, {"trinity": read_trinity}, RULES, WORDINGS, "trinity")
