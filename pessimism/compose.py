"""Composing algorithms: an objective with corrections, masks and a KL term; and these on a bandit of three policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from . import corrections, masks, penalties
from .algorithm import Algorithm
from .bandit import Bandit
from .composition import Composition, arm_coefficient, arm_kinks, arm_on_policy, arm_stated
from .corrections import Correction
from .levels import RULES
from .parts import read_calls
from .penalties import Penalty
from .solve.simplex import Array, log

__all__ = ["KEYS", "check_two_policies", "composed"]

KEYS = ("correction", "mask", "kl")
"""What :func:`pessimism.algorithm` takes besides an objective's own parameters and its baseline."""


def composed(algorithm: Algorithm, *, correction: object = None, mask: object = None, kl: object = None) -> Algorithm:
    """The algorithm with corrections, masks and a KL term on top.

    Args:
        algorithm: an objective that is not composed yet.
        correction: of :mod:`pessimism.corrections`: one, several (their product), or text.
        mask: of :mod:`pessimism.masks`, likewise.
        kl: of :mod:`pessimism.penalties`, one, or text.

    Raises:
        ValueError: what is no such part, an algorithm that is composed already, or a mask by probabilities on an
            objective that compares completions, or one by rank on an objective that looks at probabilities.

    >>> import pessimism as ps
    >>> print(composed(ps.algorithm("reinforce"), correction="truncate(cap=2)", kl="k2(coefficient=0.1)"))
    reinforce(correction=truncate(cap=2), kl=k2(coefficient=0.1))
    """
    if algorithm.composition is not None:
        raise ValueError(f"{algorithm.name!r} is composed already; compose its objective with all parts at once")
    parts = Composition(
        algorithm,
        _parts(correction, Correction, corrections.MAKERS, "correction"),
        _parts(mask, MASKS, masks.MAKERS, "mask"),
        _penalty(kl),
    )
    _check_weights(parts)
    texts = {
        "correction": "*".join(map(str, parts.corrections)),
        "mask": "*".join(map(str, parts.masks)),
        "kl": "" if parts.penalty is None else str(parts.penalty),
    }
    told = {name: text for name, text in texts.items() if text}
    takes = {"parts": parts}
    coefficient = partial(arm_coefficient, **takes)
    weighted = parts.penalty is not None and parts.penalty.estimator == "unbiased"
    carries = algorithm.carries_ratio or weighted or bool(parts.corrections or parts.masks)
    coupled = algorithm.coupled or any(each.coupled for each in parts.masks)
    return Algorithm(
        coefficient,
        algorithm.baseline,
        name=algorithm.name,
        level=algorithm.level,
        coupled=coupled,
        takes_behavior=algorithm.takes_behavior or any(each.takes_behavior for each in parts.masks),
        switches=any(each.coupled for each in parts.masks),
        on_policy=partial(arm_on_policy, **takes) if carries else None,
        stated=_stated(parts, coefficient),
        anchor="behavior",
        kinks=None if coupled or not _jumps(parts) else partial(arm_kinks, **takes),
        scale=algorithm.scale,
        parameters=MappingProxyType({**algorithm.parameters, **told}),
        composition=parts,
    )


MASKS = (masks.Balance, masks.Sign, masks.OffPolicy, masks.Probability, masks.Rank, masks.SecondMoment)


def _parts(given: object, kinds: Any, makers: Mapping[str, Callable[..., Any]], what: str) -> tuple[Any, ...]:
    if given is None:
        return ()
    if isinstance(given, str):
        return read_calls(given, makers, what)
    several = tuple(given) if isinstance(given, Sequence) else (given,)
    for each in several:
        if not isinstance(each, kinds):
            known = ", ".join(f"ps.{what}s.{name}" for name in makers)
            raise ValueError(f"{what} is {each!r}; make it with one of {known}")
    return several


def _penalty(given: object) -> Penalty | None:
    if given is None or isinstance(given, Penalty):
        return given
    if isinstance(given, str):
        found = read_calls(given, penalties.MAKERS, "kl")
        if len(found) == 1:
            return found[0]
    raise ValueError(f"kl is {given!r}; make one with {', '.join(f'ps.penalties.{name}' for name in penalties.MAKERS)}")


def _check_weights(parts: Composition) -> None:
    """Behavior probabilities and weights of a group are one thing on a bandit, and two among samples."""
    base, by_weight = parts.base, [each for each in parts.masks if each.coupled]
    by_probability = [each for each in parts.masks if each.takes_behavior and not each.coupled]
    if by_probability and (base.coupled or by_weight):
        other = base.name if base.coupled else by_weight[0]
        raise ValueError(f"{by_probability[0]} looks at single probabilities and {other} compares samples; use one")
    if by_weight and base.takes_behavior and not base.coupled:
        raise ValueError(f"{by_weight[0]} compares samples and {base.name} looks at single probabilities; use one")
    if by_weight and RULES[base.level].log_ratio == "all":
        raise ValueError(f"{by_weight[0]} compares samples, and {base.name} looks at every token; use another mask")


def check_two_policies(algorithm: Algorithm, where: str) -> None:
    """Raise a ValueError where parts need a policy, or a place, that a loss of two policies does not have.

    >>> import pessimism as ps
    >>> check_two_policies(ps.algorithm("grpo", kl="k3(coefficient=0.1, to=reference)"), "llm")
    Traceback (most recent call last):
    ...
    ValueError: grpo: kl=k3(coefficient=0.1, to=reference) needs a reference policy, which llm does not have
    """
    parts = algorithm.composition
    if not isinstance(parts, Composition):
        return
    if parts.takes_reference:
        what = "a reference policy" if parts.penalty is None or parts.penalty.place == "loss" else "rewards"
        raise ValueError(f"{algorithm.name}: kl={parts.penalty} needs {what}, which {where} does not have")
    for each in parts.corrections:
        if each.pair == "proximal":
            raise ValueError(
                f"{algorithm.name}: correction={each} needs a proximal policy, which {where} does not have"
            )


def stating_the_whole_weight(algorithm: Algorithm) -> Algorithm:
    """For a bandit with a proximal policy: where the algorithm states a clip, that clip with the sampler's weight."""
    made = algorithm if algorithm.composition is not None else composed(algorithm)
    parts = made.composition
    if not isinstance(parts, Composition) or made.stated is not made.coefficient:
        return made
    return replace(made, stated=partial(arm_stated, parts=parts))


def _stated(parts: Composition, coefficient: Callable[..., Array]) -> Callable[..., Array] | None:
    base = parts.base
    leaves_out = any(each.kind != "truncate" for each in parts.corrections) or bool(parts.masks)
    bound = parts.penalty is not None and parts.penalty.to == "behavior"
    if base.stated is None and not leaves_out and not bound:
        return None
    if base.coupled and base.stated is None:
        return None  # its exact form would compare completions of the policy itself
    if base.stated is base.coefficient and not parts.corrections:
        return coefficient
    return partial(arm_stated, parts=parts)


def _jumps(parts: Composition) -> bool:
    of_masks = any(not each.coupled and not isinstance(each, masks.Sign) for each in parts.masks)
    of_corrections = any(each.jumps() for each in parts.corrections if each.pair == "current")
    return parts.base.kinks is not None or of_masks or of_corrections


# --- on a bandit with more policies than two --------------------------------------------------------------------------


def has_context(bandit: Bandit, algorithm: Algorithm) -> bool:
    """Whether a third policy plays a part: a proximal one, or the reference of a KL term."""
    parts = algorithm.composition
    needs = isinstance(parts, Composition) and (parts.takes_proximal or parts.takes_reference)
    return bandit.proximal is not None or needs


def placed(bandit: Bandit, algorithm: Algorithm) -> tuple[Bandit, Algorithm]:
    """One bandit without its other policies, and the algorithm that has them built in.

    Raises:
        ValueError: a part needs a policy that the bandit lacks; a reference that no part is measured from; or a
            baseline that averages over the reference.
    """
    made = algorithm if algorithm.composition is not None else composed(algorithm)
    parts = made.composition
    assert isinstance(parts, Composition)
    name = made.name
    if parts.takes_proximal and bandit.proximal is None:
        raise ValueError(f"{name}: a correction is measured from the proximal policy; give the bandit its proximal=")
    if parts.takes_reference and bandit.reference is None:
        raise ValueError(f"{name}: the KL term is to the reference; give the bandit its reference=")
    if bandit.reference is not None and not parts.takes_reference:
        raise ValueError(
            f"{name}: the bandit has a reference, but no part is measured from it; leave the reference out"
        )
    if bandit.reference is not None and made.baseline.measure == "reference":
        raise ValueError(f"{name}: a baseline over the reference's samples cannot be combined with a KL term to it")
    played = bandit.behavior > 0

    def to_sampler(policy: np.ndarray) -> np.ndarray:
        return np.where(played, log(policy), 0.0) - np.where(played, log(bandit.behavior), 0.0)

    taken: dict[str, Any] = {}
    if bandit.proximal is not None:
        taken["proximal"] = to_sampler(bandit.proximal)
    if bandit.reference is not None:
        taken["reference"] = to_sampler(bandit.reference)
    reward = bandit.reward
    if parts.penalty is not None and parts.penalty.place == "reward":
        reward = reward - np.where(played, parts.penalty.cost(-taken["reference"]), 0.0)
    bound = replace(
        made,
        coefficient=partial(made.coefficient, **taken),
        on_policy=None if made.on_policy is None else partial(made.on_policy, **taken),
        stated=None if made.stated is None else partial(made.stated, **taken),
        kinks=None if made.kinks is None else partial(made.kinks, **taken),
        composition=None,
    )
    if made.stated is made.coefficient:
        bound = replace(bound, stated=bound.coefficient)
    return Bandit(bandit.behavior, reward), bound
