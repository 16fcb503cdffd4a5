"""verl: configuration, losses, logs and adapter."""

from __future__ import annotations

from ..document import Document
from ..trainer import Trainer
from .config import VERSION, read_verl
from .rules import RULES, WORDINGS


def _recognizes(document: Document) -> bool:
    defaults = document.values.get("defaults")
    based_on = [str(entry) for entry in defaults] if isinstance(defaults, list) else []
    return (
        document.has("actor_rollout_ref", "algorithm.adv_estimator")
        or document.entry.startswith("verl.")
        or any("ppo" in entry and "trainer" in entry for entry in based_on)
    )


TRAINER = Trainer("verl", VERSION, _recognizes, {"verl": read_verl}, RULES, WORDINGS, "verl")
