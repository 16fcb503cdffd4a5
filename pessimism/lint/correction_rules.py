"""Rules about the sampler's probabilities: what a configuration does about their differing from the trainer's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

from ..levels import RULES
from ..trainers.rule import Found, Groups, Rule
from ..trainers.settings import Settings

GAPS = (0.01, 0.03)
"""Standard deviations of a token's log-ratio between trainer and sampler, in nats, for examples."""

LENGTHS = (1_000, 16_000)
"""Lengths of completions for examples, in tokens, where the file tells none."""


def share_outside(length: float, gap: float, low: float, high: float) -> float:
    r"""The share of completions whose summed ratio leaves [low, high], by length and gap per token.

    With independent log-ratios of standard deviation s per token, and $E_\mu[\pi / \mu] = 1$, the sum over L tokens
    is about normal with mean $-L s^2 / 2$ and variance $L s^2$.

    >>> round(share_outside(16_000, 0.03, 0.5, 2.0), 2), round(share_outside(100, 0.01, 0.5, 2.0), 2)
    (0.98, 0.0)
    """
    spread = math.sqrt(length) * gap
    sums = NormalDist(-(spread**2) / 2, spread)
    above = 0.0 if math.isinf(high) else 1.0 - sums.cdf(math.log(high))
    return above + (0.0 if low <= 0 else sums.cdf(math.log(low)))


def _sequence_mask(settings: Settings, groups: Groups) -> Iterator[Found]:
    correction = settings.correction
    if correction.kind not in ("mask", "truncate") or correction.level != "sequence" or correction.by_default:
        return  # what a trainer does by default depends on its release, which few files tell
    what = "are left out of the loss" if correction.kind == "mask" else "get that weight instead of their own"
    bounds = "is too large" if math.isinf(correction.bound) else f"exceeds {correction.bound:g}"
    if correction.low > 0:
        bounds = f"leaves [{correction.low:g}, {correction.bound:g}]"
    lengths = LENGTHS if settings.length is None else (settings.length,)
    shares = (
        f"{share_outside(length, gap, correction.low, correction.bound):.0%} of {length:,} tokens at a gap of {gap:g}"
        for length in lengths
        for gap in GAPS
    )
    example = "" if correction.bound <= 0 or math.isinf(correction.bound) else f": {', '.join(shares)} nats per token"
    yield Found("correction", f"completions whose summed ratio {bounds} {what}{example}")


NEVER_AS_A_MEAN = 1.2
ALWAYS_AS_A_SUM = 1.05
ALWAYS_PER_TOKEN = 1.001


def _correction_scale(settings: Settings, groups: Groups) -> Iterator[Found]:
    correction = settings.correction
    if correction.kind not in ("mask", "truncate") or math.isinf(correction.bound):
        return
    bound = correction.bound
    place = "correction_bound" if "correction_bound" in settings.keys else "correction"
    if bound < 1:
        yield Found(place, f"a ratio of 1, where trainer and sampler agree, is beyond the bound {bound:g}")
    elif correction.level == "sequence mean" and bound >= NEVER_AS_A_MEAN:
        yield Found(place, f"a bound of {bound:g} on an averaged ratio all but never acts")
    elif correction.level == "sequence" and bound < ALWAYS_AS_A_SUM:
        yield Found(place, f"a bound of {bound:g} is one for averaged ratios; here it bounds a product")
    elif correction.level == "token" and bound < ALWAYS_PER_TOKEN:
        yield Found(place, f"a bound of {bound:g} is one for averaged ratios; a token's leaves it by rounding")


KERNELS = 1e-3
"""By about this much, in nats, engines disagree on a completion's mean log-probability of a token."""

LARGE_SHIFT = 0.2
"""A completion's mean log-ratio is rarely as large, whichever two policies of one run are compared."""


def _number(value: object) -> float:
    """A plain number, also where YAML 1.1 takes one for a text (1e-4); no number otherwise."""
    try:
        return math.nan if isinstance(value, bool) or value is None else float(str(value))
    except ValueError:
        return math.nan


def _mask_threshold(settings: Settings, groups: Groups) -> Iterator[Found]:
    """The threshold on a failing completion's mean log-ratio (DeepSeek-V3.2), to the sampler or the trainer itself."""
    key = settings.keys.get("off_policy_mask", "")
    value = math.nan if not key else _number(settings.document.find(key)[1])
    if value >= LARGE_SHIFT:
        yield Found("off_policy_mask", f"a mean log-ratio of {value:g} nats per token is all but never reached")
    elif value < KERNELS and settings.off_policy_mask_to_sampler:
        yield Found(
            "off_policy_mask",
            f"engines alone make a completion's mean log-ratio to the sampler differ by about {KERNELS:g}, so a "
            f"threshold of {value:g} leaves out failing completions at random",
        )


def _mixed_levels(settings: Settings, groups: Groups) -> Iterator[Found]:
    made, correction = settings.objective.algorithm, settings.correction
    if made is None or correction.kind not in ("mask", "truncate"):
        return
    how = {"sum": "summed", "mean": "averaged", "all": "averaged"}
    own, other = (how.get(RULES[level].log_ratio) for level in (made.level, correction.level))
    if own and other and own != other:
        yield Found(
            "correction",
            f"the loss takes the {own} log-ratio of a completion, the sampler's correction the {other} one",
        )


LONG = 4_096
"""From so many tokens on completions are long."""


def _uncorrected_sampler(settings: Settings, groups: Groups) -> Iterator[Found]:
    """Where it was chosen, or completions may be long: what kernels disagree on adds up over their tokens."""
    chosen = settings.document.find(settings.key("correction_on"))[0]
    long = settings.length is not None and settings.length >= LONG
    if settings.correction.kind == "none" and settings.objective.uses_log_ratio and (chosen or long):
        yield Found(
            "correction_on", "the ratio is taken to probabilities that the trainer recomputes, not to the sampler's"
        )


def _stale_uncorrected(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.correction.kind == "none" and settings.lag.asynchronous and settings.lag.bound > 0:
        yield Found(
            "correction_on", "samples come from older policies, but the ratio is taken to the trainer's own last one"
        )


CORRECTION_RULES = (
    Rule(
        "sequence-mask",
        "warning",
        _sequence_mask,
        "The log-ratio between trainer and sampler is summed over a completion, so its size grows with the length: "
        "long completions are left out first, at a bound that says nothing about length.",
        "derived here",
        "Use a correction per token, or a bound that suits your lengths, and watch the share masked.",
    ),
    Rule(
        "correction-scale",
        "warning",
        _correction_scale,
        "Bounds of a token's ratio lie near 2, of a product over a completion higher, of an average within some "
        "thousandths of 1: one that is made for another level either always acts or never.",
        "derived here",
        "Use a bound that was tuned at this level.",
    ),
    Rule(
        "off-policy-mask-scale",
        "warning",
        _mask_threshold,
        "Trainers measure the shift from different policies: from the sampler's probabilities, which differ by kernels "
        "alone, or from the trainer's own, which do not. A threshold for one is none for the other.",
        "derived here",
        "Log the mean log-ratio of failing completions, and set the threshold well above its spread on fresh samples.",
    ),
    Rule(
        "mixed-levels",
        "warning",
        _mixed_levels,
        "A sum and a mean of log-ratios differ by the factor of the length, silently.",
        "derived here",
        "Take both at the same level.",
    ),
    Rule(
        "uncorrected-sampler",
        "note",
        _uncorrected_sampler,
        "Sampler and trainer disagree on probabilities (kernels, precision), and the behavior policy is the sampler's.",
        "derived here",
        "Turn the correction on, or use the sampler's log-probabilities in the ratio.",
    ),
    Rule(
        "stale-uncorrected",
        "warning",
        _stale_uncorrected,
        "The behavior policy is the one that sampled; a ratio to a newer one leaves the lag out of the clip and the "
        "weight.",
        "derived here",
        "Use the sampler's log-probabilities in the ratio.",
    ),
)
