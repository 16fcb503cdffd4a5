"""README.md says what the package does: generated parts are current, examples run, links resolve."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pessimism as ps
from scripts import readme

ROOT = Path(__file__).resolve().parent.parent
TEXT = readme.README.read_text("utf-8")


def test_generated_parts_are_current():
    for name, content in readme.quick_parts(TEXT).items():
        assert readme.part(TEXT, name) == f"\n{content}\n", "run python -m scripts.readme"


def test_a_stale_part_is_seen(monkeypatch, tmp_path, capsys):
    stale = tmp_path / "README.md"
    stale.write_text(TEXT.replace("| `oapl` |", "| `opal` |"), "utf-8")
    monkeypatch.setattr(readme, "README", stale)
    monkeypatch.setattr(readme, "quoted", lambda command, text: "")  # slow, and not what is stale here
    monkeypatch.setattr(sys, "argv", ["readme", "--check"])
    assert readme.main() == 1
    assert "'objectives' is out of date" in capsys.readouterr().err


def test_the_python_example_runs():
    (blocks,) = re.findall(r"```python\n(>>>.*?)```", TEXT, flags=re.DOTALL)
    example = doctest.DocTestParser().get_doctest(blocks, {}, "README.md", "README.md", 0)
    result = doctest.DocTestRunner().run(example)
    assert result.attempted > 5
    assert result.failed == 0


def test_every_option_shown_is_one_that_exists():
    shown = re.findall(r"^pessimism (\S+)(.*?)(?:#.*)?$", TEXT, flags=re.MULTILINE)
    assert {command for command, _ in shown} == {"verify", "compare", "catalogue", "audit", "lint"}
    for command in ("verify", "compare", "catalogue", "audit", "lint"):
        asked = subprocess.run(
            [sys.executable, "-m", "pessimism", command, "--help"], cwd=ROOT, capture_output=True, text=True
        )
        options = {word for other, words in shown if other == command for word in words.split() if word[:2] == "--"}
        assert [option for option in options if option not in asked.stdout] == []


def test_links_inside_the_repository_resolve():
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in target]
    assert "docs/compare.svg" in targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_paper_of_the_catalogue_is_cited():
    cited = readme.part(TEXT, "sources")
    papers = {paper for entry in ps.catalogue().values() for paper in readme.ARXIV.findall(entry.source)}
    assert "2605.28150" in papers
    assert [paper for paper in papers if f"https://arxiv.org/abs/{paper}" not in cited] == []


def test_the_quoted_verification_is_of_the_claims_there_are():
    from bandits.claims import CLAIMS as DYNAMICS
    from pessimism.claims import CLAIMS

    ids = {*CLAIMS, *(claim.id for claim in DYNAMICS)}
    quoted = readme.part(TEXT, "verify")
    count = re.search(r"^(\d+) claims: ", quoted, flags=re.MULTILINE)
    assert count is not None
    assert int(count[1]) == len(ids), "run python -m scripts.readme --all"
    named = re.findall(r"^ ?([a-z_0-9]+\.[a-z_0-9.]+) ", quoted, flags=re.MULTILINE)
    assert named
    assert set(named) <= ids


@pytest.mark.parametrize("private", ["/work/", "../shared", "/root/"])
def test_no_private_place_is_named(private):
    assert private not in TEXT
