"""Sealed JSON: a file that carries the digest of its own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def sha256(content: bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(content).hexdigest()


def seal(content: Mapping[str, Any]) -> bytes:
    """A JSON object with its digest, as :func:`unseal` reads it.

    >>> unseal(seal({"step": 18}))
    {'step': 18}
    """
    return json.dumps({"sha256": _digest(content), "content": content}).encode()


def unseal(data: bytes) -> dict[str, Any]:
    """The content of a sealed file.

    Raises:
        ValueError: it is not what :func:`seal` wrote.

    >>> unseal(seal({"step": 18}).replace(b"18", b"19"))
    Traceback (most recent call last):
        ...
    ValueError: its content is not what was written
    """
    try:
        found = json.loads(data)
        content, expected = found["content"], found["sha256"]
        sound = isinstance(content, dict) and _digest(content) == expected
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise ValueError("its content is not what was written")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode())
