"""Small functions that write Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from textwrap import indent

Pages = dict[str, str | bytes]
"""Place in the site's sources, like "claims/index.md" -> its text, or the bytes of a picture."""

ARXIV = re.compile(r"\b\d{4}\.\d{5}\b")


def linked(text: str) -> str:
    """The text with its arXiv papers as links.

    >>> linked("OAPL, arXiv 2602.19362")
    'OAPL, [arXiv 2602.19362](https://arxiv.org/abs/2602.19362)'
    """
    return re.sub(rf"(?:arXiv )?({ARXIV.pattern})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def escaped(text: str) -> str:
    """Plain text that Markdown shows as it is, also in a table.

    >>> escaped("KL(mu|pi) of A*-PO")
    'KL(mu\\\\|pi) of A\\\\*-PO'
    """
    marked = re.sub(r"([\\`*_|\[\]])", r"\\\1", text)
    return marked.replace("<", "&lt;").replace(">", "&gt;")


def prose(text: str) -> str:
    """Plain text as Markdown: nothing in it is markup but the papers, which become links."""
    return linked(escaped(text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown in which every ``|`` is escaped already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def folded(title: str, text: str) -> str:
    """A block that opens on a click."""
    return f'??? note "{title}"\n\n{indent(text, "    ")}\n'


def code(text: str, language: str = "python") -> str:
    """A block of code; its fence is longer than any in the text."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def page(title: str, *parts: str, short: str = "") -> str:
    """A page: its title and its parts, apart by empty lines; ``short`` is its name in the navigation."""
    head = f'---\ntitle: "{short}"\n---\n\n' if short else ""
    return head + "\n\n".join([f"# {title}", *(part for part in parts if part)]) + "\n"
