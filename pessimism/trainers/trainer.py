"""A trainer: everything that Pessimism knows about one, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .document import Document
from .rule import Rule, Wording
from .settings import Settings

if TYPE_CHECKING:
    from ..audit.layout import Layout

FOLDERS = (
    "easyr1",
    "verl",
    "prime_rl",
    "trinity",
    "axolotl",
    "nemo_rl",
    "skyrl",
    "openrlhf",
    "slime",
    "swift",
    "areal",
    "open_instruct",
    "tinker",
    "trl",
)
"""The trainers, in the order in which they are asked whether a file is theirs."""

ConfigReader = Callable[[Document], Settings]


@dataclass(frozen=True)
class Trainer:
    """A trainer whose configurations are read.

    Attributes:
        title: its name as it writes it.
        version: what the reading was written for.
        recognizes: whether a file is a configuration of it, by its keys.
        readers: what ``--trainer`` takes -> reader; the first is the one that is used where a file is recognized.
        rules: those that are about this trainer only.
        keys: the folder whose ``keys.txt`` holds every key that it has; "" where they are not at hand.
        wordings: rule -> how a general rule is told to its users.
    """

    title: str
    version: str
    recognizes: Callable[[Document], bool]
    readers: Mapping[str, ConfigReader]
    rules: tuple[Rule, ...] = ()
    wordings: Mapping[str, Wording] = field(default_factory=dict)
    keys: str = ""

    @property
    def name(self) -> str:
        """What users call it."""
        return next(iter(self.readers))


@cache
def trainers() -> tuple[Trainer, ...]:
    """Every trainer.

    >>> [trainer.name for trainer in trainers()]  # doctest: +NORMALIZE_WHITESPACE
    ['easyr1', 'verl', 'prime-rl', 'trinity', 'axolotl', 'nemo-rl', 'skyrl', 'openrlhf', 'slime', 'ms-swift', 'areal',
     'open-instruct', 'tinker', 'trl']
    """
    return tuple(import_module(f"{__package__}.{folder}").TRAINER for folder in FOLDERS)


@cache
def layouts() -> tuple[Layout, ...]:
    """The layouts of the logs that trainers write, those of more columns first where one holds another's."""
    with_logs = [f"{folder}.logs" for folder in FOLDERS if find_spec(f"{__package__}.{folder}.logs")]
    modules = (*with_logs, "others_logs")
    return tuple(layout for name in modules for layout in import_module(f"{__package__}.{name}").LAYOUTS)
