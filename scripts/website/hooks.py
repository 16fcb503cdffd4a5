"""MkDocs hooks: add the generated pages, show files of the repository, render mathematics as MathML."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts.website import catalogue, claims, figures, mathematics, notebooks, reference, repository
from scripts.website.markdown import Pages

GENERATED = (catalogue.pages, claims.pages, figures.pages, notebooks.pages, reference.pages)

ROLE = re.compile(r":(?:class|func|meth|mod|attr):<code>~?([\w.]+)</code>")
"""References in docstrings, as they look once Markdown is rendered."""


SECTIONS = {"Catalogue": "catalogue/", "Theory": "theory/", "Claims": "claims/", "API": "api/"}
"""Section of the navigation -> the folder whose pages are appended to it."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, the pictures they show, and the files of the repository that pages link to."""
    made: Pages = {}
    for pages in GENERATED:
        made |= pages()
    written = {file.src_uri: file.content_string for file in files.documentation_pages()}
    made |= repository.linked_files(written | {name: text for name, text in made.items() if isinstance(text, str)})
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    _extend_navigation(config, files)
    return files


def _extend_navigation(config: MkDocsConfig, files: Files) -> None:
    """Append the generated pages, and the pages of folders that grow, to their sections."""
    pages = [file.src_uri for file in files.documentation_pages()]
    for section in config.nav or []:
        ((title, listed),) = section.items()
        if title in SECTIONS:
            listed += [name for name in pages if name.startswith(SECTIONS[title]) and name not in listed]


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links that leave the folder of the documentation lead to the page that shows the file."""
    return repository.rewritten(markdown, page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Mathematics becomes MathML, and references of docstrings become links where the object has a page."""
    return mathematics.rendered(ROLE.sub(_reference, html))


def _reference(found: re.Match[str]) -> str:
    name = found[1]
    target = name if "." in name else f"pessimism.{name}"
    return f'<autoref identifier="{target}" optional><code>{name}</code></autoref>'
