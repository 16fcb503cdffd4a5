"""From a configuration file to a report: which trainer, which objective, its targets, and what the rules find."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..reference_groups import ReferenceGroup, reference_groups
from ..shell.hints import near
from ..trainers.document import Document, read_document
from ..trainers.rule import SEVERITIES, Rule, Severity
from ..trainers.settings import Settings
from ..trainers.trainer import ConfigReader, trainers
from .data_rules import DATA_RULES
from .findings import Finding, findings
from .ratio_rules import RATIO_RULES
from .target_rules import TARGET_RULES

GENERAL: tuple[Rule, ...] = (*RATIO_RULES, *TARGET_RULES, *DATA_RULES)
"""Rules that look at every configuration."""

APPLIED: Mapping[Rule, tuple[str, ...]] = {
    rule: tuple(trainer.name for trainer in trainers() if rule in (*GENERAL, *trainer.rules))
    for rule in dict.fromkeys((*GENERAL, *(rule for trainer in trainers() for rule in trainer.rules)))
}
"""Every rule, in the order in which findings of one severity are told -> whose configurations it looks at."""

RULES: tuple[Rule, ...] = tuple(APPLIED)

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
        groups: targets on reference groups; empty where the objective is not known.
        findings: the most severe first.
    """

    settings: Settings
    groups: tuple[ReferenceGroup, ...]
    findings: tuple[Finding, ...]

    def reaches(self, severity: Severity) -> bool:
        """Whether a finding is at least this severe."""
        lowest = SEVERITIES.index(severity)
        return any(SEVERITIES.index(finding.rule.severity) >= lowest for finding in self.findings)


def lint(path: str | os.PathLike[str], overrides: Sequence[str] = (), trainer: str = "") -> Report:
    """Read a trainer's configuration and tell what it optimizes toward.

    Args:
        path: YAML, JSON, TOML, or a shell script with overrides.
        overrides: ``key.path=value``, applied after the file.
        trainer: a key of :data:`READERS`; "" to tell it by the file's keys.

    Raises:
        ValueError: a file that cannot be read, or values of the wrong kind (the message says which, and the line); or
            it cannot be told which trainer the file is for.
    """
    document = read_document(path, overrides)
    settings = READERS[_known_trainer(trainer or trainer_of(document))](document)
    made = settings.objective.algorithm
    groups = () if made is None else reference_groups(made, settings.group_size)
    trainer_read = TRAINERS[settings.trainer]
    found = findings((*GENERAL, *trainer_read.rules), settings, groups, trainer_read.wordings)
    return Report(settings, groups, found)


def trainer_of(document: Document) -> str:
    """Which trainer's configuration a file is, by its keys.

    Raises:
        ValueError: it is none's.
    """
    for trainer in trainers():
        if trainer.recognizes(document):
            return trainer.name
    raise ValueError(
        f"{document.path}: cannot tell which trainer this is for; give --trainer with one of {', '.join(READERS)}"
    )


def _known_trainer(name: str) -> str:
    if name not in READERS:
        raise ValueError(f"unknown trainer {name!r}; {near(name, READERS, 'trainers')}")
    return name
