"""What the rules look at: a trainer's configuration in one typed form, whichever trainer it is of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ..algorithm import Algorithm
from ..baseline import Baseline
from ..hints import near
from ..levels import LEVELS, Level
from ..objectives.catalogue import algorithm as make_algorithm
from ..objectives.catalogue import catalogue
from .document import Document
from .reader import Unresolved
from .releases import NEWEST, Fit

UNHELD = ("reinforce", "rloo", "grpo.no_ratio")
"""Entries whose coefficient is the advantage alone, with a mean as the baseline."""


@dataclass(frozen=True)
class Objective:
    """Which catalogue entry a configuration is, as that trainer implements it.

    Attributes:
        loss: the trainer's own name for the loss.
        entry: name in the catalogue; "" where there is none.
        algorithm: the entry with its parameters, baseline and level; None where it cannot be told.
        paper_level: where the objective's source takes the log-ratio.
        remarks: what the algorithm leaves out of, or simplifies about, the implementation.
        unknown: why it cannot be told, if it cannot.
        replaced_baseline: formula of the entry's own baseline, where the trainer uses another one for it.
        penalized: whether the entry holds the KL penalty too.
    """

    loss: str
    entry: str = ""
    algorithm: Algorithm | None = None
    paper_level: Level = "token"
    remarks: tuple[str, ...] = ()
    unknown: str = ""
    replaced_baseline: str = ""
    penalized: bool = False

    @property
    def method(self) -> str:
        """The entry's name, without that of the implementation which it describes."""
        return self.entry.rpartition(".")[2]

    @property
    def unheld(self) -> bool:
        """Whether it is a policy gradient that nothing holds to the data: no ratio, no log-ratio, a mean baseline."""
        made = self.algorithm
        if made is None or made.carries_ratio:
            return False
        return self.entry in UNHELD or (self.method == "opmd" and made.parameters.get("kl") == 0)

    @property
    def uses_log_ratio(self) -> bool:
        """Whether the gradient depends on the log-ratio; taken for granted where the objective is not known."""
        return self.algorithm is None or self.algorithm.carries_ratio or self.algorithm.beta is not None


PAPER_LEVELS: Mapping[str, Level] = {"trinity.opmd": "sequence", "verl.dro": "sequence", "opmd.rec": "sequence"}
"""Variants whose entry says how the implementation does it; here is how the source does."""


def objective(
    loss: str,
    entry: str,
    baseline: Baseline | None = None,
    level: Level | None = None,
    remarks: tuple[str, ...] = (),
    **parameters: Any,
) -> Objective:
    """The catalogue's entry as an objective; one that cannot be told if the catalogue refuses the parameters.

    >>> objective("cispo", "trl.cispo", epsilon_high=0.2).entry
    'trl.cispo'
    >>> objective("grpo", "grpo", low=1.5, high=0.2).unknown
    'grpo: low is 1.5; it must be a finite number > 0 and < 1'
    """
    try:
        made = make_algorithm(entry, baseline=baseline, **parameters)
        made = replace(made, level=level or made.level)
    except ValueError as error:
        return Objective(loss, remarks=remarks, unknown=str(error))
    entry = made.name  # an alias is the entry that it stands for
    paper_level = PAPER_LEVELS.get(entry, catalogue()[entry].level)
    # What belongs to the entry's own baseline says nothing once that is replaced.
    kept = {name: value for name, value in made.parameters.items() if baseline is None or name != "epsilon"}
    made = replace(made, parameters=MappingProxyType(kept))
    return Objective(loss, entry, made, paper_level, remarks)


@dataclass(frozen=True)
class Advantage:
    """How a trainer makes advantages.

    Attributes:
        baseline: the rule; None where it is not in the catalogue.
        words: the same for people.
        scaling, needs_group: as in :class:`Settings`.
        remarks: as in :class:`Objective`.
    """

    baseline: Baseline | None
    words: str
    scaling: str = ""
    needs_group: bool = True
    remarks: tuple[str, ...] = ()


def own_advantage(settings: Mapping[str, Any]) -> Advantage:
    """The advantage of the objective that an adapter is told to run."""
    made = adapted(settings).algorithm
    if made is None:
        return Advantage(None, "the objective's own")
    scaling = "group std" if made.baseline.name == "standardized" else ""
    return Advantage(made.baseline, made.baseline.formula, scaling)


def policy_gradient(loss: str, advantage: Advantage) -> Objective:
    """The advantage itself as the coefficient; named after GRPO where it is divided by the group's spread."""
    entry = "grpo.no_ratio" if advantage.scaling == "group std" else "reinforce"
    return objective(loss, entry, advantage.baseline, "token", advantage.remarks)


def adapted(settings: Mapping[str, Any], baseline: Baseline | None = None) -> Objective:
    """The objective that an adapter is told to run: ``name``, ``level`` and parameters of an entry.

    >>> adapted({"name": "oapl", "beta1": 1.0, "beta2": 0.5}).algorithm.level
    'sequence'
    """
    values = dict(settings)
    name, level = values.pop("name", None), values.pop("level", None)
    if name is None:
        return unknown("pessimism", "the objective has no name")
    if level is not None and level not in LEVELS:
        return unknown("pessimism", f"level is {level!r}; {near(level, LEVELS, 'levels')}")
    own = objective("pessimism", str(name), None, level, (), **values)
    if own.algorithm is None or baseline is None or own.algorithm.baseline.formula == baseline.formula:
        return own
    given = objective("pessimism", str(name), baseline, level, (), **values)
    return replace(given, replaced_baseline=own.algorithm.baseline.formula)


def unknown(loss: str, why: str) -> Objective:
    """An objective that cannot be told, and why."""
    return Objective(loss, unknown=why)


@dataclass(frozen=True)
class Sampling:
    """How completions are sampled. ``trained_at`` is the temperature at which the loss takes log-probabilities."""

    temperature: float = 1.0
    trained_at: float = 1.0
    top_p: float = 1.0
    top_k: float = 0  # 0 and -1: off
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    @property
    def changes(self) -> tuple[tuple[str, str], ...]:
        """Which settings make samples come from another distribution than the policy's: (field, words)."""
        found = (
            ("top_p", f"top_p is {self.top_p:g}", self.top_p < 1),
            ("top_k", f"top_k is {self.top_k:g}", self.top_k > 0),
            ("min_p", f"min_p is {self.min_p:g}", self.min_p > 0),
            (
                "repetition_penalty",
                f"repetition_penalty is {self.repetition_penalty:g}",
                self.repetition_penalty != 1,
            ),
        )
        return tuple((name, words) for name, words, active in found if active)


@dataclass(frozen=True)
class Clip:
    """The range of the ratio, relative to 1: [1 - low, 1 + high]; ``cap`` bounds it for negative advantages."""

    low: float
    high: float
    cap: float = math.inf


@dataclass(frozen=True)
class Penalty:
    """A KL penalty to a reference policy, with its estimator (k1, k2, k3, abs).

    ``place`` is "loss", "reward" (before the advantage is scaled) or "advantage" (after that).
    """

    coefficient: float
    estimator: str
    place: str


@dataclass(frozen=True)
class Lag:
    """How old the data of an update can be.

    Attributes:
        steps: optimizer steps on the data of one sampling policy; None: not in the file.
        asynchronous: whether sampling goes on while the policy is trained.
        bound: the most versions a sample may be behind; infinite: no bound.
        drops_stale: whether samples beyond the bound are dropped (and not waited for).
        ratio_is_one: whether the trainer measures the ratio from the policy that is being updated.
    """

    steps: float | None = 1
    asynchronous: bool = False
    bound: float = 0
    drops_stale: bool = False
    ratio_is_one: bool = False

    @property
    def off_policy(self) -> bool:
        """Whether updates use data that are known to come from an older policy."""
        return (self.steps is not None and self.steps > 1) or (self.asynchronous and self.bound > 0)


@dataclass(frozen=True)
class Correction:
    """What is done about the sampler's probabilities differing from the trainer's.

    Attributes:
        kind: "mask" (zero outside the bounds), "truncate", "none", "own code", or "not needed" (the ratio is to the
            sampler, or one engine does both).
        level: "token", "sequence" (summed) or "sequence mean".
        bound: upper bound of the ratio.
        by_default: whether the file does not ask for it.
        low: lower bound of the ratio; 0: none.
    """

    kind: str = "not needed"
    level: Level = "token"
    bound: float = math.inf
    by_default: bool = True
    low: float = 0.0


@dataclass(frozen=True)
class Drop:
    """Samples that are left out of training although they are no random part: the key that says so, and which."""

    name: str
    what: str


def _may_replace(unknown_key: str, meant: str, key: str) -> bool:
    """Whether a key that a trainer does not have may be a fork's, or a misspelt, way to set another: one beside it or
    above it that shares a word with it."""
    section, _, name = unknown_key.rpartition(".")
    words = set(name.split("_")) & set(key.rpartition(".")[2].split("_"))
    return meant == key or (bool(section) and key.startswith(f"{section}.") and bool(words))


@dataclass(frozen=True)
class Settings:
    """A trainer's configuration, typed.

    Attributes:
        document: where it was read.
        trainer: its name in the registry.
        version: what the reading was written for.
        kind: the configuration's class or entry point there.
        objective: which catalogue entry it is.
        baseline: how the advantage is made, in words.
        scaling: what the advantage is divided by: "group std", "batch std" or "".
        aggregation: how tokens are averaged: "token", "sequence mean" (each completion divided by its length),
            "sequence sum", "constant" or "" where nothing is averaged over tokens.
        group_size: completions per prompt; None: not in the file.
        needs_group: whether the baseline compares completions of one prompt.
        clip, penalty: None where the objective has none.
        keys: name of a field -> the dotted key that sets it there, for messages.
        unresolved: values that lead out of the file.
        unknown: keys of the file that the trainer does not have -> the one that may be meant, or "".
        untrained: why nothing is trained on a reward, where nothing is.
        elsewhere: those of them that other releases have -> which, in words.
        fit: the releases that the file may be for, where the trainer's reader looks at that.
        own_keys: whether the file is for another of the trainer's programs, whose keys are not listed.
        off_policy_mask_to_sampler: whether the mask of failing completions that moved away measures that from the
            sampler's probabilities, not from the trainer's own.
    """

    document: Document
    trainer: str
    version: str
    kind: str
    objective: Objective
    baseline: str
    scaling: str = ""
    aggregation: str = ""
    group_size: int | None = None
    needs_group: bool = True
    clip: Clip | None = None
    penalty: Penalty | None = None
    sampling: Sampling = Sampling()
    lag: Lag = Lag()
    correction: Correction = Correction()
    drops: tuple[Drop, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    unresolved: tuple[Unresolved, ...] = ()
    untrained: str = ""
    unknown: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    fit: Fit = NEWEST
    own_keys: bool = False
    off_policy_mask_to_sampler: bool = True

    def key(self, name: str) -> str:
        """The trainer's own key of a field; the field's name where it has none."""
        return self.keys.get(name, name)

    def shown(self, name: str) -> str:
        """The key of a field as it stands in the file, for people."""
        key = self.key(name)
        return key if key.startswith(self.document.prefix) else f"{self.document.prefix}{key}"

    def uncertain(self, name: str) -> bool:
        """Whether the value of a field depends on what is not in the file, or is a default that a key may replace."""
        key = self.key(name)
        if any(value.key == key for value in self.unresolved):
            return True
        return not self.given(name) and any(_may_replace(other, meant, key) for other, meant in self.unknown.items())

    def replaceable(self, name: str) -> bool:
        """Whether a field is at its default, and what is not in the file may set it: words of a command that only a
        run could tell, or a base that is not next to it."""
        return bool(self.document.open or self.document.missing) and not self.given(name)

    def given(self, name: str) -> bool:
        """Whether the file sets the field."""
        found, value = self.document.find(self.key(name))
        return found and value is not None

    def value(self, name: str) -> Any:
        """What the file sets a field to, as it stands there; None where it does not."""
        return self.document.find(self.key(name))[1]

    def on(self, name: str) -> bool:
        """Whether the file switches a field on."""
        return str(self.value(name)).lower() in ("true", "yes", "on")

    @property
    def length(self) -> int | None:
        """The most tokens of a completion; None where the file does not set it to a number."""
        value = self.value("length")
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the catalogue entry, empty where the objective is not known."""
        return {} if self.objective.algorithm is None else self.objective.algorithm.parameters
