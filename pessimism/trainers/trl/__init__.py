"""TRL: configuration, losses, logs and adapter."""

from __future__ import annotations

from functools import partial

from ..document import PYTHON, Document
from ..keys import known_keys, unknown_keys
from ..trainer import Trainer
from .config import CLASSES, KEYS, OWN_KEYS, VERSION, read_trl
from .rules import RULES, WORDINGS


def _recognizes(document: Document) -> bool:
    strange = [key for key, meant in unknown_keys(document.values, known_keys("trl")).items() if not meant]
    known = len(strange) <= (1 - SHARE) * len(document.values)
    if document.suffix in PYTHON:
        return document.entry in CLASSES and known
    if document.entry == "trl":
        return True
    own = document.has(*KEYS, *(key for keys in OWN_KEYS.values() for key in keys))
    return own and known


SHARE = 0.5
"""How many of a file's keys must be TRL's, misspelt ones among them: other trainers have some of the same names."""


READERS = {
    "trl": read_trl,
    **{kind: partial(read_trl, kind=kind) for kind in ("trl-grpo", *OWN_KEYS)},
}
TRAINER = Trainer("TRL", VERSION, _recognizes, READERS, RULES, WORDINGS, "trl")
