"""Everything in README.md that a program can write: tables, quoted output, the pictures.

python -m scripts.readme            rewrite what is quick and the same on every machine
python -m scripts.readme --all      also run `make verify` and `make test` and quote them (minutes)
python -m scripts.readme --check    change nothing; status 1 if a quick part is out of date

A generated part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. A file of an example is the code block
after `<!-- file NAME -->`; commands are run in a folder that holds these files.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pessimism as ps
from pessimism.views.tables import method

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "compare.svg"
FIGURES = ("language_model_lag", "language_model_settings")

COMMANDS = {
    "compare": "compare oapl beta1=1 beta2=0.5 --behavior 0.5,0.3,0.2 --reward 0,0,1",
    "own": "compare my_objective:bounded_regression beta=0.5 --behavior 0.5,0.3,0.2 --reward 0,0,1",
    "picture": "compare shifted_mean beta=0.1 --bandit bandits.instances:asymre_100 --plot docs/compare.svg",
    "audit": "audit rollouts.jsonl --column group=prompt --algorithm oapl.missing_log_g:beta1=1,beta2=0.1",
    "lint": "lint run.yaml --fail-on never",
    "entry": "catalogue oapl.missing_log_g",
}
SLOW = {"verify": ["make", "verify"], "test": ["make", "test"]}
ARXIV = re.compile(r"\b\d{4}\.\d{5}\b")


def main() -> int:
    """Rewrite or check README.md; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--all", action="store_true")
    modes.add_argument("--check", action="store_true")
    options = parser.parse_args()
    before = README.read_text("utf-8")
    parts = quick_parts(before)
    after = before
    for name, content in parts.items():
        after = with_part(after, name, content)
    if options.check:
        stale = [name for name in parts if part(before, name) != part(after, name)]
        for name in stale:
            print(f"README.md: the part '{name}' is out of date; run python -m scripts.readme", file=sys.stderr)
        return 1 if stale else 0
    README.write_text(after, "utf-8")
    draw()
    for name, command in SLOW.items() if options.all else ():
        after = with_part(after, name, excerpt(command))
        README.write_text(after, "utf-8")  # at once: the tests look at what the verification left here
    return 0


def quick_parts(text: str) -> dict[str, str]:
    """Name -> content of the parts that are the same on every machine."""
    parts = {name: quoted(command, text) for name, command in COMMANDS.items() if name != "picture"}
    drawn = block(f"$ pessimism {COMMANDS['picture']}")
    parts["picture"] = f"{drawn}\n\n![ratio to the behavior policy against reward, for both targets](docs/compare.svg)"
    entries = ps.catalogue().values()
    parts["objectives"] = "\n".join(table(entry for entry in entries if not entry.is_variant))
    parts["variants"] = "\n".join(table(entry for entry in entries if entry.is_variant))
    parts["sources"] = sources(entries)
    return parts


# --- parts of the README --------------------------------------------------------------------------------------------


def table(entries: Iterable[ps.Entry]) -> list[str]:
    """A Markdown table, one row per entry."""
    rows = ["| name | gradient coefficient | induced target | solved | source |", "|---|---|---|---|---|"]
    for entry in entries:
        cells = (f"`{entry.name}`", f"`{entry.coefficient}`", entry.target, method(entry), entry.source)
        escaped = (cell.replace("|", r"\|").replace("*", r"\*") for cell in cells)
        rows.append("| " + linked(" | ".join(escaped)) + " |")
    return rows


def sources(entries: Iterable[ps.Entry]) -> str:
    """Every arXiv paper that the catalogue names, with the entries that rest on it."""
    names: dict[str, list[str]] = {}
    for entry in entries:
        for paper in ARXIV.findall(entry.source):
            names.setdefault(paper, []).append(f"`{entry.name}`")
    return "\n".join(f"- {linked(f'arXiv {paper}')}: {', '.join(names[paper])}" for paper in sorted(names))


def linked(text: str) -> str:
    """Papers as links.

    >>> linked("OAPL, arXiv 2602.19362")
    'OAPL, [arXiv 2602.19362](https://arxiv.org/abs/2602.19362)'
    """
    return re.sub(rf"(?:arXiv )?({ARXIV.pattern})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def quoted(command: str, text: str) -> str:
    """A command of `pessimism` and what it prints, as a Markdown block, run beside the README's example files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in example_files(text).items():
            (Path(folder) / name).write_text(content, "utf-8")
        output = run([sys.executable, "-m", "pessimism", *command.split()], Path(folder))
    return block(f"$ pessimism {command}\n{output}")


def excerpt(command: list[str], head: int = 14, tail: int = 24) -> str:
    """A long command's first and last lines, as a Markdown block."""
    lines = run(command, ROOT).replace(str(ROOT), ".").rstrip().splitlines()
    shown = lines if len(lines) <= head + tail else [*lines[:head], "...", *lines[-tail:]]
    return block("\n".join([f"$ {' '.join(command)}", *shown]))


def draw() -> None:
    """Write the pictures."""
    PICTURE.parent.mkdir(exist_ok=True)
    run([sys.executable, "-m", "pessimism", *COMMANDS["picture"].split()], ROOT)
    with tempfile.TemporaryDirectory() as folder:
        run([sys.executable, "-m", "paper_figures", *FIGURES, "--out", folder], ROOT)
        for name in FIGURES:
            shutil.copyfile(Path(folder) / f"{name}.png", PICTURE.with_name(f"{name}.png"))


def example_files(text: str) -> dict[str, str]:
    """Name -> content of the code blocks that the README presents as files."""
    return dict(re.findall(r"<!-- file (\S+) -->\n```\w+\n(.*?)```", text, flags=re.DOTALL))


def run(command: list[str], folder: Path) -> str:
    """What a command prints, at a width of 100 columns; an error if it fails."""
    environment = os.environ | {"COLUMNS": "100", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    environment.pop("FORCE_COLOR", None)
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    if finished.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def block(text: str) -> str:
    """Text as it is, in Markdown."""
    return f"```text\n{text.rstrip()}\n```"


def part(text: str, name: str) -> str:
    """The content of a generated part.

    >>> part("a <!-- begin x -->old<!-- end x --> b", "x")
    'old'
    """
    found = re.search(rf"<!-- begin {name} -->(.*?)<!-- end {name} -->", text, flags=re.DOTALL)
    if found is None:
        raise SystemExit(f"README.md has no part '{name}'")
    return found[1]


def with_part(text: str, name: str, content: str) -> str:
    """The text with another content in a generated part.

    >>> with_part("a <!-- begin x -->old<!-- end x --> b", "x", "new")
    'a <!-- begin x -->\\nnew\\n<!-- end x --> b'
    """
    old = part(text, name)
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    return text.replace(begin + old + end, f"{begin}\n{content}\n{end}")


if __name__ == "__main__":
    sys.exit(main())
