"""A trainer's configuration as it lies in a file: nested values, and the line of every key.

YAML, JSON, TOML, shell scripts (the overrides and flags of the commands in them) and Python (the arguments of Config
classes). Nothing is executed; ``${...}`` is resolved within the file only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from .command_line import CommandLine, read_command
from .formats import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NOTEBOOK_BYTES,
    check_size,
    json_values,
    outermost,
    read_standard_input,
    read_text,
    toml_values,
    yaml_values,
)
from .hydra import MAX_UP, apply, overridden, split_override, with_bases
from .python_source import config_calls, notebook_source
from .python_texts import flags_in_texts
from .shell import commands
from .shell_files import script_text

FORMATS = {".yaml": yaml_values, ".yml": yaml_values, ".json": json_values, ".toml": toml_values}
SHELL = (".sh", ".bash", ".slurm", ".sbatch")
PYTHON = (".py", ".ipynb")
SUFFIXES = (*FORMATS, *SHELL, *PYTHON)


@dataclass(frozen=True)
class Document:
    """A configuration file.

    Attributes:
        path: as the user wrote it.
        values: nested mappings and lists of plain values.
        lines: the line of every key, by its dotted path (list entries by their index).
        suffix: of the file, in lower case.
        missing: files that it builds on (Hydra's ``defaults``) and that are not next to it.
        prefix: what stands before every key in the file, where the values are those of a section.
        entry: what the command starts, or the class that is called, where the file is a script.
        open: what only a run of the script could tell; it may set anything.
    """

    path: str
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)
    suffix: str = ""
    missing: tuple[str, ...] = ()
    prefix: str = ""
    entry: str = ""
    open: tuple[str, ...] = ()

    def find(self, key: str) -> tuple[bool, Any]:
        """Whether the dotted path is in the file, and its value.

        >>> Document("a.yaml", {"train": {"source": [{"group_size": 8}]}}).find("train.source.0.group_size")
        (True, 8)
        """
        value: Any = self.values
        for part in key.split("."):
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                return False, None
        return True, value

    def has(self, *keys: str) -> bool:
        """Whether any of the dotted paths is in the file."""
        return any(self.find(key)[0] for key in keys)

    def place(self, key: str) -> str:
        """Where a key is, for messages: the file, and the line if the key is in it."""
        return f"{self.path}, line {self.lines[key]}" if key in self.lines else self.path

    @property
    def base(self) -> str:
        """What also sets its keys and is not at hand: a file or script that it builds on, or a mapping."""
        return next(iter((*self.missing, *(word for word in self.open if word.startswith("**")))), "")

    def section(self, name: str) -> Document:
        """The values of one top-level section as a document of its own; those beside it stay where it has none.

        >>> Document("a.yaml", {"trl": {"beta": 1}, "steps": 2}, {"trl.beta": 3}).section("trl").place("beta")
        'a.yaml, line 3'
        """
        prefix = f"{name}."
        beside = {key: value for key, value in self.values.items() if key != name}
        inner = {key.removeprefix(prefix): line for key, line in self.lines.items() if key.startswith(prefix)}
        return replace(self, values=beside | self.values[name], lines=dict(self.lines) | inner, prefix=prefix)


def read_documents(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> list[Document]:
    """Read the configurations of a file, and apply ``key.path=value`` overrides to them: one, or one per command.

    The path "-" is standard input, whose format is told by its text.

    Raises:
        ValueError: no such file, none of regular kind, too large, not of a known format, malformed (the message says
            where), or an override that is not of the form ``key=value``.
    """
    name = os.fspath(path)
    try:
        suffix, every = _found(Path(path))
        return [_completed(found, Path(path), suffix, name, overrides) for found in every]
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror or error}") from None
    except RecursionError:
        raise ValueError(f"{name}: values are nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def read_document(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Document:
    """The only configuration of a file; see :func:`read_documents`.

    Raises:
        ValueError: as there, or the file holds several.
    """
    found = read_documents(path, overrides)
    if len(found) > 1:
        raise ValueError(f"{os.fspath(path)}: it holds {len(found)} configurations")
    return found[0]


def _found(path: Path) -> tuple[str, list[CommandLine]]:
    """The suffix of a file's format, and its configurations as they are written."""
    suffix = path.suffix.lower()
    if suffix and suffix not in SUFFIXES:
        raise ValueError(f"the suffix is {suffix!r}; it must be one of {', '.join(SUFFIXES)}")
    if path == STANDARD_INPUT:
        text = read_standard_input()
        suffix = _told_by_its_text(text)
    else:
        text = read_text(path, MAX_NOTEBOOK_BYTES if suffix == ".ipynb" else MAX_BYTES)
        if not suffix and not text.startswith("#!"):
            raise ValueError(f"no suffix, and no #! in its first line; the suffix must be one of {', '.join(SUFFIXES)}")
    return suffix or SHELL[0], _configurations(text, suffix, path.resolve())


def _configurations(text: str, suffix: str, place: Path | None = None) -> list[CommandLine]:
    if suffix in FORMATS:
        return [_plain(*FORMATS[suffix](text))]
    if suffix in PYTHON:
        source = notebook_source(text) if suffix == ".ipynb" else text
        calls = config_calls(source) or flags_in_texts(source)
        if not calls:
            raise ValueError("no call of a class that ends in Config or Arguments has a keyword argument")
        return calls
    found = commands(text) if place is None else commands(text, partial(script_text, place.parent), str(place))
    started = [command for words in found if (command := read_command(words)).values]
    if not started:
        raise ValueError("no word of the script is an override of the form key.path=value, or a flag")
    return started


STANDARD_INPUT = Path("-")
"""The path that stands for it, as for other commands."""


def _told_by_its_text(text: str) -> str:
    """The suffix of the first format as which a text can be read; that of a shell script where it is none else."""
    if text.startswith("#!"):
        return SHELL[0]
    for suffix in (".json", ".toml", ".yaml", ".py"):
        try:
            found = _configurations(text, suffix)
        except (ValueError, RecursionError):
            continue
        if any(one.values for one in found):
            return suffix
    return SHELL[0]


def _plain(values: Any, lines: dict[str, int]) -> CommandLine:
    """The values of a file, out of what Hydra and W&B wrap them in."""
    if isinstance(values, list) and values and all(isinstance(word, str) and "=" in word for word in values):
        return CommandLine("", *overridden(values))
    inside = outermost(values)
    own = {name: value for name, value in inside.items() if name not in ("_wandb", "wandb_version")}
    if own and all(isinstance(value, dict) and "value" in value and set(value) <= WRAPPING for value in own.values()):
        return CommandLine("", {name: value["value"] for name, value in own.items()}, _unwrapped(lines))
    return CommandLine("", inside, lines)


WRAPPING = {"value", "desc"}
"""W&B writes every setting of a run's config.yaml under ``value``, beside a description."""


def _unwrapped(lines: Mapping[str, int]) -> dict[str, int]:
    parts = ((key.split("."), line) for key, line in lines.items())
    return {".".join([first, *rest[1:]]): line for (first, *rest), line in parts if not rest or rest[0] == "value"}


def _completed(found: CommandLine, path: Path, suffix: str, name: str, overrides: Sequence[str]) -> Document:
    check_size(found.values)
    values = dict(found.values)
    base = next((values[key] for key in BASES if isinstance(values.get(key), str)), None)
    if suffix in SHELL and base is not None:
        base = _from_above(IN_A_FOLDER.sub("", base), path.resolve().parent)
        values["defaults"] = [base.removesuffix(".yaml"), "_self_"]
    folder = path.resolve().parent
    values, missing = with_bases(values, folder if suffix not in SHELL else _started_in(folder, base))
    if suffix in SHELL:
        values = {key: value for key, value in values.items() if key not in (*BASES, "config_path", "defaults")}
    lines = dict(found.lines)
    for override in overrides:
        apply(values, lines, *split_override(override))
    return Document(name, values, lines, suffix, (*found.missing, *missing), entry=found.entry, open=found.open)


def _from_above(base: str, folder: Path) -> str:
    """A base's path from the nearest folder at or above the script that it lies in; others as they are."""
    places = [folder, *folder.parents[:MAX_UP]] if base.startswith("/") else []
    return next((str(Path(base).relative_to(place)) for place in places if Path(base).is_relative_to(place)), base)


def _started_in(folder: Path, base: str | None) -> Path:
    """Where a script was started: in its own folder, or in the nearest above it from which its base is found."""
    above = [folder, *folder.parents[:MAX_UP]]
    name = f"{base or ''}".removesuffix(".yaml")
    return next((place for place in above if name and (place / f"{name}.yaml").is_file()), folder)


IN_A_FOLDER = re.compile(r"\$\{?\w+\}?/")
"""A folder that only a run could tell, before the path of a base; the path is looked for above the script instead."""

BASES = ("config_name", "config", "cn")
"""Flags that name a file which the command builds on."""
