"""Rules in prime-rl's words."""

from __future__ import annotations

from ..rule import Wording

WORDINGS = {
    "foreign-baseline": Wording(
        fix="Start the orchestrator with the objective's advantages (examples/prime_rl/orchestrator.py)."
    ),
    "group-of-one": Wording("prime-rl 0.8.0, GRPOAlgorithm.score_group"),
}
"""The general rules in prime-rl's words."""
