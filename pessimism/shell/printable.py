"""Text without characters that steer a terminal or turn the reading order: the one place that cleans what is shown."""

from __future__ import annotations

import re

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""C0 but tabs and line ends, DEL, C1, separators of lines and paragraphs, and marks of direction."""


def printable(text: str) -> str:
    r"""The text with steering characters written as escapes.

    >>> printable("a\x1b]0;title\x07b\u202ec")
    'a\\x1b]0;title\\x07b\\u202ec'
    """
    return STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
