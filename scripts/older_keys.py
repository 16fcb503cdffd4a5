"""The keys that older releases of trainers took, written where lint looks them up.

    pip download --no-deps --dest DIR verl==0.4.1 trl==0.16.1 transformers==4.48.3 ...
    python -m scripts.older_keys DIR [NAME ...]

Nothing of a wheel is run: YAML is parsed, classes and argument parsers are read by the syntax tree. The first line of
``older.txt`` names the releases, oldest first; every other one is a key, with the first and the last that has it.
OpenRLHF does not install where there is no GPU, so its newest wheel gives ``keys.txt`` too.
"""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from scripts.source_keys import classes_of
from scripts.trainer_keys import FOLDER, of_values

VERL_FILE = re.compile(r"verl/trainer/config/(?:_generated_)?ppo_(?:\w+_)?trainer\.yaml")
TRL_FILE = re.compile(r"trl/(?:trainer|scripts|experimental/\w+)/\w+\.py")
TRL_CLASSES = {"GRPOConfig", "RLOOConfig", "OnPolicyConfig", "ScriptArguments", "GRPOScriptArguments", "ModelConfig"}
TRL_CLASSES |= {"_BaseConfig", "BaseConfig", "A2POConfig", "AsyncGRPOConfig", "RLOOScriptArguments"}
OPENRLHF_FILE = re.compile(r"(?:.*/purelib/)?openrlhf/cli/train_ppo_ray\.py")

Wheel = zipfile.ZipFile


def main(arguments: list[str]) -> None:
    """Write the older keys of every named trainer from the wheels in a folder."""
    folder, names = Path(arguments[0]), arguments[1:]
    makers: dict[str, Callable[[Wheel], set[str]]] = {"verl": verl_keys, "trl": trl_keys, "openrlhf": openrlhf_keys}
    shared = transformers_keys(folder)
    for name in names or makers:
        found = {release: makers[name](Wheel(path)) for release, path in wheels(folder, name)}
        if name == "trl":
            found = {release: keys | shared for release, keys in found.items()}
        if name == "openrlhf":
            _, newest = found.popitem()
            (FOLDER / name / "keys.txt").write_text("\n".join(sorted(newest)) + "\n", "utf-8")
        (FOLDER / name / "older.txt").write_text("\n".join(lines(found)) + "\n", "utf-8")


def wheels(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Release and wheel, oldest first."""
    found = {}
    for path in folder.glob(f"{name}-*.whl"):
        release = path.name.split("-")[1]
        found[tuple(int(part) for part in re.findall(r"\d+", release)[:3])] = (release, path)
    for number in sorted(found):
        yield found[number]


def lines(found: dict[str, set[str]]) -> Iterator[str]:
    """The text of ``older.txt``."""
    yield " ".join(found)
    for key in sorted(set().union(*found.values())):
        having = [release for release, keys in found.items() if key in keys]
        yield f"{key} {having[0]} {having[-1]}"


def verl_keys(wheel: Wheel) -> set[str]:
    """The keys of its complete configurations; of those that are put together of parts, the generated ones."""
    found: set[str] = set()
    for name in filter(VERL_FILE.fullmatch, wheel.namelist()):
        values = yaml.safe_load(wheel.read(name))
        found.update(key for key in of_values(values) if key.partition(".")[0] not in ("hydra", "defaults"))
    return found | {"hydra.*", "defaults.*"}


def trl_keys(wheel: Wheel) -> set[str]:
    """The fields of its configurations, without those that they have from transformers."""
    files = (name for name in wheel.namelist() if TRL_FILE.fullmatch(name))
    return {key for name in files for key in fields(wheel.read(name), TRL_CLASSES)}


def transformers_keys(folder: Path) -> set[str]:
    """The fields of TrainingArguments in the releases of transformers that are there."""
    files = [Wheel(path).read("transformers/training_args.py") for _, path in wheels(folder, "transformers")]
    return {key for text in files for key in fields(text, {"TrainingArguments"})}


def fields(text: bytes, classes: set[str]) -> Iterator[str]:
    """The annotated fields of some classes of a module."""
    for name, made in classes_of(text):
        if name in classes:
            yield from made.fields


def openrlhf_keys(wheel: Wheel) -> set[str]:
    """The flags of its PPO."""
    return {key for name in filter(OPENRLHF_FILE.fullmatch, wheel.namelist()) for key in flags(wheel.read(name))}


def flags(text: bytes | str) -> Iterator[str]:
    """The flags that the argument parser of a module takes."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument"):
            for argument in node.args:
                for flag in _texts(argument):
                    if flag.startswith("--"):
                        yield flag.removeprefix("--").replace("-", "_")


def _texts(argument: ast.expr) -> Iterator[str]:
    """A text, or the texts that a formatted one makes of the names of the two models."""
    if isinstance(argument, ast.Constant):
        yield str(argument.value)
    elif isinstance(argument, ast.JoinedStr):
        for model in ("actor", "critic"):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else model for part in argument.values)


if __name__ == "__main__":
    main(sys.argv[1:])
