"""Mutation testing of the mathematics: each small change of the code must fail a test.

python -m scripts.mutants                       every mutant, two at a time; status 1 under 95%
python -m scripts.mutants --files '*targets*'   mutants of some files
python -m scripts.mutants --again               those that survived last time, with today's tests

mutmut makes the mutants: which files, which tests and which lines are left out stands under ``[tool.mutmut]`` in
pyproject.toml. Tests are imported and collected once; each mutant is then a fork that only runs tests. The tests that
run the mutant's function are tried in this order: those that killed another mutant of it, then the fastest first. Tests
slower than ``SLOW`` seconds are left out, and a mutant has survived after ``BUDGET`` seconds of them.
Mutants that change nothing are listed with a reason in ``scripts/equivalent_mutants.toml``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER, VERDICTS = ROOT / "mutants", ROOT / "mutants" / "verdicts.jsonl"
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
COPIED = ("pessimism", "tests", "pyproject.toml")
ENOUGH = 0.95
STATUSES = ("killed", "timeout", "survived", "not run", "equivalent")


@dataclass(frozen=True)
class Mutant:
    """A change of one function and what became of it.

    ``before`` and ``after`` are the lines that differ, ``source`` is a digest of the function. ``status`` is "killed",
    "timeout" (as good as killed), "survived", "not run" (no fast test runs the function) or "equivalent".
    """

    name: str
    file: str
    function: str
    source: str
    before: str
    after: str
    status: str = ""
    killer: str = ""
    seconds: float = 0.0

    @property
    def change(self) -> tuple[str, str, str, str, str]:
        return self.file, self.function, self.source, self.before, self.after


def settings() -> dict[str, list[str]]:
    """What pyproject.toml says about mutants."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]


def files_to_mutate() -> list[str]:
    return sorted({str(path.relative_to(ROOT)) for pattern in settings()["only_mutate"] for path in ROOT.glob(pattern)})


def made(file: str) -> tuple[str, list[Mutant]]:
    """As :func:`mutated`, which takes seconds, kept in ``mutants/made`` until the file changes."""
    version = hashlib.sha256((ROOT / file).read_bytes() + repr(settings()).encode()).hexdigest()[:12]
    kept = FOLDER / "made" / f"{version}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        code, mutants = mutated(file)
        kept.write_text(json.dumps([code, [asdict(mutant) for mutant in mutants]]), "utf-8")
    code, mutants = json.loads(kept.read_text("utf-8"))
    return code, [Mutant(**mutant) for mutant in mutants]


def mutated(file: str) -> tuple[str, list[Mutant]]:
    """Source of a file with all its mutants in it, and the list of them."""
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    result = mutate_file_contents(file, (ROOT / file).read_text("utf-8"))
    lines, spans = result.code.splitlines(), result.line_span_by_function_name
    text = {name: "\n".join(lines[span.start - 1 : span.end]) for name, span in spans.items()}
    mutants = []
    for name in result.mutant_names:
        mangled = name.partition("__mutmut_")[0]
        function = mangled.replace("xǁ", "").replace("ǁ", ".").removeprefix("x_")
        original = text[f"{mangled}__mutmut_orig"].replace(f"{mangled}__mutmut_orig", function)
        change = differing(original, text[name].replace(name, function))
        digest = hashlib.sha256(original.encode()).hexdigest()[:12]
        mutants.append(Mutant(get_mutant_name(Path(file), name), file, function, digest, *change))
    return result.code, mutants


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


def prepare(files: Iterable[str]) -> list[Mutant]:
    """Copies what the tests need to ``mutants/``, with every mutant in it."""
    FOLDER.mkdir(exist_ok=True)
    for name in COPIED:
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, FOLDER / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, FOLDER / name)
    mutants = []
    for file in files:
        code, found = made(file)
        (FOLDER / file).write_text(code, "utf-8")
        mutants += found
    return mutants


def equivalent(mutants: Sequence[Mutant]) -> set[str]:
    """Names of the mutants that are listed as equivalent.

    Raises:
        ValueError: the list names a change that is no longer made.
    """
    rows = tomllib.loads(EQUIVALENT.read_text("utf-8"))["mutant"] if EQUIVALENT.exists() else []
    listed = {(row["file"], row["function"], row["before"], row["after"]) for row in rows}
    made = {(mutant.file, mutant.function, mutant.before, mutant.after): mutant.name for mutant in mutants}
    if stale := {row for row in listed if row not in made and any(row[0] == mutant.file for mutant in mutants)}:
        raise ValueError(f"{EQUIVALENT.name} lists changes that no mutant makes: {sorted(stale)}")
    return {made[row] for row in listed if row in made}


def earlier() -> list[Mutant]:
    """Verdicts of earlier runs, one for each mutant and the last one last."""
    lines = VERDICTS.read_text("utf-8").splitlines() if VERDICTS.exists() else []
    return [Mutant(**json.loads(line)) for line in lines]


def keep(mutant: Mutant) -> None:
    print(f"{mutant.status:10} {mutant.seconds:7.2f} s  {mutant.name}", flush=True)
    with VERDICTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(mutant), ensure_ascii=False) + "\n")


def judge(mutants: list[Mutant], tests: Sequence[str], jobs: int) -> None:
    """Runs the tests on every mutant, and adds the verdicts to ``mutants/verdicts.jsonl``."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    import pytest

    from .mutant_judge import Judge

    measured = FOLDER / "tests.json"

    options = ["-q", "-s", "--tb=native", "--assert=plain", "-p", "no:cacheprovider", "-o", "addopts="]
    os.chdir(FOLDER)
    sys.path.insert(0, str(FOLDER))
    if status := pytest.main([*options, "--rootdir=.", *tests], plugins=[Judge(mutants, jobs, keep, measured)]):
        raise SystemExit(f"pytest ended with {status}")


def table(mutants: Iterable[Mutant]) -> str:
    """Counts by file, and the share killed of those that are not equivalent."""
    mutants = list(mutants)
    rows = [["file", "mutants", *STATUSES, "killed of the rest"]]
    for file in [*sorted({mutant.file for mutant in mutants}), "all"]:
        counts = Counter(mutant.status for mutant in mutants if file in (mutant.file, "all"))
        rows.append([file, str(counts.total()), *(str(counts[status]) for status in STATUSES), f"{share(counts):.1%}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def share(counts: Counter[str]) -> float:
    """Killed mutants out of those that are not equivalent."""
    return (counts["killed"] + counts["timeout"]) / max(1, counts.total() - counts["equivalent"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", default="*", help="pattern of the files whose mutants are judged")
    parser.add_argument("--functions", default="*", help="pattern of the functions whose mutants are judged")
    parser.add_argument("--again", action="store_true", help="keep what was killed in an earlier run")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    mutants = [mutant for mutant in prepare(files_to_mutate()) if fnmatch(mutant.file, options.files)]
    mutants = [mutant for mutant in mutants if fnmatch(mutant.function, options.functions)]
    same = equivalent(mutants)
    known = {mutant.change: mutant for mutant in earlier() if mutant.status in ("killed", "timeout")}
    done = [replace(mutant, status="equivalent") for mutant in mutants if mutant.name in same]
    if options.again:
        done += [replace(known[mutant.change], name=mutant.name) for mutant in mutants if mutant.change in known]
    names = {mutant.name for mutant in done}
    judge([mutant for mutant in mutants if mutant.name not in names], settings()["pytest_add_cli_args_test_selection"], options.jobs)
    last = {mutant.name: mutant for mutant in [*earlier(), *done]}
    verdicts = [last[mutant.name] for mutant in mutants]
    print(*(f"{m.status}: {m.name}\n  - {m.before}\n  + {m.after}" for m in verdicts if m.status in STATUSES[2:4]), sep="\n")
    print(table(verdicts))
    return int(share(Counter(mutant.status for mutant in verdicts)) < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
