"""Rules about what only prime-rl has, and general ones in its words."""

from __future__ import annotations

from collections.abc import Iterator

from ..rule import Found, Groups, Rule, Wording
from ..settings import Settings


def _unbounded_ratio(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.entry in ("prime_rl.default", "prime_rl.ipo") and settings.lag.asynchronous:
        yield Found(
            "loss", "tokens are masked by pi - mu, which bounds no ratio: where mu is small, pi / mu can be any"
        )


RULES = (
    Rule(
        "unbounded-ratio",
        "note",
        _unbounded_ratio,
        "A token of mu = e^-90 that now has pi = 0.15 stays inside the mask and weighs e^88: one stale token can "
        "outweigh a batch.",
        "prime-rl 0.8.0, trainer/rl/loss.py; derived here",
        "Watch the largest ratio, and keep max_off_policy_steps small.",
    ),
)
"""The rules."""

WORDINGS = {
    "foreign-baseline": Wording(
        fix="Start the orchestrator with the objective's advantages (examples/prime_rl/orchestrator.py)."
    ),
    "group-of-one": Wording("prime-rl 0.8.0, GRPOAlgorithm.score_group"),
}
"""The general rules in prime-rl's words."""
