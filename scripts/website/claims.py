"""Pages of the claims: every statement with its kind of verdict, source, check, proof and counterexample."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Sequence
from types import ModuleType

import bandits.claims
import pessimism.claims
from pessimism.claims import Claim, check_claim
from scripts.website.markdown import Pages, code, folded, page, prose, table

PACKAGES = (pessimism.claims, bandits.claims)

INTRODUCTION = """A claim is a statement that `pessimism verify` tries to break: on generated instances, by a search for
the largest violation, and, where the table says so, by a symbolic proof with sympy. `make verify` checks all of them. A
*refuted* statement is one that sounds right and is false. It is kept, and what is checked is that its counterexample is
found again; the counterexamples below were searched for when this page was built.

To try one: `pessimism verify --claim ID`. To write one: [your own claim](../tutorials/your_claim.md)."""


def pages() -> Pages:
    """An overview, and a page for each subject (module)."""
    subjects = {_place(module): (module, found) for module, found in _modules()}
    made: Pages = {place: _subject(module, found) for place, (module, found) in subjects.items()}
    overview = [
        part
        for place, (module, found) in subjects.items()
        for part in (f"## {_title(module)}", _overview(place.removeprefix("claims/"), found))
    ]
    made["claims/index.md"] = page("Claims", INTRODUCTION, *overview)
    return made


def _modules() -> Iterator[tuple[ModuleType, Sequence[Claim]]]:
    """The modules that make claims, with their claims in order."""
    for package in PACKAGES:
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            claims = [value for value in vars(module).values() if isinstance(value, Claim)]
            if claims:
                yield module, claims


def _place(module: ModuleType) -> str:
    package, _, name = module.__name__.rpartition(".")
    return f"claims/{name}.md" if package.startswith("pessimism") else f"claims/dynamics_{name}.md"


def _title(module: ModuleType) -> str:
    """What the claims are about: the first line of the module, less its opening words."""
    line = (inspect.getdoc(module) or module.__name__).splitlines()[0].rstrip(".")
    for opening in ("Claims about ", "Claims on ", "Claims of ", "Claims: "):
        line = line.removeprefix(opening)
    return line[0].upper() + line[1:]


def verdict(claim: Claim) -> str:
    """What kind of verdict `pessimism verify` gives when all is well."""
    if claim.refuted:
        return "refuted"
    return "holds, proved" if claim.proof is not None else "holds"


def _overview(place: str, claims: Sequence[Claim]) -> str:
    rows = ((f"[`{claim.id}`]({place}#{claim.id})", prose(claim.statement), verdict(claim)) for claim in claims)
    return table(("claim", "statement", "verdict"), rows)


def _subject(module: ModuleType, claims: Sequence[Claim]) -> str:
    short = module.__name__.rpartition(".")[2].replace("_", " ").capitalize()
    if not module.__name__.startswith("pessimism"):
        short = f"Dynamics: {short.lower()}"
    return page(_title(module), *(part for claim in claims for part in _claim(claim)), short=short)


def _claim(claim: Claim) -> list[str]:
    facts = [("verdict", verdict(claim)), ("source", prose(claim.source)), ("tolerance", f"{claim.tolerance:.0e}")]
    if claim.proves:
        facts.insert(1, ("the proof covers", prose(claim.proves)))
    if claim.refuted:
        facts.append(("smallest counterexample", f"`{counterexample(claim)}`"))
    return [
        f"## {claim.id} {{ #{claim.id} }}",
        prose(claim.statement),
        table(("", ""), facts),
        _text("Check", claim.check),
        "" if claim.proof is None else _text("Proof", claim.proof),
    ]


def counterexample(claim: Claim) -> str:
    """The counterexample of a refuted claim, searched for now.

    Raises ValueError if none is found: the page would say what is not so.
    """
    found = check_claim(claim, seed=0, bandits=(), instances=1, examples=0).counterexample
    if found is None:
        raise ValueError(f"claim {claim.id}: refuted, but no counterexample was found")
    return str(found)


def _text(title: str, function: object) -> str:
    """A check or proof: its docstring and its source, folded."""
    function = getattr(function, "func", function)  # a partial application stands for its function
    try:
        source = inspect.cleandoc(inspect.getsource(function))  # type: ignore[arg-type]
    except TypeError:
        return ""
    return folded(title, code(source))
