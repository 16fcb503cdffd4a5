"""Pages of the notebooks: what each shows, how to run it, and its output as it was exported before the build.

``python -m scripts.website.notebooks`` exports them to results/notebooks.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import marimo

from scripts.website.markdown import Pages, code, page, prose

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
OUT = ROOT / "results" / "notebooks"
STATIC = Path(marimo.__file__).parent / "_static"
CDN = re.compile(r"https://cdn\.jsdelivr\.net/npm/@marimo-team/frontend@[\d.]+/dist")
"""Where exported notebooks look for marimo's own files; the site serves those of the installed package instead."""

INTRODUCTION = """Four pages with sliders, made with [marimo](https://marimo.io). To use them, in a checkout with the
whole environment (`make test` makes it):"""

AFTER = """The links below show each notebook as it opens. The sliders there do not move, because no Python runs behind
a static page. marimo can run notebooks inside the browser, but then loads Python itself from another server; this site
loads nothing from elsewhere."""


def pages() -> Pages:
    """An index of the notebooks, and those that were exported before the site was built."""
    exported = [path for path in SOURCES if (OUT / f"{path.stem}.html").exists()]
    made: Pages = {}
    for path in exported:
        made[f"notebooks/{path.stem}.html"] = local((OUT / f"{path.stem}.html").read_text("utf-8"))
    if exported:
        files = (path for path in STATIC.rglob("*") if path.is_file() and path.suffix != ".html")
        made |= {f"notebooks/marimo/{path.relative_to(STATIC).as_posix()}": path.read_bytes() for path in files}
    made["notebooks/index.md"] = page(
        "Notebooks", INTRODUCTION, code(".venv/bin/marimo run notebooks", "sh"), AFTER, *map(_entry, SOURCES)
    )
    return made


def local(html: str) -> str:
    """An exported notebook whose scripts and fonts come from beside it."""
    return CDN.sub("marimo", html)


def _entry(path: Path) -> str:
    exported = (OUT / f"{path.stem}.html").exists()
    link = f"[Open]({path.stem}.html) · " if exported else "This build of the site has not exported it. "
    return f"## {prose(title(path))}\n\n{prose(sentence(path))}\n\n{link}[Source](../../notebooks/{path.name})"


def sentence(path: Path) -> str:
    """What a notebook is for: the docstring that it begins with."""
    found = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    if not found:
        raise ValueError(f"{path}: it has no docstring, which says what it is for")
    return " ".join(found.split())


def title(path: Path) -> str:
    """The first heading of a notebook."""
    texts = (node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant))
    for text in texts:
        found = re.search(r"^\s*# (.+)$", text, re.MULTILINE) if isinstance(text, str) else None
        if found:
            return re.sub(r"^\d+\. ", "", found[1])
    raise ValueError(f"{path}: no heading was found")


def export() -> None:
    """Run every notebook and write its page."""
    OUT.mkdir(parents=True, exist_ok=True)
    for path in SOURCES:
        target = OUT / f"{path.stem}.html"
        command = [
            sys.executable,
            "-m",
            "marimo",
            "export",
            "html",
            "--no-include-code",
            str(path),
            "-o",
            str(target),
            "-f",
        ]
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    export()
