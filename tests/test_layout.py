"""The layout holds: which package may import which, what stays out of an import, what the wheel carries."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pessimism.trainers.trainer import FOLDERS, trainers
from scripts.website.reference import MODULES

ROOT = Path(__file__).resolve().parent.parent
OURS = ("pessimism", "bandits", "llm", "paper_figures", "notebooks", "benchmarks", "scripts", "tests")
NEVER = {"benchmarks", "tests"}

# package -> names it may never import. Figures and notebooks read the results of `llm` from files.
FORBIDDEN = {
    "pessimism": NEVER | {"torch", "vllm", "sklearn", "bandits", "llm", "paper_figures", "notebooks"},
    "bandits": NEVER | {"vllm", "llm", "paper_figures", "notebooks"},
    "llm": NEVER | {"bandits", "paper_figures", "notebooks"},
    "paper_figures": NEVER | {"torch", "vllm", "llm", "notebooks"},
    "notebooks": NEVER | {"torch", "vllm", "llm"},
}
LAZY = ("torch", "vllm", "sympy", "hypothesis", "matplotlib", "sklearn", "bandits", "llm")
IMPORT_CALLS = {"__import__", "importlib.import_module"}
UNSAFE_CALLS = {"eval", "exec"}
SANDBOXED = ROOT / "llm" / "tasks" / "sandbox" / "inside.py"
"""The one file that runs what a model wrote: its text is only ever given to a Python inside a sandbox."""

READS_TENSORS = ROOT / "pessimism" / "audit" / "tensors.py"
"""The one file of pessimism that imports torch, when it is given a file of torch's: nothing else reads one safely."""

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve"}


def present(names) -> list[str]:
    return [name for name in names if (ROOT / name).is_dir()]


def source_files(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Full dotted names of every absolute import in a module, at whatever depth, deferred ones included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORT_CALLS:
            yield from (str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant))


def direction_violations(tree: ast.AST, package: str) -> set[str]:
    return {name.partition(".")[0] for name in imported_modules(tree)} & FORBIDDEN[package]


def unsafe_uses(tree: ast.AST) -> Iterator[str]:
    """Places where data from outside could become code."""
    for name in imported_modules(tree):
        if name.partition(".")[0] in UNSAFE_MODULES:
            yield f"import {name}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            yield f"{node.func.id}() on line {node.lineno}"
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                yield f"allow_pickle on line {node.lineno}"


@pytest.mark.parametrize("package", present(FORBIDDEN))
def test_imports_point_one_way(package):
    found = {
        str(path.relative_to(ROOT)): names
        for path in source_files(package)
        if (names := direction_violations(ast.parse(path.read_text("utf-8")), package))
        and not (path == READS_TENSORS and names == {"torch"})
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "import torch",
        "import torch.nn as nn",
        "from torch import nn",
        "def f():\n    from bandits.instances import digits",
        "import importlib\nimportlib.import_module('torch')",
        "__import__('llm')",
    ],
)
def test_the_import_walk_sees_every_form(line):
    assert direction_violations(ast.parse(line), "pessimism") != set()


def test_the_import_walk_leaves_relative_and_allowed_imports_alone():
    allowed = "import numpy\nfrom . import torch\nfrom .bandit import Bandit\nfrom pessimism import Bandit"
    assert direction_violations(ast.parse(allowed), "pessimism") == set()


def test_the_source_never_turns_data_into_code():
    found = {
        str(path.relative_to(ROOT)): uses
        for path in source_files(*present(OURS))
        if path != SANDBOXED and (uses := list(unsafe_uses(ast.parse(path.read_text("utf-8")))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "exec(text)",
        "numpy.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=flag)",
    ],
)
def test_the_safety_walk_sees_every_form(line):
    assert list(unsafe_uses(ast.parse(line))) != []


def test_the_safety_walk_leaves_safe_forms_alone():
    assert list(unsafe_uses(ast.parse("numpy.load(path, allow_pickle=False)\nmodel.eval()"))) == []


THEORY = (
    "algorithm", "bandit", "baseline", "baselines", "compare", "compose", "composition", "corrections", "guarantees",
    "levels", "masks", "numeric_targets", "parts", "penalties", "prefixes", "reference_groups", "solution",
    "standing", "stationary_points", "target", "targets", "verdict",
)  # fmt: skip
NO_THEORY = ("cli", "objectives", "shell", "views")


def modules(*packages: str) -> dict[str, Path]:
    """Dotted name -> file of every module of these packages."""
    files = source_files(*packages)
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imports_within(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Those of the known modules that one imports, deferred imports and those for types included."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= inner & set(known) or {module}
    return (found & set(known)) - {name}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The sets of modules that import each other, straight or around corners."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        open_ = list(graph[start])
        while open_:
            name = open_.pop()
            if name not in seen:
                seen.add(name)
                open_ += graph[name]
        reached[start] = seen
    sets = {frozenset({one, *(o for o in reached[one] if one in reached[o])}) for one in graph if one in reached[one]}
    return sorted(sorted(circle) for circle in sets)


def test_no_modules_import_each_other():
    known = modules("pessimism", "bandits", "llm", "paper_figures", "benchmarks", "scripts")
    assert circles({name: imports_within(name, path, known) for name, path in known.items()}) == []


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [["b", "c"]]


def test_the_theory_knows_neither_an_objective_by_name_nor_a_view():
    known = modules("pessimism")
    theory = [f"pessimism.{name}" for name in THEORY] + [name for name in known if name.startswith("pessimism.solve.")]
    found = {
        (name, other)
        for name in theory
        for other in imports_within(name, known[name], known)
        if other.split(".")[1:2] and other.split(".")[1] in NO_THEORY
    }
    assert found == set()


USERS = ("bandits", "llm", "notebooks", "paper_figures", "examples")


def exported(name: str, known: dict[str, Path]) -> set[str]:
    """What a module's ``__all__`` lists; nothing where it has none."""
    for node in ast.parse(known[name].read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


@cache
def public_names() -> dict[str, set[str]]:
    known = modules("pessimism", "bandits")
    return {name: exported(name, known) | {"__version__", "__file__"} for name in MODULES}


def used_names(tree: ast.AST, known: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Every (module of pessimism, name) that a source takes: imported from it, or as an attribute of it."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in known:
            for alias in node.names:
                yield node.module, alias.name
                if (inner := f"{node.module}.{alias.name}") in known:
                    aliases[alias.asname or alias.name] = inner
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (module := aliases.get(ast.unparse(node.value))):
            yield module, node.attr


def not_public(tree: ast.AST, known: dict[str, Path]) -> set[str]:
    allowed = public_names()
    return {
        f"{module}.{name}"
        for module, name in used_names(tree, known)
        if name not in allowed.get(module, ()) and f"{module}.{name}" not in allowed
    }


@pytest.mark.parametrize("package", present(USERS))
def test_other_packages_use_public_names_only(package):
    known = modules("pessimism")
    found = {
        str(path.relative_to(ROOT)): names
        for path in source_files(package)
        if (names := not_public(ast.parse(path.read_text("utf-8")), known))
    }
    assert found == {}


def test_pages_show_public_names_only():
    known = modules("pessimism")
    imports = re.compile(r"^(?:>>> )?((?:from|import) pessimism\b.*)$", re.MULTILINE)
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found = {
        f"{path.relative_to(ROOT)}: {line}": names
        for path in pages
        for line in imports.findall(path.read_text("utf-8"))
        if (names := not_public(ast.parse(line), known))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "from pessimism.shell.files import write_whole",
        "from pessimism import given",
        "import pessimism as ps\nps.given.understood",
        "import pessimism\npessimism.no_such_name",
        "from pessimism.baselines import _constant_rule",
        "from pessimism import baselines\nbaselines._constant_rule",
    ],
)
def test_the_walk_sees_every_private_name(source):
    assert not_public(ast.parse(source), modules("pessimism")) != set()


def is_documented(module: str, name: str, known: dict[str, Path]) -> bool:
    """Whether what a module calls so has a text, where it is defined; modules have one."""
    if f"{module}.{name}" in known:
        return True
    body = [
        part
        for node in ast.parse(known[module].read_text("utf-8")).body
        for part in (node.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else [node])
    ]  # names that a module loads when they are asked for stand under TYPE_CHECKING
    package = module if known[module].name == "__init__.py" else module.rpartition(".")[0]
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package.split(".")[: package.count(".") + 2 - node.level]
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return is_documented(".".join([*above, *filter(None, [node.module])]), alias.name, known)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            if node.name == name:
                return ast.get_docstring(node) is not None
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if name in map(ast.unparse, targets):
                text = after.value if isinstance(after, ast.Expr) else None
                return isinstance(text, ast.Constant) and isinstance(text.value, str)
    return False


@pytest.mark.parametrize("name", sorted(MODULES))
def test_public_names_are_listed_and_documented(name):
    known = modules("pessimism", "bandits")
    listed = exported(name, known)
    assert listed, f"{name} has no __all__"
    assert {one for one in listed if not is_documented(name, one, known)} == set()


def test_importing_pessimism_stays_light():
    program = (
        "import json, sys; before = set(sys.modules); import pessimism; "
        f"print(json.dumps([name for name in {LAZY!r} if name in sys.modules and name not in before]))"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []


def trainer_names() -> list[str]:
    """What trainers are called: their folders, what users call them, and their own spelling."""
    folders = [path.name for path in (ROOT / "pessimism" / "trainers").iterdir() if (path / "__init__.py").is_file()]
    return sorted({*folders, *(name for one in trainers() for name in (one.name, one.title, one.version.split()[0]))})


def test_every_folder_of_a_trainer_is_in_the_registry():
    folders = {path.parent.name for path in (ROOT / "pessimism" / "trainers").glob("*/__init__.py")}
    assert folders == set(FOLDERS)


@pytest.mark.parametrize("package", ["lint", "audit"])
def test_lint_and_audit_know_no_trainer_by_name(package):
    named = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, trainer_names()))})(?!\w)", re.IGNORECASE)
    found = {
        f"{path.relative_to(ROOT)}, line {number}": line
        for path in source_files(f"pessimism/{package}")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if named.search(line)
    }
    assert found == {}


CORE = {"array-api-compat", "numpy", "scipy"}
WITHOUT_EXTRAS = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""


def without_extras(program: str) -> subprocess.CompletedProcess[str]:
    """A program run where no package of an extra can be imported."""
    extras = ("hypothesis", "matplotlib", "mpmath", "polars", "pyarrow", "rich", "sympy", "typer", "yaml")
    code = WITHOUT_EXTRAS % (extras,) + program
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_the_core_needs_no_extra():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {re.split(r"[<>=]", requirement)[0] for requirement in settings["dependencies"]} == CORE
    done = without_extras(
        "import pessimism as ps\n"
        "bandit = ps.Bandit([0.5, 0.5], [0, 1])\n"
        "for name in ps.catalogue():\n"
        "    ps.induced_target(bandit, ps.algorithm(name))\n"
        "print(ps.compare(bandit, ps.algorithm('shifted_mean', beta=0.5)).verdict)"
    )
    assert done.stderr == ""
    assert done.stdout.startswith("pessimistic")


def test_a_command_without_its_packages_says_what_to_install():
    done = without_extras(
        "import importlib.util, pessimism.extras as extras\n"
        "extras.find_spec = lambda name: None if name in ('rich', 'typer') else object()\n"
        "from pessimism.__main__ import main\n"
        "sys.exit(main())"
    )
    assert done.returncode == 2
    assert done.stderr == "error: commands need packages that are not installed: pip install rich typer\n"


@pytest.mark.parametrize("package", present(("pessimism", "bandits", "llm", "paper_figures", "benchmarks")))
def test_packages_resolve_to_this_checkout(package):
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None, f"{package} has no __init__.py"
    assert Path(spec.origin).resolve() == ROOT / package / "__init__.py"


def test_test_folders_are_not_named_like_a_package():
    folders = [path for path in (ROOT / "tests").rglob("*") if path.is_dir()]
    assert [str(path) for path in folders if path.name in OURS] == []


def test_the_wheel_holds_only_pessimism():
    """The `bandits` and `llm` of this checkout must not land in a shared site-packages."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["pessimism"]}
    assert set(settings["project"]["optional-dependencies"]) == {"cli", "verify", "plot", "audit", "lint", "all"}


def test_torch_is_pinned_where_pip_reads_it_and_nowhere_else():
    """Unpinned it fetches gigabytes of CUDA; pinned in a group it would keep a GPU machine from its own build."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = [requirement for group in settings["dependency-groups"].values() for requirement in group]
    torch = {
        requirement for requirement in groups if isinstance(requirement, str) and re.match(r"torch\b", requirement)
    }
    assert len(torch) == 1
    assert "==" not in torch.pop()
    extras = settings["project"]["optional-dependencies"].values()
    package = [*settings["project"]["dependencies"], *(requirement for extra in extras for requirement in extra)]
    assert not any(requirement.startswith("torch") for requirement in package)
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert "TORCH := torch==2.13.0" in (ROOT / "Makefile").read_text("utf-8").splitlines()
