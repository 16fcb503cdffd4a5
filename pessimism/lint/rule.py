"""What a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..trainers.settings import Settings
from .reference_groups import ReferenceGroup

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
ALL = ("trl", "verl", "prime-rl", "trinity")


@dataclass(frozen=True)
class Found:
    """What a check found: the field of :class:`Settings` (or the key) it is about, and what is the case."""

    name: str
    message: str


Check = Callable[[Settings, Sequence[ReferenceGroup]], Iterator[Found]]


@dataclass(frozen=True)
class Rule:
    """One thing that configurations get wrong, or that their users should know.

    Attributes:
        id: what users name it by.
        severity: "note" (worth knowing), "warning" (probably not what was wanted) or "error" (surely not).
        trainers: whose configurations it looks at.
        check: settings and their reference groups -> what it found.
        reason: why it matters.
        source: where that is known from.
        fix: what to do.
    """

    id: str
    severity: Severity
    trainers: tuple[str, ...]
    check: Check
    reason: str
    source: str
    fix: str


@dataclass(frozen=True)
class Finding:
    """A rule that applies to a configuration, with the place: the trainer's own key, and its line in the file."""

    rule: Rule
    message: str
    key: str
    line: int | None


def findings(rules: Sequence[Rule], settings: Settings, groups: Sequence[ReferenceGroup]) -> tuple[Finding, ...]:
    """What the rules find, the most severe first."""
    found = [
        Finding(rule, one.message, settings.key(one.name), settings.document.lines.get(settings.key(one.name)))
        for rule in rules
        if settings.trainer in rule.trainers
        for one in rule.check(settings, groups)
    ]
    return tuple(sorted(found, key=lambda finding: -SEVERITIES.index(finding.rule.severity)))
