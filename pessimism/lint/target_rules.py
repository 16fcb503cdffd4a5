"""Rules about the target: what baseline, temperature and penalties make of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..reference_groups import spread
from ..trainers.rule import Found, Groups, Rule
from ..trainers.settings import Settings

UNBOUND = 1e-3
"""A penalty binds where it leaves failing completions more probability than this."""


def _log_sum_exp(settings: Settings, groups: Groups) -> Iterator[Found]:
    made = settings.objective.algorithm
    if made is not None and made.baseline.name == "log sum exp":
        yield Found("baseline", f"the baseline is {made.baseline.formula.removeprefix('V = ')}, a sum and not a mean")


def _negative_regime(settings: Settings, groups: Groups) -> Iterator[Found]:
    made = settings.objective.algorithm
    if made is not None and made.beta is None and not settings.lag.off_policy:
        return  # on data from the policy itself no constant in the baseline moves the gradient
    negative = [group for group in groups if group.regime == "negative"]
    if negative:
        first = negative[0]
        yield Found(
            "baseline",
            f"the regime is negative on {len(negative)} of {len(groups)} reference groups, "
            f"e.g. {first.passing} of {first.group_size} passing",
        )


def _dead_prefix(settings: Settings, groups: Groups) -> Iterator[Found]:
    made = settings.objective.algorithm
    if made is None or made.beta is None or made.level != "token":
        return
    unstable = [group for group in groups if group.advantages[0] < -made.beta]
    if unstable:
        first = unstable[0]
        yield Found(
            "loss",
            f"log-ratios are squared per token with beta = {made.beta:g}; on {len(unstable)} of {len(groups)} "
            f"reference groups a failing completion's advantage is below -beta, e.g. {first.advantages[0]:.3g} "
            f"where {first.passing} of {first.group_size} pass",
        )


def _beta_order(settings: Settings, groups: Groups) -> Iterator[Found]:
    beta1, beta2 = settings.parameters.get("beta1"), settings.parameters.get("beta2")
    if beta1 is not None and beta2 is not None and beta2 >= beta1:
        words = "equals" if beta2 == beta1 else "exceeds"
        yield Found("beta2", f"beta2 = {beta2:g} {words} beta1 = {beta1:g}")


def _asymre_shift(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.entry == "asymre" and settings.parameters["shift"] >= 0:
        yield Found("shift", f"the baseline is shifted by {settings.parameters['shift']:g}")


def _collapse(settings: Settings, groups: Groups) -> Iterator[Found]:
    entry = settings.objective.entry
    if settings.objective.unheld and settings.lag.off_policy and settings.penalty is None:
        yield Found("loss", f"{entry} has no ratio and no penalty, and its data come from an older policy")


def _foreign_baseline(settings: Settings, groups: Groups) -> Iterator[Found]:
    made, own = settings.objective.algorithm, settings.objective.replaced_baseline
    if made is not None and own:
        yield Found(
            "baseline", f"{settings.objective.entry} has the baseline {own}; here it is {made.baseline.formula}"
        )


def _dr_grpo_std(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.aggregation == "constant" and settings.scaling and settings.clip is not None:
        yield Found(
            "scaling", f"tokens are summed over a constant, but advantages are divided by the {settings.scaling}"
        )


def _std_with_beta(settings: Settings, groups: Groups) -> Iterator[Found]:
    made = settings.objective.algorithm
    scaled = settings.penalty is not None and settings.penalty.place != "reward" and not _never_binds(settings, groups)
    has_beta = scaled or (made is not None and (made.beta is not None or "tau" in made.parameters))
    if settings.scaling != "group std" or not has_beta or made is None:
        return  # of a loss that is not known it cannot be told what a penalty is held against
    rare = min(groups, key=lambda group: group.passing / group.group_size, default=None)
    even = max(groups, key=lambda group: group.passing * (group.group_size - group.passing), default=None)
    example = ""
    if rare is not None and even is not None:
        scales = [1 / (group.advantages[1] - group.advantages[0]) for group in (rare, even)]
        example = (
            f": in units of reward it is worth {scales[0]:.2g} of itself where {rare.passing} of {rare.group_size} "
            f"pass and {scales[1]:.2g} where {even.passing} of {even.group_size} do"
        )
    yield Found("scaling", f"the temperature is set against advantages that are divided by the group's std{example}")


def _never_binds(settings: Settings, groups: Groups) -> float:
    """The log of the ratio at which a penalty holds the advantage, where failures are gone before; else 0.

    A penalty in the reward is scaled with it, so that only the difference of rewards, 1, counts.
    """
    if settings.penalty is None or not groups:
        return 0.0
    gap = (1.0 if settings.penalty.place == "reward" else spread(groups)) / settings.penalty.coefficient
    size = settings.group_size if settings.group_size is not None and settings.group_size > 1 else groups[0].group_size
    return gap if gap > math.log((size - 1) / UNBOUND) else 0.0


def _kl_too_small(settings: Settings, groups: Groups) -> Iterator[Found]:
    """Silent about a trainer's default: what nobody chose is no choice to think over."""
    gap = _never_binds(settings, groups)
    if gap and settings.penalty is not None and settings.given("penalty"):
        yield Found(
            "penalty",
            f"at {settings.penalty.coefficient:g} the penalty holds the advantage only once a passing completion is "
            f"e^{gap:.0f} times more likely than a failing one",
        )


def _kl_k1_in_loss(settings: Settings, groups: Groups) -> Iterator[Found]:
    penalty = settings.penalty
    if penalty is not None and penalty.place == "loss" and penalty.estimator == "k1":
        yield Found("kl_estimator", "the KL penalty in the loss is the plain log-ratio (k1)")


TARGET_RULES = (
    Rule(
        "log-sum-exp-baseline",
        "error",
        _log_sum_exp,
        "Without - beta1 log G the baseline lies above the group's soft value by beta1 log G: every group of two or "
        "more is in the negative regime.",
        "OAPL, arXiv 2602.19362; derived here (claim negative.missing_log_g)",
        "Subtract beta1 log G, i.e. take the log of the mean: the catalogue's oapl.",
    ),
    Rule(
        "negative-regime",
        "error",
        _negative_regime,
        "Beyond the boundary the induced target is more aggressive than the nominal one, and there can be several: "
        "which one training ends at depends on its path, and it can be a completion that the data hardly show.",
        "arXiv 2605.28150; derived here",
        "Lower the baseline (a mean or a shifted mean), or raise beta1 above beta2.",
    ),
    Rule(
        "dead-prefix",
        "warning",
        _dead_prefix,
        "Per token, every prefix has a target of its own, and its regime compares the baseline with what can still be "
        "earned from there. After a prefix that is bound to fail, a baseline more than beta above the reward makes "
        "the behavior policy an unstable point: any noise drives the next token toward a single one.",
        "derived here (claim prefixes.dead)",
        "Take the log-ratio per sequence, or lower the baseline: V <= 0 keeps every prefix out of the negative regime "
        "when rewards are >= 0.",
    ),
    Rule(
        "beta-order",
        "error",
        _beta_order,
        "Pessimism comes from beta1 > beta2. With beta1 = beta2 there is none (the boundary), with beta1 < beta2 the "
        "regime is negative on every prompt whose rewards differ.",
        "A*-PO, arXiv 2505.20686; OAPL, arXiv 2602.19362; derived here",
        "Keep beta2 well below beta1; the sources use 0.5 and 0.001, and 1 and 0.001.",
    ),
    Rule(
        "asymre-shift",
        "error",
        _asymre_shift,
        "With a shift of 0 or more AsymRE's target is a single completion; its authors saw a collapse in every run at "
        "0.",
        "AsymRE, arXiv 2506.20520",
        "Use a negative shift; the authors use -0.1.",
    ),
    Rule(
        "collapse",
        "warning",
        _collapse,
        "On data from an older policy a ratio-free policy gradient with a mean baseline puts all mass on the "
        "completion of largest behavior probability times advantage, which need not be the best one.",
        "arXiv 2509.24203; derived here",
        "Take one step per batch on fresh data, lower the baseline (asymre, shifted_mean), or use a ratio.",
    ),
    Rule(
        "foreign-baseline",
        "warning",
        _foreign_baseline,
        "The amount of pessimism is set by the baseline: another one makes another objective of the same loss.",
        "arXiv 2605.28150; docs/adapters.md",
        "Use the adapter's advantage with the same objective.",
    ),
    Rule(
        "dr-grpo-std",
        "warning",
        _dr_grpo_std,
        "Dr. GRPO takes two things out of GRPO: the length and the standard deviation. Here only the length is out.",
        "Dr. GRPO, arXiv 2503.20783",
        "Do not divide by the standard deviation.",
    ),
    Rule(
        "std-with-beta",
        "warning",
        _std_with_beta,
        "Dividing advantages by the group's spread multiplies the temperature by it: prompts where almost all pass or "
        "fail are held back less than the others by the same setting.",
        "derived here (equivariance: the target depends on reward over beta)",
        "Do not divide by the spread where a temperature or KL penalty is to mean the same on every prompt.",
    ),
    Rule(
        "kl-too-small",
        "note",
        _kl_too_small,
        "Where the advantage outweighs a penalty until failing completions are gone, training ends where it would "
        "without it: the penalty slows the way there, for the price of a reference model.",
        "derived here: the Gibbs target of the penalty alone",
        "Raise it by orders of magnitude, or drop it and save the reference model.",
    ),
    Rule(
        "kl-k1-in-loss",
        "warning",
        _kl_k1_in_loss,
        "On data from the policy the gradient of the mean log-ratio is the mean of the score, which is zero: nothing "
        "but noise.",
        "derived here: E_pi grad log pi = 0",
        "Use k2 or k3 (low_var_kl), or put the penalty into the reward.",
    ),
)
