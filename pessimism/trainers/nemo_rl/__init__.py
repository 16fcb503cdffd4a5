"""NeMo-RL: configuration."""

from __future__ import annotations

from ..trainer import Trainer
from .config import VERSION, is_nemo_rl, read_nemo_rl

TRAINER = Trainer("NeMo-RL", VERSION, is_nemo_rl, {"nemo-rl": read_nemo_rl}, keys="nemo_rl")
