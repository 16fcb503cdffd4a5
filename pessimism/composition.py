r"""An algorithm composed of an objective, corrections, masks and a KL term.

The coefficient of a composition is $w\,m\,c(\ell, A)$ plus the pull of the KL term: $c$ the objective's, $w$ the
product of the corrections, $m$ 0 or 1. Where the bandit has a proximal policy, $c$ takes its log-ratio from that, and
so measures its clip from it (decoupled PPO, arXiv 2505.24298). :func:`pessimism.compose.composed` makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .algorithm import Algorithm
from .corrections import Correction
from .levels import RULES, Tokens
from .masks import Mask, Sign
from .penalties import Penalty
from .solve.simplex import Array

MERGED = 3e-5
"""Jumps of one arm nearer to each other than this, in nats, are taken for one."""


@dataclass(frozen=True)
class Composition:
    """The parts of a composed algorithm.

    Attributes:
        base: the objective.
        corrections: factors that correct for the data's policy.
        masks: what is left out.
        penalty: the KL term, or None.
    """

    base: Algorithm
    corrections: tuple[Correction, ...] = ()
    masks: tuple[Mask, ...] = ()
    penalty: Penalty | None = None

    @property
    def takes_proximal(self) -> bool:
        """Whether a correction is measured between the proximal policy and the sampler."""
        return any(each.pair == "proximal" for each in self.corrections)

    @property
    def takes_reference(self) -> bool:
        """Whether the KL term is to a reference."""
        return self.penalty is not None and self.penalty.to == "reference"

    def factor(
        self,
        log_ratio: Array,
        advantage: Array,
        *,
        tokens: Tokens | None = None,
        behavior: Array | None = None,
        proximal: Array | None = None,
        truncated: bool = True,
    ) -> Array:
        r"""The product of corrections and masks.

        Args:
            log_ratio: $\log(\pi/\mu)$ of tokens, or of arms where ``tokens`` is None.
            advantage: of the same shape.
            tokens: which tokens belong to which completion.
            behavior: probabilities under the sampler; for coupled masks the weights of arms.
            proximal: the proximal policy's log-ratio to the sampler, of the same shape.
            truncated: whether corrections weigh; False: they only leave out what they leave out.

        Raises:
            ValueError: a correction between the proximal policy and the sampler, without a proximal policy.
        """
        xp = array_namespace(log_ratio)
        product = xp.ones_like(log_ratio)
        for each in self.corrections:
            seen = log_ratio if each.pair == "current" else _needed(proximal)
            if truncated:
                product = product * each.weight(seen, tokens)
            elif each.kind != "truncate":
                product = product * xp.astype(each.inside(seen, tokens), product.dtype)
        for each in self.masks:
            keep = each.keep(log_ratio, advantage, tokens=tokens, behavior=behavior)
            product = product * xp.astype(keep, product.dtype)
        return product

    def on_tokens(
        self,
        values: Array,
        log_ratio: Array,
        advantage: Array,
        *,
        tokens: Tokens,
        behavior: Array | None = None,
        proximal: Array | None = None,
        reference: Array | None = None,
    ) -> Array:
        """The coefficients of tokens from those of the objective alone; :func:`pessimism.levels.token_coefficients`.

        ``proximal`` and ``reference`` are log-ratios of these policies to the sampler.

        Raises:
            ValueError: a policy that a part needs is not given, or a KL term in the reward, which is the trainer's to
                subtract.
        """
        factor = self.factor(log_ratio, advantage, tokens=tokens, behavior=behavior, proximal=proximal)
        return _times(factor, values) + self.pull(log_ratio, reference)

    def pull(self, log_ratio: Array, reference: Array | None, on_policy: bool = False) -> Array | float:
        """What a KL term in the loss adds to the coefficient; 0 where there is none."""
        if self.penalty is None or self.penalty.place == "reward":
            return 0.0
        distance = log_ratio
        if self.penalty.to == "reference":
            if reference is None:
                raise ValueError("the KL term is to a reference policy; there is none here")
            distance = log_ratio - reference
        return self.penalty.pull(log_ratio, distance, on_policy) / self.base.scale


# --- on arms ----------------------------------------------------------------------------------------------------------


def arm_coefficient(
    log_ratio: Array,
    advantage: Array,
    *,
    parts: Composition,
    tokens: Tokens | None = None,
    behavior: Array | None = None,
    proximal: Array | None = None,
    reference: Array | None = None,
) -> Array:
    """The coefficient of arms: factor times the objective's, plus the KL term's pull.

    ``proximal`` and ``reference`` (..., K) are log-ratios of these policies to the sampler.
    """
    factor = parts.factor(log_ratio, advantage, behavior=behavior, proximal=proximal)
    values = _of_base(parts.base.coefficient, parts, log_ratio, advantage, tokens, behavior, proximal)
    return _times(factor, values) + parts.pull(log_ratio, reference)


def arm_on_policy(
    log_ratio: Array,
    advantage: Array,
    *,
    parts: Composition,
    proximal: Array | None = None,
    reference: Array | None = None,
) -> Array:
    """What the coefficient becomes on data from the policy itself: weights 1, and nothing has moved.

    Masks by the sign of the advantage stay; all others look at how far the policy is from its data.
    """
    base = parts.base
    values = (base.on_policy or base.coefficient)(log_ratio, advantage)
    xp = array_namespace(log_ratio)
    for each in parts.masks:
        if isinstance(each, Sign):
            keep = each.keep(log_ratio, advantage, tokens=None, behavior=None)
            values = xp.where(keep, values, xp.zeros_like(values))
    return values + parts.pull(log_ratio, reference, on_policy=True)


def arm_stated(
    log_ratio: Array,
    advantage: Array,
    *,
    parts: Composition,
    tokens: Tokens | None = None,
    behavior: Array | None = None,
    proximal: Array | None = None,
    reference: Array | None = None,
) -> Array:
    """The same with every importance weight exact, and with all clips, masks and KL terms."""
    base, xp = parts.base, array_namespace(log_ratio)
    factor = parts.factor(log_ratio, advantage, behavior=behavior, proximal=proximal, truncated=False)
    if base.stated is not None:
        values = _of_base(base.stated, parts, log_ratio, advantage, tokens, behavior, proximal)
        weight = xp.ones_like(log_ratio) if proximal is None else xp.exp(proximal)  # what the base's ratio leaves out
        if not base.carries_ratio:
            weight = xp.exp(log_ratio)
    else:
        values, weight = (base.on_policy or base.coefficient)(log_ratio, advantage), xp.exp(log_ratio)
    return _times(factor, _times(weight, values)) + parts.pull(log_ratio, reference)


def _of_base(
    function: Callable[..., Array],
    parts: Composition,
    log_ratio: Array,
    advantage: Array,
    tokens: Tokens | None,
    behavior: Array | None,
    proximal: Array | None,
) -> Array:
    """The objective's coefficient, its log-ratio taken from the proximal policy where there is one."""
    base = parts.base
    taken: dict[str, Any] = {} if RULES[base.level].log_ratio != "all" else {"tokens": tokens}
    if base.takes_behavior and behavior is not None:
        seen = behavior
        if proximal is not None and not base.coupled:
            seen = behavior * array_namespace(behavior).exp(proximal)  # the proximal policy's own probability
        taken |= {"behavior": seen}
    return function(log_ratio if proximal is None else log_ratio - proximal, advantage, **taken)


def _times(factor: Array, values: Array) -> Array:
    """The product, 0 where the factor is, whatever the value."""
    xp = array_namespace(factor)
    kept = xp.where(factor == 0, xp.zeros_like(factor), xp.astype(values, factor.dtype) + xp.zeros_like(factor))
    return factor * kept


def _needed(proximal: Array | None) -> Array:
    if proximal is None:
        raise ValueError(
            "a correction is between the proximal policy and the sampler; there is no proximal policy here"
        )
    return proximal


def arm_kinks(
    advantage: np.ndarray,
    *,
    parts: Composition,
    behavior: np.ndarray | None = None,
    proximal: np.ndarray | None = None,
    reference: np.ndarray | None = None,
) -> np.ndarray:
    """Log-ratios (..., K, n) at which a part jumps; NaN where none does."""
    base, found = parts.base, []
    if base.kinks is not None:
        seen = behavior
        if proximal is not None and behavior is not None:
            seen = behavior * np.exp(proximal)
        own = base.kinks(advantage, **({"behavior": seen} if base.takes_behavior else {}))
        found.append(own if proximal is None else own + np.asarray(proximal)[..., None])
    for each in parts.corrections:
        if each.pair == "current" and each.jumps():
            found.append(np.broadcast_to(np.asarray(each.jumps()), (*advantage.shape, len(each.jumps()))))
    for each in parts.masks:
        found += [np.broadcast_to(place, advantage.shape)[..., None] for place in each.jumps(advantage, behavior)]
    return merged(np.concatenate(found, axis=-1))


def merged(kinks: np.ndarray) -> np.ndarray:
    """The same places, those within ``MERGED`` of a lower one moved there.

    >>> merged(np.array([0.2, np.nan, 0.20001])).tolist()
    [0.2, 0.2, inf]
    """
    places = np.sort(np.where(np.isnan(kinks), np.inf, kinks), axis=-1)
    for index in range(1, places.shape[-1]):
        before, here = places[..., index - 1], places[..., index]
        with np.errstate(invalid="ignore"):
            places[..., index] = np.where(here - before < MERGED, before, here)
    return places
