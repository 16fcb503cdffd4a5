"""The catalogue: every objective by name. A new objective is added to the table of its family."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from ..algorithm import Algorithm
from ..shell.hints import near
from . import (
    clip,
    masked,
    policy_gradient,
    preference,
    ratio,
    regression,
    residual,
    trust_region,
    value,
    variants,
    weighted,
)
from .entry import Entry

ENTRIES = (
    *policy_gradient.ENTRIES,
    *clip.ENTRIES,
    *masked.ENTRIES,
    *ratio.ENTRIES,
    *trust_region.ENTRIES,
    *regression.ENTRIES,
    *residual.ENTRIES,
    *weighted.ENTRIES,
    *preference.ENTRIES,
    *value.ENTRIES,
    *variants.ENTRIES,
)


@cache
def catalogue() -> Mapping[str, Entry]:
    """All entries by name, sources first, then the named variants.

    >>> entry = catalogue()["oapl"]
    >>> entry.coefficient, entry.parameters["beta2"].default
    ('A - beta2 l', 0.001)
    """
    table = {entry.name: entry for entry in ENTRIES}
    if len(table) != len(ENTRIES):
        raise ValueError("two catalogue entries share a name")
    return MappingProxyType(table)


def algorithm(name: str, *, baseline: object = None, **parameters: object) -> Algorithm:
    """The catalogue's algorithm of that name.

    Args:
        name: a key of :func:`catalogue`.
        baseline: replaces the entry's baseline: a ``Baseline``, a number, or a function (reward, behavior) -> V.
        **parameters: as the entry lists them; defaults are the published ones.

    Raises:
        ValueError: an unknown name or parameter (the message lists the known ones), or a value out of range.

    >>> algorithm("oapl", beta1=1.0, beta2=0.5).parameters["beta2"]
    0.5
    >>> algorithm("oapl", beta=1.0)
    Traceback (most recent call last):
    ...
    ValueError: oapl has no parameter 'beta'; known parameters: beta1, beta2, baseline
    """
    known = catalogue()
    if name not in known:
        raise ValueError(f"unknown algorithm {name!r}; {near(name, known, 'algorithms')}")
    return known[name].algorithm(baseline, **parameters)
