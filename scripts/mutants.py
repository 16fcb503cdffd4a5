"""Mutation testing of the mathematics: each small change of the code must fail a test.

python -m scripts.mutants                          every mutant, two at a time; status 1 under 95%
python -m scripts.mutants --files '*targets*'      those of some files (or --functions, or a --sample)
python -m scripts.mutants --keep killed            keeps what was killed before: after new tests
python -m scripts.mutants --keep all               keeps every verdict: goes on where a run was stopped
python -m scripts.mutants --table                  judges nothing: the table of the verdicts that are stored

mutmut makes the mutants; files, tests and lines that are left out stand under ``[tool.mutmut]`` in pyproject.toml.
Tests are imported and collected once, and each mutant is a fork that only runs tests (mutant_judge.py). Verdicts are
stored in the repository (mutant_verdicts.py). Mutants that change nothing are listed in
``scripts/equivalent_mutants.toml``, each with its reason. Decorated functions and what stands outside functions have
no mutants.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from fnmatch import fnmatch
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from textwrap import dedent

from .mutant import KILLED, LEFT, Mutant, digest, share, table
from .mutant_verdicts import Verdicts

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("pessimism", "tests", "pyproject.toml")
ENOUGH = 0.95


@dataclass(frozen=True)
class Project:
    """A checkout: its sources, its settings, and the folder ``mutants/`` that a run works in."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "mutants"

    @cached_property
    def settings(self) -> dict[str, list[str]]:
        return tomllib.loads((self.root / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]

    @property
    def files(self) -> list[str]:
        """Paths of the files to mutate."""
        patterns = self.settings["only_mutate"]
        return sorted({path.relative_to(self.root).as_posix() for one in patterns for path in self.root.glob(one)})

    @property
    def equivalent(self) -> dict[str, list[dict[str, str]]]:
        """Changes that are listed as equivalent, each with its reason.

        "mutant": one change each, by function, before and after. "rule": ``after`` for ``before`` anywhere, or in the
        files and functions that match its patterns.
        """
        path = self.root / "scripts" / "equivalent_mutants.toml"
        return tomllib.loads(path.read_text("utf-8")) if path.exists() else {}

    @property
    def verdicts(self) -> Verdicts:
        return Verdicts(self.root / "scripts" / "mutant_verdicts.jsonl", self.folder / "verdicts.jsonl")

    def keep(self, mutant: Mutant) -> None:
        print(f"{mutant.status:10} {mutant.seconds:7.2f} s  {mutant.name}", flush=True)
        self.verdicts.add(mutant)

    def version(self, test_file: str, functions: Iterable[str]) -> str:
        """Digest of what says which functions a test runs: its file, what tests share, and the files of ``functions``.

        Functions have mutmut's names: ``pessimism.targets.x_induced``.
        """
        modules = {name.rpartition(".")[0] for name in functions}
        files = sorted({test_file, *(module.replace(".", "/") + ".py" for module in modules)})
        return digest(self._shared, *(content(self.folder / file) for file in files))

    @cached_property
    def _shared(self) -> str:
        paths = sorted(path for path in (self.folder / "tests").glob("*.py") if not path.name.startswith("test_"))
        return digest(*(path.read_text("utf-8") for path in paths))


@cache
def content(path: Path) -> str:
    """Digest of a file, which does not change while this runs; "" if there is none."""
    return digest(path.read_text("utf-8")) if path.exists() else ""


# --- making mutants -------------------------------------------------------------------------------------------------


def mutated(project: Project, file: str) -> tuple[str, list[Mutant]]:
    """Source of a file with all its mutants in it, and the list of them."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    result = mutate_file_contents(file, (project.root / file).read_text("utf-8"))
    lines, spans = result.code.splitlines(), result.line_span_by_function_name
    text = {name: "\n".join(lines[span.start - 1 : span.end]) for name, span in spans.items()}
    makes = [_mutant(file, name, text) for name in result.mutant_names]
    twice: Counter[str] = Counter()
    mutants = []
    for mutant in makes:
        change = digest(mutant.source, mutant.before, mutant.after)
        mutants.append(replace(mutant, change=digest(change, str(twice[change]))))
        twice[change] += 1  # the same lines may stand in a function more than once
    return result.code, mutants


def _mutant(file: str, name: str, text: dict[str, str]) -> Mutant:
    from mutmut.utils.format_utils import get_mutant_name

    mangled = name.partition("__mutmut_")[0]
    function = mangled.replace("xǁ", "").replace("ǁ", ".").removeprefix("x_")
    bare_name = function.rpartition(".")[2]
    original = text[f"{mangled}__mutmut_orig"].replace(f"{mangled}__mutmut_orig", bare_name)
    before, after = differing(original, text[name].replace(name, bare_name))
    return Mutant(get_mutant_name(Path(file), name), file, function, digest(bare(original)), "", before, after)


@lru_cache
def bare(text: str) -> str:
    r"""A function without comments, docstring and layout, which no test depends on.

    >>> bare("# Adds.\ndef add(a,b):\n  'Sum.'\n  return a+b")
    'def add(a, b):\n    return a + b'
    """
    tree = ast.parse(dedent(text))
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    if ast.get_docstring(function, clean=False) is not None:
        del function.body[0]
    return ast.unparse(tree)


def differing(before: str, after: str) -> tuple[str, str]:
    r"""The lines of two texts that are not the same, without the equal ones around them.

    >>> differing("a\nb\nc", "a\nd\nc")
    ('b', 'd')
    """
    old, new = before.splitlines(), after.splitlines()
    blocks = [code for code in SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if code[0] != "equal"]
    removed = [line.strip() for _, start, stop, _, _ in blocks for line in old[start:stop]]
    added = [line.strip() for _, _, _, start, stop in blocks for line in new[start:stop]]
    return " ".join(removed), " ".join(added)


def made(project: Project, file: str) -> tuple[str, list[Mutant]]:
    """As :func:`mutated`, which takes seconds, kept in ``mutants/made`` until the file or the settings change."""
    text, settings = (project.root / file).read_text("utf-8"), project.settings.get("do_not_mutate_patterns")
    kept = project.folder / "made" / f"{digest(file, text, repr(settings), Path(__file__).read_text('utf-8'))}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        code, mutants = mutated(project, file)
        kept.write_text(json.dumps([code, [asdict(mutant) for mutant in mutants]]), "utf-8")
    code, mutants = json.loads(kept.read_text("utf-8"))
    return code, [Mutant(**mutant) for mutant in mutants]


def prepare(project: Project, jobs: int) -> list[Mutant]:
    """Copies what the tests need to ``mutants/``, with every mutant in it; what has not changed stays compiled."""
    with ProcessPoolExecutor(jobs) as pool:
        results = list(pool.map(partial(made, project), project.files))
    texts = dict(zip(project.files, (code for code, _ in results), strict=True))
    paths = [path for name in COPIED for path in [project.root / name, *project.root.glob(f"{name}/**/*")]]
    kept = {path.relative_to(project.root): path for path in paths if path.is_file() and path.suffix != ".pyc"}
    for gone in {path.relative_to(project.folder) for path in project.folder.glob("*/**/*.py")} - set(kept):
        (project.folder / gone).unlink()
    for name, path in kept.items():
        _write(project.folder / name, texts[str(name)].encode() if str(name) in texts else path.read_bytes())
    return [mutant for _, mutants in results for mutant in mutants]


def _write(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# --- judging them ---------------------------------------------------------------------------------------------------


def judge(project: Project, mutants: list[Mutant], options: argparse.Namespace) -> None:
    """Runs the tests on every mutant, and adds the verdicts to the journal."""
    import pytest

    from .mutant_judge import Judge

    tests = options.tests or project.settings["pytest_add_cli_args_test_selection"]
    flags = ["-q", "-s", "--tb=native", "--assert=plain", "-p", "no:cacheprovider", "-o", "addopts=", "--rootdir=."]
    flags += project.settings.get("pytest_add_cli_args", [])
    os.chdir(project.folder)
    sys.path.insert(0, str(project.folder))
    plugin = Judge(mutants, options.jobs, options.budget, project.keep, project.folder / "tests.json", project.version)
    if status := pytest.main([*flags, *tests], plugins=[plugin]):
        raise SystemExit(f"pytest ended with {status}")


def equivalent(mutants: Sequence[Mutant], listed: dict[str, list[dict[str, str]]]) -> set[str]:
    """Names of the mutants that are listed as equivalent.

    Raises:
        ValueError: the list names a change that none of them makes.
    """
    made = {(mutant.function, mutant.before, mutant.after) for mutant in mutants}
    rows = [tuple(row[key] for key in ("function", "before", "after")) for row in listed.get("mutant", [])]
    if stale := [row for row in rows if row not in made]:
        raise ValueError(f"equivalent_mutants.toml lists changes that no mutant makes: {stale}")
    rules = listed.get("rule", [])
    return {
        mutant.name
        for mutant in mutants
        if (mutant.function, mutant.before, mutant.after) in rows or any(_follows(mutant, rule) for rule in rules)
    }


def _follows(mutant: Mutant, rule: dict[str, str]) -> bool:
    """Whether putting the rule's ``after`` for its ``before`` at one place is all that the mutant does."""
    if not (fnmatch(mutant.file, rule.get("file", "*")) and fnmatch(mutant.function, rule.get("function", "*"))):
        return False
    old, new = rule["before"], rule["after"]
    parts = mutant.before.split(old)
    return mutant.after in (old.join(parts[:at]) + new + old.join(parts[at:]) for at in range(1, len(parts)))


def settled(project: Project, mutants: Sequence[Mutant], same: set[str], keep: str) -> list[Mutant]:
    """Mutants that need no test: ``same`` as the original, or judged before (``keep``: "none", "killed" or "all")."""
    kept = {"none": (), "killed": KILLED, "all": (*KILLED, *LEFT)}[keep]
    known = project.verdicts.read()
    done = [replace(mutant, status="equivalent") for mutant in mutants if mutant.name in same]
    for mutant in mutants:
        status, killer = known.get(mutant.change, ("", ""))
        if mutant.name not in same and status in kept:
            done.append(replace(mutant, status=status, killer=killer))
    return done


# --- what came of it ------------------------------------------------------------------------------------------------


def report(mutants: Sequence[Mutant], asked: int) -> int:
    """Prints what survived and the table; 1 if fewer than ``ENOUGH`` were killed, or not all ``asked`` were judged."""
    for mutant in mutants:
        if mutant.status in LEFT:
            print(f"{mutant.status}: {mutant.name}\n  - {mutant.before}\n  + {mutant.after}")
    print(table(mutants))
    if missing := asked - len(mutants):
        print(f"{missing} of {asked} mutants have no verdict")
    return int(missing > 0 or share(Counter(mutant.status for mutant in mutants)) < ENOUGH)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", default="*", help="pattern of the files whose mutants are judged")
    parser.add_argument("--functions", default="*", help="pattern of the functions whose mutants are judged")
    parser.add_argument("--sample", type=int, help="so many of them, drawn at random")
    parser.add_argument("--keep", default="none", choices=["none", "killed", "all"], help="verdicts of earlier runs")
    parser.add_argument("--table", action="store_true", help="judge nothing: the table of the stored verdicts")
    parser.add_argument("--tests", nargs="*", help="files of tests, instead of those in pyproject.toml")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--budget", type=float, default=10, help="seconds of tests after which a mutant has survived")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    return parser.parse_args(argv)


def main() -> int:
    options = arguments()
    project = Project(options.root.resolve())
    os.chdir(project.root)  # where mutmut looks for its settings
    every = prepare(project, options.jobs)
    same = equivalent(every, project.equivalent)
    mutants = [one for one in every if fnmatch(one.file, options.files) and fnmatch(one.function, options.functions)]
    if options.sample:
        mutants = random.Random(0).sample(mutants, min(options.sample, len(mutants)))
    if not options.table:
        names = {mutant.name for mutant in settled(project, mutants, same, options.keep)}
        judge(project, [mutant for mutant in mutants if mutant.name not in names], options)
        project.verdicts.settle(every)
    return report(settled(project, mutants, same, "all"), len(mutants))


if __name__ == "__main__":
    sys.exit(main())
