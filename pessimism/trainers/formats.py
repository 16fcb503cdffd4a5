"""Readers of plain formats: YAML (safe tags only), JSON and TOML as nested values, with the line of every key."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import tomllib
from collections.abc import Mapping
from typing import Any

from ..extras import need

MAX_BYTES = 256 * 1024
MAX_NOTEBOOK_BYTES = 16 * MAX_BYTES
"""Notebooks hold pictures; of them only the code is looked at."""

MAX_NODES = 100_000
MAX_DEPTH = 50
MAX_DOTS = 2_000
PLAIN_TAGS = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
BAD_SCALAR = (ValueError, KeyError, AttributeError, TypeError, IndexError, OverflowError)
"""What PyYAML raises for a scalar that does not fit its tag."""


def read_text(path: str | os.PathLike[str], largest: int = MAX_BYTES) -> str:
    """The text of a file of at most ``largest`` bytes.

    Raises:
        ValueError: it is no regular file, too large, empty or not UTF-8.
        OSError: it cannot be read.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("not a regular file")
        return _decoded(file.read(largest + 1), largest)


def read_standard_input(largest: int = MAX_BYTES) -> str:
    """The text of standard input; errors as of :func:`read_text`."""
    return _decoded(sys.stdin.buffer.read(largest + 1), largest)


def _decoded(content: bytes, largest: int) -> str:
    if len(content) > largest:
        raise ValueError(f"the file is larger than {largest // 1024} KiB, too large for a configuration")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {content[error.start]:#04x} at position {error.start})") from None
    if not text.strip():
        raise ValueError("the file is empty")
    return text


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe, too, without waiting for someone who writes into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def outermost(values: Any) -> dict[str, Any]:
    """The values as a mapping, or a ValueError that says what they are."""
    if not isinstance(values, dict):
        raise ValueError(f"the outermost value is {kind_of(values)}; it must be a mapping of keys to values")
    return values


def yaml_values(text: str) -> tuple[Any, dict[str, int]]:
    """The values of a YAML file, and the lines of its keys."""
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
            return [plain(part, joined(key, str(index)), depth + 1) for index, part in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return mapping(node, key, depth)
        try:
            return loader.construct_object(node)  # type: ignore[no-untyped-call]
        except BAD_SCALAR:
            kind = str(node.tag).rpartition(":")[2]
            raise ValueError(f"line {node.start_mark.line + 1}: {node.value[:40]!r} is no {kind} of YAML") from None

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
                        raise ValueError(f"line {line}: << merges {kind_of(found)}; it must be a mapping")
                    merged |= found
                continue
            if not isinstance(name_node, yaml.ScalarNode):
                raise ValueError(f"line {line}: a key is not a plain text")
            name = str(name_node.value)
            if name in own:
                raise ValueError(f"line {line}: the key {joined(key, name)!r} appears twice")
            lines[joined(key, name)] = line
            own[name] = plain(value_node, joined(key, name), depth + 1)
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


def joined(key: str, name: str) -> str:
    """The dotted path of a name in a section."""
    return f"{key}.{name}" if key else name


def json_values(text: str) -> tuple[Any, dict[str, int]]:
    """The values of a JSON file, and the lines of its keys."""
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


def toml_values(text: str) -> tuple[Any, dict[str, int]]:
    """The values of a TOML file, and the lines of its keys."""
    if any(line.count(".") > MAX_DOTS for line in text.splitlines()):
        raise RecursionError  # a key of so many parts would take the parser minutes
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
            prefix = _within_arrays(prefix, entries)
            if header[1] == "[[":
                entries[prefix] = entries.get(prefix, -1) + 1
                prefix = f"{prefix}.{entries[prefix]}"
            lines.setdefault(prefix, number)
            continue
        name = re.match(r"\s*([\w.-]+)\s*=", line)
        if name is not None:
            lines.setdefault(joined(prefix, name[1]), number)
    return values, lines


def kind_of(value: object) -> str:
    """What a value is, in words."""
    kinds = {list: "a list", str: "a text", int: "a number", float: "a number", type(None): "empty"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _within_arrays(path: str, entries: Mapping[str, int]) -> str:
    """The path of a table, with the index of the newest entry after every array of tables that it lies in."""
    found, parts = "", path.split(".")
    for place, part in enumerate(parts):
        found = joined(found, part)
        if place < len(parts) - 1 and found in entries:
            found = f"{found}.{entries[found]}"
    return found


def check_size(values: Any) -> None:
    """Raise a ValueError for values that are too many, and a RecursionError for such that are nested too deep."""
    waiting, seen = [(values, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH:
            raise RecursionError
        if seen > MAX_NODES:
            raise ValueError(f"it holds more than {MAX_NODES:,} values")
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        waiting += [(part, depth + 1) for part in inner]
