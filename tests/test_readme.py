"""README.md and the pages of docs/: examples run, quoted output is current, options exist, links resolve."""

import importlib.util
import posixpath
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import documents
from scripts.website import reference

ROOT = documents.ROOT
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in documents.pages()}
ALL = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} | {"README.md", "CONTRIBUTING.md"}
COMMANDS = {"verify", "compare", "catalogue", "audit", "advise", "lint", "corrections"}
GENERATED = ("catalogue/", "claims/", "api/", "gallery/", "notebooks/")
LINES = re.compile(r"\bpessimism (\w+)([^`\n]*)")


@pytest.mark.parametrize("name", PAGES)
def test_examples_run_and_quoted_output_is_current(name):
    current = documents.refreshed(PAGES[name], ROOT / name in documents.QUOTING)
    assert current == PAGES[name], "run python -m scripts.documents"


def test_stale_output_is_seen_and_mended():
    page = "```text\n$ pessimism --version\npessimism 0.0.0\n```\n"
    assert documents.refreshed(page) == "```text\n$ pessimism --version\npessimism 0.1.0\n```\n"


@pytest.mark.parametrize(
    "page",
    [
        "```python\n>>> 1 + 1\n3\n```\n",
        "```python\nraise ValueError('no')\n```\n",
        "```sh\npessimism compare no_such_objective --behavior 1 --reward 1\n```\n",
        "```sh\nrm -rf .\n```\n",
    ],
)
def test_an_example_that_fails_is_seen(page):
    with pytest.raises(ValueError, match=r"3|no|pages run"):
        documents.refreshed(page)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_shown_is_one_that_exists(command):
    asked = subprocess.run([sys.executable, "-m", "pessimism", command, "--help"], capture_output=True, text=True)
    shown = [words for text in PAGES.values() for other, words in LINES.findall(text) if other == command]
    assert shown
    options = {word for words in shown for word in re.findall(r"(?<!\S)--[a-z-]+", words)}
    assert [option for option in options if option not in asked.stdout] == []


def test_only_commands_that_exist_are_shown():
    quoted = {line for text in PAGES.values() for line in re.findall(r"^(?:\$ )?(pessimism .*)$", text, re.MULTILINE)}
    assert {line.split()[1] for line in quoted} - {"--version"} <= COMMANDS


@pytest.mark.parametrize("name", sorted(ALL))
def test_links_inside_the_repository_resolve(name):
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / name).read_text("utf-8"))
    places = [posixpath.normpath(posixpath.join(posixpath.dirname(name), link)) for link in links if "://" not in link]
    ours = [place for place in places if not place.startswith(tuple(f"docs/{folder}" for folder in GENERATED))]
    assert [place for place in ours if not (ROOT / place).exists()] == []


def test_the_readme_is_one_screen():
    """About 130 lines: the rest belongs on the site."""
    assert len(PAGES["README.md"].splitlines()) <= 140


def test_the_two_commands_are_what_ci_runs():
    ci = (ROOT / ".ci/run").read_text("utf-8")
    for command in ("make verify", "make test"):
        assert f"\n{command} " in PAGES["README.md"]
        assert re.search(rf"^{command}$", ci, re.MULTILINE)


@pytest.mark.parametrize("module", reference.MODULES)
def test_modules_of_the_reference_exist(module):
    assert importlib.util.find_spec(module) is not None, "moved? scripts/website/reference.py lists it"


@pytest.mark.parametrize("private", ["/work/", "../shared", "/root/"])
def test_no_private_place_is_named(private):
    assert [name for name in ALL if private in (ROOT / name).read_text("utf-8")] == []


def test_every_picture_shown_is_there_and_described():
    shown = {
        (name, description, link)
        for name in ALL
        for description, link in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", (ROOT / name).read_text("utf-8"))
    }
    assert shown
    for name, description, link in shown:
        assert description.strip(), f"{name}: {link} has no description"
        assert Path(ROOT, posixpath.dirname(name), link).exists()
