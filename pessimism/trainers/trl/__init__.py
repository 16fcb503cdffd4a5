"""TRL: configuration, losses, logs and adapter."""

from __future__ import annotations

from functools import partial

from ..document import PYTHON, Document
from ..trainer import Trainer
from .config import CLASSES, KEYS, OWN_KEYS, VERSION, read_trl
from .rules import RULES, WORDINGS


def _recognizes(document: Document) -> bool:
    if document.suffix in PYTHON:
        return document.entry in CLASSES
    return document.entry == "trl" or document.has(*KEYS, *(key for keys in OWN_KEYS.values() for key in keys))


READERS = {
    "trl": read_trl,
    **{kind: partial(read_trl, kind=kind) for kind in ("trl-grpo", *OWN_KEYS)},
}
TRAINER = Trainer("TRL", VERSION, _recognizes, READERS, RULES, WORDINGS, "trl")
