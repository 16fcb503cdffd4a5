"""Sentences of the docs and notes of the catalogue rest on claims that exist."""

import fnmatch
import re
from pathlib import Path

import pytest

import pessimism as ps
from bandits.claims import CLAIMS as BANDIT_CLAIMS
from pessimism.claims import CLAIMS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md"])
KNOWN = {*CLAIMS, *(claim.id for claim in BANDIT_CLAIMS)}
TOPICS = {identifier.partition(".")[0] for identifier in KNOWN}
CITED = re.compile(r"\b([a-z_]+\.(?:\*|[a-z0-9_]+\*?))(?![\w.(])")
CATALOGUE = set(ps.catalogue())


def cited(text: str) -> set[str]:
    """What a text quotes as code and, by its topic, can only be claims."""
    quoted = re.findall(r"`([^`\n]+)`", text) + re.findall(r"claims? ([a-z_]+\.[a-z0-9_*]+)", text)
    found = {name for part in quoted for name in CITED.findall(part) if part == name or "claim" in part}
    return {name for name in found if name.partition(".")[0] in TOPICS and name not in CATALOGUE}


def missing(text: str) -> set[str]:
    return {name for name in cited(text) if not fnmatch.filter(KNOWN, name)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_claims_that_a_page_cites_exist(page):
    assert missing(page.read_text("utf-8")) == set()


def test_a_claim_that_does_not_exist_is_seen():
    assert missing("so it is (`regimes.sign`, `regimes.nonsense`, `nonsense.*`)") == {"regimes.nonsense"}
    assert missing("(claim twins.nonsense)") == {"twins.nonsense"}


def test_claims_that_notes_and_rules_cite_exist():
    from pessimism.lint import RULES

    texts = [entry.notes for entry in ps.catalogue().values()] + [rule.source for rule in RULES]
    assert {name for text in texts for name in missing(text)} == set()
    assert any(cited(text) for text in texts)


def theory_blocks() -> list[str]:
    """Paragraphs, points and rows of docs/theory.md, from the kinds of target on: what stands before defines words."""
    text = (ROOT / "docs" / "theory.md").read_text("utf-8")
    text = text[text.index("**Kinds of target.**") :]
    blocks = re.split(r"\n(?= *\* |\| |\n)", text)
    shown = [block.strip() for block in blocks if block.strip() and not block.strip().startswith(("#", "log ρ"))]
    return [block for block in shown if not block.startswith(("| coefficient", "|---"))]


def unsupported(block: str) -> str:
    """The sentences of a block after the last claim or test that it cites, without definitions and interpretations."""
    tests = re.findall(r"`(tests/[\w/.]+(?:::\w+)?)`", block)
    end = max((block.rindex(name) + len(name) for name in (*cited(block), *tests)), default=0)
    sentences = re.split(r"(?<=[.:]) ", " ".join(block[end:].removeprefix("`").split()).removeprefix(", refuted"))
    marks = ("interpretation", "definition", "the loss e_μ", "statements and proofs", "[theory/", "[guarantees]")
    return " ".join(one for one in sentences if re.search(r"\w{2}", one) and not any(m in one.lower() for m in marks))


@pytest.mark.parametrize("block", theory_blocks(), ids=lambda block: block[:30])
def test_every_sentence_of_the_theory_page_is_followed_by_a_claim_or_a_test_or_is_marked(block):
    assert unsupported(block) == ""


def test_a_sentence_without_support_is_seen():
    assert unsupported("It falls (`regimes.sign`). It rises.") == "It rises."
    assert unsupported("It falls (`regimes.sign`). That it rises is interpretation.") == ""


def test_tests_that_the_theory_page_cites_exist():
    cites = re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", (ROOT / "docs" / "theory.md").read_text("utf-8"))
    assert cites
    for path, name in cites:
        assert f"def {name}(" in (ROOT / path).read_text("utf-8") if name else (ROOT / path).exists()
