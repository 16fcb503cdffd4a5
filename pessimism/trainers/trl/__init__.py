"""TRL: configuration, losses, logs and adapter."""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from pathlib import PurePath

from ..document import PYTHON, Document
from ..keys import known_keys, unknown_keys
from ..trainer import Trainer
from .config import CLASSES, KEYS, LOSSES, OWN_KEYS, VERSION, read_trl_file
from .rules import RULES, WORDINGS


def _recognizes(document: Document) -> bool:
    if document.suffix in PYTHON:
        return document.entry in CLASSES and (document.entry == "OnlineDPOConfig" or _has_its_keys(document))
    if document.entry == "trl" or ("grpo" in PurePath(document.entry).stem and _has_its_keys(document)):
        return True
    keys = [key for key in KEYS if key != "loss_type" or _may_be_loss(document.values.get(key))]
    return document.has(*keys, *(key for keys in OWN_KEYS.values() for key in keys)) and _has_its_keys(document)


FOREIGN = ("clip_eps", "kl_coeff", "kl_coef", "clip_range", "clip_ratio", "kl_weight")
"""Names that programs of their own have for what TRL calls epsilon and beta."""


def _has_its_keys(document: Document) -> bool:
    if document.suffix not in PYTHON and document.has(*FOREIGN):
        return False
    known = known_keys("trl")
    allowed = (1 - SHARE) * len(document.values)
    strange = {key: value for key, value in document.values.items() if key not in known}
    if len(strange) <= allowed or len(strange) > MOST:
        return len(strange) <= allowed
    return sum(not meant for meant in unknown_keys(strange, known).values()) <= allowed


MOST = 100
"""Of more strange keys than this it is not asked whether they are misspelt."""


def _may_be_loss(value: object) -> bool:
    """Whether a value is one of GRPO's losses, or a slip of the pen for one: other trainers have a loss_type too."""
    return bool(get_close_matches(str(value), LOSSES, n=1))


SHARE = 0.5
"""How many of a file's keys must be TRL's, misspelt ones among them: other trainers have some of the same names."""


READERS = {
    "trl": read_trl_file,
    **{kind: partial(read_trl_file, kind=kind) for kind in ("trl-grpo", *OWN_KEYS, "trl-online-dpo")},
}
TRAINER = Trainer("TRL", VERSION, _recognizes, READERS, RULES, WORDINGS, "trl")
