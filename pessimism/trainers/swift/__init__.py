"""ms-swift: configuration; its GRPO trainer is TRL's with further losses and advantages."""

from __future__ import annotations

from ..trainer import Trainer
from ..trl.rules import WORDINGS
from .config import VERSION, is_swift, read_swift

OWN_WORDS = ("ratio-is-one", "truncated-sampling")
"""Rules whose words for TRL's users hold for ms-swift's."""

TRAINER = Trainer(
    "ms-swift",
    VERSION,
    is_swift,
    {"ms-swift": read_swift},
    wordings={rule: wording for rule, wording in WORDINGS.items() if rule in OWN_WORDS},
)
