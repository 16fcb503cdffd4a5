"""JSON lines in blocks: parsed by pyarrow, or line by line where a block is not plain enough for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json

from .ahead import ahead
from .layout import Columns
from .rows import INTEGERS

BLOCK = 8 << 20
LONGEST_LINE = 64 << 20
LOOKED_AT = 64
"""Lines by which the columns of a file are judged."""

BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def blocks(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """(number of its first line, whole lines, bytes read so far), in about 8 MiB each.

    Raises:
        ValueError: a line longer than 64 MiB, text that is not UTF-8.
    """
    line, done, rest = 1, 0, b""
    with path.open("rb") as file:
        while chunk := file.read(BLOCK):
            if done == 0:
                chunk = _without_mark(path, chunk)
            done += len(chunk)
            data = rest + chunk
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if len(rest) > LONGEST_LINE:
                number = line + data.count(b"\n", 0, cut)
                raise ValueError(
                    f"{path}, line {number}: longer than {LONGEST_LINE >> 20} MiB; is this a log of rollouts?"
                )
            if cut:
                yield line, _utf8(path, line, data[:cut]), done - len(rest)
                line += data.count(b"\n", 0, cut)
    if rest.strip():
        yield line, _utf8(path, line, rest), done


def _without_mark(path: Path, chunk: bytes) -> bytes:
    for mark, name in BYTE_ORDER_MARKS.items():
        if chunk.startswith(mark):
            raise ValueError(f"{path}: {name} text; it must be UTF-8")
    return chunk.removeprefix(b"\xef\xbb\xbf")


def _utf8(path: Path, line: int, block: bytes) -> bytes:
    try:
        block.decode()
    except UnicodeDecodeError as error:
        number = line + block.count(b"\n", 0, error.start)
        raise ValueError(f"{path}, line {number}: not UTF-8 text (byte {block[error.start]:#04x})") from None
    return block


def typical_record(path: Path) -> dict[str, Any]:
    """The columns of the first lines, each with the first value in it that is not null.

    Raises:
        ValueError: there is no line, or one is no object.
    """
    found: dict[str, Any] = {}
    for line, block, _ in blocks(path):
        for number, record in islice(records(path, line, block), LOOKED_AT):
            for name, value in _an_object(path, number, record).items():
                found[name] = value if found.get(name) is None else found[name]
        if found:
            return found
    raise ValueError("no line with anything in it")


def records(path: Path, line: int, block: bytes) -> Iterator[tuple[int, Any]]:
    """(line number, value) of every line that is not blank.

    Raises:
        ValueError: a line that is not JSON.
    """
    for number, text in enumerate(block.split(b"\n"), start=line):
        if text.strip():
            try:
                yield number, json.loads(text, object_pairs_hook=_no_key_twice)
            except KeyError as error:
                raise ValueError(f"{path}, line {number}: the key {error.args[0]!r} twice in one object") from None
            except (ValueError, RecursionError) as error:
                where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
                cut = " (is the file cut off, or still being written?)" if not block.endswith(b"\n") else ""
                raise ValueError(f"{path}, line {number}: not JSON{where}{cut}") from None


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise KeyError(next(name for name in names if names.count(name) > 1))
    return found


def _an_object(path: Path, number: int, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise ValueError(f"{path}, line {number}: a JSON {type(record).__name__}; every line must be an object {{...}}")
    return record


def schema(record: dict[str, Any], columns: Columns) -> pa.Schema:
    """Types of the columns that are used, judged by a typical record."""
    roles = {name: role for role, name in columns.single.items()}
    tree: dict[str, Any] = {}
    for name in columns.used:
        path = [name] if name in record else name.split(".")
        value: Any = record
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        kind = _type(roles.get(name), value, name in columns.group)
        branch = tree
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = kind
    return pa.schema(_fields(tree))


def _fields(tree: dict[str, Any]) -> list[pa.Field]:
    return [pa.field(name, pa.struct(_fields(kind)) if isinstance(kind, dict) else kind) for name, kind in tree.items()]


def _type(role: str | None, value: Any, is_key: bool) -> pa.DataType:
    if is_key and not isinstance(value, (int, float)):
        return pa.large_string()
    if role in INTEGERS or (is_key and isinstance(value, int)):
        return pa.int64()
    if role is not None and isinstance(value, list):
        return pa.list_(pa.float64())
    return pa.bool_() if isinstance(value, bool) else pa.float64()


def tables(path: Path, wanted: pa.Schema) -> Iterator[tuple[pa.Table, np.ndarray, int]]:
    """(rows, their line numbers, bytes read so far), block by block.

    Raises:
        ValueError: a line that is no JSON object or whose columns have other types than in the first lines.
    """
    for (_, _, done), (raw, place) in ahead(blocks(path), partial(_parsed, path, wanted)):
        yield raw, place, done


def _parsed(path: Path, wanted: pa.Schema, part: tuple[int, bytes, int]) -> tuple[pa.Table, np.ndarray]:
    line, block, _ = part
    try:
        raw = pa_json.read_json(
            pa.py_buffer(block),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa_json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowException:
        return _line_by_line(path, line, block, wanted)
    count = block.count(b"\n") + (not block.endswith(b"\n"))
    if raw.num_rows != count:
        return _line_by_line(path, line, block, wanted)
    return raw, np.arange(line, line + count)


def _line_by_line(path: Path, line: int, block: bytes, wanted: pa.Schema) -> tuple[pa.Table, np.ndarray]:
    """What pyarrow does not take: blank lines, infinities, keys given twice, whole numbers written as 3.0."""
    numbers, found = [], []
    for number, record in records(path, line, block):
        numbers.append(number)
        found.append(_an_object(path, number, record))
    try:
        return pa.Table.from_pylist(found, wanted), np.array(numbers, dtype=np.int64)
    except (pa.ArrowException, TypeError):
        for number, record in zip(numbers, found, strict=True):
            for field in wanted:
                _check(path, number, field, record.get(field.name))
        raise


def _check(path: Path, number: int, field: pa.Field, value: Any) -> None:
    try:
        pa.array([value], field.type)
    except (pa.ArrowException, TypeError):
        shown = json.dumps(value)[:60]
        raise ValueError(
            f"{path}, line {number}: {field.name} is {shown}; in the first lines it is {_word(field.type)}"
        ) from None


def _word(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return "a number"
    return {pa.int64(): "a whole number", pa.large_string(): "text", pa.bool_(): "true or false"}.get(kind, str(kind))
