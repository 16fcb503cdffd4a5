"""Hints in messages about names that are not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED = 16
"""Names that a message lists; of more it says how to see them."""


def near(name: object, known: Iterable[str], what: str = "", see: str = "") -> str:
    """What a user may have meant: the names like this one, and all that are known, unless they are many.

    Args:
        name: what was given.
        known: what is allowed.
        what: the plural of what is named, for the message.
        see: how to see them all, where they may be many.

    >>> near("gpro", ["grpo", "oapl"], "algorithms")
    'did you mean grpo? known algorithms: grpo, oapl'
    >>> near("gpro", ["grpo", *map(str, range(16))], see="`pessimism catalogue`")
    'did you mean grpo? `pessimism catalogue` lists them all'
    >>> near("x", ["grpo", "oapl"])
    'known: grpo, oapl'
    """
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    if see and len(names) > LISTED:
        return f"{hint}{see} lists them all"
    return f"{hint}{' '.join(filter(None, ('known', what)))}: {', '.join(names)}"
