"""From a configuration file to a report: which trainer, which objective, its targets, and what the rules find."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ..shell.hints import near
from ..trainers.document import SHELL, Document, read_document
from ..trainers.prime_rl.config import read_prime_rl
from ..trainers.settings import Settings
from ..trainers.trinity.config import read_trinity
from ..trainers.trl.config import OWN_KEYS, read_trl
from ..trainers.verl.config import read_verl
from .data_rules import DATA_RULES
from .ratio_rules import RATIO_RULES
from .reference_groups import ReferenceGroup, reference_groups
from .rule import SEVERITIES, Finding, Rule, Severity, findings
from .target_rules import TARGET_RULES

RULES: tuple[Rule, ...] = (*RATIO_RULES, *TARGET_RULES, *DATA_RULES)
"""Every rule, in the order in which findings of one severity are told."""

READERS: Mapping[str, Callable[[Document], Settings]] = {
    "trl": read_trl,
    "trl-grpo": partial(read_trl, kind="trl-grpo"),
    **{kind: partial(read_trl, kind=kind) for kind in OWN_KEYS},
    "verl": read_verl,
    "prime-rl": read_prime_rl,
    "trinity": read_trinity,
}
"""What ``--trainer`` takes; "trl" looks at the keys to tell its configurations apart."""

TRL_KEYS = (
    "loss_type",
    "num_generations",
    "scale_rewards",
    "num_iterations",
    "importance_sampling_level",
    "steps_per_generation",
    "max_completion_length",
    "epsilon_high",
    "vllm_mode",
)


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
        path: YAML, JSON, TOML, or a shell script with verl's overrides.
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
    return Report(settings, groups, findings(RULES, settings, groups))


def trainer_of(document: Document) -> str:
    """Which trainer's configuration a file is, by its keys.

    >>> trainer_of(Document("run.yaml", {"loss_type": "cispo", "num_generations": 8}))
    'trl'
    >>> trainer_of(Document("run.yaml", {"algorithm": {"algorithm_type": "opmd"}}))
    'trinity'
    """

    def has(*keys: str) -> bool:
        return any(document.find(key)[0] for key in keys)

    defaults = document.values.get("defaults")
    based_on = [str(entry) for entry in defaults] if isinstance(defaults, list) else []
    if document.suffix == SHELL or has("actor_rollout_ref", "algorithm.adv_estimator"):
        return "verl"
    if any("ppo" in entry and "trainer" in entry for entry in based_on):
        return "verl"
    if document.suffix == ".toml":
        return "prime-rl"
    if has("algorithm.algorithm_type", "synchronizer", "buffer"):
        return "trinity"
    if has(*TRL_KEYS, *(key for keys in OWN_KEYS.values() for key in keys)):
        return "trl"
    raise ValueError(
        f"{document.path}: cannot tell which trainer this is for; give --trainer with one of {', '.join(READERS)}"
    )


def _known_trainer(name: str) -> str:
    if name not in READERS:
        raise ValueError(f"unknown trainer {name!r}; {near(name, READERS, 'trainers')}")
    return name
