"""Hydra's ways to put a configuration together: base files and overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .formats import MAX_DEPTH, kind_of, outermost, read_text, yaml_values

MAX_FILES = 20
MAX_UP = 4
OWN_BASE = re.compile(r"(?:\w+_)?ppo_(?:\w+_)?trainer")
OVERRIDE = re.compile(r"(?:\+{0,2})([A-Za-z_][\w-]*(?:\.[\w-]+)*)=(.*)", re.DOTALL)


def split_override(text: str) -> tuple[str, str]:
    """The dotted key and the value of an override, as Hydra writes one.

    >>> split_override("+actor_rollout_ref.actor.clip_ratio_high=0.28")
    ('actor_rollout_ref.actor.clip_ratio_high', '0.28')
    """
    match = OVERRIDE.fullmatch(text)
    if match is None:
        shown = repr(text) if len(text) < 80 else f"{text[:77]!r}..."
        raise ValueError(f"{shown} is not of the form key.path=value")
    if match[1].count(".") >= MAX_DEPTH:
        raise ValueError(f"{match[1][:60]}... has more than {MAX_DEPTH} parts")
    return match[1], match[2]


def apply(
    values: dict[str, Any], lines: dict[str, int], key: str, text: str, line: int | None = None, free: bool = False
) -> None:
    """Set ``key.path`` to the value that YAML reads from the text, written in a line of the file or in none.

    A ``free`` text may be no YAML, as a prompt with a colon in it; it then stays as it is.
    """
    *parents, name = key.split(".")
    place = values
    for index, parent in enumerate(parents):
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{key}: {'.'.join(parents[: index + 1])} is {kind_of(inner)}, which has no keys")
        place = inner
    try:
        value = text if "$" in text or not text else yaml_values(text)[0]
    except ValueError as error:
        if not free:
            raise ValueError(f"{key}: {error}") from None
        value = text
    prose = free and isinstance(value, dict) and not text.lstrip().startswith("{")
    place[name] = text if prose else value
    lines.pop(key, None)
    if line is not None:
        lines[key] = line


def overridden(words: Sequence[Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """The values of a list of overrides, which Hydra writes beside a run as ``overrides.yaml``."""
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for place, word in enumerate(words, start=1):
        apply(values, lines, *split_override(str(word).lstrip("~")), line=place)
    return values, lines


def with_bases(values: dict[str, Any], folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values on top of those of the files that ``defaults`` names, and which it lacks.

    A list names files of the same folder; a text is one file, in this folder, below it, or up to four folders above.
    What comes later in a list wins; the file itself is at ``_self_``, or before all others. The trainer's own files
    (``ppo_trainer`` and the like) are not looked for: their values are the defaults that readers know.

    Raises:
        ValueError: a base that is no configuration, one that builds on itself, or more than 20 of them.
    """
    return _Bases().on_top(values, folder, ())


class _Bases:
    """Counts the base files that one configuration reads, each time it does."""

    def __init__(self) -> None:
        self.read = 0

    def on_top(self, values: dict[str, Any], folder: Path, above: tuple[Path, ...]) -> tuple[dict[str, Any], Any]:
        if isinstance(values.get("defaults"), str):
            return self.on_one(values, values["defaults"], folder, above)
        if not isinstance(values.get("defaults"), list):
            return values, ()
        names = [name for name in values["defaults"] if isinstance(name, str) and not OWN_BASE.fullmatch(name)]
        if "_self_" not in names:
            names.insert(0, "_self_")
        result: dict[str, Any] = {}
        missing: list[str] = []
        for name in names:
            if name == "_self_":
                result = merged(result, values)
                continue
            name, _, package = name.partition("@")
            path = (folder / f"{name}.yaml").resolve()
            if not path.is_relative_to(folder) or not path.is_file():
                missing.append(f"{name}.yaml")
                continue
            inner, lacking = self.base(name, path, above)
            for part in reversed(package.split(".") if package else []):
                inner = {part: inner}
            result = merged(result, inner)
            missing += lacking
        return result, tuple(dict.fromkeys(missing))

    def on_one(
        self, values: dict[str, Any], name: str, folder: Path, above: tuple[Path, ...]
    ) -> tuple[dict[str, Any], Any]:
        """The values on top of the one file that ``defaults`` names by its path from here."""
        own = {key: value for key, value in values.items() if key != "defaults"}
        path = (folder / name).resolve()
        highest = folder.resolve().parents[:MAX_UP] or (folder.resolve(),)
        if path.suffix not in (".yaml", ".yml") or not path.is_relative_to(highest[-1]) or not path.is_file():
            return own, (name,)
        inner, lacking = self.base(name, path, above)
        return merged(inner, own), lacking

    def base(self, name: str, path: Path, above: tuple[Path, ...]) -> tuple[dict[str, Any], Any]:
        self.read += 1
        if path in above:
            raise ValueError(f"{named(name)} builds on itself")
        if self.read > MAX_FILES:
            raise ValueError(f"it builds on more than {MAX_FILES} files")
        try:
            return self.on_top(outermost(yaml_values(read_text(path))[0]), path.parent, (*above, path))
        except ValueError as error:
            raise ValueError(f"in {named(name)}: {error}") from None


def named(name: str) -> str:
    """The file that an entry of ``defaults`` means."""
    return name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The values of both, those above where both have one."""
    result = dict(below)
    for key, value in above.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result
