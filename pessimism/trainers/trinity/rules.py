"""Rules about what only Trinity-RFT has."""

from __future__ import annotations

from collections.abc import Iterator

from ..rule import Found, Groups, Rule, Wording
from ..settings import Settings


def _cispo_mask(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.entry == "trinity.cispo_masked":
        yield Found("cispo_mask", "clipped tokens are masked out of the loss")


def _sapo_stopped_gate(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.entry == "trinity.sapo":
        yield Found("loss", "the gate is a constant factor of the gradient, not part of what is differentiated")


def _aggregation_ignored(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.given("aggregation_ignored") and not settings.given("aggregation"):
        yield Found(
            "aggregation_ignored", "loss_agg_mode is set for the loss function, and overwritten with token-mean"
        )


def _opmd_temperature(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.entry == "trinity.opmd":
        tau, kl = settings.parameters["tau"], settings.parameters["kl"]
        beta = f"{kl * (1 + tau):g}, from the KL penalty" if kl else "0: nothing holds the policy"
        yield Found("tau", f"tau = {tau:g} divides the step by {1 + tau:g}; the temperature of the target is {beta}")


RULES = (
    Rule(
        "cispo-mask",
        "warning",
        _cispo_mask,
        "CISPO is for keeping the gradient of clipped tokens; the mask takes it away again, and the loss is a PPO "
        "clip.",
        "trinity-rft 0.6.0, CISPOPolicyLossFn; MiniMax-M1, arXiv 2506.13585",
        "Leave enable_mask_clip at false.",
    ),
    Rule(
        "sapo-stopped-gate",
        "warning",
        _sapo_stopped_gate,
        "The source differentiates the gate, whose weight then falls off for large ratios: 1.0, 1.6 and 0.7 at ratios "
        "1, 2 and 4. As a constant factor it grows instead: 2.0, 2.9, 3.8.",
        "trinity-rft 0.6.0, SAPOPolicyLossFn; SAPO, arXiv 2511.20347",
        "Use a policy loss that differentiates the gate, or know that large ratios are not held back.",
    ),
    Rule(
        "loss-agg-mode-ignored",
        "warning",
        _aggregation_ignored,
        "Trinity-RFT writes algorithm.loss_agg_mode, whose default is token-mean, over the loss function's own; so "
        "its GSPO runs with token means unless told otherwise.",
        "trinity-rft 0.6.0, common/config_validator.py",
        "Set algorithm.loss_agg_mode.",
    ),
    Rule(
        "opmd-temperature",
        "warning",
        _opmd_temperature,
        "The loss has no log-ratio of its own: tau scales the step, not the target. What regularizes is the KL "
        "penalty alone.",
        "trinity-rft 0.6.0, OPMDPolicyLossFn; Kimi k1.5, arXiv 2501.12599; derived here",
        "For OPMD with a temperature use algorithm_type: rec with regularizer: k2 and regularizer_coef: half of it.",
    ),
)
"""The rules."""

WORDINGS = {
    "dual-clip": Wording("trinity-rft 0.6.0 has it on by default"),
    "group-of-one": Wording("trinity-rft 0.6.0, whose advantages take the mean of one for 0"),
    "no-lag-bound": Wording("Trinity-RFT#445"),
}
"""The general rules in Trinity-RFT's words."""
