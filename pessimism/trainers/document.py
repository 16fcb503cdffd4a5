"""A trainer's configuration as it lies in a file: nested values, and the line of every key.

YAML (safe tags only), JSON, TOML, and shell scripts with ``key.path=value`` overrides as verl's users keep them.
Nothing is executed; ``${...}`` is resolved within the file only.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..shell.extras import need

MAX_BYTES = 256 * 1024
MAX_NODES = 100_000
MAX_DEPTH = 50
MAX_BASES = 5
SHELL = ".sh"
OWN_BASE = re.compile(r"(?:\w+_)?ppo_(?:\w+_)?trainer")
PLAIN_TAGS = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*")
OVERRIDE = re.compile(r"(?:\+{0,2})([A-Za-z_][\w-]*(?:\.[\w-]+)*)=(.*)", re.DOTALL)
COMPUTED = re.compile(r"\$\(\(?[^()]*\)?\)|`[^`]*`")
VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?::?-([^${}]*))?\}|([A-Za-z_]\w*))")


@dataclass(frozen=True)
class Document:
    """A configuration file.

    Attributes:
        path: as the user wrote it.
        values: nested mappings and lists of plain values.
        lines: the line of every key, by its dotted path (list entries by their index).
        suffix: of the file, in lower case.
        missing: files that it builds on (Hydra's ``defaults``) and that are not next to it.
        prefix: what stands before every key in the file, where the values are those of a section.
    """

    path: str
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)
    suffix: str = ""
    missing: tuple[str, ...] = ()
    prefix: str = ""

    def find(self, key: str) -> tuple[bool, Any]:
        """Whether the dotted path is in the file, and its value.

        >>> Document("a.yaml", {"train": {"source": [{"group_size": 8}]}}).find("train.source.0.group_size")
        (True, 8)
        """
        value: Any = self.values
        for part in key.split("."):
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                return False, None
        return True, value

    def has(self, *keys: str) -> bool:
        """Whether any of the dotted paths is in the file."""
        return any(self.find(key)[0] for key in keys)

    def place(self, key: str) -> str:
        """Where a key is, for messages: the file, and the line if the key is in it."""
        return f"{self.path}, line {self.lines[key]}" if key in self.lines else self.path

    def section(self, name: str) -> Document:
        """The values of one top-level section as a document of its own; those beside it stay where it has none.

        >>> Document("a.yaml", {"trl": {"beta": 1}, "steps": 2}, {"trl.beta": 3}).section("trl").place("beta")
        'a.yaml, line 3'
        """
        prefix = f"{name}."
        beside = {key: value for key, value in self.values.items() if key != name}
        inner = {key.removeprefix(prefix): line for key, line in self.lines.items() if key.startswith(prefix)}
        return replace(self, values=beside | self.values[name], lines=dict(self.lines) | inner, prefix=prefix)


def read_document(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Document:
    """Read a configuration file and apply ``key.path=value`` overrides to it.

    Raises:
        ValueError: no such file, too large, not of a known format, malformed (the message says where), or an override
            that is not of the form ``key=value``.
    """
    name = os.fspath(path)
    suffix = Path(path).suffix.lower()
    readers: dict[str, Callable[[str], tuple[Any, dict[str, int]]]] = {
        ".yaml": _yaml,
        ".yml": _yaml,
        ".json": _json,
        ".toml": _toml,
        SHELL: _shell,
    }
    try:
        if suffix not in readers:
            raise ValueError(f"the suffix is {suffix!r}; it must be one of {', '.join(readers)}")
        values, lines = readers[suffix](_text(path))
        values, missing = _with_defaults(_mapping(values), Path(path).resolve().parent)
        for override in overrides:
            _apply(values, lines, *split_override(override))
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror or error}") from None
    except RecursionError:
        raise ValueError(f"{name}: values are nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Document(name, values, lines, suffix, missing)


def split_override(text: str) -> tuple[str, str]:
    """The dotted key and the value of an override, as Hydra writes one.

    >>> split_override("+actor_rollout_ref.actor.clip_ratio_high=0.28")
    ('actor_rollout_ref.actor.clip_ratio_high', '0.28')
    """
    match = OVERRIDE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not of the form key.path=value")
    return match[1], match[2]


def _text(path: str | os.PathLike[str]) -> str:
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"the file is larger than {MAX_BYTES // 1024} KiB, too large for a configuration")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {content[error.start]:#04x} at position {error.start})") from None
    if not text.strip():
        raise ValueError("the file is empty")
    return text


def _mapping(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError(f"the outermost value is {_kind(values)}; it must be a mapping of keys to values")
    return values


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a text", int: "a number", float: "a number", type(None): "empty"}
    return kinds.get(type(value), f"a {type(value).__name__}")


# --- YAML -----------------------------------------------------------------------------------------------------------


def _yaml(text: str) -> tuple[Any, dict[str, int]]:
    need("YAML files", "yaml")
    import yaml

    lines: dict[str, int] = {}
    nodes = 0

    def plain(node: Any, key: str, depth: int) -> Any:
        nonlocal nodes
        nodes += 1
        if nodes > MAX_NODES:
            raise ValueError(f"its aliases expand to more than {MAX_NODES:,} values")
        if depth > MAX_DEPTH:
            raise RecursionError
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode) and node.tag not in PLAIN_TAGS:
            raise ValueError(f"line {node.start_mark.line + 1}: {node.tag} is no plain list or mapping")
        if isinstance(node, yaml.SequenceNode):
            return [plain(part, _join(key, str(index)), depth + 1) for index, part in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return mapping(node, key, depth)
        return loader.construct_object(node)  # type: ignore[no-untyped-call]

    def mapping(node: Any, key: str, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if name_node.tag == "tag:yaml.org,2002:merge":
                parts = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for part in reversed(parts):
                    found = plain(part, key, depth + 1)
                    if not isinstance(found, dict):
                        raise ValueError(f"line {line}: << merges {_kind(found)}; it must be a mapping")
                    merged |= found
                continue
            if not isinstance(name_node, yaml.ScalarNode):
                raise ValueError(f"line {line}: a key is not a plain text")
            name = str(name_node.value)
            if name in own:
                raise ValueError(f"line {line}: the key {_join(key, name)!r} appears twice")
            lines[_join(key, name)] = line
            own[name] = plain(value_node, _join(key, name), depth + 1)
        return merged | own

    try:
        loader = yaml.SafeLoader(text)
        return plain(loader.get_single_node(), "", 0), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f"line {mark.line + 1}: "
        raise ValueError(f"{line}not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {str(error).splitlines()[0]}") from None


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


# --- Hydra's defaults ------------------------------------------------------------------------------------------------


def _with_defaults(values: dict[str, Any], folder: Path, depth: int = 0) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values on top of those of the files that ``defaults`` names in the same folder, and which it lacks.

    What comes later in the list wins; the file itself is at ``_self_``, or before all others. The trainer's own files
    (``ppo_trainer`` and the like) are not looked for: their values are the defaults that readers know.
    """
    if not isinstance(values.get("defaults"), list):
        return values, ()
    if depth == MAX_BASES:
        raise ValueError(f"files build on one another more than {MAX_BASES} deep")
    names = [name for name in values["defaults"] if isinstance(name, str) and not OWN_BASE.fullmatch(name)]
    if "_self_" not in names:
        names.insert(0, "_self_")
    merged: dict[str, Any] = {}
    missing: list[str] = []
    for name in names:
        if name == "_self_":
            merged = _merged(merged, values)
            continue
        path = (folder / f"{name}.yaml").resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            missing.append(f"{name}.yaml")
            continue
        try:
            inner, lacking = _with_defaults(_mapping(_yaml(_text(path))[0]), path.parent, depth + 1)
        except ValueError as error:
            raise ValueError(f"in {name}.yaml: {error}") from None
        merged = _merged(merged, inner)
        missing += lacking
    return merged, tuple(dict.fromkeys(missing))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result


# --- JSON and TOML --------------------------------------------------------------------------------------------------


def _json(text: str) -> tuple[Any, dict[str, int]]:
    try:
        values = json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        for name in re.findall(r'"([^"\\]+)"\s*:', line):
            lines.setdefault(name, number)  # TRL's arguments are flat: names are paths
    return values, lines


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} appears twice")
        found[name] = value
    return found


def _toml(text: str) -> tuple[Any, dict[str, int]]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from None
    lines: dict[str, int] = {}
    prefix = ""
    entries: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*(\[\[?)\s*([\w.\"' -]+?)\s*\]", line)
        if header is not None:
            prefix = header[2].replace('"', "").replace("'", "").replace(" ", "")
            for array, index in entries.items():  # a table inside the newest entry of an array of tables
                if prefix.startswith(f"{array}."):
                    prefix = f"{array}.{index}{prefix[len(array) :]}"
            if header[1] == "[[":
                entries[prefix] = entries.get(prefix, -1) + 1
                prefix = f"{prefix}.{entries[prefix]}"
            lines.setdefault(prefix, number)
            continue
        name = re.match(r"\s*([\w.-]+)\s*=", line)
        if name is not None:
            lines.setdefault(_join(prefix, name[1]), number)
    return values, lines


# --- overrides ------------------------------------------------------------------------------------------------------


def _shell(text: str) -> tuple[Any, dict[str, int]]:
    values: dict[str, Any] = {}
    variables: dict[str, str] = {}
    for word in _words(text):
        if word.startswith("--config-name="):
            values["defaults"] = [word.partition("=")[2].removesuffix(".yaml"), "_self_"]
        match = OVERRIDE.fullmatch(word)
        if match is None:
            continue
        if "." in match[1]:
            _apply(values, {}, match[1], _substituted(match[2], variables))
        elif ASSIGNMENT.fullmatch(word.partition("=")[0]):
            variables[match[1]] = _substituted(match[2], variables)
    if not values:
        raise ValueError("no word of the script is an override of the form key.path=value")
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        lines |= {name: number for name in re.findall(r"([A-Za-z_][\w-]*(?:\.[\w-]+)+)=", line)}
    return values, lines


def _words(text: str) -> list[str]:
    """The words of a shell script; comments left out, quotes taken off."""
    text = COMPUTED.sub("${computed}", re.sub(r"--config-name\s+", "--config-name=", text)).replace(
        "\\\n", " \n"
    )  # what only a shell can know
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError as error:
        raise ValueError(f"not a shell script: {str(error).lower()}") from None


def _substituted(value: str, variables: Mapping[str, str]) -> str:
    """The value with the shell variables that the script itself sets; others stay as they are written."""

    def known(match: re.Match[str]) -> str:
        return variables.get(match[1] or match[3], match[0] if match[2] is None else match[2])

    return VARIABLE.sub(known, value)


def _apply(values: dict[str, Any], lines: dict[str, int], key: str, text: str) -> None:
    """Set ``key.path`` to the value that YAML reads from the text; it then has no line of its own."""
    *parents, name = key.split(".")
    place = values
    for index, parent in enumerate(parents):
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{key}: {'.'.join(parents[: index + 1])} is {_kind(inner)}, which has no keys")
        place = inner
    try:
        place[name] = text if "$" in text or not text else _yaml(text)[0]
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    lines.pop(key, None)
