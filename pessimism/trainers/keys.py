"""Which keys a trainer has, by version; and which of a file's keys it does not have."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

ALIKE = 0.85
"""How alike two names are (difflib's ratio) for one to be taken for a slip of the pen."""

ALIKE_WORD = 0.75
"""The same for the one word in which they differ."""


@cache
def known_keys(folder: str) -> frozenset[str]:
    """The keys in a trainer's ``keys.txt``, written by scripts/trainer_keys.py; empty where there is none."""
    file = files("pessimism.trainers").joinpath(folder, "keys.txt")
    return frozenset(file.read_text("utf-8").split()) if file.is_file() else frozenset()


def unknown_keys(values: Mapping[str, Any], known: frozenset[str]) -> dict[str, str]:
    """Every key that is not known -> the nearest known one beside it, "" where none is near.

    >>> unknown_keys({"a": {"lss": 1, "open": {"x": 2}}, "b": 3}, frozenset({"a.loss", "a.open.*", "b"}))
    {'a.lss': 'a.loss'}
    """
    sections = _sections(known)
    return {key: _meant(key, values, sections) for key in _paths(values, known, sections)} if known else {}


def _meant(key: str, values: Mapping[str, Any], sections: Mapping[str, set[str]]) -> str:
    """The known key beside one that is not; of a section only one with the same names in it."""
    found = _nearest(key, sections)
    value: Any = values
    for part in key.split("."):
        value = value[part]
    own = set(value) if isinstance(value, Mapping) else set()
    return found if own <= sections.get(found, set()) or not own else ""


def _sections(known: frozenset[str]) -> dict[str, set[str]]:
    """Section -> the names in it, "" for the outermost."""
    found: dict[str, set[str]] = {}
    for key in known:
        parts = key.removesuffix(".*").split(".")
        for place in range(len(parts)):
            found.setdefault(".".join(parts[:place]), set()).add(parts[place])
    return found


def _paths(
    values: Mapping[str, Any], known: frozenset[str], sections: Mapping[str, set[str]], prefix: str = ""
) -> Iterator[str]:
    """The keys that are not known; of an unknown section only its own name."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if f"{key}.*" in known:
            continue
        if key in sections and isinstance(value, Mapping):
            yield from _paths(value, known, sections, f"{key}.")
        elif key not in known and key not in sections:
            yield key


def _nearest(key: str, sections: Mapping[str, set[str]]) -> str:
    section, _, name = key.rpartition(".")
    close = difflib.get_close_matches(name, sorted(sections.get(section, ())), n=3, cutoff=ALIKE)
    meant = next((other for other in close if _is_slip(name, other)), "")
    return f"{section}.{meant}".removeprefix(".") if meant else ""


def _is_slip(name: str, other: str) -> bool:
    """Whether one name may be written for the other by mistake: word for word the same, but for letters of one word.

    Where a word is another or is added, the two are different names.

    >>> _is_slip("losss_mode", "loss_mode"), _is_slip("lossmode", "loss_mode"), _is_slip("min_length", "max_length")
    (True, True, False)
    >>> _is_slip("n_env_gpus", "n_gpus")
    False
    """
    words, others = name.split("_"), other.split("_")
    if len(words) != len(others):
        return "".join(words) == "".join(others)
    differing = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    return len(differing) == 1 and difflib.SequenceMatcher(None, *differing[0]).ratio() >= ALIKE_WORD
