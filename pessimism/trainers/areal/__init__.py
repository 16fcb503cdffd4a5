"""AReaL: configuration."""

from __future__ import annotations

from ..rule import Wording
from ..trainer import Trainer
from .config import VERSION, is_areal, read_areal

WORDINGS = {
    "ratio-is-one": Wording("AReaL 4aef98d, ppo_actor_loss_fn: the ratio is to the proximal policy"),
    "stale-uncorrected": Wording(fix="Set actor.rejection_sampling with use_decoupled_loss."),
}
"""The general rules in AReaL's words."""

TRAINER = Trainer("AReaL", VERSION, is_areal, {"areal": read_areal}, wordings=WORDINGS)
