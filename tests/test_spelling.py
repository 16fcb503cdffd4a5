"""American spelling in every source file, page and message."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = (".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".sh", ".css")
WORDS = (
    r"(?:maxim|minim|optim|[a-z]*normal|regular|general|summar|recogn|initial|util|organ|real|emphas|penal|random|standard)"
    r"is(?:e|ed|es|ing|er|ation|ations)",
    r"analys(?:e|ed|es|ing)",
    r"behaviour\w*",
    r"colour\w*",
    r"favour\w*",
    r"neighbour\w*",
    r"honour\w*",
    r"centr(?:e|ed|es|ing)",
    r"(?:un)?labell(?:ed|ing)",
    r"modell(?:ed|ing)",
    r"travell(?:ed|ing)",
    r"cancell(?:ed|ing)",
    r"licence",
    r"judgement\w*",
    r"whilst",
    r"towards",
)
BRITISH = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(WORDS)})(?![a-z])", re.IGNORECASE)
HERE = Path(__file__).name


def sources() -> list[Path]:
    """The text files that git knows."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if name.endswith(SUFFIXES) and not name.endswith(HERE)]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_spelling_is_american():
    found = {
        f"{path.relative_to(ROOT)}:{number}: {word}"
        for path in sources()
        if path.exists()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for word in BRITISH.findall(line)
    }
    assert found == set()


@pytest.mark.parametrize("word", ["Optimised", "renormalised", "the centred twin", "neighbours", "_labelled"])
def test_british_spelling_is_seen(word):
    assert BRITISH.search(word)


@pytest.mark.parametrize("word", ["optimized", "otherwise", "promise", "premises", "noise", "realism"])
def test_american_spelling_passes(word):
    assert BRITISH.search(word) is None
