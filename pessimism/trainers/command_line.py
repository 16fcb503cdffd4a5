"""Command lines as configurations: what a command starts, its ``key.path=value`` overrides and its ``--flags``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from .hydra import OVERRIDE, apply, split_override
from .shell import started_script
from .shell_words import Word

LAUNCHERS = ("torch.distributed.run", "torch.distributed.launch", "accelerate.commands.launch", "deepspeed")
SENDERS = ("mason.py",)
"""Programs that send the command behind their own flags to a cluster."""

PLAIN = ("tinker_cookbook",)
"""Packages whose commands take ``key=value`` without a dot in the key."""

BASE = re.compile(r"config=[\w./${}-]+\.yaml")
"""An override that names the file which the command builds on, as OmegaConf's command lines do."""

NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
PROGRAMS = ("trl", "swift", "axolotl", "rl", "trainer", "orchestrator", "llamafactory-cli")
"""Programs that start a training run and are no Python files."""

COMMANDS = {("megatron", kind) for kind in ("rlhf", "sft", "pt")}
"""Programs that are told by their first word too: the name alone is also that of a backend."""


TRAINED = ("grpo", "rloo")
"""What ``trl`` trains on rewards; its other commands serve a model, or train on answers and preferences."""


@dataclass(frozen=True)
class CommandLine:
    """What one command says.

    Attributes:
        entry: the Python module, file or program that it starts; "" where none is told.
        values: nested values of its overrides and flags.
        lines: the line of every key.
        open: words that only a run could tell; they may set anything.
        missing: a script that is started with these words, and that is not at hand.
    """

    entry: str
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def read_command(words: Sequence[Word]) -> CommandLine:
    """The configuration in the words of a command.

    Raises:
        ValueError: an override of a key inside a value that has no keys.

    >>> found = read_command([Word(text, 1) for text in "python -m trainer.main a.b=2 --beta 0.1 --fp16".split()])
    >>> found.entry, found.values
    ('trainer.main', {'a': {'b': 2}, 'beta': 0.1, 'fp16': True})
    """
    entry, start = _entry(words)
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    unknown: list[str] = []
    for name, text, line in _settings(words[start:], unknown, entry.startswith(PLAIN)):
        apply(values, lines, name, text, line, free=True)
    script = None if entry else started_script(words)
    missing = () if script is None else (PurePath(words[script].text).name,)
    return CommandLine(entry, values, lines, tuple(unknown), missing)


def _entry(words: Sequence[Word]) -> tuple[str, int]:
    """What is started, and where the words after it begin."""
    for place, word in enumerate(words):
        before = words[place - 1].text if place else ""
        if before in ("-m", "--module") and word.text not in LAUNCHERS:
            return word.text, place + 1
        if word.text.endswith(".py") and "=" not in word.text and PurePath(word.text).name not in SENDERS:
            return word.text, place + 1
        name = PurePath(word.text).name
        following = words[place + 1].text if place + 1 < len(words) else ""
        if name == "trl" and following and following not in TRAINED and not following.startswith("-"):
            return f"trl {following}", place + 1
        if name in PROGRAMS or (name, following) in COMMANDS:
            return name, place + 1
    return "", 0


def _settings(words: Sequence[Word], unknown: list[str], plain: bool) -> Iterator[tuple[str, str, int]]:
    """Key, text and line of every setting; words that are not known are collected."""
    place = 0
    while place < len(words):
        word, following = words[place], words[place + 1] if place + 1 < len(words) else None
        place += 1
        flag = re.fullmatch(r"--([A-Za-z][\w.-]*)(?:=(.*))?", word.text, re.DOTALL)
        if word.text.startswith("$") and "=" not in word.text:
            unknown.append(word.text)
        elif flag is not None:
            name = flag[1].replace("-", "_")
            if flag[2] is None and following is not None and not re.match(r"--?[A-Za-z]", following.text):
                end = place + 1
                while NUMBER.fullmatch(following.text) and end < len(words) and NUMBER.fullmatch(words[end].text):
                    end += 1  # several numbers are a list, as in --range 0.2 0.28
                values = [one.text for one in words[place:end]]
                place = end
                yield name, values[0] if len(values) == 1 else f"[{', '.join(values)}]", word.line
            else:
                yield name, "true" if flag[2] is None else flag[2], word.line
        elif OVERRIDE.fullmatch(word.text) and (
            plain or "." in word.text.partition("=")[0] or BASE.fullmatch(word.text)
        ):
            yield *split_override(word.text), word.line
