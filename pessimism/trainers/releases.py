"""Releases of a trainer before the one that its reader was written for, and which of them a file fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from .formats import read_text
from .keys import known_keys, unknown_keys


@dataclass(frozen=True)
class Release:
    """A release, by its number, and the keys that it takes."""

    number: str
    keys: frozenset[str]

    @property
    def order(self) -> tuple[int, ...]:
        """The number as one that compares; "0.4.1" is (0, 4, 1)."""
        return order(self.number)


def order(number: str) -> tuple[int, ...]:
    """A release's number as one that compares.

    >>> order("0.10.0") > order("0.9.1"), order("0.2.0.post2")
    (True, (0, 2, 0))
    """
    return tuple(int(part) for part in number.split(".") if part.isdecimal())


@cache
def releases(folder: str, newest: str) -> tuple[Release, ...]:
    """The releases of which the keys are at hand, oldest first; ``newest`` is the number of the one in ``keys.txt``.

    The others are in ``older.txt``, written by scripts/older_keys.py: their numbers, then every key with the first and
    the last release that has it.
    """
    found = (Release(newest, known_keys(folder)),)
    file = files("pessimism.trainers").joinpath(folder, "older.txt")
    if not file.is_file():
        return found
    head, *lines = file.read_text("utf-8").splitlines()
    numbers = head.split()
    place = {number: index for index, number in enumerate(numbers)}
    keys: list[set[str]] = [set() for _ in numbers]
    for line in lines:
        key, first, last = line.split()
        for index in range(place[first], place[last] + 1):
            keys[index].add(key)
    older = tuple(Release(number, frozenset(own)) for number, own in zip(numbers, keys, strict=True))
    return (*older, *found)


def texts(paths: Iterable[Path]) -> Iterator[str]:
    """The texts of those files that are there and can be read, in their order; opened one at a time."""
    for path in paths:
        try:
            yield read_text(path)
        except (OSError, ValueError):
            continue


@dataclass(frozen=True)
class Fit:
    """The releases that a file may be for, oldest first: they know the most of its keys.

    Where the newest of all is among them, the file is taken to be for that one.
    """

    releases: tuple[Release, ...] = ()
    newest: bool = True

    @property
    def read_as(self) -> str:
        """The number of the release that the file is read as: the newest that fits."""
        return self.releases[-1].number

    def words(self, name: str) -> str:
        """The releases for people.

        >>> Fit((Release("0.14.0", frozenset()), Release("0.17.0", frozenset())), False).words("trl")
        'trl 0.14.0 to 0.17.0'
        """
        first, last = self.releases[0].number, self.read_as
        return f"{name} {last}" if self.newest or first == last else f"{name} {first} to {last}"

    def ever(self, number: str) -> bool:
        """Whether a release up to this number is among them."""
        return self.releases[0].order <= order(number)

    def all_up_to(self, number: str) -> bool:
        """Whether every one of them is at most this."""
        return order(self.read_as) <= order(number)


NEWEST = Fit()
"""Where a trainer's reader does not look for older releases."""


def fitting(values: Mapping[str, Any], known: tuple[Release, ...], every: tuple[Release, ...] = ()) -> Fit:
    """The releases that know the most keys of a file; ``known`` are those of ``every`` that come into question.

    >>> old, new = Release("1.0", frozenset({"a", "b"})), Release("2.0", frozenset({"a", "c"}))
    >>> fitting({"a": 1, "b": 2, "own": 3}, (old, new)).words("x"), fitting({"a": 1}, (old, new)).words("x")
    ('x 1.0', 'x 2.0')
    """
    missing = [len(unknown_keys(values, release.keys)) for release in known]
    best = tuple(release for release, count in zip(known, missing, strict=True) if count == min(missing))
    return Fit(best, best[-1] is (every or known)[-1])


def having(key: str, known: tuple[Release, ...]) -> str:
    """In which releases a key is, for people; "" where it is in none.

    >>> having("b", (Release("1.0", frozenset({"a", "b"})), Release("2.0", frozenset({"a"}))))
    'up to 1.0'
    """
    own = [release for release in known if _has(release.keys, key)]
    if not own:
        return ""
    first, last = own[0], own[-1]
    if first is known[0]:
        return f"up to {last.number}"
    return f"from {first.number}" if last is known[-1] else f"{first.number} to {last.number}"


def _has(keys: frozenset[str], key: str) -> bool:
    parts = key.split(".")
    above = (".".join(parts[:place]) for place in range(1, len(parts) + 1))
    return key in keys or any(f"{one}.*" in keys for one in above) or any(one.startswith(f"{key}.") for one in keys)
