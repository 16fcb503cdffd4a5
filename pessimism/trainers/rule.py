"""Rules of lint: what one is, for the general ones and for those that a trainer brings along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..reference_groups import GroupOutline
from .settings import Settings

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
Groups = Sequence[GroupOutline]


@dataclass(frozen=True)
class Found:
    """What a check found: the field of :class:`Settings` (or the key) it is about, and what is the case."""

    name: str
    message: str


Check = Callable[[Settings, Groups], Iterator[Found]]


@dataclass(frozen=True)
class Rule:
    """One thing that configurations get wrong, or that their users should know.

    Attributes:
        id: what users name it by.
        severity: "note" (worth knowing), "warning" (probably not what was wanted) or "error" (surely not).
        check: settings and outlines of their reference groups -> what it found.
        reason: why it matters.
        source: where that is known from.
        fix: what to do.
        about_reading: whether it is about what could not be read, and speaks of keys that are not known.
    """

    id: str
    severity: Severity
    check: Check
    reason: str
    source: str
    fix: str
    about_reading: bool = False


@dataclass(frozen=True)
class Wording:
    """A general rule in the words of one trainer; a text that is empty stays the rule's own.

    Attributes:
        source: where the rule is known from in this trainer; the rule's own source follows it.
        fix: what to do, by the trainer's own keys.
    """

    source: str = ""
    fix: str = ""
