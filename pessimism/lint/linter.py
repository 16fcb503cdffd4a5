"""From a configuration file to a report: which trainer, which objective, its targets, and what the rules find."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from ..hints import near
from ..reference_groups import GroupOutline, ReferenceGroup, ReferenceTargets, group_outlines, reference_targets
from ..trainers.document import Document, read_documents
from ..trainers.hydra import apply, split_override
from ..trainers.keys import known_keys, unknown_keys
from ..trainers.others import framework_of
from ..trainers.python_object import object_documents
from ..trainers.releases import having, releases
from ..trainers.rule import SEVERITIES, Rule, Severity
from ..trainers.settings import Objective, Settings, unknown
from ..trainers.trainer import ConfigReader, trainers
from .correction_rules import CORRECTION_RULES
from .data_rules import DATA_RULES
from .findings import Finding, findings
from .ratio_rules import RATIO_RULES
from .target_rules import TARGET_RULES

GENERAL: tuple[Rule, ...] = (*RATIO_RULES, *TARGET_RULES, *DATA_RULES, *CORRECTION_RULES)
"""Rules that look at every configuration."""

APPLIED: Mapping[Rule, tuple[str, ...]] = {
    rule: tuple(trainer.name for trainer in trainers() if rule in (*GENERAL, *trainer.rules))
    for rule in dict.fromkeys((*GENERAL, *(rule for trainer in trainers() for rule in trainer.rules)))
}
"""Every rule, in the order in which findings of one severity are told -> whose configurations it looks at."""

RULES: tuple[Rule, ...] = tuple(APPLIED)
"""Every rule, in that order."""

READERS: Mapping[str, ConfigReader] = {
    name: reader for trainer in trainers() for name, reader in trainer.readers.items()
}
"""What ``--trainer`` takes; the first name of a trainer looks at the keys to tell its configurations apart."""

TRAINERS = {trainer.name: trainer for trainer in trainers()}


@dataclass(frozen=True)
class Report:
    """What a configuration is and what is wrong with it.

    Attributes:
        settings: the configuration, typed.
        findings: the most severe first.
    """

    settings: Settings
    findings: tuple[Finding, ...]

    @property
    def groups(self) -> tuple[ReferenceGroup, ...]:
        """Targets on reference groups, solved when they are asked for; empty where the objective is not known."""
        return self._targets.groups

    @property
    def verdict(self) -> str:
        """What `pessimism compare` and `audit` would say of the reference groups; "" where there are none."""
        return self._targets.verdict

    @property
    def _targets(self) -> ReferenceTargets:
        return NO_TARGETS if self.settings.untrained else _targets(_target(self.settings), self.settings.group_size)

    def reaches(self, severity: Severity) -> bool:
        """Whether a finding is at least this severe."""
        lowest = SEVERITIES.index(severity)
        return any(SEVERITIES.index(finding.rule.severity) >= lowest for finding in self.findings)


def lint_file(path: str | os.PathLike[str], overrides: Sequence[str] = (), trainer: str = "") -> Report:
    """The only report on a file; see :func:`pessimism.lint.lint`."""
    reports = lint_all(path, overrides, trainer)
    if len(reports) > 1:
        raise ValueError(f"{os.fspath(path)}: it holds {len(reports)} configurations; lint_all reports on each")
    return reports[0]


def lint_object(config: object, overrides: Sequence[str] = (), trainer: str = "") -> Report:
    """The report on a configuration of the running program; see :func:`pessimism.lint.lint`."""
    documents = [_overridden(document, overrides) for document in object_documents(config)]
    if trainer:
        return _report(documents[0], _known_trainer(trainer))
    found = next(((document, name) for document in documents if (name := _recognized(document))), None)
    if found is None:
        raise ValueError(_refusal(documents))
    return _report(*found)


def _overridden(document: Document, overrides: Sequence[str]) -> Document:
    values = dict(document.values)
    for override in overrides:
        apply(values, {}, *split_override(override))
    return replace(document, values=values)


def lint_all(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), trainer: str = "", only_known: bool = False
) -> list[Report]:
    """A report on every configuration of a file: scripts may start several. Otherwise as :func:`pessimism.lint.lint`.

    Args:
        path, overrides, trainer: as there.
        only_known: make no report on a file that is no configuration that is read, instead of an error.
    """
    try:
        documents = read_documents(path, overrides)
    except ValueError:
        if only_known:
            return []
        raise
    if trainer:
        return [_report(document, _known_trainer(trainer)) for document in documents]
    recognized = [(document, name) for document in documents if (name := _recognized(document))]
    if not recognized and only_known:
        return []
    if not recognized:
        raise ValueError(_refusal(documents))
    return [_report(document, name) for document, name in recognized]


def _report(document: Document, trainer: str) -> Report:
    settings = READERS[trainer](document)
    settings = _doubted(_with_unknown(settings))
    outlines = () if settings.untrained else _outlines(_target(settings), settings.group_size)
    own = TRAINERS[settings.trainer]
    return Report(settings, findings((*GENERAL, *own.rules), settings, outlines, own.wordings))


MOST_OWN = 5
"""A file with more keys than this that are like none of the trainer's is a fork's, and a name like one is its own."""


def _with_unknown(settings: Settings) -> Settings:
    """The settings with the keys of the file that their release does not have."""
    folder = TRAINERS[settings.trainer].keys
    if settings.own_keys or not folder:
        return settings
    fit = settings.fit.releases
    found = unknown_keys(settings.document.values, fit[-1].keys if fit else known_keys(folder))
    elsewhere = {key: where for key in found if (where := having(key, releases(folder, fit[-1].number)))} if fit else {}
    own = sum(not near_key and key not in elsewhere for key, near_key in found.items())
    fork = own > MOST_OWN
    meant = {key: "" if fork or key in elsewhere else near_key for key, near_key in found.items()}
    return replace(settings, unknown=meant, elsewhere=elsewhere)


@dataclass(frozen=True)
class _Target:
    """An objective as a key: those of one entry, baseline and level with the same parameters drive alike."""

    objective: Objective = field(compare=False)
    identity: tuple[Any, ...]


def _target(settings: Settings) -> _Target:
    made = settings.objective.algorithm
    if made is None:
        return _Target(settings.objective, ())
    parameters = tuple(sorted(made.parameters.items()))
    return _Target(settings.objective, (settings.objective.entry, made.baseline.formula, made.level, parameters))


@lru_cache(maxsize=256)
def _outlines(target: _Target, group_size: int | None) -> tuple[GroupOutline, ...]:
    """What rules look at, found once per objective: many files of a run share it."""
    made = target.objective.algorithm
    return () if made is None else group_outlines(made, group_size)


@lru_cache(maxsize=256)
def _targets(target: _Target, group_size: int | None) -> ReferenceTargets:
    """Targets on reference groups, solved once per objective."""
    made = target.objective.algorithm
    return NO_TARGETS if made is None else reference_targets(made, group_size)


NO_TARGETS = ReferenceTargets((), "")


def _doubted(settings: Settings) -> Settings:
    """The settings without what rests on a value that only a run could tell."""
    for name in ("loss", "baseline", "scaling"):
        if settings.uncertain(name) and not settings.objective.unknown:
            why = f"{settings.shown(name)} is not in the file, or may be set by a key that is not known"
            settings = replace(settings, objective=unknown(settings.objective.loss, why))
    base = settings.document.base
    if base and not settings.objective.unknown and not (settings.given("baseline") or settings.given("loss")):
        why = f"{base}, which it builds on, is not at hand"
        settings = replace(settings, objective=unknown(settings.objective.loss, why))
    doubtful = settings.uncertain("group_size") or settings.replaceable("group_size")
    return replace(settings, group_size=None) if doubtful else settings


def trainer_of(document: Document) -> str:
    """Which trainer's configuration a file is, by its keys and by what it starts.

    Raises:
        ValueError: it is none's.
    """
    name = _recognized(document)
    if not name:
        raise ValueError(_refusal([document]))
    return name


def _recognized(document: Document) -> str:
    if framework_of(document):
        return ""
    return next((trainer.name for trainer in trainers() if trainer.recognizes(document)), "")


def _refusal(documents: Sequence[Document]) -> str:
    path = documents[0].path
    titles = [trainer.title for trainer in trainers()]
    other = next((name for document in documents if (name := framework_of(document))), "")
    if other:
        return f"{path}: this is for {other}, which is not read; {', '.join(titles)} are"
    return (
        f"{path}: no configuration of {', '.join(titles)}: cannot tell which trainer this is for; give --trainer with "
        f"one of {', '.join(READERS)}"
    )


def _known_trainer(name: str) -> str:
    if name not in READERS:
        raise ValueError(f"unknown trainer {name!r}; {near(name, READERS, 'trainers')}")
    return name
