"""slime, and miles, which takes its flags: configuration."""

from __future__ import annotations

from ..rule import Wording
from ..trainer import Trainer
from .config import VERSION, is_slime, read_slime

WORDINGS = {
    "no-lag-bound": Wording("slime#1800", "Bound the age of trained samples in your rollout function, and log it."),
    "steps-per-batch": Wording("miles#1697"),
}
"""The general rules in slime's words."""

READERS = {"slime": read_slime, "miles": read_slime}
TRAINER = Trainer("slime", VERSION, is_slime, READERS, wordings=WORDINGS)
