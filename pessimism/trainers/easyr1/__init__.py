"""EasyR1: configuration; a fork of verl with keys of its own."""

from __future__ import annotations

from ..trainer import Trainer
from .config import VERSION, is_easyr1, read_easyr1

TRAINER = Trainer("EasyR1", VERSION, is_easyr1, {"easyr1": read_easyr1})
