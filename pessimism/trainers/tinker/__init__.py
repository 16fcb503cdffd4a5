"""Tinker cookbook: configuration of its reinforcement learning."""

from __future__ import annotations

from ..rule import Wording
from ..trainer import Trainer
from .config import VERSION, is_tinker, read_tinker

WORDINGS = {"biased-drop": Wording("tinker-cookbook#822")}
"""The general rules in Tinker cookbook's words."""

TRAINER = Trainer("Tinker cookbook", VERSION, is_tinker, {"tinker": read_tinker}, wordings=WORDINGS)
