"""open-instruct: configuration of its GRPO."""

from __future__ import annotations

from ..rule import Wording
from ..trainer import Trainer
from .config import VERSION, is_open_instruct, read_open_instruct

WORDINGS = {
    "uncorrected-sampler": Wording("open-instruct#1473", fix="Set use_rho_correction, or use_vllm_logprobs."),
    "stale-uncorrected": Wording(fix="Set use_rho_correction, or use_vllm_logprobs."),
}
"""The general rules in open-instruct's words."""

TRAINER = Trainer("open-instruct", VERSION, is_open_instruct, {"open-instruct": read_open_instruct}, wordings=WORDINGS)
