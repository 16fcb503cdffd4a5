"""Findings: rules applied to a configuration, each with its place in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..trainers.rule import SEVERITIES, Groups, Rule, Wording
from ..trainers.settings import Settings


@dataclass(frozen=True)
class Finding:
    """A rule that applies to a configuration, with the place: the trainer's own key, and its line in the file."""

    rule: Rule
    message: str
    key: str
    line: int | None


def findings(
    rules: Sequence[Rule], settings: Settings, groups: Groups, wordings: Mapping[str, Wording]
) -> tuple[Finding, ...]:
    """What the rules find, the most severe first, in the words of the settings' trainer (``wordings``, by rule)."""
    based = bool(settings.document.base)  # on what is not at hand: no default of the trainer's is known to hold
    found = [
        Finding(
            _worded(rule, wordings.get(rule.id)),
            one.message,
            settings.shown(one.name),
            settings.document.lines.get(settings.key(one.name)),
        )
        for rule in rules
        for one in rule.check(settings, groups)
        if rule.about_reading or not (settings.untrained or settings.uncertain(one.name))
        if rule.about_reading or not settings.replaceable(one.name) or (rule.severity == "note" and not based)
    ]
    return tuple(sorted(found, key=lambda finding: -SEVERITIES.index(finding.rule.severity)))


def _worded(rule: Rule, wording: Wording | None) -> Rule:
    if wording is None:
        return rule
    sources = [source for source in (wording.source, rule.source) if source]
    return replace(rule, source="; ".join(sources), fix=wording.fix or rule.fix)
