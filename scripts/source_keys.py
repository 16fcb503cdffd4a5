"""The keys of trainers whose configuration classes are read from their source, without an import.

    python -m scripts.source_keys NAME FOLDER     (FOLDER: a checkout of the trainer at the commit its reader names)

Fields of dataclasses, pydantic models and TypedDicts are followed by the syntax tree; of NeMo-RL, whose classes leave
sections open, the keys of the configurations that it ships count too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from scripts.trainer_keys import FOLDER, of_values

PLAIN = {"int", "float", "str", "bool", "None", "Path", "Literal", "Optional", "NotRequired", "Annotated", "Union"}
MAX_DEPTH = 12


@dataclass(frozen=True)
class Source:
    """Where a trainer's classes are: files, the outermost classes with the section of each, and shipped files."""

    classes: str
    roots: tuple[tuple[str, str], ...]
    shipped: str = ""


SOURCES = {
    "prime_rl": Source(
        "packages/prime-rl-configs/src/prime_rl/configs/*.py",
        (("RLConfig", ""), ("OrchestratorConfig", ""), ("TrainerConfig", ""), ("SFTConfig", "")),
    ),
    "skyrl": Source(
        "skyrl/train/config/*.py",
        (("SkyRLTrainConfig", ""),),
    ),
    "nemo_rl": Source("nemo_rl/**/*.py", (("MasterConfig", ""),), "examples/**/*.yaml"),
}


@dataclass(frozen=True)
class Class:
    """A class of a configuration: the names of its bases, and field -> annotation."""

    bases: tuple[str, ...]
    fields: dict[str, ast.expr]


def main(arguments: list[str]) -> None:
    """Write the keys of one trainer."""
    name, folder = arguments[0], Path(arguments[1])
    source = SOURCES[name]
    (FOLDER / name / "keys.txt").write_text("\n".join(sorted(keys_of(source, folder))) + "\n", "utf-8")


def keys_of(source: Source, folder: Path) -> set[str]:
    """Every key of a trainer."""
    classes: dict[str, list[Class]] = {}
    for path in sorted(folder.glob(source.classes)):
        for name, made in classes_of(path.read_text("utf-8")):
            classes.setdefault(name, []).append(made)
    found = {key for root, prefix in source.roots for made in classes[root] for key in _keys(made, classes, prefix)}
    for path in sorted(folder.glob(source.shipped)) if source.shipped else ():
        values = yaml.safe_load(path.read_text("utf-8"))
        if isinstance(values, dict) and "policy" in values:
            found.update(of_values({key: value for key, value in values.items() if key != "defaults"}))
    return {key for key in found if not any(f"{key[:place]}.*" in found for place in _dots(key))}


def _dots(key: str) -> Iterator[int]:
    return (place for place, letter in enumerate(key) if letter == "." and not key.startswith(".*", place))


def classes_of(text: str | bytes) -> Iterator[tuple[str, Class]]:
    """The classes of a module that have annotated fields, or bases."""
    module = ast.parse(text)
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            own = {
                one.target.id: one.annotation
                for one in node.body
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            }
            yield node.name, Class(tuple(ast.unparse(base).rpartition(".")[2] for base in node.bases), own)
    for node in module.body:  # an alias: A = B | C, or A: TypeAlias = B | C
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and value is not None:
            yield f"={target.id}", Class((), {"": value})


def _fields(made: Class, classes: dict[str, list[Class]], depth: int = 0) -> dict[str, ast.expr]:
    found: dict[str, ast.expr] = {}
    for base in made.bases if depth < MAX_DEPTH else ():
        for above in classes.get(base, ()):
            found |= _fields(above, classes, depth + 1)
    return found | made.fields


def _keys(made: Class, classes: dict[str, list[Class]], prefix: str, depth: int = 0) -> Iterator[str]:
    for name, annotation in _fields(made, classes).items():
        if name.startswith("_") or name == "model_config":
            continue
        key = f"{prefix}{name}"
        inner, listed = _inside(annotation, classes)
        if listed or depth > MAX_DEPTH or inner is None:
            yield f"{key}.*"
        elif not inner:
            yield key
        else:
            for one in inner:
                yield from _keys(one, classes, f"{key}.", depth + 1)


def _inside(annotation: ast.expr, classes: dict[str, list[Class]], hops: int = 0) -> tuple[list[Class] | None, bool]:
    """The classes that an annotation names, or None where it may hold anything; and whether it is of many."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    found: list[Class] = []
    listed = False
    for node in ast.walk(annotation):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name in ("list", "dict", "tuple", "List", "Dict", "Tuple", "Sequence", "Mapping", "Any"):
            listed = True
        elif f"={name}" in classes and name not in classes and hops < MAX_DEPTH:
            for alias in classes[f"={name}"]:
                inner, many = _inside(alias.fields[""], classes, hops + 1)
                found += inner or []
                listed = listed or many
        elif name in classes:
            found += classes[name]
    return found, listed


if __name__ == "__main__":
    main(sys.argv[1:])
