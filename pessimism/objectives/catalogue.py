"""The catalogue: every objective by name. A new objective is added to the table of its family."""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import MappingProxyType
from typing import Any

from ..algorithm import Algorithm
from ..compose import KEYS, composed
from ..hints import near
from . import (
    clip,
    importance_regression,
    masked,
    policy_gradient,
    preference,
    ratio,
    rec,
    regression,
    residual,
    shaped,
    trust_region,
    value,
    variants,
    weighted,
)
from .entry import Entry

ENTRIES = (
    *policy_gradient.ENTRIES,
    *clip.ENTRIES,
    *shaped.ENTRIES,
    *rec.ENTRIES,
    *masked.ENTRIES,
    *ratio.ENTRIES,
    *trust_region.ENTRIES,
    *regression.ENTRIES,
    *importance_regression.ENTRIES,
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
    if len(table | _aliases()) != len(ENTRIES) + sum(len(entry.aliases) for entry in ENTRIES):
        raise ValueError("two catalogue entries share a name")
    return MappingProxyType(table)


@cache
def _aliases() -> dict[str, Entry]:
    return {alias: entry for entry in ENTRIES for alias in entry.aliases}


def _reduced(entry: Entry) -> tuple[Any, ...]:
    """How an entry is copied and sent: the catalogue's by name, as their makers are functions without one."""
    if catalogue().get(entry.name) is entry:
        return entry_named, (entry.name,)
    return Entry, tuple(getattr(entry, each.name) for each in fields(entry))


copyreg.pickle(Entry, _reduced)


def entry_named(name: str) -> Entry:
    """The entry of that name, or with that alias.

    Raises:
        ValueError: there is none; the message says which names are near.

    >>> entry_named("grop")
    Traceback (most recent call last):
    ...
    ValueError: unknown algorithm 'grop'; did you mean grpo? `pessimism catalogue` lists them all
    """
    known = {**catalogue(), **_aliases()}
    if name not in known:
        raise ValueError(f"unknown algorithm {name!r}; {near(name, known, see='`pessimism catalogue`')}")
    return known[name]


def algorithm(
    name: str,
    *,
    baseline: object = None,
    correction: object = None,
    mask: object = None,
    kl: object = None,
    **parameters: object,
) -> Algorithm:
    """The catalogue's algorithm of that name, with corrections, masks and a KL term where they are given.

    Args:
        name: a key of :func:`catalogue`, or an alias.
        baseline: replaces the entry's baseline: a ``Baseline``, a number, or a function (reward, behavior) -> V.
        correction: what corrects for the data's policy, of :mod:`pessimism.corrections`; several are a product.
        mask: what is left out, of :mod:`pessimism.masks`; several are a product.
        kl: a KL term, of :mod:`pessimism.penalties`.
        **parameters: as the entry lists them; defaults are the published ones.

    The three parts may be written as text too: "truncate(cap=2, level=sequence)*reject(cap=0.1, on=k3)".

    Raises:
        ValueError: an unknown name or parameter (the message lists the known ones), or a value out of range.

    >>> algorithm("oapl", beta1=1.0, beta2=0.5).parameters["beta2"]
    0.5
    >>> from pessimism import corrections
    >>> print(algorithm("reinforce", correction=corrections.truncate(cap=2, level="sequence")))
    reinforce(correction=truncate(cap=2, level=sequence))
    >>> algorithm("oapl", beta=1.0)
    Traceback (most recent call last):
    ...
    ValueError: oapl has no parameter 'beta'; did you mean beta2 or beta1? known parameters: beta1, beta2, baseline
    """
    entry = entry_named(name)
    parts = {key: value for key, value in zip(KEYS, (correction, mask, kl), strict=True) if value is not None}
    own = {key: parts.pop(key) for key in set(parts) & set(entry.parameters)}  # trinity.opmd has a kl
    made = entry.algorithm(baseline, **parameters, **own)
    return composed(made, **parts) if parts else made
