"""Files of the repository that pages link to: each gets a page that shows it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from scripts.website.markdown import Pages, code, page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".sh": "sh", ".md": "markdown"}


def outside(link: str, source: str) -> str | None:
    """The place in the repository that a page's link leads to, or None if it stays among the pages.

    >>> outside("../examples/trl/train.py", "adapters.md"), outside("theory.md", "adapters.md")
    ('examples/trl/train.py', None)
    """
    place = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), link))
    return None if place.startswith("docs/") else place


def linked_files(pages: Mapping[str, str]) -> Pages:
    """A page for every file or folder of the repository that one of the pages links to."""
    places = {
        place
        for source, text in pages.items()
        for link in LINK.findall(text)
        if (place := outside(link, source)) is not None
    }
    return {f"{shown_at(place)}.md": _shown(place) for place in sorted(places)}


def rewritten(text: str, source: str) -> str:
    """The page's text with links to files of the repository led to the pages that show them."""

    def to_page(found: re.Match[str]) -> str:
        place = outside(found[1], source)
        return (
            found[1] if place is None else f"{posixpath.relpath(shown_at(place), posixpath.dirname(source) or '.')}.md"
        )

    return LINK.sub(to_page, text)


def shown_at(place: str) -> str:
    """The page that shows a place of the repository, without its ending."""
    return f"repository/{place}"


def _shown(place: str) -> str:
    path = ROOT / place
    if path.is_dir():
        files = sorted(child.name for child in path.iterdir() if child.is_file() and child.name[0] != ".")
        return page(f"`{place}`", "A folder of the repository:", "\n".join(f"- `{name}`" for name in files))
    if not path.is_file():
        raise ValueError(f"a page links to {place}, which the repository does not have")
    return page(f"`{place}`", code(path.read_text("utf-8"), LANGUAGES.get(path.suffix, "text")))
