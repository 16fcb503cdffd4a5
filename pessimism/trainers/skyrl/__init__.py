"""SkyRL: configuration."""

from __future__ import annotations

from ..trainer import Trainer
from .config import VERSION, is_skyrl, read_skyrl

TRAINER = Trainer("SkyRL", VERSION, is_skyrl, {"skyrl": read_skyrl}, keys="skyrl")
