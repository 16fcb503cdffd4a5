"""Typed reading of a configuration: numbers, flags and names by their key, with the trainer's default where absent."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .document import Document

INTERPOLATION = re.compile(r"\$\{([^${}]*)\}")
MAX_HOPS = 10
FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
LARGEST = 2**63
NOTHING = ("", "none", "null", "~")


@dataclass(frozen=True)
class Unresolved:
    """A value that depends on something outside the file: why it cannot be told, and what was taken instead."""

    key: str
    why: str
    assumed: Any


@dataclass
class Reader:
    """Reads a document's keys; remembers what it could not resolve, and what it took instead.

    Attributes:
        document: what is read.
        unresolved: interpolations that lead out of the file.
        defaults: those of the release that the file is for, where they are other than the reader's.
    """

    document: Document
    unresolved: list[Unresolved] = field(default_factory=list)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.document.missing:
            why = f"{name} is not next to the file"
            self.unresolved.append(Unresolved("defaults", why, "the trainer's own defaults"))
        for word in self.document.open:
            why = "what it holds is not in the file"
            self.unresolved.append(Unresolved(word, why, "no setting at all"))

    def given(self, key: str) -> bool:
        """Whether the file sets the key to something (null is nothing)."""
        found, value = self.document.find(key)
        return found and value is not None

    def raw(self, key: str, default: Any = None) -> Any:
        """The value as it is, interpolations resolved; the default where it is absent or null."""
        default = self.defaults.get(key, default)
        found, value = self.document.find(key)
        if not found or value is None:
            return default
        resolved = _resolve(self.document, value)
        if isinstance(resolved, str) and "$" in resolved:
            self.unresolved.append(Unresolved(key, f"{resolved} leads out of the file", default))
            return default
        return default if resolved is None else resolved

    def number(self, key: str, default: Any) -> Any:
        """A number, also where YAML 1.1 takes one for a text (1e-6); the default may be None."""
        default = self.defaults.get(key, default)
        value = self.raw(key, default)
        if value is default or (isinstance(value, str) and value.strip().lower() in NOTHING):
            return default
        number = _number(value)
        if number is None:
            raise self._wrong(key, value, "a number")
        return number

    def integer(self, key: str, default: Any, least: int | None = None) -> Any:
        """A whole number, not below ``least``; the default may be None."""
        default = self.defaults.get(key, default)
        value = self.number(key, default)
        if value is None or value is default:
            return value
        if not math.isfinite(value) or value != int(value):
            raise self._wrong(key, value, "a whole number")
        if least is not None and value < least:
            raise self._wrong(key, value, f"at least {least}")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """A boolean, as YAML and argument parsers write one."""
        value = self.raw(key, default)
        if isinstance(value, str):
            value = FLAGS.get(value.strip().lower(), value)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def name(self, key: str, default: Any) -> Any:
        """A short text; the default may be None."""
        value = self.raw(key, default)
        if value is not default and not isinstance(value, str):
            raise self._wrong(key, value, "a text")
        return value

    def section(self, key: str) -> Mapping[str, Any]:
        """A mapping, empty where it is absent or null."""
        value = self.raw(key, {})
        if not isinstance(value, Mapping):
            raise self._wrong(key, value, "a mapping of keys to values")
        return value

    def _wrong(self, key: str, value: object, allowed: str) -> ValueError:
        place = self.document.place(key)
        shown = repr(value) if len(repr(value)) < 80 else f"{repr(value)[:77]}..."
        return ValueError(f"{place}: {key} is {shown}; it must be {allowed}")


def _number(value: object) -> float | int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, (int, float)) or (isinstance(value, int) and abs(value) > LARGEST):
        return None
    return None if math.isnan(value) else value


def _resolve(document: Document, value: Any) -> Any:
    """The value that ``${a.b}`` and ``${oc.select:a.b,default}`` name in the same file; others as they are."""
    for _ in range(MAX_HOPS):
        match = INTERPOLATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return value
        name, comma, default = match[1].removeprefix("oc.select:").partition(",")
        found, inner = document.find(name.strip())
        if not found and not (comma and match[1].startswith("oc.select:")):
            return value
        value = inner if found else _scalar(default.strip())
    return value


def _scalar(text: str) -> Any:
    if text.lower() in NOTHING:
        return None
    return FLAGS.get(text.lower(), text)
