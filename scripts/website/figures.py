"""The gallery: every figure with its caption, data, settings and the command that makes it."""

from __future__ import annotations

import json
from pathlib import Path

from paper_figures.cli import OUT
from paper_figures.figures import FIGURES
from paper_figures.spec import ROOT, FigureSpec
from scripts.website.markdown import Pages, code, escaped, folded, page, prose

INTRODUCTION = """Every figure is computed by one file and drawn from a table that is written beside it. `python -m
paper_figures` makes them all, as PDF and PNG, with the data as CSV and a manifest of digests; `python -m paper_figures
NAME` makes one. The language-model figures read stored runs; the rest start from nothing."""


def pages() -> Pages:
    """The gallery, and the pictures and tables that were made before the site was built."""
    folder = ROOT / OUT
    made: Pages = {}
    for spec in FIGURES.values():
        made |= {f"gallery/{path.name}": path.read_bytes() for path in _files(spec, folder) if path.exists()}
    made["gallery/index.md"] = page(
        "Gallery", INTRODUCTION, *(part for spec in FIGURES.values() for part in _figure(spec, made))
    )
    return made


def _files(spec: FigureSpec, folder: Path) -> list[Path]:
    return [folder / f"{spec.name}.{kind}" for kind in ("png", "pdf", "csv")]


def _figure(spec: FigureSpec, made: Pages) -> list[str]:
    drawn = f"gallery/{spec.name}.png" in made
    script = spec.script.relative_to(ROOT).as_posix()
    links = " · ".join(
        [f"[{kind.upper()}]({spec.name}.{kind})" for kind in ("pdf", "csv")] * drawn + [f"[script](../../{script})"]
    )
    return [
        f"## {spec.name} {{ #{spec.name} }}",
        escaped(spec.shows[0].upper() + spec.shows[1:]) + ".",
        f"![{escaped(spec.shows)}]({spec.name}.png)" if drawn else "*This build of the site has not drawn it.*",
        prose(spec.caption),
        f"{prose(spec.origin[0].upper() + spec.origin[1:])}. {links}",
        code(f"python -m paper_figures {spec.name}", "sh"),
        folded("Settings", code(json.dumps(spec.parameters, indent=2, default=str), "json")),
    ]
