"""slime, and miles, which takes its flags: configuration."""

from __future__ import annotations

from ..trainer import Trainer
from .config import VERSION, is_slime, read_slime

TRAINER = Trainer("slime", VERSION, is_slime, {"slime": read_slime, "miles": read_slime})
