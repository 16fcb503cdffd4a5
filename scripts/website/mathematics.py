"""Mathematics as MathML, made when the site is built, so that a page needs no script and no font from elsewhere."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

SPAN = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
"""What the Markdown extension pymdownx.arithmatex leaves of a formula."""


def rendered(page: str) -> str:
    """The page's HTML with every formula as MathML.

    >>> rendered('<span class="arithmatex">\\\\(x^2\\\\)</span>')[:6]
    '<math '
    """
    return SPAN.sub(_formula, page)


def _formula(found: re.Match[str]) -> str:
    display = "block" if found[1] == "div" else "inline"
    return convert(html.unescape(found[2]).strip(), display=display)
