"""Hints in messages about names that are not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near(name: object, known: Iterable[str], what: str = "") -> str:
    """What a user may have meant: the names like this one, and all that are known.

    Args:
        name: what was given.
        known: what is allowed.
        what: the plural of what is named, for the message.

    >>> near("gpro", ["grpo", "oapl"], "algorithms")
    'did you mean grpo? known algorithms: grpo, oapl'
    >>> near("x", ["grpo", "oapl"])
    'known: grpo, oapl'
    """
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}{' '.join(filter(None, ('known', what)))}: {', '.join(names)}"
