"""Rules about the data: how they are sampled, how old they are, and which of them are left out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..trainers.rule import Found, Groups, Rule
from ..trainers.settings import Settings


def _truncated_sampling(settings: Settings, groups: Groups) -> Iterator[Found]:
    """Only what the file sets: a default depends on the release, which few files tell."""
    if settings.objective.uses_log_ratio:
        for name, words in settings.sampling.changes:
            if settings.given(name):
                yield Found(name, words)


def _temperature_mismatch(settings: Settings, groups: Groups) -> Iterator[Found]:
    sampling = settings.sampling
    if sampling.temperature != sampling.trained_at:
        yield Found(
            "temperature",
            f"completions are sampled at temperature {sampling.temperature:g}, trained on at {sampling.trained_at:g}",
        )
    elif sampling.temperature < ALL_THE_SAME:
        same = "the same" if sampling.temperature == 0 else "all but the same"
        yield Found(
            "temperature", f"completions are sampled at temperature {sampling.temperature:g}: all of a group are {same}"
        )


ALL_THE_SAME = 0.05
"""Below this temperature a token one nat less likely than another is e^-20 times as likely, or less."""


def _group_of_one(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.group_size == 1 and settings.needs_group:
        origin = "" if settings.given("group_size") else " (the default)"
        yield Found("group_size", f"a group has one completion{origin}, and the baseline compares within groups")


def _steps_per_batch(settings: Settings, groups: Groups) -> Iterator[Found]:
    steps = settings.lag.steps
    if steps is None:
        yield Found("steps", "how many steps are taken on one batch of samples depends on what is not in the file")
    elif steps > 1:
        yield Found(
            "steps",
            f"{steps:g} optimizer steps are taken on samples of one policy: all but the first are off-policy",
        )


def _mini_batch_larger(settings: Settings, groups: Groups) -> Iterator[Found]:
    """Where the trainer's reader tells the key of the batch: the trainer then stops at the start."""
    batch, mini = settings.value("batch"), settings.value("steps")
    if isinstance(batch, int) and isinstance(mini, int) and 0 < batch < mini and not settings.on("dynamic_batch"):
        yield Found("steps", f"a mini-batch of {mini} is larger than the batch of {batch}")


def _ratio_is_one(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.lag.ratio_is_one and settings.clip is not None:
        yield Found(
            "steps", "the ratio is measured from the policy that is updated, so it is 1 and the clip never acts"
        )


def _no_lag_bound(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.lag.asynchronous and math.isinf(settings.lag.bound):
        yield Found("bound", "sampling and training run apart, and nothing bounds how old a trained sample is")


def _stale_data(settings: Settings, groups: Groups) -> Iterator[Found]:
    lag = settings.lag
    if lag.asynchronous and 0 < lag.bound < math.inf:
        yield Found("bound", f"trained samples may be up to {lag.bound:g} versions old")


def _biased_drop(settings: Settings, groups: Groups) -> Iterator[Found]:
    for drop in settings.drops:
        yield Found(drop.name, drop.what)
    if settings.lag.asynchronous and settings.lag.drops_stale and math.isfinite(settings.lag.bound):
        yield Found("bound", f"samples more than {settings.lag.bound:g} versions old are dropped")


def _cannot_tell(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.objective.unknown and not settings.untrained:
        yield Found("loss", f"cannot tell what the objective is: {settings.objective.unknown}")


def _untrained(settings: Settings, groups: Groups) -> Iterator[Found]:
    if settings.untrained:
        yield Found("untrained", f"{settings.untrained}: nothing is trained on a reward")


def _misspelt(settings: Settings, groups: Groups) -> Iterator[Found]:
    for key, meant in settings.unknown.items():
        if meant:
            yield Found(key, f"{key} is no key of {settings.version}; did you mean {meant}?")


def _unknown(settings: Settings, groups: Groups) -> Iterator[Found]:
    """One finding for all keys of which the same is to be said, at the first of them."""
    alike: dict[tuple[str, str], list[str]] = {}
    for key, meant in settings.unknown.items():
        if not meant:
            other = f" (other releases have it: {settings.elsewhere[key]})" if key in settings.elsewhere else ""
            read = any(own == key or own.startswith(f"{key}.") for own in settings.keys.values())
            alike.setdefault((other, OLDER if read else DOUBT), []).append(key)
    for (other, then), keys in alike.items():
        words = f"{keys[0]} is no key" if len(keys) == 1 else f"{_some(keys)} are no keys"
        one = other if len(keys) == 1 else other.replace("have it", "have them")
        then = then if len(keys) == 1 else then.replace("it ", "they ").replace("is read", "are read")
        yield Found(keys[0], f"{words} of {settings.version}{one}; {then}")


SHOWN = 6
OLDER = "it is read as a fork's, or an older, name"
DOUBT = "no finding rests on a default that it may replace"


def _some(keys: list[str]) -> str:
    """The first keys of a list, and how many there are beyond.

    >>> _some(["a", "b"])
    'a, b'
    """
    rest = len(keys) - SHOWN
    return ", ".join(keys[:SHOWN]) + (f" and {rest} others" if rest > 1 else f", {keys[-1]}" if rest == 1 else "")


def _unresolved(settings: Settings, groups: Groups) -> Iterator[Found]:
    for value in {value.key: value for value in settings.unresolved}.values():  # one may have been read twice
        assumed = "nothing" if value.assumed in (None, {}, []) else value.assumed
        yield Found(value.key, f"cannot tell {value.key}: {value.why}; taken for {assumed}")


DATA_RULES = (
    Rule(
        "truncated-sampling",
        "error",
        _truncated_sampling,
        "Samples then come from another distribution than the one whose log-probabilities the loss uses, and the bias "
        "of the ratio adds up over the tokens of a completion.",
        "vllm#42259",
        "Sample from the policy itself: top_p = 1, top_k off, min_p = 0, repetition_penalty = 1.",
    ),
    Rule(
        "temperature-mismatch",
        "error",
        _temperature_mismatch,
        "The behavior policy is the one at the sampler's temperature; a ratio to the same logits at another is wrong "
        "on every token, and temperature 0 leaves nothing to compare.",
        "vllm#42259; derived here",
        "Set one temperature, above 0, for sampling and for the loss.",
    ),
    Rule(
        "group-of-one",
        "error",
        _group_of_one,
        "The mean of one completion is its own reward: every advantage is 0, or the reward itself where the trainer "
        "takes 0 for the mean of one, or the trainer stops.",
        "derived here",
        "Sample at least 4 completions of a prompt, or use a baseline that needs no group.",
    ),
    Rule(
        "steps-per-batch",
        "note",
        _steps_per_batch,
        "From the second step on the data are from an older policy, whatever the method is called: the induced "
        "target, not the nominal one, is where they drive.",
        "miles#1697; derived here",
        "For on-policy training take one step per batch: mini-batch = batch, one epoch.",
    ),
    Rule(
        "mini-batch-larger",
        "warning",
        _mini_batch_larger,
        "The trainer checks it, and stops at the start.",
        "derived here",
        "Make the mini-batch at most as large as the batch.",
    ),
    Rule(
        "ratio-is-one",
        "note",
        _ratio_is_one,
        "One step per batch with the trainer's own sampler is on-policy: the loss is a plain policy gradient.",
        "derived here",
        "Nothing to fix: clip ranges and the ratio's level have no effect here.",
    ),
    Rule(
        "no-lag-bound",
        "warning",
        _no_lag_bound,
        "A target is relative to the behavior policy; with samples of any age there is none, and the oldest weigh "
        "most in ratio-free losses.",
        "derived here",
        "Bound the age of trained samples (a few versions), and log it.",
    ),
    Rule(
        "stale-data",
        "note",
        _stale_data,
        "Within the bound the behavior policy is a mixture of versions.",
        "derived here",
        "Log the true lag of every sample; `pessimism audit` shows regimes by lag.",
    ),
    Rule(
        "biased-drop",
        "note",
        _biased_drop,
        "What is dropped is not a random part: long completions and slow prompts go first, so the data shift toward "
        "short and easy ones.",
        "marin#8955",
        "Wait for what is late instead of dropping it, or watch the share dropped by length and prompt.",
    ),
    Rule(
        "cannot-tell",
        "warning",
        _cannot_tell,
        "The objective decides what everything else means.",
        "the trainer's version that the rules were written for",
        "Check the spelling; for an objective of your own, give it to `pessimism compare` as module:name.",
        about_reading=True,
    ),
    Rule(
        "misspelt-key",
        "error",
        _misspelt,
        "A key that the trainer does not have sets nothing, or stops it.",
        "the trainer's version that the rules were written for",
        "Correct the spelling.",
        about_reading=True,
    ),
    Rule(
        "unknown-key",
        "note",
        _unknown,
        "It belongs to a fork, to another version, or to your own code, and what it changes is not known here.",
        "the trainer's version that the rules were written for",
        "Check the version; what is your own needs nothing.",
        about_reading=True,
    ),
    Rule(
        "nothing-trained",
        "note",
        _untrained,
        "Rules about rewards and their targets then have nothing to say, and are silent.",
        "the trainer's version that the rules were written for",
        "Nothing, if that is what was wanted.",
        about_reading=True,
    ),
    Rule(
        "unresolved",
        "note",
        _unresolved,
        "Only what is in the file can be checked.",
        "this file",
        "Write the value into the file, or give it as an override: pessimism lint FILE key=value.",
        about_reading=True,
    ),
)
