"""OpenRLHF: configuration."""

from __future__ import annotations

from ..trainer import Trainer
from .config import VERSION, is_openrlhf, read_openrlhf

TRAINER = Trainer("OpenRLHF", VERSION, is_openrlhf, {"openrlhf": read_openrlhf}, keys="openrlhf")
