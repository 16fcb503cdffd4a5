"""Axolotl: configuration and logs; its trainer is TRL's."""

from __future__ import annotations

from ..trainer import Trainer
from ..trl.rules import RULES, WORDINGS
from .config import VERSION, is_axolotl, read_axolotl

TRAINER = Trainer("Axolotl", VERSION, is_axolotl, {"axolotl": read_axolotl}, RULES, WORDINGS)
