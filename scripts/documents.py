"""Runs what README.md and the pages of docs/ quote, and rewrites the output that they show.

python -m scripts.documents            run the examples, rewrite quoted output that has changed, draw the pictures
python -m scripts.documents --check    change nothing; status 1 if an output is out of date
python -m scripts.documents PAGE...    only these pages, and no pictures

A page's blocks of code are run from top to bottom, in a folder of the page's own:

* ``python title="NAME"`` (any language) is the file NAME, written before anything runs;
* ``python`` with prompts is a doctest, without prompts a program; a page's blocks share their names;
* ``sh`` is a list of commands that must succeed;
* ``text`` that begins with ``$ COMMAND`` is a command and exactly what it prints at a width of 100 columns.

Only `pessimism` and `python -m ...` are run. What cannot run here (a trainer, a checkout's `make`) is a block of
another language, such as ``console``.
"""

from __future__ import annotations

import argparse
import contextlib
import doctest
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PICTURES = DOCS / "assets"
FIGURES = (
    "language_model_lag",
    "language_model_settings",
    "experiment_dose",
    "experiment_rates",
    "experiment_variance",
    "experiment_deployed",
)
PLOT = "compare shifted_mean beta=0.1 --bandit bandits.instances:asymre_100 --plot"

QUOTING = (DOCS / "adapters.md",)
"""Pages whose other blocks need a trainer: only the output that they quote is run."""

BLOCK = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
PROGRAMS = {"pessimism": [sys.executable, "-m", "pessimism"], "python": [sys.executable]}


@dataclass(frozen=True)
class Block:
    """A block of code of a page: its language, the file that it is (or ""), its text and where that begins and ends."""

    language: str
    title: str
    text: str
    span: tuple[int, int]

    @property
    def command(self) -> str:
        """The command whose output it quotes, or ""."""
        first = self.text.partition("\n")[0]
        return first[2:] if self.language == "text" and first.startswith("$ ") else ""


def pages() -> list[Path]:
    """The pages whose examples are run."""
    guides = (path for folder in ("tutorials", "howto") for path in sorted((DOCS / folder).glob("*.md")))
    return [ROOT / "README.md", DOCS / "index.md", *QUOTING, *guides]


def blocks(text: str) -> list[Block]:
    """The blocks of code of a page, in order.

    >>> [(block.language, block.title, block.text) for block in blocks('```toml title="a.toml"\\nx = 1\\n```\\n')]
    [('toml', 'a.toml', 'x = 1\\n')]
    """
    return [
        Block(found["language"], found["title"] or "", found["text"], found.span("text"))
        for found in BLOCK.finditer(text)
    ]


def refreshed(text: str, only_quotes: bool = False) -> str:
    """The page's text with current output, after everything else in it was run without an error.

    Args:
        text: of the page.
        only_quotes: run nothing but the commands whose output is quoted.

    Raises:
        ValueError: a block fails; the message holds what it printed.
    """
    found = blocks(text)
    names: dict[str, Any] = {}
    changes: list[tuple[Block, str]] = []
    with in_folder() as folder:
        for block in found:
            if block.title:
                (folder / block.title).write_text(block.text, "utf-8")
        for block in found:
            if block.command:
                changes.append((block, f"$ {block.command}\n{run(block.command, folder).rstrip()}\n"))
            elif not (block.title or only_quotes):
                _execute(block, names, folder)
    for block, content in reversed(changes):
        start, end = block.span
        text = text[:start] + content + text[end:]
    return text


@contextlib.contextmanager
def in_folder() -> Iterator[Path]:
    """A temporary folder that is the current one and whose modules can be imported."""
    before, modules = Path.cwd(), set(sys.modules)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        sys.path.insert(0, name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)
            sys.path.remove(name)
            for module in set(sys.modules) - modules:
                if str(getattr(sys.modules[module], "__file__", "")).startswith(name):
                    del sys.modules[module]


def _execute(block: Block, names: dict[str, Any], folder: Path) -> None:
    if block.language == "python" and block.text.startswith(">>>"):
        _doctest(block.text, names)
    elif block.language == "python":
        (folder / "page.py").write_text(block.text, "utf-8")
        names.update(runpy.run_path(str(folder / "page.py"), names))
    elif block.language == "sh":
        for line in block.text.splitlines():
            run(line.partition("  #")[0], folder)


def _doctest(text: str, names: dict[str, Any]) -> None:
    """Run prompts; names are kept for the blocks that follow."""
    example = doctest.DocTestParser().get_doctest(text, names, "page", "page", 0)
    example.globs = names
    printed = io.StringIO()
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(
        example, out=printed.write, clear_globs=False
    )
    if result.failed:
        raise ValueError(printed.getvalue())


def run(command: str, folder: Path) -> str:
    """What a command prints, at a width of 100 columns.

    Raises ValueError if its status is not 0.
    """
    words = shlex.split(command)
    if words[0] not in PROGRAMS:
        raise ValueError(f"{command}: pages run {' and '.join(PROGRAMS)} only")
    environment = os.environ | {"COLUMNS": "100", "PYTHONPATH": f"{ROOT}:.", "PYTHONIOENCODING": "utf-8"}
    environment.pop("FORCE_COLOR", None)
    finished = subprocess.run(
        [*PROGRAMS[words[0]], *words[1:]], cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    if finished.returncode:
        raise ValueError(f"{command} failed:\n{finished.stdout}{finished.stderr}")
    return "\n".join(line.rstrip() for line in finished.stdout.splitlines()) + "\n"


def draw() -> None:
    """Write the pictures that pages show."""
    run(f"pessimism {PLOT} {shlex.quote(str(PICTURES / 'compare.svg'))}", ROOT)
    with tempfile.TemporaryDirectory() as folder:
        run(f"python -m paper_figures {' '.join(FIGURES)} --out {shlex.quote(folder)}", ROOT)
        for name in FIGURES:
            shutil.copyfile(Path(folder) / f"{name}.png", PICTURES / f"{name}.png")


# --- parts that other scripts generate ------------------------------------------------------------------------------


def part(text: str, name: str) -> str:
    """The content of a generated part.

    >>> part("a <!-- begin x -->old<!-- end x --> b", "x")
    'old'
    """
    found = re.search(rf"<!-- begin {name} -->(.*?)<!-- end {name} -->", text, flags=re.DOTALL)
    if found is None:
        raise SystemExit(f"the page has no part '{name}'")
    return found[1]


def with_part(text: str, name: str, content: str) -> str:
    """The text with another content in a generated part.

    >>> with_part("a <!-- begin x -->old<!-- end x --> b", "x", "new")
    'a <!-- begin x -->\\nnew\\n<!-- end x --> b'
    """
    old = part(text, name)
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    return text.replace(begin + old + end, f"{begin}\n{content}\n{end}")


def markdown(columns: Sequence[str], rows: Mapping[str, Sequence[str]], first: str = "objective") -> str:
    """A table of a generated part: a row for every objective, or for whatever ``first`` says.

    >>> print(markdown(["L = 1"], {"oapl": [".5"]}))
    | objective | L = 1 |
    |---|---|
    | oapl | .5 |
    """
    return grid([first, *columns], [[name, *cells] for name, cells in rows.items()])


def grid(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with these headers and lines.

    >>> print(grid(["", "L = 1"], [["oapl", ".5"]]))
    |  | L = 1 |
    |---|---|
    | oapl | .5 |
    """
    head, *rest = (f"| {' | '.join(line)} |" for line in (columns, *rows))
    return "\n".join([head, "|---" * len(columns) + "|", *rest])


def refresh(page: Path, made: Callable[[], Mapping[str, str]], command: str, description: str | None) -> int:
    """Command line of a script that writes generated parts of one page: rewrite or check them; the exit status.

    Args:
        page: of the documentation.
        made: name -> content of each part.
        command: what rewrites them, told where one is out of date.
        description: of the script, for its help.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    before = after = page.read_text("utf-8")
    for name, content in made().items():
        after = with_part(after, name, content)
    if options.check:
        if before != after:
            print(f"{page}: out of date; run {command}", file=sys.stderr)
        return int(before != after)
    page.write_text(after, "utf-8")
    return 0


def main() -> int:
    """Rewrite or check the pages; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    options = parser.parse_args()
    stale = []
    for path in [ROOT / name for name in options.pages] or pages():
        before = path.read_text("utf-8")
        after = refreshed(before, path in QUOTING)
        if before != after:
            stale.append(path.relative_to(ROOT).as_posix())
            if not options.check:
                path.write_text(after, "utf-8")
    if not (options.check or options.pages):
        draw()
    for name in stale:
        print(f"{name}: quoted output {'is out of date' if options.check else 'was rewritten'}", file=sys.stderr)
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
