"""Programs that only cut a path or a text apart: what they print is known without starting them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from posixpath import basename, dirname, normpath

__all__ = ["normpath", "printed", "replaced"]


def printed(words: Sequence[str]) -> str:
    """What such a program prints; "" for any other.

    >>> printed(["basename", "/a/run.sh", ".sh"]), printed(["dirname", "--", "/a/run.sh"]), printed(["date"])
    ('run', '/a', '')
    """
    name, *rest = [word for word in words if word != "--"] or [""]
    if name == "echo":
        return " ".join(rest)
    if name == "basename" and len(rest) in (1, 2):
        return basename(rest[0]).removesuffix(rest[1]) if len(rest) == 2 else basename(rest[0])
    if name == "dirname" and len(rest) == 1:
        return dirname(rest[0]) or "."
    if name == "realpath" and len(rest) == 1:
        return normpath(rest[0])
    return ""


PLAIN = re.compile(r"s(.)((?:(?!\1)[\w/ .-])+)\1((?:(?!\1)[\w/ .-])*)\1")
"""sed's replacement of one plain text by another."""


def replaced(text: str, words: Sequence[str]) -> str:
    """What sed makes of a text by one plain replacement; "" for any other program.

    >>> replaced("tests/run.yaml", ["sed", "s#tests#configs#"]), replaced("a", ["sed", "s/^a/b/"])
    ('configs/run.yaml', '')
    """
    match = PLAIN.fullmatch(words[1]) if len(words) == 2 and words[0] == "sed" else None
    return "" if match is None or not text else text.replace(match[2], match[3], 1)
